//! Timers whose function runs in a softirq: where, when, waited for, taken back, left behind.
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
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};
use std::time::Duration;
use ticks::{pass, tick, until};
use turn::turn;
use vigil_executor::arch;
use vigil_executor::context::{BhGuard, in_hardirq, in_softirq};
use vigil_executor::cpu::CpuId;
use vigil_executor::softirq::{self, Softirq};
use vigil_executor::time::{MSEC, now};
use vigil_executor::timer::{self, SoftTimer};

#[test]
fn a_soft_timer_runs_in_its_softirq_with_interrupts_on_and_not_early() {
    static AT: AtomicU64 = AtomicU64::new(0);
    static T: SoftTimer = SoftTimer::new(|_| {
        assert!(in_softirq() && !in_hardirq() && !arch::irqs_disabled());
        AT.store(now(), SeqCst);
    });
    let _turn = turn();
    on_cpu(3, || {
        let before = softirq::count(Softirq::HrTimer as usize, CpuId::current());
        let deadline = now() + 5 * MSEC;
        Pin::static_ref(&T).start(deadline, 0);
        assert!(until(|| AT.load(SeqCst) != 0));
        assert!(AT.load(SeqCst) >= deadline);
        assert!(softirq::count(Softirq::HrTimer as usize, CpuId::current()) > before);
        assert!(!T.is_queued());
    });
}

#[test]
fn a_soft_timer_that_its_function_starts_anew_fires_again() {
    static RUNS: AtomicU32 = AtomicU32::new(0);
    static T: SoftTimer = SoftTimer::new(again);
    fn again(_: &SoftTimer) {
        if RUNS.fetch_add(1, SeqCst) < 4 {
            Pin::static_ref(&T).start(now() + MSEC, 0);
        }
    }
    let _turn = turn();
    on_cpu(3, || {
        Pin::static_ref(&T).start(now() + MSEC, 0);
        assert!(until(|| RUNS.load(SeqCst) == 5));
        pass(Duration::from_millis(20));
        assert_eq!(RUNS.load(SeqCst), 5);
    });
}

#[test]
fn a_soft_timer_that_is_due_can_be_cancelled_and_moved() {
    static RUNS: AtomicU32 = AtomicU32::new(0);
    static T: SoftTimer = SoftTimer::new(|_| _ = RUNS.fetch_add(1, SeqCst));
    let _turn = turn();
    on_cpu(3, || {
        let t = Pin::static_ref(&T);
        let held = BhGuard::new();
        t.start(now(), 0);
        tick();
        assert!(t.is_queued(), "it is due, and softirqs are off");
        assert!(t.cancel() && !t.cancel());
        t.start(now(), 0);
        tick();
        t.start(now() + 3_600_000 * MSEC, 0);
        drop(held);
        pass(Duration::from_millis(20));
        assert_eq!(RUNS.load(SeqCst), 0);
        assert!(t.cancel());
    });
}

#[test]
fn a_cancel_waits_until_the_soft_function_does_not_run() {
    static HELD: Held = Held::new();
    static T: SoftTimer = SoftTimer::new(|_| HELD.hold(|| Pin::static_ref(&T).start(now() + MSEC, 0)));
    let _turn = turn();
    let wait = || {
        T.cancel();
        assert!(!T.is_queued(), "and has started the timer anew for nothing");
    };
    HELD.waited_for(|| Pin::static_ref(&T).start(now(), 0), || (), wait);
}

#[test]
fn soft_timers_that_were_due_on_a_cpu_that_goes_run_on_another() {
    static AT: Mutex<Vec<usize>> = Mutex::new(Vec::new());
    static T: SoftTimer = SoftTimer::new(|_| AT.lock().unwrap().push(CpuId::current().index()));
    let _turn = turn();
    on_cpu(4, || {
        let held = BhGuard::new();
        Pin::static_ref(&T).start(now(), 0);
        tick();
        // The CPU goes: nobody lets go.
        std::mem::forget(held);
    });
    on_cpu(3, || {
        timer::take_over_due(CpuId::new(4).unwrap());
        assert!(until(|| AT.lock().unwrap().len() == 1));
    });
    assert_eq!(*AT.lock().unwrap(), [3]);
}
