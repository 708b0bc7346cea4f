//! The deadline class's trees, and the moves between them.

use super::domain::Domain;
use super::reservation::{BW_UNIT, Reservation, Tied};
use super::{Dl, DlRq};
use crate::class::params::Rank;
use crate::class::tree::before;
use crate::time::Nanos;

impl DlRq {
    /// Puts `dl` in the tree `to`, by `key`.
    ///
    /// # Safety
    /// `dl` is valid and in no tree.
    pub(super) unsafe fn tie(&mut self, dl: Dl, to: Tied, key: Nanos) {
        // SAFETY: by the caller's contract.
        unsafe {
            let this = dl.as_ptr();
            debug_assert!((*this).tied == Tied::No);
            ((*this).tied, (*this).key) = (to, key);
            if to != Tied::Asleep {
                self.tied = self.tied.wrapping_add(1);
            }
            match to {
                Tied::No => {}
                Tied::Ready => {
                    self.ready.insert(dl);
                    self.nr = self.nr.wrapping_add(1);
                }
                Tied::Throttled => self.throttled.insert(dl),
                Tied::Inactive => self.inactive.insert(dl),
                Tied::Asleep => self.asleep.insert(dl),
            }
        }
    }

    /// # Safety
    /// `dl` is valid, and in a tree of this queue or in none.
    pub(super) unsafe fn untie(&mut self, dl: Dl) {
        // SAFETY: by the caller's contract.
        unsafe {
            let from = core::mem::replace(&mut (*dl.as_ptr()).tied, Tied::No);
            if from != Tied::No && from != Tied::Asleep {
                self.tied = self.tied.wrapping_sub(1);
            }
            match from {
                Tied::No => {}
                Tied::Ready => {
                    self.ready.remove(dl);
                    self.nr = self.nr.wrapping_sub(1);
                }
                Tied::Throttled => self.throttled.remove(dl),
                Tied::Inactive => self.inactive.remove(dl),
                Tied::Asleep => self.asleep.remove(dl),
            }
        }
    }

    /// # Safety
    /// `dl` is valid, in no tree, and not throttled.
    pub(super) unsafe fn make_ready(&mut self, dl: Dl) {
        // SAFETY: by the caller's contract.
        unsafe { self.tie(dl, Tied::Ready, (*dl.as_ptr()).deadline) };
    }

    /// It is used from here on: its bandwidth is active (Linux: `task_contending`).
    ///
    /// # Safety
    /// `dl` is valid.
    pub(super) unsafe fn contend(&mut self, dl: Dl) {
        // SAFETY: by the caller's contract.
        let this = unsafe { &mut *dl.as_ptr() };
        if this.counted == 0 {
            // SAFETY: by the caller's contract, under this queue's lock.
            unsafe { self.domain.adopt(dl, self.clock) };
            this.counted = this.own.bandwidth();
            self.this_bw = self.this_bw.wrapping_add(this.counted);
            this.active = false;
        }
        if !this.active {
            this.active = true;
            self.running_bw = self.running_bw.wrapping_add(this.counted);
        }
    }

    /// Its bandwidth is not active any more.
    ///
    /// # Safety
    /// `dl` is valid and counted here.
    pub(super) unsafe fn deactivate(&mut self, dl: Dl) {
        // SAFETY: by the caller's contract.
        let this = unsafe { &mut *dl.as_ptr() };
        if core::mem::take(&mut this.active) {
            self.running_bw = self.running_bw.wrapping_sub(this.counted);
        }
    }

    /// Its 0-lag time has passed while its entity sleeps.
    ///
    /// # Safety
    /// `dl` is valid, in no tree and counted here.
    pub(super) unsafe fn sleep(&mut self, dl: Dl) {
        // SAFETY: by the caller's contract.
        unsafe {
            self.deactivate(dl);
            self.tie(dl, Tied::Asleep, 0);
        }
    }

    /// None of those that sleep is of this queue any more.
    #[cold]
    pub(in crate::class) fn forget_all(&mut self) {
        while let Some(dl) = self.inactive.first().or(self.asleep.first()) {
            // SAFETY: what is in the trees is valid.
            unsafe { self.forget(dl) };
        }
    }

