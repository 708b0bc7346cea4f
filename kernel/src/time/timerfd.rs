//! timerfd: a timer that is read (Linux: fs/timerfd.c).
//!
//! The timer's function only counts and wakes. A periodic timer is armed anew when somebody looks (read, gettime, settime),
//! from the old expiry on, so that a timer that nobody reads costs one interrupt; the count is right all the same.

use super::clock;
use core::mem::offset_of;
use core::pin::Pin;
use vigil_abi::Errno;
use vigil_abi::fcntl::{O_NONBLOCK, O_RDWR};
use vigil_abi::poll::POLLIN;
use vigil_abi::time::{CLOCK_BOOTTIME, CLOCK_BOOTTIME_ALARM, CLOCK_MONOTONIC, CLOCK_REALTIME, CLOCK_REALTIME_ALARM, TFD_NONBLOCK};
use vigil_executor::arch;
use vigil_executor::sync::{LockClass, SpinLock};
use vigil_executor::time::Nanos;
use vigil_executor::timer::Timer;
use vigil_executor::wait::WaitQueue;
use vigil_fs::vfs::ops::{FileOps, OpResult, Stop};
use vigil_fs::vfs::poll::{PollEvents, PollTable};
use vigil_fs::{File, anon::anon_file};
use vigil_mem::{IoBufMut, KArc, KVec, KWeak, unsize};

/// A setting of a timer, or what is left of one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Spec {
    /// First expiry; 0 disarms.
    pub value: Nanos,
    /// Period; 0 for a single shot.
    pub interval: Nanos,
}

/// How the first expiry of a [`Spec`] is meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mode {
    /// At that time of the clock (TFD_TIMER_ABSTIME).
    pub absolute: bool,
    /// A change of the wall clock ends the wait with ECANCELED (TFD_TIMER_CANCEL_ON_SET).
    pub cancel_on_set: bool,
}

#[derive(Default)]
struct State {
    /// Next expiry on CLOCK_MONOTONIC.
    deadline: Nanos,
    /// The same on the wall clock, if that is what was asked for: it moves when the clock is set.
    wall: Option<Nanos>,
    interval: Nanos,
    /// It has fired and has not been armed since.
    expired: bool,
    armed: bool,
    ticks: u64,
    cancel_on_set: bool,
    /// [`clock::wall_changes`] when it was set.
    changes: u64,
}

/// A timer behind a file.
pub struct TimerFd {
    this: KWeak<TimerFd>,
    timer: Timer,
    clock: u32,
    state: SpinLock<State>,
    wait: WaitQueue,
}

static CLASS: LockClass = LockClass::new("timerfd");
static LIST_CLASS: LockClass = LockClass::new("timerfd_list");
/// Timers of the wall clock: what a change of it concerns.
static WALL: SpinLock<KVec<KWeak<TimerFd>>> = SpinLock::new(&LIST_CLASS, KVec::new());

/// timerfd_create(2): a new file. EINVAL for another clock, ENOMEM.
pub fn create(clock: u32, flags: u32) -> Result<KArc<File>, Errno> {
    let wall = matches!(clock, CLOCK_REALTIME | CLOCK_REALTIME_ALARM);
    if !wall && !matches!(clock, CLOCK_MONOTONIC | CLOCK_BOOTTIME | CLOCK_BOOTTIME_ALARM) {
        return Err(Errno::EINVAL);
    }
    let made = KArc::try_new_cyclic(|this| TimerFd {
        this: this.clone(),
        timer: Timer::new(fired),
        clock,
        state: SpinLock::new(&CLASS, State::default()),
        wait: WaitQueue::new(),
    })?;
    if wall {
        WALL.lock().try_push(KArc::downgrade(&made))?;
    }
    let this = KArc::downgrade(&made);
    let flags = O_RDWR | if flags & TFD_NONBLOCK != 0 { O_NONBLOCK } else { 0 };
    anon_file(b"[timerfd]", unsize!(KArc, made => dyn FileOps), flags).inspect_err(|_| forget(&this))
}

/// Takes a timer off the list of those of the wall clock.
fn forget(timer: &KWeak<TimerFd>) {
    let gone = {
        let mut list = WALL.lock();
        let at = list.iter().position(|other| other.ptr_eq(timer));
        let gone = at.and_then(|at| list.swap_remove(at));
        (gone, if list.is_empty() { core::mem::take(&mut *list) } else { KVec::new() })
    };
    drop(gone);
}

/// The timer behind `file`. EINVAL if there is none.
pub fn of(file: &File) -> Result<&TimerFd, Errno> {
    file.private().ok_or(Errno::EINVAL)
}

/// Hard interrupt: the time has come.
fn fired(timer: &Timer) {
    // SAFETY: every `Timer` with this function is the field of a `TimerFd`, whose drop cancels it.
    let this = unsafe { &*core::ptr::from_ref(timer).byte_sub(offset_of!(TimerFd, timer)).cast::<TimerFd>() };
    {
        let mut state = this.state.lock_irq();
        // Its clock may have become slower meanwhile.
        if clock::is_steered() && clock::monotonic() < state.deadline {
            return this.arm(&mut state);
        }
        state.expired = true;
        state.armed = false;
        state.ticks = state.ticks.saturating_add(1);
    }
    this.wait.wake(POLLIN, 0);
}

/// The wall clock was set: timers that follow it are armed anew, those that shall be told are.
pub fn clock_was_set() {
    let mut at = 0;
    loop {
        let Some(timer) = WALL.lock().get(at).cloned() else { return };
        at += 1;
        if let Some(timer) = timer.upgrade() {
            timer.follow_clock();
        }
    }
}

