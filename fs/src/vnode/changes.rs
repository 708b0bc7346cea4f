//! Changes of what a generated file shows, for those that poll it (Linux: kernfs_notify, kernfs_generic_poll).

use crate::vfs::poll::{PollEvents, PollTable};
use core::sync::atomic::{AtomicU32, Ordering::*};
use vigil_executor::wait::WaitQueue;

/// Counts the changes of a file's contents, and wakes who waits for one.
pub struct Changes {
    count: AtomicU32,
    queue: WaitQueue,
}

/// What a poll answers about a file that has changed since it was read.
const CHANGED: PollEvents = PollEvents::DEFAULT.union(PollEvents::ERR).union(PollEvents::PRI);

impl Changes {
    /// None yet. An open file that was not read has not seen what there is.
    pub const fn new() -> Changes {
        Changes { count: AtomicU32::new(1), queue: WaitQueue::new() }
    }

    /// What is shown is another from now on. Any context.
    pub fn tell(&self) {
        self.count.fetch_add(1, AcqRel);
        self.queue.wake(CHANGED.bits(), 0);
    }

    /// How many there were.
    pub(super) fn count(&self) -> u32 {
        self.count.load(Acquire)
    }

    /// What a poll answers who has read the file when there had been `seen`.
    pub(super) fn poll(&self, seen: u32, table: &mut PollTable<'_>) -> PollEvents {
        table.add(&self.queue);
        if self.count() == seen { PollEvents::DEFAULT } else { CHANGED }
    }
}

impl Default for Changes {
    fn default() -> Self {
        Changes::new()
    }
}
