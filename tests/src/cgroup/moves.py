import os, time
os.mkdir('/tmp/c')
os.system('mount -t cgroup2 none /tmp/c')
os.chdir('/tmp/c')
for g in 'a', 'b', 'u': os.mkdir(g)
def write(file, text):
    with open(file, 'w') as f: f.write(text)
def read(file):
    with open(file) as f: return f.read()
def child(work):
    pid = os.fork()
    while not pid: work()
    return pid
def end(pid): os.kill(pid, 9); os.waitpid(pid, 0)

# Who waits for what it has vforked stands still for the freezer. It is moved all the time, and then gone.
def vfork():
    try: os.posix_spawn('/none', ['none'], {})
    except FileNotFoundError: pass
pids = [child(vfork) for _ in range(3)]
files = [os.open(g + '/cgroup.procs', os.O_WRONLY) for g in ('a', 'b')]
until = time.monotonic() + 8
while time.monotonic() < until:
    for fd in files:
        for pid in pids: os.write(fd, b'%d' % pid)
for pid in pids: end(pid)
# A kernel task never stands still, and no group that has one is frozen.
def movable(pid):
    try:
        ours = read(f'/proc/{pid}/stat').rsplit(')')[-1].split()[1] == '2'
        if ours: write('a/cgroup.procs', str(pid))
        return ours
    except OSError: return False
kernel = next(p for p in range(3, 1000) if movable(p))
for g in 'a', 'b':
    write(g + '/cgroup.procs', str(kernel)); write(g + '/cgroup.freeze', '1'); time.sleep(0.3)
    print(read(g + '/cgroup.events').split()); write(g + '/cgroup.freeze', '0')
write('cgroup.procs', str(kernel))
# And one whose tasks can stand still is.
for g in 'a', 'b':
    pid = child(lambda: time.sleep(1000))
    write(g + '/cgroup.procs', str(pid)); write(g + '/cgroup.freeze', '1')
    until = time.monotonic() + 30
    while 'frozen 1' not in read(g + '/cgroup.events') and time.monotonic() < until: time.sleep(0.1)
    print(read(g + '/cgroup.events').split()); write(g + '/cgroup.freeze', '0')
    end(pid)

# Time is used by tasks that end at once, and by nobody else; others make it long to add up.
def busy():
    pid = os.fork()
    if not pid:
        until = time.monotonic() + 0.003
        while time.monotonic() < until: pass
        os._exit(0)
    os.waitpid(pid, 0)
pid = child(busy)
write('u/cgroup.procs', str(pid))
others = [child(lambda: time.sleep(1000)) for _ in range(100)]
fd = os.open('u/cpu.stat', os.O_RDONLY)
last = back = 0
for _ in range(5000):
    now = int(os.pread(fd, 200, 0).split()[1])
    if now < last: back += 1
    last = now
print('back', back)
write('u/cgroup.kill', '1'); os.waitpid(pid, 0)
for pid in others: end(pid)
