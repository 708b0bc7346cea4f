//! Tasklets: functions that a softirq calls, one CPU at a time (Linux: tasklet_struct).
//!
//! ```text
//!            schedule                begin                      end
//!   ┌──────┐ ───────► ┌───────────┐ ───────► ┌─────────┐ ──────────────► (idle)
//!   │ idle │          │ SCHEDULED │          │ RUNNING │
//!   └──────┘ ◄─────── └───────────┘          └─────────┘ ── schedule ──► RUNNING|SCHEDULED: linked on the CPU that asked,
//!              kill                                                     and linked again there until it does not run
//! ```
//!
//! It runs on the CPU that scheduled it, once however often it was scheduled before it began, in the order in which they were
//! scheduled; those of high priority before the others. While it is disabled, or runs elsewhere, its turn comes again and again, as on
//! Linux: what is scheduled and disabled for long keeps ksoftirqd busy.

use super::{Softirq, raise_here};
use crate::arch;
use crate::cpu::{CpuId, MAX_CPUS, PerCpu};
use crate::sync::{LockClass, SpinLock};
use crate::wait::{WaitMode, WaitQueue};
use crate::wait_site;
use core::ptr::{from_ref, null_mut};
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering::*};

static TASKLETS: LockClass = LockClass::new("tasklets");

/// It is linked on a CPU, or a killer's.
const SCHEDULED: u32 = 1;
/// Its function is called.
const RUNNING: u32 = 2;
/// Somebody waits for one of the two to be taken off.
const WAITED: u32 = 4;
/// It was disabled once.
const DISABLED: u32 = 8;

/// A function to be called soon, in a softirq: it may not wait. Part of the object that it works on.
pub struct Tasklet {
    /// The bits above; from [`DISABLED`] on, how often it is disabled.
    state: AtomicU32,
    /// The next of its CPU; guarded by the list's lock.
    next: AtomicPtr<Tasklet>,
    function: fn(&Tasklet),
}

/// Those of a CPU and a priority, the oldest first.
struct List {
    first: *mut Tasklet,
    last: *mut Tasklet,
}

// SAFETY: used under its lock, and what is linked is alive for ever.
unsafe impl Send for List {}

static NORMAL: PerCpu<SpinLock<List>> = PerCpu::new([const { SpinLock::new(&TASKLETS, List::EMPTY) }; MAX_CPUS]);
static HIGH: PerCpu<SpinLock<List>> = PerCpu::new([const { SpinLock::new(&TASKLETS, List::EMPTY) }; MAX_CPUS]);

/// Those who wait for a tasklet, whichever it is: it may be gone when they are woken.
static WAITERS: WaitQueue = WaitQueue::new();

impl List {
    const EMPTY: List = List { first: null_mut(), last: null_mut() };

    fn push(&mut self, tasklet: &'static Tasklet) {
        let new = from_ref(tasklet).cast_mut();
        tasklet.next.store(null_mut(), Relaxed);
        // SAFETY: linked tasklets live for ever.
        match unsafe { self.last.as_ref() } {
            Some(last) => last.next.store(new, Relaxed),
            None => self.first = new,
        }
        self.last = new;
    }

    fn pop(&mut self) -> Option<&'static Tasklet> {
        // SAFETY: linked tasklets live for ever.
        let tasklet: &'static Tasklet = unsafe { self.first.as_ref() }?;
        self.first = tasklet.next.load(Relaxed);
        if self.first.is_null() {
            self.last = null_mut();
        }
        Some(tasklet)
    }

    fn take(&mut self) -> List {
        core::mem::replace(self, List::EMPTY)
    }
}

impl Tasklet {
    /// A tasklet that calls `function`.
    pub const fn new(function: fn(&Tasklet)) -> Tasklet {
        Tasklet { state: AtomicU32::new(0), next: AtomicPtr::new(null_mut()), function }
    }

    /// The same, [disabled](Self::disable) once (Linux: DECLARE_TASKLET_DISABLED).
    pub const fn new_disabled(function: fn(&Tasklet)) -> Tasklet {
        Tasklet { state: AtomicU32::new(DISABLED), ..Self::new(function) }
    }

