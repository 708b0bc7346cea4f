//! `/sys/kernel/debug/provoke-crash`: lets root break the kernel in ways that the oops policy answers (Linux: drivers/misc/lkdtm).
//!
//! `DIRECT` does it in the writer's own system call, `INT_HARDWARE_ENTRY` in a timer's hard interrupt shortly after. Reading
//! either lists the types. Names and meanings are Linux's; `SPIN_*`, which break nothing, are for trying tracers, and may be followed
//! by how many microseconds they are to take; `IRQ_*` raise a line whose handler denies it, once or until the line is switched off.

use super::warn;
use core::fmt::Write;
use core::pin::Pin;
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering::*};
use vigil_abi::Errno;
use vigil_drivers::irq::{self, IrqAction, IrqFlags, IrqReturn, Trigger, Virq};
use vigil_drivers::irqchip;
use vigil_executor::lock_class;
use vigil_executor::sync::SpinLock;
use vigil_executor::time::{self, MSEC, USEC};
use vigil_executor::timer::Timer;
use vigil_fs::vnode::SeqBuf;

/// A way to break: its name, and what does it.
type Crash = (&'static str, fn());

const CRASHES: &[Crash] = &[
    ("PANIC", || crate::kernel_panic!("dumptest")),
    ("BUG", || panic!("lkdtm")),
    ("WARNING", || warn::warn(None)),
    ("WARNING_MESSAGE", || warn::warn(Some(format_args!("Warning message trigger count: {}", warn::count() + 1)))),
    ("ARRAY_BOUNDS", || _ = core::hint::black_box(&[0u8; 8][..])[core::hint::black_box(8)]),
    ("SOFTLOCKUP", || {
        let _held = vigil_executor::context::PreemptGuard::new();
        loop {
            core::hint::spin_loop();
        }
    }),
    ("HARDLOCKUP", || {
        vigil_executor::arch::irq_disable();
        loop {
            core::hint::spin_loop();
        }
    }),
    ("SPINLOCKUP", || {
        let _first = LOCK_ME_UP.lock();
        let _second = LOCK_ME_UP.lock();
    }),
    ("LOOP", || {
        loop {
            core::hint::spin_loop();
        }
    }),
    ("EXCEPTION", || store(0)),
    ("ACCESS_USERSPACE", || store(0x40_0000)),
    ("WRITE_RO", || store(CRASHES.as_ptr() as usize)),
    ("WRITE_KERN", || store(crate::arch::aarch64::mmu::text_start())),
    ("EXEC_DATA", exec_data),
    ("EXHAUST_STACK", || {
        exhaust(usize::MAX);
    }),
    ("SPIN_IRQS_OFF", spin_irqs_off),
    ("SPIN_PREEMPT_OFF", spin_preempt_off),
    ("SPIN_POLL", spin),
    ("IRQ_UNHANDLED", || raise_denied(1)),
    ("IRQ_SCREAM", || raise_denied(SCREAM)),
    ("SPINLOCKED_EXCEPTION", || {
        let _held = vigil_executor::context::PreemptGuard::new();
        store(0);
    }),
];

/// For a spin that does not end.
static LOCK_ME_UP: SpinLock<()> = SpinLock::new(lock_class!("lkdtm"), ());

/// Stores where nobody may.
fn store(at: usize) {
    // SAFETY: none: the fault is the purpose, and only root can ask for it.
    unsafe { core::arch::asm!("str wzr, [{}]", in(reg) at, options(nostack)) };
}

/// How long the spins take unless they are told: longer than anything else takes, shorter than what a watchdog would mind.
const SPIN: u64 = 20 * MSEC;
/// What the next one was told, nanoseconds; 0: nothing.
static SPIN_FOR: AtomicU64 = AtomicU64::new(0);

/// Uses the CPU without giving way: something for tracers to find.
#[inline(never)]
fn spin() {
    let told = SPIN_FOR.swap(0, Relaxed);
    let end = time::now().saturating_add(if told == 0 { SPIN } else { told });
    while time::now() < end {
        core::hint::spin_loop();
    }
}

/// [`spin`] with interrupts masked.
#[inline(never)]
fn spin_irqs_off() {
    vigil_executor::arch::without_irqs(spin);
}

/// [`spin`] with preemption off.
#[inline(never)]
fn spin_preempt_off() {
    let held = vigil_executor::context::PreemptGuard::new();
    spin();
    drop(held);
}

/// A line of the GIC beyond those of the devices.
const LINE: u32 = 255;
/// So many interrupts that nobody cares for are too many.
const SCREAM: u32 = 100_000;
/// How often the line is still to be raised.
static LEFT: AtomicU32 = AtomicU32::new(0);

/// Handles no interrupt, and has the next one come.
fn denies(virq: Virq, _: *const ()) -> IrqReturn {
    if LEFT.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok_and(|left| left > 1) {
        let _ = irq::retrigger(virq);
    }
    IrqReturn::None
}

static DENIES: IrqAction = IrqAction::of_static("lkdtm", denies, IrqFlags::SHARED);

/// Waits until the line has come as often as it was to, or comes no more.
fn wait_for_the_last() {
    let mut last = (0, time::now());
    while LEFT.load(Relaxed) != 0 && time::now() < last.1 + 500 * MSEC {
        let left = LEFT.load(Relaxed);
        if left != last.0 {
            last = (left, time::now());
        }
        core::hint::spin_loop();
    }
}

/// Raises a line `times` times, and waits until that is over, or the line was switched off. One at a time; not in an interrupt, where no
/// handler can be entered.
fn raise_denied(times: u32) {
    let line = irqchip::gic_domain().and_then(|domain| domain.map(LINE, Trigger::EdgeRising).ok());
    let free = || LEFT.compare_exchange(0, times, AcqRel, Relaxed).is_ok();
    match line {
        Some(virq) if !vigil_executor::context::in_interrupt() && free() => {
            if irq::request_irq(virq, &DENIES).is_ok() {
                let _ = irq::retrigger(virq);
                wait_for_the_last();
                irq::free_irq(virq, &DENIES);
            }
            LEFT.store(0, Release);
        }
        _ => crate::pr_err!("lkdtm: there is no line for this"),
    }
}

/// Goes to an address that is data.
fn exec_data() {
    static DATA: AtomicUsize = AtomicUsize::new(0xd65f_03c0);
    // SAFETY: none, as above.
    unsafe { core::arch::asm!("blr {}", in(reg) DATA.as_ptr(), out("x30") _, options(nostack)) };
}

/// Recurses until the stack's guard page.
#[inline(never)]
fn exhaust(left: usize) -> usize {
    let ballast = core::hint::black_box([left; 64]);
    if left == 0 { 0 } else { exhaust(left - 1).wrapping_add(core::hint::black_box(&ballast)[left % 64]) }
}

fn find(data: &[u8]) -> Result<usize, Errno> {
    let words = core::str::from_utf8(data).map_err(|_| Errno::EINVAL)?;
    let (name, micros) = words.trim().split_once(' ').map_or((words.trim(), None), |(name, n)| (name, Some(n)));
    let name = name.as_bytes();
    let found = CRASHES.iter().position(|(n, _)| n.as_bytes() == name).ok_or(Errno::EINVAL)?;
    if let Some(micros) = micros {
        // At most a second.
        let micros =
            micros.parse::<u64>().ok().filter(|n| (1..=1_000_000).contains(n) && name.starts_with(b"SPIN_")).ok_or(Errno::EINVAL)?;
        SPIN_FOR.store(micros * USEC, Relaxed);
    }
    Ok(found)
}

/// What the interrupt is to do.
static PENDING: AtomicUsize = AtomicUsize::new(0);

fn in_interrupt(_: &Timer) {
    CRASHES[PENDING.load(Relaxed).min(CRASHES.len() - 1)].1();
}

static TIMER: spin::Once<Timer> = spin::Once::new();

fn list(out: &mut SeqBuf) -> Result<(), Errno> {
    let _ = writeln!(out, "Available crash types:");
    for (name, _) in CRASHES {
        let _ = writeln!(out, "{name}");
    }
    Ok(())
}

/// Makes the files.
pub fn init() -> Result<(), Errno> {
    let dir = vigil_fs::proc::sys_root()?.subdir("kernel/debug/provoke-crash")?;
    dir.add_file_rw("DIRECT", 0o600, list, |data| {
        let crash = find(data)?;
        crate::pr_info!("lkdtm: Performing direct entry {}", CRASHES[crash].0);
        CRASHES[crash].1();
        Ok(())
    })?;
    dir.add_file_rw("INT_HARDWARE_ENTRY", 0o600, list, |data| {
        let crash = find(data)?;
        PENDING.store(crash, Relaxed);
        crate::pr_info!("lkdtm: Crash point INT_HARDWARE_ENTRY of type {} registered", CRASHES[crash].0);
        Pin::static_ref(TIMER.call_once(|| Timer::new(in_interrupt))).start(time::now() + MSEC, 0);
        Ok(())
    })
}
