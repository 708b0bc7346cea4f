//! Priority inheritance: who owns what, who waits for it, and what urgency that lends (Linux: kernel/locking/rtmutex.c).
//!
//! An owner runs with the urgency of the most urgent real-time task that waits for something that it owns, and so does
//! whoever it waits for itself, along the chain:
//!
//! ```text
//!   FIFO 90 ──waits──► mutex B ──owner──► fair task ──waits──► mutex A ──owner──► fair task
//!                                        runs as FIFO 90                          runs as FIFO 90
//! ```
//!
//! An [`RtMutex`] does not wait by itself: it is the graph's node. Whoever locks by it (PI futexes, [`PiMutex`]) keeps its own wait
//! queue, enters an [`RtWaiter`] here, and wakes the waiter that [`RtMutex::hand_over`] names. Ownership is always handed
//! over, to the most urgent waiter, the oldest of equals.
//!
//! **Lock.** One for all chains, `pi`: a walk along a chain crosses owners and mutexes in any order. It is a leaf but for
//! run queues, taken with bottom halves off; no interrupt takes it, and interrupts stay on over the links of a chain. Nothing
//! here is on the path of a lock without contention. Lists are kept in order of urgency, so a donation is found at the head;
//! a walk takes a step per link.
//!
//! A task that takes part has a [`PiTask`], which [`prepare`] allocates: nothing else here can fail for want of memory.

mod lock;
mod ranked;

pub use self::lock::{NotLocked, PiGuard, PiMutex};
use self::ranked::{FAIR, Links, NONE, Node, Ranked, Urgency};
use super::spinlock::{SpinBhGuard, SpinLock};
use crate::class::deadline::domain::Overflow;
use crate::class::{Class, DlParams, Params, Policy, Rank};
use crate::executor;
use crate::lock_class;
use crate::task::{SpawnError, Task, TaskRef};
use alloc::alloc::{alloc, dealloc};
use core::alloc::Layout;
use core::cell::UnsafeCell;
use core::marker::PhantomPinned;
use core::pin::Pin;
use core::ptr::{NonNull, null};
use core::sync::atomic::{AtomicI32, AtomicPtr, Ordering::*};

static PI: SpinLock<()> = SpinLock::new(lock_class!("pi"), ());

/// So many tasks in a row may wait for each other (`kernel.max_lock_depth`): preemption is off while a chain is walked. Locks of the kernel
/// do not ask, and what is lent ends there.
pub static MAX_LOCK_DEPTH: AtomicI32 = AtomicI32::new(1024);

/// Proof that [`PI`] is held.
type Held = SpinBhGuard<'static, ()>;

/// The task waits for itself, along a chain, or that is too long (EDEADLK).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Deadlock;

/// What a task has and wants. Hangs on the task from the first time on that it takes part.
pub(crate) struct PiTask {
    /// Its own parameters, while it runs with others.
    normal: Option<Params>,
    /// Mutexes with waiters that it owns.
    owned: Ranked<RtMutex>,
    /// What it waits by.
    waits: *const RtWaiter,
}

/// Something that one task owns and others wait for. Pinned while it has an owner.
pub struct RtMutex {
    state: UnsafeCell<MutexState>,
    _pin: PhantomPinned,
}

struct MutexState {
    owner: Option<TaskRef>,
    waiters: Ranked<RtWaiter>,
    links: Links<RtMutex>,
}

/// A task's wait for an [`RtMutex`].
pub struct RtWaiter {
    state: UnsafeCell<WaiterState>,
    _pin: PhantomPinned,
}

struct WaiterState {
    task: Option<TaskRef>,
    mutex: *const RtMutex,
    urgency: Urgency,
    /// The reservation that it lends, if it is a deadline task.
    reservation: DlParams,
    links: Links<RtWaiter>,
}

// SAFETY: the state is touched under `PI` only.
unsafe impl Send for RtMutex {}
// SAFETY: as above.
unsafe impl Sync for RtMutex {}
// SAFETY: as above.
unsafe impl Send for RtWaiter {}
// SAFETY: as above.
unsafe impl Sync for RtWaiter {}

