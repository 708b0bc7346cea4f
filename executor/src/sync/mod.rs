//! Locks: what may be held where, and for how long.
//!
//! | lock | waits by | guard crosses an await | may be taken in a hard interrupt |
//! |---|---|---|---|
//! | [`SpinLock`], [`RwSpinLock`], [`SeqLock`] | spinning, preemption off | no (`!Send`) | by `*_irq` |
//! | [`Mutex`], [`RwSem`], [`Semaphore`] | `.await` | yes | `try_*` and release only |
//! | [`Completion`] | `.await` | has none | completing only |
//! | [`PiMutex`](rt_mutex::PiMutex) | `.await`; lends urgency | yes | no |
//! | [`rcu`] | readers never wait | no | yes |
//! | [`srcu`] | readers never wait | yes | no |
//!
//! Every lock names its [`LockClass`]; debug builds check the order ([`lockdep`]). `docs/locking.md` has the order and
//! the table of classes. Locks with `Mode`s of waiting (`lock`, `lock_killable`, `lock_interruptible`) check the
//! condition before the signal: who got the lock has it, even when a signal came at the same moment.

mod completion;
mod grant;
pub mod lockdep;
mod mutex;
mod optimistic;
#[cfg(not(loom))]
mod percpu_counter;
mod raw;
pub mod rcu;
#[cfg(not(loom))]
pub mod rt_mutex;
mod rwsem;
mod rwspin;
mod semaphore;
mod seqlock;
mod spinlock;
pub mod srcu;
#[cfg(not(loom))]
mod srcu_callbacks;

pub use completion::Completion;
pub use lockdep::LockClass;
pub use mutex::{Mutex, MutexGuard};
#[cfg(not(loom))]
pub use percpu_counter::PerCpuCounter;
pub use rwsem::{RwSem, RwSemReadGuard, RwSemWriteGuard};
pub use rwspin::{RwReadGuard, RwReadIrqGuard, RwSpinLock, RwWriteGuard, RwWriteIrqGuard};
pub use semaphore::Semaphore;
pub use seqlock::{SeqCount, SeqData, SeqLock, SeqWriteGuard};
pub use spinlock::{SpinBhGuard, SpinGuard, SpinIrqGuard, SpinLock, SpinMaskedGuard};
