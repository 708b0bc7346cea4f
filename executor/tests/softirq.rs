//! Softirqs: each test is a CPU and its interrupts. There is no ksoftirqd here; that is in `softirq_daemon.rs`.
#![cfg(not(loom))]

#[path = "common/interrupt.rs"]
mod interrupt;
#[path = "common/on_cpu.rs"]
mod on_cpu;

use interrupt::interrupt;
use on_cpu::on_cpu;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};
use vigil_executor::arch;
use vigil_executor::class::Params;
use vigil_executor::context::{BhGuard, Context, in_hardirq, in_interrupt, in_softirq};
use vigil_executor::cpu::{ACTIVE, CpuId, CpuMask, ONLINE, local};
use vigil_executor::softirq::{self, Softirq};
use vigil_executor::task::Spawned;

/// Handlers belong to all CPUs: one test at a time.
static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(|e| e.into_inner())
}

fn pending() -> u32 {
    local().pending.softirqs()
}

/// How often the handler of a test was called.
static CALLS: AtomicU32 = AtomicU32::new(0);

fn note() {
    CALLS.fetch_add(1, SeqCst);
}

fn note_and_raise() {
    note();
    softirq::raise_here(Softirq::Block);
}

/// Opens `Block` with `handler` and counts anew.
fn block(handler: fn()) {
    CALLS.store(0, SeqCst);
    softirq::open(Softirq::Block, handler);
}

#[test]
fn what_a_handler_raises_runs_at_the_end_of_its_interrupt() {
    let _turn = turn();
    block(note);
    on_cpu(1, || {
        let before = softirq::count(Softirq::Block as usize, CpuId::current());
        interrupt(|| {
            softirq::raise_here(Softirq::Block);
            softirq::raise_here(Softirq::Block);
            assert_eq!(CALLS.load(SeqCst), 0, "not in the hard interrupt");
        });
        assert_eq!(CALLS.load(SeqCst), 1, "once, however often it was raised");
        assert_eq!(softirq::count(Softirq::Block as usize, CpuId::current()) - before, 1);
        assert_eq!(pending(), 0);
    });
}

#[test]
fn the_lowest_number_runs_first() {
    static ORDER: Mutex<Vec<u32>> = Mutex::new(Vec::new());
    fn at<const N: u32>() {
        ORDER.lock().unwrap().push(N);
    }
    const TEN: [(Softirq, fn()); 10] = [
        (Softirq::Hi, at::<0>),
        (Softirq::Timer, at::<1>),
        (Softirq::NetTx, at::<2>),
        (Softirq::NetRx, at::<3>),
        (Softirq::Block, at::<4>),
        (Softirq::IrqPoll, at::<5>),
        (Softirq::Tasklet, at::<6>),
        (Softirq::Sched, at::<7>),
        (Softirq::HrTimer, at::<8>),
        (Softirq::Rcu, at::<9>),
    ];
    let _turn = turn();
    for (which, handler) in TEN {
        softirq::open(which, handler);
    }
    on_cpu(1, || {
        interrupt(|| {
            for (which, _) in TEN.iter().rev() {
                softirq::raise_here(*which);
            }
        });
    });
    assert_eq!(*ORDER.lock().unwrap(), (0..10).collect::<Vec<_>>());
    let names = ["HI", "TIMER", "NET_TX", "NET_RX", "BLOCK", "IRQ_POLL", "TASKLET", "SCHED", "HRTIMER", "RCU"];
    assert_eq!(softirq::NAMES, names);
}

#[test]
fn what_is_raised_by_one_that_runs_is_not_lost() {
    let _turn = turn();
    block(|| {
        if CALLS.fetch_add(1, SeqCst) == 0 {
            softirq::raise_here(Softirq::Block);
        }
    });
    on_cpu(1, || {
        interrupt(|| softirq::raise_here(Softirq::Block));
        assert_eq!((CALLS.load(SeqCst), pending()), (2, 0));
    });
}

#[test]
fn after_ten_rounds_it_is_enough() {
    let _turn = turn();
    block(note_and_raise);
    on_cpu(1, || {
        interrupt(|| softirq::raise_here(Softirq::Block));
        assert_eq!(CALLS.load(SeqCst), 10);
        assert_eq!(pending(), 1 << Softirq::Block as u32, "the rest is not forgotten");
        block(note);
        interrupt(|| ());
        assert_eq!((CALLS.load(SeqCst), pending()), (1, 0));
    });
}

#[test]
fn after_two_milliseconds_it_is_enough() {
    let _turn = turn();
    block(|| {
        note_and_raise();
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_micros(1200) {}
    });
    on_cpu(1, || {
        interrupt(|| softirq::raise_here(Softirq::Block));
        // One of them may have lost the host's CPU for long.
        assert!((1..=2).contains(&CALLS.load(SeqCst)), "{} rounds of 1.2 ms", CALLS.load(SeqCst));
        softirq::open(Softirq::Block, note);
        interrupt(|| ());
    });
}

#[test]
fn who_is_to_run_comes_before_another_round() {
    let _turn = turn();
    block(|| {
        note_and_raise();
        if CALLS.load(SeqCst) == 3 {
            Context::here().set_need_resched();
        }
    });
    on_cpu(1, || {
        interrupt(|| softirq::raise_here(Softirq::Block));
        assert_eq!(CALLS.load(SeqCst), 3, "somebody wants the CPU");
        Context::here().clear_need_resched();
        block(note);
        interrupt(|| ());
        assert_eq!((CALLS.load(SeqCst), pending()), (1, 0));
    });
}

