//! The operations that a file system provides: plain functions behind `dyn`, which complete or say what to wait for.
//!
//! None of them may sleep: a future behind `dyn` would have to be allocated (DESIGN.md, rule 7). One generic loop per
//! call, in [`super::rw`] and [`super::wait`], awaits what a [`Stop`] names and calls again. Every default is what Linux
//! does for a method that is NULL.

use super::fasync::FasyncList;
use super::file::File;
use super::inode::{Inode, Setattr};
use super::mount::Path;
use super::poll::{PollEvents, PollTable};
use super::stat::Stat;
use crate::cache::PageRef;
use vigil_abi::Errno;
use vigil_executor::wait::WaitQueue;
use vigil_mem::{Fault, IoBuf, IoBufMut, KArc, KVec, UserRange};

/// Why an operation has not completed. A read or write may have transferred something before it stopped: the buffer's
/// `done()` tells how much and the position has moved, so that calling again goes on from there. An operation that fails after some bytes answers `Ok`
/// with their number instead.
pub enum Stop<'a> {
    /// It failed.
    Err(Errno),
    /// It can go on after a wake of this queue with one of these poll bits.
    Wait(&'a WaitQueue, u32),
    /// It met a page of user memory that is not there: the fields of a [`Fault`], which leave room for the tag beside them.
    Fault {
        /// The first byte that could not be reached.
        addr: usize,
        /// Whether it was to be written.
        write: bool,
    },
}

// Two registers, and not memory, carry what a read or write answers.
const _: () = assert!(size_of::<OpResult<'static, usize>>() == 16);

/// What the short way of a transfer came to.
pub enum AtOnce<'a> {
    /// So many bytes have been moved, and the call is over.
    Done(usize),
    /// It has to wait for this queue, exclusively, and nothing was moved.
    Wait(&'a WaitQueue),
    /// Nothing was done that another look would not do again: the long way decides.
    No,
}

/// The result of an operation that cannot wait by itself.
pub type OpResult<'a, T> = Result<T, Stop<'a>>;

impl From<Errno> for Stop<'_> {
    fn from(errno: Errno) -> Self {
        Stop::Err(errno)
    }
}

impl From<vigil_mem::AllocError> for Stop<'_> {
    fn from(_: vigil_mem::AllocError) -> Self {
        Stop::Err(Errno::ENOMEM)
    }
}

impl From<Fault> for Stop<'_> {
    fn from(Fault { addr, write }: Fault) -> Self {
        Stop::Fault { addr, write }
    }
}

impl Stop<'_> {
    /// The errno for a caller that may neither wait nor fault pages in.
    pub fn errno(&self) -> Errno {
        match self {
            Stop::Err(errno) => *errno,
            Stop::Wait(..) => Errno::EAGAIN,
            Stop::Fault { .. } => Errno::EFAULT,
        }
    }
}

/// What mmap(2) wants of a file; the kernel has checked access modes already.
#[derive(Clone, Copy, Debug)]
pub struct MmapRequest {
    /// Offset in the file, a multiple of the page size.
    pub offset: u64,
    /// Length in bytes.
    pub len: u64,
    /// MAP_SHARED.
    pub shared: bool,
    /// PROT_WRITE.
    pub write: bool,
    /// PROT_EXEC.
    pub exec: bool,
}

/// What to map.
pub enum MmapTarget {
    /// Pages of this inode's page cache ([`Inode::mapping`]).
    Cache(KArc<Inode>),
    /// Zero-filled private memory (a private mapping of /dev/zero).
    Anonymous,
    /// Physical page frames from `pfn` on, as device memory or as normal memory.
    Device {
        /// First page frame.
        pfn: u64,
        /// Device-nGnRE attributes instead of normal memory.
        device_attr: bool,
    },
}

/// Receives directory entries. Returns false when it is full: the entry was not taken.
pub trait DirSink {
    /// One entry: its name, its inode number, its `DT_*` type, and the position from which reading goes on *after* it.
    fn entry(&mut self, name: &[u8], ino: u64, kind: u8, next: u64) -> bool;
}

