//! RCU torture (Linux: rcutorture). Whoever replaces an element sends the old one through a pipe: each grace period moves it on by
//! a place. A reader that got hold of an element while it was current may see it taken out (place 1), but not moved on: if it does,
//! a grace period has ended too early. At the end of the pipe the element is spoiled and used again.
//!
//! The same for two domains: RCU, read in tasks, softirqs and hard interrupts, and SRCU, whose readers sleep and migrate.

use super::{Rng, breathe, linger, pause, report, spin, start as start_task, stopped};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering::*};
use vigil_executor::class::Params;
use vigil_executor::lock_class;
use vigil_executor::sync::SpinLock;
use vigil_executor::sync::rcu::{self, RcuHead};
use vigil_executor::sync::srcu::Srcu;
use vigil_executor::time::{self, MSEC, SEC, USEC};
use vigil_executor::wait_site;

/// Elements of each domain.
const ELEMENTS: usize = 200;
/// Places of the pipe (Linux: RCU_TORTURE_PIPE_LEN).
const PIPE: usize = 10;
/// What is in an element that may be read.
const FRESH: u32 = 0x600d_600d;
/// Callbacks of one round of [`barriers`].
const ROUND: usize = 24;
const NONE: usize = usize::MAX;

struct Element {
    head: RcuHead,
    place: AtomicU32,
    content: AtomicU32,
    /// The next free one.
    next: AtomicUsize,
}

/// One kind of readers, and what they read.
struct Domain {
    elements: [Element; ELEMENTS],
    /// Index of the first free one. Callbacks free, so with interrupts masked.
    free: SpinLock<usize>,
    current: AtomicUsize,
    /// How many readers saw an element at each place when they left.
    seen: [AtomicU64; PIPE + 1],
    /// Readers that found an element spoiled.
    spoiled: AtomicU64,
    updates: [AtomicU64; 5],
}

static RCU: Domain = Domain::new();
static SRCU: Domain = Domain::new();
static SLEEPERS: Srcu = Srcu::new(lock_class!("torture_srcu"));
/// Rounds of callbacks that were waited for; those of which some had not been called.
static BARRIERS: AtomicU64 = AtomicU64::new(0);
static BROKEN: AtomicU64 = AtomicU64::new(0);
/// The longest wait for a grace period, in nanoseconds.
static LONGEST: AtomicU64 = AtomicU64::new(0);

impl Domain {
    const fn new() -> Domain {
        Domain {
            elements: [const {
                Element { head: RcuHead::new(), place: AtomicU32::new(0), content: AtomicU32::new(0), next: AtomicUsize::new(NONE) }
            }; ELEMENTS],
            free: SpinLock::new(lock_class!("torture_pool"), NONE),
            current: AtomicUsize::new(NONE),
            seen: [const { AtomicU64::new(0) }; PIPE + 1],
            spoiled: AtomicU64::new(0),
            updates: [const { AtomicU64::new(0) }; 5],
        }
    }

    fn put(&self, i: usize) {
        let element = &self.elements[i];
        element.content.store(0, Relaxed);
        let mut free = self.free.lock_irq();
        element.next.store(*free, Relaxed);
        *free = i;
    }

    fn take(&self) -> Option<usize> {
        let mut free = self.free.lock_irq();
        let i = *free;
        let element = self.elements.get(i)?;
        *free = element.next.load(Relaxed);
        Some(i)
    }

    fn free_count(&self) -> usize {
        let free = self.free.lock_irq();
        core::iter::successors(self.elements.get(*free), |e| self.elements.get(e.next.load(Relaxed))).count()
    }

    /// The middle of a read-side section, before `linger`: the element.
    fn enter(&self) -> Option<&Element> {
        let element = self.elements.get(self.current.load(Acquire))?;
        self.look(element);
        Some(element)
    }

    fn look(&self, element: &Element) {
        if element.content.load(Relaxed) != FRESH {
            self.spoiled.fetch_add(1, Relaxed);
        }
    }

    /// The end of a read-side section.
    fn leave(&self, element: &Element) {
        self.look(element);
        let place = element.place.load(Relaxed) as usize;
        self.seen[place.min(PIPE)].fetch_add(1, Relaxed);
    }

    /// Puts a fresh element in the place of the current one, which is taken out.
    fn replace(&self) -> Option<usize> {
        let new = self.take()?;
        let element = &self.elements[new];
        element.place.store(0, Relaxed);
        element.content.store(FRESH, Relaxed);
        let old = self.current.swap(new, AcqRel);
        self.elements.get(old)?.place.store(1, Relaxed);
        Some(old)
    }

