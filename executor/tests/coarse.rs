//! Coarse timers: never early, late within their level, waited for, started anew, moved.
#![cfg(not(loom))]

#[path = "common/held.rs"]
mod held;
#[path = "common/interrupt.rs"]
mod interrupt;
#[path = "common/on_cpu.rs"]
mod on_cpu;
#[path = "common/patience.rs"]
mod patience;
#[path = "common/ticks.rs"]
mod ticks;
#[path = "common/turn.rs"]
mod turn;

use held::Held;
use on_cpu::on_cpu;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard};
use std::thread;
use std::time::Duration;
use ticks::{pass, until};
use vigil_executor::arch;
use vigil_executor::coarse::{self, CoarseTimer, Kind, TICK};
use vigil_executor::context::in_softirq;
use vigil_executor::cpu::{CpuId, CpuMask, ONLINE};
use vigil_executor::softirq::{self, Softirq};
use vigil_executor::time::{MSEC, now};

/// CPUs 3 and 4, which timers may be sent to, are one test's at a time.
fn turn() -> MutexGuard<'static, ()> {
    let turn = turn::turn();
    for cpu in [3, 4] {
        ONLINE.insert(CpuId::new(cpu).unwrap());
    }
    turn
}

#[test]
fn a_timer_is_never_early_and_late_by_an_eighth_at_most() {
    static AT: [AtomicU64; 40] = [const { AtomicU64::new(0) }; 40];
    static TIMERS: [CoarseTimer; 40] = [const { CoarseTimer::new(note, Kind::PLAIN) }; 40];
    fn note(timer: &CoarseTimer) {
        let i = TIMERS.iter().position(|t| std::ptr::eq(t, timer)).unwrap();
        AT[i].store(now(), SeqCst);
    }
    let _turn = turn();
    on_cpu(3, || {
        // Whole ticks, from somewhere within one; of the first three levels.
        let delays: Vec<u64> = (0..40).map(|i| if i < 20 { i } else { i * i - 350 } * TICK / 2).collect();
        let begun: Vec<u64> = delays
            .iter()
            .zip(&TIMERS)
            .map(|(delay, timer)| {
                let begun = now();
                assert!(!Pin::static_ref(timer).start(*delay));
                thread::sleep(Duration::from_micros(300));
                begun
            })
            .collect();
        assert!(until(|| AT.iter().all(|at| at.load(SeqCst) != 0)));
        for i in 0..40 {
            let took = AT[i].load(SeqCst) - begun[i];
            assert!(took >= delays[i], "{i}: {took} ns of {}", delays[i]);
            // The host may be busy.
            assert!(took <= delays[i] + delays[i] / 7 + 3 * TICK + 1500 * MSEC, "{i}: {took} ns of {}", delays[i]);
        }
    });
}

#[test]
fn a_function_runs_in_the_timer_softirq_with_interrupts_on() {
    static SEEN: AtomicU32 = AtomicU32::new(0);
    static PLAIN: CoarseTimer = CoarseTimer::new(look, Kind::PLAIN);
    static SAFE: CoarseTimer = CoarseTimer::new(look, Kind::IRQSAFE);
    fn look(timer: &CoarseTimer) {
        assert!(in_softirq());
        let masked = arch::irqs_disabled();
        SEEN.fetch_add(if std::ptr::eq(timer, &PLAIN) { 1 + u32::from(masked) } else { 10 + 10 * u32::from(!masked) }, SeqCst);
    }
    let _turn = turn();
    on_cpu(3, || {
        let before = softirq::count(Softirq::Timer as usize, CpuId::current());
        Pin::static_ref(&PLAIN).start(0);
        Pin::static_ref(&SAFE).start(0);
        assert!(until(|| SEEN.load(SeqCst) >= 11));
        assert_eq!(SEEN.load(SeqCst), 11, "interrupts are on, and masked for the one that wants it");
        assert!(softirq::count(Softirq::Timer as usize, CpuId::current()) > before);
    });
}

#[test]
fn a_timer_that_its_function_starts_anew_fires_again() {
    static RUNS: AtomicU32 = AtomicU32::new(0);
    static T: CoarseTimer = CoarseTimer::new(again, Kind::PLAIN);
    fn again(_: &CoarseTimer) {
        if RUNS.fetch_add(1, SeqCst) < 4 {
            assert!(!Pin::static_ref(&T).start(TICK), "it does not wait while it runs");
        }
    }
    let _turn = turn();
    on_cpu(3, || {
        Pin::static_ref(&T).start(TICK);
        assert!(until(|| RUNS.load(SeqCst) == 5));
        assert!(!T.is_queued());
    });
}

