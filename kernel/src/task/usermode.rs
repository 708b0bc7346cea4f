//! Programs of user space that the kernel starts by itself (Linux: kernel/umh.c, call_usermodehelper).

use super::exec::{Args, ExecFile};
use super::exit::exit_thread;
use super::kthread::KTHREADD;
use super::limits::Limits;
use super::process::{Process, find_process, tasks};
use super::signal::{SIGCHLD, SigHand, ThreadSignals};
use super::switch::HOOKS;
use super::thread::{Thread, ThreadParts};
use super::{execve, init, pid, user};
use core::future::Future;
use vigil_abi::Errno;
use vigil_executor::class::Params;
use vigil_executor::task::{Spawned, TaskRef};
use vigil_fs::{At, Cred, Ctx, FdTable, FsStruct, LookupFlags};
use vigil_mem::{KArc, KBox, KVec};

/// Status of one whose program could not be executed.
const NOT_EXECUTED: i32 = 127 << 8;

/// A process that is nobody's copy, with the superuser's rights and no descriptors, and its thread, which runs what `life` makes of it once it is
/// started. Without a `parent` it is the first process.
pub(super) fn make<F: Future<Output = ()> + Send + 'static>(
    fs: KArc<FsStruct>,
    parent: Option<KArc<Process>>,
    name: &[u8],
    life: impl FnOnce(KArc<Thread>) -> F,
) -> Result<(Spawned, KArc<Process>), Errno> {
    let tid = pid::alloc().map_err(|_| Errno::ENOMEM)?;
    make_as(tid, fs, parent, name, life).inspect_err(|_| pid::free(tid))
}

fn make_as<F: Future<Output = ()> + Send + 'static>(
    tid: u32,
    fs: KArc<FsStruct>,
    parent: Option<KArc<Process>>,
    name: &[u8],
    life: impl FnOnce(KArc<Thread>) -> F,
) -> Result<(Spawned, KArc<Process>), Errno> {
    let limits = Limits::initial(init::max_threads() as u64 / 2);
    let process = KArc::try_new(Process::new(tid, KArc::try_new(SigHand::new())?, limits, SIGCHLD))?;
    process.reserve_thread()?;
    let parts = ThreadParts {
        tid,
        process: process.clone(),
        mm: None,
        files: KArc::try_new(FdTable::try_new()?)?,
        fs,
        cred: KArc::try_new(Cred::root())?,
        signals: ThreadSignals::new(),
    };
    let thread = Thread::try_new(parts)?;
    let owner = KArc::as_ptr(&thread).cast();
    let spawned = Spawned::new(life(thread.clone()), Params::DEFAULT, name, Some(&HOOKS), owner).map_err(|_| Errno::ENOMEM)?;
    thread.set_task(TaskRef::from_task(spawned.task()));

    let mut guard = tasks();
    let relations = process.relations_mut(&mut guard);
    // As on Linux it is in no group or session until it makes its own.
    (relations.pgrp, relations.session) = (0, 0);
    // There is a place: it was reserved.
    let _ = relations.threads.push_reserved(thread.clone());
    guard.pids.join_group(0, 0);
    guard.pids.join_session(0);
    guard.pids.set_process(tid, Some(process.clone()));
    guard.pids.set_thread(tid, Some(thread));
    if let Some(parent) = parent {
        process.join_family(parent, &mut guard);
    }
    drop(guard);
    Ok((spawned, process))
}

/// Starts the program `argv[0]` with `argv` and `envp`, and does not wait for it; nobody hears of its end. It is a child of `kthreadd`. ENOMEM, E2BIG;
/// that it cannot be executed shows later, to nobody.
pub fn start(argv: &[&[u8]], envp: &[&[u8]]) -> Result<(), Errno> {
    let parent = find_process(KTHREADD).ok_or(Errno::EAGAIN)?;
    let args = Args::from_kernel(argv, envp)?;
    let path = KVec::try_from_slice(argv.first().ok_or(Errno::EINVAL)?)?;
    let of_kernel = parent.any_thread().and_then(|t| t.share_fs()).ok_or(Errno::EAGAIN)?;
    // A directory of its own, like a fork's.
    let fs = KArc::try_new(of_kernel.fork())?;
    let (spawned, _) = make(fs, Some(parent), b"kworker/u", |thread| life(thread, path, args))?;
    drop(spawned.start());
    Ok(())
}

async fn life(thread: KArc<Thread>, path: KVec<u8>, args: Args) {
    let done = match KBox::try_pin(execute(&thread, &path, args)) {
        Ok(execution) => execution.await,
        Err(_) => Err(Errno::ENOMEM),
    };
    if done.is_err() {
        exit_thread(&thread, NOT_EXECUTED);
    }
    user::run(thread).await;
}

async fn execute(thread: &Thread, path: &[u8], args: Args) -> Result<(), Errno> {
    let file = open_program(thread, path).await?;
    KBox::try_pin(execve::run(thread, file, path, args))?.await.map(drop)
}

/// The program `path` as `thread` sees it.
pub(super) async fn open_program(thread: &Thread, path: &[u8]) -> Result<ExecFile, Errno> {
    let fs = thread.share_fs().ok_or(Errno::ENOENT)?;
    let cred = thread.share_cred().ok_or(Errno::EPERM)?;
    let ctx = Ctx { fs: &fs, cred: &cred, fsize_limit: u64::MAX };
    Ok(ExecFile::new(vigil_fs::open_exec(&ctx, At::Cwd, path, LookupFlags::FOLLOW).await?))
}
