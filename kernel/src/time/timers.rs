//! The timers of a process: setitimer(2), timer_create(2), RLIMIT_CPU.

use super::itimer::{Counts, Notify, SignalTimer, WALL, forget_wall};
use crate::task::process::{Process, find_thread};
use crate::task::signal::{self, SIGALRM, SIGPROF, SIGVTALRM, SigInfo};
use crate::task::thread::Thread;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use vigil_abi::Errno;
use vigil_abi::time::*;
use vigil_executor::lock_class;
use vigil_executor::sync::SpinLock;
use vigil_executor::time::{Nanos, SEC};
use vigil_mem::{KArc, KVec};

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
                if matches!(timer.counts, Counts::Realtime | Counts::Tai) && WALL.lock().try_push(KArc::downgrade(&timer)).is_err() {
                    *slot = Slot::Free;
                    return Err(Errno::EAGAIN);
                }
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
            CLOCK_REALTIME | CLOCK_REALTIME_ALARM => Counts::Realtime,
            CLOCK_TAI => Counts::Tai,
            CLOCK_PROCESS_CPUTIME_ID => Counts::Process,
            CLOCK_THREAD_CPUTIME_ID => Counts::Thread(t.tid()),
            // clock_getcpuclockid(3): see `cpu_clock`, which has looked at it.
            id if (id as i32) < 0 => match (!((id as i32) >> 3) as u32, id & 4 != 0) {
                (0, false) => Counts::Process,
                (0, true) => Counts::Thread(t.tid()),
                (pid, false) => Counts::ProcessOf(pid),
                (tid, true) => Counts::Thread(tid),
            },
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
        forget_wall(&timer);
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
                forget_wall(timer);
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

impl Default for ProcessTimers {
    fn default() -> Self {
        Self::new()
    }
}
