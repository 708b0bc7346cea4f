//! Timers: order, slack, cancel, no storm. The test is the interrupt controller: it calls `interrupt` itself.
#![cfg(not(loom))]

#[path = "common/comparator.rs"]
mod comparator;

use comparator::{Cpu, NEVER, later};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU32, Ordering::*};
use std::task::{Context as PollContext, Poll, Waker};
use std::time::{Duration, Instant};
use vigil_executor::cpu::CpuId;
use vigil_executor::time::{MSEC, USEC, now};
use vigil_executor::timer::{self, Alarm, Timer, sleep_until};
use vigil_executor::wait::{WaitMode, WaitQueue, Waited};
use vigil_executor::{arch, wait_site};

std::thread_local! {
    static FIRED: std::cell::RefCell<Vec<usize>> = const { std::cell::RefCell::new(Vec::new()) };
}

fn note(t: &Timer) {
    FIRED.with(|f| f.borrow_mut().push(t as *const Timer as usize));
}

fn fired() -> Vec<usize> {
    FIRED.with(|f| f.take())
}

fn id(t: Pin<&Timer>) -> usize {
    t.get_ref() as *const Timer as usize
}

#[test]
fn timers_fire_in_the_order_of_their_deadlines_whatever_the_order_of_their_starts() {
    let cpu = Cpu::take();
    let base = later();
    let timers: Vec<Pin<Box<Timer>>> = (0..200).map(|_| Box::pin(Timer::new(note))).collect();
    let mut deadlines: Vec<u64> = (0..200).map(|i| base + (i * 7919) % 200).collect();
    for (t, d) in timers.iter().zip(&deadlines) {
        t.as_ref().start(*d, 0);
    }
    assert_eq!(cpu.comparator(), *deadlines.iter().min().unwrap());
    // Every third is cancelled.
    for t in timers.iter().step_by(3) {
        assert!(t.cancel());
        assert!(!t.cancel());
    }
    cpu.interrupt(base + 99);
    let first = fired();
    cpu.interrupt(base + 1000);
    let all: Vec<usize> = first.iter().copied().chain(fired()).collect();
    let mut want: Vec<(u64, usize)> =
        timers.iter().zip(deadlines.drain(..)).enumerate().filter(|(i, _)| i % 3 != 0).map(|(_, (t, d))| (d, id(t.as_ref()))).collect();
    want.sort_by_key(|w| w.0);
    assert_eq!(all, want.iter().map(|w| w.1).collect::<Vec<_>>());
    assert_eq!(first.len(), want.iter().filter(|w| w.0 <= base + 99).count());
    assert_eq!(cpu.comparator(), NEVER, "nothing is left to wait for");
}

#[test]
fn timers_of_one_time_fire_in_the_order_of_their_starts() {
    let cpu = Cpu::take();
    let base = later();
    let timers: Vec<Pin<Box<Timer>>> = (0..6).map(|_| Box::pin(Timer::new(note))).collect();
    // The first is the next to fire until an earlier one comes, and then goes before those that were started after it.
    for t in &timers[..3] {
        t.as_ref().start(base + 10, 0);
    }
    timers[3].as_ref().start(base + 5, 0);
    timers[4].as_ref().start(base + 10, 0);
    timers[5].as_ref().start(base + 7, 0);
    assert!(timers[3].cancel(), "the next to fire");
    assert_eq!(timer::next_event(), Some(base + 7));
    cpu.interrupt(base + 10);
    let want: Vec<usize> = [5, 0, 1, 2, 4].map(|i: usize| id(timers[i].as_ref())).to_vec();
    assert_eq!(fired(), want);
    assert_eq!(timer::next_event(), None);
}

#[test]
fn slack_lets_neighbours_share_an_interrupt() {
    let cpu = Cpu::take();
    let base = later();
    let (a, b) = (pin!(Timer::new(note)), pin!(Timer::new(note)));
    a.as_ref().start(base, 50 * USEC);
    b.as_ref().start(base + 30 * USEC, 0);
    assert_eq!(cpu.comparator(), base + 30 * USEC, "the hard expiry of the first");
    cpu.interrupt(base + 30 * USEC);
    assert_eq!(fired().len(), 2);
}

