//! # vigil-abi: Linux's arm64 ABI on every host
//!
//! Numbers and layouts that programs see: error and system-call numbers, flags, structures. Nothing here decides
//! anything; the kernel and the tests on an x86-64 host use the same arm64 values.
//!
//! Every structure is [`Pod`]: any bytes are a value of it and no padding leaks. The kernel's build compares sizes,
//! offsets and values with `linux-raw-sys` at compile time.
#![no_std]

#[cfg(test)]
extern crate std;

#[macro_use]
mod macros;
pub mod errno;
pub mod nr;
pub mod pod;

pub use errno::{Errno, Result};
pub use pod::Pod;
