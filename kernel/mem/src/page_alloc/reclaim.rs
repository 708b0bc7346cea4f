//! Getting memory back: shrinkers, the reclaimer's wake-up, the last resort, and the face that waits.
//!
//! This crate owns no memory that could be given up; those who do register a [`Shrinker`]: the page cache, the dentry and
//! inode caches, slab. `alloc_pages_wait(order, gfp).await` tries, asks them in passes of growing force, lets the
//! out-of-memory handler choose a victim, and gives up only when that finds none (Linux: __alloc_pages_slowpath).
//!
//! The plain face asks the shrinkers as well before it fails, a bounded number of times, where no spin lock can be held:
//! with preemption and interrupts on ([`shrink_here`]).

use super::gfp::Gfp;
use super::zone::{self, Watermark};
use crate::fault;
use crate::page::Page;
use core::future::Future;
use core::pin::Pin;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize, Ordering};
use core::task::{Context, Poll};
use vigil_executor::arch;
use vigil_executor::context::Context as ExecContext;
use vigil_executor::executor::cond_resched;
use vigil_executor::sync::SpinLock;
use vigil_executor::time;
use vigil_executor::wait::WaitMode;
use vigil_executor::{lock_class, timer, wait_site};

/// An owner of memory that can give some of it up.
pub trait Shrinker: Sync {
    /// Its name, for the log.
    fn name(&self) -> &'static str;
    /// How many objects it could free now. Cheap; no lock that an allocation may be made under.
    fn count(&self, gfp: Gfp) -> usize;
    /// Looks at up to `nr` objects, the least used first, and frees those that it can; returns how many. May not wait
    /// (what must be written first is started, and freed by a later pass) and may not enter a file system without
    /// [`Gfp::FS`] or start I/O without [`Gfp::IO`].
    fn scan(&self, nr: usize, gfp: Gfp) -> usize;
}

/// The table of shrinkers is full.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooManyShrinkers;

const MAX_SHRINKERS: usize = 16;
/// How gentle the first pass is: it asks for 1/2^12 of everything (Linux: DEF_PRIORITY).
const DEF_PRIORITY: u32 = 12;
/// Objects asked for at once.
const BATCH: usize = 128;
/// The most that one pass of the plain face looks at: it is one poll.
const MAX_HERE: usize = 8192;
/// Passes without success after which the last resort is tried (Linux: MAX_RECLAIM_RETRIES).
const MAX_RETRIES: u32 = 16;

static SHRINKERS: SpinLock<[Option<&'static dyn Shrinker>; MAX_SHRINKERS]> = SpinLock::new(lock_class!("shrinkers"), [None; MAX_SHRINKERS]);
static KSWAPD: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());
static OOM: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());
static WARN: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());
static DRAIN: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());
/// How often a request met empty zones and reclaimed by itself (`allocstall`).
pub(super) static STALLS: AtomicUsize = AtomicUsize::new(0);
/// Objects that shrinkers were asked to look at (`slabs_scanned`).
pub(super) static SCANNED: AtomicUsize = AtomicUsize::new(0);
/// How often the reclaimer has run (`pageoutrun`).
pub(super) static RUNS: AtomicUsize = AtomicUsize::new(0);
/// Runs of the reclaimer in a row that freed nothing: after [`MAX_RETRIES`] it is left alone until somebody frees
/// something (Linux: kswapd_failures).
static FAILURES: AtomicU32 = AtomicU32::new(0);

/// Adds a shrinker, for ever.
pub fn register_shrinker(s: &'static dyn Shrinker) -> Result<(), TooManyShrinkers> {
    let mut table = SHRINKERS.lock();
    let slot = table.iter_mut().find(|e| e.is_none()).ok_or(TooManyShrinkers)?;
    *slot = Some(s);
    Ok(())
}

/// Sets who is told that memory runs low. Called with interrupts masked and locks held: it may only wake a task.
pub fn set_kswapd_hook(f: fn()) {
    KSWAPD.store(f as *mut (), Ordering::Release);
}

