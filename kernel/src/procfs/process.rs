//! Which processes there are, and the directories of a process and of a thread (Linux: fs/proc/base.c).
//!
//! A node holds numbers and a starting time, no references: it keeps nothing alive, and finds a process anew on each
//! use. The starting time tells a process from a later one with its number.

use super::format::parse_number;
use super::{inject, links, misc, sched, space, status};
use crate::cgroup;
use crate::task::pid;
use crate::task::process::{Process, find_process, find_thread, tasks};
use crate::task::thread::Thread;
use core::sync::atomic::Ordering::Relaxed;
use vigil_abi::Errno;
use vigil_abi::process::CAP_SYS_PTRACE;
use vigil_abi::stat::{S_IFDIR, S_IFLNK, S_IFREG};
use vigil_fs::proc::{ProcSource, set_source};
use vigil_fs::vfs::ops::{FileOps, Link};
use vigil_fs::vfs::wait::Obstacle;
use vigil_fs::vnode::{Node, NodeSink, SeqBuf, node_of};
use vigil_fs::{OpResult, Opened, Stop};
use vigil_mem::{KArc, KVec, try_format, unsize};

/// Which process, or which thread of it, a node is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Who {
    /// The process.
    pub pid: u32,
    /// The thread; the leader's number for the process as a whole.
    pub tid: u32,
    /// Start of the process, to tell it from a later one with its number.
    start: u64,
    /// The process as a whole: `/proc/PID`, not `/proc/PID/task/TID`.
    pub group: bool,
}

impl Who {
    /// The process; a zombie is one. ESRCH.
    pub fn process(&self) -> Result<KArc<Process>, Errno> {
        find_process(self.pid).filter(|p| p.start_time == self.start).ok_or(Errno::ESRCH)
    }

    /// The thread; for a whole process its leader, or any thread if that has ended. ESRCH: a zombie.
    pub fn thread(&self) -> Result<KArc<Thread>, Errno> {
        let ours = |t: &KArc<Thread>| !t.is_gone() && t.process.pid == self.pid && t.process.start_time == self.start;
        match find_thread(self.tid).filter(ours) {
            Some(thread) => Ok(thread),
            None if self.group => self.process()?.any_thread().ok_or(Errno::ESRCH),
            None => Err(Errno::ESRCH),
        }
    }

    /// The same, or a leader that has ended and was not waited for.
    pub fn any_thread(&self) -> Result<KArc<Thread>, Errno> {
        let dead = || find_thread(self.tid).filter(|t| t.process.pid == self.pid && t.process.start_time == self.start);
        self.thread().or_else(|e| dead().ok_or(e))
    }

    /// Effective user and group, which own its files; the superuser if it is not dumpable, or gone.
    fn owner(&self) -> (u32, u32) {
        let cred = self.thread().ok().filter(|t| t.process.dumpable.load(Relaxed) == 1).and_then(|t| t.share_cred());
        cred.map_or((0, 0), |c| (c.euid, c.egid))
    }

    /// Whether the caller may look into it (Linux: ptrace_may_access with PTRACE_MODE_READ_FSCREDS).
    pub fn may_inspect(&self) -> bool {
        let Some(reader) = Thread::current() else { return true };
        if reader.process.pid == self.pid {
            return true;
        }
        let (Ok(cred), Some(target)) = (reader.cred(), self.thread().ok().and_then(|t| t.share_cred())) else {
            return false;
        };
        let same = [target.euid, target.suid, target.uid].iter().all(|id| *id == cred.fsuid)
            && [target.egid, target.sgid, target.gid].iter().all(|id| *id == cred.fsgid);
        same && self.process().is_ok_and(|p| p.dumpable.load(Relaxed) == 1) || cred.capable(CAP_SYS_PTRACE)
    }
}

/// Generates a file.
type Show = fn(&Who, &mut SeqBuf) -> OpResult<'static, ()>;
/// Takes what was written to one.
type Store = fn(&Who, &[u8]) -> Result<(), Errno>;

