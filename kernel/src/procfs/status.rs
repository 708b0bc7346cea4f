//! `stat`, `status`, `statm` of a process or thread (Linux: fs/proc/array.c, kernel/sched/debug.c).

use super::format::{put_list, put_mask};
use super::misc::comm_of;
use super::process::Who;
use super::{at_once, written};
use crate::mm::{Mm, MmFields};
use crate::syscall::prctl_spec;
use crate::task::kthread;
use crate::task::limits::SIGPENDING;
use crate::task::process::{Life, Process, tasks};
use crate::task::signal::NSIG;
use crate::task::thread::Thread;
use crate::tty;
use core::fmt::Write;
use core::sync::atomic::Ordering::Relaxed;
use vigil_abi::Errno;
use vigil_abi::signal::{SIG_DFL, SIG_IGN, Sigset, sigmask};
use vigil_executor::class::{Params, Policy};
use vigil_executor::executor;
use vigil_executor::wait::WaitMode;
use vigil_fs::OpResult;
use vigil_fs::vnode::SeqBuf;
use vigil_mem::KArc;

/// Nanoseconds in a clock tick of user space (USER_HZ = 100).
pub(super) const TICK: u64 = 10_000_000;
/// PF_RANDOMIZE, PF_FORKNOEXEC, PF_EXITING, PF_KTHREAD, PF_NO_SETAFFINITY of `flags`.
const PF_RANDOMIZE: u32 = 0x0040_0000;
const PF_FORKNOEXEC: u32 = 0x40;
const PF_EXITING: u32 = 0x4;
const PF_KTHREAD: u32 = 0x20_0000;
const PF_NO_SETAFFINITY: u32 = 0x400_0000;

/// What a thread is doing, as one letter and in words.
fn state_of(process: &Process, thread: Option<&Thread>) -> (char, &'static str) {
    let Some(thread) = thread else {
        // Until its children have another parent it cannot be waited for.
        let ending = process.relations(&tasks()).life == Life::Ending;
        return if ending { ('R', "running") } else { ('Z', "zombie") };
    };
    let Some(task) = thread.task() else { return ('S', "sleeping") };
    if !task.is_sleeping() {
        return ('R', "running");
    }
    match task.waiting_at() {
        Some((_, WaitMode::Killable)) if process.signals.stop_signal.load(Relaxed) != 0 => ('T', "stopped"),
        Some((_, WaitMode::Killable)) if crate::cgroup::freezer::is_freezing(thread) => ('S', "sleeping"),
        Some((_, WaitMode::Uninterruptible | WaitMode::Killable)) => ('D', "disk sleep"),
        _ => ('S', "sleeping"),
    }
}

/// The process, and its thread unless it is a zombie's.
struct Target {
    process: KArc<Process>,
    thread: Option<KArc<Thread>>,
    mm: Option<KArc<Mm>>,
}

impl Target {
    fn of(who: &Who) -> Result<Target, Errno> {
        let process = who.process()?;
        let thread = match who.thread() {
            // The leader alone may be dead: the process is shown as a zombie, as on Linux.
            Ok(thread) if thread.tid() == who.tid => Some(thread),
            Ok(_) => None,
            Err(_) if who.group => None,
            // As a thread it is one, too.
            Err(_) => who.any_thread().map(|_| None)?,
        };
        let mm = thread.as_ref().and_then(|t| t.share_mm());
        Ok(Target { process, thread, mm })
    }

    fn fields(&self) -> OpResult<'static, MmFields> {
        match &self.mm {
            Some(mm) => at_once(mm.fields()),
            None => Ok(MmFields::default()),
        }
    }

    fn params(&self) -> Params {
        self.thread.as_ref().and_then(|t| t.task()).map_or(Params::DEFAULT, executor::params)
    }

    /// CPU time: user, system, nanoseconds.
    fn times(&self, who: &Who) -> [u64; 2] {
        match &self.thread {
            _ if who.group => crate::syscall::process_times(&self.process),
            _ => who.any_thread().map_or([0; 2], |thread| thread.times()),
        }
    }
}

