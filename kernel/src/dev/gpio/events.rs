//! Edges of requested lines: a ring that a program reads, filled from the hard interrupt, at once or when a pin has been still.

use crate::time::clock;
use core::mem::offset_of;
use core::pin::Pin;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use vigil_abi::Errno;
use vigil_abi::gpio::{GPIOEVENT_EVENT_FALLING_EDGE, GPIOEVENT_EVENT_RISING_EDGE, GpioV2LineEvent};
use vigil_abi::poll::{POLLIN, POLLRDNORM};
use vigil_drivers::gpio::{Controller, Edge, EdgeListener, Edges, Settings};
use vigil_executor::arch::counter;
use vigil_executor::lock_class;
use vigil_executor::sync::SpinLock;
use vigil_executor::time::{Nanos, USEC, now};
use vigil_executor::timer::SoftTimer;
use vigil_executor::wait::WaitQueue;
use vigil_mem::{KArc, KVec};

/// Positions count up for ever.
struct Ring {
    events: KVec<GpioV2LineEvent>,
    tail: u32,
    head: u32,
    sequence: u32,
}

/// The events of one request.
pub(super) struct Events {
    ring: SpinLock<Ring>,
    /// What does not fit is dropped (version 1); else the oldest makes room.
    drops_new: bool,
    /// Woken by each event.
    pub(super) wait: WaitQueue,
    /// Held by the one reader of the file who copies.
    pub(super) reading: SpinLock<()>,
}

impl Events {
    /// Room for `size` events. ENOMEM.
    pub(super) fn try_new(size: usize, drops_new: bool) -> Result<KArc<Events>, Errno> {
        let mut events = KVec::new();
        events.try_resize(size.max(1), GpioV2LineEvent::default())?;
        let ring = Ring { events, tail: 0, head: 0, sequence: 0 };
        Ok(KArc::try_new(Events {
            ring: SpinLock::new(lock_class!("gpio_events"), ring),
            drops_new,
            wait: WaitQueue::new(),
            reading: SpinLock::new(lock_class!("gpio_read"), ()),
        })?)
    }

    fn put(&self, mut event: GpioV2LineEvent) {
        {
            let mut ring = self.ring.lock_irq();
            ring.sequence = ring.sequence.wrapping_add(1);
            event.seqno = ring.sequence;
            let size = ring.events.len() as u32;
            if ring.head.wrapping_sub(ring.tail) == size {
                if self.drops_new {
                    return;
                }
                ring.tail = ring.tail.wrapping_add(1);
            }
            let at = (ring.head % size) as usize;
            ring.events[at] = event;
            ring.head = ring.head.wrapping_add(1);
        }
        self.wait.wake(POLLIN | POLLRDNORM, 0);
    }

    /// The oldest event and its position.
    pub(super) fn peek(&self) -> Option<(GpioV2LineEvent, u32)> {
        let ring = self.ring.lock_irq();
        let at = (ring.tail % ring.events.len() as u32) as usize;
        (ring.tail != ring.head).then(|| (ring.events[at], ring.tail))
    }

    /// The event at `position` was read; one that made room meanwhile is gone anyhow.
    pub(super) fn pop(&self, position: u32) {
        let mut ring = self.ring.lock_irq();
        if ring.tail == position {
            ring.tail = position.wrapping_add(1);
        }
    }
}

/// What listens to one line of a request.
pub(super) struct Ear {
    timer: SoftTimer,
    events: KArc<Events>,
    pins: &'static Controller,
    line: u32,
    /// Which edges are told.
    edges: Edges,
    realtime: bool,
    /// How long the pin must have been still; 0: not at all.
    still: Nanos,
    /// The last level that was still.
    level: AtomicBool,
    sequence: AtomicU32,
}

impl Ear {
    /// What hears of `line` as `settings` want it. ENOMEM.
    pub(super) fn try_new(events: &KArc<Events>, pins: &'static Controller, line: u32, settings: &Settings) -> Result<KArc<Ear>, Errno> {
        Ok(KArc::try_new(Ear {
            timer: SoftTimer::new(settled),
            events: events.clone(),
            pins,
            line,
            edges: settings.edges,
            realtime: settings.realtime,
            still: Nanos::from(settings.debounce_us) * USEC,
            level: AtomicBool::new(pins.value(line)?),
            sequence: AtomicU32::new(0),
        })?)
    }

    /// Which edges of the pin it must hear of.
    pub(super) fn hears(&self) -> Edges {
        if self.still == 0 { self.edges } else { Edges::RISING | Edges::FALLING }
    }

    /// The level that a program sees: of a pin that is debounced the last one that was still.
    pub(super) fn level(&self) -> Option<bool> {
        (self.still != 0).then(|| self.level.load(Relaxed))
    }

    fn tell(&self, edge: Edge) {
        if !self.edges.contains(if edge.rising { Edges::RISING } else { Edges::FALLING }) {
            return;
        }
        let timestamp_ns = if self.realtime { clock::realtime_at(edge.time()) } else { clock::monotonic_at(edge.time()) };
        let id = if edge.rising { GPIOEVENT_EVENT_RISING_EDGE } else { GPIOEVENT_EVENT_FALLING_EDGE };
        let line_seqno = self.sequence.fetch_add(1, Relaxed).wrapping_add(1);
        self.events.put(GpioV2LineEvent { timestamp_ns, id, offset: self.line, line_seqno, ..GpioV2LineEvent::default() });
    }
}

impl EdgeListener for Ear {
    fn edge(&self, _: u32, edge: Edge) {
        if self.still == 0 {
            return self.tell(edge);
        }
        // SAFETY: a listener is behind the line's KArc, and does not move; its drop cancels the timer.
        unsafe { Pin::new_unchecked(&self.timer) }.start(now().saturating_add(self.still), 0);
    }
}

/// A pin has been still. Softirq.
fn settled(timer: &SoftTimer) {
    // SAFETY: every `SoftTimer` with this function is the field of an `Ear`, whose drop cancels it.
    let ear = unsafe { &*core::ptr::from_ref(timer).byte_sub(offset_of!(Ear, timer)).cast::<Ear>() };
    let rising = ear.pins.value(ear.line).unwrap_or(false);
    if ear.level.swap(rising, Relaxed) != rising {
        ear.tell(Edge { rising, stamp: counter() });
    }
}
