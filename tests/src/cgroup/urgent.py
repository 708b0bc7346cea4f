import os, time
os.mkdir('/tmp/c')
os.system('mount -t cgroup2 none /tmp/c; echo -1 > /proc/sys/kernel/sched_rt_runtime_us')
os.chdir('/tmp/c')
for i in range(100): os.mkdir(f'g{i}')
# One that is not urgent has the trees of groups locked most of the time,
pid = os.fork()
while not pid: os.mkdir('m'); os.rmdir('m')
# and one that is, and runs on the same CPU, wants to know its own.
os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))
for _ in range(2000):
    time.sleep(0.0007)
    with open('/proc/self/cgroup') as f: path = f.read()
print(path, end='')
os.kill(pid, 9)
