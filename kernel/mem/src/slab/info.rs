//! The list of all caches, and what `/proc/slabinfo` shows of each.

use super::cache::KmemCache;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, Ordering};

/// Caches that have had a slab, the newest first.
static CACHES: AtomicPtr<KmemCache> = AtomicPtr::new(null_mut());

/// Adds a cache to the list; once for each.
pub(super) fn list(cache: &'static KmemCache) {
    let me = core::ptr::from_ref(cache).cast_mut();
    let mut head = CACHES.load(Ordering::Relaxed);
    loop {
        cache.next.store(head, Ordering::Relaxed);
        match CACHES.compare_exchange_weak(head, me, Ordering::Release, Ordering::Relaxed) {
            Ok(_) => return,
            Err(seen) => head = seen,
        }
    }
}

/// One line of `/proc/slabinfo`.
#[derive(Clone, Copy, Debug)]
pub struct SlabInfo {
    /// Name.
    pub name: &'static str,
    /// Objects in use.
    pub active_objs: usize,
    /// Objects in all slabs.
    pub num_objs: usize,
    /// Bytes of an object, with what the allocator adds.
    pub objsize: usize,
    /// Objects of a slab.
    pub objperslab: usize,
    /// Pages of a slab.
    pub pagesperslab: usize,
    /// Slabs.
    pub num_slabs: usize,
}

impl KmemCache {
    /// Its line of `/proc/slabinfo`.
    pub fn info(&self) -> SlabInfo {
        let (num_slabs, active_objs) = self.usage();
        SlabInfo {
            name: self.name,
            active_objs,
            num_objs: num_slabs * self.layout.objects,
            objsize: self.layout.stride,
            objperslab: self.layout.objects,
            pagesperslab: 1 << self.layout.order,
            num_slabs,
        }
    }
}

/// All caches that have had a slab.
pub fn caches() -> impl Iterator<Item = &'static KmemCache> {
    let mut p = CACHES.load(Ordering::Acquire);
    core::iter::from_fn(move || {
        // SAFETY: null or a cache of the list; caches live for ever.
        let cache: &'static KmemCache = unsafe { p.as_ref() }?;
        p = cache.next.load(Ordering::Acquire);
        Some(cache)
    })
}

/// Gives this CPU's free objects of all caches back to their slabs.
pub fn drain_local() {
    caches().for_each(KmemCache::drain_local);
}

/// Gives a few of them back; false: there are none.
pub fn drain_turn() -> bool {
    caches().any(KmemCache::drain_turn)
}

/// Frees the unused slabs of all caches; returns how many.
pub fn shrink_all() -> usize {
    caches().map(KmemCache::shrink).sum()
}
