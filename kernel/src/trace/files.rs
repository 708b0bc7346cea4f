//! tracefs: the files by which tracing is steered (Linux: Documentation/trace/ftrace.rst).
//!
//! The tree is under `/sys/kernel/tracing` and in debugfs' `tracing`, and is what the file-system type `tracefs` mounts.

use super::events::{self, enable_at_boot, switch};
use super::latency::Tracer;
use super::read::{MarkNode, TraceNode};
use super::{cmdlines, control, longest, runqueue, state};
use core::fmt::Write;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use vigil_abi::Errno;
use vigil_abi::stat::TRACEFS_MAGIC;
use vigil_executor::cpu::{CpuId, CpuMask, ONLINE};
use vigil_executor::lock_class;
use vigil_executor::sync::SpinLock;
use vigil_executor::time::{self, SEC, USEC};
use vigil_fs::vfs::dentry::Dentry;
use vigil_fs::vfs::superblock::{self, FsType, MountRequest, SuperFlags, SuperInfo};
use vigil_fs::vnode::{self, Node, SeqBuf, StaticDir};
use vigil_fs::{OpResult, Stop};
use vigil_mem::{KArc, try_format, unsize};

const README: &str = "Vigil's tracing: docs/tracing.md in its source has more.\n\n\
    \x20 trace\t\t\tthe entries of all CPUs; `echo > trace` clears them\n\
    \x20 trace_pipe\t\tthe same, consumed by reading; waits for more\n\
    \x20 per_cpu/cpuN/\t\tthe same of one CPU, its counts, and trace_pipe_raw: pages of binary entries\n\
    \x20 tracing_on\t\t0 stops writing entries, 1 goes on\n\
    \x20 events/, set_event\twhich events make entries; available_events lists them\n\
    \x20 events/SYSTEM/EVENT/filter\twhich entries are kept: `prev_pid == 7 && next_comm ~ \"ba*\"`; 0: all\n\
    \x20 trace_marker\t\twhat is written becomes an entry\n\
    \x20 current_tracer\tirqsoff, preemptoff, preemptirqsoff, wakeup, wakeup_rt, wakeup_dl, poll: the longest section,\n\
    \t\t\tshown above the entries of `trace`; nop: none\n\
    \x20 tracing_max_latency\tits length in microseconds (_ns: in nanoseconds); writing sets what the next must exceed\n\
    \x20 tracing_thresh\tnot 0: every section of so many microseconds is reported, not the longest\n\
    \x20 runqueue_latency\twake to poll, by class; 1 starts, 0 stops, 2 forgets\n\
    \x20 buffer_size_kb\tof each CPU; writing empties the rings\n";

/// The clocks that there are: all of them CLOCK_MONOTONIC, which is one counter on all CPUs.
const CLOCKS: [&str; 5] = ["local", "global", "mono", "mono_raw", "boot"];
static CLOCK: AtomicUsize = AtomicUsize::new(0);

/// A decimal number. EINVAL.
fn number(data: &[u8]) -> Result<u64, Errno> {
    core::str::from_utf8(data.trim_ascii()).ok().and_then(|t| t.parse().ok()).ok_or(Errno::EINVAL)
}

fn put(out: &mut SeqBuf, text: core::fmt::Arguments<'_>) -> Result<(), Errno> {
    out.write_fmt(text).map_err(|_| Errno::ENOMEM)
}

fn tracers(out: &mut SeqBuf) -> Result<(), Errno> {
    for (i, t) in Tracer::ALL.into_iter().enumerate() {
        put(out, format_args!("{}{}", if i == 0 { "" } else { " " }, t.name()))?;
    }
    put(out, format_args!("\n"))
}

fn set_tracer(data: &[u8]) -> Result<(), Errno> {
    control::set_tracer(Tracer::of_name(data.trim_ascii()).ok_or(Errno::EINVAL)?)
}

fn clocks(out: &mut SeqBuf) -> Result<(), Errno> {
    for (i, name) in CLOCKS.into_iter().enumerate() {
        let between = if i == 0 { "" } else { " " };
        if i == CLOCK.load(Relaxed) {
            put(out, format_args!("{between}[{name}]"))?;
        } else {
            put(out, format_args!("{between}{name}"))?;
        }
    }
    put(out, format_args!("\n"))
}

fn set_clock(data: &[u8]) -> Result<(), Errno> {
    let at = CLOCKS.iter().position(|c| c.as_bytes() == data.trim_ascii()).ok_or(Errno::EINVAL)?;
    CLOCK.store(at, Relaxed);
    // As on Linux: times of two clocks do not go into one list.
    control::clear_of(CpuMask::ALL);
    Ok(())
}

fn sizes(cpus: usize, out: &mut SeqBuf) -> Result<(), Errno> {
    let (kib, there) = control::size();
    if there {
        put(out, format_args!("{}\n", kib * cpus))
    } else {
        // What Linux says of rings that are made when they are needed.
        put(out, format_args!("{} (expanded: {})\n", 7 * cpus, kib * cpus))
    }
}

fn set_size(data: &[u8]) -> Result<(), Errno> {
    control::resize(usize::try_from(number(data)?).map_err(|_| Errno::EINVAL)?)
}

/// `per_cpu/cpuN/stats`.
struct Stats(CpuId);

impl Node for Stats {
    fn mode(&self) -> u32 {
        vigil_abi::stat::S_IFREG | 0o440
    }

