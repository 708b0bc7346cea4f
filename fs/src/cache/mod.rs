//! The page cache: pages of files, by index (Linux: mm/filemap.c, struct address_space).
//!
//! | file | what |
//! |---|---|
//! | [`page`] | a counted reference to a page |
//! | [`tree`] | index → page: a radix tree without recursion |
//! | [`mapping`] | [`AddressSpace`]: an inode's pages, who maps them, truncation |
//! | [`file`] | read, write, seek, fallocate, fault for files whose only store is the cache |
//!
//! Locks: `i_mmap` (who maps) → page-table locks (the kernel's) → `i_pages` (the tree); both are spin locks and never held
//! across a copy to or from user memory.

pub mod file;
pub mod mapping;
pub mod page;
pub mod tree;

pub use mapping::{AddressSpace, MmapHook};
pub use page::PageRef;

/// Bytes of a page.
pub const PAGE: u64 = vigil_mem::PAGE_SIZE as u64;
