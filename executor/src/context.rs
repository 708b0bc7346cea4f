//! The context block: what belongs to a *flow of execution* rather than to a CPU.
//!
//! The preempt count, need-resched and the current task live at the top of the stack they describe. A poll that is
//! parked keeps them with its stack and finds them unchanged when another CPU resumes it. In the per-CPU area they
//! would be lost when a poll migrates between the load and the store (`spec/preemption.md`, bug 1).
//!
//! The count has Linux's layout (`include/linux/preempt.h`), and, as on Linux's arm64, need-resched is an inverted word
//! half-word beside it. The first 64 bits of the block are count, need-resched and the lazy wish, so that the way to EL0
//! tests all three with one load: [`QUIET`].

use crate::arch;
use crate::task::Task;
use crate::trace::{KEY_SWITCH, Role};
use core::cell::Cell;
use core::marker::PhantomData;
use core::mem::offset_of;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU16, AtomicU32, AtomicUsize, Ordering::Relaxed, compiler_fence};

/// One preempt-off section.
pub const PREEMPT_OFFSET: u32 = 1;
/// One softirq (bottom half) section.
pub const SOFTIRQ_OFFSET: u32 = 1 << 8;
/// One level of hard interrupt.
pub const HARDIRQ_OFFSET: u32 = 1 << 16;
/// One level of NMI or SError.
pub const NMI_OFFSET: u32 = 1 << 20;
/// The first 64 bits of a context block with count 0 and no wish to reschedule (little-endian: no_resched is 1).
pub const QUIET: u64 = 1 << 32;
const SOFTIRQ_MASK: u32 = 0xff << 8;
const HARDIRQ_MASK: u32 = 0xf << 16;
const NMI_MASK: u32 = 0xf << 20;

/// What a stack is for; decides whether a flow on it may be parked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum StackKind {
    /// A stack with an executor loop at its base: polls run here and may be parked.
    Cpu,
    /// The stack of hard interrupts and softirqs: never parked.
    Irq,
    /// The stack on which an overflow of another is reported.
    Emergency,
}

/// How many spin locks one flow may hold at once (Linux: MAX_LOCK_DEPTH is 48).
pub const MAX_HELD: usize = 24;

/// The block at the top of each stack. Only the flow that runs on the stack writes it, and interrupts of the same CPU,
/// which leave it as they found it apart from `need_resched`.
#[repr(C, align(64))]
pub struct Context {
    /// Preempt count, Linux's layout. First: see [`QUIET`].
    preempt_count: AtomicU32,
    /// 0 when a reschedule is wanted, 1 when not.
    no_resched: AtomicU16,
    /// 1 when a reschedule is wanted at the end of the poll or on the way to EL0, but not in the middle of it.
    lazy_resched: AtomicU16,
    /// Why the poll gives way (`YieldKind`).
    yield_kind: AtomicU32,
    /// The executor loop on this stack is in `arch::take_interrupt`.
    resting: AtomicBool,
    /// The task whose poll runs on this stack; null in the executor loop.
    current: AtomicPtr<Task>,
    /// SP of the flow while it is parked.
    saved_sp: AtomicUsize,
    kind: StackKind,
    home_cpu: AtomicU32,
    /// The link of the stack pool, while the stack is free.
    pub(crate) pool_next: AtomicPtr<Context>,
    /// Locks that this flow holds, newest last: (lock class, lock address). Used with debug checks on.
    pub(crate) held: Cell<[(usize, usize); MAX_HELD]>,
    pub(crate) held_len: Cell<usize>,
}

/// How the store of the current task is traced.
const CURRENT: u32 = Role::Current as u32;
const TRACED: u32 = KEY_SWITCH;
const CURRENT_AT: usize = offset_of!(Context, current);

// SAFETY: the cells are touched only by the flow on this stack (or, while it is parked, by nobody).
unsafe impl Sync for Context {}

