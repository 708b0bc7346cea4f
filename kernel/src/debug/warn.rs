//! WARN: something is wrong that the kernel can live with (Linux: kernel/panic.c, `__warn`). It is told of with the place and the call
//! trace; `panic_on_warn` (a word of the command line, and `kernel.panic_on_warn`) makes it the machine's end.

use super::backtrace;
use super::printk::Level;
use crate::task::thread::Thread;
use crate::{kernel_panic, pr_warn};
use core::fmt::Arguments;
use core::panic::Location;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use vigil_abi::until_nul;
use vigil_executor::cpu::CpuId;

static PANICS: AtomicBool = AtomicBool::new(false);
/// `kernel.warn_limit`; 0: none.
static LIMIT: AtomicU32 = AtomicU32::new(0);
static WARNINGS: AtomicU32 = AtomicU32::new(0);

/// `kernel.panic_on_warn`.
pub fn panics() -> bool {
    PANICS.load(Relaxed)
}

/// Sets it.
pub fn set_panics(on: bool) {
    PANICS.store(on, Relaxed);
}

/// `kernel.warn_limit`: the warning with which the machine ends; 0: it does not.
pub fn limit() -> u32 {
    LIMIT.load(Relaxed)
}

/// Sets it.
pub fn set_limit(warnings: u32) {
    LIMIT.store(warnings, Relaxed);
}

/// Warnings so far (`/sys/kernel/warn_count`, and TAINT_WARN).
pub fn count() -> u32 {
    WARNINGS.load(Relaxed)
}

/// Warns of what is at the caller's place, with `message` if there is more to say. Any context.
#[track_caller]
pub fn warn(message: Option<Arguments<'_>>) {
    let at = Location::caller();
    pr_warn!("------------[ cut here ]------------");
    if let Some(message) = message {
        pr_warn!("{message}");
    }
    let thread = Thread::current();
    let (pid, comm) = thread.map_or((0, *b"swapper\0\0\0\0\0\0\0\0\0"), |t| (t.tid(), t.comm()));
    let comm = until_nul(&comm).escape_ascii();
    pr_warn!("WARNING: CPU: {} PID: {pid} at {}:{} [{comm}]", CpuId::current().index(), at.file(), at.line());
    let warnings = WARNINGS.fetch_add(1, Relaxed).saturating_add(1);
    if PANICS.swap(false, Relaxed) {
        // Once: what the panic itself warns of ends nothing.
        kernel_panic!("kernel: panic_on_warn set ...");
    }
    let limit = LIMIT.load(Relaxed);
    if limit != 0 && warnings >= limit {
        kernel_panic!("kernel: system warned too often (kernel.warn_limit is {limit})");
    }
    backtrace::print_at(Level::Warn, 0, backtrace::frame_pointer());
    pr_warn!("---[ end trace 0000000000000000 ]---");
}
