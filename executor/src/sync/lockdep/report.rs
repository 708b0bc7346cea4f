//! What the checker says when it found something.

use super::graph::{self, Path};
use core::fmt;

/// What is wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Two orders exist that can wait for each other.
    Inversion,
    /// The flow holds a lock of this class, perhaps this very lock.
    Recursion,
    /// A class is taken in hard interrupts and held with interrupts on.
    IrqInconsistent,
    /// A class that is taken in hard interrupts waits, through a chain, for one that is held with interrupts on.
    IrqInversion,
    /// A lock that waits by sleeping is awaited while preemption is off.
    AtomicWait,
    /// More locks are held than the table has places for.
    TooDeep,
    /// A lock is let go that the flow does not hold, or is still held where none may be.
    Imbalance,
}

/// A finding; formats as a text of a few lines.
pub struct Report {
    pub(super) kind: Kind,
    pub(super) class: &'static str,
    pub(super) other: &'static str,
    pub(super) held: [u8; crate::context::MAX_HELD],
    pub(super) held_len: usize,
    pub(super) path: Path,
}

impl Report {
    /// What is wrong.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The class that was being taken or let go.
    pub fn class(&self) -> &'static str {
        self.class
    }

    /// The class that it clashes with.
    pub fn other(&self) -> &'static str {
        self.other
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            Kind::Inversion => "possible circular locking dependency",
            Kind::Recursion => "possible recursive locking",
            Kind::IrqInconsistent => "inconsistent lock state: taken in a hard interrupt and held with interrupts on",
            Kind::IrqInversion => "interrupt-safe lock waits for an interrupt-unsafe one",
            Kind::AtomicWait => "sleeping lock awaited with preemption off",
            Kind::TooDeep => "too many locks held",
            Kind::Imbalance => "lock imbalance",
        };
        writeln!(f, "lockdep: {what}: `{}` against `{}`", self.class, self.other)?;
        write!(f, "  this flow holds:")?;
        for &c in &self.held[..self.held_len] {
            write!(f, " {}", graph::name(c as usize))?;
        }
        if self.path.len > 0 {
            write!(f, "\n  seen before:")?;
            for &c in &self.path.nodes[..self.path.len] {
                write!(f, " -> {}", graph::name(c as usize))?;
            }
        }
        Ok(())
    }
}
