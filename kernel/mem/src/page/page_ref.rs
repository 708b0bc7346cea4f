//! [`PageRef`]: a counted reference to a page.

use super::Page;
use crate::error::AllocError;
use crate::page_alloc::{self, Gfp};
use core::ops::Deref;

/// One reference to an allocated page (or to the head of a block). Dropping the last frees it.
#[derive(Debug)]
pub struct PageRef(&'static Page);

impl PageRef {
    /// A fresh page.
    pub fn try_new(gfp: Gfp) -> Result<PageRef, AllocError> {
        page_alloc::alloc_pages(0, gfp).map(PageRef).ok_or(AllocError)
    }

    /// Takes a further reference to `page`, which the caller knows to be allocated.
    pub fn from_page(page: &'static Page) -> PageRef {
        page.get();
        PageRef(page)
    }

    /// Takes a reference unless the page is being freed; see [`Page::try_get`].
    pub fn try_from_page(page: &'static Page) -> Option<PageRef> {
        if page.try_get() { Some(PageRef(page)) } else { None }
    }

    /// Makes a reference that the caller counted itself into a `PageRef`.
    ///
    /// # Safety
    /// The caller has a reference to `page` and gives it away.
    pub unsafe fn from_counted(page: &'static Page) -> PageRef {
        PageRef(page)
    }

    /// The page; its reference stays counted and is the caller's (to be given back by [`Page::put`]).
    pub fn into_counted(self) -> &'static Page {
        let page = self.0;
        core::mem::forget(self);
        page
    }

    /// The page.
    pub fn page(&self) -> &'static Page {
        self.0
    }

    /// Whether both are the same page.
    pub fn is(&self, page: &Page) -> bool {
        core::ptr::eq(self.0, page)
    }
}

impl Clone for PageRef {
    fn clone(&self) -> Self {
        PageRef::from_page(self.0)
    }
}

impl Drop for PageRef {
    fn drop(&mut self) {
        self.0.put();
    }
}

impl Deref for PageRef {
    type Target = Page;
    fn deref(&self) -> &Page {
        self.0
    }
}
