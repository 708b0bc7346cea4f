//! Booting, from the entry code to `kernel_main`: command line, early console, CPU features, memory.
//!
//! | module | what is there |
//! |---|---|
//! | [`cmdline`] | words of the command line, as Linux splits them |
//! | [`params`] | the parameters, typed; what init gets |
//! | `earlycon` | the polled console |
//! | [`layout`] | from the device tree to memblock |
//! | `memory` | linear map, page allocator, heap |
//! | `info` | what `kernel_main` gets to know |
//! | `power` | the ends of the machine |
//! | `start` | the order of all this |
//!
//! Everything here runs on the boot CPU alone with interrupts masked.

pub mod cmdline;
pub mod layout;
pub mod params;

#[cfg(target_os = "none")]
pub mod earlycon;
#[cfg(target_os = "none")]
pub mod info;
#[cfg(target_os = "none")]
pub mod memory;
#[cfg(target_os = "none")]
pub mod power;
#[cfg(target_os = "none")]
mod start;

#[cfg(target_os = "none")]
pub use info::{BootInfo, CpuInfo, get as info, params};
#[cfg(target_os = "none")]
pub use start::start;
