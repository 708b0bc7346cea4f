//! Timers that send signals, one by one; [`super::timers`] has those of a process.
//!
//! A wall-clock timer is an hrtimer. Its callback runs in a hard interrupt, where no signal can be sent; it pushes the
//! timer on a lock-free list and wakes the task `posix-timers`, which re-arms it and sends the signal. A CPU-time timer
//! looks at the clock when, at the earliest, the time can be used up, and again until it is.

use crate::task::process::{Process, find_thread};
use crate::task::signal::{self, SIGKILL, SIGXCPU, SigInfo};
use crate::time::clock;
use core::mem::offset_of;
use core::pin::Pin;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, AtomicPtr, Ordering::*};
use vigil_abi::Errno;
use vigil_executor::class::Params;
use vigil_executor::lock_class;
use vigil_executor::sync::SpinLock;
use vigil_executor::task::SpawnError;
use vigil_executor::time::{Nanos, SEC, now};
use vigil_executor::timer::Timer;
use vigil_executor::wait::{WaitMode, WaitQueue};
use vigil_executor::wait_site;
use vigil_mem::{KArc, KVec, KWeak};

/// How often a CPU-time timer looks, at most.
const CPU_TICK: Nanos = 1_000_000;

/// A periodic timer fires no more often than this, whatever its interval; the expiries between count as overrun. Linux
/// re-arms when the signal is taken, which bounds the rate by the receiver; here a real-time task re-arms.
const MIN_PERIOD: Nanos = 50_000;

/// What a timer counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Counts {
    Monotonic,
    Realtime,
    Tai,
    /// User time of the process.
    User,
    /// CPU time of the process.
    Process,
    /// CPU time of one thread.
    Thread(u32),
    /// CPU time of the process of this number.
    ProcessOf(u32),
}

/// What it does at its expiry.
#[derive(Clone, Copy, Debug)]
pub(super) enum Notify {
    Nothing,
    Process(SigInfo),
    Thread(u32, SigInfo),
    /// RLIMIT_CPU: SIGXCPU each second beyond the soft limit, SIGKILL at the hard one.
    CpuLimit,
}

#[derive(Clone, Copy, Default)]
pub(super) struct Setting {
    /// Expiry on the clock that it counts; 0: disarmed.
    expiry: Nanos,
    interval: Nanos,
    /// Expiries beyond the one that was signalled, when the signal was taken.
    pub(super) overrun: u32,
    /// On a clock that can be set, but it was given as a span: it counts CLOCK_MONOTONIC.
    relative: bool,
    /// It was deleted: never armed again, so that its last reference finds it stopped.
    deleted: bool,
}

/// One timer.
pub(super) struct SignalTimer {
    timer: Timer,
    next: AtomicPtr<SignalTimer>,
    queued: AtomicBool,
    process: KWeak<Process>,
    pub(super) counts: Counts,
    notify: Notify,
    pub(super) setting: SpinLock<Setting>,
}

static FIRED: AtomicPtr<SignalTimer> = AtomicPtr::new(null_mut());
static DAEMON: WaitQueue = WaitQueue::new();

/// Hard interrupt: hands the timer to the task.
fn fired(timer: &Timer) {
    // SAFETY: every `Timer` with this callback is the field of a `SignalTimer` in a `KArc`, alive while it is queued.
    let this = unsafe { core::ptr::from_ref(timer).byte_sub(offset_of!(SignalTimer, timer)).cast::<SignalTimer>() };
    // SAFETY: as above.
    let entry = unsafe { &*this };
    if entry.queued.swap(true, AcqRel) {
        return;
    }
    // SAFETY: the object is in a `KArc`; the list holds this count.
    unsafe { KArc::increment_strong_count(this) };
    let mut head = FIRED.load(Relaxed);
    loop {
        entry.next.store(head, Relaxed);
        match FIRED.compare_exchange_weak(head, this.cast_mut(), Release, Relaxed) {
            Ok(_) => break,
            Err(h) => head = h,
        }
    }
    DAEMON.wake_all();
}