/// Sets the last resort: given the order of the request that cannot be served, kills somebody or notices that somebody
/// is dying already, and returns `true`; `false` when there is nobody left to kill.
pub fn set_oom_hook(f: fn(usize) -> bool) {
    OOM.store(f as *mut (), Ordering::Release);
}

/// Sets how all CPUs are made to run [`drain_local`](super::drain_local) (and the slab's).
pub fn set_drain_hook(f: fn()) {
    DRAIN.store(f as *mut (), Ordering::Release);
}

/// Sets who reports a request that failed although it may be heard ([`Gfp::NOWARN`] is not set): given order and flags.
/// Called in any context; it limits its rate itself.
pub fn set_warn_hook(f: fn(usize, Gfp)) {
    WARN.store(f as *mut (), Ordering::Release);
}

/// Reports a request that failed.
pub(crate) fn warn_failed(order: usize, gfp: Gfp) {
    let p = WARN.load(Ordering::Acquire);
    if gfp.contains(Gfp::NOWARN) || p.is_null() {
        return;
    }
    // SAFETY: only `set_warn_hook` stores here, a function of this type.
    let f = unsafe { core::mem::transmute::<*mut (), fn(usize, Gfp)>(p) };
    f(order, gfp);
}

fn hook(p: &AtomicPtr<()>) -> Option<fn()> {
    let p = p.load(Ordering::Acquire);
    // SAFETY: only the setter for this pointer stores here, a function of this type.
    if p.is_null() { None } else { Some(unsafe { core::mem::transmute::<*mut (), fn()>(p) }) }
}

/// Tells the reclaimer that memory runs low.
pub(super) fn wake_kswapd() {
    if FAILURES.load(Ordering::Relaxed) >= MAX_RETRIES {
        return;
    }
    if let Some(f) = hook(&KSWAPD) {
        f();
    }
}

/// Gives back what the allocators themselves hold: slabs without objects, areas that wait to be unmapped, pages on lists.
fn drain_everywhere() {
    crate::vmalloc::purge();
    crate::slab::shrink_all();
    super::drain_local();
    if let Some(f) = hook(&DRAIN) {
        f();
    }
}

fn out_of_memory(order: usize) -> bool {
    let p = OOM.load(Ordering::Acquire);
    if p.is_null() {
        return false;
    }
    // SAFETY: only `set_oom_hook` stores here, a function of this type.
    let f = unsafe { core::mem::transmute::<*mut (), fn(usize) -> bool>(p) };
    f(order)
}

/// Asks `s` to look at `nr` objects.
fn scan(s: &dyn Shrinker, nr: usize, gfp: Gfp) -> usize {
    SCANNED.fetch_add(nr, Ordering::Relaxed);
    let freed = s.scan(nr, gfp);
    if freed != 0 {
        FAILURES.store(0, Ordering::Relaxed);
    }
    freed
}

/// What a pass of force `priority` asks of somebody who has `count` objects: 2/2^priority of them, at last all.
fn share(count: usize, priority: u32) -> usize {
    if priority == 0 { count } else { (count >> priority.min(DEF_PRIORITY)).saturating_mul(2) }
}

/// One pass over all shrinkers that asks each for a share of what it has; returns how many objects were freed. Lets others
/// run between two batches.
async fn shrink(priority: u32, gfp: Gfp) -> usize {
    let table = *SHRINKERS.lock();
    let mut freed = 0usize;
    for s in table.iter().flatten() {
        let mut want = share(s.count(gfp), priority);
        while want > 0 {
            let nr = want.min(BATCH);
            freed = freed.saturating_add(scan(*s, nr, gfp));
            want -= nr;
            cond_resched().await;
        }
    }
    freed
}

