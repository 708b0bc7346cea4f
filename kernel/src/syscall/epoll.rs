//! epoll.

use super::poll::{restore_mask, swap_mask};
use super::time::slack_of;
use super::{Args, event, user};
use crate::task::thread::Thread;
use vigil_abi::Errno;
use vigil_abi::poll::{EPOLL_CLOEXEC, EPOLL_CTL_DEL, EpollEvent};
use vigil_executor::time::{Nanos, now};
use vigil_fs::epoll;
use vigil_mem::{IoBufMut, KBox, UserPtr};

/// epoll_create1(flags)
pub async fn epoll_create1(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let flags = a[0] as u32;
    if flags & !EPOLL_CLOEXEC != 0 {
        return Err(Errno::EINVAL);
    }
    event::install(t, flags & EPOLL_CLOEXEC != 0, epoll::epoll)
}

/// epoll_ctl(epoll, operation, fd, event)
pub async fn epoll_ctl(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let (op, fd) = (a[1] as u32, a[2] as i32);
    let event = match op {
        EPOLL_CTL_DEL => EpollEvent { events: 0, __pad: 0, data: 0 },
        _ => user::get(t, UserPtr::<EpollEvent>::new(a[3] as usize)).await?,
    };
    let file = t.files()?.get(a[0] as i32)?;
    let target = t.files()?.get(fd)?;
    KBox::try_pin_with(|| epoll::control(&file, op, fd, &target, event))?.await.map(|()| 0)
}

/// Waits with the signal mask at `mask` for its length.
async fn wait(t: &Thread, a: Args<'_>, deadline: Option<Nanos>) -> Result<usize, Errno> {
    const MAX_EVENTS: i32 = i32::MAX / size_of::<EpollEvent>() as i32;
    swap_mask(t, a[4], a[5]).await?;
    let max = a[2] as i32;
    let result = if !(1..=MAX_EVENTS).contains(&max) {
        Err(Errno::EINVAL)
    } else {
        match KBox::try_pin_with(|| collect(t, a[0] as i32, a[1] as usize, max as usize, deadline)) {
            Ok(future) => future.await,
            Err(e) => Err(e.into()),
        }
    };
    restore_mask(t, result == Err(Errno::EINTR));
    result
}

async fn collect(t: &Thread, fd: i32, to: usize, max: usize, deadline: Option<Nanos>) -> Result<usize, Errno> {
    // The whole buffer must lie below TASK_SIZE, however little of it is used.
    IoBufMut::user(to, max * size_of::<EpollEvent>()).ok_or(Errno::EFAULT)?;
    let file = t.files()?.get(fd)?;
    let epoll = epoll::of(&file)?;
    loop {
        match epoll.wait(UserPtr::new(to), max, deadline, slack_of(t)).await? {
            Ok(count) => return Ok(count),
            Err(fault) => user::fault_in(t, fault).await?,
        }
    }
}

/// epoll_pwait(epoll, events, max, timeout in ms, mask, size)
pub async fn epoll_pwait(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let deadline = match a[3] as i32 {
        ms if ms < 0 => None,
        ms => Some(now().saturating_add(ms as u64 * 1_000_000)),
    };
    wait(t, a, deadline).await
}

/// epoll_pwait2(epoll, events, max, timeout, mask, size)
pub async fn epoll_pwait2(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let deadline = super::poll::deadline(t, a[3]).await?;
    wait(t, a, deadline).await
}
