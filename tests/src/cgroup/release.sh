mkdir -p /tmp/n; cd /tmp; mount -t cgroup -o none,name=r none n; cd n
t() { echo "\$ $*"; ( eval "$*" ) 2>&1 | sed 's/^/  /'; }
cat > /tmp/agent <<'A'
#!/bin/sh
{ echo "$# $1"; pwd; id -u; grep -E '^(PPid|SigIgn)' /proc/$$/status; tr '\0' '\n' < /proc/$$/environ | grep -E '^(HOME|PATH|TERM)='; cat /proc/$$/cgroup | grep name=r; } >> /tmp/said.$$ 2>&1
mv /tmp/said.$$ /tmp/said
A
chmod +x /tmp/agent
said() { i=0; until [ -e /tmp/said -o $i -ge ${1:-100} ]; do sleep 0.1; i=$((i+1)); done; cat /tmp/said 2> /dev/null || echo nothing; rm -f /tmp/said; }
t 'echo /tmp/agent > release_agent; mkdir a a/b; echo 1 > a/notify_on_release; mkdir a/c; cat a/notify_on_release a/b/notify_on_release a/c/notify_on_release notify_on_release; rmdir a/b; said 10; rmdir a/c; said'
t 'sh -c "echo 0 > a/tasks; exit"; said; sh -c "echo 0 > a/tasks; sleep 0.1 & wait"; said'
sleep 100 & P=$!
t 'echo $P > a/tasks; said 10; echo $P > tasks; said'
t 'mkdir a/d; echo $P > a/d/tasks; echo $P > a/tasks; said; echo $P > tasks; said 10; rmdir a/d; said'
t 'echo 0 > a/notify_on_release; echo $P > a/tasks; echo $P > tasks; said 10; echo 1 > a/notify_on_release; said 10; echo /tmp/none > release_agent; echo $P > a/tasks; echo $P > tasks; said 10; echo > release_agent; echo $P > a/tasks; echo $P > tasks; said 10'
printf '#!/bin/sh\nrmdir "/tmp/n$1"; echo gone > /tmp/said\n' > /tmp/agent
t 'echo /tmp/agent > release_agent; cat release_agent; echo $P > a/tasks; mkdir "a/x y"; echo 1 > "a/x y/notify_on_release"; sh -c "echo 0 > \"a/x y/tasks\""; said; ls a | grep x; kill $P; said; ls -d a'
sleep 0.3; ps -o pid,stat,comm | grep -E " Z|agent" | wc -l
