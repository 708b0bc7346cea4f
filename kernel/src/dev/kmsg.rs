//! `/dev/kmsg`: the kernel log, a record per read (Documentation/ABI/testing/dev-kmsg).

use crate::debug::kmsg::{self, KMSG_MAX, Reader};
use crate::debug::{console, printk};
use crate::task::kthread;
use vigil_abi::Errno;
use vigil_abi::poll::POLLIN;
use vigil_abi::stat::S_IFCHR;
use vigil_executor::class::Params;
use vigil_executor::lock_class;
use vigil_executor::sync::SpinLock;
use vigil_executor::wait::WaitQueue;
use vigil_fs::dev::{chrdev, devtmpfs};
use vigil_fs::{File, FileOps, Inode, OpResult, Opened, PollEvents, PollTable, Stop};
use vigil_mem::{IoBuf, IoBufMut, KArc, KVec, unsize};

const MAJOR: u32 = 1;
const MINOR: u32 = 11;
/// The longest text that a write takes (Linux: PRINTKRB_RECORD_MAX).
const WRITE_MAX: usize = 1024;

/// Woken after each record; syslog(2) waits here as well.
pub static WAIT: WaitQueue = WaitQueue::new();

/// A record was stored. Any context.
fn notify() {
    if WAIT.has_waiters() {
        WAIT.wake(POLLIN, 0);
    }
}

struct Kmsg {
    reader: SpinLock<Reader>,
}

impl FileOps for Kmsg {
    /// One record. EAGAIN: there is none and the file does not wait. EPIPE: records were overwritten; the next read goes
    /// on behind the gap. EINVAL: the buffer is too small for it.
    fn read<'a>(&'a self, file: &'a File, buf: &mut IoBufMut<'_>, _: &mut u64) -> OpResult<'a, usize> {
        let mut text = KVec::new();
        text.try_resize(KMSG_MAX, 0)?;
        let mut next = self.reader.lock().clone();
        let n = match next.read(&mut text) {
            Ok(n) => n,
            Err(Errno::EAGAIN) => return Err(file.would_block(&WAIT, POLLIN)),
            Err(e) => {
                *self.reader.lock() = next;
                return Err(Stop::Err(e));
            }
        };
        if n > buf.remaining() {
            return Err(Stop::Err(Errno::EINVAL));
        }
        let copied = buf.copy_out(&text[..n])?;
        *self.reader.lock() = next;
        Ok(copied)
    }

    /// A record from user space. EINVAL: longer than 1024 bytes.
    fn write<'a>(&'a self, _: &'a File, buf: &mut IoBuf<'_>, _: &mut u64) -> OpResult<'a, usize> {
        let n = buf.remaining();
        if n > WRITE_MAX {
            return Err(Stop::Err(Errno::EINVAL));
        }
        let mut text = [0; WRITE_MAX];
        let copied = buf.copy_in(&mut text[..n])?;
        kmsg::write_user(&text[..copied]);
        Ok(copied)
    }

    fn can_poll(&self) -> bool {
        true
    }

    fn poll(&self, _: &File, table: &mut PollTable<'_>) -> PollEvents {
        table.add(&WAIT);
        let writable = PollEvents::OUT | PollEvents::WRNORM;
        match self.reader.lock().poll() {
            (false, _) => writable,
            (true, false) => writable | PollEvents::IN | PollEvents::RDNORM,
            (true, true) => writable | PollEvents::IN | PollEvents::RDNORM | PollEvents::ERR | PollEvents::PRI,
        }
    }

    fn llseek(&self, _: &File, _: u64, offset: i64, whence: u32) -> Result<u64, Errno> {
        self.reader.lock().seek(offset, whence)
    }
}

fn open(_: &Inode, _: u32) -> Result<Opened, Errno> {
    let file = KArc::try_new(Kmsg { reader: SpinLock::new(lock_class!("devkmsg"), Reader::new()) })?;
    Ok(Opened::Own(unsize!(KArc, file => dyn FileOps)))
}

/// Registers the device.
pub(super) fn init() -> Result<(), Errno> {
    printk::set_notify(notify);
    kthread::spawn(console::run(), Params::DEFAULT, b"printk", None).map_err(|_| Errno::ENOMEM)?;
    chrdev::register(MAJOR, MINOR, 1, "mem", open)?;
    devtmpfs::device_node("kmsg", S_IFCHR | 0o644, MAJOR, MINOR)
}
