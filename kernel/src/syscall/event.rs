//! Files to wait with: eventfd, timerfd, signalfd.

use super::{Args, fd, user};
use crate::task::signal::signalfd;
use crate::task::thread::Thread;
use crate::time::timerfd::{self, Mode, Spec};
use vigil_abi::Errno;
use vigil_abi::fcntl::EFD_CLOEXEC;
use vigil_abi::process::CAP_WAKE_ALARM;
use vigil_abi::signal::{SFD_CLOEXEC, SFD_NONBLOCK, SIGKILL, SIGSTOP, sigmask};
use vigil_abi::time::{
    CLOCK_BOOTTIME_ALARM, CLOCK_REALTIME_ALARM, Itimerspec, TFD_CLOEXEC, TFD_NONBLOCK, TFD_TIMER_ABSTIME, TFD_TIMER_CANCEL_ON_SET, Timespec,
};
use vigil_fs::File;
use vigil_mem::{KArc, UserPtr};

/// Gives a file that `make` makes a number.
pub(super) fn install(t: &Thread, cloexec: bool, make: impl FnOnce() -> Result<KArc<File>, Errno>) -> Result<usize, Errno> {
    let files = t.files()?;
    let reserved = files.reserve(0, fd::nofile(t), cloexec)?;
    Ok(reserved.install(make()?) as usize)
}

/// eventfd2(count, flags)
pub async fn eventfd2(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let flags = a[1] as u32;
    install(t, flags & EFD_CLOEXEC != 0, || vigil_fs::eventfd::eventfd(a[0] as u32, flags))
}

/// timerfd_create(clock, flags)
pub async fn timerfd_create(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let (clock, flags) = (a[0] as u32, a[1] as u32);
    if flags & !(TFD_CLOEXEC | TFD_NONBLOCK) != 0 {
        return Err(Errno::EINVAL);
    }
    if matches!(clock, CLOCK_REALTIME_ALARM | CLOCK_BOOTTIME_ALARM) && !t.cred()?.capable(CAP_WAKE_ALARM) {
        return Err(Errno::EPERM);
    }
    install(t, flags & TFD_CLOEXEC != 0, || timerfd::create(clock, flags))
}

fn to_abi(spec: Spec) -> Itimerspec {
    Itimerspec { it_interval: Timespec::from_nanos(spec.interval), it_value: Timespec::from_nanos(spec.value) }
}

/// timerfd_settime(fd, flags, new, old)
pub async fn timerfd_settime(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let new = user::get(t, UserPtr::<Itimerspec>::new(a[2] as usize)).await?;
    let flags = a[1] as u32;
    let valid = new.it_value.is_valid() && new.it_interval.is_valid();
    if flags & !(TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET) != 0 || !valid {
        return Err(Errno::EINVAL);
    }
    let file = t.files()?.get(a[0] as i32)?;
    let timer = timerfd::of(&file)?;
    if timer.is_alarm() && !t.cred()?.capable(CAP_WAKE_ALARM) {
        return Err(Errno::EPERM);
    }
    let mode = Mode { absolute: flags & TFD_TIMER_ABSTIME != 0, cancel_on_set: flags & TFD_TIMER_CANCEL_ON_SET != 0 };
    let spec = Spec { value: new.it_value.to_nanos(), interval: new.it_interval.to_nanos() };
    let (old, result) = timer.set(spec, mode);
    result?;
    if let Some(p) = UserPtr::<Itimerspec>::new(a[3] as usize).or_null() {
        user::put(t, p, &to_abi(old)).await?;
    }
    Ok(0)
}

/// timerfd_gettime(fd, value)
pub async fn timerfd_gettime(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let file = t.files()?.get(a[0] as i32)?;
    let left = timerfd::of(&file)?.get();
    user::put(t, UserPtr::<Itimerspec>::new(a[1] as usize), &to_abi(left)).await?;
    Ok(0)
}

/// signalfd4(fd, mask, size, flags)
pub async fn signalfd4(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    if a[2] != 8 {
        return Err(Errno::EINVAL);
    }
    let mask = user::get(t, UserPtr::<u64>::new(a[1] as usize)).await?;
    let wanted = mask & !(sigmask(SIGKILL) | sigmask(SIGSTOP));
    let flags = a[3] as u32;
    if flags & !(SFD_CLOEXEC | SFD_NONBLOCK) != 0 {
        return Err(Errno::EINVAL);
    }
    if a[0] as i32 != -1 {
        signalfd::change(&*t.files()?.get(a[0] as i32)?, wanted)?;
        return Ok(a[0] as usize);
    }
    install(t, flags & SFD_CLOEXEC != 0, || signalfd::create(wanted, flags))
}
