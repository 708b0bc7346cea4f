// The vDSO: one page that is a complete ELF64 shared object, assembled in place.
//
// The kernel maps it, with the page of time data (vvar) right before it, into every process; libc finds it by
// AT_SYSINFO_EHDR and takes its functions by name and version LINUX_2.6.39. All that a linker would do is done here: one
// section, so that every offset is a difference of labels which the assembler knows. No section headers: nothing that
// runs needs them. The hash table has one bucket, so a look-up walks the chain and no hash value has to be written down.
//
// vvar (written by mm/vdso.rs, which names the same offsets):
//   0 u32 seq, odd while it is written    4 u32 mask of the clocks served     8 u64 counter at the last update
//  16 u64 ns per tick, 32.32 fixed point  24 u64 coarse resolution, ns       32 u32 minutes west, u32 dst
//  64 u64[12] ns of clock n at the last update
//
// Facts: ELF gABI (dynamic section, DT_HASH), LSB "Symbol Versioning", Linux vdso(7).

    .section .rodata.vdso, "a"
    .balign 4096
    .globl vigil_vdso_start, vigil_vdso_end
vigil_vdso_start:
.Lehdr:
    .byte 0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0
    .hword 3, 183                       // ET_DYN, EM_AARCH64
    .word 1
    .quad 0                             // no entry point
    .quad .Lphdr - .Lehdr
    .quad 0                             // no section headers
    .word 0
    .hword 64, 56, 2, 64, 0, 0
.Lphdr:
    .word 1, 5                          // PT_LOAD, R X
    .quad 0, 0, 0, .Lend - .Lehdr, .Lend - .Lehdr, 0x1000
    .word 2, 4                          // PT_DYNAMIC, R
    .quad .Ldynamic - .Lehdr, .Ldynamic - .Lehdr, .Ldynamic - .Lehdr
    .quad .Ldynamic_end - .Ldynamic, .Ldynamic_end - .Ldynamic, 8

    .balign 8
.Lhash:
    .word 1, 5                          // one bucket, five symbols
    .word 1                             // the chain begins at symbol 1
    .word 0, 2, 3, 4, 0

    .balign 8
.Ldynsym:
    .word 0
    .byte 0, 0
    .hword 0
    .quad 0, 0
    .macro function name, start, end
    .word \name - .Ldynstr
    .byte 0x12, 0                       // STB_GLOBAL, STT_FUNC; default visibility
    .hword 1                            // any section: defined
    .quad \start - .Lehdr, \end - \start
    .endm
    function .Lname_gettime, .Lclock_gettime, .Lclock_gettime_end
    function .Lname_timeofday, .Lgettimeofday, .Lgettimeofday_end
    function .Lname_getres, .Lclock_getres, .Lclock_getres_end
    function .Lname_sigreturn, .Lrt_sigreturn, .Lrt_sigreturn_end
    .purgem function

.Ldynstr:
    .byte 0
.Lname_gettime:
    .asciz "__kernel_clock_gettime"
.Lname_timeofday:
    .asciz "__kernel_gettimeofday"
.Lname_getres:
    .asciz "__kernel_clock_getres"
.Lname_sigreturn:
    .asciz "__kernel_rt_sigreturn"
.Lname_soname:
    .asciz "linux-vdso.so.1"
.Lname_version:
    .asciz "LINUX_2.6.39"
.Ldynstr_end:

    .balign 2
.Lversym:
    .hword 0, 2, 2, 2, 2

    .balign 8
.Lverdef:
    .hword 1, 1, 1, 1                   // version 1, VER_FLG_BASE, index 1, one name
    .word 0x0deebfa1, 20, 28            // ELF hash of the soname, aux, next
    .word .Lname_soname - .Ldynstr, 0
    .hword 1, 0, 2, 1
    .word 0x075fcb89, 20, 0             // ELF hash of "LINUX_2.6.39"
    .word .Lname_version - .Ldynstr, 0

    .balign 8
