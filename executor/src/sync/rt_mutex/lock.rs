//! The mutex of real-time tasks (Linux: struct rt_mutex): while it is held, its owner runs with the urgency of the most urgent
//! task that waits for it, and so along the chain of owners. Unlocking makes the most urgent waiter the owner, the oldest of equals.
//!
//! ```text
//!   word:  address of the owner's task, which the word keeps alive | WAITERS
//!   lock:    CAS 0 → me                              else, under `wait_lock`: CAS owner → owner|WAITERS, enter the graph
//!   unlock:  CAS me → 0                              else, under `wait_lock`: hand over, or 0 if all waiters have given up
//! ```
//!
//! With WAITERS set the word changes under `wait_lock` only, so who holds that and has seen an owner may lend it something. Without
//! waiters the graph's node has no owner, and nobody but the word knows who has the mutex.
//!
//! A guard may be moved to another task: what is lent stays with the task that took the mutex. Tasks are made ready to lend and to be
//! lent to ([`prepare`]) when they first meet; if memory is short then, the mutex excludes and orders as ever, but lends nothing.

use super::{RtMutex, RtWaiter, prepare};
use crate::lock_class;
use crate::sync::lockdep::{Asked, LockClass, Tracked};
use crate::sync::spinlock::SpinLock;
use crate::task::{Task, TaskRef};
use crate::wait::{WaitMode, WaitQueue, WaitSite};
use core::cell::UnsafeCell;
use core::marker::{PhantomData, PhantomPinned};
use core::ops::{Deref, DerefMut};
use core::pin::{Pin, pin};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering::*};

/// Somebody waits.
const WAITERS: usize = 1;

/// Why a mutex was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotLocked {
    /// A signal came first.
    Interrupted,
    /// The caller owns it, or its owner waits for the caller.
    Deadlock,
    /// The caller is no task.
    NoTask,
}

/// All but the value.
struct Raw {
    word: AtomicUsize,
    /// → `pi`. Taken by tasks only.
    wait_lock: SpinLock<()>,
    node: RtMutex,
    class: Tracked,
}

/// A value that one task at a time may use, across awaits, and whose user inherits the urgency of those who wait.
pub struct PiMutex<T> {
    raw: Raw,
    value: UnsafeCell<T>,
}

// SAFETY: one owner at a time; the value moves between tasks and CPUs.
unsafe impl<T: Send> Sync for PiMutex<T> {}

impl<T> PiMutex<T> {
    /// A free mutex of `class` around `value`.
    pub const fn new(class: &'static LockClass, value: T) -> Self {
        PiMutex {
            raw: Raw {
                word: AtomicUsize::new(0),
                wait_lock: SpinLock::new(lock_class!("pi_mutex"), ()),
                node: RtMutex::new(),
                class: Tracked::new(class),
            },
            value: UnsafeCell::new(value),
        }
    }

    fn raw(self: Pin<&Self>) -> Pin<&Raw> {
        // SAFETY: a field of what is pinned; it is never moved out of.
        unsafe { self.map_unchecked(|m| &m.raw) }
    }

