//! The primitives on a host: each thread is a CPU with an interrupt mask, a context block and a CPU number.
//!
//! There is no interrupt and no stack switch here; what can be checked without them (state words, queues, classes,
//! locks) is checked, on as many threads as a test wants.

use super::IrqState;
use crate::context::{Context, StackKind};
use crate::cpu::CpuLocal;
use core::cell::Cell;
use core::ptr;
use core::sync::atomic::{
    AtomicPtr, AtomicU32,
    Ordering::{Relaxed, SeqCst},
    compiler_fence,
};
use std::time::Instant;

std::thread_local! {
    static SIMULATED: Cell<u64> = const { Cell::new(0) };
    static MASKED: Cell<bool> = const { Cell::new(false) };
    static CONTEXT: Context = const { Context::new(StackKind::Cpu) };
    static LOCAL: Cell<*const CpuLocal> = const { Cell::new(crate::cpu::BOOT_LOCAL) };
}

/// Masks (simulated) interrupts and returns the mask as it was.
#[inline(always)]
pub fn irq_save() -> IrqState {
    IrqState(MASKED.replace(true) as u64)
}

/// Puts the mask back to `state`.
#[inline(always)]
pub fn irq_restore(state: IrqState) {
    MASKED.set(state.0 != 0);
}

/// As [`irq_save`]: nothing is traced on a host.
pub fn irq_save_untraced() -> IrqState {
    irq_save()
}

/// As [`irq_restore`].
pub fn irq_restore_untraced(state: IrqState) {
    irq_restore(state);
}

/// No.
#[inline(always)]
pub fn is_traced<const KEYS: u32>() -> bool {
    false
}

/// Stores the preempt count. A compiler barrier.
#[inline(always)]
pub(crate) fn store_count(at: &AtomicU32, count: u32) {
    at.store(count, Relaxed);
    compiler_fence(SeqCst);
}

/// Stores the word `OFFSET` bytes behind `base`. Relaxed.
///
/// # Safety
/// There is an aligned word that may be written atomically.
pub(crate) unsafe fn store_traced<const ROLE: u32, const KEYS: u32, const OFFSET: usize>(base: *const (), value: *mut ()) {
    // SAFETY: by the caller's contract.
    unsafe { AtomicPtr::from_ptr(base.byte_add(OFFSET).cast_mut().cast::<*mut ()>()) }.store(value, Relaxed);
}

/// As [`store_traced`].
///
/// # Safety
/// As there.
pub(crate) unsafe fn store_polled<const ROLE: u32, const KEYS: u32, const OFFSET: usize>(base: *const (), value: *mut ()) {
    // SAFETY: by the caller's contract.
    unsafe { store_traced::<ROLE, KEYS, OFFSET>(base, value) };
}

/// As [`store_traced`], of zero.
///
/// # Safety
/// As there.
pub(crate) unsafe fn clear_traced<const ROLE: u32, const KEYS: u32, const OFFSET: usize>(base: *const ()) {
    // SAFETY: by the caller's contract.
    unsafe { store_traced::<ROLE, KEYS, OFFSET>(base, ptr::null_mut()) };
}

/// Stores `value` in a counter.
#[inline(always)]
pub fn store_counter<const ROLE: u32, const KEYS: u32>(counter: &AtomicU32, value: u32) {
    counter.store(value, Relaxed);
}

/// Whether this thread's simulated interrupts are masked.
#[inline(always)]
pub fn irqs_disabled() -> bool {
    MASKED.get()
}

/// Unmasks.
#[inline(always)]
pub fn irq_enable() {
    MASKED.set(false);
}

/// Masks.
#[inline(always)]
pub fn irq_disable() {
    MASKED.set(true);
}

/// This thread's context block.
#[inline(always)]
pub fn context() -> *const Context {
    CONTEXT.with(ptr::from_ref)
}

/// This thread's simulated CPU; CPU 0 for a thread that set none.
#[inline(always)]
pub fn cpu_local() -> *const CpuLocal {
    LOCAL.get()
}

/// Makes this thread the CPU `local`.
///
/// # Safety
/// `local` must stay valid for ever, and belong to no other thread.
pub unsafe fn set_cpu_local(local: *const CpuLocal) {
    LOCAL.set(local);
}

/// Nanoseconds since the first call, or the simulated counter.
#[inline]
pub fn counter() -> u64 {
    let at = SIMULATED.get();
    if at != 0 {
        SIMULATED.set(at.wrapping_add(128));
        return at;
    }
    since_start()
}

#[cold]
#[inline(never)]
fn since_start() -> u64 {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

/// This thread's counter is from now on one that goes on by 128 whenever it is read.
pub fn simulate_counter() {
    SIMULATED.set(1);
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

/// The platform, a test, is the interrupt.
pub fn take_interrupt() {
    if let Some(p) = crate::platform::get() {
        p.take_interrupt();
    }
}

/// A hint in a spin loop. Yields, because the holder may be a thread that is not running.
pub fn relax() {
    #[cfg(loom)]
    loom::thread::yield_now();
    #[cfg(not(loom))]
    std::thread::yield_now();
}

/// Nothing to order on a host: threads share coherent memory and there are no IPIs.
pub fn ipi_barrier() {}
