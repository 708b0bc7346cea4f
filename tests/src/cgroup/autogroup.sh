t() { echo "\$ $*"; ( eval "$*" ) 2>&1 | sed 's/^/  /'; }
S=/proc/sys/kernel/sched_autogroup_enabled
t 'cat $S; ls -l /proc/self/autogroup $S | cut -c1-10; ls /proc/$$/task/$$/ | grep -c autogroup; for v in 2 -1 x; do echo $v > $S; done; cat $S'
t 'cat /proc/1/autogroup /proc/2/autogroup /proc/$$/autogroup; echo 3 > /proc/1/autogroup; echo 3 > /proc/2/autogroup; cat /proc/2/autogroup'
t 'setsid sh -c "cat /proc/self/autogroup; sh -c \"cat /proc/self/autogroup\""'
t 'setsid sh -c "setsid cat /proc/self/autogroup; cat /proc/self/autogroup"'
for v in 5 20 -21 x '' ' 7 ' 0x3 -5 010 12345678901234; do t "echo '$v' > /proc/\$\$/autogroup; cat /proc/\$\$/autogroup"; done
t 'setsid cat /proc/self/autogroup; cat /proc/$$/autogroup'
t 'setsid sleep 10 & P=$!; sleep 0.1; echo 4 > /proc/$P/autogroup; cat /proc/$P/autogroup; kill $P; sleep 0.1; cat /proc/$P/autogroup 2>/dev/null'
t 'for i in 1 2 3 4; do echo $i > /proc/$$/autogroup; done; cat /proc/$$/autogroup'
# Processor time of a session, of both.
used() { cat /proc/[0-9]*/stat 2>/dev/null | awk -v s=$1 '$6 == s { n += $14 + $15 } END { print n }'; }
near() { [ $(($1*100)) -ge $(($2*90)) -a $(($1*100)) -le $(($2*110)) ] && echo near || echo $1 for $2; }
hogs() { setsid sh -c "for i in $*; do while :; do :; done & done; wait" & }
share() { sleep 0.2; A1=$(used $A); B1=$(used $B); sleep 1.5; A2=$(($(used $A)-A1)); B2=$(($(used $B)-B1)); near $((A2*$2)) $((B2*$1)); }
taskset -p 1 $$ >/dev/null
echo 0 > /proc/$$/autogroup
hogs 1; A=$!; hogs 1 2 3; B=$!; share 1 3; kill -9 -$A -$B
echo 1 > $S
hogs 1; A=$!; hogs 1 2 3; B=$!; share 1 1
echo 5 > /proc/$A/autogroup; share 335 1024
echo 0 > /proc/$A/autogroup
mkdir -p /tmp/c; mount -t cgroup2 none /tmp/c; echo +cpu > /tmp/c/cgroup.subtree_control; mkdir /tmp/c/a; for p in $(ps -o pid,sid 2>/dev/null | awk -v s=$A '$2 == s {print $1}'); do echo $p > /tmp/c/a/cgroup.procs; done
cat /proc/$A/autogroup | sed 's/-[0-9]*//'; grep -c . /tmp/c/a/cgroup.procs; share 1 1
for p in $(cat /tmp/c/a/cgroup.procs); do echo $p > /tmp/c/cgroup.procs; done; share 1 1
kill -9 -$A -$B
echo 0 > $S; hogs 1; A=$!; hogs 1 2 3; B=$!; share 1 3; kill -9 -$A -$B
