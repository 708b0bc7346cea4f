//! CPU time by kind, for `/proc/stat`.
//!
//! The executor counts how long each CPU was idle, softirqs are measured, and each thread knows how much of its time it
//! spent in system calls; nothing on the way into and out of the kernel is measured for this. The rest of a CPU's time,
//! since it was last asked for, is divided into user and system as all threads' times were since then. What is shown
//! never decreases.

use crate::task::pid;
use crate::task::process::tasks;
use vigil_executor::cpu::{CpuId, MAX_CPUS};
use vigil_executor::softirq;
use vigil_executor::sync::SpinLock;
use vigil_executor::time::now;
use vigil_executor::{executor, lock_class};

/// CPU time of one CPU since boot, nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct CpuTime {
    /// In programs.
    pub user: u64,
    /// In the kernel for them.
    pub system: u64,
    /// Nothing to do.
    pub idle: u64,
    /// Softirqs.
    pub softirq: u64,
}

struct Shares {
    cpus: [CpuTime; MAX_CPUS],
    /// User and system time of all threads when the shares were last brought up to date.
    threads: [u64; 2],
}

const NONE: CpuTime = CpuTime { user: 0, system: 0, idle: 0, softirq: 0 };
static SHARES: SpinLock<Shares> = SpinLock::new(lock_class!("cputime"), Shares { cpus: [NONE; MAX_CPUS], threads: [0; 2] });

/// User and system time of all threads, living and dead.
fn threads() -> [u64; 2] {
    let mut sum = [0u64; 2];
    let mut add = |time: [u64; 2]| sum = [sum[0].wrapping_add(time[0]), sum[1].wrapping_add(time[1])];
    pid::for_each_thread(|_, thread| add(thread.times()));
    let mut from = 1;
    while let Some(process) = pid::next_process(from) {
        from = process.pid + 1;
        let (dead, children) = {
            let guard = tasks();
            let r = process.relations(&guard);
            (r.dead.time, r.children.time)
        };
        add(dead);
        add(children);
    }
    sum
}

/// The times of `cpus`, in order.
pub(super) fn all(cpus: impl Iterator<Item = CpuId>, mut f: impl FnMut(CpuId, CpuTime)) {
    let new = threads();
    let mut shares = SHARES.lock();
    let grown = [new[0].saturating_sub(shares.threads[0]), new[1].saturating_sub(shares.threads[1])];
    // What moves from a thread to its process or from that to its parent meanwhile may be seen twice: then it does not count next time.
    for (known, new) in shares.threads.iter_mut().zip(new) {
        *known = (*known).max(new);
    }
    let mut copy = [NONE; MAX_CPUS];
    for (i, time) in shares.cpus.iter_mut().enumerate() {
        if let Some(cpu) = CpuId::new(i) {
            update(time, cpu, grown);
        }
        copy[i] = *time;
    }
    drop(shares);
    cpus.for_each(|cpu| f(cpu, copy[cpu.index()]));
}

fn update(time: &mut CpuTime, cpu: CpuId, grown: [u64; 2]) {
    time.idle = time.idle.max(executor::stat(cpu).idle);
    time.softirq = time.softirq.max(softirq::time_of(cpu));
    let accounted = time.user.saturating_add(time.system).saturating_add(time.idle).saturating_add(time.softirq);
    let busy = now().saturating_sub(accounted).saturating_sub(executor::stat(cpu).offline);
    let (user, all) = (u128::from(grown[0]), u128::from(grown[0]) + u128::from(grown[1]));
    // Where no thread ran, the kernel's own tasks did.
    let user = (u128::from(busy) * user).checked_div(all).unwrap_or(0) as u64;
    time.user += user;
    time.system += busy - user;
}
