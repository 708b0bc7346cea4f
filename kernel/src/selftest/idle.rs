//! Whether anybody waits who could run on a CPU that is about to idle: [`vigil_executor::balance::audit`], beside whatever process 1 does.

use super::latency::pause;
use super::report;
use vigil_executor::balance::audit::{self, Seen};
use vigil_executor::time::MSEC;

/// Looks at each idle entry of the machine, and says every `ms` milliseconds what was seen so far. Until the machine ends.
pub async fn audit(ms: u64) -> bool {
    audit::start();
    loop {
        pause(ms.max(1) * MSEC).await;
        let Seen { entries, left, switching, waiters, last } = audit::seen();
        report(
            "idle-audit",
            waiters == 0,
            format_args!("entries {entries}, waiters {waiters}, left {left}, switching {switching}, last {last:#x}"),
        );
    }
}
