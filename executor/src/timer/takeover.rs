//! The timers of a CPU that goes.

#[cfg(not(loom))]
use super::base::NEVER;
use super::base::{Tree, bases};
use super::entry::{Entry, MOVING};
use crate::arch;
use crate::atomic::Ordering;
use crate::cpu::CpuId;

/// This CPU stops: it has no event, and its line stays down till [`reprogram`](super::reprogram). Interrupts masked.
#[cfg(not(loom))]
pub(crate) fn stop() {
    let base = bases().this();
    base.slice.store(NEVER, Ordering::Relaxed);
    base.programmed.store(NEVER, Ordering::Relaxed);
    arch::stop_timer();
}

/// Moves the timers of `gone`, which has stopped, to this CPU (Linux: hrtimers_dead_cpu). Those that are due fire at once.
pub fn take_over(gone: CpuId) {
    let from = bases().of(gone);
    loop {
        let irq = arch::irq_save();
        let here = bases().this();
        let mut tree = from.tree.lock_irq();
        let first = tree.first();
        let own = core::ptr::eq(first, tree.pull().entry());
        // SAFETY: queued entries are alive, and this one stays so: whoever wants to end it waits until it is some base's again. It is
        // queued in `from`, whose lock is held; then it is nobody's but ours, and pinned.
        unsafe {
            let entry = if first.is_null() { from_bucket(&mut tree) } else { first.as_ref() };
            let Some(entry) = entry else {
                drop(tree);
                return arch::irq_restore(irq);
            };
            if own {
                from.remove(&mut tree, entry);
                drop(tree);
            } else {
                if !first.is_null() {
                    from.take(&mut tree, entry, Ordering::Release);
                }
                let (soft, hard) = entry.inner.with(|p| ((*p).soft, (*p).hard));
                entry.cpu.store(MOVING, Ordering::Relaxed);
                drop(tree);
                let mut tree = here.tree.lock_irq();
                here.insert(&mut tree, entry, soft, hard.saturating_sub(soft));
                entry.cpu.store(here.cpu as u32, Ordering::Release);
            }
        }
        here.arm();
        arch::irq_restore(irq);
    }
}

/// Takes one out of the earliest bucket.
fn from_bucket<'a>(tree: &mut Tree) -> Option<&'a Entry> {
    let (bucket, _) = tree.wheel().earliest()?;
    // SAFETY: what was in a bucket is alive, as `take_over` argues.
    tree.wheel().pop(bucket).map(|entry| unsafe { &*entry })
}
