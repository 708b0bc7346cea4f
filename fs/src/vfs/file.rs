//! Open files: what descriptors share (Linux: struct file).
//!
//! A [`File`] is one allocation. Its operations are found once, at open, and called through one pointer. The position is
//! an atomic; calls that move it take `pos_lock` only if somebody else holds the file, too, as Linux's fdget_pos does.

use super::inode::Inode;
use super::lazy::Lazy;
use super::mount::Path;
use super::ops::{FileOps, OpResult, Opened, Stop};
use super::poll::{PollEvents, PollTable};
use crate::epoll::Item;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};
use vigil_abi::Errno;
use vigil_abi::fcntl::{
    FASYNC, O_ACCMODE, O_APPEND, O_CREAT, O_DIRECT, O_EXCL, O_NOATIME, O_NOCTTY, O_NONBLOCK, O_PATH, O_TRUNC, O_WRONLY,
};
use vigil_abi::stat::{S_IFDIR, S_IFREG, S_IFSOCK};
use vigil_executor::sync::{LockClass, Mutex, SpinLock};
use vigil_mem::{KArc, KVec};

bitflags::bitflags! {
    /// What can be done with an open file (Linux: FMODE_*).
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Mode: u32 {
        /// Opened for reading.
        const READ = 1;
        /// Opened for writing.
        const WRITE = 2;
        /// Opened with O_PATH: names a place, nothing else.
        const PATH = 4;
        /// Has no position.
        const STREAM = 8;
        /// Counts as a writer of its inode and mount.
        const WRITER = 16;
        /// Access moves atime.
        const ATIME = 32;
        /// Calls that move the position exclude each other: regular files and directories (Linux: FMODE_ATOMIC_POS).
        const ATOMIC_POS = 64;
        /// Writes order themselves: they do not take the inode's lock.
        const SELF_ORDERED = 128;
        /// Has no offsets to read or write at, although lseek(2) may answer (Linux: no FMODE_PREAD).
        const NO_PREAD = 256;
        /// Its operations hear of each mapping ([`FileOps::mapped`]).
        const COUNTED = 512;
    }
}

/// Flags that fcntl(F_SETFL) may change.
pub const SETFL_MASK: u32 = O_APPEND | O_NONBLOCK | O_DIRECT | O_NOATIME;

/// An open file.
pub struct File {
    path: Path,
    /// Points into `own` or into the inode that `path` holds: valid as long as the file.
    ops: NonNull<dyn FileOps>,
    own: Option<KArc<dyn FileOps>>,
    flags: AtomicU32,
    mode: Mode,
    pos: AtomicU64,
    /// Orders calls that move the position.
    pub pos_lock: Mutex<()>,
    extra: Lazy<Extra>,
}

/// What few files have.
struct Extra {
    owner: SpinLock<SignalOwner>,
    /// Items of epolls that watch the file.
    watchers: SpinLock<KVec<KArc<Item>>>,
}

impl Default for Extra {
    fn default() -> Extra {
        Extra { owner: SpinLock::new(&OWNER_CLASS, SignalOwner::default()), watchers: SpinLock::new(&WATCHERS_CLASS, KVec::new()) }
    }
}

/// Who gets the file's signals (F_SETOWN, F_SETSIG).
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct SignalOwner {
    /// F_OWNER_TID, F_OWNER_PID or F_OWNER_PGRP.
    pub kind: u32,
    /// The number; 0: nobody.
    pub pid: u32,
    /// The signal; 0: SIGIO.
    pub signal: u32,
    /// Real and effective user of whoever named the owner.
    pub uid: u32,
    /// See `uid`.
    pub euid: u32,
}

// SAFETY: the operations that `ops` points to are `Send + Sync`; everything else is by itself.
unsafe impl Send for File {}
// SAFETY: as above.
unsafe impl Sync for File {}

