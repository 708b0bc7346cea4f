//! The wheels of each CPU, and the event that each waits for.

use super::timer::{CoarseTimer, Kind};
use super::wheel::{NEVER, Node, Wheel};
use super::{Jiffies, begins, jiffies};
use crate::arch;
use crate::cpu::{CpuId, CpuMask, MAX_CPUS, ONLINE, PerCpu};
use crate::executor::CpuExec;
use crate::softirq::{self, Softirq};
use crate::sync::{LockClass, SpinIrqGuard, SpinLock};
use crate::timer::Timer;
use crate::trace::{Event, KEY_HRTIMERS, tell};
use core::pin::Pin;
use core::ptr;
use core::sync::atomic::{AtomicU64, Ordering::*};

/// `CoarseTimer::cpu` while it moves from one CPU to another.
pub(super) const MOVING: u32 = u32::MAX;
static TIMER_BASE: LockClass = LockClass::new("timer_base");
/// Where timers go that are not pinned, started elsewhere; 0: they stay.
static CPUS: AtomicU64 = AtomicU64::new(0);

/// Timers that are not pinned keep to the CPUs of `mask` (Linux: housekeeping CPUs of the kind timer). At boot.
pub fn set_cpus(mask: CpuMask) {
    CPUS.store(mask.0, Relaxed);
}

struct State {
    wheel: Wheel,
    /// The timer whose function runs.
    running: *const CoarseTimer,
}

// SAFETY: used under the base's lock, on whichever CPU.
unsafe impl Send for State {}

/// Timers of one CPU.
struct Base {
    state: SpinLock<State>,
    /// When the first bucket begins. Written under the lock.
    next: AtomicU64,
    /// For which tick the event is started. Its own CPU only, interrupts masked.
    armed: AtomicU64,
    event: Timer,
}

impl Base {
    const fn new(event: fn(&Timer)) -> Base {
        Base {
            state: SpinLock::new(&TIMER_BASE, State { wheel: Wheel::new(), running: ptr::null() }),
            next: AtomicU64::new(NEVER),
            armed: AtomicU64::new(NEVER),
            event: Timer::new(event),
        }
    }

    /// Notes when the first bucket begins. The lock of `state` is held.
    fn publish(&self, state: &State) {
        self.next.store(state.wheel.next(), Relaxed);
    }

    /// Starts the event for what comes first, if it is not. On its own CPU, interrupts masked.
    fn arm(&'static self) {
        let next = self.next.load(Relaxed);
        if next != NEVER && next != self.armed.load(Relaxed) {
            self.armed.store(next, Relaxed);
            Pin::static_ref(&self.event).start(begins(next), 0);
        }
    }

    /// Runs what is due; its own CPU's, in the softirq.
    fn expire(&'static self) {
        let now = jiffies();
        if self.next.load(Relaxed) > now {
            return;
        }
        let mut state = self.state.lock_irq();
        while state.wheel.collect(now) {
            while let Some(node) = state.wheel.pop_due() {
                // SAFETY: the node is the first field of its timer, which waited, and so is alive; whoever ends it waits while
                // `running` names it. The function may have it end: it is not looked at afterwards.
                unsafe {
                    let timer = node.cast::<CoarseTimer>();
                    let (function, irqsafe) = ((*timer).function, (*timer).kind.has(Kind::IRQSAFE));
                    (*timer).queued.store(false, Release);
                    state.running = timer;
                    if arch::is_traced::<KEY_HRTIMERS>() {
                        tell(Event::CoarseCancelled(&*timer));
                        tell(Event::CoarseExpires(&*timer));
                    }
                    drop(state);
                    if irqsafe {
                        arch::without_irqs(|| function(&*timer));
                    } else {
                        function(&*timer);
                    }
                    if arch::is_traced::<KEY_HRTIMERS>() {
                        tell(Event::CoarseDone(timer as usize));
                    }
                }
                state = self.state.lock_irq();
                state.running = ptr::null();
            }
            state.wheel.look();
        }
        self.publish(&state);
    }
}

/// Those that wake their CPU.
static PLAIN: PerCpu<Base> = PerCpu::new([const { Base::new(plain_due) }; MAX_CPUS]);
/// Those that do not.
static DEFERRED: PerCpu<Base> = PerCpu::new([const { Base::new(deferred_due) }; MAX_CPUS]);

/// A bucket of this CPU begins. Hard interrupt.
fn plain_due(_: &Timer) {
    PLAIN.this().armed.store(NEVER, Relaxed);
    softirq::raise_here(Softirq::Timer);
}

fn deferred_due(_: &Timer) {
    DEFERRED.this().armed.store(NEVER, Relaxed);
    softirq::raise_here(Softirq::Timer);
}

/// The TIMER softirq.
pub(crate) fn softirq() {
    for base in [PLAIN.this(), DEFERRED.this()] {
        base.expire();
        arch::without_irqs(|| base.arm());
    }
}

/// This CPU begins to idle: takes the event of deferred timers away, or runs them first if their time has come. Interrupts masked.
#[inline(always)]
pub(crate) fn rests(exec: &CpuExec, here: CpuId) {
    if DEFERRED.of(here).armed.load(Relaxed) != NEVER {
        defer(exec, here);
    }
}

#[cold]
#[inline(never)]
fn defer(exec: &CpuExec, here: CpuId) {
    let base = DEFERRED.of(here);
    base.event.cancel();
    base.armed.store(NEVER, Relaxed);
    if base.next.load(Relaxed) <= jiffies() {
        softirq::raise_here(Softirq::Timer);
    } else {
        exec.has_deferred();
    }
}

/// This CPU runs something, after [`rests`] has taken the event away. Interrupts masked.
pub(crate) fn runs_again(here: CpuId) {
    DEFERRED.of(here).arm();
}

