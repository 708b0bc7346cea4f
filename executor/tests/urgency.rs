//! A task that becomes more urgent while it waits behind something more urgent still runs where it may run at once: threads as CPUs, and
//! a poll that takes its CPU's interrupts by itself. Nobody's timer ends the wait.
#![cfg(not(loom))]

#[path = "common/balanced.rs"]
mod balanced;
#[path = "common/polled.rs"]
mod polled;
#[path = "common/run_cpu.rs"]
mod run_cpu;

use core::cell::Cell;
use core::pin::pin;
use polled::interrupt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};
use vigil_executor::arch;
use vigil_executor::class::Params;
use vigil_executor::context::Context;
use vigil_executor::cpu::{CpuId, CpuMask, local_of};
use vigil_executor::executor::{YieldKind, effective_params, set_affinity, set_params, yield_now};
use vigil_executor::platform::{self, Platform};
use vigil_executor::sync::rt_mutex::{RtMutex, RtWaiter, prepare};
use vigil_executor::task::{Spawned, TaskRef};

struct Host;

/// CPU 0 was sent an interrupt.
static SENT: AtomicBool = AtomicBool::new(false);
static HOG_RUNS: AtomicBool = AtomicBool::new(false);
static STOP: AtomicBool = AtomicBool::new(false);
static BEGUN: AtomicBool = AtomicBool::new(false);
static GO: AtomicBool = AtomicBool::new(false);
static RAN_ON: AtomicUsize = AtomicUsize::new(usize::MAX);

thread_local! {
    /// This thread has sent one to any CPU.
    static ASKED: Cell<bool> = const { Cell::new(false) };
}

impl Platform for Host {
    fn send_reschedule(&self, cpu: CpuId) {
        ASKED.set(true);
        if cpu == CpuId::BOOT {
            SENT.store(true, SeqCst);
        }
    }
    fn raise_rcu(&self, _mask: CpuMask) {}
    fn program_timer(&self, _count: u64) {}
    fn alloc_stack(&self) -> Option<std::ptr::NonNull<Context>> {
        None
    }
}

fn cpu(n: usize) -> CpuId {
    CpuId::new(n).unwrap()
}

fn spawn(params: Params, on: usize, future: impl Future<Output = ()> + Send + 'static) -> Spawned {
    let spawned = Spawned::new(future, params, b"test", None, std::ptr::null()).unwrap();
    assert!(spawned.task().set_affinity(CpuMask::of(cpu(on))));
    prepare(spawned.task()).unwrap();
    spawned
}

fn soon(what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what}");
        thread::yield_now();
    }
}

/// A fair task waits on CPU 0 behind FIFO 90, and may run on CPU 1, which has FIFO 30: `raise` makes it more urgent than that.
fn waits_until(what: &str, raise: impl FnOnce(&TaskRef)) {
    [&STOP, &HOG_RUNS, &BEGUN, &GO].into_iter().for_each(|flag| flag.store(false, SeqCst));
    RAN_ON.store(usize::MAX, SeqCst);
    let waits = spawn(Params::DEFAULT, 0, async {
        while !GO.load(SeqCst) {
            BEGUN.store(true, SeqCst);
            yield_now(YieldKind::Yield).await;
        }
        RAN_ON.store(CpuId::current().index(), SeqCst);
    })
    .start();
    soon("it never began", || BEGUN.load(SeqCst));
    drop(
        spawn(Params::fifo(90), 0, async {
            HOG_RUNS.store(true, SeqCst);
            while !STOP.load(SeqCst) {
                if SENT.swap(false, SeqCst) {
                    interrupt();
                }
                thread::yield_now();
            }
            HOG_RUNS.store(false, SeqCst);
        })
        .start(),
    );
    soon("the hog never ran", || HOG_RUNS.load(SeqCst));
    GO.store(true, SeqCst);
    assert!(set_affinity(&waits, CpuMask(0b11)));
    // Whatever that has asked for has been done.
    thread::sleep(Duration::from_millis(100));
    assert_eq!(RAN_ON.load(SeqCst), usize::MAX, "{what}: a fair task ran before FIFO 30");
    ASKED.set(false);
    raise(&waits);
    assert!(ASKED.get(), "{what}: it waits until a CPU looks around by chance");
    soon(what, || RAN_ON.load(SeqCst) == 1);
    STOP.store(true, SeqCst);
    soon("the hog never ended", || !HOG_RUNS.load(SeqCst));
}

#[test]
fn who_becomes_more_urgent_while_it_waits_runs_elsewhere() {
    platform::set(&Host);
    balanced::boot(2);
    // SAFETY: no executor runs as CPU 7.
    unsafe { arch::set_cpu_local(local_of(cpu(7))) };
    let other = spawn(Params::fifo(30), 1, async {
        loop {
            yield_now(YieldKind::Yield).await;
        }
    });
    drop(other.start());
    waits_until("what is set is not told", |task| set_params(task, Params::fifo(50)));
    // Who waits for a mutex lends its priority to the owner.
    let (mutex, waiter) = (pin!(RtMutex::new()), pin!(RtWaiter::new()));
    let (mutex, waiter) = (mutex.as_ref(), waiter.as_ref());
    let urgent = spawn(Params::fifo(60), 1, async {});
    waits_until("what is lent is not told", |task| {
        mutex.own(task.clone());
        mutex.enqueue(waiter, TaskRef::from_task(urgent.task())).unwrap();
        assert_eq!(effective_params(task).rt_priority, 60);
    });
    mutex.hand_over();
    mutex.hand_over();
}
