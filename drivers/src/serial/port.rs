//! A serial port by interrupt, as the device of a terminal: everything that is not registers.
//!
//! ```text
//!   line ─► FIFO ─► interrupt ─► rx ring (lock-free) ─► Tty::flush_input
//!   line ◄─ FIFO ◄─ interrupt ◄─ tx ring (under `state`) ◄─ Tty writes
//!              ◄──── console_write: polled, any context
//! ```
//!
//! A [`Uart`] is the hardware. Its transmit interrupt is raised when the FIFO drains past its mark, so sending starts by
//! filling the FIFO. When the rx ring is full, the receive interrupts are masked until a reader made room: the FIFO then
//! holds the line up (or counts an overrun, where nothing holds the line).

use crate::irq::{IrqReturn, Virq};
use crate::ring::{ByteRing, Spsc};
use crate::tty::{Condition, Settings, Tty, TtyDriver};
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, fence};
use vigil_abi::Errno;
use vigil_executor::sync::{LockClass, SpinLock};
use vigil_executor::time::{self, SEC};

/// What came with a received character, above its eight bits.
pub const FRAME_ERROR: u16 = 1 << 8;
/// As above: a wrong parity bit.
pub const PARITY_ERROR: u16 = 1 << 9;
/// As above: the line was low for longer than a character.
pub const BREAK: u16 = 1 << 10;
/// As above: characters before it were lost.
pub const OVERRUN: u16 = 1 << 11;

/// Which interrupts a UART may raise.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Interrupts {
    /// Characters have come.
    pub receive: bool,
    /// There is room for more.
    pub transmit: bool,
}

/// The registers of a UART. Called with the port's lock held and interrupts masked, but for [`receive`](Uart::receive) and
/// [`pending`](Uart::pending), which are called in its interrupt, and what says so.
pub trait Uart: Send + Sync + 'static {
    /// Its driver, in `/proc/interrupts`.
    const DRIVER: &'static str;
    /// Switches it on: 8N1, FIFOs, the firmware's speed, no interrupts.
    fn start(&self);
    /// Which interrupts may be raised.
    fn set_interrupts(&self, on: Interrupts);
    /// Which are raised; acknowledges what does not end by itself.
    fn pending(&self) -> Interrupts;
    /// The next character, with what came with it.
    fn receive(&self) -> Option<u16>;
    /// Whether the FIFO takes a character.
    fn can_send(&self) -> bool;
    /// Puts a character in the FIFO, which takes one.
    fn send(&self, c: u8);
    /// Writes `bytes` by polling, bounded. Any context, also without the lock.
    fn write_polled(&self, bytes: &[u8]);
    /// Makes the line what `new` says, as far as it can, and corrects what it cannot. `breaking`: a break is being sent.
    fn set_line(&self, new: &mut Settings, old: &Settings, breaking: bool);
    /// Starts or ends a break.
    fn set_break(&self, on: bool);
}

const RX_RING: usize = 4096;
const TX_RING: usize = 4096;
/// Characters sent at once: the deepest FIFO of a PL011.
const TX_BURST: u32 = 32;
/// Characters taken in one interrupt: as many as a PL011 holds. Should more have come meanwhile, as an emulator's may, the interrupt
/// comes again.
const RX_BUDGET: usize = 32;
/// How often the console tries to get the port from whoever has it before it writes anyway.
const CONSOLE_TRIES: u32 = 10_000;

static STATE_CLASS: LockClass = LockClass::new("uart_port");

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
    /// The console writes.
    paused: bool,
    breaking: bool,
    /// As it was set last.
    interrupts: Interrupts,
}

/// A port.
pub struct Port<U> {
    uart: U,
    state: SpinLock<State>,
    rx: Spsc<RX_RING>,
    rx_blocked: AtomicBool,
    tty: spin::Once<&'static Tty>,
    /// Until when a character is a SysRq key; 0: not.
    sysrq_until: AtomicU64,
    overruns: AtomicU32,
}

/// A port of any kind, for those who know only its name.
pub trait SerialPort: Sync {
    /// Its terminal, once it is started.
    fn tty(&self) -> Option<&'static Tty>;
    /// Writes `text` by polling, line feeds as carriage return and line feed: the kernel's console. Any context,
    /// including a panic with the port's lock held by a stopped CPU; bounded.
    fn console_write(&self, text: &[u8]);
}

impl<U: Uart> SerialPort for Port<U> {
    fn tty(&self) -> Option<&'static Tty> {
        self.tty.get().copied()
    }

    fn console_write(&self, text: &[u8]) {
        // The terminal's output waits, so that lines stay whole; interrupts do not.
        self.pause(true);
        for line in text.split_inclusive(|&b| b == b'\n') {
            match line.strip_suffix(b"\n") {
                Some(text) => {
                    self.uart.write_polled(text);
                    self.uart.write_polled(b"\r\n");
                }
                None => self.uart.write_polled(line),
            }
        }
        self.pause(false);
    }
}

