//! The load average: runnable and uninterruptible tasks, decayed over 1, 5 and 15 minutes (Linux: kernel/sched/loadavg.c).
//!
//! Fixed point with 11 bits; every 5 seconds `load = load * e + active * (1 - e)`. The value is brought up to date when
//! it is read, from the number of whole periods that have passed, so that an idle machine needs no tick for it.

use crate::task::pid;
use vigil_executor::cpu::ONLINE;
use vigil_executor::executor;
use vigil_executor::lock_class;
use vigil_executor::sync::SpinLock;
use vigil_executor::time::{Nanos, SEC, now};
use vigil_executor::wait::WaitMode;

const SHIFT: u32 = 11;
const ONE: u64 = 1 << SHIFT;
/// exp(-5 s / 1, 5, 15 min) in fixed point: Linux's EXP_1, EXP_5, EXP_15.
const DECAY: [u64; 3] = [1884, 2014, 2037];
const PERIOD: Nanos = 5 * SEC;

struct Load {
    values: [u64; 3],
    since: Nanos,
}

static LOAD: SpinLock<Load> = SpinLock::new(lock_class!("loadavg"), Load { values: [0; 3], since: 0 });

/// Threads that run or want to, and threads in uninterruptible waits.
pub fn active() -> u64 {
    let runnable: usize = ONLINE.load().iter().map(executor::nr_running).sum();
    let mut waiting = 0;
    pid::for_each_thread(|_, thread| {
        let site = thread.task().and_then(|t| t.waiting_at());
        waiting += matches!(site, Some((_, WaitMode::Uninterruptible))) as u64;
    });
    runnable as u64 + waiting
}

fn power(base: u64, mut n: u64) -> u64 {
    let (mut result, mut factor) = (ONE, base);
    while n > 0 {
        if n & 1 != 0 {
            result = (result * factor) >> SHIFT;
        }
        factor = (factor * factor) >> SHIFT;
        n >>= 1;
    }
    result
}

/// The three averages, 11 fraction bits.
pub fn averages() -> [u64; 3] {
    let active = active() << SHIFT;
    let mut load = LOAD.lock();
    let periods = now().saturating_sub(load.since) / PERIOD;
    if periods > 0 {
        load.since += periods * PERIOD;
        for (value, decay) in load.values.iter_mut().zip(DECAY) {
            let e = power(decay, periods);
            *value = (*value * e + active * (ONE - e)) >> SHIFT;
        }
    }
    load.values
}

/// The averages as sysinfo(2) has them: 16 fraction bits.
pub fn sysinfo_loads() -> [u64; 3] {
    averages().map(|v| v << (16 - SHIFT))
}
