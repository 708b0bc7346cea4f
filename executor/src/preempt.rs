//! (Skeleton.)
/// (Skeleton.)
pub fn preempt_schedule() {}
