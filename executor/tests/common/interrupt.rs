//! Threads of the host that are a CPU for a while, and hard interrupts of what they do.

use vigil_executor::context::{Context, HARDIRQ_OFFSET};
use vigil_executor::cpu::{CpuId, local_of};
use vigil_executor::{arch, softirq};

/// Runs `f` as CPU `n`, on a thread of its own: a fresh flow. Nobody else may be that CPU meanwhile.
#[allow(dead_code, reason = "each test file uses its part")]
pub fn on_cpu(n: usize, f: impl FnOnce() + Send) {
    std::thread::scope(|s| {
        let done = s.spawn(|| {
            // SAFETY: the caller sees to it that the CPU is nobody else's.
            unsafe { arch::set_cpu_local(local_of(CpuId::new(n).unwrap())) };
            f();
        });
        if let Err(panic) = done.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

/// A hard interrupt of this flow, whose handler is `handler`, with its exit.
pub fn interrupt(handler: impl FnOnce()) {
    let irq = arch::irq_save();
    let here = Context::here();
    here.add(HARDIRQ_OFFSET);
    handler();
    here.sub(HARDIRQ_OFFSET);
    softirq::irq_exit(here);
    arch::irq_restore(irq);
}
