//! Logging: levels, the `pr_*` macros, the `log` crate's backend, and the kernel's one ring.
//!
//! A message is formatted on the caller's stack, stored in the ring, and then written to the consoles by whoever gets the
//! console lock, or by a task for those who cannot be preempted ([`super::console`]). All of it works in any context: no allocation,
//! no waiting.

use super::ring::{MAX_TEXT, Meta, Missing, Ring};
use core::fmt::{self, Write};
use core::sync::atomic::{
    AtomicPtr, AtomicU8, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

/// Severity of a message; the numbers are syslog's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Level {
    /// The system is unusable.
    Emerg = 0,
    /// Action must be taken at once.
    Alert = 1,
    /// A critical condition.
    Crit = 2,
    /// An error.
    Err = 3,
    /// A warning.
    Warn = 4,
    /// Normal, but significant.
    Notice = 5,
    /// Information.
    Info = 6,
    /// Only for debugging.
    Debug = 7,
}

/// The kernel log: 2 048 records, 128 KiB of text.
pub(super) type Log = Ring<2048, { 128 << 10 }>;
pub(super) static LOG: Log = Ring::new();

/// Messages with a level below this one go to the consoles (Linux: console_loglevel, 7 by default).
static CONSOLE_LEVEL: AtomicU8 = AtomicU8::new(7);
/// `ignore_loglevel`: everything goes to the consoles.
static IGNORE_LEVEL: AtomicU8 = AtomicU8::new(0);
/// The counter's value that is time 0 of the log.
static EPOCH: AtomicU64 = AtomicU64::new(0);
static NOTIFY: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

/// Messages below this level are shown on the consoles.
pub fn console_level() -> u8 {
    CONSOLE_LEVEL.load(Relaxed)
}

/// Sets the level below which messages are shown (`loglevel=`, `quiet`, `debug`, syslog(2)); 1 to 15.
pub fn set_console_level(level: u8) {
    CONSOLE_LEVEL.store(level.clamp(1, 15), Relaxed);
}

/// `ignore_loglevel` on the command line.
pub fn set_ignore_level(on: bool) {
    IGNORE_LEVEL.store(u8::from(on), Relaxed);
}

/// Whether a message of `level` is shown on the consoles.
pub fn shown(level: u8) -> bool {
    level < console_level() || IGNORE_LEVEL.load(Relaxed) != 0
}

/// Sets `f` to be called after each new record, in the context of the writer: it may wake, nothing else.
pub fn set_notify(f: fn()) {
    NOTIFY.store(f as *mut (), Release);
}

/// Makes now the time 0 of the log. Once, early at boot.
pub fn start_clock() {
    EPOCH.store(vigil_executor::arch::counter(), Relaxed);
}

/// The counter's value at [`start_clock`]: CLOCK_MONOTONIC begins there, too.
pub fn epoch() -> u64 {
    EPOCH.load(Relaxed)
}

/// Nanoseconds since [`start_clock`] (Linux: local_clock).
pub fn local_clock() -> u64 {
    let ticks = vigil_executor::arch::counter().wrapping_sub(EPOCH.load(Relaxed));
    let freq = vigil_executor::arch::counter_frequency().max(1);
    (ticks / freq).wrapping_mul(1_000_000_000).wrapping_add((ticks % freq).wrapping_mul(1_000_000_000) / freq)
}

/// A line on the stack; what does not fit is cut.
pub(crate) struct Line {
    buf: [u8; MAX_TEXT],
    len: usize,
}

impl Line {
    pub(crate) const fn new() -> Self {
        Line { buf: [0; MAX_TEXT], len: 0 }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let n = bytes.len().min(MAX_TEXT - self.len);
        self.buf[self.len..self.len + n].copy_from_slice(&bytes[..n]);
        self.len += n;
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buf[..self.len]
    }
}

impl Write for Line {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        self.push(s.as_bytes());
        Ok(())
    }
}

/// Stores a kernel message and shows it. Any context.
pub fn emit(level: Level, args: fmt::Arguments<'_>) {
    let mut line = Line::new();
    // `Line` accepts everything; a `Display` of the message that fails leaves what came before it.
    let _ = line.write_fmt(args);
    store(level as u8, 0, line.bytes());
}

/// Stores `text` (a trailing newline is dropped), tells readers, and writes it to the consoles.
pub(super) fn store(level: u8, facility: u8, text: &[u8]) {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    let cpu = vigil_executor::cpu::CpuId::current().index() as u8;
    LOG.push(Meta { time: local_clock(), level, facility, cpu, len: 0 }, text);
    super::console::stored(level);
    let f = NOTIFY.load(Acquire);
    if !f.is_null() {
        // SAFETY: only `set_notify` stores here, always a `fn()`.
        let f: fn() = unsafe { core::mem::transmute::<*mut (), fn()>(f) };
        f();
    }
}

/// Copies record `seq` of the kernel log.
pub fn read(seq: u64, out: &mut [u8; MAX_TEXT]) -> Result<Meta, Missing> {
    LOG.read(seq, out)
}

struct Backend;

static BACKEND: Backend = Backend;

impl log::Log for Backend {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let level = match record.level() {
            log::Level::Error => Level::Err,
            log::Level::Warn => Level::Warn,
            log::Level::Info => Level::Info,
            log::Level::Debug | log::Level::Trace => Level::Debug,
        };
        emit(level, *record.args());
    }

    fn flush(&self) {}
}

/// Makes the kernel log the `log` crate's backend.
pub fn init_log_crate() {
    // A second call finds the same logger in place.
    let _ = log::set_logger(&BACKEND);
    log::set_max_level(log::LevelFilter::Debug);
}

/// Logs at level emergency.
#[macro_export]
macro_rules! pr_emerg { ($($a:tt)*) => { $crate::debug::printk::emit($crate::debug::printk::Level::Emerg, format_args!($($a)*)) } }
/// Logs at level alert.
#[macro_export]
macro_rules! pr_alert { ($($a:tt)*) => { $crate::debug::printk::emit($crate::debug::printk::Level::Alert, format_args!($($a)*)) } }
/// Logs at level critical.
#[macro_export]
macro_rules! pr_crit { ($($a:tt)*) => { $crate::debug::printk::emit($crate::debug::printk::Level::Crit, format_args!($($a)*)) } }
/// Logs at level error.
#[macro_export]
macro_rules! pr_err { ($($a:tt)*) => { $crate::debug::printk::emit($crate::debug::printk::Level::Err, format_args!($($a)*)) } }
/// Logs at level warning.
#[macro_export]
macro_rules! pr_warn { ($($a:tt)*) => { $crate::debug::printk::emit($crate::debug::printk::Level::Warn, format_args!($($a)*)) } }
/// Logs at level notice.
#[macro_export]
macro_rules! pr_notice { ($($a:tt)*) => { $crate::debug::printk::emit($crate::debug::printk::Level::Notice, format_args!($($a)*)) } }
/// Logs at level information.
#[macro_export]
macro_rules! pr_info { ($($a:tt)*) => { $crate::debug::printk::emit($crate::debug::printk::Level::Info, format_args!($($a)*)) } }
/// Logs at level debug.
#[macro_export]
macro_rules! pr_debug { ($($a:tt)*) => { $crate::debug::printk::emit($crate::debug::printk::Level::Debug, format_args!($($a)*)) } }