static POS_CLASS: LockClass = LockClass::new("f_pos_lock");
static OWNER_CLASS: LockClass = LockClass::new("f_owner");
static WATCHERS_CLASS: LockClass = LockClass::new("f_ep");
/// Open files in the system, for /proc/sys/fs/file-nr and ENFILE.
static NR_FILES: AtomicU32 = AtomicU32::new(0);
/// Most files that users without CAP_SYS_ADMIN may have open, all together (/proc/sys/fs/file-max).
static MAX_FILES: AtomicU64 = AtomicU64::new(u64::MAX);

/// Operations of files opened with O_PATH: they are no files to poll.
struct PathOps;

impl FileOps for PathOps {
    fn poll(&self, _: &File, _: &mut PollTable<'_>) -> PollEvents {
        PollEvents::NVAL
    }
}

static PATH_OPS: PathOps = PathOps;

/// Operations of files that have none.
pub struct NoOps;

impl FileOps for NoOps {}

/// The only [`NoOps`].
pub static NO_OPS: NoOps = NoOps;

/// Open files in the system.
pub fn nr_files() -> u32 {
    NR_FILES.load(Relaxed)
}

/// The system's limit of open files.
pub fn max_files() -> u64 {
    MAX_FILES.load(Relaxed)
}

/// Changes the system's limit.
pub fn set_max_files(max: u64) {
    MAX_FILES.store(max, Relaxed);
}

