//! Timers that send signals: setitimer(2), timer_create(2), RLIMIT_CPU.
//!
//! A wall-clock timer is an hrtimer. Its callback runs in a hard interrupt, where no signal can be sent; it pushes the
//! timer on a lock-free list and wakes the task `posix-timers`, which re-arms it and sends the signal. A CPU-time timer
//! looks at the clock when, at the earliest, the time can be used up, and again until it is.

use crate::task::process::{Process, find_thread};
use crate::task::signal::{self, SIGALRM, SIGKILL, SIGPROF, SIGVTALRM, SIGXCPU, SigInfo};
use crate::task::thread::Thread;
use crate::time::clock;
use core::mem::offset_of;
use core::pin::Pin;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering::*};
use vigil_abi::Errno;
use vigil_abi::time::*;
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

/// The three interval timers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Wall time: SIGALRM.
    Real = 0,
    /// User time: SIGVTALRM.
    Virtual = 1,
    /// User and system time: SIGPROF.
    Prof = 2,
}

/// What a timer counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Counts {
    Monotonic,
    Realtime,
    /// User time of the process.
    User,
    /// CPU time of the process.
    Process,
    /// CPU time of one thread.
    Thread(u32),
}

/// What it does at its expiry.
#[derive(Clone, Copy, Debug)]
enum Notify {
    Nothing,
    Process(SigInfo),
    Thread(u32, SigInfo),
    /// RLIMIT_CPU: SIGXCPU each second beyond the soft limit, SIGKILL at the hard one.
    CpuLimit,
}

#[derive(Clone, Copy, Default)]
struct Setting {
    /// Expiry on the clock that it counts; 0: disarmed.
    expiry: Nanos,
    interval: Nanos,
    /// Expiries beyond the one that was signalled, when the signal was taken.
    overrun: u32,
    /// It was deleted: never armed again, so that its last reference finds it stopped.
    deleted: bool,
}

