//! Sizes of a kernel stack, shared with the assembly that sets SP.
//!
//! A stack is `STACK_SIZE` bytes, aligned to `STACK_ALIGN`, with a guard page below it. Its last `CONTEXT_SIZE` bytes are
//! the [`Context`](crate::context::Context): at the top, so that an overflow meets the guard page and not the header.

/// Bytes of one kernel stack. The deepest chains (exec through the thread's future, on the boot CPU's first stack) need more
/// than 32 KiB: frames of large futures' polls are 2 to 6 KiB each.
pub const STACK_SIZE: usize = 64 << 10;

/// The alignment of every stack. Twice the size: bit log2(`STACK_SIZE`) of SP is clear inside a stack and set in the
/// guard below it, so that the vectors detect an overflow with one bit test, before they touch memory.
pub const STACK_ALIGN: usize = 2 * STACK_SIZE;

/// Bytes at the top of each stack that hold its context block.
pub const CONTEXT_SIZE: usize = 1024;

/// The address of the context block of the stack that `sp` points into.
#[inline(always)]
pub const fn context_at(sp: usize) -> usize {
    // The bits of `sp` below the size all set: the stack's last byte.
    (sp | (STACK_SIZE - 1)).wrapping_sub(CONTEXT_SIZE - 1)
}

const _: () = assert!(core::mem::size_of::<crate::context::Context>() <= CONTEXT_SIZE);
