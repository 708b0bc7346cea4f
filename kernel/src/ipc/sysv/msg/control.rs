//! What msgctl(2) asks and changes.

use super::{MSGMAX, MSGMNB, QUEUES};
use crate::ipc::sysv::seconds;
use crate::task::thread::Thread;
use core::sync::atomic::Ordering::Relaxed;
use vigil_abi::Errno;
use vigil_abi::ipc::{MSG_STAT_ANY, Msginfo, MsqidDs};
use vigil_abi::process::CAP_SYS_RESOURCE;

/// IPC_INFO, or MSG_INFO when `in_use`; and the highest index.
pub fn info(in_use: bool) -> (Msginfo, usize) {
    let (queues, highest) = QUEUES.count();
    let (mut bytes, mut messages) = (0usize, 0usize);
    if in_use {
        for (_, queue) in QUEUES.objects() {
            if let Ok(state) = queue.lock() {
                (bytes, messages) = (bytes.saturating_add(state.bytes), messages.saturating_add(state.count));
            }
        }
    }
    let (pool, map, total) = if in_use { (queues as i32, messages as i32, bytes as i32) } else { (512_000, 16_384, 16_384) };
    let info = Msginfo {
        msgpool: pool,
        msgmap: map,
        msgmax: MSGMAX.load(Relaxed),
        msgmnb: MSGMNB.load(Relaxed),
        msgmni: QUEUES.limit.load(Relaxed),
        msgssz: 16,
        msgtql: total,
        msgseg: 0xffff,
        __pad: 0,
    };
    (info, highest)
}

/// IPC_STAT, MSG_STAT, MSG_STAT_ANY: with the call's result. EINVAL, EACCES, EIDRM.
pub fn stat(thread: &Thread, id: i32, command: u32) -> Result<(MsqidDs, usize), Errno> {
    let (queue, result) = QUEUES.asked(thread, id, command, MSG_STAT_ANY)?;
    let state = queue.lock()?;
    let ds = MsqidDs {
        msg_perm: queue.perm.show(),
        msg_stime: state.stime,
        msg_rtime: state.rtime,
        msg_ctime: state.ctime,
        msg_cbytes: state.bytes as u64,
        msg_qnum: state.count as u64,
        msg_qbytes: state.most as u64,
        msg_lspid: state.sender as i32,
        msg_lrpid: state.receiver as i32,
        ..MsqidDs::default()
    };
    Ok((ds, result))
}

/// IPC_SET. EINVAL, EPERM also for more bytes than usual, EIDRM.
pub fn set(thread: &Thread, id: i32, new: &MsqidDs) -> Result<(), Errno> {
    let queue = QUEUES.find_owned(thread, id)?;
    if new.msg_qbytes > MSGMNB.load(Relaxed) as u64 && !thread.cred()?.capable(CAP_SYS_RESOURCE) {
        return Err(Errno::EPERM);
    }
    {
        let mut state = queue.lock()?;
        queue.perm.set(&new.msg_perm)?;
        state.most = new.msg_qbytes as usize;
        state.ctime = seconds();
    }
    queue.wake_receivers();
    queue.wake_senders();
    Ok(())
}

/// IPC_RMID. EINVAL, EPERM, EIDRM.
pub fn remove(thread: &Thread, id: i32) -> Result<(), Errno> {
    let queue = QUEUES.find_owned(thread, id)?;
    queue.kill()?;
    QUEUES.remove(id);
    Ok(())
}
