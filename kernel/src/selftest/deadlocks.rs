//! Planted deadlocks, each of which the lock checker must find, and say where both ways are, although nothing has deadlocked yet
//! (Linux: lib/locking-selftest.c); and things that only look like one, of which it must say nothing.
//!
//! Interrupts and softirqs are real ones. Needs a build with checks on.

use super::report;
use crate::pr_info;
use core::pin::Pin;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering::*};
use vigil_executor::context::IrqGuard;
use vigil_executor::lock_class;
use vigil_executor::softirq::{self, Softirq};
use vigil_executor::sync::lockdep::{self, Kind, Report};
use vigil_executor::sync::srcu::Srcu;
use vigil_executor::sync::{Completion, LockClass, Mutex, RwSem, RwSpinLock, Semaphore, SpinLock, rcu};
use vigil_executor::time::{self, USEC};
use vigil_executor::timer::Timer;
use vigil_executor::wait_site;

/// Findings of one plant that are kept.
const KEPT: usize = 4;

static FOUND: AtomicUsize = AtomicUsize::new(0);
static KINDS: [AtomicUsize; KEPT] = [const { AtomicUsize::new(0) }; KEPT];
/// Findings without the places of both ways.
static VAGUE: AtomicUsize = AtomicUsize::new(0);

fn note(report: &Report) {
    pr_info!("{report}");
    let nth = FOUND.fetch_add(1, Relaxed);
    if let Some(kind) = KINDS.get(nth) {
        kind.store(report.kind() as usize, Relaxed);
    }
    VAGUE.fetch_add((!report.has_both_places()).into(), Relaxed);
}

static RUN: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());
static RAN: AtomicBool = AtomicBool::new(false);

fn run_it() {
    let function = RUN.swap(core::ptr::null_mut(), AcqRel);
    if !function.is_null() {
        // SAFETY: only `in_context` stores here, and it stores a `fn()`.
        let function = unsafe { core::mem::transmute::<*mut (), fn()>(function) };
        function();
        RAN.store(true, Release);
    }
}

fn in_context(timer: &'static Timer, function: fn()) {
    RAN.store(false, Relaxed);
    RUN.store(function as *mut (), Release);
    Pin::static_ref(timer).start(time::now() + 5 * USEC, 0);
    while !RAN.load(Acquire) {
        core::hint::spin_loop();
    }
}

/// Runs `function` in a hard interrupt.
fn hardirq(function: fn()) {
    static TIMER: Timer = Timer::new(|_| run_it());
    in_context(&TIMER, function);
}

/// Runs `function` in a softirq.
fn softirq(function: fn()) {
    static TIMER: Timer = Timer::new(|_| softirq::raise_here(Softirq::IrqPoll));
    softirq::open(Softirq::IrqPoll, run_it);
    in_context(&TIMER, function);
}

/// Locks, each of a class of its own.
macro_rules! locks {
    ($type:ident: $($name:ident)*) => {
        $(static $name: $type<()> = $type::new({
            static CLASS: LockClass = LockClass::new(stringify!($name));
            &CLASS
        }, ());)*
    };
}

/// Takes the second while holding the first, in each pair.
fn in_this_order(pairs: &[(&SpinLock<()>, &SpinLock<()>)]) {
    for (first, second) in pairs {
        let _first = first.lock();
        let _second = second.lock();
    }
}

/// A lock that is not taken twice in fact: another of the same class.
fn same_class() {
    static CLASS: LockClass = LockClass::new("same_class");
    static A: SpinLock<()> = SpinLock::new(&CLASS, ());
    static B: SpinLock<()> = SpinLock::new(&CLASS, ());
    in_this_order(&[(&A, &B)]);
}

fn two_locks() {
    locks!(SpinLock: TWO_A TWO_B);
    in_this_order(&[(&TWO_A, &TWO_B), (&TWO_B, &TWO_A)]);
}

fn three_locks() {
    locks!(SpinLock: THREE_A THREE_B THREE_C);
    in_this_order(&[(&THREE_A, &THREE_B), (&THREE_B, &THREE_C), (&THREE_C, &THREE_A)]);
}

