//! VTIME: the clock of a read that is not canonical.
//!
//! A try does not wait, so the clock of a read that waits is the terminal's, not the caller's: the first try that finds
//! too little starts it, the expiry wakes the readers, and the try that follows sees that it is over. When it expires
//! and nobody waits (the reader was interrupted by a signal), it is forgotten.

use super::Tty;
use crate::char::KEY_IN;
use core::mem::offset_of;
use core::pin::Pin;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use vigil_executor::time::{self, MSEC, Nanos};
use vigil_executor::timer::Timer;

const IDLE: u32 = 0;
const RUNNING: u32 = 1;
const OVER: u32 = 2;

/// VTIME counts tenths of a second.
const UNIT: Nanos = 100 * MSEC;

pub(super) struct VTime {
    state: AtomicU32,
    /// How many bytes there were when the clock was started last: it starts anew when more arrive.
    seen: AtomicUsize,
    timer: Timer,
}

impl VTime {
    pub(super) const fn new() -> Self {
        VTime { state: AtomicU32::new(IDLE), seen: AtomicUsize::new(0), timer: Timer::new(expired) }
    }
}

/// The timer's function; hard interrupt.
fn expired(timer: &Timer) {
    let offset = offset_of!(Tty, vtime) + offset_of!(VTime, timer);
    // SAFETY: a `Timer` with this function exists only as the field of a `Tty` at this offset, and the terminal
    // outlives its queued timer: it is never dropped.
    let tty = unsafe { &*core::ptr::from_ref(timer).byte_sub(offset).cast::<Tty>() };
    tty.vtime.state.store(OVER, SeqCst);
    if tty.read_wait.wake(KEY_IN, 0) == 0 {
        tty.vtime.state.store(IDLE, SeqCst);
    }
}

impl Tty {
    /// Whether the clock of `units` tenths of a second has run out for a read that sees `count` bytes; starts it when
    /// it does not run, and anew when bytes came since. The line discipline's lock is held.
    pub(super) fn vtime_is_over(&self, units: u8, count: usize) -> bool {
        match self.vtime.state.load(SeqCst) {
            OVER => return true,
            RUNNING if self.vtime.seen.load(Relaxed) == count => return false,
            _ => {}
        }
        self.vtime.seen.store(count, Relaxed);
        self.vtime.state.store(RUNNING, SeqCst);
        // SAFETY: a terminal is a leaked box (`Tty::try_new`), so its timer never moves.
        let timer = unsafe { Pin::new_unchecked(&self.vtime.timer) };
        timer.start(time::now().saturating_add(Nanos::from(units) * UNIT), 0);
        false
    }

    /// The read is done: the clock stops.
    pub(super) fn vtime_reset(&self) {
        if self.vtime.state.load(Relaxed) != IDLE {
            // When the expiry runs at this moment, it finds nobody or wakes one try too many.
            let _ = self.vtime.timer.try_cancel();
            self.vtime.state.store(IDLE, SeqCst);
        }
    }
}
