mkdir -p /tmp/v
t() { echo "\$ $*"; ( eval "$*" ) 2>&1 | sed 's/^/  /'; }
cd /tmp; mount -t cgroup -o cpu,cpuacct none v; cd v; mkdir a a/b
t 'for f in cpu.shares cpu.idle cpu.cfs_quota_us cpu.cfs_period_us cpu.cfs_burst_us cpu.stat; do ls -l $f | cut -c1-10; cat $f a/$f; done'
t 'echo 512 > cpu.shares; echo 1 > cpu.idle; echo 5000 > cpu.cfs_quota_us; echo 50000 > cpu.cfs_period_us'
t 'echo 1 > a/cpu.shares; cat a/cpu.shares; echo 999999999 > a/cpu.shares; cat a/cpu.shares; echo -1 > a/cpu.shares'
t 'echo 50000 > a/cpu.cfs_quota_us; echo 60000 > a/b/cpu.cfs_quota_us; echo 50000 > a/b/cpu.cfs_quota_us; echo 40000 > a/cpu.cfs_quota_us; echo 50000 > a/cpu.cfs_period_us; echo -1 > a/cpu.cfs_quota_us; cat a/cpu.cfs_quota_us a/b/cpu.cfs_quota_us; echo 999 > a/b/cpu.cfs_quota_us; echo 1000001 > a/b/cpu.cfs_period_us'
t 'echo 1 > a/cpu.idle; cat a/cpu.shares; echo 5 > a/cpu.shares; echo 0 > a/cpu.idle; cat a/cpu.shares'
