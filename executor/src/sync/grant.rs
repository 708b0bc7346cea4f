//! What the async locks share: a FIFO of waiters under a spin lock, and the future of one acquisition.
//!
//! A lock's word answers the uncontended cases by itself. Everything else happens under the waiters' lock: entering,
//! granting, leaving. A waiter that was *granted* the lock owns it before it runs; one that was only *woken* tries
//! again. Whoever is dropped gives back what it was granted, or passes on the wake that it consumed (pitfall P6).

use super::lockdep::{Asked, LockClass, Tracked, might_sleep};
use super::optimistic::{self, Holder};
use super::spinlock::SpinLock;
use crate::atomic::{Ordering, const_unless_loom};
use crate::task;
use crate::wait::{GRANTED, IDLE, Interrupted, LINKED, List, Register, WOKEN, WaitMode, WaitNode, WaitSite};
use core::future::Future;
use core::pin::Pin;
use core::ptr::NonNull;
use core::task::{Context, Poll, Waker};

static LOCK_WAITERS: LockClass = LockClass::new("lock_waiters");

/// The waiters of one lock. Its spin lock is a leaf, taken with interrupts masked.
pub(crate) struct Waiters(SpinLock<List>);

impl Waiters {
    const_unless_loom! {
        pub(crate) fn new() -> Waiters {
            Waiters(SpinLock::new(&LOCK_WAITERS, List::new()))
        }
    }

    /// Runs `f` on the list, locked.
    #[inline]
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut List) -> R) -> R {
        f(&mut self.0.lock_irq())
    }
}

/// A lock whose waiters are in a [`Waiters`].
pub(crate) trait AsyncLock {
    fn waiters(&self) -> &Waiters;

    /// What the checker knows it by; a semaphore has no owner, and so nothing that could be known of it.
    #[inline(always)]
    fn class(&self) -> Option<&Tracked> {
        None
    }

    /// Whether `want` is what a reader wants.
    #[inline(always)]
    fn reads(_want: u32) -> bool {
        false
    }

    /// What tells it from others.
    #[inline(always)]
    fn addr(&self) -> *const () {
        core::ptr::from_ref(self).cast()
    }

    /// [`try_acquire`](Self::try_acquire) by who is about to wait at `site` if it fails.
    #[inline(always)]
    fn try_at_once(&self, want: u32, site: &'static WaitSite) -> bool {
        match self.class() {
            Some(class) => class.will_wait(self.addr(), Self::reads(want), site),
            None => might_sleep(site),
        }
        let got = self.try_acquire(want);
        if got {
            self.acquired(want, site);
        }
        got
    }

    /// It is the task's.
    #[inline(always)]
    fn acquired(&self, want: u32, site: &'static WaitSite) {
        if let Some(class) = self.class() {
            class.acquired(self.addr(), Self::reads(want), site);
        }
    }

    /// Takes `want` by the word alone, if the rules of the lock let a newcomer have it.
    fn try_acquire(&self, want: u32) -> bool;

    /// Under the list's lock: takes `want`, or marks the word so that a release comes to the list. `again`: this
    /// waiter was woken before and found the lock taken.
    fn acquire_or_mark(&self, list: &List, want: u32, again: bool) -> bool;

    /// Under the list's lock, after a waiter left without the lock: unmarks, grants, or wakes the next. `woken`: the
    /// waiter that left had been woken. Whether it is to be called again, after the lock was let go of.
    fn after_leave(&self, list: &mut List, woken: bool) -> bool;

    /// Gives `want` back.
    fn release(&self, want: u32);

    /// Who holds it, for somebody who wants `want` and could spin.
    fn holder(&self, _want: u32) -> Holder {
        Holder::Unknown
    }

    /// The current task was granted `want` before it ran: others may spin for it from now on.
    fn adopt(&self, _want: u32) {}
}

/// Takes the first waiter out, stores `state` (WOKEN or GRANTED) in it and wakes it.
///
/// # Safety
/// `node` is in `list`, whose lock is held. The node is not touched any more afterwards.
pub(crate) unsafe fn dismiss(list: &mut List, node: NonNull<WaitNode>, state: u32) {
    // SAFETY: by the contract; the state is stored last, the waker is ours by then.
    let waker = unsafe {
        list.remove(node);
        let waker = node.as_ref().inner.with_mut(|p| (*p).waker.take());
        node.as_ref().state.store(state, Ordering::Release);
        waker
    };
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// What the waiter `node` wants.
///
/// # Safety
/// `node` is in the list whose lock the caller holds.
pub(crate) unsafe fn want_of(node: NonNull<WaitNode>) -> u32 {
    // SAFETY: by the contract.
    unsafe { node.as_ref().inner.with(|p| (*p).key) }
}

/// The future of one acquisition. `Ok` means that `want` is the caller's.
pub(crate) struct AcquireLock<'a, L: AsyncLock> {
    lock: &'a L,
    node: WaitNode,
    want: u32,
    site: &'static WaitSite,
    mode: WaitMode,
    waiting: bool,
    asked: Asked,
}

