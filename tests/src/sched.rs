//! Scheduling as hogs see it, on one CPU in virtual time. The figures themselves are checked by `accept sched`.
use crate::{Case, Fixture, Output};

fn shares(name: &str, what: &'static str, n: &'static str, says: &'static str) -> Case {
    Case::program(name, vec!["./stress", "shares", what, n], 0)
        .streams(crate::Input::Empty, Output::Contains(says), Output::Any)
        .with(&[Fixture::Own("stress", "vigil-stress")])
        .options(&["--smp", "1", "--qemu-arg=-icount", "--qemu-arg=shift=5,sleep=off"])
}

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        shares("sched/deadline-admission", "admission", "0", "errno_951 16\nerrno_950 0"),
        shares("sched/deadline-hog", "deadline", "5000", "percent_0 10\n"),
        shares("sched/deadline-among-hogs", "reservation", "100", "missed 0"),
        shares("sched/fifo-leaves-some", "fifo", "5000", "percent_1 5\n"),
    ]
}
