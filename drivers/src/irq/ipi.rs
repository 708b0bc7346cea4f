//! Interrupts from one CPU to others.

use core::ffi::CStr;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};
use vigil_executor::arch::{is_traced, store_counter};
use vigil_executor::cpu::{CpuId, CpuMask, MAX_CPUS};
use vigil_executor::trace::{Event, KEY_IPI, KEY_LINES, Role, tell};

/// What one CPU asks of another; the value is the number of the software-generated interrupt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Ipi {
    /// Look at your inbox.
    Reschedule = 0,
    /// Run the queued function calls.
    CallFunction = 1,
    /// Stop, for good.
    Stop = 2,
    /// Stop, so that the memory can be saved.
    CrashStop = 3,
    /// A timer of yours expired, which another CPU watched for you.
    TimerBroadcast = 4,
    /// Run the work that was queued in an interrupt.
    IrqWork = 5,
    /// Leave the firmware's parking place.
    WakeUp = 6,
}

/// How many kinds there are.
const KINDS: usize = 7;

impl Ipi {
    /// All of them, in the order of `/proc/interrupts`.
    pub const ALL: [Ipi; KINDS] =
        [Ipi::Reschedule, Ipi::CallFunction, Ipi::Stop, Ipi::CrashStop, Ipi::TimerBroadcast, Ipi::IrqWork, Ipi::WakeUp];

    /// Its description, as Linux has it, with an end that programs can find which read it from binary traces.
    pub const fn reason(self) -> &'static CStr {
        match self {
            Ipi::Reschedule => c"Rescheduling interrupts",
            Ipi::CallFunction => c"Function call interrupts",
            Ipi::Stop => c"CPU stop interrupts",
            Ipi::CrashStop => c"CPU stop (for crash dump) interrupts",
            Ipi::WakeUp => c"CPU wake-up interrupts",
            Ipi::TimerBroadcast => c"Timer broadcast interrupts",
            Ipi::IrqWork => c"IRQ work interrupts",
        }
    }

    /// Its description in `/proc/interrupts`.
    pub const fn description(self) -> &'static str {
        match self.reason().to_str() {
            Ok(text) => text,
            Err(_) => "",
        }
    }
}

#[repr(align(64))]
struct Counts([AtomicU32; KINDS]);

static COUNTS: [Counts; MAX_CPUS] = [const { Counts([const { AtomicU32::new(0) }; KINDS]) }; MAX_CPUS];

/// How often `cpu` got `ipi`.
pub fn ipi_count(ipi: Ipi, cpu: CpuId) -> u32 {
    COUNTS[cpu.index()].0[ipi as usize].load(Relaxed)
}

/// How the count is traced.
const LINE: u32 = Role::Line as u32;

/// What is counted at `counter`, by any CPU: for tracers.
pub fn ipi_of_counter(counter: usize) -> Option<Ipi> {
    let at = counter.checked_sub((&raw const COUNTS) as usize)?;
    let of_cpu = (at < size_of_val(&COUNTS)).then_some(at % size_of::<Counts>())?;
    Ipi::ALL.get(of_cpu / size_of::<AtomicU32>()).copied()
}

fn ignore(_: Ipi) {}
static HANDLER: AtomicPtr<()> = AtomicPtr::new(ignore as *mut ());

fn nobody(_: CpuMask, _: Ipi) {}
static SENDER: AtomicPtr<()> = AtomicPtr::new(nobody as *mut ());

/// Sets what runs when an IPI came: in the hard interrupt, interrupts masked, after its end was signalled.
pub fn set_ipi_handler(handler: fn(Ipi)) {
    HANDLER.store(handler as *mut (), Release);
}

/// Sets the root controller's way of sending one.
pub(crate) fn set_ipi_sender(sender: fn(CpuMask, Ipi)) {
    SENDER.store(sender as *mut (), Release);
}

/// Interrupts every CPU of `mask`. What was written before is seen by their handlers. Any context; does not wait.
/// A CPU that is not up, or before the interrupt controller is: nothing.
#[inline]
pub fn send_ipi(mask: CpuMask, ipi: Ipi) {
    if is_traced::<KEY_IPI>() {
        tell(Event::IpiSent(mask, ipi as u32));
    }
    vigil_executor::arch::ipi_barrier();
    // SAFETY: `SENDER` only ever holds pointers made of `fn(CpuMask, Ipi)` items.
    let send: fn(CpuMask, Ipi) = unsafe { core::mem::transmute(SENDER.load(Acquire)) };
    send(mask, ipi);
}

/// Handles software-generated interrupt `sgi`. Called by the root controller's loop, after the end was signalled.
#[inline(always)]
pub(crate) fn handle_ipi(sgi: u32) {
    let Some(&ipi) = Ipi::ALL.get(sgi as usize) else {
        return super::note_spurious();
    };
    let count = &COUNTS[CpuId::current().index() % MAX_CPUS].0[ipi as usize];
    store_counter::<LINE, KEY_LINES>(count, count.load(Relaxed).wrapping_add(1));
    // SAFETY: `HANDLER` only ever holds pointers made of `fn(Ipi)` items.
    let handler: fn(Ipi) = unsafe { core::mem::transmute(HANDLER.load(Relaxed)) };
    handler(ipi);
}
