//! `/dev/rtc0`: the real-time clock, its alarm, and interrupts at its seconds or at a rate (Linux: drivers/rtc/dev.c, interface.c).
//!
//! ```text
//!   clock's line ─► work item ─► told ──┐
//!                                       ├─► DATA: how many, and which kinds ─► read(2), poll(2), SIGIO
//!   hrtimer (the rate) ─► periodic ─────┘
//! ```
//!
//! The file can be open once. `/sys/class/rtc/rtc0` and `/proc/driver/rtc` are in [`crate::procfs`].

use crate::task::thread::Thread;
use core::fmt;
use core::pin::Pin;
use core::sync::atomic::{
    AtomicBool, AtomicU32, AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};
use vigil_abi::Errno;
use vigil_abi::poll::POLLIN;
use vigil_abi::process::{CAP_SYS_RESOURCE, CAP_SYS_TIME};
use vigil_abi::rtc::*;
use vigil_abi::stat::S_IFCHR;
use vigil_drivers::rtc::alarms::{Alarm, Events};
use vigil_drivers::rtc::calendar::{from_date, to_date};
use vigil_drivers::rtc::{self, LAST};
use vigil_executor::lock_class;
use vigil_executor::sync::SpinLock;
use vigil_executor::time::{SEC, now};
use vigil_executor::timer::Timer;
use vigil_executor::wait::WaitQueue;
use vigil_executor::work::{UNBOUND, Work};
use vigil_fs::dev::{chrdev, devtmpfs};
use vigil_fs::vfs::fasync::{Band, FasyncList};
use vigil_fs::{File, FileOps, Inode, OpResult, Opened, PollEvents, PollTable, Stop};
use vigil_mem::{IoBufMut, KArc, UserPtr, unsize};

/// As Debian's Linux has it, where the number is dynamic.
pub(crate) const MAJOR: u32 = 251;
const DAY: u64 = 86_400;
/// The highest rate of periodic interrupts (Linux: RTC_MAX_FREQ).
const MAX_FREQUENCY: u32 = 8192;

/// Whether the file is open.
static BUSY: AtomicBool = AtomicBool::new(false);
/// What has come since the last read: the number above bit 8, the kinds below.
static DATA: AtomicU64 = AtomicU64::new(0);
static WAIT: WaitQueue = WaitQueue::new();
static FASYNC: FasyncList = FasyncList::new();
/// The highest rate that a program without CAP_SYS_RESOURCE may have.
static MAX_USER_FREQUENCY: AtomicU32 = AtomicU32::new(64);
/// Periodic interrupts in a second, and whether they come. Changed under `PERIODIC_CHANGE`.
static FREQUENCY: AtomicU32 = AtomicU32::new(1);
static PERIODIC: AtomicBool = AtomicBool::new(false);
static PERIODIC_CHANGE: SpinLock<()> = SpinLock::new(lock_class!("rtc_periodic"), ());
static TIMER: Timer = Timer::new(periodic);
/// Sends the signals that [`periodic`] cannot; none if everything has been read since.
static TELL: Work = Work::new(|_| {
    if DATA.load(Acquire) != 0 {
        FASYNC.tell(Band::In);
    }
});
/// Whether the wall clock was set from this clock at boot.
static SET_WALL: AtomicBool = AtomicBool::new(false);

/// `count` interrupts of a kind have come.
fn add(count: u64, kind: u32) {
    let with = |data: u64| Some(data.wrapping_add(count << 8) | u64::from(RTC_IRQF | kind));
    let _ = DATA.fetch_update(AcqRel, Acquire, with);
}

/// The clock has something to tell. In a task.
fn told(events: Events) {
    if events.alarm {
        add(1, RTC_AF);
    }
    if events.updates != 0 {
        add(events.updates, RTC_UF);
    }
    WAIT.wake(POLLIN, 0);
    FASYNC.tell(Band::In);
}

/// Hard interrupt: the rate's timer.
fn periodic(_: &Timer) {
    if !PERIODIC.load(Acquire) {
        return;
    }
    let count = Pin::static_ref(&TIMER).forward(now(), interval(), 0);
    add(count, RTC_PF);
    WAIT.wake(POLLIN, 0);
    UNBOUND.queue(&TELL);
}

fn interval() -> u64 {
    SEC / u64::from(FREQUENCY.load(Relaxed).max(1))
}