impl Node for RtMutex {
    fn links(&self) -> *mut Links<Self> {
        // SAFETY: the address of a field.
        unsafe { &raw mut (*self.state.get()).links }
    }

    fn urgency(&self) -> Urgency {
        // SAFETY: the lock is held; waiters in the list are alive.
        unsafe { (*self.state.get()).waiters.first.as_ref() }.map_or(NONE, Node::urgency)
    }
}

impl Node for RtWaiter {
    fn links(&self) -> *mut Links<Self> {
        // SAFETY: the address of a field.
        unsafe { &raw mut (*self.state.get()).links }
    }

    fn urgency(&self) -> Urgency {
        // SAFETY: the lock is held.
        unsafe { (*self.state.get()).urgency }
    }
}

/// Gives `task` what it needs to own and to wait. Once for each task; more often does no harm.
pub fn prepare(task: &Task) -> Result<(), SpawnError> {
    if takes_part(task) {
        return Ok(());
    }
    // It may be lent a reservation.
    executor::prepare_reservation(task)?;
    // SAFETY: the layout is not empty.
    let new = unsafe { alloc(Layout::new::<PiTask>()) }.cast::<PiTask>();
    if new.is_null() {
        return Err(SpawnError::NoMemory);
    }
    // SAFETY: freshly allocated for this type.
    unsafe { new.write(PiTask { normal: None, owned: Ranked::EMPTY, waits: null() }) };
    if task.pi.compare_exchange(core::ptr::null_mut(), new, AcqRel, Acquire).is_err() {
        // SAFETY: nobody has seen it; there is nothing in it to drop.
        unsafe { dealloc(new.cast(), Layout::new::<PiTask>()) };
    }
    Ok(())
}

/// Whether `task` was [`prepare`]d.
#[inline]
pub fn takes_part(task: &Task) -> bool {
    !task.pi.load(Acquire).is_null()
}

/// The task is freed: so is what [`prepare`] gave it. It owns nothing and waits for nothing: both would hold it.
pub(crate) fn forget(pi: &AtomicPtr<PiTask>) {
    let pi = pi.swap(core::ptr::null_mut(), AcqRel);
    if !pi.is_null() {
        // SAFETY: `prepare` allocated it, and the last reference to the task is gone.
        unsafe { dealloc(pi.cast(), Layout::new::<PiTask>()) };
    }
}

/// The parameters that `task` has of its own.
pub(crate) fn normal_params(task: &Task) -> Params {
    if !takes_part(task) {
        let params = executor::effective_params(task);
        // Not even now: nothing was lent to it before.
        if !takes_part(task) {
            return params;
        }
    }
    own_params(task, &PI.lock_bh())
}

/// The same under the lock.
fn own_params(task: &Task, _held: &Held) -> Params {
    // SAFETY: lives as long as the task; the lock is held.
    let normal = unsafe { task.pi.load(Acquire).as_ref() }.and_then(|pi| pi.normal);
    normal.unwrap_or_else(|| executor::effective_params(task))
}

/// Gives `task` a nice value of its own.
pub(crate) fn set_normal_nice(task: &Task, nice: i8) {
    let held = PI.lock_bh();
    let params = own_params(task, &held);
    set_own(task, Params { nice, ..params }, &held);
}

/// Gives `task` parameters of its own; what it runs with is more if something is lent to it.
pub(crate) fn set_normal_params(task: &Task, params: Params) {
    let held = PI.lock_bh();
    set_own(task, params, &held);
    // Not before it is of another class: till then it runs by what it gives back here.
    if params.policy != Policy::Deadline && executor::deadline(task).is_some() {
        executor::give_back(task);
    }
}

/// Gives `task`, which was prepared for it, a reservation and with it `params`.
pub(crate) fn set_normal_deadline(task: &Task, params: Params, reservation: DlParams) -> Result<(), Overflow> {
    let held = PI.lock_bh();
    executor::reserve(task, reservation)?;
    set_own(task, params, &held);
    Ok(())
}

