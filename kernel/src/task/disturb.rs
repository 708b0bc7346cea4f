//! Disturbing waits on purpose: `/proc/PID/fail-await`, for rule 4 of DESIGN.md ("every future is safe to drop").
//!
//! What `fail-nth` is for allocations this is for awaits. An order names the n-th time from now that a system call or a
//! fault of the thread, or of one that it makes after the order was given, returns `Pending`, and what happens there:
//! a signal seems to come, SIGKILL comes, or the call's future is dropped where it stands. A call is never cancelled in
//! earnest; the process whose call was dropped therefore ends as by SIGKILL, and what is looked at is whether all that
//! the call held has come back. A knob of every kernel, not of a special build: the kernel that is tested is the one that
//! runs, and the price is a byte read when a call waits.

use super::exit;
use super::signal::{SigInfo, send_to_process};
use super::thread::Thread;
use core::future::Future;
use core::pin::Pin;
use core::sync::atomic::{AtomicU8, AtomicU32, Ordering::*};
use core::task::{Context, Poll};
use pin_project_lite::pin_project;
use vigil_abi::process::wait_signaled;
use vigil_abi::signal::SIGKILL;
use vigil_executor::task::INTERRUPT_SIGNAL;

/// How many orders there may be at once.
const ORDERS: usize = 16;

/// What happens at the await.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Disturbance {
    /// The task is told of a signal, and none is pending: an interruptible wait ends, and the call is made again.
    Interrupt = 0,
    /// The process gets SIGKILL.
    Kill = 1,
    /// The call's future is dropped, and the process ends as by SIGKILL.
    Drop = 2,
}

struct Order {
    /// Threads that belong to it; 0 when it is free.
    users: AtomicU32,
    /// Awaits until the disturbed one; 0: it has happened.
    left: AtomicU32,
    kind: AtomicU8,
}

static TABLE: [Order; ORDERS] = [const { Order { users: AtomicU32::new(0), left: AtomicU32::new(0), kind: AtomicU8::new(0) } }; ORDERS];

/// A thread's part in an order: the order's place in the table and one, 0 for none.
pub struct Disturb(AtomicU8);

impl Disturb {
    /// Undisturbed.
    pub const fn new() -> Self {
        Disturb(AtomicU8::new(0))
    }

    fn order(&self) -> Option<&'static Order> {
        TABLE.get(usize::from(self.0.load(Relaxed)).wrapping_sub(1))
    }

    /// Disturbs the `n`-th await from now; 0 withdraws the order. `false`: too many orders.
    pub fn set(&self, n: u32, kind: Disturbance) -> bool {
        let mut place = 0;
        if n != 0 {
            let free = |o: &Order| o.users.compare_exchange(0, 1, AcqRel, Relaxed).is_ok();
            let Some(i) = TABLE.iter().position(free) else { return false };
            TABLE[i].kind.store(kind as u8, Relaxed);
            TABLE[i].left.store(n, Release);
            place = i as u8 + 1;
        }
        self.leave(place);
        true
    }

    fn leave(&self, place: u8) {
        let old = self.0.swap(place, AcqRel);
        if let Some(order) = TABLE.get(usize::from(old).wrapping_sub(1)) {
            order.users.fetch_sub(1, AcqRel);
        }
    }

    /// Awaits until the disturbed one; 0: it has happened, or there is no order.
    pub fn left(&self) -> u32 {
        self.order().map_or(0, |o| o.left.load(Relaxed))
    }

    /// Joins the order of `parent`: the thread is new.
    pub fn inherit(&self, parent: &Disturb) {
        let place = parent.0.load(Relaxed);
        if let Some(order) = TABLE.get(usize::from(place).wrapping_sub(1)) {
            order.users.fetch_add(1, AcqRel);
            self.leave(place);
        }
    }

    /// Counts an await; what is to happen at this one.
    #[cold]
    #[inline(never)]
    fn count(&self) -> Option<Disturbance> {
        let order = self.order()?;
        let left = order.left.fetch_update(AcqRel, Relaxed, |n| n.checked_sub(1)).ok()?;
        (left == 1).then(|| match order.kind.load(Relaxed) {
            0 => Disturbance::Interrupt,
            1 => Disturbance::Kill,
            _ => Disturbance::Drop,
        })
    }
}

impl Drop for Disturb {
    fn drop(&mut self) {
        self.leave(0);
    }
}

pin_project! {
    /// The future of [`disturbed`].
    #[must_use = "futures do nothing unless awaited"]
    pub struct Disturbed<'t, F> {
        thread: &'t Thread,
        // `None` after it was dropped.
        #[pin]
        future: Option<F>,
    }
}

/// `future`, serving `thread`, with its waits disturbed as ordered. `None`: it was dropped, and the process ends.
#[inline(always)]
pub fn disturbed<F: Future>(thread: &Thread, future: F) -> Disturbed<'_, F> {
    Disturbed { thread, future: Some(future) }
}

impl<F: Future> Future for Disturbed<'_, F> {
    type Output = Option<F::Output>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<F::Output>> {
        let this = self.project();
        let (thread, mut future) = (*this.thread, this.future);
        let Some(inner) = future.as_mut().as_pin_mut() else { return Poll::Ready(None) };
        if let Poll::Ready(result) = inner.poll(cx) {
            return Poll::Ready(Some(result));
        }
        if drops(thread) {
            future.set(None);
            ended(thread);
            return Poll::Ready(None);
        }
        Poll::Pending
    }
}

/// `thread` waits: disturbs this await if it is the one. `true`: the future is to be dropped, and [`ended`] called.
#[inline(always)]
pub fn drops(thread: &Thread) -> bool {
    thread.disturb.0.load(Relaxed) != 0 && happens(thread)
}

#[cold]
#[inline(never)]
fn happens(thread: &Thread) -> bool {
    match thread.disturb.count() {
        None => false,
        Some(Disturbance::Interrupt) => {
            if let Some(task) = thread.task() {
                task.interrupt(INTERRUPT_SIGNAL);
            }
            thread.set_work(crate::arch::aarch64::entry::WORK_SIGNAL);
            false
        }
        Some(Disturbance::Kill) => {
            // A process that is not there any more needs none.
            let _ = send_to_process(&thread.process, SigInfo::kernel(SIGKILL));
            false
        }
        Some(Disturbance::Drop) => true,
    }
}

/// The call was dropped: the process ends.
#[cold]
pub fn ended(thread: &Thread) {
    if let Some(task) = thread.task() {
        task.end_wait();
    }
    thread.end_system();
    exit::group_exit(&thread.process, wait_signaled(SIGKILL, false) as i32);
}