impl TimerFd {
    /// Whether the caller needs CAP_WAKE_ALARM for it.
    pub fn is_alarm(&self) -> bool {
        matches!(self.clock, CLOCK_REALTIME_ALARM | CLOCK_BOOTTIME_ALARM)
    }

    fn timer(&self) -> Pin<&Timer> {
        // SAFETY: a `TimerFd` is made in a `KArc` and never moves.
        unsafe { Pin::new_unchecked(&self.timer) }
    }

    fn arm(&self, state: &mut State) {
        state.armed = true;
        self.timer().start_anywhere(clock::when(state.deadline), 0);
    }

    /// Counts the periods that have passed since a periodic timer fired, and arms it for the next one.
    fn catch_up(&self, state: &mut State) {
        if TimerFd::advance(state) {
            self.arm(state);
        }
    }

    /// As [`TimerFd::catch_up`], but for the arming: whether it is due.
    fn advance(state: &mut State) -> bool {
        if !state.expired || state.interval == 0 {
            return false;
        }
        // The one that fired is counted.
        let passed = clock::monotonic().saturating_sub(state.deadline) / state.interval;
        state.ticks = state.ticks.saturating_add(passed);
        let step = state.interval.saturating_mul(passed + 1);
        state.deadline = state.deadline.saturating_add(step);
        state.wall = state.wall.map(|wall| wall.saturating_add(step));
        state.expired = false;
        state.armed = true;
        true
    }

    fn left(state: &State) -> Spec {
        let value = if state.armed { state.deadline.saturating_sub(clock::monotonic()) } else { 0 };
        Spec { value, interval: state.interval }
    }

    /// Whether the clock was set under a timer that wants to know.
    fn is_canceled(&self, state: &mut State) -> bool {
        let changes = clock::wall_changes();
        state.cancel_on_set && core::mem::replace(&mut state.changes, changes) != changes
    }

    /// timerfd_gettime(2).
    pub fn get(&self) -> Spec {
        let mut state = self.state.lock_irq();
        self.catch_up(&mut state);
        TimerFd::left(&state)
    }

    /// timerfd_settime(2): what was left of the old setting. The second: ECANCELED, although it is set.
    pub fn set(&self, new: Spec, mode: Mode) -> (Spec, Result<(), Errno>) {
        let mut state = loop {
            let state = self.state.lock_irq();
            // Its function may run at this moment, and wait for the lock.
            if self.timer.try_cancel().is_some() {
                break state;
            }
            drop(state);
            arch::relax();
        };
        // What is armed here is not started: the new setting follows.
        TimerFd::advance(&mut state);
        let old = TimerFd::left(&state);
        let on_wall = matches!(self.clock, CLOCK_REALTIME | CLOCK_REALTIME_ALARM) && mode.absolute;
        let canceled = on_wall && mode.cancel_on_set && state.cancel_on_set && self.is_canceled(&mut state);
        *state = State {
            deadline: match mode.absolute {
                true if on_wall => clock::realtime_to_monotonic(new.value),
                true => new.value,
                false => clock::monotonic().saturating_add(new.value),
            },
            wall: on_wall.then_some(new.value),
            interval: new.interval,
            cancel_on_set: on_wall && mode.cancel_on_set,
            changes: clock::wall_changes(),
            ..State::default()
        };
        if new.value != 0 {
            self.arm(&mut state);
        }
        (old, if canceled && new.value != 0 { Err(Errno::ECANCELED) } else { Ok(()) })
    }

    fn follow_clock(&self) {
        let mut state = self.state.lock_irq();
        if state.armed
            && let Some(wall) = state.wall
            && self.timer.try_cancel() == Some(true)
        {
            state.deadline = clock::realtime_to_monotonic(wall);
            self.arm(&mut state);
        }
        let tell = state.cancel_on_set;
        drop(state);
        if tell {
            self.wait.wake(POLLIN, 0);
        }
    }
}

impl FileOps for TimerFd {
    fn read<'a>(&'a self, file: &'a File, buf: &mut IoBufMut<'_>, _: &mut u64) -> OpResult<'a, usize> {
        if buf.remaining() < 8 {
            return Err(Stop::Err(Errno::EINVAL));
        }
        let mut state = self.state.lock_irq();
        if self.is_canceled(&mut state) {
            state.ticks = 0;
            return Err(Stop::Err(Errno::ECANCELED));
        }
        if state.ticks == 0 {
            return Err(file.would_block(&self.wait, POLLIN));
        }
        self.catch_up(&mut state);
        // Under the lock, so that a fault leaves the count as it is.
        buf.write_pod(&state.ticks)?;
        state.expired = false;
        state.ticks = 0;
        Ok(8)
    }

    fn poll(&self, _: &File, table: &mut PollTable<'_>) -> PollEvents {
        table.add(&self.wait);
        let state = self.state.lock_irq();
        let canceled = state.cancel_on_set && state.changes != clock::wall_changes();
        if state.ticks > 0 || canceled { PollEvents::IN } else { PollEvents::empty() }
    }

    fn can_poll(&self) -> bool {
        true
    }

    fn llseek(&self, _: &File, pos: u64, _: i64, _: u32) -> Result<u64, Errno> {
        Ok(pos)
    }

    fn release(&self, _: &File) {
        if matches!(self.clock, CLOCK_REALTIME | CLOCK_REALTIME_ALARM) {
            forget(&self.this);
        }
    }

    fn as_any(&self) -> Option<&dyn core::any::Any> {
        Some(self)
    }
}
