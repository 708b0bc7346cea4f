//! Callbacks after a grace period, queued on the CPU that asked.

use super::{GRACE, limits, request};
use crate::atomic::{AtomicU64, Ordering, const_unless_loom, loom_static};
use crate::context::IrqGuard;
use crate::cpu::{CpuId, CpuMask, MAX_CPUS, ONLINE, PerCpu};
use crate::sync::{LockClass, SpinLock};
use crate::time::now;
use core::cell::Cell;
use core::ptr::{NonNull, null_mut};

/// No callback.
const NONE: u64 = u64::MAX;

static RCU_CALLBACKS: LockClass = LockClass::new("rcu_callbacks");
static RCU_MOVE: LockClass = LockClass::new("rcu_move");

/// What [`call_rcu`] calls.
pub type Callback = unsafe fn(NonNull<RcuHead>);

/// The link of a callback, inside the object that is to be freed (Linux: rcu_head).
#[derive(Debug)]
pub struct RcuHead {
    next: Cell<*mut RcuHead>,
    function: Cell<Option<Callback>>,
    target: Cell<u64>,
}

// SAFETY: the cells belong to the caller before `call_rcu`, to the list's lock after it, and to the callback last.
unsafe impl Sync for RcuHead {}
// SAFETY: as above.
unsafe impl Send for RcuHead {}

impl RcuHead {
    /// A head that is not queued.
    pub const fn new() -> Self {
        RcuHead { next: Cell::new(null_mut()), function: Cell::new(None), target: Cell::new(0) }
    }

    /// It is about to be queued, as the last one.
    #[cfg(not(loom))]
    pub(in crate::sync) fn prepare(&self, function: Callback) {
        self.next.set(null_mut());
        self.function.set(Some(function));
    }

    /// `next` is queued behind it.
    #[cfg(not(loom))]
    pub(in crate::sync) fn link(&self, next: NonNull<RcuHead>) {
        self.next.set(next.as_ptr());
    }

    /// What is queued behind it.
    #[cfg(not(loom))]
    pub(in crate::sync) fn next(&self) -> Option<NonNull<RcuHead>> {
        NonNull::new(self.next.get())
    }

    /// Calls its function with it.
    ///
    /// # Safety
    /// It is in no list any more, and all that the function may rely on has come true.
    #[cfg(not(loom))]
    pub(in crate::sync) unsafe fn call(&self) {
        if let Some(function) = self.function.take() {
            // SAFETY: by the contract; who queued it promised that the function takes this head.
            unsafe { function(NonNull::from(self)) };
        }
    }
}

impl Default for RcuHead {
    fn default() -> Self {
        Self::new()
    }
}

/// FIFO; targets ascend, because each was the newest when it was queued.
struct List {
    first: *mut RcuHead,
    last: *mut RcuHead,
    len: usize,
    /// Of how many the CPUs were interrupted for which the grace period waits.
    forced: usize,
    /// They pile up ([`limits::QHIMARK`]).
    piled: bool,
}

impl List {
    const EMPTY: List = List { first: null_mut(), last: null_mut(), len: 0, forced: 0, piled: false };

    /// One more is there; whether they have begun to pile up.
    fn piles_up(&mut self) -> bool {
        let mark = usize::try_from(limits::QHIMARK.load(Ordering::Relaxed)).unwrap_or(0);
        let piles = self.len > self.forced.saturating_add(mark);
        if piles {
            (self.forced, self.piled) = (self.len, true);
        }
        piles
    }

    /// Some have been called.
    fn shrank(&mut self) {
        let mark = |of: &core::sync::atomic::AtomicI64| usize::try_from(of.load(Ordering::Relaxed)).unwrap_or(0);
        self.piled &= self.len > mark(&limits::QLOWMARK);
        if self.len == 0 || self.len.saturating_add(mark(&limits::QHIMARK)) < self.forced {
            self.forced = self.len;
        }
    }
}

// SAFETY: used under its lock.
unsafe impl Send for List {}

struct Queue {
    list: SpinLock<List>,
    /// The target of the first callback, or NONE. Written under the lock.
    first_target: AtomicU64,
}

impl Queue {
    const_unless_loom! {
        fn new() -> Queue {
            Queue {
                list: SpinLock::new(&RCU_CALLBACKS, List::EMPTY),
                first_target: AtomicU64::new(NONE),
            }
        }
    }
}

loom_static! {
    static QUEUES: PerCpu<Queue> = PerCpu::new([
        Queue::new(), Queue::new(), Queue::new(), Queue::new(), Queue::new(), Queue::new(), Queue::new(), Queue::new(),
    ]);
}
loom_static! {
    /// Held while callbacks move from one queue to another.
    static MOVE: SpinLock<()> = SpinLock::new(&RCU_MOVE, ());
}
const _: () = assert!(MAX_CPUS == 8, "one initialiser for each CPU above");

fn queues() -> &'static PerCpu<Queue> {
    &QUEUES
}

/// Calls `function` with `head` after a grace period, in a softirq: it may not wait, and takes no lock that a poll takes
/// with bottom halves on. Any context; never allocates.
///
/// # Safety
/// `head` is not queued and stays valid until `function` is called; `function` may be called on any CPU.
pub unsafe fn call_rcu(head: NonNull<RcuHead>, function: Callback) {
    let target = GRACE.snapshot();
    // Masked from the choice of the queue on: a flow that is parked in between might find its CPU gone, and the queue with
    // nobody to run it.
    let here = IrqGuard::new();
    let mut list = queues().this().list.lock_masked();
    // SAFETY: by the contract the head is the caller's.
    unsafe { push(&mut list, queues().this(), head, function, target) };
    let piles = list.piles_up();
    drop(list);
    drop(here);
    request(target);
    if piles {
        super::kick();
    }
}

