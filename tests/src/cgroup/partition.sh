mkdir -p /tmp/c; mount -t cgroup2 none /tmp/c; cd /tmp/c
t() { echo "\$ $*"; ( eval "$*" ) 2>&1 | sed 's/^/  /'; }
p() { for g in $*; do echo "$g $(cat $g/cpuset.cpus) $(cat $g/cpuset.cpus.effective) $(cat $g/cpuset.cpus.partition)"; done; echo ". $(cat cpuset.cpus.effective)"; }
t 'ls cpuset.*; echo +cpuset > cgroup.subtree_control; mkdir a b; ls -l a/cpuset* | cut -c1-10; cat a/cpuset.cpus.partition; echo x > a/cpuset.cpus.partition; echo > a/cpuset.cpus.partition; echo "root " > a/cpuset.cpus.partition; p a'
t 'echo member > a/cpuset.cpus.partition; p a; echo 1 > a/cpuset.cpus; p a; echo root > a/cpuset.cpus.partition; p a b; echo root > a/cpuset.cpus.partition; echo isolated > a/cpuset.cpus.partition; p a b'
sleep 100 & P=$!
t 'grep _allowed_list /proc/$P/status; taskset -p 3 $P > /dev/null; grep Cpus_allowed_list /proc/$P/status; taskset -p 2 $P >/dev/null 2>&1; echo $?; taskset -p $P | cut -d: -f2'
t 'echo $P > a/cgroup.procs; grep Cpus_allowed_list /proc/$P/status; taskset -p 1 $P >/dev/null 2>&1; echo $?; taskset -p $P | cut -d: -f2'
t 'echo member > a/cpuset.cpus.partition; p a b; grep Cpus_allowed_list /proc/$P/status; taskset -p $P | cut -d: -f2'
t 'echo 1 > b/cpuset.cpus; p a b; echo root > a/cpuset.cpus.partition; p a b; echo 0 > b/cpuset.cpus; p a b; echo member > a/cpuset.cpus.partition; echo root > a/cpuset.cpus.partition; p a b'
t 'echo root > b/cpuset.cpus.partition; p a b'
t 'echo 0-1 > b/cpuset.cpus; p a b; echo 0 > b/cpuset.cpus; p a b; echo "" > b/cpuset.cpus; p a b; echo member > b/cpuset.cpus.partition; p a b'
t 'echo member > a/cpuset.cpus.partition; echo root > a/cpuset.cpus.partition; echo "2-3" > a/cpuset.cpus; p a b; echo 1-3 > a/cpuset.cpus; p a b; grep Cpus_allowed_list /proc/$P/status'
t 'echo +cpuset > a/cgroup.subtree_control; mkdir a/x a/y; p a a/x; echo 1 > a/x/cpuset.cpus; p a a/x; echo root > a/x/cpuset.cpus.partition; p a a/x; echo 2-3 > a/y/cpuset.cpus; echo isolated > a/y/cpuset.cpus.partition; p a a/x a/y'
t 'echo $P > a/x/cgroup.procs; grep Cpus_allowed_list /proc/$P/status; p a a/x a/y; echo $P > cgroup.procs; grep Cpus_allowed_list /proc/$P/status; p a a/x a/y; echo member > a/x/cpuset.cpus.partition; echo root > a/x/cpuset.cpus.partition; p a a/x a/y'
t 'echo 3 > a/y/cpuset.cpus; p a a/x a/y; echo 1,2 > a/x/cpuset.cpus;  p a a/x a/y; echo 2-3 > a/cpuset.cpus; p a a/x a/y b; echo 1-3 > a/cpuset.cpus; p a a/x a/y'
t 'echo member > a/cpuset.cpus.partition; p a a/x a/y; echo root > a/y/cpuset.cpus.partition; echo root > a/x/cpuset.cpus.partition; p a a/x a/y; echo root > a/cpuset.cpus.partition; p a a/x a/y; echo member > a/x/cpuset.cpus.partition;  echo member > a/y/cpuset.cpus.partition; p a a/x a/y'
t 'echo root > a/x/cpuset.cpus.partition; echo 1 > a/x/cpuset.cpus;  echo root > a/y/cpuset.cpus.partition; p a a/x a/y; rmdir a/y; sleep 0.2; p a a/x; mkdir a/z; p a a/x a/z; echo 2-3 > a/z/cpuset.cpus; p a/z; echo 1-2 > a/z/cpuset.cpus; p a a/x a/z; rmdir a/z a/x; sleep 0.2; p a'
t 'mkdir a/b a/b/c; echo 1 > a/b/cpuset.cpus; echo root > a/b/cpuset.cpus.partition; p a a/b; echo 0 > b/cpuset.cpus; echo 2 > a/cpuset.cpus; p a a/b b; echo 1-2 > a/cpuset.cpus; p a a/b; ls a/b/c | grep cpuset; rmdir a/b/c; rmdir a/b; sleep 0.2; p a'
t 'echo 0-3 > a/cpuset.cpus; p a; echo 0-3 > a/cpuset.cpus; echo member > a/cpuset.cpus.partition; p a; echo root > a/cpuset.cpus.partition; p a; echo "" > b/cpuset.cpus; echo member > a/cpuset.cpus.partition;  echo root > a/cpuset.cpus.partition; p a; echo 1-3 > a/cpuset.cpus; p a; echo "" > a/cpuset.cpus; p a'
t 'echo 0-2 > a/cpuset.cpus; p a; sh -c "echo 0 > a/cgroup.procs; echo > a/cpuset.cpus; cat a/cpuset.cpus; echo 3 > a/cpuset.cpus; cat a/cpuset.cpus"; echo member > a/cpuset.cpus.partition; echo 3 > a/cpuset.cpus; echo root > a/cpuset.cpus.partition; p a'
t 'echo -cpuset > cgroup.subtree_control; echo -cpuset > a/cgroup.subtree_control; echo -cpuset > cgroup.subtree_control; sleep 0.2; cat cpuset.cpus.effective; grep Cpus_allowed_list /proc/$P/status; echo +cpuset > cgroup.subtree_control; p a b'
t 'cd /sys/devices/system/cpu; echo 0 > cpu3/online; cd /tmp/c; sleep 0.2; p a; echo 2-3 > a/cpuset.cpus; echo root > a/cpuset.cpus.partition; p a; echo 1 > /sys/devices/system/cpu/cpu3/online; sleep 0.2; p a; echo 0 > /sys/devices/system/cpu/cpu2/online; sleep 0.2; p a; echo $P > a/cgroup.procs; echo 0 > /sys/devices/system/cpu/cpu3/online; sleep 0.2; p a;  grep Cpus_allowed_list /proc/$P/status; echo 1 > /sys/devices/system/cpu/cpu2/online; sleep 0.2; p a; grep Cpus_allowed_list /proc/$P/status;  echo 1 > /sys/devices/system/cpu/cpu3/online; sleep 0.2; p a; grep Cpus_allowed_list /proc/$P/status'
t 'echo $P > cgroup.procs; echo 1 > a/cpuset.cpus; mkdir a/t; echo threaded > a/t/cgroup.type; p a; rmdir a/t; rmdir a; sleep 0.2; p b'
kill $P
