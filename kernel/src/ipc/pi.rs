//! Futexes whose owner inherits the priority of those who wait (futex(2): FUTEX_LOCK_PI and its kin).
//!
//! The word says who owns it: a thread's number, FUTEX_WAITERS when the kernel must be asked to unlock, FUTEX_OWNER_DIED.
//! Without contention user space changes it alone. With contention there is a [`PiFutex`] here, which ties the word's key to
//! an [`RtMutex`]; it is made by the first waiter and goes with the last. Unlocking hands the word to the most urgent waiter.
//!
//! ```text
//!   lock:    0 ─► tid (user space)        tid ─► tid|WAITERS, wait                (kernel, `attempt`)
//!   unlock:  tid ─► 0 (user space)        tid|WAITERS ─► heir|WAITERS, wake heir  (kernel, `try_unlock`)
//!   death:   the word is out of reach: the heir is named in the table, and writes the word itself (`claim`)
//! ```
//!
//! One lock, `pi_futex`, covers the table, and is held while a word is read and changed by accesses that stop at a fault.
//! Order: `futex` (of a requeue) → `pi_futex` → `pi`.

use super::futex::{self, Moved, Waiter};
use crate::mm::FutexKey;
use crate::syscall::{Stop, user};
use crate::task::process::find_thread;
use crate::task::thread::Thread;
use crate::time::until::{self, Until};
use core::marker::PhantomPinned;
use core::pin::{Pin, pin};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering::*, fence};
use vigil_abi::Errno;
use vigil_abi::futex::{FUTEX_OWNER_DIED, FUTEX_TID_MASK, FUTEX_WAITERS};
use vigil_executor::lock_class;
use vigil_executor::sync::SpinLock;
use vigil_executor::sync::rt_mutex::{MAX_LOCK_DEPTH, RtMutex, RtWaiter, prepare, takes_part};
use vigil_executor::task::TaskRef;
use vigil_executor::wait::{WaitQueue, Waited};
use vigil_executor::wait_site;
use vigil_mem::buf::uaccess::{user_cmpxchg_u32, user_load_u32};
use vigil_mem::{Fault, KBox};

const BUCKETS: usize = 64;

/// A word that is waited for. In the table while somebody waits, or an heir has yet to write the word.
#[repr(C)]
struct PiFutex {
    /// First, so that the futex is found from it.
    mutex: RtMutex,
    key: FutexKey,
    /// The number of the mutex's owner.
    owner: AtomicU32,
    /// The owner got it from a thread that died, and the word does not say so yet.
    unclaimed: AtomicBool,
    next: Option<KBox<PiFutex>>,
}

impl PiFutex {
    fn mutex(&self) -> Pin<&RtMutex> {
        // SAFETY: a `PiFutex` is boxed and never moved out of its box.
        unsafe { Pin::new_unchecked(&self.mutex) }
    }

    /// Hands it to the next waiter, who is woken. `None`: nobody waits.
    fn hand_over(&self, dead: bool) -> Option<()> {
        let heir = self.mutex().hand_over()?;
        // SAFETY: the only waiters are in `PiWaiter`s, whose first field they are; this one cannot go without the lock
        // that the caller holds.
        let heir = unsafe { heir.cast::<PiWaiter>().as_ref() };
        self.owner.store(heir.tid, Relaxed);
        self.unclaimed.store(dead, Relaxed);
        heir.claim.store(dead, Relaxed);
        heir.granted.store(true, Release);
        heir.queue.wake_all();
        Some(())
    }
}

/// Chains of futexes by key.
struct Table([Option<KBox<PiFutex>>; BUCKETS]);

static TABLE: SpinLock<Table> = SpinLock::new(lock_class!("pi_futex"), Table([const { None }; BUCKETS]));

