//! Scheduling as hogs see it, on one CPU in virtual time. The figures themselves are checked by `accept sched`.
use crate::{Case, Fixture, Input, Output, RT_TESTS};

/// What takes over 8 µs to wake anybody is a stretch that nobody can preempt: a fork once held a page table's lock for 50 µs.
const LATENCY: &str = r#"t=$(cyclictest -q -m -p95 -i1000 -l400 2>/dev/null); echo "$t"; (( ${t##*Max:} <= 8 ))"#;

/// Runs a program that must end with 0; if it does not, says so, with what it printed.
macro_rules! programs {
    ($lines:literal) => {
        concat!("try() { timeout 60 \"$@\" >/tmp/out 2>&1 || { echo \"$? from $*\"; cat /tmp/out; }; }\n", $lines)
    };
}

/// Those that keep deadlines, where no other machine's load can make them miss one. Not `sigwaittest -f`: 5 runs of 100 on one CPU hang,
/// on Linux 6.1 as here.
const PROGRAMS: &str = programs!(
    "\
try pip_stress
try sigwaittest -q -p 90 -l 20
try /usr/bin/svsematest -q -p 90 -l 20
try /usr/bin/svsematest -q -f -p 90 -l 20
try pmqtest -q -p 90 -l 20
try cyclictest -q -m -p 90 -i 1000 -l 50
try cyclicdeadline -q -D 1 -i 10000
try deadline_test -t 1 -i 100000 -p 20 -P 90
"
);

/// Those that need several CPUs at once; how late they are is not looked at.
const PROGRAMS_SMP: &str = programs!(
    "\
try pi_stress -q --duration 1 --groups 1
try rt-migrate-test -l 3
try ptsematest -q -p 90 -l 20 -a -t
try pmqtest -q -S -p 90 -l 20
try signaltest -q -p 90 -l 20 -t 4
try cyclictest -q -m -S -p 90 -i 1000 -l 50
try oslat -q -D 1 -c 1
"
);

/// What is made of rt-app's logs, on both kernels.
const RT_APP_SAYS: &str = "\
consumer SCHED_OTHER runs, 0 late\n\
deadline SCHED_DEADLINE runs, 0 late\n\
fair SCHED_OTHER runs, 0 late\n\
fifo SCHED_FIFO runs, 0 late\n\
producer SCHED_OTHER runs, 0 late\n\
rr SCHED_RR runs, 0 late\n";

/// The tools by which users choose policies, priorities and CPUs.
const POLICIES: &str = r#"
sleep 1000 & p=$!
say() { chrt -p $p | sed "s/.*current //"; }
chrt -f -p 10 $p; say
chrt -R -r -p 20 $p; say
chrt -b -p 0 $p; say
chrt -i -p 0 $p; say
chrt -d -T 1000000 -D 5000000 -P 10000000 -p 0 $p; say
chrt -a -o -p 0 $p; say
chrt -f 50 chrt -r 7 chrt -p 0 | sed "s/.*current //"
chrt -f -p 100 $p 2>/dev/null || echo refused
taskset -cp 0 $p >/dev/null; taskset -cp $p | sed "s/.*current //"
taskset -cp 77 $p >/dev/null 2>&1 || echo refused
taskset 2 taskset -p $p | sed "s/.*current //"
schedtool -R -p 30 -a 0x3 $p; schedtool $p | sed "s/^PID *[0-9]*: //"
schedtool -N -n 7 $p; schedtool $p | sed "s/^PID *[0-9]*: //"
kill $p
"#;

/// What they say, on both kernels.
const TOOLS_SAY: &str = "\
scheduling policy: SCHED_FIFO\n\
scheduling priority: 10\n\
scheduling policy: SCHED_RR|SCHED_RESET_ON_FORK\n\
scheduling priority: 20\n\
scheduling policy: SCHED_BATCH\n\
scheduling priority: 0\n\
scheduling policy: SCHED_IDLE\n\
scheduling priority: 0\n\
scheduling policy: SCHED_DEADLINE\n\
scheduling priority: 0\n\
runtime/deadline/period parameters: 1000000/5000000/10000000\n\
scheduling policy: SCHED_OTHER\n\
scheduling priority: 0\n\
scheduling policy: SCHED_RR\n\
scheduling priority: 7\n\
refused\n\
affinity list: 0\n\
refused\n\
affinity mask: 1\n\
PRIO  30, POLICY R: SCHED_RR      , NICE   0, AFFINITY 0x3\n\
PRIO   0, POLICY N: SCHED_NORMAL  , NICE   7, AFFINITY 0x3\n\
";

/// A script on `cpus` CPUs, and what it prints on both kernels.
fn script(name: &str, cpus: &'static str, text: &'static str, says: &'static str) -> Case {
    let says = Output::Exact(says.to_string());
    Case::program(name, vec!["sh", "-c", text], 0).streams(Input::Empty, says, Output::Any).options(&["--smp", cpus])
}

fn shares(name: &str, what: &'static str, n: &'static str, says: &'static str) -> Case {
    Case::program(name, vec!["./stress", "shares", what, n], 0)
        .streams(crate::Input::Empty, Output::Contains(says), Output::Any)
        .with(&[Fixture::Own("stress", "vigil-stress")])
        .options(&["--smp", "1", "--qemu-arg=-icount", "--qemu-arg=shift=5,sleep=off"])
}

/// `stress` on two CPUs says this, and ends well.
fn stress(name: &str, argv: Vec<&'static str>, says: &str) -> Case {
    Case::program(name, argv, 0)
        .streams(Input::Empty, Output::Exact(says.to_string()), Output::Empty)
        .with(&[Fixture::Own("stress", "vigil-stress")])
        .options(&["--smp", "2"])
}

