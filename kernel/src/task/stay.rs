//! A thread's stay in EL0, with the calls that need no future: those that the vectors serve, and the reads and writes that
//! wait the short way (`syscall::blocked`).
//!
//! ```text
//!   ┌─► EL0 ─┬─ read or write, tried in the vector: must wait ─► enter the queue ─► Pending … woken ─► try again ─┐
//!   │        └─ anything else, or work ─► Ready: the thread's future sees to it                                    │
//!   └──────────────────────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! It is a hand-written future because every switch between two threads goes through it: one state, no moves, the node of the
//! wait in place.

use super::disturb;
use super::thread::Thread;
use crate::arch::aarch64::entry::{Trap, WORK_SIGNAL, enter_user};
use crate::syscall::blocked::Retry;
use core::future::Future;
use core::marker::PhantomPinned;
use core::mem::offset_of;
use core::pin::Pin;
use core::task::{Context as PollContext, Poll};
use vigil_abi::Errno;
use vigil_executor::arch;
use vigil_executor::context::Context;
use vigil_executor::task::Task;
use vigil_executor::wait::{WaitMode, WaitNode};

/// The future. It ends with the reason why EL0 was left, or is not entered: [`Trap::Work`] when there is work, with
/// `syscall` in the user context as a signal's delivery needs it.
pub struct Stay<'a> {
    thread: &'a Thread,
    task: &'a Task,
    /// A call waits, the thread's `blocked`; the node is registered, or was, exactly then.
    waits: bool,
    node: WaitNode,
    _pinned: PhantomPinned,
}

/// A wake of the queue: wakes the thread, under the queue's lock. The waiter cannot be gone before the lock is let go,
/// because it takes itself out of the queue first: no reference is counted.
fn wake(node: Pin<&WaitNode>, _key: u32) -> bool {
    let node = core::ptr::from_ref(node.get_ref());
    // SAFETY: only nodes inside a `Stay` have this callback, and a linked node's `Stay` is alive.
    let stay = unsafe { &*node.byte_sub(offset_of!(Stay<'_>, node)).cast::<Stay<'_>>() };
    stay.task.wake_in_lock();
    true
}

impl<'a> Stay<'a> {
    /// Lets `thread`, whose poll this is, run in EL0. `task` is its task.
    #[inline]
    pub fn new(thread: &'a Thread, task: &'a Task) -> Self {
        Stay { thread, task, waits: false, node: WaitNode::with_callback(wake), _pinned: PhantomPinned }
    }

    /// Goes on with the call that waits. `Ready(false)`: its asynchronous form is to be entered.
    #[inline]
    fn go_on(&mut self, mut looked: bool) -> Poll<bool> {
        // SAFETY: the thread itself; the call is taken out below, at the end.
        let Some(call) = (unsafe { self.thread.blocked() }) else { return Poll::Ready(true) };
        // SAFETY: the thread itself, outside EL0.
        let context = unsafe { self.thread.context() };
        // SAFETY: `self` is pinned.
        let node = unsafe { Pin::new_unchecked(&self.node) };
        let result = loop {
            let linked = node.is_linked();
            if !(looked || linked && call.still_waits()) {
                // SAFETY: x0–x5 stay as they are until the call is over.
                let retry = call.retry(self.thread, unsafe { context.arguments() });
                if retry != Retry::Wait {
                    // Woken between the two looks: that wake was for the next one.
                    if linked && self.leave() {
                        call.pass_on();
                    }
                    break retry;
                }
            }
            looked = false;
            if !linked {
                // SAFETY: only this future registers the node, which is in no list; `call` keeps the queue.
                unsafe {
                    if !node.is_idle() {
                        node.unregister();
                    }
                    node.register_callback(call.queue(), u32::MAX, call.registration());
                }
                // Something may have come before the node was in.
                if !call.still_waits() {
                    continue;
                }
            }
            if self.task.begin_wait(call.site(), WaitMode::Interruptible) {
                if self.leave() {
                    call.pass_on();
                }
                // Restarted, or EINTR, when the signal's action is known.
                self.thread.set_work(WORK_SIGNAL);
                break Retry::Done(Errno::ERESTARTSYS.to_ret() as i64);
            }
            return Poll::Pending;
        };
        self.leave();
        self.task.end_wait();
        self.waits = false;
        self.thread.end_blocked();
        if let Retry::Done(result) = result {
            context.x[0].set(result as u64);
            return Poll::Ready(true);
        }
        Poll::Ready(false)
    }

    /// Gives the call that waits up, if one does.
    #[inline]
    fn abandon(&mut self) {
        if core::mem::replace(&mut self.waits, false) {
            let woken = self.leave();
            if let Some(call) = self.thread.take_blocked()
                && woken
            {
                call.pass_on();
            }
        }
    }

    /// Takes the node out of its queue; whether a wake had done so.
    #[inline]
    fn leave(&self) -> bool {
        // SAFETY: pinned since it was registered, and nobody else registers it.
        unsafe { Pin::new_unchecked(&self.node).unregister() }
    }
}

impl Future for Stay<'_> {
    type Output = Trap;

    #[inline]
    fn poll(self: Pin<&mut Self>, _: &mut PollContext<'_>) -> Poll<Trap> {
        // SAFETY: nothing is moved out.
        let this = unsafe { self.get_unchecked_mut() };
        let mut looked = false;
        loop {
            if this.waits {
                match this.go_on(looked) {
                    Poll::Ready(true) => {}
                    Poll::Ready(false) => return Poll::Ready(Trap::Syscall),
                    Poll::Pending if disturb::drops(this.thread) => {
                        this.abandon();
                        disturb::ended(this.thread);
                        return Poll::Ready(Trap::Work);
                    }
                    Poll::Pending => return Poll::Pending,
                }
            }
            arch::irq_disable();
            // With interrupts masked: what comes after this look interrupts EL0.
            if Context::here().resched_wanted() || this.thread.work() != 0 {
                arch::irq_enable();
                return Poll::Ready(Trap::Work);
            }
            // SAFETY: the hooks have put the thread's state on this CPU; the context is in the thread, which is pinned by
            // its count.
            let trap = unsafe { enter_user(this.thread.context_ptr()) };
            #[cfg(feature = "selftest")]
            crate::selftest::left_user();
            // SAFETY: the thread itself, outside EL0.
            let context = unsafe { this.thread.context() };
            match trap {
                // A fast call leaves nothing to restart.
                Trap::Work => context.syscall.set(-1),
                Trap::Syscall => {
                    if !this.thread.has_blocked() {
                        return Poll::Ready(trap);
                    }
                    this.waits = true;
                    context.orig_x0.set(context.x[0].get());
                    context.syscall.set(i64::from(context.x[8].get() as u32));
                    looked = true;
                }
                _ => return Poll::Ready(trap),
            }
        }
    }
}

impl Drop for Stay<'_> {
    #[inline]
    fn drop(&mut self) {
        self.abandon();
    }
}