/// Operations on an open file.
pub trait FileOps: Send + Sync {
    /// Reads at `pos` and advances it. `Ok(n)` ends the call, with what `buf` counts; `n` is what this call added.
    fn read<'a>(&'a self, file: &'a File, buf: &mut IoBufMut, pos: &mut u64) -> OpResult<'a, usize> {
        let _ = (file, buf, pos);
        Err(Stop::Err(Errno::EINVAL))
    }

    /// Writes at `pos` and advances it.
    fn write<'a>(&'a self, file: &'a File, buf: &mut IoBuf, pos: &mut u64) -> OpResult<'a, usize> {
        let _ = (file, buf, pos);
        Err(Stop::Err(Errno::EINVAL))
    }

    /// The short way of a read(2) from a stream to user memory, for a call that has moved nothing yet. Short because it knows
    /// neither position nor cursor, and because its answer fits into two registers.
    fn read_at_once(&self, file: &File, to: UserRange) -> AtOnce<'_> {
        let _ = (file, to);
        AtOnce::No
    }

    /// The short way of a write(2) to a stream, likewise.
    fn write_at_once(&self, file: &File, from: UserRange) -> AtOnce<'_> {
        let _ = (file, from);
        AtOnce::No
    }

    /// Whether a read or write that has just answered `Stop::Wait(queue, _)` would wait still. Asked when the caller has
    /// entered `queue`; `false`, which costs another call of the operation, is always right.
    fn still_waits(&self, file: &File, queue: &WaitQueue) -> bool {
        let _ = (file, queue);
        false
    }

    /// What a read that has just answered [`again`](super::wait::again) met: a lock that takes long. It is waited for before the next
    /// call, so that whoever holds it gets on, however urgent the caller is. `None`: others have a turn, nothing more.
    fn obstacle(&self) -> Option<super::wait::Obstacle<'_>> {
        None
    }

    /// Whether a write that answers EPIPE sends SIGPIPE as well.
    fn sends_sigpipe(&self) -> bool {
        true
    }

    /// Whether its writes need no lock of the inode, although it is a regular file: writing to it does something.
    fn orders_writes(&self) -> bool {
        false
    }

    /// What is ready now; registers with the queues that tell of changes, if the table wants it.
    fn poll(&self, file: &File, table: &mut PollTable<'_>) -> PollEvents {
        let _ = (file, table);
        PollEvents::DEFAULT
    }

    /// Whether `poll` is more than the default: only such files can be watched by an epoll.
    fn can_poll(&self) -> bool {
        false
    }

    /// Who wants signals of the object, if it can tell when it is ready (O_ASYNC).
    fn fasync(&self) -> Option<&FasyncList> {
        None
    }

    /// ioctl(2). `arg` is a user's word.
    fn ioctl<'a>(&'a self, file: &'a File, cmd: u32, arg: usize) -> OpResult<'a, isize> {
        let _ = (file, cmd, arg);
        Err(Stop::Err(Errno::ENOTTY))
    }

    /// mmap(2).
    fn mmap(&self, file: &File, request: &MmapRequest) -> Result<MmapTarget, Errno> {
        let _ = (file, request);
        Err(Errno::ENODEV)
    }

    /// A mapping of the file has come to be: of files that are [counted](File::is_counted).
    fn mapped(&self) {}

    /// Such a mapping is gone. May not wait.
    fn unmapped(&self) {}

    /// fsync(2), fdatasync(2).
    fn fsync<'a>(&'a self, file: &'a File, datasync: bool) -> OpResult<'a, ()> {
        let _ = (file, datasync);
        Err(Stop::Err(Errno::EINVAL))
    }

    /// Called at each close of a descriptor.
    fn flush<'a>(&'a self, file: &'a File) -> OpResult<'a, ()> {
        let _ = file;
        Ok(())
    }

    /// Called once, when the file was made.
    fn opened(&self, file: &File) {
        let _ = file;
    }

    /// Called once, when the last reference goes. May not wait.
    fn release(&self, file: &File) {
        let _ = file;
    }

    /// Waits for what an open(2) must wait for after its side effects, e.g. the other end of a FIFO.
    fn open_wait<'a>(&'a self, file: &'a File) -> OpResult<'a, ()> {
        let _ = file;
        Ok(())
    }

    /// lseek(2): the new position. `pos` is the present one.
    fn llseek(&self, file: &File, pos: u64, offset: i64, whence: u32) -> Result<u64, Errno> {
        super::seek::generic(file, pos, offset, whence)
    }

    /// Reads directory entries from `pos` on.
    fn iterate<'a>(&'a self, file: &'a File, pos: &mut u64, sink: &mut dyn DirSink) -> OpResult<'a, ()> {
        let _ = (file, pos, sink);
        Err(Stop::Err(Errno::ENOTDIR))
    }

    /// fallocate(2), with a checked range.
    fn fallocate<'a>(&'a self, file: &'a File, mode: u32, offset: u64, len: u64) -> OpResult<'a, ()> {
        let _ = (file, mode, offset, len);
        Err(Stop::Err(Errno::EOPNOTSUPP))
    }

    /// Whether the file is a stream: it has no position (Linux: FMODE_STREAM) and pread(2) answers ESPIPE.
    fn is_stream(&self) -> bool {
        false
    }

    /// The object itself, for its own module to find it again (`file.private::<Pipe>()`).
    fn as_any(&self) -> Option<&dyn core::any::Any> {
        None
    }
}

