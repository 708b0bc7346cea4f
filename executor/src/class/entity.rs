//! The entity: the part of a task that its scheduling class works on.

use super::deadline::reservation::Reservation;
use super::fair::group::{GroupCpu, TaskGroup};
use super::list::Links;
use super::params::{Class, Params, Policy, Rank, Urgency};
use super::task_avg::{Averages, Needs, State, TaskAvg, Used};
use super::tree::{Member, Node};
use super::weight::{self, LoadWeight};
use super::{Enqueue, RunQueue};
use crate::time::{MSEC, Nanos};
use core::marker::PhantomPinned;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// Where an entity is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Place {
    /// On no queue.
    Off,
    /// On a queue, waiting for the CPU.
    Queued,
    /// Running.
    Current,
}

/// What `/proc/PID/schedstat`, `/proc/PID/sched` and `getrusage` show.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stats {
    /// Time spent runnable but waiting for the CPU, ns (schedstat's second figure).
    pub run_delay: Nanos,
    /// How often it gave the CPU up itself: it slept or ended (`voluntary_ctxt_switches`).
    pub nvcsw: u64,
    /// How often it lost the CPU while runnable, sched_yield included (`nonvoluntary_ctxt_switches`).
    pub nivcsw: u64,
    /// How often it came to another CPU.
    pub migrations: u64,
    /// Since when it waits for the CPU; meaningful while it is queued.
    pub(super) last_queued: Nanos,
}

/// The place of a task in its class.
///
/// Everything in it is guarded by the run queue it is on, or was last on. It does not move while it is on a queue.
#[derive(Debug)]
#[repr(C)]
pub struct Entity {
    // What the fair class touches on each pick comes first: one or two cache lines.
    pub(super) node: Node<Entity>,
    /// Virtual run time, relative to the clock of `home`, or to zero when `home` is `None`.
    pub(super) vruntime: u64,
    pub(super) load: LoadWeight,
    pub(super) exec_start: Nanos,
    pub(super) sum_exec: Nanos,
    /// `sum_exec` when it was last picked.
    pub(super) prev_sum_exec: Nanos,
    /// The `min_vruntime` of the queue that it is on, or was last on.
    pub(super) home: Option<NonNull<AtomicU64>>,
    pub(super) params: Params,
    pub(super) class: Class,
    pub(super) rank: Rank,
    pub(super) place: Place,
    pub(super) parked: bool,
    /// Stop and real-time: the queue of its priority. Fair: the queue's list of parked polls.
    pub(super) links: Links,
    /// The group that it is in; `None`: the root.
    pub(super) group: Option<NonNull<TaskGroup>>,
    /// It is the place of this group on its parent's queue.
    pub(super) owns: Option<NonNull<GroupCpu>>,
    /// What is left of an RR quantum.
    pub(super) rr_left: Nanos,
    /// The deadline class's part. Made when it is first needed, and the entity's from then on.
    pub(super) reservation: Option<NonNull<Reservation>>,
    pub(super) stats: Stats,
    pub(super) avg: TaskAvg,
    /// What of `avg` is read without a lock: see [`Needs`].
    pub(super) needs: AtomicU32,
    /// The set of tasks, watched for how long they wait, that it is in ([`super::psi`]); 0: none.
    pub(super) psi: u32,
    /// Its neighbours hold pointers to it.
    _linked: PhantomPinned,
}

// SAFETY: the pointers in it are links of a run queue, which are followed only under that queue's lock.
unsafe impl Send for Entity {}

impl Member for Entity {
    #[inline(always)]
    unsafe fn node(this: NonNull<Self>) -> *mut Node<Self> {
        // SAFETY: by the caller's contract.
        unsafe { &raw mut (*this.as_ptr()).node }
    }

    /// The fair class's order.
    #[inline(always)]
    unsafe fn key(this: NonNull<Self>) -> u64 {
        // SAFETY: by the caller's contract.
        unsafe { (*this.as_ptr()).vruntime }
    }
}

impl Entity {
    /// An entity that is on no queue. Parameters out of range count as the nearest that is in range.
    pub const fn new(params: Params) -> Self {
        let mut this = Entity {
            node: Node::UNLINKED,
            vruntime: 0,
            load: weight::of_nice(0),
            exec_start: 0,
            sum_exec: 0,
            prev_sum_exec: 0,
            home: None,
            params,
            class: params.class(),
            rank: params.rank(),
            place: Place::Off,
            parked: false,
            links: Links::UNLINKED,
            group: None,
            owns: None,
            rr_left: 100 * MSEC,
            reservation: None,
            stats: Stats { run_delay: 0, nvcsw: 0, nivcsw: 0, migrations: 0, last_queued: 0 },
            avg: TaskAvg::NEW,
            needs: AtomicU32::new(Needs::NEW),
            psi: 0,
            _linked: PhantomPinned,
        };
        this.apply(params);
        this
    }