/// What an entry is.
#[derive(Clone, Copy)]
enum Kind {
    Text(Show),
    /// Only for who may look into the process.
    Private(Show),
    /// As it; in parts, of which each is given where it begins.
    PrivateParts(fn(&Who, u64, &mut SeqBuf) -> OpResult<'static, Option<u64>>),
    Writable(Show, Store),
    Link(fn(&Who) -> Result<vigil_fs::Path, Errno>),
    Fds(links::FdView),
    Injector(inject::Injector),
    Tasks,
}

/// One entry of `/proc/PID`, and of `/proc/PID/task/TID` if `thread`.
struct Entry {
    name: &'static str,
    permissions: u32,
    kind: Kind,
    thread: bool,
}

const fn both(name: &'static str, permissions: u32, kind: Kind) -> Entry {
    Entry { name, permissions, kind, thread: true }
}

const fn group(name: &'static str, permissions: u32, kind: Kind) -> Entry {
    Entry { name, permissions, kind, thread: false }
}

static ENTRIES: &[Entry] = &[
    group("task", 0o555, Kind::Tasks),
    both("fd", 0o500, Kind::Fds(links::FdView::Links)),
    both("fdinfo", 0o500, Kind::Fds(links::FdView::Info)),
    both("environ", 0o400, Kind::Private(space::environ)),
    both("auxv", 0o400, Kind::Private(space::auxv)),
    both("status", 0o444, Kind::Text(status::status)),
    both("personality", 0o400, Kind::Private(misc::personality)),
    both("limits", 0o444, Kind::Text(misc::limits)),
    both("sched", 0o644, Kind::Writable(sched::sched, sched::restart)),
    group("autogroup", 0o644, Kind::Writable(misc::autogroup, misc::set_autogroup)),
    both("comm", 0o644, Kind::Writable(misc::comm, misc::set_comm)),
    both("cmdline", 0o444, Kind::Text(space::cmdline)),
    both("stat", 0o444, Kind::Text(status::stat)),
    both("statm", 0o444, Kind::Text(status::statm)),
    both("maps", 0o444, Kind::PrivateParts(space::maps)),
    both("cwd", 0o777, Kind::Link(links::cwd)),
    both("root", 0o777, Kind::Link(links::root)),
    both("exe", 0o777, Kind::Link(links::exe)),
    both("mounts", 0o444, Kind::Text(misc::mounts)),
    both("mountinfo", 0o444, Kind::Text(misc::mountinfo)),
    both("smaps", 0o444, Kind::PrivateParts(space::smaps)),
    both("smaps_rollup", 0o444, Kind::Private(space::smaps_rollup)),
    both("wchan", 0o444, Kind::Text(misc::wchan)),
    both("stack", 0o400, Kind::Private(misc::stack)),
    both("schedstat", 0o444, Kind::Text(sched::schedstat)),
    both("oom_score", 0o444, Kind::Text(misc::oom_score)),
    both("oom_score_adj", 0o644, Kind::Writable(misc::oom_score_adj, misc::set_oom_score_adj)),
    both("fail-nth", 0o644, Kind::Injector(inject::Injector::Nth)),
    both("fail-await", 0o644, Kind::Injector(inject::Injector::Await)),
    both("cgroup", 0o444, Kind::Text(|who, out| cgroup::show_membership(&*who.any_thread()?, out))),
    both("cpuset", 0o444, Kind::Text(|who, out| cgroup::show_cpuset(&*who.any_thread()?, out))),
    group("timerslack_ns", 0o666, Kind::Writable(misc::timerslack, misc::set_timerslack)),
];

impl Entry {
    fn mode(&self) -> u32 {
        self.permissions
            | match self.kind {
                Kind::Text(_) | Kind::Private(_) | Kind::PrivateParts(_) | Kind::Writable(..) | Kind::Injector(_) => S_IFREG,
                Kind::Link(_) => S_IFLNK,
                Kind::Fds(_) | Kind::Tasks => S_IFDIR,
            }
    }

    fn node(&'static self, who: Who) -> Result<KArc<dyn Node>, Errno> {
        Ok(match self.kind {
            Kind::Fds(view) => unsize!(KArc, KArc::try_new(links::FdDir { who, view })? => dyn Node),
            Kind::Tasks => unsize!(KArc, KArc::try_new(TaskDir { who })? => dyn Node),
            _ => unsize!(KArc, KArc::try_new(File { who, entry: self })? => dyn Node),
        })
    }
}

/// `/proc/PID` or `/proc/PID/task/TID`.
struct PidDir {
    who: Who,
}

impl PidDir {
    fn entries(&self) -> impl Iterator<Item = &'static Entry> {
        let group = self.who.group;
        ENTRIES.iter().filter(move |e| group || e.thread)
    }
}

impl Node for PidDir {
    fn mode(&self) -> u32 {
        S_IFDIR | 0o555
    }

    fn owner(&self) -> (u32, u32) {
        self.who.owner()
    }

    fn nlink(&self) -> u32 {
        2 + self.entries().filter(|e| e.mode() & S_IFDIR == S_IFDIR).count() as u32
    }

    fn is_alive(&self) -> bool {
        alive(&self.who)
    }

    fn may_cache(&self) -> bool {
        false
    }

    fn as_any(&self) -> Option<&dyn core::any::Any> {
        Some(self)
    }

    fn lookup(&self, name: &[u8]) -> Result<Option<KArc<dyn Node>>, Errno> {
        self.entries().find(|e| e.name.as_bytes() == name).map(|e| e.node(self.who)).transpose()
    }

    fn list(&self, from: u64, sink: &mut dyn NodeSink) -> Result<(), Errno> {
        for (entry, at) in self.entries().zip(0u64..).skip(usize::try_from(from).unwrap_or(usize::MAX)) {
            if !sink.entry(entry.name.as_bytes(), entry.mode(), at + 1) {
                break;
            }
        }
        Ok(())
    }
}

/// The process whose directory `/proc/PID` this file is. EBADF: it is another file; ESRCH: the process is gone.
pub fn process_of_dir(file: &vigil_fs::File) -> Result<KArc<Process>, Errno> {
    match node_of::<PidDir>(file) {
        Some(dir) if dir.who.group => dir.who.process(),
        _ => Err(Errno::EBADF),
    }
}

