//! SysRq: commands to the kernel itself, by a break on the serial console and a key within five seconds, or a key written to
//! `/proc/sysrq-trigger` (Linux: drivers/tty/sysrq.c, Documentation/admin-guide/sysrq.rst).
//!
//! A key from the console is obeyed as far as `/proc/sys/kernel/sysrq` allows it, one from the file always. From the console's
//! interrupt a restart, a crash, help and the levels act at once; what looks at tasks needs a lock that the interrupted flow may
//! hold, and is done by a real-time task of the highest priority: it gets its turn also where a task spins in the kernel.

use super::report_tasks::{Which, nice_all, show_tasks};
use super::{backtrace, console, printk};
use crate::mm::oom;
use crate::task::pid;
use crate::task::signal::{self, SigInfo};
use crate::time::list;
use crate::trace::dump;
use crate::{kernel_panic, pr_emerg, pr_info};
use core::fmt::Write;
use core::num::NonZero;
use core::sync::atomic::{AtomicU32, Ordering::*};
use vigil_abi::Errno;
use vigil_abi::signal::{SIGKILL, SIGTERM};
use vigil_executor::class::Params;
use vigil_executor::cpu::CpuId;
use vigil_executor::wait::{WaitMode, WaitQueue};
use vigil_executor::wait_site;
use vigil_fs::vnode::SeqBuf;
use vigil_mem::PAGE_SIZE;

const ENABLE_LOG: u32 = 0x2;
const ENABLE_DUMP: u32 = 0x8;
const ENABLE_SYNC: u32 = 0x10;
const ENABLE_REMOUNT: u32 = 0x20;
const ENABLE_SIGNAL: u32 = 0x40;
const ENABLE_BOOT: u32 = 0x80;
const ENABLE_RTNICE: u32 = 0x100;

/// `/proc/sys/kernel/sysrq`: 0 nothing, 1 everything, else a mask. Debian's default.
static ENABLED: AtomicU32 = AtomicU32::new(0x1b6);

/// A command.
struct Command {
    key: u8,
    help: &'static str,
    says: &'static str,
    mask: u32,
    /// May be done in a hard interrupt.
    at_once: bool,
    run: fn(u8),
}

const COMMANDS: &[Command] = &[
    Command { key: b'0', help: "loglevel(0-9)", says: "Changing Loglevel", mask: ENABLE_LOG, at_once: true, run: set_level },
    Command { key: b'b', help: "reboot(b)", says: "Resetting", mask: ENABLE_BOOT, at_once: true, run: |_| crate::boot::power::restart() },
    Command { key: b'c', help: "crash(c)", says: "Trigger a crash", mask: ENABLE_DUMP, at_once: true, run: crash },
    Command {
        key: b'e',
        help: "terminate-all-tasks(e)",
        says: "Terminate All Tasks",
        mask: ENABLE_SIGNAL,
        at_once: false,
        run: |_| signal_all(SIGTERM),
    },
    Command {
        key: b'f',
        help: "memory-full-oom-kill(f)",
        says: "Manual OOM execution",
        mask: ENABLE_SIGNAL,
        at_once: false,
        run: out_of_memory,
    },
    Command {
        key: b'i',
        help: "kill-all-tasks(i)",
        says: "Kill All Tasks",
        mask: ENABLE_SIGNAL,
        at_once: false,
        run: |_| signal_all(SIGKILL),
    },
    Command {
        key: b'l',
        help: "show-backtrace-all-active-cpus(l)",
        says: "Show backtrace of all active CPUs",
        mask: ENABLE_DUMP,
        at_once: false,
        run: all_cpus,
    },
    Command { key: b'm', help: "show-memory-usage(m)", says: "Show Memory", mask: ENABLE_DUMP, at_once: false, run: memory },
    Command {
        key: b'n',
        help: "nice-all-RT-tasks(n)",
        says: "Nice All RT Tasks",
        mask: ENABLE_RTNICE,
        at_once: false,
        run: |_| nice_all(),
    },
    Command {
        key: b'o',
        help: "poweroff(o)",
        says: "Power Off",
        mask: ENABLE_BOOT,
        at_once: false,
        run: |_| crate::boot::power::power_off(),
    },
    Command { key: b'p', help: "show-registers(p)", says: "Show Regs", mask: ENABLE_DUMP, at_once: true, run: |_| backtrace::show_this(0) },
    Command {
        key: b'q',
        help: "show-all-timers(q)",
        says: "Show clockevent devices & pending hrtimers (no others)",
        mask: ENABLE_DUMP,
        at_once: false,
        run: |_| timers(),
    },
    Command {
        key: b's',
        help: "sync(s)",
        says: "Emergency Sync",
        mask: ENABLE_SYNC,
        at_once: false,
        run: |_| loudly(|| pr_info!("Emergency Sync complete")),
    },
    Command {
        key: b't',
        help: "show-task-states(t)",
        says: "Show State",
        mask: ENABLE_DUMP,
        at_once: false,
        run: |_| show_tasks(Which::All),
    },
    Command { key: b'u', help: "unmount(u)", says: "Emergency Remount R/O", mask: ENABLE_REMOUNT, at_once: false, run: remount },
    Command {
        key: b'w',
        help: "show-blocked-tasks(w)",
        says: "Show Blocked State",
        mask: ENABLE_DUMP,
        at_once: false,
        run: |_| show_tasks(Which::Blocked),
    },
    Command {
        key: b'z',
        help: "dump-ftrace-buffer(z)",
        says: "Dump ftrace buffer",
        mask: ENABLE_DUMP,
        at_once: false,
        run: |_| dump::all(),
    },
];

