//! The device tree: a check that makes an untrusted blob safe to read, and two ways of reading it.
//!
//! ```text
//!  blob (from the boot loader, untrusted)
//!    │ validate()          bounds, depth, token grammar, names, strings: everything that could make `fdt` panic
//!    ▼
//!  Dtb ───► early::*       no allocation: memory, reservations, /chosen, CPUs, the console; before the MMU, too
//!    │ Tree::unflatten()   once memory is up: parent links, phandles, all properties as slices
//!    ▼
//!  Tree ──► Node           compatible, reg through `ranges`, interrupts through their parents
//! ```
//!
//! The token stream is parsed by the `fdt` crate in its `NoPanic` mode. Even in that mode it adds header fields without
//! checks, slices by lengths it has not looked at and unwraps a node's parent in its typed nodes; so nothing of it is
//! reached before [`validate()`] has accepted the blob, and only these are called after: `Fdt::new_fallible`, `root`,
//! `children`, `properties`, `name`. They are free of panics on every accepted blob (fuzzed in this module's tests).
//! Typed values (`reg`, `ranges`, cells, interrupts) are decoded here, because `fdt` forgets a node's grandparents.
//!
//! Sources: Devicetree Specification 0.4, sections 2 and 5; Linux `drivers/of` for what to do where it is silent.

mod cells;
mod cpu_map;
pub mod early;
mod interrupts;
mod reference;
mod tree;
mod validate;

#[cfg(test)]
pub(crate) mod testblob;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_interrupts;

pub use cpu_map::{NO_CLUSTER, cpu_capacities, cpu_map};
pub use interrupts::{IrqSpec, MAX_IRQ_CELLS};
pub use reference::Reference;
pub use tree::{Node, Tree};
pub use validate::{Dtb, validate};

use vigil_abi::Errno;

/// The deepest node that is accepted; Linux's limit is 64, real trees stay below 10, `fdt` keeps 16 ancestors.
pub const MAX_DEPTH: usize = 16;

/// The largest blob that is accepted: the arm64 boot protocol's limit.
pub const MAX_SIZE: usize = 2 << 20;

/// Why a blob or a property in it was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DtError {
    /// The blob does not start at a multiple of four bytes.
    Unaligned,
    /// It does not start with the magic number.
    BadMagic,
    /// Its version is not 17, or not compatible with it.
    BadVersion,
    /// A block, a property or the whole blob reaches beyond its container.
    Truncated,
    /// It is larger than [`MAX_SIZE`].
    TooLarge,
    /// A block's offset or size is not aligned.
    Layout,
    /// Tokens in an order that the format does not allow.
    Structure,
    /// Nodes nested deeper than [`MAX_DEPTH`].
    TooDeep,
    /// A name that is empty, unterminated, too long or not printable ASCII.
    BadName,
    /// A property whose value has the wrong length or an impossible content.
    BadProperty,
    /// A phandle or path that names no node, or a node without the property that was asked for.
    NotFound,
    /// No memory for the unflattened tree.
    NoMemory,
}

impl From<DtError> for Errno {
    fn from(e: DtError) -> Errno {
        match e {
            DtError::NotFound => Errno::ENOENT,
            DtError::NoMemory => Errno::ENOMEM,
            _ => Errno::EINVAL,
        }
    }
}

/// A range of physical addresses that the device tree describes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Region {
    /// First address, as a CPU sees it.
    pub base: u64,
    /// Length in bytes.
    pub size: u64,
}
