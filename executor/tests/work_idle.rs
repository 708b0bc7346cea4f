//! Workers that have nothing to do: they stay for five minutes, and two of a pool for ever. Time goes on two hundred times as fast here.
#![cfg(not(loom))]

#[path = "common/cpus.rs"]
mod cpus;

use cpus::host::Host;
use cpus::run;
use std::collections::BTreeSet;
use std::pin::Pin;
use std::ptr::NonNull;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use vigil_executor::context::Context;
use vigil_executor::cpu::{CpuId, CpuMask};
use vigil_executor::executor::{YieldKind, yield_now};
use vigil_executor::platform::{self, Platform};
use vigil_executor::sync::Completion;
use vigil_executor::task::Task;
use vigil_executor::time::{self, SEC, now};
use vigil_executor::timer::sleep_until;
use vigil_executor::wait::WaitMode;
use vigil_executor::wait_site;
use vigil_executor::work::{AsyncWork, Work, WorkQueue};

type Boxed = Pin<Box<dyn Future<Output = ()> + Send>>;
type Waits = AsyncWork<fn() -> Boxed, Boxed>;

/// The names of the workers that there are.
static NAMES: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// The host, which knows its kernel tasks.
struct Known;

impl Platform for Known {
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
        Host.raise_rcu(mask);
    }
    fn kernel_task(&self, task: &Task) {
        if let Some(name) = worker(task) {
            assert!(NAMES.lock().unwrap().insert(name.clone()), "{name} twice");
        }
    }
    fn kernel_task_ends(&self, task: &Task) {
        if let Some(name) = worker(task) {
            assert!(NAMES.lock().unwrap().remove(&name), "{name} was not there");
        }
    }
}

/// The name of a worker that belongs to no CPU.
fn worker(task: &Task) -> Option<String> {
    let name = String::from_utf8_lossy(&task.name()).trim_end_matches('\0').to_string();
    name.starts_with("kworker/u").then_some(name)
}

fn workers() -> usize {
    NAMES.lock().unwrap().len()
}

async fn pass(seconds: u64) {
    let _ = sleep_until(wait_site!("test"), now() + seconds * SEC, 0, WaitMode::Uninterruptible).await;
}

#[test]
fn workers_without_work_end_after_five_minutes_but_two() {
    static GO: Completion = Completion::new();
    static INSIDE: AtomicU32 = AtomicU32::new(0);
    static RAN: AtomicU32 = AtomicU32::new(0);
    static WQ: WorkQueue = WorkQueue::unbound("test_idle", 32);
    static MANY: [Waits; 12] = [const {
        AsyncWork::new(|| {
            INSIDE.fetch_add(1, SeqCst);
            Box::pin(GO.wait(wait_site!("test")))
        })
    }; 12];
    static ONE: Work = Work::new(|_| _ = RAN.fetch_add(1, SeqCst));
    time::init(5_000_000, 0);
    platform::set(&Known);
    run(async {
        WQ.start().unwrap();
        assert!(MANY.iter().all(|w| WQ.queue(w.work())));
        while INSIDE.load(SeqCst) < 12 {
            yield_now(YieldKind::Yield).await;
        }
        let most = workers();
        assert!(most >= 12, "each item waits in a worker of its own: {most}");
        GO.complete_all();
        WQ.flush().await;
        pass(250).await;
        assert_eq!(workers(), most, "five minutes have not passed");
        // A timer of the kind is late by an eighth at most, and each of the two CPUs is a thread of a host that may be busy.
        let end = now() + 100 * 300 * SEC;
        while workers() > 2 && now() < end {
            pass(1).await;
        }
        pass(600).await;
        assert_eq!(workers(), 2, "two stay for what comes next");
        assert!(WQ.queue(&ONE));
        WQ.flush().await;
        assert_eq!(RAN.load(SeqCst), 1);
        // Others are made when they are needed, with names that nobody has.
        assert!(MANY.iter().all(|w| WQ.queue(w.work())));
        WQ.flush().await;
        assert_eq!(INSIDE.load(SeqCst), 24);
    });
}
