import errno, os, select, threading, time
C = '/tmp/c'
os.mkdir(C)
os.system('mount -t cgroup2 none ' + C)
os.mkdir(C + '/a')
def t(text, f='cpu', data=None, g='a'):
    fd = os.open(C + '/' + g + '/' + f + '.pressure', os.O_RDWR)
    try:
        n = os.write(fd, data if data is not None else text.encode() + b'\0')
        r = 'wrote %d' % n
    except OSError as e:
        r = errno.errorcode[e.errno]
    p = select.poll(); p.register(fd, select.POLLPRI | select.POLLIN)
    print(repr(text), f, r, [hex(x[1]) for x in p.poll(0)])
    return fd
for x in ['some 150000 1000000', 'full 150000 1000000', 'some 150000 499999', 'some 500000 500000', 'some 500001 500000', 'some 0 500000', 'some 1 10000000', 'some 1 10000001', 'some 1', 'some', 'none 1 1000000', 'some 1 1000000 x', ' some 1 1000000', 'some  1   1000000', 'some -1 1000000', 'some 0x10 1000000','some 1 1000000000000']:
    os.close(t(x))
for f in 'io', 'memory': os.close(t('some 150000 1000000', f))
for f in 'cpu', 'io': os.close(t('full 150000 1000000', f, g='.'))
os.close(t('without nul', data=b'some 150000 1000000'))
os.close(t('newline', data=b'some 150000 1000000\n'))
os.close(t('empty', data=b''))
os.close(t('long', data=b'some 150000 1000000' + b' ' * 40 + b'\0'))
os.close(t('blanks', data=b'some ' + b' ' * 60 + b'150000 1000000'))
os.close(t('a page', data=b'some 150000 1000000' + b' ' * 5000))
fd = t('some 150000 1000000')
try: os.write(fd, b'some 150000 1000000\0')
except OSError as e: print('again', errno.errorcode[e.errno])
try: os.write(fd, b'x')
except OSError as e: print('again', errno.errorcode[e.errno])
print(os.read(fd, 100)[:10])
os.close(os.open(C + '/a/cpu.pressure', os.O_WRONLY | os.O_TRUNC))
os.sched_setaffinity(0, {1})
def hogs(group, n, cpu=0):
    kids = []
    for i in range(n):
        k = os.fork()
        if k == 0:
            with open(C + '/' + group + '/cgroup.procs', 'w') as f: f.write('0')
            os.sched_setaffinity(0, {cpu})
            while True: pass
        kids.append(k)
    return kids
def end(kids):
    for k in kids: os.kill(k, 9); os.waitpid(k, 0)
def events(fd, seconds):
    p = select.poll(); p.register(fd, select.POLLPRI)
    n = 0; start = time.time()
    while time.time() - start < seconds:
        got = p.poll(int(max(0, start + seconds - time.time()) * 1000) + 1)
        n += 1 if got and got[0][1] == select.POLLPRI else 0
    return n
full = t('full 150000 1000000')
print('idle', events(fd, 1.5))
kids = hogs('.', 1)
print('outside', events(fd, 1.5))
kids += hogs('a', 1)
n = events(full, 4.5); print('full beside another', 'right' if 3 <= n <= 6 else n)
end(kids[:1]); time.sleep(2.5); events(full, 0.1); events(fd, 0.1)
print('alone', events(full, 1.5), events(fd, 1.5))
kids = kids[1:] + hogs('a', 1)
n = events(fd, 4.5); print('some in the group', 'right' if 3 <= n <= 6 else n)
print('full', events(full, 1.5))
end(kids)
def told(fd, how):
    got = []
    def wait():
        p = select.poll(); p.register(fd, select.POLLPRI)
        got.extend(hex(x[1]) for x in p.poll(5000))
    w = threading.Thread(target=wait); w.start(); time.sleep(0.5); begin = time.time(); how(); w.join()
    return got, 'at once' if time.time() - begin < 3 else 'late'
time.sleep(3); events(full, 0.1); events(fd, 0.1)
def off():
    with open(C + '/a/cgroup.pressure', 'w') as f: f.write('0')
print('switched off', told(fd, off))
def tried(f):
    try: return f()
    except OSError as e: return errno.errorcode[e.errno]
print(tried(lambda: os.pread(fd, 10, 0)), tried(lambda: os.write(fd, b'some 1 1000000')), tried(lambda: os.open(C + '/a/cpu.pressure', os.O_RDONLY)))
with open(C + '/a/cgroup.pressure', 'w') as f: f.write('1')
p = select.poll(); p.register(fd, select.POLLPRI); time.sleep(1.5)
print('on again', [hex(x[1]) for x in p.poll(0)], tried(lambda: os.write(fd, b'some 1 1000000')))
os.close(fd); os.close(full)
fd = t('some 150000 1000000')
print('removed', told(fd, lambda: os.rmdir(C + '/a')))
print(tried(lambda: os.pread(fd, 10, 0)), tried(lambda: os.write(fd, b'some 1 1000000')), tried(lambda: os.write(fd, b'')))
p = select.poll(); p.register(fd, select.POLLPRI); print([hex(x[1]) for x in p.poll(0)])
