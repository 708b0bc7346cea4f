import select, os, time, errno, sys
def t(text, f='cpu', data=None):
    fd = os.open('/proc/pressure/' + f, os.O_RDWR)
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
os.close(t('some 150000 1000000 without nul', data=b'some 150000 1000000'))
os.close(t('newline', data=b'some 150000 1000000\n'))
os.close(t('empty', data=b''))
os.close(t('long', data=b'some 150000 1000000' + b' ' * 40 + b'\0'))
fd = t('some 150000 1000000')
try: os.write(fd, b'some 150000 1000000\0')
except OSError as e: print('again', errno.errorcode[e.errno])
print(os.read(fd, 100)[:10])
p = select.poll(); p.register(fd, select.POLLPRI)
print('idle', p.poll(1500))
kids = []
for i in range(2 * os.cpu_count()):
    k = os.fork()
    if k == 0:
        while True: pass
    kids.append(k)
n = 0; start = time.time()
# One a window at most: at 0.15, 1.15, ... 6.15 s.
while time.time() - start < 5.5:
    got = p.poll(5000)
    n += 1 if got and got[0][1] == select.POLLPRI else 0
print('events', 'right' if 4 <= n <= 7 else n)
for k in kids: os.kill(k, 9); os.wait()
os.setresuid(1000, 1000, 1000)
for w in ('some 150000 1000000', 'some 150000 2000000', 'full 150000 4000000', 'some 150000 3000000'): os.close(t(w))
print('user reads', os.read(os.open('/proc/pressure/cpu', os.O_RDONLY), 9))
