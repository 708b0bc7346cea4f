//! Timers whose function runs in a softirq (Linux: hrtimers of HRTIMER_MODE_SOFT).
//!
//! ```text
//!   start ─► tree ─ hard interrupt ─► those of the CPU that are due, HRTIMER raised ─► softirq: function
//! ```
//!
//! As precise as a [`Timer`] but for what runs before the softirq; interrupts are on in the function, which may take longer therefore.
//! The list of those that are due is under a lock of its CPU, a leaf, taken with interrupts masked.

use super::callback::Timer;
use crate::arch;
use crate::context::in_softirq;
use crate::cpu::{CpuId, MAX_CPUS, PerCpu};
use crate::ring::Link;
use crate::softirq::{Softirq, raise_here};
use crate::sync::{LockClass, SpinIrqGuard, SpinLock};
use crate::time::Nanos;
use core::mem::offset_of;
use core::pin::Pin;
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering::*};

static SOFT: LockClass = LockClass::new("hrtimer_soft");

/// A timer with a function that runs in the HRTIMER softirq. Pinned while it runs; dropping it cancels it.
///
/// The function may start the timer again, and finds the object that contains it from its address.
#[repr(C)]
pub struct SoftTimer {
    hard: Timer,
    link: Link,
    /// The CPU whose list it is, or was last, in.
    cpu: AtomicU32,
    /// It is in that list. Changes under its lock.
    due: AtomicBool,
    function: fn(&SoftTimer),
}

// SAFETY: the link is guarded by the lock of the list of `cpu`; the rest is atomic, constant, or `Sync` itself.
unsafe impl Sync for SoftTimer {}
// SAFETY: bound to no thread.
unsafe impl Send for SoftTimer {}

/// Those of a CPU that are due.
struct Due {
    head: Link,
    /// The timer whose function runs.
    running: *const SoftTimer,
}

// SAFETY: used under its lock, on whichever CPU.
unsafe impl Send for Due {}

/// In statics: heads are part of their rings.
static DUE: PerCpu<SpinLock<Due>> =
    PerCpu::new([const { SpinLock::new(&SOFT, Due { head: Link::new(), running: ptr::null() }) }; MAX_CPUS]);

impl SoftTimer {
    /// A timer that is not started.
    pub const fn new(function: fn(&SoftTimer)) -> SoftTimer {
        SoftTimer { hard: Timer::new(expired), link: Link::new(), cpu: AtomicU32::new(0), due: AtomicBool::new(false), function }
    }

    /// Starts it, or starts it anew: its function runs in a softirq after `deadline` (CLOCK_MONOTONIC) or up to `slack` nanoseconds
    /// later. Any context, its own function included.
    pub fn start(self: Pin<&Self>, deadline: Nanos, slack: Nanos) {
        self.hard.cancel();
        self.take_back();
        // SAFETY: structural pinning of the field.
        unsafe { self.map_unchecked(|t| &t.hard) }.start_anywhere(deadline, slack);
    }

    /// Stops it, and waits, spinning, until its function does not run, unless it is called from there; whether it was waiting. Not in a hard
    /// interrupt, nor with a lock that the function takes.
    pub fn cancel(&self) -> bool {
        let mut waited = false;
        loop {
            waited |= self.hard.cancel() | self.take_back();
            let (cpu, list) = self.list();
            let runs = ptr::eq(list.running, self);
            drop(list);
            if !runs && !self.is_queued() || runs && in_softirq() && cpu == CpuId::current() {
                return waited;
            }
            arch::relax();
        }
    }

    /// Whether it is started and its function has not begun since.
    pub fn is_queued(&self) -> bool {
        self.hard.is_queued() || self.due.load(Acquire)
    }

    /// The list that it is or was in, locked.
    fn list(&self) -> (CpuId, SpinIrqGuard<'static, Due>) {
        loop {
            let cpu = CpuId::new(self.cpu.load(Acquire) as usize).unwrap_or(CpuId::BOOT);
            let list = DUE.of(cpu).lock_irq();
            if self.cpu.load(Relaxed) == cpu.index() as u32 {
                return (cpu, list);
            }
        }
    }

