//! What becomes of the lock checker's findings: they are told, with a back-trace, and end the machine where an oops would.

use super::{backtrace, panic};
use crate::pr_err;
use vigil_executor::sync::lockdep::{Report, set_report_hook};

/// Before the first lock that matters.
pub fn init() {
    set_report_hook(tell);
}

fn tell(report: &Report) {
    if panic::panic_on_oops() {
        panic::panic_at(format_args!("{report}"), 0, 0);
    }
    pr_err!("{report}");
    backtrace::print(0, backtrace::frame_pointer());
}
