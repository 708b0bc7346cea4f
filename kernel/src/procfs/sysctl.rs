//! `/proc/sys`: what can be read and, where it does something, changed.

use super::format::{number, unsigned_long};
use super::sysctl_number::add_number;
use crate::debug::{panic, panic_print, printk, report, sysrq, warn};
use crate::mm::{self, Overcommit};
use crate::task::thread::Thread;
use crate::trace::dump;
use crate::{random, uts};
use core::fmt::{Display, Write};
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use vigil_abi::{Errno, until_nul};
use vigil_executor::lock_class;
use vigil_executor::sync::SpinLock;
use vigil_fs::vfs::{dentry, fdtable, file};
use vigil_fs::vnode::{SeqBuf, StaticDir};
use vigil_mem::{page_alloc, slab, vmalloc};

type Show = fn(&mut SeqBuf) -> Result<(), Errno>;

/// Values that only say how things are.
const FIXED: &[(&str, Show)] = &[
    ("kernel/ostype", |o| line(o, uts::SYSNAME)),
    ("kernel/osrelease", |o| line(o, uts::RELEASE)),
    ("kernel/version", |o| line(o, uts::VERSION)),
    ("kernel/arch", |o| line(o, uts::MACHINE)),
    ("kernel/pid_max", |o| line(o, crate::task::pid::PID_MAX)),
    ("kernel/threads-max", |o| line(o, crate::task::init::max_threads())),
    ("kernel/cap_last_cap", |o| line(o, 40)),
    ("kernel/ngroups_max", |o| line(o, 65536)),
    ("kernel/overflowuid", |o| line(o, 65534)),
    ("kernel/overflowgid", |o| line(o, 65534)),
    ("kernel/tainted", |o| line(o, report::taint())),
    ("kernel/dmesg_restrict", |o| line(o, 0)),
    ("kernel/kptr_restrict", |o| line(o, 0)),
    ("kernel/core_pattern", |o| line(o, "core")),
    ("kernel/core_uses_pid", |o| line(o, 0)),
    ("kernel/randomize_va_space", |o| line(o, if crate::boot::params().is_some_and(|p| p.norandmaps) { 0 } else { 2 })),
    ("kernel/random/entropy_avail", |o| line(o, 256)),
    ("kernel/random/poolsize", |o| line(o, 256)),
    ("kernel/random/write_wakeup_threshold", |o| line(o, 256)),
    ("kernel/random/uuid", |o| uuid(o, fresh_uuid())),
    ("kernel/random/boot_id", |o| uuid(o, boot_id())),
    ("vm/overcommit_ratio", |o| line(o, 50)),
    ("vm/max_map_count", |o| line(o, mm::MAX_MAP_COUNT)),
    ("vm/mmap_min_addr", |o| line(o, mm::MMAP_MIN_ADDR)),
    ("vm/panic_on_oom", |o| line(o, 0)),
    ("vm/swappiness", |o| line(o, 60)),
    ("fs/nr_open", |o| line(o, fdtable::NR_OPEN)),
    ("fs/pipe-max-size", |o| line(o, 1_048_576)),
    ("fs/file-nr", |o| {
        let _ = writeln!(o, "{}\t0\t{}", file::nr_files(), file::max_files());
        Ok(())
    }),
];

/// A value's line.
pub(crate) fn line(out: &mut SeqBuf, value: impl Display) -> Result<(), Errno> {
    let _ = writeln!(out, "{value}");
    Ok(())
}

/// Fills `/proc/sys`.
pub(super) fn init() -> Result<(), Errno> {
    // Linux: a tenth of memory, at a kilobyte for each file (files_maxfiles_init).
    let kib = vigil_mem::page_alloc::total_pages() << (vigil_mem::PAGE_SHIFT - 10);
    file::set_max_files((kib as u64 / 10).max(8192));
    let sys = vigil_fs::proc::root()?.subdir("sys")?;
    for (path, show) in FIXED {
        sys.add_file(path, 0o444, *show)?;
    }
    super::sysctl_sched::init(&sys)?;
    super::sysctl_watchdog::init(&sys)?;
    writable(&sys)
}

