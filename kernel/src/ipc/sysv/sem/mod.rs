//! Sets of semaphores (semop(2); Linux: ipc/sem.c).
//!
//! The operations of one call happen together or not at all. A call that cannot go on waits in the set's list with what it
//! wants; whoever changes the set does it for it, in the order in which they came, so that it is done when it is woken.
//!
//! | file | what |
//! |---|---|
//! | [`set`] | the set: operations, those who wait |
//! | [`undo`] | what is taken back at a process's end |
//! | [`control`] | what semctl(2) asks and changes |

pub mod control;
pub mod set;
pub mod undo;

use super::registry::{Object, Registry};
use super::total::Total;
use crate::task::thread::Thread;
use core::sync::atomic::{AtomicI32, Ordering::Relaxed};
use set::Set;
use vigil_abi::Errno;
use vigil_executor::lock_class;
use vigil_mem::KArc;

/// The largest value of a semaphore.
pub const SEMVMX: i32 = 32_767;
/// The largest amount that is taken back.
pub const SEMAEM: i32 = SEMVMX;

/// Semaphores of a set.
pub static SEMMSL: AtomicI32 = AtomicI32::new(32_000);
/// Semaphores of all sets.
pub static SEMMNS: AtomicI32 = AtomicI32::new(1_024_000_000);
/// Operations of a call.
pub static SEMOPM: AtomicI32 = AtomicI32::new(500);

/// All sets.
pub static SETS: Registry<Set> = Registry::new(lock_class!("sem_ids"), 32_000);
/// Semaphores of all sets.
pub static USED: Total = Total::new();

impl Object for Set {
    fn perm(&self) -> &super::perm::Perm {
        &self.perm
    }
}

/// semget(2). EINVAL, and what [`Registry::get`] answers.
pub fn get(thread: &Thread, key: i32, nsems: i32, flags: u32) -> Result<i32, Errno> {
    if nsems < 0 || nsems > SEMMSL.load(Relaxed) {
        return Err(Errno::EINVAL);
    }
    let nsems = nsems as usize;
    let fits = |set: &Set| if nsems > set.nsems { Err(Errno::EINVAL) } else { Ok(()) };
    SETS.get(thread, key, flags, fits, || {
        if nsems == 0 {
            return Err(Errno::EINVAL);
        }
        let used = USED.add(nsems as u64, u64::try_from(SEMMNS.load(Relaxed)).unwrap_or(0))?;
        Ok(KArc::try_new(Set::new(thread, key, nsems, flags, used)?)?)
    })
}
