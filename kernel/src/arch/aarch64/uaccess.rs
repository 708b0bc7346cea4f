//! Access to user memory from EL1: unprivileged loads and stores (LDTR/STTR, Arm ARM C3.2.5) with fix-up.
//!
//! LDTR and STTR are checked as EL0 would be, so a kernel address that slipped through the range check faults, and PAN
//! stays on. A fault that the tables cannot satisfy is not resolved here: the access ends at the table entry's fix-up,
//! the caller sees how much was done, awaits `fault_in` outside its locks and retries (DESIGN.md rule 6).
//!
//! The copies move up to 64 bytes at a time; a fault inside a chunk falls back to a loop over its bytes, so that the count
//! of what was copied is exact to the byte, as on Linux.
//!
//! There are no unprivileged exclusives and no unprivileged FP accesses: the futex operations and the two routines for signal
//! frames (`signal_frame.S`) clear PAN around what they do, where the CPU has PAN.

use super::entry::{REGISTERS, UserContext};
use core::arch::global_asm;
use core::mem::offset_of;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use vigil_abi::sigframe::{ESR_MAGIC, FPSIMD_MAGIC, FpsimdContext, RtSigframe, Sigcontext, Ucontext};

/// Non-zero on a CPU with FEAT_PAN; set by the feature detection before the first user access.
#[unsafe(no_mangle)]
static VIGIL_HAS_PAN: AtomicU32 = AtomicU32::new(0);

/// Tells the futex operations that PSTATE.PAN exists.
pub fn set_has_pan() {
    VIGIL_HAS_PAN.store(1, Relaxed);
}

/// One range of instructions that may fault on a user address, and where to go on then.
#[repr(C)]
struct Entry {
    start: i32,
    end: i32,
    fixup: i32,
}

unsafe extern "C" {
    static vigil_fixups: [Entry; 0];
    static vigil_fixups_end: [Entry; 0];
}

/// Where to go on after a fault at `pc`, or `None` when `pc` is no user access.
pub fn fixup(pc: u64) -> Option<u64> {
    // Offsets are relative to the table, so the table needs no relocation.
    let base = (&raw const vigil_fixups) as u64;
    let mut p = (&raw const vigil_fixups).cast::<Entry>();
    let end = (&raw const vigil_fixups_end).cast::<Entry>();
    let offset = pc.wrapping_sub(base) as i64;
    while p < end {
        // SAFETY: `p` runs over the entries that the assembly below laid out between the two symbols.
        let e = unsafe { &*p };
        if (e.start as i64..e.end as i64).contains(&offset) {
            return Some(base.wrapping_add(e.fixup as i64 as u64));
        }
        p = p.wrapping_add(1);
    }
    None
}