/// Queues `head` behind all others of `queue`, whose list is `list`.
///
/// # Safety
/// As of [`call_rcu`].
unsafe fn push(list: &mut List, queue: &Queue, head: NonNull<RcuHead>, function: Callback, target: u64) {
    // SAFETY: by the contract the head is the caller's.
    unsafe {
        head.as_ref().next.set(null_mut());
        head.as_ref().function.set(Some(function));
        head.as_ref().target.set(target);
    }
    match NonNull::new(list.last) {
        // SAFETY: queued heads are alive, and guarded by the lock.
        Some(last) => unsafe { last.as_ref().next.set(head.as_ptr()) },
        None => {
            list.first = head.as_ptr();
            queue.first_target.store(target, Ordering::Relaxed);
        }
    }
    list.last = head.as_ptr();
    list.len += 1;
}

/// Queues a head of `heads` behind whatever each CPU has queued, or is calling; `count` is told first of how many there are. A CPU
/// that is not there and has left nothing needs none.
///
/// # Safety
/// As of [`call_rcu`], for all of them.
pub(super) unsafe fn push_behind_all(heads: &'static [RcuHead; MAX_CPUS], function: Callback, count: impl Fn()) {
    // Nobody moves what he has to a CPU that was passed before he is looked at.
    let _still = MOVE.lock();
    let target = GRACE.snapshot();
    for (head, cpu) in heads.iter().zip(CpuMask::ALL.iter()) {
        let queue = queues().of(cpu);
        let mut list = queue.list.lock_irq();
        if list.first.is_null() && !ONLINE.load().contains(cpu) {
            continue;
        }
        count();
        // SAFETY: by the contract.
        unsafe { push(&mut list, queue, NonNull::from(head), function, target) };
    }
    request(target);
}

/// How many callbacks wait, on all CPUs.
#[cfg(not(loom))]
pub(super) fn queued() -> usize {
    queues().iter().map(|queue| queue.list.lock_irq().len).sum()
}

/// Whether `cpu` has callbacks that can run.
#[cfg(not(loom))]
pub(super) fn is_ready(cpu: CpuId) -> bool {
    queues().of(cpu).first_target.load(Ordering::Relaxed) <= GRACE.completed()
}

/// CPUs with callbacks that can run at sequence number `seq`.
pub(super) fn ready_cpus(seq: u64) -> CpuMask {
    let mut mask = 0;
    for (cpu, queue) in queues().iter().enumerate() {
        if queue.first_target.load(Ordering::Relaxed) <= seq {
            mask |= 1 << cpu;
        }
    }
    CpuMask(mask)
}

/// The callbacks of `gone`, which has gone offline, are this CPU's from now on (Linux: rcutree_migrate_callbacks).
#[cfg(not(loom))]
pub(super) fn take_over(gone: CpuId) {
    let _move = MOVE.lock();
    let from = queues().of(gone);
    let (first, last, len) = {
        let mut list = from.list.lock_irq();
        let all = (list.first, list.last, list.len);
        *list = List::EMPTY;
        from.first_target.store(NONE, Ordering::Relaxed);
        all
    };
    let Some(head) = NonNull::new(first) else { return };
    let queue = queues().this();
    let mut list = queue.list.lock_irq();
    match NonNull::new(list.last) {
        // Behind newer ones some wait longer than they must.
        // SAFETY: queued heads are alive, and guarded by the lock.
        Some(before) => unsafe { before.as_ref().next.set(first) },
        None => {
            list.first = first;
            // SAFETY: queued.
            queue.first_target.store(unsafe { head.as_ref().target.get() }, Ordering::Relaxed);
        }
    }
    list.last = last;
    list.len += len;
}

/// Runs callbacks of this CPU whose grace period is over, at most a batch ([`limits`]); `true` if more are ready.
pub fn run_callbacks() -> bool {
    run_callbacks_of(CpuId::current())
}

/// As [`run_callbacks`], of `cpu`.
pub fn run_callbacks_of(cpu: CpuId) -> bool {
    let queue = queues().of(cpu);
    let (batch, time) = {
        let list = queue.list.lock_irq();
        limits::batch(list.len, list.piled)
    };
    let end = time.map(|time| now().saturating_add(time));
    for nth in 1..=batch {
        let mut list = queue.list.lock_irq();
        let seq = GRACE.completed();
        let Some(head) = NonNull::new(list.first) else { return false };
        // SAFETY: queued heads are alive, and guarded by the lock. The head is the callback's once it is out.
        let function = unsafe {
            if head.as_ref().target.get() > seq {
                return false;
            }
            list.first = head.as_ref().next.get();
            list.len -= 1;
            list.shrank();
            head.as_ref().function.take()
        };
        let target = match NonNull::new(list.first) {
            // SAFETY: queued.
            Some(next) => unsafe { next.as_ref().target.get() },
            None => {
                list.last = null_mut();
                NONE
            }
        };
        queue.first_target.store(target, Ordering::Relaxed);
        drop(list);
        if let Some(function) = function {
            // SAFETY: `call_rcu`'s caller promised that the function takes this head.
            unsafe { function(head) };
        }
        // The clock is not looked at for each.
        if nth % 32 == 0 && end.is_some_and(|end| now() >= end) {
            break;
        }
    }
    queue.first_target.load(Ordering::Relaxed) <= GRACE.completed()
}
