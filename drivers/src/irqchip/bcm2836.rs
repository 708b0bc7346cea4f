//! BCM2836's and BCM2837's per-core interrupt controller, the root of a Raspberry Pi 2 and 3 (Broadcom QA7: "ARM
//! quad A7 core", which the BCM2837 kept).
//!
//! Each core has a word of pending sources: the four generic timers, four mailboxes, the line of the peripherals'
//! controller ([`super::armctrl`]) and the PMU. Nothing is acknowledged here: a source is pending for as long as it is
//! raised. IPIs are bits of mailbox 0, set by the sender and cleared by the receiver.

use crate::dt::Node;
use crate::irq::{self, Flow, Ipi, IrqChip, IrqDomain, Trigger};
use crate::model::{Mmio, ioremap};
use core::sync::atomic::AtomicU16;
use vigil_abi::Errno;
use vigil_executor::cpu::{CpuId, CpuMask};
use vigil_mem::PhysAddr;

pub(super) const COMPATIBLE: &[&str] = &["brcm,bcm2836-l1-intc"];

const SIZE: usize = 0x100;
const CORES: usize = 4;
/// Where the core timer's count comes from: 0, the 19.2 MHz crystal, one at a time.
const CONTROL: usize = 0x000;
/// The core timer's prescaler: 2³¹ divided by this.
const PRESCALER: usize = 0x008;
const PRESCALER_ONE: u32 = 0x8000_0000;
/// Which core gets the peripherals' interrupts (bits 1:0) and their fast ones (3:2).
const GPU_ROUTING: usize = 0x00c;
/// A core's bit lets its PMU interrupt it.
const PM_ROUTING_SET: usize = 0x010;
const PM_ROUTING_CLR: usize = 0x014;
/// One word for each core from here on: which of its timers interrupt it.
const TIMER_CONTROL: usize = 0x040;
/// As above, for its mailboxes.
const MAILBOX_CONTROL: usize = 0x050;
/// As above: what is pending.
const IRQ_PENDING: usize = 0x060;
/// Four words for each core: bits to set in its mailboxes.
const MAILBOX_SET: usize = 0x080;
/// Four words for each core: what is set; written ones are cleared.
const MAILBOX_CLR: usize = 0x0c0;

/// The first of the lines that are not timers.
const FIRST_NO_TIMER: u32 = 4;
/// The line of the peripherals.
const GPU: u32 = 8;
/// The line of the PMU.
const PMU: u32 = 9;
/// Mailbox 0 among the pending sources.
const PENDING_MAILBOX0: u32 = 1 << 4;
/// The sources that are ever switched on.
const PENDING_LINES: u32 = 0xf | 1 << GPU | 1 << PMU;

static REVMAP: [AtomicU16; 16] = [const { AtomicU16::new(0) }; 16];
pub(super) static DOMAIN: IrqDomain = IrqDomain::new(&CoreChip, &REVMAP);
static REGISTERS: spin::Once<Mmio> = spin::Once::new();

/// Sets up the controller at `node` as the root.
pub(super) fn init(node: Node<'_>) -> Result<(), Errno> {
    let region = node.reg(0).ok_or(Errno::EINVAL)?;
    let io = ioremap(PhysAddr::new(region.base as usize), region.size as usize)?;
    init_at(io)?;
    irq::register_domain(&DOMAIN, node)
}

/// Sets up the controller behind `io`. Errors: EINVAL when it is too small.
pub(super) fn init_at(io: Mmio) -> Result<(), Errno> {
    if io.len() < SIZE {
        return Err(Errno::EINVAL);
    }
    REGISTERS.call_once(|| io);
    // The firmware does the same: the generic counter counts the crystal, unscaled.
    io.write32(CONTROL, 0);
    io.write32(PRESCALER, PRESCALER_ONE);
    io.write32(GPU_ROUTING, 0);
    for core in 0..CORES {
        io.write32(PM_ROUTING_CLR, 1 << core);
        io.write32(TIMER_CONTROL + 4 * core, 0);
    }
    super::set_init_cpu(init_cpu);
    irq::set_ipi_sender(send_ipi);
    init_cpu();
    irq::set_root_handler(handle);
    Ok(())
}

