//! Inodes: what a file is, apart from its names (Linux: struct inode).
//!
//! Attributes are atomics: a stat(2) reads them without a lock, as in Linux it may see a change half done. `rwsem`
//! (Linux: i_rwsem) orders changes: of a directory's entries, of a file's size, of attributes by chmod and its like.
//! It is an async lock and may be held across awaits.

use super::lazy::Lazy;
use super::lock::LockContext;
use super::ops::{FileOps, InodeOps};
use super::stat::Stat;
use super::superblock::{SuperBlock, SuperFlags};
use super::xattr::AttributeList;
use crate::cache::AddressSpace;
use crate::host::{Time, now};
use core::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering::*};
use vigil_abi::Errno;
use vigil_abi::fcntl::F_SEAL_SEAL;
use vigil_abi::stat::{S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG, S_IFSOCK, S_ISGID, S_ISUID, S_IXGRP};
use vigil_executor::sync::{LockClass, RwSem, SpinLock};
use vigil_mem::{KArc, KBox};

/// Where an inode's operations live.
pub enum OpsRef {
    /// Shared by all inodes of a kind.
    Static(&'static dyn InodeOps),
    /// With state of this inode.
    Own(KBox<dyn InodeOps>),
}

/// The three times that change, and the one that does not.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Times {
    /// Last access.
    pub atime: Time,
    /// Last change of contents.
    pub mtime: Time,
    /// Last change of anything.
    pub ctime: Time,
}

/// A removed directory: nothing can be made in it (Linux: S_DEAD).
const STATE_DEAD: u32 = 1;
/// Seals, from this bit on.
const SEALS_SHIFT: u32 = 16;

/// An inode.
pub struct Inode {
    sb: KArc<SuperBlock>,
    ops: OpsRef,
    /// Number within the file system.
    pub ino: u64,
    /// Device that a node stands for, kernel form.
    pub rdev: u32,
    mode: AtomicU32,
    uid: AtomicU32,
    gid: AtomicU32,
    nlink: AtomicU32,
    state: AtomicU32,
    /// Open for writing: > 0; being executed: < 0 (Linux: i_writecount).
    writers: AtomicI32,
    size: AtomicU64,
    blocks: AtomicU64,
    btime: Time,
    times: SpinLock<Times>,
    /// The coarse tick of the last change of contents, or 0 if the times were set since.
    touched: AtomicU64,
    /// Orders changes; see the module.
    pub rwsem: RwSem<()>,
    mapping: AddressSpace,
    locks: Lazy<LockContext>,
    attributes: Lazy<AttributeList>,
}

/// Parent before child; two directories of a rename as `namei/rename.rs` says.
static RWSEM_CLASS: LockClass = LockClass::nesting("i_rwsem");
static TIMES_CLASS: LockClass = LockClass::new("i_times");

/// A change of attributes that has been checked (Linux: struct iattr).
#[derive(Clone, Copy, Debug, Default)]
pub struct Setattr {
    /// Permissions (the type stays).
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Size.
    pub size: Option<u64>,
    /// Last access.
    pub atime: Option<Time>,
    /// Last change of contents.
    pub mtime: Option<Time>,
}

impl Inode {
    /// Where the mapping is in an inode.
    pub(crate) const MAPPING_OFFSET: usize = core::mem::offset_of!(Inode, mapping);

    /// An inode with one link, made now, owned by root. ENOMEM.
    pub fn try_new(sb: &KArc<SuperBlock>, ino: u64, mode: u32, rdev: u32, ops: OpsRef) -> Result<KArc<Inode>, Errno> {
        let time = now();
        // Without memory no inode comes to be: dropping one would be counted by its file system.
        Ok(KArc::try_new_with(|| Inode {
            sb: sb.clone(),
            ops,
            ino,
            rdev,
            mode: AtomicU32::new(mode),
            uid: AtomicU32::new(0),
            gid: AtomicU32::new(0),
            nlink: AtomicU32::new(1),
            state: AtomicU32::new(F_SEAL_SEAL << SEALS_SHIFT),
            writers: AtomicI32::new(0),
            size: AtomicU64::new(0),
            blocks: AtomicU64::new(0),
            btime: time,
            times: SpinLock::new(&TIMES_CLASS, Times { atime: time, mtime: time, ctime: time }),
            touched: AtomicU64::new(0),
            rwsem: RwSem::new(&RWSEM_CLASS, ()),
            mapping: AddressSpace::new(),
            locks: Lazy::new(),
            attributes: Lazy::new(),
        })?)
    }

    /// Its file system.
    #[inline]
    pub fn sb(&self) -> &KArc<SuperBlock> {
        &self.sb
    }

    /// Its operations.
    #[inline]
    pub fn ops(&self) -> &dyn InodeOps {
        match &self.ops {
            OpsRef::Static(ops) => *ops,
            OpsRef::Own(ops) => &**ops,
        }
    }

