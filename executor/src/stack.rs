//! Sizes of a kernel stack, shared with the assembly that sets SP.
//!
//! A stack is `STACK_SIZE` bytes, aligned to its size, with a guard page below it. Its last `CONTEXT_SIZE` bytes are
//! the [`Context`](crate::context::Context): at the top, so that an overflow meets the guard page and not the header.

/// Bytes of one kernel stack, and its alignment. Unoptimised frames are larger, hence more with checks on.
pub const STACK_SIZE: usize = if cfg!(debug_assertions) { 32 << 10 } else { 16 << 10 };

/// Bytes at the top of each stack that hold its context block.
pub const CONTEXT_SIZE: usize = 1024;

const _: () = assert!(core::mem::size_of::<crate::context::Context>() <= CONTEXT_SIZE);
