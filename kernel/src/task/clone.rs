//! Making threads and processes: fork, vfork, clone, clone3 (Linux: `copy_process`, `kernel_clone`).
//!
//! Everything that can fail is done first: numbers, memory, the copies of what the flags do not share. Then, with the
//! process tree locked, the new thread is entered everywhere at once; from there on nothing fails.

use super::exit;
use super::limits;
use super::pid::{self, PidError};
use super::pidfd;
use super::process::{Life, Process, tasks};
use super::rttime;
use super::signal::{self, ThreadSignals};
use super::switch::{HOOKS, read_tls};
use super::thread::{Thread, ThreadParts};
use super::user;
use super::walk;
use crate::arch::aarch64::fpsimd;
use crate::cgroup::hierarchy;
use crate::cgroup::membership::{self, Into};
use crate::cgroup::migrate::{What, for_clone};
use crate::ipc::sysv::sem::undo;
use crate::syscall;
use crate::trace::hooks;
use core::sync::atomic::Ordering::*;
use vigil_abi::Errno;
use vigil_abi::process::*;
use vigil_executor::arch;
use vigil_executor::class::{Params, Policy};
use vigil_executor::executor;
use vigil_executor::stage;
use vigil_executor::task::Spawned;
use vigil_executor::trace::KEY_PROCESS;
use vigil_executor::wait::WaitMode;
use vigil_executor::wait_site;
use vigil_fs::{File, Reserved};
use vigil_mem::{KArc, KBox, UserPtr};

/// What to make, as clone3 names it.
#[derive(Clone, Copy, Debug, Default)]
pub struct CloneRequest {
    /// CLONE_* without the exit signal.
    pub flags: u64,
    /// Signal for the parent at the end; 0, or no signal's number: none.
    pub exit_signal: u32,
    /// Initial SP; 0: the parent's.
    pub stack: u64,
    /// Thread pointer, with CLONE_SETTLS.
    pub tls: u64,
    /// Where the parent finds the number, with CLONE_PARENT_SETTID.
    pub parent_tid: usize,
    /// Where the child finds it, with CLONE_CHILD_SETTID, or clears it, with CLONE_CHILD_CLEARTID.
    pub child_tid: usize,
    /// Where the parent finds a descriptor of the new process, with CLONE_PIDFD.
    pub pidfd: usize,
    /// The number that the child is to have; 0: any.
    pub wanted: i32,
    /// A number is wanted, whatever it is.
    pub chooses: bool,
    /// The directory of the group that the child begins in, with CLONE_INTO_CGROUP.
    pub cgroup: i32,
}

/// Name spaces: not there. Who may make them gets EINVAL, as from a Linux without these options.
const NAME_SPACES: u64 = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWTIME;

/// The rules of Linux's `copy_process` about flags, in its order.
fn check(parent: &Thread, request: &CloneRequest) -> Result<(), Errno> {
    let flags = request.flags;
    let (thread, has) = (flags & CLONE_THREAD != 0, |bits: u64| flags & bits == bits);
    if has(CLONE_NEWNS | CLONE_FS)
        || has(CLONE_NEWUSER | CLONE_FS)
        || thread && flags & CLONE_SIGHAND == 0
        || flags & CLONE_SIGHAND != 0 && flags & CLONE_VM == 0
        // The first process's children would have no reaper.
        || flags & CLONE_PARENT != 0 && parent.process.pid == 1
        || thread && flags & (CLONE_NEWUSER | CLONE_NEWPID) != 0
        || flags & CLONE_PIDFD != 0 && flags & (CLONE_THREAD | CLONE_DETACHED) != 0
        || flags & CLONE_NEWUSER != 0
    {
        return Err(Errno::EINVAL);
    }
    if flags & NAME_SPACES != 0 {
        return Err(if parent.cred()?.capable(CAP_SYS_ADMIN) { Errno::EINVAL } else { Errno::EPERM });
    }
    Ok(())
}

/// The number that the child gets. EINVAL, EPERM, EEXIST: the one that is wanted cannot be had.
fn number_for(parent: &Thread, request: &CloneRequest) -> Result<u32, Errno> {
    if !request.chooses {
        return pid::alloc().map_err(errno_of);
    }
    let wanted = u32::try_from(request.wanted).ok().filter(|n| (1..pid::PID_MAX).contains(n)).ok_or(Errno::EINVAL)?;
    let cred = parent.cred()?;
    if !cred.capable(CAP_SYS_ADMIN) && !cred.capable(CAP_CHECKPOINT_RESTORE) {
        return Err(Errno::EPERM);
    }
    pid::alloc_this(wanted).map_err(errno_of)
}

