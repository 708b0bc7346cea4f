//! Many parks, nested and migrating, with everything checked that a park could damage.
//!
//! Each CPU brings fair workers whose polls are long, and real-time tasks of several ranks that sleep for a moment and
//! hold the CPU for a moment: they park the workers and each other. Pairs of tasks play ping-pong through wait queues.
//! A task above them all gives random tasks random affinities, so that parked polls go to other CPUs.

use super::regs;
use super::{Rng, report};
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::*};
use vigil_executor::class::Params;
use vigil_executor::context::{Context, preemptible};
use vigil_executor::cpu::{CpuId, CpuMask, MAX_CPUS, ONLINE};
use vigil_executor::executor::{self, YieldKind, yield_now};
use vigil_executor::lock_class;
use vigil_executor::sync::SpinLock;
use vigil_executor::task::{self, Spawned, TaskRef};
use vigil_executor::time::{self, MSEC, Nanos, SEC, USEC};
use vigil_executor::timer::sleep_until;
use vigil_executor::wait::{WaitMode, WaitQueue};
use vigil_executor::wait_site;
use vigil_mem::{page_alloc, slab};

/// Fair workers of each CPU.
const WORKERS: usize = 3;
/// Real-time tasks of each CPU, each with a rank of its own.
const RANKS: usize = 5;
/// Ping-pong pairs.
const PAIRS: usize = 4;
const MAX_TASKS: usize = MAX_CPUS * (WORKERS + RANKS) + 2 * PAIRS;
/// Without a new park for so long the test has hung.
const PATIENCE: Nanos = 20 * SEC;

static STOP: AtomicBool = AtomicBool::new(false);
static ALIVE: AtomicUsize = AtomicUsize::new(0);
/// Registers or stack words that had changed.
static DAMAGED: AtomicU64 = AtomicU64::new(0);
/// Polls that found another task current, or preemption off.
static CONFUSED: AtomicU64 = AtomicU64::new(0);
/// Stretches of a poll that began on one CPU and ended on another.
static MOVED: AtomicU64 = AtomicU64::new(0);
static TASKS: SpinLock<[Option<TaskRef>; MAX_TASKS]> = SpinLock::new(lock_class!("selftest_tasks"), [const { None }; MAX_TASKS]);

struct Pair {
    queue: WaitQueue,
    turn: AtomicU64,
}

static PINGPONG: [Pair; PAIRS] = [const { Pair { queue: WaitQueue::new(), turn: AtomicU64::new(0) } }; PAIRS];

/// A stretch of a poll: `loops` rounds with everything watched.
fn stretch(me: *const task::Task, seed: u64, loops: u64) {
    let before = CpuId::current();
    if !regs::hold(seed, loops) {
        DAMAGED.fetch_add(1, Relaxed);
    }
    if CpuId::current() != before {
        MOVED.fetch_add(1, Relaxed);
    }
    let same = task::current().is_some_and(|t| core::ptr::eq(t, me));
    if !same || !preemptible() || Context::here().count() != 0 {
        CONFUSED.fetch_add(1, Relaxed);
    }
}

fn me() -> usize {
    task::current().map_or(0, |t| core::ptr::from_ref(t) as usize)
}

async fn worker(n: u64) {
    let me = me();
    let mut rng = Rng::new(n);
    while !STOP.load(Relaxed) {
        stretch(me as *const task::Task, rng.next(), rng.range(1_000, 60_000));
        yield_now(YieldKind::Yield).await;
    }
    ALIVE.fetch_sub(1, Release);
}

async fn realtime(n: u64) {
    let me = me();
    let mut rng = Rng::new(n);
    while !STOP.load(Relaxed) {
        let at = time::now() + rng.range(20 * USEC, 300 * USEC);
        let _ = sleep_until(wait_site!("selftest_rt"), at, 0, WaitMode::Uninterruptible).await;
        stretch(me as *const task::Task, rng.next(), rng.range(10, 4_000));
    }
    ALIVE.fetch_sub(1, Release);
}

async fn player(pair: &'static Pair, side: u64) {
    let me = me();
    let mut rng = Rng::new(side);
    loop {
        let mine = || (pair.turn.load(Acquire) % 2 == side || STOP.load(Relaxed)).then_some(());
        let _ = pair.queue.wait_until(wait_site!("selftest_pair"), WaitMode::Uninterruptible, mine).await;
        if STOP.load(Relaxed) {
            break;
        }
        stretch(me as *const task::Task, rng.next(), rng.range(1, 200));
        pair.turn.fetch_add(1, Release);
        pair.queue.wake_all();
    }
    ALIVE.fetch_sub(1, Release);
}

/// Gives random tasks random affinities.
async fn shuffler(count: usize) {
    let mut rng = Rng::new(99);
    let online = ONLINE.load().0;
    while !STOP.load(Relaxed) {
        let at = time::now() + rng.range(30 * USEC, 200 * USEC);
        let _ = sleep_until(wait_site!("selftest_shuffle"), at, 0, WaitMode::Uninterruptible).await;
        let mask = rng.next() & online;
        let chosen = TASKS.lock().get((rng.next() >> 20) as usize % count.max(1)).and_then(Clone::clone);
        if let Some(task) = chosen
            && mask != 0
        {
            executor::set_affinity(&task, CpuMask(mask));
        }
    }
    ALIVE.fetch_sub(1, Release);
}