/// Periodic interrupts, at `frequency` in a second if that is given.
fn set_periodic(on: bool, frequency: Option<u32>) {
    let _order = PERIODIC_CHANGE.lock();
    PERIODIC.store(false, Release);
    TIMER.cancel();
    if let Some(frequency) = frequency {
        FREQUENCY.store(frequency, Relaxed);
    }
    if on {
        PERIODIC.store(true, Release);
        Pin::static_ref(&TIMER).start(now().saturating_add(interval()), 0);
    }
}

/// Shows the day of a date.
pub(crate) struct Date<'a>(pub(crate) &'a RtcTime);

impl fmt::Display for Date<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.0.tm_year + 1900, self.0.tm_mon + 1, self.0.tm_mday)
    }
}

/// Shows the time of day of a date.
pub(crate) struct Clock<'a>(pub(crate) &'a RtcTime);

impl fmt::Display for Clock<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}:{:02}", self.0.tm_hour, self.0.tm_min, self.0.tm_sec)
    }
}

/// What `/proc/driver/rtc` says of the rate: whether they come, how many a second, and how many a program may have.
pub(crate) fn rates() -> (bool, u32, u32) {
    (PERIODIC.load(Relaxed), FREQUENCY.load(Relaxed), MAX_USER_FREQUENCY.load(Relaxed))
}

/// Sets the highest rate of a program without CAP_SYS_RESOURCE.
pub(crate) fn set_max_user_frequency(frequency: u32) {
    MAX_USER_FREQUENCY.store(frequency, Relaxed);
}

/// Whether the wall clock was set from this clock at boot.
pub(crate) fn set_wall_clock() -> bool {
    SET_WALL.load(Relaxed)
}

/// Sets the wall clock from it, at boot: the seconds since 1970.
pub(super) fn to_wall_clock() -> Option<u64> {
    let seconds = rtc::read()?;
    let set = crate::time::clock::set_realtime(seconds.saturating_mul(SEC));
    SET_WALL.store(set, Relaxed);
    set.then_some(seconds)
}

/// The open file.
struct RtcFile;

impl FileOps for RtcFile {
    /// How many interrupts have come, and of which kinds: an `unsigned int` or an `unsigned long`. EINVAL for another size; EAGAIN.
    fn read<'a>(&'a self, file: &'a File, buf: &mut IoBufMut<'_>, _: &mut u64) -> OpResult<'a, usize> {
        let wide = match buf.remaining() {
            4 => false,
            0..=7 => return Err(Stop::Err(Errno::EINVAL)),
            _ => true,
        };
        let data = DATA.swap(0, AcqRel);
        if data == 0 {
            return Err(file.would_block(&WAIT, POLLIN));
        }
        let bytes = data.to_ne_bytes();
        buf.copy_out(if wide { &bytes } else { &bytes[..4] }).map_err(|fault| {
            // The reader comes again when its page is there.
            add(data >> 8, data as u32 & 0xff);
            fault.into()
        })
    }

    fn can_poll(&self) -> bool {
        true
    }

    fn poll(&self, _: &File, table: &mut PollTable<'_>) -> PollEvents {
        table.add(&WAIT);
        if DATA.load(Acquire) != 0 { PollEvents::IN | PollEvents::RDNORM } else { PollEvents::empty() }
    }

    fn fasync(&self) -> Option<&FasyncList> {
        Some(&FASYNC)
    }

    fn llseek(&self, _: &File, _: u64, _: i64, _: u32) -> Result<u64, Errno> {
        Err(Errno::ESPIPE)
    }

    fn ioctl<'a>(&'a self, _: &'a File, cmd: u32, arg: usize) -> OpResult<'a, isize> {
        may(cmd, arg)?;
        match cmd {
            RTC_RD_TIME => UserPtr::<RtcTime>::new(arg).write(&to_date(clock()?))?,
            RTC_SET_TIME => rtc::set(seconds(&UserPtr::<RtcTime>::new(arg).read()?)?)?,
            RTC_ALM_READ => UserPtr::<RtcTime>::new(arg).write(&to_date(rtc::alarm()?.at))?,
            RTC_ALM_SET => rtc::set_alarm(Alarm { at: within_a_day(&UserPtr::<RtcTime>::new(arg).read()?)?, enabled: false })?,
            RTC_WKALM_RD => {
                let alarm = rtc::alarm()?;
                let told = RtcWkalrm { enabled: u8::from(alarm.enabled), pending: 0, pad: [0; 2], time: to_date(alarm.at) };
                UserPtr::<RtcWkalrm>::new(arg).write(&told)?;
            }
            RTC_WKALM_SET => {
                let alarm = UserPtr::<RtcWkalrm>::new(arg).read()?;
                rtc::set_alarm(Alarm { at: seconds(&alarm.time)?, enabled: alarm.enabled != 0 })?;
            }
            RTC_AIE_ON | RTC_AIE_OFF => rtc::enable_alarm(cmd == RTC_AIE_ON)?,
            RTC_UIE_ON | RTC_UIE_OFF => rtc::enable_updates(cmd == RTC_UIE_ON)?,
            RTC_PIE_ON | RTC_PIE_OFF => {
                let on = cmd == RTC_PIE_ON;
                if on != PERIODIC.load(Relaxed) {
                    set_periodic(on, None);
                }
            }
            RTC_IRQP_READ => UserPtr::<u64>::new(arg).write(&u64::from(FREQUENCY.load(Relaxed)))?,
            RTC_IRQP_SET => {
                let frequency = u32::try_from(arg as i32).ok().filter(|f| (1..=MAX_FREQUENCY).contains(f)).ok_or(Errno::EINVAL)?;
                set_periodic(PERIODIC.load(Relaxed), Some(frequency));
            }
            RTC_PARAM_GET => {
                let mut param = UserPtr::<RtcParam>::new(arg).read()?;
                if param.param != u64::from(RTC_PARAM_FEATURES) || param.index != 0 {
                    return Err(Stop::Err(Errno::EINVAL));
                }
                param.value = 1 << RTC_FEATURE_ALARM | 1 << RTC_FEATURE_UPDATE_INTERRUPT;
                UserPtr::new(arg).write(&param)?;
            }
            // The clock has no parameter that can be set.
            RTC_PARAM_SET => {
                UserPtr::<RtcParam>::new(arg).read()?;
                return Err(Stop::Err(Errno::EINVAL));
            }
            _ => return Err(Stop::Err(Errno::ENOTTY)),
        }
        Ok(0)
    }
}

