//! Interrupt lines as user space sees and moves them.

use crate::{Case, Input, Output};

/// The serial port's line, and that of the timer, which each CPU has for itself. To stderr of `echo` goes what Linux answers.
const LINES: &str = r#"n() { sed -n "s/^ *\([0-9]*\):.*$1$/\1/p" /proc/interrupts; }
U=$(n uart-pl011); T=$(n arch_timer); cd /proc/irq; : < /dev/ttyAMA0
e() { echo "$1" > $2 2>/tmp/e; sed 's/.*: //' /tmp/e; }
echo $(ls -d $U $T) | grep -c "$U"
ls -l $U | cut -c1-10,57-; ls -l /proc/irq | grep -o '.*affinity' | cut -c1-10; stat -c %A . $U
cd /sys/kernel/irq/$U; echo *; grep . chip_name hwirq type wakeup actions | sed 's/v[0-9]/v/'; stat -c '%A %s' . type; wc -c < name
cut -d, -f4 per_cpu_count; cd /proc/irq/$U; cat affinity_hint node spurious effective_affinity_list smp_affinity_list; cat ../$T/effective_affinity
for v in 2 f ' 2' '2 ' 00000002 1, ,1 0 10 f0 x 2,0 1,,1 '2 3' 0x2 123456789 '' g; do echo "$v:"; e "$v" smp_affinity; cat smp_affinity effective_affinity; done | paste -sd' ' | sed 's/ \([^ ]*:\)/\n\1/g'
for v in 1 0-3 0,2 '1 2' ,1 N 0-N all 0-3:1/2 7 0-100 2-1 x 1- -1 0-3:2/1 3:1/2 ''; do echo "$v:"; e "$v" smp_affinity_list; cat smp_affinity_list effective_affinity; done | paste -sd' ' | sed 's/ \([^ ]*:\)/\n\1/g'
cd ../$T; e 2 smp_affinity; e 1 smp_affinity_list; cat smp_affinity
cd ..; for v in 0 f0 x; do e $v default_smp_affinity; done; e 2 default_smp_affinity; cat default_smp_affinity $U/smp_affinity
for f in spurious effective_affinity affinity_hint node; do e 1 $U/$f; done"#;

const SAID: &str = include_str!("irq.txt");

/// A line follows its CPUs as they go; when the last one has gone it may go anywhere, and stays so.
const GONE: &str = r#"cd /proc/irq/$(sed -n 's/^ *\([0-9]*\):.*uart-pl011$/\1/p' /proc/interrupts); c=/sys/devices/system/cpu
s() { echo $(cat smp_affinity effective_affinity smp_affinity_list); }
echo 6 > smp_affinity; s; echo 0 > $c/cpu1/online; s; echo 2 > smp_affinity; s; echo 0 > $c/cpu2/online; s
echo 1 > $c/cpu1/online; echo 1 > $c/cpu2/online; s; echo 2 > smp_affinity; s"#;

/// Workers of the work queues: a pool of each CPU, one of nice −20, some of no CPU, and the queue whose item they ran last.
const WORKERS: &str = r#"c() { cat /proc/[0-9]*/comm 2>/dev/null | grep -q "$1" && echo "$1"; }
c '^kworker/0:[0-9]*'; c '^kworker/1:[0-9]*'; c '^kworker/u[0-9]*:[0-9]*'; sleep 1; c '^kworker/[0-9u]*:[0-9]*[-+][a-z]'
for p in /proc/[0-9]*; do grep -q '^kworker/[01]:[0-9]*H' $p/comm 2>/dev/null && cut -d')' -f2 $p/stat | cut -d' ' -f18; done | sort -u"#;

/// What can be set of work queues. Linux's `writeback` and the only queue here are of the same kind; the directories' own files of every
/// device (`uevent`, `power`, `subsystem`) are not looked at.
const QUEUES: &str = r#"cd /sys/devices/virtual/workqueue; stat -c %A . cpumask
e() { (echo "$1" > $2) 2>/tmp/e; sed 's/.*: //' /tmp/e; }
t() { F=$1; shift; for v in "$@"; do echo "$v:"; e "$v" $F; cat $F; done | paste -sd' ' | sed 's/ \([^ ]*:\)/\n\1/g'; }
cat cpumask; t cpumask 2 f 0 f0 ff x '' 0x2 2, 00000003 f
for q in writeback events_unbound; do [ -d $q ] && break; done; cd $q; ls | grep -v -e uevent -e power -e subsystem -e numa | paste -sd' '
stat -c '%A %n' cpumask max_active nice per_cpu pool_ids; cat cpumask nice per_cpu; sed 's/[0-9]*$/N/' pool_ids
t max_active 1 512 513 2000 0 -1 x 3x '' 5000000000; t nice 1 -20 -21 19 20 x '' 5y 0; t cpumask 2 f f0 x 0x2 1, 00000003 '' 0 f
for f in per_cpu pool_ids; do e 1 $f; done"#;

const QUEUES_SAID: &str = include_str!("irq_queues.txt");

