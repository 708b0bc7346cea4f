//! Panic: the kernel's last words, in any context, and what comes after them.
//!
//! Order (Linux: kernel/panic.c): mask interrupts; one CPU wins, others stop; the console lock is broken; message, registers
//! if the caller had any, back-trace, the kernel's place; other CPUs are stopped by the hook of the interrupt code; then as
//! `panic=` says: reboot at once (negative), after some seconds, or halt (0). Under a test (`vigil.semihosting`) the emulator
//! ends with status 101 instead.

use super::{backtrace, console, panic_print, semihosting};
use crate::arch::aarch64::{cpu, kaslr, mmu};
use crate::boot::power;
use crate::trace::dump;
use crate::{pr_crit, pr_emerg};
use core::fmt::Arguments;
use core::sync::atomic::{
    AtomicBool, AtomicI32, AtomicPtr, AtomicU64,
    Ordering::{Acquire, Relaxed, Release, SeqCst},
};

/// MPIDR + 1 of the CPU that panics; 0: none.
static OWNER: AtomicU64 = AtomicU64::new(0);
/// `panic=`: seconds.
static TIMEOUT: AtomicI32 = AtomicI32::new(0);
static ON_OOPS: AtomicBool = AtomicBool::new(false);
static STOP_OTHERS: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());
static DUMP_TASK: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

/// Sets `panic=` (also `/proc/sys/kernel/panic`): seconds until a reboot, 0 never, negative at once.
pub fn set_timeout(seconds: i32) {
    TIMEOUT.store(seconds, Relaxed);
}

/// `panic=` as it is.
pub fn timeout() -> i32 {
    TIMEOUT.load(Relaxed)
}

/// Sets `oops=panic` (also `/proc/sys/kernel/panic_on_oops`).
pub fn set_panic_on_oops(on: bool) {
    ON_OOPS.store(on, Relaxed);
}

/// Whether an oops becomes a panic.
pub fn panic_on_oops() -> bool {
    ON_OOPS.load(Relaxed)
}

/// Sets what stops the other CPUs (an IPI). It may not wait for a lock.
pub fn set_stop_others(f: fn()) {
    STOP_OTHERS.store(f as *mut (), Release);
}

/// Sets what logs the current task: its name, its await chain. Runs with interrupts masked and may not wait for a lock.
pub fn set_dump_task(f: fn()) {
    DUMP_TASK.store(f as *mut (), Release);
}

fn call(hook: &AtomicPtr<()>) {
    let f = hook.load(Acquire);
    if !f.is_null() {
        // SAFETY: only the setters above store here, always a `fn()`.
        let f: fn() = unsafe { core::mem::transmute::<*mut (), fn()>(f) };
        f();
    }
}

/// Logs the current task by the hook, if there is one.
pub fn dump_task() {
    call(&DUMP_TASK);
}

/// The kernel cannot go on: says `message` and the back-trace that starts at `pc`, `fp` (0: the caller's), and ends.
pub fn panic_at(message: Arguments<'_>, pc: usize, fp: usize) -> ! {
    // SAFETY: masks all exceptions; nothing runs on this CPU afterwards.
    unsafe { core::arch::asm!("msr daifset, #0xf", options(nostack)) };
    let me = cpu::mpidr() + 1;
    match OWNER.compare_exchange(0, me, SeqCst, SeqCst) {
        Ok(_) => {}
        // A panic in the panic: end it with as little as possible.
        Err(owner) if owner == me => finish(),
        Err(_) => cpu::park(),
    }
    console::bust();
    crate::boot::earlycon::show_if_no_console();
    pr_emerg!("Kernel panic - not syncing: {message}");
    dump_task();
    if fp == 0 {
        backtrace::print(0, backtrace::frame_pointer());
    } else {
        backtrace::print(pc, fp);
    }
    call(&STOP_OTHERS);
    dump::last_entries();
    panic_print::show();
    pr_emerg!("Kernel Offset: {:#x} from {:#x}", kaslr::offset(), crate::arch::aarch64::mmu_layout::KIMAGE_VADDR);
    pr_emerg!("image: {:#x}..{:#x}", mmu::text_start(), mmu::image_end());
    panic_print::replay();
    pr_emerg!("---[ end Kernel panic - not syncing: {message} ]---");
    finish()
}

/// Ends: the emulator, a reboot, or a halt.
fn finish() -> ! {
    semihosting::exit(semihosting::STATUS_PANIC);
    match timeout() {
        0 => {}
        seconds if seconds < 0 => power::reset(),
        seconds => {
            pr_crit!("Rebooting in {seconds} seconds..");
            let freq = vigil_executor::arch::counter_frequency();
            let wait = freq.wrapping_mul(seconds as u64);
            let start = vigil_executor::arch::counter();
            while vigil_executor::arch::counter().wrapping_sub(start) < wait {
                vigil_executor::arch::relax();
            }
            power::reset();
        }
    }
    cpu::park()
}

/// The kernel cannot go on, whoever's poll it is in: Linux's panic(). `panic!` is a BUG, which may end no more than a task.
#[macro_export]
macro_rules! kernel_panic { ($($a:tt)*) => { $crate::debug::panic::panic_at(format_args!($($a)*), 0, 0) } }

/// What Rust calls for `panic!`, a failed check or an overflow.
#[cfg(target_os = "none")]
#[panic_handler]
fn rust_panic(info: &core::panic::PanicInfo<'_>) -> ! {
    super::report::failed_check(info);
    match info.location() {
        Some(at) => panic_at(format_args!("{} at {}:{}", info.message(), at.file(), at.line()), 0, 0),
        None => panic_at(format_args!("{}", info.message()), 0, 0),
    }
}
