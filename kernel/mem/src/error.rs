//! What can go wrong here: no memory, and a fault on user memory.

use vigil_abi::Errno;

/// Memory could not be had. Becomes `ENOMEM`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AllocError;

impl From<AllocError> for Errno {
    fn from(_: AllocError) -> Errno {
        Errno::ENOMEM
    }
}

/// A copy hit a user address that is not mapped as the copy needs it.
///
/// Whoever may wait awaits the page-fault path for `addr` and tries again; whoever may not returns a short count or
/// `EFAULT`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    /// The first byte that could not be reached, tag removed. At or above `TASK_SIZE` when no page-fault can help.
    pub addr: usize,
    /// Whether it was to be written.
    pub write: bool,
}

impl Fault {
    /// Whether handling a page fault may help: the address is a user's at all.
    pub fn is_resolvable(&self) -> bool {
        self.addr < crate::addr::TASK_SIZE
    }
}

impl From<Fault> for Errno {
    fn from(_: Fault) -> Errno {
        Errno::EFAULT
    }
}
