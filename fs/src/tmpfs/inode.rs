//! Inodes of tmpfs.

use super::dir::DirTable;
use super::file::{TmpDirFile, TmpFileOps};
use super::{STORE, TmpSuper};
use crate::cache::{PageRef, file as cached};
use crate::vfs::inode::{Inode, OpsRef, Setattr};
use crate::vfs::ops::{FileOps, InodeOps, Link, NewNode, OpResult, Opened, Rename, Stop};
use crate::vfs::superblock::SuperBlock;
use vigil_abi::Errno;
use vigil_abi::stat::{S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG};
use vigil_executor::sync::{LockClass, SpinLock};
use vigil_mem::{KArc, KBox, KVec};

/// What Linux counts as the size of a directory entry (BOGO_DIRENT_SIZE): programs see it in `ls -l`.
const DIRENT_SIZE: u64 = 20;

static DIR_CLASS: LockClass = LockClass::new("tmpfs_dir");

/// Makes an inode with no name. ENOSPC, ENOMEM.
pub fn new_inode(sb: &KArc<SuperBlock>, mode: u32, rdev: u32, target: &[u8]) -> Result<KArc<Inode>, Errno> {
    let counts = sb.ops().as_any().and_then(|any| any.downcast_ref::<TmpSuper>());
    if let Some(counts) = counts {
        counts.add_inode()?;
    }
    let made = build(sb, mode, rdev, target);
    if let (Err(_), Some(counts)) = (&made, counts) {
        counts.sub_inode();
    }
    made
}

fn build(sb: &KArc<SuperBlock>, mode: u32, rdev: u32, target: &[u8]) -> Result<KArc<Inode>, Errno> {
    let ino = sb.new_ino();
    let ops = match mode & S_IFMT {
        S_IFDIR => OpsRef::Own(vigil_mem::unsize!(KBox, KBox::try_new(TmpDir::new())? => dyn InodeOps)),
        S_IFLNK => {
            let link = TmpLink { target: KVec::try_from_slice(target)? };
            OpsRef::Own(vigil_mem::unsize!(KBox, KBox::try_new(link)? => dyn InodeOps))
        }
        S_IFREG => OpsRef::Static(&TMP_FILE),
        S_IFIFO => OpsRef::Own(crate::pipe::fifo_inode_ops()?),
        _ => OpsRef::Static(&TMP_SPECIAL),
    };
    let inode = Inode::try_new(sb, ino, mode, rdev, ops)?;
    match mode & S_IFMT {
        S_IFDIR => {
            inode.set_nlink(2);
            inode.set_size(2 * DIRENT_SIZE);
        }
        S_IFLNK => inode.set_size(target.len() as u64),
        _ => {}
    }
    Ok(inode)
}

/// What every inode of tmpfs does when it goes.
pub(crate) fn forget(inode: &Inode) {
    if let Some(sb) = TmpSuper::of(inode) {
        sb.sub_inode();
    }
}

/// A directory.
pub struct TmpDir {
    table: SpinLock<DirTable>,
    /// Links directories that are being dismantled, so that a deep tree needs no deep stack.
    doomed: SpinLock<Option<KArc<Inode>>>,
}

impl TmpDir {
    /// An empty one.
    #[expect(clippy::new_without_default, reason = "a directory belongs to an inode")]
    pub fn new() -> TmpDir {
        TmpDir { table: SpinLock::new(&DIR_CLASS, DirTable::new()), doomed: SpinLock::new(&DIR_CLASS, None) }
    }

    /// The directory's state.
    pub fn of(inode: &Inode) -> Option<&TmpDir> {
        inode.ops().as_any()?.downcast_ref()
    }

