    // A signal handler's frame, between the CPU, the context and the user's stack (frame.rs draws it). Part of uaccess.rs.
    //
    // The FP registers are the CPU's own, so the accesses are plain ones with PAN off, over ranges that the caller has
    // checked. A fault ends the routine wherever it is: what it was to write is written again from the start.

    // i32 vigil_frame_store(usize frame, const UserContext *, const FrameParts *, usize record): 0 or -14
    .balign 64
    .arch_extension fp
    .arch_extension simd
    .global vigil_frame_store
vigil_frame_store:
    pan     0
    ldp     x4, x5, [x2]                        // siginfo: its head and four fields, the rest zero
    ldp     x6, x7, [x2, #16]
    ldp     x8, x10, [x2, #32]
    ldp     x11, x12, [x2, #48]                 // stack and mask
    ldp     x13, x14, [x2, #64]
    ldp     x15, x16, [x2, #80]                 // address and syndrome of a fault
    add     x2, x0, #{MCONTEXT}
    add     x17, x0, #{FPSIMD}
10: stp     x4, x5, [x0]
    stp     x6, x7, [x0, #16]
    stp     x8, x10, [x0, #32]
    stp     xzr, xzr, [x0, #48]
    stp     xzr, xzr, [x0, #64]
    stp     xzr, xzr, [x0, #80]
    stp     xzr, xzr, [x0, #96]
    stp     xzr, xzr, [x0, #112]
    stp     xzr, xzr, [x0, #{UC}]               // no flags, no link
    stp     x11, x12, [x0, #{UC} + 16]
    stp     x13, x14, [x0, #{UC} + 32]
    str     x15, [x2], #8
    .irp    n, 0, 16, 32, 48, 64, 80, 96, 112, 128, 144, 160, 176, 192, 208, 224, 240, 256
    ldp     x4, x5, [x1, #\n]                   // x0–x30, SP, PC, PSTATE
    stp     x4, x5, [x2, #\n]
    .endr
    ldp     x4, x5, [x1, #232]
    stp     x4, x5, [x3]                        // the frame record
    mov     w4, #{FPSIMD_MAGIC} & 0xffff
    movk    w4, #{FPSIMD_MAGIC} >> 16, lsl #16
    mov     w5, #{FPSIMD_SIZE}
    stp     w4, w5, [x17]
    mrs     x4, fpsr
    mrs     x5, fpcr
    stp     w4, w5, [x17, #8]
    stp     q0, q1, [x17, #16]
    stp     q2, q3, [x17, #48]
    stp     q4, q5, [x17, #80]
    stp     q6, q7, [x17, #112]
    stp     q8, q9, [x17, #144]
    stp     q10, q11, [x17, #176]
    stp     q12, q13, [x17, #208]
    stp     q14, q15, [x17, #240]
    stp     q16, q17, [x17, #272]
    stp     q18, q19, [x17, #304]
    stp     q20, q21, [x17, #336]
    stp     q22, q23, [x17, #368]
    stp     q24, q25, [x17, #400]
    stp     q26, q27, [x17, #432]
    stp     q28, q29, [x17, #464]
    stp     q30, q31, [x17, #496]
    add     x17, x17, #{FPSIMD_SIZE}
    cbz     x16, 1f
    mov     w4, #{ESR_MAGIC} & 0xffff
    movk    w4, #{ESR_MAGIC} >> 16, lsl #16
    mov     w5, #16
    stp     w4, w5, [x17]
    str     x16, [x17, #8]
    add     x17, x17, #16
1:  stp     xzr, xzr, [x17]                     // no more records
11: pan     1
    mov     w0, #0
    ret
    fixup_range 10b, 11b, user_fault_pan

    // i32 vigil_frame_load(usize frame, UserContext *, usize fpsimd_context, FrameHead *): 0 or -14
    // All of the context's registers but PSTATE, and the FP registers of the CPU.
    .balign 64
    .global vigil_frame_load
vigil_frame_load:
    pan     0
10: ldp     x4, x5, [x0, #{UC} + 16]            // stack and mask
    ldp     x6, x7, [x0, #{UC} + 32]
    stp     x4, x5, [x3]
    stp     x6, x7, [x3, #16]
    add     x0, x0, #{MCONTEXT} + 8
    .irp    n, 0, 16, 32, 48, 64, 80, 96, 112, 128, 144, 160, 176, 192, 208, 224, 240
    ldp     x4, x5, [x0, #\n]
    stp     x4, x5, [x1, #\n]
    .endr
    ldp     x4, x5, [x0, #256]
    str     x4, [x1, #256]
    str     x5, [x3, #32]
    ldr     x4, [x2]
    ldr     x5, [x2, #{FPSIMD_SIZE}]
    stp     x4, x5, [x3, #40]
    ldp     w4, w5, [x2, #8]
    ldp     q0, q1, [x2, #16]
    ldp     q2, q3, [x2, #48]
    ldp     q4, q5, [x2, #80]
    ldp     q6, q7, [x2, #112]
    ldp     q8, q9, [x2, #144]
    ldp     q10, q11, [x2, #176]
    ldp     q12, q13, [x2, #208]
    ldp     q14, q15, [x2, #240]
    ldp     q16, q17, [x2, #272]
    ldp     q18, q19, [x2, #304]
    ldp     q20, q21, [x2, #336]
    ldp     q22, q23, [x2, #368]
    ldp     q24, q25, [x2, #400]
    ldp     q26, q27, [x2, #432]
    ldp     q28, q29, [x2, #464]
    ldp     q30, q31, [x2, #496]
11: msr     fpsr, x4
    msr     fpcr, x5
    pan     1
    mov     w0, #0
    ret
    fixup_range 10b, 11b, user_fault_pan