#[test]
fn a_timer_that_is_moved_fires_at_its_new_time_alone() {
    static RUNS: AtomicU32 = AtomicU32::new(0);
    static T: CoarseTimer = CoarseTimer::new(|_| _ = RUNS.fetch_add(1, SeqCst), Kind::PLAIN);
    let _turn = turn();
    on_cpu(3, || {
        let t = Pin::static_ref(&T);
        assert!(!t.start(3_600_000 * MSEC));
        assert!(t.start(2 * TICK), "it waited");
        assert!(until(|| RUNS.load(SeqCst) == 1));
        assert!(!t.start(2 * TICK));
        assert!(t.start(3_600_000 * MSEC));
        pass(Duration::from_millis(60));
        assert_eq!(RUNS.load(SeqCst), 1, "its time was put off");
        assert!(t.delete() && !t.delete() && !t.delete_sync());
    });
}

#[test]
fn a_timer_that_is_deleted_does_not_fire() {
    static RUNS: AtomicU32 = AtomicU32::new(0);
    static T: CoarseTimer = CoarseTimer::new(|_| _ = RUNS.fetch_add(1, SeqCst), Kind::PLAIN);
    let _turn = turn();
    on_cpu(3, || {
        Pin::static_ref(&T).start(3 * TICK);
        assert!(T.is_queued() && T.delete_sync());
        pass(Duration::from_millis(60));
        assert_eq!(RUNS.load(SeqCst), 0);
    });
}

#[test]
fn delete_sync_waits_until_the_function_does_not_run() {
    static HELD: Held = Held::new();
    static T: CoarseTimer = CoarseTimer::new(hold, Kind::PLAIN);
    fn hold(_: &CoarseTimer) {
        HELD.hold(|| _ = Pin::static_ref(&T).start(TICK));
    }
    let _turn = turn();
    let wait = || {
        T.delete_sync();
        assert!(!T.is_queued(), "and has started the timer anew for nothing");
    };
    HELD.waited_for(|| _ = Pin::static_ref(&T).start(0), || assert!(!T.delete(), "it does not wait"), wait);
}

#[test]
fn the_timers_of_a_cpu_that_goes_fire_on_another() {
    static AT: Mutex<Vec<usize>> = Mutex::new(Vec::new());
    fn note(_: &CoarseTimer) {
        AT.lock().unwrap().push(CpuId::current().index());
    }
    static SOON: CoarseTimer = CoarseTimer::new(note, Kind::PLAIN);
    static PINNED: CoarseTimer = CoarseTimer::new(note, Kind::PINNED);
    static DEFERRED: CoarseTimer = CoarseTimer::new(note, Kind::DEFERRABLE);
    let _turn = turn();
    on_cpu(4, || {
        for timer in [&SOON, &PINNED, &DEFERRED] {
            Pin::static_ref(timer).start(2 * TICK);
        }
    });
    on_cpu(3, || {
        coarse::take_over(CpuId::new(4).unwrap());
        assert!(until(|| AT.lock().unwrap().len() == 3));
        assert_eq!(*AT.lock().unwrap(), [3, 3, 3]);
    });
}

#[test]
fn only_pinned_timers_wait_on_a_cpu_that_is_kept_free() {
    static AT: Mutex<Vec<(bool, usize)>> = Mutex::new(Vec::new());
    static FREE: CoarseTimer = CoarseTimer::new(note, Kind::PLAIN);
    static PINNED: CoarseTimer = CoarseTimer::new(note, Kind::PINNED);
    fn note(timer: &CoarseTimer) {
        AT.lock().unwrap().push((std::ptr::eq(timer, &PINNED), CpuId::current().index()));
    }
    let _turn = turn();
    coarse::set_cpus(CpuMask(!(1 << 4)));
    on_cpu(4, || {
        Pin::static_ref(&FREE).start(TICK);
        Pin::static_ref(&PINNED).start(TICK);
        pass(Duration::from_millis(60));
    });
    coarse::set_cpus(CpuMask(0));
    on_cpu(3, || assert!(until(|| AT.lock().unwrap().len() == 2)));
    assert_eq!(*AT.lock().unwrap(), [(true, 4), (false, 3)]);
}
