some() { sed -n "s/^some avg10=\([0-9]*\).*total=\(.*\)/\\$1/p" /proc/pressure/cpu; }
sed 's/[0-9.]*[0-9]$/N/; s/=[0-9.]* /=N /g' /proc/pressure/cpu; cat /proc/pressure/memory | sed 1q | cut -c1-9; wc -l < /proc/pressure/io; sed -n 2p /proc/pressure/cpu
for c in $(seq $(nproc)); do for i in 1 2; do sh -c 'while :; do :; done' & P="$P $!"; done; done; sleep 1
A=$(some 2); T=$(cut -d' ' -f1 /proc/uptime | tr -d .); sleep 3; A=$(($(some 2)-A)); T=$(($(cut -d' ' -f1 /proc/uptime | tr -d .)-T)); [ $A -ge $((T*8000)) -a $A -le $((T*12000)) ] && echo stalled || echo stalled $A of $T
[ $(some 1) -ge 10 ] && echo average || some 1
kill $P; sleep 0.5; A=$(some 2); sleep 2; A=$(($(some 2)-A)); [ $A -le 400000 ] && echo idle || echo idle $A
sh -c 'while :; do :; done' & sleep 0.5; A=$(some 2); sleep 2; A=$(($(some 2)-A)); [ $A -le 400000 ] && echo alone || echo alone $A; kill $!
[ $(some 1) -le 80 ] && echo less
