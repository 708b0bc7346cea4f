//! Record locks: setting, testing, waiting (Linux: fcntl_setlk, posix_lock_inode, posix_locks_deadlock).
//!
//! Who waits for a POSIX lock stands in a list of "this owner waits for that one" while it does. A new wait that would
//! close a circle is refused. An entry goes when a lock of the file is given up: its waiter is awake then and looks again,
//! so it waits for nobody, and the one who unlocked may wait for it without a deadlock.

use super::range::Record;
use super::{LockContext, Owner};
use crate::vfs::file::File;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use vigil_abi::Errno;
use vigil_executor::sync::{LockClass, SpinLock};
use vigil_executor::wait::WaitMode;
use vigil_executor::wait_site;
use vigil_mem::KVec;

/// A wait that is under way.
struct Blocked {
    /// The waiter's number.
    id: u64,
    context: usize,
    owner: Owner,
    /// Who holds what it waits for.
    on: Owner,
}

static CLASS: LockClass = LockClass::new("blocked_locks");
static BLOCKED: SpinLock<KVec<Blocked>> = SpinLock::new(&CLASS, KVec::new());
static NEXT: AtomicU64 = AtomicU64::new(1);

/// Steps after which a circle is no longer looked for (Linux: MAX_DEADLK_ITERATIONS).
const MAX_STEPS: usize = 10;

/// The waiters of `context` are about to look again.
pub(super) fn forget_waiters(context: &LockContext) {
    let context = core::ptr::from_ref(context).addr();
    BLOCKED.lock().retain(|blocked| blocked.context != context);
}

/// A wait's entry in the list, for as long as it lasts.
struct Waiter {
    id: u64,
    listed: AtomicBool,
}

impl Waiter {
    fn new() -> Waiter {
        Waiter { id: NEXT.fetch_add(1, Relaxed), listed: AtomicBool::new(false) }
    }

    /// `owner` waits for `on`. EDEADLK if `on` waits, through others, for `owner`; ENOLCK without memory. OFD locks are not
    /// looked after: their owner is no process that could be stuck.
    fn block(&self, context: &LockContext, owner: Owner, on: Owner) -> Result<(), Errno> {
        if matches!(owner, Owner::File(_)) {
            return Ok(());
        }
        let mut blocked = BLOCKED.lock();
        blocked.retain(|entry| entry.id != self.id);
        let mut at = on;
        for _ in 0..MAX_STEPS {
            let Some(next) = blocked.iter().find(|entry| entry.owner == at) else { break };
            at = next.on;
            if at == owner {
                return Err(Errno::EDEADLK);
            }
        }
        let context = core::ptr::from_ref(context).addr();
        self.listed.store(true, Relaxed);
        blocked.try_push(Blocked { id: self.id, context, owner, on }).map_err(|_| Errno::ENOLCK)
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        if self.listed.load(Relaxed) {
            BLOCKED.lock().retain(|blocked| blocked.id != self.id);
        }
    }
}

impl LockContext {
    /// One attempt. `Ok(false)`: `waiter` must wait. EAGAIN without one.
    fn try_record(&self, wanted: &Record, waiter: Option<&Waiter>) -> Result<bool, Errno> {
        let weaker = {
            let mut lists = self.lists.lock();
            if let Some(held) = lists.records.conflict(wanted) {
                let waiter = waiter.ok_or(Errno::EAGAIN)?;
                waiter.block(self, wanted.owner, held.owner)?;
                return Ok(false);
            }
            lists.records.set(wanted).map_err(|_| Errno::ENOLCK)?
        };
        if weaker {
            self.unlocked();
        }
        Ok(true)
    }

    /// Removes all record locks of `owner`.
    pub(super) fn remove_records(&self, owner: Owner) {
        let removed = self.lists.lock().records.remove(owner);
        if removed {
            self.unlocked();
        }
    }
}

/// What would keep `wanted` from being set now (F_GETLK).
pub fn test(file: &File, wanted: &Record) -> Option<Record> {
    file.inode().locks()?.lists.lock().records.conflict(wanted)
}

/// Unlocks a range. ENOLCK without memory to make two locks of one.
pub fn unlock(file: &File, owner: Owner, start: u64, end: u64) -> Result<(), Errno> {
    let Some(context) = file.inode().locks() else { return Ok(()) };
    let cleared = context.lists.lock().records.clear(owner, start, end).map_err(|_| Errno::ENOLCK)?;
    if cleared {
        context.unlocked();
    }
    Ok(())
}

/// Locks a range. EAGAIN without `wait` if somebody else's lock is in the way; with it EDEADLK, or ERESTARTSYS for a signal.
/// ENOLCK.
pub async fn lock(file: &File, wanted: Record, wait: bool) -> Result<(), Errno> {
    let context = file.inode().locks_or_new()?;
    if !wait {
        return context.try_record(&wanted, None).map(|_| ());
    }
    let waiter = Waiter::new();
    let attempt = || match context.try_record(&wanted, Some(&waiter)) {
        Ok(true) => Some(Ok(())),
        Ok(false) => None,
        Err(errno) => Some(Err(errno)),
    };
    let waited = context.wait.wait_until(wait_site!("fcntl_setlk"), WaitMode::Interruptible, attempt).await;
    waited.unwrap_or(Err(Errno::ERESTARTSYS))
}
