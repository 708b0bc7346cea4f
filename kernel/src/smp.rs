//! Other CPUs: function calls, and stopping them at a panic.
//!
//! Each CPU has a mailbox of calls that the others have for it: a bounded queue, so that callers on several CPUs go on side by
//! side, and nobody waits for a lock that another caller holds. Both ends run with interrupts masked: between taking a place and
//! filling it a push can be delayed by nothing but the CPU itself, and a pop on another CPU waits for some instructions at most
//! (DESIGN.md rule 1). It is never full, because a CPU has one call under way at a time.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering::*};
use crossbeam_queue::ArrayQueue;
use spin::Once;
use vigil_drivers::irq::{Ipi, send_ipi};
use vigil_executor::arch;
use vigil_executor::context::PreemptGuard;
use vigil_executor::cpu::{CpuId, CpuMask, MAX_CPUS, ONLINE, PerCpu};
use vigil_executor::lock_class;
use vigil_executor::sync::SpinLock;

/// One call, in the mailbox of each CPU that is to make it.
#[derive(Clone, Copy)]
struct Call {
    function: fn(usize),
    argument: usize,
    /// How many CPUs have yet to make it; on the caller's stack.
    left: NonNull<AtomicUsize>,
}

// SAFETY: the count is atomic, and its owner keeps it until it is zero.
unsafe impl Send for Call {}

static MAILBOXES: PerCpu<Once<ArrayQueue<Call>>> = PerCpu::new([const { Once::new() }; MAX_CPUS]);

/// Makes the mailbox of `cpu`. At boot, before the CPU is online: without memory for it the machine cannot start, and does not.
pub fn init_cpu(cpu: CpuId) {
    MAILBOXES.of(cpu).call_once(|| ArrayQueue::new(MAX_CPUS));
}

/// Runs `f(argument)` in a hard interrupt on every other online CPU and waits until all have (Linux:
/// smp_call_function). Interrupts must be on, or two callers could wait for each other.
pub fn call_others(f: fn(usize), argument: usize) {
    call_others_and(f, argument, |_| {});
}

/// [`call_others`]; calls `meanwhile` with their number when all were asked.
fn call_others_and(f: fn(usize), argument: usize, meanwhile: impl FnOnce(usize)) {
    debug_assert!(!arch::irqs_disabled());
    let guard = PreemptGuard::new();
    let others = CpuMask(ONLINE.load().0 & !CpuMask::of(CpuId::current()).0);
    // All who are online have one.
    let mailboxes = || others.iter().filter_map(|cpu| MAILBOXES.of(cpu).get());
    let count = mailboxes().count();
    let left = AtomicUsize::new(count);
    let call = Call { function: f, argument, left: NonNull::from(&left) };
    for mailbox in mailboxes() {
        while arch::without_irqs(|| mailbox.push(call)).is_err() {
            arch::relax();
        }
    }
    if others.0 != 0 {
        send_ipi(others, Ipi::CallFunction);
    }
    meanwhile(count);
    while left.load(Acquire) != 0 {
        arch::relax();
    }
    drop(guard);
}

/// The other CPUs, while they are held.
struct Held {
    arrived: AtomicUsize,
    go_on: AtomicBool,
}

/// Waits until it may go on, and then fetches its instructions anew.
fn hold(held: usize) {
    // SAFETY: the caller of `stop_others_while` keeps it until all have returned.
    let held = unsafe { &*(held as *const Held) };
    held.arrived.fetch_add(1, Release);
    while !held.go_on.load(Acquire) {
        arch::relax();
    }
    // SAFETY: a barrier: what was changed meanwhile is what is executed from here on.
    unsafe { core::arch::asm!("isb", options(nostack, preserves_flags)) };
}

/// What is done to all CPUs at once, and needs that none comes or goes meanwhile: how many such things are under way, or
/// [`IN_TRANSITION`].
static STEADY: AtomicUsize = AtomicUsize::new(0);
/// A CPU comes or goes.
const IN_TRANSITION: usize = usize::MAX;

/// A CPU is about to come or go. `false`: not yet, for it would run what somebody changes at this moment (Linux: cpus_write_lock).
#[must_use = "nobody may come or go unless it is true"]
pub fn begin_transition() -> bool {
    STEADY.compare_exchange(0, IN_TRANSITION, Acquire, Relaxed).is_ok()
}

