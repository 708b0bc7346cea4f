//! What a run queue does for the sets of tasks that are watched: counting, and looking at what has changed.

use super::{END, FAIR, NOBODY, OwnedPsi, PsiGroup, PsiTimes, Slot, URGENT, chain};
use crate::class::RunQueue;
use crate::class::entity::{Entity, Place};
use crate::class::params::{Class, Rank};
use crate::class::sched_class::SchedClass;
use crate::time::Nanos;
use core::cell::Cell;
use core::ptr::NonNull;
use core::sync::atomic::Ordering::Relaxed;

/// In [`PsiRq`]'s `current`; above all numbers.
const IS_FAIR: u32 = 1 << 31;

/// A run queue's part.
#[derive(Debug)]
pub(in crate::class) struct PsiRq {
    /// The first set to be looked at; 0 or [`END`]: none is.
    first: Cell<u32>,
    /// The set of the current entity, as of the last look, and [`IS_FAIR`] if that is fair.
    current: Cell<u32>,
}

impl PsiRq {
    pub(in crate::class) const fn new() -> PsiRq {
        PsiRq { first: Cell::new(END), current: Cell::new(0) }
    }

    /// A fair task of the set `number` has come to this queue, that of `cpu`, or (`false`) has left it.
    ///
    /// # Safety
    /// 0, or a set that lives.
    pub(super) unsafe fn count(&self, cpu: usize, number: u32, comes: bool) {
        // SAFETY: passed on.
        for (group, slot) in unsafe { slots(cpu, number) } {
            let n = slot.fair.load(Relaxed);
            slot.fair.store(if comes { n.wrapping_add(1) } else { n.wrapping_sub(1) }, Relaxed);
            self.list(group, slot);
        }
    }

    /// Puts a set into the list.
    fn list(&self, group: &PsiGroup, slot: &Slot) {
        if slot.next.load(Relaxed) == 0 {
            slot.next.store(self.first.replace(group.number), Relaxed);
        }
    }

    /// Notes that `runs` says who of the set `number` is current.
    ///
    /// # Safety
    /// As [`PsiRq::count`].
    unsafe fn mark(&self, cpu: usize, number: u32, runs: u8) {
        // SAFETY: passed on.
        for (group, slot) in unsafe { slots(cpu, number) } {
            slot.runs.store(runs, Relaxed);
            self.list(group, slot);
        }
    }

    /// Calls `f` for each set of the list, which is empty afterwards: `f` may fill it again.
    fn drain(&self, cpu: usize, mut f: impl FnMut(&PsiGroup, &Slot)) {
        let mut at = self.first.replace(END);
        while at != END {
            // SAFETY: who ends is taken out of the list before (`forget_psi`).
            let Some((group, slot)) = (unsafe { slots(cpu, at) }).next() else { return };
            at = slot.next.load(Relaxed);
            slot.next.store(0, Relaxed);
            f(group, slot);
        }
    }
}

/// What the set `number` and those above it are on `cpu`.
///
/// # Safety
/// As [`chain`].
unsafe fn slots<'a>(cpu: usize, number: u32) -> impl Iterator<Item = (&'a PsiGroup, &'a Slot)> {
    // SAFETY: passed on.
    unsafe { chain(number) }.filter_map(move |group| Some((group, group.cpus.get(cpu)?)))
}

impl RunQueue {
    /// Calls `f` for each entity above the fair class that waits, also for the end of a throttling. Those of the stop class belong to
    /// their CPU, and to no set.
    fn each_urgent(&self, mut f: impl FnMut(NonNull<Entity>)) {
        // SAFETY: what is in a queue is valid.
        let mut f = |e: NonNull<Entity>| {
            // SAFETY: as above.
            if unsafe { (*e.as_ptr()).place } == Place::Queued {
                f(e)
            }
        };
        if self.rt.nr_running() != 0 {
            self.rt.each_waiting(&mut f);
        }
        if self.above != 0 {
            self.dl.each_waiting(&mut f);
        }
    }

    /// Whether anybody waits for the CPU, be it that he is held back.
    pub(crate) fn somebody_waits(&self) -> bool {
        let current = u32::from(self.current_rank() == Rank::FAIR);
        let mut urgent = false;
        self.each_urgent(|_| urgent = true);
        urgent || self.fair.nr_tasks() > current || self.fair.holds_somebody_back()
    }

    /// Brings the sets up to `now`, of which somebody has come, gone, begun or stopped to run since the last time.
    pub(crate) fn note_psi(&self, now: Nanos) {
        let (psi, cpu) = (&self.psi, self.fair.cpu as usize);
        // Each set that had somebody urgent waiting has stayed in the list.
        let mut at = psi.first.get();
        // SAFETY: as in `drain`.
        while let Some((_, slot)) = unsafe { slots(cpu, if at == END { 0 } else { at }) }.next() {
            slot.urgent.store(0, Relaxed);
            at = slot.next.load(Relaxed);
        }
        // SAFETY: who waits is valid; a set lives as long as somebody is in it.
        self.each_urgent(|e| unsafe {
            for (group, slot) in slots(cpu, (*e.as_ptr()).psi) {
                slot.urgent.store(slot.urgent.load(Relaxed).wrapping_add(1), Relaxed);
                psi.list(group, slot);
            }
        });
        // SAFETY: the current entity is valid. The one of the last look may be none any more, but its set has not ended: it would be
        // forgotten.
        unsafe {
            let is_fair = |e: NonNull<Entity>| if (*e.as_ptr()).rank == Rank::FAIR { IS_FAIR } else { 0 };
            let current = self.curr.map_or(0, |e| (*e.as_ptr()).psi | is_fair(e));
            let before = psi.current.replace(current);
            if before != current {
                psi.mark(cpu, before & !IS_FAIR, NOBODY);
                psi.mark(cpu, current & !IS_FAIR, if current & IS_FAIR != 0 { FAIR } else { URGENT });
            }
        }
        psi.drain(cpu, |group, slot| {
            slot.update(now);
            if slot.urgent.load(Relaxed) != 0 {
                psi.list(group, slot);
            }
        });
    }

    /// Puts `e` into a set, or with 0 into none. Its place on the queue stays. [`RunQueue::note_psi`] is to follow.
    ///
    /// # Safety
    /// As [`RunQueue::set_params`]; the set lives until `e` has left it, or is never on a queue again.
    pub unsafe fn set_psi(&mut self, e: NonNull<Entity>, number: u32) {
        let cpu = self.fair.cpu as usize;
        // SAFETY: valid by contract, under this queue's lock; no reference outlives its statement.
        unsafe {
            let this = e.as_ptr();
            let before = core::mem::replace(&mut (*this).psi, number);
            if (*this).params.class() != Class::Fair {
                return;
            }
            if (*this).on_rq() {
                self.psi.count(cpu, before, false);
                self.psi.count(cpu, number, true);
            }
            // The queue's order is the same for both.
            (*this).class = (*this).class_with(&(*this).params);
        }
    }

    /// The times of `group` on this CPU by `now`.
    pub(crate) fn psi_times(&self, group: &PsiGroup, now: Nanos) -> PsiTimes {
        self.note_psi(now);
        group.cpus.get(self.fair.cpu as usize).map_or([0; 3], |slot| slot.times(now))
    }

    /// `group`, in which nobody is, ends.
    pub(crate) fn forget_psi(&self, group: &OwnedPsi, now: Nanos) {
        // Nobody of it is current or waits, so that it does not come back into the list.
        self.note_psi(now);
        debug_assert!(group.cpus.get(self.fair.cpu as usize).is_none_or(|slot| slot.next.load(Relaxed) == 0));
    }
}
