//! What the CPUs that share their deadline tasks can promise (Linux: a root domain's `dl_bw`): admission, and the release of
//! what a task gives back, which counts until the task's 0-lag time.
//!
//! The lock is a leaf, inside those of run queues.

use super::reservation::{BW_UNIT, Reservation, ratio};
use crate::class::tree::before;
use crate::cpu::MAX_CPUS;
use crate::lock_class;
#[cfg(not(loom))]
use crate::sync::SpinLock;
use crate::time::Nanos;
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Under loom, whose locks no static can hold; no loom test comes here.
#[cfg(loom)]
#[derive(Debug)]
struct SpinLock<T>(spin::Mutex<T>);

#[cfg(loom)]
impl<T> SpinLock<T> {
    const fn new(_: &'static crate::sync::LockClass, value: T) -> Self {
        SpinLock(spin::Mutex::new(value))
    }

    fn lock_irq(&self) -> spin::MutexGuard<'_, T> {
        self.0.lock()
    }
}

/// A reservation's part in its domain.
#[derive(Debug)]
pub(crate) struct Claim {
    /// What of the domain's total is its; 0: nothing.
    bandwidth: u64,
    /// Given back, and counted till then; `None`: in use.
    until: Option<Nanos>,
    /// Its task is freed: it goes when it is due.
    orphan: bool,
    /// The domain that has promised it. Unlike the rest under the lock of the reservation's run queue.
    home: Option<&'static Domain>,
    /// The next one in the list of those that are given back, or of garbage.
    next: *mut Reservation,
}

impl Claim {
    pub(super) const NONE: Claim = Claim { bandwidth: 0, until: None, orphan: false, home: None, next: null_mut() };

    /// Nothing is promised any more.
    fn clear(&mut self) {
        *self = Claim { home: self.home, ..Claim::NONE };
    }
}

#[derive(Debug)]
struct Totals {
    /// What each CPU can promise; `None`: everything.
    limit: Option<u64>,
    /// What is promised.
    total: u64,
    /// The CPUs, for the share of each in the total.
    cpus: u64,
    /// Those that are given back.
    leaving: *mut Reservation,
    /// Those whose task is freed, and whose time has come.
    garbage: *mut Reservation,
}

// SAFETY: the list is followed only under the lock.
unsafe impl Send for Totals {}

/// A root domain.
#[derive(Debug)]
pub struct Domain {
    totals: SpinLock<Totals>,
    /// What each CPU could promise still: read by GRUB without the lock.
    extra: AtomicU64,
    /// When the next of the leaving is due; `u64::MAX`: none.
    due: AtomicU64,
}

/// The domains of this machine: the first is that of CPUs that take part in no balancing ([`crate::balance::partition`]).
pub static DOMAINS: [Domain; MAX_CPUS + 1] = [const { Domain::new() }; MAX_CPUS + 1];

/// The domain cannot promise so much (EBUSY).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Overflow;

impl Domain {
    /// A domain with Linux's default limit, 950 ms of each second.
    pub const fn new() -> Domain {
        let limit = ratio(1000, 950);
        let totals = Totals { limit: Some(limit), total: 0, cpus: 1, leaving: null_mut(), garbage: null_mut() };
        Domain { totals: SpinLock::new(lock_class!("dl_bw"), totals), extra: AtomicU64::new(limit), due: AtomicU64::new(u64::MAX) }
    }

    /// Promises what `r` asks for from now on, `bandwidth`, instead of what it had.
    ///
    /// # Safety
    /// `r` is valid, stays so until it is abandoned, and the run queue that it belongs to is locked.
    pub unsafe fn admit(&'static self, r: NonNull<Reservation>, bandwidth: u64, now: Nanos) -> Result<(), Overflow> {
        let mut moved = 0;
        // What another domain has of it is given back there, or it has come here with its CPU's queue.
        // SAFETY: valid by contract, under its queue's lock.
        if let Some(home) = unsafe { (*r.as_ptr()).domain.home }.filter(|home| !core::ptr::eq(*home, self)) {
            // SAFETY: passed on.
            moved = unsafe { home.take(r, true, now) }.unwrap_or(0);
        }
        let mut t = self.totals.lock_irq();
        self.collect(&mut t, now);
        // SAFETY: valid by contract, and its claim is this lock's.
        unsafe {
            let claim = &raw mut (*r.as_ptr()).domain;
            let old = (*claim).bandwidth;
            // What is being given back counts against the others, but not against itself once it is admitted.
            let forgiven = if (*claim).until.is_none() { old } else { 0 };
            if let Some(limit) = t.limit
                && limit.saturating_mul(t.cpus) < t.total.saturating_sub(forgiven).saturating_add(bandwidth)
            {
                // What it was promised elsewhere it keeps.
                if moved != 0 {
                    t.total = t.total.saturating_add(moved);
                    *claim = Claim { bandwidth: moved, home: Some(self), ..Claim::NONE };
                }
                self.note(&t);
                return Err(Overflow);
            }
            t.take_out(r);
            t.total = t.total.saturating_sub(old).saturating_add(bandwidth);
            *claim = Claim { bandwidth, home: Some(self), ..Claim::NONE };
        }
        self.note(&t);
        Ok(())
    }

