//! Tracing: events in per-CPU rings, the longest sections, run-queue latency; read and steered by files (docs/tracing.md).
//!
//! ```text
//!   site (vigil_executor::trace) ── on? ──► hooks ──► ring of this CPU ──► trace, trace_pipe
//!         ▲                                   ├─────► latency: open section ──► report ──► trace, tracing_max_latency
//!         │ jump_label::set                   └─────► runqueue: stamps, histograms ──► runqueue_latency
//!      control ◄── files
//! ```
//!
//! While nothing is asked for, no code of this directory runs. Whatever runs at a site may be in the middle of anything: see [`state`].
//!
//! | file | what |
//! |---|---|
//! | [`event`], `event_activity` | the events, their bodies and texts |
//! | [`ring`] | a CPU's entries |
//! | [`latency`] | tracers; sections that open and end |
//! | [`stamps`] | when tasks were woken; histograms |
//! | [`text`] | lines |
//! | [`filter`] | which entries of an event are kept |
//! | [`page`] | entries in Linux's binary form |
//! | `state` | what is known of each CPU |
//! | `hooks`, `activity` | what sites tell |
//! | `runqueue`, `report`, `text_chain`, `sampling` | waits for the CPU; the longest section and what it was in |
//! | `longest` | the longest sections by place |
//! | `schedstat` | `kernel.sched_schedstats` |
//! | [`blame`] | what late samples of `/dev/irqlat` are blamed on |
//! | `control` | what is asked for: rings and sites |
//! | `merge` | the entries of several CPUs by their times |
//! | [`dump`] | all of them to the consoles |
//! | `read`, `files`, `events`, `filters`, `cmdlines` | the files |

pub mod event;
mod event_activity;
pub mod filter;
pub mod latency;
pub mod page;
pub mod ring;
pub mod stamps;
pub mod text;

#[cfg(target_os = "none")]
mod activity;
#[cfg(target_os = "none")]
pub mod blame;
#[cfg(target_os = "none")]
mod cmdlines;
#[cfg(target_os = "none")]
mod control;
#[cfg(target_os = "none")]
pub mod dump;
#[cfg(target_os = "none")]
mod events;
#[cfg(target_os = "none")]
mod files;
#[cfg(target_os = "none")]
mod filters;
#[cfg(target_os = "none")]
pub mod hooks;
#[cfg(target_os = "none")]
mod longest;
#[cfg(target_os = "none")]
mod merge;
#[cfg(target_os = "none")]
mod read;
#[cfg(target_os = "none")]
mod report;
#[cfg(target_os = "none")]
mod runqueue;
#[cfg(target_os = "none")]
mod sampling;
#[cfg(target_os = "none")]
pub mod schedstat;
#[cfg(target_os = "none")]
mod state;
#[cfg(target_os = "none")]
mod text_chain;

#[cfg(target_os = "none")]
pub use control::{PINNED, count_tasks, stamp, steer_timers};
#[cfg(target_os = "none")]
pub use files::init;
#[cfg(target_os = "none")]
pub use longest::last_words;
