//! Changes to a line: handlers come and go, it is disabled and enabled, it moves to other CPUs.

use super::desc::{IrqDesc, desc};
use super::domain::{Flow, IrqChip, IrqDomain};
use super::{IrqAction, IrqFlags, Trigger, Virq, thread};
use core::ptr::{from_ref, null_mut};
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use vigil_abi::Errno;
use vigil_executor::cpu::{ACTIVE, CpuId, CpuMask};

/// Puts `action` on line `virq`, and switches the line on unless [`IrqFlags::NO_AUTOEN`] is set.
///
/// Errors: EINVAL when the line is mapped to no controller or is a per-CPU one; EBUSY when it has a handler and not
/// both share, or when `action` is on a line already. Does not block; not for interrupt context.
pub fn request_irq(virq: Virq, action: &'static IrqAction) -> Result<(), Errno> {
    if thread::threads_forced() && !action.flags.intersects(IrqFlags::NO_THREAD | IrqFlags::CHAINED) {
        return thread::force(virq, action);
    }
    hang(virq, action)
}

/// As [`request_irq`], and no thread is made of it.
pub(super) fn hang(virq: Virq, action: &'static IrqAction) -> Result<(), Errno> {
    let (d, _) = line(virq)?;
    if d.flow() == Flow::PerCpu {
        return Err(Errno::EINVAL);
    }
    let mut state = d.state.lock_irq();
    let mut link = &d.action;
    let mut first = true;
    // SAFETY: links are null or came from `&'static IrqAction`s.
    while let Some(other) = unsafe { link.load(Relaxed).as_ref() } {
        let alike = (other.flags ^ action.flags) & IrqFlags::ONESHOT == IrqFlags::empty();
        if core::ptr::eq(other, action) || !alike || !(other.flags & action.flags).contains(IrqFlags::SHARED) {
            return Err(Errno::EBUSY);
        }
        link = &other.next;
        first = false;
    }
    action.next.store(null_mut(), Relaxed);
    link.store(from_ref(action).cast_mut(), SeqCst);
    if first {
        // A line that nobody wanted elsewhere goes where lines go by now.
        if !state.affinity_set {
            state.affinity = CpuMask(DEFAULT_AFFINITY.load(Relaxed));
        }
        let mask = usable(state.affinity);
        // A controller that cannot move a line has it where it is.
        let _ = d.route(&mut state, mask);
        state.pending = false;
        if !action.flags.contains(IrqFlags::NO_AUTOEN) {
            d.enable(&mut state);
        }
    }
    Ok(())
}

/// Takes `action` off line `virq` and waits until no CPU runs its handler any more; the last one switches the line off.
///
/// Spins for as long as the handlers of the line run. Not for interrupt context. A handler that is on no line: nothing.
pub fn free_irq(virq: Virq, action: &'static IrqAction) {
    if !thread::free_forced(virq, action) {
        unhang(virq, action);
    }
}

/// As [`free_irq`] for the action itself.
pub(super) fn unhang(virq: Virq, action: &'static IrqAction) {
    let Ok((d, _)) = line(virq) else { return };
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
    if state.depth == 0 {
        d.live.store(d.action.load(Relaxed), SeqCst);
    }
    if d.first(Relaxed).is_none() {
        state.depth = 1;
        state.shut = false;
        d.mask();
    }
    drop(state);
    synchronize_hardirq(virq);
}

/// Waits until no handler of line `virq` runs in a hard interrupt; its threads may. Spins; not for interrupt context, nor with a lock that
/// a handler takes.
pub fn synchronize_hardirq(virq: Virq) {
    let d = desc(virq);
    while d.running.load(SeqCst) != 0 {
        core::hint::spin_loop();
    }
}

/// Waits until no handler of line `virq` runs, and none of its threads has anything to do. Not in one of them.
pub async fn synchronize_irq(virq: Virq) {
    synchronize_hardirq(virq);
    thread::synchronize(virq).await;
}

/// Switches the line off, once more; returns when no handler of it runs in a hard interrupt. Not in that handler.
pub fn disable_hardirq(virq: Virq) {
    disable_irq_nosync(virq);
    synchronize_hardirq(virq);
}

/// Switches the line off, once more; ends when no handler of it runs, in a thread or not. Not in one of them.
pub async fn disable_irq(virq: Virq) {
    disable_irq_nosync(virq);
    synchronize_irq(virq).await;
}

/// Switches the line off, once more. Any context.
pub fn disable_irq_nosync(virq: Virq) {
    let Ok((d, _)) = line(virq) else { return };
    d.disable(&mut d.state.lock_irq());
}

/// Takes one [`disable_irq`], or what is like it, back; the last one switches the line on. Any context.
pub fn enable_irq(virq: Virq) {
    let Ok((d, _)) = line(virq) else { return };
    let mut state = d.state.lock_irq();
    match state.depth {
        0 => log::warn!("Unbalanced enable for IRQ {}", virq.get()),
        1 => d.enable(&mut state),
        _ => state.depth -= 1,
    }
}

