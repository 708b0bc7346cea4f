//! CPUs that go and come.

use crate::{Case, Input, Output};

/// What the files say and take, and who follows.
const FILES: &str = "cd /sys/devices/system/cpu
for v in 2 x ' 0' -1; do printf %s \"$v\" > cpu1/online 2>/dev/null; echo \"$v: $?\"; done
echo 0 > cpu1/online; echo $?; echo 0 > cpu1/online; echo $?
grep . online offline present possible cpu1/online cpu1/hotplug/state cpu1/hotplug/target
ls -d cpu*/topology; cat cpu0/topology/core_siblings_list
grep processor /proc/cpuinfo; grep -o '^cpu[0-9]*' /proc/stat; head -1 /proc/interrupts; nproc
taskset f true; taskset 2 true 2>/dev/null; echo $?; grep Cpus_allowed_list /proc/self/status
echo 5 > cpu1/hotplug/target 2>/dev/null; echo $?; echo 1 > cpu1/online; cat cpu1/online cpu1/hotplug/state online
for i in 0 1 2 3; do echo 0 > cpu$i/online 2>/dev/null; echo \"cpu$i $?\"; done
cat online; for i in 0 1 2; do echo 1 > cpu$i/online; done; cat online; nproc";

const SAID: &str = "2: 1\nx: 1\n 0: 1\n-1: 1\n0\n0\nonline:0,2-3\noffline:1\npresent:0-3\npossible:0-3\ncpu1/online:0\ncpu1/hotplug/state:0
cpu1/hotplug/target:0\ncpu0/topology\ncpu2/topology\ncpu3/topology\n0,2-3\nprocessor\t: 0\nprocessor\t: 2\nprocessor\t: 3\ncpu\ncpu0\ncpu2\ncpu3
           CPU0       CPU2       CPU3       \n3\n1\nCpus_allowed_list:\t0-3\n1\n1\n236\n0-3\ncpu0 0\ncpu1 0\ncpu2 0\ncpu3 1\n3\n0-3\n4\n";

/// A hog, and one that sleeps, lose their only CPU: the hog at once, the other one when he wakes. One that does not wake keeps it.
const PINNED: &str = "(while :; do :; done) & h=$!; sleep 2 & s=$!; sleep 100 & l=$!
for p in $h $s $l; do taskset -p 2 $p >/dev/null; done
sleep 0.5; echo 0 > /sys/devices/system/cpu/cpu1/online; sleep 0.2
for p in $h $s $l; do grep Cpus_allowed: /proc/$p/status; done
wait $s; echo woke $?; u=$(cut -d' ' -f14 /proc/$h/stat); sleep 1; [ $(cut -d' ' -f14 /proc/$h/stat) -gt $((u + 20)) ] && echo goes on
echo 1 > /sys/devices/system/cpu/cpu1/online; taskset -p $l | grep -o ': .*'
kill -9 $h $l; dmesg | grep -c 'process .* no longer affine to cpu'";
const LOST: &str = "Cpus_allowed:\tf\nCpus_allowed:\t2\nCpus_allowed:\t2\nwoke 0\ngoes on\n: 2\n2\n";

/// Two shells switch the same CPUs off and on, against each other.
const RACE: &str = "cd /sys/devices/system/cpu
(for i in 1 2 3 4 5 6 7 8 9 10; do for c in 1 2 3; do echo 0 > cpu$c/online || echo failed; echo 1 > cpu$c/online || echo failed; done; done) &
for i in 1 2 3 4 5 6 7 8 9 10; do for c in 3 2 1; do echo 1 > cpu$c/online || echo failed; echo 0 > cpu$c/online || echo failed; done; done
wait; for c in 1 2 3; do echo 1 > cpu$c/online; done; cat online; for c in 0 1 2 3; do taskset -c $c echo $c; done";

/// Of those that were left at boot one is brought up.
const LATER: &str = "cd /sys/devices/system/cpu; cat online offline possible; taskset -c 2 true 2>/dev/null; echo $?
echo 1 > cpu2/online; cat online offline; taskset -c 2 cut -d' ' -f39 /proc/self/stat; echo 0 > cpu2/online; echo 1 > cpu3/online; cat online";

/// Four reservations of 90 % need four CPUs.
const PROMISED: &str = "for i in 1 2 3 4; do chrt -d -T 90000000 -D 100000000 -P 100000000 0 sleep 5 & done; sleep 0.5
echo 0 > /sys/devices/system/cpu/cpu3/online; echo $?; wait; sleep 0.3
echo 0 > /sys/devices/system/cpu/cpu3/online; echo $?
for i in 1 2 3; do chrt -d -T 90000000 -D 100000000 -P 100000000 0 sleep 5 & done; sleep 0.5
chrt -d -T 90000000 -D 100000000 -P 100000000 0 true 2>/dev/null; echo $?";

const CHCPU: &str = "chcpu -d 1,3; lscpu -e=cpu,online; chcpu -e 1,3; chcpu -d 9; echo $?; chcpu -d 1; chcpu -d 1; chcpu -e 1; cat /sys/devices/system/cpu/online";
const LISTED: &str =
    "CPU 1 disabled\nCPU 3 disabled\nCPU ONLINE\n  0    yes\n  1     no\n  2    yes\n  3     no\nCPU 1 enabled\nCPU 3 enabled\n64
