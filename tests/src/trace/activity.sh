for s in timer workqueue ipi; do echo 1 > events/$s/enable; done
sleep 0.1; cat /proc/pressure/cpu > /tmp/first; sleep 2.3
for s in timer workqueue ipi; do echo 0 > events/$s/enable; done
# What became of the first sleeper's timer, of the one that the averages of pressure are kept with, and of the work that it brings.
timer=$(sed -n 's/ *sleep-.*hrtimer_start: hrtimer=\([0-9a-f]*\) function=hrtimer_wakeup .*/\1/p' trace | head -1)
grep -o "hrtimer_[a-z_]*: hrtimer=$timer" trace | head -4 | cut -d: -f1
timer=$(sed -n 's/ *cat-.* timer_start: timer=\([0-9a-f]*\) function=[^ ]*expired expires=[0-9]* \[timeout=[45][0-9][0-9]\] cpu=[01] idx=0 flags=.*/\1/p' trace)
# The worker may start it anew on the other CPU before its function has come back on this one.
grep -o " timer_[a-z_]*: timer=$timer" trace | cut -d: -f1 | grep -v exit
grep -o " timer_expire_e[a-z_]*: timer=$timer" trace | cut -d: -f1
grep -c 'hrtimer_expire_entry: .* function=.*plain_due now=' trace | sed 's/[1-9][0-9]*/plain_due/'
item=$(sed -n 's/.*workqueue_queue_work: work struct=\([0-9a-f]*\) function=[^ ]*update_and_go_on workqueue=events_unbound req_cpu=-1 cpu=-1/\1/p' trace)
grep -o "workqueue_[a-z_]*: work struct[ =]$item" trace | cut -d: -f1
grep -q 'kworker/u.*workqueue_execute_start: work struct [0-9a-f]*: function .*update_and_go_on' trace && echo by a worker
# Interrupts between CPUs: each is served to its end before the next one.
awk '/ipi_raise: target_mask=00000000,0000000[12] \([A-Z]/ { sent++ }
/ipi_entry: \([A-Z].* interrupts\)/ { if (open[$2]++) bad++; came++ } /ipi_exit/ { if (!open[$2]--) bad++ }
END { print "ipis", (sent > 0), (came > 0), bad + 0 }' trace
