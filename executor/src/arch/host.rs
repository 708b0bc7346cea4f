//! The primitives on a host: each thread is a CPU with an interrupt mask, a context block and a CPU number.
//!
//! There is no interrupt and no stack switch here; what can be checked without them (state words, queues, classes,
//! locks) is checked, on as many threads as a test wants.

use super::IrqState;
use crate::context::{Context, StackKind};
use crate::cpu::CpuLocal;
use core::cell::Cell;
use core::ptr;
use std::boxed::Box;
use std::time::Instant;

std::thread_local! {
    static MASKED: Cell<bool> = const { Cell::new(false) };
    static CONTEXT: &'static Context = Box::leak(Box::new(Context::new(StackKind::Cpu)));
    static LOCAL: Cell<*const CpuLocal> = const { Cell::new(ptr::null()) };
}

/// Masks (simulated) interrupts and returns the mask as it was.
pub fn irq_save() -> IrqState {
    IrqState(MASKED.with(|m| m.replace(true)) as u64)
}

/// Puts the mask back to `state`.
pub fn irq_restore(state: IrqState) {
    MASKED.with(|m| m.set(state.0 != 0));
}

/// Whether this thread's simulated interrupts are masked.
pub fn irqs_disabled() -> bool {
    MASKED.with(|m| m.get())
}

/// Unmasks.
pub fn irq_enable() {
    MASKED.with(|m| m.set(false));
}

/// Masks.
pub fn irq_disable() {
    MASKED.with(|m| m.set(true));
}

/// This thread's context block.
pub fn context() -> *const Context {
    CONTEXT.with(|c| *c as *const Context)
}

/// This thread's simulated CPU; CPU 0 for a thread that set none.
pub fn cpu_local() -> *const CpuLocal {
    let p = LOCAL.with(|l| l.get());
    if p.is_null() { crate::cpu::local_of(crate::cpu::CpuId::BOOT) } else { p }
}

/// Makes this thread the CPU `local`.
///
/// # Safety
/// `local` must stay valid for ever, and belong to no other thread.
pub unsafe fn set_cpu_local(local: *const CpuLocal) {
    LOCAL.with(|l| l.set(local));
}

/// Nanoseconds since the first call.
pub fn counter() -> u64 {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

/// As [`counter`].
pub fn counter_unordered() -> u64 {
    counter()
}

/// The cycle counter: the host's nanoseconds.
#[cfg(feature = "stamps")]
pub fn cycles() -> u64 {
    counter()
}

/// The host's counter always runs.
#[cfg(feature = "stamps")]
pub fn start_cycles() {}

/// The host's counter counts nanoseconds.
pub fn counter_frequency() -> u64 {
    1_000_000_000
}

/// Hands the comparator to the platform, which is a test.
pub fn program_timer(count: u64) {
    if let Some(p) = crate::platform::get() {
        p.program_timer(count);
    }
}

/// A comparator that was never programmed is stopped.
pub fn stop_timer() {}

/// Gives the processor away: there is no interrupt to wait for.
pub fn wait_for_interrupt() {
    std::thread::yield_now();
}

/// There is none to take.
pub fn take_interrupt() {}

/// A hint in a spin loop. Yields, because the holder may be a thread that is not running.
pub fn relax() {
    #[cfg(loom)]
    loom::thread::yield_now();
    #[cfg(not(loom))]
    std::thread::yield_now();
}

/// Nothing to order on a host: threads share coherent memory and there are no IPIs.
pub fn ipi_barrier() {}
