//! Coarse timers: functions that run in the TIMER softirq, some ticks later than asked, never earlier (Linux: timer_list).
//!
//! For time-outs and housekeeping of the kernel itself: most of them are cancelled or moved, none is in a hurry. Those of a CPU wait in
//! a [wheel] whose next bucket is one [`Timer`](crate::timer::Timer); it raises the softirq, which runs what is due with interrupts on.
//! Who must be in time takes a [`Timer`](crate::timer::Timer).
//!
//! | kind | is |
//! |---|---|
//! | [`Kind::DEFERRABLE`] | not worth waking an idle CPU for: runs when that next does something (in a wheel of its own) |
//! | [`Kind::PINNED`] | for this CPU; others keep off CPUs that are kept free ([`set_cpus`]) |
//! | [`Kind::IRQSAFE`] | its function runs with interrupts masked, so that it can be waited for in an interrupt |
//!
//! ```text
//!   modify ─► wheel of the CPU ─ its event (hard interrupt) ─ raise ─► TIMER softirq: function
//!                  └─ deferrable: the event goes when the CPU begins to idle (`rests`), and comes when it runs (`runs_again`)
//! ```
//!
//! When a CPU goes its timers move to another. A base's lock (`timer_base`) is taken with interrupts masked; inside it: the timers' own.

mod base;
mod timer;
mod wheel;

pub(crate) use base::{rests, runs_again, softirq};
pub use base::{set_cpus, take_over};
pub use timer::{CoarseTimer, Kind};

pub use crate::class::TICK;
use crate::time::{Nanos, now};

/// A point of time, in ticks.
pub type Jiffies = u64;

/// The number of the first one: five minutes before 32 bits are over, so that whoever keeps only so many is soon found out.
pub const FIRST: Jiffies = (300u32 * 250).wrapping_neg() as Jiffies;

/// The tick of `t`.
pub const fn at(t: Nanos) -> Jiffies {
    FIRST + t / TICK
}

/// The present tick.
pub fn jiffies() -> Jiffies {
    at(now())
}

/// The tick with which a timer fires no earlier than `delay` from now.
pub fn after(delay: Nanos) -> Jiffies {
    jiffies().saturating_add(delay.div_ceil(TICK))
}

/// When tick `t` begins.
fn begins(t: Jiffies) -> Nanos {
    t.saturating_sub(FIRST).saturating_mul(TICK)
}
