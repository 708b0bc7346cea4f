//! Files of a process that are about none of its larger parts.

use super::format::number;
use super::links;
use super::process::Who;
use crate::cgroup::autogroup;
use crate::task::chain;
use crate::task::limits as numbers;
use crate::task::thread::Thread;
use core::fmt::Write;
use core::sync::atomic::Ordering::Relaxed;
use vigil_abi::process::{CAP_SYS_NICE, CAP_SYS_RESOURCE};
use vigil_abi::{Errno, until_nul};
use vigil_executor::work;
use vigil_fs::OpResult;
use vigil_fs::vfs::mounting;
use vigil_fs::vnode::SeqBuf;

/// The name of the thread, or the one that the leader of a zombie had. A worker of the work queues says of which queue its item is
/// (`+events`) or was (`-events`).
pub(super) fn comm_of(who: &Who) -> Result<Comm, Errno> {
    let mut name = Comm { bytes: [0; COMM_LEN], len: 0 };
    match who.thread() {
        // The leader of a process that lives on without it has left its name.
        Ok(thread) if thread.tid() == who.tid => {
            name.put(until_nul(&thread.comm()));
            let worker = thread.process.kernel.then(|| thread.task()).flatten();
            if let Some((queue, busy)) = worker.and_then(work::queue_of) {
                name.put(if busy { b"+" } else { b"-" });
                name.put(queue.as_bytes());
            }
        }
        _ => name.put(until_nul(&*who.process()?.last_comm.lock())),
    }
    Ok(name)
}

/// The longest name (Linux: proc_task_name).
const COMM_LEN: usize = 64;

/// A name as `/proc` shows it.
pub(super) struct Comm {
    bytes: [u8; COMM_LEN],
    len: usize,
}

impl Comm {
    fn put(&mut self, text: &[u8]) {
        for (to, from) in self.bytes[self.len..].iter_mut().zip(text) {
            *to = *from;
            self.len += 1;
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// `comm`
pub(super) fn comm(who: &Who, out: &mut SeqBuf) -> OpResult<'static, ()> {
    out.put(comm_of(who)?.bytes());
    out.put(b"\n");
    Ok(())
}

/// A write to `comm`. EINVAL: the writer is of another process.
pub(super) fn set_comm(who: &Who, data: &[u8]) -> Result<(), Errno> {
    let thread = who.thread()?;
    if Thread::current().is_none_or(|t| t.process.pid != who.pid) {
        return Err(Errno::EINVAL);
    }
    let end = data.iter().position(|b| *b == 0).unwrap_or(data.len()).min(15);
    thread.task().ok_or(Errno::ESRCH)?.set_name(&data[..end]);
    Ok(())
}

/// `autogroup`
pub(super) fn autogroup(who: &Who, out: &mut SeqBuf) -> OpResult<'static, ()> {
    autogroup::show(&*who.process()?, out);
    Ok(())
}

/// A write to it.
pub(super) fn set_autogroup(who: &Who, data: &[u8]) -> Result<(), Errno> {
    autogroup::store(&*who.process()?, data, Thread::current().ok_or(Errno::ESRCH)?)
}

/// `limits`
pub(super) fn limits(who: &Who, out: &mut SeqBuf) -> OpResult<'static, ()> {
    const ROWS: [(&str, &str); numbers::COUNT] = [
        ("Max cpu time", "seconds"),
        ("Max file size", "bytes"),
        ("Max data size", "bytes"),
        ("Max stack size", "bytes"),
        ("Max core file size", "bytes"),
        ("Max resident set", "bytes"),
        ("Max processes", "processes"),
        ("Max open files", "files"),
        ("Max locked memory", "bytes"),
        ("Max address space", "bytes"),
        ("Max file locks", "locks"),
        ("Max pending signals", "signals"),
        ("Max msgqueue size", "bytes"),
        ("Max nice priority", ""),
        ("Max realtime priority", ""),
        ("Max realtime timeout", "us"),
    ];
    let process = who.process()?;
    let _ = writeln!(out, "{:<25} {:<20} {:<20} {:<10}", "Limit", "Soft Limit", "Hard Limit", "Units");
    for (i, (name, unit)) in ROWS.iter().enumerate() {
        let _ = write!(out, "{name:<25} ");
        for value in [process.limits.soft(i), process.limits.hard(i)] {
            let _ = match value {
                numbers::INFINITY => write!(out, "{:<20} ", "unlimited"),
                value => write!(out, "{value:<20} "),
            };
        }
        let _ = if unit.is_empty() { out.write_str("\n") } else { writeln!(out, "{unit:<10}") };
    }
    Ok(())
}

