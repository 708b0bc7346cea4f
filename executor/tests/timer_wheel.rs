//! Timers that wait in the wheel's buckets: none fires early, late, twice or not at all, whatever is started and cancelled meanwhile.
#![cfg(not(loom))]

#[path = "common/comparator.rs"]
mod comparator;
use comparator::{Cpu, NEVER, later};
use std::cell::RefCell;
use std::pin::Pin;
use vigil_executor::time::{MSEC, Nanos, SEC, USEC};
use vigil_executor::timer::{self, Timer};

std::thread_local! {
    static FIRED: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

fn note(t: &Timer) {
    FIRED.with(|f| f.borrow_mut().push(t as *const Timer as usize));
}

/// Numbers that look random.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 20
    }
    /// Below `2^bits` nanoseconds, each order of magnitude as often.
    fn span(&mut self, bits: u32) -> Nanos {
        let bits = self.next() as u32 % bits + 1;
        self.next() & ((1 << bits) - 1)
    }
}

/// The timers of a test, and when each must fire: from `soft` on, by `hard`.
struct Model {
    cpu: Cpu,
    timers: Vec<Pin<Box<Timer>>>,
    due: Vec<Option<(Nanos, Nanos)>>,
    now: Nanos,
    interrupts: usize,
    /// The most that one interrupt was late for a timer.
    latest: Nanos,
}

impl Model {
    fn new(count: usize) -> Model {
        let cpu = Cpu::take();
        Model {
            cpu,
            timers: (0..count).map(|_| Box::pin(Timer::new(note))).collect(),
            due: vec![None; count],
            now: later(),
            interrupts: 0,
            latest: 0,
        }
    }

    fn start(&mut self, i: usize, after: Nanos, slack: Nanos) {
        let soft = self.now + after;
        self.timers[i].as_ref().start(soft, slack);
        self.due[i] = Some((soft, soft + slack));
    }

    fn cancel(&mut self, i: usize) {
        assert_eq!(self.timers[i].cancel(), self.due[i].take().is_some(), "timer {i} at {}", self.now);
    }

    /// Time passes until the comparator matches, but no further than `end`.
    fn step(&mut self, end: Nanos) -> bool {
        let at = self.cpu.comparator();
        if at == NEVER || at > end {
            assert!(self.due.iter().flatten().all(|d| d.1 > end), "the comparator stands at {at}, too late");
            self.now = self.now.max(end);
            return false;
        }
        self.now = self.now.max(at);
        self.cpu.interrupt(self.now);
        self.interrupts += 1;
        let first = self.timers.iter().map(|t| t.as_ref().get_ref() as *const Timer as usize);
        let index: std::collections::HashMap<usize, usize> = first.enumerate().map(|(i, t)| (t, i)).collect();
        for fired in FIRED.with(|f| f.take()) {
            let i = index[&fired];
            let (soft, hard) = self.due[i].take().unwrap_or_else(|| panic!("timer {i} fires at {} without being started", self.now));
            assert!(soft <= self.now, "timer {i} fires {} ns early", soft - self.now);
            self.latest = self.latest.max(self.now.saturating_sub(hard));
        }
        let now = self.now;
        assert!(self.due.iter().flatten().all(|d| d.1 > now), "a timer that is due at {now} has not fired");
        true
    }

    fn run(&mut self, end: Nanos) {
        while self.step(end) {}
    }
}

#[test]
fn timers_of_all_distances_fire_in_their_time_and_never_early() {
    for seed in 1..30 {
        let mut rng = Rng(seed);
        let mut m = Model::new(60);
        for _ in 0..400 {
            let i = rng.next() as usize % 60;
            match rng.next() % 4 {
                0 => m.cancel(i),
                1 => {
                    let end = m.now + rng.span(40);
                    m.run(end);
                }
                _ => {
                    let slack = if rng.next() % 2 == 0 { 0 } else { rng.span(20) };
                    m.start(i, rng.span(52), slack);
                }
            }
        }
        m.run(m.now + (1 << 53));
        assert_eq!((m.due.iter().flatten().count(), m.latest, timer::next_event()), (0, 0, None), "seed {seed}");
    }
}

#[test]
fn timers_of_one_bucket_and_one_time_fire_in_the_order_of_their_starts() {
    let mut m = Model::new(400);
    m.start(0, MSEC, 0);
    for i in 1..400 {
        // Some buckets of 275 s behind the first one.
        m.start(i, 1000 * SEC + (i as u64 % 3) * 10 * SEC, 0);
    }
    let mut order = Vec::new();
    while m.cpu.comparator() != NEVER {
        m.now = m.now.max(m.cpu.comparator());
        m.cpu.interrupt(m.now);
        order.append(&mut FIRED.with(|f| f.take()));
    }
    let want: Vec<usize> =
        std::iter::once(0).chain([3, 1, 2].into_iter().flat_map(|k| (0..400).filter(move |i| i % 3 == k % 3 && *i > 0))).collect();
    let want: Vec<usize> = want.into_iter().map(|i| m.timers[i].as_ref().get_ref() as *const Timer as usize).collect();
    assert_eq!(order, want);
}

#[test]
fn a_bucket_of_thousands_is_emptied_in_pieces_and_in_time() {
    let mut m = Model::new(5000);
    m.start(0, MSEC, 0);
    let mut rng = Rng(5);
    // An hour away buckets are 275 s wide.
    for i in 1..5000 {
        m.start(i, 3600 * SEC + rng.next() % (200 * SEC), 0);
    }
    let begun = m.now;
    m.run(begun + 3600 * SEC - MSEC);
    assert!(m.interrupts < 200, "{} interrupts before any is due", m.interrupts);
    m.run(begun + 4000 * SEC);
    assert_eq!((m.due.iter().flatten().count(), m.latest), (0, 0));
    assert!(m.interrupts < 12_000, "{} interrupts", m.interrupts);
}

#[test]
fn time_outs_that_are_cancelled_cost_few_interrupts() {
    let mut m = Model::new(2);
    // Something sleeps for a millisecond, a thousand times, and has a time-out of 5 s each time.
    for _ in 0..1000 {
        m.start(0, MSEC, 0);
        m.start(1, 5 * SEC, 0);
        let end = m.now + MSEC;
        m.run(end);
        m.cancel(1);
    }
    assert!(m.interrupts <= 1020, "{} interrupts", m.interrupts);
    // What is left of the time-outs is one interrupt for each bucket that once had one, and then nothing.
    m.run(m.now + 20 * SEC);
    assert!(m.interrupts <= 1060, "{} interrupts", m.interrupts);
    assert_eq!(timer::next_event(), None);
}

#[test]
fn a_far_timer_alone_costs_one_interrupt_besides_its_own() {
    let mut m = Model::new(2);
    m.start(0, 10 * USEC, 0);
    m.start(1, 3600 * SEC + 123_456_789, 0);
    m.run(m.now + 4000 * SEC);
    assert_eq!(m.interrupts, 3);
}

#[test]
fn the_timers_of_a_cpu_that_goes_fire_on_another() {
    let mut m = Model::new(300);
    let gone = vigil_executor::cpu::CpuId::current();
    let mut rng = Rng(9);
    for i in 0..300 {
        m.start(i, MSEC + rng.span(50), 0);
    }
    m.run(m.now + 10 * MSEC);
    std::thread::scope(|s| {
        let m = &mut m;
        s.spawn(move || {
            let other = Cpu::take();
            timer::take_over(gone);
            m.cpu = other;
            m.run(m.now + (1 << 52));
            assert_eq!((m.due.iter().flatten().count(), m.latest, timer::next_event()), (0, 0, None));
        });
    });
}
