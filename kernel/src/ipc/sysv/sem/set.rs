//! A set of semaphores and those who wait for it.

use super::undo::Undo;
use super::{SEMAEM, SEMVMX};
use crate::ipc::hand::Hand;
use crate::ipc::sysv::perm::Perm;
use crate::ipc::sysv::seconds;
use crate::ipc::sysv::total::Part;
use crate::task::thread::Thread;
use crate::time::until::Until;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use vigil_abi::Errno;
use vigil_abi::ipc::{IPC_NOWAIT, SEM_UNDO, Sembuf};
use vigil_executor::lock_class;
use vigil_executor::sync::{SpinGuard, SpinLock};
use vigil_executor::time::Nanos;
use vigil_executor::wait_site;
use vigil_mem::{KArc, KVec};

/// A semaphore.
#[derive(Clone, Copy, Default)]
pub struct Sem {
    /// Its value, 0 to SEMVMX.
    pub value: i32,
    /// The process that changed it last.
    pub pid: u32,
}

/// The operations of one call.
pub struct Request {
    ops: KVec<Sembuf>,
    undo: Option<KArc<Undo>>,
    pid: u32,
    /// It changes something: not all its operations wait for zero.
    alters: bool,
}

impl Request {
    /// The operations `ops` of `thread`; `undo` when one of them has SEM_UNDO.
    pub fn new(thread: &Thread, ops: KVec<Sembuf>, undo: Option<KArc<Undo>>) -> Request {
        let alters = ops.iter().any(|op| op.sem_op != 0);
        Request { ops, undo, pid: thread.process.pid, alters }
    }
}

/// A call that waits.
pub struct Waiter {
    request: Request,
    /// Which operation it waits for.
    blocking: AtomicUsize,
    hand: Hand<Result<(), Errno>>,
}

/// What came of an attempt.
enum Attempt {
    /// All is done; whether a semaphore became 0, whether one grew.
    Done { zero: bool, grew: bool },
    /// This operation must wait.
    Blocked(usize),
    /// ERANGE, EAGAIN.
    Failed(Errno),
}

/// What the lock of a set guards.
pub struct State {
    /// The semaphores.
    pub sems: KVec<Sem>,
    /// Calls that wait for nothing but zeros; then those that change something. Each in the order of their coming.
    waiters: [KVec<KArc<Waiter>>; 2],
    /// What processes would take back.
    pub(super) undos: KVec<KArc<Undo>>,
    /// Seconds of the last operation.
    pub otime: i64,
    /// Seconds of the last change by semctl(2).
    pub ctime: i64,
    removed: bool,
}

/// A set of semaphores.
pub struct Set {
    /// Whose it is.
    pub perm: Perm,
    /// How many there are.
    pub nsems: usize,
    state: SpinLock<State>,
    _used: Part,
}

impl State {
    fn attempt(&mut self, request: &Request) -> Attempt {
        let mut adjustments = request.undo.as_ref().map(|undo| undo.adjustments());
        let (mut zero, mut grew) = (false, false);
        for (done, op) in request.ops.iter().enumerate() {
            // The caller has checked the numbers.
            let Some(sem) = self.sems.get_mut(usize::from(op.sem_num)) else { return Attempt::Failed(Errno::EFBIG) };
            let (change, flags) = (i32::from(op.sem_op), op.sem_flg as u16 as u32);
            let value = sem.value + change;
            let adjusted = match &adjustments {
                Some(adjustments) if flags & SEM_UNDO != 0 => i32::from(adjustments[usize::from(op.sem_num)]) - change,
                _ => 0,
            };
            let outcome = if (change == 0 && value != 0) || value < 0 {
                Some(if flags & IPC_NOWAIT != 0 { Attempt::Failed(Errno::EAGAIN) } else { Attempt::Blocked(done) })
            } else if value > SEMVMX || !(-SEMAEM - 1..=SEMAEM).contains(&adjusted) {
                Some(Attempt::Failed(Errno::ERANGE))
            } else {
                None
            };
            if let Some(outcome) = outcome {
                self.take_back(&request.ops[..done], adjustments.as_deref_mut());
                return outcome;
            }
            sem.value = value;
            if let Some(adjustments) = adjustments.as_deref_mut().filter(|_| flags & SEM_UNDO != 0) {
                adjustments[usize::from(op.sem_num)] = adjusted as i16;
            }
            zero |= change != 0 && value == 0;
            grew |= change > 0;
        }
        for op in request.ops.iter() {
            self.sems[usize::from(op.sem_num)].pid = request.pid;
        }
        self.otime = seconds();
        Attempt::Done { zero, grew }
    }

    fn take_back(&mut self, ops: &[Sembuf], mut adjustments: Option<&mut KVec<i16>>) {
        for op in ops.iter().rev() {
            let at = usize::from(op.sem_num);
            self.sems[at].value -= i32::from(op.sem_op);
            if let Some(adjustments) = adjustments.as_deref_mut().filter(|_| op.sem_flg as u16 as u32 & SEM_UNDO != 0) {
                adjustments[at] = adjustments[at].wrapping_add(op.sem_op);
            }
        }
    }

