//! A thread's stay in EL0, with the calls that need no future: those that the vectors serve, and the reads, writes and sleeps
//! that wait the short way (`syscall::blocked`).
//!
//! ```text
//!   ┌─► EL0 ─┬─ read or write, tried in the vector: must wait ─► enter the queue ─► Pending … woken ─► try again ─┐
//!   │        ├─ sleep: must wait ─► start the alarm ─► Pending … woken ───────────────────────────────────────────┤
//!   │        └─ anything else, or work ─► Ready: the thread's future sees to it                                    │
//!   └──────────────────────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! It is a hand-written future because every switch between two threads goes through it: one state, no moves, the node of the
//! wait in place.

use super::disturb;
use super::thread::Thread;
use crate::arch::aarch64::entry::{Trap, WORK_SIGNAL, enter_user};
use crate::syscall::blocked::{Blocked, Retry, Sleep, Transfer};
use core::future::Future;
use core::marker::PhantomPinned;
use core::mem::{MaybeUninit, offset_of};
use core::pin::Pin;
use core::sync::atomic::Ordering::Relaxed;
use core::task::{Context as PollContext, Poll, Waker};
use vigil_abi::Errno;
use vigil_executor::arch;
use vigil_executor::context::Context;
use vigil_executor::task::Task;
use vigil_executor::timer::Alarm;
use vigil_executor::wait::{WaitMode, WaitNode};
use vigil_executor::wait_site;

