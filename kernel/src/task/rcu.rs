//! RCU as the command line wants it: what can be tuned, and the tasks for callbacks of CPUs that are kept free of them.

use super::kthread;
use crate::boot::BootInfo;
use crate::pr_info;
use crate::procfs::format::put_list;
use core::sync::atomic::Ordering::Relaxed;
use vigil_executor::class::Params;
use vigil_executor::cpu::{CpuId, CpuMask};
use vigil_executor::sync::rcu::{limits, nocb};
use vigil_executor::task::SpawnError;

/// Once, before the first process. ENOMEM.
pub fn start(info: &BootInfo) -> Result<(), SpawnError> {
    let words = &info.params.rcu;
    limits::BLIMIT.store(words.blimit, Relaxed);
    limits::QHIMARK.store(words.qhimark, Relaxed);
    limits::QLOWMARK.store(words.qlowmark, Relaxed);
    limits::DIVISOR.store(words.divisor, Relaxed);
    limits::RESCHED_NS.store(words.resched_ns, Relaxed);
    limits::set_force_first(words.first_fqs);
    limits::set_force_next(words.next_fqs);
    if words.nocbs.is_none() && info.params.nohz_full == 0 {
        return Ok(());
    }
    let count = info.cpus().count();
    let mask = CpuMask((words.nocbs.unwrap_or(0) | info.params.nohz_full) & (u64::MAX >> (64 - count)));
    pr_info!("rcu: \tOffload RCU callbacks from CPUs: {}.", List(mask));
    // Linux: rcu_organize_nocb_kthreads.
    let group = count / count.isqrt();
    for first in (0..count).step_by(group) {
        let cpus = CpuMask((1 << (first + group)) - (1 << first));
        kthread::spawn(nocb::grace_periods(cpus), Params::DEFAULT, &named(b'g', first), None)?;
    }
    for cpu in (0..count).filter_map(CpuId::new) {
        kthread::spawn(nocb::callbacks(cpu), Params::DEFAULT, &named(b's', cpu.index()), None)?;
    }
    nocb::offload(mask);
    Ok(())
}

/// `rcuog/2`, `rcuos/3`; there are no two digits.
fn named(kind: u8, cpu: usize) -> [u8; 7] {
    [b'r', b'c', b'u', b'o', kind, b'/', b'0' + cpu as u8]
}

/// A list of CPUs, as Linux's `%*pbl` writes it.
struct List(CpuMask);

impl core::fmt::Display for List {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        if self.0.0 == 0 {
            return f.write_str("(none)");
        }
        put_list(self.0.0, f)
    }
}
