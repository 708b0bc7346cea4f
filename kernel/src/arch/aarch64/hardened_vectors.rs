//! Vector tables for CPUs that need something at the entry from EL0: a clean branch history, or the kernel's tables first.
//!
//! `vigil_hardened_vectors` are whole tables of 2 KiB, one per way of [`variant`], whose entries clean the history and go on
//! in `vigil_vectors`. The trampoline has the same ways, each with a change of tables ([`super::kpti`]); it lies in pages
//! of its own. Its first entry, an exception that cannot happen, holds the way out instead. Each CPU takes its table when it
//! starts; where nothing is needed that is `vigil_vectors` itself, and none of this runs.
//!
//! The one register that is free at entry is none: x30 is kept in the user context (hardened vectors), or in TPIDRRO_EL0,
//! which no program has a use for, while the context is not mapped (trampoline).

use super::alternative::HVC;
use super::features_mitigation::{ARCH_WORKAROUND_3, Bhb};
use super::kpti::{ROOT_DISTANCE, USER_ASID_BIT};
use super::mmu_layout::{PAGE_SIZE, TRAMPOLINE, TRAMPOLINE_PAGES};
use core::arch::global_asm;
use core::mem::offset_of;
use vigil_executor::cpu::CpuLocal;

unsafe extern "C" {
    static vigil_hardened_vectors: u8;
}

/// Bytes of a table.
const TABLE: usize = 2048;

/// Which of the tables does `bhb`.
const fn variant(bhb: Bhb) -> usize {
    match bhb {
        Bhb::None => 0,
        Bhb::Loop(..=8) => 1,
        Bhb::Loop(..=24) => 2,
        Bhb::Loop(_) => 3,
        Bhb::ClearInstruction => 4,
        Bhb::Firmware => 5,
    }
}

/// The address of the trampoline's table that does `bhb`.
pub(super) fn trampoline(bhb: Bhb) -> usize {
    TRAMPOLINE + variant(bhb) * TABLE
}

/// The table for a CPU without KPTI that does `bhb`.
pub(super) fn table(bhb: Bhb) -> usize {
    match variant(bhb) {
        0 => (&raw const super::vectors::vigil_vectors) as usize,
        n => (&raw const vigil_hardened_vectors) as usize + (n - 1) * TABLE,
    }
}

