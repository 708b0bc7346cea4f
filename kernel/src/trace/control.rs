//! What user space has asked for, and its consequences: rings, and sites that are on.
//!
//! Everything here runs in a task. One change at a time is made, under [`CHANGE`], which is let go of before anything waits.

use super::event::EVENTS;
use super::filter::Filter;
use super::latency::Tracer;
use super::ring::{Ring, SLOT_SIZE, Slot};
use super::{blame, longest, report, runqueue, schedstat, state};
use crate::arch::aarch64::jump_label;
use crate::boot::info::kthread_cpus;
use crate::smp;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use vigil_abi::Errno;
use vigil_executor::cpu::{CpuId, CpuMask};
use vigil_executor::lock_class;
use vigil_executor::sync::SpinLock;
use vigil_executor::trace::{
    KEY_HARDIRQ, KEY_IRQS, KEY_LINES, KEY_PINS, KEY_PREEMPT, KEY_STAMPS, KEY_SWITCH, KEY_TIMERS, KEY_USER, KEY_WAKE,
};
use vigil_mem::{Gfp, KBox, VirtAddr, vmalloc};

/// Held over a change of what is on. Polls only.
static CHANGE: SpinLock<()> = SpinLock::new(lock_class!("trace_change"), ());
/// KiB of each CPU's ring.
static SIZE: AtomicUsize = AtomicUsize::new(1408);
/// Whether there are rings.
static EXPANDED: AtomicBool = AtomicBool::new(false);

/// What must be traced for what is asked for.
fn wanted() -> u32 {
    let events = state::ENABLED.load(Relaxed);
    let mut keys = EVENTS.iter().enumerate().filter(|(i, _)| events & 1 << i != 0).fold(0, |keys, (_, e)| keys | e.keys);
    keys |= match state::tracer() {
        Tracer::Nop => 0,
        Tracer::IrqsOff => KEY_IRQS | KEY_HARDIRQ | KEY_SWITCH,
        Tracer::PreemptOff => KEY_PREEMPT | KEY_SWITCH,
        Tracer::PreemptIrqsOff => KEY_IRQS | KEY_HARDIRQ | KEY_PREEMPT | KEY_SWITCH,
        Tracer::Wakeup | Tracer::WakeupRt | Tracer::WakeupDl => KEY_WAKE | KEY_SWITCH,
        Tracer::Poll => KEY_SWITCH | KEY_USER | KEY_HARDIRQ,
    };
    if blame::is_armed() {
        keys |= KEY_IRQS | KEY_HARDIRQ | KEY_SWITCH | KEY_WAKE | KEY_LINES;
    }
    if STAMPING.load(Relaxed) != 0 {
        keys |= KEY_STAMPS | if PINNED.load(Relaxed) { KEY_PINS } else { 0 };
    }
    if runqueue::COUNTING.load(Relaxed) || schedstat::enabled() {
        keys |= KEY_WAKE | KEY_SWITCH;
    }
    if STEERS_TIMERS.load(Relaxed) {
        keys |= KEY_TIMERS;
    }
    keys
}

/// Whether timers are kept off the CPUs of `nohz_full=`.
static STEERS_TIMERS: AtomicBool = AtomicBool::new(false);

/// Keeps timers off the CPUs of `nohz_full=`, if there are any. At boot. ENOMEM.
pub fn steer_timers() -> Result<(), Errno> {
    let alone = CpuMask(CpuMask::ALL.0 & !kthread_cpus().0);
    if alone.0 == 0 {
        return Ok(());
    }
    vigil_executor::timer::leave_alone(alone);
    apply(|| STEERS_TIMERS.store(true, Relaxed))
}

/// Makes `change`, and switches the sites accordingly. ENOMEM; EBUSY while a CPU comes or goes: then nothing has changed.
pub fn apply(change: impl FnOnce()) -> Result<(), Errno> {
    let steady = smp::steady().map_err(|smp::Unsteady| Errno::EBUSY)?;
    jump_label::prepare()?;
    let guard = CHANGE.lock();
    change();
    jump_label::want(wanted());
    drop(guard);
    jump_label::follow(&steady);
    Ok(())
}

/// Whether a CPU has pins, which are toggled while somebody wants the stamps.
pub static PINNED: AtomicBool = AtomicBool::new(false);

/// How many want the stamps of interrupts.
static STAMPING: AtomicUsize = AtomicUsize::new(0);

/// Wants the stamps of interrupts (`KEY_STAMPS`), or wants them no longer. ENOMEM; EBUSY while a CPU comes or goes: then nothing has changed.
pub fn stamp(on: bool) -> Result<(), Errno> {
    apply(|| _ = STAMPING.fetch_add(if on { 1 } else { usize::MAX }, Relaxed))
}

/// Runs `f` while all other CPUs wait in an interrupt. EBUSY while a CPU comes or goes.
pub fn hold_all(f: impl FnOnce()) -> Result<(), Errno> {
    let guard = CHANGE.lock();
    let result = smp::stop_others_while(f).map_err(|smp::Unsteady| Errno::EBUSY);
    drop(guard);
    result
}

