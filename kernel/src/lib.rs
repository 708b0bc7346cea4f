//! # vigil-kernel: the kernel proper
//!
//! The parts that make a Linux of executor, memory, drivers and file systems: entry and exceptions, system calls,
//! processes, address spaces, signals, time. It is a library, so that what touches no register is tested on the host;
//! the image is [`main.rs`](../main.rs), which only links it.
//!
//! Principles:
//!
//! 1. **Every control path is a future** of some task; the only stacks are one per CPU and those of parked polls.
//! 2. **What can finish at once does**, in the vector ([`syscall`]).
//! 3. **User memory is reached through one module** (`vigil_mem::buf`), never under a lock that a fault would wait for.
//! 4. **Linux decides** what a call does, down to the order of its errors.
//!
//! | module | what is there |
//! |---|---|
//! | [`arch`] | AArch64: boot, vectors, EL0, page tables, CPUs |
//! | [`boot`] | command line, memory, order of the start |
//! | [`debug`] | kernel log, panic, back-traces |
//! | `irq`, `smp`, `platform` | interrupts, other CPUs, what the executor asks for |
//! | [`time`] | clocks and timers that send signals |
//! | [`mm`] | address spaces |
//! | [`cgroup`] | control groups |
//! | [`task`] | processes, threads, signals, exec |
//! | `syscall` | the system calls |
//! | [`ipc`] | futexes, message queues, System V IPC |
//! | [`net`] | sockets |
//! | `tty`, `dev`, `procfs` | terminals, devices, `/proc` |
//! | [`trace`] | tracers, and their files |
//! | [`random`], [`uts`] | random bytes, names |
//! | `selftest` | tests inside the running kernel (feature `selftest`) |
#![no_std]

#[cfg(any(test, not(target_os = "none")))]
extern crate std;

pub mod arch;
pub mod boot;
pub mod cgroup;
pub mod debug;
pub mod ipc;
pub mod mm;
pub mod net;
pub mod procfs;
pub mod random;
pub mod task;
pub mod time;
pub mod trace;
pub mod uts;

#[cfg(target_os = "none")]
pub mod dev;
#[cfg(target_os = "none")]
pub mod fs_host;
#[cfg(target_os = "none")]
pub mod hotplug;
#[cfg(target_os = "none")]
pub mod irq;
#[cfg(target_os = "none")]
pub mod platform;
#[cfg(all(target_os = "none", feature = "selftest"))]
mod selftest;
#[cfg(target_os = "none")]
pub mod smp;
#[cfg(target_os = "none")]
#[cfg(target_os = "none")]
mod start;
#[cfg(target_os = "none")]
pub mod syscall;
#[cfg(target_os = "none")]
pub mod tty;

#[cfg(target_os = "none")]
pub use start::{kernel_main, secondary_again, secondary_main};