/// Timers of clocks that can be set.
pub(super) static WALL: SpinLock<KVec<KWeak<SignalTimer>>> = SpinLock::new(lock_class!("wall_timers"), KVec::new());

/// The wall clock was set: timers to a time of it are armed anew.
pub fn clock_was_set() {
    let mut at = 0;
    loop {
        let Some(timer) = WALL.lock().get(at).cloned() else { return };
        at += 1;
        let Some(timer) = timer.upgrade() else { continue };
        let Some(process) = timer.process.upgrade() else { continue };
        let setting = timer.setting.lock();
        if setting.expiry != 0 && !setting.relative && !setting.deleted {
            timer.arm(&process, &setting, 0);
        }
    }
}

/// Takes a timer off that list.
pub(super) fn forget_wall(timer: &KArc<SignalTimer>) {
    if matches!(timer.counts, Counts::Realtime | Counts::Tai) {
        let timer = KArc::downgrade(timer);
        let gone = {
            let mut list = WALL.lock();
            let at = list.iter().position(|other| other.ptr_eq(&timer));
            let gone = at.and_then(|at| list.swap_remove(at));
            (gone, if list.is_empty() { core::mem::take(&mut *list) } else { KVec::new() })
        };
        drop(gone);
    }
}

/// Starts the task that sends the signals.
pub fn start() -> Result<(), SpawnError> {
    crate::task::kthread::spawn(daemon(), Params::fifo(50), b"posix-timers", None)
}

async fn daemon() {
    loop {
        let some = || (!FIRED.load(Acquire).is_null()).then_some(());
        let _ = DAEMON.wait_until(wait_site!("posix_timers"), WaitMode::Interruptible, some).await;
        let mut list = FIRED.swap(null_mut(), Acquire);
        while !list.is_null() {
            // SAFETY: each entry of the list carries a count, which is taken over here.
            let entry = unsafe { KArc::from_raw(list) };
            list = entry.next.load(Relaxed);
            entry.queued.store(false, Release);
            entry.expired();
        }
    }
}

impl SignalTimer {
    pub(super) fn make(process: &KArc<Process>, counts: Counts, notify: Notify) -> Result<KArc<SignalTimer>, Errno> {
        Ok(KArc::try_new(SignalTimer {
            timer: Timer::new(fired),
            next: AtomicPtr::new(null_mut()),
            queued: AtomicBool::new(false),
            process: KArc::downgrade(process),
            counts,
            notify,
            setting: SpinLock::new(lock_class!("signal_timer"), Setting::default()),
        })?)
    }

    fn pinned(&self) -> Pin<&Timer> {
        // SAFETY: a `SignalTimer` lives in a `KArc` from its making on and never moves.
        unsafe { Pin::new_unchecked(&self.timer) }
    }

    /// What the clock shows.
    fn read(&self, process: &Process, relative: bool) -> Nanos {
        match self.counts {
            Counts::Monotonic => clock::monotonic(),
            Counts::Realtime | Counts::Tai if relative => clock::monotonic(),
            Counts::Realtime => clock::realtime(),
            Counts::Tai => clock::tai(),
            Counts::User => crate::syscall::process_times(process)[0],
            Counts::Process => crate::syscall::process_times(process).iter().sum(),
            Counts::Thread(tid) => find_thread(tid).map_or(0, |t| t.run_time()),
            Counts::ProcessOf(pid) => find_thread(pid).map_or(0, |t| crate::syscall::process_times(&t.process).iter().sum()),
        }
    }

