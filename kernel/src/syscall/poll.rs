//! ppoll(2) and pselect6(2).

use super::time::slack_of;
use super::{Args, Stop, SysResult, user};
use crate::task::limits;
use crate::task::signal::recalc;
use crate::task::thread::Thread;
use vigil_abi::Errno;
use vigil_abi::poll::*;
use vigil_abi::time::Timespec;
use vigil_executor::stage;
use vigil_executor::time::{Nanos, now};
use vigil_fs::PollSlot;
use vigil_fs::vfs::poll as fs_poll;
use vigil_mem::{KBox, KVec, UserPtr};

/// The point at which the call gives up: the timeout counts from its entry.
pub(super) async fn deadline(t: &Thread, at: u64) -> Result<Option<Nanos>, Errno> {
    let Some(p) = UserPtr::<Timespec>::new(at as usize).or_null() else { return Ok(None) };
    let ts = user::get(t, p).await?;
    if !ts.is_valid() {
        return Err(Errno::EINVAL);
    }
    Ok(Some(now().saturating_add(ts.to_nanos())))
}

/// Stores what is left of the timeout. A fault there is ignored: the answer has been given.
async fn store_left(t: &Thread, at: u64, deadline: Option<Nanos>) {
    if let (Some(p), Some(d)) = (UserPtr::<Timespec>::new(at as usize).or_null(), deadline) {
        let _ = user::put(t, p, &Timespec::from_nanos(d.saturating_sub(now()))).await;
    }
}

/// Swaps the signal mask for the length of the call.
pub(super) async fn swap_mask(t: &Thread, at: u64, size: u64) -> Result<(), Errno> {
    let Some(p) = UserPtr::<u64>::new(at as usize).or_null() else { return Ok(()) };
    if size != 8 {
        return Err(Errno::EINVAL);
    }
    let mask = user::get(t, p).await?;
    t.signals.set_blocked_until_handled(mask);
    recalc(t);
    Ok(())
}

/// The call is over without a signal: the old mask comes back at once. With one, the handler's frame restores it.
pub(super) fn restore_mask(t: &Thread, interrupted: bool) {
    if interrupted {
        t.set_work(crate::arch::aarch64::entry::WORK_SIGNAL);
    } else if let Some(mask) = t.signals.take_saved() {
        t.signals.set_blocked(mask);
        recalc(t);
    }
}

/// ppoll of one descriptor that is ready, without a mask
pub fn try_ppoll(t: &Thread, a: Args) -> SysResult {
    if a[1] as u32 != 1 || a[3] != 0 {
        return Err(Stop::NotYet);
    }
    let p = UserPtr::<Pollfd>::new(a[0] as usize);
    let mut entry = p.read()?;
    let timeout = UserPtr::<Timespec>::new(a[2] as usize).or_null().map(|p| p.read()).transpose()?;
    if timeout.is_some_and(|ts| !ts.is_valid()) {
        return Err(Errno::EINVAL.into());
    }
    let ready = if entry.fd < 0 {
        0
    } else {
        // SAFETY: the thread's own table; nothing below changes it.
        match unsafe { t.files()?.get_light(entry.fd) } {
            Ok(file) => fs_poll::ready(&file, entry.events as u16 as u32),
            Err(_) => POLLNVAL,
        }
    };
    if ready == 0 && timeout.is_none_or(|ts| ts.to_nanos() > 0) {
        return Err(Stop::NotYet);
    }
    entry.revents = ready as i16;
    p.write(&entry)?;
    Ok((ready != 0) as usize)
}

/// ppoll(fds, count, timeout, mask, size)
pub async fn ppoll(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let count = a[1] as u32 as usize;
    let deadline = deadline(t, a[2]).await?;
    swap_mask(t, a[3], a[4]).await?;
    let result = KBox::try_pin_with(|| poll_fds(t, a[0] as usize, count, deadline));
    let result = match result {
        Ok(future) => future.await,
        Err(e) => Err(e.into()),
    };
    restore_mask(t, result == Err(Errno::ERESTARTNOHAND));
    store_left(t, a[2], deadline).await;
    result
}

