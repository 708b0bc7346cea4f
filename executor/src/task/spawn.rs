//! Making a task: the allocation that joins a header to a future, and the way from there onto a run queue.

use super::header::{Hooks, Task, VTable};
use super::reference::TaskRef;
use crate::class::Params;
use crate::cpu::{CpuId, CpuMask};
use crate::platform;
use alloc::alloc::alloc;
use core::alloc::Layout;
use core::cell::UnsafeCell;
use core::future::Future;
use core::mem::ManuallyDrop;
use core::pin::Pin;
use core::ptr::{NonNull, null};
use core::task::{Context as PollContext, Poll};

#[repr(C)]
struct KTask<F> {
    header: Task,
    future: UnsafeCell<ManuallyDrop<F>>,
}

/// Why a task could not be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SpawnError {
    /// No memory for it (ENOMEM).
    NoMemory,
}

/// A task that was made but does not run yet. Dropping it frees it.
#[must_use = "a spawned task runs only after `start`"]
pub struct Spawned(TaskRef);

impl Spawned {
    /// Allocates a task for `future`. Fails with ENOMEM before `future` has run; it is dropped then.
    ///
    /// `owner` is returned by [`Task::owner`]; it must stay valid as long as the future lives.
    #[allow(clippy::not_unsafe_ptr_arg_deref, reason = "the pointer is the closure's, not an argument of this function")]
    pub fn new<F>(future: F, params: Params, name: &[u8], hooks: Option<&'static Hooks>, owner: *const ()) -> Result<Spawned, SpawnError>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        // SAFETY: the constructor initialises the slot that it is given.
        unsafe { Self::new_in_place(params, name, hooks, owner, |slot: *mut F| slot.write(future)) }
    }

    /// As [`Spawned::new`] for a future that is built in place, which spares a large future its moves.
    ///
    /// # Safety
    /// `init` must initialise the `F` that it is given the address of, and may not panic.
    pub unsafe fn new_in_place<F>(
        params: Params,
        name: &[u8],
        hooks: Option<&'static Hooks>,
        owner: *const (),
        init: impl FnOnce(*mut F),
    ) -> Result<Spawned, SpawnError>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let layout = Layout::new::<KTask<F>>();
        // SAFETY: the layout is not empty: the header is in it.
        let raw = unsafe { alloc(layout) }.cast::<KTask<F>>();
        let Some(task) = NonNull::new(raw) else { return Err(SpawnError::NoMemory) };
        let vtable = const { &VTable { poll: poll::<F>, drop_future: drop_future::<F>, layout: Layout::new::<KTask<F>>() } };
        let header = Task::new(params, vtable, hooks, owner);
        // SAFETY: freshly allocated for this layout; the header is written, the future initialised by `init`.
        unsafe {
            (&raw mut (*raw).header).write(header);
            init((&raw mut (*raw).future).cast::<F>());
        }
        let spawned = Spawned(TaskRef(task.cast()));
        spawned.0.set_name(name);
        Ok(spawned)
    }

    /// Starts a kernel task that runs on `cpu` alone; `name` ends in `0`, in whose place the CPU's number goes.
    pub(crate) fn start_of_cpu<F>(cpu: CpuId, future: F, params: Params, mut name: [u8; 11]) -> Result<(), SpawnError>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        name[10] = b'0' + cpu.index() as u8;
        let made = Self::new(future, params, &name, None, null())?;
        made.task().set_affinity(CpuMask::of(cpu));
        if let Some(platform) = platform::get() {
            platform.kernel_task(made.task());
        }
        drop(made.start());
        Ok(())
    }

    /// The task, before it runs: to set its affinity, or to enter it in tables.
    pub fn task(&self) -> &Task {
        &self.0
    }

    /// Makes it runnable. `from` is the task whose class state a new fair task is placed after, if any.
    pub fn start(self) -> TaskRef {
        let this = ManuallyDrop::new(self);
        // SAFETY: `this` is never dropped, so the reference is moved out once.
        let task = unsafe { core::ptr::read(&this.0) };
        crate::executor::push_new(&task);
        task
    }
}

impl Drop for Spawned {
    fn drop(&mut self) {
        // SAFETY: the task never ran and is in no list: this is its only user. The future is dropped once, and the
        // executor's reference is given back here because the executor never saw the task.
        unsafe { self.0.drop_future() };
        self.0.put();
    }
}

/// # Safety
/// As [`Task::poll`]; `task` is the header of a `KTask<F>`.
unsafe fn poll<F: Future<Output = ()>>(task: NonNull<Task>, cx: &mut PollContext<'_>) -> Poll<()> {
    let task = task.cast::<KTask<F>>();
    // SAFETY: RUN gives exclusive access; the future never moves, so it may be pinned.
    unsafe {
        let future = task.as_ref().future.get().cast::<F>();
        Pin::new_unchecked(&mut *future).poll(cx)
    }
}

/// # Safety
/// As [`Task::drop_future`]; `task` is the header of a `KTask<F>`.
unsafe fn drop_future<F>(task: NonNull<Task>) {
    let task = task.cast::<KTask<F>>();
    // SAFETY: by the caller's contract nobody touches the future again.
    unsafe { ManuallyDrop::drop(&mut *task.as_ref().future.get()) }
}
