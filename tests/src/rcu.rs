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

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![Case::program("rcu/parameters", vec!["sh", "-c", WRITES], 0).streams(Input::Empty, Output::Exact(SAID.to_string()), Output::Empty)]
}