/// Turns the events of `mask` (a bit for each of [`EVENTS`]) on or off. ENOMEM.
pub fn enable(mask: u32, on: bool) -> Result<(), Errno> {
    if on {
        expand()?;
    }
    let before = state::ENABLED.load(Relaxed);
    let after = if on { before | mask } else { before & !mask };
    apply(|| state::ENABLED.store(after, Relaxed))
}

/// Gives each event of `mask` the filter of its place in `new`. EBUSY while a CPU comes or goes.
pub fn set_filters(mask: u32, new: &mut [Option<KBox<Filter>>; EVENTS.len()]) -> Result<(), Errno> {
    let guard = CHANGE.lock();
    let result = smp::stop_others_while(|| {
        for (index, filter) in new.iter_mut().enumerate().filter(|(index, _)| mask & 1 << index != 0) {
            // SAFETY: the others wait, and this is a task.
            *filter = unsafe { state::swap_filter(index, filter.take()) };
        }
    });
    drop(guard);
    result.map_err(|smp::Unsteady| Errno::EBUSY)
}

/// Makes `tracer` the current one. ENOMEM.
pub fn set_tracer(tracer: Tracer) -> Result<(), Errno> {
    apply(|| state::set_tracer(tracer))?;
    // What was measured while only a part of the sites was on, and what is known of the last time.
    state::forget_sections();
    report::clear();
    longest::clear();
    state::LONGEST.store(0, Relaxed);
    super::sampling::follow(tracer == Tracer::Poll);
    Ok(())
}

/// Turns the counting of `runqueue_latency` on or off. ENOMEM.
pub fn count_runqueues(on: bool) -> Result<(), Errno> {
    apply(|| runqueue::COUNTING.store(on, Relaxed))
}

/// Turns the counting of `kernel.sched_schedstats` on or off. ENOMEM.
pub fn count_tasks(on: bool) -> Result<(), Errno> {
    if on {
        schedstat::prepare()?;
    }
    apply(|| schedstat::set(on))
}

/// KiB of each CPU's ring, and whether they exist already.
pub fn size() -> (usize, bool) {
    (SIZE.load(Relaxed), EXPANDED.load(Relaxed))
}

/// Gives each CPU a ring, if it has none. ENOMEM.
pub fn expand() -> Result<(), Errno> {
    if EXPANDED.load(Relaxed) { Ok(()) } else { resize(SIZE.load(Relaxed)) }
}

/// Gives each CPU an empty ring of `kib` KiB. EINVAL: 0; ENOMEM; EBUSY while a CPU comes or goes.
pub fn resize(kib: usize) -> Result<(), Errno> {
    let slots = kib.checked_mul(1024).ok_or(Errno::ENOMEM)? / SLOT_SIZE;
    if slots == 0 {
        return Err(Errno::EINVAL);
    }
    // Also for those that are offline: they may come.
    for cpu in crate::procfs::possible_cpus().iter() {
        replace(cpu, slots)?;
    }
    SIZE.store(kib, Relaxed);
    EXPANDED.store(true, Relaxed);
    Ok(())
}

/// Held by readers while they use rings, and over their replacement. Polls only.
static READERS: SpinLock<()> = SpinLock::new(lock_class!("trace_readers"), ());

/// Runs `f`, while which no ring goes away. `f` may not wait.
pub fn reading<R>(f: impl FnOnce() -> R) -> R {
    let guard = READERS.lock();
    let r = f();
    drop(guard);
    r
}

/// [`reading`], unless somebody does so already: for who cannot wait.
pub fn try_reading(f: impl FnOnce()) {
    if let Some(guard) = READERS.try_lock() {
        f();
        drop(guard);
    }
}

fn replace(cpu: CpuId, slots: usize) -> Result<(), Errno> {
    let new = KBox::into_raw(KBox::try_new(Ring::new(new_slots(slots)?))?);
    let mut old = core::ptr::null_mut();
    // Writers are in the middle of an entry only with interrupts masked: not while they are held.
    let result = reading(|| smp::stop_others_while(|| old = state::of(cpu).set_ring(new)));
    if result.is_err() {
        // Nobody has seen the new one.
        old = new;
    }
    if !old.is_null() {
        // SAFETY: made by this function, and nobody has it any more.
        unsafe {
            let ring = KBox::from_raw(old);
            vmalloc::vfree(VirtAddr::from_ptr(ring.slots().as_ptr()));
        }
    }
    result.map_err(|smp::Unsteady| Errno::EBUSY)
}

/// Slots of a new ring. ENOMEM.
fn new_slots(n: usize) -> Result<&'static [Slot], Errno> {
    let first = vmalloc::vmalloc(n * SLOT_SIZE, Gfp::KERNEL).ok_or(Errno::ENOMEM)?.as_ptr::<Slot>();
    for i in 0..n {
        // SAFETY: the area holds `n` slots, which are initialised one after the other.
        unsafe { first.add(i).write(Slot::new()) };
    }
    // SAFETY: initialised above, aligned to a page, and its only user's.
    Ok(unsafe { core::slice::from_raw_parts(first, n) })
}

/// Empties the rings of `cpus`; forgets the report, if these are all.
pub fn clear_of(cpus: CpuMask) {
    reading(|| cpus.iter().filter_map(|cpu| state::of(cpu).ring()).for_each(Ring::clear));
    if cpus == CpuMask::ALL {
        report::clear();
    }
}