/// `D` to `A` closes a circle that goes on to `B` and `C` in one flow and to `D` in another.
fn four_locks() {
    locks!(SpinLock: FOUR_A FOUR_B FOUR_C FOUR_D);
    {
        let _a = FOUR_A.lock();
        let _b = FOUR_B.lock();
        let _c = FOUR_C.lock();
    }
    in_this_order(&[(&FOUR_C, &FOUR_D), (&FOUR_D, &FOUR_A)]);
}

/// A writer that comes in between waits for the first section and holds the second back.
fn reader_again() {
    locks!(RwSpinLock: AGAIN);
    let _outer = AGAIN.read();
    let _inner = AGAIN.read();
}

fn readers_and_writers() {
    locks!(RwSpinLock: RW_A RW_B);
    {
        let _a = RW_A.read();
        let _b = RW_B.write();
    }
    let _b = RW_B.read();
    let _a = RW_A.write();
}

fn interrupt_then_task() {
    locks!(SpinLock: IRQ_FIRST);
    hardirq(|| drop(IRQ_FIRST.lock_irq()));
    drop(IRQ_FIRST.lock());
}

fn task_then_interrupt() {
    locks!(SpinLock: TASK_FIRST);
    drop(TASK_FIRST.lock());
    hardirq(|| drop(TASK_FIRST.lock_irq()));
}

fn softirq_then_task() {
    locks!(SpinLock: SOFTIRQ_FIRST);
    softirq(|| drop(SOFTIRQ_FIRST.lock()));
    drop(SOFTIRQ_FIRST.lock());
}

/// Bottom halves are off, hard interrupts are not.
fn interrupt_then_bh() {
    locks!(SpinLock: BH_ONLY);
    hardirq(|| drop(BH_ONLY.lock_irq()));
    drop(BH_ONLY.lock_bh());
}

fn interrupt_reads_then_task_writes() {
    locks!(RwSpinLock: IRQ_READ);
    hardirq(|| drop(IRQ_READ.read_irq()));
    drop(IRQ_READ.read());
    drop(IRQ_READ.write());
}

/// Safe waits for unsafe: an interrupt may find the second held, while who holds the first waits for it.
fn safe_waits_for_unsafe() {
    locks!(SpinLock: SAFE UNSAFE);
    hardirq(|| drop(SAFE.lock_irq()));
    drop(UNSAFE.lock());
    let _safe = SAFE.lock_irq();
    let _unsafe = UNSAFE.lock();
}

/// The same, but the order is known before the second is held with interrupts on.
fn becomes_unsafe() {
    locks!(SpinLock: LATER_SAFE LATER);
    hardirq(|| drop(LATER_SAFE.lock_irq()));
    {
        let _safe = LATER_SAFE.lock_irq();
        let _later = LATER.lock();
    }
    drop(LATER.lock());
}

/// The same through a third, whose edges are each harmless.
fn unsafe_behind_a_third() {
    locks!(SpinLock: FAR_SAFE MIDDLE FAR);
    hardirq(|| drop(FAR_SAFE.lock_irq()));
    drop(FAR.lock());
    {
        let _safe = FAR_SAFE.lock_irq();
        let _middle = MIDDLE.lock();
    }
    let _middle = MIDDLE.lock_irq();
    let _far = FAR.lock();
}

fn softirq_safe_waits_for_unsafe() {
    locks!(SpinLock: SOFT_SAFE SOFT_UNSAFE);
    softirq(|| drop(SOFT_SAFE.lock()));
    drop(SOFT_UNSAFE.lock());
    let _safe = SOFT_SAFE.lock_bh();
    let _unsafe = SOFT_UNSAFE.lock();
}

async fn two_mutexes() {
    locks!(Mutex: MUTEX_A MUTEX_B);
    for (first, second) in [(&MUTEX_A, &MUTEX_B), (&MUTEX_B, &MUTEX_A)] {
        let _first = first.lock(wait_site!("planted")).await;
        let _second = second.lock(wait_site!("planted")).await;
    }
}

