//! What is counted of tasks and CPUs while `kernel.sched_schedstats` is on (Linux: struct sched_statistics, kernel/sched/stats.c).
//!
//! It is off at first, as on Linux, and costs nothing then: what is counted is told by the tracers' sites. A task has no room for it
//! either: its figures are in a table, found by the task's address, that is made when it is switched on. A task that finds no place in
//! it has no figures.

use super::event;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering::*};
use vigil_abi::Errno;
use vigil_executor::cpu::{CpuId, MAX_CPUS, PerCpu};
use vigil_executor::task::{Coming, Task};
use vigil_mem::{Gfp, vmalloc};

// A task's figures that change: their places in [`NAMES`]. The others are of what does not exist here.
const SUM_SLEEP: usize = 0;
const SUM_BLOCK: usize = 1;
const WAIT_START: usize = 2;
const SLEEP_START: usize = 3;
const BLOCK_START: usize = 4;
const SLEEP_MAX: usize = 5;
const BLOCK_MAX: usize = 6;
const EXEC_MAX: usize = 7;
const SLICE_MAX: usize = 8;
const WAIT_MAX: usize = 9;
const WAIT_SUM: usize = 10;
const WAIT_COUNT: usize = 11;
const WAKEUPS: usize = 19;
const MIGRATE: usize = 21;
const LOCAL: usize = 22;
const REMOTE: usize = 23;
/// Not shown: since when it runs.
const RUNS: usize = NAMES.len();

const FIGURES: usize = RUNS + 1;

/// A task's figures in the order in which `/proc/PID/sched` has them, and whether they are times.
pub const NAMES: [(&str, bool); 28] = [
    ("sum_sleep_runtime", true),
    ("sum_block_runtime", true),
    ("wait_start", true),
    ("sleep_start", true),
    ("block_start", true),
    ("sleep_max", true),
    ("block_max", true),
    ("exec_max", true),
    ("slice_max", true),
    ("wait_max", true),
    ("wait_sum", true),
    ("wait_count", false),
    ("iowait_sum", true),
    ("iowait_count", false),
    ("nr_migrations_cold", false),
    ("nr_failed_migrations_affine", false),
    ("nr_failed_migrations_running", false),
    ("nr_failed_migrations_hot", false),
    ("nr_forced_migrations", false),
    ("nr_wakeups", false),
    ("nr_wakeups_sync", false),
    ("nr_wakeups_migrate", false),
    ("nr_wakeups_local", false),
    ("nr_wakeups_remote", false),
    ("nr_wakeups_affine", false),
    ("nr_wakeups_affine_attempts", false),
    ("nr_wakeups_passive", false),
    ("nr_wakeups_idle", false),
];

/// A task's place. Its figures are changed by whoever wakes it, and by the CPU that runs it: never at once.
struct Entry {
    /// Its address; 0: nobody's.
    task: AtomicUsize,
    figures: [AtomicU64; FIGURES],
}

impl Entry {
    fn set(&self, figure: usize, value: u64) {
        self.figures[figure].store(value, Relaxed);
    }

    fn add(&self, figure: usize, n: u64) {
        self.figures[figure].fetch_add(n, Relaxed);
    }

    /// If `start` holds a time, it ends at `now`: how long that was, of which `max` keeps the longest.
    fn ends(&self, start: usize, max: usize, now: u64) -> Option<u64> {
        let since = self.figures[start].swap(0, Relaxed);
        let length = (since != 0).then(|| now.saturating_sub(since))?;
        self.figures[max].fetch_max(length, Relaxed);
        Some(length)
    }

    /// Its task, which has run until `now`, waits for the CPU again.
    fn gives_way(&self, now: u64) {
        if let Some(ran) = self.ends(RUNS, EXEC_MAX, now) {
            self.figures[SLICE_MAX].fetch_max(ran, Relaxed);
        }
        self.set(WAIT_START, now);
    }

    fn clear(&self) {
        self.figures.iter().for_each(|f| f.store(0, Relaxed));
    }
}

/// How many tasks can have figures.
const ENTRIES: usize = 2048;
/// How many places a task may have.
const PROBES: usize = 16;

static ENABLED: AtomicBool = AtomicBool::new(false);
static TABLE: AtomicPtr<[Entry; ENTRIES]> = AtomicPtr::new(core::ptr::null_mut());

/// A CPU's figures.
pub struct CpuFigures {
    /// Choices of what to run, and those that found nothing.
    pub scheds: AtomicU64,
    /// See `scheds`.
    pub idles: AtomicU64,
    /// Wakes made on it, and those of tasks that run on it.
    pub wakes: AtomicU64,
    /// See `wakes`.
    pub local_wakes: AtomicU64,
    /// Calls of sched_yield(2).
    pub yields: AtomicU64,
}

impl CpuFigures {
    const NEW: CpuFigures = CpuFigures {
        scheds: AtomicU64::new(0),
        idles: AtomicU64::new(0),
        wakes: AtomicU64::new(0),
        local_wakes: AtomicU64::new(0),
        yields: AtomicU64::new(0),
    };
}

static CPUS: PerCpu<CpuFigures> = PerCpu::new([const { CpuFigures::NEW }; MAX_CPUS]);

/// Those of `cpu`.
pub fn of_cpu(cpu: CpuId) -> &'static CpuFigures {
    CPUS.of(cpu)
}

/// Whether it is on.
pub fn enabled() -> bool {
    ENABLED.load(Relaxed)
}