/// What is known under the lock of the process tree.
struct Tree {
    parent: u32,
    pgrp: u32,
    session: u32,
    tty: u64,
    threads: usize,
    children_time: [u64; 2],
    children_faults: [u64; 2],
    faults: [u64; 2],
    exit_signal: u32,
    status: i32,
    did_exec: bool,
    zombie: bool,
}

fn tree_of(target: &Target, who: &Who) -> Tree {
    let guard = tasks();
    let r = target.process.relations(&guard);
    let mut faults = [0u64; 2];
    if who.group {
        faults = r.dead.faults;
    }
    for thread in target.process.living(&guard).filter(|t| who.group || t.tid() == who.tid) {
        faults[0] = faults[0].wrapping_add(thread.min_faults.load(Relaxed));
        faults[1] = faults[1].wrapping_add(thread.maj_faults.load(Relaxed));
    }
    Tree {
        parent: r.parent.as_ref().map_or(0, |p| p.pid),
        pgrp: r.pgrp,
        session: r.session,
        tty: r.tty,
        threads: r.threads.len(),
        children_time: r.children.time,
        children_faults: r.children.faults,
        faults,
        exit_signal: r.exit_signal,
        status: r.status,
        did_exec: r.did_exec,
        zombie: r.life != Life::Running,
    }
}

/// Pending, blocked, ignored and caught signals.
struct Signals {
    own: Sigset,
    shared: Sigset,
    blocked: Sigset,
    ignored: Sigset,
    caught: Sigset,
}

fn signals_of(target: &Target) -> Signals {
    let sighand = target.process.sighand();
    let (mut ignored, mut caught) = (0, 0);
    for signo in 1..=NSIG as u32 {
        match sighand.get(signo).handler {
            SIG_DFL => {}
            SIG_IGN => ignored |= sigmask(signo),
            _ => caught |= sigmask(signo),
        }
    }
    let thread = target.thread.as_ref();
    Signals {
        own: thread.map_or(0, |t| t.signals.queue.set()),
        shared: target.process.signals.queue.set(),
        blocked: thread.map_or(0, |t| t.signals.blocked()),
        ignored,
        caught,
    }
}

pub(super) const fn policy_number(policy: Policy) -> u32 {
    match policy {
        Policy::Normal => 0,
        Policy::Fifo | Policy::Stop => 1,
        Policy::RoundRobin => 2,
        Policy::Batch => 3,
        Policy::Idle => 5,
        Policy::Deadline => 6,
    }
}

