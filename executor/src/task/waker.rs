//! Wakers: a pointer to the task and a count. Clone, wake and drop are lock-free and safe in a hard interrupt.

use super::header::Task;
use super::reference::TaskRef;
use core::mem::ManuallyDrop;
use core::ptr::NonNull;
use core::task::{RawWaker, RawWakerVTable, Waker};

static VTABLE: RawWakerVTable = RawWakerVTable::new(clone, wake, wake_by_ref, drop);

fn task(data: *const ()) -> &'static Task {
    // SAFETY: `data` is a task's address and the waker holds a count on it (or borrows its executor's, `borrowed`).
    unsafe { &*data.cast::<Task>() }
}

unsafe fn clone(data: *const ()) -> RawWaker {
    task(data).get();
    RawWaker::new(data, &VTABLE)
}

unsafe fn wake(data: *const ()) {
    task(data).wake();
    task(data).put();
}

unsafe fn wake_by_ref(data: *const ()) {
    task(data).wake();
}

unsafe fn drop(data: *const ()) {
    task(data).put();
}

/// A waker of `task` that borrows the caller's reference: no count is taken for a poll that registers nothing.
#[inline(always)]
pub fn borrowed(task: &Task) -> ManuallyDrop<Waker> {
    // SAFETY: the vtable's functions fulfil the RawWaker contract; ManuallyDrop leaves the count as it is.
    ManuallyDrop::new(unsafe { Waker::from_raw(RawWaker::new(NonNull::from(task).as_ptr() as *const (), &VTABLE)) })
}

/// Calls `waker` and drops it, in a flow that has interrupts masked: a timer's. A task is woken without a call.
#[inline(always)]
pub(crate) fn wake_in_lock(waker: Waker) {
    if core::ptr::eq(waker.vtable(), &VTABLE) {
        let waker = ManuallyDrop::new(waker);
        let task = task(waker.data());
        task.wake_in_lock();
        // The waker's.
        task.put();
    } else {
        waker.wake();
    }
}

/// The task behind `waker`, if it is one of ours (a wait inside `futures-util` combinators may have another's).
#[inline]
pub fn task_of(waker: &Waker) -> Option<TaskRef> {
    (core::ptr::eq(waker.vtable(), &VTABLE)).then(|| TaskRef::from_task(task(waker.data())))
}