/// Notes that it is on or off; the sites follow by `control`.
pub(super) fn set(on: bool) {
    ENABLED.store(on, Relaxed);
}

/// Makes the table, if there is none. ENOMEM.
pub(super) fn prepare() -> Result<(), Errno> {
    if !TABLE.load(Acquire).is_null() {
        return Ok(());
    }
    let area = vmalloc::vmalloc(size_of::<[Entry; ENTRIES]>(), Gfp::KERNEL).ok_or(Errno::ENOMEM)?;
    let table = area.as_ptr::<[Entry; ENTRIES]>();
    // SAFETY: the area is large enough and nobody else's; all-zero is a table without tasks.
    unsafe { table.write_bytes(0, 1) };
    if TABLE.compare_exchange(core::ptr::null_mut(), table, AcqRel, Relaxed).is_err() {
        // SAFETY: ours, and nobody has seen it.
        unsafe { vmalloc::vfree(area) };
    }
    Ok(())
}

fn places(key: usize) -> impl Iterator<Item = &'static Entry> {
    // SAFETY: never freed once it is there.
    let table = unsafe { TABLE.load(Acquire).as_ref() };
    // Headers are slab objects: their low bits say little.
    let first = (key >> 6).wrapping_mul(0x9e37_79b9_7f4a_7c15_u64 as usize) >> 32;
    table.into_iter().flat_map(move |t| (0..PROBES).filter_map(move |i| t.get(first.wrapping_add(i) % ENTRIES)))
}

fn find(task: &Task) -> Option<&'static Entry> {
    let key = core::ptr::from_ref(task) as usize;
    places(key).find(|e| e.task.load(Acquire) == key)
}

fn find_or_make(task: &Task) -> Option<&'static Entry> {
    let key = core::ptr::from_ref(task) as usize;
    find(task).or_else(|| {
        let free = places(key).find(|e| e.task.compare_exchange(0, key, AcqRel, Relaxed).is_ok())?;
        free.clear();
        Some(free)
    })
}

/// The figures of `task`; all 0 if it has none.
pub fn of(task: &Task) -> [u64; NAMES.len()] {
    let entry = find(task);
    core::array::from_fn(|i| entry.map_or(0, |e| e.figures[i].load(Relaxed)))
}

/// Forgets those of `task`.
pub fn forget(task: &Task) {
    if let Some(entry) = find(task) {
        entry.clear();
    }
}

/// `task`, last on the CPU `from`, was made runnable at `now`, and goes to `target`. In a site.
pub(super) fn woken(task: &Task, coming: Coming, from: CpuId, target: CpuId, now: u64) {
    if !enabled() {
        return;
    }
    let here = CpuId::current();
    let cpu = CPUS.of(here);
    if coming != Coming::Migrated {
        cpu.wakes.fetch_add(1, Relaxed);
        if target == here {
            cpu.local_wakes.fetch_add(1, Relaxed);
        }
    }
    let Some(entry) = find_or_make(task) else { return };
    match coming {
        Coming::New => entry.clear(),
        Coming::Migrated => return,
        Coming::Woken => {
            entry.add(WAKEUPS, 1);
            entry.add(if target == here { LOCAL } else { REMOTE }, 1);
            if from != target {
                entry.add(MIGRATE, 1);
            }
            if let Some(slept) = entry.ends(SLEEP_START, SLEEP_MAX, now) {
                entry.add(SUM_SLEEP, slept);
            }
            if let Some(blocked) = entry.ends(BLOCK_START, BLOCK_MAX, now) {
                entry.add(SUM_SLEEP, blocked);
                entry.add(SUM_BLOCK, blocked);
            }
        }
    }
    entry.set(WAIT_START, now);
}

/// This CPU polls `task` from `now` on. In a site.
pub(super) fn runs(task: &Task, now: u64) {
    if !enabled() {
        return;
    }
    CPUS.this().scheds.fetch_add(1, Relaxed);
    let Some(entry) = find_or_make(task) else { return };
    if let Some(waited) = entry.ends(WAIT_START, WAIT_MAX, now) {
        entry.add(WAIT_SUM, waited);
        entry.add(WAIT_COUNT, 1);
    }
    entry.set(RUNS, now);
}

/// The running task calls sched_yield(2).
#[inline]
pub fn yields() {
    if enabled() {
        CPUS.of(CpuId::current()).yields.fetch_add(1, Relaxed);
    }
}

/// This CPU has nothing to run. In a site.
pub(super) fn idles() {
    if enabled() {
        CPUS.this().scheds.fetch_add(1, Relaxed);
        CPUS.this().idles.fetch_add(1, Relaxed);
    }
}

/// The poll of `task` ends at `now`, which leaves it in `state` (`prev_state` of sched_switch). In a site.
pub(super) fn leaves(task: &Task, state: i64, now: u64) {
    if !enabled() {
        return;
    }
    let Some(entry) = find(task) else { return };
    match state {
        0 => {
            entry.gives_way(now);
            return;
        }
        event::STATE_SLEEPS => entry.set(SLEEP_START, now),
        event::STATE_BLOCKED => entry.set(BLOCK_START, now),
        _ => entry.task.store(0, Release),
    }
    let _ = entry.ends(RUNS, EXEC_MAX, now);
}

/// The poll of the task at `key` was parked: it waits for the CPU again. In a site.
pub(super) fn parked(key: usize, now: u64) {
    if !enabled() {
        return;
    }
    if let Some(entry) = places(key).find(|e| key != 0 && e.task.load(Acquire) == key) {
        entry.gives_way(now);
    }
}
