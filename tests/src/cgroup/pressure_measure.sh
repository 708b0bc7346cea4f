# Read before the cases that measure how long the tasks of groups have waited.
mkdir -p /tmp/c; mount -t cgroup2 none /tmp/c; cd /tmp/c
# look GROUP WHAT: the total, in L. Without processes of its own: those take time.
look() { while read -r X Y; do [ $X = $2 ] && L=${Y##*total=}; done < $1/cpu.pressure; }
clock() { read -r U X < /proc/uptime; U=${U%.*}${U#*.}; }
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
