import errno, os
os.mkdir('/tmp/c')
os.system('mount -t cgroup2 none /tmp/c')
os.chdir('/tmp/c')
def down(levels):
    for _ in range(levels): os.mkdir('g'); os.chdir('g')
def up(levels):
    for _ in range(levels): os.chdir('..'); os.rmdir('g')
def mine():
    with open('cgroup.procs', 'w') as f: f.write('0')
    try: return len(open('/proc/self/cgroup').read())
    except OSError as e: return errno.errorcode[e.errno]
def home():
    with open('/tmp/c/cgroup.procs', 'w') as f: f.write('0')
down(3); print(mine(), open('/proc/self/cgroup').read(), end=''); home(); up(3)
down(2047); print(mine()); home(); down(1); print(mine()); home(); up(2048)
# The lowest of those that are removed is the last that holds the others.
down(3000); fd = os.open('cpu.pressure', os.O_RDONLY); os.read(fd, 10); up(3000); os.close(fd)
print('alive', os.listdir('.').count('g'))
