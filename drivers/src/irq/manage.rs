//! Changes to a line: handlers come and go, it is disabled and enabled, it moves to other CPUs.

use super::desc::{IrqDesc, desc};
use super::domain::{Flow, IrqChip, IrqDomain};
use super::{IrqAction, IrqFlags, Virq};
use core::ptr::{from_ref, null_mut};
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use vigil_abi::Errno;
use vigil_executor::cpu::{CpuMask, ACTIVE};

/// Puts `action` on line `virq`, and switches the line on unless [`IrqFlags::NO_AUTOEN`] is set.
///
/// Errors: EINVAL when the line is mapped to no controller or is a per-CPU one; EBUSY when it has a handler and not
/// both share, or when `action` is on a line already. Does not block; not for interrupt context.
pub fn request_irq(virq: Virq, action: &'static IrqAction) -> Result<(), Errno> {
    let (d, domain) = line(virq)?;
    if d.flow() == Flow::PerCpu {
        return Err(Errno::EINVAL);
    }
    let mut state = d.state.lock_irq();
    let mut link = &d.action;
    let mut first = true;
    // SAFETY: links are null or came from `&'static IrqAction`s.
    while let Some(other) = unsafe { link.load(Relaxed).as_ref() } {
        if core::ptr::eq(other, action) || !(other.flags & action.flags).contains(IrqFlags::SHARED) {
            return Err(Errno::EBUSY);
        }
        link = &other.next;
        first = false;
    }
    action.next.store(null_mut(), Relaxed);
    link.store(from_ref(action).cast_mut(), SeqCst);
    if first {
        state.calls = 0;
        d.unhandled.store(0, Relaxed);
        let hwirq = d.hwirq.load(Relaxed);
        // A controller that cannot move a line has it where it is.
        let _ = domain.chip().set_affinity(hwirq, usable(state.affinity));
        if !action.flags.contains(IrqFlags::NO_AUTOEN) {
            state.depth = 0;
            domain.chip().unmask(hwirq);
        }
    }
    Ok(())
}

/// Takes `action` off line `virq` and waits until no CPU runs its handler any more; the last one switches the line off.
///
/// Spins for as long as the handlers of the line run. Not for interrupt context. A handler that is on no line: nothing.
pub fn free_irq(virq: Virq, action: &'static IrqAction) {
    let Ok((d, domain)) = line(virq) else { return };
    let mut state = d.state.lock_irq();
    let mut link = &d.action;
    // SAFETY: links are null or came from `&'static IrqAction`s.
    while let Some(other) = unsafe { link.load(Relaxed).as_ref() } {
        if core::ptr::eq(other, action) {
            link.store(action.next.load(Relaxed), SeqCst);
            break;
        }
        link = &other.next;
    }
    if d.first(Relaxed).is_none() {
        state.depth = 1;
        domain.chip().mask(d.hwirq.load(Relaxed));
    }
    drop(state);
    synchronize_irq(virq);
}

/// Waits until no handler of line `virq` runs. Spins; not for interrupt context, nor with a lock that a handler takes.
pub fn synchronize_irq(virq: Virq) {
    let d = desc(virq);
    while d.running.load(SeqCst) != 0 {
        core::hint::spin_loop();
    }
}

/// Switches the line off, once more; returns when no handler of it runs. Not in that handler.
pub fn disable_irq(virq: Virq) {
    disable_irq_nosync(virq);
    synchronize_irq(virq);
}

/// Switches the line off, once more. Any context.
pub fn disable_irq_nosync(virq: Virq) {
    let Ok((d, domain)) = line(virq) else { return };
    let mut state = d.state.lock_irq();
    if state.depth == 0 {
        domain.chip().mask(d.hwirq.load(Relaxed));
    }
    state.depth = state.depth.saturating_add(1);
}

/// Takes one [`disable_irq`] back; the last one switches the line on. Any context.
pub fn enable_irq(virq: Virq) {
    let Ok((d, domain)) = line(virq) else { return };
    let mut state = d.state.lock_irq();
    match state.depth {
        0 => log::warn!("irq {}: unbalanced enable", virq.get()),
        1 => {
            state.depth = 0;
            domain.chip().unmask(d.hwirq.load(Relaxed));
        }
        _ => state.depth -= 1,
    }
}

/// Puts `action` on the per-CPU line `virq`. Each CPU switches its own on by [`enable_percpu_irq`].
///
/// Errors: EINVAL when the line is not a per-CPU one; EBUSY when it has a handler.
pub fn request_percpu_irq(virq: Virq, action: &'static IrqAction) -> Result<(), Errno> {
    let (d, _) = line(virq)?;
    if d.flow() != Flow::PerCpu {
        return Err(Errno::EINVAL);
    }
    let _state = d.state.lock_irq();
    let new = from_ref(action).cast_mut();
    d.action.compare_exchange(null_mut(), new, Release, Acquire).map(|_| ()).map_err(|_| Errno::EBUSY)
}

/// Switches this CPU's line `virq` on.
pub fn enable_percpu_irq(virq: Virq) {
    percpu(virq, |chip, hwirq| chip.unmask(hwirq));
}

/// Switches this CPU's line `virq` off.
pub fn disable_percpu_irq(virq: Virq) {
    percpu(virq, |chip, hwirq| chip.mask(hwirq));
}

fn percpu(virq: Virq, f: impl FnOnce(&dyn IrqChip, u32)) {
    let Ok((d, domain)) = line(virq) else { return };
    let _state = d.state.lock_irq();
    f(domain.chip(), d.hwirq.load(Relaxed));
}

/// Sends the interrupts of line `virq` to one of the CPUs of `mask` from now on; kept for when it is requested.
///
/// Errors: EINVAL when `mask` has no CPU that is active, or the line cannot be moved.
pub fn set_affinity(virq: Virq, mask: CpuMask) -> Result<(), Errno> {
    let (d, domain) = line(virq)?;
    let online = CpuMask(mask.0 & ACTIVE.load().0);
    if online.0 == 0 {
        return Err(Errno::EINVAL);
    }
    let mut state = d.state.lock_irq();
    domain.chip().set_affinity(d.hwirq.load(Relaxed), online)?;
    state.affinity = mask;
    Ok(())
}

/// The part of `mask` that can take interrupts now; if that is empty all that can, and the boot CPU before any is active.
fn usable(mask: CpuMask) -> CpuMask {
    let active = ACTIVE.load();
    match mask.0 & active.0 {
        0 if active.0 == 0 => CpuMask::of(vigil_executor::cpu::CpuId::BOOT),
        0 => active,
        some => CpuMask(some),
    }
}

/// A CPU is not active any more: lines that all CPUs share go to others (Linux: irq_migrate_all_off_this_cpu). What one of them
/// has raised by now is taken where it was raised.
pub fn leave_cpu() {
    for d in super::desc::DESCS.iter().skip(1) {
        let Some(domain) = d.domain().filter(|_| d.flow() != Flow::PerCpu) else { continue };
        let state = d.state.lock_irq();
        if d.first(Acquire).is_some() {
            // A controller that cannot move a line has it where it is.
            let _ = domain.chip().set_affinity(d.hwirq.load(Relaxed), usable(state.affinity));
        }
    }
}

fn line(virq: Virq) -> Result<(&'static IrqDesc, &'static IrqDomain), Errno> {
    let d = desc(virq);
    d.domain().map(|domain| (d, domain)).ok_or(Errno::EINVAL)
}
