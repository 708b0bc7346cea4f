//! What a kernel must survive: random system calls, failed allocations, disturbed waits. Short forms of the acceptance checks
//! core-nth, core-drop and core-leak. Debian's Linux has no injectors.
use crate::{Case, Fixture, Output};

/// `contract OPTION` over the cases of a few calls of all kinds.
fn contract(name: &str, option: &'static str, calls: &[&'static str]) -> Case {
    let argv = ["./contract", option].into_iter().chain(calls.iter().copied()).collect();
    Case::program(name, argv, 0)
        .streams(crate::Input::Empty, Output::Contains("stuck 0\nleaking 0"), Output::Any)
        .with(&[Fixture::Own("contract", "vigil-contract")])
        .options(&["--icount"])
}

/// What happens to 2 000 processes at once, and to those of a group that forks while it is killed.
const CROWDS: &str = "orphans live true\nterminated 2000\ninterrupted 2000\nhung up 2000\nkilled 2000\nescaped 0\nthreads' status 0\n";

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        Case::program("chaos/random-calls", vec!["./stress", "fuzz-calls", "1", "20000"], 0)
            .streams(crate::Input::Empty, Output::Contains("leaking 0"), Output::Any)
            .with(&[Fixture::Own("stress", "vigil-stress")])
            .options(&["--smp", "2"]),
        Case::program("chaos/forked-beside-faults", vec!["./stress", "faults", "60"], 0)
            .streams(crate::Input::Empty, Output::Contains("lost 0"), Output::Any)
            .with(&[Fixture::Own("stress", "vigil-stress")])
            .options(&["--smp", "4", "--timeout", "120"]),
        Case::program("chaos/crowds", vec!["./stress", "crowd", "2000"], 0)
            .streams(crate::Input::Empty, Output::Exact(CROWDS.to_string()), Output::Empty)
            .with(&[Fixture::Own("stress", "vigil-stress")])
            .options(&["--smp", "4", "--mem", "1G", "--timeout", "120"]),
        contract("chaos/each-allocation-fails", "--nth", &["pipe2/", "mkdirat/", "umount2/", "execve/success", "clone/thread"]),
        contract("chaos/each-wait-dropped", "--drop", &["read/", "wait4/", "futex/", "execve/"]),
        contract("chaos/each-wait-killed", "--kill", &["read/", "wait4/", "futex/", "execve/"]),
        contract("chaos/each-wait-interrupted", "--interrupt", &["read/", "wait4/", "futex/", "execve/"]),
        Case::program("chaos/nothing-lost", vec!["./contract", "--leak", "3", "open", "clone", "mount", "wait"], 0)
            .streams(crate::Input::Empty, Output::Contains("lost_objects 0"), Output::Any)
            .with(&[Fixture::Own("contract", "vigil-contract")])
            .options(&["--icount"]),
    ]
}
