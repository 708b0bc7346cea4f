//! Waiting for items, and calling them off.

use super::WorkQueue;
use super::item::{CANCELING, DEFERRED, PENDING, RUNNING, Release, Work, has_ended};
use super::list::{HELD_BACK, READY};
use super::pwq::Pwq;
use crate::arch;
use crate::wait::WaitMode;
use crate::wait_site;
use core::ptr::{self, NonNull};

impl WorkQueue {
    /// Waits for the end of the run that was asked for last; not for later ones. Whether there was one to wait for. Not in its own function.
    pub async fn flush_work(&'static self, work: &Work) -> bool {
        let then = work.state();
        if then & (PENDING | RUNNING) == 0 {
            return false;
        }
        let ended = || has_ended(then, work.state()).then_some(());
        while self.done.wait_until(wait_site!("flush_work"), WaitMode::Uninterruptible, ended).await.is_err() {}
        true
    }

    /// Takes `work` out of this queue if it is pending (`true`), and waits until it does not run. Until then nobody can queue it, not even
    /// its own function. Not in its own function.
    pub async fn cancel_sync(&'static self, work: &Work) -> bool {
        self.call_off(work, || false).await
    }

    /// As [`cancel_sync`](Self::cancel_sync); an item that is in no queue may be in what `stop` stops.
    pub(super) async fn call_off(&'static self, work: &Work, stop: impl Fn() -> bool) -> bool {
        // One at a time.
        let mine = || (work.set_bits(CANCELING) & CANCELING == 0).then_some(());
        while self.done.wait_until(wait_site!("cancel_work_sync"), WaitMode::Uninterruptible, mine).await.is_err() {}
        let taken = grab(work, stop);
        let idle = || (work.state() & RUNNING == 0).then_some(());
        while self.done.wait_until(wait_site!("cancel_work_sync"), WaitMode::Uninterruptible, idle).await.is_err() {}
        work.clear_bits_if(0, PENDING | CANCELING);
        self.done.wake_all();
        give_back(work, taken)
    }

    /// Takes `work` out of this queue if it is pending. It may be running. Any context.
    pub fn cancel(&'static self, work: &Work) -> bool {
        if work.state() & (PENDING | CANCELING) != PENDING {
            return false;
        }
        let taken = arch::without_irqs(|| {
            let taken = grab(work, || false);
            work.clear_bits_if(0, PENDING);
            taken
        });
        self.done.wake_all();
        give_back(work, taken)
    }
}

/// Gives back the reference that a queue held, if the item was taken out of one; whether it was.
fn give_back(work: &Work, taken: Option<Release>) -> bool {
    if let Some(release) = taken {
        // SAFETY: PENDING was taken off by the caller, so the reference that came with it is his to give back, once.
        unsafe { release(NonNull::from(work)) };
    }
    taken.is_some()
}

/// Makes PENDING the caller's, and the item one that is in no queue; `None` if it was in none. Spins while it is on its way into or out
/// of a list, or to its timer: that is with interrupts masked.
fn grab(work: &Work, stop: impl Fn() -> bool) -> Option<Release> {
    while work.set_bits(PENDING) & PENDING != 0 {
        if stop() {
            return Some(work.release_fn());
        }
        if let Some(release) = work.pwq().and_then(|pwq| take_out(work, pwq)) {
            return Some(release);
        }
        core::hint::spin_loop();
    }
    None
}

/// Takes a pending item out of the pool or queue that it is counted in. `None`: it is elsewhere by now.
fn take_out(work: &Work, pwq: &'static Pwq) -> Option<Release> {
    let mut items = pwq.pool()?.lock();
    if !work.pwq().is_some_and(|now| ptr::eq(now, pwq)) || !work.is_pending() {
        return None;
    }
    let release = work.release_fn();
    match work.linked.get() {
        // SAFETY: the mark says that it is in this list.
        READY => unsafe { items.list.unlink(work) },
        HELD_BACK => {
            pwq.drop_held_back(work);
            pwq.leave(work.color.get(), false);
            return Some(release);
        }
        // Taken while it ran: the worker that runs it would link it again.
        _ if work.clear_bits_if(DEFERRED | PENDING, DEFERRED) => {}
        _ => return None,
    }
    items.count_out(super::worker::Done { pwq, color: work.color.get() });
    Some(release)
}