fn bases(kind: Kind) -> &'static PerCpu<Base> {
    if kind.has(Kind::DEFERRABLE) { &DEFERRED } else { &PLAIN }
}

/// The base that guards `timer`, locked.
fn lock_of(timer: &CoarseTimer) -> (CpuId, &'static Base, SpinIrqGuard<'static, State>) {
    loop {
        let cpu = timer.cpu.load(Acquire);
        if let Some(at) = CpuId::new(cpu as usize) {
            let base = bases(timer.kind).of(at);
            let state = base.state.lock_irq();
            if timer.cpu.load(Relaxed) == cpu {
                return (at, base, state);
            }
        }
        arch::relax();
    }
}

/// Where `timer` is to wait when `here` starts it.
fn home(timer: &CoarseTimer, here: CpuId) -> CpuId {
    let cpus = CpuMask(CPUS.load(Relaxed));
    if cpus.0 == 0 || cpus.contains(here) || timer.kind.has(Kind::PINNED) {
        return here;
    }
    CpuMask(cpus.0 & ONLINE.load().0).iter().next().unwrap_or(here)
}

/// See [`CoarseTimer::modify`].
pub(super) fn modify(timer: Pin<&CoarseTimer>, expires: Jiffies) -> bool {
    let timer = timer.get_ref();
    arch::without_irqs(|| {
        let here = CpuId::current();
        let (mut cpu, mut base, mut state) = lock_of(timer);
        let waited = timer.queued.load(Relaxed);
        if waited && timer.expires.get() == expires {
            return true;
        }
        // SAFETY: the base guards it; it is pinned.
        unsafe {
            if waited {
                state.wheel.remove(&timer.node);
                base.publish(&state);
                was_cancelled(timer);
            }
            let home = home(timer, here);
            // While its function runs elsewhere it stays there, so that who waits for that finds both in one place.
            if home != cpu && !ptr::eq(state.running, timer) {
                timer.cpu.store(MOVING, Relaxed);
                timer.queued.store(false, Relaxed);
                drop(state);
                (cpu, base) = (home, bases(timer.kind).of(home));
                state = base.state.lock_irq();
                timer.cpu.store(home.index() as u32, Release);
            }
            let first = insert(base, &mut state, timer, expires);
            // While functions run nothing is started: the softirq will, at its end.
            let expiring = !state.running.is_null();
            drop(state);
            if expiring {
                return waited;
            }
            if cpu == here {
                base.arm();
            } else if first {
                softirq::raise(Softirq::Timer, CpuMask::of(cpu));
            }
        }
        waited
    })
}

/// Puts `timer` into the wheel; whether it fires before all others.
///
/// # Safety
/// The base guards it, its lock is held; it does not wait, and is pinned.
unsafe fn insert(base: &Base, state: &mut State, timer: &CoarseTimer, expires: Jiffies) -> bool {
    timer.expires.set(expires);
    timer.queued.store(true, Release);
    if arch::is_traced::<KEY_HRTIMERS>() {
        tell(Event::CoarseStarted(timer, timer.cpu.load(Relaxed) | timer.kind.linux_flags()));
    }
    // SAFETY: by the contract.
    let fires = unsafe { state.wheel.insert(&timer.node, expires, jiffies()) };
    let first = fires < base.next.load(Relaxed);
    base.publish(state);
    first
}

fn was_cancelled(timer: &CoarseTimer) {
    if arch::is_traced::<KEY_HRTIMERS>() {
        tell(Event::CoarseCancelled(timer));
    }
}

/// How [`delete`] found it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Deleted {
    /// It waited, and does not any more; nor does its function run.
    Waited,
    /// It did not wait.
    Idle,
    /// Its function runs; it does not wait any more.
    Running {
        /// It had been started anew.
        waited: bool,
    },
}

/// Takes it out.
pub(super) fn delete(timer: &CoarseTimer) -> Deleted {
    let (_, base, mut state) = lock_of(timer);
    let waited = timer.queued.load(Relaxed);
    if waited {
        // SAFETY: it waits, and this base guards it.
        unsafe { state.wheel.remove(&timer.node) };
        timer.queued.store(false, Release);
        base.publish(&state);
        was_cancelled(timer);
    }
    match (ptr::eq(state.running, timer), waited) {
        (true, waited) => Deleted::Running { waited },
        (false, true) => Deleted::Waited,
        (false, false) => Deleted::Idle,
    }
}

/// Moves the timers of `gone`, which has stopped, to this CPU (Linux: timers_dead_cpu). In a task.
pub fn take_over(gone: CpuId) {
    for bases in [&PLAIN, &DEFERRED] {
        let from = bases.of(gone);
        from.event.cancel();
        from.armed.store(NEVER, Relaxed);
        loop {
            let more = arch::without_irqs(|| {
                let mut state = from.state.lock_irq();
                let popped: Option<*const Node> = state.wheel.pop_any();
                from.publish(&state);
                // SAFETY: the node is the first field of its timer, which waits: it is alive, and stays so, because whoever ends it
                // waits until it is some base's again.
                let Some(timer) = popped.map(|node| unsafe { &*node.cast::<CoarseTimer>() }) else { return false };
                timer.cpu.store(MOVING, Relaxed);
                drop(state);
                let here = CpuId::current();
                let base = bases.of(here);
                let mut state = base.state.lock_irq();
                timer.cpu.store(here.index() as u32, Release);
                // SAFETY: it is this base's now, in no wheel, and pinned.
                unsafe { insert(base, &mut state, timer, timer.expires.get()) };
                drop(state);
                base.arm();
                true
            });
            if !more {
                break;
            }
        }
    }
}
