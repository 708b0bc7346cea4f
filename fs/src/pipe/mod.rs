//! Pipes and FIFOs (Linux: fs/pipe.c).
//!
//! Both ends of a pipe are files over one [`Pipe`]; which end a file is, its mode says. Readers and writers wait
//! exclusively: a write into an empty pipe wakes one reader, and a reader that leaves something wakes the next.
//!
//! ```text
//!   writer: put bytes; was it empty?  ── yes ──► wake one reader on `readers_wait`
//!           full: wait on `writers_wait`
//!   reader: take bytes; was it full?  ── yes ──► wake one writer on `writers_wait`
//!           empty: wait on `readers_wait`, or 0 (end) without writers
//! ```
//!
//! The spin lock covers the ring and the counts; it is released between pages.

mod fifo;
mod ring;
#[cfg(test)]
mod tests;

pub use fifo::fifo_inode_ops;

use crate::vfs::cred::{Cred, cap};
use crate::vfs::dentry::Dentry;
use crate::vfs::fasync::{Band, FasyncList};
use crate::vfs::file::File;
use crate::vfs::inode::{Inode, OpsRef};
use crate::vfs::mount::{Mount, MountFlags, Path};
use crate::vfs::ops::{AtOnce, FileOps, InodeOps, OpResult, Stop, SuperOps};
use crate::vfs::poll::{PollEvents, PollTable};
use crate::vfs::superblock::{SuperBlock, SuperFlags, SuperInfo};
use crate::vfs::wait::EXCLUSIVE;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use ring::{DEFAULT_SLOTS, Ring, Step};
use vigil_abi::Errno;
use vigil_abi::fcntl::{O_CLOEXEC, O_DIRECT, O_NONBLOCK, O_RDONLY, O_WRONLY, PIPE_BUF};
use vigil_abi::poll::{POLLIN, POLLOUT, POLLRDNORM, POLLWRNORM};
use vigil_abi::stat::{PIPEFS_MAGIC, S_IFIFO};
use vigil_abi::termios::FIONREAD;
use vigil_executor::sync::{LockClass, SpinGuard, SpinLock};
use vigil_executor::wait::WaitQueue;
use vigil_mem::{IoBuf, IoBufMut, KArc, KBox, PAGE_SIZE, UserPtr, UserRange};

/// Largest pipe without CAP_SYS_RESOURCE (/proc/sys/fs/pipe-max-size).
pub const MAX_SIZE: usize = 1 << 20;

pub(crate) struct State {
    ring: Ring,
    readers: u32,
    writers: u32,
    /// Readers and writers that ever came, for the opening of FIFOs.
    readers_ever: u32,
    writers_ever: u32,
}

/// In `Pipe::ready`: a read, a write, would not wait.
const READ_READY: u32 = 1;
const WRITE_READY: u32 = 2;

impl State {
    /// What `Pipe::ready` is to say.
    #[inline]
    fn ready(&self) -> u32 {
        let read = if self.ring.is_empty() && self.writers != 0 { 0 } else { READ_READY };
        let write = if self.ring.is_full() && self.readers != 0 { 0 } else { WRITE_READY };
        read | write
    }
}

/// A pipe.
pub struct Pipe {
    state: SpinLock<State>,
    /// Who would not wait (`*_READY`), as the lock's last holder left it: for a look without the lock.
    ready: AtomicU32,
    readers_wait: WaitQueue,
    writers_wait: WaitQueue,
    fasync: FasyncList,
    /// A FIFO, whose opening waits for the other end. A pipe is opened again through /proc without waiting: its ends were
    /// there from the start.
    named: bool,
}

static CLASS: LockClass = LockClass::new("pipe");

impl Pipe {
    /// An empty pipe without ends; `named`: of a FIFO.
    fn try_new(named: bool) -> Result<KArc<Pipe>, Errno> {
        let state = State { ring: Ring::try_new(DEFAULT_SLOTS)?, readers: 0, writers: 0, readers_ever: 0, writers_ever: 0 };
        Ok(KArc::try_new(Pipe {
            ready: AtomicU32::new(state.ready()),
            state: SpinLock::new(&CLASS, state),
            readers_wait: WaitQueue::new(),
            writers_wait: WaitQueue::new(),
            fasync: FasyncList::new(),
            named,
        })?)
    }

    /// Size in bytes (F_GETPIPE_SZ).
    pub fn size(&self) -> usize {
        self.state.lock().ring.capacity() * PAGE_SIZE
    }

