//! Kernel tasks as user space sees them (Linux: kernel/kthread.c): a number, a row in `/proc`, a parent, `kthreadd`.
//!
//! A kernel task is a task of the executor like any other; [`spawn`] makes one. What runs is charged to it (DESIGN.md rule 10).
//! For user space it gets a [`Process`] with one [`Thread`], which have no memory and take no signal: so `ps`, `chrt`, `taskset`
//! and `/proc/PID` find class, affinity and times where they find everybody's. The task itself knows nothing of them: it has
//! no owner, so `Thread::current` is nobody while it runs.
//!
//! Process 1 comes first. Tasks that were made before it wait in a list for [`start`]; later ones, which workers may have made
//! in any task, are entered by `kthreadd` itself. One that ends takes its row with it.

use super::exit;
use super::limits::Limits;
use super::pid;
use super::process::{Process, find_process, tasks};
use super::signal::{SigHand, ThreadSignals};
use super::thread::{Thread, ThreadParts};
use core::future::Future;
use vigil_abi::Errno;
use vigil_executor::class::Params;
use vigil_executor::cpu::{CpuId, CpuMask};
use vigil_executor::lock_class;
use vigil_executor::sync::SpinLock;
use vigil_executor::task::{SpawnError, Spawned, Task, TaskRef};
use vigil_executor::wait::{WaitMode, WaitQueue};
use vigil_executor::wait_site;
use vigil_fs::{Cred, FdTable, FsStruct, Path};
use vigil_mem::{KArc, KVec};

/// The number of `kthreadd`.
pub const KTHREADD: u32 = 2;

/// A task without a row.
struct New {
    task: TaskRef,
    /// It has come to its end.
    ended: bool,
}

/// Those of them that are to have one.
static NEW: SpinLock<KVec<New>> = SpinLock::new(lock_class!("kthreads"), KVec::new());
static WAIT: WaitQueue = WaitQueue::new();

/// Makes a kernel task and starts it; with `cpu` it stays on that one, otherwise it keeps off those of `nohz_full=`. ENOMEM.
pub fn spawn(future: impl Future<Output = ()> + Send + 'static, params: Params, name: &[u8], cpu: Option<CpuId>) -> Result<(), SpawnError> {
    let made = Spawned::new(future, params, name, None, core::ptr::null())?;
    made.task().set_affinity(cpu.map_or_else(crate::boot::info::kthread_cpus, CpuMask::of));
    announce(made.task());
    drop(made.start());
    Ok(())
}

/// A kernel task was made: it gets a row. Without memory for the note it has none, and runs all the same.
pub fn announce(task: &Task) {
    if NEW.lock_irq().try_push(New { task: TaskRef::from_task(task), ended: false }).is_ok() {
        WAIT.wake_all();
    }
}

/// A kernel task is about to return from its last poll: its row goes, by `kthreadd` if that has not entered it yet. In that task.
pub fn ends(task: &Task) {
    if let Some(new) = NEW.lock_irq().iter_mut().find(|new| core::ptr::eq(&*new.task, task)) {
        new.ended = true;
        return;
    }
    remove(task);
}

/// Takes the row of `task` out.
fn remove(task: &Task) {
    if let Some(process) = find_process(task.number()).filter(|p| p.kernel) {
        let gone = exit::reap(&process, &mut tasks());
        drop(gone);
    }
}

/// Makes `kthreadd`, which enters what there is so far. Once, after process 1 has its number.
pub fn start(root: Path) -> Result<(), Errno> {
    let made = Spawned::new(kthreadd(), Params::DEFAULT, b"kthreadd", None, core::ptr::null());
    let made = made.map_err(|_| Errno::ENOMEM)?;
    made.task().set_affinity(crate::boot::info::kthread_cpus());
    let common = Common {
        actions: KArc::try_new(SigHand::ignoring())?,
        files: KArc::try_new(FdTable::try_new()?)?,
        fs: KArc::try_new(FsStruct::new(root))?,
        cred: KArc::try_new(Cred::root())?,
    };
    common.enter(made.task(), None)?;
    // It enters what was announced so far, and nobody else does: two at once would enter the first of them twice.
    drop(made.start());
    Ok(())
}

/// What all kernel threads share.
struct Common {
    actions: KArc<SigHand>,
    files: KArc<FdTable>,
    fs: KArc<FsStruct>,
    cred: KArc<Cred>,
}

impl Common {
    /// As `kthreadd` has it.
    fn of(parent: &Process) -> Option<Common> {
        let thread = parent.any_thread()?;
        Some(Common { actions: parent.sighand(), files: thread.share_files()?, fs: thread.share_fs()?, cred: thread.share_cred()? })
    }

    /// Gives `task` a number and its places in the tables.
    fn enter(self, task: &Task, parent: Option<KArc<Process>>) -> Result<(), Errno> {
        let pid = pid::alloc().map_err(|_| Errno::ENOMEM)?;
        self.enter_as(pid, task, parent).inspect_err(|_| pid::free(pid))
    }

    fn enter_as(self, pid: u32, task: &Task, parent: Option<KArc<Process>>) -> Result<(), Errno> {
        let limits = Limits::initial(super::init::max_threads() as u64 / 2);
        // As it was made: user space may let one that is not bound run on one CPU, too.
        let bound = task.affinity().0.count_ones() == 1;
        let process = KArc::try_new(Process::new_kernel(pid, self.actions, limits, bound))?;
        process.reserve_thread()?;
        let Common { files, fs, cred, .. } = self;
        let parts = ThreadParts { tid: pid, process: process.clone(), mm: None, files, fs, cred, signals: ThreadSignals::new() };
        let thread = Thread::try_new(parts)?;
        thread.set_task(TaskRef::from_task(task));
        let mut guard = tasks();
        if let Some(parent) = parent {
            process.set_parent(parent, &mut guard);
        }
        let relations = process.relations_mut(&mut guard);
        (relations.pgrp, relations.session) = (0, 0);
        // There is a place: it was reserved.
        let _ = relations.threads.push_reserved(thread.clone());
        guard.pids.join_group(0, 0);
        guard.pids.join_session(0);
        guard.pids.set_process(pid, Some(process));
        guard.pids.set_thread(pid, Some(thread));
        Ok(())
    }
}

/// Enters the tasks that were announced, oldest first. By `kthreadd` only. ENOMEM: the rest stays for another time.
fn enter_new() -> Result<(), Errno> {
    let Some(parent) = find_process(KTHREADD) else { return Ok(()) };
    loop {
        let next = NEW.lock_irq().first().map(|new| new.task.clone());
        let (Some(task), Some(common)) = (next, Common::of(&parent)) else { return Ok(()) };
        common.enter(&task, Some(parent.clone()))?;
        let entered = NEW.lock_irq().remove(0);
        if entered.is_some_and(|new| new.ended) {
            remove(&task);
        }
    }
}

/// The life of `kthreadd`.
async fn kthreadd() {
    loop {
        let some = || (!NEW.lock_irq().is_empty()).then_some(());
        // Nobody signals it; so it waits as who is idle does.
        let _ = WAIT.wait_until(wait_site!("kthreadd"), WaitMode::Interruptible, some).await;
        if enter_new().is_err() {
            let later = vigil_executor::time::now().saturating_add(vigil_executor::time::SEC);
            let _ = vigil_executor::timer::sleep_until(wait_site!("kthreadd"), later, 0, WaitMode::Interruptible).await;
        }
    }
}

/// Whether `thread` is a kernel task that stays on its CPU: user space may not move it (Linux: PF_NO_SETAFFINITY).
pub fn is_bound(thread: &Thread) -> bool {
    thread.process.bound
}