/// Values that writing changes.
fn writable(sys: &StaticDir) -> Result<(), Errno> {
    sys.add_file_rw("kernel/hostname", 0o644, |o| name(o, uts::hostname(&mut [0; 65])), |d| set_name(d, uts::set_hostname))?;
    sys.add_file_rw("kernel/domainname", 0o644, |o| name(o, uts::domainname(&mut [0; 65])), |d| set_name(d, uts::set_domainname))?;
    sys.add_file_rw("kernel/printk", 0o644, show_printk, |d| {
        let first = d.split(u8::is_ascii_whitespace).find(|w| !w.is_empty()).ok_or(Errno::EINVAL)?;
        let level = number(first).and_then(|v| u8::try_from(v).ok()).ok_or(Errno::EINVAL)?;
        printk::set_console_level(level);
        Ok(())
    })?;
    add_number(sys, "kernel/panic", i32::MIN.into()..=i32::MAX.into(), || panic::timeout().into(), |n| panic::set_timeout(n as i32))?;
    add_number(sys, "kernel/panic_on_oops", 0..=1, || panic::panic_on_oops().into(), |n| panic::set_panic_on_oops(n != 0))?;
    add_number(sys, "kernel/ftrace_dump_on_oops", 0..=2, || dump::at_the_end().into(), |n| dump::set_at_the_end(n as u32))?;
    add_number(sys, "kernel/panic_on_warn", 0..=1, || warn::panics().into(), |n| warn::set_panics(n != 0))?;
    sys.add_file_rw(
        "kernel/panic_print",
        0o644,
        |o| line(o, panic_print::get()),
        |d| {
            panic_print::set(unsigned_long(d.trim_ascii()).ok_or(Errno::EINVAL)?);
            Ok(())
        },
    )?;
    add_number(sys, "kernel/warn_limit", 0..=u32::MAX.into(), || warn::limit().into(), |n| warn::set_limit(n as u32))?;
    add_number(sys, "kernel/sysrq", 0..=i32::MAX.into(), || sysrq::enabled().into(), |n| sysrq::set_enabled(n as u32))?;
    sys.add_file_rw(
        "vm/overcommit_memory",
        0o644,
        |o| line(o, mm::overcommit_mode() as u32),
        |d| {
            mm::set_overcommit_mode(match value(d, 0, 2)? {
                0 => Overcommit::Guess,
                1 => Overcommit::Always,
                _ => Overcommit::Never,
            });
            Ok(())
        },
    )?;
    sys.add_file_rw(
        "vm/drop_caches",
        0o200,
        |_| Err(Errno::EACCES),
        |d| {
            drop_caches(value(d, 1, 4)? as u32);
            Ok(())
        },
    )?;
    sys.add_file_rw(
        "fs/file-max",
        0o644,
        |o| line(o, file::max_files()),
        |d| {
            file::set_max_files(value(d, 0, i64::MAX)? as u64);
            Ok(())
        },
    )
}

/// Gives up what is only kept to save work (Linux: drop_caches_sysctl_handler): bit 0, clean pages of files, of which a
/// kernel whose files all live in memory has none; bit 1, names that nobody holds and unused slabs. Bit 2: no more lines
/// in the log about it.
fn drop_caches(what: u32) {
    static QUIET: AtomicBool = AtomicBool::new(false);
    if what & 2 != 0 {
        // A name holds the one above it: each round frees a level.
        while dentry::shrink(usize::MAX) != 0 {}
        vmalloc::purge();
        slab::shrink_all();
        page_alloc::drain_local();
    }
    if !QUIET.load(Relaxed)
        && let Some(thread) = Thread::current()
    {
        let comm = thread.comm();
        let name = core::str::from_utf8(until_nul(&comm)).unwrap_or("?");
        crate::pr_info!("{name} ({}): drop_caches: {what}", thread.tid());
    }
    QUIET.fetch_or(what & 4 != 0, Relaxed);
}

/// A number from `min` to `max`; EINVAL.
pub(crate) fn value(data: &[u8], min: i64, max: i64) -> Result<i64, Errno> {
    number(data).filter(|v| (min..=max).contains(v)).ok_or(Errno::EINVAL)
}

/// Up to as many numbers as there are in `values`, of which those that are not there stay. EINVAL.
pub(crate) fn numbers(data: &[u8], values: &mut [i32]) -> Result<(), Errno> {
    let words = data.split(|b| b.is_ascii_whitespace() || *b == 0).filter(|word| !word.is_empty());
    for (value, word) in values.iter_mut().zip(words) {
        *value = number(word).and_then(|n| i32::try_from(n).ok()).ok_or(Errno::EINVAL)?;
    }
    Ok(())
}

fn name(out: &mut SeqBuf, name: &[u8]) -> Result<(), Errno> {
    out.put(name);
    out.put(b"\n");
    Ok(())
}

/// A name ends at the first newline or NUL.
fn set_name(data: &[u8], set: fn(&[u8])) -> Result<(), Errno> {
    let end = data.iter().position(|b| matches!(b, b'\n' | 0)).unwrap_or(data.len());
    set(&data[..end]);
    Ok(())
}

/// Console level, default level of messages, lowest console level, default console level.
fn show_printk(out: &mut SeqBuf) -> Result<(), Errno> {
    let _ = writeln!(out, "{}\t4\t1\t7", printk::console_level());
    Ok(())
}

/// A random UUID (RFC 9562, version 4).
fn fresh_uuid() -> [u8; 16] {
    let mut id = [0; 16];
    random::fill(&mut id);
    id[6] = id[6] & 0x0f | 0x40;
    id[8] = id[8] & 0x3f | 0x80;
    id
}

static BOOT_ID: SpinLock<Option<[u8; 16]>> = SpinLock::new(lock_class!("boot_id"), None);

/// The UUID of this boot.
fn boot_id() -> [u8; 16] {
    *BOOT_ID.lock().get_or_insert_with(fresh_uuid)
}

fn uuid(out: &mut SeqBuf, id: [u8; 16]) -> Result<(), Errno> {
    for (i, byte) in id.iter().enumerate() {
        let dash = if matches!(i, 4 | 6 | 8 | 10) { "-" } else { "" };
        let _ = write!(out, "{dash}{byte:02x}");
    }
    out.put(b"\n");
    Ok(())
}
