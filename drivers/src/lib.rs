//! # vigil-drivers: devices
//!
//! Drivers, and what they have in common: register windows, the device tree, the interrupt core. Nothing here knows of
//! system calls, files or address spaces; devices reach programs through the traits that `fs` and the kernel glue to
//! files ([`mod@char`], [`tty`]).
//!
//! Principles:
//!
//! 1. **A device is not trusted.** Indices and lengths that a device writes are checked before use; bytes that it may
//!    write are copied, never borrowed. A broken device yields an error, not a panic.
//! 2. **A top half is short.** It runs with interrupts masked, takes IRQ-safe locks only, allocates nothing, and wakes.
//! 3. **The blob is not trusted either.** The device tree is validated before anything parses it ([`dt`]).
//! 4. **No register, no host test missing.** Whatever is not a register access is tested on the host, on fake devices.
//!
//! | module | what is there |
//! |---|---|
//! | [`dt`] | the device tree: validation, early facts, the unflattened tree |
//! | [`model`] | register windows, drivers, probing |
//! | [`irq`] | the interrupt core: domains, descriptors, actions, IPIs |
//! | [`irqchip`] | GICv2, GICv3, BCM2836 and BCM2835 |
//! | [`gpio`] | pins: PL061, BCM2835 and BCM2711 with their functions, buttons |
//! | [`input`] | input devices and who reads them |
//! | [`timer`] | the architected timer |
//! | [`mailbox`] | a Raspberry Pi's firmware: versions, memory, clocks, temperature |
//! | [`systimer`] | a Raspberry Pi's microseconds, beside the generic counter |
//! | [`rtc`] | PL031: the wall clock at boot, alarms |
//! | [`serial`] | PL011, early console |
//! | [`mod@char`] | what makes a file of a device |
//! | [`tty`] | terminals and their line discipline |
//! | [`watchdog`] | restart and power off by a watchdog |
//! | [`virtio`] | virtio-mmio: console ports, entropy |
#![no_std]
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests run on a host, with its std"))]

#[cfg(any(test, not(target_os = "none")))]
extern crate std;

pub mod char;
pub mod dt;
pub mod gpio;
pub mod input;
pub mod irq;
pub mod irqchip;
pub mod mailbox;
pub mod model;
mod ring;
pub mod rtc;
pub mod serial;
pub mod systimer;
pub mod timer;
pub mod tty;
pub mod virtio;
pub mod watchdog;
