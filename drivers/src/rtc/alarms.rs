//! What a clock with one alarm offers to several: the alarm that somebody set, and a tick at each second (Linux: rtc_timer of
//! drivers/rtc/interface.c). A state machine over a [`Clock`]; whoever holds it locks it.
//!
//! ```text
//!   set_alarm, enable_*  ─► program ─► the earlier of both stands in the clock
//!   the clock's line     ─► run     ─► what has come, told to the caller; program
//! ```
//!
//! A moment that has come already is not left to the clock, whose line is raised when the count *becomes* a value: `program` says so,
//! and the caller runs it at once.

use vigil_abi::Errno;

/// A clock of whole seconds with one alarm.
pub trait Clock {
    /// The last second that it can show.
    const LAST: u64;
    /// Seconds since 1970.
    fn read(&self) -> u64;
    /// Sets it; `seconds` is at most [`Clock::LAST`].
    fn set(&self, seconds: u64);
    /// Raises the line when the count becomes this; `None`: never.
    fn set_alarm(&self, at: Option<u64>);
}

/// What [`Alarms::run`] found.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Events {
    /// The alarm has come.
    pub alarm: bool,
    /// So many seconds have begun.
    pub updates: u64,
}

/// The alarm as it was set last.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Alarm {
    /// When, seconds since 1970.
    pub at: u64,
    /// Whether it is still to come.
    pub enabled: bool,
}

/// Something may have come already: [`Alarms::run`] must be called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use = "what has come already raises no line"]
pub enum Due {
    /// Yes.
    Now,
    /// The line will tell.
    Later,
}

/// A clock and its users.
pub struct Alarms<C> {
    clock: C,
    alarm: Alarm,
    /// The next second to tell of.
    update: Option<u64>,
}

impl<C: Clock> Alarms<C> {
    /// With the alarm that the clock was left with, which is off.
    pub fn new(clock: C, alarm: u64) -> Alarms<C> {
        Alarms { clock, alarm: Alarm { at: alarm, enabled: false }, update: None }
    }

    /// Seconds since 1970.
    pub fn read(&self) -> u64 {
        self.clock.read()
    }

    /// Sets the clock. ERANGE beyond what it can hold.
    pub fn set(&mut self, seconds: u64) -> Result<Due, Errno> {
        if seconds > C::LAST {
            return Err(Errno::ERANGE);
        }
        self.clock.set(seconds);
        // The next second is one of the new time.
        self.update = self.update.map(|_| seconds + 1);
        Ok(self.program())
    }

    /// The alarm.
    pub fn alarm(&self) -> Alarm {
        self.alarm
    }

    /// Sets the alarm. ERANGE beyond what the clock can hold.
    pub fn set_alarm(&mut self, alarm: Alarm) -> Result<Due, Errno> {
        if alarm.at > C::LAST {
            return Err(Errno::ERANGE);
        }
        self.alarm = alarm;
        Ok(self.program())
    }

    /// Switches the alarm on or off.
    pub fn enable_alarm(&mut self, on: bool) -> Due {
        self.alarm.enabled = on;
        self.program()
    }

    /// Whether each second is told of.
    pub fn updates(&self) -> bool {
        self.update.is_some()
    }

    /// Lets each second be told of, or not.
    pub fn enable_updates(&mut self, on: bool) -> Due {
        if on != self.updates() {
            self.update = on.then(|| self.clock.read() + 1);
        }
        self.program()
    }

    fn next(&self) -> Option<u64> {
        let alarm = self.alarm.enabled.then_some(self.alarm.at);
        alarm.into_iter().chain(self.update).min()
    }

    fn program(&mut self) -> Due {
        let next = self.next();
        self.clock.set_alarm(next.filter(|at| *at <= C::LAST));
        // Looked at when it stands there: the second may have begun before.
        if next.is_some_and(|at| at <= self.clock.read()) { Due::Now } else { Due::Later }
    }

