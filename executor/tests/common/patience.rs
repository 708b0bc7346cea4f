//! Waits of tests, which end.

use std::time::{Duration, Instant};

/// Does `meanwhile` again and again until `done`, twenty seconds at most; whether it is.
pub fn until(done: impl Fn() -> bool, meanwhile: impl Fn()) -> bool {
    let begun = Instant::now();
    while !done() && begun.elapsed() < Duration::from_secs(20) {
        meanwhile();
    }
    done()
}
