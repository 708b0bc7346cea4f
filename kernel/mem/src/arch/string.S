// memcpy, memmove, memset, memcmp, bcmp by pairs of general registers: about one instruction for each 6 bytes, where the
// compiler's own take one for each 2, and nine for each 4 when the pointers are not aligned alike.
//
// Until VIGIL_UNALIGNED_OK is set the MMU may be off and all memory Device memory, where unaligned accesses fault
// (Arm ARM B2.5.2): pointers that are not multiples of 8 are then handled byte by byte. Leaf functions without frames.

    .section .text.string, "ax"

    // Goes to \label unless unaligned accesses are allowed. Uses x\t.
    .macro unless_unaligned_ok t, label
    adrp    x\t, VIGIL_UNALIGNED_OK
    ldrb    w\t, [x\t, :lo12:VIGIL_UNALIGNED_OK]
    cbz     w\t, \label
    .endm

    // void *memmove(void *to, const void *from, usize n)
    .balign 64
    .global memmove
    .type   memmove, %function
memmove:
    sub     x4, x0, x1
    cmp     x4, x2
    b.lo    20f
    // Not inside of the source, or below it: each step loads before it stores, so forwards is right.

    // void *memcpy(void *to, const void *from, usize n)
    .global memcpy
    .type   memcpy, %function
memcpy:
    orr     x4, x0, x1
    mov     x3, x0
    tst     x4, #7
    b.ne    10f
1:  subs    x2, x2, #64
    b.lo    3f
2:  ldp     x4, x5, [x1]
    ldp     x6, x7, [x1, #16]
    ldp     x8, x9, [x1, #32]
    ldp     x10, x11, [x1, #48]
    add     x1, x1, #64
    subs    x2, x2, #64
    stp     x4, x5, [x3]
    stp     x6, x7, [x3, #16]
    stp     x8, x9, [x3, #32]
    stp     x10, x11, [x3, #48]
    add     x3, x3, #64
    b.hs    2b
    // Bits 5 to 0 of x2 are still those of what is left.
3:  tbz     x2, #5, 4f
    ldp     x4, x5, [x1], #16
    ldp     x6, x7, [x1], #16
    stp     x4, x5, [x3], #16
    stp     x6, x7, [x3], #16
4:  tbz     x2, #4, 5f
    ldp     x4, x5, [x1], #16
    stp     x4, x5, [x3], #16
5:  tbz     x2, #3, 6f
    ldr     x4, [x1], #8
    str     x4, [x3], #8
6:  tst     x2, #7
    b.eq    9f
    tbz     x2, #2, 7f
    ldr     w4, [x1], #4
    str     w4, [x3], #4
7:  tbz     x2, #1, 8f
    ldrh    w4, [x1], #2
    strh    w4, [x3], #2
8:  tbz     x2, #0, 9f
    ldrb    w4, [x1]
    strb    w4, [x3]
9:  ret
10: unless_unaligned_ok 4, 11f
    b       1b
11: cbz     x2, 9b
12: ldrb    w4, [x1], #1
    subs    x2, x2, #1
    strb    w4, [x3], #1
    b.ne    12b
    ret

    // Backwards, from the ends.
20: cbz     x4, 9b
    add     x1, x1, x2
    add     x3, x0, x2
    orr     x4, x1, x3
    tst     x4, #7
    b.ne    25f
21: subs    x2, x2, #32
    b.lo    23f
22: ldp     x4, x5, [x1, #-16]
    ldp     x6, x7, [x1, #-32]!
    stp     x4, x5, [x3, #-16]
    stp     x6, x7, [x3, #-32]!
    subs    x2, x2, #32
    b.hs    22b
23: and     x2, x2, #31
    subs    x2, x2, #8
    b.lo    27f
24: ldr     x4, [x1, #-8]!
    str     x4, [x3, #-8]!
    subs    x2, x2, #8
    b.hs    24b
27: and     x2, x2, #7
28: cbz     x2, 9b
26: ldrb    w4, [x1, #-1]!
    subs    x2, x2, #1
    strb    w4, [x3, #-1]!
    b.ne    26b
    ret
25: unless_unaligned_ok 4, 28b
    b       21b

    // void *memset(void *to, int byte, usize n)
    .balign 64
    .global memset
    .type   memset, %function
memset:
    and     x1, x1, #0xff
    mov     x4, #0x0101010101010101
    mul     x1, x1, x4
    mov     x3, x0
    tst     x0, #7
    b.ne    10f
1:  subs    x2, x2, #64
    b.lo    3f
2:  stp     x1, x1, [x3]
    stp     x1, x1, [x3, #16]
    stp     x1, x1, [x3, #32]
    stp     x1, x1, [x3, #48]
    add     x3, x3, #64
    subs    x2, x2, #64
    b.hs    2b
3:  tbz     x2, #5, 4f
    stp     x1, x1, [x3], #16
    stp     x1, x1, [x3], #16
4:  tbz     x2, #4, 5f
    stp     x1, x1, [x3], #16
5:  tbz     x2, #3, 6f
    str     x1, [x3], #8
6:  tst     x2, #7
    b.eq    9f
    tbz     x2, #2, 7f
    str     w1, [x3], #4
7:  tbz     x2, #1, 8f
    strh    w1, [x3], #2
8:  tbz     x2, #0, 9f
    strb    w1, [x3]
9:  ret
10: unless_unaligned_ok 4, 11f
    b       1b
11: cbz     x2, 9b
12: subs    x2, x2, #1
    strb    w1, [x3], #1
    b.ne    12b
    ret

    // int memcmp(const void *a, const void *b, usize n), and bcmp, which need not tell the order
    .balign 64
    .global memcmp
    .type   memcmp, %function
    .global bcmp
    .type   bcmp, %function
memcmp:
bcmp:
    orr     x3, x0, x1
    tst     x3, #7
    b.ne    10f
1:  subs    x2, x2, #8
    b.lo    3f
2:  ldr     x3, [x0], #8
    ldr     x4, [x1], #8
    cmp     x3, x4
    b.ne    8f
    subs    x2, x2, #8
    b.hs    2b
3:  and     x2, x2, #7
4:  cbz     x2, 6f
5:  ldrb    w3, [x0], #1
    ldrb    w4, [x1], #1
    subs    w3, w3, w4
    b.ne    7f
    subs    x2, x2, #1
    b.ne    5b
6:  mov     w0, #0
    ret
7:  mov     w0, w3
    ret
    // The first byte that differs decides: it is the most significant one after the reversal.
8:  rev     x3, x3
    rev     x4, x4
    cmp     x3, x4
    mov     w0, #1
    cneg    w0, w0, lo
    ret
10: unless_unaligned_ok 3, 4b
    b       1b
