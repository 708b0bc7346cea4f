//! Lock torture (Linux: locktorture). What a lock guards is two words that differ only while somebody changes them, and counts of
//! who is inside; each section looks at both.
//!
//! Fairness is looked at, too: how long one waited at most, and the least that one task got beside the most.

use super::{Rng, breathe, linger, report, start as start_task, stopped};
use vigil_executor::class::Params;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};
use vigil_executor::lock_class;
use vigil_executor::sync::{Completion, Mutex, RwSem, RwSpinLock, Semaphore, SeqLock, SpinLock};
use vigil_executor::task::{self, INTERRUPT_SIGNAL};
use vigil_executor::time::{self, MSEC, USEC};
use vigil_executor::wait::WaitMode;
use vigil_executor::wait_site;

/// Units of the semaphore that has more than one.
const UNITS: u32 = 3;

/// Who is inside of a lock, and what was seen there.
struct Watched {
    name: &'static str,
    inside: AtomicU32,
    readers: AtomicU32,
    first: AtomicU64,
    second: AtomicU64,
    writes: AtomicU64,
    reads: AtomicU64,
    /// Sections that found somebody who should not be there, or half a change.
    wrong: AtomicU64,
    /// The longest wait, in nanoseconds.
    longest: AtomicU64,
    /// Tasks that have ended, and the fewest sections that one of them had.
    fewest: AtomicU64,
}

impl Watched {
    const fn new(name: &'static str) -> Watched {
        Watched {
            name,
            inside: AtomicU32::new(0),
            readers: AtomicU32::new(0),
            first: AtomicU64::new(0),
            second: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            reads: AtomicU64::new(0),
            wrong: AtomicU64::new(0),
            longest: AtomicU64::new(0),
            fewest: AtomicU64::new(u64::MAX),
        }
    }

    fn check(&self, good: bool) {
        if !good {
            self.wrong.fetch_add(1, Relaxed);
        }
    }

    fn is_whole(&self) -> bool {
        self.first.load(Relaxed) == self.second.load(Relaxed)
    }

    /// The beginning of a section that excludes all others.
    fn begin(&self, since: u64) {
        self.longest.fetch_max(time::now().saturating_sub(since), Relaxed);
        self.check(self.inside.fetch_add(1, Relaxed) == 0 && self.readers.load(Relaxed) == 0 && self.is_whole());
        // The lock alone orders these: a load and a store, not an atomic addition.
        self.first.store(self.first.load(Relaxed).wrapping_add(1), Relaxed);
    }

    /// Its end.
    fn end(&self) {
        self.second.store(self.second.load(Relaxed).wrapping_add(1), Relaxed);
        self.check(self.is_whole() && self.inside.fetch_sub(1, Relaxed) == 1 && self.readers.load(Relaxed) == 0);
        self.writes.fetch_add(1, Relaxed);
    }

    /// The beginning of a section that excludes writers.
    fn begin_read(&self, since: u64) {
        self.longest.fetch_max(time::now().saturating_sub(since), Relaxed);
        self.readers.fetch_add(1, Relaxed);
        self.check(self.inside.load(Relaxed) == 0 && self.is_whole());
    }

    /// Its end.
    fn end_read(&self) {
        self.check(self.inside.load(Relaxed) == 0 && self.is_whole());
        self.readers.fetch_sub(1, Relaxed);
        self.reads.fetch_add(1, Relaxed);
    }

    fn change(&self, rng: &mut Rng, since: u64) {
        self.begin(since);
        linger(rng);
        self.end();
    }

    fn read(&self, rng: &mut Rng, since: u64) {
        self.begin_read(since);
        linger(rng);
        self.end_read();
    }
}

static SPIN: SpinLock<()> = SpinLock::new(lock_class!("torture_spin"), ());
static SPIN_IRQ: SpinLock<()> = SpinLock::new(lock_class!("torture_spin_irq"), ());
static SPIN_BH: SpinLock<()> = SpinLock::new(lock_class!("torture_spin_bh"), ());
static RW: RwSpinLock<()> = RwSpinLock::new(lock_class!("torture_rw"), ());
static RW_IRQ: RwSpinLock<()> = RwSpinLock::new(lock_class!("torture_rw_irq"), ());
static SEQ: SeqLock<[u64; 4]> = SeqLock::new(lock_class!("torture_seq"), [0; 4]);
static MUTEX: Mutex<()> = Mutex::new(lock_class!("torture_mutex"), ());
static RWSEM: RwSem<()> = RwSem::new(lock_class!("torture_rwsem"), ());
static BINARY: Semaphore = Semaphore::new(1);
static COUNTING: Semaphore = Semaphore::new(UNITS);
static ASKED: Completion = Completion::new();
static ANSWERED: Completion = Completion::new();

