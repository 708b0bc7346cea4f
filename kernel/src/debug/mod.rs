//! Debugging: the kernel log and its readers, consoles, panic, back-traces, symbols, semihosting.
//!
//! | module | what is there |
//! |---|---|
//! | [`ring`] | the lock-free record ring |
//! | [`printk`] | levels, `pr_*` macros, the `log` crate's backend |
//! | [`console`] | where messages are shown; the console lock, which nobody waits for |
//! | [`kmsg`] | `/dev/kmsg` and syslog(2) |
//! | [`ratelimit`] | `pr_ratelimited!` |
//! | [`kallsyms`] | names of kernel addresses |
//! | [`oops`] | what a kernel fault means, and the policy |
//! | `report` | says it and does it |
//! | `backtrace`, `panic` | last words (kernel target only) |
//! | `bad_irq` | lines that are switched off because nobody cares for them |
//! | `rcu_stall` | grace periods that do not end |
//! | `lockdep` | what the lock checker has found (builds with checks on) |
//! | `long_poll` | futures that do not give way |
//! | `report_tasks`, `hung_task` | lists of tasks; the watchdog of those that wait for too long |
//! | `warn` | what is wrong but can be lived with |
//! | `watchdog`, `hard_lockup` | CPUs that do not give way, or take no interrupts |
//! | `sysrq` | commands to the kernel itself |
//! | `lkdtm` | root may break the kernel, to see that it copes |
//! | [`semihosting`] | the emulator's exit |
//!
//! Nothing here blocks, allocates, or takes a lock that another CPU may hold for long.

pub mod console;
pub mod kallsyms;
pub mod kmsg;
pub mod oops;
pub mod printk;
pub mod ratelimit;
pub mod ring;
pub mod semihosting;

#[cfg(target_os = "none")]
pub mod backtrace;
#[cfg(target_os = "none")]
pub mod bad_irq;
#[cfg(target_os = "none")]
pub mod hard_lockup;
#[cfg(target_os = "none")]
pub mod hung_task;
#[cfg(target_os = "none")]
pub mod lkdtm;
#[cfg(all(target_os = "none", debug_assertions))]
pub mod lockdep;
#[cfg(target_os = "none")]
pub mod long_poll;
#[cfg(target_os = "none")]
pub mod panic;
#[cfg(target_os = "none")]
pub mod panic_print;
#[cfg(target_os = "none")]
pub mod rcu_stall;
#[cfg(target_os = "none")]
pub mod report;
#[cfg(target_os = "none")]
pub mod report_tasks;
#[cfg(target_os = "none")]
pub mod sysrq;
#[cfg(target_os = "none")]
pub mod warn;
#[cfg(target_os = "none")]
pub mod watchdog;
