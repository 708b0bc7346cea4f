//! The wall clock is set, slewed, and leaps; who waits for a time of it is told.

use super::ntp::{self, Ntp};
use super::{clock, itimer, rtc_sync, timerfd};
use core::pin::Pin;
use vigil_abi::Errno;
use vigil_abi::time::{ADJ_ADJTIME, ADJ_NANO, ADJ_SETOFFSET, STA_NANO, Timespec, Timeval, Timex};
use vigil_executor::lock_class;
use vigil_executor::sync::SpinLock;
use vigil_executor::time::{Nanos, SEC};
use vigil_executor::timer::Timer;
use vigil_executor::wait::WaitQueue;
use vigil_executor::work::{UNBOUND, Work};

static NTP: SpinLock<Ntp> = SpinLock::new(lock_class!("ntp"), Ntp::new());
/// Each second, while the clock is slewed or a leap second may come.
static TICKER: Timer = Timer::new(tick);
/// Who sleeps to a time of a clock that can be set or steered: woken when it was.
pub static SLEEPERS: WaitQueue = WaitQueue::new();
/// [`was_set`] from an interrupt.
static WAS_SET: Work = Work::new(|_| was_set());

/// Tells everybody that the wall clock was set. Not in an interrupt.
fn was_set() {
    timerfd::clock_was_set();
    itimer::clock_was_set();
    rtc_sync::clock_was_set();
    SLEEPERS.wake_all();
}

/// Sets CLOCK_REALTIME to `t`. EINVAL before the time since boot.
pub fn set(t: Nanos) -> Result<(), Errno> {
    {
        let mut ntp = NTP.lock_irq();
        if !clock::set_realtime(t) {
            return Err(Errno::EINVAL);
        }
        ntp.clear((t / SEC) as i64);
        apply(&ntp, 0);
    }
    was_set();
    Ok(())
}

/// adjtimex(2), with `t` valid: the state. EINVAL for an offset that leads before the time since boot.
pub fn adjust(t: &mut Timex) -> Result<i32, Errno> {
    let (sets, changes) = (clock::wall_changes(), clock::changes());
    let state = {
        let mut ntp = NTP.lock_irq();
        if t.modes & ADJ_SETOFFSET != 0 && t.modes & ADJ_ADJTIME == 0 {
            let nanos = t.time.tv_usec * if t.modes & ADJ_NANO != 0 { 1 } else { 1000 };
            let target = i128::from(clock::realtime()) + i128::from(t.time.tv_sec) * i128::from(SEC) + i128::from(nanos);
            let can_be_set = |t: &Nanos| Timespec { tv_sec: (*t / SEC) as i64, tv_nsec: 0 }.can_be_set();
            let target = u64::try_from(target).ok().filter(|t| can_be_set(t) && clock::set_realtime(*t)).ok_or(Errno::EINVAL)?;
            ntp.clear((target / SEC) as i64);
        }
        // One look at the clock, so that the time fits the state.
        let now = clock::realtime();
        let leap = carry_on(&mut ntp, now);
        let now = now.saturating_add_signed(i64::from(leap) * SEC as i64);
        let state = ntp.adjust(t, (now / SEC) as i64);
        apply(&ntp, 0);
        let nanos = (now % SEC) as i64;
        t.time = Timeval { tv_sec: (now / SEC) as i64, tv_usec: if t.status & STA_NANO != 0 { nanos } else { nanos / 1000 } };
        ntp.around_leap(t, state)
    };
    if clock::wall_changes() != sets {
        was_set();
    } else if clock::changes() != changes {
        SLEEPERS.wake_all();
    }
    rtc_sync::notify();
    Ok(state)
}

/// Whether somebody keeps the wall clock right. Not in an interrupt.
pub fn is_synchronised() -> bool {
    let mut ntp = NTP.lock_irq();
    let leap = carry_on(&mut ntp, clock::realtime());
    let synchronised = ntp.is_synchronised();
    drop(ntp);
    if leap != 0 {
        was_set();
    }
    synchronised
}

/// Brings the clock's state to the second of `now`, and answers the leap that was made.
fn carry_on(ntp: &mut Ntp, now: Nanos) -> i32 {
    let leap = ntp.advance((now / SEC) as i64);
    apply(ntp, leap);
    leap
}

/// Lets the clock run as `ntp` says.
fn apply(ntp: &Ntp, leap: i32) {
    clock::steer(ntp.rate(), ntp.tai, leap);
    if ntp.is_active() {
        let next = (clock::realtime() / SEC + 1) * SEC;
        Pin::static_ref(&TICKER).start(clock::when(clock::realtime_to_monotonic(next)), 0);
    }
}

fn tick(_: &Timer) {
    let changes = clock::changes();
    let mut ntp = NTP.lock_irq();
    let leap = carry_on(&mut ntp, clock::realtime());
    drop(ntp);
    if leap != 0 {
        UNBOUND.queue(&WAS_SET);
    } else if clock::changes() != changes {
        SLEEPERS.wake_all();
    }
}

/// Whether a caller with (`may_set`) or without CAP_SYS_TIME may ask for `t`: EPERM, EINVAL.
pub fn validate(t: &Timex, may_set: bool) -> Result<(), Errno> {
    ntp::validate(t, may_set)
}