fn set_own(task: &Task, params: Params, held: &Held) {
    if task.pi.load(Acquire).is_null() {
        executor::apply_params(task, params);
    } else {
        adjust(task, Some(params), held);
    }
}

/// What a waiter lends: its urgency, and its reservation if it is a deadline task.
fn lent_by(task: &Task) -> (Urgency, DlParams) {
    executor::with_entity(task, |_, e, _| {
        // SAFETY: the entity is read under its queue's lock.
        let e = unsafe { e.as_ref() };
        match (e.class(), e.reservation()) {
            (Class::Fair, _) => (FAIR, DlParams::NONE),
            (Class::Deadline, Some(r)) => (Urgency(Rank::DEADLINE, r.absolute_deadline()), r.effective()),
            _ => (Urgency(e.rank(), 0), DlParams::NONE),
        }
    })
}

/// `normal`, whose own urgency is `own`, made as urgent as `lent`; and whether that takes the lender's reservation.
fn boosted(normal: Params, own: Urgency, lent: Urgency) -> (Params, bool) {
    if lent >= FAIR || lent >= own {
        return (normal, false);
    }
    if lent.0 == Rank::DEADLINE {
        return (Params { policy: Policy::Deadline, rt_priority: 0, ..normal }, true);
    }
    let policy = if normal.policy == Policy::RoundRobin { Policy::RoundRobin } else { Policy::Fifo };
    (Params { policy, rt_priority: lent.0.rt_priority(), ..normal }, false)
}

/// Brings the parameters of `task` in line with what is lent to it, and of everybody whom it lends to in turn.
fn adjust(task: &Task, mut own: Option<Params>, held: &Held) {
    let mut task: *const Task = task;
    let mut left = MAX_LOCK_DEPTH.load(Relaxed);
    // SAFETY: `task` is the caller's at first, then an owner, which its mutex keeps alive while the lock is held. Its
    // `PiTask` exists: owners and waiters were prepared. The state is reached under the lock, by nobody else.
    unsafe {
        while let Some(this) = task.as_ref() {
            let pi = this.pi.load(Acquire);
            if pi.is_null() {
                return;
            }
            let current = executor::effective_params(this);
            let normal = own.take().or((*pi).normal).unwrap_or(current);
            let top = (*pi).owned.first.as_ref().and_then(|m| (*m.state.get()).waiters.first.as_ref());
            let lent = top.map_or(NONE, Node::urgency);
            // Of its own reservation the present deadline counts.
            let mine = if normal.policy == Policy::Deadline { lent_by(this).0.1 } else { 0 };
            let (wanted, takes) = boosted(normal, Urgency(normal.rank(), mine), lent);
            let reservation = top.filter(|_| takes).map(|w| (*w.state.get()).reservation);
            (*pi).normal = (wanted != normal || takes).then_some(normal);
            let stays = wanted.policy == Policy::Deadline;
            let changed = stays && executor::lend(this, reservation);
            if wanted == current && !changed {
                return;
            }
            executor::apply_params(this, wanted);
            if !stays {
                // Not before it is of another class: till then it runs by that.
                executor::lend(this, None);
            }
            let Some(waiter) = (*pi).waits.as_ref() else { return };
            let Some(mutex) = (*waiter.state.get()).mutex.as_ref() else { return };
            left = left.saturating_sub(1);
            if left < 0 {
                return;
            }
            mutex.with_rank_changed(held, |state| {
                state.waiters.remove(waiter);
                ((*waiter.state.get()).urgency, (*waiter.state.get()).reservation) = lent_by(this);
                state.waiters.insert(waiter);
            });
            task = mutex.owner_ptr();
        }
    }
}

impl RtMutex {
    /// Without an owner.
    pub const fn new() -> Self {
        let state = MutexState { owner: None, waiters: Ranked::EMPTY, links: Links::NONE };
        RtMutex { state: UnsafeCell::new(state), _pin: PhantomPinned }
    }

