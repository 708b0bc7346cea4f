//! AArch64: booting, the kernel's page tables, CPUs and their features.
//!
//! | module | what is there | runs |
//! |---|---|---|
//! | [`mmu_layout`] | the virtual address plan, memory types | |
//! | [`pgtable_kernel`] | the page-table builder, pure | host-tested |
//! | `head` | entry in assembly: EL2 → EL1, identity map, MMU, relocation | MMU off |
//! | `boot` | first Rust code, at the load address and then at the virtual one | boot CPU |
//! | `kaslr` | where the image goes | boot CPU |
//! | `mmu`, `mmu_tlb` | the kernel's tables and their changes | |
//! | `cpu`, `cache` | per-CPU registers, cache maintenance | |
//! | `smp` | starting the other CPUs | |
//!
//! Page tables of user space, ASIDs and user TLB flushes belong to [`crate::mm`].

pub mod mmu_layout;
pub mod pgtable_kernel;

#[cfg(target_os = "none")]
pub mod boot;
#[cfg(target_os = "none")]
pub mod cache;
#[cfg(target_os = "none")]
pub mod cpu;
#[cfg(target_os = "none")]
mod head;
#[cfg(target_os = "none")]
pub mod kaslr;
#[cfg(target_os = "none")]
pub mod mmu;
#[cfg(target_os = "none")]
pub mod mmu_tlb;
#[cfg(target_os = "none")]
pub mod smp;