    /// Takes it off the list of those that are due; whether it was on it.
    fn take_back(&self) -> bool {
        if !self.due.load(Acquire) {
            return false;
        }
        let (_, _list) = self.list();
        let due = self.due.load(Relaxed);
        if due {
            // SAFETY: it is in the list whose lock is held.
            unsafe { self.link.remove() };
            self.due.store(false, Release);
        }
        due
    }
}

impl Drop for SoftTimer {
    fn drop(&mut self) {
        self.cancel();
    }
}

impl core::fmt::Debug for SoftTimer {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("SoftTimer").field("queued", &self.is_queued()).finish()
    }
}

/// Its time has come. Hard interrupt.
fn expired(timer: &Timer) {
    const { assert!(offset_of!(SoftTimer, hard) == 0) };
    // SAFETY: this function is given to the timers of soft ones only, whose first field they are; whoever ends one waits while its
    // hard function runs.
    let soft = unsafe { &*ptr::from_ref(timer).cast::<SoftTimer>() };
    let here = CpuId::current();
    // While its function runs elsewhere it is due there, so that who waits for that finds both in one place.
    let (cpu, list) = soft.list();
    if ptr::eq(list.running, soft) && cpu != here {
        enlist(soft, &list);
        drop(list);
        return crate::softirq::raise(Softirq::HrTimer, crate::cpu::CpuMask::of(cpu));
    }
    drop(list);
    let list = DUE.of(here).lock_irq();
    soft.cpu.store(here.index() as u32, Release);
    enlist(soft, &list);
    drop(list);
    raise_here(Softirq::HrTimer);
}

/// Puts `soft` behind those that are due, unless it is among them.
fn enlist(soft: &SoftTimer, list: &Due) {
    if !soft.due.swap(true, AcqRel) {
        // SAFETY: it is in no list; this one's lock is held; it is pinned until it is taken out.
        unsafe { list.head.append(&soft.link) };
    }
}

/// The HRTIMER softirq: runs those that were due when it began.
pub(crate) fn softirq() {
    let mine = DUE.this();
    let mut list = mine.lock_irq();
    // What is started anew meanwhile comes with another round.
    let last = list.head.last();
    while let Some(first) = list.head.first() {
        // SAFETY: what is in the list is alive, and the link of a soft timer. Whoever ends it waits while `running` names it; the
        // function may have it end: it is not looked at afterwards.
        unsafe {
            let soft = first.byte_sub(offset_of!(SoftTimer, link)).cast::<SoftTimer>();
            (*first).remove();
            (*soft).due.store(false, Release);
            list.running = soft;
            drop(list);
            ((*soft).function)(&*soft);
        }
        list = mine.lock_irq();
        list.running = ptr::null();
        if last == Some(first) {
            break;
        }
    }
    let more = !list.head.is_alone();
    drop(list);
    if more {
        raise_here(Softirq::HrTimer);
    }
}

/// Those of `gone`, which has stopped, that are due are this CPU's. In a task.
pub fn take_over_due(gone: CpuId) {
    arch::without_irqs(|| {
        loop {
            let list = DUE.of(gone).lock_irq();
            let Some(first) = list.head.first() else { return };
            // SAFETY: what is in the list is alive, and the link of a soft timer; nobody ends it while it is due.
            let soft = unsafe { &*first.byte_sub(offset_of!(SoftTimer, link)).cast::<SoftTimer>() };
            // SAFETY: it is in the list whose lock is held.
            unsafe { soft.link.remove() };
            let here = CpuId::current();
            // The lock of a CPU that has gone: nobody waits for this one in it.
            let there = DUE.of(here).lock_irq_nested(&SOFT_NESTED);
            soft.cpu.store(here.index() as u32, Release);
            // SAFETY: it is in no list; this one's lock is held.
            unsafe { there.head.append(&soft.link) };
            drop(there);
            drop(list);
            raise_here(Softirq::HrTimer);
        }
    });
}

/// The lock of a second list.
static SOFT_NESTED: LockClass = LockClass::new("hrtimer_soft/2");