impl File {
    /// Opens what `path` names with `flags` (Linux: do_dentry_open). Permissions are checked by the caller.
    ///
    /// ETXTBSY for writing to a running program, ENXIO for a socket, EINVAL for O_DIRECT (no file system here has it),
    /// ENFILE, ENOMEM, and what the file system answers.
    pub fn open<'a>(path: &'a Path, flags: u32, privileged: bool) -> OpResult<'a, KArc<File>> {
        let inode = path.inode();
        if u64::from(nr_files()) >= max_files() && !privileged {
            return Err(Stop::Err(Errno::ENFILE));
        }
        if flags & O_PATH != 0 {
            return Ok(File::build(path.clone(), NonNull::from(&PATH_OPS as &dyn FileOps), None, flags, Mode::PATH)?);
        }
        let mut mode = access_mode(flags);
        if mode.contains(Mode::WRITE) && !inode.is_special() {
            inode.get_write_access()?;
            path.mnt.add_writer();
            mode |= Mode::WRITER;
        }
        let opened = if inode.kind() == S_IFSOCK { Err(Stop::Err(Errno::ENXIO)) } else { inode.ops().open(inode, flags) };
        let built = match opened {
            Ok(opened) => File::with_ops(path, opened, flags, mode).map_err(Stop::Err),
            Err(stop) => Err(stop),
        };
        if built.is_err() && mode.contains(Mode::WRITER) {
            inode.put_write_access();
            path.mnt.sub_writer();
        }
        built
    }

    fn with_ops(path: &Path, opened: Opened, flags: u32, mut mode: Mode) -> Result<KArc<File>, Errno> {
        let inode = path.inode();
        let (ops, own) = match opened {
            Opened::Inode => (NonNull::from(inode.file_ops()), None),
            Opened::Static(ops) => (NonNull::from(ops), None),
            Opened::Own(own) => (NonNull::from(&*own), Some(own)),
        };
        // SAFETY: just made from a reference that the inode, a static or `own` keeps valid.
        let asked = unsafe { ops.as_ref() };
        // Each question is asked where it matters: regular files have a position, others no lock for their writes.
        if inode.is_regular() {
            mode.set(Mode::SELF_ORDERED, asked.orders_writes());
        } else {
            mode.set(Mode::STREAM, asked.is_stream());
        }
        if flags & O_DIRECT != 0 && inode.is_regular() {
            return Err(Errno::EINVAL);
        }
        if flags & O_NOATIME == 0 {
            mode |= Mode::ATIME;
        }
        if matches!(inode.kind(), S_IFREG | S_IFDIR) {
            mode |= Mode::ATOMIC_POS;
        }
        File::build(path.clone(), ops, own, flags, mode)
    }

    fn build(path: Path, ops: NonNull<dyn FileOps>, own: Option<KArc<dyn FileOps>>, flags: u32, mode: Mode) -> Result<KArc<File>, Errno> {
        // Flags of the act of opening are not kept.
        let kept = flags & !(O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | vigil_abi::fcntl::O_CLOEXEC);
        // Without memory no file comes to be: dropping one would release what was never opened.
        let file = KArc::try_new_with(|| File {
            path,
            ops,
            own,
            flags: AtomicU32::new(kept),
            mode,
            pos: AtomicU64::new(0),
            pos_lock: Mutex::new(&POS_CLASS, ()),
            extra: Lazy::new(),
        })?;
        NR_FILES.fetch_add(1, Relaxed);
        file.ops().opened(&file);
        Ok(file)
    }

    /// A file over an object without a name in any tree: a pipe, an epoll (Linux: alloc_file_pseudo).
    pub fn pseudo(path: Path, ops: KArc<dyn FileOps>, flags: u32) -> Result<KArc<File>, Errno> {
        let mode = access_mode(flags) | Mode::NO_PREAD;
        File::with_ops(&path, Opened::Own(ops), flags, mode)
    }

    /// A file at `path` over `ops`, which hear of each of its mappings (Linux: alloc_file_clone for System V shared memory).
    pub fn counted(path: Path, ops: KArc<dyn FileOps>, flags: u32) -> Result<KArc<File>, Errno> {
        File::with_ops(&path, Opened::Own(ops), flags, access_mode(flags) | Mode::COUNTED)
    }

    /// Whether its operations hear of its mappings.
    #[inline]
    pub fn is_counted(&self) -> bool {
        self.mode.contains(Mode::COUNTED)
    }

    /// The place that it was opened at.
    #[inline]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its inode.
    #[inline]
    pub fn inode(&self) -> &KArc<Inode> {
        self.path.inode()
    }

    /// Its operations.
    #[inline]
    pub fn ops(&self) -> &dyn FileOps {
        // SAFETY: `own` or the inode in `path` keeps them, and neither changes.
        unsafe { self.ops.as_ref() }
    }

    /// The object behind it, if it is a `T`.
    pub fn private<T: 'static>(&self) -> Option<&T> {
        self.ops().as_any()?.downcast_ref()
    }

    /// The same object as a counted reference to its operations.
    pub fn own_ops(&self) -> Option<&KArc<dyn FileOps>> {
        self.own.as_ref()
    }

    /// What mmap(2) of it maps. ENODEV if it cannot be mapped.
    pub fn mmap(&self, request: &super::ops::MmapRequest) -> Result<super::ops::MmapTarget, Errno> {
        self.ops().mmap(self, request)
    }

    /// `O_*` as F_GETFL reports them.
    #[inline]
    pub fn flags(&self) -> u32 {
        self.flags.load(Relaxed)
    }

    /// F_SETFL: changes what may be changed. EINVAL for O_DIRECT on a file that cannot.
    pub fn set_flags(&self, flags: u32) -> Result<(), Errno> {
        if flags & O_DIRECT != 0 && self.inode().is_regular() {
            return Err(Errno::EINVAL);
        }
        let step = |old: u32| Some((old & !SETFL_MASK) | (flags & SETFL_MASK));
        let _ = self.flags.fetch_update(AcqRel, Relaxed, step);
        Ok(())
    }

    /// Turns O_ASYNC on or off for `file`, which is descriptor `fd`. ENOTTY if the file cannot tell when it is ready, ENOMEM.
    pub fn set_async(this: &KArc<File>, fd: i32, on: bool) -> Result<(), Errno> {
        let list = this.ops().fasync().ok_or(Errno::ENOTTY)?;
        if on {
            list.add(this, fd)?;
            this.flags.fetch_or(FASYNC, AcqRel);
        } else {
            list.remove(this);
            this.flags.fetch_and(!FASYNC, AcqRel);
        }
        Ok(())
    }

    /// Who gets its signals.
    pub fn signal_owner(&self) -> SignalOwner {
        self.extra.get().map_or(SignalOwner::default(), |extra| *extra.owner.lock())
    }

    /// Changes who gets its signals. ENOMEM.
    pub fn set_signal_owner(&self, change: impl FnOnce(&mut SignalOwner)) -> Result<(), Errno> {
        change(&mut self.extra.get_or_make(Extra::default)?.owner.lock());
        Ok(())
    }

    /// An epoll watches it by `item`. ENOMEM.
    pub(crate) fn watch(&self, item: &KArc<Item>) -> Result<(), Errno> {
        Ok(self.extra.get_or_make(Extra::default)?.watchers.lock().try_push(item.clone())?)
    }

    /// An epoll watches it no longer.
    pub(crate) fn unwatch(&self, item: &KArc<Item>) {
        let gone = self.extra.get().and_then(|extra| {
            let mut watchers = extra.watchers.lock();
            let at = watchers.iter().position(|known| KArc::ptr_eq(known, item));
            at.and_then(|at| watchers.swap_remove(at))
        });
        drop(gone);
    }

    /// The file goes: no epoll may know of it, nor of its queues, any more.
    #[cold]
    fn leave_epolls(extra: &Extra) {
        loop {
            let Some(item) = extra.watchers.lock().pop() else { break };
            // An epoll that goes at the same time may not be asked; the nodes are ours to take out all the same.
            item.detach();
            if let Some(epoll) = item.epoll() {
                epoll.remove(&item);
            }
        }
    }

    /// Whether calls on it do not wait.
    #[inline]
    pub fn is_nonblocking(&self) -> bool {
        self.flags() & O_NONBLOCK != 0
    }

    /// What an operation answers that would have to wait for `queue`: EAGAIN if the file does not wait.
    #[inline]
    pub fn would_block<'a>(&self, queue: &'a vigil_executor::wait::WaitQueue, key: u32) -> Stop<'a> {
        if self.is_nonblocking() { Stop::Err(Errno::EAGAIN) } else { Stop::Wait(queue, key) }
    }

    /// What can be done with it.
    #[inline]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Whether it is open for reading.
    #[inline]
    pub fn readable(&self) -> bool {
        self.mode.contains(Mode::READ)
    }

    /// Whether it is open for writing.
    #[inline]
    pub fn writable(&self) -> bool {
        self.mode.contains(Mode::WRITE)
    }

    /// The position.
    #[inline]
    pub fn pos(&self) -> u64 {
        self.pos.load(Relaxed)
    }

    /// Sets the position.
    #[inline]
    pub fn set_pos(&self, pos: u64) {
        self.pos.store(pos, Relaxed);
    }
}

fn access_mode(flags: u32) -> Mode {
    match flags & O_ACCMODE {
        0 => Mode::READ,
        O_WRONLY => Mode::WRITE,
        // 3 is Linux's "for ioctl": open with the permissions of both, able to do neither.
        O_ACCMODE => Mode::empty(),
        _ => Mode::READ | Mode::WRITE,
    }
}

impl Drop for File {
    fn drop(&mut self) {
        if !self.mode.contains(Mode::PATH) {
            if let Some(extra) = self.extra.get() {
                File::leave_epolls(extra);
            }
            super::lock::remove_of_file(self);
            if self.flags() & FASYNC != 0
                && let Some(list) = self.ops().fasync()
            {
                list.forget_gone();
            }
            self.ops().release(self);
        }
        if self.mode.contains(Mode::WRITER) {
            self.inode().put_write_access();
            self.path.mnt.sub_writer();
        }
        NR_FILES.fetch_sub(1, Relaxed);
    }
}