global_asm!(
    r#"
    .macro fixup_range start, end, fixup
    .pushsection .rodata.fixups, "a"
    .balign 4
    .word   \start - vigil_fixups
    .word   \end - vigil_fixups
    .word   \fixup - vigil_fixups
    .popsection
    .endm

    .pushsection .rodata.fixups, "a"
    .balign 4
    .global vigil_fixups
vigil_fixups:
    .popsection

    .section .text.uaccess, "ax"

    // usize vigil_copy_from_user(u8 *to, usize from_user, usize n): bytes not copied
    // By halves below 32 bytes; behind a fault byte by byte, up to the byte that faults.
    .balign 64
    .global vigil_copy_from_user
vigil_copy_from_user:
    cmp     x2, #32
    b.lo    2f
    cmp     x2, #64
    b.lo    1f
5:
30: ldtr    x3, [x1]
    ldtr    x4, [x1, #8]
    ldtr    x5, [x1, #16]
    ldtr    x6, [x1, #24]
    ldtr    x7, [x1, #32]
    ldtr    x8, [x1, #40]
    ldtr    x9, [x1, #48]
    ldtr    x10, [x1, #56]
31: stp     x3, x4, [x0]
    stp     x5, x6, [x0, #16]
    stp     x7, x8, [x0, #32]
    stp     x9, x10, [x0, #48]
    add     x0, x0, #64
    add     x1, x1, #64
    sub     x2, x2, #64
    cmp     x2, #64
    b.hs    5b
    cbz     x2, 9f
1:  tbz     x2, #5, 2f
32: ldtr    x3, [x1]
    ldtr    x4, [x1, #8]
    ldtr    x5, [x1, #16]
    ldtr    x6, [x1, #24]
33: stp     x3, x4, [x0]
    stp     x5, x6, [x0, #16]
    add     x0, x0, #32
    add     x1, x1, #32
2:  tbz     x2, #4, 6f
34: ldtr    x3, [x1]
    ldtr    x4, [x1, #8]
35: stp     x3, x4, [x0]
    add     x0, x0, #16
    add     x1, x1, #16
6:  tbz     x2, #3, 7f
36: ldtr    x3, [x1]
37: str     x3, [x0]
    add     x0, x0, #8
    add     x1, x1, #8
7:  tst     x2, #7
    b.eq    9f
    tbz     x2, #2, 8f
38: ldtr    w3, [x1]
39: str     w3, [x0]
    add     x0, x0, #4
    add     x1, x1, #4
8:  tbz     x2, #1, 10f
40: ldtrh   w3, [x1]
41: strh    w3, [x0]
    add     x0, x0, #2
    add     x1, x1, #2
10: tbz     x2, #0, 9f
42: ldtrb   w3, [x1]
43: strb    w3, [x0]
9:  mov     x0, #0
    ret
123: and     x2, x2, #63
    b       3f
91: and     x2, x2, #31
    b       3f
75: and     x2, x2, #15
    b       3f
67: and     x2, x2, #7
    b       3f
63: and     x2, x2, #3
    b       3f
61: and     x2, x2, #1
3:
14: ldtrb   w3, [x1]
15: strb    w3, [x0]
    add     x0, x0, #1
    add     x1, x1, #1
    subs    x2, x2, #1
    b.ne    3b
4:  mov     x0, x2
    ret
    fixup_range 30b, 31b, 3b
    fixup_range 32b, 33b, 123b
    fixup_range 34b, 35b, 91b
    fixup_range 36b, 37b, 75b
    fixup_range 38b, 39b, 67b
    fixup_range 40b, 41b, 63b
    fixup_range 42b, 43b, 61b
    fixup_range 14b, 15b, 4b

    // usize vigil_copy_to_user(usize to_user, const u8 *from, usize n): bytes not copied
    // By halves below 32 bytes; behind a fault byte by byte, up to the byte that faults.
    .balign 64
    .global vigil_copy_to_user
vigil_copy_to_user:
    cmp     x2, #32
    b.lo    2f
    cmp     x2, #64
    b.lo    1f
5:
    ldp     x3, x4, [x1]
    ldp     x5, x6, [x1, #16]
    ldp     x7, x8, [x1, #32]
    ldp     x9, x10, [x1, #48]
30: sttr    x3, [x0]
    sttr    x4, [x0, #8]
    sttr    x5, [x0, #16]
    sttr    x6, [x0, #24]
    sttr    x7, [x0, #32]
    sttr    x8, [x0, #40]
    sttr    x9, [x0, #48]
    sttr    x10, [x0, #56]
31:
    add     x0, x0, #64
    add     x1, x1, #64
    sub     x2, x2, #64
    cmp     x2, #64
    b.hs    5b
    cbz     x2, 9f
1:  tbz     x2, #5, 2f
    ldp     x3, x4, [x1]
    ldp     x5, x6, [x1, #16]
32: sttr    x3, [x0]
    sttr    x4, [x0, #8]
    sttr    x5, [x0, #16]
    sttr    x6, [x0, #24]
33:
    add     x0, x0, #32
    add     x1, x1, #32
2:  tbz     x2, #4, 6f
    ldp     x3, x4, [x1]
34: sttr    x3, [x0]
    sttr    x4, [x0, #8]
35:
    add     x0, x0, #16
    add     x1, x1, #16
6:  tbz     x2, #3, 7f
    ldr     x3, [x1]
36: sttr    x3, [x0]
37:
    add     x0, x0, #8
    add     x1, x1, #8
7:  tst     x2, #7
    b.eq    9f
    tbz     x2, #2, 8f
    ldr     w3, [x1]
38: sttr    w3, [x0]
39:
    add     x0, x0, #4
    add     x1, x1, #4
8:  tbz     x2, #1, 10f
    ldrh    w3, [x1]
40: sttrh   w3, [x0]
41:
    add     x0, x0, #2
    add     x1, x1, #2
10: tbz     x2, #0, 9f
    ldrb    w3, [x1]
42: sttrb   w3, [x0]
43:
9:  mov     x0, #0
    ret
123: and     x2, x2, #63
    b       3f
91: and     x2, x2, #31
    b       3f
75: and     x2, x2, #15
    b       3f
67: and     x2, x2, #7
    b       3f
63: and     x2, x2, #3
    b       3f
61: and     x2, x2, #1
3:  ldrb    w3, [x1]
14: sttrb   w3, [x0]
15:
    add     x0, x0, #1
    add     x1, x1, #1
    subs    x2, x2, #1
    b.ne    3b
4:  mov     x0, x2
    ret
    fixup_range 30b, 31b, 3b
    fixup_range 32b, 33b, 123b
    fixup_range 34b, 35b, 91b
    fixup_range 36b, 37b, 75b
    fixup_range 38b, 39b, 67b
    fixup_range 40b, 41b, 63b
    fixup_range 42b, 43b, 61b
    fixup_range 14b, 15b, 4b

    // usize vigil_clear_user(usize to_user, usize n): bytes not cleared
    .balign 16
    .global vigil_clear_user
vigil_clear_user:
    cmp     x1, #32
    b.lo    2f
1:
10: sttr    xzr, [x0]
    sttr    xzr, [x0, #8]
    sttr    xzr, [x0, #16]
    sttr    xzr, [x0, #24]
11: add     x0, x0, #32
    sub     x1, x1, #32
    cmp     x1, #32
    b.hs    1b
2:  cbz     x1, 4f
12: sttrb   wzr, [x0]
13: add     x0, x0, #1
    sub     x1, x1, #1
    b       2b
4:  mov     x0, x1
    ret
    fixup_range 10b, 11b, 2b
    fixup_range 12b, 13b, 4b

    // isize vigil_strncpy_from_user(u8 *to, usize from_user, usize n): length without the NUL; n if there is none
    // within n bytes; -14 (EFAULT). Eight bytes at a time while no fault is met; `to` has room for n bytes.
    .balign 16
    .global vigil_strncpy_from_user
vigil_strncpy_from_user:
    mov     x7, x0
    mov     x5, #0x0101010101010101
1:  cmp     x2, #8
    b.lo    3f
10: ldtr    x3, [x1]
11: sub     x4, x3, x5
    bic     x4, x4, x3
    ands    x4, x4, #0x8080808080808080
    str     x3, [x0]
    b.ne    2f
    add     x0, x0, #8
    add     x1, x1, #8
    sub     x2, x2, #8
    b       1b
2:  rbit    x4, x4
    clz     x4, x4
    add     x0, x0, x4, lsr #3
    b       5f
3:  cbz     x2, 5f
12: ldtrb   w3, [x1]
13: strb    w3, [x0]
    cbz     w3, 5f
    add     x0, x0, #1
    add     x1, x1, #1
    sub     x2, x2, #1
    b       3b
5:  sub     x0, x0, x7
    ret
6:  mov     x0, #-14
    ret
    fixup_range 10b, 11b, 3b
    fixup_range 12b, 13b, 6b

    // i32 vigil_user_load_u32(usize addr, u32 *out): 0 or -14
    .global vigil_user_load_u32
vigil_user_load_u32:
10: ldtr    w2, [x0]
11: str     w2, [x1]
    mov     w0, #0
    ret
    fixup_range 10b, 11b, user_fault

user_fault:
    mov     w0, #-14
    ret

    .macro pan value
    adrp    x9, VIGIL_HAS_PAN
    ldr     w9, [x9, :lo12:VIGIL_HAS_PAN]
    cbz     w9, 19f
    .inst   0xd500409f | (\value << 8)          // msr pan, #value
19:
    .endm

user_fault_pan:
    pan     1
    mov     w0, #-14
    ret

    // i32 vigil_user_cmpxchg_u32(usize addr, u32 old, u32 new, u32 *found): 0 or -14. Sequentially consistent.
    .global vigil_user_cmpxchg_u32
vigil_user_cmpxchg_u32:
    pan     0
10: ldaxr   w4, [x0]
    cmp     w4, w1
    b.ne    1f
    stlxr   w5, w2, [x0]
11: cbnz    w5, 10b
1:  dmb     ish
    str     w4, [x3]
    pan     1
    mov     w0, #0
    ret
    fixup_range 10b, 11b, user_fault_pan

    // i32 vigil_user_<op>_u32(usize addr, u32 operand, u32 *old): 0 or -14
    .macro user_rmw name, insn:vararg
    .global vigil_user_\name\()_u32
vigil_user_\name\()_u32:
    pan     0
10: ldaxr   w4, [x0]
    \insn
    stlxr   w6, w5, [x0]
11: cbnz    w6, 10b
    dmb     ish
    str     w4, [x2]
    pan     1
    mov     w0, #0
    ret
    fixup_range 10b, 11b, user_fault_pan
    .endm

    user_rmw xchg, mov w5, w1
    user_rmw add, add w5, w4, w1
    user_rmw or, orr w5, w4, w1
    user_rmw andn, bic w5, w4, w1
    user_rmw xor, eor w5, w4, w1
    "#,
    include_str!("signal_frame.S"),
    r#"
    .pushsection .rodata.fixups, "a"
    .global vigil_fixups_end
vigil_fixups_end:
    .popsection
    .text
    "#,
    UC = const offset_of!(RtSigframe, uc),
    MCONTEXT = const MCONTEXT,
    FPSIMD = const RESERVED,
    FPSIMD_MAGIC = const FPSIMD_MAGIC,
    FPSIMD_SIZE = const size_of::<FpsimdContext>(),
    ESR_MAGIC = const ESR_MAGIC,
);

/// Where a frame holds its `sigcontext`.
pub const MCONTEXT: usize = offset_of!(RtSigframe, uc) + offset_of!(Ucontext, uc_mcontext);
/// Where the records begin that follow the general registers.
pub const RESERVED: usize = MCONTEXT + offset_of!(Sigcontext, reserved);

/// What a signal's frame holds besides registers, as [`vigil_frame_store`] reads it.
#[repr(C)]
#[derive(Debug)]
pub struct FrameParts {
    /// The first words of siginfo; the others are zero.
    pub info: [u64; 6],
    /// The alternate stack's settings: address, flags, size.
    pub stack: [u64; 3],
    /// The mask that the handler's return puts back.
    pub mask: u64,
    /// FAR of the last fault that made a signal.
    pub fault_address: u64,
    /// Its ESR; 0: there was none, and no record of it.
    pub esr: u64,
}

/// What [`vigil_frame_load`] finds besides registers that it may put into place.
#[repr(C)]
#[derive(Debug, Default)]
pub struct FrameHead {
    /// The alternate stack's settings: address, flags, size.
    pub stack: [u64; 3],
    /// The mask.
    pub mask: u64,
    /// PSTATE as the frame would have it.
    pub pstate: u64,
    /// The first words (magic and size) of the record with the FP registers, and of the one behind it.
    pub records: [u64; 2],
}

unsafe extern "C" {
    /// Writes a handler's frame and the frame record above it. The FP registers are those of this CPU. Not 0: a fault.
    ///
    /// # Safety
    /// `frame` to the record's end is a checked user range. The context is the caller's; the FP registers are the thread's,
    /// and interrupts masked.
    pub fn vigil_frame_store(frame: usize, context: *const UserContext, parts: *const FrameParts, record: usize) -> i32;
    /// Reads a frame: general registers into the context, FP registers into this CPU, the rest into `head`. Not 0: a
    /// fault, and the registers are partly changed.
    ///
    /// # Safety
    /// `frame` is a checked user range that holds `fpsimd`. The context is the caller's; the FP registers are nobody else's,
    /// and interrupts masked.
    pub fn vigil_frame_load(frame: usize, context: *mut UserContext, fpsimd: usize, head: *mut FrameHead) -> i32;
}

const _: () = {
    assert!(offset_of!(Ucontext, uc_stack) == 16 && offset_of!(Ucontext, uc_sigmask) == 40);
    assert!(offset_of!(Sigcontext, regs) == 8 && offset_of!(Sigcontext, pstate) == 8 * REGISTERS);
    assert!(offset_of!(FpsimdContext, fpsr) == 8 && offset_of!(FpsimdContext, vregs) == 16);
    assert!(offset_of!(FrameParts, stack) == 48 && offset_of!(FrameParts, fault_address) == 80);
    assert!(offset_of!(FrameHead, pstate) == 32 && offset_of!(FrameHead, records) == 40 && RESERVED % 16 == 0);
};
