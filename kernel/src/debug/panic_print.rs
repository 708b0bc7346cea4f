//! `kernel.panic_print` and `panic_print=`: what a panic says besides (Linux: panic_print_sys_info), a bit each:
//!
//! | bit | what |
//! |---|---|
//! | 0 | all tasks, as SysRq t |
//! | 1 | memory, as SysRq m |
//! | 2 | timers, as SysRq q |
//! | 4 | the trace, as SysRq z |
//! | 5 | all messages once more |
//!
//! Bit 3, the locks that are held, and bit 6, the other CPUs' back-traces, say nothing here: lockdep keeps no list of all holders, and the others
//! are stopped. It is shown at the end, when they are: a lock that one of them held is never given back, so what needs it is left out or, as
//! on Linux, the last that is heard.

use super::report_tasks::{Which, show_tasks};
use super::{console, sysrq};
use crate::pr_emerg;
use crate::task::process::TASKS;
use crate::trace::dump;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

const TASK_INFO: u64 = 1;
const MEM_INFO: u64 = 1 << 1;
const TIMER_INFO: u64 = 1 << 2;
const FTRACE_INFO: u64 = 1 << 4;
const ALL_PRINTK_MSG: u64 = 1 << 5;

static WHAT: AtomicU64 = AtomicU64::new(0);

/// Sets it.
pub fn set(what: u64) {
    WHAT.store(what, Relaxed);
}

/// As it is.
pub fn get() -> u64 {
    WHAT.load(Relaxed)
}

/// Says it. The other CPUs are stopped.
pub fn show() {
    let what = get();
    if what & TASK_INFO != 0 {
        match TASKS.try_lock() {
            Some(guard) => {
                drop(guard);
                show_tasks(Which::All);
            }
            None => pr_emerg!("the list of tasks is locked"),
        }
    }
    if what & MEM_INFO != 0 {
        sysrq::memory(0);
    }
    if what & TIMER_INFO != 0 {
        sysrq::timers();
    }
    if what & FTRACE_INFO != 0 {
        dump::all_at_the_end();
    }
}

/// Shows all messages once more, if that is wanted.
pub fn replay() {
    if get() & ALL_PRINTK_MSG != 0 {
        console::replay();
    }
}
