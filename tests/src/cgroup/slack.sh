mkdir -p /tmp/c; mount -t cgroup2 none /tmp/c; cd /tmp/c; echo +cpu > cgroup.subtree_control; mkdir g
some='echo 0 > g/cgroup.procs; i=0; while [ $i -lt 1500 ]; do i=$((i+1)); done; sleep 100'
S=/proc/sys/kernel/sched_cfs_bandwidth_slice_us
echo 200000 > $S; echo "420000 1000000" > g/cpu.max
taskset 1 sh -c "$some" & A=$!
taskset 2 sh -c "$some" & B=$!
taskset 4 sh -c 'usleep 30000; echo 0 > g/cgroup.procs; while :; do :; done' & H=$!
usleep 40000; echo 10000 > $S
sleep 0.6
read n _ < /proc/$H/schedstat
[ $n -gt 80000000 ] && echo slack came || echo only $n
echo 1 > g/cgroup.kill; echo 5000 > $S