/// `mounts`
pub(super) fn mounts(who: &Who, out: &mut SeqBuf) -> OpResult<'static, ()> {
    Ok(mounting::show_mounts(out, &links::root(who)?)?)
}

/// `mountinfo`
pub(super) fn mountinfo(who: &Who, out: &mut SeqBuf) -> OpResult<'static, ()> {
    Ok(mounting::show_mountinfo(out, &links::root(who)?)?)
}

/// `wchan`: where it waits; `0` when it does not.
pub(super) fn wchan(who: &Who, out: &mut SeqBuf) -> OpResult<'static, ()> {
    let thread = who.thread()?;
    let site = thread.task().filter(|t| t.is_sleeping()).and_then(|t| t.waiting_at()).filter(|_| who.may_inspect());
    out.put(site.map_or(b"0", |(site, _)| site.wchan.as_bytes()));
    Ok(())
}

/// `stack`: the await chain of a waiting thread, the back-trace of one whose poll is parked.
pub(super) fn stack(who: &Who, out: &mut SeqBuf) -> OpResult<'static, ()> {
    let thread = who.thread()?;
    if let Some(task) = thread.task() {
        chain::each(task, &mut |line| {
            let _ = writeln!(out, "[<0>] {line}");
        });
    }
    Ok(())
}

/// `personality`
pub(super) fn personality(who: &Who, out: &mut SeqBuf) -> OpResult<'static, ()> {
    let _ = writeln!(out, "{:08x}", who.thread()?.personality.load(Relaxed));
    Ok(())
}

/// `oom_score`
pub(super) fn oom_score(who: &Who, out: &mut SeqBuf) -> OpResult<'static, ()> {
    let process = who.process()?;
    let total = vigil_mem::page_alloc::total_pages().max(1);
    // Linux scales a process that is not eligible to 0 and adds 1000 to the rest, of 2000 in all, shown as thirds of it.
    let score = crate::mm::oom::badness(&process).map_or(0, |points| {
        let scaled = 1000i64.saturating_add((points as i64).saturating_mul(1000) / total as i64);
        scaled.saturating_mul(2) / 3
    });
    let _ = writeln!(out, "{score}");
    Ok(())
}

/// `oom_score_adj`
pub(super) fn oom_score_adj(who: &Who, out: &mut SeqBuf) -> OpResult<'static, ()> {
    let _ = writeln!(out, "{}", who.process()?.oom_score_adj.load(Relaxed));
    Ok(())
}

/// A write to `oom_score_adj`. EINVAL: not -1000 to 1000; EACCES: lowering it is for CAP_SYS_RESOURCE.
pub(super) fn set_oom_score_adj(who: &Who, data: &[u8]) -> Result<(), Errno> {
    let value = number(data).and_then(|v| i32::try_from(v).ok()).filter(|v| (-1000..=1000).contains(v));
    let value = value.ok_or(Errno::EINVAL)?;
    let process = who.process()?;
    let privileged = Thread::current().is_some_and(|t| t.cred().is_ok_and(|c| c.capable(CAP_SYS_RESOURCE)));
    if value < process.oom_score_adj.load(Relaxed) && !privileged {
        return Err(Errno::EACCES);
    }
    process.oom_score_adj.store(value, Relaxed);
    Ok(())
}

/// `timerslack_ns`
pub(super) fn timerslack(who: &Who, out: &mut SeqBuf) -> OpResult<'static, ()> {
    may_schedule(who)?;
    let _ = writeln!(out, "{}", who.thread()?.timer_slack.load(Relaxed));
    Ok(())
}

/// A write to `timerslack_ns`: 0 is the default of 50 µs.
pub(super) fn set_timerslack(who: &Who, data: &[u8]) -> Result<(), Errno> {
    let value = number(data).and_then(|v| u64::try_from(v).ok()).ok_or(Errno::EINVAL)?;
    may_schedule(who)?;
    who.thread()?.timer_slack.store(if value == 0 { 50_000 } else { value }, Relaxed);
    Ok(())
}

/// EPERM: the slack of another process is for CAP_SYS_NICE.
fn may_schedule(who: &Who) -> Result<(), Errno> {
    let Some(reader) = Thread::current() else { return Ok(()) };
    if reader.process.pid == who.pid || reader.cred()?.capable(CAP_SYS_NICE) { Ok(()) } else { Err(Errno::EPERM) }
}
