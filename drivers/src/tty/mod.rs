//! Terminals: the line discipline, what joins it to a device, and what the kernel glues to files and job control.
//!
//! | module | is |
//! |---|---|
//! | [`ntty`] | N_TTY, a pure state machine |
//! | [`Tty`] | one terminal: N_TTY under a lock, its device, wait queues, session and foreground group |
//! | [`TtyDriver`] | the device: takes output, hands out input |
//! | [`TtyEvents`] | the kernel: schedules input processing, sends signals |
//!
//! An interrupt handler only puts characters into the device's ring and calls [`Tty::notify_input`]; the kernel runs
//! [`Tty::flush_input`] in a softirq or a task, which feeds the line discipline. Locks: the line discipline's, taken in
//! tasks and softirqs, then the device's, taken with interrupts masked.

pub mod ntty;
mod settings;
mod stream;
#[cfg(test)]
mod tests;
mod vtime;

pub use ntty::Received;
pub use settings::Settings;
pub(crate) use stream::WAKEUP_CHARS;

use crate::char::{KEY_IN, KEY_OUT};
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed, Ordering::SeqCst};
use ntty::NTty;
use vigil_abi::Errno;
use vigil_abi::termios::{self as t, Winsize};
use vigil_executor::sync::{LockClass, SpinLock};
use vigil_executor::wait::WaitQueue;
use vigil_mem::KBox;
use vtime::VTime;

/// How a character was received.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Condition {
    /// As it should be.
    Normal,
    /// It is a break: the line was low for longer than a character.
    Break,
    /// With a wrong parity bit.
    Parity,
    /// Without a stop bit.
    Frame,
    /// Characters before it were lost.
    Overrun,
}

/// The device of a terminal.
pub trait TtyDriver: Sync {
    /// Takes as many of `bytes` as it has room for and returns how many. Does not wait; not in a hard interrupt.
    fn write(&self, bytes: &[u8]) -> usize;
    /// How many bytes [`write`](Self::write) would take.
    fn write_room(&self) -> usize;
    /// How many bytes it has taken and not sent.
    fn chars_in_buffer(&self) -> usize;
    /// Drops what it has taken and not sent.
    fn flush_buffer(&self);
    /// The oldest received character, left in place. One caller at a time (the line discipline's lock).
    fn peek_input(&self) -> Option<(u8, Condition)>;
    /// Drops the character that [`peek_input`](Self::peek_input) returned.
    fn skip_input(&self);
    /// Makes the line what the settings say, as far as the device can, and corrects what it cannot.
    fn set_settings(&self, new: &mut Settings, old: &Settings);
    /// Stops sending (`true`) what was taken, or goes on.
    fn set_stopped(&self, stopped: bool);
    /// Sends a character before all that was taken (START, STOP).
    fn send_priority(&self, c: u8);
    /// Starts or ends a break.
    fn set_break(&self, on: bool);
}

