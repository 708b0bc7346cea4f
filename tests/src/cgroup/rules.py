import errno, os, sys, time
os.mkdir('/tmp/c'); os.mkdir('/tmp/v'); os.mkdir('/tmp/q')
os.system('mount -t cgroup2 none /tmp/c; mount -t cgroup -o none,name=r none /tmp/v; mount -t cgroup -o cpuacct none /tmp/q')
os.chdir('/tmp/c')
def write(file, data):
    try:
        fd = os.open(file, os.O_WRONLY)
        try: return os.write(fd, data)
        finally: os.close(fd)
    except OSError as e: return errno.errorcode[e.errno]
def read(file):
    with open(file) as f: return f.read().strip()
def put(file, *texts):
    print(file, *(f'<{t}> {write(file, t.encode())}'.replace('\n', '|').replace('\0', '~') for t in texts), sep='  ')
def sleeper(group):
    pid = os.fork()
    while not pid: time.sleep(1000)
    move(pid, group)
    return pid
def move(pid, group, file='cgroup.procs'):
    done = write(f'{group}/{file}', b'%d' % pid)
    print('move to', group, done if isinstance(done, str) else 'ok')
def types(*groups): print(*(f'{g}: {read(g + "/cgroup.type")}' for g in groups))

print('-- tasks beside groups that have tasks')
put('cgroup.subtree_control', '+cpu +pids +cpuset')
os.makedirs('a/b')
p, q = sleeper('a'), sleeper('a/b')
put('a/cgroup.subtree_control', '+pids', '-pids'); types('a', 'a/b')
move(p, '.'); put('a/cgroup.subtree_control', '+pids'); types('a', 'a/b')
move(p, 'a'); move(p, 'a', 'cgroup.threads'); types('a', 'a/b')
put('a/cgroup.subtree_control', '-pids'); move(p, 'a'); move(p, '.')
print('-- domains with tasks below do not become threaded')
os.makedirs('d/e'); os.mkdir('d/f')
r = sleeper('d/e')
put('d/cgroup.type', 'threaded'); put('d/f/cgroup.type', 'threaded'); put('d/e/cgroup.type', 'threaded'); types('d', 'd/e', 'd/f')
move(r, '.'); put('d/f/cgroup.type', 'threaded'); types('d', 'd/e', 'd/f')
for pid in p, q, r: os.kill(pid, 9); os.waitpid(pid, 0)

print('-- numbers')
os.mkdir('x')
for file in 'cpu.weight', 'cpu.weight.nice', 'cpu.idle', 'cpu.max.burst':
    put('x/' + file, ' 1', '1 ', '1\t', '1\n\n', '\n1', '1 2', ' ', '\n', '0x1\n', '+1', '1\x002', '', '0')
for text in ['50000x', '010000', '0x2710', '10000 100000x', '10000 x', 'max 5', 'max ', 'maxx', '10000 1000000', '10000 1000001', '1000', '999',
        '17592186044416', '17592186044415', '18446744073709551615', '99999999999999999999999', '10000\t20000', '10000 20000 30000',
        '  20000   30000 ', ' max', '', '0', '-1', '+10000', 'max 100000']:
    put('x/cpu.max', text); print('   ', read('x/cpu.max'))
os.mkdir('/tmp/v/n'); os.mkdir('/tmp/q/n')
put('/tmp/v/n/notify_on_release', ' 1', '1 ', '1\n', '2', '', 'x'); put('/tmp/v/n/cgroup.clone_children', ' 1', '1 ', '1\n', '')
put('/tmp/q/n/cpuacct.usage', ' 0', '0 ', '0\n', '0x0', '', '1')
print('-- nothing')
put('x/cpuset.cpus', '0', ''); print(read('x/cpuset.cpus'))
for file in 'cgroup.procs', 'cgroup.threads', 'cgroup.type', 'cgroup.freeze', 'cgroup.kill', 'cgroup.max.depth', 'pids.max', 'cpuset.cpus.partition', 'cpu.pressure':
    put('x/' + file, '')
print(read('/proc/self/cgroup').splitlines()[-1])

print('-- who names the agent')
agent = '/tmp/v/release_agent'
put(agent, '/first')
os.chown(agent, 1000, 1000)
ours = os.open(agent, os.O_WRONLY)
sys.stdout.flush()
pid = os.fork()
if not pid:
    os.setgid(1000); os.setuid(1000)
    put(agent, '/evil', '')
    try: print('opened before', os.write(ours, b'/ours'))
    except OSError as e: print(errno.errorcode[e.errno])
    sys.stdout.flush(); os._exit(0)
os.waitpid(pid, 0)
print(read(agent))
os.mkdir('/tmp/m'); os.system('mount -t cgroup -o none,name=m,release_agent=/a=b none /tmp/m')
print([l.split()[3] for l in open('/proc/mounts') if '/tmp/m' in l])

print('-- a kernel task moves to one CPU and back')
os.mkdir('k'); put('k/cpuset.cpus', '1')
def allowed(pid): return next(l.split()[1] for l in open(f'/proc/{pid}/status') if l.startswith('Cpus_allowed_list'))
def movable(pid):
    try:
        free = read(f'/proc/{pid}/stat').rsplit(')')[-1].split()[1] == '2' and allowed(pid) == '0-1'
        return free and write('k/cgroup.procs', b'%d' % pid) != 'EINVAL'
    except OSError: return False
pid = next(p for p in range(3, 1000) if movable(p))
print(allowed(pid)); move(pid, '.'); print(allowed(pid)); os.rmdir('k')
