//! The checks at each acquisition and release.

use super::graph::{self, HARDIRQS_ON, IN_HARDIRQ, Path};
use super::report::{Kind, Report};
use super::{Acquire, LockClass};
use crate::arch;
use crate::context::{Context, MAX_HELD, in_hardirq};
use core::cell::Cell;
use core::sync::atomic::{AtomicPtr, Ordering::*};

/// Called with each finding; null: panic.
static HOOK: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

/// Makes `hook` what is called with each finding, instead of a panic. It may run in any context, with any lock held.
pub fn set_report_hook(hook: fn(&Report)) {
    HOOK.store(hook as *mut (), Release);
}

#[cold]
fn report(kind: Kind, class: &'static str, other: &'static str, path: Path) {
    let ctx = Context::here();
    let mut held = [0; MAX_HELD];
    let len = ctx.held_len.get().min(MAX_HELD);
    for (out, slot) in held.iter_mut().zip(slots(ctx)).take(len) {
        *out = slot.get().0 as u8;
    }
    let report = Report { kind, class, other, held, held_len: len, path };
    let hook = HOOK.load(Acquire);
    if hook.is_null() {
        panic!("{report}");
    }
    // SAFETY: only `set_report_hook` stores a non-null value: a function of this type.
    let hook = unsafe { core::mem::transmute::<*mut (), fn(&Report)>(hook) };
    hook(&report);
}

/// The held locks of `ctx`: (class index, address), oldest first.
fn slots(ctx: &Context) -> &[Cell<(usize, usize)>] {
    let all: &Cell<[(usize, usize)]> = &ctx.held;
    all.as_slice_of_cells()
}

/// A lock of `class` at `addr` is about to be taken.
pub(super) fn acquire(class: &'static LockClass, addr: usize, how: Acquire) {
    let Some(me) = graph::index(class) else { return };
    // An interrupt between the checks and the entry would use the same table; it pops what it pushes, so the table is
    // whole again when it returns, but the length must not be read before and written after it.
    let masked = arch::irqs_disabled();
    let irq = arch::irq_save();
    let ctx = Context::here();
    check_usage(me, class, masked);
    let len = ctx.held_len.get();
    if how != Acquire::Try {
        for slot in &slots(ctx)[..len.min(MAX_HELD)] {
            check_order(slot.get(), me, class, addr, how);
        }
    }
    if len < MAX_HELD {
        slots(ctx)[len].set((me, addr));
        ctx.held_len.set(len + 1);
    } else {
        report(Kind::TooDeep, class.name, class.name, Path::EMPTY);
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
    let len = ctx.held_len.get();
    if let Some(newest) = len.checked_sub(1) {
        let class = graph::name(slots(ctx)[newest].get().0);
        report(Kind::Imbalance, class, class, Path::EMPTY);
    }
}

/// `class` is about to be awaited.
pub(super) fn might_wait(class: &'static LockClass) {
    let ctx = Context::here();
    let len = ctx.held_len.get();
    if ctx.count() != 0 || len != 0 {
        let other = len.checked_sub(1).map_or("preempt count", |newest| graph::name(slots(ctx)[newest].get().0));
        report(Kind::AtomicWait, class.name, other, Path::EMPTY);
    }
}

/// Interrupt use: notes it, and looks for a clash when it is new.
fn check_usage(me: usize, class: &'static LockClass, masked: bool) {
    let bits = if in_hardirq() {
        IN_HARDIRQ
    } else if masked {
        return;
    } else {
        HARDIRQS_ON
    };
    if graph::add_usage(me, bits) == 0 {
        return;
    }
    if graph::usage(me) & (IN_HARDIRQ | HARDIRQS_ON) == IN_HARDIRQ | HARDIRQS_ON {
        report(Kind::IrqInconsistent, class.name, class.name, Path::EMPTY);
    }
    // A new use may make an old chain wrong: safe -> .. -> unsafe.
    let found = if bits == IN_HARDIRQ {
        graph::search(me, false, |c| graph::usage(c) & HARDIRQS_ON != 0)
    } else {
        graph::search(me, true, |c| graph::usage(c) & IN_HARDIRQ != 0)
    };
    if let Some(path) = found {
        report(Kind::IrqInversion, graph::name(path.nodes[0] as usize), graph::name(path.nodes[path.len - 1] as usize), path);
    }
}

/// `me` is about to be waited for while `held` is held.
fn check_order(held: (usize, usize), me: usize, class: &'static LockClass, addr: usize, how: Acquire) {
    let (other, other_addr) = held;
    if other == me {
        // A reader may enter again beside itself, as long as it is the same lock (Linux: read_lock is recursive).
        if !(how == Acquire::Read && other_addr == addr) {
            report(Kind::Recursion, class.name, class.name, Path::EMPTY);
        }
        return;
    }
    if !graph::add_edge(other, me) {
        return;
    }
    if let Some(path) = graph::search(me, false, |c| c == other) {
        report(Kind::Inversion, class.name, graph::name(other), path);
    }
    // Whoever is taken in interrupts and leads to `other` now leads to `me`, and to all that follows it.
    let safe_before = if graph::usage(other) & IN_HARDIRQ != 0 {
        Some(other)
    } else {
        graph::search(other, true, |c| graph::usage(c) & IN_HARDIRQ != 0).map(|p| p.nodes[0] as usize)
    };
    let Some(safe) = safe_before else { return };
    if graph::usage(me) & HARDIRQS_ON != 0 {
        let path = graph::search(safe, false, |c| c == me).unwrap_or(Path::EMPTY);
        report(Kind::IrqInversion, graph::name(safe), class.name, path);
    } else if let Some(path) = graph::search(me, false, |c| graph::usage(c) & HARDIRQS_ON != 0) {
        report(Kind::IrqInversion, graph::name(safe), graph::name(path.nodes[path.len - 1] as usize), path);
    }
}
