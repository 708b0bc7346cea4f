//! [`Cache`]: a named cache of one Rust type, and [`CacheBox`], an owned object of it.

use super::cache::KmemCache;
use crate::error::AllocError;
use crate::page_alloc::Gfp;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use core::pin::Pin;
use core::ptr::NonNull;

/// A named cache of `T`: `static INODES: Cache<Inode> = Cache::new("inode_cache");`
pub struct Cache<T> {
    raw: KmemCache,
    of: PhantomData<fn() -> T>,
}

impl<T> Cache<T> {
    /// An empty cache, for a static.
    pub const fn new(name: &'static str) -> Cache<T> {
        Cache { raw: KmemCache::new(name, size_of::<T>(), align_of::<T>()), of: PhantomData }
    }

    /// As [`Cache::new`], for objects that a shrinker can free.
    pub const fn new_reclaimable(name: &'static str) -> Cache<T> {
        Cache { raw: KmemCache::new_reclaimable(name, size_of::<T>(), align_of::<T>()), of: PhantomData }
    }

    /// Moves `value` into an object. `value` is dropped when there is no memory.
    #[inline]
    pub fn try_new(&'static self, value: T) -> Result<CacheBox<T>, AllocError> {
        let p = self.raw.alloc(Gfp::KERNEL).ok_or(AllocError)?.cast::<T>();
        // SAFETY: an object of T's size and alignment, ours alone.
        unsafe { p.as_ptr().write(value) };
        Ok(CacheBox { p, cache: self, own: PhantomData })
    }

    /// The cache beneath.
    pub fn raw(&'static self) -> &'static KmemCache {
        &self.raw
    }
}

/// An owned object of a [`Cache`]. Dropping it drops the value and frees the object.
pub struct CacheBox<T: 'static> {
    p: NonNull<T>,
    cache: &'static Cache<T>,
    own: PhantomData<T>,
}

// SAFETY: it owns a T; the cache may be used from any CPU.
unsafe impl<T: Send> Send for CacheBox<T> {}
// SAFETY: sharing it shares a T.
unsafe impl<T: Sync> Sync for CacheBox<T> {}

impl<T> CacheBox<T> {
    /// Pins it: an object does not move.
    pub fn into_pin(this: CacheBox<T>) -> Pin<CacheBox<T>> {
        // SAFETY: the value stays where it is until it is dropped.
        unsafe { Pin::new_unchecked(this) }
    }

    /// Gives up ownership; [`CacheBox::from_raw`] takes it back.
    pub fn into_raw(this: CacheBox<T>) -> NonNull<T> {
        let p = this.p;
        core::mem::forget(this);
        p
    }

    /// Owns what `p` points at.
    ///
    /// # Safety
    /// `p` came from [`CacheBox::into_raw`] of an object of `cache`, and is owned by nobody else.
    pub unsafe fn from_raw(p: NonNull<T>, cache: &'static Cache<T>) -> CacheBox<T> {
        CacheBox { p, cache, own: PhantomData }
    }
}

impl<T> Deref for CacheBox<T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: an initialised object that we own.
        unsafe { self.p.as_ref() }
    }
}

impl<T> DerefMut for CacheBox<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: an initialised object that we own, borrowed mutably.
        unsafe { self.p.as_mut() }
    }
}

impl<T> Drop for CacheBox<T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: owned and initialised; dropped and freed once.
        unsafe {
            self.p.as_ptr().drop_in_place();
            self.cache.raw.free(self.p.cast());
        }
    }
}
