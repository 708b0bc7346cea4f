//! The FP/SIMD registers of threads: given to a thread at its first use after a switch, saved when it leaves the CPU.
//!
//! The kernel is built for softfloat and never touches v0–v31. CPACR_EL1.FPEN traps EL0's first FP instruction after a
//! switch; the trap loads the registers, unless they still hold this thread's (nobody else used FP on this CPU since, and
//! the thread used it nowhere else). When a thread that has FP enabled is switched out, a park included, the registers
//! are saved at once, so that another CPU may load them; they stay valid here until somebody else's are loaded. A signal's
//! frame is written from the registers and read back into them.

use crate::task::thread::Thread;
use core::arch::{asm, naked_asm};
use core::cell::UnsafeCell;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering::Relaxed};
use vigil_executor::cpu::{CpuId, MAX_CPUS, PerCpu};

/// v0–v31, FPSR and FPCR: the layout of the kernel's save area, and of `fpsimd_context` from `vregs` on.
///
/// In words of 64 bits: with the alignment of a `u128`, 16 bytes of each thread would be padding.
#[repr(C)]
#[derive(Clone)]
pub struct FpRegisters {
    /// v0–v31, the low half first.
    pub v: [[u64; 2]; 32],
    /// FPSR.
    pub fpsr: u32,
    /// FPCR.
    pub fpcr: u32,
}

impl FpRegisters {
    /// All zero: what exec leaves.
    pub const fn new() -> Self {
        FpRegisters { v: [[0; 2]; 32], fpsr: 0, fpcr: 0 }
    }
}

impl Default for FpRegisters {
    fn default() -> Self {
        Self::new()
    }
}

/// The FP state of a thread.
pub struct FpState {
    registers: UnsafeCell<FpRegisters>,
    /// The CPU whose registers were last loaded from or saved to this state; `u32::MAX` when the memory alone is right.
    cpu: AtomicU32,
}

// SAFETY: the registers are touched by the thread itself, or by the executor that switches it, or before it first runs.
unsafe impl Sync for FpState {}

impl FpState {
    /// The state of a thread that has just been made, or has done exec.
    pub const fn new() -> Self {
        FpState { registers: UnsafeCell::new(FpRegisters::new()), cpu: AtomicU32::new(u32::MAX) }
    }
}

impl Default for FpState {
    fn default() -> Self {
        Self::new()
    }
}

struct CpuFp {
    /// Whose state the registers hold.
    owner: AtomicPtr<FpState>,
    /// Whether EL0 may use FP now.
    enabled: AtomicBool,
}

static CPU_FP: PerCpu<CpuFp> =
    PerCpu::new([const { CpuFp { owner: AtomicPtr::new(null_mut()), enabled: AtomicBool::new(false) } }; MAX_CPUS]);

const FPEN_TRAP_EL0: u64 = 1 << 20;
const FPEN_ALL: u64 = 3 << 20;

fn set_cpacr(value: u64) {
    // SAFETY: FPEN decides only whether EL0 traps; the kernel uses FP nowhere but in the functions below and in the copies of
    // signal frames, at EL1.
    unsafe { asm!("msr cpacr_el1, {}", in(reg) value, options(nostack, preserves_flags)) };
}

/// Makes EL0's next FP instruction trap. Each CPU whenever it starts: its registers are nobody's. Interrupts masked.
pub fn init_cpu() {
    CPU_FP.this().owner.store(null_mut(), Relaxed);
    set_cpacr(FPEN_TRAP_EL0);
}

/// The thread used FP without having it: gives it the registers. In its own poll; interrupts are masked here.
pub fn trap(thread: &Thread) {
    with_live(thread, || ());
}

impl CpuFp {
    /// Whether the registers are `thread`'s, and EL0 may change them.
    fn is_live(&self, thread: &Thread) -> bool {
        self.enabled.load(Relaxed) && self.owner.load(Relaxed) == core::ptr::from_ref(&thread.fp).cast_mut()
    }

    /// The registers, which are loaded, are `thread`'s from now on.
    fn give(&self, thread: &Thread) {
        self.owner.store(core::ptr::from_ref(&thread.fp).cast_mut(), Relaxed);
        thread.fp.cpu.store(CpuId::current().index() as u32, Relaxed);
        self.enabled.store(true, Relaxed);
        set_cpacr(FPEN_ALL);
    }
}

/// Calls `f` with the thread's FP registers in the CPU, interrupts masked. In its own poll.
#[inline]
pub fn with_live<R>(thread: &Thread, f: impl FnOnce() -> R) -> R {
    vigil_executor::arch::without_irqs(|| {
        let cpu = CPU_FP.this();
        if !cpu.is_live(thread) {
            let state = &thread.fp;
            let here = CpuId::current().index() as u32;
            if cpu.owner.load(Relaxed) != core::ptr::from_ref(state).cast_mut() || state.cpu.load(Relaxed) != here {
                // SAFETY: EL1 may use FP always; the registers are loaded from this thread's own state.
                unsafe { vigil_fp_load(state.registers.get()) };
            }
            cpu.give(thread);
        }
        f()
    })
}

