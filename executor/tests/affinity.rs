//! A task that lies in an inbox, because what its CPU runs stays before it, goes as soon as it may run elsewhere only: threads as
//! CPUs, and a poll that takes its CPU's interrupts by itself.
#![cfg(not(loom))]

#[path = "common/polled.rs"]
mod polled;

use polled::interrupt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};
use vigil_executor::arch;
use vigil_executor::class::Params;
use vigil_executor::context::Context;
use vigil_executor::cpu::{ACTIVE, CpuId, CpuMask, ONLINE, local_of};
use vigil_executor::executor;
use vigil_executor::platform::{self, Platform};
use vigil_executor::sync::{Completion, rcu};
use vigil_executor::task::{Spawned, TaskRef};
use vigil_executor::wait_site;

struct Host;

/// CPU 0 was sent an interrupt.
static SENT: AtomicBool = AtomicBool::new(false);
static HOG_RUNS: AtomicBool = AtomicBool::new(false);
static SLEEPS: AtomicBool = AtomicBool::new(false);
static STOP: AtomicBool = AtomicBool::new(false);
static RAN_ON: AtomicUsize = AtomicUsize::new(usize::MAX);

impl Platform for Host {
    fn send_reschedule(&self, cpu: CpuId) {
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

fn start(name: &[u8], priority: u8, future: impl Future<Output = ()> + Send + 'static) -> TaskRef {
    let spawned = Spawned::new(future, Params::fifo(priority), name, None, std::ptr::null()).unwrap();
    assert!(spawned.task().set_affinity(CpuMask::of(CpuId::BOOT)));
    spawned.start()
}

fn soon(what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what}");
        thread::yield_now();
    }
}

#[test]
fn who_lies_behind_a_more_urgent_poll_leaves_when_it_may_run_elsewhere_only() {
    platform::set(&Host);
    // SAFETY: no executor runs as CPU 7.
    unsafe { arch::set_cpu_local(local_of(cpu(7))) };
    for n in 0..2 {
        ONLINE.insert(cpu(n));
        ACTIVE.insert(cpu(n));
        thread::spawn(move || {
            // SAFETY: one thread per CPU.
            unsafe { arch::set_cpu_local(local_of(cpu(n))) };
            let _ = arch::irq_save();
            rcu::idle_exit(cpu(n));
            executor::run()
        });
    }
    let woken = Arc::new(Completion::new());
    let go = woken.clone();
    let sleeper = start(b"sleeper", 10, async move {
        SLEEPS.store(true, SeqCst);
        woken.wait(wait_site!("test")).await;
        RAN_ON.store(CpuId::current().index(), SeqCst);
    });
    soon("the sleeper never slept", || SLEEPS.load(SeqCst) && sleeper.is_sleeping());
    drop(start(b"hog", 20, async move {
        go.complete();
        SENT.store(false, SeqCst);
        HOG_RUNS.store(true, SeqCst);
        while !STOP.load(SeqCst) {
            if SENT.swap(false, SeqCst) {
                interrupt();
            }
            thread::yield_now();
        }
    }));
    soon("the hog never ran", || HOG_RUNS.load(SeqCst));
    assert!(executor::set_affinity(&sleeper, CpuMask::of(cpu(1))));
    soon("it lies where it may not run", || RAN_ON.load(SeqCst) == 1);
    STOP.store(true, SeqCst);
}
