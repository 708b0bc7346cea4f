//! Policies and parameters of entities, their order of urgency, and the tunables of a run queue.

use super::features::Features;
use super::weight;
use crate::time::{MSEC, Nanos, SEC, USEC};

/// How a task is scheduled (Linux: `policy`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Policy {
    /// SCHED_OTHER.
    Normal,
    /// SCHED_BATCH: fair, but its wake-ups preempt nobody.
    Batch,
    /// SCHED_IDLE: fair with weight 3, preempted by any other fair task that wakes.
    Idle,
    /// SCHED_FIFO.
    Fifo,
    /// SCHED_RR.
    RoundRobin,
    /// SCHED_DEADLINE: an entity with a reservation.
    Deadline,
    /// The stop class: one kernel task per CPU that does what must not wait (migration, hotplug).
    Stop,
}

/// The scheduling classes, most urgent first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Class {
    /// [`Policy::Stop`].
    Stop,
    /// [`Policy::Deadline`].
    Deadline,
    /// [`Policy::Fifo`] and [`Policy::RoundRobin`].
    Realtime,
    /// [`Policy::Normal`], [`Policy::Batch`] and [`Policy::Idle`].
    Fair,
    /// Inside the run queue: [`Class::Fair`] of a task that is in a group.
    Grouped,
    /// Inside the run queue: [`Class::Fair`], in a group or not, of a task that is watched ([`super::psi`]).
    Watched,
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

impl Params {
    /// SCHED_OTHER, nice 0.
    pub const DEFAULT: Params = Params::normal(0);
    /// The stop class.
    pub const STOP: Params = Params { policy: Policy::Stop, nice: 0, rt_priority: 0 };

    /// SCHED_OTHER with `nice` (-20..=19).
    pub const fn normal(nice: i8) -> Params {
        Params { policy: Policy::Normal, nice, rt_priority: 0 }
    }
    /// SCHED_FIFO with `rt_priority` (1..=99).
    pub const fn fifo(rt_priority: u8) -> Params {
        Params { policy: Policy::Fifo, nice: 0, rt_priority }
    }
    /// SCHED_RR with `rt_priority` (1..=99).
    pub const fn round_robin(rt_priority: u8) -> Params {
        Params { policy: Policy::RoundRobin, nice: 0, rt_priority }
    }

    /// The class that serves this policy.
    #[inline(always)]
    pub const fn class(&self) -> Class {
        match self.policy {
            Policy::Stop => Class::Stop,
            Policy::Deadline => Class::Deadline,
            Policy::Fifo | Policy::RoundRobin => Class::Realtime,
            Policy::Normal | Policy::Batch | Policy::Idle => Class::Fair,
        }
    }

    /// Linux's kernel-internal priority (`task_struct.prio`): -1 deadline, 0..=98 real-time, 100..=139 fair; lower is more
    /// urgent. The stop task shows 0, as it pretends to be FIFO 99 plus. Field 18 of `/proc/PID/stat` is this minus 100.
    pub const fn prio(&self) -> i16 {
        match self.class() {
            Class::Stop => 0,
            Class::Deadline => -1,
            Class::Realtime => 99i16.saturating_sub(self.rt_priority as i16),
            Class::Fair | Class::Grouped | Class::Watched => 120i16.saturating_add(self.nice as i16),
        }
    }

    /// How urgent it is against other classes and real-time priorities.
    #[inline]
    pub const fn rank(&self) -> Rank {
        match self.class() {
            Class::Stop => Rank::STOP,
            Class::Deadline => Rank::DEADLINE,
            Class::Realtime => Rank(RANK_RT_BASE.saturating_sub(self.rt_priority)),
            Class::Fair | Class::Grouped | Class::Watched => Rank::FAIR,
        }
    }

    /// The weight of its share of the fair class (1024 at nice 0); real-time entities count as nice -20 nowhere: 0.
    pub const fn weight(&self) -> u32 {
        match self.policy {
            Policy::Idle => weight::IDLE.weight,
            Policy::Normal | Policy::Batch => weight::of_nice(self.nice).weight,
            _ => 0,
        }
    }
}

/// Rank of real-time priority 0 (which no entity has); priority 99 is the most urgent real-time rank.
const RANK_RT_BASE: u8 = 102;

/// Urgency across the classes: the lower outranks. All fair entities have one rank: between them vruntime decides.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Rank(pub u8);

impl Rank {
    /// The stop class.
    pub const STOP: Rank = Rank(0);
    /// Before the current one of the deadline class: an earlier deadline.
    pub const DEADLINE_EARLIER: Rank = Rank(1);
    /// The deadline class.
    pub const DEADLINE: Rank = Rank(2);
    /// The fair class.
    pub const FAIR: Rank = Rank(RANK_RT_BASE);
    /// Nothing runs.
    pub const IDLE: Rank = Rank(u8::MAX);

