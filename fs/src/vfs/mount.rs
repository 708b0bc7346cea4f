//! Mounts: where file systems hang in the tree, and [`Path`], a place in it (Linux: fs/namespace.c).
//!
//! There is one mount namespace. The table is short and read only where a dentry carries the mark that something may be
//! mounted on it, so a list under one spin lock is enough.

use super::dentry::Dentry;
use super::inode::Inode;
use super::superblock::SuperBlock;
use core::ptr::{from_ref, null_mut};
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering::*};
use vigil_abi::Errno;
use vigil_executor::sync::{LockClass, SpinLock};
use vigil_mem::{KArc, KVec};

/// A place in the tree: a dentry, and the mount through which it was reached (Linux: struct path).
#[derive(Clone)]
pub struct Path {
    /// The mount.
    pub mnt: KArc<Mount>,
    /// The dentry; never negative.
    pub dentry: KArc<Dentry>,
}

bitflags::bitflags! {
    /// Flags of a mount (Linux: MNT_*).
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct MountFlags: u32 {
        /// Set-id bits mean nothing.
        const NOSUID = 0x01;
        /// Device nodes cannot be opened.
        const NODEV = 0x02;
        /// Nothing can be executed or mapped executable.
        const NOEXEC = 0x04;
        /// Access times are not kept.
        const NOATIME = 0x08;
        /// Access times of directories are not kept.
        const NODIRATIME = 0x10;
        /// Access times are kept as `relatime` says.
        const RELATIME = 0x20;
        /// Nothing may be changed through this mount.
        const READONLY = 0x40;
    }
}

/// A mounted file system, or a part of one.
pub struct Mount {
    /// Its number, as in /proc/PID/mountinfo.
    pub id: u64,
    /// The file system.
    pub sb: KArc<SuperBlock>,
    /// What the mount shows at its root.
    pub root: KArc<Dentry>,
    /// First argument of mount(2), for /proc/mounts.
    pub source: KVec<u8>,
    flags: AtomicU32,
    /// Files open for writing through it: it cannot become read-only.
    writers: AtomicU32,
    /// How often a path has gone down into it.
    visits: AtomicU64,
    /// What `visits` is at the next umount2(MNT_EXPIRE) if nobody but that call has come by since the last one.
    expires_at: AtomicU64,
    /// Where it hangs; `None`: the root of all, or nowhere.
    at: SpinLock<Option<Path>>,
    /// The same while it is in the table, for whoever goes through that: a mount, and a dentry. Under the table's lock.
    hangs_in: AtomicPtr<Mount>,
    hangs_on: AtomicPtr<Dentry>,
    /// It is being taken out of the tree.
    doomed: AtomicBool,
}

static AT_CLASS: LockClass = LockClass::new("mnt_at");
static TABLE_CLASS: LockClass = LockClass::new("mount_lock");
/// All mounts in the tree, in the order of mounting.
static TABLE: SpinLock<KVec<KArc<Mount>>> = SpinLock::new(&TABLE_CLASS, KVec::new());
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

impl Path {
    /// What the dentry stands for. A [`Path`] is never negative, so there is one.
    #[inline]
    pub fn inode(&self) -> &KArc<Inode> {
        match self.dentry.inode_opt() {
            Some(inode) => inode,
            None => unreachable!("a path to a negative dentry"),
        }
    }

    /// Whether both are the same place.
    #[inline]
    pub fn same(&self, other: &Path) -> bool {
        KArc::ptr_eq(&self.dentry, &other.dentry) && KArc::ptr_eq(&self.mnt, &other.mnt)
    }

    /// Whether it is the root of its mount.
    #[inline]
    pub fn is_mount_root(&self) -> bool {
        KArc::ptr_eq(&self.dentry, &self.mnt.root)
    }

