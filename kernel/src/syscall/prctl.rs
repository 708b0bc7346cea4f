//! prctl(2) and personality(2): what a thread says about itself.
//!
//! Options of hardware that is not there (SVE, SME, pointer authentication) and of subsystems that are not (seccomp,
//! performance events, core scheduling) answer what Linux answers without them.

use super::{Args, SysResult, prctl_mm, prctl_spec, user};
use crate::task::orphans;
use crate::task::process::tasks;
use crate::task::signal;
use crate::task::thread::Thread;
use core::sync::atomic::Ordering::*;
use vigil_abi::Errno;
use vigil_abi::process::*;
use vigil_fs::Cred;
use vigil_fs::vfs::cred::secure;
use vigil_mem::UserPtr;

/// PF_MCE_PROCESS: the thread has said how it wants to hear of broken memory.
const MCE_SET: u32 = 1;
/// PF_MCE_EARLY: as soon as possible.
const MCE_EARLY: u32 = 2;
/// PR_SET_IO_FLUSHER.
const IO_FLUSHER: u32 = 4;
/// PR_TAGGED_ADDR_ENABLE: calls take addresses with a tag.
const TAGGED_ADDR: u32 = 8;
/// Speculative store bypass is off while the thread runs.
pub(super) const SSB_DISABLE: u32 = 16;
/// For ever.
pub(super) const SSB_FORCE: u32 = 32;
/// Until exec.
pub(super) const SSB_NOEXEC: u32 = 64;
/// PR_TIMING_STATISTICAL: the only way of accounting time.
const TIMING_STATISTICAL: u64 = 0;

/// Whether the running thread may pass tagged addresses: asked by user access for an address that has a tag.
pub fn takes_tagged_addresses() -> bool {
    Thread::current().is_some_and(|t| t.wishes.load(Relaxed) & TAGGED_ADDR != 0)
}

/// What a new program forgets of its thread's wishes.
pub fn forget_at_exec(t: &Thread) {
    t.wishes.fetch_and(!TAGGED_ADDR, Relaxed);
}

/// EINVAL unless all of these arguments are zero.
fn unused(arguments: &[u64]) -> Result<(), Errno> {
    if arguments.iter().all(|a| *a == 0) { Ok(()) } else { Err(Errno::EINVAL) }
}

fn flag(value: bool) -> Result<usize, Errno> {
    Ok(value as usize)
}

