//! What threads and processes hold of signals.

use super::pending::{Pending, SigInfo};
use crate::task::thread::Thread;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::*};
use vigil_abi::signal::{SI_TIMER, SIGKILL, SIGSTOP, SS_AUTODISARM, SS_DISABLE, Sigset, sigmask};
use vigil_executor::lock_class;
use vigil_executor::sync::SpinLock;
use vigil_executor::wait::WaitQueue;
use vigil_fs::vfs::lazy::Lazy;
use vigil_mem::KArc;

/// Signals that cannot be blocked.
pub const UNBLOCKABLE: Sigset = sigmask(SIGKILL) | sigmask(SIGSTOP);

/// The alternate stack (sigaltstack(2)).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AltStack {
    /// Lowest address.
    pub sp: u64,
    /// Bytes; 0: none.
    pub size: u64,
    /// SS_DISABLE or SS_AUTODISARM.
    pub flags: u32,
}

impl AltStack {
    /// None.
    pub const NONE: AltStack = AltStack { sp: 0, size: 0, flags: SS_DISABLE };

    /// Whether `sp` is on it, for a stack that does not disarm itself.
    pub fn contains(&self, sp: u64) -> bool {
        self.flags & SS_AUTODISARM == 0 && sp > self.sp && sp - self.sp <= self.size
    }
}

/// Pending signals and a copy of their set that is read without the lock.
pub struct Queue {
    pending: SpinLock<Pending>,
    set: AtomicU64,
}

impl Queue {
    const fn new() -> Self {
        Queue { pending: SpinLock::new(lock_class!("siglock"), Pending::new()), set: AtomicU64::new(0) }
    }

    /// The set.
    #[inline(always)]
    pub fn set(&self) -> Sigset {
        self.set.load(SeqCst)
    }

    /// Calls `f` on the queue and publishes the set that it leaves.
    pub fn with<R>(&self, f: impl FnOnce(&mut Pending) -> R) -> R {
        let mut pending = self.pending.lock();
        let r = f(&mut pending);
        self.set.store(pending.set(), SeqCst);
        r
    }
}

/// The signal state of a thread.
pub struct ThreadSignals {
    /// Blocked signals. Only the thread itself changes it.
    blocked: AtomicU64,
    /// Sent to this thread.
    pub queue: Queue,
    /// The mask to put back at the way to EL0 (sigsuspend, ppoll), if `has_saved`.
    saved: AtomicU64,
    has_saved: AtomicBool,
    /// Blocked but for a sigtimedwait(2) that waits for them now: neither dropped when ignored nor fatal at once (Linux:
    /// real_blocked).
    awaited: AtomicU64,
    /// The alternate stack: address, size, flags. The thread's own: no other flow writes or reads it.
    altstack: (AtomicU64, AtomicU64, AtomicU32),
    /// FAR and ESR of the last fault that made a signal, for the handler's frame.
    pub fault_address: AtomicU64,
    /// See `fault_address`.
    pub fault_esr: AtomicU64,
}

impl ThreadSignals {
    /// Nothing blocked, nothing pending.
    pub const fn new() -> Self {
        ThreadSignals {
            blocked: AtomicU64::new(0),
            queue: Queue::new(),
            saved: AtomicU64::new(0),
            has_saved: AtomicBool::new(false),
            awaited: AtomicU64::new(0),
            altstack: (AtomicU64::new(0), AtomicU64::new(0), AtomicU32::new(SS_DISABLE)),
            fault_address: AtomicU64::new(0),
            fault_esr: AtomicU64::new(0),
        }
    }

    /// For a clone: the mask is inherited, pending signals are not; the alternate stack only when the memory is not
    /// shared, or lent (vfork).
    pub fn fork(parent: &ThreadSignals, keep_altstack: bool) -> Self {
        let new = ThreadSignals::new();
        new.blocked.store(parent.blocked(), Relaxed);
        if keep_altstack {
            new.set_altstack(parent.altstack());
        }
        new
    }

    /// The alternate stack. The thread itself only.
    #[inline]
    pub fn altstack(&self) -> AltStack {
        let (sp, size, flags) = &self.altstack;
        AltStack { sp: sp.load(Relaxed), size: size.load(Relaxed), flags: flags.load(Relaxed) }
    }

    /// Sets the alternate stack. The thread itself only.
    #[inline]
    pub fn set_altstack(&self, stack: AltStack) {
        let (sp, size, flags) = &self.altstack;
        sp.store(stack.sp, Relaxed);
        size.store(stack.size, Relaxed);
        flags.store(stack.flags, Relaxed);
    }

    /// What is blocked.
    #[inline(always)]
    pub fn blocked(&self) -> Sigset {
        self.blocked.load(SeqCst)
    }

    /// Sets what is blocked; SIGKILL and SIGSTOP never are. Call [`super::recalc`] after it. The thread itself only.
    pub fn set_blocked(&self, mask: Sigset) {
        self.blocked.store(mask & !UNBLOCKABLE, SeqCst);
    }

    /// Blocked signals for which the thread waits in sigtimedwait(2).
    #[inline]
    pub fn awaited(&self) -> Sigset {
        self.awaited.load(SeqCst)
    }

