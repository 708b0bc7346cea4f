//! PL011 ports by interrupt, as the device of a terminal (Arm DDI 0183).
//!
//! ```text
//!   line ─► FIFO ─► interrupt ─► rx ring (lock-free) ─► Tty::flush_input
//!   line ◄─ FIFO ◄─ interrupt ◄─ tx ring (under `state`) ◄─ Tty writes
//!              ◄──── console_write: polled, any context
//! ```
//!
//! The transmit interrupt is raised when the FIFO drains past its mark, so sending starts by filling the FIFO. When the
//! rx ring is full, the receive interrupts are masked until a reader made room: the FIFO then holds the line up (or
//! counts an overrun, where nothing holds the line).

use super::early::{EarlyPl011, FR_TXFF, UARTDR, UARTFR};
use crate::irq::{IrqReturn, Virq};
use crate::model::Mmio;
use crate::ring::{ByteRing, Spsc};
use crate::tty::{Condition, Settings, Tty, TtyDriver};
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, fence};
use vigil_abi::{Errno, termios as t};
use vigil_executor::sync::{LockClass, SpinLock};
use vigil_executor::time::{self, SEC};

const UARTIBRD: usize = 0x24;
const UARTFBRD: usize = 0x28;
const UARTLCR_H: usize = 0x2c;
const UARTCR: usize = 0x30;
const UARTIMSC: usize = 0x38;
const UARTMIS: usize = 0x40;
const UARTICR: usize = 0x44;
const FR_RXFE: u32 = 1 << 4;
const INT_RX: u32 = 1 << 4;
const INT_TX: u32 = 1 << 5;
const INT_RX_TIMEOUT: u32 = 1 << 6;
const INT_RECEIVE: u32 = INT_RX | INT_RX_TIMEOUT;
const ALL_INTS: u32 = 0x7ff;
const LCR_BRK: u32 = 1 << 0;
const LCR_PEN: u32 = 1 << 1;
const LCR_EPS: u32 = 1 << 2;
const LCR_STP2: u32 = 1 << 3;
const LCR_FEN: u32 = 1 << 4;
const LCR_SPS: u32 = 1 << 7;
const CR_UARTEN: u32 = 1 << 0;
const CR_TXE: u32 = 1 << 8;
const CR_RXE: u32 = 1 << 9;
const CR_DTR: u32 = 1 << 10;
const CR_RTS: u32 = 1 << 11;
const CR_RTSEN: u32 = 1 << 14;
const CR_CTSEN: u32 = 1 << 15;
/// Error bits of a received character.
const DR_FE: u16 = 1 << 8;
const DR_PE: u16 = 1 << 9;
const DR_BE: u16 = 1 << 10;
const DR_OE: u16 = 1 << 11;

const RX_RING: usize = 4096;
const TX_RING: usize = 4096;
/// Characters taken in one interrupt (Linux: 256).
const RX_BUDGET: usize = 256;
/// How often the console tries to get the port from whoever has it before it writes anyway.
const CONSOLE_TRIES: u32 = 10_000;

static STATE_CLASS: LockClass = LockClass::new("pl011");

/// What runs on a SysRq key. Hard interrupt.
static SYSRQ: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

/// Sets what runs when a character follows a break on a port within five seconds: with that character, in the hard
/// interrupt.
pub fn set_sysrq_handler(handler: fn(u8)) {
    SYSRQ.store(handler as *mut (), Release);
}

/// What the port's lock guards. Taken in any context, interrupts masked.
struct State {
    ring: ByteRing<TX_RING>,
    /// A character that goes before the ring.
    priority: Option<u8>,
    stopped: bool,
    /// The interrupt mask as it was written.
    mask: u32,
    lcr: u32,
}

/// A port.
pub struct Pl011 {
    io: Mmio,
    /// The UART's clock in Hz; 0: unknown, the speed stays as the firmware set it.
    clock: u32,
    state: SpinLock<State>,
    rx: Spsc<RX_RING>,
    rx_blocked: AtomicBool,
    tty: spin::Once<&'static Tty>,
    /// Until when a character is a SysRq key; 0: not.
    sysrq_until: AtomicU64,
    overruns: AtomicU32,
    received: AtomicU32,
    sent: AtomicU32,
}

impl Pl011 {
    /// The port behind the window `io`, off; `clock` is the UART's in Hz, 0 if unknown. Errors: ENOMEM.
    pub fn try_new(io: Mmio, clock: u32) -> Result<Self, Errno> {
        let state = State {
            ring: ByteRing::try_new()?,
            priority: None,
            stopped: false,
            mask: 0,
            lcr: 3 << 5 | LCR_FEN,
        };
        Ok(Pl011 {
            io,
            clock,
            state: SpinLock::new(&STATE_CLASS, state),
            rx: Spsc::try_new()?,
            rx_blocked: AtomicBool::new(false),
            tty: spin::Once::new(),
            sysrq_until: AtomicU64::new(0),
            overruns: AtomicU32::new(0),
            received: AtomicU32::new(0),
            sent: AtomicU32::new(0),
        })
    }