/// It has come, or gone.
pub fn end_transition() {
    STEADY.store(0, Release);
}

/// A CPU comes or goes: it is in no set of CPUs that run, and runs nevertheless.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unsteady;

/// Held while all others are.
static STOP: SpinLock<()> = SpinLock::new(lock_class!("stop_machine"), ());

/// While one exists no CPU comes or goes.
#[must_use = "CPUs may come and go when it is dropped"]
pub struct Steady(());

/// Keeps the set of CPUs as it is. It does not wait for one that comes or goes, but says so.
pub fn steady() -> Result<Steady, Unsteady> {
    let enter = |n: usize| (n != IN_TRANSITION).then(|| n.wrapping_add(1));
    STEADY.fetch_update(Acquire, Relaxed, enter).map_err(|_| Unsteady)?;
    Ok(Steady(()))
}

impl Drop for Steady {
    fn drop(&mut self) {
        STEADY.fetch_sub(1, Release);
    }
}

impl Steady {
    /// Runs `f` with interrupts masked while all other online CPUs wait in a hard interrupt (Linux: stop_machine). Interrupts must be
    /// on. One at a time: the others wait with interrupts on, so that they can be held.
    pub fn stop_others_while(&self, f: impl FnOnce()) {
        let guard = STOP.lock();
        let held = Held { arrived: AtomicUsize::new(0), go_on: AtomicBool::new(false) };
        call_others_and(hold, &raw const held as usize, |count| {
            while held.arrived.load(Acquire) != count {
                arch::relax();
            }
            arch::without_irqs(f);
            held.go_on.store(true, Release);
        });
        drop(guard);
    }
}

/// [`Steady::stop_others_while`], where it is not known whether a CPU comes or goes. A CPU that goes waits until nobody holds a lock, as the
/// caller does: so this does not wait for it.
pub fn stop_others_while(f: impl FnOnce()) -> Result<(), Unsteady> {
    steady()?.stop_others_while(f);
    Ok(())
}

/// What CPUs are to show of themselves when they take an interrupt.
static SHOW: PerCpu<AtomicPtr<()>> = PerCpu::new([const { AtomicPtr::new(core::ptr::null_mut()) }; MAX_CPUS]);

/// Makes the CPUs of `others`, of which this is none, run `f(0)` in a hard interrupt, and does not wait for it. Any context.
pub fn show(others: CpuMask, f: fn(usize)) {
    let there = CpuMask(others.0 & ONLINE.load().0);
    there.iter().for_each(|cpu| SHOW.of(cpu).store(f as *mut (), Release));
    if there.0 != 0 {
        send_ipi(there, Ipi::CallFunction);
    }
}

/// Whether a CPU that is online has not yet begun to.
pub fn is_to_show() -> bool {
    ONLINE.load().iter().any(|cpu| !SHOW.of(cpu).load(Relaxed).is_null())
}

fn show_if_asked() {
    let f = SHOW.this().swap(core::ptr::null_mut(), Acquire);
    if !f.is_null() {
        // SAFETY: only `show` stores here, and it stores a `fn(usize)`.
        let f = unsafe { core::mem::transmute::<*mut (), fn(usize)>(f) };
        f(0);
    }
}

/// Makes the calls that are in this CPU's mailbox; hard interrupt.
pub fn run_calls() {
    show_if_asked();
    let Some(mailbox) = MAILBOXES.this().get() else { return };
    while let Some(call) = mailbox.pop() {
        (call.function)(call.argument);
        // SAFETY: the caller keeps the count until it is zero, so until this; it is not touched afterwards.
        unsafe { call.left.as_ref() }.fetch_sub(1, Release);
    }
}

/// Asks every other CPU to stop for good; does not wait for longer than a moment. Any context: for a panic.
pub fn stop_others() {
    let me = CpuId::current();
    let others = CpuMask(ONLINE.load().0 & !CpuMask::of(me).0);
    if others.0 != 0 {
        send_ipi(others, Ipi::Stop);
        let deadline = vigil_executor::time::now().saturating_add(100_000_000);
        while ONLINE.load().0 & others.0 != 0 && vigil_executor::time::now() < deadline {
            arch::relax();
        }
    }
}

/// This CPU was asked to stop.
pub fn stop_this_cpu() -> ! {
    arch::irq_disable();
    ONLINE.remove(CpuId::current());
    crate::arch::aarch64::cpu::park()
}
