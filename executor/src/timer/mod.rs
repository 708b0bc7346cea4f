//! High-resolution timers: a per-CPU tree of pinned entries behind one comparator (Linux: hrtimer).
//!
//! | what | for |
//! |---|---|
//! | [`sleep_until`] | a task sleeps; `nanosleep`, time-outs |
//! | [`Timer`] | a function in hard-interrupt context: itimers, bandwidth, watchdogs |
//! | `SoftTimer` | a function in the HRTIMER softirq: buttons and pins that have to be still |
//! | [`set_slice`] | the executor's own next event of this CPU, merged into the same comparator |
//! | [`interrupt`] | called by the kernel's timer interrupt |
//!
//! A timer has a soft expiry, from which it may fire, and a hard expiry = soft + slack, by which it should. The tree is
//! ordered by hard expiry; an interrupt fires everything whose soft expiry has passed, so nearby timers share one
//! interrupt (Linux: range timers). Later ones wait, unordered, in the buckets of a [wheel] until their time comes near, so
//! that a time-out which is cancelled costs the same however many others there are. Entries are in the sleeping future or in the owner's object: starting allocates
//! nothing, dropping cancels. A base's lock is a leaf and is taken with interrupts masked.
//!
//! The comparator is programmed lazily: only when something earlier than what stands in it comes. An event that was
//! cancelled costs one interrupt that finds nothing, once. A deadline that has already passed fires at once, and never
//! twice: what has fired is out of the tree before the comparator is programmed again (pitfall P13).

mod alarm;
mod base;
mod callback;
mod entry;
mod expire;
#[cfg(not(loom))]
pub mod list;
#[cfg(all(test, loom))]
mod loom_tests;
mod pull;
#[cfg(not(loom))]
mod soft;
mod takeover;
#[cfg(not(loom))]
mod target;
mod wheel;

pub use alarm::{Alarm, SleepUntil, sleep_until};
pub use base::{next_event, reprogram, set_slice, set_slice_by};
pub use callback::Timer;
pub use expire::interrupt;
#[cfg(not(loom))]
pub use expire::troubles;
#[cfg(not(loom))]
pub(crate) use soft::softirq;
#[cfg(not(loom))]
pub use soft::{SoftTimer, take_over_due};
#[cfg(not(loom))]
pub(crate) use takeover::stop;
pub use takeover::take_over;
#[cfg(not(loom))]
pub use target::leave_alone;
