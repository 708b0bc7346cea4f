//! The whole buffer to the consoles: SysRq z, and the end of the machine (Linux: ftrace_dump).

use super::event::Text;
use super::merge::{Bodies, Cursor, NO_BODIES};
use super::{control, state, text};
use crate::debug::printk::Line;
use crate::pr_emerg;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use vigil_executor::cpu::{CpuId, CpuMask};
use vigil_executor::lock_class;
use vigil_executor::sync::SpinLock;

/// `kernel.ftrace_dump_on_oops`: 0 no, 1 all CPUs' entries, 2 those of the CPU that ends it.
static AT_THE_END: AtomicU32 = AtomicU32::new(0);
/// Whoever dumps has it: not on the stack, which may be nearly used up.
static BODIES: SpinLock<Bodies> = SpinLock::new(lock_class!("trace_dump"), NO_BODIES);

/// What is dumped when the machine ends.
pub fn at_the_end() -> u32 {
    AT_THE_END.load(Relaxed)
}

/// Sets that.
pub fn set_at_the_end(what: u32) {
    AT_THE_END.store(what, Relaxed);
}

/// A task is killed by an oops: nothing if somebody changes the rings at this moment. Interrupts masked.
pub fn of_oops() {
    control::try_reading(at_an_end);
}

/// The kernel panics; nobody else runs. Any context.
pub fn last_entries() {
    at_an_end();
}

/// The same, whatever is set: all CPUs' entries.
pub fn all_at_the_end() {
    entries(CpuMask::ALL);
}

fn at_an_end() {
    match at_the_end() {
        0 => {}
        2 => entries(CpuMask::of(CpuId::current())),
        _ => entries(CpuMask::ALL),
    }
}

/// Logs everything, and ends tracing. A task.
pub fn all() {
    control::reading(|| entries(CpuMask::ALL));
}

/// Logs the entries of `cpus`, and ends tracing; nothing if somebody does already. No ring may go away meanwhile.
fn entries(cpus: CpuMask) {
    let Some(mut bodies) = BODIES.try_lock() else { return };
    state::TRACING.store(false, Relaxed);
    pr_emerg!("Dumping ftrace buffer:");
    let (mut cursor, mut any) = (Cursor::new(cpus, false), false);
    while let Some(found) = cursor.oldest(&mut bodies, |_, _| {}) {
        if !any {
            pr_emerg!("---------------------------------");
            any = true;
        }
        let mut shown = Line::new();
        // What is longer than a message ends early.
        let _ = text::line(found.cpu, &found.head, found.body(&bodies), &mut shown);
        pr_emerg!("{}", Text(shown.bytes().trim_ascii_end()));
        cursor.pass(&found);
    }
    pr_emerg!("{}", if any { "---------------------------------" } else { "   (ftrace buffer empty)" });
}
