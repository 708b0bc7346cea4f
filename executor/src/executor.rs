//! (Skeleton.)
use crate::context::PreemptGuard;
use crate::task::Task;
/// (Skeleton.)
pub fn push_runnable(_task: &Task, _guard: &PreemptGuard) {}
/// (Skeleton.)
pub fn push_new(_task: &Task, _guard: &PreemptGuard) {}