    /// Changes the size to at least `size` bytes; the size that it got (F_SETPIPE_SZ). EINVAL, EPERM beyond
    /// [`MAX_SIZE`] without CAP_SYS_RESOURCE, EBUSY if more is in it, ENOMEM.
    pub fn set_size(&self, size: usize, cred: &Cred) -> Result<usize, Errno> {
        if size == 0 || size > 1 << 31 {
            return Err(Errno::EINVAL);
        }
        let pages = size.div_ceil(PAGE_SIZE).next_power_of_two();
        let mut state = self.state.lock();
        if pages > state.ring.capacity() && pages * PAGE_SIZE > MAX_SIZE && !cred.capable(cap::SYS_RESOURCE) {
            return Err(Errno::EPERM);
        }
        state.ring.resize(pages)?;
        self.publish(state);
        // There may be room now.
        self.writers_wait.wake(POLLOUT | POLLWRNORM, 0);
        Ok(pages * PAGE_SIZE)
    }

    /// Lets go of the lock after a change.
    #[inline(always)]
    fn publish(&self, state: SpinGuard<'_, State>) {
        let ready = state.ready();
        self.publish_as(state, ready);
    }

    /// [`Pipe::publish`] by whoever knows what the state says.
    #[inline(always)]
    fn publish_as(&self, state: SpinGuard<'_, State>, ready: u32) {
        debug_assert_eq!(ready, state.ready());
        self.ready.store(ready, Relaxed);
    }

    fn wake_reader(&self) {
        self.readers_wait.wake(POLLIN | POLLRDNORM, 1);
    }

    fn wake_writer(&self) {
        self.writers_wait.wake(POLLOUT | POLLWRNORM, 1);
    }

    /// [`FileOps::read_at_once`] of a pipe that has something, as far as a look without the lock tells.
    #[inline(never)]
    fn read_ready(&self, file: &File, to: UserRange) -> AtOnce<'_> {
        let mut state = self.state.lock();
        // With a full ring a writer may have to be woken.
        if state.ring.is_empty() || state.ring.is_full() || to.is_empty() {
            return AtOnce::No;
        }
        let Some(n) = state.ring.read_at_once(to) else { return AtOnce::No };
        let left = !state.ring.is_empty();
        let ready = if left || state.writers == 0 { READ_READY | WRITE_READY } else { WRITE_READY };
        self.publish_as(state, ready);
        if left {
            self.wake_reader();
        }
        self.fasync.tell(Band::Out);
        file.inode().touch_atime();
        AtOnce::Done(n)
    }

    /// A read from a pipe that is not empty, slot by slot.
    #[inline(never)]
    fn read_on<'a>(&'a self, state: SpinGuard<'a, State>, file: &'a File, buf: &mut IoBufMut<'_>) -> OpResult<'a, usize> {
        let mut state = Some(state);
        let mut total = 0;
        let mut left;
        let result = loop {
            let mut state = state.take().unwrap_or_else(|| self.state.lock());
            let was_full = state.ring.is_full();
            let step = state.ring.read(buf);
            // A part of a page, or a fault, makes no room.
            let has_room = was_full && !state.ring.is_full();
            let writers = state.writers;
            left = !state.ring.is_empty();
            self.publish(state);
            if has_room {
                self.wake_writer();
            }
            match step {
                Ok(Step::Copied(n)) => {
                    total += n;
                    if buf.is_empty() {
                        break Ok(total);
                    }
                }
                Ok(Step::Packet) => break Ok(total),
                Ok(Step::Stuck) if buf.done() > 0 || writers == 0 => break Ok(total),
                Ok(Step::Stuck) => break Err(file.would_block(&self.readers_wait, POLLIN | EXCLUSIVE)),
                Err(fault) => break Err(fault.into()),
            }
        };
        if left {
            self.wake_reader();
        }
        if total > 0 {
            self.fasync.tell(Band::Out);
            file.inode().touch_atime();
        }
        result
    }

    /// A write page by page.
    #[inline(never)]
    fn write_on<'a>(&'a self, file: &'a File, buf: &mut IoBuf<'_>, packet: bool) -> OpResult<'a, usize> {
        // Up to PIPE_BUF bytes are never mixed with another's; what is left of a longer write is.
        let whole = buf.done() + buf.remaining() <= PIPE_BUF;
        let mut total = 0;
        let mut has_room;
        let result = loop {
            let mut state = self.state.lock();
            if state.readers == 0 {
                has_room = false;
                break Err(Stop::Err(Errno::EPIPE));
            }
            let was_empty = state.ring.is_empty();
            let step = state.ring.write(buf, whole, packet);
            has_room = !state.ring.is_full();
            self.publish(state);
            match step {
                Ok(Ok(Step::Copied(n))) => {
                    if was_empty {
                        self.wake_reader();
                    }
                    total += n;
                    if buf.is_empty() {
                        break Ok(total);
                    }
                }
                Ok(Ok(_)) => break Err(file.would_block(&self.writers_wait, POLLOUT | EXCLUSIVE)),
                Ok(Err(fault)) => break Err(fault.into()),
                Err(errno) => break Err(Stop::Err(errno)),
            }
        };
        if has_room {
            self.wake_writer();
        }
        if total > 0 {
            self.fasync.tell(Band::In);
            file.inode().touch_mtime();
        }
        match result {
            Err(Stop::Err(_)) if total > 0 => Ok(total),
            other => other,
        }
    }
}