    /// Whether changes are refused here: EROFS (Linux: mnt_want_write).
    pub fn want_write(&self) -> Result<(), Errno> {
        if self.mnt.sb.is_readonly() || self.mnt.flags().contains(MountFlags::READONLY) {
            return Err(Errno::EROFS);
        }
        Ok(())
    }

    /// Goes down to what is mounted here, if something is, to the topmost (Linux: follow_mount). True if it went.
    #[inline]
    pub fn descend(&mut self) -> bool {
        let mut went = false;
        while self.dentry.is_mountpoint() {
            let Some(mnt) = mounted_on(self) else { break };
            mnt.visits.fetch_add(1, Relaxed);
            self.dentry = mnt.root.clone();
            self.mnt = mnt;
            went = true;
        }
        went
    }

    /// Goes up from the root of a mount to where it hangs, one step (Linux: follow_up). False at the top.
    pub fn ascend(&mut self) -> bool {
        let Some(at) = self.mnt.mountpoint() else { return false };
        *self = at;
        true
    }
}

impl Mount {
    /// A mount of `root` that hangs nowhere yet.
    pub fn try_new(root: KArc<Dentry>, sb: &KArc<SuperBlock>, source: &[u8], flags: MountFlags) -> Result<KArc<Mount>, Errno> {
        Ok(KArc::try_new(Mount {
            id: NEXT_ID.fetch_add(1, Relaxed),
            sb: sb.clone(),
            root,
            source: KVec::try_from_slice(source)?,
            flags: AtomicU32::new(flags.bits()),
            writers: AtomicU32::new(0),
            visits: AtomicU64::new(0),
            expires_at: AtomicU64::new(0),
            at: SpinLock::new(&AT_CLASS, None),
            hangs_in: AtomicPtr::new(null_mut()),
            hangs_on: AtomicPtr::new(null_mut()),
            doomed: AtomicBool::new(false),
        })?)
    }

    /// A mount of what is at `root`.
    pub fn of_root(root: KArc<Dentry>, source: &[u8], flags: MountFlags) -> Result<KArc<Mount>, Errno> {
        let sb = root.inode_opt().ok_or(Errno::ENOENT)?.sb().clone();
        Mount::try_new(root, &sb, source, flags)
    }

    /// Its flags.
    #[inline]
    pub fn flags(&self) -> MountFlags {
        MountFlags::from_bits_truncate(self.flags.load(Relaxed))
    }

    /// Changes its flags (MS_REMOUNT). EBUSY: it has files open for writing and would become read-only.
    pub fn set_flags(&self, flags: MountFlags) -> Result<(), Errno> {
        if flags.contains(MountFlags::READONLY) && self.writers.load(Acquire) != 0 {
            return Err(Errno::EBUSY);
        }
        self.flags.store(flags.bits(), Relaxed);
        Ok(())
    }

    /// Counts a file open for writing.
    pub fn add_writer(&self) {
        self.writers.fetch_add(1, AcqRel);
    }

    /// One file less.
    pub fn sub_writer(&self) {
        self.writers.fetch_sub(1, AcqRel);
    }

    /// Its root as a path.
    pub fn root_path(this: &KArc<Mount>) -> Path {
        Path { mnt: this.clone(), dentry: this.root.clone() }
    }

    /// Whether it hangs in `mnt`. With the table locked.
    fn hangs_in_mount(&self, mnt: &KArc<Mount>) -> bool {
        core::ptr::eq(self.hangs_in.load(Relaxed), &**mnt)
    }

    /// Where it hangs.
    pub fn mountpoint(&self) -> Option<Path> {
        self.at.lock().clone()
    }
}

/// The topmost mount on exactly `path`.
fn mounted_on(path: &Path) -> Option<KArc<Mount>> {
    let table = TABLE.lock();
    table.iter().rev().find(|mnt| mnt.hangs_in_mount(&path.mnt) && core::ptr::eq(mnt.hangs_on.load(Relaxed), &*path.dentry)).cloned()
}