    /// The owner; null for none. With the lock held.
    fn owner_ptr(&self) -> *const Task {
        // SAFETY: the lock is held.
        unsafe { (*self.state.get()).owner.as_ref() }.map_or(null(), |t| &raw const **t)
    }

    /// Runs `f`, which changes the mutex's urgency, and moves the mutex to its place among what its owner owns.
    ///
    /// # Safety
    /// The lock is held, and `f` leaves the owner as it is.
    unsafe fn with_rank_changed(&self, _held: &Held, f: impl FnOnce(&mut MutexState)) {
        // SAFETY: by the contract; an owner is prepared and alive, and the mutex in its list.
        unsafe {
            let owner = self.owner_ptr().as_ref().map(|t| t.pi.load(Acquire)).filter(|p| !p.is_null());
            if let Some(owner) = owner {
                (*owner).owned.remove(self);
            }
            f(&mut *self.state.get());
            if let Some(owner) = owner {
                (*owner).owned.insert(self);
            }
        }
    }

    /// Makes `owner` the owner of a mutex that has none. It was [`prepare`]d.
    pub fn own(self: Pin<&Self>, owner: TaskRef) {
        let held = PI.lock_bh();
        // SAFETY: the lock is held; there was no owner, so the mutex is in no list.
        unsafe { self.give_to(owner, &held) };
    }

    /// # Safety
    /// The lock is held, and the mutex in no task's list.
    unsafe fn give_to(&self, owner: TaskRef, held: &Held) {
        // SAFETY: by the contract; the task lives as long as it is the owner.
        unsafe {
            let pi = owner.pi.load(Acquire);
            debug_assert!(!pi.is_null());
            let task: *const Task = &raw const *owner;
            (*self.state.get()).owner = Some(owner);
            if let Some(pi) = pi.as_mut() {
                pi.owned.insert(self);
            }
            adjust(&*task, None, held);
        }
    }

    /// Takes the mutex from its owner, who is less urgent then. With the lock held.
    fn take_away(&self, held: &Held) {
        // SAFETY: the lock is held; an owner has the mutex in its list.
        unsafe {
            let Some(old) = (*self.state.get()).owner.take() else { return };
            if let Some(pi) = old.pi.load(Acquire).as_mut() {
                pi.owned.remove(self);
            }
            adjust(&old, None, held);
        }
    }

    /// Whether `task` owns it.
    pub fn is_owned_by(&self, task: &Task) -> bool {
        let _held = PI.lock_bh();
        core::ptr::eq(self.owner_ptr(), task)
    }

    /// Whether somebody waits.
    pub fn has_waiters(&self) -> bool {
        let _held = PI.lock_bh();
        // SAFETY: the lock is held.
        !unsafe { (*self.state.get()).waiters.first }.is_null()
    }

    /// The waiter that is next. It stays alive as long as the caller keeps it from leaving.
    pub fn top(&self) -> Option<NonNull<RtWaiter>> {
        let _held = PI.lock_bh();
        // SAFETY: the lock is held.
        NonNull::new(unsafe { (*self.state.get()).waiters.first }.cast_mut())
    }

    /// Enters `waiter`, which is `task`'s, who was [`prepare`]d. `Err` when the owner waits for `task`.
    pub fn enqueue(self: Pin<&Self>, waiter: Pin<&RtWaiter>, task: TaskRef) -> Result<(), Deadlock> {
        self.enqueue_within(waiter, task, i32::MAX)
    }

