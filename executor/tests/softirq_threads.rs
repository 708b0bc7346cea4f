//! Softirqs with the word `threadirqs`: ksoftirqd's alone. A program of its own, because the word holds for all CPUs.
#![cfg(not(loom))]

#[path = "common/cpus.rs"]
mod cpus;
#[path = "common/interrupt.rs"]
mod interrupt;

use cpus::{run, spawn};
use interrupt::interrupt;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use vigil_executor::cpu::CpuId;
use vigil_executor::executor::{YieldKind, yield_now};
use vigil_executor::softirq::{self, Softirq};
use vigil_executor::task;
use vigil_executor::time::{MSEC, now};

static BY_DAEMON: AtomicU32 = AtomicU32::new(0);
static BY_OTHERS: AtomicU32 = AtomicU32::new(0);

#[test]
fn with_threadirqs_softirqs_are_ksoftirqd_s_alone() {
    softirq::leave_to_threads();
    softirq::open(Softirq::Block, || {
        let daemon = task::current().is_some_and(|t| t.name().starts_with(b"ksoftirqd/0"));
        if daemon { &BY_DAEMON } else { &BY_OTHERS }.fetch_add(1, SeqCst);
    });
    run(async {
        softirq::start_ksoftirqd(CpuId::BOOT).unwrap();
        spawn("raises", Some(0), async {
            for _ in 0..20 {
                let before = BY_DAEMON.load(SeqCst);
                interrupt(|| softirq::raise_here(Softirq::Block));
                while BY_DAEMON.load(SeqCst) == before && BY_OTHERS.load(SeqCst) == 0 {
                    yield_now(YieldKind::Yield).await;
                }
            }
        });
        let end = now() + 20_000 * MSEC;
        while BY_DAEMON.load(SeqCst) + BY_OTHERS.load(SeqCst) < 20 && now() < end {
            yield_now(YieldKind::Yield).await;
        }
    });
    assert_eq!((BY_DAEMON.load(SeqCst), BY_OTHERS.load(SeqCst)), (20, 0));
}