    /// An entity for a child of `parent`: its parameters, placed after it. `parent` is current on the calling CPU, or
    /// its queue is locked.
    pub fn fork_from(parent: &Entity) -> Self {
        let mut this = Entity::new(parent.params);
        this.inherit_from(parent);
        this
    }

    /// Places this entity, which was never queued, where a child of `parent` belongs (Linux: `task_fork_fair`); its
    /// own parameters stay. Locking as [`Entity::fork_from`]. It belongs to no queue yet: that of the parent may be a group's, which may end
    /// before the child begins.
    pub fn inherit_from(&mut self, parent: &Entity) {
        // SAFETY: the clock of the queue that the parent is on, or was last; that exists as long as the parent is not on another.
        let there = parent.home.map_or(0, |home| unsafe { home.as_ref() }.load(Relaxed));
        self.vruntime = parent.vruntime.wrapping_sub(there);
        self.home = None;
        self.needs = AtomicU32::new(Needs::begun(parent.needs.load(Relaxed)));
    }

    /// Takes parameters over into the derived fields.
    pub(super) const fn apply(&mut self, params: Params) {
        let mut params = params;
        if matches!(params.class(), Class::Realtime) {
            if params.rt_priority < 1 {
                params.rt_priority = 1;
            } else if params.rt_priority > 99 {
                params.rt_priority = 99;
            }
        }
        if params.nice < -20 {
            params.nice = -20;
        } else if params.nice > 19 {
            params.nice = 19;
        }
        if matches!(params.policy, Policy::Deadline) && self.reservation.is_none() {
            params.policy = Policy::Normal;
        }
        self.params = params;
        self.class = self.class_with(&params);
        self.rank = params.rank();
        self.load = match params.policy {
            Policy::Idle => weight::IDLE,
            _ => weight::of_nice(params.nice),
        };
    }

    /// The class that serves it inside the run queue when it has `params`.
    pub(super) const fn class_with(&self, params: &Params) -> Class {
        match params.class() {
            Class::Fair if self.psi != 0 => Class::Watched,
            Class::Fair if self.group.is_some() => Class::Grouped,
            class => class,
        }
    }

    /// Its parameters.
    #[inline]
    pub const fn params(&self) -> Params {
        self.params
    }

    /// The class that serves it.
    #[inline]
    pub const fn class(&self) -> Class {
        self.params.class()
    }

    /// Its part in the deadline class, if it ever was in need of one.
    #[inline]
    pub fn reservation(&self) -> Option<&Reservation> {
        // SAFETY: made for this entity, whose task frees it at its own end; guarded by the same lock.
        self.reservation.map(|dl| unsafe { dl.as_ref() })
    }

    /// The same, for whoever frees it.
    pub(crate) fn reservation_ptr(&self) -> Option<NonNull<Reservation>> {
        self.reservation
    }

    /// Whether its budget was not enough since the last call.
    pub fn take_overrun(&mut self) -> bool {
        // SAFETY: as above; the entity is borrowed mutably.
        self.reservation.is_some_and(|dl| unsafe { core::mem::take(&mut (*dl.as_ptr()).overran) })
    }

    /// Gives it the deadline class's part, `dl`, which was made for it and stays valid as long as it is.
    pub fn set_reservation(&mut self, dl: NonNull<Reservation>) {
        self.reservation = Some(dl);
    }

    /// Its urgency against other classes and priorities.
    #[inline(always)]
    pub const fn rank(&self) -> Rank {
        self.rank
    }

    /// The same against entities of other CPUs as well. It is runnable.
    pub fn urgency(&self) -> Urgency {
        match self.reservation() {
            Some(dl) if self.rank == Rank::DEADLINE => Urgency { rank: self.rank, deadline: dl.absolute_deadline() },
            _ => Urgency::of(self.rank),
        }
    }

    /// Virtual run time, ns (`se.vruntime` of `/proc/PID/sched`).
    #[inline]
    pub const fn vruntime(&self) -> u64 {
        self.vruntime
    }

    /// Its weight in the fair class.
    #[inline]
    pub const fn weight(&self) -> u32 {
        self.load.weight
    }

    /// CPU time that was charged to it, ns (schedstat's first figure). While it runs, the time since the last charge
    /// is missing: call [`super::RunQueue::update_current`] first.
    #[inline(always)]
    pub const fn sum_exec_runtime(&self) -> Nanos {
        self.sum_exec
    }

    /// The same when it last got the CPU from another entity or from idle.
    #[inline]
    pub const fn picked_at_runtime(&self) -> Nanos {
        self.prev_sum_exec
    }

    /// How long it has had the CPU without a break, which it has now.
    pub fn stay(&self, now: Nanos) -> Nanos {
        self.sum_exec.saturating_sub(self.prev_sum_exec).saturating_add(now.saturating_sub(self.exec_start))
    }

    /// Its averages brought up to `now`, on `cpu`; while it runs it has been charged.
    pub(super) fn averaged(&self, now: Nanos, cpu: Used) -> TaskAvg {
        let (state, waits) = match self.place {
            Place::Current => (State::Runs, 0),
            Place::Queued => (State::Waits, now.saturating_sub(self.stats.last_queued)),
            Place::Off => (State::Sleeps, 0),
        };
        let mut avg = self.avg;
        avg.advance(now, self.sum_exec, self.stats.run_delay.wrapping_add(waits), state, cpu);
        avg
    }