global_asm!(
    r#"
    // A branch history of this kernel's own, whatever EL0 left (Arm: Spectre-BHB white paper).
    .macro bhb_loop count
    mov     x30, #\count
    b       . + 4
    subs    x30, x30, #1
    b.ne    . - 8
    dsb     nsh
    isb
    .endm

    .macro bhb_clear
    hint    #22                                 // CLRBHB
    isb
    .endm

    // SMCCC_ARCH_WORKAROUND_3 changes x0-x3 only. SP: the user context, whose slots of x0-x3 are free.
    .macro bhb_firmware
    stp     x0, x1, [sp]
    stp     x2, x3, [sp, #16]
    mov     w0, #({WA3} & 0xffff)
    movk    w0, #({WA3} >> 16), lsl #16
771:
    nop
    smc     #0
    b       773f
772:
    hvc     #0
773:
    ldp     x0, x1, [sp]
    ldp     x2, x3, [sp, #16]
    .pushsection .alternatives, "a"
    .balign 4
    .long   771b - .
    .long   772b - .
    .long   {HVC}
    .popsection
    .endm

    .macro hardened_el1 slot
    .balign 128
    b       vigil_vectors + \slot * 128
    .endm

    .macro hardened_el0 slot, clean:vararg
    .balign 128
    str     x30, [sp, #{X30}]
    \clean
    ldr     x30, [sp, #{X30}]
    b       vigil_vectors + \slot * 128
    .endm

    .macro hardened_table clean:vararg
    .balign {TABLE}
    .irp slot, 0, 1, 2, 3, 4, 5, 6, 7
    hardened_el1 \slot
    .endr
    .irp slot, 8, 9, 10, 11
    hardened_el0 \slot, \clean
    .endr
    .irp slot, 12, 13, 14, 15
    hardened_el1 \slot
    .endr
    .endm

    .section .text.vectors, "ax"
    .balign {TABLE}
    .global vigil_hardened_vectors
vigil_hardened_vectors:
    hardened_table bhb_loop 8
    hardened_table bhb_loop 24
    hardened_table bhb_loop 32
    hardened_table bhb_clear
    hardened_table bhb_firmware
    .balign {TABLE}

    // Behind the trampoline, in the kernel's tables: x30 again, and on as without it.
    .macro kpti_stub slot
    mrs     x30, tpidrro_el0
    msr     tpidrro_el0, xzr
    b       vigil_vectors + \slot * 128
    nop
    .endm
kpti_stubs:
    kpti_stub 8
    kpti_stub 9
    kpti_stub 10
    kpti_stub 11

    // In place of the ERET to EL0: its registers are loaded, SP is the user context, exceptions are masked.
    .global vigil_kpti_exit
vigil_kpti_exit:
    msr     far_el1, x30
    mrs     x30, tpidr_el1
    ldr     x30, [x30, #{EL0_VECTORS}]
    msr     vbar_el1, x30
    br      x30

    .section .trampoline.text, "ax"
    .balign {PAGE}
vigil_trampoline:

    .macro trampoline_exit
    .balign 128
    mrs     x30, ttbr1_el1
    add     x30, x30, #{ROOT_DISTANCE}
    orr     x30, x30, #(1 << {USER_ASID_BIT})
    msr     ttbr1_el1, x30
    mrs     x30, far_el1
    eret                                        // synchronises the context
    dsb     nsh
    isb
    .endm

    // Returns by RET, whose target no history of EL0 predicts: the return stack is ours after the BL.
    .macro trampoline_enter
    bl      774f
    b       .
774:
    mrs     x30, ttbr1_el1
    sub     x30, x30, #{ROOT_DISTANCE}
    bic     x30, x30, #(1 << {USER_ASID_BIT})
    msr     ttbr1_el1, x30
    isb
    ldr     x30, vigil_trampoline + {TEXT}
    msr     vbar_el1, x30
    isb
    .endm

    .macro trampoline_leave slot
    ldr     x30, vigil_trampoline + {TEXT} + 8
    add     x30, x30, #((\slot - 8) * 16)
    ret
    .endm

    .macro unused count
    .rept \count
    .balign 128
    b       .
    .endr
    .endm

    .macro trampoline_none slot, count
    .balign 128
    msr     tpidrro_el0, x30
    trampoline_enter
    trampoline_leave \slot
    .endm

    .macro trampoline_loop slot, count
    .balign 128
    msr     tpidrro_el0, x30
    bhb_loop \count
    trampoline_enter
    trampoline_leave \slot
    .endm

    .macro trampoline_clear slot, count
    .balign 128
    msr     tpidrro_el0, x30
    bhb_clear
    trampoline_enter
    trampoline_leave \slot
    .endm

    .macro trampoline_firmware slot, count
    .balign 128
    msr     tpidrro_el0, x30
    trampoline_enter
    bhb_firmware
    trampoline_leave \slot
    .endm

    .macro trampoline_table entry, count=0
    .balign {TABLE}
    trampoline_exit
    unused  7
    .irp slot, 8, 9, 10, 11
    \entry \slot, \count
    .endr
    unused  4
    .balign 128
    .endm

    trampoline_table trampoline_none
    trampoline_table trampoline_loop, 8
    trampoline_table trampoline_loop, 24
    trampoline_table trampoline_loop, 32
    trampoline_table trampoline_clear
    trampoline_table trampoline_firmware

    .section .trampoline.data, "a"
    .balign {PAGE}
    .global vigil_trampoline_data
vigil_trampoline_data:
    .quad   vigil_vectors
    .quad   kpti_stubs
    .text
    "#,
    WA3 = const ARCH_WORKAROUND_3,
    HVC = const HVC,
    X30 = const 30 * 8,
    TABLE = const TABLE,
    PAGE = const PAGE_SIZE,
    TEXT = const TRAMPOLINE_PAGES * PAGE_SIZE,
    ROOT_DISTANCE = const ROOT_DISTANCE,
    USER_ASID_BIT = const USER_ASID_BIT,
    EL0_VECTORS = const offset_of!(CpuLocal, el0_vectors),
);

const _: () = {
    assert!(6 * TABLE == TRAMPOLINE_PAGES * PAGE_SIZE);
    assert!(ROOT_DISTANCE == 4096, "an immediate of ADD and SUB");
};
