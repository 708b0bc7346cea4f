//! A measurement: its schedule, its source, and the sample that waits to be read.

use crate::trace::{self, blame};
use core::mem::offset_of;
use core::pin::Pin;
use core::sync::atomic::{
    AtomicBool, AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};
use vigil_abi::Errno;
use vigil_abi::irqlat::{IRQLAT_SOURCE_GPIO, IRQLAT_SOURCE_TIMER, IrqlatSetup};
use vigil_abi::poll::POLLIN;
use vigil_drivers::gpio::wire::{self, Wire};
use vigil_drivers::gpio::{Edge, EdgeListener, controller};
use vigil_executor::arch::{self, counter};
use vigil_executor::cpu::{CpuId, local};
use vigil_executor::lock_class;
use vigil_executor::sync::SpinLock;
use vigil_executor::time::{MSEC, Nanos, SEC, USEC, nanos_to_counter, now, ticks_to_nanos};
use vigil_executor::timer::Timer;
use vigil_executor::trace::{KEY_PINS, PIN_WAKE, toggle};
use vigil_executor::wait::WaitQueue;
use vigil_mem::{KArc, unsize};

/// The shortest period.
const SHORTEST: Nanos = 10 * USEC;
/// The longest.
const LONGEST: Nanos = 10 * SEC;
/// From the start to the first expiry: time for the program to read.
const LEAD: Nanos = MSEC;

/// What a read gives: nine words in native order, the first five counter values.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct Sample {
    /// When the timer should have expired, or the output was given its other level.
    due: u64,
    /// When the interrupt's vector was entered.
    vector: u64,
    /// When it had been acknowledged.
    acked: u64,
    /// When the reader's wake was done.
    woken: u64,
    /// When the reader's poll began.
    polled: u64,
    /// The CPU of the interrupt.
    cpu: u64,
    /// Periods between the sample before and this one that gave none.
    missed: u64,
    /// Counts samples; 0: there is none.
    pub(super) sequence: u64,
    /// The reader's priority as /proc/PID/stat has it, plus 100: 99 is deadline, 100 to 199 real-time, from 200 on fair.
    pub(super) class: u64,
}

pub(super) const SAMPLE: usize = size_of::<Sample>();

impl Sample {
    pub(super) fn bytes(&self) -> [u8; SAMPLE] {
        let words = [self.due, self.vector, self.acked, self.woken, self.polled, self.cpu, self.missed, self.sequence, self.class];
        let mut bytes = [0; SAMPLE];
        for (to, word) in bytes.chunks_exact_mut(8).zip(words) {
            to.copy_from_slice(&word.to_ne_bytes());
        }
        bytes
    }
}

#[derive(Default)]
struct State {
    period: Nanos,
    /// When the timer expires next.
    due: Nanos,
    /// An expiry makes an edge, and that a sample.
    by_edges: bool,
    sample: Sample,
    /// When that was due.
    asked: Nanos,
    taken: u64,
    missed: u64,
}

/// A measurement: what one open(2) got.
pub(super) struct Measurement {
    timer: Timer,
    state: SpinLock<State>,
    /// When the reader of `State::sample` had been woken; 0 while its interrupt is at it.
    woken: AtomicU64,
    pub(super) wait: WaitQueue,
    /// Whether it wants the stamps.
    stamping: AtomicBool,
    /// Whether late samples are blamed because of it.
    blaming: AtomicBool,
    /// What makes edges.
    wire: SpinLock<Option<Wire>>,
    /// When the wire was toggled; 0: its edge has come.
    toggled: AtomicU64,
}

/// What there is to read.
pub(super) enum Next {
    /// No measurement.
    Off,
    /// Nothing yet.
    Later,
    /// A sample, when it was due, and the CPU that its reader is polled on.
    Now(Sample, Nanos, CpuId),
}

