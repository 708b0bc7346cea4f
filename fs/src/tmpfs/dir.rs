//! A directory's entries in memory: found by name through their hashes, listed newest first (as Linux's tmpfs lists
//! them), with positions that stay valid while entries come and go.
//!
//! Each entry gets a cookie when it is made, smaller than all before it, and a position in a listing is "the smallest cookie not
//! yet seen". Both orders, by cookie and by hash, are [`Chunks`]: all of this happens under the directory's spin lock, and a table
//! that grows at once would keep preemption off for as long as it is large.

use super::chunks::{Chunks, Place};
use crate::vfs::dentry::hash_name;
use crate::vfs::inode::Inode;
use vigil_abi::Errno;
use vigil_mem::{KArc, KVec};

/// The first cookie; a directory can see as many entries in its life.
const FIRST_COOKIE: u64 = 1 << 62;

struct Entry {
    cookie: u64,
    hash: u32,
    name: KVec<u8>,
    inode: KArc<Inode>,
}

/// The entries of one directory.
pub struct DirTable {
    /// By falling cookies.
    entries: Chunks<Entry>,
    /// Hash and cookie of each, by rising hashes.
    index: Chunks<(u32, u64)>,
    /// The last one given.
    cookie: u64,
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
    #[expect(clippy::new_without_default, reason = "const")]
    pub const fn new() -> DirTable {
        DirTable { entries: Chunks::new(), index: Chunks::new(), cookie: FIRST_COOKIE }
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Finds `name`.
    pub fn get(&self, name: &[u8]) -> Option<&KArc<Inode>> {
        Some(&self.entries.get(self.place(name)?.1)?.inode)
    }

    /// Where `name` is: in the index, and itself.
    fn place(&self, name: &[u8]) -> Option<(Place, Place)> {
        let hash = hash_name(name);
        let mut at = self.index.find(|(other, _)| *other < hash);
        loop {
            let (_, cookie) = *self.index.get(at).filter(|(other, _)| *other == hash)?;
            let entry = self.with_cookie(cookie);
            if self.entries.get(entry).is_some_and(|entry| *entry.name == *name) {
                return Some((at, entry));
            }
            at = self.index.after(at);
        }
    }

    fn with_cookie(&self, cookie: u64) -> Place {
        self.entries.find(|entry| entry.cookie > cookie)
    }

    /// Adds `name`, which is not there. ENOMEM before any change.
    pub fn insert(&mut self, name: &[u8], inode: KArc<Inode>) -> Result<(), Errno> {
        let (name, hash, cookie) = (KVec::try_from_slice(name)?, hash_name(name), self.cookie - 1);
        let at = self.index.find(|(other, _)| *other < hash);
        self.index.insert(at, (hash, cookie))?;
        let end = self.with_cookie(cookie);
        if let Err(error) = self.entries.insert(end, Entry { cookie, hash, name, inode }) {
            self.unindex(hash, cookie);
            return Err(error.into());
        }
        self.cookie = cookie;
        Ok(())
    }

    fn unindex(&mut self, hash: u32, cookie: u64) {
        let mut at = self.index.find(|(other, _)| *other < hash);
        while let Some((other, of)) = self.index.get(at)
            && *other == hash
        {
            if *of == cookie {
                self.index.remove(at);
                return;
            }
            at = self.index.after(at);
        }
    }

    /// Removes `name`; what it was.
    pub fn remove(&mut self, name: &[u8]) -> Option<KArc<Inode>> {
        let (index, entry) = self.place(name)?;
        self.index.remove(index);
        Some(self.entries.remove(entry)?.inode)
    }

    /// Lets `name`, which is there, stand for `inode`; what it was before.
    pub fn replace(&mut self, name: &[u8], inode: KArc<Inode>) -> Option<KArc<Inode>> {
        let (_, at) = self.place(name)?;
        Some(core::mem::replace(&mut self.entries.get_mut(at)?.inode, inode))
    }

    /// The first entry at or after `position`.
    pub fn next(&self, position: u64) -> Option<Listed<'_>> {
        // Falling cookies: the candidates are in front of this place, the smallest of them last.
        let end = self.entries.find(|entry| entry.cookie >= position);
        let entry = self.entries.get(self.entries.before(end)?)?;
        Some(Listed { next: entry.cookie + 1, name: &entry.name, inode: &entry.inode })
    }

    /// Takes out any entry.
    pub fn pop(&mut self) -> Option<KArc<Inode>> {
        let (hash, cookie) = self.entries.last().map(|entry| (entry.hash, entry.cookie))?;
        self.unindex(hash, cookie);
        let at = self.with_cookie(cookie);
        Some(self.entries.remove(at)?.inode)
    }
}
