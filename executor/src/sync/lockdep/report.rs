//! What the checker says when it found something.

use super::check::HeldLock;
use super::graph::{self, Path};
use super::places::Place;
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
    /// A class is taken in softirqs and held with softirqs on.
    SoftirqInconsistent,
    /// A class that is taken in softirqs waits, through a chain, for one that is held with softirqs on.
    SoftirqInversion,
    /// Something that waits by sleeping is awaited while preemption is off or interrupts are masked.
    AtomicWait,
    /// More locks are held than the table has places for.
    TooDeep,
    /// A lock is let go that the flow does not hold, or is still held where none may be.
    Imbalance,
}

/// A finding; formats as a text of a few lines.
pub struct Report {
    pub(super) kind: Kind,
    pub(super) me: (&'static str, Place),
    pub(super) other: (&'static str, Place),
    pub(super) held: [HeldLock; crate::context::MAX_HELD],
    pub(super) held_len: usize,
    pub(super) path: Path,
}

impl Report {
    /// What is wrong.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The class that was being taken or let go; of a chain, the one that interrupts take.
    pub fn class(&self) -> &'static str {
        self.me.0
    }

    /// The class that it clashes with.
    pub fn other(&self) -> &'static str {
        self.other.0
    }

    /// Whether both ways that clash are known by their places in the source.
    pub fn has_both_places(&self) -> bool {
        self.me.1 != Place::UNKNOWN && self.other.1 != Place::UNKNOWN
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, first, second) = match self.kind {
            Kind::Inversion => ("possible circular locking dependency", "to be taken", "held, taken"),
            Kind::Recursion => ("possible recursive locking", "to be taken", "held, taken"),
            Kind::IrqInconsistent => ("inconsistent lock state", "taken in a hard interrupt", "held with interrupts on"),
            Kind::IrqInversion => {
                ("interrupt-safe lock waits for an interrupt-unsafe one", "taken in a hard interrupt", "held with interrupts on")
            }
            Kind::SoftirqInconsistent => ("inconsistent lock state", "taken in a softirq", "held with softirqs on"),
            Kind::SoftirqInversion => ("softirq-safe lock waits for a softirq-unsafe one", "taken in a softirq", "held with softirqs on"),
            Kind::AtomicWait => ("sleeping in an atomic section", "to be awaited", "held, taken"),
            Kind::TooDeep => ("too many locks held", "to be taken", "to be taken"),
            Kind::Imbalance => ("lock held where none may be", "taken", "taken"),
        };
        let (me, other) = (self.me, self.other);
        writeln!(f, "lockdep: {what}: `{}` against `{}`", me.0, other.0)?;
        writeln!(f, "  `{}` {first} at {}", me.0, me.1)?;
        if (me.0, me.1) != (other.0, other.1) {
            writeln!(f, "  `{}` {second} at {}", other.0, other.1)?;
        }
        write!(f, "  held here:")?;
        for held in &self.held[..self.held_len] {
            write!(f, " `{}` ({})", graph::name(held.class()), held.place())?;
        }
        if self.path.len > 1 {
            write!(f, "\n  seen before:")?;
            let mut nodes = self.path.classes();
            let Some(mut before) = nodes.next() else { return Ok(()) };
            for next in nodes {
                let (held, taken) = graph::edge_at(before, next);
                write!(f, "\n    `{}` held ({held}) -> `{}` taken ({taken})", graph::name(before), graph::name(next))?;
                before = next;
            }
        }
        Ok(())
    }
}