#[test]
fn the_comparator_is_written_only_for_what_is_earlier() {
    let cpu = Cpu::take();
    let base = later();
    let (a, b) = (pin!(Timer::new(note)), pin!(Timer::new(note)));
    a.as_ref().start(base, 0);
    b.as_ref().start(base + MSEC, 0);
    assert_eq!(cpu.comparator(), base);
    arch::without_irqs(|| timer::set_slice(CpuId::current(), base + MSEC));
    assert_eq!(cpu.comparator(), base);
    arch::without_irqs(|| timer::set_slice(CpuId::current(), base - MSEC));
    assert_eq!(cpu.comparator(), base - MSEC);
    arch::without_irqs(|| timer::set_slice_by(CpuId::current(), base + MSEC));
    assert!(cpu.interrupt(base - MSEC), "the slice was due");
    assert_eq!(cpu.comparator(), base);
    assert!(!cpu.interrupt(base - 1), "and is due once");
    assert!(fired().is_empty());
}

#[test]
fn a_deadline_in_the_past_fires_once_and_at_once() {
    let cpu = Cpu::take();
    let t = pin!(Timer::new(note));
    t.as_ref().start(1, 0);
    assert_eq!(cpu.comparator(), 1, "the comparator matches at once");
    cpu.interrupt(now());
    assert_eq!(fired().len(), 1);
    assert_eq!(cpu.comparator(), NEVER);
    cpu.interrupt(now());
    assert!(fired().is_empty());
}

fn periodic(t: &Timer) {
    note(t);
    // SAFETY: the timers of this test are pinned.
    let t = unsafe { Pin::new_unchecked(t) };
    // A period that is shorter than the handler: without a guard the interrupt would never return.
    t.forward(now(), 1, 0);
}

#[test]
fn a_timer_that_is_always_due_does_not_hold_the_cpu() {
    let cpu = Cpu::take();
    let t = pin!(Timer::new(periodic));
    t.as_ref().start(1, 0);
    let (start, before) = (Instant::now(), now());
    cpu.interrupt(before);
    assert!(start.elapsed() < Duration::from_secs(1));
    assert!(!fired().is_empty());
    // Others get the CPU for a moment, although it is due again.
    assert!((t.deadline() + 100 * USEC..NEVER).contains(&cpu.comparator()));
    assert!(t.cancel());
}

#[test]
fn a_timer_that_comes_due_as_the_interrupt_ends_is_not_put_off() {
    // On a clock that goes on at each look, so that one of the second timers comes due between any two looks.
    let all = || {
        arch::simulate_counter();
        let cpu = Cpu::take();
        for i in 0..64 {
            let (a, b) = (pin!(Timer::new(note)), pin!(Timer::new(note)));
            let due = now() + 1;
            a.as_ref().start(due, 0);
            b.as_ref().start(due + 64 * i, 0);
            cpu.interrupt(now());
            let fired = fired().len();
            assert!(fired == 2 || fired == 1 && cpu.comparator() == due + 64 * i, "{i}: comes at {}", cpu.comparator());
            b.as_ref().cancel();
        }
    };
    std::thread::spawn(all).join().unwrap();
}

#[test]
fn forward_counts_missed_periods() {
    let _cpu = Cpu::take();
    let t = pin!(Timer::new(note));
    let base = later();
    t.as_ref().start(base, 0);
    assert_eq!(t.as_ref().forward(base + 35, 10, 0), 4);
    assert_eq!(t.deadline(), base + 40);
    t.cancel();
}

#[test]
fn a_cancel_on_another_cpu_waits_for_the_callback() {
    static INSIDE: AtomicU32 = AtomicU32::new(0);
    fn slow(_t: &Timer) {
        INSIDE.store(1, SeqCst);
        std::thread::sleep(Duration::from_millis(30));
        INSIDE.store(2, SeqCst);
    }
    let _cpu = Cpu::take();
    let t = Box::pin(Timer::new(slow));
    std::thread::scope(|s| {
        let t = &t;
        s.spawn(move || {
            let other = Cpu::take();
            t.as_ref().start(1, 0);
            other.interrupt(now());
        });
        while INSIDE.load(SeqCst) == 0 {
            std::thread::yield_now();
        }
        assert_eq!(t.try_cancel(), None);
        assert!(!t.cancel(), "it was not waiting any more");
        assert_eq!(INSIDE.load(SeqCst), 2, "cancel returned before the callback");
    });
}

