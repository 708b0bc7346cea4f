//! eventfd(2): a counter to wait for (Linux: fs/eventfd.c).

use crate::anon::anon_file;
use crate::vfs::file::File;
use crate::vfs::ops::{FileOps, OpResult, Stop};
use crate::vfs::poll::{PollEvents, PollTable};
use vigil_abi::Errno;
use vigil_abi::fcntl::{EFD_CLOEXEC, EFD_NONBLOCK, EFD_SEMAPHORE, O_NONBLOCK, O_RDWR};
use vigil_abi::poll::{POLLIN, POLLOUT};
use vigil_executor::sync::{LockClass, SpinLock};
use vigil_executor::wait::WaitQueue;
use vigil_mem::{IoBuf, IoBufMut, KArc};

/// The counter of an eventfd.
pub struct EventFd {
    /// At most `u64::MAX - 1`.
    count: SpinLock<u64>,
    /// A read takes one, not all.
    semaphore: bool,
    wait: WaitQueue,
}

static CLASS: LockClass = LockClass::new("eventfd");

/// eventfd2(2): a new file. EINVAL, ENOMEM.
pub fn eventfd(count: u32, flags: u32) -> Result<KArc<File>, Errno> {
    if flags & !(EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE) != 0 {
        return Err(Errno::EINVAL);
    }
    let made = EventFd { count: SpinLock::new(&CLASS, u64::from(count)), semaphore: flags & EFD_SEMAPHORE != 0, wait: WaitQueue::new() };
    let ops = vigil_mem::unsize!(KArc, KArc::try_new(made)? => dyn FileOps);
    anon_file(b"[eventfd]", ops, O_RDWR | flags & O_NONBLOCK)
}

impl FileOps for EventFd {
    fn read<'a>(&'a self, file: &'a File, buf: &mut IoBufMut<'_>, _: &mut u64) -> OpResult<'a, usize> {
        if buf.remaining() < 8 {
            return Err(Stop::Err(Errno::EINVAL));
        }
        let mut count = self.count.lock();
        if *count == 0 {
            return Err(file.would_block(&self.wait, POLLIN));
        }
        let taken = if self.semaphore { 1 } else { *count };
        // Under the lock, so that a fault leaves the counter as it is.
        buf.write_pod(&taken)?;
        *count -= taken;
        drop(count);
        self.wait.wake(POLLOUT, 0);
        Ok(8)
    }

    fn write<'a>(&'a self, file: &'a File, buf: &mut IoBuf<'_>, _: &mut u64) -> OpResult<'a, usize> {
        let Some(add) = buf.peek_pod::<u64>()? else { return Err(Stop::Err(Errno::EINVAL)) };
        if add == u64::MAX {
            return Err(Stop::Err(Errno::EINVAL));
        }
        {
            let mut count = self.count.lock();
            match count.checked_add(add).filter(|&sum| sum < u64::MAX) {
                Some(sum) => *count = sum,
                None => return Err(file.would_block(&self.wait, POLLOUT)),
            }
        }
        buf.skip(8);
        self.wait.wake(POLLIN, 0);
        Ok(8)
    }

    fn poll(&self, _: &File, table: &mut PollTable<'_>) -> PollEvents {
        table.add(&self.wait);
        let count = *self.count.lock();
        let mut events = PollEvents::empty();
        if count > 0 {
            events |= PollEvents::IN;
        }
        if count < u64::MAX - 1 {
            events |= PollEvents::OUT;
        }
        events
    }

    fn can_poll(&self) -> bool {
        true
    }

    fn llseek(&self, _: &File, pos: u64, _: i64, _: u32) -> Result<u64, Errno> {
        Ok(pos)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vfs::rw::{Pos, WriteLimits, try_read, try_write};
    use crate::vfs::tests::root;

    fn read(file: &File) -> Option<u64> {
        let mut bytes = [0u8; 8];
        try_read(file, &mut IoBufMut::kernel(&mut bytes), Pos::Shared).ok().map(|_| u64::from_ne_bytes(bytes))
    }

    fn write(file: &File, value: u64) -> Result<usize, Errno> {
        try_write(file, &mut IoBuf::kernel(&value.to_ne_bytes()), Pos::Shared, || Ok(WriteLimits::NONE)).map_err(|stop| stop.errno())
    }

    #[test]
    fn counts_and_semaphores() {
        root();
        let file = eventfd(3, EFD_NONBLOCK).unwrap();
        assert_eq!((read(&file), read(&file)), (Some(3), None));
        assert_eq!(write(&file, u64::MAX), Err(Errno::EINVAL));
        assert_eq!((write(&file, u64::MAX - 1), write(&file, 1)), (Ok(8), Err(Errno::EAGAIN)));
        assert_eq!(read(&file), Some(u64::MAX - 1));
        let file = eventfd(2, EFD_SEMAPHORE | EFD_NONBLOCK).unwrap();
        assert_eq!([read(&file), read(&file), read(&file)], [Some(1), Some(1), None]);
        assert_eq!(eventfd(0, 4).err(), Some(Errno::EINVAL));
    }
}
