//! The Raspberry Pi 3's two controllers on a model of their registers: lines through both, and IPIs.

use super::{armctrl, bcm2836};
use crate::irq::{self, Ipi, IrqAction, IrqDomain, IrqFlags, IrqReturn, Virq};
use crate::model::{FakeDevice, Mmio};
use core::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::Mutex;
use vigil_abi::Errno;
use vigil_executor::cpu::{CpuId, CpuMask};

/// Core 0 of the core's controller: which timers may interrupt, which do; the mailbox.
#[derive(Default)]
struct Core {
    timers: u32,
    raised: u32,
    mailbox: u32,
    mailbox_on: bool,
    gpu: bool,
}

struct CoreRegisters(Mutex<Core>);

impl FakeDevice for CoreRegisters {
    fn read(&self, offset: usize, _: usize) -> u64 {
        let c = self.0.lock().unwrap();
        u64::from(match offset {
            0x40 => c.timers,
            0x60 => c.timers & c.raised | u32::from(c.mailbox_on && c.mailbox != 0) << 4 | u32::from(c.gpu) << 8,
            0xc0 => c.mailbox,
            _ => 0,
        })
    }

    fn write(&self, offset: usize, _: usize, value: u64) {
        let mut c = self.0.lock().unwrap();
        match offset {
            0x40 => c.timers = value as u32,
            0x50 => c.mailbox_on = value & 1 != 0,
            0x80 => c.mailbox |= value as u32,
            0xc0 => c.mailbox &= !(value as u32),
            _ => {}
        }
    }
}

/// The peripherals' controller: three banks, and the line to the core's.
#[derive(Default)]
struct Banks {
    enabled: [u32; 3],
    raised: [u32; 3],
}

