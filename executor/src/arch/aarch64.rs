//! The primitives on AArch64 (Arm ARM D13: DAIF, TPIDR_EL1, CNTVCT_EL0; C6: WFI, WFE, SEV).
//!
//! All `asm!` blocks here are volatile and none is `nomem` unless its comment says why: a mask change must be a
//! compiler barrier, otherwise LLVM moves stores across it (`spec/preemption.md`, bug 5), and TPIDR_EL1 must not be
//! merged across a poll, because the poll may go on on another CPU (bug 4).

use super::IrqState;
use crate::context::Context;
use crate::cpu::CpuLocal;
use crate::stack::context_at;
use crate::trace::{KEY_IRQS, KEY_PINS, KEY_PREEMPT, KEY_STAMPS, PIN_POLL, Pin, Role};
use core::arch::asm;
use core::mem::offset_of;
use core::sync::atomic::AtomicU32;

/// An `asm!` whose instruction behind the label `771` is a trap site (`crate::trace`): the section `.trace_sites` holds a record
/// for each, of the place relative to the record, the role and the keys.
macro_rules! site {
    ($role:expr, $keys:expr, [$($code:literal),*], [$($operands:tt)*]) => {
        asm!(
            $($code,)*
            ".pushsection .trace_sites, \"a\"",
            ".balign 4",
            ".long 771b - .",
            ".long {trace_role}",
            ".long {trace_keys}",
            ".popsection",
            $($operands)*
            trace_role = const $role as u32,
            trace_keys = const $keys,
            options(nostack, preserves_flags)
        )
    };
}

/// An `asm!` of one instruction that is a trap site as in `site!`, and also has a twin: the same instruction out of line, after which
/// the counter is stored `$at` bytes behind the start of the CPU's block.
/// `$pin` is code for the twin's end, which finds the address of the CPU's block in x17 and may change x16 and x17.
macro_rules! stamped_site {
    ($role:expr, $keys:expr, $at:expr, $code:literal, [$($pin:tt)*], [$($operands:tt)*]) => {
        asm!(
            concat!("771: ", $code),
            "773:",
            ".pushsection .text.stamps, \"ax\"",
            concat!("772: ", $code),
            "stp x16, x17, [sp, #-16]!",
            "mrs x16, cntvct_el0",
            "mrs x17, tpidr_el1",
            "str x16, [x17, #{stamp_at}]",
            $($pin)*
            "ldp x16, x17, [sp], #16",
            "b 773b",
            ".popsection",
            ".pushsection .trace_sites, \"a\"",
            ".balign 4",
            ".long 771b - .",
            ".long {trace_role}",
            ".long {trace_keys}",
            ".long 771b - .",
            ".long 772b - .",
            ".long {stamp_keys}",
            ".popsection",
            $($operands)*
            stamp_at = const $at,
            trace_role = const $role as u32,
            trace_keys = const $keys,
            stamp_keys = const KEY_STAMPS,
            options(preserves_flags)
        )
    };
}

/// DAIF.I, the interrupt mask bit.
const DAIF_I: u64 = 1 << 7;

/// Masks interrupts and returns the mask as it was.
#[inline(always)]
pub fn irq_save() -> IrqState {
    let daif: u64;
    // SAFETY: reads DAIF and sets DAIF.I; masking interrupts breaks no memory-safety rule. Not `nomem`: a barrier.
    unsafe { site!(Role::Mask, KEY_IRQS, ["mrs {}, daif", "771: msr daifset, #2"], [out(reg) daif,]) };
    IrqState(daif)
}

/// Puts the interrupt mask back to `state`.
#[inline(always)]
pub fn irq_restore(state: IrqState) {
    // SAFETY: `state` was read from DAIF by `irq_save`. Not `nomem`: a barrier.
    unsafe { site!(Role::Mask, KEY_IRQS, ["771: msr daif, {}"], [in(reg) state.0,]) };
}

/// [`irq_save`] for tracers: nobody is told.
#[inline(always)]
pub fn irq_save_untraced() -> IrqState {
    let daif: u64;
    // SAFETY: as in `irq_save`.
    unsafe { asm!("mrs {}, daif", "msr daifset, #2", out(reg) daif, options(nostack, preserves_flags)) };
    IrqState(daif)
}