impl Context {
    /// A block for a stack of `kind`, with count 0 and no wish to reschedule.
    pub const fn new(kind: StackKind) -> Self {
        Context {
            preempt_count: AtomicU32::new(0),
            no_resched: AtomicU16::new(1),
            lazy_resched: AtomicU16::new(0),
            yield_kind: AtomicU32::new(0),
            resting: AtomicBool::new(false),
            current: AtomicPtr::new(core::ptr::null_mut()),
            saved_sp: AtomicUsize::new(0),
            kind,
            home_cpu: AtomicU32::new(0),
            pool_next: AtomicPtr::new(core::ptr::null_mut()),
            held: Cell::new([(0, 0); MAX_HELD]),
            held_len: Cell::new(0),
        }
    }

    /// The block of the stack that this code runs on.
    #[inline(always)]
    pub fn here() -> &'static Context {
        // SAFETY: every stack that Rust code runs on has an initialised block at its top, and it lives as long as the
        // flow. The reference must not outlive the frame; that it is 'static only spares a lifetime.
        unsafe { &*arch::context() }
    }

    /// The preempt count.
    #[inline(always)]
    pub fn count(&self) -> u32 {
        self.preempt_count.load(Relaxed)
    }

    /// Adds `offset` to the count (one of the `*_OFFSET`s).
    #[inline(always)]
    pub fn add(&self, offset: u32) {
        // A load and a store, not an atomic add: only this flow writes, and an interrupt between restores the value.
        // A compiler barrier.
        arch::store_count(&self.preempt_count, self.preempt_count.load(Relaxed).wrapping_add(offset));
    }

    /// Takes `offset` off the count; what is left.
    #[inline(always)]
    pub fn sub(&self, offset: u32) -> u32 {
        compiler_fence(core::sync::atomic::Ordering::SeqCst);
        let left = self.preempt_count.load(Relaxed).wrapping_sub(offset);
        arch::store_count(&self.preempt_count, left);
        left
    }

    /// Whether a reschedule is wanted on this flow's CPU.
    #[inline(always)]
    pub fn need_resched(&self) -> bool {
        self.no_resched.load(Relaxed) == 0
    }

    /// Asks for a reschedule at the next point where one is possible.
    #[inline(always)]
    pub fn set_need_resched(&self) {
        self.no_resched.store(0, Relaxed);
    }

    /// Withdraws the wish. Before the inbox is drained, never after: a wake in between must set it again.
    #[inline(always)]
    pub fn clear_need_resched(&self) {
        self.no_resched.store(1, Relaxed);
    }

    /// Asks for a reschedule at the end of the poll, at a yield point or on the way to EL0.
    #[inline(always)]
    pub fn set_lazy_resched(&self) {
        self.lazy_resched.store(1, Relaxed);
    }

    /// Whether a reschedule of either kind is wanted: what a yield point asks.
    #[inline(always)]
    pub fn resched_wanted(&self) -> bool {
        self.need_resched() || self.lazy_resched.load(Relaxed) != 0
    }

    /// Withdraws both wishes; the executor loop, before it drains.
    #[inline(always)]
    pub(crate) fn clear_resched(&self) {
        self.no_resched.store(1, Relaxed);
        self.lazy_resched.store(0, Relaxed);
    }

    /// Notes why the poll is about to give way.
    pub(crate) fn set_yield_kind(&self, kind: crate::executor::YieldKind) {
        self.yield_kind.store(kind as u32, Relaxed);
    }

    /// Why the poll gave way; `Preempted` unless it said otherwise.
    pub(crate) fn take_yield_kind(&self) -> crate::executor::YieldKind {
        if self.yield_kind.load(Relaxed) == 0 {
            return crate::executor::YieldKind::Preempted;
        }
        self.yield_kind.store(0, Relaxed);
        crate::executor::YieldKind::Yield
    }

    /// Whether the executor loop on this stack is in `arch::take_interrupt`: for the flow, that is a call.
    #[inline(always)]
    pub fn is_resting(&self) -> bool {
        self.resting.load(Relaxed)
    }

    /// Says so. Interrupts masked.
    #[inline(always)]
    pub(crate) fn set_resting(&self, resting: bool) {
        self.resting.store(resting, Relaxed);
    }

    /// Makes the block of a stack that was left for good as good as new.
    #[cfg(target_os = "none")]
    pub(crate) fn reset(&self) {
        self.preempt_count.store(0, Relaxed);
        self.clear_resched();
        self.yield_kind.store(0, Relaxed);
        self.current.store(core::ptr::null_mut(), Relaxed);
        self.held_len.set(0);
    }

    /// Whether the count is zero and a reschedule is wanted.
    #[inline(always)]
    pub fn should_resched(&self) -> bool {
        self.count() == 0 && self.need_resched()
    }

    /// The task whose poll runs here.
    #[inline(always)]
    pub fn current(&self) -> *const Task {
        self.current.load(Relaxed)
    }

    /// Sets the task whose poll runs here.
    #[inline(always)]
    pub fn set_current(&self, task: *const Task) {
        // SAFETY: the field is an atomic pointer of this block.
        unsafe { arch::store_polled::<CURRENT, TRACED, CURRENT_AT>(core::ptr::from_ref(self).cast(), task.cast_mut().cast()) };
    }

    /// No task's poll runs here any more.
    #[inline(always)]
    pub fn clear_current(&self) {
        // SAFETY: as above.
        unsafe { arch::clear_traced::<CURRENT, TRACED, CURRENT_AT>(core::ptr::from_ref(self).cast()) };
    }

    /// Whether a softirq runs in this flow, or it has bottom halves off.
    #[inline(always)]
    pub fn softirqs_off(&self) -> bool {
        self.count() & SOFTIRQ_MASK != 0
    }

    /// What this stack is for.
    pub fn kind(&self) -> StackKind {
        self.kind
    }

    /// SP of the parked flow.
    pub fn saved_sp(&self) -> usize {
        self.saved_sp.load(Relaxed)
    }

    /// The address of the word in which the switch stores SP.
    pub fn saved_sp_ptr(&self) -> *mut usize {
        self.saved_sp.as_ptr()
    }

    /// The CPU whose pool the stack goes back to.
    pub fn home_cpu(&self) -> u32 {
        self.home_cpu.load(Relaxed)
    }

    /// Sets the CPU whose pool the stack goes back to.
    pub fn set_home_cpu(&self, cpu: u32) {
        self.home_cpu.store(cpu, Relaxed);
    }
}