/// What an open produced.
pub enum Opened {
    /// The operations are the inode's: no state of the open file beside its position.
    Inode,
    /// Operations that live for ever (devices without state).
    Static(&'static dyn FileOps),
    /// An object of its own.
    Own(KArc<dyn FileOps>),
}

/// What a symbolic link leads to.
pub enum Link {
    /// A path to go on with.
    Text(KVec<u8>),
    /// A place, without a path (Linux: nd_jump_link, e.g. /proc/PID/exe).
    Jump(Path),
}

/// A new directory entry to be made.
pub struct NewNode<'a> {
    /// Type and permissions, umask applied.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group (the directory's, if that has S_ISGID).
    pub gid: u32,
    /// Device of a device node, in the kernel's 32-bit encoding ([`super::stat::mkdev`]).
    pub rdev: u32,
    /// Target of a symbolic link.
    pub target: &'a [u8],
}

/// A rename whose checks are done; both directories are locked.
pub struct Rename<'a> {
    /// The directory that loses the entry.
    pub old_dir: &'a KArc<Inode>,
    /// The entry's name there.
    pub old_name: &'a [u8],
    /// What is renamed.
    pub inode: &'a KArc<Inode>,
    /// The directory that gains it; may be the same.
    pub new_dir: &'a KArc<Inode>,
    /// Its new name.
    pub new_name: &'a [u8],
    /// What had the new name.
    pub victim: Option<&'a KArc<Inode>>,
    /// Both are kept and change places (RENAME_EXCHANGE); `victim` is there.
    pub exchange: bool,
}

/// Operations on an inode. Directories are locked by the caller: shared for `lookup`, exclusively for changes.
pub trait InodeOps: Send + Sync {
    /// Finds `name` (1–255 bytes, no `/`). `Ok(None)`: there is none.
    fn lookup<'a>(&'a self, dir: &'a KArc<Inode>, name: &[u8]) -> OpResult<'a, Option<KArc<Inode>>> {
        let _ = (dir, name);
        Err(Stop::Err(Errno::ENOTDIR))
    }

