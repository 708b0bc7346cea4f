//! RLIMIT_RTTIME: how long a real-time thread may run without a blocking call (Linux: `watchdog`, `check_thread_timers`).
//!
//! Linux counts ticks. Here a thread that has the limit looks at its own run time on its way to EL0: a timer makes it look again when,
//! by what it has run so far, the time could soon be used up. At the soft limit its process gets SIGXCPU, and the limit grows by a
//! second; at the hard one it gets SIGKILL.
//!
//! When it last slept is not noted by a wake, which has no instruction to spare: of a wake since the last look it is known that it
//! was after that, and before the thread was last picked. So looks are no further apart than [`FURTHEST`], and the nearer the limit is the closer.

use super::limits::{INFINITY, RTTIME};
use super::process::Process;
use super::signal::{self, SIGKILL, SIGXCPU, SigInfo};
use super::thread::Thread;
use crate::arch::aarch64::entry::WORK_BUDGET;
use core::pin::Pin;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use vigil_executor::class::{Class, Params};
use vigil_executor::executor;
use vigil_executor::time::{MSEC, Nanos, USEC, now};
use vigil_executor::timer::Timer;
use vigil_mem::{AllocError, KBox};

/// Linux's tick: the nearest look.
const NEAREST: Nanos = 4 * MSEC;
const FURTHEST: Nanos = 50 * MSEC;
/// By how much the soft limit grows, µs.
const GROWTH: u64 = 1_000_000;

/// What a thread that had the limit keeps.
pub struct Watch {
    timer: Timer,
    /// The thread, which has this and stops the timer before it goes.
    thread: *const Thread,
    /// How often it had slept when it last looked, and what it had run then.
    sleeps: AtomicU64,
    looked_at: AtomicU64,
    /// What it had run when the stretch without a blocking call began.
    base: AtomicU64,
    /// What it had run when it was last made one of another class.
    left_at: AtomicU64,
}

// SAFETY: the pointer is to the thread that has it, which is `Sync`; the rest is atomic.
unsafe impl Send for Watch {}
// SAFETY: as above.
unsafe impl Sync for Watch {}

impl Watch {
    fn try_new(thread: &Thread) -> Result<KBox<Watch>, AllocError> {
        let (sleeps, looked_at, base, left_at) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
        KBox::try_new(Watch { timer: Timer::new(fired), thread, sleeps, looked_at, base, left_at })
    }

    /// Of a thread that has run for `ran`, was last picked after `picked` of that, and has slept so often: how long it has run since
    /// it slept.
    fn look(&self, ran: Nanos, picked: Nanos, sleeps: u64) -> Nanos {
        let before = self.looked_at.swap(ran, Relaxed);
        if self.sleeps.swap(sleeps, Relaxed) != sleeps {
            self.base.store(before.max(picked), Relaxed);
        }
        ran.saturating_sub(self.base.load(Relaxed))
    }
}

/// Hard interrupt: the thread looks on its way to EL0.
fn fired(timer: &Timer) {
    // SAFETY: every timer with this function is that of a watch.
    let watch = unsafe { &*core::ptr::from_ref(timer).byte_sub(core::mem::offset_of!(Watch, timer)).cast::<Watch>() };
    // SAFETY: the thread outlives its watch, whose drop waits for this function.
    ask(unsafe { &*watch.thread });
}

fn ask(thread: &Thread) {
    thread.set_work(WORK_BUDGET);
    if let Some(task) = thread.task() {
        crate::platform::kick_user(task);
    }
}

/// The limit of `process`, or the class of one of its threads, may have changed.
pub fn changed(process: &Process) {
    if process.limits.soft(RTTIME) != INFINITY {
        let guard = super::process::tasks();
        process.relations(&guard).threads.iter().for_each(|thread| ask(thread));
    }
}

/// The same of one thread, which may not have started.
pub fn begins(thread: &Thread) {
    if thread.process.limits.soft(RTTIME) != INFINITY {
        ask(thread);
    }
}

/// `thread`, which had `old`, is of another class now: what it runs from here on is not counted.
pub fn leaves(thread: &Thread, old: &Params) {
    if old.class() == Class::Realtime
        && let (Some(watch), Some(task)) = (thread.rt_watch.get(), thread.task())
    {
        watch.left_at.store(executor::run_time(task), Relaxed);
    }
}

/// And now it becomes a real-time thread again.
pub fn comes_back(thread: &Thread) {
    if let (Some(watch), Some(task)) = (thread.rt_watch.get(), thread.task()) {
        let ran = executor::run_time(task);
        watch.base.fetch_add(ran.saturating_sub(watch.left_at.load(Relaxed)), Relaxed);
        watch.looked_at.store(ran, Relaxed);
    }
}

/// `thread`, whose poll this is, looks at what it has run, and says when it looks again.
pub fn look(thread: &Thread) {
    let limits = &thread.process.limits;
    let soft = limits.soft(RTTIME);
    let Some(task) = thread.task().filter(|_| soft != INFINITY) else { return };
    let now = now();
    let (class, ran, picked, sleeps) = executor::with_entity(task, |rq, entity, now| {
        rq.update_current(now);
        // SAFETY: the entity is read under its queue's lock.
        let entity = unsafe { entity.as_ref() };
        (entity.class(), entity.sum_exec_runtime(), entity.picked_at_runtime(), entity.stats().nvcsw)
    });
    if class != Class::Realtime {
        return;
    }
    let is_new = thread.rt_watch.get().is_none();
    // Without memory for it the limit does not hold: nobody is told.
    let Ok(watch) = thread.rt_watch.try_call_once(|| Watch::try_new(thread)) else { return };
    if is_new {
        watch.base.store(ran, Relaxed);
        watch.sleeps.store(sleeps, Relaxed);
    }
    let used = watch.look(ran, picked, sleeps) / USEC;
    let hard = limits.hard(RTTIME);
    if hard != INFINITY && used >= hard {
        let _ = signal::send_to_process(&thread.process, SigInfo::kernel(SIGKILL));
        return;
    }
    let mut left = soft.saturating_sub(used);
    if left == 0 {
        let _ = signal::send_to_process(&thread.process, SigInfo::kernel(SIGXCPU));
        left = GROWTH;
        limits.set(RTTIME, soft.saturating_add(GROWTH), hard);
    }
    let left = left.min(hard.saturating_sub(used)).saturating_mul(USEC);
    // SAFETY: the watch is in a box of its own and never moves.
    let timer = unsafe { Pin::new_unchecked(&watch.timer) };
    // Within the nearest it is what is left that counts, exactly.
    let next = if left <= NEAREST { left } else { (left / 4).clamp(NEAREST, FURTHEST) };
    timer.start(now.saturating_add(next), 0);
}