    /// Starts the hrtimer. With the setting locked, so that `disarm` leaves it stopped for good: it may be freed then.
    /// Not before `earliest`.
    fn arm(&self, process: &Process, setting: &Setting, earliest: Nanos) {
        let expiry = setting.expiry;
        let deadline: Nanos = match self.counts {
            Counts::Monotonic => clock::when(expiry),
            Counts::Realtime | Counts::Tai if setting.relative => clock::when(expiry),
            Counts::Realtime => clock::when(clock::realtime_to_monotonic(expiry)),
            Counts::Tai => clock::when(clock::realtime_to_monotonic(expiry.saturating_add_signed(-clock::tai_offset()))),
            _ => {
                let left = expiry.saturating_sub(self.read(process, false));
                let cpus = u64::from(vigil_executor::cpu::ONLINE.load().0.count_ones().max(1));
                now().saturating_add((left / cpus).max(CPU_TICK))
            }
        };
        self.pinned().start_anywhere(deadline.max(earliest), 0);
    }

    /// The hrtimer fired: re-arms, and sends the signal.
    fn expired(&self) {
        let Some(process) = self.process.upgrade() else { return };
        let mut overrun = 0;
        {
            let mut s = self.setting.lock();
            let current = self.read(&process, s.relative);
            if s.expiry == 0 {
                return;
            }
            if current < s.expiry {
                return self.arm(&process, &s, 0);
            }
            if s.interval == 0 {
                s.expiry = 0;
            } else {
                let beyond = (current - s.expiry) / s.interval;
                overrun = beyond.min(i32::MAX as u64) as u32;
                s.expiry = s.expiry.saturating_add((beyond + 1).saturating_mul(s.interval));
            }
            if s.expiry != 0 {
                self.arm(&process, &s, now().saturating_add(MIN_PERIOD));
            }
        }
        self.notify(&process, overrun);
    }

    fn notify(&self, process: &Process, overrun: u32) {
        let with_overrun = |mut info: SigInfo| {
            info.fields[0] |= u64::from(overrun) << 32;
            info
        };
        // A full queue loses the signal, as on Linux.
        match self.notify {
            Notify::Nothing => {}
            Notify::Process(info) => {
                let _ = signal::send_to_process(process, with_overrun(info));
            }
            Notify::Thread(tid, info) => {
                // The number may have gone to a thread of another process.
                if let Some(t) = find_thread(tid).filter(|t| core::ptr::eq(&*t.process, process)) {
                    let _ = signal::send_to_thread(&t, with_overrun(info));
                }
            }
            Notify::CpuLimit => {
                let used = crate::syscall::process_times(process).iter().sum::<u64>() / SEC;
                if used < process.limits.soft(crate::task::limits::CPU) {
                    // It was raised since.
                    return;
                }
                let hard = process.limits.hard(crate::task::limits::CPU);
                let signo = if used >= hard { SIGKILL } else { SIGXCPU };
                let _ = signal::send_to_process(process, SigInfo::kernel(signo));
            }
        }
    }

    /// Time left and interval.
    pub(super) fn get(&self, process: &Process) -> (Nanos, Nanos) {
        let s = *self.setting.lock();
        if s.expiry == 0 {
            return (0, s.interval);
        }
        // Expired but not yet handled: not 0, which would mean disarmed.
        (s.expiry.saturating_sub(self.read(process, s.relative)).max(1), s.interval)
    }

    pub(super) fn set(&self, process: &Process, value: Nanos, interval: Nanos, absolute: bool) {
        self.pinned().cancel();
        let expiry = match value {
            0 => 0,
            v if absolute => v,
            v => self.read(process, true).saturating_add(v),
        };
        let mut s = self.setting.lock();
        if s.deleted {
            return;
        }
        *s = Setting { expiry, interval, relative: !absolute, ..Setting::default() };
        if expiry != 0 {
            self.arm(process, &s, 0);
        }
    }
}

impl SignalTimer {
    pub(super) fn disarm(&self) {
        {
            let mut s = self.setting.lock();
            (s.expiry, s.deleted) = (0, true);
        }
        self.pinned().cancel();
    }
}
