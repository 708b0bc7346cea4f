//! What stands in for the executor loop under loom: the loop has statics that loom's atomics cannot be in, and is
//! checked by the written model (`tests/models`) and the stress instead. Tasks' state words and inboxes are loom's own.

/// Why a task gives way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum YieldKind {
    /// It was preempted: it stays at the head of its priority.
    Preempted = 0,
    /// It asked to go behind its peers (sched_yield).
    Yield = 1,
}

/// Loom's tests take tasks out of the inboxes that they make themselves; nobody is asked to give way.
pub(crate) fn push_runnable(_task: &crate::task::Task, _irq: &crate::context::IrqGuard) -> bool {
    false
}

/// As [`push_runnable`].
pub(crate) fn push_unnoticed(_task: &crate::task::Task, _irq: &crate::context::IrqGuard) -> bool {
    true
}

/// As [`push_runnable`].
pub(crate) fn push_new(_task: &crate::task::Task) {}

/// Nothing is preempted under loom.
pub fn preempt_schedule() {}
