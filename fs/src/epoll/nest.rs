//! Epolls that watch epolls. A circle would let a wake run for ever, and a chain is walked by recursion, in a wake with
//! interrupts masked: neither may come about (Linux: ep_loop_check).

use super::{Epoll, of};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use vigil_abi::Errno;
use vigil_executor::sync::{LockClass, Mutex};
use vigil_executor::wait_site;
use vigil_mem::{KArc, KVec};

/// The longest chain of epolls, in steps (Linux: EP_MAX_NESTS).
const MAX_STEPS: usize = 4;

/// Levels that epolls can have: a chain's links.
pub(super) const LEVELS: usize = MAX_STEPS + 1;

static CLASS: LockClass = LockClass::new("epoll_nest");
/// One such change at a time.
static NEST: Mutex<()> = Mutex::new(&CLASS, ());
static MARKS: AtomicU64 = AtomicU64::new(1);

/// Has `add` make `outer` watch `inner`. ELOOP for a circle or a chain that is too long, ENOMEM.
pub(super) async fn add(outer: &Epoll, inner: &Epoll, add: impl FnOnce() -> Result<(), Errno>) -> Result<(), Errno> {
    let _guard = NEST.lock(wait_site!("epnested_mutex")).await;
    let below = steps(inner, Some(outer), |epoll, found| {
        let mut at = 0;
        loop {
            // One at a time: files are asked outside of the lock.
            let Some(item) = epoll.items.lock().get(at).cloned() else { return Ok(()) };
            at += 1;
            if let Some(file) = item.file()
                && let Ok(next) = of(&file)
                && let Some(next) = next.this.upgrade()
            {
                found.try_push(next)?;
            }
        }
    })?;
    let above = steps(outer, None, |epoll, found| {
        let mut at = 0;
        loop {
            let Some(parent) = epoll.parents.lock().get(at).cloned() else { return Ok(()) };
            at += 1;
            if let Some(parent) = parent.upgrade() {
                found.try_push(parent)?;
            }
        }
    })?;
    if above + 1 + below > MAX_STEPS {
        return Err(Errno::ELOOP);
    }
    // Before the first wake can go that way.
    raise(outer, inner.level.load(Relaxed) + 1);
    inner.parents.lock().try_push(outer.this.clone())?;
    add().inspect_err(|_| inner.forget_parent(outer))
}

/// Lifts `epoll`, and who watches it, to at least `level`. It calls itself as often as a chain has links.
fn raise(epoll: &Epoll, level: u32) {
    if epoll.level.fetch_max(level, Relaxed) >= level {
        return;
    }
    let mut at = 0;
    loop {
        let Some(parent) = epoll.parents.lock().get(at).cloned() else { return };
        at += 1;
        if let Some(parent) = parent.upgrade() {
            raise(&parent, level + 1);
        }
    }
}

/// How many steps of `neighbours` lead away from `start` at most. ELOOP if one comes to `forbidden`, or there are too many.
fn steps(
    start: &Epoll,
    forbidden: Option<&Epoll>,
    neighbours: impl Fn(&Epoll, &mut KVec<KArc<Epoll>>) -> Result<(), Errno>,
) -> Result<usize, Errno> {
    let mut front = KVec::new();
    if let Some(start) = start.this.upgrade() {
        front.try_push(start)?;
    }
    for step in 0..=MAX_STEPS {
        // Each epoll once in each step: ways multiply, epolls do not.
        let mark = MARKS.fetch_add(1, Relaxed);
        let mut next = KVec::new();
        for epoll in front.iter().filter(|epoll| epoll.mark.swap(mark, Relaxed) != mark) {
            if forbidden.is_some_and(|forbidden| core::ptr::eq(&**epoll, forbidden)) {
                return Err(Errno::ELOOP);
            }
            neighbours(epoll, &mut next)?;
        }
        if next.is_empty() {
            return Ok(step);
        }
        front = next;
    }
    Err(Errno::ELOOP)
}