/// [`irq_restore`] for tracers.
#[inline(always)]
pub fn irq_restore_untraced(state: IrqState) {
    // SAFETY: as in `irq_restore`.
    unsafe { asm!("msr daif, {}", in(reg) state.0, options(nostack, preserves_flags)) };
}

/// Whether interrupts are masked on this CPU.
#[inline(always)]
pub fn irqs_disabled() -> bool {
    let daif: u64;
    // SAFETY: a read of DAIF.
    unsafe { asm!("mrs {}, daif", out(reg) daif, options(nostack, preserves_flags)) };
    daif & DAIF_I != 0
}

/// Unmasks interrupts.
#[inline(always)]
pub fn irq_enable() {
    // SAFETY: clears DAIF.I; every caller is at a point where its own state allows an interrupt. A compiler barrier.
    unsafe { site!(Role::Mask, KEY_IRQS, ["771: msr daifclr, #2"], []) };
}

/// Masks interrupts.
#[inline(always)]
pub fn irq_disable() {
    // SAFETY: sets DAIF.I. A compiler barrier.
    unsafe { site!(Role::Mask, KEY_IRQS, ["771: msr daifset, #2"], []) };
}

/// Whether a tracer wants one of `KEYS`: a NOP while none does.
#[inline(always)]
pub fn is_traced<const KEYS: u32>() -> bool {
    let mut on = false;
    // SAFETY: a NOP, or a branch to the label.
    unsafe {
        asm!(
            "771: nop",
            ".pushsection .trace_sites, \"a\"",
            ".balign 4",
            ".long 771b - .",
            ".long {target} - .",
            ".long {keys}",
            ".popsection",
            target = label { on = true },
            keys = const KEYS,
            options(nomem, nostack, preserves_flags),
        )
    };
    on
}

/// Stores the preempt count. A compiler barrier.
#[inline(always)]
pub(crate) fn store_count(at: &AtomicU32, count: u32) {
    // SAFETY: a relaxed store to a word that may be written.
    unsafe { site!(Role::Count, KEY_PREEMPT, ["771: str {1:w}, [{0}]"], [in(reg) at.as_ptr(), in(reg) count,]) };
}

/// Stores a word of `base`, `OFFSET` bytes behind its start, at a site for `KEYS` of role `ROLE`. Relaxed; a compiler barrier.
///
/// # Safety
/// There is an aligned word that may be written atomically.
#[inline(always)]
pub(crate) unsafe fn store_traced<const ROLE: u32, const KEYS: u32, const OFFSET: usize>(base: *const (), value: *mut ()) {
    // SAFETY: by the caller's contract.
    unsafe {
        site!(
            ROLE, KEYS, ["771: str {1}, [{0}, #{offset}]"],
[in(reg) base, in(reg) value, offset = const OFFSET,])
    };
}

/// As [`store_traced`], and notes when: the poll of a task begins with it.
///
/// # Safety
/// As there.
#[inline(always)]
pub(crate) unsafe fn store_polled<const ROLE: u32, const KEYS: u32, const OFFSET: usize>(base: *const (), value: *mut ()) {
    // SAFETY: by the caller's contract. The twin uses the stack below SP, which kernel code does not.
    unsafe {
        stamped_site!(
            ROLE, KEYS, offset_of!(CpuLocal, polled_at), "str {1}, [{0}, #{offset}]",
            [
                "774: nop",
                ".pushsection .text.pins, \"ax\"",
                "775:",
                crate::toggle_pin!("x16", "x17", "w17", "PIN_POLL"),
                "776: b 774b + 4",
                ".popsection",
                ".pushsection .trace_sites, \"a\"",
                ".balign 4",
                ".long 774b - .",
                ".long 775b - .",
                ".long {KEY_PINS}",
                ".popsection",
            ],
            [
                in(reg) base, in(reg) value, offset = const OFFSET, PINS = const offset_of!(CpuLocal, pins),
                PIN_POLL = const PIN_POLL * size_of::<Pin>(), KEY_PINS = const KEY_PINS,
            ]
        )
    };
}

/// As [`store_traced`], of zero.
///
/// # Safety
/// As there.
#[inline(always)]
pub(crate) unsafe fn clear_traced<const ROLE: u32, const KEYS: u32, const OFFSET: usize>(base: *const ()) {
    // SAFETY: by the caller's contract.
    unsafe {
        site!(
            ROLE, KEYS, ["771: str xzr, [{0}, #{offset}]"],
[in(reg) base, offset = const OFFSET,])
    };
}

