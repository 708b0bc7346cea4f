//! The averages of who runs, of its queue and of its CPU, when it is time for them. All of it is off the way of a usual charge.

use super::FairRq;
use crate::class::CpuAvg;
use crate::class::cpu_avg::Doing;
use crate::class::entity::Entity;
use crate::class::features::Features;
use crate::class::params::Rank;
use crate::class::task_avg::{Needs, Share, Used};
use crate::idle_time::IdleTime;
use crate::time::Nanos;
use core::ptr::NonNull;
use core::sync::atomic::Ordering::Relaxed;

/// Where averages of CPUs are noted.
#[derive(Clone, Copy, Debug)]
pub(in crate::class) struct Notes {
    /// Those of all CPUs, by their numbers.
    pub(in crate::class) all: &'static [CpuAvg],
    /// How long this one has idled, in sum.
    pub(in crate::class) idled: &'static IdleTime,
}

impl Notes {
    /// Those of the CPU that an entity is marked with as `attached`.
    fn marked(&self, attached: u16) -> Option<&'static CpuAvg> {
        self.all.get(usize::from(attached).checked_sub(1)?)
    }
}

impl FairRq {
    /// It is time: the averages of the current task `e`, which is charged, are brought up to date. It
    /// `sleeps` after that, or stays.
    ///
    /// # Safety
    /// `e` is valid, under the queue's lock; no reference to it is held.
    #[cold]
    #[inline(never)]
    pub(in crate::class) unsafe fn average(&mut self, e: NonNull<Entity>, now: Nanos, sleeps: bool) {
        // SAFETY: by the contract.
        unsafe {
            let this = e.as_ptr();
            let used = if (*this).avg.are_new() { self.used(now) } else { Used { util: 0, capacity: self.capacity() } };
            let mut avg = (*this).averaged(now, used);
            self.util.replace(&(*this).avg, &mut avg, self.cpu);
            if sleeps && self.terms.features.has(Features::UTIL_EST) {
                avg.estimate(self.terms.features.has(Features::UTIL_EST_FASTUP));
            }
            if let Some(notes) = self.notes {
                self.note(notes, now);
                let here = self.cpu as u16 + 1;
                if avg.attached == 0 {
                    // It was added when it began, if as a fair task.
                    avg.attached = here;
                } else if avg.attached != here {
                    // It was woken here: what it has left there goes along (Linux: migrate_task_rq_fair, attach_entity_load_avg).
                    let (left, at) = ((*this).left_behind(now), (*this).avg.next);
                    notes.marked(avg.attached).into_iter().for_each(|there| there.take((*this).noted_needs(), at));
                    notes.marked(here).into_iter().for_each(|here| here.add_noted(left));
                    avg.attached = here;
                }
                (*this).needs.store(Needs::word(&avg, self.share(e)), Relaxed);
            }
            (*this).avg = avg;
        }
    }

    /// The current task `e`, which is charged, ends: it counts no more (Linux: task_dead_fair). There are several CPUs.
    ///
    /// # Safety
    /// As [`FairRq::average`].
    #[cold]
    #[inline(never)]
    pub(in crate::class) unsafe fn ends(&mut self, e: NonNull<Entity>, now: Nanos) {
        let Some(notes) = self.notes else { return };
        // SAFETY: by the contract.
        unsafe {
            let this = e.as_ptr();
            let attached = core::mem::take(&mut (*this).avg.attached);
            let Some(averages) = notes.marked(attached) else { return };
            if attached == self.cpu as u16 + 1 && (*this).rank == Rank::FAIR {
                self.note(notes, now);
                let avg = (*this).averaged(now, Used { util: 0, capacity: self.capacity() });
                let word = Needs::word(&avg, Share::in_word((*this).needs.load(Relaxed)));
                averages.take(Needs::of(word, (*this).load.weight), now);
            } else {
                averages.take((*this).noted_needs(), (*this).avg.next);
            }
        }
    }

    /// Notes what the CPU does, by a task of this class.
    fn note(&self, notes: Notes, now: Nanos) {
        if let Some(here) = notes.all.get(self.cpu as usize) {
            let idled = notes.idled.total(|| now);
            here.note(&Doing { now, idled, idles: false, nr: self.nr_tasks(), weight: self.load });
        }
    }

    /// How much of its weight `e`, which is on this queue, counts for in the CPU's load.
    ///
    /// # Safety
    /// As [`FairRq::average`].
    unsafe fn share(&self, e: NonNull<Entity>) -> Share {
        let mut part: u64 = 1024;
        // SAFETY: by the contract; a group lives as long as somebody is in it.
        unsafe {
            let Some(group) = (*e.as_ptr()).group else { return Share::WHOLE };
            let mut at = group.as_ref().on(self.cpu as usize);
            while let Some(level) = at {
                let level = level.as_ptr();
                part = part.saturating_mul((*level).se.load.weight.into()) / (*level).q.load.max(1);
                at = (*level).parent;
            }
        }
        Share::of(part)
    }

    /// How much the CPU gets done, of 1024.
    fn capacity(&self) -> u32 {
        let here = self.notes.and_then(|notes| notes.all.get(self.cpu as usize));
        here.map_or(Used::NONE.capacity, CpuAvg::capacity)
    }

    /// The CPU, and how much of it the class uses (Linux: util_avg of its queue).
    pub(in crate::class) fn used(&self, now: Nanos) -> Used {
        Used { capacity: self.capacity(), util: self.util.at(now) }
    }
}

impl Entity {
    /// What it needed when its averages were brought up to date last.
    fn noted_needs(&self) -> Needs {
        Needs::of(self.needs.load(Relaxed), self.load.weight)
    }

    /// What is left of that at `now`, if it has slept since then.
    fn left_behind(&self, now: Nanos) -> Needs {
        self.noted_needs().after(now.saturating_sub(self.avg.next))
    }
}
