//! Debugging.
pub mod semihosting;
