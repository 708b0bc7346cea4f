//! What the executor calls when it enters or leaves a thread, a park and a resume included.
//!
//! Nothing of a thread stays in the CPU while it is not entered, so that an address space can be freed as soon as its
//! last thread is gone, and a stray access to user memory from a kernel task faults instead of hitting somebody's page.
//! FP registers are the exception; `fpsimd` says why that is safe.

use super::thread::Thread;
use crate::arch::aarch64::fpsimd;
use crate::mm;
use core::arch::asm;
use core::sync::atomic::{Ordering::SeqCst, fence};
use vigil_executor::task::{Hooks, Task};

/// The hooks of every thread.
pub static HOOKS: Hooks = Hooks { switch_in, switch_out };

// Whatever calls something comes last in both, so that no frame is made.

fn switch_in(task: &Task) {
    let Some(thread) = Thread::of_task(task) else { return };
    // Its CPU is noted; whoever still read the old one has set the work word before: see `platform::kick_user`.
    fence(SeqCst);
    thread.resume_system();
    // SAFETY: the thread is being entered: its context is nobody else's. Interrupts are masked.
    let (tls, sp) = unsafe {
        let context = thread.context();
        (context.tls.get(), context.sp.get())
    };
    // SAFETY: EL0's thread pointer and stack pointer; EL1 uses neither.
    unsafe { asm!("msr tpidr_el0, {}", "msr sp_el0, {}", in(reg) tls, in(reg) sp, options(nostack, preserves_flags)) };
    match thread.mm() {
        Some(mm) => mm::switch_mm(mm),
        None => mm::switch_to_none(),
    }
}

fn switch_out(task: &Task) {
    let Some(thread) = Thread::of_task(task) else { return };
    let tls: u64;
    // SAFETY: a read of EL0's thread pointer, which EL0 may have changed.
    unsafe { asm!("mrs {}, tpidr_el0", out(reg) tls, options(nostack, preserves_flags)) };
    // SAFETY: the thread is being left, interrupts masked: its context is nobody else's.
    unsafe { thread.context() }.tls.set(tls);
    thread.pause_system();
    mm::switch_to_none();
    fpsimd::switch_out(thread);
}

/// After the running thread's address space, thread pointer or stack pointer were replaced (exec): makes the CPU follow.
pub fn reload(thread: &Thread) {
    vigil_executor::arch::without_irqs(|| {
        if let Some(task) = vigil_executor::task::current() {
            // It does not leave: its system time goes on.
            thread.pause_system();
            switch_in(task);
        }
    });
}

/// The running thread ends: its state leaves the CPU for good, and the task has no thread any more. What is left of its
/// poll, which may free the thread, can be preempted.
pub fn detach() {
    vigil_executor::arch::without_irqs(|| {
        if let Some(task) = vigil_executor::task::current() {
            switch_out(task);
            task.clear_owner();
        }
    });
}

/// The thread pointer of the running thread: EL0 may have changed it since it was entered.
pub fn read_tls() -> u64 {
    let tls: u64;
    // SAFETY: a read of EL0's thread pointer.
    unsafe { asm!("mrs {}, tpidr_el0", out(reg) tls, options(nostack, preserves_flags)) };
    tls
}
