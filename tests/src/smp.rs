//! Several CPUs: who runs where.

use crate::{Case, Input, Output};

/// Four hogs that one shell starts must each have had most of a CPU for four seconds: on fewer CPUs than four they have not. Where
/// they are when somebody looks says less: who looks takes a CPU, too.
const HOGS: &str = "for i in 1 2 3 4; do (while :; do :; done) & P=\"$P $!\"; done
sleep 4
for p in $P; do set -- $(cat /proc/$p/stat); [ ${14} -ge 300 ] && echo $p; done | wc -l
kill -9 $P";

/// Two hogs on one CPU are let loose: in two seconds each must then have most of a CPU, twice what it can have beside the other.
const RELEASED: &str = "for i in 1 2; do taskset 1 sh -c 'while :; do :; done' & P=\"$P $!\"; done
sleep 1
for p in $P; do set -- $(cat /proc/$p/stat); U=\"$U ${14}\"; shift 38; echo -n \"$1 \"; done
for p in $P; do taskset -p 3 $p >/dev/null; done
sleep 2
for p in $P; do set -- $(cat /proc/$p/stat); used=${14}; set -- $U; U=$2; [ $((used - $1)) -ge 150 ] && echo $p; done | wc -l
kill -9 $P";

/// A hog that runs in EL0 on one CPU is somewhere else as soon as taskset has ended.
const MOVED: &str = "(while :; do :; done) & p=$!
for i in 1 2 3 4 5; do for mask in 1 2 4 8; do
    taskset -p $mask $p >/dev/null
    set -- $(cat /proc/$p/stat); shift 38; echo -n $1
done; done
kill -9 $p";

/// What the second of four cores is told about itself.
const TOPOLOGY: &str = "cd /sys/devices/system/cpu/cpu1/topology; grep . *";
const TOLD: &str = "cluster_cpus:f\ncluster_cpus_list:0-3\ncluster_id:0\ncore_cpus:2\ncore_cpus_list:1\ncore_id:1\ncore_siblings:f
core_siblings_list:0-3\npackage_cpus:f\npackage_cpus_list:0-3\nphysical_package_id:0\nthread_siblings:2\nthread_siblings_list:1\n";

/// Two hogs on the threads of one core, let loose: one of them must leave for a core that idles, and the other one stay.
const CORES: &str = "for i in 1 2; do taskset 3 sh -c 'while :; do :; done' & P=\"$P $!\"; done
sleep 1
for p in $P; do taskset -p ff $p >/dev/null; done
sleep 3
for p in $P; do set -- $(cat /proc/$p/stat); shift 38; echo $(($1 / 2)); done | uniq | wc -l
kill -9 $P";

/// What keeps the kernel's own tasks off which CPU, as Debian's Linux has it.
const FREED: &str = "cd /sys/devices/system/cpu; cat nohz_full isolated cpu0/cpu_capacity
for p in /proc/[0-9]*; do read name <$p/comm; case $name in kthreadd|khungtaskd|init) echo $name $(grep Cpus_allowed_list $p/status);; esac; done | sort -u";
const FREED_SAYS: &str =
    "2-3\n1\n1024\ninit Cpus_allowed_list: 0,2-3\nkhungtaskd Cpus_allowed_list: 0-1\nkthreadd Cpus_allowed_list: 0-1\n";

/// A sleeper on a CPU that is to be left alone waits on another one, which has something to do before; and wakes.
const STEERED: &str = "taskset 1 sleep 100 & sleep 1
taskset 2 sleep 1000 & taskset 2 sh -c 'sleep 1; echo woken'
awk '/^cpu:/ {cpu=$2} /in 99[0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9] to/ {print \"waits on \" cpu}' /proc/timer_list
killall sleep";

/// A shell that its CPU's timer wakes again and again, on a machine that idles, stays where it is: so often was it elsewhere than before.
const WOKEN: &str = "cd /tmp; mkfifo f; exec 3<>f; n=0
for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30; do
    read -t 0.02 x <&3; read s </proc/$$/stat; set -- $s; shift 38; [ $1 = \"$was\" ] || n=$((n+1)); was=$1
done
[ $n -le 5 ] && echo stays || echo $n times";

/// The cases. Bare names are busybox applets.
pub fn cases() -> Vec<Case> {
    let case = |name: &str, cpus, script, out: &str| {
        Case::program(name, vec!["sh", "-c", script], 0).options(&["--smp", cpus, "--timeout", "120"]).streams(
            Input::Empty,
            Output::Exact(out.to_string()),
            Output::Empty,
        )
    };
    vec![
        case("smp/hogs-spread", "4", HOGS, "4\n"),
        case("smp/released-hogs-spread", "2", RELEASED, "0 0 2\n"),
        case("smp/topology", "4", TOPOLOGY, TOLD),
        case("smp/threads-of-a-core", "8", CORES, "2\n")
            .options(&["--qemu-arg=-smp", "--qemu-arg=8,sockets=1,clusters=1,cores=4,threads=2"]),
        case("smp/nohz-full", "4", FREED, FREED_SAYS).options(&["--append", "nohz_full=2-3 isolcpus=managed_irq,domain,1"]),
        case("smp/nohz-timers", "2", STEERED, "woken\nwaits on 0\n").options(&["--append", "nohz_full=1"]),
        case("smp/timers-stay", "2", STEERED, "woken\nwaits on 1\n"),
        case("smp/wakes-stay", "4", WOKEN, "stays\n"),
        // As many digits as eight CPUs take.
        case("smp/masks", "8", "taskset 1 grep Cpus_allowed: /proc/self/status", "Cpus_allowed:\t01\n"),
        case("smp/taskset-moves", "4", MOVED, &"0123".repeat(5)),
    ]
}
