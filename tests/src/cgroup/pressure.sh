echo "+cpu" > cgroup.subtree_control
t() { echo "\$ $*"; ( eval "$*" ) 2>&1 | sed 's/^/  /'; }
# hog GROUP: one that never sleeps, in the group, on CPU 0.
hog() { taskset 1 sh -c "echo 0 > $1/cgroup.procs; while :; do :; done" & }
t 'ls | grep pressure; mkdir -p a b c/d c/e; ls c/d | grep pressure; ls -l a/*pressure | cut -c1-10; cat a/cgroup.pressure cgroup.pressure'
t 'for f in a/*.pressure; do sed "s/[0-9.]*[0-9]$/N/; s/=[0-9.]* /=N /g" $f; done; cat a/cpu.pressure | wc -l'
t 'sed "s/[0-9.]*[0-9]$/N/; s/=[0-9.]* /=N /g" cpu.pressure; sed -n 2p cpu.pressure'
for g in a b c c/d c/e; do cat $g/cpu.pressure > /dev/null; done
echo two in a group; hog a; hog a; sleep 1; share 2 a some 100 a full 0 b some 0 c some 0
echo avg $([ $(sed -n 's/^some avg10=\([0-9]*\).*/\1/p' a/cpu.pressure) -ge 10 ] && echo grows) $(sed -n 's/^full avg10=\([0-9]*\).*/\1/p' a/cpu.pressure); end a
echo alone; hog a; sleep 0.5; share 2 a some 0 a full 0; end a
echo two groups; hog a; hog b; sleep 0.5; share 2 a some 50 a full 50 b some 50 b full 50; end a b
echo groups without a controller; hog c/d; hog c/e; sleep 0.5; share 2 c/d some 50 c/d full 50 c/e full 50 c some 100 c full 0
echo +cpu > c/cgroup.subtree_control; share 2 c/d some 50 c/e full 50 c some 100 c full 0; end c/d c/e
echo outside; hog .; M=$!; hog a; sleep 0.5; share 2 a some 50 a full 50; echo $M > a/cgroup.procs; share 2 a some 100 a full 0; echo $M > b/cgroup.procs; share 2 a full 50 b full 50; end a b
echo a limit; echo 20000 100000 > a/cpu.max; hog a; sleep 0.5; share 3 a some 80 a full 80; hog a; share 3 a some 100 a full 80; echo max > a/cpu.max; end a
echo a limit above; echo 20000 100000 > c/cpu.max; hog c/d; sleep 0.5; share 3 c some 80 c full 80 c/d full 80 c/e full 0; echo max > c/cpu.max; end c/d
echo two CPUs; hog a; hog a; sleep 0.5; taskset -p 2 $! > /dev/null; hog b; sleep 1; share 3 a some 33 b full 33; end a b
t 'cd a; for v in 2 -1 x "" "0 1"; do echo "$v" > cgroup.pressure && echo ok; done'
t 'cd a; echo 0 > cgroup.pressure; cat cgroup.pressure; ls | grep pressure; cat cpu.pressure; echo " 1 " > cgroup.pressure; ls | grep pressure; head -c 9 cpu.pressure'
t 'exec 3< a/cpu.pressure; head -c 4 <&3; echo 0 > a/cgroup.pressure; head -c 9 <&3; echo 1 > a/cgroup.pressure; hog a; hog a; cat a/cpu.pressure > /dev/null; share 2 a some 100; end a'
t 'exec 3< a/cpu.pressure; rmdir a; head -c 9 <&3; mkdir a; head -c 9 <&3; rmdir a b c/d c/e c'