    /// Unblocks those of `wanted` that are blocked for the length of a sigtimedwait(2); returns the mask for
    /// [`ThreadSignals::end_await`]. Call [`super::recalc`] after both. The thread itself only.
    pub fn begin_await(&self, wanted: Sigset) -> Sigset {
        let blocked = self.blocked();
        // In this order: a sender must not find them neither blocked nor awaited.
        self.awaited.store(blocked & wanted, SeqCst);
        self.set_blocked(blocked & !wanted);
        blocked
    }

    /// Blocks again what [`ThreadSignals::begin_await`] has unblocked.
    pub fn end_await(&self, blocked: Sigset) {
        self.set_blocked(blocked);
        self.awaited.store(0, SeqCst);
    }

    /// Blocks `mask` until a signal was handled or the call ends; the present mask is put back then.
    pub fn set_blocked_until_handled(&self, mask: Sigset) {
        self.saved.store(self.blocked(), Relaxed);
        self.has_saved.store(true, Relaxed);
        self.set_blocked(mask);
    }

    /// The mask that a handler's frame must put back: the one that sigsuspend has replaced, if any, or the present one.
    pub fn restored(&self) -> Sigset {
        if self.has_saved.load(Relaxed) { self.saved.load(Relaxed) } else { self.blocked() }
    }

    /// The mask that sigsuspend has replaced, if any: it is put back by a frame or by the caller.
    pub fn take_saved(&self) -> Option<Sigset> {
        // The thread's own: no other flow writes it.
        let has = self.has_saved.load(Relaxed);
        self.has_saved.store(false, Relaxed);
        has.then(|| self.saved.load(Relaxed))
    }
}

impl Default for ThreadSignals {
    fn default() -> Self {
        Self::new()
    }
}

/// The signal state of a process.
pub struct ProcessSignals {
    /// Sent to the process.
    pub queue: Queue,
    /// Not 0: its threads stop, by this signal.
    pub stop_signal: AtomicU32,
    /// How often SIGCONT or SIGKILL was generated: a stop signal that was taken before one of them stops nobody after it.
    pub continues: AtomicU32,
    /// Where stopped threads wait for SIGCONT.
    pub cont_wait: WaitQueue,
    /// Who reads signals of this process from a signalfd.
    pub signalfd: Lazy<KArc<WaitQueue>>,
    /// The first process: signals without a handler do nothing to it (Linux: SIGNAL_UNKILLABLE).
    pub unkillable: AtomicBool,
}

impl ProcessSignals {
    /// Nothing pending, running.
    pub const fn new() -> Self {
        ProcessSignals {
            queue: Queue::new(),
            stop_signal: AtomicU32::new(0),
            continues: AtomicU32::new(0),
            cont_wait: WaitQueue::new(),
            signalfd: Lazy::new(),
            unkillable: AtomicBool::new(false),
        }
    }
}

impl Default for ProcessSignals {
    fn default() -> Self {
        Self::new()
    }
}

/// What is pending for the thread, blocked or not.
pub fn pending_of(thread: &Thread) -> Sigset {
    thread.signals.queue.set() | thread.process.signals.queue.set()
}

/// Takes a signal of `wanted` from `queue`, one of the thread's two.
#[inline]
pub fn take_from(thread: &Thread, queue: &Queue, wanted: Sigset) -> Option<SigInfo> {
    let info = queue.with(|p| p.take(wanted))?;
    if info.code == SI_TIMER {
        thread.process.timers.delivered(info.timer_id(), info.overrun());
    }
    Some(info)
}

/// Takes a signal of `wanted`: the thread's own first.
pub fn take(thread: &Thread, wanted: Sigset) -> Option<SigInfo> {
    let [own, shared] = [&thread.signals.queue, &thread.process.signals.queue];
    take_from(thread, own, wanted).or_else(|| take_from(thread, shared, wanted))
}

/// Whether something is to be done before EL0: a signal that is not blocked, a stop, or the end.
pub fn has_pending(thread: &Thread) -> bool {
    pending_of(thread) & !thread.signals.blocked() != 0
        || thread.process.signals.stop_signal.load(SeqCst) != 0
        || thread.exiting.load(SeqCst)
        || thread.process.is_exiting()
}

/// The thread ends: signals of the process that only it would have taken go to another thread.
pub fn exit_thread(thread: &Thread) {
    let taken = !thread.signals.blocked();
    // From here on it takes nothing.
    thread.signals.set_blocked(!0);
    retarget(thread, taken);
}

/// Signals of the process among `signals`, which `thread` does not take any more, are shown to the other threads (Linux:
/// retarget_shared_pending).
pub fn retarget(thread: &Thread, signals: Sigset) {
    let process = &thread.process;
    let left = process.signals.queue.set() & signals;
    if left == 0 || process.live_threads.load(Relaxed) <= 1 || process.is_exiting() {
        return;
    }
    process.for_each_thread(|other| {
        if other.tid() != thread.tid() && left & !other.signals.blocked() != 0 {
            super::send::wake(other, false);
        }
    });
}
