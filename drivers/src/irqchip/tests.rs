//! Both controllers on register models: what they write, and the root loop from acknowledge to end.
//!
//! A process has one root controller, so this is one test for each version, and the version that is set up first
//! keeps the shared operations; the tests say which registers they look at.

use super::gicv3_sysreg as sysreg;
use super::*;
use crate::irq::{self, Ipi, IrqAction, IrqFlags, IrqReturn, Trigger, Virq};
use crate::model::{FakeDevice, Mmio, Window};
use core::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::vec::Vec;
use vigil_executor::cpu::CpuMask;

/// Registers as plain bytes; GICv2's acknowledge register is a queue.
#[derive(Default)]
struct Registers {
    bytes: Mutex<BTreeMap<usize, u8>>,
    acks: Mutex<VecDeque<u32>>,
    writes: Mutex<Vec<(usize, u64)>>,
    is_v2_cpu: bool,
}

impl FakeDevice for Registers {
    fn read(&self, offset: usize, size: usize) -> u64 {
        if self.is_v2_cpu && offset == 0x0c {
            return u64::from(self.acks.lock().unwrap().pop_front().unwrap_or(1023));
        }
        let bytes = self.bytes.lock().unwrap();
        (0..size).fold(0, |v, i| v | u64::from(*bytes.get(&(offset + i)).unwrap_or(&0)) << (8 * i))
    }

    fn write(&self, offset: usize, size: usize, value: u64) {
        self.writes.lock().unwrap().push((offset, value));
        let mut bytes = self.bytes.lock().unwrap();
        for i in 0..size {
            bytes.insert(offset + i, (value >> (8 * i)) as u8);
        }
    }
}

impl Registers {
    fn leak(is_v2_cpu: bool) -> &'static Registers {
        std::boxed::Box::leak(std::boxed::Box::new(Registers { is_v2_cpu, ..Registers::default() }))
    }

    fn take_writes(&self) -> Vec<(usize, u64)> {
        core::mem::take(&mut *self.writes.lock().unwrap())
    }
}

static CALLS: AtomicU32 = AtomicU32::new(0);
static IPIS: Mutex<Vec<Ipi>> = Mutex::new(Vec::new());

fn count(_: Virq, _: *const ()) -> IrqReturn {
    CALLS.fetch_add(1, SeqCst);
    IrqReturn::Handled
}

#[test]
fn gicv2_then_gicv3_then_a_raspberry_pi_3() {
    let dist = Registers::leak(false);
    let cpu = Registers::leak(true);
    dist.write(4, 4, 2); // 96 lines
    dist.write(0x800, 4, 0x0101_0101); // this CPU is target 0
    gicv2::init_at(Mmio::fake(dist, 0x1000), Window::new(Mmio::fake(cpu, 0x1000)).unwrap());
    assert_eq!(dist.read(0, 4), 1, "distributor on");
    assert_eq!(dist.read(0x820, 4), 0x0101_0101, "shared lines go to the boot CPU");
    assert_eq!(dist.read(0x440, 4), 0xa0a0_a0a0);
    assert_eq!((cpu.read(4, 4), cpu.read(0, 4)), (0xf0, 1), "mask and enable");

    static SPI: IrqAction = IrqAction::of_static("spi", count, IrqFlags::empty());
    static PPI: IrqAction = IrqAction::of_static("ppi", count, IrqFlags::empty());
    let chip = gic::DOMAIN.chip();
    assert_eq!(chip.translate(&[0, 1, 4]), Ok((33, Trigger::LevelHigh)));
    assert_eq!(chip.translate(&[1, 11, 0x104]), Ok((27, Trigger::LevelHigh)));
    assert_eq!(chip.translate(&[0, 988, 4]), Err(Errno::EINVAL));
    assert_eq!(chip.translate(&[2, 0, 4]), Err(Errno::EINVAL));
    assert_eq!(chip.translate(&[0, 1]), Err(Errno::EINVAL));
    assert_eq!(chip.set_type(33, Trigger::LevelLow), Err(Errno::EINVAL));
    let spi = gic::DOMAIN.map(33, Trigger::EdgeRising).unwrap();
    assert_eq!(dist.read(0xc08, 4), 2 << 2, "line 33 is edge triggered");
    irq::request_irq(spi, &SPI).unwrap();
    assert_eq!(dist.read(0x104, 4), 1 << 1, "line 33 is enabled");
    let ppi = gic::DOMAIN.map(27, Trigger::LevelHigh).unwrap();
    irq::request_percpu_irq(ppi, &PPI).unwrap();
    irq::enable_percpu_irq(ppi);
    irq::set_ipi_handler(|ipi| IPIS.lock().unwrap().push(ipi));

    // An IPI of CPU 1 (bits 10-12 of IAR), a shared and a private line, then nothing.
    cpu.acks.lock().unwrap().extend([1 << 10 | 1, 33, 27]);
    cpu.take_writes();
    irq::handle_irq();
    assert_eq!(cpu.take_writes(), [(0x10, 1 << 10 | 1), (0x10, 33), (0x10, 27)], "ends are what was acknowledged");
    assert_eq!(CALLS.load(SeqCst), 2);
    assert_eq!(*IPIS.lock().unwrap(), [Ipi::CallFunction]);
    assert_eq!(irq::ipi_count(Ipi::CallFunction, CpuId::BOOT), 1);
    dist.take_writes();
    irq::send_ipi(CpuMask::of(CpuId::BOOT), Ipi::Reschedule);
    assert_eq!(dist.take_writes(), [(0xf00, 1 << 16)]);
    irq::send_ipi(CpuMask(0b100), Ipi::Reschedule);
    assert_eq!(dist.take_writes(), [], "a CPU that is not up gets nothing");
    irq::free_irq(spi, &SPI);
    assert_eq!(dist.read(0x184, 4), 1 << 1, "line 33 is disabled");

    gicv3();
}

