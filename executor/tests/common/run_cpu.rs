//! Threads of the host that run the executor's loop, a CPU each.

use std::ptr::NonNull;
use vigil_executor::arch;
use vigil_executor::context::{Context, StackKind};
use vigil_executor::cpu::{ACTIVE, CpuId, ONLINE, local_of};
use vigil_executor::executor::{self, pool};

/// `cpu` may be sent tasks from now on.
pub fn bring_up(cpu: CpuId) {
    ONLINE.insert(cpu);
    ACTIVE.insert(cpu);
}

/// Starts a thread that is `cpu` for as long as the test program runs: `first`, then the executor's loop. It has its spare stacks, by
/// name: while a CPU is short of them its loop takes no short ways.
pub fn run_cpu(cpu: CpuId, first: impl FnOnce() + Send + 'static) {
    pool::fill(cpu, || Some(NonNull::from(Box::leak(Box::new(Context::new(StackKind::Cpu))))));
    std::thread::spawn(move || {
        // SAFETY: one thread per CPU.
        unsafe { arch::set_cpu_local(local_of(cpu)) };
        let _ = arch::irq_save();
        first();
        executor::run()
    });
}