/// Sets what raises line `virq`. Errors: EINVAL when it is mapped to no controller, or that one cannot; EBUSY when the line has a handler that
/// wants it otherwise.
pub fn set_type(virq: Virq, trigger: Trigger) -> Result<(), Errno> {
    let (d, domain) = line(virq)?;
    let hwirq = d.hwirq.load(Relaxed);
    let mut state = d.state.lock_irq();
    if state.trigger == trigger {
        return Ok(());
    }
    if d.first(Relaxed).is_some() {
        return Err(Errno::EBUSY);
    }
    domain.chip().set_type(hwirq, trigger)?;
    state.trigger = trigger;
    d.flow.store(domain.chip().flow(hwirq)? as u8, Relaxed);
    Ok(())
}

/// Raises line `virq` as its device would, once (Linux: irq_inject_interrupt). Any context.
///
/// Errors: EINVAL when it is mapped to no controller, or that one cannot.
pub fn retrigger(virq: Virq) -> Result<(), Errno> {
    let (d, domain) = line(virq)?;
    domain.chip().retrigger(d.hwirq.load(Relaxed))
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
    d.action.compare_exchange(null_mut(), new, Release, Acquire).map_err(|_| Errno::EBUSY)?;
    d.live.store(new, Release);
    Ok(())
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

/// Where the lines go that nobody has sent elsewhere (`/proc/irq/default_smp_affinity`).
static DEFAULT_AFFINITY: AtomicU64 = AtomicU64::new(CpuMask::ALL.0);

/// Where lines go, from their request on, that nobody has sent elsewhere.
pub fn default_affinity() -> CpuMask {
    CpuMask(DEFAULT_AFFINITY.load(Relaxed))
}

/// Sets [`default_affinity`] at boot (`irqaffinity=`); the boot CPU is always in it.
pub fn set_first_affinity(mask: CpuMask) {
    DEFAULT_AFFINITY.store((mask.0 & CpuMask::ALL.0) | CpuMask::of(CpuId::BOOT).0, Relaxed);
}

/// Changes [`default_affinity`]. Errors: EINVAL when `mask` has no CPU that is active.
pub fn set_default_affinity(mask: CpuMask) -> Result<(), Errno> {
    if mask.0 & ACTIVE.load().0 == 0 {
        return Err(Errno::EINVAL);
    }
    DEFAULT_AFFINITY.store(mask.0, Relaxed);
    Ok(())
}

/// Sends the interrupts of line `virq` to CPUs of `mask` from now on, or from its request on.
///
/// Errors: EIO for a line that cannot be moved; EINVAL when `mask` has no CPU that is active.
pub fn set_affinity(virq: Virq, mask: CpuMask) -> Result<(), Errno> {
    let (d, _) = line(virq)?;
    if d.flow() == Flow::PerCpu {
        return Err(Errno::EIO);
    }
    let online = CpuMask(mask.0 & ACTIVE.load().0);
    if online.0 == 0 {
        return Err(Errno::EINVAL);
    }
    let mut state = d.state.lock_irq();
    if d.first(Relaxed).is_some() {
        d.route(&mut state, online)?;
    }
    state.affinity = mask;
    state.affinity_set = true;
    Ok(())
}

/// The part of `mask` that can take interrupts now; if that is empty all that can, and the boot CPU before any is active.
fn usable(mask: CpuMask) -> CpuMask {
    let active = ACTIVE.load();
    match mask.0 & active.0 {
        0 if active.0 == 0 => CpuMask::of(CpuId::BOOT),
        0 => active,
        some => CpuMask(some),
    }
}

/// A CPU is not active any more: its lines go to others that they may go to, or, when there is none, anywhere, and may from
/// then on (Linux: irq_migrate_all_off_this_cpu). What one of them has raised by now is taken where it was raised.
pub fn leave_cpu() {
    let active = ACTIVE.load();
    for d in super::desc::DESCS.iter().skip(1) {
        if d.domain().is_none() || d.flow() == Flow::PerCpu {
            continue;
        }
        let mut state = d.state.lock_irq();
        if d.first(Acquire).is_none() || state.effective.0 & active.0 != 0 {
            continue;
        }
        if state.affinity.0 & active.0 == 0 {
            state.affinity = active;
        }
        let mask = usable(state.affinity);
        // A controller that cannot move a line has it where it is.
        let _ = d.route(&mut state, mask);
    }
}

pub(super) fn line(virq: Virq) -> Result<(&'static IrqDesc, &'static IrqDomain), Errno> {
    let d = desc(virq);
    d.domain().map(|domain| (d, domain)).ok_or(Errno::EINVAL)
}