    /// Lets those of one list go who can; what became of the semaphores meanwhile.
    fn release(&mut self, list: usize) -> (bool, bool) {
        let (mut zero, mut grew, mut at) = (false, false, 0);
        while let Some(waiter) = self.waiters[list].get(at).cloned() {
            let result = match self.attempt(&waiter.request) {
                Attempt::Blocked(op) => {
                    waiter.blocking.store(op, Relaxed);
                    at += 1;
                    continue;
                }
                Attempt::Done { zero: z, grew: g } => {
                    (zero, grew) = (zero | z, grew | g);
                    Ok(())
                }
                Attempt::Failed(e) => Err(e),
            };
            self.waiters[list].remove(at);
            waiter.hand.give(result);
        }
        (zero, grew)
    }

    /// Semaphores have changed: lets everybody go who can.
    pub fn update(&mut self) {
        loop {
            // What waits for zeros changes nothing.
            self.release(0);
            let (zero, grew) = self.release(1);
            if !zero && !grew {
                return;
            }
        }
    }

    /// How many calls wait for semaphore `number` to grow, or to become zero.
    pub fn count_waiting(&self, number: usize, for_zero: bool) -> usize {
        let waits = |waiter: &&KArc<Waiter>| {
            let op = waiter.request.ops.get(waiter.blocking.load(Relaxed));
            op.is_some_and(|op| usize::from(op.sem_num) == number && if for_zero { op.sem_op == 0 } else { op.sem_op < 0 })
        };
        self.waiters.iter().flat_map(|list| list.iter()).filter(waits).count()
    }

    /// A semaphore's value was set: nobody takes anything back of what was before.
    pub fn forget_undo(&self, number: usize) {
        for undo in self.undos.iter() {
            undo.adjustments()[number] = 0;
        }
    }
}

impl Set {
    /// A set of `nsems` semaphores of value 0. ENOMEM.
    pub(super) fn new(thread: &Thread, key: i32, nsems: usize, flags: u32, used: Part) -> Result<Set, Errno> {
        let mut sems = KVec::new();
        sems.try_resize(nsems, Sem::default())?;
        let state = State { sems, waiters: [KVec::new(), KVec::new()], undos: KVec::new(), otime: 0, ctime: seconds(), removed: false };
        Ok(Set { perm: Perm::new(thread, key, flags)?, nsems, state: SpinLock::new(lock_class!("sem_array"), state), _used: used })
    }

    /// The index of its semaphore `number`. EINVAL.
    pub fn index(&self, number: i32) -> Result<usize, Errno> {
        usize::try_from(number).ok().filter(|&n| n < self.nsems).ok_or(Errno::EINVAL)
    }

    /// Its state. EIDRM when it was removed.
    pub fn lock(&self) -> Result<SpinGuard<'_, State>, Errno> {
        let state = self.state.lock();
        if state.removed { Err(Errno::EIDRM) } else { Ok(state) }
    }

    /// IPC_RMID: nobody waits for it any more. The caller takes it out of the table. EIDRM.
    pub fn kill(&self) -> Result<(), Errno> {
        let mut state = self.lock()?;
        state.removed = true;
        let gone = (core::mem::take(&mut state.waiters), core::mem::take(&mut state.undos));
        for waiter in gone.0.iter().flat_map(|list| list.iter()) {
            waiter.hand.give(Err(Errno::EIDRM));
        }
        drop(state);
        drop(gone);
        Ok(())
    }

    /// semtimedop(2), with checked numbers. EIDRM, ERANGE, EAGAIN also when `deadline` passes, EINTR, ENOMEM.
    pub async fn operate(&self, request: Request, deadline: Option<Nanos>, slack: Nanos) -> Result<(), Errno> {
        let waiter = {
            let mut state = self.lock()?;
            match state.attempt(&request) {
                Attempt::Done { .. } => {
                    if request.alters {
                        state.update();
                    }
                    return Ok(());
                }
                Attempt::Failed(e) => return Err(e),
                Attempt::Blocked(op) => {
                    let list = usize::from(request.alters);
                    let waiter = KArc::try_new(Waiter { request, blocking: AtomicUsize::new(op), hand: Hand::new() })?;
                    state.waiters[list].try_push(waiter.clone())?;
                    waiter
                }
            }
        };
        let waiting = Waiting { set: self, waiter };
        match waiting.waiter.hand.wait(wait_site!("do_semtimedop"), deadline.map_or(Until::Endless, Until::Elapsed), slack).await {
            Ok(result) => result,
            Err(e) => match waiting.leave() {
                Some(result) => result,
                None if e == Errno::ETIMEDOUT => Err(Errno::EAGAIN),
                None => Err(e),
            },
        }
    }
}

/// A call in the set's list.
struct Waiting<'s> {
    set: &'s Set,
    waiter: KArc<Waiter>,
}

impl Waiting<'_> {
    /// Leaves the list; what came of it before.
    fn leave(&self) -> Option<Result<(), Errno>> {
        let list = usize::from(self.waiter.request.alters);
        let mut state = self.set.state.lock();
        let at = state.waiters[list].iter().position(|other| KArc::ptr_eq(other, &self.waiter));
        let gone = at.and_then(|at| state.waiters[list].remove(at));
        drop(state);
        drop(gone);
        self.waiter.hand.take()
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}
