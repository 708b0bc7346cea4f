# hog GROUP [PARAMETERS]: one that never sleeps, in the group, on CPU 0, with those parameters of chrt. The rest is on CPU 1.
hog() { $T sh -c "echo 0 > $1/cgroup.procs; while :; do :; done" & H=$!; shift; sleep 0.5; [ -z "$*" ] || chrt "$@" $H; }
T='taskset 1'; taskset -p 2 $$ > /dev/null; mkdir a b; cat a/cpu.pressure b/cpu.pressure > /dev/null
echo throttled; hog a; hog b -f -p 5; sleep 1; share 4 a some 95 a full 95 b some 5 b full 5; end a b
echo two; hog a; hog b; M=$H; hog b -f -p 7; chrt -f -p 5 $M; sleep 1; share 4 b some 100 b full 5 a full 95; end a b
echo round robin; hog a -r -p 5; hog b -r -p 5; sleep 1; share 4 a some 52 a full 52 b some 52 b full 52; end a b
echo it becomes fair; hog b; hog a -f -p 5; M=$H; sleep 1; share 4 a full 5 b full 95; chrt -o -p 0 $M; share 2 a full 50 b full 50; chrt -f -p 5 $M; sleep 1; share 4 a full 5 b full 95; end a b
echo a reservation; T=; taskset -p 3 $$ > /dev/null; hog a -d -T 20000000 -D 100000000 -P 100000000 -p 0; sleep 1; share 3 a some 80 a full 80 b full 0; end a