impl Table {
    fn chain(key: &FutexKey) -> usize {
        let [a, b] = key.words();
        ((a ^ b.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58) as usize % BUCKETS
    }

    fn find(&self, key: &FutexKey) -> Option<&PiFutex> {
        let mut at = self.0[Self::chain(key)].as_deref();
        while let Some(futex) = at {
            if futex.key == *key {
                return Some(futex);
            }
            at = futex.next.as_deref();
        }
        None
    }

    fn insert(&mut self, mut futex: KBox<PiFutex>) -> &PiFutex {
        let chain = &mut self.0[Self::chain(&futex.key)];
        futex.next = chain.take();
        chain.insert(futex)
    }

    /// Takes the futex of `key` out if it has done its work. The result is dropped after the lock.
    fn settle(&mut self, key: &FutexKey) -> Option<KBox<PiFutex>> {
        let mut at = &mut self.0[Self::chain(key)];
        while at.as_ref().is_some_and(|futex| futex.key != *key) {
            at = &mut at.as_mut()?.next;
        }
        let futex = at.as_ref()?;
        if futex.mutex.has_waiters() || futex.unclaimed.load(Relaxed) {
            return None;
        }
        let mut gone = at.take()?;
        *at = gone.next.take();
        gone.mutex.disown();
        Some(gone)
    }
}

/// A thread that waits for a PI futex, or is to be moved to one.
#[repr(C)]
pub struct PiWaiter {
    /// First, so that the waiter is found from it.
    rt: RtWaiter,
    tid: u32,
    task: TaskRef,
    /// Where a requeue may move it.
    target: FutexKey,
    /// It owns the futex.
    granted: AtomicBool,
    /// And is to write the word.
    claim: AtomicBool,
    queue: WaitQueue,
    _pin: PhantomPinned,
}

impl PiWaiter {
    /// A waiter of the calling thread. ENOMEM.
    fn new(t: &Thread, target: FutexKey) -> Result<PiWaiter, Errno> {
        let task = t.task().ok_or(Errno::ESRCH)?;
        prepare(task).map_err(|_| Errno::ENOMEM)?;
        Ok(PiWaiter {
            rt: RtWaiter::new(),
            tid: t.tid(),
            task: TaskRef::from_task(task),
            target,
            granted: AtomicBool::new(false),
            claim: AtomicBool::new(false),
            queue: WaitQueue::new(),
            _pin: PhantomPinned,
        })
    }

    fn rt(self: Pin<&Self>) -> Pin<&RtWaiter> {
        // SAFETY: a field of what is pinned.
        unsafe { self.map_unchecked(|w| &w.rt) }
    }

