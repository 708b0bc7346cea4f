//! The real-time clock, which goes on while the machine is off: the wall clock at boot, an alarm, a tick at each second
//! (Linux: drivers/rtc). One clock; the kernel makes `/dev/rtc0` of it.
//!
//! | file | subject |
//! |---|---|
//! | [`alarms`] | several alarms of a clock that has one |
//! | [`calendar`] | seconds and dates |
//! | [`pl031`] | the registers of a PL031 |
//!
//! The lock `rtc` is taken by tasks, with preemption off for some accesses to the device. The line's handler lowers the line and
//! leaves the rest to a work item.

pub mod alarms;
pub mod calendar;
pub mod pl031;

use crate::dt::Node;
use crate::irq::{self, IrqAction, IrqFlags, IrqReturn, Virq};
use crate::model::{Driver, ioremap};
use alarms::{Alarm, Alarms, Due, Events};
use pl031::Pl031;
use vigil_abi::Errno;
use vigil_executor::sync::{LockClass, SpinLock};
use vigil_executor::work::{UNBOUND, Work};
use vigil_mem::{KString, PhysAddr, try_format};

/// The driver of a PL031; the first one is the clock.
pub static PL031_DRIVER: Driver = Driver { name: "rtc-pl031", compatible: &["arm,pl031"], priority: 40, probe };

/// The last second that the clock can show.
pub const LAST: u64 = <Pl031 as alarms::Clock>::LAST;

struct Rtc {
    registers: Pl031,
    alarms: SpinLock<Alarms<Pl031>>,
    name: KString,
}

static RTC: spin::Once<Rtc> = spin::Once::new();
static CLASS: LockClass = LockClass::new("rtc");
/// Told of what has come, in a task.
static LISTENER: spin::Once<fn(Events)> = spin::Once::new();
static RUN: Work = Work::new(|_| run());
static ACTION: IrqAction = IrqAction::of_static("rtc-pl031", handler, IrqFlags::empty());

fn probe(node: Node<'_>) -> Result<(), Errno> {
    if RTC.get().is_some() {
        return Err(Errno::EBUSY);
    }
    let region = node.reg(0).ok_or(Errno::EINVAL)?;
    let virq = irq::map_dt(node, 0)?;
    let name = try_format!("{:x}.{}", region.base, node.name())?;
    let registers = Pl031::new(ioremap(PhysAddr::new(region.base as usize), region.size as usize)?);
    let alarms = SpinLock::new(&CLASS, Alarms::new(registers, registers.match_value()));
    RTC.call_once(|| Rtc { registers, alarms, name });
    irq::request_irq(virq, &ACTION)
}

/// Hard interrupt: the alarm that stands in the clock.
fn handler(_: Virq, _: *const ()) -> IrqReturn {
    if !RTC.get().is_some_and(|rtc| rtc.registers.acknowledge()) {
        return IrqReturn::None;
    }
    UNBOUND.queue(&RUN);
    IrqReturn::Handled
}

/// Tells of what has come.
fn run() {
    let Some(rtc) = RTC.get() else { return };
    let events = rtc.alarms.lock().run();
    if events != Events::default()
        && let Some(tell) = LISTENER.get()
    {
        tell(events);
    }
}

/// Runs `f` on the clock, and what has come by it. ENODEV without a clock.
fn with(f: impl FnOnce(&mut Alarms<Pl031>) -> Result<Due, Errno>) -> Result<(), Errno> {
    let rtc = RTC.get().ok_or(Errno::ENODEV)?;
    let due = f(&mut rtc.alarms.lock())?;
    if due == Due::Now {
        UNBOUND.queue(&RUN);
    }
    Ok(())
}

/// From now on `listener` is told of alarms and seconds, in a task. Once.
pub fn listen(listener: fn(Events)) {
    LISTENER.call_once(|| listener);
}

/// The name of the clock's device, as Linux has it: `9010000.pl031`. `None` without a clock.
pub fn name() -> Option<&'static str> {
    Some(RTC.get()?.name.as_str())
}

/// Seconds since 1970; `None` without a clock.
pub fn read() -> Option<u64> {
    Some(RTC.get()?.alarms.lock().read())
}

/// Sets the clock. Errors: ENODEV without one; ERANGE for a time after 2106, which it cannot hold.
pub fn set(seconds: u64) -> Result<(), Errno> {
    with(|alarms| alarms.set(seconds))
}

/// The alarm. ENODEV.
pub fn alarm() -> Result<Alarm, Errno> {
    Ok(RTC.get().ok_or(Errno::ENODEV)?.alarms.lock().alarm())
}

/// Sets the alarm; one that is past and enabled comes at once. ENODEV, ERANGE.
pub fn set_alarm(alarm: Alarm) -> Result<(), Errno> {
    with(|alarms| alarms.set_alarm(alarm))
}

/// Switches the alarm on or off. ENODEV.
pub fn enable_alarm(on: bool) -> Result<(), Errno> {
    with(|alarms| Ok(alarms.enable_alarm(on)))
}

/// Whether each second is told of.
pub fn updates() -> bool {
    RTC.get().is_some_and(|rtc| rtc.alarms.lock().updates())
}

/// Lets each second be told of, or not. ENODEV.
pub fn enable_updates(on: bool) -> Result<(), Errno> {
    with(|alarms| Ok(alarms.enable_updates(on)))
}