const KINDS: usize = 10;
static WATCHED: [Watched; KINDS] = [
    Watched::new("spin"),
    Watched::new("spin-irq"),
    Watched::new("spin-bh"),
    Watched::new("rwlock"),
    Watched::new("rwlock-irq"),
    Watched::new("seqlock"),
    Watched::new("mutex"),
    Watched::new("rwsem"),
    Watched::new("semaphore"),
    Watched::new("completion"),
];
static COUNT_INSIDE: AtomicU32 = AtomicU32::new(0);

/// What a sequence lock's readers must find: four words that belong together.
fn together(n: u64) -> [u64; 4] {
    [n, n.wrapping_mul(3), !n, n ^ 0x5555]
}

fn read_seq(w: &Watched) {
    let value = SEQ.read();
    w.check(value == together(value[0]) || value == [0; 4]);
    w.reads.fetch_add(1, Relaxed);
}

fn write_seq(w: &Watched, since: u64) {
    let mut value = SEQ.write();
    w.begin(since);
    *value = together(value[0].wrapping_add(1));
    w.end();
}

/// One section of a lock that spins.
fn spinning_section(kind: usize, rng: &mut Rng) {
    let w = &WATCHED[kind];
    let since = time::now();
    match (kind, rng.range(0, 8)) {
        (0, 0) => {
            if let Some(_guard) = SPIN.try_lock() {
                w.change(rng, since);
            }
        }
        (0, _) => {
            let _guard = SPIN.lock();
            w.change(rng, since);
        }
        (1, 0) => {
            if let Some(_guard) = SPIN_IRQ.try_lock_irq() {
                w.change(rng, since);
            }
        }
        (1, _) => {
            let _guard = SPIN_IRQ.lock_irq();
            w.change(rng, since);
        }
        (2, _) => {
            let _guard = SPIN_BH.lock_bh();
            w.change(rng, since);
        }
        (3, 0) => {
            if let Some(_guard) = RW.try_write() {
                w.change(rng, since);
            }
        }
        (3, 1) => {
            let _guard = RW.write();
            w.change(rng, since);
        }
        (3, _) => {
            let _guard = RW.read();
            w.read(rng, since);
        }
        (4, 0) => {
            let _guard = RW_IRQ.write_irq();
            w.change(rng, since);
        }
        (4, _) => {
            let _guard = RW_IRQ.read();
            w.read(rng, since);
        }
        (_, 0) => write_seq(w, since),
        _ => read_seq(w),
    }
}

/// A signal that came is over.
fn forget_signal() {
    if let Some(task) = task::current() {
        task.clear_interrupt(INTERRUPT_SIGNAL);
    }
}

/// Inside of a lock that is held across awaits.
async fn stay(rng: &mut Rng) {
    linger(rng);
    breathe(rng).await;
}

async fn mutex_section(rng: &mut Rng, since: u64) -> bool {
    let guard = match rng.range(0, 8) {
        0 => MUTEX.try_lock(),
        1..4 => MUTEX.lock_interruptible(wait_site!("torture")).await.ok(),
        _ => Some(MUTEX.lock(wait_site!("torture")).await),
    };
    if guard.is_some() {
        WATCHED[6].begin(since);
        stay(rng).await;
        WATCHED[6].end();
    }
    guard.is_some()
}

async fn rwsem_section(rng: &mut Rng, since: u64) -> bool {
    let w = &WATCHED[7];
    match rng.range(0, 16) {
        0..3 => {
            let guard = match rng.range(0, 2) {
                0 => RWSEM.write_interruptible(wait_site!("torture")).await.ok(),
                _ => Some(RWSEM.write(wait_site!("torture")).await),
            };
            let Some(guard) = guard else { return false };
            w.begin(since);
            stay(rng).await;
            w.end();
            if rng.range(0, 2) == 0 {
                let _reader = guard.downgrade();
                w.begin_read(since);
                stay(rng).await;
                w.end_read();
            }
        }
        n => {
            let guard = match n {
                3 => RWSEM.try_read(),
                4..7 => RWSEM.read_interruptible(wait_site!("torture")).await.ok(),
                _ => Some(RWSEM.read(wait_site!("torture")).await),
            };
            let Some(_guard) = guard else { return false };
            w.begin_read(since);
            stay(rng).await;
            w.end_read();
        }
    }
    true
}

