//! CPUs that come when nobody waits for them any more: each waits until it is called again, on a stack of its own, and then runs.
//!
//! For `maxcpus=1`: the test launches the others itself, given up before they can have come.

use super::report;
use crate::arch::aarch64::smp as firmware;
use crate::boot::BootInfo;
use crate::{hotplug, smp};
use vigil_executor::cpu::{CpuId, ONLINE};
use vigil_executor::time::{self, MSEC};
use vigil_executor::timer::sleep_until;
use vigil_executor::wait::WaitMode;
use vigil_executor::wait_site;

async fn wait() {
    let _ = sleep_until(wait_site!("selftest"), time::now() + 100 * MSEC, 0, WaitMode::Uninterruptible).await;
}

/// Launches all CPUs of `info` that do not run, too late, and calls them when they have come.
pub(super) async fn run(info: &'static BootInfo) -> bool {
    let others = || (1..info.cpus().count()).filter_map(CpuId::new);
    while !smp::begin_transition() {
        wait().await;
    }
    let given_up = others().filter(|&cpu| firmware::launch_too_late(cpu, info).is_ok()).count();
    wait().await;
    let too_early = ONLINE.load().iter().count() - 1;
    let mut came = 0;
    for cpu in others() {
        // On a busy host one may be later than the five seconds that it gets, again.
        let mut tries = 0;
        while hotplug::bring_up(cpu).await.is_err() && tries < 10 {
            tries += 1;
        }
        came += usize::from(ONLINE.load().contains(cpu));
    }
    smp::end_transition();
    let ok = given_up > 0 && given_up == others().count() && too_early == 0 && came == given_up;
    report("late-cpus", ok, format_args!("given_up {given_up} too_early {too_early} came {came}"))
}