async fn three_tasks() {
    locks!(Mutex: CIRCLE_M CIRCLE_N);
    locks!(RwSem: CIRCLE_R);
    {
        let _m = CIRCLE_M.lock(wait_site!("planted")).await;
        let _r = CIRCLE_R.write(wait_site!("planted")).await;
    }
    {
        let _r = CIRCLE_R.read(wait_site!("planted")).await;
        let _n = CIRCLE_N.lock(wait_site!("planted")).await;
    }
    let _n = CIRCLE_N.lock(wait_site!("planted")).await;
    let _m = CIRCLE_M.lock(wait_site!("planted")).await;
}

/// A reader of the semaphore again: a writer may wait in between.
async fn rwsem_again() {
    locks!(RwSem: RWSEM_AGAIN);
    let _outer = RWSEM_AGAIN.read(wait_site!("planted")).await;
    let _inner = RWSEM_AGAIN.read(wait_site!("planted")).await;
}

async fn mutex_and_domain() {
    locks!(Mutex: DOMAIN_M);
    static DOMAIN: Srcu = Srcu::new(lock_class!("DOMAIN"));
    {
        let _section = DOMAIN.read_lock();
        let _m = DOMAIN_M.lock(wait_site!("planted")).await;
    }
    let _m = DOMAIN_M.lock(wait_site!("planted")).await;
    DOMAIN.synchronize(wait_site!("planted")).await;
}

/// Polls a future once, in the middle of something in which nothing may be awaited.
fn poll_here(future: impl Future) {
    let mut future = core::pin::pin!(future);
    let _ = future.as_mut().poll(&mut core::task::Context::from_waker(core::task::Waker::noop()));
}

fn mutex_under_spin_lock() {
    locks!(SpinLock: HELD_SPIN);
    locks!(Mutex: SLEEPING);
    let _held = HELD_SPIN.lock();
    poll_here(SLEEPING.lock(wait_site!("planted")));
}

fn rwsem_in_softirq() {
    locks!(SpinLock: HELD_SOFT);
    locks!(RwSem: SLEEPING_SEM);
    softirq(|| {
        let _held = HELD_SOFT.lock();
        poll_here(SLEEPING_SEM.read(wait_site!("planted")));
    });
}

fn grace_period_in_section() {
    let _section = rcu::read_lock();
    poll_here(rcu::synchronize(wait_site!("planted")));
}

fn completion_under_read_lock() {
    locks!(RwSpinLock: HELD_RW);
    static DONE: Completion = Completion::new();
    // Not even when it is done already.
    DONE.complete();
    let _held = HELD_RW.read();
    poll_here(DONE.wait(wait_site!("planted")));
}

fn semaphore_under_bh_lock() {
    locks!(SpinLock: HELD_BH);
    static UNITS: Semaphore = Semaphore::new(1);
    let _held = HELD_BH.lock_bh();
    poll_here(UNITS.down(wait_site!("planted")));
}

/// The guard of a spin lock is not `Send`, so that the compiler refuses this in a task's future; here it is smuggled in.
fn held_across_an_await() {
    locks!(SpinLock: SMUGGLED);
    let guard = SMUGGLED.lock();
    // What the executor asks after each poll.
    lockdep::assert_none_held();
    drop(guard);
}

/// Nothing of this is a deadlock.
async fn innocent() {
    locks!(SpinLock: OK_A OK_B OK_C OK_IRQ OK_BH);
    locks!(RwSpinLock: OK_RW);
    locks!(Mutex: OK_M OK_N);
    static NEST: LockClass = LockClass::new("OK_C/nested");
    hardirq(|| {
        drop(OK_IRQ.lock_irq());
        let _rw = OK_RW.read_irq();
        let _again = OK_RW.read_irq();
    });
    softirq(|| {
        let _bh = OK_BH.lock();
        drop(OK_IRQ.lock_irq());
    });
    softirq(|| drop(OK_RW.read()));
    for _ in 0..2 {
        in_this_order(&[(&OK_A, &OK_B)]);
        let _bh = OK_BH.lock_bh();
        let _irq = OK_IRQ.lock_irq();
    }
    {
        let _b = OK_B.lock();
        let _nested = OK_C.lock_nested(&NEST);
    }
    {
        let _b = OK_B.lock();
        let _a = OK_A.try_lock();
    }
    drop(OK_RW.read());
    drop(OK_RW.write_irq());
    {
        let _m = OK_M.lock(wait_site!("planted")).await;
        let _n = OK_N.lock(wait_site!("planted")).await;
        in_this_order(&[(&OK_A, &OK_B)]);
    }
    let _n = OK_N.lock(wait_site!("planted")).await;
    let _m = OK_M.try_lock();
    rcu::synchronize(wait_site!("planted")).await;
}