impl<'a, L: AsyncLock> AcquireLock<'a, L> {
    pub(crate) fn new(lock: &'a L, want: u32, site: &'static WaitSite, mode: WaitMode) -> Self {
        AcquireLock { lock, node: WaitNode::new(), want, site, mode, waiting: false, asked: Asked::now() }
    }

    /// Takes the lock or enters the list; `true` if it was taken.
    fn enter(&mut self, again: bool, waker: &Waker) -> bool {
        if self.lock.try_acquire(self.want) || optimistic::spin(self.lock, self.want) {
            self.node.state.store(IDLE, Ordering::Relaxed);
            return true;
        }
        let (waker, want) = (waker.clone(), self.want);
        let old = self.node.inner.with_mut(|p| {
            // SAFETY: in no list: ours.
            let inner = unsafe { &mut *p };
            inner.key = want;
            inner.how = Register::Exclusive;
            inner.waker.replace(waker)
        });
        drop(old);
        let node = NonNull::from(&self.node);
        self.lock.waiters().with(|list| {
            if self.lock.acquire_or_mark(list, want, again) {
                return true;
            }
            // SAFETY: in no list; pinned, and `leave` takes it out before it is dropped.
            unsafe { if again { list.insert_first_exclusive(node) } else { list.insert(node) } };
            false
        }) && {
            self.node.state.store(IDLE, Ordering::Relaxed);
            true
        }
    }

    /// Leaves the list; `true` if the lock had been granted, which is then the caller's.
    fn leave(&mut self) -> bool {
        match self.node.state.load(Ordering::Acquire) {
            IDLE => return false,
            GRANTED => {
                self.node.state.store(IDLE, Ordering::Relaxed);
                return true;
            }
            _ => {}
        }
        let (lock, node) = (self.lock, NonNull::from(&self.node));
        let (granted, mut again) = lock.waiters().with(|list| {
            // SAFETY: the node is ours and, if linked, linked here.
            let was_in = unsafe { list.cancel(node) };
            let state = if was_in { LINKED } else { self.node.state.load(Ordering::Acquire) };
            if state == GRANTED { (true, false) } else { (false, lock.after_leave(list, state == WOKEN)) }
        });
        self.node.state.store(IDLE, Ordering::Relaxed);
        while again {
            again = lock.waiters().with(|list| lock.after_leave(list, false));
        }
        granted
    }

    /// Ends the wait: `true` if the lock had been granted, and is the caller's.
    pub(crate) fn give_up(self: Pin<&mut Self>) -> bool {
        // SAFETY: nothing is moved out; the node stays where it is.
        let this = unsafe { self.get_unchecked_mut() };
        let granted = this.leave();
        if granted {
            this.lock.acquired(this.want, this.site);
        }
        this.end_wait();
        granted
    }

    fn end_wait(&mut self) {
        if self.waiting {
            self.waiting = false;
            if let Some(task) = task::current() {
                task.end_wait();
            }
        }
    }
}

impl<L: AsyncLock> Future for AcquireLock<'_, L> {
    type Output = Result<(), Interrupted>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // SAFETY: nothing is moved out; the node stays where it is.
        let this = unsafe { self.get_unchecked_mut() };
        let got = loop {
            match this.node.state.load(Ordering::Acquire) {
                GRANTED => {
                    this.node.state.store(IDLE, Ordering::Relaxed);
                    this.lock.adopt(this.want);
                    break true;
                }
                LINKED => {
                    let node = NonNull::from(&this.node);
                    // SAFETY: ours, and linked here if at all.
                    match this.lock.waiters().with(|list| unsafe { list.update_waker(node, cx.waker()) }) {
                        Ok(old) => {
                            drop(old);
                            break false;
                        }
                        // Woken or granted between the two looks.
                        Err(()) => continue,
                    }
                }
                state => break this.enter(state == WOKEN, cx.waker()),
            }
        };
        if got {
            if let Some(class) = this.lock.class() {
                class.waited(L::reads(this.want), this.asked);
            }
            this.lock.acquired(this.want, this.site);
            this.end_wait();
            return Poll::Ready(Ok(()));
        }
        this.waiting = true;
        if task::current().is_some_and(|t| t.begin_wait(this.site, this.mode)) {
            // SAFETY: it is pinned.
            let granted = unsafe { Pin::new_unchecked(this) }.give_up();
            return Poll::Ready(if granted { Ok(()) } else { Err(Interrupted) });
        }
        Poll::Pending
    }
}

impl<L: AsyncLock> Drop for AcquireLock<'_, L> {
    fn drop(&mut self) {
        if self.leave() {
            self.lock.release(self.want);
        }
        self.end_wait();
    }
}
