//! What a CPU tells others about itself, and what they ask of it: words that are read without the lock of its run queue.

use super::CpuExec;
use crate::balance::choose::Load;
use crate::class::{Rank, Urgency};
use crate::cpu::{CpuId, local};
use crate::pending::{DUE_SEND, DUE_TIMERS};
use crate::time::Nanos;
use core::sync::atomic::Ordering::*;

impl CpuExec {
    /// The rank of what it runs.
    #[inline(always)]
    pub(crate) fn rank(&self) -> Rank {
        Rank(self.rank.load(Relaxed))
    }

    /// The same among all CPUs. The two halves may be of different moments.
    #[inline]
    pub(crate) fn urgency(&self) -> Urgency {
        match self.rank() {
            Rank::DEADLINE => Urgency { rank: Rank::DEADLINE, deadline: self.deadline.load(Relaxed) },
            rank => Urgency::of(rank),
        }
    }

    /// Its own CPU says what it runs now.
    #[inline(always)]
    pub(crate) fn set_rank(&self, rank: Rank) {
        self.rank.store(rank.0, Relaxed);
    }

    /// And by when that is due; returns what it said before.
    pub(crate) fn set_deadline(&self, deadline: Nanos) -> Nanos {
        self.deadline.swap(deadline, Relaxed)
    }

    /// What is above the fair class was sent there to run at once: nobody else chooses the same CPU. Any CPU.
    pub(crate) fn claim(&self, urgency: Urgency) {
        self.deadline.store(urgency.deadline, Relaxed);
        self.rank.store(urgency.rank.0, Relaxed);
    }

    /// How much it has to do, as it says while it is crowded; nothing otherwise.
    pub(crate) fn load(&self) -> Load {
        Load { nr: self.nr.load(Relaxed), weight: self.weight.load(Relaxed) }
    }

    /// Its own CPU says how much there is to do.
    pub(crate) fn set_load(&self, load: Load) {
        self.nr.store(load.nr, Relaxed);
        self.weight.store(load.weight, Relaxed);
    }

    /// Makes it let its current task go to `to`, soon, if it is of the fair class. Its own CPU, which interrupts itself then.
    pub(crate) fn ask_to_send(&self, to: CpuId) {
        self.send.store(to.index() as u32 + 1, Relaxed);
        local().pending.set(DUE_SEND);
    }

    /// Whether its current task is asked for.
    #[inline(always)]
    pub(crate) fn has_to_send(&self) -> bool {
        self.send.load(Relaxed) != 0
    }

    /// By whom; that is answered by this.
    pub(crate) fn take_send(&self) -> Option<CpuId> {
        CpuId::new(self.send.swap(0, Relaxed).checked_sub(1)? as usize)
    }

    /// It begins to idle, and coarse timers are left for when it runs again. Its own CPU.
    pub(crate) fn has_deferred(&self) {
        local().pending.set(DUE_TIMERS);
    }
}