/// Whether a node still stands for something.
pub(super) fn alive(who: &Who) -> bool {
    if who.group { who.process().is_ok() } else { who.any_thread().is_ok() }
}

/// A file or link of a process.
struct File {
    who: Who,
    entry: &'static Entry,
}

impl Node for File {
    fn mode(&self) -> u32 {
        self.entry.mode()
    }

    fn owner(&self) -> (u32, u32) {
        self.who.owner()
    }

    fn is_alive(&self) -> bool {
        alive(&self.who)
    }

    fn show<'a>(&'a self, out: &mut SeqBuf) -> OpResult<'a, ()> {
        match self.entry.kind {
            Kind::Text(show) | Kind::Private(show) | Kind::Writable(show, _) => show(&self.who, out),
            _ => Err(Stop::Err(Errno::EINVAL)),
        }
    }

    fn show_part<'a>(&'a self, from: u64, out: &mut SeqBuf) -> OpResult<'a, Option<u64>> {
        match self.entry.kind {
            Kind::PrivateParts(show) => show(&self.who, from, out),
            _ => self.show(out).map(|()| None),
        }
    }

    fn obstacle(&self) -> Option<Obstacle<'_>> {
        space::obstacle(&self.who)
    }

    fn store<'a>(&'a self, data: &[u8]) -> OpResult<'a, usize> {
        let Kind::Writable(_, store) = self.entry.kind else { return Err(Stop::Err(Errno::EINVAL)) };
        store(&self.who, data)?;
        Ok(data.len())
    }

    fn follow(&self) -> Result<Link, Errno> {
        self.place().map(Link::Jump)
    }

    fn read_link(&self) -> Result<KVec<u8>, Errno> {
        links::text_of(&self.place()?)
    }

    /// EACCES: the caller may not look into the process.
    fn open(&self, _: u32) -> Result<Option<Opened>, Errno> {
        match self.entry.kind {
            Kind::Private(_) | Kind::PrivateParts(_) if !self.who.may_inspect() => Err(Errno::EACCES),
            Kind::Injector(which) => {
                Ok(Some(Opened::Own(unsize!(KArc, KArc::try_new(inject::Open { who: self.who, which })? => dyn FileOps))))
            }
            _ => Ok(None),
        }
    }
}

impl File {
    fn place(&self) -> Result<vigil_fs::Path, Errno> {
        let Kind::Link(place) = self.entry.kind else { return Err(Errno::EINVAL) };
        if !self.who.may_inspect() {
            return Err(Errno::EACCES);
        }
        place(&self.who)
    }
}

/// `/proc/PID/task`.
struct TaskDir {
    who: Who,
}

impl TaskDir {
    /// The threads' numbers, ascending from `from` on: the first. A leader that has ended is there until it is waited for.
    fn next(&self, from: u32) -> Result<Option<u32>, Errno> {
        let process = self.who.process()?;
        let guard = tasks();
        Ok(process.relations(&guard).threads.iter().map(|t| t.tid()).filter(|tid| *tid >= from).min())
    }
}

impl Node for TaskDir {
    fn mode(&self) -> u32 {
        S_IFDIR | 0o555
    }

    fn owner(&self) -> (u32, u32) {
        self.who.owner()
    }

    fn nlink(&self) -> u32 {
        self.who.process().map_or(2, |p| 2 + p.relations(&tasks()).threads.len() as u32)
    }

    fn is_alive(&self) -> bool {
        alive(&self.who)
    }

    fn lookup(&self, name: &[u8]) -> Result<Option<KArc<dyn Node>>, Errno> {
        let Some(tid) = parse_number(name) else { return Ok(None) };
        let who = Who { tid, group: false, ..self.who };
        if who.any_thread().is_err() {
            return Ok(None);
        }
        Ok(Some(unsize!(KArc, KArc::try_new(PidDir { who })? => dyn Node)))
    }

    fn list(&self, from: u64, sink: &mut dyn NodeSink) -> Result<(), Errno> {
        let mut from = u32::try_from(from).unwrap_or(u32::MAX);
        while let Some(tid) = self.next(from)? {
            let name = try_format!("{tid}")?;
            if !sink.entry(name.as_str().as_bytes(), S_IFDIR | 0o555, u64::from(tid) + 1) {
                break;
            }
            from = tid.saturating_add(1);
        }
        Ok(())
    }
}

struct Source;

impl ProcSource for Source {
    fn next_pid(&self, from: u32) -> Option<u32> {
        pid::next_process(from).map(|p| p.pid)
    }

    fn node(&self, id: u32) -> Option<KArc<dyn Node>> {
        let process = match find_process(id) {
            Some(process) => process,
            // The number of a thread that leads no process: not listed, but there.
            None => find_thread(id)?.process.clone(),
        };
        let who = Who { pid: process.pid, tid: id, start: process.start_time, group: true };
        KArc::try_new(PidDir { who }).ok().map(|dir| unsize!(KArc, dir => dyn Node))
    }
}

/// Makes processes appear.
pub(super) fn init() {
    set_source(&Source);
}
