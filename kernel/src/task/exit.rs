//! The end of a thread, and of a process with its last one (Linux: `do_exit`, `exit_notify`, `release_task`).
//!
//! A thread ends when its future sees `exiting` or a group exit: nothing is unwound from outside (DESIGN.md rule 4).
//! [`finish`] runs in the thread's own poll and may wait: it closes files, gives the memory back, and only then tells
//! the parent.

use super::clone::vfork_done;
use super::orphans::end_process;
use super::process::{Life, Process, Tasks, tasks};
use super::signal;
use super::switch;
use super::thread::Thread;
use super::usage::Used;
use crate::arch::aarch64::entry::WORK_STOP;
use crate::cgroup::membership;
use crate::ipc::futex;
use crate::ipc::sysv::sem::undo;
use crate::mm::Mm;
use crate::trace::hooks;
use core::sync::atomic::Ordering::*;
use vigil_abi::process::wait_exited;
use vigil_executor::arch;
use vigil_executor::stage;
use vigil_executor::task::{INTERRUPT_KILL, INTERRUPT_SIGNAL};
use vigil_executor::trace::KEY_PROCESS;
use vigil_fs::FdTable;
use vigil_mem::KArc;

/// Threads that are kicked under one hold of the lock.
const TURN: usize = 4;

/// Threads that are looked at under one hold.
const LOOKS: usize = 128;

/// Marks the calling thread to end with wait status `status` before it sees EL0 again.
pub fn exit_thread(thread: &Thread, status: i32) {
    thread.exit_code.store(status, Relaxed);
    thread.exiting.store(true, Release);
    thread.set_work(WORK_STOP);
}

/// Ends every thread of the process with wait status `status`. The first caller's status counts.
pub fn group_exit(process: &Process, status: i32) {
    group_exit_locked(process, status, &tasks());
    kick_rest(process);
}

/// The same with the tree locked: a fatal signal ends all threads when it is sent, whatever the one that would take it is
/// doing. All are marked; some are kicked. Whoever can let go of the lock calls [`kick_rest`] then, and so does each that ends.
pub fn group_exit_locked(process: &Process, status: i32, guard: &Tasks) {
    if process.group_exit.load(Acquire) {
        return;
    }
    process.group_exit_code.store(status, Relaxed);
    process.group_exit.store(true, Release);
    let rest = some_threads(process, u32::MAX, guard, kick);
    process.to_kick.store(rest, Relaxed);
}

/// Kicks those threads of a process that ends which were not kicked yet. No spin lock is held.
#[inline(always)]
pub fn kick_rest(process: &Process) {
    if process.to_kick.load(Relaxed) != 0 {
        kick_them(process);
    }
}

#[cold]
#[inline(never)]
fn kick_them(process: &Process) {
    while process.to_kick.load(Relaxed) != 0 {
        let guard = tasks();
        let rest = some_threads(process, process.to_kick.load(Relaxed), &guard, kick);
        process.to_kick.store(rest, Relaxed);
    }
}

/// Ends every other thread of the caller's process: exec wants to be alone.
pub fn kill_siblings(thread: &Thread) {
    let mut found = true;
    // One that has not been told yet may begin another meanwhile: until all know.
    while core::mem::take(&mut found) {
        let mut rest = u32::MAX;
        while rest != 0 {
            rest = some_threads(&thread.process, rest, &tasks(), |sibling| {
                if sibling.tid() != thread.tid() && !sibling.exiting.swap(true, AcqRel) {
                    found = true;
                    kick(sibling);
                }
            });
        }
    }
}

/// Calls `f` with the last of the living threads among the first `of`; how many are left.
///
/// From the end of the list, because the lock is let go of in between: who is taken out moves those behind it forward, so none of those
/// that are left comes to lie behind the rest. Who is added comes last.
#[inline(always)]
fn some_threads(process: &Process, of: u32, guard: &Tasks, mut f: impl FnMut(&Thread)) -> u32 {
    let threads = &process.relations(guard).threads;
    let end = threads.len().min(of as usize);
    let begin = end.saturating_sub(TURN);
    for thread in threads.get(begin..end).unwrap_or_default() {
        if !thread.is_gone() {
            f(thread);
        }
    }
    begin as u32
}