/// Interrupts are masked, and it is told by no lock.
fn masked() {
    locks!(Mutex: UNDER_MASK);
    let _masked = IrqGuard::new();
    poll_here(UNDER_MASK.lock(wait_site!("planted")));
}

/// A plant, and what must be found.
type Plant = (&'static str, Kind, fn());

const PLANTS: [Plant; 20] = [
    ("two locks of a class", Kind::Recursion, same_class),
    ("A-B, B-A", Kind::Inversion, two_locks),
    ("A-B, B-C, C-A", Kind::Inversion, three_locks),
    ("A-B-C, C-D, D-A", Kind::Inversion, four_locks),
    ("reader again", Kind::Recursion, reader_again),
    ("readers and writers, two ways", Kind::Inversion, readers_and_writers),
    ("in an interrupt, then with interrupts on", Kind::IrqInconsistent, interrupt_then_task),
    ("with interrupts on, then in one", Kind::IrqInconsistent, task_then_interrupt),
    ("in an interrupt, then with bottom halves off only", Kind::IrqInconsistent, interrupt_then_bh),
    ("interrupts read, a task writes", Kind::IrqInconsistent, interrupt_reads_then_task_writes),
    ("in a softirq, then with softirqs on", Kind::SoftirqInconsistent, softirq_then_task),
    ("interrupt-safe waits for unsafe", Kind::IrqInversion, safe_waits_for_unsafe),
    ("a lock behind a safe one becomes unsafe", Kind::IrqInversion, becomes_unsafe),
    ("unsafe behind a third", Kind::IrqInversion, unsafe_behind_a_third),
    ("softirq-safe waits for unsafe", Kind::SoftirqInversion, softirq_safe_waits_for_unsafe),
    ("mutex under a spin lock", Kind::AtomicWait, mutex_under_spin_lock),
    ("semaphore of readers in a softirq", Kind::AtomicWait, rwsem_in_softirq),
    ("grace period in an RCU section", Kind::AtomicWait, grace_period_in_section),
    ("completion under a reader's lock", Kind::AtomicWait, completion_under_read_lock),
    ("semaphore under a lock of bottom halves", Kind::AtomicWait, semaphore_under_bh_lock),
];

/// What is left when `plant` is through: exactly one finding, of this kind, with the places of both ways.
fn judge(name: &str, kind: Kind, vague: usize) -> bool {
    let (found, first) = (FOUND.swap(0, Relaxed), KINDS[0].load(Relaxed));
    let good = found == 1 && first == kind as usize && VAGUE.swap(0, Relaxed) == vague;
    if !good {
        pr_info!("lockdep: planted: {name}: {found} findings, the first of kind {first}, wanted {kind:?}");
    }
    good
}

/// Plants them all.
pub async fn run() -> bool {
    lockdep::set_report_hook(note);
    let mut found = 0;
    for (name, kind, plant) in PLANTS {
        plant();
        found += usize::from(judge(name, kind, 0));
    }
    two_mutexes().await;
    found += usize::from(judge("two mutexes", Kind::Inversion, 0));
    three_tasks().await;
    found += usize::from(judge("a circle of mutexes and a semaphore of readers", Kind::Inversion, 0));
    rwsem_again().await;
    found += usize::from(judge("reader of a semaphore again", Kind::Recursion, 0));
    mutex_and_domain().await;
    found += usize::from(judge("mutex and SRCU", Kind::Inversion, 0));
    held_across_an_await();
    found += usize::from(judge("spin lock across an await", Kind::Imbalance, 0));
    masked();
    found += usize::from(judge("mutex with interrupts masked", Kind::AtomicWait, 1));
    let planted = PLANTS.len() + 6;
    innocent().await;
    let innocent = FOUND.swap(0, Relaxed);
    report("lockdep", found == planted && innocent == 0, format_args!("planted {planted}, found {found}, false {innocent}"))
}
