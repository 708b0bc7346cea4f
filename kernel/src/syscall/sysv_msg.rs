//! System V message queues: msgget, msgsnd, msgrcv, msgctl.

use super::{Args, user};
use crate::ipc::payload::Payload;
use crate::ipc::sysv::msg::queue::{Message, Reception, Wanted};
use crate::ipc::sysv::msg::{self, MSGMAX, QUEUES, control};
use crate::task::thread::Thread;
use core::sync::atomic::Ordering::Relaxed;
use vigil_abi::Errno;
use vigil_abi::ipc::*;
use vigil_mem::{KBox, UserPtr};

/// msgget(key, flags)
pub async fn msgget(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    msg::get(t, a[0] as i32, a[1] as u32).map(|id| id as usize)
}

/// msgsnd(queue, message, size, flags)
pub async fn msgsnd(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    KBox::try_pin(send(t, *a))?.await
}

async fn send(t: &Thread, a: [u64; 6]) -> Result<usize, Errno> {
    let (id, at, size) = (a[0] as i32, a[1] as usize, a[2]);
    let kind = user::get(t, UserPtr::<i64>::new(at)).await?;
    if size > MSGMAX.load(Relaxed) as u64 || id < 0 || kind < 1 {
        return Err(Errno::EINVAL);
    }
    let payload = Payload::read(t, at.wrapping_add(8), size as usize).await?;
    let message = KBox::try_new(Message::new(kind, payload))?;
    let queue = QUEUES.find(id)?;
    queue.send(t, message, a[3] as u32 & IPC_NOWAIT != 0).await.map(|()| 0)
}

/// msgrcv(queue, buffer, size, type, flags)
pub async fn msgrcv(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    KBox::try_pin(receive(t, *a))?.await
}

async fn receive(t: &Thread, a: [u64; 6]) -> Result<usize, Errno> {
    let (id, at, size, kind, flags) = (a[0] as i32, a[1] as usize, a[2], a[3] as i64, a[4] as u32);
    if id < 0 || (size as i64) < 0 {
        return Err(Errno::EINVAL);
    }
    let at_once = flags & IPC_NOWAIT != 0;
    let room = if flags & MSG_COPY == 0 {
        size as usize
    } else {
        if flags & MSG_EXCEPT != 0 || !at_once {
            return Err(Errno::EINVAL);
        }
        // As on Linux what it is copied to is read first.
        let room = (size as usize).min(MSGMAX.load(Relaxed) as usize);
        drop(Payload::read(t, at, room).await?);
        room
    };
    let wanted = match kind {
        0 => Wanted::Any,
        i64::MIN..0 => Wanted::LessEqual(kind.checked_neg().unwrap_or(i64::MAX)),
        _ if flags & MSG_EXCEPT != 0 => Wanted::NotEqual(kind),
        _ => Wanted::Equal(kind),
    };
    let reception = Reception { wanted, room, cuts: flags & MSG_NOERROR != 0, at_once };
    let queue = QUEUES.find(id)?;
    let message = if flags & MSG_COPY != 0 { queue.copy(t, kind, &reception)? } else { queue.receive(t, reception).await? };
    user::put(t, UserPtr::<i64>::new(at), &message.kind).await?;
    let length = message.payload.len().min(room);
    message.payload.write(t, at.wrapping_add(8), length).await?;
    Ok(length)
}

/// msgctl(queue, command, buffer)
pub async fn msgctl(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    KBox::try_pin(ctl(t, a[0] as i32, a[1] as i32, a[2] as usize))?.await
}

async fn ctl(t: &Thread, id: i32, command: i32, at: usize) -> Result<usize, Errno> {
    if id < 0 || command < 0 {
        return Err(Errno::EINVAL);
    }
    match command as u32 {
        command @ (IPC_INFO | MSG_INFO) => {
            let (info, highest) = control::info(command == MSG_INFO);
            user::put(t, UserPtr::new(at), &info).await?;
            Ok(highest)
        }
        command @ (IPC_STAT | MSG_STAT | MSG_STAT_ANY) => {
            let (ds, result) = control::stat(t, id, command)?;
            user::put(t, UserPtr::new(at), &ds).await?;
            Ok(result)
        }
        IPC_SET => {
            let new = user::get(t, UserPtr::<MsqidDs>::new(at)).await?;
            control::set(t, id, &new).map(|()| 0)
        }
        IPC_RMID => control::remove(t, id).map(|()| 0),
        _ => Err(Errno::EINVAL),
    }
}
