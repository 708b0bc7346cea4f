//! The events of one open file: a ring of 64, of which whole reports are read.

use crate::time::clock;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use vigil_abi::Errno;
use vigil_abi::input::{EV_SYN, InputEvent, SYN_DROPPED, SYN_REPORT};
use vigil_abi::poll::{POLLIN, POLLRDNORM};
use vigil_abi::time::{CLOCK_BOOTTIME, CLOCK_MONOTONIC, CLOCK_REALTIME};
use vigil_drivers::input::Event;
use vigil_executor::lock_class;
use vigil_executor::sync::SpinLock;
use vigil_executor::time::{Nanos, SEC, USEC, now};
use vigil_executor::wait::WaitQueue;

/// Events that wait for a reader (Linux: EVDEV_MIN_BUFFER_SIZE).
const SIZE: u32 = 64;

/// Positions count up for ever; events are at `position % SIZE`.
struct Ring {
    events: [InputEvent; SIZE as usize],
    tail: u32,
    head: u32,
    /// Behind the last whole report.
    whole: u32,
}

/// A reader.
pub(super) struct Client {
    ring: SpinLock<Ring>,
    /// Which clock its events have.
    clock: AtomicU32,
    /// It gets nothing any more (EVIOCREVOKE).
    pub(super) revoked: AtomicBool,
    /// Woken when a report is whole.
    pub(super) wait: WaitQueue,
    /// Held by the one reader of the file who copies.
    pub(super) reading: SpinLock<()>,
}

impl Ring {
    fn slot(&mut self, at: u32) -> &mut InputEvent {
        &mut self.events[(at % SIZE) as usize]
    }

    fn push(&mut self, event: InputEvent) {
        *self.slot(self.head) = event;
        self.head = self.head.wrapping_add(1);
        if self.head.wrapping_sub(self.tail) == SIZE {
            // The reader is too slow: it is told that something is gone, and gets the newest one.
            self.tail = self.head.wrapping_sub(2);
            let dropped = InputEvent { kind: EV_SYN, code: SYN_DROPPED, value: 0, ..event };
            *self.slot(self.tail) = dropped;
            self.whole = self.tail;
        }
        if event.kind == EV_SYN && event.code == SYN_REPORT {
            self.whole = self.head;
        }
    }
}

impl Client {
    pub(super) fn new() -> Client {
        let ring = Ring { events: [InputEvent { sec: 0, usec: 0, kind: 0, code: 0, value: 0 }; SIZE as usize], tail: 0, head: 0, whole: 0 };
        Client {
            ring: SpinLock::new(lock_class!("evdev_client"), ring),
            clock: AtomicU32::new(CLOCK_REALTIME),
            revoked: AtomicBool::new(false),
            wait: WaitQueue::new(),
            reading: SpinLock::new(lock_class!("evdev_read"), ()),
        }
    }

    /// A moment of the executor's time on this reader's clock.
    fn stamped(&self, event: Event, at: Nanos) -> InputEvent {
        let t = match self.clock.load(Relaxed) {
            CLOCK_REALTIME => clock::realtime_at(at),
            _ => clock::monotonic_at(at),
        };
        InputEvent { sec: (t / SEC) as i64, usec: (t % SEC / USEC) as i64, kind: event.kind, code: event.code, value: event.value }
    }

    /// An event comes. Any context.
    pub(super) fn put(&self, event: Event, at: Nanos) {
        if self.revoked.load(Relaxed) {
            return;
        }
        let stamped = self.stamped(event, at);
        let ends = {
            let mut ring = self.ring.lock_irq();
            let ends = event.kind == EV_SYN && event.code == SYN_REPORT;
            // A report of nothing is none.
            if ends && ring.whole == ring.head {
                return;
            }
            ring.push(stamped);
            ends
        };
        if ends {
            self.wait.wake(POLLIN | POLLRDNORM, 0);
        }
    }

    /// The next event of a whole report, and its position.
    pub(super) fn peek(&self) -> Option<(InputEvent, u32)> {
        let mut ring = self.ring.lock_irq();
        let tail = ring.tail;
        (ring.whole != tail).then(|| (*ring.slot(tail), tail))
    }

    /// The event at `position` was read; one that was dropped meanwhile is gone anyhow.
    pub(super) fn pop(&self, position: u32) {
        let mut ring = self.ring.lock_irq();
        if ring.tail == position {
            ring.tail = position.wrapping_add(1);
        }
    }

    /// Whether there is a whole report.
    pub(super) fn has_report(&self) -> bool {
        let ring = self.ring.lock_irq();
        ring.whole != ring.tail
    }

    /// Forgets the events of one kind that were not read: their sum has just been told (EVIOCGKEY and its like). Reports that become empty
    /// go as well.
    pub(super) fn flush(&self, kind: u16) {
        let mut ring = self.ring.lock_irq();
        let (from, to, whole) = (ring.tail, ring.head, ring.whole);
        // A report that was read in part has an end that is not the end of nothing.
        let (mut put, mut in_report, mut new_whole) = (from, 1, from);
        let mut at = from;
        while at != to {
            let event = *ring.slot(at);
            at = at.wrapping_add(1);
            let ends = event.kind == EV_SYN && event.code == SYN_REPORT;
            if event.kind == kind || ends && in_report == 0 {
                continue;
            }
            *ring.slot(put) = event;
            put = put.wrapping_add(1);
            in_report = if ends { 0 } else { in_report + 1 };
            if ends && whole.wrapping_sub(at) <= SIZE {
                new_whole = put;
            }
        }
        (ring.head, ring.whole) = (put, new_whole);
    }

    /// Chooses the clock of its events; what was not read goes. EINVAL.
    pub(super) fn set_clock(&self, clock: u32) -> Result<(), Errno> {
        if !matches!(clock, CLOCK_REALTIME | CLOCK_MONOTONIC | CLOCK_BOOTTIME) {
            return Err(Errno::EINVAL);
        }
        if self.clock.swap(clock, Relaxed) == clock {
            return Ok(());
        }
        let mut ring = self.ring.lock_irq();
        if ring.head != ring.tail {
            // Times of two clocks do not go together: the reader is told, with the next report, to look anew.
            (ring.head, ring.whole) = (ring.tail, ring.tail);
            let event = self.stamped(Event { kind: EV_SYN, code: SYN_DROPPED, value: 0 }, now());
            ring.push(event);
        }
        Ok(())
    }
}
