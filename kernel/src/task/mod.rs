//! Processes and threads: making them, running them, ending them, and their signals.
//!
//! ```text
//!   Process ──threads──► Thread ──task──► executor Task ──future──► user::run(thread)
//!      │                    │                                          loop { enter EL0; serve; signals }
//!      ├─ signals, sighand  ├─ user context, FP state
//!      ├─ limits, timers    ├─ mm, files, fs, cred (shared by clone flags)
//!      └─ parent, children (under TASKS)
//! ```
//!
//! | file | subject |
//! |---|---|
//! | [`thread`], [`process`], [`children`], [`pid`], [`pidfd`], [`limits`], [`owned`], [`usage`] | the objects |
//! | [`user`] | the future of a thread: into EL0 and out of it |
//! | [`clone`], [`exit`], [`orphans`], [`wait`] | a life |
//! | [`usermode`] | programs that the kernel starts by itself |
//! | [`walk`] | what is done to many processes, some at a time |
//! | [`exec`] | programs |
//! | [`signal`] | signals |
//! | [`rttime`] | how long real-time threads may run |
//! | [`chain`] | why a thread waits: its await chain |
//! | [`dead`] | a thread whose kernel code has faulted |
//! | [`disturb`] | awaits that are disturbed on purpose |
//! | [`switch`] | what the executor calls when it enters or leaves a thread |

pub mod exec;

#[cfg(target_os = "none")]
pub mod chain;
#[cfg(target_os = "none")]
pub mod children;
#[cfg(target_os = "none")]
pub mod clone;
#[cfg(target_os = "none")]
pub mod dead;
#[cfg(target_os = "none")]
pub mod disturb;
#[cfg(target_os = "none")]
pub mod execve;
#[cfg(target_os = "none")]
pub mod exit;
#[cfg(target_os = "none")]
pub mod init;
#[cfg(target_os = "none")]
pub mod kthread;
#[cfg(target_os = "none")]
pub mod limits;
#[cfg(target_os = "none")]
pub mod orphans;
#[cfg(target_os = "none")]
pub mod owned;
#[cfg(target_os = "none")]
pub mod pid;
#[cfg(target_os = "none")]
pub mod pidfd;
#[cfg(target_os = "none")]
pub mod process;
#[cfg(target_os = "none")]
pub mod rcu;
#[cfg(target_os = "none")]
pub mod rttime;
pub mod signal;
#[cfg(target_os = "none")]
mod stay;
#[cfg(target_os = "none")]
pub mod switch;
#[cfg(target_os = "none")]
pub mod thread;
#[cfg(target_os = "none")]
pub mod usage;
#[cfg(target_os = "none")]
pub mod user;
#[cfg(target_os = "none")]
pub mod usermode;
#[cfg(target_os = "none")]
pub mod wait;
#[cfg(target_os = "none")]
pub mod walk;