/// The workers of a queue that is bound to no CPU are where the masks leave them, and as nice as their queue; a worker of a CPU stays there.
const MASKS: &str = r#"cd /sys/devices/virtual/workqueue
w() { for p in /proc/[0-9]*; do case "$(cat $p/comm 2>/dev/null)" in $1) echo $(sed -n 's/^Cpus_allowed_list:.//p' $p/status) $(cut -d')' -f2 $p/stat | cut -d' ' -f18);; esac; done | sort -u; }
U='kworker/u*events_unb*'; w 'kworker/1:0*'; w "$U"; echo 6 > cpumask; w "$U"; echo 12 > events_unbound/cpumask 2>/dev/null; echo c > events_unbound/cpumask; echo 3 > events_unbound/nice; w "$U"
echo 3 > cpumask; w "$U"; echo f > cpumask; w "$U"; w 'kworker/1:0*'"#;

/// Three items that come up at once while their workers cannot run (a time-out of the averages of pressure, one of a trigger, the real-time
/// clock's alarm) make workers that the pool does not need afterwards: they are in `/proc` for five minutes, and two stay.
const IDLE: &str = r#"w() { n=0; for p in /proc/[0-9]*; do read -r c < $p/comm; case $c in kworker/u*) n=$((n + 1));; esac; done; echo $n; }
taskset -p 2 $$ > /dev/null; echo -1 > /proc/sys/kernel/sched_rt_runtime_us; echo 1 > /sys/devices/virtual/workqueue/cpumask
cat /proc/pressure/cpu > /dev/null; sleep 1; taskset 1 chrt -f 50 sh -c 'while [ ! -e /go ]; do :; done' &
exec 3<> /proc/pressure/cpu; echo 'some 100000 1000000' >&3; echo +1 > /sys/class/rtc/rtc0/wakealarm
sleep 1.5; : > /go; wait; exec 3>&-; sleep 1; a=$(w); sleep 250; b=$(w); sleep 150; c=$(w)
[ $a -gt 2 ] && [ $b = $a ] && echo $c"#;

/// With `threadirqs` a handler is a real-time task (priority 50, SCHED_FIFO), and the line works all the same and takes its thread along.
const THREADS: &str = r#": < /dev/ttyAMA0; sleep 0.2
for p in /proc/[0-9]*; do case "$(cat $p/comm 2>/dev/null)" in irq/*-uart-pl0*) P=$p;; esac; done
sed 's/[0-9]\+/N/;s/01*$/0/' $P/comm; cut -d')' -f2 $P/stat | cut -d' ' -f39,40
L=$(sed 's/^irq.\([0-9]*\)-.*/\1/' $P/comm)
echo 2 > /proc/irq/$L/smp_affinity; for i in 1 2 3; do echo x > /dev/ttyAMA0; sleep 0.3; done; cat /proc/irq/$L/effective_affinity
for p in /proc/[0-9]*; do case "$(cat $p/comm 2>/dev/null)" in ksoftirqd/0) echo ksoftirqd;; esac; done"#;

/// Coarse timers run in the TIMER softirq: the averages of pressure are brought up to date by one every two seconds.
const TIMER: &str = r#"n() { sed -n 's/^ *TIMER://p' /proc/softirqs | tr -s ' ' '\n' | awk '{ n += $1 } END { print n + 0 }'; }
cat /proc/pressure/cpu > /dev/null; a=$(n); sleep 6; [ $(n) -ge $((a + 2)) ] && echo moves"#;

/// The cases. Bare names are busybox applets.
pub fn cases() -> Vec<Case> {
    let case = |name: &str, script, out: &str| {
        Case::program(name, vec!["sh", "-c", script], 0).options(&["--smp", "4", "--timeout", "120"]).streams(
            Input::Empty,
            Output::Exact(out.to_string()),
            Output::Any,
        )
    };
    vec![
        case("irq/files", LINES, SAID),
        case("irq/hotplug", GONE, "6 2 1-2\n6 4 1-2\n6 4 1-2\n9 1 0,3\n9 1 0,3\n2 2 1\n"),
        case("irq/threads", THREADS, "irq/N-uart-pl0\n50 1\n2\nksoftirqd\n").options(&["--append", "threadirqs"]),
        case("irq/timer-softirq", TIMER, "moves\n"),
        case("irq/queues", QUEUES, QUEUES_SAID),
        case("irq/masks", MASKS, "1 -20\n1 0\n0-3 0\n1-2 0\n2 3\n0-1 3\n2-3 3\n1 -20\n1 0\n"),
        case("irq/idle-workers", IDLE, "2\n").options(&["--icount"]).on(&["dash", "coreutils", "util-linux"]),
        case(
            "irq/workers",
            WORKERS,
            "^kworker/0:[0-9]*\n^kworker/1:[0-9]*\n^kworker/u[0-9]*:[0-9]*\n^kworker/[0-9u]*:[0-9]*[-+][a-z]\n-20\n",
        ),
    ]
}
