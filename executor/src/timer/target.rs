//! Where a timer waits that nobody has pinned (Linux: get_nohz_timer_target).
//!
//! A CPU that is to be left alone (`nohz_full=`), or that idles, gives what is started on it to another one that has something to do
//! anyway. As there is no way to set another CPU's comparator, a timer goes only to one that will be interrupted before: on Linux as
//! well, the first timer of all stays where it was started. Asked for at all only while a site is on (`KEY_TIMERS`), which it is on
//! machines with CPUs to be left alone.

use super::base::{Base, NEVER, bases, lock_of};
use super::entry::{Action, Entry, MOVING, QUEUED};
use crate::atomic::Ordering;
use crate::balance::place_of;
use crate::cpu::{ACTIVE, AtomicCpuMask, CpuId, CpuMask};
use crate::executor::IDLE;
use crate::time::Nanos;
use core::ptr;

/// The CPUs to be left alone.
static LEFT_ALONE: AtomicCpuMask = AtomicCpuMask::new();

/// Keeps timers that are not bound to them off `cpus`, from when the kernel has switched `KEY_TIMERS` on.
pub fn leave_alone(cpus: CpuMask) {
    cpus.iter().for_each(|cpu| _ = LEFT_ALONE.insert(cpu));
}

/// The CPU for a timer that is started on `here`: itself, unless it idles or is to be left alone; then the nearest that is busy.
fn target(here: CpuId, idle: CpuMask, active: CpuMask, alone: CpuMask) -> CpuId {
    if !alone.contains(here) && !idle.contains(here) {
        return here;
    }
    let others = CpuMask(active.0 & !alone.0 & !CpuMask::of(here).0);
    let busy = CpuMask(others.0 & !idle.0);
    let nearest = busy.iter().min_by_key(|cpu| (place_of(here).level(place_of(*cpu)), cpu.index()));
    // All the others idle: who is to be left alone is spared all the same.
    nearest.or_else(|| alone.contains(here).then(|| others.first())?).unwrap_or(here)
}

/// Starts `entry` on another CPU than `here`, if it belongs there; gives `prepare` back if not, with nothing changed. Interrupts masked.
///
/// # Safety
/// It is pinned until it is taken out.
#[cold]
#[inline(never)]
pub(super) unsafe fn start_elsewhere<F: FnOnce(&mut Action)>(
    here: &Base,
    entry: &Entry,
    soft: Nanos,
    slack: Nanos,
    prepare: F,
) -> Option<F> {
    let Some(id) = CpuId::new(here.cpu) else { return Some(prepare) };
    let to = target(id, IDLE.load(), ACTIVE.load(), LEFT_ALONE.load());
    let (there, hard) = (bases().of(to), soft.saturating_add(slack).min(NEVER - 1));
    if to == id || hard < there.first.load(Ordering::Relaxed) {
        return Some(prepare);
    }
    let (base, mut tree) = lock_of(entry);
    if ptr::eq(tree.running, entry) {
        return Some(prepare);
    }
    // SAFETY: the entry is guarded by `base`, whose lock we hold, then by nobody but us, then by `there`; it is pinned.
    unsafe {
        if entry.state.load(Ordering::Relaxed) == QUEUED {
            base.remove(&mut tree, entry);
        }
        entry.cpu.store(MOVING, Ordering::Relaxed);
        drop(tree);
        let mut tree = there.tree.lock_irq();
        // Under its lock: nobody but its own CPU makes the first one earlier, and what is not the first needs no comparator. A
        // CPU that has gone has no first one, and one that goes is emptied till it has none (`take_over`). Into the tree, not into a
        // bucket, whose timer might have to come first.
        let goes = hard >= there.first.load(Ordering::Relaxed);
        let prepare = if goes {
            entry.inner.with_mut(|p| prepare(&mut (*p).action));
            there.order(&mut tree, entry, soft, hard);
            None
        } else {
            Some(prepare)
        };
        let cpu = if goes { there.cpu } else { here.cpu };
        entry.cpu.store(cpu as u32, Ordering::Release);
        prepare
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn goes_where_somebody_is_awake_and_need_not_be_left_alone() {
        let to = |here: usize, idle, alone| {
            let here = CpuId::new(here).unwrap();
            target(here, CpuMask(idle), CpuMask(0b1111), CpuMask(alone)).index()
        };
        assert_eq!(to(2, 0b0000, 0b0000), 2, "a busy CPU keeps its own");
        assert_eq!(to(2, 0b0100, 0b0000), 0, "an idle one gives them away");
        assert_eq!(to(2, 0b0101, 0b0010), 3, "to a busy one");
        assert_eq!(to(2, 0b1111, 0b0000), 2, "which there may not be");
        assert_eq!(to(2, 0b0000, 0b0101), 1, "one to be left alone gives them away, too");
        assert_eq!(to(2, 0b1011, 0b0101), 1, "also when all others idle");
        assert_eq!(to(2, 0b0000, 0b1111), 2, "unless all are");
    }
}
