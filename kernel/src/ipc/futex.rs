//! Futexes: waiting for a word of user memory to change (futex(2); seed_000_part2.md "futex").
//!
//! A waiter is a node in its future, linked into a hash bucket; its word is compared with the bucket locked, so that a
//! wake after a change of the word finds it. A word that is not in memory ends the attempt: the caller brings the page
//! in outside the lock and tries again.
//!
//! The bucket's lock protects its list and every field of the waiters in it. A waiter is woken with the lock held, and
//! its owner takes the lock before the node goes away; so nobody touches a node that is gone. Two buckets are locked by
//! ascending address.

use super::pi::PiWaiter;
use crate::mm::FutexKey;
use crate::syscall::{Stop, user};
use crate::task::thread::Thread;
use crate::time::until::{self, Until};
use core::cell::UnsafeCell;
use core::marker::PhantomPinned;
use core::pin::Pin;
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering::*};
use vigil_abi::Errno;
use vigil_abi::futex::{FUTEX_OWNER_DIED, FUTEX_TID_MASK, FUTEX_WAITERS, ROBUST_LIST_LIMIT, RobustListHead};
use vigil_executor::lock_class;
use vigil_executor::sync::{SpinGuard, SpinLock};
use vigil_executor::time::Nanos;
use vigil_executor::wait::{WaitMode, WaitQueue, Waited};
use vigil_executor::wait_site;
use vigil_mem::buf::uaccess;
use vigil_mem::{Fault, UserPtr};

const BUCKETS: usize = 256;

struct List {
    first: *mut Waiter,
    last: *mut Waiter,
}

// SAFETY: the pointers lead to pinned waiters, touched only under the bucket's lock.
unsafe impl Send for List {}

struct Bucket {
    list: SpinLock<List>,
    /// Waiters, or waiters-to-be: a wake that reads 0 has nobody to wake (see `wake`).
    count: AtomicUsize,
}

static TABLE: [Bucket; BUCKETS] = [const {
    Bucket { list: SpinLock::new(lock_class!("futex"), List { first: null_mut(), last: null_mut() }), count: AtomicUsize::new(0) }
}; BUCKETS];

fn bucket_of(key: &FutexKey) -> &'static Bucket {
    // Fibonacci hashing of the key's words: neighbouring words go to different buckets.
    let [a, b] = key.words();
    let h = (a ^ b.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    &TABLE[(h >> 56) as usize % BUCKETS]
}

/// Somebody who waits for a key.
pub struct Waiter {
    node: UnsafeCell<Node>,
    /// The bucket that it is linked in; null when it is not. Changed under that bucket's lock, by a requeue under both.
    bucket: AtomicPtr<Bucket>,
    woken: AtomicBool,
    queue: WaitQueue,
    _pin: PhantomPinned,
}

struct Node {
    next: *mut Waiter,
    prev: *mut Waiter,
    key: FutexKey,
    bitset: u32,
    /// For whom it waits to be moved to a PI futex; null for an ordinary waiter.
    pi: *const PiWaiter,
}

// SAFETY: `node` is touched only under the lock of the bucket that it is linked in, or by its owner while it is in none.
unsafe impl Send for Waiter {}
// SAFETY: as above.
unsafe impl Sync for Waiter {}

impl List {
    fn push(&mut self, w: NonNull<Waiter>) {
        // SAFETY: the bucket is locked and `w` in no list; its neighbours are linked, hence alive.
        unsafe {
            let node = w.as_ref().node.get();
            (*node).next = null_mut();
            (*node).prev = self.last;
            match self.last.as_ref() {
                Some(last) => (*last.node.get()).next = w.as_ptr(),
                None => self.first = w.as_ptr(),
            }
        }
        self.last = w.as_ptr();
    }

