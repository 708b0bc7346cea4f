//! Linux's scheduling classes as pure state machines over injected time.
//!
//! (Skeleton: signatures only.)

use crate::time::Nanos;
use core::ptr::NonNull;

/// How a task is scheduled (Linux: `policy`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Policy {
    /// SCHED_OTHER.
    Normal,
    /// SCHED_BATCH.
    Batch,
    /// SCHED_IDLE.
    Idle,
    /// SCHED_FIFO.
    Fifo,
    /// SCHED_RR.
    RoundRobin,
    /// The stop class.
    Stop,
}

/// The parameters that user space can set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Params {
    /// The policy.
    pub policy: Policy,
    /// Nice value, -20..=19; fair policies only.
    pub nice: i8,
    /// 1..=99 for FIFO and RR (99 highest), 0 otherwise.
    pub rt_priority: u8,
}

/// The place of a task in its class.
#[derive(Debug)]
pub struct Entity {
    params: Params,
}

impl Entity {
    /// An entity that is on no queue.
    pub const fn new(params: Params) -> Self {
        Entity { params }
    }
    /// Its parameters.
    pub fn params(&self) -> Params {
        self.params
    }
}

/// Why an entity is enqueued.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Enqueue {
    /// It slept and was woken.
    Wakeup,
    /// It has just been made.
    New,
    /// It comes from another CPU's queue, still runnable.
    Migrated,
}

/// Why the current entity stops running.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PutPrev {
    /// It sleeps.
    Sleep,
    /// It stays runnable and was preempted: head of its priority.
    Preempted,
    /// It stays runnable and gave way itself (sched_yield): tail of its priority.
    Yield,
    /// It finished.
    Dead,
}

/// What may be picked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PickLimit {
    /// Anything.
    Any,
    /// Stacks are short: of the fair class, only entities whose poll is parked.
    FairParkedOnly,
}

/// The queues of one CPU.
pub struct RunQueue {
    curr: Option<NonNull<Entity>>,
    _now: Nanos,
}
