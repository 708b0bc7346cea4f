//! # vigil-executor: per-CPU executors that choose futures as Linux chooses tasks
//!
//! Every kernel control path of Vigil is a future, and every future that runs belongs to a [`task`]. This crate holds
//! what those futures stand on: the task with its one state word, wakers that may be called from a hard interrupt, the
//! per-CPU executor loop, Linux's scheduling classes, preemption of a poll by parking its stack, timers, wait queues
//! and the locks. It knows nothing of devices, memory management or system calls; what it needs of them comes through
//! [`platform::Platform`].
//!
//! Principles:
//!
//! 1. **A wake never does work.** It sets a bit, pushes a node that lives in the task, and perhaps sends an IPI. It
//!    takes no lock, allocates nothing and cannot fail ([`task::waker`], [`inbox`]).
//! 2. **One atomic word decides** whether a task is idle, queued, polled, parked or dead ([`task::state`]).
//! 3. **No guard crosses an await.** Guards are `!Send`; futures of tasks are `Send` ([`sync`]).
//! 4. **A waiting task owns no stack.** Only a poll that is preempted in the middle keeps one ([`preempt`]).
//! 5. **What is bound to a CPU needs a counted guard.** A poll may continue on another CPU after any point where
//!    preemption is possible; `!Send` does not prevent that ([`context`]).
//!
//! | module | what is there |
//! |---|---|
//! | [`apart`] | polls in frames of their own |
//! | [`nospec`] | user-chosen indices, clamped against speculation |
//! | [`arch`] | about ten primitives of the CPU, with a host twin |
//! | `coarse` | timers that may be late: a wheel, in the TIMER softirq |
//! | [`context`] | the context block at the top of each stack: preempt count, need-resched, current task |
//! | `balance` | which CPU runs what: placing, idle and periodic balancing, real-time push |
//! | [`cpu`] | CPU numbers and per-CPU variables |
//! | [`task`] | task header, state word, waker |
//! | `idle_time` | for how long a CPU has idled |
//! | [`inbox`] | the lock-free list through which a wake reaches its CPU |
//! | [`pending`] | what a CPU's executor has to see to, a bit each |
//! | [`class`] | stop, real-time, fair and idle as pure state machines over injected time |
//! | [`executor`] | the loop: drain, pick, poll, charge, requeue |
//! | [`preempt`] | parking a poll and resuming it |
//! | [`softirq`] | bottom halves: softirqs, ksoftirqd, tasklets |
//! | `stamps` | where the time of an event goes (feature `stamps`) |
//! | [`timer`] | high-resolution timers |
//! | [`trace`] | where tracers look |
//! | [`wait`] | wait queues and the modes of a wait |
//! | [`sync`] | spin locks with lock classes, async locks, RCU |
//! | [`work`] | work queues |
#![no_std]

extern crate alloc;
#[cfg(any(test, loom, not(target_os = "none")))]
extern crate std;

pub mod apart;
pub mod arch;
#[cfg(not(loom))]
pub mod balance;
pub mod class;
#[cfg(not(loom))]
pub mod coarse;
pub mod context;
pub mod cpu;
#[cfg(not(loom))]
pub mod executor;
#[cfg(loom)]
#[path = "loom_executor.rs"]
pub mod executor;
mod idle_time;
pub mod inbox;
pub mod nospec;
pub mod pending;
pub mod platform;
#[cfg(not(loom))]
pub mod preempt;
#[cfg(loom)]
pub use executor as preempt;
#[cfg(not(loom))]
mod ring;
#[cfg(not(target_os = "none"))]
pub mod sim;
#[cfg(not(loom))]
pub mod softirq;
pub mod stack;
#[cfg(feature = "stamps")]
pub mod stamps;
pub mod sync;
pub mod task;
pub mod time;
pub mod timer;
pub mod trace;
pub mod wait;
#[cfg(not(loom))]
pub mod work;

pub(crate) mod atomic;