    /// Takes it if it is free. In a task.
    #[cfg_attr(debug_assertions, track_caller)]
    pub fn try_lock(self: Pin<&Self>) -> Option<PiGuard<'_, T>> {
        let owner = self.raw.try_take(&TaskRef::current()?)?;
        self.raw.class.acquired_here(self.raw.addr(), false);
        Some(PiGuard { lock: self, owner, _value: PhantomData })
    }

    /// Takes it, however long that lasts.
    pub async fn lock(self: Pin<&Self>, site: &'static WaitSite) -> Result<PiGuard<'_, T>, NotLocked> {
        loop {
            match self.lock_mode(site, WaitMode::Uninterruptible).await {
                Err(NotLocked::Interrupted) => {}
                done => return done,
            }
        }
    }

    /// Takes it, unless a signal comes first.
    pub async fn lock_interruptible(self: Pin<&Self>, site: &'static WaitSite) -> Result<PiGuard<'_, T>, NotLocked> {
        self.lock_mode(site, WaitMode::Interruptible).await
    }

    /// Takes it, unless an interrupt of `mode` comes first.
    pub async fn lock_mode(self: Pin<&Self>, site: &'static WaitSite, mode: WaitMode) -> Result<PiGuard<'_, T>, NotLocked> {
        let owner = self.raw().take(site, mode).await?;
        Ok(PiGuard { lock: self, owner, _value: PhantomData })
    }

    /// Whether somebody owns it at this moment.
    pub fn is_locked(&self) -> bool {
        self.raw.word.load(Relaxed) != 0
    }
}

/// Who waits.
#[repr(C)]
struct Wait<'a> {
    /// First, so that the rest is found from it.
    rt: RtWaiter,
    raw: Pin<&'a Raw>,
    task: TaskRef,
    granted: AtomicBool,
    queue: WaitQueue,
    _pin: PhantomPinned,
}

/// How an attempt ended.
enum Attempt {
    /// It is the caller's.
    Taken(usize),
    /// The caller waits.
    Queued,
}

fn address(task: &Task) -> usize {
    core::ptr::from_ref(task).expose_provenance()
}

impl Raw {
    fn addr(&self) -> *const () {
        core::ptr::from_ref(self).cast()
    }

    fn node(self: Pin<&Self>) -> Pin<&RtMutex> {
        // SAFETY: a field of what is pinned.
        unsafe { self.map_unchecked(|raw| &raw.node) }
    }

    /// Makes the word `me` if it is 0: what it is then, which is one more reference to the task.
    fn try_take(&self, me: &TaskRef) -> Option<usize> {
        let word = address(me);
        let kept = me.clone();
        self.word.compare_exchange(0, word, Acquire, Relaxed).ok()?;
        core::mem::forget(kept);
        Some(word)
    }

    /// # Safety
    /// `owner` was the word, which has changed by the caller since; the reference is not used any more.
    unsafe fn put(owner: usize) {
        if let Some(task) = NonNull::new(core::ptr::with_exposed_provenance_mut::<Task>(owner)) {
            // SAFETY: by the contract there is a reference for it, made by `try_take` or `release_slow`.
            drop(unsafe { TaskRef::from_raw(task) });
        }
    }

    async fn take(self: Pin<&Self>, site: &'static WaitSite, mode: WaitMode) -> Result<usize, NotLocked> {
        let raw = self.get_ref();
        raw.class.will_wait(raw.addr(), false, site);
        let task = TaskRef::current().ok_or(NotLocked::NoTask)?;
        let owner = match raw.try_take(&task) {
            Some(owner) => owner,
            None => {
                let asked = Asked::now();
                let owner = self.wait_for(task, site, mode).await?;
                raw.class.waited(false, asked);
                owner
            }
        };
        raw.class.acquired(raw.addr(), false, site);
        Ok(owner)
    }

    async fn wait_for(self: Pin<&Self>, task: TaskRef, site: &'static WaitSite, mode: WaitMode) -> Result<usize, NotLocked> {
        let me = address(&task);
        // Without memory it waits, but lends nothing to whom its owner waits for.
        let _ = prepare(&task);
        let wait = pin!(Wait {
            rt: RtWaiter::new(),
            raw: self,
            task,
            granted: AtomicBool::new(false),
            queue: WaitQueue::new(),
            _pin: PhantomPinned,
        });
        let wait = wait.as_ref();
        match self.enter(wait)? {
            Attempt::Taken(owner) => return Ok(owner),
            Attempt::Queued => {}
        }
        let granted = || wait.granted.load(Acquire).then_some(());
        let over = wait.queue.wait_until(site, mode, granted).await;
        if over.is_ok() || wait.leave() {
            // It is the caller's, and the waiter's end gives nothing back.
            wait.granted.store(false, Relaxed);
            return Ok(me);
        }
        Err(NotLocked::Interrupted)
    }

    /// Takes it, or enters `wait` into the graph.
    fn enter(self: Pin<&Self>, wait: Pin<&Wait<'_>>) -> Result<Attempt, NotLocked> {
        let held = self.wait_lock.lock();
        let owner = loop {
            if let Some(owner) = self.try_take(&wait.task) {
                return Ok(Attempt::Taken(owner));
            }
            let s = self.word.load(Relaxed);
            if s != 0 && (s & WAITERS != 0 || self.word.compare_exchange(s, s | WAITERS, Relaxed, Relaxed).is_ok()) {
                break s & !WAITERS;
            }
        };
        let was_alone = !self.node.has_waiters();
        if was_alone && let Some(task) = NonNull::new(core::ptr::with_exposed_provenance_mut::<Task>(owner)) {
            // SAFETY: the word keeps the task alive, and does not change while WAITERS is set and the lock held.
            let task = TaskRef::from_task(unsafe { task.as_ref() });
            let _ = prepare(&task);
            self.node().own(task);
        }
        // SAFETY: a field of what is pinned.
        let rt = unsafe { wait.map_unchecked(|wait| &wait.rt) };
        if self.node().enqueue(rt, wait.task.clone()).is_err() {
            self.settle();
            drop(held);
            return Err(NotLocked::Deadlock);
        }
        Ok(Attempt::Queued)
    }

    /// Under `wait_lock`: if nobody waits any more, the word alone says who owns it.
    fn settle(&self) {
        if !self.node.has_waiters() {
            self.node.disown();
            self.word.fetch_and(!WAITERS, Relaxed);
        }
    }

    /// `owner`, which the word was without WAITERS when it was taken, lets go.
    #[inline]
    fn release(self: Pin<&Self>, owner: usize) {
        if self.word.compare_exchange(owner, 0, Release, Relaxed).is_err() {
            self.release_slow();
        }
        // SAFETY: the word is the next owner's, or nobody's.
        unsafe { Raw::put(owner) };
    }

    #[cold]
    fn release_slow(self: Pin<&Self>) {
        let _held = self.wait_lock.lock();
        let Some(heir) = self.node().hand_over() else {
            // The last waiter has just given up. `Release`: for who takes it by the word.
            self.word.store(0, Release);
            return;
        };
        // SAFETY: waiters of this node are in a `Wait`, whose first field they are. This one does not go before it has seen `granted`,
        // or has had the lock that is held here.
        let heir = unsafe { heir.cast::<Wait<'_>>().as_ref() };
        let word = address(&heir.task);
        core::mem::forget(heir.task.clone());
        self.word.store(word | WAITERS, Release);
        self.settle();
        // Its queue is inside of it: it stays until `wake_all` is through, because its end takes `wait_lock`.
        heir.granted.store(true, Release);
        heir.queue.wake_all();
    }
}

impl Wait<'_> {
    /// Gives the wait up, unless it is over; whether the mutex is the waiter's.
    fn leave(&self) -> bool {
        let _held = self.raw.wait_lock.lock();
        if !self.granted.load(Relaxed) && self.rt.leave() {
            self.raw.settle();
        }
        self.granted.load(Relaxed)
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        // Also for its lock: who granted it may be in there still.
        if self.leave() {
            self.raw.release(address(&self.task));
        }
    }
}

/// The mutex is owned. `Send`: may live across awaits and migrate with its task.
#[must_use = "the mutex is owned only while the guard lives"]
pub struct PiGuard<'a, T> {
    lock: Pin<&'a PiMutex<T>>,
    owner: usize,
    /// Shared between threads only if the value may be.
    _value: PhantomData<&'a mut T>,
}

impl<T> Deref for PiGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: the guard's existence is the ownership.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for PiGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the guard's existence is the ownership.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T> Drop for PiGuard<'_, T> {
    fn drop(&mut self) {
        let raw = self.lock.raw();
        raw.class.released(raw.addr());
        raw.release(self.owner);
    }
}

const _: () = assert!(WAITERS < align_of::<Task>(), "the flag is no part of an address");
