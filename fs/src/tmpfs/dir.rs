//! A directory's entries in memory: found by name through a hash index, listed newest first (as Linux's tmpfs lists
//! them), with positions that stay valid while entries come and go.
//!
//! Each entry gets a cookie when it is made, smaller than all before it; the vector is therefore sorted by falling
//! cookies, and a position in a listing is "the smallest cookie not yet seen". Removed entries leave a gap that is
//! closed when half of the vector is gaps.

use crate::vfs::dentry::hash_name;
use crate::vfs::inode::Inode;
use vigil_abi::Errno;
use vigil_mem::{KArc, KVec};

/// Below this many entries a search looks at all.
const LINEAR: usize = 16;
/// The first cookie; a directory can see as many entries in its life.
const FIRST_COOKIE: u64 = 1 << 62;
const FREE: u32 = u32::MAX;

struct Entry {
    cookie: u64,
    hash: u32,
    name: KVec<u8>,
    /// `None`: removed.
    inode: Option<KArc<Inode>>,
}

/// The entries of one directory.
#[derive(Default)]
pub struct DirTable {
    entries: KVec<Entry>,
    live: usize,
    /// Open addressing, a power of two of slots: places in `entries`. Empty for small directories.
    index: KVec<u32>,
}

/// An entry as a listing sees it.
pub struct Listed<'d> {
    /// Position after it.
    pub next: u64,
    /// Its name.
    pub name: &'d [u8],
    /// What it is.
    pub inode: &'d KArc<Inode>,
}

impl DirTable {
    /// An empty one.
    pub const fn new() -> DirTable {
        DirTable { entries: KVec::new(), live: 0, index: KVec::new() }
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.live
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// Finds `name`.
    pub fn get(&self, name: &[u8]) -> Option<&KArc<Inode>> {
        self.entries.get(self.place(name)?)?.inode.as_ref()
    }

    fn place(&self, name: &[u8]) -> Option<usize> {
        let hash = hash_name(name);
        let is_it = |entry: &Entry| entry.hash == hash && entry.inode.is_some() && *entry.name == *name;
        if self.index.is_empty() {
            return self.entries.iter().position(is_it);
        }
        let mask = self.index.len() - 1;
        let mut at = hash as usize & mask;
        while self.index[at] != FREE {
            let place = self.index[at] as usize;
            if self.entries.get(place).is_some_and(is_it) {
                return Some(place);
            }
            at = (at + 1) & mask;
        }
        None
    }

    /// Adds `name`, which is not there. ENOMEM before any change.
    pub fn insert(&mut self, name: &[u8], inode: KArc<Inode>) -> Result<(), Errno> {
        let name = KVec::try_from_slice(name)?;
        if self.entries.len() >= 2 * self.live.max(LINEAR) {
            self.compact();
        }
        self.entries.try_reserve(1)?;
        let wanted = self.entries.len() + 1;
        if wanted > LINEAR && 2 * wanted > self.index.len() {
            self.reindex(4 * wanted.next_power_of_two())?;
        }
        let cookie = self.entries.last().map_or(FIRST_COOKIE, |last| last.cookie) - 1;
        let entry = Entry { cookie, hash: hash_name(&name), name, inode: Some(inode) };
        if !self.index.is_empty() {
            add_to_index(&mut self.index, entry.hash, self.entries.len());
        }
        let _ = self.entries.push_reserved(entry);
        self.live += 1;
        Ok(())
    }

    /// Removes `name`; what it was.
    pub fn remove(&mut self, name: &[u8]) -> Option<KArc<Inode>> {
        let place = self.place(name)?;
        let inode = self.entries[place].inode.take()?;
        self.entries[place].name = KVec::new();
        self.live -= 1;
        // Cookies must not come again while somebody lists, so the last gap stays until something else is removed.
        Some(inode)
    }

    /// Lets `name`, which is there, stand for `inode`; what it was before.
    pub fn replace(&mut self, name: &[u8], inode: KArc<Inode>) -> Option<KArc<Inode>> {
        let place = self.place(name)?;
        self.entries[place].inode.replace(inode)
    }

    /// The first entry at or after `position`.
    pub fn next(&self, position: u64) -> Option<Listed<'_>> {
        // Falling cookies: the candidates are in front of this place, the smallest of them last.
        let end = self.entries.partition_point(|entry| entry.cookie >= position);
        let entry = self.entries[..end].iter().rev().find(|entry| entry.inode.is_some())?;
        Some(Listed { next: entry.cookie + 1, name: &entry.name, inode: entry.inode.as_ref()? })
    }

    /// Takes out any entry.
    pub fn pop(&mut self) -> Option<KArc<Inode>> {
        loop {
            let entry = self.entries.pop()?;
            if entry.inode.is_some() {
                self.live -= 1;
                return entry.inode;
            }
        }
    }

    /// Closes the gaps. The newest entry stays even if removed, because it holds the last cookie.
    fn compact(&mut self) {
        let newest = self.entries.last().map(|entry| entry.cookie);
        self.entries.retain(|entry| entry.inode.is_some() || Some(entry.cookie) == newest);
        let slots = self.index.len();
        for slot in self.index.iter_mut() {
            *slot = FREE;
        }
        if slots != 0 {
            for (place, entry) in self.entries.iter().enumerate() {
                add_to_index(&mut self.index, entry.hash, place);
            }
        }
    }

    fn reindex(&mut self, slots: usize) -> Result<(), Errno> {
        let mut index = KVec::new();
        index.try_resize(slots, FREE)?;
        for (place, entry) in self.entries.iter().enumerate() {
            add_to_index(&mut index, entry.hash, place);
        }
        self.index = index;
        Ok(())
    }
}

fn add_to_index(index: &mut [u32], hash: u32, place: usize) {
    let mask = index.len() - 1;
    let mut at = hash as usize & mask;
    while index[at] != FREE {
        at = (at + 1) & mask;
    }
    index[at] = place as u32;
}
