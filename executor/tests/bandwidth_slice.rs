//! What CPUs take of a group's limit at a time, at its smallest. A file of its own: the slice is the machine's.
#![cfg(not(loom))]

use core::sync::atomic::Ordering::Relaxed;
use vigil_executor::class::{BANDWIDTH_SLICE, Params};
use vigil_executor::sim::{Behaviour, Sim};
use vigil_executor::time::{MSEC, Nanos, SEC, USEC};

#[test]
fn the_smallest_slice_leaves_the_cpu_to_the_group() {
    BANDWIDTH_SLICE.store(USEC, Relaxed);
    let mut sim = Sim::new(1);
    let group = sim.group(None);
    let hog = sim.spawn(0, Params::DEFAULT, Behaviour::Hog);
    sim.set_group(hog, Some(group));
    sim.set_bandwidth(group, Some(50 * MSEC), 100 * MSEC, 0);
    // Just before each interrupt, the time to the next one.
    let soonest = (0..40).map(|_| {
        sim.run(MSEC);
        let now = sim.now();
        sim.rq(0).next_event(now).map_or(Nanos::MAX, |event| event.saturating_sub(now))
    });
    // Somewhere within what was taken: not all of them at its end.
    assert!(soonest.max().unwrap_or(0) >= 40 * USEC);
    sim.run(10 * SEC);
    let had = sim.runtime(hog);
    assert!(had.abs_diff(5 * SEC + 20 * MSEC) <= 50 * MSEC, "{had}");
}