/// What a terminal asks of the kernel.
pub trait TtyEvents: Sync {
    /// Characters arrived: have [`Tty::flush_input`] run soon. Called in the hard interrupt.
    fn input(&self, tty: &'static Tty);
    /// Send the signals of `received` to the foreground process group. Called without locks, in a task or softirq.
    fn signal(&self, tty: &Tty, received: Received);
    /// There is something to read. Called without locks, in a task or softirq.
    fn readable(&self, tty: &Tty);
}

/// A terminal.
pub struct Tty {
    name: &'static str,
    ldisc: SpinLock<NTty>,
    driver: &'static dyn TtyDriver,
    events: spin::Once<&'static dyn TtyEvents>,
    read_wait: WaitQueue,
    write_wait: WaitQueue,
    winsize: SpinLock<Winsize>,
    /// Process group and session, 0: none. The kernel's numbers; its job control decides.
    pgrp: AtomicU32,
    session: AtomicU32,
    hung_up: AtomicBool,
    vtime: VTime,
}

static LDISC_CLASS: LockClass = LockClass::new("tty_ldisc");
static WINSIZE_CLASS: LockClass = LockClass::new("tty_winsize");

impl Tty {
    /// The terminal `name` on `driver`, for ever: its timer must not move.
    ///
    /// Errors: ENOMEM.
    pub fn try_new(name: &'static str, driver: &'static dyn TtyDriver) -> Result<&'static Tty, Errno> {
        let tty = Tty {
            name,
            ldisc: SpinLock::new(&LDISC_CLASS, NTty::try_new()?),
            driver,
            events: spin::Once::new(),
            read_wait: WaitQueue::new(),
            write_wait: WaitQueue::new(),
            winsize: SpinLock::new(&WINSIZE_CLASS, Winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 }),
            pgrp: AtomicU32::new(0),
            session: AtomicU32::new(0),
            hung_up: AtomicBool::new(false),
            vtime: VTime::new(),
        };
        Ok(KBox::leak(KBox::try_new(tty)?))
    }

    /// Its name, without `/dev/`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Sets what it asks of the kernel; the first call wins.
    pub fn set_events(&self, events: &'static dyn TtyEvents) {
        self.events.call_once(|| events);
    }

    /// The device has received characters. Hard interrupt.
    pub fn notify_input(&'static self) {
        match self.events.get() {
            Some(events) => events.input(self),
            // Nobody processes input: readers do it themselves.
            None => {
                self.read_wait.wake(KEY_IN, 0);
            }
        }
    }

    /// The device has room for output again. Any context.
    pub fn notify_output(&self) {
        self.write_wait.wake(KEY_OUT, 0);
    }

    /// Passes what the device has received through the line discipline: fills the read buffer, sends echoes, wakes
    /// readers, sends signals. Tasks and softirqs.
    pub fn flush_input(&self) {
        let mut all = Received::default();
        loop {
            let mut ldisc = self.ldisc.lock_bh();
            // A stretch at a time, so that a fast line does not keep preemption off.
            for _ in 0..16 {
                if !ldisc.can_receive() {
                    break;
                }
                let Some((c, condition)) = self.driver.peek_input() else { break };
                self.driver.skip_input();
                all.merge(ldisc.receive(c, condition));
            }
            if all.flush_output {
                self.driver.flush_buffer();
            }
            if all.flow_changed {
                self.driver.set_stopped(ldisc.is_stopped());
            }
            self.push_echo(&mut ldisc);
            let more = ldisc.can_receive() && self.driver.peek_input().is_some();
            drop(ldisc);
            if !more {
                break;
            }
        }
        if all.wake_readers {
            self.read_wait.wake(KEY_IN, 0);
            if let Some(events) = self.events.get() {
                events.readable(self);
            }
        }
        if all.flush_output || all.flow_changed {
            self.write_wait.wake(KEY_OUT, 0);
        }
        if let (true, Some(events)) = (all.interrupt() || all.quit() || all.suspend(), self.events.get()) {
            events.signal(self, all);
        }
    }

    /// Gives the device the echoes that it has room for; whether none is left.
    fn push_echo(&self, ldisc: &mut NTty) -> bool {
        let echo = ldisc.pending_echo();
        while !echo.is_empty() {
            let n = self.driver.write(echo.front());
            if n == 0 {
                return false;
            }
            echo.consume(n);
        }
        true
    }

    /// The settings (TCGETS).
    pub fn settings(&self) -> Settings {
        *self.ldisc.lock_bh().settings()
    }

    /// Changes the settings (TCSETS). For TCSETSW and TCSETSF the caller waits for [`try_drain`](Self::try_drain)
    /// first, and for TCSETSF calls [`flush`](Self::flush) with TCIFLUSH.
    ///
    /// Errors: EIO after a hang-up.
    pub fn set_settings(&self, mut new: Settings) -> Result<(), Errno> {
        self.check()?;
        let mut ldisc = self.ldisc.lock_bh();
        let old = *ldisc.settings();
        self.driver.set_settings(&mut new, &old);
        let wake = ldisc.set_settings(new);
        self.driver.set_stopped(ldisc.is_stopped());
        drop(ldisc);
        if wake {
            self.read_wait.wake(KEY_IN, 0);
        }
        self.write_wait.wake(KEY_OUT, 0);
        Ok(())
    }

    /// Drops input, output or both (TCFLSH). Errors: EINVAL for another `queue`; EIO.
    pub fn flush(&self, queue: u32) -> Result<(), Errno> {
        self.check()?;
        let (input, output) = match queue {
            t::TCIFLUSH => (true, false),
            t::TCOFLUSH => (false, true),
            t::TCIOFLUSH => (true, true),
            _ => return Err(Errno::EINVAL),
        };
        let mut ldisc = self.ldisc.lock_bh();
        if input {
            while self.driver.peek_input().is_some() {
                self.driver.skip_input();
            }
            ldisc.flush_input();
        }
        if output {
            ldisc.flush_output();
            self.driver.flush_buffer();
        }
        drop(ldisc);
        if output {
            self.write_wait.wake(KEY_OUT, 0);
        }
        Ok(())
    }

    /// Stops and starts output, or sends STOP and START (TCXONC). Errors: EINVAL for another `action`; EIO.
    pub fn flow(&self, action: u32) -> Result<(), Errno> {
        self.check()?;
        let mut ldisc = self.ldisc.lock_bh();
        match action {
            t::TCOOFF | t::TCOON => {
                ldisc.set_tco_stopped(action == t::TCOOFF);
                self.driver.set_stopped(ldisc.is_stopped());
            }
            t::TCIOFF | t::TCION => {
                let c = ldisc.settings().cc(if action == t::TCIOFF { t::VSTOP } else { t::VSTART });
                if c != 0 {
                    self.driver.send_priority(c);
                }
            }
            _ => return Err(Errno::EINVAL),
        }
        drop(ldisc);
        self.write_wait.wake(KEY_OUT, 0);
        Ok(())
    }

    /// Bytes that a read would return (FIONREAD, TIOCINQ).
    pub fn input_queued(&self) -> usize {
        self.flush_input();
        self.ldisc.lock_bh().readable()
    }

    /// Bytes that were written and not sent (TIOCOUTQ).
    pub fn output_queued(&self) -> usize {
        let echo = self.ldisc.lock_bh().pending_echo().len();
        echo + self.driver.chars_in_buffer()
    }

    /// Starts or ends a break on the line (TIOCSBRK, TIOCCBRK; TCSBRK is the two with 250 ms between).
    pub fn set_break(&self, on: bool) {
        self.driver.set_break(on);
    }

    /// The window size.
    pub fn winsize(&self) -> Winsize {
        *self.winsize.lock()
    }

    /// Sets the window size; whether it changed, in which case the foreground group gets SIGWINCH.
    #[must_use = "a change is told by SIGWINCH"]
    pub fn set_winsize(&self, new: Winsize) -> bool {
        let mut w = self.winsize.lock();
        let key = |w: &Winsize| (w.ws_row, w.ws_col, w.ws_xpixel, w.ws_ypixel);
        let changed = key(&w) != key(&new);
        *w = new;
        changed
    }

    /// The foreground process group; 0: none.
    pub fn pgrp(&self) -> u32 {
        self.pgrp.load(Relaxed)
    }

    /// Sets the foreground process group.
    pub fn set_pgrp(&self, pgrp: u32) {
        self.pgrp.store(pgrp, Relaxed);
    }

    /// The session whose controlling terminal it is; 0: none.
    pub fn session(&self) -> u32 {
        self.session.load(Relaxed)
    }

    /// Sets the session whose controlling terminal it is.
    pub fn set_session(&self, session: u32) {
        self.session.store(session, Relaxed);
    }

    /// Hangs it up: reads end, writes fail with EIO, everybody is woken. The kernel sends SIGHUP and SIGCONT.
    pub fn hangup(&self) {
        self.hung_up.store(true, SeqCst);
        let mut ldisc = self.ldisc.lock_bh();
        ldisc.flush_input();
        ldisc.flush_output();
        drop(ldisc);
        self.driver.flush_buffer();
        self.read_wait.wake(KEY_IN, 0);
        self.write_wait.wake(KEY_OUT, 0);
    }

    /// Makes it usable again; for the first open after a hang-up.
    pub fn reopen(&self) {
        self.hung_up.store(false, SeqCst);
    }

    /// Whether it is hung up.
    pub fn is_hung_up(&self) -> bool {
        self.hung_up.load(SeqCst)
    }

    fn check(&self) -> Result<(), Errno> {
        if self.is_hung_up() { Err(Errno::EIO) } else { Ok(()) }
    }
}
