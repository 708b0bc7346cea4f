//! The first instructions of the kernel: Image header, the drop from EL2, the identity map, the MMU, the relocation.
//!
//! Written in assembly because nothing that the compiler makes may be relied on yet: there is no stack, the image is not
//! relocated, memory is Device-nGnRnE (no exclusives, no unaligned accesses) while the MMU is off. The order:
//!
//! ```text
//! primary_entry   MMU off, at the load address
//!   init_el         EL2 → EL1, system registers in a known state
//!   identity map    2 MiB blocks over the image and the device tree, below TTBR0
//!   MMU on          still at the load address, now with caches
//!   .bss, relocate  for the load address
//!   early_start     Rust: reads the KASLR seed, builds the kernel's own tables
//!   relocate        for the virtual address
//!   high_start      Rust at the virtual address; the identity map goes away
//! ```
//!
//! Boot protocol: Documentation/arm64/booting.rst. EL2 set-up: Arm ARM D17.2 (each register's field is named).

use super::boot::{BootArgs, EarlyMap, early_start, high_start};
use super::mmu_layout::{KIMAGE_VADDR, MAIR};
use super::smp::SecondaryData;
use core::arch::global_asm;
use core::mem::offset_of;
use vigil_executor::stack::{CONTEXT_SIZE, STACK_ALIGN, STACK_SIZE};

/// Image header flags: little endian, 4 KiB pages, any 2 MiB-unrelated place in memory (bits 0, 2:1, 3).
const IMAGE_FLAGS: u64 = 1 << 1 | 1 << 3;

/// HCR_EL2: EL1 is AArch64 (RW), pointer authentication is not trapped (APK, API), nor are allocation tags (ATA).
const HCR_EL2: u64 = 1 << 31 | 1 << 40 | 1 << 41 | 1 << 56;
/// CPTR_EL2 with HCR_EL2.E2H = 0: RES1 bits, FP and SVE (TZ) are not trapped to EL2: EL1 traps what it does not want.
const CPTR_EL2: u64 = 0x32ff;
/// SPSR for the ERET to EL1h with D, A, I and F masked.
const SPSR_EL1H: u64 = 0x3c5;
/// SCTLR_EL1 with the MMU and caches off: its RES1 bits (LSMAOE, nTLSMD, SPAN, EIS, TSCXT, EOS).
const SCTLR_OFF: u64 = 1 << 29 | 1 << 28 | 1 << 23 | 1 << 22 | 1 << 20 | 1 << 11;
/// SCTLR_EL1 of the running kernel: M, C, SA, SA0, I; EL0 may use DC ZVA, CTR_EL0, WFE and cache maintenance
/// (DZE, UCT, nTWE, UCI); AArch32's ITD and SED. `cpu` clears SPAN where the CPU has PAN.
const SCTLR_ON: u64 = SCTLR_OFF | 1 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 7 | 1 << 8 | 1 << 12 | 1 << 14 | 1 << 15 | 1 << 18 | 1 << 26;
/// TCR_EL1 but for IPS, AS, HA and E0PD1: 48-bit halves, 4 KiB granules (TG1 = 0b10), walks inner-shareable write-back,
/// TBI0 (tagged user pointers).
const TCR: u64 = 16 | 16 << 16 | 1 << 8 | 1 << 10 | 3 << 12 | 1 << 24 | 1 << 26 | 3 << 28 | 2 << 30 | 1 << 37;
/// A 2 MiB block of the identity map: valid, AF, inner shareable, normal memory, no user execution.
const IDMAP_BLOCK: u64 = 1 | 1 << 10 | 3 << 8 | 1 << 54;

/// Where a stack's first frame starts, below its context block.
const STACK_TOP: usize = STACK_SIZE - CONTEXT_SIZE;

