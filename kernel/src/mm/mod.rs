//! User address spaces: mappings, page tables, page faults, and the system calls on them.
//!
//! The key type is [`Mm`], an address space, held by `KArc`. Its *users* are counted apart from those who merely hold the
//! object ([`Mm::get_user`], [`Mm::put_user`]): when the last user goes, [`Mm::exit_mmap`] empties it.
//!
//! | file | subject |
//! |---|---|
//! | `space` | [`Mm`]: construction, users, switching to it |
//! | `vma`, `tree` | one mapping; the ordered set of them |
//! | `table`, `gather`, `edit` | page tables; taking pages out of them; splitting, merging and removing mappings |
//! | `fault`, `cow`, `file_fault`, `fault_in` | page faults |
//! | `mmap`, `munmap`, `mprotect`, `mremap`, `madvise`, `mlock`, `brk`, `mincore` | the system calls |
//! | `fork`, `exit` | copying an address space, and its end |
//! | `rmap` | who maps a file's pages |
//! | `layout` | where things go: ASLR, the search for a gap |
//! | `special`, `vdso` | kernel pages in user space |
//! | `futex` | what identifies a futex |
//! | `policy` | memory policies (NUMA) |
//! | `kswapd`, `oom` | getting memory back; the out-of-memory killer |
//! | `remote`, `report` | access from outside; `/proc/PID/{maps,smaps,statm,status}` |
//!
//! **Locks.** `mmap_lock` is the async rw-semaphore around [`space::Space`]: read for faults, written by whatever changes
//! mappings. Below it: the rmap node's lock, then the page-table locks, then what the page cache takes. **What blocks:**
//! every `async fn` here may wait for mmap_lock, for memory, or for a page being read; the plain functions never wait:
//! they finish, or say that the async twin must be called ([`FaultStop::Retry`]).

#[path = "../arch/aarch64/asid.rs"]
pub mod asid;
pub mod brk;
mod counters;
mod cow;
mod edit;
pub mod exit;
pub mod fault;
mod fault_in;
mod file_fault;
pub mod fork;
pub mod futex;
mod gather;
#[cfg(target_os = "none")]
pub mod kswapd;
pub mod layout;
pub mod madvise;
pub mod mincore;
pub mod mlock;
pub mod mmap;
pub mod mprotect;
pub mod mremap;
pub mod munmap;
#[cfg(target_os = "none")]
pub mod oom;
mod page;
#[path = "../arch/aarch64/pgtable.rs"]
pub mod pgtable;
pub mod policy;
pub mod remote;
pub mod report;
pub mod rmap;
pub mod shm;
pub mod space;
pub mod special;
pub mod switch;
mod table;
#[cfg(all(target_arch = "aarch64", target_os = "none"))]
#[path = "../arch/aarch64/tlb.rs"]
pub mod tlb;
#[cfg(not(all(target_arch = "aarch64", target_os = "none")))]
#[path = "tlb_host.rs"]
pub mod tlb;
pub mod tree;
pub mod vdso;
pub mod vma;

#[cfg(test)]
mod fail_tests;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod race_tests;
#[cfg(test)]
pub(crate) mod tests;

pub use counters::{Overcommit, committed, enough_memory};
pub use fault::{Access, Fault, FaultError, FaultSignal, FaultStop};
pub use futex::FutexKey;
pub use layout::Limits;
pub use mmap::MmapRequest;
pub use page::{overcommit_mode, set_overcommit_mode};
pub use space::{Mm, MmFields};
pub use switch::{cpu_init, switch_mm, switch_to_none};
pub use vigil_mem::TASK_SIZE;
pub use vma::VmFlags;

/// Lowest address that may be mapped without privilege (`vm.mmap_min_addr`, Debian's value).
pub const MMAP_MIN_ADDR: usize = 65536;
/// Most mappings in one address space (`vm.max_map_count`).
pub const MAX_MAP_COUNT: usize = 65530;
/// What stays free below a stack: 256 pages (`stack_guard_gap`).
pub const STACK_GUARD_GAP: usize = 256 << vigil_mem::PAGE_SHIFT;

/// What `mm` needs before the first address space: the zero page, the empty root table, the width of ASIDs, the OOM
/// killer, the vDSO.
/// Once, on the boot CPU, with the page allocator up. ENOMEM.
pub fn init() -> Result<(), vigil_abi::Errno> {
    if !page::init() {
        return Err(vigil_abi::Errno::ENOMEM);
    }
    switch::init();
    #[cfg(target_os = "none")]
    oom::init();
    vdso::init()
}
