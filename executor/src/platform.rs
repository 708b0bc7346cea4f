//! What the executor needs of the kernel around it: stacks, IPIs.

use crate::context::Context;
use crate::cpu::{CpuId, CpuMask};
use crate::task::Task;
use crate::trace::Event;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicPtr, Ordering};

/// The services of the kernel that boots the executor. Set once, before the first task.
pub trait Platform: Sync {
    /// Interrupts `cpu` so that it drains its inbox. Lock-free; any context.
    fn send_reschedule(&self, cpu: CpuId);
    /// Programs the comparator of this simulated CPU for the counter value `count`. Interrupts masked.
    #[cfg(not(target_os = "none"))]
    fn program_timer(&self, count: u64);
    /// An interrupt that has ended the wait of this simulated CPU: wakes are made here. Interrupts masked.
    #[cfg(not(target_os = "none"))]
    fn take_interrupt(&self) {}
    /// A new kernel stack with an initialised context block, or `None` when memory is short. May not block.
    fn alloc_stack(&self) -> Option<NonNull<Context>>;
    /// Calls [`rcu::softirq`](crate::sync::rcu::softirq) in a softirq of each CPU of `mask`, soon. Interrupts masked, any
    /// context; wakes nobody.
    fn raise_rcu(&self, mask: CpuMask);
    /// A kernel task was made outside the kernel proper: a worker, the thread of an interrupt. In a task; for `/proc`.
    fn kernel_task(&self, _task: &Task) {}
    /// Such a task is about to return from its last poll; in it.
    fn kernel_task_ends(&self, _task: &Task) {}
    /// The reservation of `task` was not enough, and it wants to be told ([`DlParams::overrun`](crate::class::DlParams)). In a hard
    /// interrupt or with interrupts masked, under the lock of a run queue.
    fn budget_overrun(&self, _task: &Task) {}
    /// No CPU of `mask`, on which `task` may run, is there any more: a task of user space may run on all from now on
    /// ([`Task::lose_affinity`]), and is told of. Any context, with locks held; lock-free.
    fn affinity_lost(&self, _task: &Task, _mask: CpuMask) {}
    /// This CPU is about to be powered off, and everybody has left it: what the kernel keeps for it alone goes back. Interrupts
    /// masked, in the stop task.
    fn cpu_dying(&self) {}
    /// Powers this CPU off; returns when it has been started anew. Interrupts masked before and after, in the stop task.
    fn power_off(&self) {}
    /// A grace period takes too long. Hard interrupt; again after a while if it goes on.
    #[cfg(not(loom))]
    fn rcu_stall(&self, _stall: crate::sync::rcu::stall::Stall) {}
    /// A tracer wanted to know. Interrupts masked, but for events of softirqs; may not wake anybody.
    fn trace(&self, _event: Event<'_>) {}
    /// Wakes everything in `mask` that waits in `wait_for_event`; used for stop and RCU expedited requests.
    fn send_reschedule_mask(&self, mask: CpuMask) {
        for cpu in mask.iter() {
            self.send_reschedule(cpu);
        }
    }
}

/// A thin handle, because an `AtomicPtr` holds no fat pointer.
struct Handle(&'static dyn Platform);

static PLATFORM: AtomicPtr<Handle> = AtomicPtr::new(core::ptr::null_mut());
static HANDLE: spin::Once<Handle> = spin::Once::new();

/// Makes `p` the platform. The first call wins.
pub fn set(p: &'static dyn Platform) {
    let handle = HANDLE.call_once(|| Handle(p));
    PLATFORM.store(core::ptr::from_ref(handle).cast_mut(), Ordering::Release);
}

/// The platform, or `None` before it is set.
#[inline]
pub fn get() -> Option<&'static dyn Platform> {
    let p = PLATFORM.load(Ordering::Acquire);
    // SAFETY: a non-null pointer is that of `HANDLE`, which is never changed after it was set.
    if p.is_null() { None } else { Some(unsafe { (*p).0 }) }
}
