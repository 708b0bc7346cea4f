//! A watchdog that a program feeds: what it is asked for, and when it runs (Linux: drivers/watchdog/watchdog_dev.c).
//!
//! ```text
//!                open                        ping, write, set_timeout
//!   stopped ─────────────► running ──────────────────────────────────► starts anew
//!      ▲                      │
//!      └──────────────────────┘ close after a 'V', SETOPTIONS; not with nowayout
//! ```

use vigil_abi::Errno;
use vigil_abi::watchdog::{WDIOF_KEEPALIVEPING, WDIOF_MAGICCLOSE};
use vigil_executor::sync::{LockClass, SpinLock};

/// A watchdog's registers. Any context.
pub trait WatchdogChip: Send + Sync {
    /// What it is called, at most 31 bytes.
    fn identity(&self) -> &'static str;
    /// The longest time that it can run, in seconds.
    fn longest(&self) -> u32;
    /// Starts it, or starts it anew: it resets the machine after so many seconds.
    fn start(&self, seconds: u32);
    /// Stops it.
    fn stop(&self);
    /// Whole seconds until it resets the machine.
    fn time_left(&self) -> u32;
}

static LOCK: LockClass = LockClass::new("watchdog");

/// A watchdog.
pub struct Watchdog<C> {
    chip: C,
    state: SpinLock<State>,
}

/// What is known of it.
#[derive(Clone, Copy)]
struct State {
    open: bool,
    running: bool,
    timeout: u32,
    /// The last write had a 'V': closing stops it.
    may_close: bool,
    /// It was fed since the status was read.
    fed: bool,
    nowayout: bool,
}

impl<C: WatchdogChip> Watchdog<C> {
    /// One that does not run, with its longest time.
    pub fn new(chip: C) -> Watchdog<C> {
        let state = State { open: false, running: false, timeout: chip.longest(), may_close: false, fed: false, nowayout: false };
        Watchdog { chip, state: SpinLock::new(&LOCK, state) }
    }

    /// Its registers.
    pub fn chip(&self) -> &C {
        &self.chip
    }

    fn feed(&self, state: &mut State) {
        state.fed = true;
        self.chip.start(state.timeout);
    }

    fn halt(&self, state: &mut State) -> Result<(), Errno> {
        if state.running && state.nowayout {
            return Err(Errno::EBUSY);
        }
        if state.running {
            self.chip.stop();
            state.running = false;
        }
        Ok(())
    }

    /// A program has it from now on, and it runs. EBUSY: another one has.
    pub fn open(&self) -> Result<(), Errno> {
        let mut state = self.state.lock_irq();
        if state.open {
            return Err(Errno::EBUSY);
        }
        (state.open, state.running) = (true, true);
        self.feed(&mut state);
        Ok(())
    }

    /// The program has closed it. It stops if the last write had a 'V'; `false`: it runs on, fed a last time.
    pub fn close(&self) -> bool {
        let mut state = self.state.lock_irq();
        let stopped = !state.running || core::mem::take(&mut state.may_close) && self.halt(&mut state).is_ok();
        if !stopped {
            self.feed(&mut state);
        }
        state.open = false;
        stopped
    }

    /// Feeds it, if it runs.
    pub fn ping(&self) {
        let mut state = self.state.lock_irq();
        if state.running {
            self.feed(&mut state);
        }
    }

    /// Feeds it; whether there was a 'V' in what was written.
    pub fn written(&self, magic: bool) {
        self.state.lock_irq().may_close = magic;
        self.ping();
    }

    /// Runs it, or stops it: EBUSY with nowayout.
    pub fn enable(&self, on: bool) -> Result<(), Errno> {
        let mut state = self.state.lock_irq();
        if !on {
            return self.halt(&mut state);
        }
        state.running = true;
        self.feed(&mut state);
        Ok(())
    }