/// Averages of a hog, and the form of `/proc/schedstat`.
const AVERAGES: &str = "avg() { grep se.avg.$2_avg /proc/$1/sched | tr -dc 0-9; }; [ -f /proc/1/sched ] || exit 1
sh -c 'while :; do :; done' & H=$!; sleep 1; for i in 1 2 3 4 5 6 7 8 9; do U=$(avg $H util); [ $U -ge 1000 ] && break; sleep 1; done; [ $U -ge 1000 -a $U -le 1024 ] && echo busy || echo util $U
L=$(avg $H load); [ $L -ge 1000 -a $L -le 1024 ] && echo heavy || echo load $L
kill $H; sed -n 1p /proc/schedstat; sed -n 4p /proc/schedstat | wc -w";

/// Debian's numactl: one node with all CPUs, and the policies that it sets are those that it shows.
const NUMACTL: &str = "numactl -H | grep -v MB; numactl --show | head -5; numactl --membind=0 --cpunodebind=0 numactl --show
numactl --interleave=0 numactl --show | head -3; numactl --preferred=0 numactl --show | head -2; numactl --localalloc numactl --show | head -2
numactl --membind=1 true >/dev/null 2>&1 || echo refused";

const NUMACTL_SAYS: &str = "available: 1 nodes (0)
node 0 cpus: 0 1
node distances:
node   0\x20
  0:  10\x20
policy: default
preferred node: current
physcpubind: 0 1\x20
cpubind: 0\x20
nodebind: 0\x20
policy: bind
preferred node: 0
physcpubind: 0 1\x20
cpubind: 0\x20
nodebind: 0\x20
membind: 0\x20
preferred: 0\x20
policy: interleave
preferred node: 0 (interleave next)
interleavemask: 0\x20
policy: preferred
preferred node: 0
policy: local
preferred node: physcpubind: 0 1\x20
refused
";

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        Case::program("sched/averages", vec!["sh", "-c", AVERAGES], 0)
            .streams(crate::Input::Empty, Output::Exact("busy\nheavy\nversion 15\n38\n".to_string()), Output::Empty)
            .options(&["--smp", "2"]),
        script("sched/schedstats", "2", include_str!("sched/schedstats.sh"), include_str!("sched/schedstats.out")),
        script("sched/pressure", "2", include_str!("sched/pressure.sh"), include_str!("sched/pressure.out")),
        Case::program("sched/pressure-triggers", vec!["python3", "-c", include_str!("sched/pressure_triggers.py")], 0)
            .streams(Input::Empty, Output::Exact(include_str!("sched/pressure_triggers.out").to_string()), Output::Empty)
            .on(&["python3-minimal"])
            .options(&["--smp", "2"]),
        script("sched/numactl", "2", NUMACTL, NUMACTL_SAYS).on(&["coreutils", "grep", "numactl"]),
        script("sched/domains", "4", include_str!("sched/domains.sh"), include_str!("sched/domains.out")),
        shares("sched/deadline-admission", "admission", "0", "errno_951 16\nerrno_950 0"),
        shares("sched/deadline-hog", "deadline", "5000", "percent_0 10\n"),
        shares("sched/deadline-among-hogs", "reservation", "100", "missed 0"),
        shares("sched/deadline-beside-sleeper", "gaps", "5", "longer_0 0\n"),
        // Who waits on one CPU hears that the other one has something less urgent than it.
        stress("sched/urgent-other-is-lowered", vec!["./stress", "urgent", "low"], ""),
        stress("sched/urgent-other-becomes-fair", vec!["./stress", "urgent", "fair"], ""),
        stress("sched/urgent-other-leaves", vec!["./stress", "urgent", "leaves"], ""),
        stress("sched/policy-beside-nice", vec!["./stress", "shares", "reniced", "2000"], "wrong 0\n"),
        shares("sched/fifo-leaves-some", "fifo", "5000", "percent_1 5\n"),
        // Linux fails this one: it needs up to 1 ms.
        Case::program("sched/latency-beside-faults", vec!["./stress", "beside", "faults", "bash", "-c", LATENCY], 0)
            .with(&[Fixture::Own("stress", "vigil-stress")])
            .on(RT_TESTS)
            .options(&["--icount"]),
        Case::program("sched/rt-tests", vec!["bash", "-c", PROGRAMS], 0)
            .streams(Input::Empty, Output::Empty, Output::Any)
            .on(RT_TESTS)
            .options(&["--smp", "1", "--icount"]),
        Case::program("sched/rt-tests-smp", vec!["bash", "-c", PROGRAMS_SMP], 0)
            .streams(Input::Empty, Output::Empty, Output::Any)
            .on(RT_TESTS),
        // Threads of four policies, their timers, locks and condition variables: nobody is late, as on Linux.
        Case::program("sched/rt-app", vec!["sh", "-c", include_str!("sched/rt_app.sh"), include_str!("sched/rt_app.json")], 0)
            .on(&["coreutils", "mawk", "rt-app"])
            .streams(Input::Empty, Output::Exact(RT_APP_SAYS.to_string()), Output::Empty)
            .options(&["--smp", "1", "--icount"]),
        Case::program("sched/policies-by-tools", vec!["sh", "-c", POLICIES], 0)
            .on(&["coreutils", "schedtool", "sed", "util-linux"])
            .streams(Input::Empty, Output::Exact(TOOLS_SAY.to_string()), Output::Any),
    ]
}