    /// Its averages by the fair class at `now`, on `queue`, to which it belongs; those of one that sleeps are shown, as by Linux, as they
    /// were when it went to sleep. If it runs, [`super::RunQueue::update_current`] comes first.
    pub fn averages(&self, queue: &RunQueue, now: Nanos) -> Averages {
        let now = if self.place == Place::Off { now.min(self.exec_start) } else { now };
        let avg = if self.class() == Class::Fair { self.averaged(now, Used { util: 0, ..queue.fair.used(now) }) } else { self.avg };
        avg.averages(self.load.weight)
    }

    /// What an entity needs that weighs `weight`, for placing it. No lock need be held.
    ///
    /// # Safety
    /// `e` is valid.
    pub(crate) unsafe fn needs(e: NonNull<Entity>, weight: u32) -> Needs {
        // SAFETY: valid by contract. A word of its own that is only ever touched as an atomic: that somebody else has the entity borrowed
        // under its queue's lock is no claim to be alone, as it is pinned (`_linked`).
        let word = unsafe { &(*e.as_ptr()).needs };
        Needs::of(word.load(Relaxed), weight)
    }

    /// It goes from the CPU `from` to the CPU `to`: what of its averages counts there, and no more here. Nothing if those of `from`
    /// ([`super::CpuAvg`]) do not have it: what somebody has left who was woken elsewhere goes along when its averages are due.
    ///
    /// # Safety
    /// `e` is valid, and on no queue and nobody else's, or under its queue's lock; no reference to it is held.
    pub(crate) unsafe fn attach(e: NonNull<Entity>, from: usize, to: usize) -> Needs {
        // SAFETY: by the contract.
        unsafe {
            let this = e.as_ptr();
            // Who has not run yet was added where it began.
            let is_there = (*this).avg.attached == from as u16 + 1 || (*this).avg.attached == 0 && (*this).avg.are_new();
            if (*this).rank != Rank::FAIR || !is_there {
                return Needs::NOTHING;
            }
            (*this).avg.attached = to as u16 + 1;
            Entity::needs(e, (*this).load.weight)
        }
    }

    /// How often it got the CPU from another entity or from idle (schedstat's third figure).
    #[inline]
    pub fn timeslices(&self) -> u64 {
        // Every stay on the CPU but one that still lasts has ended in a switch.
        self.stats.nvcsw.wrapping_add(self.stats.nivcsw).wrapping_add(u64::from(self.is_current()))
    }

    /// When it was last picked or charged: while it does not run, when it stopped running.
    #[inline]
    pub const fn exec_start(&self) -> Nanos {
        self.exec_start
    }

    /// Whether it is queued or current.
    #[inline(always)]
    pub fn on_rq(&self) -> bool {
        self.place != Place::Off
    }

    /// Whether it is the current entity of its queue.
    #[inline(always)]
    pub fn is_current(&self) -> bool {
        self.place == Place::Current
    }

    /// Counters for `/proc`.
    #[inline]
    pub const fn stats(&self) -> &Stats {
        &self.stats
    }

    /// The set of tasks that it is in ([`super::psi`]); 0: none.
    pub fn psi(&self) -> u32 {
        self.psi
    }

    /// Whether its poll is parked on a stack of its own.
    #[inline(always)]
    pub const fn is_parked(&self) -> bool {
        self.parked
    }

    /// Says whether its poll is parked. Only while it is current or on no queue: a queue keeps the parked ones apart.
    #[inline(always)]
    pub fn set_parked(&mut self, parked: bool) {
        debug_assert!(self.place != Place::Queued, "set_parked on a queued entity");
        self.parked = parked;
    }

    /// It becomes current, after another entity or after idling.
    #[inline(always)]
    pub(super) fn begin_stay(&mut self, now: Nanos) {
        self.place = Place::Current;
        self.exec_start = now;
        self.prev_sum_exec = self.sum_exec;
    }

    /// Whether it is of policy SCHED_IDLE.
    #[inline(always)]
    pub(super) const fn is_idle_policy(&self) -> bool {
        matches!(self.params.policy, Policy::Idle)
    }
}

impl Stats {
    /// It comes to a queue. That it was woken needs no count of its own: it is so once for each time that it gave the CPU up.
    #[inline(always)]
    pub(super) fn count_arrival(&mut self, why: Enqueue) {
        if why == Enqueue::Migrated {
            self.migrations = self.migrations.wrapping_add(1);
        }
    }

    /// A wait for the CPU ends; how long it was.
    #[inline(always)]
    pub(super) fn waited_until(&mut self, now: Nanos) -> Nanos {
        let waited = now.saturating_sub(self.last_queued);
        self.run_delay = self.run_delay.wrapping_add(waited);
        waited
    }
}
