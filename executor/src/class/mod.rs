//! Linux's scheduling classes as pure state machines over injected time.
//!
//! One [`RunQueue`] per CPU decides which [`Entity`] runs, in the order stop > deadline > real-time > fair > idle.
//! Nothing here takes a lock (but [`deadline::domain`], a leaf), touches hardware, allocates or reads a clock: the executor calls it under the queue's
//! lock with interrupts masked and hands in `now`, the tests and [`crate::sim`] call the same code over virtual time.
//!
//! | file | subject |
//! |---|---|
//! | [`entity`] | the entity that is embedded in each task, with its statistics |
//! | [`weight`] | nice levels, load weights and Linux's fixed-point arithmetic on them |
//! | [`timeline`](self) | the fair class's order: a run for who comes and goes at the ends, a tree for the middle |
//! | [`tree`](self) | an ordered tree, intrusive, with a cached leftmost |
//! | [`list`](self) | the intrusive list of the stop and real-time classes |
//! | [`sched_class`](self) | the trait that a class implements, and the list of them all |
//! | [`stop`](self) | the stop class: FIFO, above everything |
//! | [`deadline`] | SCHED_DEADLINE: reservations, earliest deadline first |
//! | [`realtime`](self) | SCHED_FIFO and SCHED_RR: bitmap, quantum, bandwidth |
//! | [`fair`](self) | SCHED_OTHER, SCHED_BATCH, SCHED_IDLE: CFS as in Linux 6.1 |
//! | [`pelt`], [`task_avg`](self), [`cpu_avg`] | averages of load over time, those of a task, and those of a CPU |
//! | [`runqueue`] | the classes put together: enqueue, dequeue, pick, put_prev |
//! | [`plain`](self) | the same for fair tasks alone, shorter |
//! | [`events`](self) | ticks, the next event, wake-up preemption |
//! | [`waiting`](self) | who waits for the CPU, for balancing |
//! | [`change`](self) | changing parameters and tunables on the fly |
//! | [`psi`] | sets of tasks that are watched for how long they wait |
//! | [`params`] | policies, parameters, order of urgency, tunables |
//! | [`features`] | what can be switched on and off |
//!
//! The idle class has no entities: a [`RunQueue::pick`] that answers `None` is its pick.
//!
//! The life of an entity, with the methods that take each arrow:
//!
//! ```text
//!            enqueue                    pick
//!   Off ───────────────▶ Queued ─────────────────▶ Current
//!    ▲ ◀─────────────────  │  ◀──────────────────────┘ │
//!    │      dequeue              put_prev(Preempted,   │
//!    │                                    Yield)       │
//!    └─────────────────────────────────────────────────┘
//!                   put_prev(Sleep, Dead)
//! ```

mod change;
pub mod cpu_avg;
pub mod deadline;
pub mod entity;
mod events;
mod fair;
pub mod features;
mod list;
pub mod params;
pub mod pelt;
mod plain;
pub mod psi;
mod realtime;
pub mod runqueue;
mod sched_class;
mod stop;
mod task_avg;
mod timeline;
mod tree;
mod waiting;
pub mod weight;

pub use cpu_avg::{Average, CpuAvg};
pub use deadline::reservation::{DlParams, Reservation};
pub use entity::{Entity, Stats};
pub use fair::group::bandwidth::{Bandwidth, SLACK as BANDWIDTH_SLACK, SLICE as BANDWIDTH_SLICE};
pub use fair::group::{OwnedGroup, TaskGroup};
pub use features::Features;
pub use params::{Class, Params, Policy, Rank, Scaling, Tunables, Urgency};
pub use psi::{OwnedPsi, PsiGroup, PsiTimes};
pub use runqueue::RunQueue;
pub use task_avg::{Averages, Needs};

/// Linux's tick (HZ=250): slices end at multiples of it when they do not end exactly ([`Features::HRTICK`]).
pub const TICK: crate::time::Nanos = 4 * crate::time::MSEC;

/// Why an entity is enqueued.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Enqueue {
    /// It slept and was woken. Fair: placed with a sleeper's credit. Real-time: tail of its priority.
    Wakeup,
    /// It has just been made. Fair: placed one slice behind (START_DEBIT).
    New,
    /// It comes from another CPU's queue, still runnable. Fair: keeps its lag. Real-time: tail of its priority.
    Migrated,
}

/// Why the current entity stops running.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PutPrev {
    /// It sleeps.
    Sleep,
    /// It stays runnable where it was: preempted, at a yield point, or woken while it was polled. Real-time: it keeps
    /// its place at the head of its priority.
    Preempted,
    /// It stays runnable and gave way itself (sched_yield): tail of its priority; fair: passed over once.
    Yield,
    /// It finished.
    Dead,
}

/// What may be picked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PickLimit {
    /// Anything.
    Any,
    /// Stacks are short: of the fair class, only entities whose poll is parked ([`Entity::set_parked`]).
    FairParkedOnly,
}

/// Whether a queued entity should run instead of the current one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
#[must_use = "a reschedule may be due"]
pub enum Preempt {
    /// No.
    No,
    /// Fair against fair: when the poll ends, at a yield point, or at once if EL0 was interrupted.
    Fair,
    /// It outranks the current one, or the CPU is idle: at once, also in the middle of a poll.
    HigherClass,
}
