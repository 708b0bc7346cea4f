//! Advisory locks on files: flock(2), record locks of fcntl(2), open-file-description locks (Linux: fs/locks.c).
//!
//! An inode gets a [`LockContext`] with its first lock and keeps it. Whoever must wait does so on the context's queue and
//! looks again after each unlock; nothing is handed over, as on Linux.
//!
//! | file | what |
//! |---|---|
//! | [`range`] | the record locks of one file as a list of ranges: pure |
//! | [`record`] | setting, testing and removing them; waiting, and who waits for whom |
//! | [`flock`] | locks on whole files, which belong to an open file |
//!
//! Locks, from the outside in: `file_locks` (an inode's lists) → `blocked_locks` (the graph of waiters). Both are leaves for
//! everybody else; wakes happen after both were let go.

pub mod flock;
pub mod range;
pub mod record;

use super::file::File;
use super::inode::Inode;
use flock::FlockList;
use range::RecordList;
use vigil_executor::sync::{LockClass, SpinLock};
use vigil_executor::wait::WaitQueue;

/// Who holds a record lock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Owner {
    /// The processes that share this descriptor table: POSIX locks.
    Table(usize),
    /// An open file: OFD locks.
    File(usize),
}

/// Shared or exclusive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Any number of these, and no exclusive one.
    Read,
    /// Alone.
    Write,
}

impl Kind {
    fn conflicts(self, other: Kind) -> bool {
        self == Kind::Write || other == Kind::Write
    }
}

#[derive(Default)]
struct Lists {
    records: RecordList,
    flocks: FlockList,
}

/// The locks on one inode.
pub struct LockContext {
    lists: SpinLock<Lists>,
    wait: WaitQueue,
}

static CLASS: LockClass = LockClass::new("file_locks");

impl Default for LockContext {
    fn default() -> LockContext {
        LockContext { lists: SpinLock::new(&CLASS, Lists::default()), wait: WaitQueue::new() }
    }
}

impl LockContext {
    /// Something was unlocked or weakened: who waits here looks again, and until it has, it waits for nobody.
    fn unlocked(&self) {
        if self.wait.has_waiters() {
            record::forget_waiters(self);
            self.wait.wake_all();
        }
    }
}

/// What goes with the last reference to an open file: its flock, its OFD locks.
#[inline]
pub(super) fn remove_of_file(file: &File) {
    if let Some(context) = file.inode().locks() {
        context.remove_flock(file_id(file));
        context.remove_records(Owner::File(file_id(file)));
    }
}

/// What goes with each close of a descriptor of `inode`: the record locks of the table's processes.
pub fn remove_of_table(inode: &Inode, table: Owner) {
    if let Some(context) = inode.locks() {
        context.remove_records(table);
    }
}

/// An open file's name as an owner.
pub fn file_id(file: &File) -> usize {
    core::ptr::from_ref(file).addr()
}