impl<U: Uart> Port<U> {
    /// The port of `uart`, off. Errors: ENOMEM.
    pub fn try_new(uart: U) -> Result<Self, Errno> {
        let interrupts = Interrupts { receive: false, transmit: false };
        let state = State { ring: ByteRing::try_new()?, priority: None, stopped: false, paused: false, breaking: false, interrupts };
        Ok(Port {
            uart,
            state: SpinLock::new(&STATE_CLASS, state),
            rx: Spsc::try_new()?,
            rx_blocked: AtomicBool::new(false),
            tty: spin::Once::new(),
            sysrq_until: AtomicU64::new(0),
            overruns: AtomicU32::new(0),
        })
    }

    /// Switches it on for `tty`, with receive interrupts. Its line is requested already.
    pub fn start(&self, tty: &'static Tty) {
        self.tty.call_once(|| tty);
        let mut state = self.state.lock_irq();
        self.uart.start();
        self.set_interrupts(&mut state, Interrupts { receive: true, transmit: false });
    }

    /// Characters lost because the FIFO was full.
    pub fn overruns(&self) -> u32 {
        self.overruns.load(Relaxed)
    }

    fn set_interrupts(&self, state: &mut State, on: Interrupts) {
        if state.interrupts != on {
            state.interrupts = on;
            self.uart.set_interrupts(on);
        }
    }

    /// The handler of its line.
    pub(super) fn interrupt(&self) -> IrqReturn {
        let pending = self.uart.pending();
        if pending.receive {
            self.receive();
        }
        if pending.transmit {
            let mut state = self.state.lock_irq();
            self.fill_fifo(&mut state);
            let writable = state.ring.len() < crate::tty::WAKEUP_CHARS;
            drop(state);
            if let (true, Some(tty)) = (writable, self.tty()) {
                tty.notify_output();
            }
        }
        if pending.receive || pending.transmit { IrqReturn::Handled } else { IrqReturn::None }
    }

    fn receive(&self) {
        let mut any = false;
        for _ in 0..RX_BUDGET {
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
            let Some(value) = self.uart.receive() else { break };
            if value & OVERRUN != 0 {
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
        let interrupts = Interrupts { receive: on, ..state.interrupts };
        self.set_interrupts(&mut state, interrupts);
    }

    /// Takes a break and the character after it for SysRq, when there is a handler.
    fn is_sysrq(&self, value: u16) -> bool {
        let handler = SYSRQ.load(Acquire);
        if handler.is_null() {
            return false;
        }
        let until = self.sysrq_until.swap(0, Relaxed);
        if value & BREAK != 0 {
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

    /// Holds the terminal's output back, or lets it go on. Any context: who cannot get the lock does without.
    fn pause(&self, on: bool) {
        let guard = (0..CONSOLE_TRIES).find_map(|_| {
            let guard = self.state.try_lock_irq();
            if guard.is_none() {
                core::hint::spin_loop();
            }
            guard
        });
        if let Some(mut state) = guard {
            state.paused = on;
            self.fill_fifo(&mut state);
        }
    }

    /// Sends what fits into the FIFO, and has the interrupt go on with what does not. No more than [`TX_BURST`] characters, should
    /// the FIFO never be full, as an emulator's: interrupts are masked.
    fn fill_fifo(&self, state: &mut State) {
        for _ in 0..TX_BURST {
            if state.paused || !self.uart.can_send() {
                break;
            }
            let next = match state.priority.take() {
                Some(c) => Some(c),
                None if state.stopped => None,
                None => state.ring.pop(),
            };
            let Some(c) = next else { break };
            self.uart.send(c);
        }
        let transmit = !state.paused && (state.priority.is_some() || (!state.stopped && !state.ring.is_empty()));
        let interrupts = Interrupts { transmit, ..state.interrupts };
        self.set_interrupts(state, interrupts);
    }
}

impl<U: Uart> TtyDriver for Port<U> {
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
        let condition = if value & BREAK != 0 {
            Condition::Break
        } else if value & PARITY_ERROR != 0 {
            Condition::Parity
        } else if value & FRAME_ERROR != 0 {
            Condition::Frame
        } else if value & OVERRUN != 0 {
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
        let state = self.state.lock_irq();
        self.uart.set_line(new, old, state.breaking);
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
        state.breaking = on;
        self.uart.set_break(on);
    }
}

/// The function of its line's action.
pub(super) fn handler<U: Uart>(_: Virq, port: *const ()) -> IrqReturn {
    // SAFETY: `super::add` makes the action with a `&'static Port<U>`.
    unsafe { &*port.cast::<Port<U>>() }.interrupt()
}