    /// The operations of its files that have no state of their own.
    #[inline]
    pub fn file_ops(&self) -> &(dyn FileOps + 'static) {
        self.ops().file_ops()
    }

    /// Its locks, if it was ever locked.
    #[inline]
    pub fn locks(&self) -> Option<&LockContext> {
        self.locks.get()
    }

    /// Its locks. ENOLCK without memory.
    pub fn locks_or_new(&self) -> Result<&LockContext, Errno> {
        self.locks.get_or_make(LockContext::default).map_err(|_| Errno::ENOLCK)
    }

    /// Its extended attributes, if it ever had some.
    pub(super) fn attributes(&self) -> Option<&AttributeList> {
        self.attributes.get()
    }

    /// Its extended attributes. ENOMEM.
    pub(super) fn attributes_or_new(&self) -> Result<&AttributeList, Errno> {
        Ok(self.attributes.get_or_make(AttributeList::default)?)
    }

    /// What may not be done to its content (F_SEAL_*; tmpfs). A new file takes no seals: F_SEAL_SEAL.
    #[inline]
    pub fn seals(&self) -> u32 {
        self.state.load(Relaxed) >> SEALS_SHIFT
    }

    /// Changes the seals. The caller holds `rwsem` exclusively, or the inode is new.
    pub fn set_seals(&self, seals: u32) {
        let step = |state: u32| Some(state & ((1 << SEALS_SHIFT) - 1) | seals << SEALS_SHIFT);
        let _ = self.state.fetch_update(AcqRel, Relaxed, step);
    }

    /// Its pages.
    #[inline]
    pub fn mapping(&self) -> &AddressSpace {
        &self.mapping
    }

    /// Type and permissions.
    #[inline]
    pub fn mode(&self) -> u32 {
        self.mode.load(Relaxed)
    }

    /// Type (`S_IF*`).
    #[inline]
    pub fn kind(&self) -> u32 {
        self.mode() & S_IFMT
    }

    /// Whether it is a directory.
    #[inline]
    pub fn is_dir(&self) -> bool {
        self.kind() == S_IFDIR
    }

    /// Whether it is a symbolic link.
    #[inline]
    pub fn is_symlink(&self) -> bool {
        self.kind() == S_IFLNK
    }

    /// Whether it is a regular file.
    #[inline]
    pub fn is_regular(&self) -> bool {
        self.kind() == S_IFREG
    }

    /// Whether it is a device, FIFO or socket (Linux: special_file).
    pub fn is_special(&self) -> bool {
        matches!(self.kind(), S_IFCHR | S_IFBLK | S_IFIFO | S_IFSOCK)
    }

    /// Owner.
    #[inline]
    pub fn uid(&self) -> u32 {
        self.uid.load(Relaxed)
    }

    /// Group.
    #[inline]
    pub fn gid(&self) -> u32 {
        self.gid.load(Relaxed)
    }

    /// Sets owner and group of a new inode.
    pub fn set_owner(&self, uid: u32, gid: u32) {
        self.uid.store(uid, Relaxed);
        self.gid.store(gid, Relaxed);
    }

    /// Hard links.
    pub fn nlink(&self) -> u32 {
        self.nlink.load(Relaxed)
    }

    /// Sets the number of hard links.
    pub fn set_nlink(&self, nlink: u32) {
        self.nlink.store(nlink, Relaxed);
    }

    /// One hard link more. The caller holds the lock of a directory.
    pub fn inc_nlink(&self) {
        self.nlink.fetch_add(1, Relaxed);
    }

    /// One hard link less.
    pub fn dec_nlink(&self) {
        // A file system that miscounts must not wrap to four billion links.
        let _ = self.nlink.fetch_update(Relaxed, Relaxed, |n| n.checked_sub(1));
    }

    /// Size in bytes.
    #[inline]
    pub fn size(&self) -> u64 {
        self.size.load(Acquire)
    }

    /// Sets the size. The caller holds `rwsem` exclusively, or the inode is new.
    #[inline]
    pub fn set_size(&self, size: u64) {
        self.size.store(size, Release);
    }

    /// Allocated units of 512 bytes.
    pub fn blocks(&self) -> u64 {
        self.blocks.load(Relaxed)
    }

    /// Counts allocated units of 512 bytes.
    pub fn add_blocks(&self, units: i64) {
        self.blocks.fetch_add(units as u64, Relaxed);
    }

    /// The times.
    pub fn times(&self) -> Times {
        *self.times.lock()
    }

    /// Sets all times at once.
    pub fn set_times(&self, times: Times) {
        let mut locked = self.times.lock();
        self.touched.store(0, Relaxed);
        *locked = times;
    }