    /// A grace period has passed since the last move of element `i`; whether it has left the pipe.
    fn advance(&self, i: usize) -> bool {
        let out = self.elements[i].place.fetch_add(1, Relaxed) as usize + 1 >= PIPE;
        if out {
            self.put(i);
        }
        out
    }

    /// Which of the elements the callback's head `head` is part of.
    fn index_of(&self, head: NonNull<RcuHead>) -> usize {
        (head.addr().get() - (&raw const self.elements).addr()) / size_of::<Element>()
    }

    fn readers(&self) -> u64 {
        self.seen.iter().map(|n| n.load(Relaxed)).sum()
    }

    fn too_early(&self) -> u64 {
        self.seen[2..].iter().map(|n| n.load(Relaxed)).sum()
    }
}

/// SAFETY: a callback; the head is that of an element of [`SRCU`], which is between two places.
unsafe fn srcu_moved_on(head: NonNull<RcuHead>) {
    if !SRCU.advance(SRCU.index_of(head)) {
        // SAFETY: the head was just taken off, and is a static's.
        unsafe { SLEEPERS.call(head, srcu_moved_on) };
    }
}

/// SAFETY: a callback; the head is that of an element of [`RCU`], which is between two places.
unsafe fn moved_on(head: NonNull<RcuHead>) {
    if !RCU.advance(RCU.index_of(head)) {
        // SAFETY: the head was just taken off, and is a static's.
        unsafe { rcu::call_rcu(head, moved_on) };
    }
}

/// Waits for a grace period in one of the ways that there are: 1 normally, 2 at once, 3 by looking now and then.
async fn grace_period(how: usize) {
    let begun = time::now();
    match how {
        1 => rcu::synchronize(wait_site!("torture")).await,
        2 => rcu::synchronize_expedited(wait_site!("torture")).await,
        _ => {
            let cookie = rcu::poll_state();
            while !rcu::poll_done(cookie) {
                pause(200 * USEC).await;
            }
        }
    }
    LONGEST.fetch_max(time::now() - begun, Relaxed);
}

/// Replaces elements of [`RCU`], and sends the old ones through the pipe in one of four ways.
async fn writer(seed: u64) {
    let mut rng = Rng::new(seed);
    while !stopped() {
        pause(rng.range(0, MSEC)).await;
        let Some(old) = RCU.replace() else { continue };
        let how = rng.range(0, 4) as usize;
        if how == 0 {
            let head = NonNull::from(&RCU.elements[old].head);
            // SAFETY: the element was current until now, so its head is queued nowhere; it is a static.
            unsafe { rcu::call_rcu(head, moved_on) };
        } else {
            grace_period(how).await;
            while !RCU.advance(old) {
                grace_period(rng.range(1, 4) as usize).await;
            }
        }
        RCU.updates[how].fetch_add(1, Relaxed);
    }
}

/// Asks for grace periods that nobody needs.
async fn faker(seed: u64) {
    let mut rng = Rng::new(seed);
    while !stopped() {
        pause(rng.range(0, 5 * MSEC)).await;
        grace_period(rng.range(1, 4) as usize).await;
    }
}

async fn reader(seed: u64) {
    let mut rng = Rng::new(seed);
    while !stopped() {
        {
            let _section = rcu::read_lock();
            if let Some(element) = RCU.enter() {
                linger(&mut rng);
                // Sections nest; the end of the inner one ends nothing.
                drop(rcu::read_lock());
                RCU.leave(element);
            }
        }
        breathe(&mut rng).await;
    }
}

async fn srcu_writer(seed: u64) {
    let mut rng = Rng::new(seed);
    while !stopped() {
        pause(rng.range(0, MSEC)).await;
        let Some(old) = SRCU.replace() else { continue };
        if rng.range(0, 2) == 0 {
            let head = NonNull::from(&SRCU.elements[old].head);
            // SAFETY: the element was current until now, so its head is queued nowhere; it is a static.
            unsafe { SLEEPERS.call(head, srcu_moved_on) };
            SRCU.updates[0].fetch_add(1, Relaxed);
            continue;
        }
        loop {
            SLEEPERS.synchronize(wait_site!("torture")).await;
            if SRCU.advance(old) {
                break;
            }
        }
        SRCU.updates[4].fetch_add(1, Relaxed);
    }
}

async fn srcu_reader(seed: u64) {
    let mut rng = Rng::new(seed);
    while !stopped() {
        let section = SLEEPERS.read_lock();
        if let Some(element) = SRCU.enter() {
            if rng.range(0, 16) == 0 {
                pause(rng.range(0, 2 * MSEC)).await;
            } else {
                linger(&mut rng);
            }
            breathe(&mut rng).await;
            SRCU.leave(element);
        }
        drop(section);
        breathe(&mut rng).await;
    }
}