    /// The same; `Err` also when more than `most` tasks wait for each other from the owner on ([`MAX_LOCK_DEPTH`]).
    pub fn enqueue_within(self: Pin<&Self>, waiter: Pin<&RtWaiter>, task: TaskRef, most: i32) -> Result<(), Deadlock> {
        let held = PI.lock_bh();
        // SAFETY: the lock is held. Owners and the mutexes for which they wait are alive while they are linked; a task
        // waits for one thing at a time, and `waiter` is in no list.
        unsafe {
            let mut link: *const RtMutex = &raw const *self;
            let mut depth = 0i32;
            while let Some(mutex) = link.as_ref() {
                let Some(owner) = mutex.owner_ptr().as_ref() else { break };
                depth = depth.saturating_add(1);
                if core::ptr::eq(owner, &raw const *task) || depth > most {
                    return Err(Deadlock);
                }
                let Some(pi) = owner.pi.load(Acquire).as_ref() else { break };
                link = pi.waits.as_ref().map_or(null(), |w| (*w.state.get()).mutex);
            }
            let state = waiter.state.get();
            ((*state).urgency, (*state).reservation) = lent_by(&task);
            (*state).mutex = &raw const *self;
            if let Some(pi) = task.pi.load(Acquire).as_mut() {
                pi.waits = &raw const *waiter;
            }
            (*state).task = Some(task);
            self.with_rank_changed(&held, |mutex| mutex.waiters.insert(&raw const *waiter));
            if let Some(owner) = self.owner_ptr().as_ref() {
                adjust(owner, None, &held);
            }
        }
        Ok(())
    }

    /// Makes the next waiter the owner and takes it off the list; the caller wakes it. `None`: nobody waits, and nobody
    /// owns it any more.
    pub fn hand_over(self: Pin<&Self>) -> Option<NonNull<RtWaiter>> {
        let held = PI.lock_bh();
        // SAFETY: the lock is held; a waiter in the list is alive.
        unsafe {
            let next = (*self.state.get()).waiters.first.as_ref();
            let heir = next.and_then(|waiter| waiter.unlink(&held));
            self.take_away(&held);
            let (Some(waiter), Some(heir)) = (next, heir) else { return None };
            self.give_to(heir, &held);
            Some(NonNull::from(waiter))
        }
    }

    /// Nobody owns it any more; nobody waits.
    pub fn disown(&self) {
        self.take_away(&PI.lock_bh());
    }

    /// A mutex with waiters that `task` owns. It stays alive as long as the caller keeps it from being disowned.
    pub fn owned_by(task: &Task) -> Option<NonNull<RtMutex>> {
        let pi = task.pi.load(Acquire);
        if pi.is_null() {
            return None;
        }
        let _held = PI.lock_bh();
        // SAFETY: lives as long as the task; the lock is held.
        NonNull::new(unsafe { (*pi).owned.first }.cast_mut())
    }
}

impl Default for RtMutex {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for RtMutex {
    fn drop(&mut self) {
        self.disown();
    }
}

impl RtWaiter {
    /// One that waits for nothing.
    pub const fn new() -> Self {
        let state = WaiterState { task: None, mutex: null(), urgency: FAIR, reservation: DlParams::NONE, links: Links::NONE };
        RtWaiter { state: UnsafeCell::new(state), _pin: PhantomPinned }
    }

    /// Takes it off its mutex's list; its task. With the lock held.
    fn unlink(&self, held: &Held) -> Option<TaskRef> {
        // SAFETY: the lock is held; a mutex with waiters is alive.
        unsafe {
            let state = self.state.get();
            let mutex = core::mem::replace(&mut (*state).mutex, null()).as_ref()?;
            mutex.with_rank_changed(held, |m| m.waiters.remove(self));
            let task = (*state).task.take()?;
            if let Some(pi) = task.pi.load(Acquire).as_mut() {
                pi.waits = null();
            }
            Some(task)
        }
    }

    /// Gives the wait up. `false` when it was over: it got the mutex, or never waited.
    pub fn leave(&self) -> bool {
        let held = PI.lock_bh();
        // SAFETY: the lock is held; a mutex with waiters is alive, and so is its owner.
        unsafe {
            let mutex = (*self.state.get()).mutex;
            let left = self.unlink(&held).is_some();
            if let Some(owner) = mutex.as_ref().and_then(|m| m.owner_ptr().as_ref()) {
                adjust(owner, None, &held);
            }
            left
        }
    }
}

impl Default for RtWaiter {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for RtWaiter {
    fn drop(&mut self) {
        self.leave();
    }
}
