//! Callbacks of CPUs that are kept free of them run in their tasks, those of others do not.
#![cfg(not(loom))]

#[path = "common/cpus.rs"]
mod cpus;

use cpus::host::Host;
use cpus::{run, spawn};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use vigil_executor::context::Context;
use vigil_executor::cpu::{CpuId, CpuMask};
use vigil_executor::executor::{YieldKind, yield_now};
use vigil_executor::platform::{self, Platform};
use vigil_executor::softirq::{self, Softirq};
use vigil_executor::sync::rcu::{self, RcuHead, nocb};
use vigil_executor::task;
use vigil_executor::time::{SEC, now};
use vigil_executor::wait_site;

/// The host with the RCU softirq.
struct Softirqs;

impl Platform for Softirqs {
    fn send_reschedule(&self, cpu: CpuId) {
        Host.send_reschedule(cpu);
    }
    fn program_timer(&self, count: u64) {
        Host.program_timer(count);
    }
    fn alloc_stack(&self) -> Option<NonNull<Context>> {
        Host.alloc_stack()
    }
    fn raise_rcu(&self, mask: CpuMask) {
        softirq::raise(Softirq::Rcu, mask);
    }
}

/// Callbacks that were called in the task `rcuos/1`, and elsewhere.
static IN_TASK: AtomicU32 = AtomicU32::new(0);
static ELSEWHERE: AtomicU32 = AtomicU32::new(0);

unsafe fn note(head: NonNull<RcuHead>) {
    let in_task = task::current().is_some_and(|t| t.name().starts_with(b"rcuos/1\0"));
    if in_task {
        IN_TASK.fetch_add(1, SeqCst)
    } else {
        ELSEWHERE.fetch_add(1, SeqCst)
    };
    // SAFETY: `queue` made it of a box, and it is called once.
    drop(unsafe { Box::from_raw(head.as_ptr()) });
}

/// Queues `count` callbacks on CPU `cpu`.
fn queue(cpu: usize, count: u32) {
    spawn("queues", Some(cpu), async move {
        for _ in 0..count {
            let head = Box::leak(Box::new(RcuHead::new()));
            // SAFETY: it lives until it is called.
            unsafe { rcu::call_rcu(NonNull::from(head), note) };
        }
    });
}

async fn until(done: impl Fn() -> bool) -> bool {
    let end = now() + 20 * SEC;
    while !done() && now() < end {
        yield_now(YieldKind::Yield).await;
    }
    done()
}

#[test]
fn callbacks_of_a_cpu_that_is_kept_free_run_in_its_task() {
    platform::set(&Softirqs);
    run(async {
        let cpu = CpuId::new(1).unwrap();
        nocb::offload(CpuMask::of(cpu));
        spawn("rcuog/0", None, nocb::grace_periods(CpuMask(0b11)));
        spawn("rcuos/1", None, nocb::callbacks(cpu));
        queue(1, 500);
        assert!(until(|| IN_TASK.load(SeqCst) + ELSEWHERE.load(SeqCst) == 500).await, "{IN_TASK:?} {ELSEWHERE:?} of 500 were called");
        assert_eq!((IN_TASK.load(SeqCst), ELSEWHERE.load(SeqCst)), (500, 0));
        queue(0, 500);
        assert!(until(|| IN_TASK.load(SeqCst) + ELSEWHERE.load(SeqCst) == 1000).await, "{IN_TASK:?} {ELSEWHERE:?} of 1000 were called");
        assert_eq!(IN_TASK.load(SeqCst), 500, "CPU 0 calls its own");
        queue(1, 100);
        // It waits for those in the task, too.
        while IN_TASK.load(SeqCst) == 500 {
            rcu::barrier(wait_site!("test")).await;
        }
        rcu::barrier(wait_site!("test")).await;
        assert_eq!(IN_TASK.load(SeqCst), 600);
    });
}