/// `stat`: 52 fields in a line (proc(5); Linux: do_task_stat).
pub(super) fn stat(who: &Who, out: &mut SeqBuf) -> OpResult<'static, ()> {
    let target = Target::of(who)?;
    let fields = target.fields()?;
    let tree = tree_of(&target, who);
    let signals = signals_of(&target);
    let params = target.params();
    let (state, _) = state_of(&target.process, target.thread.as_deref());
    let foreground = tty::by_dev(tree.tty).and_then(|t| t.tty()).map_or(-1, |t| i64::from(t.pgrp()));
    let mut flags = PF_RANDOMIZE;
    if !tree.did_exec {
        flags |= PF_FORKNOEXEC;
    }
    if target.process.kernel {
        flags = PF_KTHREAD | PF_FORKNOEXEC;
        if target.thread.as_ref().is_some_and(|t| kthread::is_bound(t)) {
            flags |= PF_NO_SETAFFINITY;
        }
    }
    if tree.zombie {
        flags |= PF_EXITING;
    }
    let times = target.times(who);
    let task = target.thread.as_ref().and_then(|t| t.task());
    let start = target.thread.as_ref().filter(|_| !who.group).map_or(target.process.start_time, |t| t.start_time);
    let waits = task.is_some_and(|t| t.is_sleeping() && t.waiting_at().is_some());
    let rss: usize = target.mm.as_ref().map_or(0, |mm| mm.rss().iter().sum());
    // Addresses are for who may look into the process; others see 1 where there is one (Linux: `permitted`).
    let permitted = who.may_inspect();
    let shown = |address: usize| if permitted { address } else { 0 };
    let code = |address: usize| if permitted { address } else { usize::from(target.mm.is_some()) };
    let low = |set: Sigset| set & 0x7fff_ffff;

    let _ = write!(out, "{} (", who.tid);
    out.put(comm_of(who)?.bytes());
    let _ = write!(
        out,
        ") {state} {} {} {} {} {foreground} {flags} {} {} {} {}",
        tree.parent,
        tree.pgrp,
        tree.session,
        tree.tty as u32 as i32,
        tree.faults[0],
        tree.children_faults[0],
        tree.faults[1],
        tree.children_faults[1]
    );
    let _ = write!(
        out,
        " {} {} {} {} {} {} {} 0 {} {} {rss} {}",
        times[0] / TICK,
        times[1] / TICK,
        tree.children_time[0] / TICK,
        tree.children_time[1] / TICK,
        i32::from(task.map_or(params, executor::effective_params).prio()) - 100,
        nice_of(&params),
        tree.threads,
        start / TICK,
        target.mm.as_ref().map_or(0, |mm| mm.total_vm()),
        target.process.limits.soft(RSS)
    );
    let _ = write!(
        out,
        " {} {} {} 0 0 {} {} {} {} {} 0 0 {} {} {} {} 0 0 0",
        code(fields.start_code),
        code(fields.end_code),
        shown(fields.start_stack),
        low(signals.own | signals.shared),
        low(signals.blocked),
        low(signals.ignored),
        low(signals.caught),
        u32::from(waits && permitted),
        tree.exit_signal as i32,
        task.map_or(0, |t| t.cpu().index()),
        params.rt_priority,
        policy_number(params.policy)
    );
    let _ = writeln!(
        out,
        " {} {} {} {} {} {} {} {}",
        shown(fields.start_data),
        shown(fields.end_data),
        shown(fields.start_brk),
        shown(fields.arg_start),
        shown(fields.arg_end),
        shown(fields.env_start),
        shown(fields.env_end),
        if permitted { tree.status } else { 0 }
    );
    Ok(())
}

/// RLIMIT_RSS.
const RSS: usize = 5;

const fn nice_of(params: &Params) -> i8 {
    match params.policy {
        Policy::Normal | Policy::Batch | Policy::Idle => params.nice,
        _ => 0,
    }
}

