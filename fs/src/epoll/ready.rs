//! The list of items that may be ready: linked through the items, so that a wake, which may not allocate, can add to it.
//!
//! An item is on it at most once. Taking one off gives a counted reference: an item that is on the list is in its epoll's set,
//! and is unlinked before it leaves that for good.

use super::item::Item;
use core::cell::UnsafeCell;
use core::ptr;
use vigil_executor::sync::{LockClass, SpinLock};
use vigil_mem::KArc;

static CLASS: LockClass = LockClass::new("epoll_ready");

/// An item's place in the list. Only under the list's lock.
pub(super) struct Links(UnsafeCell<Place>);

#[derive(Clone, Copy)]
struct Place {
    next: *const Item,
    prev: *const Item,
    linked: bool,
    /// The item has left its epoll: it is not linked any more.
    dead: bool,
    /// The last scan that took it.
    scan: u64,
}

impl Links {
    pub(super) const fn new() -> Links {
        Links(UnsafeCell::new(Place { next: ptr::null(), prev: ptr::null(), linked: false, dead: false, scan: 0 }))
    }
}

struct List {
    first: *const Item,
    last: *const Item,
    scans: u64,
}

// SAFETY: the pointers are to items that are alive while they are linked, and which are `Send + Sync`.
unsafe impl Send for List {}

/// The list.
pub struct Ready(SpinLock<List>);

impl Ready {
    pub(super) const fn new() -> Ready {
        Ready(SpinLock::new(&CLASS, List { first: ptr::null(), last: ptr::null(), scans: 0 }))
    }

    /// Whether there is nothing on it.
    pub(super) fn is_empty(&self) -> bool {
        self.0.lock_irq().first.is_null()
    }

    /// Adds at the end; nothing if it is on the list already or dead.
    pub(super) fn push_back(&self, item: &Item) {
        let mut list = self.0.lock_irq();
        let last = list.last;
        // SAFETY: `item` is alive, and the lock is held.
        unsafe { list.link(item, last, ptr::null()) };
    }

    /// Adds at the front.
    pub(super) fn push_front(&self, item: &Item) {
        let mut list = self.0.lock_irq();
        let first = list.first;
        // SAFETY: as above.
        unsafe { list.link(item, ptr::null(), first) };
    }

    /// Takes the first one off.
    pub(super) fn pop_front(&self) -> Option<KArc<Item>> {
        self.0.lock_irq().pop()
    }

    /// A number for a scan.
    pub(super) fn begin_scan(&self) -> u64 {
        let mut list = self.0.lock_irq();
        list.scans += 1;
        list.scans
    }

    /// Takes the first one off, unless `scan` has had it before: then all have been asked.
    pub(super) fn pop_for(&self, scan: u64) -> Option<KArc<Item>> {
        let mut list = self.0.lock_irq();
        // SAFETY: linked, so alive; under the lock.
        let place = unsafe { list.first.as_ref()?.links.0.get() };
        // SAFETY: as above.
        unsafe {
            if (*place).scan == scan {
                return None;
            }
            (*place).scan = scan;
        }
        list.pop()
    }

    /// Takes `item` off, for good.
    pub(super) fn unlink(&self, item: &Item) {
        let mut list = self.0.lock_irq();
        // SAFETY: `item` is alive, and the lock is held.
        unsafe {
            (*item.links.0.get()).dead = true;
            list.remove(item);
        }
    }
}

impl List {
    /// Links `item` between two neighbours, unless it is linked or dead.
    ///
    /// # Safety
    /// `item` is alive, `prev` and `next` are neighbours in the list or null at its ends, and the lock is held.
    unsafe fn link(&mut self, item: &Item, prev: *const Item, next: *const Item) {
        // SAFETY: under the lock.
        let place = unsafe { &mut *item.links.0.get() };
        if place.linked || place.dead {
            return;
        }
        (place.prev, place.next, place.linked) = (prev, next, true);
        // SAFETY: neighbours are linked, so alive.
        unsafe {
            match prev.as_ref() {
                Some(prev) => (*prev.links.0.get()).next = item,
                None => self.first = item,
            }
            match next.as_ref() {
                Some(next) => (*next.links.0.get()).prev = item,
                None => self.last = item,
            }
        }
    }

    /// Unlinks `item` if it is linked.
    ///
    /// # Safety
    /// `item` is alive, and the lock is held.
    unsafe fn remove(&mut self, item: &Item) {
        // SAFETY: under the lock.
        let place = unsafe { &mut *item.links.0.get() };
        if !core::mem::replace(&mut place.linked, false) {
            return;
        }
        let (prev, next) = (place.prev, place.next);
        // SAFETY: neighbours are linked, so alive.
        unsafe {
            match prev.as_ref() {
                Some(prev) => (*prev.links.0.get()).next = next,
                None => self.first = next,
            }
            match next.as_ref() {
                Some(next) => (*next.links.0.get()).prev = prev,
                None => self.last = prev,
            }
        }
    }

    fn pop(&mut self) -> Option<KArc<Item>> {
        // SAFETY: linked, so alive and, as the module says, counted by its epoll's set; the count that is added here is
        // taken over by the result.
        unsafe {
            let item = self.first.as_ref()?;
            self.remove(item);
            KArc::increment_strong_count(item);
            Some(KArc::from_raw(item))
        }
    }
}