/// Stores a word of 32 bits of `base`, `OFFSET` bytes behind its start, at a site for `KEYS` of role `ROLE`. Relaxed; a compiler barrier.
///
/// # Safety
/// There is an aligned word that may be written atomically.
#[inline(always)]
pub(crate) unsafe fn store_word<const ROLE: u32, const KEYS: u32, const OFFSET: usize>(base: *const (), value: u32) {
    // SAFETY: by the caller's contract.
    unsafe {
        site!(
            ROLE, KEYS, ["771: str {1:w}, [{0}, #{offset}]"],
[in(reg) base, in(reg) value, offset = const OFFSET,])
    };
}

/// As [`store_word`], of zero.
///
/// # Safety
/// As there.
#[inline(always)]
pub(crate) unsafe fn clear_word<const ROLE: u32, const KEYS: u32, const OFFSET: usize>(base: *const ()) {
    // SAFETY: by the caller's contract.
    unsafe {
        site!(
            ROLE, KEYS, ["771: str wzr, [{0}, #{offset}]"],
[in(reg) base, offset = const OFFSET,])
    };
}

/// Stores `value` at `at`, at a site for `KEYS` of role `ROLE`. Release.
#[inline(always)]
pub(crate) fn release_word<const ROLE: u32, const KEYS: u32>(at: &AtomicU32, value: u32) {
    // SAFETY: a store to a word that may be written.
    unsafe { site!(ROLE, KEYS, ["771: stlr {1:w}, [{0}]"], [in(reg) at.as_ptr(), in(reg) value,]) };
}

/// Stores `value` in the counter of an interrupt that was acknowledged, at a site for `KEYS` of role `ROLE`, and notes when. Relaxed;
/// a compiler barrier.
#[inline(always)]
pub fn store_counter<const ROLE: u32, const KEYS: u32>(counter: &AtomicU32, value: u32) {
    // SAFETY: a relaxed store to a word that may be written. The twin uses the stack below SP, which kernel code does not.
    unsafe {
        stamped_site!(ROLE, KEYS, offset_of!(CpuLocal, acked_at), "str {1:w}, [{0}]", [], [in(reg) counter.as_ptr(), in(reg) value,])
    };
}

/// The context block of the stack that this code runs on: found by masking SP, so it stays right across a migration.
#[inline(always)]
pub fn context() -> *const Context {
    let sp: usize;
    // SAFETY: a read of SP. `pure`: a frame stays on its stack, so one look serves a whole function.
    unsafe { asm!("mov {}, sp", out(reg) sp, options(pure, nomem, nostack, preserves_flags)) };
    context_at(sp) as *const Context
}

/// This CPU's [`CpuLocal`]. Valid only under a guard that keeps the code on its CPU, or for a statistic.
#[inline(always)]
pub fn cpu_local() -> *const CpuLocal {
    let p: usize;
    // SAFETY: a read of TPIDR_EL1. Volatile: the value changes when a parked poll is resumed on another CPU.
    unsafe { asm!("mrs {}, tpidr_el1", out(reg) p, options(nostack, preserves_flags)) };
    p as *const CpuLocal
}

/// Makes `local` this CPU's [`CpuLocal`]. Called once per CPU when it starts.
///
/// # Safety
/// `local` must stay valid for ever, and belong to no other CPU.
#[inline(always)]
pub unsafe fn set_cpu_local(local: *const CpuLocal) {
    // SAFETY: by the caller's contract the pointer is what `cpu_local` promises.
    unsafe { asm!("msr tpidr_el1, {}", in(reg) local, options(nostack, preserves_flags)) };
}

/// The virtual counter CNTVCT_EL0, in ticks of CNTFRQ_EL0. The ISB keeps it from being read early (Arm ARM D11.2.1).
#[inline(always)]
pub fn counter() -> u64 {
    let c: u64;
    // SAFETY: a read of the counter.
    unsafe { asm!("isb", "mrs {}, cntvct_el0", out(reg) c, options(nostack, preserves_flags)) };
    c
}

/// The virtual counter, for statistics: it may be read some instructions early or late, and never goes back on a CPU.
#[inline(always)]
pub fn counter_unordered() -> u64 {
    let c: u64;
    // SAFETY: a read of the counter.
    unsafe { asm!("mrs {}, cntvct_el0", out(reg) c, options(nostack, preserves_flags)) };
    c
}

