mount -t debugfs d /sys/kernel/debug; cd /sys/kernel/debug/sched/domains; ls; ls cpu0; for d in cpu0/* cpu3/*; do for f in $d/[bfinm]*; do case $f in */max_newidle_lb_cost) ;; *) echo "$f: $(cat $f)";; esac; done; done
for f in busy_factor min_interval max_interval imbalance_pct; do for v in 7 x -1 0; do echo $v > cpu0/domain0/$f; cat cpu0/domain0/$f; done; done
ls -l cpu0/domain0/flags cpu0/domain0/name cpu0/domain0/busy_factor | cut -c1-10; echo x > cpu0/domain0/name
echo 0 > /sys/devices/system/cpu/cpu1/online; cat cpu0/domain0/busy_factor cpu0/domain0/min_interval; echo 1 > /sys/devices/system/cpu/cpu1/online;  cat cpu0/domain0/min_interval; ls cpu1