/// `status`
pub(super) fn status(who: &Who, out: &mut SeqBuf) -> OpResult<'static, ()> {
    let target = Target::of(who)?;
    let tree = tree_of(&target, who);
    let (letter, words) = state_of(&target.process, target.thread.as_deref());
    let thread = target.thread.as_ref();
    out.put(b"Name:\t");
    out.put_escaped(comm_of(who)?.bytes(), b"\n\\");
    out.put(b"\n");
    if let Some(fs) = thread.and_then(|t| t.share_fs()) {
        let _ = writeln!(out, "Umask:\t{:04o}", fs.umask());
    }
    let _ =
        write!(out, "State:\t{letter} ({words})\nTgid:\t{}\nNgid:\t0\nPid:\t{}\nPPid:\t{}\nTracerPid:\t0\n", who.pid, who.tid, tree.parent);
    let cred = thread.and_then(|t| t.share_cred());
    let uid = target.process.uid();
    let ids = cred.as_ref().map_or(([uid; 4], [0; 4]), |c| ([c.uid, c.euid, c.suid, c.fsuid], [c.gid, c.egid, c.sgid, c.fsgid]));
    for (name, [a, b, c, d]) in [("Uid", ids.0), ("Gid", ids.1)] {
        let _ = writeln!(out, "{name}:\t{a}\t{b}\t{c}\t{d}");
    }
    let _ = write!(out, "FDSize:\t{}\nGroups:\t", thread.and_then(|t| t.share_files()).map_or(0, |f| f.capacity()));
    for group in cred.iter().flat_map(|c| c.groups.iter()) {
        let _ = write!(out, "{group} ");
    }
    let _ = write!(out, "\nNStgid:\t{}\nNSpid:\t{}\nNSpgid:\t{}\nNSsid:\t{}\n", who.pid, who.tid, tree.pgrp, tree.session);
    if let Some(mm) = &target.mm {
        written(at_once(mm.show_status(out))?)?;
        out.put(b"CoreDumping:\t0\nTHP_enabled:\t0\n");
    }
    let _ = writeln!(out, "Threads:\t{}", tree.threads);
    put_signals(&target, out);
    let capabilities =
        cred.as_ref().map_or([0; 5], |c| [c.cap_inheritable, c.cap_permitted, c.cap_effective, c.cap_bounding, c.cap_ambient]);
    for (name, set) in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"].iter().zip(capabilities) {
        let _ = writeln!(out, "{name}:\t{set:016x}");
    }
    let _ = write!(out, "NoNewPrivs:\t{}\nSeccomp:\t0\nSeccomp_filters:\t0\n", u8::from(target.process.no_new_privs.load(Relaxed)));
    let bypass = target.thread.as_ref().map_or("unknown", |t| prctl_spec::status_text(t));
    let _ = write!(out, "Speculation_Store_Bypass:\t{bypass}\nSpeculationIndirectBranch:\tunknown\n");
    put_scheduling(&target, out);
    Ok(())
}

fn put_signals(target: &Target, out: &mut SeqBuf) {
    let signals = signals_of(target);
    let queued = (signals.own.count_ones() + signals.shared.count_ones()) as usize;
    let _ = writeln!(out, "SigQ:\t{queued}/{}", target.process.limits.soft(SIGPENDING));
    for (name, set) in [
        ("SigPnd", signals.own),
        ("ShdPnd", signals.shared),
        ("SigBlk", signals.blocked),
        ("SigIgn", signals.ignored),
        ("SigCgt", signals.caught),
    ] {
        let _ = writeln!(out, "{name}:\t{set:016x}");
    }
}

fn put_scheduling(target: &Target, out: &mut SeqBuf) {
    let task = target.thread.as_ref().and_then(|t| t.task());
    let possible = super::sysfs::possible();
    let mask = task.map_or(possible.0, |t| t.affinity().0 & possible.0);
    out.put(b"Cpus_allowed:\t");
    let _ = put_mask(mask, possible.0.count_ones() as usize, out);
    out.put(b"\nCpus_allowed_list:\t");
    let _ = put_list(mask, out);
    out.put(b"\nMems_allowed:\t1\nMems_allowed_list:\t0\n");
    let stats = task.map(|t| {
        // SAFETY: the entity is read under its queue's lock.
        executor::with_entity(t, |_, entity, _| *unsafe { entity.as_ref() }.stats())
    });
    let (voluntary, forced) = stats.map_or((0, 0), |s| (s.nvcsw, s.nivcsw));
    let _ = write!(out, "voluntary_ctxt_switches:\t{voluntary}\nnonvoluntary_ctxt_switches:\t{forced}\n");
}

/// `statm`: sizes in pages.
pub(super) fn statm(who: &Who, out: &mut SeqBuf) -> OpResult<'static, ()> {
    let target = Target::of(who)?;
    let pages = match &target.mm {
        Some(mm) => at_once(mm.statm())?,
        None => [0; 7],
    };
    for (i, n) in pages.iter().enumerate() {
        let _ = write!(out, "{}{n}", if i == 0 { "" } else { " " });
    }
    out.put(b"\n");
    Ok(())
}