    /// Seconds that it runs unfed; it is fed. EINVAL: none, or more than it can.
    pub fn set_timeout(&self, seconds: u32) -> Result<(), Errno> {
        if !(1..=self.chip.longest()).contains(&seconds) {
            return Err(Errno::EINVAL);
        }
        self.state.lock_irq().timeout = seconds;
        self.ping();
        Ok(())
    }

    /// Seconds that it runs unfed.
    pub fn timeout(&self) -> u32 {
        self.state.lock_irq().timeout
    }

    /// Whether it runs.
    pub fn is_running(&self) -> bool {
        self.state.lock_irq().running
    }

    /// `WDIOF_*` of what happened: fed since the last look at it, about to stop when it is closed. Looking forgets the first, if `take`.
    pub fn status(&self, take: bool) -> u32 {
        let mut state = self.state.lock_irq();
        let fed = if take { core::mem::take(&mut state.fed) } else { state.fed };
        (if state.may_close { WDIOF_MAGICCLOSE } else { 0 }) | if fed { WDIOF_KEEPALIVEPING } else { 0 }
    }

    /// Whether it cannot be stopped any more.
    pub fn nowayout(&self) -> bool {
        self.state.lock_irq().nowayout
    }

    /// Makes that so. EPERM: it cannot be taken back.
    pub fn set_nowayout(&self, on: bool) -> Result<(), Errno> {
        let mut state = self.state.lock_irq();
        if state.nowayout && !on {
            return Err(Errno::EPERM);
        }
        state.nowayout = on;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use std::vec::Vec;

    #[derive(Default)]
    struct Fake(Mutex<Vec<u32>>);

    impl WatchdogChip for Fake {
        fn identity(&self) -> &'static str {
            "fake"
        }
        fn longest(&self) -> u32 {
            15
        }
        fn start(&self, seconds: u32) {
            self.0.lock().unwrap().push(seconds);
        }
        fn stop(&self) {
            self.0.lock().unwrap().push(0);
        }
        fn time_left(&self) -> u32 {
            0
        }
    }

    /// What the chip was told since the last time: seconds, 0 to stop.
    fn told(w: &Watchdog<Fake>) -> Vec<u32> {
        core::mem::take(&mut *w.chip.0.lock().unwrap())
    }

    #[test]
    fn it_runs_from_open_on_and_stops_by_the_magic_close_only() {
        let w = Watchdog::new(Fake::default());
        w.ping();
        assert_eq!(told(&w), []);
        w.open().unwrap();
        assert_eq!((w.open(), told(&w)), (Err(Errno::EBUSY), [15].to_vec()));
        w.written(false);
        assert_eq!((w.set_timeout(0), w.set_timeout(16), w.set_timeout(3)), (Err(Errno::EINVAL), Err(Errno::EINVAL), Ok(())));
        assert_eq!((told(&w), w.status(true), w.status(true)), ([15, 3].to_vec(), WDIOF_KEEPALIVEPING, 0));
        assert!(!w.close() && w.is_running());
        assert_eq!(told(&w), [3]);
        w.open().unwrap();
        w.written(true);
        assert_eq!(w.status(false), WDIOF_KEEPALIVEPING | WDIOF_MAGICCLOSE);
        // A later write without it takes it back.
        w.written(false);
        assert!(!w.close());
        w.open().unwrap();
        w.written(true);
        told(&w);
        assert!(w.close() && !w.is_running());
        assert_eq!(told(&w), [0]);
    }

    #[test]
    fn with_nowayout_nothing_stops_it() {
        let w = Watchdog::new(Fake::default());
        w.open().unwrap();
        assert_eq!((w.enable(false), w.enable(true)), (Ok(()), Ok(())));
        w.set_nowayout(true).unwrap();
        assert_eq!((w.set_nowayout(false), w.enable(false)), (Err(Errno::EPERM), Err(Errno::EBUSY)));
        w.written(true);
        told(&w);
        assert!(!w.close() && w.is_running());
        assert_eq!(told(&w), [15]);
    }
}