/// Lets `load` put all new FP registers into the CPU for the thread, interrupts masked. In its own poll. When it fails the
/// thread keeps what it had, or what `load` has made of it.
#[inline]
pub fn replace_live(thread: &Thread, load: impl FnOnce() -> bool) -> bool {
    vigil_executor::arch::without_irqs(|| {
        let cpu = CPU_FP.this();
        if cpu.is_live(thread) {
            return load();
        }
        // Whosever they were: they are saved, and gone from here.
        cpu.owner.store(null_mut(), Relaxed);
        let loaded = load();
        if loaded {
            cpu.give(thread);
        }
        loaded
    })
}

/// The thread leaves the CPU: saves what it may have changed. Interrupts masked.
#[inline]
pub fn switch_out(thread: &Thread) {
    let cpu = CPU_FP.this();
    if !cpu.enabled.load(Relaxed) {
        return;
    }
    // SAFETY: the registers are this thread's while FP is enabled for it.
    unsafe { vigil_fp_save(thread.fp.registers.get()) };
    cpu.enabled.store(false, Relaxed);
    set_cpacr(FPEN_TRAP_EL0);
}

/// Calls `f` with the thread's registers in memory, and makes the memory the only truth afterwards.
///
/// For exec. The caller is the thread itself, or holds it stopped.
pub fn with_registers<R>(thread: &Thread, f: impl FnOnce(&mut FpRegisters) -> R) -> R {
    vigil_executor::arch::without_irqs(|| {
        let cpu = CPU_FP.this();
        if cpu.enabled.load(Relaxed) && cpu.owner.load(Relaxed) == core::ptr::from_ref(&thread.fp).cast_mut() {
            switch_out(thread);
        }
        thread.fp.cpu.store(u32::MAX, Relaxed);
    });
    // SAFETY: FP is disabled for the thread, so only this flow touches the memory.
    f(unsafe { &mut *thread.fp.registers.get() })
}

/// Gives `child`, which does not run yet, the registers of its maker, the caller.
pub fn inherit(parent: &Thread, child: &Thread) {
    let to = child.fp.registers.get();
    let copied = vigil_executor::arch::without_irqs(|| {
        let live = CPU_FP.this().is_live(parent);
        if live {
            // SAFETY: the registers are the parent's; the memory is the child's, which nobody else touches.
            unsafe { vigil_fp_save(to) };
        }
        live
    });
    if !copied {
        // SAFETY: the parent's memory is right while its registers are not in the CPU, and only itself changes it.
        unsafe { core::ptr::copy_nonoverlapping(parent.fp.registers.get(), to, 1) };
    }
}

/// A thread's state is about to be freed: no CPU may take a new one at the same address for it.
pub fn forget(state: &FpState) {
    let p = core::ptr::from_ref(state).cast_mut();
    for cpu in CPU_FP.iter() {
        let _ = cpu.owner.compare_exchange(p, null_mut(), Relaxed, Relaxed);
    }
}

/// # Safety
/// FP is enabled at EL1; `to` is valid for writes.
#[unsafe(naked)]
unsafe extern "C" fn vigil_fp_save(to: *mut FpRegisters) {
    naked_asm!(
        ".arch_extension fp", ".arch_extension simd", "stp q0, q1, [x0, #0]", "stp q2, q3, [x0, #32]", "stp q4, q5, [x0, #64]",
        "stp q6, q7, [x0, #96]", "stp q8, q9, [x0, #128]", "stp q10, q11, [x0, #160]", "stp q12, q13, [x0, #192]",
        "stp q14, q15, [x0, #224]", "stp q16, q17, [x0, #256]", "stp q18, q19, [x0, #288]", "stp q20, q21, [x0, #320]",
        "stp q22, q23, [x0, #352]", "stp q24, q25, [x0, #384]", "stp q26, q27, [x0, #416]", "stp q28, q29, [x0, #448]",
        "stp q30, q31, [x0, #480]", "mrs x1, fpsr", "mrs x2, fpcr", "str w1, [x0, #512]", "str w2, [x0, #516]", "ret",
    )
}

/// # Safety
/// FP is enabled at EL1; `from` is valid for reads.
#[unsafe(naked)]
unsafe extern "C" fn vigil_fp_load(from: *const FpRegisters) {
    naked_asm!(
        ".arch_extension fp", ".arch_extension simd", "ldp q0, q1, [x0, #0]", "ldp q2, q3, [x0, #32]", "ldp q4, q5, [x0, #64]",
        "ldp q6, q7, [x0, #96]", "ldp q8, q9, [x0, #128]", "ldp q10, q11, [x0, #160]", "ldp q12, q13, [x0, #192]",
        "ldp q14, q15, [x0, #224]", "ldp q16, q17, [x0, #256]", "ldp q18, q19, [x0, #288]", "ldp q20, q21, [x0, #320]",
        "ldp q22, q23, [x0, #352]", "ldp q24, q25, [x0, #384]", "ldp q26, q27, [x0, #416]", "ldp q28, q29, [x0, #448]",
        "ldp q30, q31, [x0, #480]", "ldr w1, [x0, #512]", "ldr w2, [x0, #516]", "msr fpsr, x1", "msr fpcr, x2", "ret",
    )
}