impl FileOps for Pipe {
    fn read<'a>(&'a self, file: &'a File, buf: &mut IoBufMut<'_>, _: &mut u64) -> OpResult<'a, usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        let state = self.state.lock();
        if state.ring.is_empty() {
            let ends = state.writers == 0 || buf.done() > 0;
            drop(state);
            return if ends { Ok(0) } else { Err(file.would_block(&self.readers_wait, POLLIN | EXCLUSIVE)) };
        }
        self.read_on(state, file, buf)
    }

    fn write<'a>(&'a self, file: &'a File, buf: &mut IoBuf<'_>, _: &mut u64) -> OpResult<'a, usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        self.write_on(file, buf, file.flags() & O_DIRECT != 0)
    }

    fn read_at_once(&self, file: &File, to: UserRange) -> AtOnce<'_> {
        // Empty, with writers: without the lock, because who makes it ready says so before he wakes or returns.
        if self.ready.load(Relaxed) & READ_READY == 0 {
            return if to.is_empty() || file.is_nonblocking() { AtOnce::No } else { AtOnce::Wait(&self.readers_wait) };
        }
        self.read_ready(file, to)
    }

    fn write_at_once(&self, file: &File, from: UserRange) -> AtOnce<'_> {
        let mut state = self.state.lock();
        if from.is_empty() || state.readers == 0 || !state.ring.is_empty() {
            return AtOnce::No;
        }
        let Some(n) = state.ring.write_at_once(from, file.flags() & O_DIRECT != 0) else { return AtOnce::No };
        // It was empty: one slot is in use.
        let has_room = state.ring.capacity() > 1;
        self.publish_as(state, if has_room { READ_READY | WRITE_READY } else { READ_READY });
        self.wake_reader();
        if has_room {
            self.wake_writer();
        }
        self.fasync.tell(Band::In);
        file.inode().touch_mtime();
        AtOnce::Done(n)
    }

    #[inline]
    fn still_waits(&self, _: &File, queue: &WaitQueue) -> bool {
        // Whoever makes it ready wakes the queue afterwards, with a fence in between: see `WaitQueue`.
        let wanted = if core::ptr::eq(queue, &self.readers_wait) { READ_READY } else { WRITE_READY };
        self.ready.load(Relaxed) & wanted == 0
    }

    fn poll(&self, file: &File, table: &mut PollTable<'_>) -> PollEvents {
        if file.readable() {
            table.add(&self.readers_wait);
        }
        if file.writable() {
            table.add(&self.writers_wait);
        }
        let state = self.state.lock();
        let mut events = PollEvents::empty();
        if file.readable() {
            if !state.ring.is_empty() {
                events |= PollEvents::IN | PollEvents::RDNORM;
            }
            // The reader of a FIFO that no writer has come to yet has not been hung up on.
            if state.writers == 0 && file.pos() != u64::from(state.writers_ever) {
                events |= PollEvents::HUP;
            }
        }
        if file.writable() {
            if !state.ring.is_full() {
                events |= PollEvents::OUT | PollEvents::WRNORM;
            }
            if state.readers == 0 {
                events |= PollEvents::ERR;
            }
        }
        events
    }

    fn can_poll(&self) -> bool {
        true
    }

    fn ioctl<'a>(&'a self, _: &'a File, cmd: u32, arg: usize) -> OpResult<'a, isize> {
        if cmd != FIONREAD {
            return Err(Stop::Err(Errno::ENOTTY));
        }
        let bytes = self.state.lock().ring.bytes() as u32;
        UserPtr::<u32>::new(arg).write(&bytes)?;
        Ok(0)
    }

    fn opened(&self, file: &File) {
        let mut state = self.state.lock();
        if file.readable() {
            state.readers += 1;
            state.readers_ever = state.readers_ever.wrapping_add(1);
        }
        if file.writable() {
            state.writers += 1;
            state.writers_ever = state.writers_ever.wrapping_add(1);
        }
        fifo::note_opened(file, &state, self.named);
        self.publish(state);
        self.readers_wait.wake_all();
        self.writers_wait.wake_all();
    }

    fn open_wait<'a>(&'a self, file: &'a File) -> OpResult<'a, ()> {
        fifo::open_wait(self, file)
    }

    fn release(&self, file: &File) {
        let mut state = self.state.lock();
        state.readers -= u32::from(file.readable());
        state.writers -= u32::from(file.writable());
        let (readers, writers) = (state.readers, state.writers);
        let garbage =
            if readers == 0 && writers == 0 { Ring::try_new(0).ok().map(|ring| core::mem::replace(&mut state.ring, ring)) } else { None };
        self.publish(state);
        // The pages of what nobody will read.
        drop(garbage);
        if (readers == 0) != (writers == 0) {
            self.readers_wait.wake_all();
            self.writers_wait.wake_all();
            self.fasync.tell(Band::In);
            self.fasync.tell(Band::Out);
        }
    }

    fn fasync(&self) -> Option<&FasyncList> {
        Some(&self.fasync)
    }

    fn is_stream(&self) -> bool {
        true
    }

    fn as_any(&self) -> Option<&dyn core::any::Any> {
        Some(self)
    }
}

