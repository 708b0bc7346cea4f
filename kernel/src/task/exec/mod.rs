//! Executing programs (Linux: `fs/exec.c`, `fs/binfmt_elf.c`, `fs/binfmt_script.c`; spec seed 000 §2.5.2).
//!
//! Two steps, because the credentials of the new program depend on its file and go into its auxiliary vector:
//!
//! 1. [`prepare`] follows `#!` lines, reads the headers and opens the ELF interpreter. Errors here are execve's result.
//! 2. [`Program::load`] builds a *new* address space with the program, its arguments and its auxiliary vector. The
//!    caller's address space is untouched. An error here is one that Linux meets after it has thrown the old program away;
//!    [`LoadError::fatal`] says so, and the caller kills the process with SIGSEGV instead of returning.
//!
//! The caller then swaps address spaces, kills the other threads, closes close-on-exec files and starts at
//! [`LoadedImage::entry`] with all registers zero.

pub mod args;
pub mod elf;
mod load;
mod map;
pub mod script;
mod stack;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use args::Args;
pub use load::{ExecFile, LoadError, LoadedImage, Program, prepare};
pub use stack::Facts;
