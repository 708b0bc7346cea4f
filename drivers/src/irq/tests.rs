//! The interrupt core on a controller made of code.

use super::*;
use core::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering::SeqCst};
use std::vec::Vec;
use vigil_abi::Errno;
use vigil_executor::cpu::{CpuId, CpuMask};

/// 64 lines: 0–7 per-CPU, then one flow after the other by `hwirq % 3`. `enabled` is a bit per line.
pub(super) struct FakeChip {
    enabled: AtomicU64,
    acked: AtomicU32,
    raised: AtomicU64,
    sent: AtomicU64,
}

impl IrqChip for FakeChip {
    fn name(&self) -> &'static str {
        "fake"
    }
    fn translate(&self, _: &[u32]) -> Result<(u32, Trigger), Errno> {
        Err(Errno::EINVAL)
    }
    fn flow(&self, hwirq: u32) -> Result<Flow, Errno> {
        Ok(match hwirq {
            0..8 => Flow::PerCpu,
            _ => [Flow::FastEoi, Flow::Level, Flow::Edge][hwirq as usize % 3],
        })
    }
    fn mask(&self, hwirq: u32) {
        self.enabled.fetch_and(!(1 << hwirq), SeqCst);
    }
    fn unmask(&self, hwirq: u32) {
        self.enabled.fetch_or(1 << hwirq, SeqCst);
    }
    fn ack(&self, _: u32) {
        self.acked.fetch_add(1, SeqCst);
    }
    fn set_type(&self, _: u32, trigger: Trigger) -> Result<(), Errno> {
        if trigger == Trigger::LevelLow { Err(Errno::EINVAL) } else { Ok(()) }
    }
    fn set_affinity(&self, _: u32, mask: CpuMask) -> Result<CpuMask, Errno> {
        self.sent.store(mask.0, SeqCst);
        Ok(CpuMask::of(mask.first().ok_or(Errno::EINVAL)?))
    }
    fn retrigger(&self, hwirq: u32) -> Result<(), Errno> {
        self.raised.fetch_or(1 << hwirq, SeqCst);
        Ok(())
    }
}

pub(super) static CHIP: FakeChip =
    FakeChip { enabled: AtomicU64::new(0), acked: AtomicU32::new(0), raised: AtomicU64::new(0), sent: AtomicU64::new(0) };
static REVMAP: [AtomicU16; 64] = [const { AtomicU16::new(0) }; 64];
pub(super) static DOMAIN: IrqDomain = IrqDomain::new(&CHIP, &REVMAP);

pub(super) fn enabled(hwirq: u32) -> bool {
    CHIP.enabled.load(SeqCst) & 1 << hwirq != 0
}

/// Whether it was raised by the kernel since this was last asked.
pub(super) fn raised(hwirq: u32) -> bool {
    CHIP.raised.fetch_and(!(1 << hwirq), SeqCst) & 1 << hwirq != 0
}

/// A device that counts its interrupts and says whether they were its own.
pub(super) struct Device {
    pub(super) calls: AtomicU32,
    mine: bool,
}

impl Device {
    pub(super) const fn new(mine: bool) -> Self {
        Device { calls: AtomicU32::new(0), mine }
    }
}

pub(super) fn handler(_: Virq, dev: *const ()) -> IrqReturn {
    // SAFETY: each action of these tests is made with a `&'static Device`.
    let dev = unsafe { &*dev.cast::<Device>() };
    dev.calls.fetch_add(1, SeqCst);
    if dev.mine { IrqReturn::Handled } else { IrqReturn::None }
}

#[test]
fn shared_line_runs_all_handlers_until_they_are_freed() {
    static A: Device = Device::new(false);
    static B: Device = Device::new(true);
    static C: Device = Device::new(true);
    static ACT_A: IrqAction = IrqAction::for_device("a", handler, &A, IrqFlags::SHARED);
    static ACT_B: IrqAction = IrqAction::for_device("b", handler, &B, IrqFlags::SHARED);
    static ACT_C: IrqAction = IrqAction::for_device("c", handler, &C, IrqFlags::empty());
    let virq = DOMAIN.map(9, Trigger::LevelHigh).unwrap();
    assert_eq!(DOMAIN.map(9, Trigger::LevelHigh), Ok(virq), "a line keeps its number");
    request_irq(virq, &ACT_A).unwrap();
    request_irq(virq, &ACT_B).unwrap();
    assert_eq!(request_irq(virq, &ACT_C), Err(Errno::EBUSY), "does not share");
    assert_eq!(request_irq(virq, &ACT_A), Err(Errno::EBUSY), "is there already");
    assert!(enabled(9));
    handle_domain_irq(&DOMAIN, 9);
    assert_eq!((A.calls.load(SeqCst), B.calls.load(SeqCst)), (1, 1));

    let mut rows = Vec::new();
    for_each_desc(|i| {
        if i.virq == virq {
            rows.push((i.hwirq, i.chip, i.counts.iter().sum::<u32>(), i.actions().collect::<Vec<_>>()));
        }
    });
    assert_eq!(rows, [(9, "fake", 1, std::vec!["a", "b"])]);

    free_irq(virq, &ACT_A);
    handle_domain_irq(&DOMAIN, 9);
    assert_eq!((A.calls.load(SeqCst), B.calls.load(SeqCst)), (1, 2));
    assert!(enabled(9));
    free_irq(virq, &ACT_B);
    assert!(!enabled(9), "the last handler switches the line off");
    request_irq(virq, &ACT_C).unwrap();
    assert!(enabled(9));
}

