//! Loom: timers whose owner polls, stops or starts them beside the interrupt that fires them. The owner is on another CPU as far
//! as the base's lock is concerned; all threads of a model have one comparator.

use super::{Alarm, Timer, interrupt, reprogram};
use crate::atomic::UnsafeCell;
use crate::context::Context as Flow;
use crate::cpu::{CpuId, CpuMask};
use crate::platform::{self, Platform};
use crate::time::{Nanos, SEC, now};
use core::cell::Cell;
use core::mem::offset_of;
use core::pin::Pin;
use core::ptr::NonNull;
use core::task::{Context, Waker};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, Ordering::Relaxed};
use loom::thread;
use std::boxed::Box;
use std::task::Wake;

/// Long after the host's clock: what has passed is decided by the interrupts of a model alone.
const SOON: Nanos = 1 << 58;
const LATER: Nanos = 1 << 59;

std::thread_local! {
    /// What stands in the comparator: a model runs on one thread of the host.
    static COMPARATOR: Cell<u64> = const { Cell::new(u64::MAX) };
}

struct Host;

impl Platform for Host {
    fn send_reschedule(&self, _: CpuId) {}
    fn raise_rcu(&self, _: CpuMask) {}
    fn program_timer(&self, count: u64) {
        COMPARATOR.set(count);
    }
    fn alloc_stack(&self) -> Option<NonNull<Flow>> {
        None
    }
}

fn model(f: impl Fn() + Sync + Send + 'static) {
    platform::set(&Host);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(move || {
        COMPARATOR.set(u64::MAX);
        f();
    });
}

/// The interrupt of the CPU on which the timers were started.
fn fires_at(now: Nanos) -> thread::JoinHandle<()> {
    thread::spawn(move || _ = interrupt(now))
}

/// A task that counts its wakes.
struct Sleeper(AtomicU32);

impl Sleeper {
    fn new() -> std::sync::Arc<Sleeper> {
        std::sync::Arc::new(Sleeper(AtomicU32::new(0)))
    }

    fn wakes(&self) -> u32 {
        self.0.load(Relaxed)
    }
}

impl Wake for Sleeper {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}

fn polled(alarm: &mut Pin<Box<Alarm>>, sleeper: &std::sync::Arc<Sleeper>) -> bool {
    alarm.as_mut().poll_expired(&mut Context::from_waker(&Waker::from(sleeper.clone())))
}

#[test]
fn an_alarm_that_is_polled_by_another_task_as_it_fires_wakes_that_one_or_is_over() {
    model(|| {
        let (first, second) = (Sleeper::new(), Sleeper::new());
        let mut alarm = Box::pin(Alarm::new(Some(SOON), 0));
        assert!(!polled(&mut alarm, &first));
        let fires = fires_at(SOON);
        let over = polled(&mut alarm, &second);
        fires.join().unwrap();
        assert!(over || second.wakes() == 1, "it sleeps for ever");
        assert_eq!(first.wakes() + second.wakes(), 1);
        assert!(alarm.is_over());
    });
}

#[test]
fn an_alarm_that_is_stopped_as_it_fires_is_left_alone_afterwards() {
    model(|| {
        let sleeper = Sleeper::new();
        let mut alarm = Box::pin(Alarm::new(Some(SOON), 0));
        assert!(!polled(&mut alarm, &sleeper));
        let fires = fires_at(SOON);
        alarm.stop();
        // The owner's memory goes: loom reports who touches it still.
        alarm.entry().inner.with_mut(|_| ());
        fires.join().unwrap();
    });
}

/// What a timer is in.
struct Owner {
    timer: Timer,
    calls: UnsafeCell<u32>,
}

// SAFETY: `calls` is what is tested; loom watches it.
unsafe impl Sync for Owner {}
// SAFETY: as above.
unsafe impl Send for Owner {}

impl Owner {
    fn started(at: Nanos) -> Pin<Arc<Owner>> {
        let owner = Arc::pin(Owner { timer: Timer::new(called), calls: UnsafeCell::new(0) });
        owner.timer().start(at, 0);
        owner
    }

    fn timer(&self) -> Pin<&Timer> {
        // SAFETY: only made in a pinned Arc.
        unsafe { Pin::new_unchecked(&self.timer) }
    }

    fn calls(&self) -> u32 {
        // SAFETY: loom reports an access beside this one.
        self.calls.with_mut(|n| unsafe { *n })
    }
}

fn called(timer: &Timer) {
    let timer = core::ptr::from_ref(timer);
    // SAFETY: only timers of an `Owner` have this function.
    let owner = unsafe { &*timer.byte_sub(offset_of!(Owner, timer)).cast::<Owner>() };
    // SAFETY: as in `calls`.
    owner.calls.with_mut(|n| unsafe { *n += 1 });
}

#[test]
fn a_timer_that_is_cancelled_as_it_fires_was_called_or_never_is() {
    model(|| {
        let owner = Owner::started(SOON);
        let fires = fires_at(SOON);
        let waited = owner.timer.cancel();
        assert_eq!(owner.calls(), u32::from(!waited));
        fires.join().unwrap();
        assert_eq!(owner.calls(), u32::from(!waited));
    });
}

#[test]
fn a_timer_that_is_started_anew_as_it_fires_waits_for_the_new_time() {
    model(|| {
        let owner = Owner::started(SOON);
        let fires = fires_at(SOON);
        owner.timer().start(LATER, 0);
        fires.join().unwrap();
        assert!(owner.timer.is_queued() && owner.timer.deadline() == LATER);
        let before = owner.calls();
        let _ = interrupt(LATER);
        assert_eq!((owner.calls(), owner.timer.is_queued()), (before + 1, false));
    });
}

#[test]
fn the_comparator_is_not_behind_what_is_started_after_another_cpu_has_cancelled_the_first_one() {
    model(|| {
        let owner = Owner::started(SOON);
        let cancelled = owner.clone();
        let other = thread::spawn(move || _ = cancelled.timer.cancel());
        // The CPU is about to idle, and does not.
        reprogram();
        let next = Owner::started(LATER);
        other.join().unwrap();
        // Not LATER itself: another test may change where the counter begins.
        assert!(COMPARATOR.get() < 2 * LATER, "the comparator comes after what it is for");
        next.timer.cancel();
    });
}

#[test]
fn an_alarm_in_a_bucket_that_is_emptied_is_cancelled_or_fires() {
    // Some buckets of 275 s away, so that it is in a bucket of that level for as long as the model takes.
    let near = now() + 600 * SEC;
    let far = ((now() >> 38) + 4 << 38) + SEC;
    model(move || {
        // One that comes before keeps the others out of the tree.
        let sleeper = Sleeper::new();
        let near = Owner::started(near);
        let mut alarm = Box::pin(Alarm::new(Some(far), 0));
        assert!(!polled(&mut alarm, &sleeper));
        let beside = Owner::started(far);
        let fires = fires_at(far);
        alarm.stop();
        // The owner's memory goes: loom reports who touches it still.
        alarm.entry().inner.with_mut(|_| ());
        fires.join().unwrap();
        // It was moved into the tree in time, or had to wait for the next interrupt.
        let _ = interrupt(far + SEC);
        let _ = interrupt(far + SEC);
        assert_eq!((near.calls(), beside.calls(), beside.timer.is_queued()), (1, 1, false));
        assert!(sleeper.wakes() <= 1);
    });
}