/// Starts this CPU's cycle counter, from 0 (Arm ARM D13.4: PMCR_EL0.E and .C, PMCNTENSET_EL0.C).
#[cfg(feature = "stamps")]
pub fn start_cycles() {
    // SAFETY: the kernel uses the performance monitors for nothing else.
    unsafe { asm!("msr pmcr_el0, {}", "msr pmccfiltr_el0, xzr", "msr pmcntenset_el0, {}", "isb", in(reg) 0b101u64, in(reg) 1u64 << 31) };
}

/// The cycle counter.
#[cfg(feature = "stamps")]
#[inline(always)]
pub fn cycles() -> u64 {
    let c: u64;
    // SAFETY: a read of the counter. Not `nomem`: what is measured stays on its side.
    unsafe { asm!("mrs {}, pmccntr_el0", out(reg) c, options(nostack, preserves_flags)) };
    c
}

/// The counter's frequency in Hz, as the firmware set it.
#[inline(always)]
pub fn counter_frequency() -> u64 {
    let f: u64;
    // SAFETY: a read of CNTFRQ_EL0, constant after boot.
    unsafe { asm!("mrs {}, cntfrq_el0", out(reg) f, options(nomem, nostack, preserves_flags)) };
    f
}

/// Raises this CPU's timer line when the counter reaches `count`, at once if it has, and keeps it down till then (CNTV_CVAL_EL0
/// and CNTV_CTL_EL0.ENABLE, Arm ARM D11.2). Interrupts masked.
#[inline(always)]
pub fn program_timer(count: u64) {
    // SAFETY: the comparator raises an interrupt, no more. The ISB makes both writes take effect in this order before
    // what follows. Not `nomem`: what was queued for this deadline is written before.
    unsafe {
        asm!(
            "msr cntv_cval_el0, {}", "msr cntv_ctl_el0, {}", "isb",
            in(reg) count, in(reg) 1u64, options(nostack, preserves_flags)
        );
    }
}

/// Keeps this CPU's timer line down.
#[inline(always)]
pub fn stop_timer() {
    // SAFETY: as above: no interrupt comes of it.
    unsafe { asm!("msr cntv_ctl_el0, xzr", "isb", options(nostack, preserves_flags)) };
}

/// Waits for an interrupt with interrupts masked: a pending one ends the wait although it is masked (Arm ARM D1.6.2).
#[inline(always)]
pub fn wait_for_interrupt() {
    // SAFETY: DSB so that our stores are seen before we stop; WFI only waits.
    unsafe { site!(Role::Rest, KEY_IRQS, ["dsb sy", "771: wfi"], []) };
}

/// Takes the interrupt that is pending, if there is one, through its vector (Arm ARM D1.3.6: before the ISB is done). Interrupts
/// are masked before and after.
///
/// A call for the compiler: the vector's exit may treat it as one and leave the registers that a call may change as they are,
/// with interrupts masked ([`Stopped::Return`](crate::executor::Stopped::Return)).
#[inline(always)]
pub fn take_interrupt() {
    // SAFETY: the caller's state allows an interrupt; whatever the vector does not give back is declared. A compiler barrier.
    unsafe {
        asm!(
            "771: msr daifclr, #2",
            "isb",
            "772: msr daifset, #2",
            ".pushsection .trace_sites, \"a\"",
            ".balign 4",
            ".long 771b - .",
            ".long {role}",
            ".long {keys}",
            ".long 772b - .",
            ".long {role}",
            ".long {keys}",
            ".popsection",
            role = const Role::Mask as u32,
            keys = const KEY_IRQS,
            clobber_abi("C"),
            options(nostack),
        )
    };
}

/// A hint in a spin loop.
#[inline(always)]
pub fn relax() {
    // Not `hint::spin_loop`, which is an ISB: an emulator that runs the CPUs in turns goes on to the next one at a YIELD.
    // SAFETY: a hint. Without `nomem`, as what is waited for changes in memory.
    unsafe { asm!("yield", options(nostack, preserves_flags)) };
}

/// Orders this CPU's earlier stores before an IPI that it is about to send.
#[inline(always)]
pub fn ipi_barrier() {
    // SAFETY: a barrier.
    unsafe { asm!("dsb ishst", options(nostack, preserves_flags)) };
}
