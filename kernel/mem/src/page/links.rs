//! Circular, doubly linked lists through [`Page`](super::Page)s, as Linux's `list_head`: to take a page off needs no head.
//!
//! The links are atomics only so that a list can stand in a static; the lock of the list's owner orders all accesses.

use super::Page;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, Ordering::Relaxed};

/// The links of one member, or of a list's head.
#[repr(C)]
pub struct Links {
    next: AtomicPtr<Links>,
    prev: AtomicPtr<Links>,
}

impl Default for Links {
    fn default() -> Self {
        Self::new()
    }
}

impl Links {
    /// On no list.
    pub const fn new() -> Links {
        Links { next: AtomicPtr::new(null_mut()), prev: AtomicPtr::new(null_mut()) }
    }

    /// Whether it is on a list (or is an initialised head).
    #[inline(always)]
    pub fn is_linked(&self) -> bool {
        !self.next.load(Relaxed).is_null()
    }

    /// The next pointer, for lists that are linked one way only.
    #[inline(always)]
    pub(crate) fn single_next(&self) -> *mut Links {
        self.next.load(Relaxed)
    }

    #[inline(always)]
    pub(crate) fn set_single_next(&self, p: *mut Links) {
        self.next.store(p, Relaxed);
    }

    #[inline(always)]
    unsafe fn insert_between(&self, prev: *mut Links, next: *mut Links) {
        let me = core::ptr::from_ref(self).cast_mut();
        self.next.store(next, Relaxed);
        self.prev.store(prev, Relaxed);
        // SAFETY: neighbours on a list are alive until they are taken off, which the owner's lock excludes now.
        unsafe {
            (*prev).next.store(me, Relaxed);
            (*next).prev.store(me, Relaxed);
        }
    }

    /// Takes it off its list.
    ///
    /// # Safety
    /// It is on a list, whose lock the caller holds.
    #[inline(always)]
    pub unsafe fn unlink(&self) {
        let (next, prev) = (self.next.load(Relaxed), self.prev.load(Relaxed));
        // SAFETY: neighbours on a list are alive until they are taken off, which the owner's lock excludes now.
        unsafe {
            (*prev).next.store(next, Relaxed);
            (*next).prev.store(prev, Relaxed);
        }
        self.next.store(null_mut(), Relaxed);
    }
}

/// The head of a list of pages. It must not move once [`PageList::init`] has run.
#[repr(transparent)]
pub struct PageList(Links);

impl Default for PageList {
    fn default() -> Self {
        Self::new()
    }
}

impl PageList {
    /// A head that is not initialised yet; counts as empty.
    pub const fn new() -> PageList {
        PageList(Links::new())
    }

    /// Makes it an empty list where it stands.
    pub fn init(&self) {
        let me = core::ptr::from_ref(&self.0).cast_mut();
        self.0.next.store(me, Relaxed);
        self.0.prev.store(me, Relaxed);
    }

    #[inline(always)]
    fn head(&self) -> *mut Links {
        core::ptr::from_ref(&self.0).cast_mut()
    }

    /// Whether there is no page on it.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        let next = self.0.next.load(Relaxed);
        next.is_null() || next == self.head()
    }

    /// Puts `page` in front.
    ///
    /// # Safety
    /// `page` is on no list; the caller holds the list's lock; the list is initialised.
    #[inline(always)]
    pub unsafe fn push_front(&self, page: &'static Page) {
        // SAFETY: the head's neighbours are on the list.
        unsafe { page.links.insert_between(self.head(), self.0.next.load(Relaxed)) }
    }

    /// Puts `page` at the end.
    ///
    /// # Safety
    /// As [`PageList::push_front`].
    #[inline(always)]
    pub unsafe fn push_back(&self, page: &'static Page) {
        // SAFETY: the head's neighbours are on the list.
        unsafe { page.links.insert_between(self.0.prev.load(Relaxed), self.head()) }
    }

    /// The first page. Under the list's lock.
    #[inline(always)]
    pub fn front(&self) -> Option<&'static Page> {
        // SAFETY: not empty, so the next links are a page's.
        if self.is_empty() { None } else { Some(unsafe { Page::from_links(self.0.next.load(Relaxed)) }) }
    }

    /// The last page. Under the list's lock.
    pub fn back(&self) -> Option<&'static Page> {
        // SAFETY: not empty, so the previous links are a page's.
        if self.is_empty() { None } else { Some(unsafe { Page::from_links(self.0.prev.load(Relaxed)) }) }
    }

    /// Takes the first page off.
    ///
    /// # Safety
    /// The caller holds the list's lock.
    #[inline(always)]
    pub unsafe fn pop_front(&self) -> Option<&'static Page> {
        let page = self.front()?;
        // SAFETY: it is on this list.
        unsafe { page.links.unlink() };
        Some(page)
    }

    /// Calls `f` with each page. Under the list's lock; `f` does not change the list.
    pub fn for_each(&self, mut f: impl FnMut(&'static Page)) {
        if self.is_empty() {
            return;
        }
        let mut p = self.0.next.load(Relaxed);
        while p != self.head() {
            // SAFETY: not the head, so a page's links; they stay while the lock is held.
            unsafe {
                f(Page::from_links(p));
                p = (*p).next.load(Relaxed);
            }
        }
    }
}
