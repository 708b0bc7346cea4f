//! ioctl(2) on terminals (tty_ioctl(4); Linux: drivers/tty/{tty_io,tty_ioctl}.c).
//!
//! An ioctl that waits for output to drain is called again from its beginning after each wake: everything before the wait
//! has no effect.

use super::file::OpenTty;
use super::job;
use crate::task::signal::SIGWINCH;
use crate::task::thread::Thread;
use core::pin::Pin;
use core::sync::atomic::{AtomicU64, Ordering::*};
use vigil_abi::Errno;
use vigil_abi::process::CAP_SYS_ADMIN;
use vigil_abi::signal::SIGTTOU;
use vigil_abi::termios::*;
use vigil_drivers::tty::{Settings, Tty};
use vigil_executor::time::{self, MSEC, Nanos};
use vigil_executor::timer::Timer;
use vigil_executor::wait::WaitQueue;
use vigil_fs::{File, OpResult, Stop};
use vigil_mem::UserPtr;

/// What a change of settings waits for and drops first.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    Now,
    Drained,
    DrainedAndFlushed,
}

/// A break being sent (TCSBRK, TCSBRKP): the timer ends it.
pub(super) struct Break {
    /// When it ends (CLOCK_MONOTONIC); 0: none is being sent.
    until: AtomicU64,
    timer: Timer,
    done: WaitQueue,
}

impl Break {
    pub(super) const fn new() -> Self {
        Break { until: AtomicU64::new(0), timer: Timer::new(end_break), done: WaitQueue::new() }
    }
}

/// The timer of some terminal's break has expired. Hard interrupt.
fn end_break(timer: &Timer) {
    let terminal = super::TERMINALS.iter().find(|t| core::ptr::eq(&t.breaking.timer, timer));
    if let Some((terminal, tty)) = terminal.and_then(|t| Some((t, t.tty()?))) {
        tty.set_break(false);
        terminal.breaking.done.wake(u32::MAX, 0);
    }
}

/// Sends a break of `length`, waiting for its end.
fn send_break(open: &OpenTty, length: Nanos) -> OpResult<'static, isize> {
    let terminal = open.terminal;
    let breaking = &terminal.breaking;
    let now = time::now();
    let until = breaking.until.load(Acquire);
    if until != 0 && now >= until {
        breaking.until.store(0, Release);
        return Ok(0);
    }
    if until == 0 && breaking.until.compare_exchange(0, now.saturating_add(length), AcqRel, Acquire).is_ok() {
        open.tty.set_break(true);
        Pin::static_ref(&breaking.timer).start(now.saturating_add(length), 0);
    }
    Err(Stop::Wait(&breaking.done, u32::MAX))
}

