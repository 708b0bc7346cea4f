//! Control groups: scripts of operations whose output on Debian's Linux 6.1 is the expected one.
use crate::{Case, Input, Output};

/// The script `text` on two CPUs, which prints `expected`.
fn script(name: &str, text: &'static str, expected: &'static str) -> Case {
    Case::program(name, vec!["sh", "-c", text], 0)
        .options(&["--smp", "2"])
        .streams(Input::Empty, Output::Exact(expected.to_string()), Output::Empty)
}

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        script("cgroup/v2", include_str!("cgroup/v2.sh"), include_str!("cgroup/v2.out")),
        script("cgroup/v1", include_str!("cgroup/v1.sh"), include_str!("cgroup/v1.out")),
    ]
}