    /// Switches it on for `tty`: 8N1, FIFOs, the firmware's speed, receive interrupts. Its line is requested already.
    pub fn start(&self, tty: &'static Tty) {
        self.tty.call_once(|| tty);
        let mut state = self.state.lock_irq();
        self.io.write32(UARTICR, ALL_INTS);
        self.io.write32(UARTLCR_H, state.lcr);
        self.io.write32(UARTCR, CR_UARTEN | CR_TXE | CR_RXE | CR_DTR | CR_RTS);
        state.mask = INT_RECEIVE;
        self.io.write32(UARTIMSC, state.mask);
    }

    /// Its terminal, once it is started.
    pub fn tty(&self) -> Option<&'static Tty> {
        self.tty.get().copied()
    }

    /// Characters lost because the FIFO was full.
    pub fn overruns(&self) -> u32 {
        self.overruns.load(Relaxed)
    }

    /// Characters received and sent since the start, modulo 2³².
    pub fn counts(&self) -> (u32, u32) {
        (self.received.load(Relaxed), self.sent.load(Relaxed))
    }

    /// Writes `text` by polling, line feeds as carriage return and line feed: the kernel's console. Any context,
    /// including a panic with the port's lock held by a stopped CPU; bounded.
    pub fn console_write(&self, text: &[u8]) {
        let guard = (0..CONSOLE_TRIES).find_map(|_| {
            let guard = self.state.try_lock_irq();
            if guard.is_none() {
                core::hint::spin_loop();
            }
            guard
        });
        let uart = EarlyPl011::from_mmio(self.io);
        for line in text.split_inclusive(|&b| b == b'\n') {
            match line.strip_suffix(b"\n") {
                Some(text) => {
                    uart.write(text);
                    uart.write(b"\r\n");
                }
                None => uart.write(line),
            }
        }
        drop(guard);
    }

    /// The handler of its line.
    pub(super) fn interrupt(&self) -> IrqReturn {
        let pending = self.io.read32(UARTMIS);
        if pending == 0 {
            return IrqReturn::None;
        }
        // Receive and transmit interrupts end when their FIFO is served.
        self.io.write32(UARTICR, pending & !(INT_RECEIVE | INT_TX));
        if pending & INT_RECEIVE != 0 {
            self.receive();
        }
        if pending & INT_TX != 0 {
            let mut state = self.state.lock_irq();
            self.fill_fifo(&mut state);
            let writable = state.ring.len() < crate::tty::WAKEUP_CHARS;
            drop(state);
            if let (true, Some(tty)) = (writable, self.tty()) {
                tty.notify_output();
            }
        }
        IrqReturn::Handled
    }

    fn receive(&self) {
        let mut any = false;
        for _ in 0..RX_BUDGET {
            if self.io.read32(UARTFR) & FR_RXFE != 0 {
                break;
            }
            if self.rx.is_full() {
                self.set_receiving(false);
                self.rx_blocked.store(true, Release);
                // With the fence in `skip_input`: either it sees the mark, or its room is seen here.
                fence(SeqCst);
                if self.rx.is_full() || !self.rx_blocked.swap(false, AcqRel) {
                    break;
                }
                self.set_receiving(true);
            }
            let value = self.io.read32(UARTDR) as u16;
            self.received.store(self.received.load(Relaxed).wrapping_add(1), Relaxed);
            if value & DR_OE != 0 {
                self.overruns.store(self.overruns.load(Relaxed).wrapping_add(1), Relaxed);
            }
            if !self.is_sysrq(value) {
                self.rx.push(value);
                any = true;
            }
        }
        if let (true, Some(tty)) = (any, self.tty()) {
            tty.notify_input();
        }
    }

    /// Masks or unmasks the receive interrupts.
    fn set_receiving(&self, on: bool) {
        let mut state = self.state.lock_irq();
        state.mask = if on { state.mask | INT_RECEIVE } else { state.mask & !INT_RECEIVE };
        self.io.write32(UARTIMSC, state.mask);
    }

    /// Takes a break and the character after it for SysRq, when there is a handler.
    fn is_sysrq(&self, value: u16) -> bool {
        let handler = SYSRQ.load(Acquire);
        if handler.is_null() {
            return false;
        }
        let until = self.sysrq_until.swap(0, Relaxed);
        if value & DR_BE != 0 {
            // A second break is an ordinary one.
            if until == 0 {
                self.sysrq_until.store(time::now().saturating_add(5 * SEC).max(1), Relaxed);
                return true;
            }
            return false;
        }
        if until == 0 || time::now() > until {
            return false;
        }
        // SAFETY: a non-null `SYSRQ` was made of a `fn(u8)`.
        let handler: fn(u8) = unsafe { core::mem::transmute(handler) };
        handler(value as u8);
        true
    }

    /// Sends what fits into the FIFO, and has the interrupt go on with what does not.
    fn fill_fifo(&self, state: &mut State) {
        let mut sent = 0u32;
        loop {
            if self.io.read32(UARTFR) & FR_TXFF != 0 {
                break;
            }
            let next = match state.priority.take() {
                Some(c) => Some(c),
                None if state.stopped => None,
                None => state.ring.pop(),
            };
            let Some(c) = next else { break };
            self.io.write32(UARTDR, u32::from(c));
            sent += 1;
        }
        self.sent.store(self.sent.load(Relaxed).wrapping_add(sent), Relaxed);
        let more = state.priority.is_some() || (!state.stopped && !state.ring.is_empty());
        let mask = if more { state.mask | INT_TX } else { state.mask & !INT_TX };
        if mask != state.mask {
            state.mask = mask;
            self.io.write32(UARTIMSC, mask);
        }
    }

    /// The divisor registers for `baud`: a sixteenth of the clock in 1/64 steps, rounded.
    fn divisor(&self, baud: u32) -> Option<(u32, u32)> {
        let d = (u64::from(self.clock) * 4 + u64::from(baud) / 2).checked_div(u64::from(baud))?;
        let (int, frac) = ((d >> 6) as u32, (d & 63) as u32);
        (self.clock != 0 && (1..=0xffff).contains(&int)).then_some((int, frac))
    }
}