/// Serves `cmd`. ENOTTY: not known, or not the caller's controlling terminal; EIO: hung up; EFAULT.
pub(super) fn ioctl<'a>(open: &'a OpenTty, file: &'a File, cmd: u32, arg: usize) -> OpResult<'a, isize> {
    if open.is_hung_up() {
        return Err(Stop::Err(if cmd == TIOCSPGRP { Errno::ENOTTY } else { Errno::EIO }));
    }
    let tty = open.tty;
    match cmd {
        TCGETS => UserPtr::<Termios>::new(arg).write(&tty.settings().to_termios())?,
        TCGETS2 => UserPtr::<Termios2>::new(arg).write(&tty.settings().to_termios2())?,
        TCSETS => set_termios(open, arg, When::Now)?,
        TCSETSW => set_termios(open, arg, When::Drained)?,
        TCSETSF => set_termios(open, arg, When::DrainedAndFlushed)?,
        TCSETS2 => set_termios2(open, arg, When::Now)?,
        TCSETSW2 => set_termios2(open, arg, When::Drained)?,
        TCSETSF2 => set_termios2(open, arg, When::DrainedAndFlushed)?,
        TCFLSH => {
            job::check_change(open.terminal, SIGTTOU)?;
            tty.flush(arg as u32)?;
        }
        TCXONC => {
            job::check_change(open.terminal, SIGTTOU)?;
            tty.flow(arg as u32)?;
        }
        TCSBRK | TCSBRKP => {
            job::check_change(open.terminal, SIGTTOU)?;
            drain(tty)?;
            if cmd == TCSBRKP || arg == 0 {
                let tenths = if cmd == TCSBRKP { (arg as u64).min(100) } else { 0 };
                return send_break(open, if tenths == 0 { 250 * MSEC } else { tenths * 100 * MSEC });
            }
        }
        TIOCSBRK => {
            job::check_change(open.terminal, SIGTTOU)?;
            drain(tty)?;
            tty.set_break(true);
        }
        TIOCCBRK => {
            job::check_change(open.terminal, SIGTTOU)?;
            tty.set_break(false);
        }
        TIOCGWINSZ => UserPtr::<Winsize>::new(arg).write(&tty.winsize())?,
        TIOCSWINSZ => {
            if tty.set_winsize(UserPtr::<Winsize>::new(arg).read()?) {
                job::send(tty.pgrp(), SIGWINCH);
            }
        }
        FIONREAD => put(arg, tty.input_queued() as u32)?,
        TIOCOUTQ => put(arg, tty.output_queued() as u32)?,
        TIOCGETD => put(arg, N_TTY)?,
        TIOCSETD => {
            // The only line discipline there is.
            if UserPtr::<u32>::new(arg).read()? != N_TTY {
                return Err(Stop::Err(Errno::EINVAL));
            }
            job::check_change(open.terminal, SIGTTOU)?;
        }
        TIOCGDEV => put(arg, open.terminal.dev() as u32)?,
        TIOCEXCL => open.terminal.exclusive.store(true, Relaxed),
        TIOCNXCL => open.terminal.exclusive.store(false, Relaxed),
        TIOCGEXCL => put(arg, u32::from(open.terminal.exclusive.load(Relaxed)))?,
        TIOCSCTTY => job::take(open.terminal, file, arg == 1)?,
        TIOCNOTTY => job::give_up(open.terminal)?,
        TIOCGPGRP => put(arg, job::foreground(open.terminal, tty)?)?,
        TIOCGSID => put(arg, job::session(open.terminal, tty)?)?,
        TIOCSPGRP => set_foreground(open, arg)?,
        TIOCVHANGUP => {
            if !privileged() {
                return Err(Stop::Err(Errno::EPERM));
            }
            job::hang_up(open.terminal, false);
        }
        // As a Linux without CONFIG_LEGACY_TIOCSTI.
        TIOCSTI => return Err(Stop::Err(Errno::EIO)),
        _ => return Err(Stop::Err(Errno::ENOTTY)),
    }
    Ok(0)
}

fn privileged() -> bool {
    Thread::current().is_some_and(|t| t.cred().is_ok_and(|c| c.capable(CAP_SYS_ADMIN)))
}

fn put(arg: usize, value: u32) -> OpResult<'static, ()> {
    Ok(UserPtr::<u32>::new(arg).write(&value)?)
}

/// Ok once everything written is on the line.
fn drain(tty: &'static Tty) -> OpResult<'static, ()> {
    tty.try_drain().map_err(|stop| match stop {
        vigil_drivers::char::Stop::Err(e) => Stop::Err(e),
        // ioctl waits whether or not the file does (Linux: tty_wait_until_sent).
        vigil_drivers::char::Stop::Wait(queue, key) => Stop::Wait(queue, key),
        vigil_drivers::char::Stop::Fault(fault) => fault.into(),
    })
}

fn set_termios(open: &OpenTty, arg: usize, when: When) -> OpResult<'static, ()> {
    job::check_change(open.terminal, SIGTTOU)?;
    let new = UserPtr::<Termios>::new(arg).read()?;
    set_settings(open.tty, open.tty.settings().with_termios(&new), when)
}

fn set_termios2(open: &OpenTty, arg: usize, when: When) -> OpResult<'static, ()> {
    job::check_change(open.terminal, SIGTTOU)?;
    set_settings(open.tty, Settings::from_termios2(UserPtr::<Termios2>::new(arg).read()?), when)
}

fn set_settings(tty: &'static Tty, new: Settings, when: When) -> OpResult<'static, ()> {
    if when == When::DrainedAndFlushed {
        tty.flush(TCIFLUSH)?;
    }
    if when != When::Now {
        drain(tty)?;
    }
    Ok(tty.set_settings(new)?)
}

fn set_foreground(open: &OpenTty, arg: usize) -> OpResult<'static, ()> {
    match job::check_change(open.terminal, SIGTTOU) {
        Err(Errno::EIO) => return Err(Stop::Err(Errno::ENOTTY)),
        other => other?,
    }
    let pgrp = UserPtr::<i32>::new(arg).read()?;
    Ok(job::set_foreground(open.terminal, open.tty, pgrp)?)
}
