//! Tasklets: once for each time that they were wanted, never on two CPUs, held back and waited for.
#![cfg(not(loom))]

#[path = "common/cpus.rs"]
mod cpus;
#[path = "common/interrupt.rs"]
mod interrupt;
#[path = "common/on_cpu.rs"]
mod on_cpu;
#[path = "common/patience.rs"]
mod patience;
#[path = "common/turn.rs"]
mod turn;

use cpus::run;
use interrupt::interrupt;
use on_cpu::on_cpu;
use std::pin::pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::task::{Context as PollContext, Poll, Waker};
use std::thread;
use turn::turn;
use vigil_executor::cpu::CpuId;
use vigil_executor::executor::{YieldKind, yield_now};
use vigil_executor::softirq::{self, Tasklet};

/// Waits for `done` on a thread; whether it is.
fn until(done: impl Fn() -> bool) -> bool {
    patience::until(done, thread::yield_now)
}

#[test]
fn a_tasklet_that_is_scheduled_twice_runs_once() {
    static RUNS: AtomicU32 = AtomicU32::new(0);
    static T: Tasklet = Tasklet::new(|_| {
        RUNS.fetch_add(1, SeqCst);
    });
    let _turn = turn();
    on_cpu(3, || {
        interrupt(|| {
            assert!(T.schedule());
            assert!(!T.schedule(), "it is to run already");
            assert_eq!(RUNS.load(SeqCst), 0, "not at once");
        });
        assert_eq!(RUNS.load(SeqCst), 1);
        interrupt(|| assert!(T.schedule()));
        assert_eq!(RUNS.load(SeqCst), 2, "and again when it is wanted again");
    });
}

#[test]
fn a_tasklet_that_is_scheduled_while_it_runs_runs_again() {
    static RUNS: AtomicU32 = AtomicU32::new(0);
    static T: Tasklet = Tasklet::new(|_| {
        if RUNS.fetch_add(1, SeqCst) < 3 {
            assert!(T.schedule());
        }
    });
    let _turn = turn();
    on_cpu(3, || interrupt(|| assert!(T.schedule())));
    assert_eq!(RUNS.load(SeqCst), 4);
}

#[test]
fn a_tasklet_runs_on_the_cpu_that_scheduled_it() {
    static AT: AtomicU32 = AtomicU32::new(99);
    static T: Tasklet = Tasklet::new(|_| AT.store(CpuId::current().index() as u32, SeqCst));
    let _turn = turn();
    for cpu in [4, 3, 4] {
        on_cpu(cpu, || interrupt(|| assert!(T.schedule())));
        assert_eq!(AT.load(SeqCst), cpu as u32);
    }
}

#[test]
fn a_tasklet_never_runs_on_two_cpus_at_once() {
    static INSIDE: AtomicU32 = AtomicU32::new(0);
    static MOST: AtomicU32 = AtomicU32::new(0);
    static RUNS: AtomicU32 = AtomicU32::new(0);
    static PUT_OFF: AtomicBool = AtomicBool::new(false);
    static T: Tasklet = Tasklet::new(|_| {
        MOST.fetch_max(INSIDE.fetch_add(1, SeqCst) + 1, SeqCst);
        // The first time it is inside until the other CPU has found it so.
        if RUNS.fetch_add(1, SeqCst) == 0 {
            assert!(until(|| PUT_OFF.load(SeqCst)));
        }
        INSIDE.fetch_sub(1, SeqCst);
    });
    let _turn = turn();
    thread::scope(|s| {
        s.spawn(|| on_cpu(3, || interrupt(|| assert!(T.schedule()))));
        s.spawn(|| {
            on_cpu(4, || {
                assert!(until(|| INSIDE.load(SeqCst) == 1));
                interrupt(|| assert!(T.schedule(), "it runs, and is not to run again"));
                PUT_OFF.store(true, SeqCst);
                // What was put off because it ran elsewhere is there still.
                assert!(until(|| {
                    interrupt(|| ());
                    vigil_executor::cpu::local().pending.softirqs() == 0
                }));
            });
        });
    });
    assert_eq!((MOST.load(SeqCst), RUNS.load(SeqCst)), (1, 2), "at once; and once for each time");
}

#[test]
fn tasklets_of_high_priority_run_first() {
    static ORDER: Mutex<Vec<u32>> = Mutex::new(Vec::new());
    static LOW: Tasklet = Tasklet::new(|_| ORDER.lock().unwrap().push(2));
    static HIGH: Tasklet = Tasklet::new(|_| ORDER.lock().unwrap().push(1));
    let _turn = turn();
    on_cpu(3, || interrupt(|| assert!(LOW.schedule() && HIGH.schedule_hi())));
    assert_eq!(*ORDER.lock().unwrap(), [1, 2]);
}

