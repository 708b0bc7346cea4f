cat /proc/sys/kernel/sched_schedstats; for v in 2 -1 x; do echo $v > /proc/sys/kernel/sched_schedstats; done; [ $(grep -c wait_sum /proc/self/sched) = 0 ] && echo off
echo 1 > /proc/sys/kernel/sched_schedstats; cat /proc/self/sched | sed "s/:.*//; s/ *$//; /numa/d; 1,2d"
f() { awk -v n=$2 '$1 == n { sub(/.*: */, ""); print int($0) }' /proc/$1/sched; }
sh -c 'while :; do :; done' & H=$!; sh -c 'while :; do :; done' & G=$!; taskset -p 1 $H >/dev/null; taskset -p 1 $G >/dev/null
sh -c 'while :; do sleep 0.1; done' & S=$!
sleep 1.5
for p in $H $G; do W=$(f $p wait_sum); [ $W -ge 400 ] && echo waits || echo waits $W; [ $(f $p wait_count) -ge 20 ] && echo often; [ $(f $p slice_max) -ge 1 ] && echo slices; done
W=$(f $S sum_sleep_runtime); [ $W -ge 900 ] && echo sleeps || echo sleeps $W; [ $(f $S sleep_max) -ge 90 ] && echo long; [ $(f $S nr_wakeups) -ge 8 ] && echo wakes; for i in 1 2 3 4 5 6 7 8 9 10; do [ $(f $S sleep_start) -gt 0 ] && break; sleep 0.07; done; [ $i -lt 10 ] && echo asleep
echo 0 > /proc/$S/sched; [ $(f $S nr_wakeups) -le 1 ] && echo anew
set -- $(grep cpu0 /proc/schedstat); [ $4 -ge 20 -a $6 -ge 1 ] && echo counts || echo $*
kill $H $G $S; echo 0 > /proc/sys/kernel/sched_schedstats; [ $(grep -c wait_sum /proc/self/sched) = 0 ] && echo off
