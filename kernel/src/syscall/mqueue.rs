//! POSIX message queues: mq_open, mq_unlink, mq_timedsend, mq_timedreceive, mq_notify, mq_getsetattr.

use super::file::Caller;
use super::{Args, fd, user};
use crate::ipc::mqueue::fs;
use crate::ipc::mqueue::queue::{Message, Mqueue, Patience, Registration};
use crate::ipc::payload::Payload;
use crate::task::signal::NSIG;
use crate::task::thread::Thread;
use crate::time::until::Until;
use vigil_abi::Errno;
use vigil_abi::fcntl::O_NONBLOCK;
use vigil_abi::ipc::{MQ_PRIO_MAX, MqAttr};
use vigil_abi::time::{SIGEV_NONE, SIGEV_SIGNAL, SIGEV_THREAD, Sigevent, Timespec};
use vigil_fs::{File, PathName};
use vigil_mem::{KArc, KBox, UserPtr};

/// A name: not empty. ENOENT.
async fn name(t: &Thread, from: u64) -> Result<PathName, Errno> {
    let name = user::path(t, from).await?;
    if name.is_empty() { Err(Errno::ENOENT) } else { Ok(name) }
}

/// mq_open(name, flags, mode, attributes)
pub async fn mq_open(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    KBox::try_pin(open(t, *a))?.await
}

async fn open(t: &Thread, a: [u64; 6]) -> Result<usize, Errno> {
    let attr = match UserPtr::<MqAttr>::new(a[3] as usize).or_null() {
        Some(from) => Some(user::get(t, from).await?),
        None => None,
    };
    let name = name(t, a[0]).await?;
    let files = t.share_files().ok_or(Errno::EBADF)?;
    let reserved = files.reserve(0, fd::nofile(t), true)?;
    let caller = Caller::of(t)?;
    let file = fs::open(&caller.ctx(), &name, a[1] as u32, a[2] as u32, attr).await?;
    Ok(reserved.install(file) as usize)
}

/// mq_unlink(name)
pub async fn mq_unlink(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    KBox::try_pin(unlink(t, a[0]))?.await
}

async fn unlink(t: &Thread, from: u64) -> Result<usize, Errno> {
    let name = name(t, from).await?;
    let caller = Caller::of(t)?;
    fs::unlink(&caller.ctx(), &name).await.map(|()| 0)
}

/// The queue behind a file. EBADF.
fn queue(file: &File) -> Result<&Mqueue, Errno> {
    file.private().ok_or(Errno::EBADF)
}

/// When a wait ends: a time of CLOCK_REALTIME, or never. EFAULT, EINVAL.
async fn until(t: &Thread, from: u64) -> Result<Until, Errno> {
    let Some(from) = UserPtr::<Timespec>::new(from as usize).or_null() else { return Ok(Until::Endless) };
    let time = user::get(t, from).await?;
    if !time.is_valid() {
        return Err(Errno::EINVAL);
    }
    Ok(Until::Realtime(time.to_nanos()))
}

fn patience(file: &File, until: Until) -> Patience {
    if file.is_nonblocking() { Patience::None } else { Patience::Some(until) }
}

/// mq_timedsend(queue, message, length, priority, deadline)
pub async fn mq_timedsend(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    KBox::try_pin(send(t, *a))?.await
}

async fn send(t: &Thread, a: [u64; 6]) -> Result<usize, Errno> {
    let until = until(t, a[4]).await?;
    let (length, priority) = (a[2] as usize, a[3] as u32);
    if priority >= MQ_PRIO_MAX {
        return Err(Errno::EINVAL);
    }
    let file = t.files()?.get(a[0] as i32)?;
    let queue = queue(&file)?;
    if !file.writable() {
        return Err(Errno::EBADF);
    }
    if length > queue.size.msgsize {
        return Err(Errno::EMSGSIZE);
    }
    let payload = Payload::read(t, a[1] as usize, length).await?;
    let message = KBox::try_new(Message::new(priority, payload))?;
    queue.send(t, message, patience(&file, until)).await?;
    file.inode().touch_mtime();
    Ok(0)
}