/// Starts one task; keeps a reference to it when it `takes_part` in the shuffle.
fn start(future: impl Future<Output = ()> + Send + 'static, params: Params, cpu: CpuId, takes_part: Option<usize>) -> bool {
    let Ok(spawned) = Spawned::new(future, params, b"selftest", None, core::ptr::null()) else {
        return false;
    };
    spawned.task().set_affinity(CpuMask::of(cpu));
    ALIVE.fetch_add(1, Relaxed);
    let task = spawned.start();
    if let Some(slot) = takes_part.and_then(|i| TASKS.lock().get_mut(i).map(|s| s.replace(task))) {
        // An old reference, if any, goes after the lock.
        drop(slot);
    }
    true
}

fn start_all() -> bool {
    let cpus = ONLINE.load();
    let mut count = 0;
    let mut ok = true;
    for cpu in cpus.iter() {
        for w in 0..WORKERS {
            ok &= start(worker((cpu.index() * WORKERS + w) as u64), Params::DEFAULT, cpu, Some(count));
            count += 1;
        }
        for r in 0..RANKS {
            let rank = Params::fifo(10 + 10 * r as u8);
            ok &= start(realtime((1000 + cpu.index() * RANKS + r) as u64), rank, cpu, Some(count));
            count += 1;
        }
    }
    for (i, pair) in PINGPONG.iter().enumerate() {
        for side in 0..2 {
            let params = if i % 2 == 0 { Params::DEFAULT } else { Params::fifo(25) };
            let cpu = cpus.iter().nth((i + side) % cpus.iter().count()).unwrap_or(CpuId::BOOT);
            ok &= start(player(pair, side as u64), params, cpu, Some(count));
            count += 1;
        }
    }
    ok & start(shuffler(count), Params::fifo(95), CpuId::BOOT, None)
}

fn parks() -> u64 {
    ONLINE.load().iter().map(|c| executor::stat(c).parks).sum()
}

async fn pause(time: Nanos) {
    let _ = sleep_until(wait_site!("selftest"), time::now() + time, 0, WaitMode::Uninterruptible).await;
}

/// One round: until `target` more parks have happened, then until all tasks are gone. Whether both came.
async fn round(target: u64) -> bool {
    STOP.store(false, Relaxed);
    let begin = parks();
    if !start_all() {
        STOP.store(true, Relaxed);
        return false;
    }
    let (mut last, mut since) = (begin, time::now());
    let mut ok = true;
    while parks() - begin < target {
        pause(20 * MSEC).await;
        let now = time::now();
        if parks() != last {
            (last, since) = (parks(), now);
        } else if now - since > PATIENCE {
            ok = false;
            break;
        }
    }
    STOP.store(true, Relaxed);
    let deadline = time::now() + PATIENCE;
    while ALIVE.load(Acquire) != 0 && time::now() < deadline {
        PINGPONG.iter().for_each(|p| _ = p.queue.wake_all());
        pause(MSEC).await;
    }
    for slot in 0..MAX_TASKS {
        // The reference goes after the lock.
        let task = TASKS.lock()[slot].take();
        drop(task);
    }
    // What the last tasks left behind is freed by the loops.
    pause(20 * MSEC).await;
    ok && ALIVE.load(Acquire) == 0
}

/// Objects in use in all slab caches.
fn objects() -> usize {
    slab::caches().map(|c| c.info().active_objs).sum()
}

fn spares() -> [usize; MAX_CPUS] {
    core::array::from_fn(|i| CpuId::new(i).filter(|c| ONLINE.load().contains(*c)).map_or(0, |c| executor::stat(c).spare_stacks))
}

/// `target` parks over all CPUs.
pub async fn run(target: u64) -> bool {
    let pools = spares();
    // Caches and lists fill once; what is compared is the second state.
    let warm = round(target / 20 + 1).await;
    let (pages, objs) = (page_alloc::meminfo().free, objects());
    let begin = parks();
    let done = round(target).await;
    let parked = parks() - begin;
    for _ in 0..100 {
        if spares() == pools {
            break;
        }
        pause(MSEC).await;
    }
    let (pools_after, objs_after, pages_after) = (spares(), objects(), page_alloc::meminfo().free);
    let games = PINGPONG.iter().map(|p| p.turn.load(Relaxed)).min().unwrap_or(0);
    let (damaged, confused) = (DAMAGED.load(Relaxed), CONFUSED.load(Relaxed));
    let leaked = objs_after.saturating_sub(objs);
    let ok = warm && done && damaged == 0 && confused == 0 && pools_after == pools && leaked == 0 && games > 0;
    report(
        "parks",
        ok,
        format_args!(
            "parks {parked}, moved {}, damaged {damaged}, confused {confused}, left alive {}, pools {pools:?} then {pools_after:?}, objects {objs} then {objs_after}, pages {pages} then {pages_after}, ping-pongs at least {games}",
            MOVED.load(Relaxed),
            ALIVE.load(Relaxed),
        ),
    )
}
