//! Hard interrupts: what the vectors call, and the timer's and the IPIs' handlers.
//!
//! `vigil_drivers::irq` owns controllers, domains and actions; this file ties it to the executor: the comparator's
//! interrupt expires timers and slices, the reschedule IPI makes a CPU drain its inbox at its interrupt exit.

use crate::arch::aarch64::pmu;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use vigil_abi::Errno;
use vigil_drivers::irq::{self, Ipi, IrqAction, IrqFlags, IrqReturn, Virq};
use vigil_drivers::{irqchip, timer as comparator};
use vigil_executor::context::{Context, HARDIRQ_OFFSET};
use vigil_executor::cpu::{CpuId, CpuMask};
use vigil_executor::executor::Stopped;
use vigil_executor::softirq;
use vigil_executor::{executor, time, timer};

/// Acknowledges and handles what is pending, runs the softirqs that it has raised if it is the outermost interrupt, and says whether
/// what was interrupted gives way. Interrupts masked; `here` is the block of the stack that this runs on, `interrupted` that of the
/// stack that was interrupted.
#[inline(always)]
pub fn handle(here: &Context, interrupted: &Context, from_el0: bool) -> Stopped {
    here.add(HARDIRQ_OFFSET);
    irq::handle_irq();
    here.sub(HARDIRQ_OFFSET);
    if interrupted.is_resting() {
        // The loop of an idle CPU has called for it, and looks at everything.
        softirq::idle_irq_exit();
        return Stopped::Return;
    }
    softirq::irq_exit(interrupted);
    executor::irq_exit(here, interrupted, from_el0)
}

fn timer_interrupt(_: Virq, _: *const ()) -> IrqReturn {
    // The line is level: it stays up until the comparator is moved on, which `timer::interrupt` does at its end.
    if timer::interrupt(time::now()) {
        executor::slice_expired();
    }
    IrqReturn::Handled
}

static TIMER: IrqAction = IrqAction::of_static("arch_timer", timer_interrupt, IrqFlags::empty());

/// The number of the comparator's interrupt, once it is known.
static TIMER_IRQ: AtomicU32 = AtomicU32::new(0);

/// How often the comparator of `cpu` has interrupted it.
pub fn timer_interrupts(cpu: CpuId) -> u32 {
    Virq::new(TIMER_IRQ.load(Relaxed)).and_then(irq::info).map_or(0, |info| info.counts[cpu.index()])
}

fn ipi(kind: Ipi) {
    match kind {
        // The interrupt's exit drains the inbox: nothing else to do.
        Ipi::Reschedule | Ipi::TimerBroadcast | Ipi::IrqWork | Ipi::WakeUp => {}
        Ipi::CallFunction => crate::smp::run_calls(),
        Ipi::Stop | Ipi::CrashStop => crate::smp::stop_this_cpu(),
    }
}

/// Brings up the controller and the comparator's interrupt. The boot CPU, once.
pub fn init(tree: &vigil_drivers::dt::Tree<'_>) -> Result<(), Errno> {
    irq::set_ipi_handler(ipi);
    irq::set_reporter(crate::debug::bad_irq::report);
    let params = crate::boot::params();
    if params.is_some_and(|p| p.threadirqs) {
        irq::force_threads();
        softirq::leave_to_threads();
    }
    if params.is_some_and(|p| p.noirqdebug) {
        irq::no_debug();
        crate::pr_info!("IRQ lockup detection disabled");
    }
    if let Some(mask) = params.and_then(|p| p.irqaffinity) {
        irq::set_first_affinity(CpuMask(mask));
    }
    irqchip::init(tree)?;
    let virq = comparator::init(tree)?;
    irq::request_percpu_irq(virq, &TIMER)?;
    TIMER_IRQ.store(virq.get(), Relaxed);
    irq::enable_percpu_irq(virq);
    pmu::init(tree);
    Ok(())
}

/// The same for each other CPU, on it.
pub fn init_cpu() {
    irqchip::init_cpu();
    if let Some(virq) = Virq::new(TIMER_IRQ.load(Relaxed)) {
        irq::enable_percpu_irq(virq);
    }
    pmu::init_cpu();
}