#[test]
fn disabling_nests() {
    static D: Device = Device::new(true);
    static ACT: IrqAction = IrqAction::for_device("d", handler, &D, IrqFlags::NO_AUTOEN);
    let virq = DOMAIN.map(12, Trigger::None).unwrap();
    request_irq(virq, &ACT).unwrap();
    assert!(!enabled(12), "NO_AUTOEN");
    enable_irq(virq);
    assert!(enabled(12));
    disable_hardirq(virq);
    disable_hardirq(virq);
    enable_irq(virq);
    assert!(!enabled(12));
    enable_irq(virq);
    assert!(enabled(12));
    enable_irq(virq);
    assert!(enabled(12), "one enable too many changes nothing");
}

#[test]
fn level_flow_masks_while_it_runs_and_honours_a_disable_in_the_handler() {
    static MASKED: AtomicU32 = AtomicU32::new(0);
    fn check(virq: Virq, _: *const ()) -> IrqReturn {
        MASKED.fetch_add(u32::from(!enabled(10)), SeqCst);
        disable_irq_nosync(virq);
        IrqReturn::Handled
    }
    static ACT: IrqAction = IrqAction::of_static("level", check, IrqFlags::empty());
    let virq = DOMAIN.map(10, Trigger::LevelHigh).unwrap();
    request_irq(virq, &ACT).unwrap();
    handle_domain_irq(&DOMAIN, 10);
    assert_eq!(MASKED.load(SeqCst), 1);
    assert!(!enabled(10));
    enable_irq(virq);
    assert!(enabled(10));
}

#[test]
fn an_edge_during_the_handler_runs_it_again() {
    static RUNS: AtomicU32 = AtomicU32::new(0);
    fn again(_: Virq, _: *const ()) -> IrqReturn {
        if RUNS.fetch_add(1, SeqCst) < 2 {
            // As another CPU would while this one is in here.
            handle_domain_irq(&DOMAIN, 11);
        }
        IrqReturn::Handled
    }
    static ACT: IrqAction = IrqAction::of_static("edge", again, IrqFlags::empty());
    let virq = DOMAIN.map(11, Trigger::EdgeRising).unwrap();
    request_irq(virq, &ACT).unwrap();
    handle_domain_irq(&DOMAIN, 11);
    assert_eq!(RUNS.load(SeqCst), 3, "twice an edge came during the handler");
    synchronize_hardirq(virq);
}

#[test]
fn per_cpu_lines_and_lines_without_a_handler() {
    static D: Device = Device::new(true);
    static ACT: IrqAction = IrqAction::for_device("timer", handler, &D, IrqFlags::empty());
    let virq = DOMAIN.map(3, Trigger::LevelHigh).unwrap();
    assert_eq!(request_irq(virq, &ACT), Err(Errno::EINVAL));
    request_percpu_irq(virq, &ACT).unwrap();
    assert_eq!(request_percpu_irq(virq, &ACT), Err(Errno::EBUSY));
    enable_percpu_irq(virq);
    assert!(enabled(3));
    handle_domain_irq(&DOMAIN, 3);
    assert_eq!(D.calls.load(SeqCst), 1);
    disable_percpu_irq(virq);
    assert!(!enabled(3));

    let before = spurious_count();
    CHIP.unmask(40);
    handle_domain_irq(&DOMAIN, 40);
    assert!(!enabled(40), "an unmapped line is masked");
    let free = DOMAIN.map(42, Trigger::None).unwrap();
    CHIP.unmask(42);
    handle_domain_irq(&DOMAIN, 42);
    assert!(!enabled(42), "a line without handlers is masked");
    assert!(spurious_count() >= before + 2);
    assert_eq!(set_affinity(free, CpuMask(0)), Err(Errno::EINVAL));
    assert_eq!(DOMAIN.map(64, Trigger::None), Err(Errno::EINVAL));
    assert_eq!(DOMAIN.map(43, Trigger::LevelLow), Err(Errno::EINVAL));
}

#[test]
fn free_waits_for_a_handler_that_runs_elsewhere() {
    static IN_HANDLER: AtomicU32 = AtomicU32::new(0);
    static LEAVE: AtomicU32 = AtomicU32::new(0);
    fn slow(_: Virq, _: *const ()) -> IrqReturn {
        IN_HANDLER.store(1, SeqCst);
        while LEAVE.load(SeqCst) == 0 {
            std::thread::yield_now();
        }
        IN_HANDLER.store(2, SeqCst);
        IrqReturn::Handled
    }
    static ACT: IrqAction = IrqAction::of_static("slow", slow, IrqFlags::empty());
    let virq = DOMAIN.map(18, Trigger::LevelHigh).unwrap();
    request_irq(virq, &ACT).unwrap();
    let other = std::thread::spawn(|| handle_domain_irq(&DOMAIN, 18));
    while IN_HANDLER.load(SeqCst) == 0 {
        std::thread::yield_now();
    }
    let freer = std::thread::spawn(move || {
        free_irq(virq, &ACT);
        IN_HANDLER.load(SeqCst)
    });
    std::thread::sleep(std::time::Duration::from_millis(5));
    assert!(!freer.is_finished());
    LEAVE.store(1, SeqCst);
    assert_eq!(freer.join().unwrap(), 2);
    other.join().unwrap();
    let _ = CpuId::BOOT;
}
