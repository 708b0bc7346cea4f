//! Threads of the host that are a CPU for a while.

use vigil_executor::arch;
use vigil_executor::cpu::{CpuId, local_of};

/// Runs `f` as CPU `n`, on a thread of its own: a fresh flow. Nobody else may be that CPU meanwhile.
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
