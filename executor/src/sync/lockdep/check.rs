//! The checks at each acquisition and release.

use super::graph::{self, HARDIRQS_ON, IN_HARDIRQ, IN_SOFTIRQ, Path, READ, SOFTIRQS_ON};
use super::places::Place;
use super::report::{Kind, Report};
use super::{Acquire, LockClass, tasks};
use crate::arch;
use crate::context::{Context, MAX_HELD, in_hardirq, in_softirq};
use core::cell::Cell;
use core::panic::Location;
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering::*};

/// Called with each finding; null: panic.
static HOOK: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

/// Makes `hook` what is called with each finding, instead of a panic. It may run in any context, with any lock held.
pub fn set_report_hook(hook: fn(&Report)) {
    HOOK.store(hook as *mut (), Release);
}

/// Findings that were told, as numbers; what comes after these is told again and again.
static TOLD: [AtomicUsize; 128] = [const { AtomicUsize::new(0) }; 128];

/// Whether `kind` of these two has not been told before: a finding of an order is made once, others at each acquisition.
fn is_news(kind: Kind, me: &'static str, other: &'static str) -> bool {
    let number = me.as_ptr().addr().wrapping_mul(31).wrapping_add(other.as_ptr().addr()).wrapping_mul(31).wrapping_add(kind as usize + 1);
    for told in &TOLD {
        match told.compare_exchange(0, number, Relaxed, Relaxed) {
            Ok(_) => return true,
            Err(known) if known == number => return false,
            Err(_) => {}
        }
    }
    true
}

#[cold]
pub(super) fn report(kind: Kind, me: (&'static str, Place), other: (&'static str, Place), path: Path) {
    if !is_news(kind, me.0, other.0) {
        return;
    }
    let ctx = Context::here();
    let mut report = Report { kind, me, other, held: [HeldLock(0); MAX_HELD], held_len: 0, path };
    let tasks_own = if level() == 0 { tasks::held() } else { tasks::Own::NONE };
    let own = tasks_own.iter().chain(slots(ctx)[..ctx.held_len.get().min(MAX_HELD)].iter().map(|slot| HeldLock(slot.get().0)));
    for (out, held) in report.held.iter_mut().zip(own) {
        *out = held;
        report.held_len += 1;
    }
    let hook = HOOK.load(Acquire);
    if hook.is_null() {
        panic!("{report}");
    }
    // SAFETY: only `set_report_hook` stores a non-null value: a function of this type.
    let hook = unsafe { core::mem::transmute::<*mut (), fn(&Report)>(hook) };
    hook(&report);
}

/// What is known of a lock that is held, in a word: class, level of interrupt, whether as a reader, place.
#[derive(Clone, Copy)]
pub(super) struct HeldLock(pub(super) usize);

impl HeldLock {
    pub(super) fn new(class: usize, reads: bool, place: Place) -> HeldLock {
        HeldLock(class | usize::from(reads) << 8 | level() << 9 | usize::from(place.0) << 16)
    }

    pub(super) fn class(self) -> usize {
        self.0 & 0xff
    }

    pub(super) fn reads(self) -> bool {
        self.0 & 1 << 8 != 0
    }

    pub(super) fn level(self) -> usize {
        self.0 >> 9 & 3
    }

    pub(super) fn place(self) -> Place {
        Place((self.0 >> 16) as u16)
    }

    fn named(self) -> (&'static str, Place) {
        (graph::name(self.class()), self.place())
    }
}

/// 0 in a task, 1 in a softirq, 2 in a hard interrupt: what one holds, the next has not taken.
fn level() -> usize {
    if in_hardirq() { 2 } else { usize::from(in_softirq()) }
}

/// The held locks of `ctx`: (what, address), oldest first.
fn slots(ctx: &Context) -> &[Cell<(usize, usize)>] {
    let all: &Cell<[(usize, usize)]> = &ctx.held;
    all.as_slice_of_cells()
}

/// A lock of `class` at `addr` is about to be taken.
pub(super) fn acquire(class: &'static LockClass, addr: usize, how: Acquire, at: &'static Location<'static>) {
    let Some(me) = graph::index(class) else { return };
    // An interrupt between the checks and the entry would use the same table; it pops what it pushes, so the table is
    // whole again when it returns, but the length must not be read before and written after it.
    let masked = arch::irqs_disabled();
    let irq = arch::irq_save();
    let ctx = Context::here();
    let reads = matches!(how, Acquire::Read | Acquire::TryRead);
    let lock = HeldLock::new(me, reads, Place::of(at));
    check_usage(lock, masked);
    let len = ctx.held_len.get();
    if matches!(how, Acquire::Wait | Acquire::Read) {
        for slot in &slots(ctx)[..len.min(MAX_HELD)] {
            let (held, held_addr) = slot.get();
            check_order(HeldLock(held), held_addr, lock, addr);
        }
    }
    if len < MAX_HELD {
        slots(ctx)[len].set((lock.0, addr));
        ctx.held_len.set(len + 1);
    } else {
        report(Kind::TooDeep, lock.named(), lock.named(), Path::EMPTY);
    }
    arch::irq_restore(irq);
}

/// The lock at `addr` is let go; not always the newest.
pub(super) fn release(addr: usize) {
    let irq = arch::irq_save();
    let ctx = Context::here();
    let len = ctx.held_len.get();
    let slots = slots(ctx);
    // A lock that was taken when a table was full is not entered.
    if let Some(at) = slots[..len].iter().rposition(|s| s.get().1 == addr) {
        for i in at..len - 1 {
            slots[i].set(slots[i + 1].get());
        }
        ctx.held_len.set(len - 1);
    }
    arch::irq_restore(irq);
}

