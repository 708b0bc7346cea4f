//! What an interrupt, a bottom half, a work item and a timer cost, in instructions.
//!
//! Meant for `-icount shift=0`, and one CPU but for `ipi_to_poll`. Each cost prints one line as [`super::stages`] do; the numbers hold
//! the few instructions that reading the counter takes.
//!
//! | NAME | from | to |
//! |---|---|---|
//! | `timer_nothing` | a loop is interrupted by the comparator, and no timer is due | it goes on |
//! | `timer_call` | the same, and a timer's function is called, which wakes nobody | it goes on |
//! | `softirq` | a timer's function raises a softirq | its handler is called |
//! | `work` | a fair task queues a work item, and waits | the item's function is called |
//! | `work_async` | the same | the item's future is polled |
//! | `work_irq` | a timer's function queues a work item; the CPU idles | the item's function is called |
//! | `timer_N` | a timer is started, with N others pending | it is cancelled again |
//! | `ipi_to_poll` | the first instruction of the vector on another CPU, which idles, after a wake | the woken future is polled |

use super::latency::{pause, start_on_boot_cpu};
use super::stages::Stage;
use super::{Rng, report};
use core::pin::Pin;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};
use core::task::{Poll, Waker};
use vigil_executor::arch::cycles;
use vigil_executor::class::Params;
use vigil_executor::cpu::{CpuId, CpuMask, ONLINE, local};
use vigil_executor::softirq::{self, Softirq};
use vigil_executor::stamps;
use vigil_executor::sync::{LockClass, SpinLock};
use vigil_executor::task::{self, Spawned};
use vigil_executor::time::{self, MSEC, SEC, USEC};
use vigil_executor::timer::Timer;
use vigil_executor::wait::{WaitMode, WaitQueue};
use vigil_executor::wait_site;
use vigil_executor::work::{AsyncWork, SYSTEM, Work};
use vigil_mem::KVec;

/// The most instructions that each may take.
const INTERRUPT: u32 = 400;
const SOFTIRQ: u32 = 200;
const WORK: u32 = 400;
const TIMER: u32 = 200;
/// Only reported.
const NO_LIMIT: u32 = u32::MAX;
/// So many timers are pending, at most.
const MANY: usize = 100_000;

static COST: Stage = Stage::new();
static BEGUN: AtomicU64 = AtomicU64::new(0);
static SEEN: AtomicBool = AtomicBool::new(false);
static DONE: AtomicBool = AtomicBool::new(false);
static GOOD: AtomicBool = AtomicBool::new(true);

fn nothing(_: &Timer) {}

fn raise(_: &Timer) {
    BEGUN.store(cycles(), Relaxed);
    softirq::raise_here(Softirq::IrqPoll);
}

fn note() {
    COST.add(cycles().wrapping_sub(BEGUN.load(Relaxed)));
    SEEN.store(true, Release);
}

/// Who waits for the work item.
static RAN: SpinLock<Option<Waker>> = SpinLock::new(&CLASS, None);
static CLASS: LockClass = LockClass::new("selftest");

fn note_work(_: &Work) {
    note();
    if let Some(waker) = RAN.lock().take() {
        waker.wake();
    }
}

fn print(name: &str, limit: u32) {
    GOOD.fetch_and(COST.print(name, "", limit), Relaxed);
    COST.clear();
}

/// The longest time between two looks at the counter until `end` (nanoseconds), less the shortest: what an interrupt took.
fn interrupted_until(end: u64) -> u64 {
    let (mut longest, mut shortest) = (0, u64::MAX);
    let mut last = cycles();
    while time::now() < end {
        let now = cycles();
        longest = longest.max(now - last);
        shortest = shortest.min(now - last);
        last = now;
    }
    longest.saturating_sub(shortest)
}

/// One timer interrupt at a time. With `cancelled` the comparator alone still knows of the timer.
fn interrupts(times: u64, cancelled: bool) {
    static TIMER: Timer = Timer::new(nothing);
    for i in 0..times {
        let now = time::now();
        Pin::static_ref(&TIMER).start(now + 5 * USEC + i * 97 % USEC, 0);
        if cancelled {
            TIMER.cancel();
        }
        COST.add(interrupted_until(now + 10 * USEC));
    }
}

async fn interrupts_and_softirqs(times: u64) {
    stamps::start();
    interrupts(times, true);
    print("timer_nothing", INTERRUPT);
    interrupts(times, false);
    print("timer_call", INTERRUPT);
    static RAISE: Timer = Timer::new(raise);
    softirq::open(Softirq::IrqPoll, note);
    for i in 0..times {
        SEEN.store(false, Relaxed);
        Pin::static_ref(&RAISE).start(time::now() + 5 * USEC + i * 97 % USEC, 0);
        while !SEEN.load(Acquire) {}
    }
    print("softirq", SOFTIRQ);
    DONE.store(true, Release);
}

static ITEM: Work = Work::new(note_work);
static ASYNC_ITEM: AsyncWork<fn() -> Noted, Noted> = AsyncWork::new(|| Noted);

/// A future that notes when it is polled.
struct Noted;

impl Future for Noted {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut core::task::Context<'_>) -> Poll<()> {
        note_work(&ITEM);
        Poll::Ready(())
    }
}

