//! SRCU: RCU whose readers may sleep (Linux: srcu_struct).
//!
//! A reader counts itself in and out in one of two columns of per-CPU counters; the updater turns newcomers to the
//! other column and waits until the sums of ins and outs of the old one agree. Outs are summed before ins: a reader
//! that moved between CPUs, or came late, makes the sums differ, never agree too early.
//!
//! ```text
//!   reader                          updater
//!   in[column] += 1                 sum outs
//!   fence(SeqCst)                   fence(SeqCst)
//!   read the data                   sum ins
//! ```

use super::lockdep::{LockClass, Tracked};
use super::mutex::Mutex;
use crate::atomic::{AtomicU32, AtomicUsize, Ordering, const_unless_loom, fence};
use crate::cpu::{CpuId, MAX_CPUS};
use crate::wait::{WaitMode, WaitQueue, WaitSite};

/// Columns of counters; loom needs few to stay fast.
const SLOTS: usize = if cfg!(loom) { 1 } else { MAX_CPUS };

static SRCU_UPDATE: LockClass = LockClass::new("srcu_update");

/// One CPU's counters: ins and outs of the two columns.
#[repr(align(64))]
struct Counters {
    ins: [AtomicUsize; 2],
    outs: [AtomicUsize; 2],
}

impl Counters {
    const_unless_loom! {
        fn new() -> Counters {
            Counters {
                ins: [AtomicUsize::new(0), AtomicUsize::new(0)],
                outs: [AtomicUsize::new(0), AtomicUsize::new(0)],
            }
        }
    }
}

/// One domain: its updaters wait for its readers only.
pub struct Srcu {
    counters: [Counters; SLOTS],
    /// The column of newcomers, in bit 0.
    column: AtomicU32,
    update: Mutex<()>,
    drained: WaitQueue,
    class: Tracked,
    #[cfg(not(loom))]
    pub(super) callbacks: super::srcu_callbacks::Callbacks,
}

impl Srcu {
    /// A domain of `class` with no reader.
    #[cfg(not(loom))]
    pub const fn new(class: &'static LockClass) -> Self {
        Srcu {
            counters: [const { Counters::new() }; SLOTS],
            column: AtomicU32::new(0),
            update: Mutex::new(&SRCU_UPDATE, ()),
            drained: WaitQueue::new(),
            class: Tracked::new(class),
            callbacks: super::srcu_callbacks::Callbacks::new(),
        }
    }

    /// A domain of `class` with no reader.
    #[cfg(loom)]
    pub fn new(class: &'static LockClass) -> Self {
        Srcu {
            counters: core::array::from_fn(|_| Counters::new()),
            column: AtomicU32::new(0),
            update: Mutex::new(&SRCU_UPDATE, ()),
            drained: WaitQueue::new(),
            class: Tracked::new(class),
        }
    }

    fn addr(&self) -> *const () {
        core::ptr::from_ref(self).cast()
    }

    fn here(&self) -> &Counters {
        // The CPU is a hint that keeps the lines apart; any counter would be right.
        &self.counters[CpuId::current().index() % SLOTS]
    }

    /// Begins a read-side section, which may await and migrate. Never waits.
    #[cfg_attr(debug_assertions, track_caller)]
    pub fn read_lock(&self) -> SrcuGuard<'_> {
        self.class.acquired_here(self.addr(), true);
        let column = self.column.load(Ordering::Relaxed) as usize & 1;
        self.here().ins[column].fetch_add(1, Ordering::Relaxed);
        // The section's reads stay below the count.
        fence(Ordering::SeqCst);
        SrcuGuard { srcu: self, column }
    }

    /// Waits until all read-side sections that had begun before the call have ended. Not inside such a section.
    pub async fn synchronize(&self, site: &'static WaitSite) {
        self.class.will_wait(self.addr(), false, site);
        let _one_at_a_time = self.update.lock(site).await;
        fence(Ordering::SeqCst);
        // A reader that read the column before the last turn may count itself in only now. If it does after the sum, it
        // sees what the updater stored (the diagram above); until the column of newcomers is turned to, it must be empty.
        let old = self.column.load(Ordering::Relaxed) as usize & 1;
        self.drain(old ^ 1, site).await;
        fence(Ordering::SeqCst);
        self.column.fetch_add(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        self.drain(old, site).await;
        fence(Ordering::SeqCst);
    }

    async fn drain(&self, column: usize, site: &'static WaitSite) {
        let empty = || self.is_empty(column).then_some(());
        while self.drained.wait_until(site, WaitMode::Uninterruptible, empty).await.is_err() {}
    }

    fn is_empty(&self, column: usize) -> bool {
        let sum = |f: fn(&Counters) -> &[AtomicUsize; 2], order| {
            self.counters.iter().fold(0usize, |n, c| n.wrapping_add(f(c)[column].load(order)))
        };
        let outs = sum(|c| &c.outs, Ordering::Acquire);
        fence(Ordering::SeqCst);
        outs == sum(|c| &c.ins, Ordering::Relaxed)
    }
}

/// A read-side section of an [`Srcu`]. `Send`: it may live across awaits.
#[must_use = "what was read is protected only while the guard lives"]
pub struct SrcuGuard<'a> {
    srcu: &'a Srcu,
    column: usize,
}

impl Drop for SrcuGuard<'_> {
    fn drop(&mut self) {
        self.srcu.class.released(self.srcu.addr());
        self.srcu.here().outs[self.column].fetch_add(1, Ordering::Release);
        // The queue's own fence stands between the count and the look for a waiter.
        self.srcu.drained.wake_all();
    }
}
