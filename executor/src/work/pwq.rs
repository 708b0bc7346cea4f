//! What a queue has on a CPU: how many of its items are there, and those that must wait (Linux: pool_workqueue).

use super::WorkQueue;
use super::flush::COLORS;
use super::item::Work;
use super::list::{HELD_BACK, WorkList};
use super::pool::Pool;
use crate::atomic::{AtomicPtr, Ordering};
#[cfg(target_os = "none")]
use crate::cpu::CpuId;
use core::cell::Cell;
use core::ptr::{NonNull, from_ref, null_mut};

pub(super) struct Pwq {
    /// Both are set by its first user.
    queue: AtomicPtr<WorkQueue>,
    pool: AtomicPtr<Pool>,
    /// Items that are queued or run, by color. These cells and the list are guarded by the pool's lock.
    in_flight: [Cell<u32>; COLORS],
    /// Those of them that a worker may take or has taken.
    active: Cell<u32>,
    /// An item of it that runs keeps others of the pool waiting. Set with the pool.
    counts: Cell<bool>,
    held_back: WorkList<HELD_BACK>,
}

// SAFETY: the cells are guarded by the pool's lock.
unsafe impl Sync for Pwq {}
// SAFETY: bound to no thread.
unsafe impl Send for Pwq {}

impl Pwq {
    pub(super) const fn new() -> Pwq {
        Pwq {
            queue: AtomicPtr::new(null_mut()),
            pool: AtomicPtr::new(null_mut()),
            in_flight: [const { Cell::new(0) }; COLORS],
            active: Cell::new(0),
            counts: Cell::new(false),
            held_back: WorkList::new(),
        }
    }

    /// The pool, or `None` before the first item. Whoever finds one takes its lock before he looks at the rest, as [`tie`](Self::tie) does:
    /// that is all the order that it takes.
    #[inline]
    pub(super) fn pool(&self) -> Option<&'static Pool> {
        // SAFETY: only pools that live for ever are stored.
        unsafe { self.pool.load(Ordering::Relaxed).cast_const().as_ref() }
    }

    /// Ties it to its queue and pool; the same every time.
    #[cold]
    pub(super) fn tie(&self, queue: &'static WorkQueue, pool: &'static Pool) {
        let _lock = pool.lock();
        self.counts.set(!queue.is_cpu_intensive() && !queue.is_unbound());
        self.queue.store(from_ref(queue).cast_mut(), Ordering::Relaxed);
        self.pool.store(from_ref(pool).cast_mut(), Ordering::Relaxed);
    }

    /// Whether an item that runs keeps others of the pool waiting.
    #[inline]
    pub(super) fn counts(&self) -> bool {
        self.counts.get()
    }

    /// Its queue. There are items in it, or have been.
    #[inline]
    pub(super) fn queue(&self) -> &'static WorkQueue {
        let queue = self.queue.load(Ordering::Relaxed).cast_const();
        // SAFETY: tied before the first item, to a queue that lives for ever.
        unsafe { &*queue }
    }

    /// Counts an item in under the queue's color, which it gets; whether it may be taken at once. Otherwise it is held back.
    ///
    /// # Safety
    /// The pool's lock is held; the item is in no list, PENDING is the caller's.
    #[inline]
    pub(super) unsafe fn enter(&self, work: NonNull<Work>, color: u32, limit: u32) -> bool {
        // SAFETY: pending items are alive.
        unsafe { work.as_ref() }.color.set(color);
        let column = &self.in_flight[color as usize % COLORS];
        column.set(column.get().wrapping_add(1));
        if self.active.get() < limit {
            self.active.set(self.active.get() + 1);
            return true;
        }
        // SAFETY: as above.
        unsafe { self.held_back.push(work) };
        false
    }

    /// An item has run, or was taken out: of those that were `active` or of those that were held back. With the pool's lock held.
    #[inline]
    pub(super) fn leave(&self, color: u32, active: bool) {
        let column = &self.in_flight[color as usize % COLORS];
        column.set(column.get().wrapping_sub(1));
        if active {
            self.active.set(self.active.get().wrapping_sub(1));
        }
    }

    /// The next item that may be taken now that `limit` allows it. With the pool's lock held.
    #[inline]
    pub(super) fn next_allowed(&self, limit: u32) -> Option<NonNull<Work>> {
        if self.held_back.is_empty() || self.active.get() >= limit {
            return None;
        }
        self.active.set(self.active.get() + 1);
        // SAFETY: the lock is held.
        unsafe { self.held_back.pop() }
    }

    /// Takes an item that is held back out. With the pool's lock held.
    pub(super) fn drop_held_back(&self, item: &Work) {
        // SAFETY: the lock is held, and the item's mark says that it is in this list.
        unsafe { self.held_back.unlink(item) };
    }

    /// How many items of `color` there are. With the pool's lock held.
    pub(super) fn in_flight(&self, color: usize) -> u32 {
        self.in_flight[color % COLORS].get()
    }

    /// How many may be taken or were taken. With the pool's lock held.
    pub(super) fn active(&self) -> u32 {
        self.active.get()
    }
}

/// What a site of [`Role::WorkQueued`](crate::trace::Role) tells of the item at `item` that the queue's part at `pwq` counts: its function,
/// its queue, and the CPU of that part.
///
/// # Safety
/// Such a site has been come by with `item` as the base and `pwq` as what is stored, and is not yet left.
#[cfg(target_os = "none")]
pub unsafe fn told(item: usize, pwq: usize) -> (usize, &'static str, Option<CpuId>) {
    // SAFETY: by the contract; parts of queues live for ever.
    let (item, pwq) = unsafe { (&*(item as *const Work), &*(pwq as *const Pwq)) };
    (item.function_address(), pwq.queue().name(), pwq.pool().and_then(Pool::cpu))
}
