//! kswapd: the task that gets memory back before anybody has to wait for it (Linux: mm/vmscan.c kswapd).
//!
//! The allocator wakes it when a zone falls below its low mark; it works until all are above their high marks or nothing more
//! can be had. One node, one task. What it asks are the shrinkers that `fs` has registered: the dentry cache. Pages of tmpfs
//! and private pages cannot be given up, because there is no swap; the out-of-memory killer answers for them.

use crate::smp;
use crate::task::kthread;
use core::sync::atomic::{AtomicBool, Ordering::*};
use vigil_executor::arch;
use vigil_executor::class::Params;
use vigil_executor::task::SpawnError;
use vigil_executor::wait::{WaitMode, WaitQueue};
use vigil_executor::wait_site;
use vigil_mem::{page_alloc, slab};

static WANTED: AtomicBool = AtomicBool::new(false);
static WAIT: WaitQueue = WaitQueue::new();

/// Turns after which lists that other CPUs fill again are left to them: more than it takes to empty all.
const MOST_TURNS: u32 = 1024;

/// Starts it, and tells the allocator of it and of how the lists of other CPUs are emptied. Once at boot.
pub fn start() -> Result<(), SpawnError> {
    kthread::spawn(kswapd(), Params::DEFAULT, b"kswapd0", None)?;
    page_alloc::set_drain_hook(drain_others);
    page_alloc::set_kswapd_hook(wake);
    Ok(())
}

/// Any context, with locks held.
fn wake() {
    if !WANTED.swap(true, AcqRel) {
        WAIT.wake_all();
    }
}

async fn kswapd() {
    loop {
        let wanted = || WANTED.swap(false, AcqRel).then_some(());
        let _ = WAIT.wait_until(wait_site!("kswapd"), WaitMode::Interruptible, wanted).await;
        page_alloc::balance().await;
    }
}

/// A CPU has given something back, and may have more.
static MORE: AtomicBool = AtomicBool::new(false);

/// Makes the other CPUs give back what lies on their lists. Called in a task, between two attempts. They do so in an interrupt: a
/// little of it each time.
fn drain_others() {
    if arch::irqs_disabled() {
        return;
    }
    for _ in 0..MOST_TURNS {
        MORE.store(false, Relaxed);
        smp::call_others(|_| drain_turn(), 0);
        if !MORE.load(Relaxed) {
            return;
        }
    }
}

fn drain_turn() {
    if slab::drain_turn() || page_alloc::drain_turn() {
        MORE.store(true, Relaxed);
    }
}
