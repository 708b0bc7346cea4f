//! The hung-task watchdog: threads that wait where neither a signal nor a kill ends it, and for too long (Linux: kernel/hung_task.c).

use super::report_tasks::{each_thread, is_blocked, show};
use super::{backtrace, panic, printk};
use crate::pr_err;
use crate::task::thread::Thread;
use core::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering::Relaxed};
use vigil_abi::{Errno, until_nul};
use vigil_executor::class::Params;
use vigil_executor::task::Task;
use vigil_executor::time::{Nanos, SEC, now};
use vigil_executor::wait::{WaitMode, WaitQueue};
use vigil_executor::wait_site;
use vigil_mem::KVec;

/// `kernel.hung_task_timeout_secs`; 0: off.
static TIMEOUT: AtomicU64 = AtomicU64::new(120);
/// `kernel.hung_task_check_interval_secs`; 0: the timeout.
static INTERVAL: AtomicU64 = AtomicU64::new(0);
/// `kernel.hung_task_check_count`: threads that are looked at, at most. Linux's PID_MAX_LIMIT.
static CHECK_COUNT: AtomicU32 = AtomicU32::new(1 << 22);
/// `kernel.hung_task_warnings`: reports that are still to come; -1: without end.
static WARNINGS: AtomicI64 = AtomicI64::new(10);
/// `kernel.hung_task_panic`: whether a hung task is the end of the machine.
pub static PANICS: AtomicBool = AtomicBool::new(false);
/// `kernel.hung_task_all_cpu_backtrace`: whether a report is followed by what each CPU does.
pub static SHOWS_ALL_CPUS: AtomicBool = AtomicBool::new(false);
/// The timeout or the interval was changed.
static CHANGED: WaitQueue = WaitQueue::new();

/// The timeout, seconds.
pub fn timeout() -> u64 {
    TIMEOUT.load(Relaxed)
}

/// Sets it; what was seen before counts no more.
pub fn set_timeout(seconds: u64) {
    TIMEOUT.store(seconds, Relaxed);
    CHANGED.wake_all();
}

/// Seconds between two looks.
pub fn interval() -> u64 {
    INTERVAL.load(Relaxed)
}

/// Sets them.
pub fn set_interval(seconds: u64) {
    INTERVAL.store(seconds, Relaxed);
    CHANGED.wake_all();
}

/// How many threads are looked at.
pub fn check_count() -> u32 {
    CHECK_COUNT.load(Relaxed)
}

/// Sets that.
pub fn set_check_count(count: u32) {
    CHECK_COUNT.store(count, Relaxed);
}

/// How many reports are still to come; -1: any number.
pub fn warnings() -> i64 {
    WARNINGS.load(Relaxed)
}

/// Sets that.
pub fn set_warnings(count: i64) {
    WARNINGS.store(count, Relaxed);
}

/// A blocked thread: who has run no longer by the next look has waited all the time.
struct Seen {
    tid: u32,
    ran: u64,
    since: Nanos,
}

/// Whether one more report is to be made.
fn may_warn() -> bool {
    let one_less = |n: i64| if n > 0 { n.checked_sub(1) } else { (n < 0).then_some(n) };
    WARNINGS.fetch_update(Relaxed, Relaxed, one_less).is_ok()
}

fn report(thread: &Thread, task: &Task, seconds: u64) {
    pr_err!("INFO: task {}:{} blocked for more than {seconds} seconds.", until_nul(&task.name()).escape_ascii(), thread.tid());
    pr_err!("\"echo 0 > /proc/sys/kernel/hung_task_timeout_secs\" disables this message.");
    show(thread, task);
}

/// Looks at the threads; reports those that have waited for `seconds`, and returns the blocked ones.
fn look(before: &[Seen], seconds: u64) -> KVec<Seen> {
    let (at, limit) = (now(), seconds.saturating_mul(SEC));
    let (mut blocked, mut left, mut hung, mut told) = (KVec::new(), check_count(), false, false);
    each_thread(|thread| {
        if left == 0 {
            return;
        }
        left -= 1;
        let Some(task) = thread.task().filter(|t| is_blocked(t)) else { return };
        let (tid, ran) = (thread.tid(), thread.run_time());
        let since = before.iter().find(|s| s.tid == tid && s.ran == ran).map_or(at, |s| s.since);
        // What does not fit is looked at the next time.
        let _ = blocked.try_push(Seen { tid, ran, since });
        if at.saturating_sub(since) < limit {
            return;
        }
        hung = true;
        if PANICS.load(Relaxed) {
            // Everything is shown from here on.
            printk::set_console_level(u8::MAX);
        }
        if may_warn() {
            told = true;
            report(thread, task, seconds);
        }
    });
    if told && SHOWS_ALL_CPUS.load(Relaxed) {
        backtrace::show_all();
    }
    if hung && PANICS.load(Relaxed) {
        panic::panic_at(format_args!("hung_task: blocked tasks"), 0, 0);
    }
    blocked
}

/// `khungtaskd`.
async fn watch() {
    let mut before = KVec::new();
    let mut last = now();
    loop {
        let told = (timeout(), interval());
        let changed = || ((timeout(), interval()) != told).then_some(());
        let seconds = if told.1 == 0 { told.0 } else { told.1.min(told.0) };
        let until = if seconds == 0 { u64::MAX } else { last.saturating_add(seconds.saturating_mul(SEC)) };
        let _ = CHANGED.wait_until_deadline(wait_site!("watchdog"), WaitMode::Interruptible, Some(until), SEC, changed).await;
        if timeout() != told.0 {
            before.clear();
        }
        if told.0 != 0 && (timeout(), interval()) == told {
            before = look(&before, told.0);
        }
        last = now();
    }
}

/// Starts the watchdog. ENOMEM.
pub fn init() -> Result<(), Errno> {
    if let Some(params) = crate::boot::params() {
        PANICS.store(params.hung_task_panic, Relaxed);
    }
    crate::task::kthread::spawn(watch(), Params::DEFAULT, b"khungtaskd", None).map_err(|_| Errno::ENOMEM)
}
