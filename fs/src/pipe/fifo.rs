//! FIFOs: pipes with a name, whose opening waits for the other end (Linux: fifo_open).

use super::{Pipe, State};
use crate::vfs::file::File;
use crate::vfs::inode::Inode;
use crate::vfs::ops::{FileOps, InodeOps, OpResult, Opened, Stop};
use vigil_abi::Errno;
use vigil_abi::fcntl::{O_ACCMODE, O_NONBLOCK, O_WRONLY};
use vigil_abi::poll::{POLLIN, POLLOUT};
use vigil_executor::sync::{LockClass, SpinLock};
use vigil_mem::{KArc, KBox};

/// The inode of a FIFO, or of a pipe.
struct Fifo {
    pipe: SpinLock<Option<KArc<Pipe>>>,
    /// Counts against the limits of a tmpfs.
    in_tmpfs: bool,
}

static CLASS: LockClass = LockClass::new("fifo");

/// The operations of a new FIFO's inode.
pub fn fifo_inode_ops() -> Result<KBox<dyn InodeOps>, Errno> {
    let fifo = Fifo { pipe: SpinLock::new(&CLASS, None), in_tmpfs: true };
    Ok(vigil_mem::unsize!(KBox, KBox::try_new(fifo)? => dyn InodeOps))
}

/// The operations of the inode of `pipe`, which can be opened again through /proc.
pub(super) fn inode_ops(pipe: &KArc<Pipe>) -> Result<KBox<dyn InodeOps>, Errno> {
    let fifo = Fifo { pipe: SpinLock::new(&CLASS, Some(pipe.clone())), in_tmpfs: false };
    Ok(vigil_mem::unsize!(KBox, KBox::try_new(fifo)? => dyn InodeOps))
}

impl Fifo {
    fn get(&self) -> Result<KArc<Pipe>, Errno> {
        if let Some(pipe) = &*self.pipe.lock() {
            return Ok(pipe.clone());
        }
        let new = Pipe::try_new(true)?;
        Ok(self.pipe.lock().get_or_insert(new).clone())
    }
}

impl InodeOps for Fifo {
    fn open<'a>(&'a self, _: &'a KArc<Inode>, flags: u32) -> OpResult<'a, Opened> {
        let pipe = self.get()?;
        let mut state = pipe.state.lock();
        if pipe.named && flags & O_ACCMODE == O_WRONLY && flags & O_NONBLOCK != 0 && state.readers == 0 {
            return Err(Stop::Err(Errno::ENXIO));
        }
        if state.ring.capacity() == 0 {
            state.ring.resize(super::DEFAULT_SLOTS)?;
        }
        pipe.publish(state);
        Ok(Opened::Own(vigil_mem::unsize!(KArc, pipe => dyn FileOps)))
    }

    fn evict(&self, inode: &Inode) {
        if self.in_tmpfs {
            crate::tmpfs::inode::forget(inode);
        }
    }
}

/// Notes in the file's position, which a stream does not use otherwise, whom its opening has to wait for: the count of
/// the other end's arrivals at this moment, or `u64::MAX` if that end is there or the pipe is not `named`.
///
/// For a reader that does not wait it stays the count of writers: while that is unchanged none has come, and poll does
/// not say that they are gone.
pub(super) fn note_opened(file: &File, state: &State, named: bool) {
    let other_is_there = !named
        || match (file.readable(), file.writable()) {
            (true, false) => state.writers > 0,
            (false, true) => state.readers > 0,
            _ => true,
        };
    let ever = if file.readable() { state.writers_ever } else { state.readers_ever };
    file.set_pos(if other_is_there { u64::MAX } else { u64::from(ever) });
}

/// Waits for the other end.
pub(super) fn open_wait<'a>(pipe: &'a Pipe, file: &'a File) -> OpResult<'a, ()> {
    let state = pipe.state.lock();
    let seen = file.pos();
    if seen == u64::MAX || file.is_nonblocking() {
        return Ok(());
    }
    let (ever, queue, key) = match file.readable() {
        true => (state.writers_ever, &pipe.readers_wait, POLLIN),
        false => (state.readers_ever, &pipe.writers_wait, POLLOUT),
    };
    if u64::from(ever) == seen {
        return Err(Stop::Wait(queue, key));
    }
    file.set_pos(u64::MAX);
    Ok(())
}