    /// Takes `w` out of the list. Its `bucket` is for the caller to change, as the last thing.
    fn unlink(&mut self, w: &Waiter) {
        // SAFETY: the bucket is locked and `w` linked in it.
        unsafe {
            let node = w.node.get();
            match (*node).prev.as_ref() {
                Some(prev) => (*prev.node.get()).next = (*node).next,
                None => self.first = (*node).next,
            }
            match (*node).next.as_ref() {
                Some(next) => (*next.node.get()).prev = (*node).prev,
                None => self.last = (*node).prev,
            }
        }
    }

    /// Calls `f` for each waiter of `key`, until it answers `false`. `f` may unlink the waiter that it is given.
    fn for_each(&mut self, key: &FutexKey, mut f: impl FnMut(&mut List, &Waiter, &mut Node) -> bool) {
        let mut p = self.first;
        // SAFETY: linked waiters are alive while the bucket is locked; the next one is read before `f` unlinks this one.
        while let Some(w) = unsafe { p.as_ref() } {
            let node = w.node.get();
            // SAFETY: as above; the lock makes this the only reference.
            let next = unsafe { (*node).next };
            // SAFETY: as above.
            if unsafe { (*node).key == *key } && !f(self, w, unsafe { &mut *node }) {
                return;
            }
            p = next;
        }
    }
}

/// Ends a wait: with the bucket locked.
fn finish(bucket: &Bucket, list: &mut List, w: &Waiter) {
    list.unlink(w);
    bucket.count.fetch_sub(1, Release);
    w.woken.store(true, Release);
    w.queue.wake_all();
    // The last touch: an owner that sees null may free the waiter; one that does not takes the lock first.
    w.bucket.store(null_mut(), Release);
}

impl Waiter {
    /// A waiter for `key` that answers wakes with a bit in `bitset`.
    pub fn new(key: FutexKey, bitset: u32) -> Self {
        Self::with(key, bitset, core::ptr::null())
    }

    /// A waiter for `key` that only [`for_each_requeueable`] finds. `pi` outlives it.
    pub fn for_requeue(key: FutexKey, pi: NonNull<PiWaiter>) -> Self {
        Self::with(key, u32::MAX, pi.as_ptr())
    }

    fn with(key: FutexKey, bitset: u32, pi: *const PiWaiter) -> Self {
        Waiter {
            node: UnsafeCell::new(Node { next: null_mut(), prev: null_mut(), key, bitset, pi }),
            bucket: AtomicPtr::new(null_mut()),
            woken: AtomicBool::new(false),
            queue: WaitQueue::new(),
            _pin: PhantomPinned,
        }
    }

    /// Links it, if the word at `addr` is still `expected`. EAGAIN when it is not.
    pub fn enqueue(self: Pin<&Self>, addr: usize, expected: u32) -> Result<(), EnqueueError> {
        // SAFETY: not linked yet: the node is the owner's.
        let bucket = bucket_of(unsafe { &(*self.node.get()).key });
        // Counted before the word is read, so that a waker who changed it sees either the count or ... the word was
        // read changed. Pairs with the fence in `wake`.
        bucket.count.fetch_add(1, SeqCst);
        let mut list = bucket.list.lock();
        let outcome = match uaccess::user_load_u32(addr) {
            Ok(value) if value == expected => {
                list.push(NonNull::from(self.get_ref()));
                self.bucket.store(core::ptr::from_ref(bucket).cast_mut(), Release);
                return Ok(());
            }
            Ok(_) => EnqueueError::Changed,
            Err(fault) => EnqueueError::Fault(fault),
        };
        drop(list);
        bucket.count.fetch_sub(1, Release);
        Err(outcome)
    }

    /// Unlinks it; `true` if it was woken before.
    fn leave(&self) -> bool {
        !self.take_off() && self.woken.load(Acquire)
    }

