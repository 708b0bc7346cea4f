//! Time stamps on the way of one event, for measuring latency (feature `stamps`; without it nothing here is compiled in).
//!
//! ```text
//!   vector ──────► wake ──────► poll ──────► EL0
//!   CpuLocal       Task         Task         CpuLocal
//!   (assembly)     (Task::wake) (the loop)   (assembly)
//! ```
//!
//! Each is the CPU's cycle counter, PMCCNTR_EL0: with QEMU's `-icount shift=0` it counts instructions, on a board cycles.
//! Whoever measures starts it on the CPU ([`start`]) and reads the stamps of a task that it knows, after its poll has
//! begun: [`TaskStamps::read`]. A wake is noted only when it makes the task runnable, so a poll has one wake and, if that
//! came from a hard interrupt, one vector.

use crate::cpu::{CpuLocal, local};
use core::mem::offset_of;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Where the vectors store their stamp in [`CpuLocal`]. They do it after they have saved two registers: the stamp is this
/// many instructions late for an interrupt at EL1.
pub const VECTOR: usize = offset_of!(CpuLocal, vector_stamp);
/// See [`VECTOR`].
pub const VECTOR_LATE: u64 = 8;
/// Where the way into EL0 stores its stamp in [`CpuLocal`], before it restores the last registers: so many instructions
/// before the first one of EL0.
pub const USER: usize = offset_of!(CpuLocal, user_stamp);
/// See [`USER`].
pub const USER_EARLY: u64 = 13;

/// The stamps that belong to a task.
#[derive(Debug, Default)]
pub struct TaskStamps {
    wake: AtomicU64,
    poll: AtomicU64,
}

/// One event's way to a poll, in counts of the cycle counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// The vector's first instruction, if the wake came from an interrupt of the CPU on which the task runs.
    pub vector: u64,
    /// The waker was called.
    pub wake: u64,
    /// The future was polled.
    pub poll: u64,
}

impl TaskStamps {
    /// A wake that made the task runnable was called at `now`.
    #[inline(always)]
    pub(crate) fn note_wake(&self, now: u64) {
        self.wake.store(now, Relaxed);
    }

    /// Its poll is about to begin.
    #[inline(always)]
    pub(crate) fn note_poll(&self) {
        self.poll.store(crate::arch::cycles(), Relaxed);
    }

    /// When its last poll began. On the CPU on which it was polled.
    pub fn polled(&self) -> u64 {
        self.poll.load(Relaxed)
    }

    /// The way of its last wake, once; `None` when the poll was not for a wake. On the CPU on which it was polled.
    pub fn read(&self) -> Option<Way> {
        let wake = self.wake.swap(0, Relaxed);
        let vector = local().vector_stamp.load(Relaxed).wrapping_sub(VECTOR_LATE);
        let poll = self.poll.load(Relaxed);
        (wake != 0 && vector < wake && wake < poll).then_some(Way { vector, wake, poll })
    }
}

/// When this CPU last went to EL0: the count at its first instruction there.
pub fn last_user_entry() -> u64 {
    local().user_stamp.load(Relaxed).wrapping_add(USER_EARLY)
}

/// Starts the cycle counter of this CPU, from 0.
pub fn start() {
    crate::arch::start_cycles();
}
