//! RCU's parameters: what they take, and what they make of it, as on Linux 6.1.
use crate::{Case, Input, Output};

/// Writes each value and shows whether that worked, and what the file says then.
const WRITES: &str = "w() { f=$1; shift; for v in \"$@\"; do echo $v > $f; echo $v $? $(cat $f); done; } 2>/dev/null
cd /sys/module/rcupdate/parameters; stat -c '%a %n' rcu_cpu_stall_timeout rcu_cpu_stall_suppress rcu_expedited rcu_normal
w rcu_cpu_stall_timeout 5 2 300 301 -1 x 0 21; w rcu_cpu_stall_suppress 1 2 -1 x 0
w /proc/sys/kernel/panic_on_rcu_stall 1 2 -1 x 0; w /proc/sys/kernel/max_rcu_stall_to_panic 1 2 -1 x 0; w /sys/kernel/rcu_expedited 1 2 -1 x 0";

const SAID: &str = "644 rcu_cpu_stall_timeout\n644 rcu_cpu_stall_suppress\n444 rcu_expedited\n444 rcu_normal
5 0 5\n2 0 3\n300 0 300\n301 0 300\n-1 0 3\nx 1 3\n0 0 3\n21 0 21
1 0 1\n2 0 2\n-1 0 -1\nx 1 -1\n0 0 0
1 0 1\n2 1 1\n-1 1 1\nx 1 1\n0 0 0
1 0 1\n2 0 2\n-1 1 2\nx 1 2\n0 1 2
1 0 1\n2 0 2\n-1 0 -1\nx 1 -1\n0 0 0\n";

/// What the command line has tuned, and tasks for the callbacks of two CPUs; who keeps CPUs free with `nohz_full=` has them elsewhere.
const TREE: &str = "w() { f=$1; shift; for v in \"$@\"; do echo $v > $f; echo $v $? $(cat $f); done; } 2>/dev/null
for p in /proc/[0-9]*; do read -r c < $p/comm; case $c in rcuo*) echo $c $(sed -n 's/^Cpus_allowed_list:.//p' $p/status);; esac; done | sort
dmesg | sed -n 's/.*\\(Offload\\)/\\1/p'; cd /sys/module/rcutree/parameters
stat -c '%a %n' blimit jiffies_till_first_fqs jiffies_till_next_fqs qhimark qlowmark rcu_divisor rcu_resched_ns use_softirq
grep . blimit jiffies_till_first_fqs jiffies_till_next_fqs qhimark qlowmark rcu_divisor rcu_resched_ns use_softirq
w jiffies_till_first_fqs 0 251 -1 x; w jiffies_till_next_fqs 0 251 -1 x; w rcu_divisor 0 -1 x; w rcu_resched_ns 0 -1 x";

const TREE_SAID: &str = "Offload RCU callbacks from CPUs: 1-2.
444 blimit\n644 jiffies_till_first_fqs\n644 jiffies_till_next_fqs\n444 qhimark\n444 qlowmark\n644 rcu_divisor\n644 rcu_resched_ns\n444 use_softirq
blimit:5\njiffies_till_first_fqs:250\njiffies_till_next_fqs:1\nqhimark:77\nqlowmark:100\nrcu_divisor:99\nrcu_resched_ns:3000000\nuse_softirq:Y
0 0 0\n251 0 250\n-1 1 250\nx 1 250\n0 0 1\n251 0 250\n-1 1 250\nx 1 250\n0 0 0\n-1 0 -1\nx 1 -1\n0 0 0\n-1 0 -1\nx 1 -1\n";

const WORDS: &str = "rcu_nocbs=1,2 rcutree.blimit=5 rcutree.qhimark=77 rcutree.jiffies_till_first_fqs=900 rcutree.jiffies_till_next_fqs=0 rcutree.rcu_divisor=99";

/// The cases.
pub fn cases() -> Vec<Case> {
    let case = |name: &str, script, out: String| {
        Case::program(name, vec!["sh", "-c", script], 0).streams(Input::Empty, Output::Exact(out), Output::Empty)
    };
    let tasks =
        |cpus: &str| ["rcuog/0", "rcuog/2", "rcuos/0", "rcuos/1", "rcuos/2", "rcuos/3"].map(|name| format!("{name} {cpus}\n")).concat();
    vec![
        case("rcu/parameters", WRITES, SAID.to_string()),
        case("rcu/tree", TREE, tasks("0-3") + TREE_SAID).options(&["--smp", "4", "--append", WORDS]),
        case("rcu/nohz-full", "for p in /proc/[0-9]*; do read -r c < $p/comm; case $c in rcuo*) echo $c $(sed -n 's/^Cpus_allowed_list:.//p' $p/status);; esac; done | sort; dmesg | sed -n 's/.*\\(Offload\\)/\\1/p'", tasks("0-1") + "Offload RCU callbacks from CPUs: 2-3.\n")
            .options(&["--smp", "4", "--append", "nohz_full=2-3"]),
    ]
}