global_asm!(
    r#"
    .section .head.text, "ax"
    .global _head
_head:
    b       primary_entry
    .long   0
    .quad   0                           // text_offset
    .quad   _image_size
    .quad   {image_flags}
    .quad   0, 0, 0
    .ascii  "ARM\x64"
    .long   0

    .section .idmap.text, "ax"
// ---- primary_entry: x0 = device tree (physical), x1..x3 = 0 by the protocol -----------------------------------
    .global primary_entry
primary_entry:
    msr     daifset, #0xf
    mov     x19, x0
    mov     x20, x1
    mov     x21, x2
    mov     x22, x3
    bl      init_el
    mov     x23, x0

    // Lines of the tables that caches may hold from before must neither hide nor overwrite what is written now.
    adrp    x0, __idmap_tables_start
    adrp    x1, __idmap_tables_end
    bl      invalidate_range
    adrp    x0, __idmap_tables_start
    adrp    x1, __idmap_tables_end
1:  stp     xzr, xzr, [x0], #16
    cmp     x0, x1
    b.lo    1b

    // x3: level-0 table, x2: next free table. The first page stays empty: it is what TTBR1 points at for now.
    adrp    x3, __idmap_tables_start
    add     x3, x3, #4096
    add     x2, x3, #4096
    ldr     x1, ={idmap_block}
    adrp    x0, _text
    and     x0, x0, #~0x1fffff
    adrp    x24, _end
2:  bl      map_block
    add     x0, x0, #0x200000
    cmp     x0, x24
    b.lo    2b

    // The device tree: at most 2 MiB, on any 8-byte boundary, so two blocks. Those of the image are written twice alike.
    cbz     x19, 3f
    tst     x19, #7
    b.ne    3f
    lsr     x0, x19, #48
    cbnz    x0, 3f
    and     x0, x19, #~0x1fffff
    bl      map_block
    add     x0, x0, #0x200000
    bl      map_block
    b       4f
3:  mov     x19, xzr
4:  mov     x25, x2                     // first free table: early_start may add a device
    dmb     sy
    adrp    x0, __idmap_tables_start
    adrp    x1, __idmap_tables_end
    bl      invalidate_range

    bl      cpu_setup
    adrp    x1, __idmap_tables_start
    add     x1, x1, #4096
    adrp    x2, __idmap_tables_start
    bl      enable_mmu

    // Caches are on. Clear .bss, then relocate for where we are.
    adrp    x0, __bss_start
    add     x0, x0, :lo12:__bss_start
    adrp    x1, __bss_stop
    add     x1, x1, :lo12:__bss_stop
5:  cmp     x0, x1
    b.hs    6f
    stp     xzr, xzr, [x0], #16
    b       5b
6:  adrp    x26, _text                  // physical address of the image
    ldr     x27, ={kimage_vaddr}
    sub     x0, x26, x27
    bl      relocate

    adrp    x0, boot_stack
    add     x0, x0, :lo12:boot_stack
    add     x0, x0, #({stack_top} & 0xfff)
    add     sp, x0, #({stack_top} & ~0xfff)
    mov     x29, xzr
    mov     x30, xzr
    adrp    x0, BOOT_ARGS
    add     x0, x0, :lo12:BOOT_ARGS
    stp     x19, x20, [x0, #{args_x}]
    stp     x21, x22, [x0, #{args_x} + 16]
    str     x23, [x0, #{args_mode}]
    str     x26, [x0, #{args_phys}]
    str     x25, [x0, #{args_free}]
    bl      {early_start}

    // x0 = kernel tables (TTBR1), x1 = virtual address of _text
    mov     x28, x1
    mov     x25, x0
    sub     x0, x1, x27
    bl      relocate
    dsb     ish
    msr     ttbr1_el1, x25
    isb
    sub     x1, x28, x26                // virtual - physical
    mov     x2, sp
    orr     x2, x2, #({stack_size} - 1) // the stack is empty again: its top follows from any address in it
    sub     x2, x2, #({context_size} - 1)
    add     x2, x2, x1
    mov     sp, x2
    adrp    x3, 7f
    add     x3, x3, :lo12:7f
    add     x3, x3, x1
    br      x3
7:  mov     x29, xzr
    mov     x30, xzr
    adrp    x0, BOOT_ARGS
    add     x0, x0, :lo12:BOOT_ARGS
    b       {high_start}

// ---- spin_entry: where a CPU comes from that spun on a word of memory; its registers say nothing -------------------
    .global spin_entry
spin_entry:
    adrp    x0, {secondary_data}
    add     x0, x0, :lo12:{secondary_data}
    mov     x1, #{max_cpus}
    mrs     x2, mpidr_el1
    ldr     x3, ={mpidr_key}
    and     x2, x2, x3
1:  ldr     x3, [x0, #{sec_mpidr}]
    cmp     x3, x2
    b.eq    secondary_entry
    add     x0, x0, #{sec_size}
    subs    x1, x1, #1
    b.ne    1b
    wfe                                 // not called yet: another one has the same release address
    b       spin_entry

// ---- secondary_entry: x0 = physical address of this CPU's SecondaryData, written before and cleaned to the PoC -----
    .global secondary_entry
secondary_entry:
    msr     daifset, #0xf
    mov     x19, x0
    bl      init_el
    bl      cpu_setup
    ldp     x1, x2, [x19, #{sec_ttbr0}]
    ldp     x20, x21, [x19, #{sec_entry}]
    ldr     x22, [x19, #{sec_arg}]
    bl      enable_mmu
    mov     sp, x21
    mov     x0, x22
    mov     x29, xzr
    mov     x30, xzr
    br      x20

// ---- init_el: leaves EL1 with the MMU off; x0 = 2 if it came from EL2, else 1. Uses x0..x4 ------------------------
init_el:
    mrs     x0, CurrentEL
    cmp     x0, #(2 << 2)
    b.eq    2f
    b.hi    park                        // EL3: the protocol does not allow it
    ldr     x0, ={sctlr_off}
    msr     sctlr_el1, x0
    isb
    mov     x0, #1
    ret
2:  ldr     x0, ={hcr_el2}
    msr     hcr_el2, x0
    isb
    ldr     x0, ={sctlr_off}
    msr     sctlr_el1, x0
    mov     x0, #3                      // CNTHCTL_EL2: EL1PCEN, EL1PCTEN
    msr     cnthctl_el2, x0
    msr     cntvoff_el2, xzr
    msr     vttbr_el2, xzr
    msr     hstr_el2, xzr
    ldr     x0, ={cptr_el2}
    msr     cptr_el2, x0
    mrs     x0, midr_el1
    msr     vpidr_el2, x0
    mrs     x0, mpidr_el1
    msr     vmpidr_el2, x0
    // MDCR_EL2.HPMN = all event counters belong to EL1, where there is a PMUv3.
    mrs     x1, id_aa64dfr0_el1
    ubfx    x2, x1, #8, #4
    mov     x0, xzr
    cbz     x2, 3f
    cmp     x2, #0xf
    b.eq    3f
    mrs     x0, pmcr_el0
    ubfx    x0, x0, #11, #5
3:  msr     mdcr_el2, x0
    // GICv3 system registers for EL1, when there are some and EL3 lets us.
    mrs     x0, id_aa64pfr0_el1
    ubfx    x0, x0, #24, #4
    cbz     x0, 4f
    mrs     x0, S3_4_C12_C9_5           // ICC_SRE_EL2
    orr     x0, x0, #1                  // SRE
    orr     x0, x0, #8                  // Enable: EL1 may use its own
    msr     S3_4_C12_C9_5, x0
    isb
    mrs     x0, S3_4_C12_C9_5
    tbz     x0, #0, 4f
    msr     S3_4_C12_C11_0, xzr         // ICH_HCR_EL2
    // Fine-grained traps (FEAT_FGT) and HCRX_EL2 (FEAT_HCX) are unknown at reset: off.
4:  mrs     x1, id_aa64mmfr0_el1
    ubfx    x1, x1, #56, #4
    cbz     x1, 5f
    msr     S3_4_C3_C1_4, xzr           // HDFGRTR_EL2
    msr     S3_4_C3_C1_5, xzr           // HDFGWTR_EL2
    msr     S3_4_C1_C1_4, xzr           // HFGRTR_EL2
    msr     S3_4_C1_C1_5, xzr           // HFGWTR_EL2
    msr     S3_4_C1_C1_6, xzr           // HFGITR_EL2
5:  mrs     x1, id_aa64mmfr1_el1
    ubfx    x1, x1, #40, #4
    cbz     x1, 6f
    msr     S3_4_C1_C2_2, xzr           // HCRX_EL2
6:  adrp    x0, el2_vectors
    add     x0, x0, :lo12:el2_vectors
    msr     vbar_el2, x0
    mov     x0, #{spsr_el1h}
    msr     spsr_el2, x0
    msr     elr_el2, x30
    isb
    mov     x0, #2
    eret

park:
    wfe
    b       park

// ---- cpu_setup: MAIR, TCR, traps; returns SCTLR_EL1 in x0. Uses x1..x4 ---------------------------------------------
cpu_setup:
    tlbi    vmalle1
    dsb     nsh
    msr     cpacr_el1, xzr              // FP, SVE, SME: trapped from EL0 and EL1
    mov     x1, #(1 << 12)              // MDSCR_EL1.TDCC: no debug channel for EL0
    msr     mdscr_el1, x1
    ldr     x1, ={mair}
    msr     mair_el1, x1
    ldr     x1, ={tcr}
    mrs     x2, id_aa64mmfr0_el1
    and     x3, x2, #0xf                // PARange, at most 48 bits
    mov     x4, #5
    cmp     x3, x4
    csel    x3, x3, x4, lo
    bfi     x1, x3, #32, #3             // IPS
    ubfx    x3, x2, #4, #4              // ASIDBits
    cmp     x3, #2
    cset    x3, eq
    bfi     x1, x3, #36, #1             // AS
    mrs     x2, id_aa64mmfr1_el1
    ands    x2, x2, #0xf                // HAFDBS
    cset    x3, ne
    bfi     x1, x3, #39, #1             // HA
    mrs     x2, id_aa64mmfr2_el1
    ubfx    x2, x2, #60, #4             // E0PD: EL0's accesses to kernel addresses fault without a look at the tables
    cmp     x2, #0
    cset    x3, ne
    bfi     x1, x3, #56, #1             // E0PD1
    msr     tcr_el1, x1
    ldr     x0, ={sctlr_on}
    ret

// ---- enable_mmu: x0 = SCTLR_EL1, x1 = TTBR0, x2 = TTBR1 -----------------------------------------------------------
enable_mmu:
    msr     ttbr0_el1, x1
    msr     ttbr1_el1, x2
    isb
    msr     sctlr_el1, x0
    isb
    ic      iallu                       // instructions fetched with the MMU off are not to be trusted
    dsb     nsh
    isb
    ret

// ---- map_block: x0 = address, x1 = attributes, x2 = next free table, x3 = level-0 table. Uses x4, x5, x6 ------------
map_block:
    ubfx    x4, x0, #39, #9
    add     x5, x3, x4, lsl #3
    ldr     x6, [x5]
    cbnz    x6, 1f
    orr     x6, x2, #3
    str     x6, [x5]
    add     x2, x2, #4096
1:  and     x6, x6, #~0xfff
    ubfx    x4, x0, #30, #9
    add     x5, x6, x4, lsl #3
    ldr     x6, [x5]
    cbnz    x6, 2f
    orr     x6, x2, #3
    str     x6, [x5]
    add     x2, x2, #4096
2:  and     x6, x6, #~0xfff
    ubfx    x4, x0, #21, #9
    orr     x5, x0, x1
    str     x5, [x6, x4, lsl #3]
    ret

// ---- invalidate_range: data cache lines of [x0, x1) to the PoC; both are multiples of a line. Uses x4, x5 -----------
invalidate_range:
    mrs     x4, ctr_el0
    ubfx    x4, x4, #16, #4             // DminLine, log2 of words
    mov     x5, #4
    lsl     x5, x5, x4
1:  dc      ivac, x0
    add     x0, x0, x5
    cmp     x0, x1
    b.lo    1b
    dsb     sy
    ret

// ---- relocate: x0 = what to add to the addresses in .rela.dyn. Uses x1..x6. Entries are (offset, type, addend) ------
// Writes through the place where the code runs now, so it is correct at the physical address as well.
relocate:
    adrp    x1, __rela_start
    add     x1, x1, :lo12:__rela_start
    adrp    x2, __rela_end
    add     x2, x2, :lo12:__rela_end
    adrp    x6, _text
    ldr     x5, ={kimage_vaddr}
    sub     x6, x6, x5                  // running - linked
1:  cmp     x1, x2
    b.hs    2f
    ldp     x3, x4, [x1], #16
    ldr     x5, [x1], #8
    cmp     w4, #1027                   // R_AARCH64_RELATIVE
    b.ne    1b
    add     x5, x5, x0
    str     x5, [x3, x6]
    b       1b
2:  ret
    .ltorg

// After the drop nothing may enter EL2 again; if something does, stop there instead of running wild.
    .balign 2048
el2_vectors:
    .rept   16
    b       park
    .balign 128
    .endr

    // Three stacks, each with a gap of its size below it that is never mapped. Stacks are aligned to twice their size.
    .section .bss.boot_stacks, "aw", @nobits
    .balign 2 * {stack_size}
    .space  {stack_size}
    .global boot_stacks_start, boot_stack, boot_irq_stack, boot_emergency_stack
boot_stacks_start:
    .space  {stack_size}
boot_stack:
    .space  {stack_size}
    .space  {stack_size}
boot_irq_stack:
    .space  {stack_size}
    .space  {stack_size}
boot_emergency_stack:
    .space  {stack_size}

    // An empty table, the level-0 table, and three tables each (level 1, level 2, level 2) for image, device tree, device.
    .section .boot.pgtables, "aw", @nobits
    .balign 4096
    .space  4096 * 16
    .text                               // what the compiler puts behind this block belongs there
"#,
    image_flags = const IMAGE_FLAGS,
    idmap_block = const IDMAP_BLOCK,
    kimage_vaddr = const KIMAGE_VADDR,
    stack_size = const STACK_SIZE,
    context_size = const CONTEXT_SIZE,
    stack_top = const STACK_TOP,
    args_x = const offset_of!(BootArgs, x),
    args_mode = const offset_of!(BootArgs, boot_el),
    args_phys = const offset_of!(BootArgs, image_phys),
    args_free = const offset_of!(BootArgs, idmap_free),
    secondary_data = sym super::smp::DATA,
    sec_ttbr0 = const offset_of!(SecondaryData, ttbr0),
    sec_entry = const offset_of!(SecondaryData, entry),
    sec_arg = const offset_of!(SecondaryData, arg),
    sec_mpidr = const offset_of!(SecondaryData, mpidr),
    sec_size = const size_of::<SecondaryData>(),
    mpidr_key = const super::smp::MPIDR_KEY,
    max_cpus = const vigil_executor::cpu::MAX_CPUS,
    sctlr_off = const SCTLR_OFF,
    sctlr_on = const SCTLR_ON,
    hcr_el2 = const HCR_EL2,
    cptr_el2 = const CPTR_EL2,
    spsr_el1h = const SPSR_EL1H,
    mair = const MAIR,
    tcr = const TCR,
    early_start = sym early_start,
    high_start = sym high_start,
);

const _: () = {
    assert!(STACK_ALIGN == 2 * STACK_SIZE, "the layout of the boot stacks");
    assert!(core::mem::size_of::<EarlyMap>() == 16, "returned in x0 and x1");
    assert!(offset_of!(SecondaryData, ttbr1) == offset_of!(SecondaryData, ttbr0) + 8, "loaded as a pair");
    assert!(offset_of!(SecondaryData, stack_top) == offset_of!(SecondaryData, entry) + 8, "loaded as a pair");
};
