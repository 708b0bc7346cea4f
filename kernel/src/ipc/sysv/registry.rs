//! The objects of one kind, by number and by key (Linux: ipc/util.c).

use super::numbers::{MAX_OBJECTS, Slots, index_of};
use super::perm::{Perm, READ};
use crate::task::thread::Thread;
use core::sync::atomic::{AtomicI32, Ordering::Relaxed};
use vigil_abi::Errno;
use vigil_abi::ipc::{IPC_CREAT, IPC_EXCL, IPC_STAT};
use vigil_executor::sync::{LockClass, SpinLock};
use vigil_mem::KArc;

/// An object.
pub trait Object: Send + Sync {
    /// Whose it is.
    fn perm(&self) -> &Perm;
}

/// The objects of one kind.
pub struct Registry<T> {
    table: SpinLock<Slots<(i32, KArc<T>)>>,
    /// How many there may be.
    pub limit: AtomicI32,
}

impl<T: Object> Registry<T> {
    /// None; there may be `limit`.
    pub const fn new(class: &'static LockClass, limit: i32) -> Registry<T> {
        Registry { table: SpinLock::new(class, Slots::new()), limit: AtomicI32::new(limit) }
    }

    /// The object numbered `id`. EINVAL.
    pub fn find(&self, id: i32) -> Result<KArc<T>, Errno> {
        let table = self.table.lock();
        match table.get(index_of(id)) {
            Some((known, object)) if *known == id && id >= 0 => Ok(object.clone()),
            _ => Err(Errno::EINVAL),
        }
    }

    /// The object numbered `id`, of which `thread` is the owner or the maker. EINVAL, EPERM.
    pub fn find_owned(&self, thread: &Thread, id: i32) -> Result<KArc<T>, Errno> {
        let object = self.find(id)?;
        object.perm().check_owner(thread)?;
        Ok(object)
    }

    /// The object that the command of a semctl(2) and its like asks about, and the call's result: for IPC_STAT the one numbered `id`,
    /// otherwise the one at that index, its number being the result. All but the command `any` ask whether `thread` may read it.
    /// EINVAL, EACCES.
    pub fn asked(&self, thread: &Thread, id: i32, command: u32, any: u32) -> Result<(KArc<T>, usize), Errno> {
        let (object, result) = if command == IPC_STAT {
            (self.find(id)?, 0)
        } else {
            let (number, object) = self.find_index(id)?;
            (object, number as usize)
        };
        if command != any {
            object.perm().check(thread, READ)?;
        }
        Ok((object, result))
    }

    /// The object at the index in `id`, and its number. EINVAL.
    fn find_index(&self, id: i32) -> Result<(i32, KArc<T>), Errno> {
        if id < 0 {
            return Err(Errno::EINVAL);
        }
        self.table.lock().get(index_of(id)).cloned().ok_or(Errno::EINVAL)
    }

    /// All objects with their numbers; the table is not locked between two of them.
    pub fn objects(&self) -> impl Iterator<Item = (i32, KArc<T>)> + '_ {
        let mut from = 0;
        core::iter::from_fn(move || {
            let (index, id, object) = self.next(from)?;
            from = index + 1;
            Some((id, object))
        })
    }

    /// The first object at an index of at least `from`: the index, the number, the object.
    fn next(&self, from: usize) -> Option<(usize, i32, KArc<T>)> {
        let table = self.table.lock();
        (from..table.highest()? + 1).find_map(|at| table.get(at).map(|(id, object)| (at, *id, object.clone())))
    }

    /// How many there are, and the highest index; 0 if there is none.
    pub fn count(&self) -> (usize, usize) {
        let table = self.table.lock();
        (table.in_use(), table.highest().unwrap_or(0))
    }

    /// semget(2), shmget(2), msgget(2): the number of the object with this key, or of a new one that `make` makes. `fits` looks
    /// at one that exists. ENOENT, EEXIST, EACCES, ENOSPC, and what `fits` and `make` answer.
    pub fn get(
        &self,
        thread: &Thread,
        key: i32,
        flags: u32,
        fits: impl Fn(&T) -> Result<(), Errno>,
        mut make: impl FnMut() -> Result<KArc<T>, Errno>,
    ) -> Result<i32, Errno> {
        let mut new: Option<KArc<T>> = None;
        loop {
            let mut table = self.table.lock();
            let found = table.iter().find(|(_, object)| key != 0 && object.perm().key() == key).cloned();
            if let Some((id, object)) = found {
                drop(table);
                if flags & (IPC_CREAT | IPC_EXCL) == IPC_CREAT | IPC_EXCL {
                    return Err(Errno::EEXIST);
                }
                fits(&object)?;
                object.perm().check(thread, flags)?;
                return Ok(id);
            }
            if key != 0 && flags & IPC_CREAT == 0 {
                return Err(Errno::ENOENT);
            }
            let Some(object) = new.take() else {
                drop(table);
                new = Some(make()?);
                continue;
            };
            let limit = usize::try_from(self.limit.load(Relaxed)).unwrap_or(0).min(MAX_OBJECTS);
            if table.in_use() >= limit {
                drop(table);
                return Err(Errno::ENOSPC);
            }
            let added = table.add(|id| {
                object.perm().set_id(id);
                (id, object)
            });
            drop(table);
            return added?.ok_or(Errno::ENOSPC);
        }
    }

    /// Takes the object numbered `id` out. `false`: it was not there any more.
    pub fn remove(&self, id: i32) -> bool {
        let mut table = self.table.lock();
        if table.get(index_of(id)).is_none_or(|(known, _)| *known != id) {
            return false;
        }
        let gone = (table.remove(index_of(id)), table.take_memory());
        drop(table);
        drop(gone);
        true
    }
}
