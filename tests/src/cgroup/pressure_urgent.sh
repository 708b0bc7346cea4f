mkdir -p /tmp/c; mount -t cgroup2 none /tmp/c; cd /tmp/c
# look GROUP WHAT: the total, in L. Without processes of its own: those take time.
look() { while read -r X Y; do [ $X = $2 ] && L=${Y##*total=}; done < $1/cpu.pressure; }
clock() { read -r U X < /proc/uptime; U=${U%.*}${U#*.}; }
# hog GROUP [PARAMETERS]: one that never sleeps, in the group, on CPU 0, with those parameters of chrt. The rest is on CPU 1.
hog() { $T sh -c "echo 0 > $1/cgroup.procs; while :; do :; done" & H=$!; shift; sleep 0.5; [ -z "$*" ] || chrt "$@" $H; }
end() { for g in "$@"; do echo 1 > $g/cgroup.kill; done; sleep 0.3; }
# share SECONDS [GROUP WHAT PERCENT]...: whether so much of the time is counted, within 8 percent. A host that is busy may stop a CPU for
# a while: what does not fit is measured again, twice at most.
share() { for t in 1 2 3; do O=$(measure "$@"); case "$O" in *": "[0-9]*) ;; *) break;; esac; done; echo "$O"; }
measure() {
  S=$1; shift; N=0
  for i in "$@"; do case $((N%3)) in 0) G=$i;; 1) look $G $i; clock; eval "B$N=$L T$N=$U";; esac; N=$((N+1)); done
  sleep $S; N=0
  for i in "$@"; do case $((N%3)) in 0) G=$i;; 1) look $G $i; clock; eval "R$N=\$((($L-B$N)/($U-T$N)/100))";; esac; N=$((N+1)); done; N=0
  for i in "$@"; do case $((N%3)) in 0) G=$i;; 1) W=$i; eval "R=\$R$N";; 2) [ $R -ge $((i-8)) -a $R -le $((i+8)) ] && R=right; echo "  $G $W $i: $R";; esac; N=$((N+1)); done
}
T='taskset 1'; taskset -p 2 $$ > /dev/null; mkdir a b; cat a/cpu.pressure b/cpu.pressure > /dev/null
echo throttled; hog a; hog b -f -p 5; sleep 1; share 4 a some 95 a full 95 b some 5 b full 5; end a b
echo two; hog a; hog b; M=$H; hog b -f -p 7; chrt -f -p 5 $M; sleep 1; share 4 b some 100 b full 5 a full 95; end a b
echo round robin; hog a -r -p 5; hog b -r -p 5; sleep 1; share 4 a some 52 a full 52 b some 52 b full 52; end a b
echo it becomes fair; hog b; hog a -f -p 5; M=$H; sleep 1; share 4 a full 5 b full 95; chrt -o -p 0 $M; share 2 a full 50 b full 50; chrt -f -p 5 $M; sleep 1; share 4 a full 5 b full 95; end a b
echo a reservation; T=; taskset -p 3 $$ > /dev/null; hog a -d -T 20000000 -D 100000000 -P 100000000 -p 0; sleep 1; share 3 a some 80 a full 80 b full 0; end a