    /// Gives the wait up, unless it is over. Whether it owns the futex.
    fn leave(&self) -> bool {
        let mut table = TABLE.lock();
        if !self.granted.load(Relaxed) && self.rt.leave() {
            let gone = table.settle(&self.target);
            drop(table);
            drop(gone);
            return false;
        }
        self.granted.load(Relaxed)
    }
}

impl Drop for PiWaiter {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Whose word it is to be.
struct Claimant<'a> {
    waiter: Pin<&'a PiWaiter>,
    /// The word in the memory of the running thread.
    addr: usize,
    /// Others follow: user space must ask when it unlocks.
    crowded: bool,
    /// Do not wait.
    trying: bool,
}

/// How an attempt ended.
#[derive(PartialEq, Eq)]
enum Attempt {
    /// The word is the claimant's.
    Acquired,
    /// The claimant waits.
    Queued,
    /// The word changed meanwhile.
    Again,
}

/// Takes the word, or enters the claimant among those who wait for it (Linux: futex_lock_pi_atomic). EDEADLK; ESRCH for an
/// owner who is not there, EPERM for a kernel task; EINVAL for a word that does not fit what is known; EAGAIN for who does not wait.
fn attempt(table: &mut Table, claimant: &Claimant, fresh: &mut Option<KBox<PiFutex>>) -> Result<Attempt, Stop> {
    let (addr, waiter) = (claimant.addr, claimant.waiter);
    let word = user_load_u32(addr)?;
    let owner = word & FUTEX_TID_MASK;
    if owner == waiter.tid {
        return Err(Errno::EDEADLK.into());
    }
    let key = waiter.target;
    if table.find(&key).is_none() {
        if owner == 0 {
            let waiters = if claimant.crowded { FUTEX_WAITERS } else { 0 };
            let found = user_cmpxchg_u32(addr, word, waiter.tid | word & FUTEX_OWNER_DIED | waiters)?;
            return Ok(if found == word { Attempt::Acquired } else { Attempt::Again });
        }
        // From here on the owner cannot unlock without the table's lock.
        if word & FUTEX_WAITERS == 0 && user_cmpxchg_u32(addr, word, word | FUTEX_WAITERS)? != word {
            return Ok(Attempt::Again);
        }
        let thread = find_thread(owner);
        if thread.as_ref().is_some_and(|t| t.process.kernel) {
            return Err(Errno::EPERM.into());
        }
        let task = thread.as_ref().and_then(|t| t.task());
        if let Some(task) = task {
            prepare(task).map_err(|_| Errno::ENOMEM)?;
        }
        // Pairs with `exit`: either it sees that the task takes part now, or we see that it has gone.
        fence(SeqCst);
        let Some(task) = task.filter(|_| thread.as_ref().is_some_and(|t| !t.futex_exited.load(Relaxed))) else {
            let same = user_load_u32(addr)? == word | FUTEX_WAITERS;
            return if same { Err(Errno::ESRCH.into()) } else { Ok(Attempt::Again) };
        };
        if claimant.trying {
            return Err(Errno::EAGAIN.into());
        }
        // That of the caller's last attempt has come and gone.
        let Some(mut futex) = fresh.take() else { return Ok(Attempt::Again) };
        futex.key = key;
        let futex = table.insert(futex);
        futex.owner.store(owner, Relaxed);
        futex.mutex().own(TaskRef::from_task(task));
    }
    let futex = table.find(&key).ok_or(Errno::EINVAL)?;
    // Its owner may be about to end, and have said so in the word: then who waits gets it from `exit`.
    let dies = owner == 0 && word & FUTEX_OWNER_DIED != 0;
    if futex.owner.load(Relaxed) != owner && !futex.unclaimed.load(Relaxed) && !dies {
        return Err(Errno::EINVAL.into());
    }
    if claimant.trying {
        return Err(Errno::EAGAIN.into());
    }
    if futex.mutex().enqueue_within(waiter.rt(), waiter.task.clone(), MAX_LOCK_DEPTH.load(Relaxed)).is_err() {
        *fresh = table.settle(&key);
        return Err(Errno::EDEADLK.into());
    }
    Ok(Attempt::Queued)
}

/// A futex for [`attempt`] to enter. ENOMEM.
fn blank(key: FutexKey) -> Result<Option<KBox<PiFutex>>, Errno> {
    let (owner, unclaimed) = (AtomicU32::new(0), AtomicBool::new(false));
    Ok(Some(KBox::try_new(PiFutex { mutex: RtMutex::new(), key, owner, unclaimed, next: None })?))
}

/// FUTEX_LOCK_PI, FUTEX_LOCK_PI2, FUTEX_TRYLOCK_PI. EDEADLK, ESRCH, EINVAL, ETIMEDOUT, ERESTARTNOINTR; EAGAIN: `trying`.
pub async fn lock(t: &Thread, addr: usize, shared: bool, until: Until, trying: bool) -> Result<(), Errno> {
    let key = futex::key(t, addr, shared, true).await?;
    let waiter = pin!(PiWaiter::new(t, key)?);
    let waiter = waiter.as_ref();
    let mut fresh = blank(key)?;
    let claimant = Claimant { waiter, addr, crowded: false, trying };
    loop {
        let attempted = user::retry(t, || attempt(&mut TABLE.lock(), &claimant, &mut fresh)).await?;
        match attempted {
            Attempt::Acquired => return Ok(()),
            Attempt::Queued => break,
            Attempt::Again => vigil_executor::executor::cond_resched().await,
        }
    }
    let waited = wait(t, waiter, until).await;
    match waiter.leave() {
        true => claim(t, waiter, addr).await,
        false if matches!(waited, Waited::TimedOut) => Err(Errno::ETIMEDOUT),
        false => Err(Errno::ERESTARTNOINTR),
    }
}

async fn wait(t: &Thread, waiter: Pin<&PiWaiter>, until: Until) -> Waited<()> {
    let granted = || waiter.granted.load(Acquire).then_some(());
    let slack = crate::syscall::slack_of(t);
    until::wait(&waiter.queue, wait_site!("futex_lock_pi"), until, slack, granted).await
}

/// The waiter owns the futex; if it got it from a dead thread, it writes the word. EFAULT when that is not possible.
async fn claim(t: &Thread, waiter: Pin<&PiWaiter>, addr: usize) -> Result<(), Errno> {
    if !waiter.claim.load(Relaxed) {
        return Ok(());
    }
    let claimed = user::retry(t, || {
        let mut table = TABLE.lock();
        let mut word = user_load_u32(addr)?;
        loop {
            let found = user_cmpxchg_u32(addr, word, FUTEX_OWNER_DIED | FUTEX_WAITERS | waiter.tid)?;
            if found == word {
                break;
            }
            word = found;
        }
        if let Some(futex) = table.find(&waiter.target) {
            futex.unclaimed.store(false, Relaxed);
        }
        Ok(table.settle(&waiter.target))
    })
    .await;
    let gone = claimed.or_else(|e| {
        // The word is out of reach: nobody is to wait for what it says.
        let mut table = TABLE.lock();
        if let Some(futex) = table.find(&waiter.target) {
            futex.unclaimed.store(false, Relaxed);
        }
        let gone = table.settle(&waiter.target);
        drop(table);
        drop(gone);
        Err(e)
    })?;
    drop(gone);
    Ok(())
}

/// FUTEX_UNLOCK_PI. EPERM when the word is not the caller's; EINVAL when the futex is another's.
#[cold]
#[inline(never)]
pub fn try_unlock(t: &Thread, addr: usize, shared: bool) -> Result<usize, Stop> {
    let mine = |word: u32| word & FUTEX_TID_MASK == t.tid();
    if !mine(user_load_u32(addr)?) {
        return Err(Errno::EPERM.into());
    }
    let key = futex::try_key(t, addr, shared, true)?;
    let mut table = TABLE.lock();
    let gone = table.settle(&key);
    let result = loop {
        let word = user_load_u32(addr)?;
        if !mine(word) {
            break Err(Errno::EPERM.into());
        }
        let futex = table.find(&key);
        let heir = futex.and_then(|f| f.mutex.top());
        if futex.is_some_and(|f| !t.task().is_some_and(|task| f.mutex.is_owned_by(task))) {
            break Err(Errno::EINVAL.into());
        }
        // SAFETY: as in `PiFutex::hand_over`.
        let new = heir.map_or(0, |h| unsafe { h.cast::<PiWaiter>().as_ref() }.tid | FUTEX_WAITERS);
        if user_cmpxchg_u32(addr, word, new)? == word {
            futex.and_then(|f| f.hand_over(false));
            break Ok(0);
        }
    };
    let empty = table.settle(&key);
    drop(table);
    drop((gone, empty));
    result
}

/// The thread ends: what it owns goes to those who wait, and nobody can wait for it any more.
pub fn exit(t: &Thread) {
    t.futex_exited.store(true, Relaxed);
    fence(SeqCst);
    let Some(task) = t.task().filter(|task| takes_part(task)) else { return };
    loop {
        let mut table = TABLE.lock();
        let Some(mutex) = RtMutex::owned_by(task) else { return };
        // SAFETY: tasks own the mutexes of the table only, each the first field of its futex, which stays while the table
        // is locked.
        let futex = unsafe { mutex.cast::<PiFutex>().as_ref() };
        if futex.hand_over(true).is_none() {
            // It died between getting it and writing the word.
            futex.unclaimed.store(false, Relaxed);
        }
        let key = futex.key;
        let gone = table.settle(&key);
        drop(table);
        drop(gone);
    }
}

/// FUTEX_WAIT_REQUEUE_PI: waits at `addr` for a requeue to the PI futex at `to`, and then for that. EAGAIN: the word at
/// `addr` is not `expected`, or a signal came after the requeue; ETIMEDOUT, ERESTARTNOINTR.
pub async fn wait_requeue(t: &Thread, (addr, expected): (usize, u32), to: usize, shared: bool, until: Until) -> Result<(), Errno> {
    let target = futex::key(t, to, shared, true).await?;
    let key = futex::key(t, addr, shared, false).await?;
    if key == target {
        return Err(Errno::EINVAL);
    }
    let pi = pin!(PiWaiter::new(t, target)?);
    let pi = pi.as_ref();
    // After `pi`, which it points to: it goes first.
    let waiter = pin!(Waiter::for_requeue(key, NonNull::from(pi.get_ref())));
    let waiter = waiter.as_ref();
    user::retry(t, || waiter.enqueue(addr, expected).map_err(Stop::from)).await?;
    let waited = wait(t, pi, until).await;
    if waiter.take_off() {
        return Err(if matches!(waited, Waited::TimedOut) { Errno::ETIMEDOUT } else { Errno::ERESTARTNOINTR });
    }
    match pi.leave() {
        true => claim(t, pi, to).await,
        false if matches!(waited, Waited::TimedOut) => Err(Errno::ETIMEDOUT),
        // To start over would find the first word changed.
        false => Err(Errno::EAGAIN),
    }
}

/// FUTEX_CMP_REQUEUE_PI: gives the PI futex at `to` to the first waiter at `addr`, if it is free, and moves up to `more`
/// others to it. How many it gave or moved. EAGAIN: the word at `addr` is not `expected`; EINVAL: somebody waits there
/// otherwise, or for another futex.
pub async fn requeue(t: &Thread, (addr, expected): (usize, u32), to: usize, shared: bool, more: usize) -> Result<usize, Errno> {
    let key = futex::key(t, addr, shared, false).await?;
    let target = futex::key(t, to, shared, true).await?;
    if key == target {
        return Err(Errno::EINVAL);
    }
    let mut fresh = blank(target)?;
    let mut moved = 0;
    loop {
        if fresh.is_none() {
            fresh = blank(target)?;
        }
        let mut again = false;
        let one = |waiter: &PiWaiter| {
            if moved > more {
                return Ok(Moved::Enough);
            }
            if waiter.target != target {
                return Err(Errno::EINVAL.into());
            }
            // SAFETY: it is pinned in its owner's future, and does not go while it is in the bucket, which is locked.
            let waiter = unsafe { Pin::new_unchecked(waiter) };
            let claimant = Claimant { waiter, addr: to, crowded: more > 0, trying: false };
            match attempt(&mut TABLE.lock(), &claimant, &mut fresh)? {
                Attempt::Acquired => {
                    waiter.granted.store(true, Release);
                    waiter.queue.wake_all();
                }
                Attempt::Queued => {}
                Attempt::Again => {
                    again = true;
                    return Ok(Moved::Enough);
                }
            }
            moved += 1;
            Ok(Moved::Yes)
        };
        let stopped = futex::for_each_requeueable(&key, (addr, expected), one);
        match stopped {
            Ok(()) if !again => return Ok(moved),
            Ok(()) => vigil_executor::executor::cond_resched().await,
            Err(Stop::Fault { addr, write }) => user::fault_in(t, Fault { addr, write }).await?,
            Err(Stop::Errno(e)) => return Err(e),
            Err(Stop::NotYet) => return Err(Errno::EAGAIN),
        }
    }
}
