mkdir -p /tmp/x; cd /tmp/x; mount -t cgroup -o cpuset none /tmp/x; cd /tmp/x
t() { echo "\$ $*"; ( eval "$*" ) 2>&1 | sed 's/^/  /;s/echo: echo/echo/'; }
try() { sh -c 'echo 0 > $1/$3; exec chrt -d -T ${2}000000 -P 1000000000 0 true' x $1 $2 ${3:-tasks} 2> /tmp/e; echo $1 $2 $? $(sed 's/.*: //' /tmp/e); }
hold() { sh -c 'echo 0 > $1/tasks; exec chrt -d -T ${2}000000 -P 1000000000 0 sleep 100' x $1 $2 & held="$held $!"; sleep 0.5; kill -0 $!; }
free() { kill $held; wait $held 2> /tmp/e; held=; sleep 1.2; }
cpus() { for h in $hogs; do cut -d' ' -f39 /proc/$h/stat; done | sort -u; }
cpu=/sys/devices/system/cpu
t 'try . 990; for g in a b; do mkdir $g; echo 0 > $g/cpuset.mems; done; echo 0-1 > a/cpuset.cpus; echo 2-3 > b/cpuset.cpus; try b 100; echo 0 > cpuset.sched_load_balance; try a 990; try b 990; echo 3 > b/cpuset.cpus; try b 990; try b 940; try a 990'
sleep 1.2
hold b 940
t 'try b 50; try a 940; echo 2-3 > b/cpuset.cpus; echo 1 > b/cpuset.cpu_exclusive; try b 50'
sleep 1.2
hold b 940
t 'try b 50; echo 2 > b/cpuset.cpus; cat b/cpuset.cpus; echo 0 > $cpu/cpu3/online; cat $cpu/online'
sleep 1.2
hold a 100
t 'echo ${held##* } > b/tasks; grep Cpus_allowed_list /proc/${held##* }/status; try a 940'
free
echo $$ > a/tasks
for i in 1 2 3 4; do sh -c 'while :; do :; done' & hogs="$hogs $!"; done
echo $$ > tasks
for h in $hogs; do echo $h > tasks; done
echo 2-3 > b/cpuset.cpus
sleep 1
t 'cpus | grep [23]; sleep 1; cpus | grep [23]'
echo 1 > cpuset.sched_load_balance
t 'i=0; until cpus | grep -q [23] || [ $i -ge 50 ]; do sleep 0.2; i=$((i+1)); done; cpus | grep -q [23]; echo $?'
kill $hogs; wait $hogs 2> /tmp/e
sleep 0.5
cd /tmp; rmdir x/a x/b; umount x; sleep 0.5; mount -t cgroup2 none x; cd x
t 'echo +cpuset > cgroup.subtree_control; mkdir p; echo 1 > p/cpuset.cpus; try p 100 cgroup.procs; echo root > p/cpuset.cpus.partition; try p 990 cgroup.procs; try p 940 cgroup.procs; try . 990 cgroup.procs; echo isolated > p/cpuset.cpus.partition; try p 990 cgroup.procs; try p 940 cgroup.procs; echo member > p/cpuset.cpus.partition; try p 100 cgroup.procs; try . 990 cgroup.procs'
