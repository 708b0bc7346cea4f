mkdir -p /tmp/c; mount -t cgroup2 none /tmp/c; cd /tmp/c
t() { echo "\$ $*"; ( eval "$*" ) 2>&1 | sed 's/^/  /'; }
t 'echo "+cpu +pids +cpuset" > cgroup.subtree_control; mkdir a; cat cgroup.subtree_control a/cgroup.controllers a/cgroup.subtree_control'
t 'cd a; for f in cgroup.events cgroup.freeze cgroup.kill cgroup.max.depth cgroup.max.descendants cgroup.procs cgroup.type pids.current pids.events pids.max pids.peak cpuset.cpus cpuset.cpus.effective cpuset.mems; do ls -l $f | cut -c1-10; cat $f; done'
sleep 100 & P=$!
t 'echo $P > a/cgroup.procs; wc -l < a/cgroup.procs; cat a/cgroup.events a/pids.current; cat /proc/$P/cgroup'
t 'rmdir a'
t 'mkdir a/b; echo +pids > a/cgroup.subtree_control'
t 'echo 99999 > a/cgroup.procs'
t 'echo x > a/cgroup.procs'
t 'echo -1 > a/cgroup.procs'
t 'echo 2 > a/cgroup.procs'
t 'echo threaded > a/b/cgroup.type; cat a/cgroup.type a/b/cgroup.type'
t 'echo $P > a/b/cgroup.threads; wc -l < a/b/cgroup.threads'
t 'echo $P > a/b/cgroup.procs; cat a/b/cgroup.procs; wc -l < a/cgroup.procs'
t 'echo domain > a/b/cgroup.type'
t 'echo foo > a/b/cgroup.type'
t 'echo 1 > a/b/cgroup.kill'
t 'mkdir a/b/d; cat a/b/d/cgroup.type; echo $P > a/b/d/cgroup.procs; echo +pids > a/b/d/cgroup.subtree_control; echo threaded > a/b/d/cgroup.type; cat a/b/d/cgroup.type; rmdir a/b/d'
t 'rmdir a/b'
t 'echo $P > cgroup.procs'
t 'rmdir a/b; echo +pids > a/cgroup.subtree_control; cat a/cgroup.subtree_control'
t 'mkdir a/n; cat a/n/cgroup.type; ls a/n | grep pids; echo +foo > a/cgroup.subtree_control'
t 'echo +cpu -pids +pids > a/cgroup.subtree_control; cat a/cgroup.subtree_control'
t 'echo cpu > a/cgroup.subtree_control'
t 'echo $P > a/cgroup.procs'
t 'echo -pids > cgroup.subtree_control'
t 'rmdir a'
t 'echo 1 > a/cgroup.max.descendants; mkdir a/m; echo 0 > a/cgroup.max.depth; rmdir a/n; mkdir a/m'
t 'echo max > a/cgroup.max.depth; echo -2 > a/cgroup.max.depth; echo max > a/cgroup.max.descendants; cat a/cgroup.max.depth a/cgroup.max.descendants'
t 'mkdir "a/x
y"'
t 'touch a/zz; rm a/pids.max; mv a/pids.max a/pp; mkdir a/q; mv a/q a/r; rmdir a/q; ln -s x a/l; ln a/pids.max a/pm; mknod a/f p'
t 'echo -cpu > a/cgroup.subtree_control; echo -pids > a/cgroup.subtree_control; echo $P > a/cgroup.procs'
t 'echo 1 > a/cgroup.freeze; sleep 0.1; cat a/cgroup.events; grep State /proc/$P/status; echo 2 > a/cgroup.freeze; echo x > a/cgroup.freeze; cat a/cgroup.freeze'
t 'echo 0 > a/cgroup.kill; echo 1 > a/cgroup.kill; sleep 0.2; cat a/cgroup.events'
wait $P; echo $?
t 'chmod 777 a; chown 1:1 a; ls -ld a | cut -c1-36; chown 5 a/cgroup.procs; ls -l a/cgroup.procs | cut -c1-36'
t 'echo 0 > a/cgroup.freeze; echo 3 > a/pids.max; cat a/pids.max; echo -1 > a/pids.max; echo max > a/pids.max; echo 4294967296 >a/pids.max'
t 'echo 2 > a/pids.max; sh -c "echo 0 > a/cgroup.procs; cat a/pids.current; (sleep 1; true | (true; sleep 1))"; cat a/pids.events'
t 'echo 0 > a/cpuset.cpus; sh -c "echo 0 > a/cgroup.procs; grep Cpus_allowed_list /proc/self/status; taskset -p 2 \$\$ >/dev/null 2>&1; echo \$?"; cat a/cpuset.cpus.effective; echo 7 > a/cpuset.cpus; echo x > a/cpuset.cpus; echo 0 > cpuset.cpus'
echo u1000:x:1000:1000::/:/bin/sh >> /etc/passwd
mkdir d; chown 1000 d d/cgroup.procs d/cgroup.threads d/cgroup.subtree_control; mkdir d/x; chown 1000 d/x/cgroup.procs
cat > /tmp/user.sh <<'U'
echo 0 > d/cgroup.procs; mkdir d/e; ls -ld d/e | cut -c1-20; echo 0 > d/e/cgroup.procs; cat /proc/self/cgroup; echo 0 > cgroup.procs; rmdir d/x; echo 7 > d/pids.max; echo +pids > d/cgroup.subtree_control; ls d/e | grep pids.max
U
t 'sh -c "echo 0 > d/cgroup.procs; exec su -s /bin/sh u1000 /tmp/user.sh"'
t 'mount -t cgroup2 -o foo none /tmp/c; mount -t cgroup2 -o nsdelegate none /tmp/c; grep cgroup2 /proc/mounts | cut -d" " -f3,4'