    /// Runs `f` on the table.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut DirTable) -> R) -> R {
        f(&mut self.table.lock())
    }

    /// Enters `inode` as `name`, which is not there. ENOMEM.
    pub fn add(&self, dir: &Inode, name: &[u8], inode: &KArc<Inode>) -> Result<(), Errno> {
        self.with(|table| table.insert(name, inode.clone()))?;
        dir.set_size(dir.size() + DIRENT_SIZE);
        dir.touch_mtime();
        Ok(())
    }

    /// Moves the entries out: files go, directories that nobody else holds join the list.
    fn dismantle(&self, list: &mut Option<KArc<Inode>>) {
        while let Some(child) = self.with(DirTable::pop) {
            if KArc::strong_count(&child) == 1
                && let Some(dir) = TmpDir::of(&child)
            {
                let next = list.take();
                *dir.doomed.lock() = next;
                *list = Some(child.clone());
            }
        }
    }
}

impl InodeOps for TmpDir {
    fn lookup<'a>(&'a self, _: &'a KArc<Inode>, name: &[u8]) -> OpResult<'a, Option<KArc<Inode>>> {
        Ok(self.with(|table| table.get(name).cloned()))
    }

    fn make<'a>(&'a self, dir: &'a KArc<Inode>, name: &[u8], node: &NewNode<'_>) -> OpResult<'a, KArc<Inode>> {
        let inode = self.tmpfile(dir, node)?;
        if inode.is_dir() {
            inode.set_nlink(2);
        } else {
            inode.set_nlink(1);
        }
        self.add(dir, name, &inode)?;
        if inode.is_dir() {
            dir.inc_nlink();
        }
        Ok(inode)
    }

    fn tmpfile<'a>(&'a self, dir: &'a KArc<Inode>, node: &NewNode<'_>) -> OpResult<'a, KArc<Inode>> {
        if node.target.len() >= vigil_abi::fcntl::PATH_MAX {
            return Err(Stop::Err(Errno::ENAMETOOLONG));
        }
        let inode = new_inode(dir.sb(), node.mode, node.rdev, node.target)?;
        inode.set_owner(node.uid, node.gid);
        inode.set_nlink(0);
        Ok(inode)
    }

    fn link<'a>(&'a self, dir: &'a KArc<Inode>, name: &[u8], inode: &KArc<Inode>) -> OpResult<'a, ()> {
        self.add(dir, name, inode)?;
        inode.inc_nlink();
        inode.touch_ctime();
        Ok(())
    }

    fn remove<'a>(&'a self, dir: &'a KArc<Inode>, name: &[u8], inode: &KArc<Inode>) -> OpResult<'a, ()> {
        if let Some(victim) = TmpDir::of(inode) {
            if !victim.with(|table| table.is_empty()) {
                return Err(Stop::Err(Errno::ENOTEMPTY));
            }
            inode.dec_nlink();
            dir.dec_nlink();
        }
        let removed = self.with(|table| table.remove(name));
        inode.dec_nlink();
        inode.touch_ctime();
        dir.set_size(dir.size().saturating_sub(DIRENT_SIZE));
        dir.touch_mtime();
        drop(removed);
        Ok(())
    }

    fn rename<'a>(&'a self, rename: &Rename<'_>) -> OpResult<'a, ()> {
        let Some(new_table) = TmpDir::of(rename.new_dir) else { return Err(Stop::Err(Errno::EXDEV)) };
        if rename.exchange {
            return self.exchange(new_table, rename);
        }
        match rename.victim {
            None => new_table.add(rename.new_dir, rename.new_name, rename.inode)?,
            Some(victim) => {
                if TmpDir::of(victim).is_some_and(|dir| !dir.with(|table| table.is_empty())) {
                    return Err(Stop::Err(Errno::ENOTEMPTY));
                }
                let old = new_table.with(|table| table.replace(rename.new_name, rename.inode.clone()));
                if victim.is_dir() {
                    victim.dec_nlink();
                    rename.new_dir.dec_nlink();
                }
                victim.dec_nlink();
                victim.touch_ctime();
                drop(old);
            }
        }
        let moved = self.with(|table| table.remove(rename.old_name));
        drop(moved);
        if rename.inode.is_dir() {
            rename.old_dir.dec_nlink();
            rename.new_dir.inc_nlink();
        }
        rename.old_dir.set_size(rename.old_dir.size().saturating_sub(DIRENT_SIZE));
        rename.old_dir.touch_mtime();
        rename.new_dir.touch_mtime();
        rename.inode.touch_ctime();
        Ok(())
    }

    fn file_ops(&self) -> &(dyn FileOps + 'static) {
        &TmpDirFile
    }

    fn evict(&self, inode: &Inode) {
        let mut list = None;
        self.dismantle(&mut list);
        while let Some(child) = list {
            let Some(dir) = TmpDir::of(&child) else { break };
            let mut rest = dir.doomed.lock().take();
            dir.dismantle(&mut rest);
            list = rest;
        }
        forget(inode);
    }

    fn as_any(&self) -> Option<&dyn core::any::Any> {
        Some(self)
    }
}

