//! Interrupts that look where a long poll is: while the tracer `poll` runs, a timer fires on each CPU every millisecond.
//!
//! A CPU with one task has no interrupt of its own that would say more of a poll than where it began and ended.

use super::latency::Tracer;
use super::state;
use crate::smp;
use core::pin::Pin;
use vigil_executor::context::PreemptGuard;
use vigil_executor::cpu::{MAX_CPUS, PerCpu};
use vigil_executor::time::{self, MSEC};
use vigil_executor::timer::Timer;

static TIMERS: PerCpu<Timer> = PerCpu::new([const { Timer::new(fired) }; MAX_CPUS]);

/// The interrupt itself has looked (`hooks::hardirq_enter`).
fn fired(_: &Timer) {
    if state::tracer() == Tracer::Poll {
        start(0);
    }
}

fn start(_: usize) {
    Pin::static_ref(TIMERS.this()).start(time::now() + MSEC, 0);
}

/// Starts it if `on`; else it ends by itself.
pub fn follow(on: bool) {
    if on {
        smp::call_others(start, 0);
        let guard = PreemptGuard::new();
        start(0);
        drop(guard);
    }
}