/// Makes a thread look at `exiting` and `group_exit` soon: ends its killable waits, gets it out of EL0.
#[inline(always)]
fn kick(thread: &Thread) {
    thread.set_work(WORK_STOP);
    if let Some(task) = thread.task() {
        task.interrupt(INTERRUPT_SIGNAL | INTERRUPT_KILL);
        crate::platform::kick_user(task);
    }
}

/// The end: called once, last, by the thread's own future.
pub async fn finish(thread: KArc<Thread>) {
    thread.finishing.store(true, Relaxed);
    if arch::is_traced::<KEY_PROCESS>() {
        hooks::process_exit(&thread);
    }
    let process = thread.process.clone();
    kick_rest(&process);
    if process.running_threads.fetch_sub(1, AcqRel) == 1 && !process.is_exiting() {
        // The process ends with its last thread, and by its status: nobody is left who could end it otherwise.
        process.group_exit_code.store(thread.exit_code.load(Relaxed), Relaxed);
        process.group_exit.store(true, Release);
    }
    if process.is_exiting() {
        thread.exit_code.store(process.group_exit_code.load(Relaxed), Relaxed);
    }
    // From here on no signal ends a wait of this thread: what follows must complete.
    if let Some(task) = thread.task() {
        task.clear_interrupt(INTERRUPT_SIGNAL | INTERRUPT_KILL);
    }
    signal::exit_thread(&thread);
    stage!("exit_robust_list", release_futexes(&thread)).await;
    stage!("exit_mm", release_mm(&thread)).await;
    undo::exit(&thread);
    stage!("exit_files", close_files(&thread)).await;
    thread.replace_fs(None);
    if process.live_threads.fetch_sub(1, AcqRel) == 1 {
        process.timers.clear();
        vfork_done(&process);
        crate::tty::leader_exit(&process);
    }
    if thread.is_leader() {
        *process.last_comm.lock() = thread.comm();
    }
    let to_free = leave(&thread);
    drop(to_free);
    process.thread_exit.wake_all();
}

/// What waits for the thread in the memory that it leaves: owners of its robust futexes, joiners on its tid (Linux:
/// mm_release). At the thread's end and at exec, with the old address space.
pub async fn release_futexes(thread: &Thread) {
    futex::exit_robust_list(thread).await;
    crate::ipc::pi::exit(thread);
    if thread.clear_child_tid.load(Relaxed) != 0 {
        let address = thread.clear_child_tid.swap(0, Relaxed);
        if thread.share_mm().is_some_and(|mm| mm.users() > 1) {
            let _ = crate::syscall::user::put(thread, vigil_mem::UserPtr::<u32>::new(address), &0).await;
            futex::wake_address(thread, address).await;
        }
    }
}

/// Gives the address space back; frees it when this was its last user.
async fn release_mm(thread: &KArc<Thread>) {
    let Some(mm) = thread.replace_mm(None) else { return };
    switch::reload(thread);
    if thread.process.running_threads.load(Relaxed) == 0 {
        note_max_rss(&thread.process, &mm);
    }
    if mm.put_user() {
        mm.exit_mmap().await;
    }
    vfork_done_if_sole(thread);
}

/// The process lets go of `mm`: what it used of it at most stays known.
pub fn note_max_rss(process: &Process, mm: &Mm) {
    let used = Used { max_rss: mm.max_rss_kib() as u64, ..Used::default() };
    process.relations_mut(&mut tasks()).dead.add(&used);
}

/// A vfork child that ends lets its parent go on as soon as it no longer uses the memory.
fn vfork_done_if_sole(thread: &Thread) {
    if thread.is_leader() {
        vfork_done(&thread.process);
    }
}

/// Lets go of the descriptor table; closes every file when nobody shares it.
async fn close_files(thread: &KArc<Thread>) {
    let Some(files) = thread.replace_files(None) else { return };
    close_all(&files).await;
}

/// One user less of `files`; with the last one every file is closed.
pub async fn close_all(files: &FdTable) {
    if files.sub_user() {
        let mut next = 0;
        while let Some((fd, file)) = files.remove_next(next, usize::MAX) {
            next = fd as usize + 1;
            let _ = vigil_fs::close(file, files).await;
        }
    }
}

