//! The grace-period machine: a sequence number and a set of CPUs that are still waited for.
//!
//! ```text
//!   seq even, pending = 0            ── start (needed > seq) ──►   seq odd, pending = CPUs that do not idle
//!        ▲                                                              │ quiescent / idle_enter: clear a bit
//!        └───────────────────── end: seq + 1 ◄── last bit cleared ──────┘
//! ```
//!
//! Two pairs decide. An updater's store is before its [`Grace::snapshot`]; the start of a grace period that satisfies
//! the snapshot comes after it in the order of `seq`, and the fence in both makes the store visible to whoever takes
//! part in that grace period. And, for CPUs that idle:
//!
//! ```text
//!   start                              idle_enter              idle_exit
//!   pending = all                      idle |= me              idle &= !me
//!   fence(SeqCst)                      fence(SeqCst)           fence(SeqCst)
//!   pending &= !idle                   report if pending       read-side sections see what `start` saw
//! ```

use crate::atomic::{AtomicU64, Ordering, const_unless_loom, fence};
use crate::cpu::CpuMask;
use crate::wait::{Interrupted, WaitMode, WaitQueue, WaitSite};

/// One RCU domain. The system's is a static in [`rcu`](super); tests make their own.
pub struct Grace {
    /// Twice the number of finished grace periods, plus one while one is under way.
    seq: AtomicU64,
    /// The largest sequence number that somebody waits for.
    needed: AtomicU64,
    /// CPUs that the current grace period waits for.
    pending: AtomicU64,
    /// CPUs that run nothing: idle, or not online.
    idle: AtomicU64,
    end: WaitQueue,
}

impl Grace {
    const_unless_loom! {
        /// A domain in which all CPUs idle.
        pub fn new() -> Self {
            Grace {
                seq: AtomicU64::new(0),
                needed: AtomicU64::new(0),
                pending: AtomicU64::new(0),
                idle: AtomicU64::new(CpuMask::ALL.0),
                end: WaitQueue::new(),
            }
        }
    }

    /// The sequence number from which on all readers that may have seen what the caller replaced are gone: the end of
    /// the first grace period that begins from now on.
    pub fn snapshot(&self) -> u64 {
        fence(Ordering::SeqCst);
        (self.seq.load(Ordering::Relaxed) + 3) & !1
    }

    /// Whether the grace period of a [`snapshot`](Self::snapshot) is over.
    #[inline]
    pub fn is_done(&self, target: u64) -> bool {
        self.seq.load(Ordering::Acquire) >= target
    }

    /// The sequence number, for comparison with snapshots.
    #[inline]
    pub fn completed(&self) -> u64 {
        self.seq.load(Ordering::Acquire)
    }

    /// CPUs that are waited for, a bit each.
    #[inline]
    pub fn pending(&self) -> u64 {
        self.pending.load(Ordering::Relaxed)
    }

    /// Whether a grace period is under way or asked for.
    pub fn is_wanted(&self) -> bool {
        let s = self.seq.load(Ordering::Acquire);
        s & 1 == 1 || self.needed.load(Ordering::Acquire) > s
    }

    /// Whether a grace period waits for any CPU.
    #[inline(always)]
    pub fn waits(&self) -> bool {
        self.pending.load(Ordering::Relaxed) != 0
    }

    /// Whether a grace period waits for the CPU of `bit`.
    #[inline(always)]
    pub fn waits_for(&self, bit: u64) -> bool {
        self.pending.load(Ordering::Relaxed) & bit != 0
    }

    /// Asks for grace periods up to `target` and starts one if none is under way. `true` if one ended in the call.
    #[must_use = "who waits must be told"]
    pub fn request(&self, target: u64) -> bool {
        self.needed.fetch_max(target, Ordering::SeqCst);
        self.drive()
    }

    /// The CPU of `bit` is in no read-side section. `true` if a grace period ended by it.
    #[must_use = "who waits must be told"]
    pub fn quiescent(&self, bit: u64) -> bool {
        // Release: our sections are over; acquire: our next ones see what the updater stored.
        let old = self.pending.fetch_and(!bit, Ordering::AcqRel);
        self.last_of(old, bit)
    }

    /// The CPU of `bit` stops running. `true` if a grace period ended by it.
    #[must_use = "who waits must be told"]
    pub fn idle_enter(&self, bit: u64) -> bool {
        self.idle.fetch_or(bit, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        self.waits_for(bit) && self.quiescent(bit)
    }

    /// The CPU of `bit` runs again.
    pub fn idle_exit(&self, bit: u64) {
        self.idle.fetch_and(!bit, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// Waits for the end of the grace period of `target`, which was requested.
    pub async fn wait_end(&self, site: &'static WaitSite, mode: WaitMode, target: u64) -> Result<(), Interrupted> {
        self.end.wait_until(site, mode, || self.is_done(target).then_some(())).await
    }

    /// Wakes who is in [`wait_end`](Self::wait_end). After a call that said that a grace period ended.
    pub fn tell(&self) {
        self.end.wake_all();
    }

    /// `bits` were cleared in `pending`, which was `old`: if they were the last, the grace period is over.
    fn last_of(&self, old: u64, bits: u64) -> bool {
        if old == 0 || old & !bits != 0 {
            return false;
        }
        self.finish();
        self.drive();
        true
    }

    /// Ends the current grace period. Only by who cleared the last bit.
    fn finish(&self) {
        self.seq.fetch_add(1, Ordering::SeqCst);
    }

    /// Starts what is asked for and not under way. `true` if a grace period ended at once, because all CPUs idle.
    fn drive(&self) -> bool {
        let mut ended = false;
        loop {
            let s = self.seq.load(Ordering::SeqCst);
            if s & 1 == 1 || self.needed.load(Ordering::SeqCst) <= s {
                return ended;
            }
            if self.seq.compare_exchange(s, s + 1, Ordering::SeqCst, Ordering::SeqCst).is_err() {
                continue;
            }
            fence(Ordering::SeqCst);
            // A read-modify-write although the set is empty: reports of CPUs that look late are such, too.
            self.pending.fetch_or(CpuMask::ALL.0, Ordering::AcqRel);
            fence(Ordering::SeqCst);
            let idle = self.idle.load(Ordering::SeqCst);
            let old = self.pending.fetch_and(!idle, Ordering::AcqRel);
            if old == 0 || old & !idle != 0 {
                return ended;
            }
            self.finish();
            ended = true;
        }
    }
}

#[cfg(not(loom))]
impl Default for Grace {
    fn default() -> Self {
        Self::new()
    }
}