/// prctl(option, ...)
pub async fn prctl(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let process = &t.process;
    match a[0] as u32 {
        PR_SET_NAME => {
            let name = user::retry(t, || {
                let mut name = [0u8; 16];
                let length = UserPtr::<u8>::new(a[1] as usize).read_str(&mut name[..15])?;
                name[length..].fill(0);
                Ok(name)
            })
            .await?;
            if let Some(task) = t.task() {
                task.set_name(&name);
            }
            Ok(0)
        }
        PR_GET_NAME => {
            let name = t.comm();
            user::retry(t, || Ok(UserPtr::<u8>::new(a[1] as usize).write_slice(&name)?)).await?;
            Ok(0)
        }
        PR_SET_PDEATHSIG => {
            if a[1] as usize > signal::NSIG {
                return Err(Errno::EINVAL);
            }
            process.pdeath_signal.store(a[1] as u32, Relaxed);
            Ok(0)
        }
        PR_GET_PDEATHSIG => put(t, a[1], process.pdeath_signal.load(Relaxed) as i32).await,
        PR_GET_DUMPABLE => Ok(process.dumpable.load(Relaxed) as usize),
        PR_SET_DUMPABLE => {
            if a[1] > 1 {
                return Err(Errno::EINVAL);
            }
            process.dumpable.store(a[1] as u32, Relaxed);
            Ok(0)
        }
        PR_GET_TIMING => Ok(TIMING_STATISTICAL as usize),
        PR_SET_TIMING => unused(&[a[1] ^ TIMING_STATISTICAL]).map(|()| 0),
        PR_SET_TIMERSLACK => {
            t.timer_slack.store(if a[1] == 0 { t.default_slack.load(Relaxed) } else { a[1] }, Relaxed);
            Ok(0)
        }
        PR_GET_TIMERSLACK => Ok(t.timer_slack.load(Relaxed) as usize),
        PR_SET_CHILD_SUBREAPER => {
            orphans::set_subreaper(process, a[1] != 0);
            Ok(0)
        }
        PR_GET_CHILD_SUBREAPER => {
            let value = process.relations(&tasks()).subreaper as i32;
            put(t, a[1], value).await
        }
        PR_SET_NO_NEW_PRIVS => {
            unused(&[a[1] ^ 1, a[2], a[3], a[4]])?;
            process.no_new_privs.store(true, Relaxed);
            Ok(0)
        }
        PR_GET_NO_NEW_PRIVS => {
            unused(&a[1..5])?;
            flag(process.no_new_privs.load(Relaxed))
        }
        PR_SET_THP_DISABLE => {
            unused(&a[2..5])?;
            process.thp_disabled.store(a[1] != 0, Relaxed);
            Ok(0)
        }
        PR_GET_THP_DISABLE => {
            unused(&a[1..5])?;
            flag(process.thp_disabled.load(Relaxed))
        }
        PR_GET_TID_ADDRESS => {
            let address = t.clear_child_tid.load(Relaxed) as u64;
            user::put(t, UserPtr::<u64>::new(a[1] as usize), &address).await.map(|()| 0)
        }
        PR_GET_SECCOMP => Ok(0),
        PR_SET_MM => prctl_mm::set(t, a).await,
        PR_MCE_KILL => {
            unused(&a[3..5])?;
            let wishes = match (a[1] as u32, a[2] as u32) {
                (PR_MCE_KILL_CLEAR, 0) if a[2] == 0 => 0,
                (PR_MCE_KILL_SET, PR_MCE_KILL_EARLY) => MCE_SET | MCE_EARLY,
                (PR_MCE_KILL_SET, PR_MCE_KILL_LATE) => MCE_SET,
                (PR_MCE_KILL_SET, PR_MCE_KILL_DEFAULT) => 0,
                _ => return Err(Errno::EINVAL),
            };
            set_wish(t, MCE_SET | MCE_EARLY, wishes);
            Ok(0)
        }
        PR_MCE_KILL_GET => {
            unused(&a[1..5])?;
            Ok(match t.wishes.load(Relaxed) & (MCE_SET | MCE_EARLY) {
                0 => PR_MCE_KILL_DEFAULT,
                MCE_SET => PR_MCE_KILL_LATE,
                _ => PR_MCE_KILL_EARLY,
            } as usize)
        }
        PR_SET_IO_FLUSHER => {
            may_flush(t)?;
            unused(&a[2..5])?;
            match a[1] {
                0 => set_wish(t, IO_FLUSHER, 0),
                1 => set_wish(t, IO_FLUSHER, IO_FLUSHER),
                _ => return Err(Errno::EINVAL),
            }
            Ok(0)
        }
        PR_GET_IO_FLUSHER => {
            may_flush(t)?;
            unused(&a[1..5])?;
            flag(t.wishes.load(Relaxed) & IO_FLUSHER != 0)
        }
        PR_SET_TAGGED_ADDR_CTRL => {
            unused(&[a[2], a[3], a[4], a[1] & !u64::from(PR_TAGGED_ADDR_ENABLE)])?;
            set_wish(t, TAGGED_ADDR, if a[1] != 0 { TAGGED_ADDR } else { 0 });
            Ok(0)
        }
        PR_GET_TAGGED_ADDR_CTRL => {
            unused(&a[1..5])?;
            flag(t.wishes.load(Relaxed) & TAGGED_ADDR != 0)
        }
        PR_GET_SPECULATION_CTRL => {
            unused(&a[2..5])?;
            prctl_spec::get(t, a)
        }
        PR_SET_SPECULATION_CTRL => {
            unused(&a[3..5])?;
            prctl_spec::set(t, a)
        }
        PR_CAPBSET_READ | PR_CAPBSET_DROP | PR_SET_SECUREBITS | PR_GET_SECUREBITS | PR_SET_KEEPCAPS | PR_GET_KEEPCAPS | PR_CAP_AMBIENT => {
            capabilities(t, a)
        }
        _ => Err(Errno::EINVAL),
    }
}

async fn put(t: &Thread, to: u64, value: i32) -> Result<usize, Errno> {
    user::put(t, UserPtr::new(to as usize), &value).await.map(|()| 0)
}