/// Hard interrupt: the time has come.
fn fired(timer: &Timer) {
    let (vector, acked) = (local().vector_at.load(Relaxed), local().acked_at.load(Relaxed));
    // SAFETY: every `Timer` with this function is the field of a `Measurement`, whose drop cancels it.
    let this = unsafe { &*core::ptr::from_ref(timer).byte_sub(offset_of!(Measurement, timer)).cast::<Measurement>() };
    let fresh = {
        let mut state = this.state.lock_irq();
        if state.period == 0 {
            return;
        }
        if state.by_edges {
            if this.toggled.load(Relaxed) != 0 {
                // An edge that has not come in time does not count when it comes late.
                state.missed += 1;
            }
            this.go_on(&mut state);
            drop(state);
            return this.toggle();
        }
        let due = state.due;
        let fresh = this.take(&mut state, nanos_to_counter(due), due, vector, acked);
        this.go_on(&mut state);
        fresh
    };
    this.tell(fresh);
}

impl EdgeListener for Measurement {
    fn edge(&self, _: u32, _: Edge) {
        let (vector, acked) = (local().vector_at.load(Relaxed), local().acked_at.load(Relaxed));
        let toggled = self.toggled.swap(0, AcqRel);
        let fresh = {
            let mut state = self.state.lock_irq();
            // An edge that nobody asked for is a bounce.
            if state.period == 0 || toggled == 0 {
                return;
            }
            self.take(&mut state, toggled, ticks_to_nanos(toggled), vector, acked)
        };
        self.tell(fresh);
    }
}

impl Measurement {
    /// One that is not started. ENOMEM.
    pub(super) fn try_new() -> Result<KArc<Measurement>, Errno> {
        Ok(KArc::try_new(Measurement {
            timer: Timer::new(fired),
            state: SpinLock::new(lock_class!("irqlat"), State::default()),
            woken: AtomicU64::new(0),
            wait: WaitQueue::new(),
            stamping: AtomicBool::new(false),
            blaming: AtomicBool::new(false),
            wire: SpinLock::new(lock_class!("irqlat_wire"), None),
            toggled: AtomicU64::new(0),
        })?)
    }

    fn timer(&self) -> Pin<&Timer> {
        // SAFETY: a `Measurement` is made in a `KArc` and never moves.
        unsafe { Pin::new_unchecked(&self.timer) }
    }

    /// Makes the sample that was due at the counter's value `at`, if the one before has been read. Whether it was.
    #[inline(always)]
    fn take(&self, state: &mut State, at: u64, due: Nanos, vector: u64, acked: u64) -> bool {
        let fresh = state.sample.sequence == 0;
        if fresh {
            state.taken += 1;
            let (missed, cpu) = (core::mem::take(&mut state.missed), CpuId::current().index() as u64);
            // Before the stamp, the interrupt that this is in had begun already.
            let vector = vector.max(at);
            let acked = acked.max(vector);
            state.sample = Sample { due: at, vector, acked, cpu, missed, sequence: state.taken, ..Sample::default() };
            state.asked = due;
            self.woken.store(0, Relaxed);
        } else {
            // The one before has not been read.
            state.missed += 1;
        }
        fresh
    }

    /// Starts the timer for the next period that has not passed; those that have are missed, not moved.
    #[inline(always)]
    fn go_on(&self, state: &mut State) {
        let (due, period) = (state.due, state.period);
        state.due = due.saturating_add(period);
        let t = now();
        if t >= state.due {
            let late = (t - due) / period;
            state.missed += late;
            state.due = due.saturating_add(period.saturating_mul(late + 1));
        }
        self.timer().start(state.due, 0);
    }

    /// Makes an edge.
    fn toggle(&self) {
        if let Some(wire) = &mut *self.wire.lock_irq() {
            self.toggled.store(counter(), Release);
            wire.toggle();
        }
    }

    #[inline(always)]
    fn tell(&self, fresh: bool) {
        self.wait.wake(POLLIN, 0);
        if fresh {
            self.woken.store(counter(), Release);
        }
        if arch::is_traced::<KEY_PINS>() {
            toggle(PIN_WAKE);
        }
    }