    /// Takes what `r` has here. What it has given back is forgotten if `all`, and stays if not. How much of it was in use; `None`: it stays.
    ///
    /// # Safety
    /// As [`Domain::admit`].
    unsafe fn take(&self, r: NonNull<Reservation>, all: bool, now: Nanos) -> Option<u64> {
        let mut t = self.totals.lock_irq();
        self.collect(&mut t, now);
        // SAFETY: valid by contract, and its claim is this lock's.
        let used = unsafe {
            let claim = &raw mut (*r.as_ptr()).domain;
            let leaves = (*claim).until.is_some();
            if leaves && !all {
                None
            } else {
                t.take_out(r);
                t.total = t.total.saturating_sub((*claim).bandwidth);
                let used = if leaves { 0 } else { (*claim).bandwidth };
                (*claim).clear();
                Some(used)
            }
        };
        self.note(&t);
        used
    }

    /// `r` is of a queue of this domain from now on, and so is what it was promised, whether it fits or not (Linux: a task's affinity
    /// leaves its root domain, or root domains are made anew). What it has given back stays where it was.
    ///
    /// # Safety
    /// As [`Domain::admit`].
    pub(super) unsafe fn adopt(&'static self, r: NonNull<Reservation>, now: Nanos) {
        // SAFETY: valid by contract, under its queue's lock.
        let Some(home) = (unsafe { (*r.as_ptr()).domain.home }).filter(|home| !core::ptr::eq(*home, self)) else { return };
        // SAFETY: passed on.
        let Some(bandwidth) = (unsafe { home.take(r, false, now) }) else { return };
        let mut t = self.totals.lock_irq();
        self.collect(&mut t, now);
        t.total = t.total.saturating_add(bandwidth);
        // SAFETY: as above.
        unsafe { (*r.as_ptr()).domain = Claim { bandwidth, home: Some(self), ..Claim::NONE } };
        self.note(&t);
    }

    /// `r` needs nothing any more; what it had counts until `until`.
    ///
    /// # Safety
    /// As [`Domain::admit`].
    pub unsafe fn give_back(r: NonNull<Reservation>, until: Nanos, now: Nanos) {
        // SAFETY: valid by contract, under its queue's lock.
        if let Some(home) = unsafe { (*r.as_ptr()).domain.home } {
            // Of one that has never run the deadline is none, and has passed.
            let until = if before(until, now) { now } else { until };
            // SAFETY: passed on.
            unsafe { home.give_back_here(r, until, now) };
        }
    }

    /// # Safety
    /// As [`Domain::admit`].
    unsafe fn give_back_here(&self, r: NonNull<Reservation>, until: Nanos, now: Nanos) {
        let mut t = self.totals.lock_irq();
        // SAFETY: valid by contract, and its claim is this lock's.
        unsafe {
            let claim = &raw mut (*r.as_ptr()).domain;
            if (*claim).bandwidth != 0 && (*claim).until.is_none() {
                (*claim).until = Some(until);
                (*claim).next = t.leaving;
                t.leaving = r.as_ptr();
            }
        }
        self.collect(&mut t, now);
        self.note(&t);
    }

    /// The task of `r` is freed. `true`: the caller frees `r`, too; `false`: [`Domain::take_garbage`] yields it one day.
    ///
    /// # Safety
    /// As [`Domain::admit`]; nobody else reaches `r` any more.
    pub unsafe fn abandon(r: NonNull<Reservation>, now: Nanos) -> bool {
        // SAFETY: nobody else reaches it, and who is in the list of a domain has it as its home.
        let Some(home) = (unsafe { (*r.as_ptr()).domain.home }) else { return true };
        let mut t = home.totals.lock_irq();
        home.collect(&mut t, now);
        // SAFETY: valid by contract, and its claim is this lock's.
        let claim = unsafe { &mut (*r.as_ptr()).domain };
        claim.orphan = claim.until.is_some();
        let frees = !claim.orphan;
        if frees {
            // Promised to one that never ran after that: a task that had ended, or was never started.
            t.total = t.total.saturating_sub(claim.bandwidth);
            claim.clear();
        }
        home.note(&t);
        frees
    }

    /// A reservation that nobody uses any more, for the caller to free.
    pub fn take_garbage(&self) -> Option<NonNull<Reservation>> {
        let mut t = self.totals.lock_irq();
        let r = NonNull::new(t.garbage)?;
        // SAFETY: what is in the list is valid.
        t.garbage = unsafe { (*r.as_ptr()).domain.next };
        Some(r)
    }

