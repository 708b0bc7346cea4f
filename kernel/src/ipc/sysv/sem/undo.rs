//! SEM_UNDO: what a process has done to semaphores and what is taken back when it ends (Linux: exit_sem).
//!
//! The list belongs to a thread, and threads that were made with CLONE_SYSVSEM share it. An entry is also in its set, which
//! forgets it when a value is set, and loses it when the set is removed.

use super::SEMVMX;
use super::set::Set;
use crate::task::thread::Thread;
use core::sync::atomic::{AtomicUsize, Ordering::*};
use vigil_abi::Errno;
use vigil_executor::lock_class;
use vigil_executor::sync::{SpinGuard, SpinLock};
use vigil_mem::{KArc, KVec, KWeak};

/// What is to be added to the semaphores of one set at the end. Changed under the set's lock.
pub struct Undo {
    adjustments: SpinLock<KVec<i16>>,
}

impl Undo {
    /// By semaphore.
    pub fn adjustments(&self) -> SpinGuard<'_, KVec<i16>> {
        self.adjustments.lock()
    }
}

/// The entries of one thread, or of several.
pub struct UndoList {
    users: AtomicUsize,
    entries: SpinLock<KVec<(KWeak<Set>, KArc<Undo>)>>,
}

/// The calling thread's list. ENOMEM.
fn list_of(thread: &Thread) -> Result<KArc<UndoList>, Errno> {
    if let Some(list) = thread.undo.share() {
        return Ok(list);
    }
    let entries = SpinLock::new(lock_class!("sem_undo_list"), KVec::new());
    let list = KArc::try_new(UndoList { users: AtomicUsize::new(1), entries })?;
    drop(thread.undo.replace(Some(list.clone())));
    Ok(list)
}

/// The calling thread's entry for `set`. EIDRM, ENOMEM.
pub fn entry_of(thread: &Thread, set: &KArc<Set>) -> Result<KArc<Undo>, Errno> {
    let list = list_of(thread)?;
    let find = |entries: &KVec<(KWeak<Set>, KArc<Undo>)>| entries.iter().find(|(of, _)| of.is(set)).map(|(_, undo)| undo.clone());
    if let Some(undo) = find(&list.entries.lock()) {
        return Ok(undo);
    }
    let mut adjustments = KVec::new();
    adjustments.try_resize(set.nsems, 0i16)?;
    let undo = KArc::try_new(Undo { adjustments: SpinLock::new(lock_class!("sem_undo"), adjustments) })?;
    // Sets that are gone leave their entries behind: now is the time.
    let mut gone = KVec::new();
    let mut entries = list.entries.lock();
    if let Some(undo) = find(&entries) {
        // Another thread was quicker.
        return Ok(undo);
    }
    let mut at = 0;
    while at < entries.len() {
        if entries[at].0.upgrade().is_some() {
            at += 1;
        } else if gone.try_reserve(1).is_ok()
            && let Some(entry) = entries.swap_remove(at)
        {
            let _ = gone.push_reserved(entry);
        } else {
            break;
        }
    }
    entries.try_reserve(1)?;
    set.lock()?.undos.try_push(undo.clone())?;
    let _ = entries.push_reserved((KArc::downgrade(set), undo.clone()));
    drop(entries);
    drop(gone);
    Ok(undo)
}

/// CLONE_SYSVSEM: `child` has `parent`'s list. ENOMEM.
pub fn share(parent: &Thread, child: &Thread) -> Result<(), Errno> {
    let list = list_of(parent)?;
    list.users.fetch_add(1, Relaxed);
    drop(child.undo.replace(Some(list)));
    Ok(())
}

/// A thread ends: with the last that has the list, all of it is taken back.
pub fn exit(thread: &Thread) {
    let Some(list) = thread.undo.replace(None) else { return };
    if list.users.fetch_sub(1, AcqRel) != 1 {
        return;
    }
    loop {
        let Some((set, undo)) = list.entries.lock().pop() else { return };
        if let Some(set) = set.upgrade() {
            take_back(&set, &undo, thread.process.pid);
        }
    }
}

fn take_back(set: &Set, undo: &KArc<Undo>, pid: u32) {
    let Ok(mut state) = set.lock() else { return };
    let at = state.undos.iter().position(|other| KArc::ptr_eq(other, undo));
    let gone = at.and_then(|at| state.undos.swap_remove(at));
    for (sem, &change) in state.sems.iter_mut().zip(undo.adjustments().iter()) {
        if change != 0 {
            // Linux too: what would be beyond the ends stops there.
            sem.value = (sem.value + i32::from(change)).clamp(0, SEMVMX);
            sem.pid = pid;
        }
    }
    state.update();
    state.otime = super::super::seconds();
    drop(state);
    drop(gone);
}
