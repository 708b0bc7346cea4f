//! Interrupt lines and handlers that misbehave, on lines of the GIC that no device has: software raises them.
//!
//! | test | what it shows |
//! |---|---|
//! | `irq-scream` | a line that screams is switched off after 100 000 interrupts; who shares it is still asked, ten times a second |
//! | `irq-liar` | a handler that claims every interrupt keeps a line on; one that denies his is asked each time |
//! | `irq-free` | no handler runs after `free_irq` or `disable_hardirq`, beside interrupts on another CPU; no edge is lost |
//! | `irq-storm` | on every CPU an interrupt with a softirq each 100 µs; on one after the other one each 25 µs, and its softirq never ends: a FIFO task there waits at most 50 µs |
//!
//! The storm is meant for one instruction a nanosecond. The emulator then runs one CPU after the other, and each one's work is time for
//! all: so only one has no end of it.

use super::latency::{pause, start_on_boot_cpu};
use super::report;
use core::pin::Pin;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::*};
use vigil_drivers::irq::{self, IrqAction, IrqFlags, IrqReturn, Trigger, Virq};
use vigil_drivers::irqchip;
use vigil_executor::class::Params;
use vigil_executor::cpu::{CpuId, CpuMask, MAX_CPUS, ONLINE};
use vigil_executor::softirq::{self, Softirq};
use vigil_executor::task::Spawned;
use vigil_executor::time::{self, MSEC, Nanos, SEC, USEC};
use vigil_executor::timer::{Timer, sleep_until};
use vigil_executor::wait::WaitMode;
use vigil_executor::wait_site;

/// The first of the lines, at the GIC: beyond those of the board's devices.
const FIRST: u32 = 240;
/// Interrupts until a line that nobody cares for is switched off.
const UNTIL_OFF: u32 = 100_000;
/// How many a lying handler claims.
const CLAIMED: u32 = 150_000;
/// An interrupt on each CPU so often.
const BREEZE: Nanos = 100 * USEC;
/// And so often on the one whose softirq raises itself again.
const STORM: Nanos = 25 * USEC;
/// So long the softirq takes.
const FLOOD: Nanos = 5 * USEC;
/// The longest that a FIFO task may be late in a storm.
const LATE_LIMIT: Nanos = 50 * USEC;

fn line(n: u32) -> Option<Virq> {
    irqchip::gic_domain()?.map(FIRST + n, Trigger::EdgeRising).ok()
}

fn total(virq: Virq) -> u32 {
    irq::info(virq).map_or(0, |info| info.counts.iter().sum())
}

/// Waits for `done`, at most a minute.
async fn wait_for(done: impl Fn() -> bool) -> bool {
    let end = time::now() + 60 * SEC;
    while !done() && time::now() < end {
        pause(MSEC).await;
    }
    done()
}

/// The CPU that is not the one that looks, if there is another.
fn elsewhere() -> CpuMask {
    CpuMask::of(ONLINE.load().iter().last().unwrap_or(CpuId::BOOT))
}

static SCREAMS: AtomicBool = AtomicBool::new(false);
static ASKED: AtomicU32 = AtomicU32::new(0);

/// Of a device that asks again at once, whatever is done.
fn deaf(virq: Virq, _: *const ()) -> IrqReturn {
    if SCREAMS.load(Relaxed) {
        let _ = irq::retrigger(virq);
    }
    IrqReturn::None
}

/// Of a device that shares the line, and has asked for nothing.
fn denies(_: Virq, _: *const ()) -> IrqReturn {
    ASKED.fetch_add(1, Relaxed);
    IrqReturn::None
}

fn cares(_: Virq, _: *const ()) -> IrqReturn {
    IrqReturn::Handled
}

static DEAF: IrqAction = IrqAction::of_static("deaf", deaf, IrqFlags::SHARED);
static DENIES: IrqAction = IrqAction::of_static("denies", denies, IrqFlags::SHARED);
static CARES: IrqAction = IrqAction::of_static("cares", cares, IrqFlags::empty());

async fn scream() -> bool {
    let Some(virq) = line(0) else { return report("irq-scream", false, format_args!("no line")) };
    let mut ok = irq::request_irq(virq, &DEAF).is_ok() && irq::request_irq(virq, &DENIES).is_ok();
    ok &= irq::set_affinity(virq, elsewhere()).is_ok();
    SCREAMS.store(true, Relaxed);
    ok &= irq::retrigger(virq).is_ok();
    ok &= wait_for(|| total(virq) >= UNTIL_OFF).await;
    pause(20 * MSEC).await;
    ok &= irq::retrigger(virq).is_ok();
    pause(20 * MSEC).await;
    let count = total(virq);
    ok &= count == UNTIL_OFF;
    let asked = ASKED.load(Relaxed);
    pause(SEC).await;
    let polled = ASKED.load(Relaxed) - asked;
    ok &= (5..=11).contains(&polled);
    // The driver has seen to its device: the line is as good as new.
    SCREAMS.store(false, Relaxed);
    irq::free_irq(virq, &DEAF);
    irq::free_irq(virq, &DENIES);
    ok &= irq::request_irq(virq, &CARES).is_ok();
    ok &= irq::retrigger(virq).is_ok() && wait_for(|| total(virq) > count).await;
    irq::free_irq(virq, &CARES);
    report("irq-scream", ok, format_args!("off after {count} interrupts, handlers asked {polled} times in the second after"))
}

