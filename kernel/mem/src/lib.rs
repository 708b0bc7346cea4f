//! # vigil-mem: physical memory, the kernel heap, and user buffers
//!
//! Principles:
//!
//! 1. **Allocation can fail.** There is no infallible constructor; [`KBox`], [`KArc`], [`KVec`] and [`KString`] have
//!    `try_` functions, and the fault injector ([`fault`]) makes each of them fail on demand.
//! 2. **Two faces.** The atomic face never waits and may dip into the reserve; the awaitable one reclaims.
//! 3. **Fast paths take no lock.** Pages come from per-CPU lists, objects from per-CPU slabs, under masked interrupts.
//! 4. **User bytes are never a Rust reference** ([`buf`]).
//!
//! | module | what is there |
//! |---|---|
//! | [`addr`] | physical and virtual addresses, page frame numbers, the linear map |
//! | [`buf`] | user pointers, cursors over user and kernel memory |
//! | [`fault`] | the fault injector |
//! | [`memblock`] | memory before the page allocator runs |
//! | [`page`], [`page_alloc`] | page descriptors; zones, buddy system, per-CPU lists, reclaim, counters |
//! | [`slab`] | caches of objects, kmalloc, the global allocator |
//! | [`vmalloc`] | virtually contiguous memory, kernel stacks, device mappings |
//! | [`percpu`] | per-CPU state under masked interrupts, counters |
#![no_std]
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests use the host's collections, which may abort"))]

extern crate alloc;
#[cfg(any(test, not(target_os = "none")))]
extern crate std;

pub mod addr;
mod arch;
pub mod buf;
pub mod error;
pub mod fault;
mod heap;
#[cfg(not(target_os = "none"))]
pub mod host;
mod karc;
mod kbox;
mod kstring;
mod kvec;
pub mod memblock;
pub mod page;
pub mod page_alloc;
pub mod percpu;
pub mod slab;
pub mod vmalloc;

pub use addr::{PAGE_SHIFT, PAGE_SIZE, Pfn, PhysAddr, TASK_SIZE, VirtAddr, phys_to_virt, virt_to_phys};
pub use buf::{IoBuf, IoBufMut, Iovecs, UserBuf, UserBufMut, UserPtr, UserRange, UserSlice};
pub use error::{AllocError, Fault};
pub use karc::{KArc, KWeak};
pub use kbox::KBox;
pub use kstring::{KString, SliceWriter};
pub use kvec::KVec;
pub use page::{Page, PageFlags, PageRef};
pub use page_alloc::{Gfp, alloc_pages, alloc_pages_wait, free_pages};
pub use slab::{KernelAllocator, KmemCache};
pub use vigil_abi::{Errno, Pod};