struct PipeFs;

impl SuperOps for PipeFs {}

struct PipeInode;

static PIPE_INODE: PipeInode = PipeInode;

impl InodeOps for PipeInode {
    /// Through /proc/PID/fd a pipe is opened again like a FIFO.
    fn open<'a>(&'a self, _: &'a KArc<Inode>, _: u32) -> OpResult<'a, crate::vfs::ops::Opened> {
        Err(Stop::Err(Errno::ENXIO))
    }
}

static MOUNT_CLASS: LockClass = LockClass::new("pipe_mnt");
static MOUNT: SpinLock<Option<KArc<Mount>>> = SpinLock::new(&MOUNT_CLASS, None);

/// Makes the internal file system of pipes. Once, at boot.
pub fn init() -> Result<(), Errno> {
    let info =
        SuperInfo { fstype: "pipefs", magic: PIPEFS_MAGIC, flags: SuperFlags::INTERNAL | SuperFlags::NOATIME, max_bytes: i64::MAX as u64 };
    let sb = SuperBlock::try_new(info, vigil_mem::unsize!(KBox, KBox::try_new(PipeFs)? => dyn SuperOps))?;
    let root = Inode::try_new(&sb, sb.new_ino(), vigil_abi::stat::S_IFDIR | 0o600, 0, OpsRef::Static(&PIPE_INODE))?;
    let mount = Mount::of_root(Dentry::try_root(root, b"pipe:")?, b"pipefs", MountFlags::empty())?;
    *MOUNT.lock() = Some(mount);
    Ok(())
}

/// pipe2(2): the reading end and the writing end. EINVAL for flags other than O_CLOEXEC, O_NONBLOCK and O_DIRECT; ENFILE,
/// ENOMEM.
pub fn pipe(flags: u32) -> Result<(KArc<File>, KArc<File>), Errno> {
    if flags & !(O_CLOEXEC | O_NONBLOCK | O_DIRECT) != 0 {
        return Err(Errno::EINVAL);
    }
    let mnt = MOUNT.lock().clone().ok_or(Errno::ENFILE)?;
    let pipe = Pipe::try_new(false)?;
    let ops = fifo::inode_ops(&pipe)?;
    let inode = Inode::try_new(&mnt.sb, mnt.sb.new_ino(), S_IFIFO | 0o600, 0, OpsRef::Own(ops))?;
    let path = Path { mnt, dentry: Dentry::try_root(inode, b"")? };
    let kept = flags & (O_NONBLOCK | O_DIRECT);
    let ops = |pipe: &KArc<Pipe>| vigil_mem::unsize!(KArc, pipe.clone() => dyn FileOps);
    let reader = File::pseudo(path.clone(), ops(&pipe), O_RDONLY | kept & O_NONBLOCK)?;
    let writer = File::pseudo(path, ops(&pipe), O_WRONLY | kept)?;
    // Both ends were there from the start: "no writer" means hung up.
    reader.set_pos(u64::MAX);
    Ok((reader, writer))
}

/// The pipe behind `file`. EBADF if there is none.
pub fn of(file: &File) -> Result<&Pipe, Errno> {
    file.private().ok_or(Errno::EBADF)
}