/// A descriptor for `process`, whose number the parent's memory holds already.
async fn reserve_pidfd<'t>(parent: &'t Thread, process: &KArc<Process>, at: usize) -> Result<(Reserved<'t>, KArc<File>), Errno> {
    let reserved = parent.files()?.reserve(0, parent.process.limits.soft(limits::NOFILE) as usize, true)?;
    let file = pidfd::file_of(process.clone(), 0)?;
    syscall::user::put(parent, UserPtr::<i32>::new(at), &reserved.fd()).await?;
    Ok((reserved, file))
}

/// A number that goes back unless it is used.
struct Number(u32, bool);

impl Drop for Number {
    fn drop(&mut self) {
        if !self.1 {
            pid::free(self.0);
        }
    }
}

/// Makes a thread or process like `parent`; returns its number.
///
/// Errors: EINVAL for contradictory flags, EAGAIN when RLIMIT_NPROC or the numbers are exhausted, or for a deadline task, ENOMEM,
/// ERESTARTNOINTR when a signal arrived meanwhile (the call is made again after it was handled).
pub async fn clone(parent: &Thread, request: CloneRequest) -> Result<u32, Errno> {
    check(parent, &request)?;
    let flags = request.flags;
    if signal::has_pending(parent) {
        return Err(Errno::ERESTARTNOINTR);
    }
    if too_many(parent)? || shares_reservation(parent)? {
        return Err(Errno::EAGAIN);
    }

    let mut number = Number(number_for(parent, &request)?, false);
    let tid = number.0;
    let mm = match parent.share_mm() {
        Some(mm) if flags & CLONE_VM != 0 => {
            mm.get_user();
            Some(mm)
        }
        Some(mm) => Some(stage!("dup_mmap", mm.fork()).await?),
        None => None,
    };
    let made = assemble(parent, &request, tid, mm.clone());
    let (thread, spawned) = match made {
        Ok(made) => made,
        Err(e) => {
            if let Some(mm) = mm
                && mm.put_user()
            {
                mm.exit_mmap().await;
            }
            return Err(e);
        }
    };
    let (mut pidfd, mut entered) = (None, Ok(()));
    if flags & CLONE_PIDFD != 0 {
        match KBox::try_pin_with(|| reserve_pidfd(parent, &thread.process, request.pidfd)) {
            Ok(reserving) => match reserving.await {
                Ok(made) => pidfd = Some(made),
                Err(e) => entered = Err(e),
            },
            Err(e) => entered = Err(e.into()),
        }
    }
    if entered.is_ok() {
        if flags & CLONE_PARENT_SETTID != 0 {
            // As Linux: a bad address is ignored.
            let _ = syscall::user::put(parent, UserPtr::<u32>::new(request.parent_tid), &tid).await;
        }
        entered = publish(parent, &request, &thread);
    }
    if let Err(e) = entered {
        drop(spawned);
        release(&thread).await;
        return Err(e);
    }
    if let Some((reserved, file)) = pidfd {
        reserved.install(file);
    }
    number.1 = true;
    if flags & CLONE_THREAD == 0 {
        // The limit is inherited, its timer is not.
        let seconds = thread.process.limits.soft(limits::CPU);
        if seconds != limits::INFINITY {
            thread.process.timers.arm_cpu_limit(&thread.process, seconds);
        }
    }
    rttime::begins(&thread);
    if arch::is_traced::<KEY_PROCESS>() {
        hooks::process_fork(parent, &thread);
    }
    spawned.start();
    // A thread of the caller's own process has no end of its own to wait for.
    if flags & (CLONE_VFORK | CLONE_THREAD) == CLONE_VFORK {
        wait_for_vfork(parent, &thread.process).await;
    }
    Ok(tid)
}

/// Whether the child would have to be of the deadline class: a reservation is one task's (Linux: sched_fork).
fn shares_reservation(parent: &Thread) -> Result<bool, Errno> {
    let task = parent.task().ok_or(Errno::ESRCH)?;
    Ok(executor::params(task).policy == Policy::Deadline && !task_resets_on_fork(parent))
}

/// Whether the caller's user has as many threads as RLIMIT_NPROC allows. The superuser is not counted.
fn too_many(parent: &Thread) -> Result<bool, Errno> {
    let limit = parent.process.limits.soft(limits::NPROC);
    // The user has no more than there are.
    if u64::from(pid::threads()) < limit {
        return Ok(false);
    }
    let cred = parent.cred()?;
    if cred.uid == 0 || cred.capable(CAP_SYS_RESOURCE) || cred.capable(CAP_SYS_ADMIN) {
        return Ok(false);
    }
    // Whoever begins or ends while they are counted may or may not be in the sum: so may it before and after.
    let mut threads = 0;
    Ok(pid::any_process(|guard, p| {
        if p.uid() == cred.uid {
            threads += p.relations(guard).threads.len() as u64;
        }
        threads >= limit
    }))
}

