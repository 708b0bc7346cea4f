//! Work queues on the real executor loop, with threads as CPUs and a task that stands for the timer interrupt.
#![cfg(not(loom))]

#[path = "common/cpus.rs"]
mod cpus;

use cpus::run;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};
use vigil_executor::cpu::CpuId;
use vigil_executor::executor::{YieldKind, yield_now};
use vigil_executor::sync::{Completion, rcu};
use vigil_executor::time::{MSEC, now};
use vigil_executor::timer::sleep_until;
use vigil_executor::wait::{WaitMode, Waited};
use vigil_executor::wait_site;
use vigil_executor::work::{AsyncWork, DelayedWork, Work, WorkQueue};

#[test]
fn items_run_once_per_queueing_and_flush_waits_for_them() {
    static RAN: AtomicU32 = AtomicU32::new(0);
    static ITEMS: [Work; 100] = [const {
        Work::new(|_| {
            RAN.fetch_add(1, SeqCst);
        })
    }; 100];
    static WQ: WorkQueue = WorkQueue::unbound("test_once", 3);
    run(async {
        WQ.start().unwrap();
        for round in 1..=5 {
            let queued = ITEMS.iter().filter(|w| WQ.queue(*w)).count();
            assert_eq!(queued, 100);
            WQ.flush().await;
            assert_eq!(RAN.load(SeqCst), 100 * round);
            assert!(ITEMS.iter().all(|w| !w.is_busy()));
        }
    });
}

#[test]
fn a_pending_item_is_not_queued_twice_and_can_be_cancelled() {
    static RAN: AtomicU32 = AtomicU32::new(0);
    static ITEM: Work = Work::new(|_| {
        RAN.fetch_add(1, SeqCst);
    });
    // No worker yet: what is queued stays.
    static WQ: WorkQueue = WorkQueue::unbound("test_cancel", 1);
    run(async {
        assert!(WQ.queue(&ITEM));
        assert!(!WQ.queue(&ITEM));
        assert!(ITEM.is_pending());
        assert!(WQ.cancel_sync(&ITEM).await);
        assert!(!WQ.cancel_sync(&ITEM).await);
        assert!(!ITEM.is_busy());
        WQ.start().unwrap();
        WQ.flush().await;
        assert_eq!(RAN.load(SeqCst), 0);
        assert!(WQ.queue(&ITEM));
        WQ.flush().await;
        assert_eq!(RAN.load(SeqCst), 1);
    });
}

#[test]
fn an_item_may_await_another_of_its_queue() {
    static GO: Completion = Completion::new();
    static DONE: AtomicU32 = AtomicU32::new(0);
    async fn wait_for_the_other() {
        GO.wait(wait_site!("test")).await;
        DONE.fetch_add(1, SeqCst);
    }
    type Waiting =
        AsyncWork<fn() -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>>, std::pin::Pin<Box<dyn Future<Output = ()> + Send>>>;
    static FIRST: Waiting = AsyncWork::new(|| Box::pin(wait_for_the_other()));
    static SECOND: Work = Work::new(|_| GO.complete());
    static WQ: WorkQueue = WorkQueue::unbound("test_await", 2);
    run(async {
        WQ.start().unwrap();
        assert!(WQ.queue(FIRST.work()));
        assert!(WQ.queue(&SECOND));
        WQ.flush().await;
        assert_eq!(DONE.load(SeqCst), 1);
    });
}

#[test]
fn an_item_never_runs_twice_at_the_same_time() {
    type Boxed = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;
    static GO: Completion = Completion::new();
    static BEGUN: AtomicU32 = AtomicU32::new(0);
    static SEEN: AtomicU32 = AtomicU32::new(0);
    static WAITS: AsyncWork<fn() -> Boxed, Boxed> = AsyncWork::new(|| {
        BEGUN.fetch_add(1, SeqCst);
        Box::pin(GO.wait(wait_site!("test")))
    });
    static AFTER: Work = Work::new(|_| SEEN.store(BEGUN.load(SeqCst), SeqCst));
    static WQ: WorkQueue = WorkQueue::unbound("test_twice", 4);
    run(async {
        WQ.start().unwrap();
        assert!(WQ.queue(WAITS.work()));
        while BEGUN.load(SeqCst) == 0 {
            yield_now(YieldKind::Yield).await;
        }
        assert!(WQ.queue(WAITS.work()), "it may be queued while it runs");
        assert!(WQ.queue(&AFTER));
        while SEEN.load(SeqCst) == 0 {
            yield_now(YieldKind::Yield).await;
        }
        assert_eq!(SEEN.load(SeqCst), 1);
        GO.complete_all();
        WQ.flush().await;
        assert_eq!(BEGUN.load(SeqCst), 2);
    });
}

