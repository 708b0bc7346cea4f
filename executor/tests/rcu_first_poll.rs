//! A CPU's first poll, before it has ever been idle, may read under RCU like any other.
#![cfg(not(loom))]

#[path = "common/host.rs"]
mod host;
#[path = "common/run_cpu.rs"]
mod run_cpu;

use host::Host;
use run_cpu::{bring_up, run_cpu};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};
use vigil_executor::class::Params;
use vigil_executor::cpu::{CpuId, CpuMask};
use vigil_executor::platform;
use vigil_executor::sync::rcu;
use vigil_executor::task::Spawned;

static READING: AtomicBool = AtomicBool::new(false);
static LEAVE: AtomicBool = AtomicBool::new(false);

fn within_a_minute(what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(60), "{what}");
        thread::yield_now();
    }
}

#[test]
fn a_grace_period_waits_for_a_reader_in_the_first_poll_of_its_cpu() {
    platform::set(&Host);
    let cpu = CpuId::new(1).unwrap();
    bring_up(cpu);
    let reader = async {
        let guard = rcu::read_lock();
        READING.store(true, SeqCst);
        while !LEAVE.load(SeqCst) {
            thread::yield_now();
        }
        drop(guard);
    };
    let spawned = Spawned::new(reader, Params::DEFAULT, b"reader", None, std::ptr::null()).unwrap();
    assert!(spawned.task().set_affinity(CpuMask::of(cpu)));
    // In its inbox before the CPU comes: the first thing that it does.
    drop(spawned.start());
    run_cpu(cpu, || {});
    within_a_minute("the first poll never began", || READING.load(SeqCst));
    let cookie = rcu::poll_state();
    assert!(!rcu::poll_done(cookie), "the reader was not waited for");
    LEAVE.store(true, SeqCst);
    within_a_minute("the grace period never ended", || rcu::poll_done(cookie));
}
