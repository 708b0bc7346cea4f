//! # vigil-abi: Linux's arm64 ABI on every host
//!
//! Numbers and layouts that programs see: error and system-call numbers, flags, structures. Nothing here decides
//! anything; the kernel and the tests on an x86-64 host use the same arm64 values.
//!
//! | module | calls |
//! |---|---|
//! | [`mod@errno`], [`nr`] | error numbers, system-call numbers |
//! | [`fcntl`], [`stat`], [`mount`], [`ioctl`], [`termios`], [`poll`] | files |
//! | [`gpio`], [`input`], [`irqlat`], [`watchdog`] | pins, input devices, Vigil's latency device, watchdogs |
//! | [`socket`] | sockets |
//! | [`process`], [`signal`], [`sigframe`], [`futex`], [`time`], [`auxv`] | processes and threads |
//! | [`mm`], [`misc`] | memory; uname, sysinfo, syslog |
//! | [`cstr`] | strings in fields of a fixed size |
//! | [`ipc`] | POSIX message queues, System V IPC |
//!
//! Every structure is [`Pod`]: any bytes are a value of it and no padding leaks. The kernel's build compares sizes,
//! offsets and values with `linux-raw-sys` at compile time.
#![no_std]

#[cfg(test)]
extern crate std;

#[macro_use]
mod macros;
pub mod auxv;
pub mod cstr;
pub mod errno;
pub mod fcntl;
pub mod futex;
pub mod gpio;
pub mod input;
pub mod ioctl;
pub mod ipc;
pub mod irqlat;
pub mod mempolicy;
pub mod misc;
pub mod mm;
pub mod mount;
pub mod nr;
pub mod pod;
pub mod poll;
pub mod process;
pub mod rtc;
pub mod sigframe;
pub mod signal;
pub mod socket;
pub mod stat;
pub mod termios;
pub mod time;
pub mod watchdog;

pub use cstr::until_nul;
pub use errno::{Errno, Result};
pub use pod::Pod;