/// Whether this flow is in a hard interrupt or an NMI.
#[inline(always)]
pub fn in_hardirq() -> bool {
    Context::here().count() & (HARDIRQ_MASK | NMI_MASK) != 0
}

/// Whether this flow is a softirq, and no hard interrupt of one.
#[inline(always)]
pub fn in_softirq() -> bool {
    Context::here().count() & (SOFTIRQ_OFFSET | HARDIRQ_MASK | NMI_MASK) == SOFTIRQ_OFFSET
}

/// Whether this flow is in an interrupt or a bottom half, or has bottom halves off.
#[inline(always)]
pub fn in_interrupt() -> bool {
    Context::here().count() & (HARDIRQ_MASK | NMI_MASK | SOFTIRQ_MASK) != 0
}

/// Whether this flow may be preempted now.
#[inline(always)]
pub fn preemptible() -> bool {
    Context::here().count() == 0 && !arch::irqs_disabled()
}

/// Preemption is off while this lives. Not `Send`, so that no task's future keeps one across an await.
#[must_use = "preemption is off only while the guard lives"]
pub struct PreemptGuard(PhantomData<*mut ()>);

impl PreemptGuard {
    /// Turns preemption off.
    #[inline(always)]
    pub fn new() -> Self {
        Context::here().add(PREEMPT_OFFSET);
        PreemptGuard(PhantomData)
    }
}

