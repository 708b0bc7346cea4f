//! The slab allocator: objects of one size from blocks of pages, in the manner of Linux's SLUB.
//!
//! Each cache has a free list for each CPU, taken from and given to under masked interrupts, without a lock. The list is
//! refilled from and spilled to the slabs in batches, under the cache's lock. A slab's free objects are linked through
//! themselves; its page descriptor holds the head, the count and the cache.
//!
//! | file | subject |
//! |---|---|
//! | `cache` | [`KmemCache`]: fast paths, refill, spill, shrink |
//! | `layout` | where object, free pointer and red zone lie; how large a slab is |
//! | `check` | poison, red zones, double free (debug builds) |
//! | `kmalloc` | size classes, large allocations, [`KernelAllocator`] |
//! | `typed` | [`Cache`] and [`CacheBox`]: a named cache of one type |
//! | `info` | the list of caches and `/proc/slabinfo` |
//!
//! Any context may allocate and free, hard interrupts included. Lock order: a cache's lock, then a zone's.

mod cache;
mod check;
mod info;
mod kmalloc;
mod layout;
mod typed;

pub use cache::KmemCache;
pub use info::{SlabInfo, caches, drain_local, drain_turn, shrink_all};
pub(crate) use kmalloc::COSTLY_ORDER;
pub use kmalloc::{KMALLOC_MAX_CACHE_SIZE, KernelAllocator, kfree, kmalloc};
pub use typed::{Cache, CacheBox};

#[cfg(test)]
mod tests;