    /// The real-time priority whose rank it is.
    pub const fn rt_priority(self) -> u8 {
        RANK_RT_BASE.saturating_sub(self.0)
    }

    /// Whether it should run instead of `other` at once.
    #[inline(always)]
    pub const fn outranks(self, other: Rank) -> bool {
        self.0 < other.0
    }
}

/// How urgent something is on a machine with several CPUs: the rank, and between entities of the deadline class, who is due first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Urgency {
    /// The rank.
    pub rank: Rank,
    /// The present deadline of an entity of the deadline class, ns; `Nanos::MAX` for everything else, and when it is not known.
    pub deadline: Nanos,
}

impl Urgency {
    /// Of a CPU that runs nothing.
    pub const IDLE: Urgency = Urgency::of(Rank::IDLE);

    /// Of anything that is not of the deadline class, and of what is when nobody knows its deadline.
    pub const fn of(rank: Rank) -> Urgency {
        Urgency { rank, deadline: Nanos::MAX }
    }

    /// Whether it should run instead of `other` at once.
    #[inline(always)]
    pub fn outranks(self, other: Urgency) -> bool {
        self < other
    }
}

/// What an administrator can tune; every queue has its copy ([`super::RunQueue::set_tunables`]).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tunables {
    /// The period in which each of up to `latency / min_granularity` fair entities runs once (debugfs `latency_ns`).
    pub latency: Nanos,
    /// The shortest fair slice (debugfs `min_granularity_ns`).
    pub min_granularity: Nanos,
    /// The shortest slice of a SCHED_IDLE entity beside others (debugfs `idle_min_granularity_ns`).
    pub idle_min_granularity: Nanos,
    /// By how much a woken fair entity must be behind to preempt (debugfs `wakeup_granularity_ns`).
    pub wakeup_granularity: Nanos,
    /// The quantum of SCHED_RR (`sched_rr_timeslice_ms`).
    pub rr_timeslice: Nanos,
    /// The period of real-time bandwidth (`sched_rt_period_us`); more than 0.
    pub rt_period: Nanos,
    /// What real-time may use of each period (`sched_rt_runtime_us`); `None` (-1) does not limit it.
    pub rt_runtime: Option<Nanos>,
    /// Up to how many entities share one `latency` (Linux: `sched_nr_latency`). It follows `latency` and `min_granularity` only when
    /// `scaling` is set.
    pub nr_latency: u32,
    /// How the fair class's times grow with the machine (debugfs `tunable_scaling`).
    pub scaling: Scaling,
    /// What of the classes is switched on.
    pub features: Features,
}

/// How the fair class's times grow with the number of CPUs, of which 8 count at most.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Scaling {
    /// Not at all.
    None,
    /// By 1 + log2 of it.
    Logarithmic,
    /// By it.
    Linear,
}

impl Scaling {
    /// The factor for `nr_cpus` CPUs (Linux: get_update_sysctl_factor).
    pub const fn factor(self, nr_cpus: usize) -> Nanos {
        let cpus = if nr_cpus == 0 {
            1
        } else if nr_cpus > 8 {
            8
        } else {
            nr_cpus
        };
        match self {
            Scaling::None => 1,
            Scaling::Logarithmic => 1 + cpus.ilog2() as Nanos,
            Scaling::Linear => cpus as Nanos,
        }
    }
}

impl Tunables {
    /// Linux's defaults on a machine with `nr_cpus` CPUs: the fair class's times grow by 1 + log2(min(nr_cpus, 8))
    /// (`SCHED_TUNABLESCALING_LOG`).
    pub const fn for_cpus(nr_cpus: usize) -> Tunables {
        let factor = Scaling::Logarithmic.factor(nr_cpus);
        Tunables {
            latency: 6 * MSEC * factor,
            min_granularity: 750 * USEC * factor,
            idle_min_granularity: 750 * USEC,
            wakeup_granularity: MSEC * factor,
            rr_timeslice: 100 * MSEC,
            rt_period: SEC,
            rt_runtime: Some(950 * MSEC),
            nr_latency: 8,
            scaling: Scaling::Logarithmic,
            features: Features::DEFAULT,
        }
    }

    /// How long the fair class lets any entity run at least, once it has begun.
    pub(super) const fn shortest_stay(&self) -> Nanos {
        let t = if self.idle_min_granularity < self.min_granularity { self.idle_min_granularity } else { self.min_granularity };
        if self.latency < t { self.latency } else { t }
    }

    /// Chooses how they grow from now on (Linux: sched_update_scaling); what they are now they stay.
    pub const fn scale(&mut self, scaling: Scaling) {
        self.scaling = scaling;
        let n = if self.min_granularity == 0 { 8 } else { self.latency.div_ceil(self.min_granularity) };
        self.nr_latency = if n > u32::MAX as u64 { u32::MAX } else { n as u32 };
    }
}
