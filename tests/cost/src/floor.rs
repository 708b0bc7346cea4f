//! What charging and order alone cost: the least that an executor of fair tasks does. Neither classes nor lock, other CPUs,
//! interrupts, hooks or statistics: one list of who has come, one in the order of run time, a clock that is read once after each poll.
//!
//! It is no executor to use, only a bound from below for `vigil`'s row.

use crate::{Empty, Rounds};
use std::cell::{Cell, UnsafeCell};
use std::future::Future;
use std::hint::black_box;
use std::pin::Pin;
use std::ptr::{self, null_mut};
use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU64, Ordering::*};
use std::task::{Context, RawWaker, RawWakerVTable, Waker};

const QUEUED: u8 = 1;

/// A task: it is polled through a function's address, as its future's type is not known to the loop.
struct Task {
    state: AtomicU8,
    poll: unsafe fn(*const Task, &mut Context<'_>) -> bool,
    /// The next in the list of those who came, then in the order of run time.
    next: Cell<*const Task>,
    vruntime: Cell<u64>,
    /// 2^32 × 1024 / weight, as Linux's inverse weights.
    inverse: Cell<u64>,
    future: UnsafeCell<Empty>,
}

/// Who was woken since the last look, the newest first.
static CAME: AtomicPtr<Task> = AtomicPtr::new(null_mut());
/// The clock: each read takes one, as that of `vigil`'s row.
static CLOCK: AtomicU64 = AtomicU64::new(0);
static VTABLE: RawWakerVTable = RawWakerVTable::new(|data| RawWaker::new(data, &VTABLE), wake, wake, |_| ());

fn wake(data: *const ()) {
    // SAFETY: tasks live for ever.
    let task = unsafe { &*data.cast::<Task>() };
    if task.state.fetch_or(QUEUED, AcqRel) & QUEUED != 0 {
        return;
    }
    let mut newest = CAME.load(Relaxed);
    loop {
        task.next.set(newest);
        match CAME.compare_exchange_weak(newest, ptr::from_ref(task).cast_mut(), AcqRel, Relaxed) {
            Ok(_) => return,
            Err(other) => newest = other,
        }
    }
}

unsafe fn poll(task: *const Task, cx: &mut Context<'_>) -> bool {
    // SAFETY: only the loop polls, one at a time, and a task never moves.
    unsafe { Pin::new_unchecked(&mut *(*task).future.get()).poll(cx) }.is_ready()
}

/// Runs the loop until the last round is over.
pub fn run(tasks: u64, total: u64) {
    for _ in 0..tasks {
        let task = Task {
            state: AtomicU8::new(0),
            poll: black_box(poll),
            next: Cell::new(ptr::null()),
            vruntime: Cell::new(0),
            inverse: Cell::new(black_box(1 << 32)),
            future: UnsafeCell::default(),
        };
        wake(ptr::from_ref(Box::leak(Box::new(task))).cast());
    }
    let mut rounds = None;
    let (mut first, mut last): (*const Task, *const Task) = (ptr::null(), ptr::null());
    let mut began = 0u64;
    loop {
        let mut came: *const Task = CAME.swap(null_mut(), AcqRel);
        // SAFETY: tasks live for ever, and who is in a list is in one.
        unsafe {
            while let Some(task) = came.as_ref() {
                came = task.next.get();
                if first.is_null() {
                    (first, last) = (task, task);
                    task.next.set(ptr::null());
                } else if task.vruntime.get() <= (*first).vruntime.get() {
                    task.next.set(first);
                    first = task;
                } else if task.vruntime.get() >= (*last).vruntime.get() {
                    (*last).next.set(task);
                    task.next.set(ptr::null());
                    last = task;
                } else {
                    insert(first, task);
                }
            }
            let Some(task) = first.as_ref() else {
                if !rounds.get_or_insert_with(|| Rounds::begin(total)).next() {
                    return;
                }
                continue;
            };
            first = task.next.get();
            task.state.fetch_and(!QUEUED, AcqRel);
            let waker = std::mem::ManuallyDrop::new(Waker::from_raw(RawWaker::new(ptr::from_ref(task).cast(), &VTABLE)));
            let ended = (task.poll)(task, &mut Context::from_waker(&waker));
            assert!(!ended, "the empty future never ends");
            let now = CLOCK.load(Relaxed) + 1;
            CLOCK.store(now, Relaxed);
            let ran = u128::from(now - began) * u128::from(task.inverse.get()) >> 32;
            task.vruntime.set(task.vruntime.get() + ran as u64);
            began = now;
        }
    }
}

/// Puts `task` behind those from `at` on that have run less.
///
/// # Safety
/// `at` has run less than `task`, and the list's last one has run longer.
unsafe fn insert(mut at: *const Task, task: &Task) {
    // SAFETY: by the contract the list does not end before the place.
    unsafe {
        while (*(*at).next.get()).vruntime.get() < task.vruntime.get() {
            at = (*at).next.get();
        }
        task.next.set((*at).next.get());
        (*at).next.set(task);
    }
}
