//! membarrier(2): makes every other thread pass through a memory barrier, so that the fast side of an algorithm needs none.
//!
//! An expedited command interrupts the other CPUs. A thread that is on none of them passes through barriers when it is
//! switched in: its task's state word and the run queue's lock. An exception's return is a context synchronisation event,
//! so the interrupt serves the "sync core" commands as well.

use super::Args;
use crate::task::thread::Thread;
use core::sync::atomic::{Ordering, fence};
use vigil_abi::Errno;
use vigil_abi::process::*;
use vigil_executor::cpu::ONLINE;

/// What this kernel can: all of Linux 6.1's commands but those of restartable sequences, which it lacks.
const COMMANDS: u32 = MEMBARRIER_CMD_GLOBAL
    | MEMBARRIER_CMD_GLOBAL_EXPEDITED
    | MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED
    | MEMBARRIER_CMD_PRIVATE_EXPEDITED
    | MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED
    | MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE
    | MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE;

fn barrier(_: usize) {
    fence(Ordering::SeqCst);
}

/// A barrier on every CPU.
fn everywhere() {
    // What the caller did before is ordered before the others' barriers, and these before what it does next.
    fence(Ordering::SeqCst);
    crate::smp::call_others(barrier, 0);
    fence(Ordering::SeqCst);
}

/// membarrier(command, flags, cpu). EINVAL; EPERM for a private command that the address space has not registered for.
pub async fn membarrier(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    if a[1] as u32 != 0 {
        return Err(Errno::EINVAL);
    }
    let command = a[0] as u32;
    match command {
        MEMBARRIER_CMD_QUERY => return Ok(COMMANDS as usize),
        MEMBARRIER_CMD_GLOBAL => {
            if ONLINE.load().0.count_ones() > 1 {
                // A grace period passes through a barrier on every CPU.
                vigil_executor::sync::rcu::synchronize(vigil_executor::wait_site!("sys_membarrier")).await;
            }
        }
        // Whoever registers is interrupted; everybody is.
        MEMBARRIER_CMD_GLOBAL_EXPEDITED => everywhere(),
        MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED => {}
        MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED | MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE => {
            let mm = t.mm().ok_or(Errno::EINVAL)?;
            mm.membarrier.fetch_or(command >> 1, Ordering::SeqCst);
        }
        MEMBARRIER_CMD_PRIVATE_EXPEDITED | MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE => {
            let mm = t.mm().ok_or(Errno::EINVAL)?;
            if mm.membarrier.load(Ordering::SeqCst) & command == 0 {
                return Err(Errno::EPERM);
            }
            if mm.users() > 1 {
                everywhere();
            }
        }
        _ => return Err(Errno::EINVAL),
    }
    Ok(0)
}