    /// Contents changed now: mtime and ctime (Linux: file_update_time). All changes in a tick have one time, as on Linux.
    #[inline]
    pub fn touch_mtime(&self) {
        // Tests on a host set the time as they like.
        let tick = if cfg!(target_os = "none") { vigil_executor::time::coarse_tick() } else { 0 };
        if tick == 0 || self.touched.load(Relaxed) != tick {
            self.touch_mtime_at(tick);
        }
    }

    #[cold]
    #[inline(never)]
    fn touch_mtime_at(&self, tick: u64) {
        let time = now();
        let mut times = self.times.lock();
        self.touched.store(tick, Relaxed);
        times.mtime = time;
        times.ctime = time;
    }

    /// Something else changed now: ctime.
    pub fn touch_ctime(&self) {
        let time = now();
        self.times.lock().ctime = time;
    }

    /// It was read now: atime, as `relatime` says: only if it is older than mtime or ctime, or older than a day.
    #[inline]
    pub fn touch_atime(&self) {
        if !self.sb.info.flags.contains(SuperFlags::NOATIME) && !self.sb.is_readonly() {
            self.touch_atime_now();
        }
    }

    #[inline(never)]
    fn touch_atime_now(&self) {
        let time = now();
        let mut times = self.times.lock();
        if times.atime <= times.mtime || times.atime <= times.ctime || time.sec.saturating_sub(times.atime.sec) >= 24 * 3600 {
            times.atime = time;
        }
    }

    /// Applies everything but the size; ctime becomes now. Takes set-group-id away as chmod does is the caller's part.
    pub fn apply(&self, change: &Setattr) {
        if let Some(uid) = change.uid {
            self.uid.store(uid, Relaxed);
        }
        if let Some(gid) = change.gid {
            self.gid.store(gid, Relaxed);
        }
        if let Some(mode) = change.mode {
            self.mode.store(self.kind() | (mode & !S_IFMT), Relaxed);
        }
        let time = now();
        let mut times = self.times.lock();
        self.touched.store(0, Relaxed);
        times.atime = change.atime.unwrap_or(times.atime);
        times.mtime = change.mtime.unwrap_or(times.mtime);
        times.ctime = time;
    }

    /// Whether it is a removed directory.
    #[inline]
    pub fn is_dead(&self) -> bool {
        self.state.load(Relaxed) & STATE_DEAD != 0
    }

    /// Marks a removed directory. The caller holds its `rwsem` exclusively.
    pub fn set_dead(&self) {
        self.state.fetch_or(STATE_DEAD, Relaxed);
    }

    /// Counts a writer. ETXTBSY while it is executed (Linux: get_write_access).
    pub fn get_write_access(&self) -> Result<(), Errno> {
        let step = |n: i32| if n < 0 { None } else { n.checked_add(1) };
        self.writers.fetch_update(AcqRel, Relaxed, step).map_or(Err(Errno::ETXTBSY), |_| Ok(()))
    }

    /// A writer less.
    pub fn put_write_access(&self) {
        self.writers.fetch_sub(1, AcqRel);
    }

    /// Counts an executor. ETXTBSY while it is open for writing (Linux: deny_write_access).
    pub fn deny_write_access(&self) -> Result<(), Errno> {
        let step = |n: i32| if n > 0 { None } else { n.checked_sub(1) };
        self.writers.fetch_update(AcqRel, Relaxed, step).map_or(Err(Errno::ETXTBSY), |_| Ok(()))
    }

    /// An executor less.
    pub fn allow_write_access(&self) {
        self.writers.fetch_add(1, AcqRel);
    }

    /// What a write by someone without CAP_FSETID leaves of the mode, if it changes it: no set-user-id, and no
    /// set-group-id where the group may execute (Linux: setattr_should_drop_suidgid).
    pub fn mode_without_suid(&self) -> Option<u32> {
        let mode = self.mode();
        let mut left = mode & !S_ISUID;
        if mode & S_IXGRP != 0 {
            left &= !S_ISGID;
        }
        (left != mode && self.is_regular()).then_some(left)
    }

    /// Its attributes (Linux: generic_fillattr and the file system's getattr).
    pub fn stat(&self) -> Stat {
        let times = self.times();
        let mut stat = Stat {
            dev: self.sb.dev,
            ino: self.ino,
            mode: self.mode(),
            nlink: self.nlink(),
            uid: self.uid(),
            gid: self.gid(),
            rdev: self.rdev,
            size: self.size(),
            blksize: 4096,
            blocks: self.blocks(),
            atime: times.atime,
            mtime: times.mtime,
            ctime: times.ctime,
            btime: self.btime,
            ..Stat::default()
        };
        self.ops().getattr(self, &mut stat);
        stat
    }
}

impl Drop for Inode {
    fn drop(&mut self) {
        self.ops().evict(self);
        self.mapping.truncate(0);
    }
}