/// mq_timedreceive(queue, buffer, length, priority, deadline)
pub async fn mq_timedreceive(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    KBox::try_pin(receive(t, *a))?.await
}

async fn receive(t: &Thread, a: [u64; 6]) -> Result<usize, Errno> {
    let until = until(t, a[4]).await?;
    let file = t.files()?.get(a[0] as i32)?;
    let queue = queue(&file)?;
    if !file.readable() {
        return Err(Errno::EBADF);
    }
    if (a[2] as usize) < queue.size.msgsize {
        return Err(Errno::EMSGSIZE);
    }
    let message = queue.receive(t, patience(&file, until)).await?;
    file.inode().touch_mtime();
    if let Some(to) = UserPtr::<u32>::new(a[3] as usize).or_null() {
        user::put(t, to, &message.priority()).await?;
    }
    let length = message.value.len();
    message.value.write(t, a[1] as usize, length).await?;
    Ok(length)
}

/// mq_notify(queue, event)
pub async fn mq_notify(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let event = match UserPtr::<Sigevent>::new(a[1] as usize).or_null() {
        Some(from) => Some(user::get(t, from).await?),
        None => None,
    };
    let registration = match event {
        None => None,
        Some(event) => {
            let (kind, signo) = (event.sigev_notify as u32, event.sigev_signo as u32);
            match kind {
                SIGEV_NONE => {}
                SIGEV_SIGNAL if signo as usize <= NSIG => {}
                SIGEV_THREAD => return Err(thread_notification(t, &event).await),
                _ => return Err(Errno::EINVAL),
            }
            Some(Registration { process: t.process.clone(), kind, signo, value: event.sigev_value })
        }
    };
    let file = t.files()?.get(a[0] as i32)?;
    let queue = queue(&file)?;
    match registration {
        Some(registration) => queue.register(registration)?,
        None if !queue.unregister(&t.process) => return Ok(0),
        None => {}
    }
    touch(&file);
    Ok(0)
}

/// SIGEV_THREAD tells by 32 bytes that come out of a netlink socket, and there are none: what Linux answers for any other
/// descriptor.
async fn thread_notification(t: &Thread, event: &Sigevent) -> Errno {
    if let Err(e) = user::get(t, UserPtr::<[u64; 4]>::new(event.sigev_value as usize)).await {
        return e;
    }
    match t.files().and_then(|files| files.get(event.sigev_signo)) {
        Err(e) => e,
        Ok(file) if file.inode().kind() == vigil_abi::stat::S_IFSOCK => Errno::EINVAL,
        Ok(_) => Errno::ENOTSOCK,
    }
}

/// The queue was looked at and changed.
fn touch(file: &KArc<File>) {
    file.inode().touch_atime();
    file.inode().touch_ctime();
}

/// mq_getsetattr(queue, new attributes, old attributes)
pub async fn mq_getsetattr(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let new = match UserPtr::<MqAttr>::new(a[1] as usize).or_null() {
        Some(from) => Some(user::get(t, from).await?.mq_flags),
        None => None,
    };
    if new.is_some_and(|flags| flags & !i64::from(O_NONBLOCK) != 0) {
        return Err(Errno::EINVAL);
    }
    let file = t.files()?.get(a[0] as i32)?;
    let queue = queue(&file)?;
    let old = MqAttr {
        mq_flags: i64::from(file.flags() & O_NONBLOCK),
        mq_maxmsg: queue.size.maxmsg as i64,
        mq_msgsize: queue.size.msgsize as i64,
        mq_curmsgs: queue.snapshot().count as i64,
        ..MqAttr::default()
    };
    if let Some(flags) = new {
        file.set_flags(file.flags() & !O_NONBLOCK | flags as u32)?;
        touch(&file);
    }
    if let Some(to) = UserPtr::<MqAttr>::new(a[2] as usize).or_null() {
        user::put(t, to, &old).await?;
    }
    Ok(0)
}