#[test]
fn a_sleep_wakes_at_its_deadline_and_leaves_nothing_when_dropped() {
    let cpu = Cpu::take();
    let deadline = later();
    let mut cx = PollContext::from_waker(Waker::noop());
    {
        let mut sleep = pin!(sleep_until(wait_site!("hrtimer_nanosleep"), deadline, 0, WaitMode::Interruptible));
        assert!(sleep.as_mut().poll(&mut cx).is_pending());
        assert_eq!(cpu.comparator(), deadline);
        cpu.interrupt(deadline - 1);
        assert!(sleep.as_mut().poll(&mut cx).is_pending());
        cpu.interrupt(deadline);
        assert_eq!(sleep.as_mut().poll(&mut cx), Poll::Ready(Ok(())));
    }
    {
        let mut sleep = pin!(sleep_until(wait_site!("hrtimer_nanosleep"), deadline, 0, WaitMode::Interruptible));
        assert!(sleep.as_mut().poll(&mut cx).is_pending());
    }
    assert_eq!(timer::next_event(), None, "the dropped sleep is still queued");
    let past = pin!(sleep_until(wait_site!("hrtimer_nanosleep"), 1, 0, WaitMode::Interruptible));
    assert_eq!(past.poll(&mut cx), Poll::Ready(Ok(())));
}

#[test]
fn a_sleeper_that_comes_before_its_alarm_has_fired_knows_that_it_is_over() {
    /// Looks as a sleeper on another CPU does that runs at once: inside the wake, while the interrupt holds the base's lock.
    struct Look(AtomicU32);
    static ALARM: std::sync::OnceLock<Pin<Box<Alarm>>> = std::sync::OnceLock::new();
    impl std::task::Wake for Look {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.store(1 + u32::from(ALARM.get().unwrap().is_over()), SeqCst);
        }
    }
    let cpu = Cpu::take();
    let look = std::sync::Arc::new(Look(AtomicU32::new(0)));
    let alarm = ALARM.get_or_init(|| Box::pin(Alarm::new(Some(1), 0)));
    alarm.as_ref().start(look.clone().into());
    cpu.interrupt(now());
    assert_eq!(look.0.load(SeqCst), 2, "it would sleep on, and nobody would wake it again");
    assert!(alarm.is_over());
}

#[test]
fn a_wait_with_a_deadline_prefers_its_condition() {
    let cpu = Cpu::take();
    let q = WaitQueue::new();
    let mut cx = PollContext::from_waker(Waker::noop());
    let ready = AtomicU32::new(0);
    let deadline = later();
    let condition = || (ready.load(SeqCst) != 0).then_some(7);
    let mode = WaitMode::Interruptible;
    let mut w = Box::pin(q.wait_until_deadline(wait_site!("test"), mode, Some(deadline), 0, condition));
    assert!(w.as_mut().poll(&mut cx).is_pending());
    cpu.interrupt(deadline);
    ready.store(1, SeqCst);
    assert_eq!(w.as_mut().poll(&mut cx), Poll::Ready(Waited::Ready(7)));
    ready.store(0, SeqCst);
    let mut w = Box::pin(q.wait_until_deadline(wait_site!("test"), mode, Some(deadline), 0, condition));
    assert!(w.as_mut().poll(&mut cx).is_pending());
    cpu.interrupt(deadline);
    assert_eq!(w.as_mut().poll(&mut cx), Poll::Ready(Waited::TimedOut));
    assert!(!q.has_waiters());
    let mut w = Box::pin(q.wait_until_deadline(wait_site!("test"), mode, None, 0, condition));
    assert!(w.as_mut().poll(&mut cx).is_pending());
    drop(w);
    assert!(!q.has_waiters());
}