/// The future. It ends with the reason why EL0 was left, or is not entered: [`Trap::Work`] when there is work, with
/// `syscall` in the user context as a signal's delivery needs it.
pub struct Stay<'a> {
    thread: &'a Thread,
    task: &'a Task,
    /// What the thread's `blocked`, a call that waits, waits by.
    waits: Waits,
    /// Initialised from the first call on that waits for a queue; registered, or was, exactly while one does.
    node: MaybeUninit<WaitNode>,
    has_node: bool,
    /// Initialised and started exactly while a call sleeps.
    alarm: MaybeUninit<Alarm>,
    _pinned: PhantomPinned,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Waits {
    /// No call waits.
    Not,
    /// A read or write, by the node.
    Queue,
    /// A sleep, by the alarm.
    Alarm,
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
        Stay {
            thread,
            task,
            waits: Waits::Not,
            node: MaybeUninit::uninit(),
            has_node: false,
            alarm: MaybeUninit::uninit(),
            _pinned: PhantomPinned,
        }
    }

    /// Has `call` wait, which the vector has just tried. `Ready(false)`: its asynchronous form is to be entered.
    #[inline(always)]
    fn begin(&mut self, thread: &'a Thread, call: &'a Transfer) -> Poll<bool> {
        self.waits = Waits::Queue;
        if !self.has_node {
            self.has_node = true;
            self.node.write(WaitNode::with_callback(wake));
        }
        self.enter(call);
        // Something may have come before the node was in.
        if call.still_waits() { self.wait(thread, call) } else { self.overtaken(thread) }
    }

    #[cold]
    #[inline(never)]
    fn overtaken(&mut self, thread: &'a Thread) -> Poll<bool> {
        self.go_on(thread)
    }

    /// Goes on with the call that waits, as [`begin`](Self::begin) answers.
    #[inline(always)]
    fn go_on(&mut self, thread: &'a Thread) -> Poll<bool> {
        // SAFETY: the thread itself; the call is taken out at its end only.
        let Some(Blocked::Transfer(call)) = (unsafe { thread.blocked() }) else { return Poll::Ready(true) };
        loop {
            let linked = self.is_in(call);
            if !(linked && call.still_waits()) {
                // SAFETY: the thread itself, outside EL0; x0–x5 stay as they are until the call is over.
                let retry = call.retry(thread, unsafe { thread.context().arguments() });
                if retry != Retry::Wait {
                    // Woken between the two looks: that wake was for the next one.
                    if linked && self.leave() {
                        call.pass_on();
                    }
                    return self.end(thread, retry);
                }
            }
            if !linked {
                self.enter(call);
                if !call.still_waits() {
                    continue;
                }
            } else {
                // The wake that had us polled may not have taken the node out yet: then it is not in any more, whatever it
                // says, and no later wake would find it.
                call.queue().settle();
                if !self.node().is_linked() {
                    continue;
                }
            }
            return self.wait(thread, call);
        }
    }

    /// Whether the node is in the queue, and not in the hands of a wake which nobody repeats when the condition turns out
    /// false. If not, no wake is at work on it.
    #[inline(always)]
    fn is_in(&self, call: &Transfer) -> bool {
        let node = self.node();
        if node.take_woken() {
            return false;
        }
        call.queue().holds(&node) || {
            node.take_woken();
            false
        }
    }

    /// Enters the queue; the node is in none.
    #[inline(always)]
    fn enter(&self, call: &Transfer) {
        // SAFETY: only this future registers the node, which is in no list; `call` keeps the queue.
        unsafe { self.node().register_callback(call.queue(), u32::MAX, call.registration()) };
    }

    /// In the queue, there is nothing left to do, if no signal has come.
    #[inline(always)]
    fn wait(&mut self, thread: &Thread, call: &Transfer) -> Poll<bool> {
        if !self.task.begin_wait(call.site(), WaitMode::Interruptible) {
            return Poll::Pending;
        }
        self.interrupted_transfer(thread, call)
    }

    /// A signal has come. What came before it is not lost to it (`Waiting::ended`): the last attempt.
    #[cold]
    #[inline(never)]
    fn interrupted_transfer(&mut self, thread: &Thread, call: &Transfer) -> Poll<bool> {
        // SAFETY: the thread itself, outside EL0; x0–x5 stay as they are until the call is over.
        let last = call.retry(thread, unsafe { thread.context().arguments() });
        if self.leave() {
            call.pass_on();
        }
        if last != Retry::Wait {
            return self.end(thread, last);
        }
        // Restarted, or EINTR, when the signal's action is known.
        thread.set_work(WORK_SIGNAL);
        self.end(thread, Retry::Done(Errno::ERESTARTSYS.to_ret() as i64))
    }

    /// The wait is over, out of the queue.
    #[inline(always)]
    fn end(&mut self, thread: &Thread, retry: Retry) -> Poll<bool> {
        self.task.end_wait();
        self.waits = Waits::Not;
        if let Retry::Done(result) = retry {
            thread.end_transfer();
            // SAFETY: the thread itself, outside EL0.
            unsafe { thread.context() }.x[0].set(result as u64);
            return Poll::Ready(true);
        }
        thread.leave_begun();
        Poll::Ready(false)
    }

    /// The call waits, unless it is to be disturbed.
    #[inline(always)]
    fn pending(&mut self) -> Poll<Trap> {
        if !disturb::drops(self.thread) {
            return Poll::Pending;
        }
        self.abandon();
        disturb::ended(self.thread);
        Poll::Ready(Trap::Work)
    }

    /// Gives the call that waits up, if one does.
    #[inline]
    fn abandon(&mut self) {
        match self.waits {
            Waits::Not => {}
            Waits::Queue => {
                self.waits = Waits::Not;
                let woken = self.leave();
                if let Some(Blocked::Transfer(call)) = self.thread.take_blocked()
                    && woken
                {
                    call.pass_on();
                }
            }
            Waits::Alarm => self.end_sleep(),
        }
    }

    /// The node, which a call has waited by.
    #[inline(always)]
    fn node(&self) -> Pin<&WaitNode> {
        // SAFETY: initialised before a call waits for a queue; `self` is pinned.
        unsafe { Pin::new_unchecked(self.node.assume_init_ref()) }
    }

    /// Takes the node out of its queue; whether a wake had done so.
    #[inline]
    fn leave(&self) -> bool {
        // SAFETY: pinned since it was registered, and nobody else registers it.
        unsafe { self.node().unregister() }
    }

    /// Goes to sleep, as the thread's `blocked` says.
    #[inline(never)]
    fn fall_asleep(&mut self, waker: &Waker) -> Poll<bool> {
        // SAFETY: the thread itself; the call is taken out after its last use.
        let Some(Blocked::Sleep(sleep)) = (unsafe { self.thread.blocked() }) else {
            return Poll::Ready(true);
        };
        self.waits = Waits::Alarm;
        let alarm = self.alarm.write(Alarm::new(Some(sleep.deadline), sleep.slack));
        // SAFETY: `self` is pinned, and the alarm is dropped where it is.
        unsafe { Pin::new_unchecked(&*alarm) }.start(waker.clone());
        self.sleep(false)
    }

    /// Sleeps, or goes on after a wake. `Ready(false)`: its asynchronous form is to be entered, because it was interrupted.
    #[inline]
    fn sleep(&mut self, woken: bool) -> Poll<bool> {
        // SAFETY: initialised while the call sleeps.
        let over = woken && unsafe { self.alarm.assume_init_ref() }.is_over();
        if !over {
            if !self.task.begin_wait(wait_site!("hrtimer_nanosleep"), WaitMode::Interruptible) {
                return Poll::Pending;
            }
            self.interrupted();
        } else {
            // SAFETY: the thread itself, outside EL0.
            unsafe { self.thread.context() }.x[0].set(0);
        }
        self.end_sleep();
        Poll::Ready(over)
    }

    /// A signal has come: the asynchronous form finds it, too, and makes of it what the call has to.
    #[cold]
    fn interrupted(&self) {
        // SAFETY: the thread itself.
        if let Some(Blocked::Sleep(Sleep { deadline, relative: true, .. })) = unsafe { self.thread.blocked() } {
            self.thread.transferred.store(*deadline as usize, Relaxed);
        }
    }

    /// The sleep is over, one way or the other.
    #[inline]
    fn end_sleep(&mut self) {
        self.task.end_wait();
        self.waits = Waits::Not;
        // SAFETY: initialised while the call sleeps, which ends here.
        unsafe { self.alarm.assume_init_drop() };
        self.thread.end_blocked();
    }
}

