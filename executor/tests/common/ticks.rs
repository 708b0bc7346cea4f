//! Time that passes on the CPU of a test, whose comparator always comes.

use crate::interrupt::interrupt;
use crate::patience;
use std::thread;
use std::time::{Duration, Instant};
use vigil_executor::time::now;
use vigil_executor::timer;

/// What a comparator that has come does.
pub fn tick() {
    interrupt(|| _ = timer::interrupt(now()));
}

/// Lets time pass until `done`, twenty seconds at most; whether it is.
pub fn until(done: impl Fn() -> bool) -> bool {
    patience::until(done, || {
        tick();
        thread::yield_now();
    })
}

/// Lets `time` pass.
pub fn pass(time: Duration) {
    let begun = Instant::now();
    until(|| begun.elapsed() > time);
}
