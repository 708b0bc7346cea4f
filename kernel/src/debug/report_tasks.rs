//! Lists of tasks for the log: every one, or those that wait for something that is to come soon (SysRq-t, SysRq-w).

use crate::pr_emerg;
use crate::task::chain;
use crate::task::pid;
use crate::task::thread::Thread;
use vigil_abi::until_nul;
use vigil_executor::class::{Params, Policy};
use vigil_executor::executor;
use vigil_executor::task::Task;
use vigil_executor::wait::WaitMode;
use vigil_mem::{KArc, KVec};

/// Which tasks are shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Which {
    /// All.
    All,
    /// Those that nothing can interrupt.
    Blocked,
}

/// Whether `task` sleeps and neither a signal nor a kill ends that.
pub(super) fn is_blocked(task: &Task) -> bool {
    task.is_sleeping() && matches!(task.waiting_at(), Some((_, WaitMode::Uninterruptible)))
}

/// Calls `f` with each living thread, by process number, with no lock held.
pub fn each_thread(mut f: impl FnMut(&KArc<Thread>)) {
    let mut next = 1;
    while let Some(process) = pid::next_process(next) {
        let mut threads = KVec::new();
        // Without memory for the list some are left out.
        process.for_each_thread(|t| _ = threads.try_push(t.clone()));
        threads.iter().for_each(&mut f);
        next = process.pid + 1;
    }
}

/// Logs one, with its await chain.
pub(super) fn show(thread: &Thread, task: &Task) {
    let state = match () {
        () if is_blocked(task) => 'D',
        () if task.is_sleeping() => 'S',
        () => 'R',
    };
    pr_emerg!(
        "task:{:<15} state:{state} pid:{:<5} ppid:{:<5}",
        until_nul(&task.name()).escape_ascii(),
        thread.tid(),
        thread.process.parent_pid()
    );
    pr_emerg!("Call trace:");
    chain::each(task, &mut |line| pr_emerg!(" {line}"));
}

/// Logs the tasks of `which` with their await chains. A task.
pub fn show_tasks(which: Which) {
    each_thread(|thread| {
        if let Some(task) = thread.task().filter(|t| which == Which::All || is_blocked(t)) {
            show(thread, task);
        }
    });
}

/// Makes every real-time and deadline thread a fair one of nice 0, and every nicer one nice 0 (Linux: normalize_rt_tasks). A task.
pub fn nice_all() {
    each_thread(|thread| {
        let Some(task) = thread.task() else { return };
        let params = executor::params(task);
        let fair = matches!(params.policy, Policy::Normal | Policy::Batch | Policy::Idle);
        if !fair {
            executor::set_params(task, Params { nice: 0, ..Params::DEFAULT });
        } else if params.nice < 0 {
            executor::set_params(task, Params { nice: 0, ..params });
        }
    });
}