#[test]
fn who_is_woken_by_one_comes_before_another_round() {
    let _turn = turn();
    block(|| {
        note_and_raise();
        if CALLS.load(SeqCst) == 4 {
            let spawned = Spawned::new(async {}, Params::DEFAULT, b"woken", None, std::ptr::null()).unwrap();
            spawned.task().set_affinity(CpuMask::of(CpuId::current()));
            arch::without_irqs(|| drop(spawned.start()));
        }
    });
    // Nothing runs tasks on this CPU: this one waits for ever.
    on_cpu(2, || {
        ONLINE.insert(CpuId::current());
        ACTIVE.insert(CpuId::current());
        interrupt(|| softirq::raise_here(Softirq::Block));
        assert_eq!(CALLS.load(SeqCst), 4, "a task was woken");
        softirq::open(Softirq::Block, note);
    });
}

#[test]
fn a_softirq_interrupts_no_softirq() {
    static DEPTH: AtomicU32 = AtomicU32::new(0);
    static DEEPEST: AtomicU32 = AtomicU32::new(0);
    let _turn = turn();
    block(|| {
        DEEPEST.fetch_max(DEPTH.fetch_add(1, SeqCst) + 1, SeqCst);
        assert!(in_softirq() && in_interrupt() && !in_hardirq());
        if CALLS.fetch_add(1, SeqCst) < 3 {
            // A hard interrupt of the softirq.
            interrupt(|| {
                assert!(in_hardirq() && !in_softirq());
                softirq::raise_here(Softirq::Block);
            });
        }
        DEPTH.fetch_sub(1, SeqCst);
    });
    on_cpu(1, || {
        interrupt(|| softirq::raise_here(Softirq::Block));
        assert!(!in_interrupt());
    });
    assert_eq!((CALLS.load(SeqCst), DEEPEST.load(SeqCst)), (4, 1));
}

#[test]
fn interrupts_are_on_while_one_runs() {
    static ON: AtomicBool = AtomicBool::new(false);
    let _turn = turn();
    block(|| ON.store(!arch::irqs_disabled(), SeqCst));
    on_cpu(1, || {
        interrupt(|| softirq::raise_here(Softirq::Block));
        let irq = arch::irq_save();
        softirq::raise_here(Softirq::Block);
        softirq::irq_exit(Context::here());
        assert!(arch::irqs_disabled(), "and masked again afterwards");
        arch::irq_restore(irq);
        Context::here().clear_need_resched();
    });
    assert!(ON.load(SeqCst));
}

#[test]
fn the_same_one_runs_on_two_cpus_at_once() {
    static INSIDE: AtomicU32 = AtomicU32::new(0);
    static MET: AtomicU32 = AtomicU32::new(0);
    let _turn = turn();
    block(|| {
        INSIDE.fetch_add(1, SeqCst);
        let begun = Instant::now();
        while INSIDE.load(SeqCst) < 2 && begun.elapsed() < Duration::from_secs(20) {
            std::thread::yield_now();
        }
        MET.fetch_add(u32::from(INSIDE.load(SeqCst) == 2), SeqCst);
    });
    std::thread::scope(|s| {
        for cpu in [3, 4] {
            s.spawn(move || on_cpu(cpu, || interrupt(|| softirq::raise_here(Softirq::Block))));
        }
    });
    assert_eq!(MET.load(SeqCst), 2, "each waits in the handler for the other");
}

#[test]
fn a_cpu_with_bottom_halves_off_runs_none() {
    let _turn = turn();
    block(note);
    on_cpu(1, || {
        let outer = BhGuard::new();
        interrupt(|| softirq::raise_here(Softirq::Block));
        assert_eq!(CALLS.load(SeqCst), 0, "held back");
        let inner = BhGuard::new();
        drop(inner);
        assert_eq!(CALLS.load(SeqCst), 0, "still off");
        assert!(in_interrupt());
        drop(outer);
        assert!(!in_interrupt());
    });
}

#[test]
fn bottom_halves_that_were_held_back_run_when_they_are_on() {
    let _turn = turn();
    block(note);
    on_cpu(1, || {
        let off = BhGuard::new();
        interrupt(|| softirq::raise_here(Softirq::Block));
        drop(off);
        assert_eq!((CALLS.load(SeqCst), pending()), (1, 0));
    });
}

#[test]
fn what_is_raised_for_another_cpu_runs_there() {
    static AT: AtomicU32 = AtomicU32::new(0);
    let _turn = turn();
    block(|| AT.store(CpuId::current().index() as u32, SeqCst));
    on_cpu(1, || interrupt(|| softirq::raise(Softirq::Block, CpuMask::of(CpuId::new(5).unwrap()))));
    assert_eq!(AT.load(SeqCst), 0, "not here");
    on_cpu(5, || interrupt(|| ()));
    assert_eq!(AT.load(SeqCst), 5);
}

#[test]
fn what_a_cpu_leaves_behind_runs_on_another() {
    let _turn = turn();
    block(note);
    on_cpu(5, || {
        let irq = arch::irq_save();
        softirq::raise_here(Softirq::Block);
        arch::irq_restore(irq);
        Context::here().clear_need_resched();
    });
    on_cpu(1, || {
        softirq::take_over(CpuId::new(5).unwrap());
        Context::here().clear_need_resched();
        interrupt(|| ());
        assert_eq!((CALLS.load(SeqCst), pending()), (1, 0));
    });
    on_cpu(5, || assert_eq!(pending(), 0));
}