#[test]
fn tasklets_run_in_the_order_in_which_they_were_scheduled() {
    static ORDER: Mutex<Vec<u32>> = Mutex::new(Vec::new());
    static A: Tasklet = Tasklet::new(|_| ORDER.lock().unwrap().push(1));
    static B: Tasklet = Tasklet::new(|_| ORDER.lock().unwrap().push(2));
    static C: Tasklet = Tasklet::new(|_| ORDER.lock().unwrap().push(3));
    let _turn = turn();
    on_cpu(3, || interrupt(|| assert!(A.schedule() && B.schedule() && C.schedule() && !A.schedule())));
    assert_eq!(*ORDER.lock().unwrap(), [1, 2, 3]);
}

#[test]
fn a_disabled_tasklet_waits_until_it_is_enabled_as_often() {
    static RUNS: AtomicU32 = AtomicU32::new(0);
    static T: Tasklet = Tasklet::new_disabled(|_| {
        RUNS.fetch_add(1, SeqCst);
    });
    let _turn = turn();
    on_cpu(3, || {
        T.disable_nosync();
        interrupt(|| assert!(T.schedule()));
        T.enable();
        interrupt(|| ());
        assert_eq!(RUNS.load(SeqCst), 0, "disabled once more");
        T.enable();
        interrupt(|| ());
        assert_eq!(RUNS.load(SeqCst), 1, "it was not forgotten");
    });
}

/// The tasklet that is waited for: it is inside until it may go on.
struct Held {
    tasklet: Tasklet,
    inside: AtomicBool,
    go_on: AtomicBool,
}

impl Held {
    const fn new(function: fn(&Tasklet)) -> Held {
        Held { tasklet: Tasklet::new(function), inside: AtomicBool::new(false), go_on: AtomicBool::new(false) }
    }

    fn hold(&self) {
        self.inside.store(true, SeqCst);
        assert!(until(|| self.go_on.load(SeqCst)));
        self.inside.store(false, SeqCst);
    }

    /// On CPU 3 the tasklet runs; `wait` must not end before it has.
    fn outlives(&'static self, wait: impl Future<Output = ()> + Send + 'static) {
        let cpu = thread::spawn(move || on_cpu(3, || interrupt(|| assert!(self.tasklet.schedule()))));
        run(async move {
            assert!(until(|| self.inside.load(SeqCst)));
            let mut wait = pin!(wait);
            let mut early = false;
            for _ in 0..50 {
                early |= wait.as_mut().poll(&mut PollContext::from_waker(Waker::noop())) == Poll::Ready(());
                if early {
                    break;
                }
                yield_now(YieldKind::Yield).await;
            }
            self.go_on.store(true, SeqCst);
            assert!(!early, "it runs");
            wait.await;
            assert!(!self.inside.load(SeqCst));
        });
        cpu.join().unwrap();
    }
}

#[test]
fn disable_waits_until_it_does_not_run() {
    static T: Held = Held::new(|_| T.hold());
    let _turn = turn();
    T.outlives(T.tasklet.disable());
}

#[test]
fn kill_waits_until_it_does_not_run() {
    static T: Held = Held::new(|_| T.hold());
    let _turn = turn();
    T.outlives(T.tasklet.kill());
}

#[test]
fn kill_waits_for_what_is_scheduled() {
    static RUNS: AtomicU32 = AtomicU32::new(0);
    static T: Tasklet = Tasklet::new(|_| {
        RUNS.fetch_add(1, SeqCst);
    });
    static SCHEDULED: AtomicBool = AtomicBool::new(false);
    let _turn = turn();
    T.disable_nosync();
    let cpu = thread::spawn(|| {
        on_cpu(3, || {
            interrupt(|| assert!(T.schedule()));
            SCHEDULED.store(true, SeqCst);
            assert!(until(|| {
                interrupt(|| ());
                RUNS.load(SeqCst) == 1
            }));
        })
    });
    run(async {
        assert!(until(|| SCHEDULED.load(SeqCst)));
        let mut kill = pin!(T.kill());
        for _ in 0..50 {
            assert!(kill.as_mut().poll(&mut PollContext::from_waker(Waker::noop())).is_pending(), "it has not run");
            yield_now(YieldKind::Yield).await;
        }
        T.enable();
        kill.await;
        assert_eq!(RUNS.load(SeqCst), 1);
        assert!(T.schedule(), "it is free afterwards");
    });
    cpu.join().unwrap();
}

#[test]
fn the_tasklets_of_a_cpu_that_goes_run_on_another() {
    static AT: Mutex<Vec<usize>> = Mutex::new(Vec::new());
    static LOW: Tasklet = Tasklet::new(|_| AT.lock().unwrap().push(CpuId::current().index()));
    static HIGH: Tasklet = Tasklet::new(|_| AT.lock().unwrap().push(10 + CpuId::current().index()));
    let _turn = turn();
    on_cpu(4, || {
        let held = vigil_executor::context::BhGuard::new();
        interrupt(|| assert!(LOW.schedule() && HIGH.schedule_hi()));
        // The CPU goes: nobody lets go.
        std::mem::forget(held);
    });
    on_cpu(3, || {
        softirq::take_over(CpuId::new(4).unwrap());
        interrupt(|| ());
    });
    assert_eq!(*AT.lock().unwrap(), [13, 3]);
}
