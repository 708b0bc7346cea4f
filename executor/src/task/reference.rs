//! The counted reference to a task.

use super::header::Task;
use core::ptr::NonNull;

/// A counted reference to a task.
pub struct TaskRef(pub(super) NonNull<Task>);

// SAFETY: the header is `Sync` and the count atomic.
unsafe impl Send for TaskRef {}
// SAFETY: as above.
unsafe impl Sync for TaskRef {}

impl TaskRef {
    /// A reference to the task that runs now.
    pub fn current() -> Option<TaskRef> {
        super::current().map(TaskRef::from_task)
    }

    /// A reference to `task`.
    pub fn from_task(task: &Task) -> TaskRef {
        task.get();
        TaskRef(NonNull::from(task))
    }

    /// A reference that was forgotten.
    ///
    /// # Safety
    /// One `TaskRef` of `task` was passed to `mem::forget`, and this is called once for it.
    #[cfg(not(loom))]
    pub(crate) unsafe fn from_raw(task: NonNull<Task>) -> TaskRef {
        TaskRef(task)
    }
}

impl Clone for TaskRef {
    fn clone(&self) -> Self {
        self.get();
        TaskRef(self.0)
    }
}

impl Drop for TaskRef {
    fn drop(&mut self) {
        self.put();
    }
}

impl core::ops::Deref for TaskRef {
    type Target = Task;
    fn deref(&self) -> &Task {
        // SAFETY: the count keeps it alive.
        unsafe { self.0.as_ref() }
    }
}