/// Takes the thread out of the tree, and ends the process with its last thread. A leader stays, as Linux's do: its number
/// finds it until the process is waited for. Returns what must be dropped outside the lock.
fn leave(thread: &KArc<Thread>) -> Removed {
    let mut removed = Removed::default();
    let below = if thread.is_leader() { 1 } else { place_of(thread) };
    let mut guard = tasks();
    let process = thread.process.clone();
    let used = Used::of(thread);
    process.relations_mut(&mut guard).dead.add(&used);
    membership::exit(thread, &guard);
    thread.set_gone();
    if !thread.is_leader() {
        removed.thread = remove_thread(&process, thread.tid(), below, &mut guard);
    }
    if process.living(&guard).next().is_none() {
        process.relations_mut(&mut guard).status = process.group_exit_code.load(Relaxed);
        removed.reaped = end_process(&process, guard);
    }
    removed
}

/// Among how many of the first threads of its process's list `thread` is: the last of them, until others are taken out.
///
/// Some are looked at under one hold of the lock, from the end of the list, as [`some_threads`] does: so the thread, which is in
/// the list until it takes itself out, is always among those that are left.
fn place_of(thread: &Thread) -> usize {
    let mut end = usize::MAX;
    loop {
        let guard = tasks();
        let threads = &thread.process.relations(&guard).threads;
        let last = threads.len().min(end);
        let first = last.saturating_sub(LOOKS);
        let part = threads.get(first..last).unwrap_or_default();
        match part.iter().rposition(|t| t.tid() == thread.tid()) {
            Some(index) => return first + index + 1,
            None if first == 0 => return last,
            None => end = first,
        }
    }
}

/// Takes the thread numbered `tid` from its process's list and from the table; its number is free, unless it is the
/// process's; it is among the first `below` of the list. To be dropped outside the lock.
fn remove_thread(process: &Process, tid: u32, below: usize, guard: &mut Tasks) -> [Option<KArc<Thread>>; 2] {
    let threads = &mut process.relations_mut(guard).threads;
    let listed = threads.iter().take(below).rposition(|t| t.tid() == tid).and_then(|i| threads.remove(i));
    let entry = guard.pids.set_thread(tid, None);
    if let Some(thread) = &listed {
        membership::release(thread);
    }
    if tid != process.pid {
        guard.pids.release(tid);
    }
    [listed, entry]
}

/// The calling thread, which does an exec and is the last one, becomes the leader: it takes the number of the one that has
/// ended (Linux: de_thread). The result is dropped outside the lock.
#[must_use]
pub fn succeed_leader(thread: &Thread) -> [Option<KArc<Thread>>; 2] {
    if thread.is_leader() {
        return [None, None];
    }
    let process = &thread.process;
    let mut guard = tasks();
    let old = remove_thread(process, process.pid, usize::MAX, &mut guard);
    let own = guard.pids.set_thread(thread.tid(), None);
    guard.pids.release(thread.tid());
    thread.become_leader();
    guard.pids.set_thread(process.pid, own);
    old
}

/// Counted objects that leave the tree; dropped after the lock.
#[derive(Default)]
struct Removed {
    thread: [Option<KArc<Thread>>; 2],
    reaped: Option<Reaped>,
}

/// What is left of a process that was waited for: dropped outside the lock.
pub struct Reaped {
    _leader: [Option<KArc<Thread>>; 2],
    _entry: Option<KArc<Process>>,
    _parent: Option<KArc<Process>>,
}

/// Removes a zombie from the tree: it was waited for, or nobody will. The result is dropped outside the lock.
pub fn reap(process: &KArc<Process>, guard: &mut Tasks) -> Reaped {
    let parent = process.leave_family(guard);
    if let Some(parent) = &parent {
        let used = totals(process, guard);
        parent.relations_mut(guard).children.add(&used);
    }
    let relations = process.relations_mut(guard);
    relations.life = Life::Reaped;
    let (pgrp, session) = (relations.pgrp, relations.session);
    let leader = remove_thread(process, process.pid, usize::MAX, guard);
    guard.pids.leave_group(pgrp);
    guard.pids.leave_session(session);
    let entry = guard.pids.remove_process(process.pid);
    Reaped { _leader: leader, _entry: entry, _parent: parent }
}

/// What a process has used, with the children that it waited for.
pub fn totals(process: &Process, guard: &Tasks) -> Used {
    let relations = process.relations(guard);
    let mut used = relations.dead;
    used.add(&relations.children);
    used
}

/// The wait status of `exit(code)`.
pub fn exit_status(code: u64) -> i32 {
    wait_exited(code as u32 & 0xff) as i32
}