    /// What has come since.
    pub fn run(&mut self) -> Events {
        let mut events = Events::default();
        loop {
            let now = self.clock.read();
            if self.alarm.enabled && self.alarm.at <= now {
                self.alarm.enabled = false;
                events.alarm = true;
            }
            if let Some(at) = self.update.filter(|at| *at <= now) {
                events.updates += now - at + 1;
                self.update = Some(now + 1);
            }
            if self.program() == Due::Later {
                return events;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::Cell;

    #[derive(Default)]
    struct Fake {
        now: Cell<u64>,
        alarm: Cell<Option<u64>>,
        /// The clock goes on by so much when an alarm is set.
        hurry: Cell<u64>,
    }

    impl Clock for &Fake {
        const LAST: u64 = 1000;
        fn read(&self) -> u64 {
            self.now.get()
        }
        fn set(&self, seconds: u64) {
            self.now.set(seconds);
        }
        fn set_alarm(&self, at: Option<u64>) {
            self.alarm.set(at);
            self.now.set(self.now.get() + self.hurry.take());
        }
    }

    fn fake(now: u64) -> Fake {
        let fake = Fake::default();
        fake.now.set(now);
        fake
    }

    #[test]
    fn an_alarm_comes_once() {
        let f = fake(10);
        let mut a = Alarms::new(&f, 3);
        assert_eq!(a.alarm(), Alarm { at: 3, enabled: false });
        assert_eq!(a.set_alarm(Alarm { at: 15, enabled: true }), Ok(Due::Later));
        assert_eq!(f.alarm.get(), Some(15));
        assert_eq!(a.run(), Events::default());
        f.now.set(15);
        assert_eq!(a.run(), Events { alarm: true, updates: 0 });
        assert_eq!((f.alarm.get(), a.alarm()), (None, Alarm { at: 15, enabled: false }));
        assert_eq!(a.run(), Events::default());
        assert_eq!(a.set_alarm(Alarm { at: 1001, enabled: true }), Err(Errno::ERANGE));
    }

    #[test]
    fn an_alarm_of_the_past_comes_at_once() {
        let f = fake(10);
        let mut a = Alarms::new(&f, 0);
        assert_eq!(a.set_alarm(Alarm { at: 10, enabled: true }), Ok(Due::Now));
        assert!(a.run().alarm);
        assert_eq!(a.set_alarm(Alarm { at: 5, enabled: false }), Ok(Due::Later));
        assert_eq!(a.enable_alarm(true), Due::Now);
        assert!(a.run().alarm);
    }

    #[test]
    fn a_second_that_begins_while_the_alarm_is_written_is_not_lost() {
        let f = fake(10);
        let mut a = Alarms::new(&f, 0);
        f.hurry.set(1);
        assert_eq!(a.set_alarm(Alarm { at: 11, enabled: true }), Ok(Due::Now));
        assert!(a.run().alarm);
    }

    #[test]
    fn seconds_are_counted_beside_the_alarm() {
        let f = fake(10);
        let mut a = Alarms::new(&f, 0);
        assert_eq!(a.enable_updates(true), Due::Later);
        assert_eq!(a.set_alarm(Alarm { at: 12, enabled: true }), Ok(Due::Later));
        assert_eq!(f.alarm.get(), Some(11));
        f.now.set(11);
        assert_eq!(a.run(), Events { alarm: false, updates: 1 });
        assert_eq!(f.alarm.get(), Some(12));
        f.now.set(14);
        assert_eq!(a.run(), Events { alarm: true, updates: 3 });
        assert_eq!(f.alarm.get(), Some(15));
        // Set back: the next second is one of the new time.
        assert_eq!(a.set(7), Ok(Due::Later));
        assert_eq!(f.alarm.get(), Some(8));
        assert_eq!(a.set(1001), Err(Errno::ERANGE));
        assert_eq!(a.enable_updates(false), Due::Later);
        assert_eq!((f.alarm.get(), a.updates()), (None, false));
        // At its end the clock has no next second.
        assert_eq!(a.set(1000), Ok(Due::Later));
        assert_eq!(a.enable_updates(true), Due::Later);
        assert_eq!(f.alarm.get(), None);
    }
}