    /// Makes an entry of any type; `name` does not exist. Links the new inode in.
    fn make<'a>(&'a self, dir: &'a KArc<Inode>, name: &[u8], node: &NewNode<'_>) -> OpResult<'a, KArc<Inode>> {
        let regular = node.mode & vigil_abi::stat::S_IFMT == vigil_abi::stat::S_IFREG;
        let _ = (dir, name);
        Err(Stop::Err(if regular { Errno::EACCES } else { Errno::EPERM }))
    }

    /// Makes an inode without a name (O_TMPFILE).
    fn tmpfile<'a>(&'a self, dir: &'a KArc<Inode>, node: &NewNode<'_>) -> OpResult<'a, KArc<Inode>> {
        let _ = (dir, node);
        Err(Stop::Err(Errno::EOPNOTSUPP))
    }

    /// Makes `name` another name of `inode`.
    fn link<'a>(&'a self, dir: &'a KArc<Inode>, name: &[u8], inode: &KArc<Inode>) -> OpResult<'a, ()> {
        let _ = (dir, name, inode);
        Err(Stop::Err(Errno::EPERM))
    }

    /// Removes `name`, which is `inode`: a directory that is empty or ENOTEMPTY, or anything else.
    fn remove<'a>(&'a self, dir: &'a KArc<Inode>, name: &[u8], inode: &KArc<Inode>) -> OpResult<'a, ()> {
        let _ = (dir, name, inode);
        Err(Stop::Err(Errno::EPERM))
    }

    /// Renames.
    fn rename<'a>(&'a self, rename: &Rename<'_>) -> OpResult<'a, ()> {
        let _ = rename;
        Err(Stop::Err(Errno::EPERM))
    }

    /// Where a symbolic link leads.
    fn link_target<'a>(&'a self, inode: &'a KArc<Inode>) -> OpResult<'a, Link> {
        let _ = inode;
        Err(Stop::Err(Errno::EINVAL))
    }

    /// The text of a symbolic link for readlink(2) where it differs from where it leads.
    fn read_link<'a>(&'a self, inode: &'a KArc<Inode>) -> OpResult<'a, KVec<u8>> {
        match self.link_target(inode)? {
            Link::Text(text) => Ok(text),
            Link::Jump(_) => Err(Stop::Err(Errno::EINVAL)),
        }
    }

    /// Opens the inode with `flags` (`O_*`).
    fn open<'a>(&'a self, inode: &'a KArc<Inode>, flags: u32) -> OpResult<'a, Opened> {
        let _ = (inode, flags);
        Ok(Opened::Inode)
    }

    /// The operations of files for which `open` answered [`Opened::Inode`].
    fn file_ops(&self) -> &(dyn FileOps + 'static) {
        &super::file::NO_OPS
    }

    /// Changes attributes; the checks are done. Usually ends with [`Inode::apply`].
    fn setattr<'a>(&'a self, inode: &'a KArc<Inode>, change: &Setattr) -> OpResult<'a, ()> {
        if change.size.is_some() {
            return Err(Stop::Err(Errno::EINVAL));
        }
        inode.apply(change);
        Ok(())
    }

    /// Adds to what is known of the attributes.
    fn getattr(&self, inode: &Inode, stat: &mut Stat) {
        let _ = (inode, stat);
    }

    /// The page at `index` for a page fault. EFAULT beyond the end.
    fn fault_page<'a>(&'a self, inode: &'a Inode, index: u64, write: bool) -> OpResult<'a, PageRef> {
        let _ = (inode, index, write);
        Err(Stop::Err(Errno::EFAULT))
    }

    /// Whether a cached entry still stands for something (Linux: d_revalidate). Asked only with
    /// [`super::superblock::SuperFlags::REVALIDATE`].
    fn is_alive(&self, inode: &Inode) -> bool {
        let _ = inode;
        true
    }

    /// Whether its name may be kept in the cache. `false` for what goes without a call that would take it out; what is
    /// below it is not kept either.
    fn may_cache(&self, inode: &Inode) -> bool {
        let _ = inode;
        true
    }

    /// The object itself, for its own module.
    fn as_any(&self) -> Option<&dyn core::any::Any> {
        None
    }

    /// The inode goes: its last reference was dropped. May not wait.
    fn evict(&self, inode: &Inode) {
        let _ = inode;
    }
}

/// Operations on a mounted file system.
pub trait SuperOps: Send + Sync {
    /// statfs(2): sizes and counts; type, name length and flags are filled in by the caller.
    fn statfs(&self, out: &mut super::stat::Statfs) {
        let _ = out;
    }

    /// The options for /proc/mounts, each with a comma before it.
    fn show_options(&self, out: &mut crate::vnode::SeqBuf) {
        let _ = out;
    }

    /// The object itself, for its own inodes.
    fn as_any(&self) -> Option<&dyn core::any::Any> {
        None
    }

    /// mount(2) with MS_REMOUNT: new options.
    fn remount(&self, data: &[u8]) -> Result<(), Errno> {
        let _ = data;
        Ok(())
    }
}
