mkdir -p /tmp/c; mount -t cgroup2 none /tmp/c; cd /tmp/c
t() { echo "\$ $*"; ( eval "$*" ) 2>&1 | sed 's/^/  /'; }
echo +cpu > cgroup.subtree_control; mkdir a a/b
t 'for f in cpu.weight cpu.weight.nice cpu.idle cpu.max cpu.max.burst cpu.stat; do ls -l a/$f | cut -c1-10; cat a/$f; done; ls a/b | grep cpu.weight; cat a/b/cpu.stat'
t 'echo 0 > a/cpu.weight; echo 10001 > a/cpu.weight; echo x > a/cpu.weight; echo 300 > a/cpu.weight; cat a/cpu.weight a/cpu.weight.nice'
t 'echo -21 > a/cpu.weight.nice; echo 20 > a/cpu.weight.nice; echo 10 > a/cpu.weight.nice; cat a/cpu.weight a/cpu.weight.nice; echo 1 > a/cpu.weight; cat a/cpu.weight a/cpu.weight.nice'
t 'echo 1 > a/cpu.idle; cat a/cpu.idle a/cpu.weight a/cpu.weight.nice; echo 100 > a/cpu.weight; echo 2 > a/cpu.idle; echo 0 > a/cpu.idle; cat a/cpu.weight'
t 'echo 500 > a/cpu.max; echo 5000 500 > a/cpu.max; echo 5000 2000000 > a/cpu.max; echo x > a/cpu.max; echo "5000 x" > a/cpu.max; cat a/cpu.max; echo 30000 > a/cpu.max; cat a/cpu.max; echo "max 50000" > a/cpu.max; cat a/cpu.max'
t 'echo 5000 > a/cpu.max.burst; cat a/cpu.max.burst; echo "4000 50000" > a/cpu.max; echo "20000 50000" > a/cpu.max; echo 30000 > a/cpu.max.burst; cat a/cpu.max a/cpu.max.burst'
t 'echo -cpu > cgroup.subtree_control; ls a | grep cpu.max; echo +cpu > cgroup.subtree_control; cat a/cpu.max a/cpu.weight a/cpu.max.burst; rmdir a/b a; echo -cpu > cgroup.subtree_control'