fn queue(_: &Timer) {
    BEGUN.store(cycles(), Relaxed);
    SYSTEM.queue(&ITEM);
}

/// Queues `item`, and waits until it has run.
async fn queue_and_wait(item: &'static Work) {
    let mut queued = false;
    core::future::poll_fn(|cx| {
        if queued {
            return Poll::Ready(());
        }
        queued = true;
        *RAN.lock() = Some(cx.waker().clone());
        BEGUN.store(cycles(), Relaxed);
        SYSTEM.queue(item);
        Poll::Pending
    })
    .await;
}

async fn works(times: u64) {
    if SYSTEM.start().is_err() {
        return;
    }
    static QUEUE: Timer = Timer::new(queue);
    for (item, name) in [(&ITEM, "work"), (ASYNC_ITEM.work(), "work_async")] {
        for _ in 0..times {
            queue_and_wait(item).await;
        }
        print(name, WORK);
    }
    for _ in 0..times {
        Pin::static_ref(&QUEUE).start(time::now() + 100 * USEC, 0);
        pause(MSEC).await;
    }
    print("work_irq", WORK);
    DONE.store(true, Release);
}

/// Starts and cancels a timer among so many that are due in the next hour.
fn among(others: &[Timer], count: usize, times: u64, rng: &mut Rng) -> bool {
    let now = time::now();
    for timer in others.iter().take(count) {
        // SAFETY: they stay where they are, in the vector's memory, until they are dropped.
        unsafe { Pin::new_unchecked(timer) }.start(now + rng.range(60 * SEC, 3600 * SEC), 0);
    }
    let one = core::pin::pin!(Timer::new(nothing));
    for _ in 0..times {
        let at = now + rng.range(60 * SEC, 3600 * SEC);
        let begun = cycles();
        one.as_ref().start(at, 0);
        one.cancel();
        COST.add(cycles() - begun);
    }
    true
}

async fn timers(times: u64) {
    let mut rng = Rng::new(7);
    match KVec::try_from_iter((0..MANY).map(|_| Timer::new(nothing))) {
        Ok(others) => {
            for (count, name) in [(10, "timer_10"), (1_000, "timer_1000"), (MANY, "timer_100000")] {
                among(&others, count, times, &mut rng);
                print(name, TIMER);
            }
        }
        Err(_) => GOOD.store(false, Relaxed),
    }
    DONE.store(true, Release);
}

/// Runs a future on the boot CPU to its end.
async fn to_the_end(future: impl Future<Output = ()> + Send + 'static, params: Params) {
    DONE.store(false, Relaxed);
    let started = start_on_boot_cpu(future, params);
    let deadline = time::now() + 600 * SEC;
    while started && !DONE.load(Acquire) && time::now() < deadline {
        pause(10 * MSEC).await;
    }
    GOOD.fetch_and(DONE.load(Acquire), Relaxed);
}

/// What the CPUs print for themselves, on one CPU.
pub async fn run(times: u64) -> bool {
    GOOD.store(true, Relaxed);
    COST.clear();
    to_the_end(interrupts_and_softirqs(times), Params::DEFAULT).await;
    to_the_end(works(times), Params::DEFAULT).await;
    to_the_end(timers(times), Params::DEFAULT).await;
    report("irq-cost", GOOD.load(Relaxed), format_args!("{times} times each"))
}

static RING: WaitQueue = WaitQueue::new();
static RUNG: AtomicU64 = AtomicU64::new(0);

/// On another CPU: waits for each ring and notes the way that it came.
async fn listener(times: u64) {
    stamps::start();
    for i in 1..=times {
        let rung = || (RUNG.load(Acquire) >= i).then_some(());
        let _ = RING.wait_until(wait_site!("selftest"), WaitMode::Uninterruptible, rung).await;
        let Some(task) = task::current() else { continue };
        let vector = local().vector_stamp.load(Relaxed).wrapping_sub(stamps::VECTOR_LATE);
        COST.add(task.stamps().polled().wrapping_sub(vector));
    }
    DONE.store(true, Release);
}

/// Rings, from the boot CPU.
async fn ringer(times: u64) {
    for i in 1..=times {
        pause(MSEC).await;
        RUNG.store(i, Release);
        RING.wake_all();
    }
}

/// The way of a wake from another CPU, on two CPUs.
pub async fn ipi(times: u64) -> bool {
    GOOD.store(true, Relaxed);
    COST.clear();
    DONE.store(false, Relaxed);
    let Some(other) = ONLINE.load().iter().find(|cpu| *cpu != CpuId::BOOT) else {
        return report("ipi-cost", false, format_args!("there is one CPU"));
    };
    let Ok(made) = Spawned::new(listener(times), Params::fifo(95), b"selftest", None, core::ptr::null()) else {
        return report("ipi-cost", false, format_args!("no memory"));
    };
    made.task().set_affinity(CpuMask::of(other));
    drop(made.start());
    let started = start_on_boot_cpu(ringer(times), Params::DEFAULT);
    let deadline = time::now() + 2 * times * MSEC + SEC;
    while started && !DONE.load(Acquire) && time::now() < deadline {
        pause(MSEC).await;
    }
    print("ipi_to_poll", NO_LIMIT);
    report("ipi-cost", GOOD.load(Relaxed) && DONE.load(Acquire), format_args!("{times} wakes"))
}
