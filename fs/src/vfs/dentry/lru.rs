//! The list of all cached dentries, oldest first, and the shrinker that goes through it (Linux: `s_dentry_lru`,
//! `prune_dcache_sb`).
//!
//! What was used since the last look goes to the end once more; what somebody holds goes there, too; the rest leaves the
//! cache. The list holds no references: a dentry is on it exactly while it is in a chain. Its lock comes after a chain's.

use super::{Dentry, USED, cached, evict};
use core::cell::Cell;
use core::ptr::{NonNull, null};
use core::sync::atomic::Ordering::Relaxed;
use vigil_executor::sync::{LockClass, SpinLock};
use vigil_mem::KArc;
use vigil_mem::page_alloc::{Gfp, Shrinker};

/// Dentries that are looked at under one hold of the lock.
const BATCH: usize = 16;

/// A dentry's neighbours. Guarded by the list's lock.
pub(super) struct Links {
    prev: Cell<*const Dentry>,
    next: Cell<*const Dentry>,
}

impl Links {
    pub(super) const fn new() -> Links {
        Links { prev: Cell::new(null()), next: Cell::new(null()) }
    }
}

struct List {
    first: *const Dentry,
    last: *const Dentry,
}

// SAFETY: the pointers lead to dentries that are cached, and so alive; they are followed under the lock only.
unsafe impl Send for List {}

static CLASS: LockClass = LockClass::new("d_lru");
static LIST: SpinLock<List> = SpinLock::new(&CLASS, List { first: null(), last: null() });

impl List {
    fn push(&mut self, dentry: &Dentry) {
        dentry.lru.prev.set(self.last);
        dentry.lru.next.set(null());
        // SAFETY: what is on the list is alive, and its links are guarded by the lock that guards `self`.
        match unsafe { self.last.as_ref() } {
            Some(last) => last.lru.next.set(dentry),
            None => self.first = dentry,
        }
        self.last = dentry;
    }

    fn unlink(&mut self, dentry: &Dentry) {
        let (prev, next) = (dentry.lru.prev.get(), dentry.lru.next.get());
        // SAFETY: as in `push`.
        unsafe {
            match prev.as_ref() {
                Some(p) => p.lru.next.set(next),
                None => self.first = next,
            }
            match next.as_ref() {
                Some(n) => n.lru.prev.set(prev),
                None => self.last = prev,
            }
        }
    }
}

/// `dentry` comes into a chain, whose lock is held.
pub(super) fn add(dentry: &Dentry) {
    LIST.lock().push(dentry);
}

/// `dentry` has left its chain, whose lock is held.
pub(super) fn remove(dentry: &Dentry) {
    LIST.lock().unlink(dentry);
}

/// Looks at the `nr` oldest dentries and drops those that nobody holds and, unless `all`, nobody has used since the last
/// look; returns how many. Takes chains' locks: not under any lock of this module.
pub(super) fn age(nr: usize, all: bool) -> usize {
    let mut freed = 0;
    let mut left = nr;
    while left > 0 {
        let mut batch = [const { None }; BATCH];
        let looked = pick(&mut batch[..left.min(BATCH)], all);
        if looked == 0 {
            break;
        }
        left -= looked;
        for dentry in batch.iter_mut().filter_map(Option::take) {
            // Both references go here, outside of all locks: the inode may go with the second.
            freed += usize::from(evict(&dentry).is_some());
        }
    }
    freed
}

/// Moves the oldest dentries to the end of the list, as many as there are slots, and fills in those that may go. How many
/// were looked at.
fn pick(slots: &mut [Option<KArc<Dentry>>], all: bool) -> usize {
    let mut list = LIST.lock();
    let mut looked = 0;
    for slot in slots {
        let Some(oldest) = NonNull::new(list.first.cast_mut()) else { break };
        looked += 1;
        // SAFETY: on the list, hence in a chain, which holds a reference as long as the list is locked.
        let dentry = unsafe { oldest.as_ref() };
        list.unlink(dentry);
        list.push(dentry);
        let used = dentry.flags.fetch_and(!USED, Relaxed) & USED != 0;
        // SAFETY: as above: the count is at least one, and every dentry is in a `KArc`.
        let counted = unsafe {
            KArc::increment_strong_count(oldest.as_ptr());
            KArc::from_raw(oldest.as_ptr())
        };
        // The chain's reference and ours.
        if KArc::strong_count(&counted) == 2 && (all || !used) {
            *slot = Some(counted);
        }
    }
    looked
}

/// The dentry cache as an owner of memory that can be given up.
pub struct DentryShrinker;

/// To be registered with the page allocator.
pub static SHRINKER: DentryShrinker = DentryShrinker;

impl Shrinker for DentryShrinker {
    fn name(&self) -> &'static str {
        "dentry"
    }

    fn count(&self, gfp: Gfp) -> usize {
        // Dropping an inode enters its file system.
        if gfp.contains(Gfp::FS) { cached() as usize } else { 0 }
    }

    fn scan(&self, nr: usize, gfp: Gfp) -> usize {
        if gfp.contains(Gfp::FS) { age(nr, false) } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::super::lookup;
    use super::*;
    use crate::vfs::tests::World;
    use vigil_abi::fcntl::{O_CREAT, O_RDWR};

    #[test]
    fn what_nobody_holds_is_dropped_and_found_again() {
        let w = World::new("dentry-lru");
        let held = w.open("held", O_CREAT | O_RDWR).unwrap();
        drop(w.open("idle", O_CREAT | O_RDWR).unwrap());
        w.mkdir("dir").unwrap();
        let below = w.open("dir/file", O_CREAT | O_RDWR).unwrap();
        let dir = held.path().dentry.parent().unwrap();
        // Other tests fill the cache meanwhile: so many that everything of ours is looked at.
        let all = || 2 * cached() as usize + 1000;
        // The first look takes the mark of use away.
        age(all(), false);
        age(all(), false);
        assert!(lookup(&dir, b"idle").is_none(), "nobody holds it");
        assert!(lookup(&dir, b"held").is_some() && lookup(&dir, b"dir").is_some(), "a file and what is below hold them");
        assert!(w.at("idle").is_ok(), "the file system still knows it");
        drop(below);
        age(all(), true);
        age(all(), true);
        assert!(lookup(&dir, b"dir").is_none());
        assert!(SHRINKER.count(Gfp::KERNEL) > 0 && SHRINKER.count(Gfp::NOFS) == 0);
    }
}