.Ldynamic:
    .quad 14, .Lname_soname - .Ldynstr          // DT_SONAME
    .quad 4, .Lhash - .Lehdr                    // DT_HASH
    .quad 5, .Ldynstr - .Lehdr                  // DT_STRTAB
    .quad 6, .Ldynsym - .Lehdr                  // DT_SYMTAB
    .quad 10, .Ldynstr_end - .Ldynstr           // DT_STRSZ
    .quad 11, 24                                // DT_SYMENT
    .quad 0x6ffffffc, .Lverdef - .Lehdr         // DT_VERDEF
    .quad 0x6ffffffd, 2                         // DT_VERDEFNUM
    .quad 0x6ffffff0, .Lversym - .Lehdr         // DT_VERSYM
    .quad 0, 0
.Ldynamic_end:

    .balign 16
    // int clock_gettime(clockid_t w0, struct timespec *x1)
.Lclock_gettime:
    cmp w0, #11
    b.hi 8f
    adr x2, .Lehdr
    sub x2, x2, #4096
    ldr w3, [x2, #4]
    lsr w3, w3, w0
    tbz w3, #0, 8f
    add x11, x2, #64
1:  ldr w4, [x2]
    tbnz w4, #0, 7f
    dmb ishld
    isb                                 // the counter is not read before the sequence
    mrs x5, cntvct_el0
    ldp x6, x7, [x2, #8]
    ldr x9, [x11, w0, uxtw #3]
    dmb ishld
    ldr w10, [x2]
    cmp w10, w4
    b.ne 1b
    subs x5, x5, x6
    csel x5, xzr, x5, lo                // another CPU updated between: not before the update
    mul x6, x5, x7
    umulh x7, x5, x7
    extr x5, x7, x6, #32
    add x5, x5, x9
    movz x6, #0xca00
    movk x6, #0x3b9a, lsl #16           // 10^9
    udiv x7, x5, x6
    msub x8, x7, x6, x5
    stp x7, x8, [x1]
    mov w0, #0
    ret
7:  yield
    b 1b
8:  mov x8, #113
    svc #0
    ret
.Lclock_gettime_end:

    .balign 16
    // int gettimeofday(struct timeval *x0, struct timezone *x1)
.Lgettimeofday:
    adr x2, .Lehdr
    sub x2, x2, #4096
    ldr w3, [x2, #4]
    tbz w3, #0, 8f
    cbz x0, 3f
1:  ldr w4, [x2]
    tbnz w4, #0, 7f
    dmb ishld
    isb
    mrs x5, cntvct_el0
    ldp x6, x7, [x2, #8]
    ldr x9, [x2, #64]
    dmb ishld
    ldr w10, [x2]
    cmp w10, w4
    b.ne 1b
    subs x5, x5, x6
    csel x5, xzr, x5, lo
    mul x6, x5, x7
    umulh x7, x5, x7
    extr x5, x7, x6, #32
    add x5, x5, x9
    movz x6, #0xca00
    movk x6, #0x3b9a, lsl #16
    udiv x7, x5, x6
    msub x8, x7, x6, x5
    mov x6, #1000
    udiv x8, x8, x6
    stp x7, x8, [x0]
3:  cbz x1, 4f
    ldr x4, [x2, #32]
    str x4, [x1]
4:  mov w0, #0
    ret
7:  yield
    b 1b
8:  mov x8, #169
    svc #0
    ret
.Lgettimeofday_end:

    .balign 16
    // int clock_getres(clockid_t w0, struct timespec *x1)
.Lclock_getres:
    cmp w0, #11
    b.hi 8f
    adr x2, .Lehdr
    sub x2, x2, #4096
    ldr w3, [x2, #4]
    lsr w3, w3, w0
    tbz w3, #0, 8f
    cbz x1, 2f
    sub w4, w0, #5                      // CLOCK_REALTIME_COARSE 5, CLOCK_MONOTONIC_COARSE 6
    cmp w4, #1
    ldr x5, [x2, #24]
    mov x6, #1
    csel x5, x5, x6, ls
    stp xzr, x5, [x1]
2:  mov w0, #0
    ret
8:  mov x8, #114
    svc #0
    ret
.Lclock_getres_end:

    .balign 16
    // Unwinders know the return from a signal handler by these two instructions.
    nop
.Lrt_sigreturn:
    mov x8, #139
    svc #0
.Lrt_sigreturn_end:
.Lend:
    .globl vigil_vdso_sigreturn
vigil_vdso_sigreturn = .Lrt_sigreturn
    .balign 4096
vigil_vdso_end:
    .text
