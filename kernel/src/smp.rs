//! Other CPUs: function calls, and stopping them at a panic.

use core::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering::*};
use vigil_drivers::irq::{Ipi, send_ipi};
use vigil_executor::arch;
use vigil_executor::context::PreemptGuard;
use vigil_executor::cpu::{CpuId, CpuMask, ONLINE};
use vigil_executor::lock_class;
use vigil_executor::sync::SpinLock;

/// One caller at a time; the call's function, argument and outstanding CPUs.
static CALL: SpinLock<()> = SpinLock::new(lock_class!("smp_call"), ());
static FUNCTION: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());
static ARGUMENT: AtomicUsize = AtomicUsize::new(0);
static OUTSTANDING: AtomicU64 = AtomicU64::new(0);

/// Runs `f(argument)` in a hard interrupt on every other online CPU and waits until all have (Linux:
/// smp_call_function). Interrupts must be on, or two callers could wait for each other.
pub fn call_others(f: fn(usize), argument: usize) {
    debug_assert!(!arch::irqs_disabled());
    let guard = PreemptGuard::new();
    let others = ONLINE.load().0 & !CpuMask::of(CpuId::current()).0;
    if others != 0 {
        let _one = CALL.lock();
        FUNCTION.store(f as *mut (), Relaxed);
        ARGUMENT.store(argument, Relaxed);
        OUTSTANDING.store(others, Release);
        send_ipi(CpuMask(others), Ipi::CallFunction);
        while OUTSTANDING.load(Acquire) != 0 {
            arch::relax();
        }
    }
    drop(guard);
}

/// The receiving side; hard interrupt.
pub fn run_calls() {
    let me = CpuMask::of(CpuId::current()).0;
    if OUTSTANDING.load(Acquire) & me == 0 {
        return;
    }
    let f = FUNCTION.load(Relaxed);
    if !f.is_null() {
        // SAFETY: only `call_others` stores here, and it stores a `fn(usize)`.
        let f: fn(usize) = unsafe { core::mem::transmute::<*mut (), fn(usize)>(f) };
        f(ARGUMENT.load(Relaxed));
    }
    OUTSTANDING.fetch_and(!me, Release);
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
