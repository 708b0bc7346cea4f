//! A timer's function that stays on one CPU until it is let go, and somebody on another CPU who waits for its end.

use crate::on_cpu::on_cpu;
use crate::ticks::until;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

/// One such function.
pub struct Held {
    inside: AtomicBool,
    go_on: AtomicBool,
}

impl Held {
    pub const fn new() -> Held {
        Held { inside: AtomicBool::new(false), go_on: AtomicBool::new(false) }
    }

    /// The function: waits until it is let go, twenty seconds at most, and does `last`.
    pub fn hold(&self, last: impl FnOnce()) {
        self.inside.store(true, SeqCst);
        let begun = Instant::now();
        while !self.go_on.load(SeqCst) && begun.elapsed() < Duration::from_secs(20) {
            thread::yield_now();
        }
        last();
        self.inside.store(false, SeqCst);
    }

    /// `start`s the timer on CPU 3. On CPU 4 does `first` while the function runs, then lets it go after 50 ms, and meanwhile `wait`s:
    /// when that comes back it has run.
    pub fn waited_for(&self, start: impl FnOnce() + Send, first: impl FnOnce() + Send, wait: impl FnOnce() + Send) {
        thread::scope(|s| {
            s.spawn(|| {
                on_cpu(3, || {
                    start();
                    until(|| self.inside.load(SeqCst) || self.go_on.load(SeqCst));
                })
            });
            s.spawn(|| {
                on_cpu(4, || {
                    while !self.inside.load(SeqCst) {
                        thread::yield_now();
                    }
                    first();
                    thread::scope(|s| {
                        s.spawn(|| {
                            thread::sleep(Duration::from_millis(50));
                            self.go_on.store(true, SeqCst);
                        });
                        wait();
                        assert!(self.go_on.load(SeqCst) && !self.inside.load(SeqCst), "it ran");
                    });
                })
            });
        });
    }
}
