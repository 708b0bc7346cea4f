//! General-purpose pins: chips, who uses which line, edges as interrupts, and what a pin is wired to inside the SoC.
//!
//! ```text
//!  pin ─► chip's event register ─► chip's line at its parent ─► chained handler ─► the chip's IrqDomain ─► a line's handler
//!                                                                                                          │ Controller::listen
//!                                                                                                          ▼
//!                                                            EdgeListener::edge: in the hard interrupt, with both stamps
//! ```
//!
//! | type | is |
//! |---|---|
//! | [`GpioChip`] | a chip's registers: direction, level, pull resistors, its interrupt lines |
//! | [`Controller`] | `gpiochipN`: a chip with the state of its lines, who has which, and how |
//! | [`Settings`] | how a line is used: direction, inversion, drive, pull, edges |
//! | [`EdgeListener`] | who is told of edges |
//!
//! | file | what |
//! |---|---|
//! | [`controller`] | the registry; lines are requested, set, read, freed |
//! | [`edge`] | edges of a line to its listener |
//! | [`pl061`] | Arm's PL061, on QEMU's `virt` |
//! | [`bcm2835`] | the pins of a Raspberry Pi 1 to 4 |
//! | [`pinctrl`] | `pinctrl-0`: pins get the functions that devices want |
//! | [`keys`] | `gpio-keys`: buttons, among them `virt`'s power button |
//! | [`wire`] | from an output to an input: edges on demand |
//!
//! A line's lock is taken with interrupts masked, outside the chip's register lock. Nothing here blocks. Sources: Linux
//! `drivers/gpio/gpiolib.c` and `Documentation/driver-api/gpio` for behaviour.

pub mod bcm2835;
pub mod controller;
pub mod edge;
pub mod keys;
pub mod pinctrl;
pub mod pl061;
#[cfg(test)]
mod tests_bcm;
#[cfg(test)]
mod tests_pl061;
pub mod wire;

pub use controller::{Controller, LineState, controller, controllers, from_dt, register};
pub use edge::{Edge, EdgeListener};

use crate::irq::IrqDomain;
use vigil_abi::Errno;
use vigil_executor::trace::Store;

/// A pull resistor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bias {
    /// None.
    Disable,
    /// To the supply.
    PullUp,
    /// To ground.
    PullDown,
}

/// How an output drives its pin.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Drive {
    /// Both ways.
    #[default]
    PushPull,
    /// Low only; high is left to a resistor.
    OpenDrain,
    /// High only.
    OpenSource,
}

bitflags::bitflags! {
    /// Edges, as the level that counts sees them.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct Edges: u8 {
        /// From inactive to active.
        const RISING = 1;
        /// From active to inactive.
        const FALLING = 2;
    }
}

/// How a line is used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Settings {
    /// It is an output.
    pub output: bool,
    /// Its active level is the low one.
    pub active_low: bool,
    /// How it is driven.
    pub drive: Drive,
    /// A resistor that was asked for; `None`: as it is.
    pub bias: Option<Bias>,
    /// Which edges its user wants to hear of.
    pub edges: Edges,
    /// Their times are those of CLOCK_REALTIME.
    pub realtime: bool,
    /// For how long the pin must be still before its level counts, in microseconds.
    pub debounce_us: u32,
}

/// A chip of pins. Operations are atomic each for itself, do not block, and may come from any context if they do not say otherwise; lines are below [`GpioChip::lines`].
pub trait GpioChip: Sync {
    /// What it is called: `9030000.pl061`.
    fn label(&self) -> &'static str;
    /// How many pins it has.
    fn lines(&self) -> u32;
    /// Whether the line drives its pin now.
    fn is_output(&self, line: u32) -> bool;
    /// Makes it an input.
    fn input(&self, line: u32);
    /// Makes it an output with this level, without another level in between.
    fn output(&self, line: u32, high: bool);
    /// The level of the pin.
    fn get(&self, line: u32) -> bool;
    /// Sets the level of an output: one store.
    fn set(&self, line: u32, high: bool);
    /// The stores that make an output low and high, and touch no other pin; EOPNOTSUPP when it takes more than one store of a word.
    fn stores(&self, _line: u32) -> Result<[Store; 2], Errno> {
        Err(Errno::EOPNOTSUPP)
    }
    /// Sets the pull resistor. Not for interrupt context. Errors: ENOTSUPP when it has none.
    fn set_bias(&self, _line: u32, _bias: Bias) -> Result<(), Errno> {
        Err(Errno::ENOTSUPP)
    }
    /// Its interrupt lines, numbered as its pins; `None` when it has none.
    fn domain(&'static self) -> Option<&'static IrqDomain>;
}
