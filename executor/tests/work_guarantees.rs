//! What users of work queues rely on, a test for each, on the real executor loop with threads as CPUs. Each fails on a planted bug
//! (`tests/mutants/work-*.mutant`).
#![cfg(not(loom))]

#[path = "common/cpus.rs"]
mod cpus;

use cpus::{run, spawn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use vigil_executor::cpu::{CpuId, CpuMask};
use vigil_executor::executor::{YieldKind, params, yield_now};
use vigil_executor::sync::Completion;
use vigil_executor::task;
use vigil_executor::time::{MSEC, now};
use vigil_executor::timer::sleep_until;
use vigil_executor::wait::WaitMode;
use vigil_executor::wait_site;
use vigil_executor::work::{self, AsyncWork, DelayedWork, Work, WorkQueue, queue_of};

type Boxed = Pin<Box<dyn Future<Output = ()> + Send>>;
type Waits = AsyncWork<fn() -> Boxed, Boxed>;

/// Gives way until `done`, ten seconds at most; whether it is.
async fn until(done: impl Fn() -> bool) -> bool {
    let end = now() + 10_000 * MSEC;
    while !done() && now() < end {
        yield_now(YieldKind::Yield).await;
    }
    done()
}

async fn pause(ms: u64) {
    let _ = sleep_until(wait_site!("test"), now() + ms * MSEC, 0, WaitMode::Uninterruptible).await;
}

#[test]
fn no_more_than_max_active_are_under_way() {
    static GO: Completion = Completion::new();
    static INSIDE: AtomicU32 = AtomicU32::new(0);
    static ENDED: AtomicU32 = AtomicU32::new(0);
    static ITEMS: [Waits; 30] = [const {
        AsyncWork::new(|| {
            INSIDE.fetch_add(1, SeqCst);
            Box::pin(async {
                GO.wait(wait_site!("test")).await;
                ENDED.fetch_add(1, SeqCst);
            })
        })
    }; 30];
    static WQ: WorkQueue = WorkQueue::unbound("test_max_active", 4);
    run(async {
        WQ.start().unwrap();
        assert!(ITEMS.iter().all(|w| WQ.queue(w.work())));
        assert!(until(|| INSIDE.load(SeqCst) >= 4).await);
        pause(20).await;
        assert_eq!(INSIDE.load(SeqCst), 4);
        WQ.set_max_active(6);
        assert!(until(|| INSIDE.load(SeqCst) >= 6).await, "a limit that is raised lets more begin");
        pause(20).await;
        assert_eq!(INSIDE.load(SeqCst), 6);
        GO.complete_all();
        WQ.flush().await;
        assert_eq!(ENDED.load(SeqCst), 30);
    });
}

#[test]
fn a_queue_that_is_full_holds_up_no_other() {
    static GO: Completion = Completion::new();
    static RAN: AtomicU32 = AtomicU32::new(0);
    static FULL: WorkQueue = WorkQueue::per_cpu("test_full", 1);
    static OTHER: WorkQueue = WorkQueue::per_cpu("test_other", 1);
    static WAITS: Waits = AsyncWork::new(|| Box::pin(GO.wait(wait_site!("test"))));
    static BEHIND: Work = Work::new(|_| _ = RAN.fetch_add(1, SeqCst));
    static ELSEWHERE: Work = Work::new(|_| _ = RAN.fetch_add(100, SeqCst));
    run(async {
        FULL.start().unwrap();
        OTHER.start().unwrap();
        assert!(FULL.queue_on(CpuId::BOOT, WAITS.work()));
        assert!(FULL.queue_on(CpuId::BOOT, &BEHIND));
        assert!(OTHER.queue_on(CpuId::BOOT, &ELSEWHERE));
        assert!(until(|| RAN.load(SeqCst) != 0).await);
        assert_eq!(RAN.load(SeqCst), 100);
        GO.complete_all();
        FULL.flush().await;
        assert_eq!(RAN.load(SeqCst), 101);
    });
}

#[test]
fn an_item_that_waits_lets_others_of_its_cpu_run() {
    static GO: Completion = Completion::new();
    static WQ: WorkQueue = WorkQueue::per_cpu("test_wait", 8);
    static WAITS: [Waits; 3] = [const { AsyncWork::new(|| Box::pin(GO.wait(wait_site!("test")))) }; 3];
    static SECOND: Work = Work::new(|_| GO.complete_all());
    run(async {
        WQ.start().unwrap();
        assert!(WAITS.iter().all(|w| WQ.queue_on(CpuId::BOOT, w.work())));
        assert!(WQ.queue_on(CpuId::BOOT, &SECOND));
        WQ.flush().await;
    });
}

#[test]
fn items_of_an_ordered_queue_run_one_by_one_in_order() {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    static BAD: AtomicU32 = AtomicU32::new(0);
    static WQ: WorkQueue = WorkQueue::ordered("test_ordered");
    /// Waits in the middle, which would let the next one begin.
    async fn step(n: u32) {
        BAD.fetch_add(u32::from(NEXT.load(SeqCst) != 2 * n), SeqCst);
        NEXT.fetch_add(1, SeqCst);
        pause(2).await;
        BAD.fetch_add(u32::from(NEXT.load(SeqCst) != 2 * n + 1), SeqCst);
        NEXT.fetch_add(1, SeqCst);
    }
    static A: Waits = AsyncWork::new(|| Box::pin(step(0)));
    static B: Waits = AsyncWork::new(|| Box::pin(step(1)));
    static C: Waits = AsyncWork::new(|| Box::pin(step(2)));
    run(async {
        WQ.start().unwrap();
        assert!([&A, &B, &C].iter().all(|w| WQ.queue(w.work())));
        WQ.flush().await;
        assert_eq!((NEXT.load(SeqCst), BAD.load(SeqCst)), (6, 0));
    });
}

#[test]
fn flush_waits_for_earlier_items_and_not_for_later_ones() {
    static GO: [Completion; 2] = [const { Completion::new() }; 2];
    static ENDED: AtomicU32 = AtomicU32::new(0);
    static FLUSHED: AtomicBool = AtomicBool::new(false);
    static WQ: WorkQueue = WorkQueue::unbound("test_flush", 8);
    static FLUSHER: WorkQueue = WorkQueue::unbound("test_flusher", 8);
    async fn wait(n: usize) {
        GO[n].wait(wait_site!("test")).await;
        ENDED.fetch_add(1, SeqCst);
    }
    static EARLIER: Waits = AsyncWork::new(|| Box::pin(wait(0)));
    static LATER: Waits = AsyncWork::new(|| Box::pin(wait(1)));
    static FLUSH: Waits = AsyncWork::new(|| {
        Box::pin(async {
            WQ.flush().await;
            FLUSHED.store(true, SeqCst);
        })
    });
    run(async {
        WQ.start().unwrap();
        FLUSHER.start().unwrap();
        assert!(WQ.queue(EARLIER.work()));
        assert!(FLUSHER.queue(FLUSH.work()));
        pause(20).await;
        assert!(!FLUSHED.load(SeqCst));
        assert!(WQ.queue(LATER.work()));
        GO[0].complete_all();
        assert!(until(|| FLUSHED.load(SeqCst)).await);
        assert_eq!(ENDED.load(SeqCst), 1);
        GO[1].complete_all();
        WQ.flush().await;
        assert_eq!(ENDED.load(SeqCst), 2);
    });
}

#[test]
fn flushes_go_on_side_by_side() {
    static GO: [Completion; 3] = [const { Completion::new() }; 3];
    static FLUSHED: [AtomicBool; 20] = [const { AtomicBool::new(false) }; 20];
    static WQ: WorkQueue = WorkQueue::unbound("test_colors", 8);
    async fn wait(n: usize) {
        GO[n].wait(wait_site!("test")).await;
    }
    static ITEMS: [Waits; 3] =
        [AsyncWork::new(|| Box::pin(wait(0))), AsyncWork::new(|| Box::pin(wait(1))), AsyncWork::new(|| Box::pin(wait(2)))];
    fn flush(n: usize) {
        spawn("flush", None, async move {
            WQ.flush().await;
            FLUSHED[n].store(true, SeqCst);
        });
    }
    let flushed = || FLUSHED.iter().filter(|f| f.load(SeqCst)).count();
    run(async move {
        WQ.start().unwrap();
        for (n, item) in ITEMS.iter().enumerate() {
            assert!(WQ.queue(item.work()));
            if n < 2 {
                flush(n);
                pause(20).await;
            }
        }
        // The second waits for the first item, although its own has run.
        GO[1].complete_all();
        pause(20).await;
        let early = flushed();
        GO[0].complete_all();
        // The last item, which came behind both, is none of theirs.
        let both = until(|| flushed() == 2).await;
        // More than there are colors.
        (2..20).for_each(flush);
        pause(20).await;
        let others = flushed();
        GO[2].complete_all();
        let all = until(|| flushed() == 20).await;
        assert_eq!((early, both, others, all), (0, true, 2, true));
    });
}

#[test]
fn flush_work_waits_for_the_run_that_was_asked_for_last() {
    static GO: Completion = Completion::new();
    static ENDED: AtomicU32 = AtomicU32::new(0);
    static WQ: WorkQueue = WorkQueue::unbound("test_flush_work", 8);
    static ITEM: Waits = AsyncWork::new(|| {
        Box::pin(async {
            GO.wait(wait_site!("test")).await;
            ENDED.fetch_add(1, SeqCst);
        })
    });
    run(async {
        WQ.start().unwrap();
        assert!(!WQ.flush_work(ITEM.work()).await);
        for round in 1..=20 {
            assert!(WQ.queue(ITEM.work()));
            GO.complete();
            assert!(WQ.flush_work(ITEM.work()).await || ENDED.load(SeqCst) == round);
            assert_eq!(ENDED.load(SeqCst), round);
        }
        // It runs, and is pending again: both runs.
        assert!(WQ.queue(ITEM.work()));
        assert!(until(|| !ITEM.work().is_pending()).await);
        assert!(WQ.queue(ITEM.work()));
        GO.complete();
        GO.complete();
        assert!(WQ.flush_work(ITEM.work()).await || ENDED.load(SeqCst) == 22);
        assert_eq!(ENDED.load(SeqCst), 22);
    });
}

#[test]
fn cancel_sync_ends_an_item_that_queues_itself() {
    static RAN: AtomicU32 = AtomicU32::new(0);
    static INSIDE: AtomicU32 = AtomicU32::new(0);
    static WQ: WorkQueue = WorkQueue::unbound("test_cancel_sync", 4);
    static ITEM: Waits = AsyncWork::new(|| {
        Box::pin(async {
            INSIDE.fetch_add(1, SeqCst);
            RAN.fetch_add(1, SeqCst);
            WQ.queue(ITEM.work());
            pause(2).await;
            WQ.queue(ITEM.work());
            INSIDE.fetch_sub(1, SeqCst);
        })
    });
    run(async {
        WQ.start().unwrap();
        for _ in 0..10 {
            let before = RAN.load(SeqCst);
            assert!(WQ.queue(ITEM.work()));
            assert!(until(|| RAN.load(SeqCst) > before).await);
            WQ.cancel_sync(ITEM.work()).await;
            let after = RAN.load(SeqCst);
            assert_eq!(INSIDE.load(SeqCst), 0, "it does not run after cancel_sync");
            assert!(!ITEM.work().is_busy());
            pause(3).await;
            assert_eq!(RAN.load(SeqCst), after);
        }
        WQ.flush().await;
    });
}

#[test]
fn drain_takes_what_its_own_items_queue_and_refuses_the_rest() {
    static RAN: AtomicU32 = AtomicU32::new(0);
    static REFUSED: AtomicBool = AtomicBool::new(false);
    static STARTED: Completion = Completion::new();
    static GO: Completion = Completion::new();
    static WQ: WorkQueue = WorkQueue::unbound("test_drain", 4);
    static OUTSIDE: WorkQueue = WorkQueue::unbound("test_outside", 4);
    fn chain(_: &Work) {
        if RAN.fetch_add(1, SeqCst) < 5 {
            assert!(WQ.queue(&CHAIN[RAN.load(SeqCst) as usize % 2]));
        }
    }
    static CHAIN: [Work; 2] = [const { Work::new(chain) }; 2];
    static FIRST: Waits = AsyncWork::new(|| {
        Box::pin(async {
            STARTED.complete();
            GO.wait(wait_site!("test")).await;
            assert!(WQ.queue(&CHAIN[0]));
        })
    });
    static STRANGER: Work = Work::new(|_| _ = RAN.fetch_add(1000, SeqCst));
    static TRIES: Waits = AsyncWork::new(|| {
        Box::pin(async {
            STARTED.wait(wait_site!("test")).await;
            pause(20).await;
            REFUSED.store(!WQ.queue(&STRANGER), SeqCst);
            GO.complete();
        })
    });
    run(async {
        WQ.start().unwrap();
        OUTSIDE.start().unwrap();
        assert!(WQ.queue(FIRST.work()));
        assert!(OUTSIDE.queue(TRIES.work()));
        WQ.drain().await;
        assert_eq!(RAN.load(SeqCst), 6);
        assert!(REFUSED.load(SeqCst));
        assert!(WQ.queue(&STRANGER), "it takes items again");
        WQ.flush().await;
        assert_eq!(RAN.load(SeqCst), 1006);
    });
}

#[test]
fn items_of_a_freezable_queue_do_not_begin_while_frozen() {
    static RAN: AtomicU32 = AtomicU32::new(0);
    static WQ: WorkQueue = WorkQueue::per_cpu("test_freeze", 4).freezable();
    static OTHER: WorkQueue = WorkQueue::per_cpu("test_no_freeze", 4);
    static ITEM: Work = Work::new(|_| _ = RAN.fetch_add(1, SeqCst));
    static AWAKE: Work = Work::new(|_| _ = RAN.fetch_add(100, SeqCst));
    run(async {
        WQ.start().unwrap();
        OTHER.start().unwrap();
        work::freeze_all();
        assert!(!work::freezing_waits());
        assert!(WQ.queue_on(CpuId::BOOT, &ITEM));
        assert!(OTHER.queue_on(CpuId::BOOT, &AWAKE));
        OTHER.flush().await;
        pause(10).await;
        assert_eq!(RAN.load(SeqCst), 100);
        work::thaw_all();
        WQ.flush().await;
        assert_eq!(RAN.load(SeqCst), 101);
    });
}

#[test]
fn high_priority_items_run_in_workers_of_nice_minus_20() {
    static NICE: AtomicU32 = AtomicU32::new(0);
    static WQ: WorkQueue = WorkQueue::per_cpu("test_highpri", 4).highpri();
    static ITEM: Work = Work::new(|_| {
        let nice = task::current().map_or(0, |t| params(t).nice);
        NICE.store((nice as i32 + 100) as u32, SeqCst);
    });
    run(async {
        WQ.start().unwrap();
        assert!(WQ.queue(&ITEM));
        WQ.flush().await;
        assert_eq!(NICE.load(SeqCst), 80);
    });
}

#[test]
fn workers_are_known_by_their_queue_and_take_its_attributes() {
    static SEEN: AtomicU32 = AtomicU32::new(0);
    static WQ: WorkQueue = WorkQueue::unbound("test_attrs", 4);
    static ITEM: Work = Work::new(|_| {
        let me = task::current().unwrap();
        let known = queue_of(me) == Some(("test_attrs", true));
        let nice = params(me).nice == 5;
        let cpus = CpuId::current().index() == 1;
        SEEN.store(1 + 2 * u32::from(known) + 4 * u32::from(nice) + 8 * u32::from(cpus), SeqCst);
    });
    run(async {
        WQ.start().unwrap();
        // The worker is there when they change.
        pause(5).await;
        WQ.set_attributes(5, CpuMask::of(CpuId::new(1).unwrap()));
        assert_eq!((WQ.nice(), WQ.cpus()), (5, CpuMask::of(CpuId::new(1).unwrap())));
        assert!(WQ.queue(&ITEM));
        WQ.flush().await;
        assert_eq!(SEEN.load(SeqCst), 15);
    });
}

#[test]
fn a_delay_can_be_changed_flushed_and_cancelled() {
    static RAN: AtomicU32 = AtomicU32::new(0);
    static WQ: WorkQueue = WorkQueue::unbound("test_mod_delayed", 1);
    static ITEM: DelayedWork = DelayedWork::new(|_| _ = RAN.fetch_add(1, SeqCst));
    run(async {
        WQ.start().unwrap();
        assert!(ITEM.schedule(&WQ, 3_600_000 * MSEC));
        assert!(ITEM.modify(&WQ, 5 * MSEC), "its timer ran");
        assert!(until(|| RAN.load(SeqCst) == 1).await);
        assert!(ITEM.schedule(&WQ, 3_600_000 * MSEC));
        assert!(ITEM.flush().await);
        assert_eq!(RAN.load(SeqCst), 2);
        assert!(ITEM.schedule(&WQ, 3_600_000 * MSEC));
        assert!(ITEM.cancel_sync().await);
        assert!(!ITEM.work().is_busy());
        assert!(!ITEM.cancel_sync().await);
        assert!(ITEM.schedule(&WQ, 0), "it can be scheduled again");
        WQ.flush().await;
        assert_eq!(RAN.load(SeqCst), 3);
    });
}