fn errno_of(e: PidError) -> Errno {
    match e {
        PidError::Exhausted => Errno::EAGAIN,
        PidError::Taken => Errno::EEXIST,
        PidError::NoMemory => Errno::ENOMEM,
    }
}

/// Builds the thread and its task. On an error the caller still owns the use of `mm`.
fn assemble(parent: &Thread, request: &CloneRequest, tid: u32, mm: Option<KArc<crate::mm::Mm>>) -> Result<(KArc<Thread>, Spawned), Errno> {
    let flags = request.flags;
    let process = if flags & CLONE_THREAD != 0 {
        parent.process.reserve_thread()?;
        parent.process.clone()
    } else {
        let sighand = parent.process.sighand();
        let sighand = if flags & CLONE_SIGHAND != 0 { sighand } else { KArc::try_new(sighand.fork())? };
        if flags & CLONE_CLEAR_SIGHAND != 0 {
            sighand.flush();
        }
        let process = Process::new(tid, sighand, parent.process.limits.copy(), request.exit_signal);
        process.uid.store(parent.process.uid(), Relaxed);
        process.dumpable.store(parent.process.dumpable.load(Relaxed), Relaxed);
        process.oom_score_adj.store(parent.process.oom_score_adj.load(Relaxed), Relaxed);
        process.no_new_privs.store(parent.process.no_new_privs.load(Relaxed), Relaxed);
        process.thp_disabled.store(parent.process.thp_disabled.load(Relaxed), Relaxed);
        let process = KArc::try_new(process)?;
        process.reserve_thread()?;
        process
    };
    let files = parent.share_files().ok_or(Errno::ESRCH)?;
    // A shared table counts its new user at the end, where nothing fails any more.
    let shares_files = flags & CLONE_FILES != 0;
    let files = if shares_files { files } else { KArc::try_new(files.fork(usize::MAX)?)? };
    let fs = parent.share_fs().ok_or(Errno::ESRCH)?;
    let fs = if flags & CLONE_FS != 0 { fs } else { KArc::try_new(fs.fork())? };
    let cred = parent.share_cred().ok_or(Errno::ESRCH)?;
    let keep_altstack = flags & (CLONE_VM | CLONE_VFORK) != CLONE_VM;
    let signals = ThreadSignals::fork(&parent.signals, keep_altstack);
    let thread = Thread::try_new(ThreadParts { tid, process, mm, files, fs, cred, signals })?;

    {
        // SAFETY: `parent` is the caller, outside EL0; the child does not run yet.
        let (from, to) = unsafe { (parent.context(), thread.context()) };
        to.copy_registers(from);
        to.x[0].set(0);
        if request.stack != 0 {
            to.sp.set(request.stack);
        }
        to.tls.set(if flags & CLONE_SETTLS != 0 { request.tls } else { read_tls() });
    }
    fpsimd::inherit(parent, &thread);
    if flags & CLONE_CHILD_CLEARTID != 0 {
        thread.clear_child_tid.store(request.child_tid, Relaxed);
    }
    if flags & CLONE_CHILD_SETTID != 0 {
        thread.set_child_tid.store(request.child_tid, Relaxed);
    }
    thread.inherit(parent);

    let task = parent.task().ok_or(Errno::ESRCH)?;
    let (params, reset) = (executor::params(task), task_resets_on_fork(parent));
    let params = if reset { params_after_reset(params) } else { params };
    let owner = KArc::as_ptr(&thread).cast();
    let running = thread.clone();
    let init = move |slot: *mut _| {
        // SAFETY: the slot is the new task's, of this future's type.
        unsafe { core::ptr::write(slot, user::run(running)) }
    };
    // SAFETY: `init` writes the future as a whole; making it runs nothing that could panic.
    let spawned = unsafe { Spawned::new_in_place(params, &task.name(), Some(&HOOKS), owner, init) };
    let spawned = spawned.map_err(|_| Errno::ENOMEM)?;
    spawned.task().set_affinity(task.affinity());
    executor::inherit(task, &spawned);
    thread.set_task(vigil_executor::task::TaskRef::from_task(spawned.task()));
    if flags & CLONE_SYSVSEM != 0 {
        undo::share(parent, &thread)?;
    }
    if shares_files && let Ok(files) = parent.files() {
        files.add_user();
    }
    Ok((thread, spawned))
}