/// Ends the poll unless the call that waited is over. Not a function: each use is a way of its own through the poll.
macro_rules! continue_if {
    ($stay:ident, $over:expr) => {
        match $over {
            Poll::Ready(true) => {}
            Poll::Ready(false) => return Poll::Ready(Trap::Syscall),
            Poll::Pending => return $stay.pending(),
        }
    };
}

impl Future for Stay<'_> {
    type Output = Trap;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut PollContext<'_>) -> Poll<Trap> {
        // SAFETY: nothing is moved out.
        let this = unsafe { self.get_unchecked_mut() };
        let thread = this.thread;
        match this.waits {
            Waits::Not => {}
            Waits::Queue => continue_if!(this, this.go_on(thread)),
            Waits::Alarm => continue_if!(this, this.sleep(true)),
        }
        loop {
            arch::irq_disable();
            // With interrupts masked: what comes after this look interrupts EL0.
            if Context::here().resched_wanted() || thread.work() != 0 {
                arch::irq_enable();
                return Poll::Ready(Trap::Work);
            }
            // SAFETY: the hooks have put the thread's state on this CPU; the context is in the thread, which is pinned by
            // its count.
            let trap = unsafe { enter_user(thread.context_ptr()) };
            #[cfg(feature = "selftest")]
            crate::selftest::left_user();
            // SAFETY: the thread itself, outside EL0.
            let context = unsafe { thread.context() };
            match trap {
                // A fast call leaves nothing to restart.
                Trap::Work => context.syscall.set(-1),
                Trap::Syscall => {
                    // SAFETY: the thread itself; the call is taken out at its end only.
                    let call = match unsafe { thread.blocked() } {
                        None | Some(Blocked::Begun(_)) => return Poll::Ready(trap),
                        Some(call) => call,
                    };
                    context.orig_x0.set(context.x[0].get());
                    context.syscall.set(i64::from(context.x[8].get() as u32));
                    match call {
                        Blocked::Transfer(call) => continue_if!(this, this.begin(thread, call)),
                        _ => continue_if!(this, this.fall_asleep(cx.waker())),
                    }
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