fn find(key: u8) -> Option<&'static Command> {
    let key = if key.is_ascii_digit() { b'0' } else { key };
    COMMANDS.iter().find(|c| c.key == key)
}

fn set_level(key: u8) {
    loudly(|| pr_info!("sysrq: Loglevel set to {}", key - b'0'));
    printk::set_console_level(key - b'0');
}

fn crash(_: u8) {
    kernel_panic!("sysrq triggered crash");
}

/// Kills the process that the OOM killer would choose.
fn out_of_memory(_: u8) {
    if !oom::kill_one() {
        pr_info!("OOM request ignored. No task eligible");
    }
}

/// Every file system on a block device becomes read-only. There is none: all are in memory, which Linux leaves alone, too.
fn remount(_: u8) {
    loudly(|| pr_info!("Emergency Remount complete"));
}

/// Sends `signo` to every process but init (kernel tasks take none).
fn signal_all(signo: u32) {
    let mut next = 2;
    while let Some(process) = pid::next_process(next) {
        // A process that has just gone needs no signal.
        let _ = signal::send_to_process(&process, SigInfo::kernel(signo));
        next = process.pid + 1;
    }
}

fn all_cpus(_: u8) {
    pr_emerg!("sysrq: CPU{}:", CpuId::current().index());
    backtrace::show_all();
}

/// What `/proc/timer_list` says, line by line.
pub(super) fn timers() {
    let mut text = SeqBuf::new();
    let _ = list::show(&mut text);
    text.as_bytes().split(|b| *b == b'\n').for_each(|line| pr_emerg!("{}", line.escape_ascii()));
}

/// How much memory there is.
pub(super) fn memory(_: u8) {
    let m = vigil_mem::page_alloc::meminfo();
    let kib = |pages: usize| pages * PAGE_SIZE >> 10;
    pr_emerg!("Mem-Info:");
    pr_emerg!("total:{}kB free:{}kB free_pcp:{}kB available:{}kB", kib(m.total), kib(m.free), kib(m.pcp), kib(m.available));
}

/// Runs `f` with the console at level 7: what it says is seen on a quiet console, too, and at once.
fn loudly(f: impl FnOnce()) {
    let level = printk::console_level();
    printk::set_console_level(level.max(7));
    f();
    console::flush();
    printk::set_console_level(level);
}

/// Says what a command does, and does it.
fn run(command: &Command, key: u8) {
    loudly(|| pr_info!("sysrq: {}", command.says));
    (command.run)(key);
}

fn help() {
    loudly(|| {
        // One line, as on Linux.
        let mut text = printk::Line::new();
        // It takes everything.
        COMMANDS.iter().for_each(|c| _ = write!(text, "{} ", c.help));
        pr_info!("sysrq: HELP : {}", text.bytes().escape_ascii());
    });
}

/// The commands that the task is to obey: a bit for each of [`COMMANDS`].
static ASKED: AtomicU32 = AtomicU32::new(0);
const _: () = assert!(COMMANDS.len() <= 32);
static WAIT: WaitQueue = WaitQueue::new();

/// The task.
async fn obey() {
    loop {
        let asked = || NonZero::new(ASKED.swap(0, AcqRel));
        let Ok(asked) = WAIT.wait_until(wait_site!("sysrq"), WaitMode::Interruptible, asked).await else { continue };
        for (_, command) in COMMANDS.iter().enumerate().filter(|(index, _)| asked.get() & 1 << index != 0) {
            run(command, command.key);
        }
    }
}

/// A key after a break on a serial console. Hard interrupt.
fn from_console(key: u8) {
    let enabled = ENABLED.load(Relaxed);
    if enabled == 0 {
        return;
    }
    match find(key) {
        None => help(),
        Some(command) if enabled != 1 && enabled & command.mask == 0 => loudly(|| pr_info!("sysrq: This sysrq operation is disabled.")),
        Some(command) if command.at_once => run(command, key),
        Some(command) => {
            let index = COMMANDS.iter().position(|c| core::ptr::eq(c, command)).unwrap_or_default();
            ASKED.fetch_or(1 << index, Release);
            WAIT.wake_all();
        }
    }
}

/// `/proc/sysrq-trigger`: the first byte is a key.
fn from_file(data: &[u8]) -> Result<(), Errno> {
    match data.first() {
        Some(&key) => match find(key) {
            Some(command) => run(command, key),
            None => help(),
        },
        None => {}
    }
    Ok(())
}

/// `/proc/sys/kernel/sysrq`.
pub fn enabled() -> u32 {
    ENABLED.load(Relaxed)
}

/// Sets it.
pub fn set_enabled(mask: u32) {
    ENABLED.store(mask, Relaxed);
}

/// Makes `/proc/sysrq-trigger`, and listens to the consoles.
pub fn init() -> Result<(), Errno> {
    crate::task::kthread::spawn(obey(), Params::fifo(99), b"sysrq", None).map_err(|_| Errno::ENOMEM)?;
    vigil_drivers::serial::set_sysrq_handler(from_console);
    vigil_fs::proc::add_file_rw("sysrq-trigger", 0o200, |_| Err(Errno::EIO), from_file)
}
