//! Lists of tasks for the log: every one, or those that wait for something that is to come soon (SysRq-t, SysRq-w), and the
//! watchdog that looks for the latter (Linux: kernel/hung_task.c).

use crate::pr_emerg;
use crate::task::chain;
use crate::task::process::tasks;
use crate::task::thread::Thread;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use vigil_abi::Errno;
use vigil_executor::class::{Params, Policy};
use vigil_executor::executor;
use vigil_executor::task::Task;
use vigil_executor::time::{SEC, now};
use vigil_executor::wait::{WaitMode, WaitQueue};
use vigil_executor::wait_site;
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
fn is_blocked(task: &Task) -> bool {
    task.is_sleeping() && matches!(task.waiting_at(), Some((_, WaitMode::Uninterruptible)))
}

/// Calls `f` with each living thread, by process number, with no lock held.
pub fn each_thread(mut f: impl FnMut(&KArc<Thread>)) {
    let mut pid = 1;
    while let Some(process) = { tasks().pids.next_process(pid) } {
        let mut threads = KVec::new();
        // Without memory for the list some are left out.
        process.for_each_thread(|t| _ = threads.try_push(t.clone()));
        threads.iter().for_each(&mut f);
        pid = process.pid + 1;
    }
}

/// The name of `task`, for the log.
fn name_of(task: &Task) -> ([u8; 16], usize) {
    let name = task.name();
    let len = name.iter().position(|b| *b == 0).unwrap_or(name.len());
    (name, len)
}

fn show(thread: &Thread, task: &Task) {
    let state = match () {
        () if is_blocked(task) => 'D',
        () if task.is_sleeping() => 'S',
        () => 'R',
    };
    let (name, len) = name_of(task);
    pr_emerg!("task:{:<15} state:{state} pid:{:<5} ppid:{:<5}", name[..len].escape_ascii(), thread.tid(), thread.process.parent_pid());
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

/// `/proc/sys/kernel/hung_task_timeout_secs`; 0: off.
static TIMEOUT: AtomicU64 = AtomicU64::new(120);
/// The timeout was changed.
static CHANGED: WaitQueue = WaitQueue::new();
/// `/proc/sys/kernel/hung_task_warnings`: reports that are still to come.
static WARNINGS: AtomicU64 = AtomicU64::new(10);

/// The timeout in seconds.
pub fn hung_task_timeout() -> u64 {
    TIMEOUT.load(Relaxed)
}

/// Sets it, for the next look.
pub fn set_hung_task_timeout(seconds: u64) {
    TIMEOUT.store(seconds, Relaxed);
    CHANGED.wake_all();
}

/// How many reports are still to come.
pub fn hung_task_warnings() -> u64 {
    WARNINGS.load(Relaxed)
}

/// Sets that.
pub fn set_hung_task_warnings(count: u64) {
    WARNINGS.store(count, Relaxed);
}

/// A blocked thread as one look found it: the next one finds it hung if it has not run in between.
type Seen = (u32, u64);

/// Looks at all threads; reports those of `before` that have not moved, and returns the blocked ones.
fn look(before: &[Seen], seconds: u64) -> KVec<Seen> {
    let mut blocked = KVec::new();
    each_thread(|thread| {
        let Some(task) = thread.task().filter(|t| is_blocked(t)) else { return };
        let seen = (thread.tid(), thread.run_time());
        // What does not fit is looked at the next time.
        let _ = blocked.try_push(seen);
        if before.contains(&seen) && WARNINGS.fetch_update(Relaxed, Relaxed, |n| n.checked_sub(1)).is_ok() {
            let (name, len) = name_of(task);
            pr_emerg!("INFO: task {}:{} blocked for more than {seconds} seconds.", name[..len].escape_ascii(), thread.tid());
            pr_emerg!("\"echo 0 > /proc/sys/kernel/hung_task_timeout_secs\" disables this message.");
            show(thread, task);
        }
    });
    blocked
}

/// `khungtaskd`: one look per timeout.
async fn watch() {
    let mut before = KVec::new();
    loop {
        let seconds = TIMEOUT.load(Relaxed);
        let changed = || (TIMEOUT.load(Relaxed) != seconds).then_some(());
        let until = if seconds == 0 { u64::MAX } else { now().saturating_add(seconds.saturating_mul(SEC)) };
        let _ = CHANGED.wait_until_deadline(wait_site!("watchdog"), WaitMode::Interruptible, Some(until), SEC, changed).await;
        let same = TIMEOUT.load(Relaxed) == seconds && seconds != 0;
        before = look(if same { &before } else { &[] }, seconds);
    }
}

/// Starts the watchdog. ENOMEM.
pub fn init() -> Result<(), Errno> {
    crate::task::kthread::spawn(watch(), Params::DEFAULT, b"khungtaskd", None).map_err(|_| Errno::ENOMEM)
}