async fn semaphore_section(rng: &mut Rng, since: u64) -> bool {
    let w = &WATCHED[8];
    if rng.range(0, 2) == 0 {
        if BINARY.down_mode(wait_site!("torture"), WaitMode::Interruptible).await.is_err() {
            return false;
        }
        w.begin(since);
        stay(rng).await;
        w.end();
        BINARY.up();
    } else {
        COUNTING.down(wait_site!("torture")).await;
        w.check(COUNT_INSIDE.fetch_add(1, Relaxed) < UNITS);
        stay(rng).await;
        COUNT_INSIDE.fetch_sub(1, Relaxed);
        COUNTING.up();
    }
    true
}

/// A question, and the wait for its answer; each is one completion.
async fn ask(since: u64) -> bool {
    let w = &WATCHED[9];
    ASKED.complete();
    ANSWERED.wait(wait_site!("torture")).await;
    w.longest.fetch_max(time::now().saturating_sub(since), Relaxed);
    w.writes.fetch_add(1, Relaxed);
    true
}

async fn answer() -> bool {
    let deadline = time::now() + MSEC;
    if let vigil_executor::wait::Waited::Ready(()) = ASKED.wait_deadline(wait_site!("torture"), WaitMode::Interruptible, deadline).await {
        ANSWERED.complete();
        return true;
    }
    false
}

/// A task that has sections of one kind to the end.
async fn torturer(kind: usize, seed: u64) {
    let mut rng = Rng::new(seed);
    let mut sections = 0;
    while !stopped() {
        let since = time::now();
        let had = match kind {
            6 => mutex_section(&mut rng, since).await,
            7 => rwsem_section(&mut rng, since).await,
            8 => semaphore_section(&mut rng, since).await,
            9 => ask(since).await,
            _ => {
                spinning_section(kind, &mut rng);
                true
            }
        };
        sections += u64::from(had);
        forget_signal();
        breathe(&mut rng).await;
    }
    WATCHED[kind].fewest.fetch_min(sections, Relaxed);
}

async fn answerer() {
    while !stopped() || ASKED.is_done() {
        answer().await;
        forget_signal();
    }
}

/// A hard interrupt: the locks that may be taken there.
pub(super) fn in_interrupt(rng: &mut Rng) {
    let since = time::now();
    match rng.range(0, 3) {
        0 => {
            let _guard = SPIN_IRQ.lock_irq();
            WATCHED[1].begin(since);
            WATCHED[1].end();
        }
        1 => {
            let _guard = RW_IRQ.read_irq();
            WATCHED[4].begin_read(since);
            WATCHED[4].end_read();
        }
        _ => read_seq(&WATCHED[5]),
    }
    // An unlock of a semaphore may come from an interrupt.
    if rng.range(0, 8) == 0 && COUNTING.try_down() {
        COUNTING.up();
    }
}

/// A softirq.
pub(super) fn in_softirq(_: &mut Rng) {
    let since = time::now();
    let _guard = SPIN_BH.lock();
    WATCHED[2].begin(since);
    WATCHED[2].end();
}

/// Nobody waits for an answer that nobody is left to give.
pub(super) fn wake_all() {
    ANSWERED.complete_all();
}

pub(super) fn start(cpus: usize) -> bool {
    let mut ok = true;
    for kind in 0..KINDS {
        for n in 0..cpus.min(4) {
            ok &= start_task(WATCHED[kind].name, torturer(kind, (1000 * (kind + 1) + n) as u64), Params::DEFAULT, true);
        }
    }
    ok & start_task("answerer", answerer(), Params::DEFAULT, true)
}

/// Prints what was seen, when all tasks have ended.
pub(super) fn verdict(seconds: u64) -> bool {
    let mut good = true;
    for w in &WATCHED {
        let (writes, reads, wrong) = (w.writes.load(Relaxed), w.reads.load(Relaxed), w.wrong.load(Relaxed));
        let fewest = w.fewest.load(Relaxed);
        let ok = wrong == 0 && writes > seconds && fewest > 0 && w.inside.load(Relaxed) == 0 && w.readers.load(Relaxed) == 0;
        good &= report(
            "lock-torture",
            ok,
            format_args!("{}: writers {writes}, readers {reads}, wrong {wrong}, fewest of a task {fewest}, longest wait {} us", w.name, w.longest.load(Relaxed) / USEC),
        );
    }
    good
}
