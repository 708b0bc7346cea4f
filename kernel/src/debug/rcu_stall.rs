//! Says which CPUs a grace period of RCU waits for that does not end, and what they are at (Linux: kernel/rcu/tree_stall.h).

use super::{backtrace, panic};
use crate::pr_err;
use core::sync::atomic::{AtomicI32, Ordering::Relaxed};
use vigil_executor::coarse::TICK;
use vigil_executor::cpu::{CpuMask, ONLINE};
use vigil_executor::sync::rcu::stall::Stall;

/// `kernel.panic_on_rcu_stall`.
pub static PANIC: AtomicI32 = AtomicI32::new(0);
/// `kernel.max_rcu_stall_to_panic`: only the n-th makes a panic.
pub static FIRST_TO_PANIC: AtomicI32 = AtomicI32::new(0);
static STALLS: AtomicI32 = AtomicI32::new(0);

/// How often it was said that a grace period stalls.
pub fn count() -> i32 {
    STALLS.load(Relaxed)
}

/// Says it. Hard interrupt.
pub fn tell(stall: Stall) {
    let itself = stall.cpus.contains(stall.here);
    if itself {
        pr_err!("rcu: INFO: rcu_preempt self-detected stall on CPU");
    } else {
        pr_err!("rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:");
    }
    for cpu in stall.cpus.iter() {
        let online = if ONLINE.load().contains(cpu) { '.' } else { 'O' };
        pr_err!("rcu: \t{}-{online}...:", cpu.index());
    }
    let (jiffies, here, cpus) = (stall.time / TICK, stall.here.index(), ONLINE.load().iter().count());
    let (sequence, callbacks) = (stall.sequence, stall.callbacks);
    if itself {
        pr_err!("\t(t={jiffies} jiffies g={sequence} q={callbacks} ncpus={cpus})");
        backtrace::show_this(0);
    } else {
        pr_err!("\t(detected by {here}, t={jiffies} jiffies, g={sequence}, q={callbacks} ncpus={cpus})");
    }
    backtrace::show_on(CpuMask(stall.cpus.0 & !CpuMask::of(stall.here).0));
    let nth = STALLS.fetch_add(1, Relaxed).saturating_add(1);
    if nth >= FIRST_TO_PANIC.load(Relaxed) && PANIC.load(Relaxed) != 0 {
        panic::panic_at(format_args!("RCU Stall"), 0, 0);
    }
}
