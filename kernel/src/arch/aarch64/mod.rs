//! AArch64: booting, the kernel's page tables, CPUs and their features.
//!
//! | module | what is there | runs |
//! |---|---|---|
//! | [`mmu_layout`] | the virtual address plan, memory types | |
//! | [`pgtable_kernel`] | the page-table builder, pure | host-tested |
//! | `head` | entry in assembly: EL2 → EL1, identity map, MMU, relocation | MMU off |
//! | `head_vectors` | vectors until the trap code sets its own | each CPU |
//! | `boot` | first Rust code, at the load address and then at the virtual one | boot CPU |
//! | `kaslr` | where the image goes | boot CPU |
//! | `mmu` | the image's tables, the fixmap, the identity map of starting CPUs | boot CPU |
//! | `mmu_kernel`, `mmu_tlb` | linear map, ioremap, pages for vmalloc; TLB | |
//! | `selftest` | proof that nothing is writable and executable | boot CPU |
//! | `early` | what is decided before the tables are made: KASLR, KPTI | boot CPU |
//! | `alternative` | branches that are decided at boot | boot CPU |
//! | `jump_label` | trace sites, switched in the running text | |
//! | `hardening` | speculation mitigations: each CPU's, the system's state | |
//! | `hardened_vectors`, `kpti` | vectors and tables of machines that need them | |
//! | [`features`], [`features_mitigation`] | HWCAP, emulated ID registers, speculation mitigations | pure, host-tested |
//! | `vectors`, `trap`, `entry`, `user_context`, `switch`, `uaccess`, `fpsimd` | exceptions, EL0, stacks, user memory, FP | |
//! | `psci` | power off, reset, CPU_ON | |
//! | `cpu` | per-CPU registers | |
//! | `smp` | starting the other CPUs | |
//!
//! Page tables of user space, ASIDs and user TLB flushes belong to [`crate::mm`].

pub mod features;
pub mod features_mitigation;
pub mod mmu_layout;
pub mod pgtable_kernel;

#[cfg(target_os = "none")]
pub mod alternative;
#[cfg(target_os = "none")]
pub mod boot;
#[cfg(target_os = "none")]
pub mod cpu;
#[cfg(target_os = "none")]
pub mod early;
#[cfg(target_os = "none")]
pub mod entry;
#[cfg(target_os = "none")]
pub mod fpsimd;
#[cfg(target_os = "none")]
mod hardened_vectors;
#[cfg(target_os = "none")]
pub mod hardening;
#[cfg(target_os = "none")]
mod head;
#[cfg(target_os = "none")]
mod head_vectors;
#[cfg(target_os = "none")]
pub mod jump_label;
#[cfg(target_os = "none")]
pub mod kaslr;
#[cfg(target_os = "none")]
pub mod kpti;
#[cfg(target_os = "none")]
pub mod mmu;
#[cfg(target_os = "none")]
pub mod mmu_kernel;
#[cfg(target_os = "none")]
pub mod mmu_tlb;
#[cfg(target_os = "none")]
pub mod pmu;
#[cfg(target_os = "none")]
pub mod psci;
#[cfg(target_os = "none")]
pub mod selftest;
#[cfg(target_os = "none")]
pub mod smp;
#[cfg(target_os = "none")]
mod stamped;
#[cfg(target_os = "none")]
pub mod switch;
#[cfg(target_os = "none")]
pub mod trap;
#[cfg(target_os = "none")]
pub mod uaccess;
#[cfg(target_os = "none")]
mod user_context;
#[cfg(target_os = "none")]
pub mod vectors;
