//! The timer, as its owner sees it.

use super::Jiffies;
use super::base::{self, Deleted};
use super::wheel::Node;
use crate::arch;
use crate::time::Nanos;
use core::cell::Cell;
use core::marker::PhantomPinned;
use core::ops::BitOr;
use core::pin::Pin;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering::*};

/// What kind of timer it is, for all its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Kind(u8);

impl Kind {
    /// None of the others.
    pub const PLAIN: Kind = Kind(0);
    /// It does not wake an idle CPU.
    pub const DEFERRABLE: Kind = Kind(1);
    /// It runs on the CPU that starts it.
    pub const PINNED: Kind = Kind(2);
    /// Its function runs with interrupts masked.
    pub const IRQSAFE: Kind = Kind(4);

    /// Both.
    pub const fn and(self, other: Kind) -> Kind {
        Kind(self.0 | other.0)
    }

    pub(super) const fn has(self, other: Kind) -> bool {
        self.0 & other.0 != 0
    }
}

impl Kind {
    /// As Linux notes it in a timer's flags (TIMER_DEFERRABLE, TIMER_PINNED, TIMER_IRQSAFE).
    pub(super) fn linux_flags(self) -> u32 {
        u32::from(self.0) << 19
    }
}

impl BitOr for Kind {
    type Output = Kind;
    fn bitor(self, other: Kind) -> Kind {
        self.and(other)
    }
}

/// A function that is called some ticks later (Linux: timer_list). Pinned while it waits; dropping it stops it.
///
/// The function runs in the TIMER softirq, may start the timer again, and finds the object that contains it from its address.
#[repr(C)]
pub struct CoarseTimer {
    pub(super) node: Node,
    /// With which it was started last; under the base's lock.
    pub(super) expires: Cell<Jiffies>,
    /// The CPU whose base guards it, or [`MOVING`](base::MOVING).
    pub(super) cpu: AtomicU32,
    /// It waits. Changes under the base's lock.
    pub(super) queued: AtomicBool,
    pub(super) kind: Kind,
    pub(super) function: fn(&CoarseTimer),
    _pin: PhantomPinned,
}

// SAFETY: the node and `expires` are guarded by the lock of the base; the rest is atomic or constant.
unsafe impl Sync for CoarseTimer {}
// SAFETY: bound to no thread.
unsafe impl Send for CoarseTimer {}

impl CoarseTimer {
    /// A timer that is not started.
    pub const fn new(function: fn(&CoarseTimer), kind: Kind) -> CoarseTimer {
        CoarseTimer {
            node: Node::new(),
            expires: Cell::new(0),
            cpu: AtomicU32::new(0),
            queued: AtomicBool::new(false),
            kind,
            function,
            _pin: PhantomPinned,
        }
    }

    /// Has it fire after tick `expires`, by at most an eighth of how long that is, or a tick; whether it waited (Linux:
    /// mod_timer). Any context, its own function included.
    pub fn modify(self: Pin<&Self>, expires: Jiffies) -> bool {
        base::modify(self, expires)
    }

    /// The same no earlier than `delay` from now.
    pub fn start(self: Pin<&Self>, delay: Nanos) -> bool {
        self.modify(super::after(delay))
    }

    /// Stops it; whether it waited. Its function may run at this moment (Linux: timer_delete). Any context.
    pub fn delete(&self) -> bool {
        self.is_queued() && matches!(base::delete(self), Deleted::Waited | Deleted::Running { waited: true })
    }

    /// Stops it and waits, spinning, until its function does not run; whether it waited (Linux: timer_delete_sync). Not in its own
    /// function, nor with a lock that this takes; in an interrupt only one that is [`Kind::IRQSAFE`].
    pub fn delete_sync(&self) -> bool {
        debug_assert!(self.kind.has(Kind::IRQSAFE) || !crate::context::in_hardirq(), "it may have interrupted the function");
        let mut waited = false;
        loop {
            match base::delete(self) {
                Deleted::Running { waited: again } => waited |= again,
                how => return waited | (how == Deleted::Waited),
            }
            arch::relax();
        }
    }

    /// With which tick it was started last, and the address of its function: for tracers that are told of it.
    pub fn told(&self) -> (Jiffies, usize) {
        (self.expires.get(), self.function as *const () as usize)
    }

    /// Whether it waits.
    pub fn is_queued(&self) -> bool {
        self.queued.load(Acquire)
    }
}

impl Drop for CoarseTimer {
    fn drop(&mut self) {
        self.delete_sync();
    }
}

impl core::fmt::Debug for CoarseTimer {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("CoarseTimer").field("queued", &self.is_queued()).field("kind", &self.kind).finish()
    }
}
