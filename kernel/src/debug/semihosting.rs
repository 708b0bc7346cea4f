//! Semihosting calls to the debugger or emulator that runs us (Arm's "Semihosting for AArch32 and AArch64", 2023Q3).
//!
//! Used only when `vigil.semihosting` is on the command line: without a host that listens HLT is an undefined instruction.

use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// The exit status that a test harness takes for "the kernel panicked".
pub const STATUS_PANIC: u32 = 101;

const SYS_EXIT_EXTENDED: usize = 0x20;
const ADP_STOPPED_APPLICATION_EXIT: u64 = 0x2_0026;

static ENABLED: AtomicBool = AtomicBool::new(false);

/// Allows the calls: `vigil.semihosting` was on the command line.
pub fn enable() {
    ENABLED.store(true, Relaxed);
}

/// Whether the calls may be made.
pub fn enabled() -> bool {
    ENABLED.load(Relaxed)
}

/// Ends the emulator with `status`, if calls are allowed and the host obeys; otherwise returns. Any context.
pub fn exit(status: u32) {
    if enabled() {
        super::console::flush_and_wait();
        let block = [ADP_STOPPED_APPLICATION_EXIT, u64::from(status)];
        call(SYS_EXIT_EXTENDED, &block);
    }
}

#[cfg(target_os = "none")]
fn call(operation: usize, block: &[u64; 2]) {
    // SAFETY: the host reads the block and, for an exit, does not return.
    unsafe {
        core::arch::asm!("hlt #0xf000", inout("x0") operation => _, in("x1") block.as_ptr(), options(nostack));
    }
}

#[cfg(not(target_os = "none"))]
fn call(_operation: usize, _block: &[u64; 2]) {}