struct BankRegisters(Mutex<Banks>, &'static CoreRegisters);

impl BankRegisters {
    fn pending(&self, bank: usize) -> u32 {
        let b = self.0.lock().unwrap();
        b.enabled[bank] & b.raised[bank]
    }

    fn set(&self, bank: usize, line: u32, on: bool) {
        let mut b = self.0.lock().unwrap();
        b.raised[bank] = if on { b.raised[bank] | 1 << line } else { b.raised[bank] & !(1 << line) };
        drop(b);
        self.propagate();
    }

    fn propagate(&self) {
        self.1.0.lock().unwrap().gpu = (0..3).any(|bank| self.pending(bank) != 0);
    }
}

impl FakeDevice for BankRegisters {
    fn read(&self, offset: usize, _: usize) -> u64 {
        let summary = |bank: usize, bit: u32| u32::from(self.pending(bank) != 0) << bit;
        // UART 0, line 25 of the third bank, is repeated as bit 19 of the first.
        let repeated = u32::from(self.pending(2) & 1 << 25 != 0) << 19;
        u64::from(match offset {
            0 => self.pending(0) | summary(1, 8) | (summary(2, 9) & !(repeated >> 10)) | repeated,
            4 => self.pending(1),
            8 => self.pending(2),
            _ => 0,
        })
    }

    fn write(&self, offset: usize, _: usize, value: u64) {
        let mut b = self.0.lock().unwrap();
        match offset {
            0x18 | 0x10 | 0x14 => b.enabled[[1, 2, 0][(offset - 0x10) / 4]] |= value as u32,
            0x24 | 0x1c | 0x20 => b.enabled[[1, 2, 0][(offset - 0x1c) / 4]] &= !(value as u32),
            _ => {}
        }
        drop(b);
        self.propagate();
    }
}

static CORE: spin::Once<&'static CoreRegisters> = spin::Once::new();
static BANKS: spin::Once<&'static BankRegisters> = spin::Once::new();
static TICKS: AtomicU32 = AtomicU32::new(0);
static LINES: Mutex<std::vec::Vec<u32>> = Mutex::new(std::vec::Vec::new());

fn tick(_: Virq, _: *const ()) -> IrqReturn {
    TICKS.fetch_add(1, SeqCst);
    CORE.get().unwrap().0.lock().unwrap().raised = 0;
    IrqReturn::Handled
}

fn uart(virq: Virq, _: *const ()) -> IrqReturn {
    LINES.lock().unwrap().push(virq.get());
    let banks = BANKS.get().unwrap();
    banks.set(2, 25, false);
    banks.set(1, 29, false);
    IrqReturn::Handled
}

fn map(domain: &'static IrqDomain, cells: &[u32]) -> Virq {
    let (line, trigger) = domain.chip().translate(cells).unwrap();
    domain.map(line, trigger).unwrap()
}

/// Part of the one test of root controllers: makes this pair the root of the process.
pub(super) fn raspberry_pi_3(ipis: &Mutex<std::vec::Vec<Ipi>>) {
    super::set_cpu_mpidr(CpuId::BOOT, 0x8000_0000);
    let core: &'static CoreRegisters = std::boxed::Box::leak(std::boxed::Box::new(CoreRegisters(Mutex::default())));
    let banks = std::boxed::Box::leak(std::boxed::Box::new(BankRegisters(Mutex::default(), core)));
    CORE.call_once(|| core);
    let banks: &'static BankRegisters = banks;
    BANKS.call_once(|| banks);
    // The firmware left a line on.
    banks.0.lock().unwrap().enabled[1] = 1 << 9;
    assert_eq!(bcm2836::init_at(Mmio::fake(core, 0x10)), Err(Errno::EINVAL), "too small a window");
    bcm2836::init_at(Mmio::fake(core, 0x100)).unwrap();
    armctrl::init_at(Mmio::fake(banks, 0x200));
    assert_eq!(banks.0.lock().unwrap().enabled, [0; 3]);

    static TIMER: IrqAction = IrqAction::of_static("timer", tick, IrqFlags::empty());
    static UART: IrqAction = IrqAction::of_static("uart", uart, IrqFlags::empty());
    static AUX: IrqAction = IrqAction::of_static("aux", uart, IrqFlags::empty());
    let timer = map(&bcm2836::DOMAIN, &[3, 4]);
    irq::request_percpu_irq(timer, &TIMER).unwrap();
    core.0.lock().unwrap().raised = 1 << 3;
    irq::handle_irq();
    assert_eq!(TICKS.load(SeqCst), 0, "the line is off");
    irq::enable_percpu_irq(timer);
    irq::handle_irq();
    assert_eq!(TICKS.load(SeqCst), 1);

    let gpu = map(&bcm2836::DOMAIN, &[8, 4]);
    irq::request_percpu_irq(gpu, &armctrl::CHAIN).unwrap();
    let uart = map(&armctrl::DOMAIN, &[2, 25]);
    let aux = map(&armctrl::DOMAIN, &[1, 29]);
    irq::request_irq(uart, &UART).unwrap();
    irq::request_irq(aux, &AUX).unwrap();
    for (bank, line, virq) in [(2, 25, uart), (1, 29, aux)] {
        banks.set(bank, line, true);
        irq::handle_irq();
        assert_eq!(LINES.lock().unwrap().pop(), Some(virq.get()));
    }
    for cells in [[0, 8], [3, 0], [1, 32]] {
        assert_eq!(armctrl::DOMAIN.chip().translate(&cells), Err(Errno::EINVAL), "{cells:?}");
    }
    assert_eq!(bcm2836::DOMAIN.chip().translate(&[5, 4]), Err(Errno::EINVAL), "mailboxes are for IPIs");

    ipis.lock().unwrap().clear();
    irq::send_ipi(CpuMask::of(CpuId::BOOT), Ipi::CallFunction);
    irq::send_ipi(CpuMask::of(CpuId::BOOT), Ipi::Reschedule);
    irq::handle_irq();
    assert_eq!(*ipis.lock().unwrap(), [Ipi::Reschedule, Ipi::CallFunction]);
    irq::handle_irq();
    assert_eq!(ipis.lock().unwrap().len(), 2, "each once");
}