fn task_resets_on_fork(parent: &Thread) -> bool {
    parent.reset_on_fork.load(Relaxed)
}

/// SCHED_RESET_ON_FORK: real-time and deadline become SCHED_OTHER, negative nice values become 0.
fn params_after_reset(p: Params) -> Params {
    match p.policy {
        Policy::Fifo | Policy::RoundRobin | Policy::Deadline => Params::normal(0),
        _ if p.nice < 0 => Params { nice: 0, ..p },
        _ => p,
    }
}

/// Enters the new thread into the tree. ERESTARTNOINTR when the parent got a signal meanwhile.
fn publish(parent: &Thread, request: &CloneRequest, thread: &KArc<Thread>) -> Result<(), Errno> {
    if request.flags & CLONE_INTO_CGROUP == 0 {
        return publish_in(parent, request, thread, None);
    }
    let file = parent.files()?.get_raw(request.cgroup)?;
    // The group stays as long as the trees are locked.
    let mut trees = hierarchy::lock_or_restart()?;
    let what = if request.flags & CLONE_THREAD != 0 { What::Thread } else { What::Process };
    let into = for_clone(&mut trees, parent, &file, what)?;
    publish_in(parent, request, thread, Some(into))
}

/// The same, into `group` instead of the parent's.
fn publish_in(parent: &Thread, request: &CloneRequest, thread: &KArc<Thread>, group: Option<Into>) -> Result<(), Errno> {
    let mut guard = tasks();
    // Under the lock, so that a signal for the group sees either both threads or comes before the child.
    if signal::has_pending(parent) || parent.process.is_exiting() {
        return Err(Errno::ERESTARTNOINTR);
    }
    let process = &thread.process;
    if request.flags & CLONE_THREAD != 0 {
        let threads = &process.relations(&guard).threads;
        if threads.capacity() == threads.len() {
            // Another thread used the reserved place up: make the call again.
            return Err(Errno::ERESTARTNOINTR);
        }
        membership::fork(parent, thread, group, &guard)?;
        process.live_threads.fetch_add(1, Relaxed);
        process.running_threads.fetch_add(1, Relaxed);
    } else {
        let beside = request.flags & CLONE_PARENT != 0;
        let (pgrp, session, tty, real_parent, own_signal, autogroup) = {
            let relations = parent.process.relations(&guard);
            (
                relations.pgrp,
                relations.session,
                relations.tty,
                if beside { relations.parent.clone() } else { None },
                relations.exit_signal,
                relations.autogroup.clone(),
            )
        };
        let parent_process = match real_parent {
            Some(p) => p,
            None => match guard.pids.process(parent.process.pid) {
                Some(p) => p,
                None => return Err(Errno::ERESTARTNOINTR),
            },
        };
        process.relations_mut(&mut guard).autogroup = autogroup;
        membership::fork(parent, thread, group, &guard)?;
        let relations = process.relations_mut(&mut guard);
        relations.pgrp = pgrp;
        relations.session = session;
        relations.tty = tty;
        if beside {
            // Its parent hears of it as it would of the caller.
            relations.exit_signal = own_signal;
        }
        relations.life = Life::Running;
        guard.pids.join_group(pgrp, session);
        guard.pids.join_session(session);
        guard.pids.set_process(process.pid, Some(process.clone()));
        process.join_family(parent_process, &mut guard);
    }
    let _ = process.relations_mut(&mut guard).threads.push_reserved(thread.clone());
    guard.pids.set_thread(thread.tid(), Some(thread.clone()));
    if request.flags & CLONE_THREAD == 0 {
        walk::born(process, &parent.process, &mut guard);
    }
    Ok(())
}

/// Lets go of what a thread that never ran holds.
async fn release(thread: &KArc<Thread>) {
    if let Some(mm) = thread.replace_mm(None)
        && mm.put_user()
    {
        mm.exit_mmap().await;
    }
    if let Some(files) = thread.replace_files(None) {
        exit::close_all(&files).await;
    }
    thread.replace_fs(None);
    undo::exit(thread);
}

/// Waits until the vfork child has done exec or ended. Killable, as on Linux.
async fn wait_for_vfork(parent: &Thread, child: &Process) {
    // A freezer does not wait for it.
    membership::set_frozen(parent, true);
    let _ = child.vfork_wait.wait_until(wait_site!("vfork"), WaitMode::Killable, || child.vfork_done.load(Acquire).then_some(())).await;
    membership::set_frozen(parent, false);
}

/// The child no longer uses its parent's memory.
pub fn vfork_done(process: &Process) {
    if !process.vfork_done.swap(true, AcqRel) {
        process.vfork_wait.wake_all();
    }
}
