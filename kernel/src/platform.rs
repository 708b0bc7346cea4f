//! What the executor asks of the kernel: IPIs, stacks.

use crate::arch::aarch64::entry::{WORK_BUDGET, WORK_UNAFFINE};
use crate::arch::aarch64::smp as firmware;
use crate::task::kthread;
use crate::task::thread::Thread;
use core::ptr::NonNull;
use core::sync::atomic::{Ordering::SeqCst, fence};
use vigil_drivers::irq::{Ipi, send_ipi};
use vigil_executor::context::{Context, StackKind};
use vigil_executor::cpu::{CpuId, CpuMask};
use vigil_executor::executor::pool;
use vigil_executor::platform::{self, Platform};
use vigil_executor::softirq::{self, Softirq};
use vigil_executor::stack::{CONTEXT_SIZE, STACK_ALIGN, STACK_SIZE};
use vigil_executor::sync::rcu::stall::Stall;
use vigil_executor::task::Task;
use vigil_executor::trace::Event;
use vigil_mem::{Gfp, page_alloc, slab, vmalloc};

struct Kernel;

impl Platform for Kernel {
    fn send_reschedule(&self, cpu: CpuId) {
        send_ipi(CpuMask::of(cpu), Ipi::Reschedule);
    }

    fn send_reschedule_mask(&self, mask: CpuMask) {
        send_ipi(mask, Ipi::Reschedule);
    }

    fn alloc_stack(&self) -> Option<NonNull<Context>> {
        alloc_stack(StackKind::Cpu)
    }

    fn kernel_task(&self, task: &Task) {
        kthread::announce(task);
    }

    fn kernel_task_ends(&self, task: &Task) {
        kthread::ends(task);
    }

    fn raise_rcu(&self, mask: CpuMask) {
        softirq::raise(Softirq::Rcu, mask);
    }

    fn budget_overrun(&self, task: &Task) {
        if let Some(thread) = Thread::of_task(task) {
            thread.set_work(WORK_BUDGET);
        }
    }

    fn affinity_lost(&self, task: &Task, mask: CpuMask) {
        if let Some(thread) = Thread::of_task(task)
            && task.lose_affinity(mask)
        {
            // It says so itself, on its way to EL0: here locks may be held.
            thread.set_work(WORK_UNAFFINE << task.cpu().index());
        }
    }

    fn cpu_dying(&self) {
        slab::drain_local();
        page_alloc::drain_local();
    }

    fn power_off(&self) {
        firmware::power_off();
    }

    fn rcu_stall(&self, stall: Stall) {
        crate::debug::rcu_stall::tell(stall);
    }

    fn trace(&self, event: Event<'_>) {
        crate::trace::hooks::executor(event);
    }
}

/// Makes this the executor's platform.
pub fn init() {
    platform::set(&Kernel);
}

/// A kernel stack with a guard page below it and an initialised context block; `None` when memory is short.
pub fn alloc_stack(kind: StackKind) -> Option<NonNull<Context>> {
    let base = vmalloc::vmalloc_aligned(STACK_SIZE, STACK_ALIGN, Gfp::KERNEL)?;
    let context = (base.get() + STACK_SIZE - CONTEXT_SIZE) as *mut Context;
    // SAFETY: the stack is fresh and mapped; its last CONTEXT_SIZE bytes hold a context block.
    unsafe { context.write(Context::new(kind)) };
    NonNull::new(context)
}

/// Fills the stack pool of `cpu`.
pub fn fill_stack_pool(cpu: CpuId) -> bool {
    pool::fill(cpu, || alloc_stack(StackKind::Cpu))
}

/// Makes a thread that may be in EL0 on another CPU come back to its future: its work word is set already.
///
/// A thread that changes its CPU meanwhile needs no kick, because it looks at the word after the change (Dekker):
///
/// ```text
///   kicker                          the thread's new CPU: switch_in, on the way to EL0
///   work |= …                       cpu = here
///   fence                           fence
///   read cpu → IPI to it            read work
/// ```
pub fn kick_user(task: &Task) {
    fence(SeqCst);
    let cpu = task.cpu();
    let guard = vigil_executor::context::PreemptGuard::new();
    if cpu != CpuId::current() {
        send_ipi(CpuMask::of(cpu), Ipi::Reschedule);
    }
    drop(guard);
}