async fn poll_fds(t: &Thread, at: usize, count: usize, deadline: Option<Nanos>) -> Result<usize, Errno> {
    if count as u64 > t.process.limits.soft(limits::NOFILE) {
        return Err(Errno::EINVAL);
    }
    let fds = UserPtr::<Pollfd>::new(at);
    let mut slots = KVec::try_with_capacity(count)?;
    for i in 0..count {
        let entry = user::get(t, fds.index(i)).await?;
        slots.try_push(slot(t, entry.fd, entry.events as u16 as u32)?)?;
    }
    let ready = stage!("do_sys_poll", vigil_fs::poll(&mut slots, deadline, slack_of(t))).await?;
    for (i, slot) in slots.iter().enumerate() {
        let to = UserPtr::<i16>::new(at.wrapping_add(8 * i + 6));
        user::put(t, to, &(slot.revents as i16)).await?;
    }
    Ok(ready)
}

fn slot(t: &Thread, fd: i32, events: u32) -> Result<PollSlot, Errno> {
    if fd < 0 {
        return Ok(PollSlot { file: None, events, revents: 0 });
    }
    match t.files()?.get(fd) {
        Ok(file) => Ok(PollSlot { file: Some(file), events, revents: 0 }),
        Err(_) => Ok(PollSlot { file: None, events, revents: POLLNVAL }),
    }
}

/// What select's three sets ask for (Linux: POLLIN_SET, POLLOUT_SET, POLLEX_SET).
const SETS: [u32; 3] = [POLLRDNORM | POLLRDBAND | POLLIN | POLLHUP | POLLERR, POLLWRBAND | POLLWRNORM | POLLOUT | POLLERR, POLLPRI];

/// pselect6(n, read, write, except, timeout, {mask, size})
pub async fn pselect6(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let deadline = deadline(t, a[4]).await?;
    if let Some(p) = UserPtr::<[u64; 2]>::new(a[5] as usize).or_null() {
        let [mask, size] = user::get(t, p).await?;
        swap_mask(t, mask, size).await?;
    }
    let result = match KBox::try_pin(select_sets(t, a, deadline)) {
        Ok(future) => future.await,
        Err(e) => Err(e.into()),
    };
    restore_mask(t, result == Err(Errno::ERESTARTNOHAND));
    store_left(t, a[4], deadline).await;
    result
}

async fn select_sets(t: &Thread, a: Args<'_>, deadline: Option<Nanos>) -> Result<usize, Errno> {
    let n = a[0] as i32;
    if n < 0 {
        return Err(Errno::EINVAL);
    }
    let n = (n as usize).min(t.files()?.capacity());
    let bytes = n.div_ceil(64) * 8;
    let mut sets: [KVec<u8>; 3] = Default::default();
    for (set, at) in sets.iter_mut().zip(&a[1..4]) {
        set.try_resize(bytes, 0)?;
        if *at != 0 {
            user::retry(t, || Ok(UserPtr::<u8>::new(*at as usize).read_slice(set)?)).await?;
        }
    }
    let has = |set: &KVec<u8>, fd: usize| set[fd / 8] & 1 << (fd % 8) != 0;
    let (mut slots, mut fds) = (KVec::new(), KVec::new());
    for fd in 0..n {
        let wanted = (0..3).filter(|i| has(&sets[*i], fd)).fold(0, |w, i| w | SETS[i]);
        if wanted != 0 {
            let slot = slot(t, fd as i32, wanted)?;
            if slot.file.is_none() {
                return Err(Errno::EBADF);
            }
            slots.try_push(slot)?;
            fds.try_push(fd)?;
        }
    }
    stage!("do_select", vigil_fs::poll(&mut slots, deadline, slack_of(t))).await?;
    let mut count = 0;
    let asked = core::mem::take(&mut sets);
    for ((set, old), events) in sets.iter_mut().zip(&asked).zip(SETS) {
        set.try_resize(bytes, 0)?;
        for (slot, &fd) in slots.iter().zip(fds.iter()) {
            if has(old, fd) && slot.revents & events != 0 {
                set[fd / 8] |= 1 << (fd % 8);
                count += 1;
            }
        }
    }
    for (set, at) in sets.iter().zip(&a[1..4]) {
        if *at != 0 {
            user::retry(t, || Ok(UserPtr::<u8>::new(*at as usize).write_slice(set)?)).await?;
        }
    }
    Ok(count)
}