fn claims(virq: Virq, _: *const ()) -> IrqReturn {
    if total(virq) < CLAIMED {
        let _ = irq::retrigger(virq);
    }
    IrqReturn::Handled
}

async fn liar() -> bool {
    static LIAR: IrqAction = IrqAction::of_static("claims", claims, IrqFlags::SHARED);
    let Some(virq) = line(1) else { return report("irq-liar", false, format_args!("no line")) };
    let before = ASKED.load(Relaxed);
    let mut ok = irq::request_irq(virq, &LIAR).is_ok() && irq::request_irq(virq, &DENIES).is_ok();
    ok &= irq::set_affinity(virq, elsewhere()).is_ok() && irq::retrigger(virq).is_ok();
    ok &= wait_for(|| total(virq) >= CLAIMED).await;
    pause(5 * MSEC).await;
    let asked = ASKED.load(Relaxed) - before;
    ok &= asked == CLAIMED;
    ok &= irq::retrigger(virq).is_ok() && wait_for(|| total(virq) > CLAIMED).await;
    irq::free_irq(virq, &DENIES);
    irq::free_irq(virq, &LIAR);
    report("irq-liar", ok, format_args!("{CLAIMED} claimed, the other one asked {asked} times, and the line is on"))
}

static ON: AtomicBool = AtomicBool::new(false);
static LATE: AtomicU32 = AtomicU32::new(0);
static GOES_ON: AtomicBool = AtomicBool::new(false);

fn guest(_: Virq, _: *const ()) -> IrqReturn {
    LATE.fetch_add(u32::from(!ON.load(SeqCst)), Relaxed);
    IrqReturn::None
}

/// Raises its own line again: a lost edge ends it.
fn stays(virq: Virq, _: *const ()) -> IrqReturn {
    if GOES_ON.load(Relaxed) {
        let _ = irq::retrigger(virq);
    }
    IrqReturn::Handled
}

/// 0: not yet; 1: good; 2: not.
static FREE: AtomicU32 = AtomicU32::new(0);

/// On the boot CPU: the interrupts leave nothing of the other one.
async fn free_here(times: u64) {
    FREE.store(if free(times).await { 1 } else { 2 }, Release);
}

async fn free(times: u64) -> bool {
    static GUEST: IrqAction = IrqAction::of_static("guest", guest, IrqFlags::SHARED);
    static STAYS: IrqAction = IrqAction::of_static("stays", stays, IrqFlags::SHARED);
    let Some(virq) = line(2) else { return report("irq-free", false, format_args!("no line")) };
    let mut ok = irq::request_irq(virq, &STAYS).is_ok() && irq::set_affinity(virq, elsewhere()).is_ok();
    GOES_ON.store(true, Relaxed);
    ok &= irq::retrigger(virq).is_ok();
    let mut after_off = 0;
    for _ in 0..times {
        ON.store(true, SeqCst);
        ok &= irq::request_irq(virq, &GUEST).is_ok();
        pause(20 * USEC).await;
        irq::free_irq(virq, &GUEST);
        ON.store(false, SeqCst);
        irq::disable_hardirq(virq);
        ON.store(true, SeqCst);
        ok &= irq::request_irq(virq, &GUEST).is_ok();
        ON.store(false, SeqCst);
        let before = LATE.load(Relaxed);
        pause(20 * USEC).await;
        after_off += LATE.load(Relaxed) - before;
        ON.store(true, SeqCst);
        irq::enable_irq(virq);
        irq::free_irq(virq, &GUEST);
        ON.store(false, SeqCst);
    }
    let (count, late) = (total(virq), LATE.load(Relaxed));
    // It must still be going.
    ok &= wait_for(|| total(virq) > count).await;
    GOES_ON.store(false, Relaxed);
    irq::free_irq(virq, &STAYS);
    ok &= late == 0 && after_off == 0;
    report("irq-free", ok, format_args!("{times} times: {late} handlers after free or disable, of {count} interrupts"))
}

static STORMY: AtomicBool = AtomicBool::new(false);
/// The CPU whose softirq never ends.
static FLOODED: AtomicUsize = AtomicUsize::new(usize::MAX);
static TICKS: [Timer; MAX_CPUS] = [const { Timer::new(tick) }; MAX_CPUS];
static STORM_LINE: [AtomicU32; MAX_CPUS] = [const { AtomicU32::new(0) }; MAX_CPUS];
static WORST: AtomicU64 = AtomicU64::new(0);
static WAKES: AtomicU64 = AtomicU64::new(0);
static ENDED: AtomicU32 = AtomicU32::new(0);

