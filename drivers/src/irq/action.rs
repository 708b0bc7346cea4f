//! What a driver hangs on a line.

use super::Virq;
use core::ptr::null_mut;
use core::sync::atomic::AtomicPtr;

/// Whether an interrupt was the handler's device's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IrqReturn {
    /// The device did not ask for attention.
    None,
    /// It did, and got it.
    Handled,
    /// It did, and the handler's thread does the rest ([`super::request_threaded_irq`]). Of primary handlers only.
    WakeThread,
}

bitflags::bitflags! {
    /// How a driver uses a line.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct IrqFlags: u32 {
        /// Others may use the line as well (Linux: IRQF_SHARED).
        const SHARED = 1 << 0;
        /// Leave the line off; the driver calls `enable_irq` (IRQF_NO_AUTOEN).
        const NO_AUTOEN = 1 << 1;
        /// The line stays off from the hard interrupt to the end of the handler's thread (IRQF_ONESHOT). All that share must want it.
        const ONESHOT = 1 << 2;
        /// Runs in the hard interrupt whatever the command line says (IRQF_NO_THREAD).
        const NO_THREAD = 1 << 3;
        /// Another controller is behind the line: no thread is made of it, and it has no row of its own (Linux: a chained handler).
        const CHAINED = 1 << 4;
        /// It is a thread's: [`super::request_threaded_irq`] sets it, nobody else.
        const THREAD = 1 << 31;
    }
}

/// A handler on an interrupt line. Lives for ever: in a `static`, or in a leaked box that [`super::free_irq`]'s caller
/// may take back afterwards.
#[repr(C)]
pub struct IrqAction {
    /// The next on the same line. Stays as it was when the node is taken out, so that a walk that stands on it goes on.
    pub(super) next: AtomicPtr<IrqAction>,
    /// As in `/proc/interrupts`.
    pub(super) name: &'static str,
    /// Runs in the hard interrupt: no allocation, IRQ-safe locks only, held briefly.
    pub(super) handler: fn(Virq, *const ()) -> IrqReturn,
    /// What the handler gets.
    pub(super) dev: *const (),
    pub(super) flags: IrqFlags,
}

// SAFETY: `dev` is only passed on to the handler, whose author promises in `new` that any CPU may run it.
unsafe impl Send for IrqAction {}
// SAFETY: as above; the link is atomic.
unsafe impl Sync for IrqAction {}

impl IrqAction {
    /// Its name, as in `/proc/interrupts`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The address of the handler's code: for reports.
    pub fn handler_address(&self) -> usize {
        self.handler as *const () as usize
    }

    /// A handler called `name`, not on any line yet.
    ///
    /// # Safety
    /// `handler` can be called with `dev` on any CPU, in a hard interrupt, from the request of the line until
    /// [`super::free_irq`] returns.
    pub const unsafe fn new(name: &'static str, handler: fn(Virq, *const ()) -> IrqReturn, dev: *const (), flags: IrqFlags) -> Self {
        IrqAction { name, handler, dev, flags, next: AtomicPtr::new(null_mut()) }
    }

    /// A handler that needs no device pointer: all of its state is in statics.
    pub const fn of_static(name: &'static str, handler: fn(Virq, *const ()) -> IrqReturn, flags: IrqFlags) -> Self {
        IrqAction { name, handler, dev: core::ptr::null(), flags, next: AtomicPtr::new(null_mut()) }
    }

    /// A handler that works on `device`, which any CPU may use for ever.
    pub const fn for_device<T: Sync>(
        name: &'static str,
        handler: fn(Virq, *const ()) -> IrqReturn,
        device: &'static T,
        flags: IrqFlags,
    ) -> Self {
        IrqAction { name, handler, dev: (&raw const *device).cast(), flags, next: AtomicPtr::new(null_mut()) }
    }
}
