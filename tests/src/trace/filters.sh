cd events/sched/sched_switch
f() { echo "> $1"; echo "$1" 2>/dev/null > filter && echo taken; cat filter; }
cat filter; cat ../filter
for x in 'prev_pid == 7' 'foo == 1' 'prev_pid == 1 && foo == 1' 'prev_pid' 'prev_pid = 1' 'prev_pid == x' 'prev_pid == "a"' 'prev_comm == 1' 'prev_comm < "a"' 'prev_comm == "a' '(prev_pid == 1' 'prev_pid == 1)' 'prev_pid == 1 &&' 'prev_comm == bash' 'prev_pid ~ 4' 'prev_comm ~ "a*"' 'prev_pid == 0x10 || ! (next_pid==3)' '0' '()'; do f "$x"; done
cd ..
echo 'prev_pid == 9' > filter; cat sched_switch/filter sched_waking/filter
echo 'pid == 9' > filter; cat sched_switch/filter sched_waking/filter
echo 0 > filter; cat sched_switch/filter sched_waking/filter
cd sched_switch; echo 'prev_comm == "sleep" && prev_state & 1' > filter; echo 1 > enable; sleep 0.05; sleep 0.05; echo 0 > enable
grep -c 'prev_comm=sleep .* prev_state=S ' ../../../trace; grep sched_switch: ../../../trace | grep -vc 'prev_comm=sleep ' || true