    /// It is not of this queue any more.
    ///
    /// # Safety
    /// `dl` is valid, and in no tree or in one of this queue.
    pub(super) unsafe fn forget(&mut self, dl: Dl) {
        // SAFETY: by the caller's contract.
        unsafe {
            self.untie(dl);
            self.deactivate(dl);
            self.this_bw = self.this_bw.wrapping_sub(core::mem::take(&mut (*dl.as_ptr()).counted));
        }
    }

    /// The budget of `dl`, which is ready, is used up: until its next period it does not run (Linux: in `update_curr_dl`).
    ///
    /// # Safety
    /// `dl` is valid and of this queue.
    #[cold]
    pub(super) unsafe fn throttle(&mut self, dl: Dl) {
        // SAFETY: by the caller's contract.
        unsafe {
            let this = dl.as_ptr();
            self.untie(dl);
            (*this).exhaust();
            let at = (*this).next_period();
            if (*this).lent.is_some() || before(at, self.clock) {
                (*this).replenish(self.clock);
                self.make_ready(dl);
            } else {
                self.tie(dl, Tied::Throttled, at);
                self.curr_throttled |= self.curr == Some(dl);
            }
        }
    }

    /// Puts a runnable reservation where it belongs.
    ///
    /// # Safety
    /// `dl` is valid, of this queue and in no tree.
    pub(super) unsafe fn place(&mut self, dl: Dl) {
        // SAFETY: by the caller's contract.
        unsafe {
            let this = dl.as_ptr();
            if (*this).lent.is_some() {
                (*this).throttled = false;
            } else if !(*this).throttled && (*this).is_between_periods(self.clock) {
                (*this).throttled = true;
                (*this).runtime = (*this).runtime.min(0);
            }
            if (*this).throttled {
                let at = (*this).next_period();
                if before(self.clock, at) {
                    return self.tie(dl, Tied::Throttled, at);
                }
                // The period began while it slept, or was on its way.
                (*this).replenish(at);
            }
        }
    }

    /// Renews the budgets whose period has begun, and lets go of the bandwidth of those that sleep beyond their 0-lag time.
    #[cold]
    #[inline(never)]
    pub(in crate::class) fn advance(&mut self, now: Nanos) {
        self.clock = now;
        // SAFETY: what is in the trees is valid.
        unsafe {
            while let Some(dl) = self.throttled.first()
                && !before(now, (*dl.as_ptr()).key)
            {
                self.untie(dl);
                (*dl.as_ptr()).replenish(now);
                self.make_ready(dl);
                if self.curr == Some(dl) {
                    self.curr_throttled = false;
                }
            }
            while let Some(dl) = self.inactive.first()
                && !before(now, (*dl.as_ptr()).key)
            {
                self.untie(dl);
                self.sleep(dl);
            }
        }
    }

    /// The most urgent rank when something is in a tree.
    #[cold]
    #[inline(never)]
    pub(super) fn best(&self) -> Option<Rank> {
        match self.curr {
            Some(_) if self.curr_throttled || self.ready.first() != self.curr => Some(Rank::DEADLINE_EARLIER),
            _ if self.nr > 0 => Some(Rank::DEADLINE),
            _ => None,
        }
    }

    /// When the next period begins for one that is throttled.
    #[cold]
    #[inline(never)]
    pub(super) fn next_replenishment(&self) -> Option<Nanos> {
        // SAFETY: it is in the tree, hence valid.
        self.throttled.first().map(|dl| unsafe { (*dl.as_ptr()).key })
    }

    /// What of each nanosecond of the CPU is charged to one that reclaims, in 1 / 2^20 (Linux: `grub_reclaim`).
    pub(super) fn reclaim_rate(&self, dl: &Reservation) -> u64 {
        let inactive = self.this_bw.saturating_sub(self.running_bw);
        let extra = self.domain.extra(self.clock);
        let least = (dl.own.bandwidth() * self.bw_ratio) >> 8;
        BW_UNIT.saturating_sub(inactive.saturating_add(extra)).max(least).min(BW_UNIT)
    }

    /// An entity of this queue ends: what it was promised is given back at its 0-lag time.
    ///
    /// # Safety
    /// `dl` is valid; its entity is on no queue, or of another class.
    pub(in crate::class) unsafe fn give_back(&mut self, dl: Dl, now: Nanos) {
        // SAFETY: by the caller's contract.
        unsafe {
            self.forget(dl);
            let until = (*dl.as_ptr()).zero_lag();
            Domain::give_back(dl, until, now);
        }
    }
}