/// The core of this CPU: its number is the lowest affinity field.
fn core_of(cpu: CpuId) -> Option<usize> {
    super::mpidr(cpu).map(|m| (m & 0xff) as usize).filter(|&core| core < CORES)
}

fn this_core() -> usize {
    core_of(CpuId::current()).unwrap_or(0)
}

/// Opens mailbox 0; the other lines are off until they are asked for.
fn init_cpu() {
    let Some(io) = REGISTERS.get() else { return };
    let core = this_core();
    io.write32_relaxed(TIMER_CONTROL + 4 * core, 0);
    io.write32_relaxed(MAILBOX_CLR + 16 * core, u32::MAX);
    io.write32_relaxed(MAILBOX_CONTROL + 4 * core, 1);
}

/// The root loop.
fn handle() {
    let Some(io) = REGISTERS.get() else { return };
    let core = this_core();
    // Read once: what comes meanwhile is an interrupt of its own.
    let pending = io.read32(IRQ_PENDING + 4 * core);
    if pending & PENDING_MAILBOX0 != 0 {
        handle_mailbox(io, core);
    }
    let mut lines = pending & PENDING_LINES;
    while lines != 0 {
        irq::handle_root(&REVMAP, lines.trailing_zeros());
        lines &= lines - 1;
    }
}

/// The IPIs that were sent to this core. Out of line: a line's handler saves fewer registers.
#[inline(never)]
fn handle_mailbox(io: &Mmio, core: usize) {
    let mut bits = io.read32(MAILBOX_CLR + 16 * core);
    // Before they are handled: one that is sent meanwhile is another one.
    io.write32_relaxed(MAILBOX_CLR + 16 * core, bits);
    while bits != 0 {
        irq::handle_ipi(bits.trailing_zeros());
        bits &= bits - 1;
    }
}

fn send_ipi(mask: CpuMask, ipi: Ipi) {
    let Some(io) = REGISTERS.get() else { return };
    for core in mask.iter().filter_map(core_of) {
        // The order before it is made by the caller's barrier.
        io.write32_relaxed(MAILBOX_SET + 16 * core, 1 << ipi as u32);
    }
}

struct CoreChip;

impl CoreChip {
    fn switch(&self, hwirq: u32, on: bool) {
        let Some(io) = REGISTERS.get() else { return };
        let core = this_core();
        match hwirq {
            0..FIRST_NO_TIMER => {
                let reg = TIMER_CONTROL + 4 * core;
                let (old, bit) = (io.read32(reg), 1 << hwirq);
                io.write32_relaxed(reg, if on { old | bit } else { old & !bit });
            }
            PMU => io.write32_relaxed(if on { PM_ROUTING_SET } else { PM_ROUTING_CLR }, 1 << core),
            // The peripherals' line has no switch but those of its own controller.
            _ => {}
        }
    }
}

impl IrqChip for CoreChip {
    fn name(&self) -> &'static str {
        "bcm2836-timer"
    }

    fn translate(&self, cells: &[u32]) -> Result<(u32, Trigger), Errno> {
        let &[line, flags, ..] = cells else { return Err(Errno::EINVAL) };
        self.flow(line)?;
        Ok((line, Trigger::from_dt(flags).ok_or(Errno::EINVAL)?))
    }

    fn flow(&self, hwirq: u32) -> Result<Flow, Errno> {
        match hwirq {
            0..FIRST_NO_TIMER | GPU | PMU => Ok(Flow::PerCpu),
            _ => Err(Errno::EINVAL),
        }
    }

    fn mask(&self, hwirq: u32) {
        self.switch(hwirq, false);
    }

    fn unmask(&self, hwirq: u32) {
        self.switch(hwirq, true);
    }

    fn set_type(&self, _hwirq: u32, trigger: Trigger) -> Result<(), Errno> {
        if trigger == Trigger::LevelHigh { Ok(()) } else { Err(Errno::EINVAL) }
    }
}