impl TmpDir {
    fn exchange(&self, new_table: &TmpDir, rename: &Rename<'_>) -> OpResult<'static, ()> {
        let Some(victim) = rename.victim else { return Err(Stop::Err(Errno::ENOENT)) };
        let a = self.with(|table| table.replace(rename.old_name, victim.clone()));
        let b = new_table.with(|table| table.replace(rename.new_name, rename.inode.clone()));
        drop((a, b));
        if rename.inode.is_dir() != victim.is_dir() {
            let (loses, gains) = match rename.inode.is_dir() {
                true => (rename.old_dir, rename.new_dir),
                false => (rename.new_dir, rename.old_dir),
            };
            loses.dec_nlink();
            gains.inc_nlink();
        }
        for inode in [rename.old_dir, rename.new_dir] {
            inode.touch_mtime();
        }
        rename.inode.touch_ctime();
        victim.touch_ctime();
        Ok(())
    }
}

/// A regular file: all state is in the inode.
pub struct TmpFile;

/// The only [`TmpFile`].
pub static TMP_FILE: TmpFile = TmpFile;

impl InodeOps for TmpFile {
    fn file_ops(&self) -> &(dyn FileOps + 'static) {
        &TmpFileOps
    }

    fn setattr<'a>(&'a self, inode: &'a KArc<Inode>, change: &Setattr) -> OpResult<'a, ()> {
        if let Some(size) = change.size {
            cached::set_size(inode, &STORE, size)?;
        }
        inode.apply(change);
        Ok(())
    }

    fn fault_page<'a>(&'a self, inode: &'a Inode, index: u64, _write: bool) -> OpResult<'a, PageRef> {
        Ok(cached::fault(inode, &STORE, index)?)
    }

    fn evict(&self, inode: &Inode) {
        use crate::cache::file::Store;
        STORE.uncharge(inode, inode.mapping().truncate(0));
        forget(inode);
    }
}

/// A symbolic link.
struct TmpLink {
    target: KVec<u8>,
}

impl InodeOps for TmpLink {
    fn link_target<'a>(&'a self, _: &'a KArc<Inode>) -> OpResult<'a, Link> {
        Ok(Link::Text(self.target.try_clone()?))
    }

    fn evict(&self, inode: &Inode) {
        forget(inode);
    }
}

/// A device node or socket: opening it is the device's business.
struct TmpSpecial;

static TMP_SPECIAL: TmpSpecial = TmpSpecial;

impl InodeOps for TmpSpecial {
    fn open<'a>(&'a self, inode: &'a KArc<Inode>, flags: u32) -> OpResult<'a, Opened> {
        match inode.kind() {
            S_IFCHR => Ok(crate::dev::chrdev::open(inode, flags)?),
            S_IFBLK => Ok(crate::dev::blkdev::open(inode, flags)?),
            _ => Err(Stop::Err(Errno::ENXIO)),
        }
    }

    fn evict(&self, inode: &Inode) {
        forget(inode);
    }
}