pub(super) fn set_wish(t: &Thread, mask: u32, bits: u32) {
    // Only the thread itself writes the word.
    t.wishes.store(t.wishes.load(Relaxed) & !mask | bits, Relaxed);
}

fn may_flush(t: &Thread) -> Result<(), Errno> {
    if t.cred()?.capable(CAP_SYS_RESOURCE) { Ok(()) } else { Err(Errno::EPERM) }
}

/// Swaps in credentials that `f` has changed.
fn change(t: &Thread, f: impl FnOnce(&mut Cred)) -> Result<usize, Errno> {
    let mut new = t.cred()?.try_clone()?;
    f(&mut new);
    t.replace_cred(vigil_mem::KArc::try_new(new)?);
    Ok(0)
}

/// The options of capabilities(7) (Linux: cap_task_prctl).
fn capabilities(t: &Thread, a: Args) -> Result<usize, Errno> {
    let cred = t.cred()?;
    let valid = |capability: u64| capability <= u64::from(CAP_LAST_CAP);
    match a[0] as u32 {
        PR_CAPBSET_READ if valid(a[1]) => flag(cred.cap_bounding >> a[1] & 1 != 0),
        PR_CAPBSET_DROP if !cred.capable(CAP_SETPCAP) => Err(Errno::EPERM),
        PR_CAPBSET_DROP if valid(a[1]) => change(t, |c| c.cap_bounding &= !(1 << a[1])),
        PR_GET_SECUREBITS => Ok(cred.securebits as usize),
        PR_SET_SECUREBITS => {
            let (old, new) = (cred.securebits, a[1] as u32);
            let locked = old & secure::LOCKS;
            let touches_locked = locked >> 1 & (old ^ new) != 0 || locked & !new != 0;
            let known = a[1] & !u64::from(secure::LOCKS | secure::BITS) == 0;
            if touches_locked || !known || !cred.capable(CAP_SETPCAP) {
                return Err(Errno::EPERM);
            }
            change(t, |c| c.securebits = new)
        }
        PR_GET_KEEPCAPS => flag(cred.is_secure(secure::KEEP_CAPS)),
        PR_SET_KEEPCAPS if a[1] > 1 => Err(Errno::EINVAL),
        PR_SET_KEEPCAPS if cred.is_secure(secure::KEEP_CAPS_LOCKED) => Err(Errno::EPERM),
        PR_SET_KEEPCAPS => change(t, |c| c.set_secure(secure::KEEP_CAPS, a[1] != 0)),
        PR_CAP_AMBIENT if a[1] == u64::from(PR_CAP_AMBIENT_CLEAR_ALL) => {
            unused(&a[2..5])?;
            change(t, |c| c.cap_ambient = 0)
        }
        PR_CAP_AMBIENT if valid(a[2]) && a[3] == 0 && a[4] == 0 => ambient(t, cred, a[1], 1 << a[2]),
        _ => Err(Errno::EINVAL),
    }
}

fn ambient(t: &Thread, cred: &Cred, what: u64, capability: u64) -> Result<usize, Errno> {
    const IS_SET: u64 = PR_CAP_AMBIENT_IS_SET as u64;
    const RAISE: u64 = PR_CAP_AMBIENT_RAISE as u64;
    const LOWER: u64 = PR_CAP_AMBIENT_LOWER as u64;
    match what {
        IS_SET => flag(cred.cap_ambient & capability != 0),
        RAISE => {
            let may = cred.cap_permitted & cred.cap_inheritable & capability != 0;
            if !may || cred.is_secure(secure::NO_CAP_AMBIENT_RAISE) {
                return Err(Errno::EPERM);
            }
            change(t, |c| c.cap_ambient |= capability)
        }
        LOWER => change(t, |c| c.cap_ambient &= !capability),
        _ => Err(Errno::EINVAL),
    }
}

/// personality(persona)
pub fn personality(t: &Thread, a: Args) -> SysResult {
    /// PER_MASK, PER_LINUX32: there is no 32-bit EL0 here, as on a CPU without it.
    const MASK: u32 = 0xff;
    const LINUX32: u32 = 8;
    let new = a[0] as u32;
    if new & MASK == LINUX32 && new != u32::MAX {
        return Err(Errno::EINVAL.into());
    }
    let old = t.personality.load(Relaxed);
    if new != u32::MAX {
        t.personality.store(new, Relaxed);
    }
    Ok(old as usize)
}
