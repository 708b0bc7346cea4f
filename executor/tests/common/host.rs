//! A host as the machine under the executor's loop: nobody is interrupted, and there are no spare stacks.

use std::ptr::NonNull;
use vigil_executor::context::Context;
use vigil_executor::cpu::{CpuId, CpuMask};
use vigil_executor::platform::Platform;
use vigil_executor::sync::rcu;

/// The loop of a host CPU looks at its inbox all the time.
pub struct Host;

impl Platform for Host {
    fn send_reschedule(&self, _cpu: CpuId) {}
    fn send_reschedule_mask(&self, _mask: CpuMask) {}
    fn program_timer(&self, _count: u64) {}
    fn alloc_stack(&self) -> Option<NonNull<Context>> {
        None
    }
    fn raise_rcu(&self, _: CpuMask) {
        rcu::softirq();
    }
}