/// One timer.
struct SignalTimer {
    timer: Timer,
    next: AtomicPtr<SignalTimer>,
    queued: AtomicBool,
    process: KWeak<Process>,
    counts: Counts,
    notify: Notify,
    setting: SpinLock<Setting>,
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
    fn make(process: &KArc<Process>, counts: Counts, notify: Notify) -> Result<KArc<SignalTimer>, Errno> {
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
    fn read(&self, process: &Process) -> Nanos {
        match self.counts {
            Counts::Monotonic => now(),
            Counts::Realtime => clock::realtime(),
            Counts::User => crate::syscall::process_times(process)[0],
            Counts::Process => crate::syscall::process_times(process).iter().sum(),
            Counts::Thread(tid) => find_thread(tid).map_or(0, |t| t.run_time()),
        }
    }

    /// Starts the hrtimer. With the setting locked, so that `disarm` leaves it stopped for good: it may be freed then.
    /// Not before `earliest`.
    fn arm(&self, process: &Process, setting: &Setting, earliest: Nanos) {
        let expiry = setting.expiry;
        let deadline: Nanos = match self.counts {
            Counts::Monotonic => expiry,
            Counts::Realtime => clock::realtime_to_monotonic(expiry),
            _ => {
                let left = expiry.saturating_sub(self.read(process));
                let cpus = u64::from(vigil_executor::cpu::ONLINE.load().0.count_ones().max(1));
                now().saturating_add((left / cpus).max(CPU_TICK))
            }
        };
        self.pinned().start(deadline.max(earliest), 0);
    }

    /// The hrtimer fired: re-arms, and sends the signal.
    fn expired(&self) {
        let Some(process) = self.process.upgrade() else { return };
        let current = self.read(&process);
        let mut overrun = 0;
        {
            let mut s = self.setting.lock();
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
            },
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
    fn get(&self, process: &Process) -> (Nanos, Nanos) {
        let s = *self.setting.lock();
        if s.expiry == 0 {
            return (0, s.interval);
        }
        // Expired but not yet handled: not 0, which would mean disarmed.
        (s.expiry.saturating_sub(self.read(process)).max(1), s.interval)
    }

    fn set(&self, process: &Process, value: Nanos, interval: Nanos, absolute: bool) {
        self.pinned().cancel();
        let expiry = match value {
            0 => 0,
            v if absolute => v,
            v => self.read(process).saturating_add(v),
        };
        let mut s = self.setting.lock();
        if s.deleted {
            return;
        }
        *s = Setting { expiry, interval, ..Setting::default() };
        if expiry != 0 {
            self.arm(process, &s, 0);
        }
    }
}

/// A slot of the table of POSIX timers.
enum Slot {
    Free,
    Reserved,
    Used(KArc<SignalTimer>),
}

struct Inner {
    interval: [Option<KArc<SignalTimer>>; 3],
    posix: KVec<Slot>,
    cpu_limit: Option<KArc<SignalTimer>>,
}

/// The timers of one process. fork gives the child none; exec keeps interval timers only.
pub struct ProcessTimers {
    inner: SpinLock<Inner>,
    /// How many are in use, so that exit and exec of a process without timers look no further.
    used: AtomicU32,
}

impl ProcessTimers {
    /// None.
    pub const fn new() -> Self {
        let inner = Inner { interval: [const { None }; 3], posix: KVec::new(), cpu_limit: None };
        ProcessTimers { inner: SpinLock::new(lock_class!("process_timers"), inner), used: AtomicU32::new(0) }
    }

    /// Time left and interval of an interval timer.
    pub fn get_interval(&self, process: &Process, kind: Kind) -> (Nanos, Nanos) {
        let timer = self.inner.lock().interval[kind as usize].clone();
        timer.map_or((0, 0), |t| t.get(process))
    }

    /// Sets an interval timer; 0 disarms it. ENOMEM.
    pub fn set_interval(&self, process: &KArc<Process>, kind: Kind, value: Nanos, interval: Nanos) -> Result<(), Errno> {
        let existing = self.inner.lock().interval[kind as usize].clone();
        let timer = match existing {
            Some(t) => t,
            None if value == 0 => return Ok(()),
            None => {
                let (counts, signo) = match kind {
                    Kind::Real => (Counts::Monotonic, SIGALRM),
                    Kind::Virtual => (Counts::User, SIGVTALRM),
                    Kind::Prof => (Counts::Process, SIGPROF),
                };
                let made = SignalTimer::make(process, counts, Notify::Process(SigInfo::kernel(signo)))?;
                self.used.fetch_add(1, Relaxed);
                self.inner.lock().interval[kind as usize].get_or_insert(made).clone()
            }
        };
        timer.set(process, value, interval, false);
        Ok(())
    }

    /// RLIMIT_CPU of `process`, whose timers these are, was set to `seconds`.
    pub fn arm_cpu_limit(&self, process: &KArc<Process>, seconds: u64) {
        let existing = self.inner.lock().cpu_limit.clone();
        let timer = match existing {
            Some(timer) => timer,
            None => match SignalTimer::make(process, Counts::Process, Notify::CpuLimit) {
                Ok(made) => {
                    self.used.fetch_add(1, Relaxed);
                    self.inner.lock().cpu_limit.get_or_insert(made).clone()
                }
                Err(_) => return,
            },
        };
        timer.set(process, seconds.saturating_mul(SEC).max(1), SEC, true);
    }

    /// Reserves the id of a new POSIX timer. EAGAIN without memory, as timer_create(2) has it.
    pub fn reserve(&self) -> Result<u32, Errno> {
        let mut inner = self.inner.lock();
        let id = match inner.posix.iter().position(|s| matches!(s, Slot::Free)) {
            Some(id) => id,
            None => {
                inner.posix.try_push(Slot::Free).map_err(|_| Errno::EAGAIN)?;
                inner.posix.len() - 1
            }
        };
        inner.posix[id] = Slot::Reserved;
        Ok(id as u32)
    }

    /// Gives a reserved id back.
    pub fn unreserve(&self, id: u32) {
        if let Some(slot @ Slot::Reserved) = self.inner.lock().posix.get_mut(id as usize) {
            *slot = Slot::Free;
        }
    }

    /// Makes the timer for a reserved id. EINVAL for a bad event.
    pub fn create(&self, t: &Thread, id: u32, clock: u32, event: Option<Sigevent>) -> Result<(), Errno> {
        let made = Self::build(t, id, clock, event);
        let mut inner = self.inner.lock();
        let slot = inner.posix.get_mut(id as usize).ok_or(Errno::EINVAL)?;
        match made {
            Ok(timer) => {
                *slot = Slot::Used(timer);
                self.used.fetch_add(1, Relaxed);
                Ok(())
            }
            Err(e) => {
                *slot = Slot::Free;
                Err(e)
            }
        }
    }

    fn build(t: &Thread, id: u32, clock: u32, event: Option<Sigevent>) -> Result<KArc<SignalTimer>, Errno> {
        let counts = match clock {
            CLOCK_REALTIME | CLOCK_TAI | CLOCK_REALTIME_ALARM => Counts::Realtime,
            CLOCK_PROCESS_CPUTIME_ID => Counts::Process,
            CLOCK_THREAD_CPUTIME_ID => Counts::Thread(t.tid()),
            _ => Counts::Monotonic,
        };
        let info = |signo: u32, value| SigInfo::timer(signo, id, 0, value);
        let notify = match event {
            None => Notify::Process(info(SIGALRM, u64::from(id))),
            Some(e) => {
                let signo = u32::try_from(e.sigev_signo).ok().filter(|s| (1..=signal::NSIG as u32).contains(s));
                match e.sigev_notify as u32 {
                    SIGEV_NONE => Notify::Nothing,
                    SIGEV_SIGNAL | SIGEV_THREAD => Notify::Process(info(signo.ok_or(Errno::EINVAL)?, e.sigev_value)),
                    SIGEV_THREAD_ID => {
                        let tid = e.sigev_notify_thread_id as u32;
                        find_thread(tid).filter(|x| x.process.pid == t.process.pid).ok_or(Errno::EINVAL)?;
                        Notify::Thread(tid, info(signo.ok_or(Errno::EINVAL)?, e.sigev_value))
                    }
                    _ => return Err(Errno::EINVAL),
                }
            }
        };
        SignalTimer::make(&t.process, counts, notify)
    }

    fn find(&self, id: u32) -> Result<KArc<SignalTimer>, Errno> {
        match self.inner.lock().posix.get(id as usize) {
            Some(Slot::Used(timer)) => Ok(timer.clone()),
            _ => Err(Errno::EINVAL),
        }
    }

    /// Time left and interval of POSIX timer `id`. EINVAL when there is none.
    pub fn get(&self, t: &Thread, id: u32) -> Result<(Nanos, Nanos), Errno> {
        Ok(self.find(id)?.get(&t.process))
    }

    /// Sets POSIX timer `id`.
    pub fn set(&self, t: &Thread, id: u32, value: Nanos, interval: Nanos, absolute: bool) -> Result<(), Errno> {
        self.find(id)?.set(&t.process, value, interval, absolute);
        Ok(())
    }

    /// Expiries beyond the one that was signalled last.
    pub fn overrun(&self, id: u32) -> Result<u32, Errno> {
        Ok(self.find(id)?.setting.lock().overrun)
    }

    /// The signal of POSIX timer `id` was taken, with `overrun` expiries beyond the one that it tells of.
    pub fn delivered(&self, id: u32, overrun: u32) {
        if let Ok(timer) = self.find(id) {
            timer.setting.lock().overrun = overrun;
        }
    }

    /// Deletes POSIX timer `id`.
    pub fn delete(&self, id: u32) -> Result<(), Errno> {
        let timer = self.find(id)?;
        {
            let mut inner = self.inner.lock();
            if let Some(slot) = inner.posix.get_mut(id as usize) {
                *slot = Slot::Free;
            }
        }
        timer.disarm();
        Ok(())
    }

    /// exec: POSIX timers go, interval timers stay.
    pub fn clear_posix(&self) {
        if self.used.load(Relaxed) == 0 {
            return;
        }
        let posix = core::mem::take(&mut self.inner.lock().posix);
        for slot in posix.iter() {
            if let Slot::Used(timer) = slot {
                timer.disarm();
            }
        }
    }

    /// The process ends: all of them go.
    pub fn clear(&self) {
        if self.used.load(Relaxed) == 0 {
            return;
        }
        self.clear_posix();
        let (interval, limit) = {
            let mut inner = self.inner.lock();
            (core::mem::take(&mut inner.interval), inner.cpu_limit.take())
        };
        for timer in interval.into_iter().chain([limit]).flatten() {
            timer.disarm();
        }
    }
}

impl SignalTimer {
    fn disarm(&self) {
        {
            let mut s = self.setting.lock();
            (s.expiry, s.deleted) = (0, true);
        }
        self.pinned().cancel();
    }
}

impl Default for ProcessTimers {
    fn default() -> Self {
        Self::new()
    }
}