CPU 1 disabled\nCPU 1 is already disabled\nCPU 1 enabled\n0-3\n";

/// CPUs 1 to 7 go and come for `$1` seconds beside hackbench, sleepers, a hog, and a group that is held back. Says how often, and what
/// was lost: runs of hackbench, memory, a sleeper who was not woken. Memory is compared while only CPU 0 is on, so that no other one has
/// any on its lists.
pub const LOAD: &str = r#"cd /sys/devices/system/cpu; mkfifo /tmp/f; exec 7<>/tmp/f
rest() { read -rt "$1" x <&7; }
off() { for c in 1 2 3 4 5 6 7; do echo 0 > cpu$c/online || echo "failed $c"; done; }
on() { for c in 7 3 1 2 6 5 4; do echo 1 > cpu$c/online || echo "failed $c"; done; }
free() { off; echo 3 > /proc/sys/vm/drop_caches; rest 0.3; while read -r a b c; do [ $a = MemFree: ] && free=$b; done < /proc/meminfo; on; }
mkdir -p /tmp/cg; mount -t cgroup2 none /tmp/cg; echo +cpu > /tmp/cg/cgroup.subtree_control; mkdir /tmp/cg/a; echo 5000 100000 > /tmp/cg/a/cpu.max
load() {
    rm -f /tmp/stop
    for i in 1 2; do ( while [ ! -e /tmp/stop ]; do :; done ) & echo $! > /tmp/cg/a/cgroup.procs; done
    nice taskset -c 1 bash -c 'while [ ! -e /tmp/stop ]; do :; done' &
    for c in 1 3 5 7; do taskset -c $c bash -c 'late=0; while [ ! -e /tmp/stop ]; do
        a=${EPOCHREALTIME/./}; read -rt 0.05 x <&7; b=$((${EPOCHREALTIME/./} - a - 50000)); [ $b -gt $late ] && late=$b
    done; echo "late_'$c' $late"' & done
    ( n=0; lost=0; while [ ! -e /tmp/stop ]; do
        hackbench -g 2 -l 100 > /tmp/hb && n=$((n + 1)) || lost=$((lost + 1))
        hackbench -T -p -g 2 -l 100 > /tmp/hb && n=$((n + 1)) || lost=$((lost + 1))
    done; echo "runs $n"; echo "lost $lost" ) &
    rest 1; n=0; end=$((SECONDS + $1)); while [ $SECONDS -lt $end ]; do off; on; n=$((n + 1)); done
    touch /tmp/stop; wait; echo "rounds $n"
}
load 1 > /tmp/first; free; before=$free
load $1 > /tmp/figures; free
echo "leak $((before - free))" >> /tmp/figures; cat /tmp/figures
good=1; while read -r name n; do case $name in
    lost) [ $n = 0 ] || good=0 ;; runs | rounds) [ $n -gt 0 ] || good=0 ;; leak) [ $n -le 256 ] || good=0 ;;
    late_*) [ $n -lt 5000000 ] || good=0 ;; *) good=0 ;; esac; done < /tmp/figures
[ $good = 1 ] && echo nothing lost"#;

/// Beyond so many microseconds a sleeper was not woken, but by something else; and so many KiB may be on lists of CPU 0.
pub const LATE: i64 = 5_000_000;
/// See [`LATE`].
pub const LEAK: i64 = 256;

/// What [`LOAD`] needs.
pub const PACKAGES: &[&str] = &["bash", "coreutils", "rt-tests", "util-linux", "mount"];

/// The cases. Bare names are busybox applets, but for those on a root file system of packages.
pub fn cases() -> Vec<Case> {
    let case = |name: &str, options: &[&str], script, out: &str| {
        Case::program(name, vec!["sh", "-c", script], 0).options(&["--timeout", "120"]).options(options).streams(
            Input::Empty,
            Output::Exact(out.to_string()),
            Output::Any,
        )
    };
    let four = &["--smp", "4"][..];
    let mut load = Case::program("smp/hotplug", vec!["bash", "-c", LOAD, "load", "12"], 0)
        .options(&["--smp", "8", "--mem", "1G", "--timeout", "300"])
        .on(PACKAGES)
        .streams(Input::Empty, Output::Contains("nothing lost\n"), Output::Any);
    load.timeout = 300;
    vec![
        case("smp/hotplug-files", four, FILES, SAID),
        case("smp/hotplug-pinned", four, PINNED, LOST),
        case("smp/hotplug-race", four, RACE, "0-3\n0\n1\n2\n3\n"),
        case("smp/maxcpus", &["--smp", "4", "--append", "maxcpus=2"], LATER, "0-1\n2-3\n0-3\n1\n0-2\n3\n2\n0-1,3\n"),
        case("smp/hotplug-promised", four, PROMISED, "1\n0\n1\n").on(&["dash", "coreutils", "util-linux"]),
        case("smp/chcpu", four, CHCPU, LISTED).on(&["dash", "coreutils", "util-linux"]),
        load,
    ]
}