    /// Takes the sample that waits to be read.
    #[inline(always)]
    pub(super) fn next(&self) -> Next {
        let mut state = self.state.lock_irq();
        if state.period == 0 {
            return Next::Off;
        }
        if state.sample.sequence == 0 {
            return Next::Later;
        }
        // While it is here an interrupt that makes no new one leaves `woken` alone; the one that made it may still be
        // waking us, on another CPU: some instructions.
        while self.woken.load(Acquire) == 0 {
            arch::relax();
        }
        // Masked, so that both are of one CPU. A reader that did not wait was polled before.
        let (polled, cpu) = (local().polled_at.load(Relaxed), CpuId::current());
        let woken = self.woken.load(Relaxed);
        let sample = Sample { woken, polled: polled.max(woken), ..state.sample };
        state.sample.sequence = 0;
        Next::Now(sample, state.asked, cpu)
    }

    /// A sample that could not be given to its reader, who comes again; one that came meanwhile counts it as missed.
    pub(super) fn put_back(&self, sample: Sample) {
        let mut state = self.state.lock_irq();
        if state.sample.sequence == 0 && state.period != 0 {
            state.sample = sample;
        } else {
            state.missed += 1;
        }
    }

    /// Whether a sample waits to be read.
    pub(super) fn is_ready(&self) -> bool {
        self.state.lock_irq().sample.sequence != 0
    }

    /// Wants the stamps of interrupts, or no longer. ENOMEM; EBUSY while a CPU comes or goes.
    fn stamp(&self, on: bool) -> Result<(), Errno> {
        if self.stamping.swap(on, Relaxed) != on
            && let Err(e) = trace::stamp(on)
        {
            self.stamping.store(!on, Relaxed);
            return Err(e);
        }
        Ok(())
    }

    /// Begins anew as `setup` says. Errors: EINVAL for a period that is too short or too long, or a source or pin that there is not;
    /// those of the pins; ENOMEM; EBUSY while a CPU comes or goes.
    pub(super) fn start(this: &KArc<Measurement>, setup: &IrqlatSetup) -> Result<(), Errno> {
        if !(SHORTEST..=LONGEST).contains(&setup.period) || setup.reserved != 0 {
            return Err(Errno::EINVAL);
        }
        this.stop()?;
        let by_edges = match setup.source {
            IRQLAT_SOURCE_TIMER => false,
            IRQLAT_SOURCE_GPIO => true,
            _ => return Err(Errno::EINVAL),
        };
        if by_edges {
            let pin = |[chip, line]: [u32; 2]| Some(wire::Pin { pins: controller(chip as usize)?, line });
            let (out, input) = pin(setup.out).zip(pin(setup.input)).ok_or(Errno::EINVAL)?;
            let wire = Wire::connect(out, input, b"irqlat", unsize!(KArc, this.clone() => dyn EdgeListener))?;
            // Another start's, if two come at once.
            drop(this.wire.lock_irq().replace(wire));
        }
        this.stamp(true)?;
        if setup.threshold != 0 {
            blame::arm(setup.threshold)?;
            this.blaming.store(true, Relaxed);
        }
        let mut state = this.state.lock_irq();
        *state = State { period: setup.period, due: now().saturating_add(LEAD), by_edges, ..State::default() };
        this.timer().start(state.due, 0);
        Ok(())
    }

    /// Ends it; its pins are free. ENOMEM; EBUSY while a CPU comes or goes.
    pub(super) fn stop(&self) -> Result<(), Errno> {
        // Nothing starts it any more once this is 0 and its function is not running.
        self.state.lock_irq().period = 0;
        self.timer.cancel();
        let wire = self.wire.lock_irq().take();
        drop(wire);
        self.toggled.store(0, Relaxed);
        let blaming = self.blaming.swap(false, Relaxed);
        self.stamp(false)?;
        if blaming { blame::arm(0) } else { Ok(()) }
    }
}