/// The plain face's own reclaim: `attempt` again after passes that look at twice as many objects each time, until it
/// succeeds or nothing more comes. Only where the caller could wait: no spin lock is held, so a shrinker takes its own.
pub(crate) fn shrink_here<T>(gfp: Gfp, mut attempt: impl FnMut() -> Option<T>) -> Option<T> {
    if !gfp.contains(Gfp::DIRECT) || arch::irqs_disabled() || ExecContext::here().count() != 0 {
        return None;
    }
    STALLS.fetch_add(1, Ordering::Relaxed);
    let table = *SHRINKERS.lock();
    let mut nr = BATCH;
    while nr <= MAX_HERE {
        let mut freed = 0usize;
        for s in table.iter().flatten() {
            freed = freed.saturating_add(scan(*s, share(s.count(gfp), 0).min(nr), gfp));
        }
        crate::slab::shrink_all();
        super::drain_local();
        if let Some(value) = attempt() {
            return Some(value);
        }
        if freed == 0 && nr > BATCH {
            return None;
        }
        nr *= 2;
    }
    None
}

/// Whether the zones are at their high marks: the reclaimer may stop.
pub(super) fn is_balanced() -> bool {
    zone::above(Watermark::High)
}

/// The reclaimer's work (Linux: balance_pgdat): passes of growing force until all zones are at their high marks or nothing
/// more can be freed. The task that [`set_kswapd_hook`]'s function wakes awaits it in a loop.
pub async fn balance() {
    RUNS.fetch_add(1, Ordering::Relaxed);
    let mut priority = DEF_PRIORITY;
    while !is_balanced() {
        let freed = shrink(priority, Gfp::KERNEL).await;
        // Freed objects leave slabs behind that nobody uses.
        crate::slab::shrink_all();
        if is_balanced() {
            return;
        }
        if priority == 0 {
            drain_everywhere();
            if freed == 0 && !is_balanced() {
                FAILURES.fetch_add(1, Ordering::Relaxed);
            }
            return;
        }
        priority -= 1;
        YieldNow(false).await;
    }
}

/// Lets others run once.
struct YieldNow(bool);

impl Future for YieldNow {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if core::mem::replace(&mut self.0, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Runs `attempt` until it succeeds, reclaiming in between; `None` when memory cannot be had (after the last resort has
/// found nobody to kill, after one round with [`Gfp::NORETRY`], when the task is being killed, or when the failure was
/// injected). Waits; the caller holds no guard, and no lock that a shrinker takes.
///
/// `order` is what the attempt needs in one piece, for the last resort's information.
pub async fn alloc_wait<T>(order: usize, gfp: Gfp, mut attempt: impl FnMut() -> Option<T>) -> Option<T> {
    if let Some(value) = attempt() {
        return Some(value);
    }
    if !gfp.contains(Gfp::DIRECT) || fault::take_fired() {
        return None;
    }
    STALLS.fetch_add(1, Ordering::Relaxed);
    loop {
        let mut retries = 0;
        while retries < MAX_RETRIES {
            let progress = shrink(DEF_PRIORITY.saturating_sub(retries), gfp).await != 0;
            drain_everywhere();
            if let Some(value) = attempt() {
                return Some(value);
            }
            // Each pass is a bounded poll; whoever frees memory gets its turn between two.
            YieldNow(false).await;
            retries += if progress { 1 } else { 2 };
        }
        if gfp.contains(Gfp::NORETRY) || !out_of_memory(order) {
            return None;
        }
        // The victim needs time to die (Linux: schedule_timeout_killable(1)).
        let deadline = time::now() + PAUSE;
        if timer::sleep_until(wait_site!("out_of_memory"), deadline, PAUSE, WaitMode::Killable).await.is_err() {
            return None;
        }
        if let Some(value) = attempt() {
            return Some(value);
        }
    }
}

/// How long a victim is waited for before the next look: one tick of Linux's 250 Hz.
const PAUSE: time::Nanos = 4_000_000;

/// As [`alloc_pages`](super::alloc_pages), but reclaims and waits; see [`alloc_wait`].
pub async fn alloc_pages_wait(order: usize, gfp: Gfp) -> Option<&'static Page> {
    // An attempt that fails is not the request's failure yet.
    let page = alloc_wait(order, gfp, || super::alloc_pages(order, gfp | Gfp::NOWARN)).await;
    if page.is_none() {
        warn_failed(order, gfp);
    }
    page
}