fn gicv3() {
    let dist = Registers::leak(false);
    let redist = Registers::leak(false);
    dist.write(4, 4, 1); // 64 lines
    set_cpu_mpidr(CpuId::BOOT, 0x8000_0102);
    redist.write(8, 8, 0x102 << 32 | 1 << 4);
    let mut regions = [None; 8];
    // The fake has one window, and its SGI frame is beyond it: offsets there read all ones and are dropped.
    regions[0] = Some(RedistWindow::mmio(redist));
    gicv3::init_at(Mmio::fake(dist, 0x1_0000), regions, None).unwrap();
    assert_eq!(dist.read(0, 4), 0x13, "ARE and both groups on");
    assert_eq!(dist.read(0x6000 + 8 * 40, 8), 0x102, "shared lines go to the boot CPU");
    assert_eq!(dist.read(0x84, 4), 0xffff_ffff, "group 1");
    assert_eq!(sysreg::take_log(), [("enable", 0xf0)]);

    let calls = CALLS.load(SeqCst);
    for intid in [5, 27, 15] {
        sysreg::raise(intid);
    }
    let spurious = irq::spurious_count();
    // One for each entry of the vector, and one that finds nothing.
    for _ in 0..4 {
        irq::handle_irq();
    }
    assert_eq!(sysreg::take_log(), [("end", 5), ("end", 27), ("end", 15)]);
    assert_eq!(CALLS.load(SeqCst), calls + 1, "the private line kept its handler");
    assert_eq!(*IPIS.lock().unwrap(), [Ipi::CallFunction, Ipi::IrqWork]);
    assert!(irq::spurious_count() > spurious, "15 is no IPI of ours");
    irq::send_ipi(CpuMask::of(CpuId::BOOT), Ipi::Stop);
    assert_eq!(sysreg::take_log(), [("sgi", 2 << 24 | 1 << 16 | 1 << 2)]);
    super::tests_bcm::raspberry_pi_3(&IPIS);
}

/// A redistributor in real memory, as the driver cuts its window in two.
struct RedistWindow;

impl RedistWindow {
    fn mmio(model: &Registers) -> Mmio {
        let memory = std::vec![0u64; 0x2_0000 / 8].leak();
        memory[1] = model.read(8, 8);
        // SAFETY: the memory is leaked, and touched by this window alone.
        unsafe { Mmio::new(memory.as_mut_ptr().cast(), 0x2_0000) }
    }
}