impl Drop for RtcFile {
    fn drop(&mut self) {
        // Nobody listens any more. The alarm stays.
        let _ = rtc::enable_updates(false);
        set_periodic(false, None);
        FASYNC.forget_gone();
        BUSY.store(false, Release);
    }
}

/// Whether the caller may ask for `cmd`: EACCES.
fn may(cmd: u32, arg: usize) -> Result<(), Errno> {
    let most = MAX_USER_FREQUENCY.load(Relaxed);
    let needs = match cmd {
        RTC_EPOCH_SET | RTC_SET_TIME | RTC_PARAM_SET => CAP_SYS_TIME,
        RTC_IRQP_SET if arg > most as usize => CAP_SYS_RESOURCE,
        RTC_PIE_ON if FREQUENCY.load(Relaxed) > most => CAP_SYS_RESOURCE,
        _ => return Ok(()),
    };
    let may = Thread::current().is_some_and(|t| t.cred().is_ok_and(|c| c.capable(needs)));
    if may { Ok(()) } else { Err(Errno::EACCES) }
}

fn clock() -> Result<u64, Errno> {
    rtc::read().ok_or(Errno::ENODEV)
}

/// EINVAL: no such date; ERANGE: beyond what the clock can hold.
fn seconds(date: &RtcTime) -> Result<u64, Errno> {
    from_date(date).ok_or(Errno::EINVAL).and_then(|at| if at > LAST { Err(Errno::ERANGE) } else { Ok(at) })
}

/// When it is the time of day of `time` next.
fn within_a_day(time: &RtcTime) -> Result<u64, Errno> {
    let now = clock()?;
    let at = seconds(&RtcTime { tm_sec: time.tm_sec, tm_min: time.tm_min, tm_hour: time.tm_hour, ..to_date(now) })?;
    Ok(if at < now { at + DAY } else { at })
}

fn open(_: &Inode, _: u32) -> Result<Opened, Errno> {
    if BUSY.swap(true, AcqRel) {
        return Err(Errno::EBUSY);
    }
    DATA.store(0, Release);
    // Where this fails the file, and with it the open, is dropped.
    let ops = KArc::try_new(RtcFile)?;
    Ok(Opened::Own(unsize!(KArc, ops => dyn FileOps)))
}

/// Registers the device, if there is a clock.
pub(super) fn init() -> Result<(), Errno> {
    if rtc::name().is_none() {
        return Ok(());
    }
    rtc::listen(told);
    chrdev::register(MAJOR, 0, 1, "rtc", open)?;
    devtmpfs::device_node("rtc0", S_IFCHR | 0o600, MAJOR, 0)
}
