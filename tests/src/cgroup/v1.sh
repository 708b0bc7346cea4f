cd /tmp; mkdir v n m x
t() { echo "\$ $*"; ( eval "$*" ) 2>&1 | sed 's/^/  /'; }
t 'mount -t cgroup -o cpu,cpuacct none v; for f in cgroup.clone_children cgroup.sane_behavior notify_on_release release_agent; do cat v/$f; done; [ $(wc -l < v/tasks) -gt 5 ] && echo tasks'
t 'mkdir v/a; cd v/a; for f in cgroup.clone_children cgroup.procs cpuacct.usage cpuacct.stat notify_on_release tasks; do ls -l $f | cut -c1-10; cat $f; done'
t 'mount -t cgroup -o cpu none m; mount -t cgroup -o cpu,cpuacct none m; ls -d m/a; grep cgroup /proc/mounts; umount m'
t 'mount -t cgroup -o none,name=foo none n; cat /proc/self/cgroup; mount -t cgroup -o name=foo none m; umount m'
t 'mount -t cgroup -o none none m; mount -t cgroup -o name=bar none m; mount -t cgroup -o none,name=b/a none m; mount -t cgroup -o none,cpu none m; mount -t cgroup -o all none m; mount -t cgroup -o all,cpu none m; mount -t cgroup -o name=foo,pids none m; mount -t cgroup -o fish none m; mount -t cgroup none m'
t 'mount -t cgroup -o freezer none m; mkdir m/f; ls m m/f; cat m/f/freezer.*'
sleep 100 & P=$!
t 'echo $P > m/f/tasks; wc -l < m/f/tasks; cat /proc/$P/cgroup; echo FROZEN > m/f/freezer.state; sleep 0.1; cat m/f/freezer.*; grep State /proc/$P/status; mkdir m/f/g; cat m/f/g/freezer.*; echo THAWED > m/f/g/freezer.state; cat m/f/g/freezer.state'
t 'kill -9 $P; sleep 0.1; grep State /proc/$P/status; echo FOO > m/f/freezer.state; rmdir m/f; echo THAWED > m/f/freezer.state; sleep 0.1; cat m/f/freezer.*'
wait $P; echo $?
t 'mount -t cgroup -o cpuset none x; cd x; for f in cpu_exclusive cpus effective_cpus effective_mems mem_exclusive mems; do cat cpuset.$f; done; mkdir a; cd a; for f in cpu_exclusive cpus effective_cpus effective_mems mem_exclusive mems; do cat cpuset.$f; done; echo 0 > ../cpuset.cpus'
sleep 100 & P=$!
t 'echo $P > x/a/tasks; echo 0 > x/a/cpuset.cpus; echo $P > x/a/tasks; echo 0 > x/a/cpuset.mems; echo $P > x/a/tasks; wc -l < x/a/tasks; grep _allowed_list /proc/$P/status; cat /proc/$P/cpuset'
t 'echo 9 > x/a/cpuset.cpus; echo 0-9 > x/a/cpuset.cpus; echo x > x/a/cpuset.cpus; echo > x/a/cpuset.cpus; echo 0-1 > x/a/cpuset.cpus; cat x/a/cpuset.cpus; grep Cpus_allowed_list /proc/$P/status; taskset -p 2 $P > /dev/null; echo 0 > x/a/cpuset.cpus; grep Cpus_allowed_list /proc/$P/status; taskset -p 2 $P >/dev/null 2>&1; echo $?'
t 'mkdir x/a/b; echo 1 > x/a/b/cpuset.cpus; echo 0 > x/a/b/cpuset.cpus; echo 1 > x/a/cpuset.cpus; rmdir x/a/b'
t 'echo 1 > x/a/cpuset.cpu_exclusive; mkdir x/z; echo 0 > x/z/cpuset.cpus; rmdir x/z'
t 'mkdir v/w; echo 99999 > v/w/tasks; echo a > v/w/tasks; echo 1 > v/w/notify_on_release; cat v/w/notify_on_release; echo /x > v/release_agent; cat v/release_agent; rmdir v/w'
t 'mkdir v/c; mv v/a v/c/a; mv v/a v/c; mv v/a v/b; ls -d v/b; rmdir v/b v/c'
kill $P