    /// Has it run on this CPU, soon; `false` if it is to run already. Any context.
    pub fn schedule(&'static self) -> bool {
        self.schedule_on(&NORMAL, Softirq::Tasklet)
    }

    /// As [`schedule`](Self::schedule), before those of normal priority.
    pub fn schedule_hi(&'static self) -> bool {
        self.schedule_on(&HIGH, Softirq::Hi)
    }

    fn schedule_on(&'static self, lists: &PerCpu<SpinLock<List>>, softirq: Softirq) -> bool {
        let fresh = self.state.fetch_or(SCHEDULED, AcqRel) & SCHEDULED == 0;
        if fresh {
            self.link(lists, softirq);
        }
        fresh
    }

    /// SCHEDULED is the caller's.
    fn link(&'static self, lists: &PerCpu<SpinLock<List>>, softirq: Softirq) {
        arch::without_irqs(|| {
            lists.this().lock_irq().push(self);
            raise_here(softirq);
        });
    }

    /// Whether it may run here and now: then it is not scheduled any more, so that whoever wants it to run again can say so.
    fn begin(&self) -> bool {
        let begin = |s: u32| (s & RUNNING == 0 && s < DISABLED).then_some((s | RUNNING) & !SCHEDULED);
        self.state.fetch_update(AcqRel, Relaxed, begin).is_ok()
    }

    /// Its function has returned. It may be gone afterwards.
    fn end(&self) {
        if self.state.fetch_and(!(RUNNING | WAITED), AcqRel) & WAITED != 0 {
            WAITERS.wake_all();
        }
    }

    /// Waits until none of `bits` is set, and sets `set` in the same step.
    async fn wait(&'static self, bits: u32, set: u32) {
        let free = || (self.state.fetch_or(WAITED | set, AcqRel) & bits == 0).then_some(());
        while WAITERS.wait_until(wait_site!("tasklet_unlock_wait"), WaitMode::Uninterruptible, free).await.is_err() {}
    }

    /// It does not begin until [`enable`](Self::enable) was called as often; and it does not run when this ends. Not in its own function.
    pub async fn disable(&'static self) {
        self.disable_nosync();
        self.wait(RUNNING, 0).await;
    }

    /// As [`disable`](Self::disable); it may still run. Any context.
    pub fn disable_nosync(&self) {
        self.state.fetch_add(DISABLED, AcqRel);
    }

    /// Takes one [`disable`](Self::disable) back. Any context.
    pub fn enable(&self) {
        let old = self.state.fetch_sub(DISABLED, AcqRel);
        debug_assert!(old >= DISABLED, "a tasklet that is enabled was enabled");
    }

    /// Waits until it has run, if it is scheduled, and does not run; what is disabled and scheduled it waits for. Meanwhile nobody can schedule
    /// it. Not in its own function; whoever calls sees to it that it is not scheduled again.
    pub async fn kill(&'static self) {
        self.wait(SCHEDULED, SCHEDULED).await;
        self.wait(RUNNING, 0).await;
        self.state.fetch_and(!(SCHEDULED | WAITED), AcqRel);
        // Others may want to kill it.
        WAITERS.wake_all();
    }
}

/// The softirq of high priority.
pub(super) fn run_hi() {
    run(&HIGH, Softirq::Hi);
}

/// The other one.
pub(super) fn run_normal() {
    run(&NORMAL, Softirq::Tasklet);
}

/// Runs those of this CPU that were scheduled before it is called.
fn run(lists: &'static PerCpu<SpinLock<List>>, softirq: Softirq) {
    let mut taken = lists.this().lock_irq().take();
    while let Some(tasklet) = taken.pop() {
        if tasklet.begin() {
            (tasklet.function)(tasklet);
            tasklet.end();
        } else {
            tasklet.link(lists, softirq);
        }
    }
}

/// The tasklets of `gone`, which has gone offline, are this CPU's, behind those that are here. Interrupts masked; whoever calls takes its
/// pending softirqs, too.
pub(super) fn take_over(gone: CpuId) {
    for lists in [&HIGH, &NORMAL] {
        let mut taken = lists.of(gone).lock_irq().take();
        while let Some(tasklet) = taken.pop() {
            lists.this().lock_irq().push(tasklet);
        }
    }
}
