//! Lock torture (Linux: locktorture): each kind of lock by tasks of changing urgency, and those that may be taken there in softirqs
//! and hard interrupts.
//!
//! Fairness is looked at, too: how long one waited at most, and the least that one task got beside the most.

use super::sleeping::{self, forget_signal};
use super::watched::Watched;
use super::{Rng, breathe, report, start as start_task, stopped};
use core::sync::atomic::Ordering::*;
use vigil_executor::class::Params;
use vigil_executor::lock_class;
use vigil_executor::sync::{RwSpinLock, SeqLock, SpinLock};
use vigil_executor::time::{self, USEC};

static SPIN: SpinLock<()> = SpinLock::new(lock_class!("torture_spin"), ());
static SPIN_IRQ: SpinLock<()> = SpinLock::new(lock_class!("torture_spin_irq"), ());
static SPIN_BH: SpinLock<()> = SpinLock::new(lock_class!("torture_spin_bh"), ());
static RW: RwSpinLock<()> = RwSpinLock::new(lock_class!("torture_rw"), ());
static RW_IRQ: RwSpinLock<()> = RwSpinLock::new(lock_class!("torture_rw_irq"), ());
static SEQ: SeqLock<[u64; 4]> = SeqLock::new(lock_class!("torture_seq"), [0; 4]);

const KINDS: usize = 11;
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
    Watched::new("pi-mutex"),
];

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
    /// Keeps `guard` for a section.
    fn with<G>(guard: G, section: impl FnOnce()) {
        section();
        drop(guard);
    }
    /// The same, if there is one.
    fn with_some<G>(guard: Option<G>, section: impl FnOnce()) {
        if guard.is_some() {
            with(guard, section);
        }
    }
    let (w, since) = (&WATCHED[kind], time::now());
    let way = rng.range(0, 8);
    match (kind, way) {
        (0, 0) => with_some(SPIN.try_lock(), || w.change(rng, since)),
        (0, _) => with(SPIN.lock(), || w.change(rng, since)),
        (1, 0) => with_some(SPIN_IRQ.try_lock_irq(), || w.change(rng, since)),
        (1, _) => with(SPIN_IRQ.lock_irq(), || w.change(rng, since)),
        (2, _) => with(SPIN_BH.lock_bh(), || w.change(rng, since)),
        (3, 0) => with_some(RW.try_write(), || w.change(rng, since)),
        (3, 1) => with(RW.write(), || w.change(rng, since)),
        (3, _) => with(RW.read(), || w.read(rng, since)),
        (4, 0) => with(RW_IRQ.write_irq(), || w.change(rng, since)),
        (4, _) => with(RW_IRQ.read(), || w.read(rng, since)),
        (_, 0) => write_seq(w, since),
        _ => read_seq(w),
    }
}

/// A task that has sections of one kind to the end.
async fn torturer(kind: usize, seed: u64) {
    let (mut rng, w) = (Rng::new(seed), &WATCHED[kind]);
    let mut sections = 0;
    while !stopped() {
        let since = time::now();
        let had = match kind {
            6 => sleeping::mutex(w, &mut rng, since).await,
            7 => sleeping::rwsem(w, &mut rng, since).await,
            8 => sleeping::semaphore(w, &mut rng, since).await,
            9 => sleeping::ask(w, since).await,
            10 => sleeping::pi_mutex(w, &mut rng, since).await,
            _ => {
                spinning_section(kind, &mut rng);
                true
            }
        };
        sections += u64::from(had);
        forget_signal();
        breathe(&mut rng).await;
    }
    w.fewest.fetch_min(sections, Relaxed);
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
    if rng.range(0, 8) == 0 && sleeping::COUNTING.try_down() {
        sleeping::COUNTING.up();
    }
}

/// A softirq.
pub(super) fn in_softirq(_: &mut Rng) {
    let since = time::now();
    let _guard = SPIN_BH.lock();
    WATCHED[2].begin(since);
    WATCHED[2].end();
}

pub(super) fn start(cpus: usize) -> bool {
    let mut ok = true;
    for kind in 0..KINDS {
        for n in 0..cpus.min(4) {
            ok &= start_task(WATCHED[kind].name, torturer(kind, (1000 * (kind + 1) + n) as u64), Params::DEFAULT, true);
        }
    }
    ok & start_task("answerer", sleeping::answerer(), Params::DEFAULT, true)
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
            format_args!(
                "{}: writers {writes}, readers {reads}, wrong {wrong}, fewest of a task {fewest}, longest wait {} us",
                w.name,
                w.longest.load(Relaxed) / USEC
            ),
        );
    }
    good
}