    fn show<'a>(&'a self, out: &mut SeqBuf) -> OpResult<'a, ()> {
        let counts = control::reading(|| state::of(self.0).ring().map(|r| (r.readable(), r.overrun(), r.consumed())));
        let (entries, overrun, read) = counts.unwrap_or_default();
        let now = time::now() / USEC;
        let bytes = entries * super::ring::SLOT_SIZE as u64;
        put(
            out,
            format_args!(
                "entries: {entries}\noverrun: {overrun}\ncommit overrun: 0\nbytes: {bytes}\nnow ts: {:5}.{:06}\n\
                 dropped events: 0\nread events: {read}\n",
                now / (SEC / USEC),
                now % (SEC / USEC)
            ),
        )
        .map_err(Stop::Err)
    }
}

fn node(dir: &StaticDir, path: &str, node: impl Node + 'static) -> Result<(), Errno> {
    dir.add(path, unsize!(KArc, KArc::try_new(node)? => dyn Node))
}

/// Shows a time in microseconds.
fn show_micros(time: &AtomicU64, out: &mut SeqBuf) -> Result<(), Errno> {
    put(out, format_args!("{}\n", time.load(Relaxed) / USEC))
}

/// Sets it. EINVAL.
fn store_micros(time: &AtomicU64, data: &[u8]) -> Result<(), Errno> {
    time.store(number(data)?.saturating_mul(USEC), Relaxed);
    Ok(())
}

fn fill(root: &StaticDir) -> Result<(), Errno> {
    root.add_file("README", 0o440, |out| put(out, format_args!("{README}")))?;
    root.add_file("available_tracers", 0o440, tracers)?;
    root.add_file_rw("current_tracer", 0o640, |out| put(out, format_args!("{}\n", state::tracer().name())), set_tracer)?;
    root.add_file_rw(
        "tracing_on",
        0o640,
        |out| put(out, format_args!("{}\n", u8::from(state::TRACING.load(Relaxed)))),
        |data| {
            let on = number(data)? != 0;
            state::TRACING.store(on, Relaxed);
            Ok(())
        },
    )?;
    root.add_file_rw("trace_clock", 0o640, clocks, set_clock)?;
    root.add_file_rw("buffer_size_kb", 0o640, |out| sizes(1, out), set_size)?;
    root.add_file("buffer_total_size_kb", 0o440, |out| sizes(ONLINE.load().0.count_ones() as usize, out))?;
    root.add_file_rw("tracing_max_latency", 0o640, |out| show_micros(&state::LONGEST, out), |data| store_micros(&state::LONGEST, data))?;
    root.add_file("tracing_max_latency_ns", 0o440, |out| put(out, format_args!("{}\n", state::LONGEST.load(Relaxed))))?;
    root.add_file("longest_sections", 0o440, |out| longest::show(out).map_err(|_| Errno::ENOMEM))?;
    root.add_file_rw("tracing_thresh", 0o640, |out| show_micros(&state::THRESHOLD, out), |data| store_micros(&state::THRESHOLD, data))?;
    root.add_file_rw(
        "runqueue_latency",
        0o640,
        |out| runqueue::show(out).map_err(|_| Errno::ENOMEM),
        |data| match data.trim_ascii() {
            b"2" => {
                runqueue::clear();
                Ok(())
            }
            data => control::count_runqueues(switch(data)?),
        },
    )?;
    root.add_file("saved_cmdlines", 0o440, cmdlines::show)?;
    node(root, "trace_marker", MarkNode)?;
    node(root, "trace", TraceNode { cpus: CpuMask::ALL, consumes: false, raw: false })?;
    node(root, "trace_pipe", TraceNode { cpus: CpuMask::ALL, consumes: true, raw: false })?;
    for cpu in crate::procfs::possible_cpus().iter() {
        let dir = root.subdir(try_format!("per_cpu/cpu{}", cpu.index())?.as_str())?;
        node(&dir, "trace", TraceNode { cpus: CpuMask::of(cpu), consumes: false, raw: false })?;
        node(&dir, "trace_pipe", TraceNode { cpus: CpuMask::of(cpu), consumes: true, raw: false })?;
        node(&dir, "trace_pipe_raw", TraceNode { cpus: CpuMask::of(cpu), consumes: true, raw: true })?;
        node(&dir, "stats", Stats(cpu))?;
        dir.add_file("buffer_size_kb", 0o440, |out| sizes(1, out))?;
    }
    events::init(root)
}

/// The mounted tree: one for all mounts.
static SUPER: SpinLock<Option<KArc<Dentry>>> = SpinLock::new(lock_class!("tracefs"), None);

fn mount(_: &MountRequest<'_>) -> Result<KArc<Dentry>, Errno> {
    SUPER.lock().clone().ok_or(Errno::ENODEV)
}

/// Makes the files, and obeys `trace_event=`, `ftrace=` and `schedstats=`. Once, in a task.
pub fn init() -> Result<(), Errno> {
    let root = StaticDir::try_new(0o700)?;
    fill(&root)?;
    let flags = SuperFlags::REVALIDATE | SuperFlags::NOATIME | SuperFlags::NOEXEC | SuperFlags::NODEV;
    let info = SuperInfo { fstype: "tracefs", magic: TRACEFS_MAGIC, flags, max_bytes: i64::MAX as u64 };
    *SUPER.lock() = Some(vnode::make_super(info, root.node())?);
    superblock::register(FsType { name: "tracefs", needs_device: false, user_mount: true, mount })?;
    vigil_fs::proc::sys_root()?.add("kernel/tracing", root.node())?;
    vigil_fs::debug::root()?.add("tracing", root.node())?;
    if let Some(info) = crate::boot::info() {
        if let Some(list) = info.params.trace_event {
            enable_at_boot(list)?;
        }
        if let Some(tracer) = info.params.ftrace.and_then(Tracer::of_name) {
            control::set_tracer(tracer)?;
        }
        if info.params.schedstats {
            control::count_tasks(true)?;
        }
    }
    Ok(())
}