/// Reports any lock that this flow still holds; the executor calls it after each poll (DESIGN.md rule 3).
pub fn assert_none_held() {
    let ctx = Context::here();
    if let Some(newest) = ctx.held_len.get().checked_sub(1) {
        let held = HeldLock(slots(ctx)[newest].get().0).named();
        report(Kind::Imbalance, held, held, Path::EMPTY);
    }
}

/// This flow is about to wait for `what`, or could be: it may have nothing turned off that waiting needs (Linux: might_sleep).
pub(super) fn might_wait(what: &'static str, at: Place) {
    let ctx = Context::here();
    let len = ctx.held_len.get();
    if ctx.count() != 0 || len != 0 || arch::irqs_disabled() {
        let other = match len.checked_sub(1) {
            Some(newest) => HeldLock(slots(ctx)[newest].get().0).named(),
            None if ctx.count() != 0 => ("preempt count", Place::UNKNOWN),
            None => ("interrupt mask", Place::UNKNOWN),
        };
        report(Kind::AtomicWait, (what, at), other, Path::EMPTY);
    }
}

/// The uses of interrupts: what is taken in one, and what may be interrupted by it.
const STATES: [(u32, u32, Kind, Kind); 2] = [
    (IN_HARDIRQ, HARDIRQS_ON, Kind::IrqInconsistent, Kind::IrqInversion),
    (IN_SOFTIRQ, SOFTIRQS_ON, Kind::SoftirqInconsistent, Kind::SoftirqInversion),
];

const fn any(bit: u32) -> u32 {
    bit | bit << READ
}

/// Whether interrupts take class `c` as readers only: they pass other readers, and writers that wait.
fn only_read(c: usize, inside: u32) -> bool {
    graph::usage(c) & any(inside) == inside << READ
}

/// Interrupt use: notes it, and looks for a clash when it is new.
fn check_usage(lock: HeldLock, masked: bool) {
    let uses = match lock.level() {
        2 => IN_HARDIRQ,
        1 => IN_SOFTIRQ | if masked { 0 } else { HARDIRQS_ON },
        // Where hard interrupts are masked, none ends in a softirq.
        _ if masked => return,
        _ if Context::here().softirqs_off() => HARDIRQS_ON,
        _ => HARDIRQS_ON | SOFTIRQS_ON,
    };
    let me = lock.class();
    let shift = if lock.reads() { READ } else { 0 };
    let new = graph::add_usage(me, uses << shift, || lock.place()) >> shift;
    for (inside, on, inconsistent, inversion) in STATES {
        if new & (inside | on) == 0 {
            continue;
        }
        let used = graph::usage(me);
        let clash = used & inside != 0 && used & any(on) != 0 || used & inside << READ != 0 && used & on != 0;
        if clash {
            let (in_at, on_at) = (graph::used_at(me, any(inside)), graph::used_at(me, any(on)));
            report(inconsistent, (graph::name(me), in_at), (graph::name(me), on_at), Path::EMPTY);
            continue;
        }
        // A new use may make an old chain wrong: taken inside -> .. -> held with them on.
        let found = if new & inside != 0 {
            graph::search(me, false, |c| only_read(c, inside), |c| graph::usage(c) & any(on) != 0)
        } else {
            graph::search(me, true, |c| only_read(c, inside), |c| graph::usage(c) & any(inside) != 0)
        };
        if let Some(path) = found {
            report_chain(inversion, inside, on, path);
        }
    }
}

fn report_chain(kind: Kind, inside: u32, on: u32, path: Path) {
    let (safe, open) = path.ends();
    let ends = ((graph::name(safe), graph::used_at(safe, any(inside))), (graph::name(open), graph::used_at(open, any(on))));
    report(kind, ends.0, ends.1, path);
}

/// `lock` at `addr` is about to be waited for while `held` is held.
pub(super) fn check_order(held: HeldLock, held_addr: usize, lock: HeldLock, addr: usize) {
    // What the interrupted flow holds, the interrupt does not wait for in its name.
    if held.level() != lock.level() {
        return;
    }
    let (other, me) = (held.class(), lock.class());
    if other == me {
        // A reader in an interrupt passes writers that wait, so it may enter again beside itself.
        let passes = lock.reads() && held.reads() && held_addr == addr && lock.level() != 0;
        let nests = held_addr != addr && graph::class(me).is_some_and(|class| class.nests);
        if !passes && !nests {
            report(Kind::Recursion, lock.named(), held.named(), Path::EMPTY);
        }
        return;
    }
    if !graph::add_edge(other, me, held.reads(), || (held.place(), lock.place())) {
        return;
    }
    if let Some(path) = graph::search(me, false, |_| false, |c| c == other) {
        report(Kind::Inversion, lock.named(), held.named(), path);
    }
    // Whoever is taken in interrupts and leads to `other` now leads to `me`, and to all that follows it.
    for (inside, on, _, inversion) in STATES {
        let is_open = |c: usize| graph::usage(c) & any(on) != 0;
        let ahead = if is_open(me) { Some(Path::of(me)) } else { graph::search(me, false, |_| false, is_open) };
        let Some(ahead) = ahead else { continue };
        let is_safe = |c: usize| graph::usage(c) & any(inside) != 0;
        let before = if is_safe(other) && !(held.reads() && only_read(other, inside)) {
            Some(Path::of(other))
        } else {
            graph::search(other, true, |c| only_read(c, inside), is_safe)
        };
        if let Some(before) = before {
            report_chain(inversion, inside, on, before.then(ahead));
        }
    }
}