struct Counted {
    head: RcuHead,
    called: AtomicU32,
}

static COUNTED: [Counted; ROUND] = [const { Counted { head: RcuHead::new(), called: AtomicU32::new(0) } }; ROUND];

/// SAFETY: a callback; the head is the first field of one of [`COUNTED`].
unsafe fn counted(head: NonNull<RcuHead>) {
    let at = (head.addr().get() - (&raw const COUNTED).addr()) / size_of::<Counted>();
    spin(USEC);
    COUNTED[at].called.fetch_add(1, Relaxed);
}

/// Queues callbacks here and there, and waits for them all.
async fn barriers() {
    let mut rng = Rng::new(11);
    while !stopped() {
        for item in &COUNTED {
            // SAFETY: a static; the barrier of the round before has waited for its callback.
            unsafe { rcu::call_rcu(NonNull::from(&item.head), counted) };
            // It may go on elsewhere.
            breathe(&mut rng).await;
        }
        rcu::barrier(wait_site!("torture")).await;
        let missing = COUNTED.iter().any(|item| item.called.swap(0, Relaxed) != 1);
        BARRIERS.fetch_add(1, Relaxed);
        BROKEN.fetch_add(missing.into(), Relaxed);
        if missing {
            // They may be called yet, so they cannot be queued again.
            return;
        }
    }
}

/// A section in a hard interrupt.
pub(super) fn in_interrupt(rng: &mut Rng) {
    let _section = rcu::read_lock();
    if let Some(element) = RCU.enter() {
        if rng.range(0, 64) == 0 {
            spin(20 * USEC);
        }
        RCU.leave(element);
    }
}

/// A section in a softirq.
pub(super) fn in_softirq(rng: &mut Rng) {
    in_interrupt(rng);
}

pub(super) fn start(cpus: usize) -> bool {
    for domain in [&RCU, &SRCU] {
        (0..ELEMENTS).for_each(|i| domain.put(i));
    }
    let mut ok = SLEEPERS.start_callbacks().is_ok();
    for n in 0..2 * cpus as u64 {
        ok &= start_task("rcu_reader", reader(100 + n), Params::DEFAULT, true);
        ok &= start_task("srcu_reader", srcu_reader(200 + n), Params::DEFAULT, true);
    }
    for n in 0..4 {
        ok &= start_task("rcu_writer", writer(300 + n), Params::DEFAULT, false);
        ok &= start_task("rcu_faker", faker(400 + n), Params::DEFAULT, false);
    }
    ok &= start_task("srcu_writer", srcu_writer(500), Params::DEFAULT, false);
    ok & start_task("rcu_barriers", barriers(), Params::DEFAULT, false)
}

/// Prints what was seen, when all tasks have ended.
pub(super) async fn verdict(seconds: u64) -> bool {
    // Elements go through the pipe by themselves: a barrier for each place.
    for _ in 0..=PIPE {
        rcu::barrier(wait_site!("torture")).await;
        SLEEPERS.barrier(wait_site!("torture")).await;
    }
    let count = |n: &AtomicU64| n.load(Relaxed);
    let mut good = true;
    for (name, domain) in [("rcu-torture", &RCU), ("srcu-torture", &SRCU)] {
        // One is current.
        let lost = ELEMENTS - 1 - domain.free_count();
        let (early, spoiled, readers) = (domain.too_early(), count(&domain.spoiled), domain.readers());
        let updates: u64 = domain.updates.iter().map(count).sum();
        // Without readers that an update overtook nothing was tried; a slow host sees few in a few seconds.
        let tried = updates > seconds / 8 && readers > 100 * seconds && (seconds < 30 || count(&domain.seen[1]) > 0);
        let ok = early == 0 && spoiled == 0 && lost == 0 && tried;
        let [call, sync, expedited, poll, _] = &domain.updates;
        good &= report(
            name,
            ok,
            format_args!(
                "readers {readers}, overtaken {}, too early {early}, spoiled {spoiled}, updates {updates} (call {}, synchronize {}, expedited {}, poll {}), lost {lost}",
                count(&domain.seen[1]),
                count(call),
                count(sync),
                count(expedited),
                count(poll)
            ),
        );
    }
    let (rounds, broken, longest) = (count(&BARRIERS), count(&BROKEN), count(&LONGEST));
    good & report(
        "rcu-barrier",
        rounds > 0 && broken == 0 && longest < 20 * SEC,
        format_args!("barriers {rounds}, broken {broken}, grace periods {}, longest wait {} us", rcu::completed(), longest / USEC),
    )
}