    /// Unlinks it; `false` when it was not linked any more.
    pub fn take_off(&self) -> bool {
        loop {
            let p = self.bucket.load(Acquire);
            // SAFETY: buckets are statics.
            let Some(bucket) = (unsafe { p.as_ref() }) else { return false };
            let mut list = bucket.list.lock();
            // A requeue may have moved it between the load and the lock.
            if core::ptr::eq(self.bucket.load(Acquire), p) {
                list.unlink(self);
                self.bucket.store(null_mut(), Release);
                bucket.count.fetch_sub(1, Release);
                return true;
            }
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Why a waiter was not linked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EnqueueError {
    /// The word has another value (EAGAIN).
    Changed,
    /// Its page is not in memory.
    Fault(Fault),
    /// Somebody waits there who is to be moved to a PI futex (EINVAL).
    Requeueable,
}

impl From<EnqueueError> for Stop {
    fn from(e: EnqueueError) -> Stop {
        match e {
            EnqueueError::Changed => Errno::EAGAIN.into(),
            EnqueueError::Fault(fault) => fault.into(),
            EnqueueError::Requeueable => Errno::EINVAL.into(),
        }
    }
}

/// Waits for a wake of `waiter`, which is linked, until `deadline`. `Ok` also when the deadline and a wake coincide.
///
/// Errors: ETIMEDOUT; EINTR for an interrupted wait, which the caller turns into its restart code.
pub async fn wait(waiter: Pin<&Waiter>, deadline: Option<Nanos>, slack: Nanos) -> Result<(), Errno> {
    let woken = || waiter.woken.load(Acquire).then_some(());
    let site = wait_site!("futex_wait_queue");
    let waited = waiter.queue.wait_until_deadline(site, WaitMode::Interruptible, deadline, slack, woken).await;
    ended(waiter, waited)
}

/// The same with a time of a clock that may be set meanwhile.
pub async fn wait_moving(waiter: Pin<&Waiter>, until: Until, slack: Nanos) -> Result<(), Errno> {
    let woken = || waiter.woken.load(Acquire).then_some(());
    let waited = until::wait(&waiter.queue, wait_site!("futex_wait_queue"), until, slack, woken).await;
    ended(waiter, waited)
}

fn ended(waiter: Pin<&Waiter>, waited: Waited<()>) -> Result<(), Errno> {
    if waiter.leave() {
        return Ok(());
    }
    match waited {
        Waited::Ready(()) => Ok(()),
        Waited::TimedOut => Err(Errno::ETIMEDOUT),
        Waited::Interrupted => Err(Errno::EINTR),
    }
}

/// Wakes at most `n` waiters of `key` whose bit set meets `bitset`; returns how many. EINVAL when it meets one who is to be
/// moved to a PI futex.
pub fn wake(key: &FutexKey, n: usize, bitset: u32) -> Result<usize, Errno> {
    let bucket = bucket_of(key);
    // The caller has changed the word before; a waiter counts itself before it reads the word.
    core::sync::atomic::fence(SeqCst);
    if bucket.count.load(SeqCst) == 0 {
        return Ok(0);
    }
    wake_some(bucket, key, n, bitset)
}

#[inline(never)]
fn wake_some(bucket: &Bucket, key: &FutexKey, n: usize, bitset: u32) -> Result<usize, Errno> {
    let mut woken = 0;
    loop {
        let turn = (n - woken).min(WAKES);
        let some = wake_in(bucket, &mut bucket.list.lock(), key, turn, bitset).ok_or(Errno::EINVAL)?;
        woken += some;
        if some < turn || woken == n {
            return Ok(woken);
        }
    }
}

/// Waiters that are woken in one go: without preemption, and as many arrive at once in a CPU's inbox, with interrupts masked.
const WAKES: usize = 16;

/// `None`: see [`wake`].
fn wake_in(bucket: &Bucket, list: &mut List, key: &FutexKey, n: usize, bitset: u32) -> Option<usize> {
    let (mut woken, mut odd) = (0, false);
    if n > 0 {
        list.for_each(key, |list, w, node| {
            if !node.pi.is_null() {
                odd = true;
                return false;
            }
            if node.bitset & bitset != 0 {
                finish(bucket, list, w);
                woken += 1;
            }
            woken < n
        });
    }
    (!odd).then_some(woken)
}

/// What became of a waiter.
pub enum Moved {
    /// It is somebody else's now.
    Yes,
    /// It stays, and so do the rest.
    Enough,
}

/// Offers each waiter of `key` that is to be moved to a PI futex to `f`, oldest first, if the word at an address has an
/// expected value (EAGAIN). EINVAL when an ordinary one is among them. `f` may not wait.
pub fn for_each_requeueable(
    key: &FutexKey,
    (addr, expected): (usize, u32),
    mut f: impl FnMut(&PiWaiter) -> Result<Moved, Stop>,
) -> Result<(), Stop> {
    let bucket = bucket_of(key);
    let mut list = bucket.list.lock();
    if uaccess::user_load_u32(addr)? != expected {
        return Err(Errno::EAGAIN.into());
    }
    let mut result = Ok(());
    list.for_each(key, |list, w, node| {
        // SAFETY: it outlives the waiter, which is linked.
        let Some(pi) = (unsafe { node.pi.as_ref() }) else {
            result = Err(Errno::EINVAL.into());
            return false;
        };
        match f(pi) {
            Ok(Moved::Yes) => {
                list.unlink(w);
                bucket.count.fetch_sub(1, Release);
                // The last touch, as in `finish`.
                w.bucket.store(null_mut(), Release);
                true
            }
            Ok(Moved::Enough) => false,
            Err(stop) => {
                result = Err(stop);
                false
            }
        }
    });
    result
}

/// Both buckets' locks, by ascending address; one lock when they are the same.
fn lock_two<'a>(a: &'a Bucket, b: &'a Bucket) -> (SpinGuard<'a, List>, Option<SpinGuard<'a, List>>) {
    use core::cmp::Ordering::*;
    match core::ptr::from_ref(a).cmp(&core::ptr::from_ref(b)) {
        Equal => (a.list.lock(), None),
        Less => {
            let first = a.list.lock();
            (first, Some(b.list.lock_nested(lock_class!("futex/2"))))
        }
        Greater => {
            let second = b.list.lock();
            (a.list.lock_nested(lock_class!("futex/2")), Some(second))
        }
    }
}

/// Wakes `n` waiters of `from` and moves at most `m` more to `to`; with `expected`, only if the word at that address has
/// that value (EAGAIN). Returns woken and moved.
pub fn requeue(from: &FutexKey, to: &FutexKey, n: usize, m: usize, expected: Option<(usize, u32)>) -> Result<(usize, usize), EnqueueError> {
    let (a, b) = (bucket_of(from), bucket_of(to));
    let (mut first, mut second) = lock_two(a, b);
    if let Some((addr, value)) = expected {
        match uaccess::user_load_u32(addr) {
            Ok(v) if v == value => {}
            Ok(_) => return Err(EnqueueError::Changed),
            Err(fault) => return Err(EnqueueError::Fault(fault)),
        }
    }
    let woken = wake_in(a, &mut first, from, n, u32::MAX).ok_or(EnqueueError::Requeueable)?;
    let (mut moved, mut odd) = (0, false);
    if m > 0 {
        first.for_each(from, |list, w, node| {
            if !node.pi.is_null() {
                odd = true;
                return false;
            }
            node.key = *to;
            if let Some(target) = &mut second {
                list.unlink(w);
                target.push(NonNull::from(w));
                a.count.fetch_sub(1, Release);
                b.count.fetch_add(1, SeqCst);
                w.bucket.store(core::ptr::from_ref(b).cast_mut(), Release);
            }
            moved += 1;
            moved < m
        });
    }
    if odd { Err(EnqueueError::Requeueable) } else { Ok((woken, moved)) }
}

/// The key of a word of the caller's memory; waits for its page if it must.
pub async fn key(thread: &Thread, addr: usize, shared: bool, write: bool) -> Result<FutexKey, Errno> {
    user::retry(thread, || try_key(thread, addr, shared, write)).await
}

/// The same without waiting. EINVAL: not aligned; EFAULT: no user address.
#[inline]
pub fn try_key(thread: &Thread, addr: usize, shared: bool, write: bool) -> Result<FutexKey, crate::syscall::Stop> {
    if addr % 4 != 0 {
        return Err(Errno::EINVAL.into());
    }
    let addr = uaccess::access_ok(addr, 4).ok_or(Errno::EFAULT)?;
    let mm = thread.mm().ok_or(Errno::EFAULT)?;
    if !shared {
        return Ok(FutexKey::private(mm, addr));
    }
    mm.try_futex_key(addr, write).map_err(|_| Fault { addr, write }.into())
}

/// The word at `addr` was cleared by an ending thread: wakes one waiter, private or shared.
pub async fn wake_address(thread: &Thread, addr: usize) {
    for shared in [false, true] {
        if let Ok(key) = key(thread, addr, shared, false).await {
            // Nobody to tell of a waiter that does not belong there.
            let _ = wake(&key, 1, u32::MAX);
        }
    }
}

/// The thread ends: marks the robust futexes that it holds as those of a dead owner, and wakes a waiter of each. A bad
/// list is given up silently, a long one after ROBUST_LIST_LIMIT entries (Linux: exit_robust_list).
pub async fn exit_robust_list(thread: &Thread) {
    let head_address = thread.robust_list.swap(0, Relaxed);
    if head_address == 0 || thread.mm().is_none() {
        return;
    }
    let Ok(head) = user::get(thread, UserPtr::<RobustListHead>::new(head_address)).await else { return };
    // The lowest bit of a link says that the futex at its end is a PI futex.
    let (pending, pending_pi) = (head.list_op_pending as usize & !1, head.list_op_pending & 1 != 0);
    let mut entry = head.list as usize;
    for _ in 0..ROBUST_LIST_LIMIT {
        let at = entry & !1;
        if at == head_address {
            break;
        }
        // The next one is read first: the owner of the lock may free the entry as soon as it is released.
        let next = user::get(thread, UserPtr::<u64>::new(at)).await;
        if at != pending && !release_robust(thread, at, head.futex_offset, false, entry & 1 != 0).await {
            return;
        }
        let Ok(next) = next else { return };
        entry = next as usize;
        vigil_executor::executor::cond_resched().await;
    }
    if pending != 0 {
        release_robust(thread, pending, head.futex_offset, true, pending_pi).await;
    }
}

/// Releases one robust futex, if this thread holds it. `false`: its memory is bad.
async fn release_robust(thread: &Thread, entry: usize, offset: i64, pending: bool, pi: bool) -> bool {
    let addr = entry.wrapping_add(offset as usize);
    if addr % 4 != 0 {
        return false;
    }
    loop {
        let Ok(word) = user::get(thread, UserPtr::<u32>::new(addr)).await else { return false };
        if word & FUTEX_TID_MASK != thread.tid() {
            // Unlocked already, but its waiters not woken: the thread died in between.
            if pending && !pi && word & FUTEX_TID_MASK == 0 {
                wake_address(thread, addr).await;
            }
            return true;
        }
        let dead = word & FUTEX_WAITERS | FUTEX_OWNER_DIED;
        match uaccess::user_cmpxchg_u32(addr, word, dead) {
            Ok(found) if found == word => {
                // The heir of a PI futex is woken by `pi::exit`.
                if !pi && word & FUTEX_WAITERS != 0 {
                    wake_address(thread, addr).await;
                }
                return true;
            }
            Ok(_) => {}
            Err(fault) => {
                if user::fault_in(thread, fault).await.is_err() {
                    return false;
                }
            }
        }
    }
}
