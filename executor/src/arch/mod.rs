//! The CPU primitives that the executor is made of, chosen at compile time.
//!
//! On bare-metal AArch64 these are one to three instructions each, inlined. On a host they act on a simulated CPU that
//! is a thread: the interrupt mask is a thread-local flag, the context block a thread-local block. Callers never see
//! which twin they got.

#[cfg(all(target_arch = "aarch64", target_os = "none"))]
#[path = "aarch64.rs"]
mod imp;
#[cfg(not(all(target_arch = "aarch64", target_os = "none")))]
#[path = "host.rs"]
mod imp;

pub use imp::*;

/// The interrupt mask as it was before [`irq_save`]; give it back to [`irq_restore`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "the mask must be given back to irq_restore"]
pub struct IrqState(pub(crate) u64);

/// Runs `f` with interrupts masked on this CPU, and restores the mask as it was.
#[inline(always)]
pub fn without_irqs<R>(f: impl FnOnce() -> R) -> R {
    let state = irq_save();
    let r = f();
    irq_restore(state);
    r
}