#[test]
fn an_item_that_queues_itself_never_runs_twice_at_once() {
    static INSIDE: AtomicU32 = AtomicU32::new(0);
    static RAN: AtomicU32 = AtomicU32::new(0);
    static WQ: WorkQueue = WorkQueue::unbound("test_again", 4);
    fn again(work: &Work) {
        assert_eq!(INSIDE.fetch_add(1, SeqCst), 0);
        if RAN.fetch_add(1, SeqCst) < 60 {
            // SAFETY: the item is a static.
            let work: &'static Work = unsafe { &*(work as *const Work) };
            WQ.queue(work);
            for _ in 0..3 {
                thread::yield_now();
            }
        }
        INSIDE.fetch_sub(1, SeqCst);
    }
    static ITEM: Work = Work::new(again);
    static OTHER: [Work; 4] = [const { Work::new(|_| thread::yield_now()) }; 4];
    run(async {
        WQ.start().unwrap();
        WQ.queue(&ITEM);
        let limit = Instant::now() + Duration::from_secs(50);
        while RAN.load(SeqCst) <= 60 && Instant::now() < limit {
            OTHER.iter().for_each(|w| _ = WQ.queue(w));
            yield_now(YieldKind::Yield).await;
        }
        WQ.flush().await;
        assert_eq!(RAN.load(SeqCst), 61);
    });
}

#[test]
fn per_cpu_items_run_where_they_were_queued() {
    static SEEN: AtomicU64 = AtomicU64::new(0);
    static ITEM: Work = Work::new(|_| SEEN.store(CpuId::current().index() as u64 + 1, SeqCst));
    static WQ: WorkQueue = WorkQueue::per_cpu("test_percpu", 2);
    run(async {
        WQ.start().unwrap();
        for n in [0, 1, 0, 1] {
            assert!(WQ.queue_on(CpuId::new(n).unwrap(), &ITEM));
            WQ.flush().await;
            assert_eq!(SEEN.load(SeqCst), n as u64 + 1);
        }
    });
}

#[test]
fn delayed_work_comes_later_or_not_at_all() {
    static RAN: AtomicU32 = AtomicU32::new(0);
    static AT: AtomicU64 = AtomicU64::new(0);
    fn count(_: &Work) {
        AT.store(now(), SeqCst);
        RAN.fetch_add(1, SeqCst);
    }
    static SOON: DelayedWork = DelayedWork::new(count);
    static NEVER: DelayedWork = DelayedWork::new(count);
    static WQ: WorkQueue = WorkQueue::unbound("test_delayed", 1);
    run(async {
        WQ.start().unwrap();
        let scheduled = now();
        assert!(SOON.schedule(&WQ, 20 * MSEC));
        assert!(!SOON.schedule(&WQ, 0), "pending while its timer runs");
        assert!(NEVER.schedule(&WQ, 3_600_000 * MSEC));
        assert_eq!(RAN.load(SeqCst), 0);
        assert!(NEVER.cancel_sync().await);
        let start = now();
        while RAN.load(SeqCst) == 0 && now() - start < 10_000 * MSEC {
            sleep_until(wait_site!("test"), now() + MSEC, 0, WaitMode::Interruptible).await.unwrap();
        }
        assert_eq!(RAN.load(SeqCst), 1);
        assert!(AT.load(SeqCst) >= scheduled + 20 * MSEC);
        assert!(!SOON.cancel_sync().await);
    });
}

#[test]
fn waits_end_at_their_deadline_and_by_signals_on_the_real_loop() {
    run(async {
        let never = Completion::new();
        let before = now();
        let end = never.wait_deadline(wait_site!("test"), WaitMode::Interruptible, before + 5 * MSEC).await;
        assert_eq!(end, Waited::TimedOut);
        assert!(now() >= before + 5 * MSEC);
        // A signal that is pending ends an interruptible wait before it sleeps; an uninterruptible one it does not.
        let me = vigil_executor::task::TaskRef::current().unwrap();
        me.interrupt(vigil_executor::task::INTERRUPT_SIGNAL);
        assert!(never.wait_mode(wait_site!("test"), WaitMode::Interruptible).await.is_err());
        assert!(never.wait_deadline(wait_site!("test"), WaitMode::Killable, now() + MSEC).await == Waited::TimedOut);
        // What is true comes before the signal.
        never.complete();
        assert!(never.wait_mode(wait_site!("test"), WaitMode::Interruptible).await.is_ok());
        me.clear_interrupt(vigil_executor::task::INTERRUPT_SIGNAL);
        rcu::synchronize(wait_site!("test")).await;
        assert_eq!(me.waiting_at().map(|w| w.0.wchan), None);
    });
}