/// Raises this CPU's line, and comes again.
fn tick(_: &Timer) {
    let cpu = CpuId::current().index();
    if STORMY.load(Relaxed) {
        if let Some(virq) = Virq::new(STORM_LINE[cpu].load(Relaxed)) {
            let _ = irq::retrigger(virq);
        }
        let interval = if FLOODED.load(Relaxed) == cpu { STORM } else { BREEZE };
        Pin::static_ref(&TICKS[cpu]).start(time::now() + interval, 0);
    }
}

fn storms(_: Virq, _: *const ()) -> IrqReturn {
    softirq::raise_here(Softirq::IrqPoll);
    IrqReturn::Handled
}

fn flood() {
    let end = time::now() + FLOOD;
    // An emulator that runs the CPUs in turns on one clock would charge this one's turn, which is as long as nothing is due, to a task
    // that is late on another CPU: it goes on to the next CPU at `relax`.
    while time::now() < end {
        for _ in 0..50 {
            core::hint::black_box(time::now());
        }
        vigil_executor::arch::relax();
    }
    if FLOODED.load(Relaxed) == CpuId::current().index() {
        vigil_executor::arch::without_irqs(|| softirq::raise_here(Softirq::IrqPoll));
    }
}

/// A FIFO task in the storm of its CPU.
async fn cyclic(cpu: usize, wakes: u64) {
    Pin::static_ref(&TICKS[cpu]).start(time::now() + BREEZE, 0);
    let turn = || ENDED.load(Acquire) == cpu as u32;
    while !turn() {
        pause(MSEC).await;
    }
    FLOODED.store(cpu, Relaxed);
    for i in 0..wakes {
        let at = time::now() + MSEC + i * 977 % MSEC;
        let _ = sleep_until(wait_site!("selftest"), at, 0, WaitMode::Uninterruptible).await;
        WORST.fetch_max(time::now() - at, Relaxed);
        WAKES.fetch_add(1, Relaxed);
    }
    FLOODED.store(usize::MAX, Relaxed);
    ENDED.fetch_add(1, Release);
}

/// On which line each CPU's storm comes.
static STORMS: [IrqAction; MAX_CPUS] = [const { IrqAction::of_static("storm", storms, IrqFlags::empty()) }; MAX_CPUS];

/// The storm, with so many wakes on each CPU.
pub async fn storm(wakes: u64) -> bool {
    softirq::open(Softirq::IrqPoll, flood);
    let cpus = ONLINE.load();
    let mut ok = true;
    for cpu in cpus.iter() {
        let Some(virq) = line(8 + cpu.index() as u32) else { return report("irq-storm", false, format_args!("no line")) };
        STORM_LINE[cpu.index()].store(virq.get(), Relaxed);
        ok &= irq::request_irq(virq, &STORMS[cpu.index()]).is_ok() && irq::set_affinity(virq, CpuMask::of(cpu)).is_ok();
    }
    STORMY.store(true, Relaxed);
    for cpu in cpus.iter() {
        let Ok(made) = Spawned::new(cyclic(cpu.index(), wakes), Params::fifo(95), b"storm", None, core::ptr::null()) else {
            return report("irq-storm", false, format_args!("no memory"));
        };
        made.task().set_affinity(CpuMask::of(cpu));
        drop(made.start());
    }
    let count = cpus.iter().count() as u32;
    // This task is a fair one: that it goes on shows that softirqs leave something over.
    ok &= wait_for(|| ENDED.load(Acquire) == count).await;
    STORMY.store(false, Relaxed);
    let mut interrupts = 0;
    for cpu in cpus.iter() {
        if let Some(virq) = Virq::new(STORM_LINE[cpu.index()].load(Relaxed)) {
            interrupts += total(virq);
            irq::free_irq(virq, &STORMS[cpu.index()]);
        }
    }
    let (worst, wakes) = (WORST.load(Relaxed), WAKES.load(Relaxed));
    ok &= worst <= LATE_LIMIT && interrupts > 0;
    report(
        "irq-storm",
        ok,
        format_args!("{count} CPUs, {interrupts} interrupts, FIFO 95: wakes {wakes}, worst {worst} ns (at most {LATE_LIMIT})"),
    )
}

/// All but the storm; `times` for what is repeated.
pub async fn run(times: u64) -> bool {
    let ok = scream().await & liar().await;
    if ONLINE.load().iter().count() < 2 || !start_on_boot_cpu(free_here(times), Params::DEFAULT) {
        return report("irq-free", false, format_args!("needs two CPUs"));
    }
    wait_for(|| FREE.load(Acquire) != 0).await & ok & (FREE.load(Acquire) == 1)
}
