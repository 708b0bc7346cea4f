cd /tmp; mkdir x; mount -t cgroup -o cpuset none x; cd x
t() { echo "\$ $*"; ( eval "$*" ) 2>&1 | sed 's/^/  /'; }
f() { for g in $*; do echo "$g $(cat $g/cpuset.cpus) $(cat $g/cpuset.effective_cpus) $(cat $g/cpuset.cpu_exclusive) $(cat $g/cpuset.sched_load_balance) $(cat $g/cpuset.sched_relax_domain_level)"; done; }
t 'f .; mkdir a b; f a b; for i in sched_load_balance sched_relax_domain_level; do ls -l cpuset.$i | cut -c1-10; done'
t 'for i in 2 x "" -1 " 0" 0x1; do echo "$i" > a/cpuset.sched_load_balance; cat a/cpuset.sched_load_balance; done'
t 'for i in -2 -1 0 1 2 3 4 5 6 x "" 0x1; do echo "$i" > a/cpuset.sched_relax_domain_level; cat a/cpuset.sched_relax_domain_level; done; echo 1 > cpuset.sched_relax_domain_level; f .; echo -1 > cpuset.sched_relax_domain_level'
t 'echo 0 > cpuset.sched_load_balance; f .; echo 0-1 > a/cpuset.cpus; echo 0 > a/cpuset.mems; echo 2-3 > b/cpuset.cpus; echo 0 > b/cpuset.mems; f a b; echo 1 > a/cpuset.cpu_exclusive; f a b; echo 1-3 > b/cpuset.cpus; echo 0 > cpuset.cpu_exclusive; f . a b; echo 0 > cpuset.cpu_exclusive; mkdir a/c; echo 1 > a/c/cpuset.cpu_exclusive; echo 0 > a/cpuset.cpu_exclusive; f a a/c; echo 0 > a/c/cpuset.cpu_exclusive; echo 0 > a/cpuset.cpu_exclusive; echo 1 > a/c/cpuset.cpu_exclusive; f a a/c'
sleep 100 & P=$!
t 'echo $P > b/tasks; grep Cpus_allowed_list /proc/$P/status'
t 'echo 1 > b/cpuset.cpu_exclusive; echo 3 > b/cpuset.cpus; f b; echo 2 > b/cpuset.cpus; f b; echo 2-3 > b/cpuset.cpus; f b; grep Cpus_allowed_list /proc/$P/status'
sleep 100 & Q=$!
t 'echo $Q > b/tasks'
t 'echo 0 > /sys/devices/system/cpu/cpu3/online; echo $?; sleep 0.2; f . a b; grep Cpus_allowed_list /proc/$P/status; echo 1 > /sys/devices/system/cpu/cpu3/online; sleep 0.2; f . a b; wc -l < b/tasks; grep Cpus_allowed_list /proc/$P/status'
t 'echo 2 > b/cpuset.cpus; echo 0 > /sys/devices/system/cpu/cpu2/online; echo $?; sleep 0.2; f . b; wc -l < b/tasks;  cat /proc/$Q/cpuset; grep Cpus_allowed_list /proc/$Q/status; echo 1 > /sys/devices/system/cpu/cpu2/online; sleep 0.2; f . b; cat /proc/$Q/cpuset; grep Cpus_allowed_list /proc/$Q/status'
kill $P $Q
