//! ksoftirqd: what is more than a bottom half may take is a fair task's.
#![cfg(not(loom))]

#[path = "common/cpus.rs"]
mod cpus;
#[path = "common/interrupt.rs"]
mod interrupt;

use cpus::{run, spawn};
use interrupt::interrupt;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::sync::{Mutex, Once};
use vigil_executor::class::Policy;
use vigil_executor::cpu::{CpuId, CpuMask, local_of};
use vigil_executor::executor::{YieldKind, params, yield_now};
use vigil_executor::softirq::{self, Softirq};
use vigil_executor::sync::Completion;
use vigil_executor::task;
use vigil_executor::time::{MSEC, now};
use vigil_executor::wait_site;

static TURN: Mutex<()> = Mutex::new(());

/// Calls of the handler, and those of them by ksoftirqd/0.
static CALLS: AtomicU32 = AtomicU32::new(0);
static BY_DAEMON: AtomicU32 = AtomicU32::new(0);
/// How often the handler raises itself again.
const FLOOD: u32 = 60;

/// Whether the current task is CPU 0's daemon.
fn in_daemon() -> bool {
    task::current().is_some_and(|t| t.name().starts_with(b"ksoftirqd/0"))
}

fn flood() {
    BY_DAEMON.fetch_add(u32::from(in_daemon()), SeqCst);
    if CALLS.fetch_add(1, SeqCst) < FLOOD {
        softirq::raise_here(Softirq::Block);
    }
}

/// Gives way until `done`, twenty seconds at most; whether it is.
async fn until(done: impl Fn() -> bool) -> bool {
    let end = now() + 20_000 * MSEC;
    while !done() && now() < end {
        yield_now(YieldKind::Yield).await;
    }
    done()
}

/// Runs `f` as a task of CPU 0, which has a daemon, with `handler` for `Block`; nothing is left there of another test.
fn on_cpu_0(handler: fn(), f: impl Future<Output = ()> + Send + 'static) {
    static DAEMON: Once = Once::new();
    run(async move {
        DAEMON.call_once(|| softirq::start_ksoftirqd(CpuId::BOOT).unwrap());
        let done: &'static Completion = Box::leak(Box::new(Completion::new()));
        spawn("flood", Some(0), async move {
            softirq::open(Softirq::Block, || ());
            until(|| local_of(CpuId::BOOT).pending.softirqs() == 0).await;
            CALLS.store(0, SeqCst);
            BY_DAEMON.store(0, SeqCst);
            softirq::open(Softirq::Block, handler);
            f.await;
            done.complete();
        });
        done.wait(wait_site!("test")).await;
    });
}

#[test]
fn what_is_left_after_the_budget_is_ksoftirqd_s() {
    let _turn = TURN.lock().unwrap_or_else(|e| e.into_inner());
    on_cpu_0(flood, async {
        interrupt(|| softirq::raise_here(Softirq::Block));
        assert!(CALLS.load(SeqCst) <= 10);
        assert!(until(|| CALLS.load(SeqCst) > FLOOD).await, "{} calls", CALLS.load(SeqCst));
        let rest = CALLS.load(SeqCst) - BY_DAEMON.load(SeqCst);
        assert!(rest <= 10, "{rest} calls were not ksoftirqd's");
    });
}

#[test]
fn while_ksoftirqd_is_at_it_nobody_else_is() {
    static OTHER: AtomicU32 = AtomicU32::new(0);
    let _turn = TURN.lock().unwrap_or_else(|e| e.into_inner());
    softirq::open(Softirq::IrqPoll, || {
        OTHER.fetch_add(1, SeqCst);
    });
    on_cpu_0(flood, async {
        interrupt(|| softirq::raise_here(Softirq::Block));
        let before = CALLS.load(SeqCst);
        // One poll: the daemon of this CPU does not run meanwhile.
        interrupt(|| softirq::raise_here(Softirq::IrqPoll));
        assert_eq!((CALLS.load(SeqCst), OTHER.load(SeqCst)), (before, 0), "they are ksoftirqd's");
        assert!(until(|| CALLS.load(SeqCst) > FLOOD && OTHER.load(SeqCst) == 1).await);
        // And afterwards they run at the end of the interrupt again.
        assert!(
            until(|| {
                let before = OTHER.load(SeqCst);
                interrupt(|| softirq::raise_here(Softirq::IrqPoll));
                OTHER.load(SeqCst) > before
            })
            .await
        );
    });
}

#[test]
fn ksoftirqd_is_a_fair_task_of_its_cpu() {
    static SEEN: AtomicBool = AtomicBool::new(false);
    let _turn = TURN.lock().unwrap_or_else(|e| e.into_inner());
    let look = || {
        flood();
        if let Some(me) = task::current()
            && in_daemon()
        {
            let p = params(me);
            SEEN.store(p.policy == Policy::Normal && p.nice == 0 && me.affinity() == CpuMask::of(CpuId::BOOT), SeqCst);
        }
    };
    on_cpu_0(look, async {
        interrupt(|| softirq::raise_here(Softirq::Block));
        assert!(until(|| CALLS.load(SeqCst) > FLOOD).await);
    });
    assert!(SEEN.load(SeqCst), "SCHED_OTHER, nice 0, on CPU 0 alone");
}

#[test]
fn a_flood_leaves_other_tasks_their_turns() {
    static GO_ON: AtomicBool = AtomicBool::new(true);
    static TURNS: AtomicU32 = AtomicU32::new(0);
    static ENOUGH: AtomicBool = AtomicBool::new(false);
    let _turn = TURN.lock().unwrap_or_else(|e| e.into_inner());
    let endless = || {
        CALLS.fetch_add(1, SeqCst);
        if GO_ON.load(SeqCst) {
            softirq::raise_here(Softirq::Block);
        }
    };
    on_cpu_0(endless, async {
        interrupt(|| softirq::raise_here(Softirq::Block));
        // Both go on: more calls than an interrupt makes, and more turns than come before ksoftirqd's first.
        ENOUGH.store(until(|| TURNS.fetch_add(1, SeqCst) > 100 && CALLS.load(SeqCst) > 100).await, SeqCst);
        GO_ON.store(false, SeqCst);
    });
    assert!(ENOUGH.load(SeqCst), "{} turns beside {} calls", TURNS.load(SeqCst), CALLS.load(SeqCst));
}