impl TtyDriver for Pl011 {
    fn write(&self, bytes: &[u8]) -> usize {
        let mut state = self.state.lock_irq();
        let n = state.ring.extend(bytes);
        self.fill_fifo(&mut state);
        n
    }

    fn write_room(&self) -> usize {
        self.state.lock_irq().ring.room()
    }

    fn chars_in_buffer(&self) -> usize {
        self.state.lock_irq().ring.len()
    }

    fn flush_buffer(&self) {
        let mut state = self.state.lock_irq();
        state.ring.clear();
        self.fill_fifo(&mut state);
    }

    fn peek_input(&self) -> Option<(u8, Condition)> {
        let value = self.rx.peek()?;
        let condition = if value & DR_BE != 0 {
            Condition::Break
        } else if value & DR_PE != 0 {
            Condition::Parity
        } else if value & DR_FE != 0 {
            Condition::Frame
        } else if value & DR_OE != 0 {
            Condition::Overrun
        } else {
            Condition::Normal
        };
        Some((value as u8, condition))
    }

    fn skip_input(&self) {
        self.rx.skip();
        fence(SeqCst);
        if self.rx_blocked.load(Relaxed) && self.rx.is_empty() && self.rx_blocked.swap(false, AcqRel) {
            self.set_receiving(true);
        }
    }

    fn set_settings(&self, new: &mut Settings, old: &Settings) {
        let c = new.cflag();
        let mut lcr = ((c & t::CSIZE) >> 4) << 5 | LCR_FEN;
        for (flag, bit) in [(t::CSTOPB, LCR_STP2), (t::PARENB, LCR_PEN)] {
            lcr |= if c & flag != 0 { bit } else { 0 };
        }
        if c & t::PARENB != 0 {
            lcr |= if c & t::PARODD == 0 { LCR_EPS } else { 0 };
            lcr |= if c & t::CMSPAR != 0 { LCR_SPS } else { 0 };
        }
        let flow = if c & t::CRTSCTS != 0 { CR_RTSEN | CR_CTSEN } else { 0 };
        let speed = (new.speed() != old.speed() && new.speed() != 0).then(|| self.divisor(new.speed()));
        if speed == Some(None) {
            new.set_speed(old.speed());
        }
        let same = c & !t::CBAUD == old.cflag() & !t::CBAUD;
        if same && !matches!(speed, Some(Some(_))) {
            return;
        }
        let mut state = self.state.lock_irq();
        lcr |= state.lcr & LCR_BRK;
        state.lcr = lcr;
        // What is in the FIFO is lost when the UART is switched off: it is given time to leave.
        EarlyPl011::from_mmio(self.io).drain();
        let cr = self.io.read32(UARTCR) & !(CR_RTSEN | CR_CTSEN);
        self.io.write32(UARTCR, 0);
        if let Some(Some((int, frac))) = speed {
            self.io.write32(UARTIBRD, int);
            self.io.write32(UARTFBRD, frac);
        }
        // Latches the divisor as well.
        self.io.write32(UARTLCR_H, lcr);
        self.io.write32(UARTCR, cr | flow);
    }

    fn set_stopped(&self, stopped: bool) {
        let mut state = self.state.lock_irq();
        state.stopped = stopped;
        self.fill_fifo(&mut state);
    }

    fn send_priority(&self, c: u8) {
        let mut state = self.state.lock_irq();
        state.priority = Some(c);
        self.fill_fifo(&mut state);
    }

    fn set_break(&self, on: bool) {
        let mut state = self.state.lock_irq();
        state.lcr = if on { state.lcr | LCR_BRK } else { state.lcr & !LCR_BRK };
        self.io.write32(UARTLCR_H, state.lcr);
    }
}

/// The interrupt action's function.
pub(super) fn handler(_: Virq, port: *const ()) -> IrqReturn {
    // SAFETY: `super::probe` makes the action with a `&'static Pl011`.
    unsafe { &*port.cast::<Pl011>() }.interrupt()
}