impl Default for PreemptGuard {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for PreemptGuard {
    #[inline(always)]
    fn drop(&mut self) {
        let ctx = Context::here();
        if ctx.sub(PREEMPT_OFFSET) == 0 && ctx.need_resched() {
            crate::preempt::preempt_schedule();
        }
    }
}

/// Bottom halves (softirqs) are off on this CPU while this lives; implies that preemption is off.
#[must_use = "bottom halves are off only while the guard lives"]
pub struct BhGuard(PhantomData<*mut ()>);

impl BhGuard {
    /// Turns bottom halves off.
    #[inline(always)]
    pub fn new() -> Self {
        Context::here().add(2 * SOFTIRQ_OFFSET);
        BhGuard(PhantomData)
    }
}

impl Default for BhGuard {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for BhGuard {
    #[inline(always)]
    fn drop(&mut self) {
        let ctx = Context::here();
        ctx.sub(2 * SOFTIRQ_OFFSET);
        #[cfg(not(loom))]
        if !in_interrupt() {
            crate::softirq::run_if_pending();
        }
        if ctx.should_resched() {
            crate::preempt::preempt_schedule();
        }
    }
}

/// Interrupts are masked while this lives. Nests.
#[must_use = "interrupts are masked only while the guard lives"]
pub struct IrqGuard(arch::IrqState, PhantomData<*mut ()>);

impl IrqGuard {
    /// Masks interrupts on this CPU.
    #[inline(always)]
    pub fn new() -> Self {
        IrqGuard(arch::irq_save(), PhantomData)
    }

    /// For a flow that has interrupts masked already: the proof of it, which changes nothing.
    #[inline(always)]
    pub(crate) fn held() -> core::mem::ManuallyDrop<Self> {
        debug_assert!(arch::irqs_disabled(), "interrupts are on");
        core::mem::ManuallyDrop::new(IrqGuard(arch::IrqState(0), PhantomData))
    }
}

impl Default for IrqGuard {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for IrqGuard {
    #[inline(always)]
    fn drop(&mut self) {
        arch::irq_restore(self.0);
    }
}

/// Interrupts are masked while this lives, so that nothing preempts its flow and nothing is counted. At its end the flow gives
/// way if a wake of this time asked for it (Linux: local_irq_restore and preempt_enable after spin_unlock).
#[must_use = "interrupts are masked only while the guard lives"]
pub(crate) struct MaskGuard {
    irq: IrqGuard,
    _check: Check,
}

/// The look at need-resched when the mask is as it was.
struct Check;

impl MaskGuard {
    #[inline(always)]
    pub(crate) fn new() -> Self {
        MaskGuard { irq: IrqGuard::new(), _check: Check }
    }

    /// The proof that interrupts are masked.
    #[inline(always)]
    pub(crate) fn irq(&self) -> &IrqGuard {
        &self.irq
    }

    /// Restores the mask, and no more: its flow has woken nobody.
    #[inline(always)]
    pub(crate) fn end_unwoken(self) {
        let MaskGuard { irq: _irq, _check } = self;
        core::mem::forget(_check);
    }
}

impl Drop for Check {
    #[inline(always)]
    fn drop(&mut self) {
        if Context::here().should_resched() {
            crate::preempt::preempt_schedule();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guards_nest_and_return_the_count_to_zero() {
        let ctx = Context::here();
        let before = ctx.count();
        {
            let _a = PreemptGuard::new();
            let _b = PreemptGuard::new();
            assert_eq!(ctx.count(), before + 2);
            assert!(!preemptible());
        }
        assert_eq!(ctx.count(), before);
        let g = IrqGuard::new();
        assert!(arch::irqs_disabled());
        drop(g);
        assert!(!arch::irqs_disabled());
    }
}
