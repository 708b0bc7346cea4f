//! Starting the other CPUs.

/// What a starting CPU loads before its MMU is on; physical reads, so it is cleaned to the point of coherency.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct SecondaryData {
    /// TTBR0: the identity map of the entry code.
    pub ttbr0: u64,
    /// TTBR1: the kernel's tables.
    pub ttbr1: u64,
    /// Virtual address of the first Rust function.
    pub entry: u64,
    /// Its stack pointer.
    pub stack_top: u64,
    /// Its argument.
    pub arg: u64,
}
