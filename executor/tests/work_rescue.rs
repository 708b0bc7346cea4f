//! Work queues without memory for another worker.
#![cfg(not(loom))]

#[path = "common/cpus.rs"]
mod cpus;

use cpus::run;
use std::alloc::{GlobalAlloc, Layout, System};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard};
use vigil_executor::cpu::CpuId;
use vigil_executor::executor::{YieldKind, yield_now};
use vigil_executor::sync::Completion;
use vigil_executor::task;
use vigil_executor::time::{MSEC, now};
use vigil_executor::timer::sleep_until;
use vigil_executor::wait::WaitMode;
use vigil_executor::wait_site;
use vigil_executor::work::{AsyncWork, Work, WorkQueue};

type Boxed = Pin<Box<dyn Future<Output = ()> + Send>>;
type Waits = AsyncWork<fn() -> Boxed, Boxed>;

/// An allocator that at times has nothing of the size of a task.
struct Short;
static SHORT: AtomicBool = AtomicBool::new(false);
static FAILED: AtomicU32 = AtomicU32::new(0);

// SAFETY: the system's allocator, or nothing.
unsafe impl GlobalAlloc for Short {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if SHORT.load(SeqCst) && layout.size() > 400 {
            FAILED.fetch_add(1, SeqCst);
            return std::ptr::null_mut();
        }
        // SAFETY: as the caller says.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: it came from there.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Short = Short;

/// Memory is short for everybody: one test at a time.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(|e| e.into_inner())
}

#[test]
fn a_rescuer_runs_what_is_needed_to_get_memory() {
    static GO: Completion = Completion::new();
    static FREED: AtomicBool = AtomicBool::new(false);
    static WQ: WorkQueue = WorkQueue::unbound("test_rescue", 8).mem_reclaim();
    static WAITS: Waits = AsyncWork::new(|| Box::pin(GO.wait(wait_site!("test"))));
    static FREES: Work = Work::new(|_| {
        FREED.store(task::current().is_some_and(|t| t.name().starts_with(b"test_rescue")), SeqCst);
        GO.complete_all();
    });
    let _turn = turn();
    run(async {
        WQ.start().unwrap();
        // Until the rescuer is there.
        let _ = sleep_until(wait_site!("test"), now() + 20 * MSEC, 0, WaitMode::Uninterruptible).await;
        SHORT.store(true, SeqCst);
        // The worker that there is waits, and there is no memory for another.
        assert!(WQ.queue(WAITS.work()));
        assert!(WQ.queue(&FREES));
        let end = now() + 10_000 * MSEC;
        while !FREED.load(SeqCst) && now() < end {
            yield_now(YieldKind::Yield).await;
        }
        SHORT.store(false, SeqCst);
        assert!(FAILED.load(SeqCst) > 0, "there was memory");
        assert!(FREED.load(SeqCst));
        WQ.flush().await;
    });
}

#[test]
fn a_rescuer_runs_an_item_of_a_cpu_there() {
    const ROUNDS: usize = 4;
    static GO: [Completion; ROUNDS] = [const { Completion::new() }; ROUNDS];
    static AT: [AtomicU32; ROUNDS] = [const { AtomicU32::new(0) }; ROUNDS];
    static WQ: WorkQueue = WorkQueue::per_cpu("test_resc_cpu", 8).mem_reclaim();
    static ROUND: AtomicU32 = AtomicU32::new(0);
    fn round() -> usize {
        ROUND.load(SeqCst) as usize
    }
    static BEGUN: [AtomicBool; ROUNDS] = [const { AtomicBool::new(false) }; ROUNDS];
    async fn wait() {
        BEGUN[round()].store(true, SeqCst);
        GO[round()].wait(wait_site!("test")).await;
    }
    async fn until(done: impl Fn() -> bool) {
        let end = now() + 10_000 * MSEC;
        while !done() && now() < end {
            yield_now(YieldKind::Yield).await;
        }
    }
    static WAITS: [Waits; ROUNDS] = [const { AsyncWork::new((|| Box::pin(wait())) as fn() -> Boxed) }; ROUNDS];
    static FREES: [Work; ROUNDS] = [const {
        Work::new(|_| {
            let rescuer = task::current().is_some_and(|t| t.name().starts_with(b"test_resc_cpu"));
            AT[round()].store(if rescuer { 10 + CpuId::current().index() as u32 } else { 1 }, SeqCst);
            GO[round()].complete_all();
        })
    }; ROUNDS];
    let _turn = turn();
    run(async {
        WQ.start().unwrap();
        let _ = sleep_until(wait_site!("test"), now() + 20 * MSEC, 0, WaitMode::Uninterruptible).await;
        for n in 0..ROUNDS {
            let cpu = CpuId::new(n % 2).unwrap();
            ROUND.store(n as u32, SeqCst);
            SHORT.store(true, SeqCst);
            // The worker's own, before the rescuer is called.
            assert!(WQ.queue_on(cpu, WAITS[n].work()));
            until(|| BEGUN[n].load(SeqCst)).await;
            assert!(WQ.queue_on(cpu, &FREES[n]));
            until(|| AT[n].load(SeqCst) != 0).await;
            SHORT.store(false, SeqCst);
            WQ.flush().await;
        }
    });
    assert_eq!(AT.each_ref().map(|at| at.load(SeqCst)), [10, 11, 10, 11]);
}
