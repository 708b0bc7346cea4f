//! How many queues there may be and how large they may be made: for all together, for users without privileges, for each user
//! by RLIMIT_MSGQUEUE.

use crate::ipc::account::Account;
use crate::procfs::{sysctl_line, sysctl_value};
use crate::task::limits;
use crate::task::thread::Thread;
use core::sync::atomic::{AtomicI32, AtomicU32, Ordering::Relaxed};
use vigil_abi::Errno;
use vigil_abi::ipc::MQ_PRIO_MAX;
use vigil_abi::process::CAP_SYS_RESOURCE;

/// The most messages of a queue, whoever makes it.
const HARD_MSGMAX: i32 = 65_536;
/// The largest message, whoever makes the queue.
const HARD_MSGSIZEMAX: i32 = 16 << 20;
/// What Linux's kernel keeps for a message beside its bytes (`struct msg_msg`), and for a priority (`struct
/// posix_msg_tree_node`): programs see both in what RLIMIT_MSGQUEUE allows.
const MESSAGE_BYTES: u64 = 48;
const PRIORITY_BYTES: u64 = 48;

/// Queues that there may be.
static QUEUES_MAX: AtomicI32 = AtomicI32::new(256);
/// Messages that a user without CAP_SYS_RESOURCE may ask for.
static MSG_MAX: AtomicI32 = AtomicI32::new(10);
/// Bytes of a message, likewise.
static MSGSIZE_MAX: AtomicI32 = AtomicI32::new(8192);
/// Messages of a queue that was made without a wish.
static MSG_DEFAULT: AtomicI32 = AtomicI32::new(10);
/// Bytes of a message, likewise.
static MSGSIZE_DEFAULT: AtomicI32 = AtomicI32::new(8192);

/// Queues that there are.
static QUEUES: AtomicU32 = AtomicU32::new(0);
/// Bytes that each user's queues may need at most.
static BYTES: Account = Account::new();

/// The right of a queue to exist.
pub struct Existence(());

impl Existence {
    /// For a queue that `thread` makes. ENOSPC.
    pub fn of(thread: &Thread) -> Result<Existence, Errno> {
        let max = QUEUES_MAX.load(Relaxed) as u32;
        let privileged = thread.cred()?.capable(CAP_SYS_RESOURCE);
        let step = |n: u32| (n < max || privileged).then(|| n.saturating_add(1));
        QUEUES.fetch_update(Relaxed, Relaxed, step).map(|_| Existence(())).map_err(|_| Errno::ENOSPC)
    }
}

impl Drop for Existence {
    fn drop(&mut self) {
        QUEUES.fetch_sub(1, Relaxed);
    }
}

/// What a queue may hold, charged to its maker.
pub struct Size {
    /// Messages.
    pub maxmsg: usize,
    /// Bytes of each.
    pub msgsize: usize,
    uid: u32,
    charged: u64,
}

impl Size {
    /// For a queue of `thread`'s of so many messages of so many bytes; `None`: as many as is usual. EINVAL, EOVERFLOW, EMFILE by
    /// RLIMIT_MSGQUEUE, ENOMEM.
    pub fn of(thread: &Thread, wish: Option<(i64, i64)>) -> Result<Size, Errno> {
        let usual = || {
            let least = |a: &AtomicI32, b: &AtomicI32| i64::from(a.load(Relaxed).min(b.load(Relaxed)));
            (least(&MSG_MAX, &MSG_DEFAULT), least(&MSGSIZE_MAX, &MSGSIZE_DEFAULT))
        };
        let (maxmsg, msgsize) = wish.unwrap_or_else(usual);
        let cred = thread.cred()?;
        let (most, largest) = if cred.capable(CAP_SYS_RESOURCE) {
            (HARD_MSGMAX, HARD_MSGSIZEMAX)
        } else {
            (MSG_MAX.load(Relaxed), MSGSIZE_MAX.load(Relaxed))
        };
        if maxmsg <= 0 || msgsize <= 0 || maxmsg > i64::from(most) || msgsize > i64::from(largest) {
            return Err(Errno::EINVAL);
        }
        let (maxmsg, msgsize) = (maxmsg as u64, msgsize as u64);
        let beside = maxmsg * MESSAGE_BYTES + maxmsg.min(u64::from(MQ_PRIO_MAX)) * PRIORITY_BYTES;
        let bytes = maxmsg.checked_mul(msgsize).and_then(|n| n.checked_add(beside)).ok_or(Errno::EOVERFLOW)?;
        let limit = thread.process.limits.soft(limits::MSGQUEUE);
        if !BYTES.charge(cred.uid, bytes, limit)? {
            return Err(Errno::EMFILE);
        }
        Ok(Size { maxmsg: maxmsg as usize, msgsize: msgsize as usize, uid: cred.uid, charged: bytes })
    }
}

impl Drop for Size {
    fn drop(&mut self) {
        BYTES.uncharge(self.uid, self.charged);
    }
}

/// Adds the files of `/proc/sys/fs/mqueue`.
pub(super) fn init() -> Result<(), Errno> {
    macro_rules! files {
        ($($name:literal: $value:ident $min:expr, $max:expr;)*) => {
            $(vigil_fs::proc::add_file_rw(
                concat!("sys/fs/mqueue/", $name),
                0o644,
                |o| sysctl_line(o, $value.load(Relaxed)),
                |d| {
                    $value.store(sysctl_value(d, $min, $max)? as i32, Relaxed);
                    Ok(())
                },
            )?;)*
        };
    }
    files! {
        "queues_max": QUEUES_MAX i32::MIN.into(), i32::MAX.into();
        "msg_max": MSG_MAX 1, HARD_MSGMAX.into();
        "msgsize_max": MSGSIZE_MAX 128, HARD_MSGSIZEMAX.into();
        "msg_default": MSG_DEFAULT 1, HARD_MSGMAX.into();
        "msgsize_default": MSGSIZE_DEFAULT 128, HARD_MSGSIZEMAX.into();
    }
    Ok(())
}
