//! Directories with entries that others add, at boot or when a device comes.

use super::{Node, NodeSink, SeqBuf};
use crate::vfs::ops::{Link, OpResult, Stop};
use vigil_abi::Errno;
use vigil_abi::stat::{S_IFDIR, S_IFLNK, S_IFREG};
use vigil_executor::sync::{LockClass, SpinLock};
use vigil_mem::{KArc, KVec};

/// Entries that a listing takes under the lock at once.
const TURN: usize = 16;

struct Entry {
    name: KVec<u8>,
    node: KArc<dyn Node>,
    /// The same node, if it is a `StaticDir`: more can be put into it.
    dir: Option<StaticDir>,
}

struct Inner {
    mode: u32,
    entries: SpinLock<KVec<Entry>>,
}

/// A directory that is filled from outside. Clones are the same directory.
#[derive(Clone)]
pub struct StaticDir(KArc<Inner>);

static CLASS: LockClass = LockClass::new("static_dir");

impl StaticDir {
    /// An empty directory with permissions `mode`.
    pub fn try_new(mode: u32) -> Result<StaticDir, Errno> {
        Ok(StaticDir(KArc::try_new(Inner { mode: S_IFDIR | mode, entries: SpinLock::new(&CLASS, KVec::new()) })?))
    }

    /// The directory as a node.
    pub fn node(&self) -> KArc<dyn Node> {
        vigil_mem::unsize!(KArc, self.0.clone() => dyn Node)
    }

    /// Adds `node` under `path`, whose directories are made as need be. EEXIST, ENOTDIR, ENOMEM.
    pub fn add(&self, path: &str, node: KArc<dyn Node>) -> Result<(), Errno> {
        let (dir, name) = self.dir_of(path)?;
        dir.put(name.as_bytes(), node, None)
    }

    /// The directory `path`, made if need be, with the permissions of the one above.
    pub fn subdir(&self, path: &str) -> Result<StaticDir, Errno> {
        let mut at = self.clone();
        for part in path.split('/').filter(|part| !part.is_empty()) {
            let known = at.0.entries.lock().iter().find(|entry| *entry.name == *part.as_bytes()).map(|entry| entry.dir.clone());
            at = match known {
                Some(Some(dir)) => dir,
                Some(None) => return Err(Errno::ENOTDIR),
                None => {
                    let new = StaticDir::try_new(at.0.mode & 0o7777)?;
                    at.put(part.as_bytes(), new.node(), Some(new.clone()))?;
                    new
                }
            };
        }
        Ok(at)
    }

    fn dir_of<'p>(&self, path: &'p str) -> Result<(StaticDir, &'p str), Errno> {
        match path.rsplit_once('/') {
            Some((dirs, name)) => Ok((self.subdir(dirs)?, name)),
            None => Ok((self.clone(), path)),
        }
    }

    fn put(&self, name: &[u8], node: KArc<dyn Node>, dir: Option<StaticDir>) -> Result<(), Errno> {
        let name = KVec::try_from_slice(name)?;
        let mut entries = self.0.entries.lock();
        if entries.iter().any(|entry| *entry.name == *name) {
            return Err(Errno::EEXIST);
        }
        Ok(entries.try_push(Entry { name, node, dir })?)
    }

    /// Removes what is under `path`. ENOENT.
    pub fn remove(&self, path: &str) -> Result<(), Errno> {
        let (dir, name) = self.dir_of(path)?;
        let mut entries = dir.0.entries.lock();
        let at = entries.iter().position(|entry| *entry.name == *name.as_bytes()).ok_or(Errno::ENOENT)?;
        let gone = entries.remove(at);
        drop(entries);
        drop(gone);
        Ok(())
    }

    /// Adds a file whose contents `show` generates.
    pub fn add_file(&self, path: &str, mode: u32, show: fn(&mut SeqBuf) -> Result<(), Errno>) -> Result<(), Errno> {
        self.add_file_rw(path, mode, show, |_| Err(Errno::EIO))
    }

    /// Adds a file that can be written as well.
    pub fn add_file_rw(
        &self,
        path: &str,
        mode: u32,
        show: fn(&mut SeqBuf) -> Result<(), Errno>,
        store: fn(&[u8]) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        let node = KArc::try_new(FnFile { mode: S_IFREG | mode, show, store })?;
        self.add(path, vigil_mem::unsize!(KArc, node => dyn Node))
    }

    /// Adds a symbolic link.
    pub fn add_link(&self, path: &str, target: fn() -> Result<KVec<u8>, Errno>) -> Result<(), Errno> {
        let node = KArc::try_new(FnLink { target })?;
        self.add(path, vigil_mem::unsize!(KArc, node => dyn Node))
    }

    /// The entry called `name`.
    pub fn find(&self, name: &[u8]) -> Option<KArc<dyn Node>> {
        self.0.find(name)
    }

    /// Lists entries from the `from`-th on; positions are counted from there. False: `sink` was full.
    pub fn list_from(&self, from: u64, sink: &mut dyn NodeSink) -> bool {
        self.0.list_from(from, sink)
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.0.entries.lock().len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Node for Inner {
    fn mode(&self) -> u32 {
        self.mode
    }

    fn nlink(&self) -> u32 {
        2 + self.entries.lock().iter().filter(|entry| entry.dir.is_some()).count() as u32
    }

    fn lookup(&self, name: &[u8]) -> Result<Option<KArc<dyn Node>>, Errno> {
        Ok(self.find(name))
    }

    fn list(&self, from: u64, sink: &mut dyn NodeSink) -> Result<(), Errno> {
        self.list_from(from, sink);
        Ok(())
    }
}

impl Inner {
    fn find(&self, name: &[u8]) -> Option<KArc<dyn Node>> {
        self.entries.lock().iter().find(|entry| *entry.name == *name).map(|entry| entry.node.clone())
    }

    fn list_from(&self, from: u64, sink: &mut dyn NodeSink) -> bool {
        let mut from = from;
        loop {
            let entries = self.entries.lock();
            let first = usize::try_from(from).unwrap_or(usize::MAX).min(entries.len());
            let some = &entries[first..entries.len().min(first + TURN)];
            if !some.iter().zip(from..).all(|(entry, at)| sink.entry(&entry.name, entry.node.mode(), at + 1)) {
                return false;
            }
            if first + some.len() == entries.len() {
                return true;
            }
            from += some.len() as u64;
        }
    }
}

/// A file made of functions.
struct FnFile {
    mode: u32,
    show: fn(&mut SeqBuf) -> Result<(), Errno>,
    store: fn(&[u8]) -> Result<(), Errno>,
}

impl Node for FnFile {
    fn mode(&self) -> u32 {
        self.mode
    }

    fn show<'a>(&'a self, out: &mut SeqBuf) -> OpResult<'a, ()> {
        (self.show)(out).map_err(Stop::Err)
    }

    fn store<'a>(&'a self, data: &[u8]) -> OpResult<'a, usize> {
        (self.store)(data).map_err(Stop::Err)?;
        Ok(data.len())
    }
}

/// A link made of a function.
struct FnLink {
    target: fn() -> Result<KVec<u8>, Errno>,
}

impl Node for FnLink {
    fn mode(&self) -> u32 {
        S_IFLNK | 0o777
    }

    fn follow(&self) -> Result<Link, Errno> {
        Ok(Link::Text((self.target)()?))
    }
}