/// Makes `mnt` the root of the tree. Once, at boot.
pub fn set_root(mnt: &KArc<Mount>) -> Result<(), Errno> {
    Ok(TABLE.lock().try_push(mnt.clone())?)
}

/// Hangs `mnt` at `at`. EBUSY: the same is already mounted exactly there. ENOTDIR: only one of them is a directory.
pub fn attach(mnt: &KArc<Mount>, at: Path) -> Result<(), Errno> {
    let is_dir = mnt.root.inode_opt().is_some_and(|inode| inode.is_dir());
    if is_dir != at.inode().is_dir() {
        return Err(Errno::ENOTDIR);
    }
    if at.is_mount_root() && KArc::ptr_eq(&at.mnt.root, &mnt.root) {
        return Err(Errno::EBUSY);
    }
    let mut table = TABLE.lock();
    table.try_push(mnt.clone())?;
    at.dentry.add_mount();
    mnt.hangs_in.store(from_ref(&*at.mnt).cast_mut(), Relaxed);
    mnt.hangs_on.store(from_ref(&*at.dentry).cast_mut(), Relaxed);
    *mnt.at.lock() = Some(at);
    Ok(())
}

/// Whether an unused mount may go because it was unused at the last call, too (MNT_EXPIRE). EBUSY: it is in use; EAGAIN:
/// it is marked now, and the next call will take it if nobody used it in between.
pub fn expire(mnt: &KArc<Mount>) -> Result<(), Errno> {
    let table = TABLE.lock();
    if is_busy(&table, mnt) {
        return Err(Errno::EBUSY);
    }
    let visits = mnt.visits.load(Relaxed);
    if mnt.expires_at.swap(visits + 1, Relaxed) == visits { Ok(()) } else { Err(Errno::EAGAIN) }
}

/// Whether somebody uses `mnt` besides the table and the caller, or something hangs below it.
fn is_busy(table: &[KArc<Mount>], mnt: &KArc<Mount>) -> bool {
    KArc::strong_count(mnt) > 2 || table.iter().any(|m| m.hangs_in_mount(mnt))
}

/// Takes `mnt` out of the tree with all that hangs below it. EBUSY: it is in use (checked unless `lazy`), EINVAL: it is
/// the root of all or hangs nowhere.
pub fn detach(mnt: &KArc<Mount>, lazy: bool) -> Result<(), Errno> {
    let mut gone = KVec::new();
    {
        let mut table = TABLE.lock();
        if mnt.mountpoint().is_none() {
            return Err(Errno::EINVAL);
        }
        if !lazy && is_busy(&table, mnt) {
            return Err(Errno::EBUSY);
        }
        gone.try_reserve(table.len())?;
        mnt.doomed.store(true, Relaxed);
        // What hangs in a mount was mounted after it, and so comes later.
        table.retain(|candidate| {
            // SAFETY: null, or kept by `at` as long as the mount is in the table, which is locked.
            let below = unsafe { candidate.hangs_in.load(Relaxed).as_ref() }.is_some_and(|parent| parent.doomed.load(Relaxed));
            let goes = below || candidate.doomed.load(Relaxed);
            if goes {
                candidate.doomed.store(true, Relaxed);
                let _ = gone.push_reserved(candidate.clone());
            }
            !goes
        });
    }
    for mount in gone.iter() {
        let at = mount.at.lock().take();
        if let Some(at) = at {
            at.dentry.sub_mount();
        }
    }
    Ok(())
}

/// The `n`-th mount, in the order of mounting.
pub fn nth(n: usize) -> Option<KArc<Mount>> {
    TABLE.lock().get(n).cloned()
}

/// Whether something is mounted on `dentry` anywhere (unlink, rmdir and rename answer EBUSY).
pub fn is_mountpoint(dentry: &KArc<Dentry>) -> bool {
    dentry.is_mountpoint()
}