    /// Whether `cpus` CPUs could keep what is promised.
    pub(crate) fn fits_cpus(&self, cpus: u64, now: Nanos) -> bool {
        let mut t = self.totals.lock_irq();
        self.collect(&mut t, now);
        self.note(&t);
        t.limit.is_none_or(|limit| limit.saturating_mul(cpus) >= t.total)
    }

    /// What is promised when `bandwidth` is moved here: refused when the CPUs of the domain cannot keep that (Linux: dl_cpu_busy).
    pub fn has_room(&self, bandwidth: u64, now: Nanos) -> bool {
        let mut t = self.totals.lock_irq();
        self.collect(&mut t, now);
        self.note(&t);
        t.limit.is_none_or(|limit| limit.saturating_mul(t.cpus) >= t.total.saturating_add(bandwidth))
    }

    /// Changes what each CPU can promise: `runtime` of each `period`, `None` for everything. Refused when more is promised.
    pub fn set_limit(&self, period: Nanos, runtime: Option<Nanos>, now: Nanos) -> Result<(), Overflow> {
        let mut t = self.totals.lock_irq();
        self.collect(&mut t, now);
        let limit = runtime.map(|r| ratio(period, r));
        if limit.is_some_and(|l| l.saturating_mul(t.cpus) < t.total) {
            return Err(Overflow);
        }
        t.limit = limit;
        self.note(&t);
        Ok(())
    }

    /// The same, whatever is promised.
    pub(crate) fn force_limit(&self, period: Nanos, runtime: Option<Nanos>) {
        let mut t = self.totals.lock_irq();
        t.limit = runtime.map(|r| ratio(period, r));
        self.note(&t);
    }

    /// From now on it is of `cpus` CPUs. Refused when these cannot keep what is promised (Linux: dl_bw_check_overflow).
    pub fn set_cpus(&self, cpus: u64, now: Nanos) -> Result<(), Overflow> {
        let mut t = self.totals.lock_irq();
        self.collect(&mut t, now);
        let fits = t.limit.is_none_or(|limit| limit.saturating_mul(cpus) >= t.total);
        if fits {
            t.cpus = cpus.max(1);
        }
        self.note(&t);
        if fits { Ok(()) } else { Err(Overflow) }
    }

    /// From now on it is of `cpus` CPUs, whatever is promised.
    pub fn give_cpus(&self, cpus: u64) {
        let mut t = self.totals.lock_irq();
        t.cpus = cpus.max(1);
        self.note(&t);
    }

    /// What is promised, in units of 1 / 2^20 of a CPU.
    pub fn total(&self, now: Nanos) -> u64 {
        let mut t = self.totals.lock_irq();
        self.collect(&mut t, now);
        self.note(&t);
        t.total
    }

    /// What GRUB may hand out of each CPU besides what is promised.
    pub(super) fn extra(&self, now: Nanos) -> u64 {
        if now >= self.due.load(Relaxed) {
            let _ = self.total(now);
        }
        self.extra.load(Relaxed)
    }

    /// When [`Domain::extra`] changes by itself.
    pub(super) fn next_release(&self) -> Nanos {
        self.due.load(Relaxed)
    }

    /// Releases what was given back and is due.
    fn collect(&self, t: &mut Totals, now: Nanos) {
        if now < self.due.load(Relaxed) {
            return;
        }
        let mut link = &raw mut t.leaving;
        // SAFETY: what is in the list is valid, and its claim is this lock's.
        unsafe {
            while !(*link).is_null() {
                let r = *link;
                let claim = &mut (*r).domain;
                if claim.until.is_some_and(|until| until <= now) {
                    *link = claim.next;
                    t.total = t.total.saturating_sub(claim.bandwidth);
                    let orphan = claim.orphan;
                    claim.clear();
                    if orphan {
                        claim.next = t.garbage;
                        t.garbage = r;
                    }
                } else {
                    link = &raw mut claim.next;
                }
            }
        }
    }

    /// Brings what is read without the lock up to date.
    fn note(&self, t: &Totals) {
        let limit = t.limit.unwrap_or(BW_UNIT);
        self.extra.store(limit.saturating_sub(t.total / t.cpus), Relaxed);
        let (mut due, mut at) = (u64::MAX, t.leaving.cast_const());
        // SAFETY: as in `collect`.
        while let Some(r) = unsafe { at.as_ref() } {
            due = due.min(r.domain.until.unwrap_or(u64::MAX));
            at = r.domain.next.cast_const();
        }
        self.due.store(due, Relaxed);
    }
}

impl Default for Domain {
    fn default() -> Self {
        Self::new()
    }
}

impl Totals {
    /// # Safety
    /// `r` is valid.
    unsafe fn take_out(&mut self, r: NonNull<Reservation>) {
        let mut link = &raw mut self.leaving;
        // SAFETY: what is in the list is valid, and its claim is this lock's.
        unsafe {
            while let Some(at) = NonNull::new(*link) {
                if at == r {
                    *link = (*r.as_ptr()).domain.next;
                    return;
                }
                link = &raw mut (*at.as_ptr()).domain.next;
            }
        }
    }
}
