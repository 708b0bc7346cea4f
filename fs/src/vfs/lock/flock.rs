//! flock(2): a lock on a whole file that belongs to an open file (Linux: flock_lock_inode).

use super::{Kind, LockContext, file_id};
use crate::vfs::file::File;
use vigil_abi::Errno;
use vigil_executor::wait::WaitMode;
use vigil_executor::wait_site;
use vigil_mem::KVec;

struct Flock {
    owner: usize,
    kind: Kind,
}

/// The locks on one file.
#[derive(Default)]
pub struct FlockList(KVec<Flock>);

impl FlockList {
    fn position(&self, owner: usize) -> Option<usize> {
        self.0.iter().position(|held| held.owner == owner)
    }
}

impl LockContext {
    /// One attempt for `owner`, with what it did to an older lock. `Err(EAGAIN)`: somebody else's is in the way.
    fn try_flock(&self, owner: usize, kind: Kind) -> (bool, Result<(), Errno>) {
        let mut lists = self.lists.lock();
        let flocks = &mut lists.flocks;
        let mut gave_up = false;
        if let Some(at) = flocks.position(owner) {
            if flocks.0[at].kind == kind {
                return (false, Ok(()));
            }
            // A conversion is an unlock and a lock: others may come in between, and then the old one is lost.
            flocks.0.swap_remove(at);
            gave_up = true;
        }
        if flocks.0.iter().any(|held| held.kind.conflicts(kind)) {
            return (gave_up, Err(Errno::EAGAIN));
        }
        (gave_up, flocks.0.try_push(Flock { owner, kind }).map_err(|_| Errno::ENOLCK))
    }

    /// Unlocks what `owner` has, if anything.
    pub(super) fn remove_flock(&self, owner: usize) {
        let removed = {
            let mut lists = self.lists.lock();
            let at = lists.flocks.position(owner);
            at.and_then(|at| lists.flocks.0.swap_remove(at)).is_some()
        };
        if removed {
            self.unlocked();
        }
    }
}

/// Locks the file behind `file` or, with `None`, unlocks it. EAGAIN without `wait`, ERESTARTSYS, ENOLCK.
pub async fn flock(file: &File, kind: Option<Kind>, wait: bool) -> Result<(), Errno> {
    let owner = file_id(file);
    let Some(kind) = kind else {
        if let Some(context) = file.inode().locks() {
            context.remove_flock(owner);
        }
        return Ok(());
    };
    let context = file.inode().locks_or_new()?;
    let attempt = || {
        let (gave_up, result) = context.try_flock(owner, kind);
        if gave_up {
            context.unlocked();
        }
        if result == Err(Errno::EAGAIN) && wait { None } else { Some(result) }
    };
    let waited = context.wait.wait_until(wait_site!("flock_lock_inode_wait"), WaitMode::Interruptible, attempt).await;
    waited.unwrap_or(Err(Errno::ERESTARTSYS))
}
