//! signalfd: signals that are read (Linux: fs/signalfd.c).
//!
//! A signalfd is a mask. What it gives is pending for whoever reads it, so the queue that it waits on is the reader's process's.
//! A process makes its queue when it first needs one; senders wake it. A signalfd keeps every queue that it ever named, because
//! an epoll that watches it may outlive the process.

use super::pending::SigInfo;
use crate::task::thread::Thread;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use vigil_abi::Errno;
use vigil_abi::fcntl::{O_NONBLOCK, O_RDWR};
use vigil_abi::poll::POLLIN;
use vigil_abi::signal::{
    SFD_NONBLOCK, SI_KERNEL, SI_TIMER, SIGBUS, SIGCHLD, SIGFPE, SIGILL, SIGIO, SIGSEGV, SIGTRAP, SignalfdSiginfo, Sigset,
};
use vigil_executor::sync::{LockClass, SpinLock};
use vigil_executor::wait::WaitQueue;
use vigil_fs::vfs::ops::{FileOps, OpResult, Stop};
use vigil_fs::vfs::poll::{PollEvents, PollTable};
use vigil_fs::{File, anon::anon_file};
use vigil_mem::{IoBufMut, KArc, KVec, unsize};

/// The mask behind a file.
pub struct SignalFd {
    wanted: AtomicU64,
    /// The queues that it has named.
    queues: SpinLock<KVec<KArc<WaitQueue>>>,
}

static CLASS: LockClass = LockClass::new("signalfd");

/// A new file that gives the signals in `wanted`. ENOMEM.
pub fn create(wanted: Sigset, flags: u32) -> Result<KArc<File>, Errno> {
    let made = KArc::try_new(SignalFd { wanted: AtomicU64::new(wanted), queues: SpinLock::new(&CLASS, KVec::new()) })?;
    anon_file(b"[signalfd]", unsize!(KArc, made => dyn FileOps), O_RDWR | if flags & SFD_NONBLOCK != 0 { O_NONBLOCK } else { 0 })
}

/// Makes an existing signalfd give the signals in `wanted` from now on. EINVAL if `file` is none.
pub fn change(file: &File, wanted: Sigset) -> Result<(), Errno> {
    let signals: &SignalFd = file.private().ok_or(Errno::EINVAL)?;
    signals.wanted.store(wanted, Relaxed);
    for queue in signals.queues.lock().iter() {
        queue.wake(POLLIN, 0);
    }
    Ok(())
}

/// The queue of the caller's process.
fn queue_of(thread: &Thread) -> Result<KArc<WaitQueue>, Errno> {
    let signals = &thread.process.signals;
    if let Some(queue) = signals.signalfd.get() {
        return Ok(queue.clone());
    }
    let made = KArc::try_new(WaitQueue::new())?;
    Ok(signals.signalfd.get_or_make(|| made)?.clone())
}

impl SignalFd {
    /// The caller's queue, kept for as long as this file.
    fn queue(&self, thread: &Thread) -> Result<&WaitQueue, Errno> {
        let queue = queue_of(thread)?;
        let at = KArc::as_ptr(&queue);
        let mut known = self.queues.lock();
        if !known.iter().any(|kept| core::ptr::eq(KArc::as_ptr(kept), at)) {
            known.try_push(queue)?;
        }
        // SAFETY: `queues` holds a count and only grows: the queue lives as long as `self`.
        Ok(unsafe { &*at })
    }

    fn pending(&self, thread: &Thread) -> Sigset {
        super::state::pending_of(thread) & self.wanted.load(Relaxed)
    }
}

impl FileOps for SignalFd {
    fn read<'a>(&'a self, file: &'a File, buf: &mut IoBufMut<'_>, _: &mut u64) -> OpResult<'a, usize> {
        let size = size_of::<SignalfdSiginfo>();
        let Some(thread) = Thread::current().filter(|_| buf.remaining() >= size) else { return Err(Stop::Err(Errno::EINVAL)) };
        let mut total = 0;
        while buf.remaining() >= size {
            if self.pending(thread) == 0 {
                break;
            }
            // A signal is taken only when there is room for it: what it will be written to is written to before.
            buf.probe_pod::<SignalfdSiginfo>()?;
            let wanted = self.wanted.load(Relaxed);
            let take = |queue: &super::state::Queue| queue.with(|pending| pending.take(wanted));
            let Some(info) = take(&thread.signals.queue).or_else(|| take(&thread.process.signals.queue)) else { break };
            super::recalc(thread);
            if buf.write_pod(&shown(&info))? {
                total += size;
            }
        }
        if total > 0 || buf.done() > 0 {
            return Ok(total);
        }
        Err(file.would_block(self.queue(thread)?, POLLIN))
    }

    fn poll(&self, _: &File, table: &mut PollTable<'_>) -> PollEvents {
        let Some(thread) = Thread::current() else { return PollEvents::empty() };
        match self.queue(thread) {
            Ok(queue) => table.add(queue),
            Err(_) => table.fail(),
        }
        if self.pending(thread) != 0 { PollEvents::IN } else { PollEvents::empty() }
    }

    fn can_poll(&self) -> bool {
        true
    }

    fn llseek(&self, _: &File, pos: u64, _: i64, _: u32) -> Result<u64, Errno> {
        Ok(pos)
    }

    fn as_any(&self) -> Option<&dyn core::any::Any> {
        Some(self)
    }
}

/// A signal as a reader sees it (Linux: signalfd_copyinfo): which fields mean something depends on where it came from.
fn shown(info: &SigInfo) -> SignalfdSiginfo {
    let word = |i: usize| info.fields[i];
    let low = |i: usize| word(i) as u32;
    let high = |i: usize| (word(i) >> 32) as u32;
    let mut out: SignalfdSiginfo = vigil_abi::Pod::zeroed();
    out.ssi_signo = info.signo;
    out.ssi_errno = info.errno;
    out.ssi_code = info.code;
    let from_kernel = info.code > 0 && info.code < SI_KERNEL;
    match info.signo {
        _ if info.code == SI_TIMER => {
            (out.ssi_tid, out.ssi_overrun) = (low(0), high(0));
            (out.ssi_int, out.ssi_ptr) = (low(1) as i32, word(1));
        }
        SIGCHLD if from_kernel => {
            (out.ssi_pid, out.ssi_uid, out.ssi_status) = (low(0), high(0), low(1) as i32);
            (out.ssi_utime, out.ssi_stime) = (word(2), word(3));
        }
        SIGSEGV | SIGBUS | SIGILL | SIGFPE | SIGTRAP if from_kernel => out.ssi_addr = word(0),
        SIGIO if from_kernel => (out.ssi_band, out.ssi_fd) = (low(0), low(1) as i32),
        _ => {
            (out.ssi_pid, out.ssi_uid) = (low(0), high(0));
            // The value of sigqueue(3) and its like; a mere kill(2) has none.
            if info.code < 0 {
                (out.ssi_int, out.ssi_ptr) = (low(1) as i32, word(1));
            }
        }
    }
    out
}
