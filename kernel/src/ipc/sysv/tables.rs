//! `/proc/sysvipc/*`, and the limits in `/proc/sys/kernel`.

use super::sem::{SEMMNS, SEMMSL, SEMOPM, SETS};
use crate::procfs::sysctl_numbers;
use core::fmt::Write;
use core::sync::atomic::Ordering::Relaxed;
use vigil_abi::Errno;
use vigil_abi::ipc::IpcPerm;
use vigil_fs::proc::{add_file, add_file_rw};
use vigil_fs::vnode::SeqBuf;

/// Adds the files.
pub fn init() -> Result<(), Errno> {
    add_file("sysvipc/sem", 0o444, show_sem)?;
    add_file_rw("sys/kernel/sem", 0o644, show_sem_limits, set_sem_limits)
}

/// The columns of the owners.
fn owners(perm: &IpcPerm) -> impl core::fmt::Display {
    let IpcPerm { uid, gid, cuid, cgid, .. } = *perm;
    core::fmt::from_fn(move |f| write!(f, "{uid:5} {gid:5} {cuid:5} {cgid:5}"))
}

fn show_sem(out: &mut SeqBuf) -> Result<(), Errno> {
    out.put(b"       key      semid perms      nsems   uid   gid  cuid  cgid      otime      ctime\n");
    let mut at = 0;
    while let Some((index, id, set)) = SETS.next(at) {
        at = index + 1;
        let Ok((otime, ctime)) = set.lock().map(|state| (state.otime, state.ctime)) else { continue };
        let perm = set.perm.show();
        let _ = writeln!(
            out,
            "{:10} {id:10}  {:4o} {:10} {} {otime:10} {ctime:10}",
            perm.key,
            perm.mode,
            set.nsems,
            owners(&perm)
        );
    }
    Ok(())
}

fn show_sem_limits(out: &mut SeqBuf) -> Result<(), Errno> {
    let limits = [&SEMMSL, &SEMMNS, &SEMOPM, &SETS.limit].map(|limit| limit.load(Relaxed));
    let _ = writeln!(out, "{}\t{}\t{}\t{}", limits[0], limits[1], limits[2], limits[3]);
    Ok(())
}

/// Up to four numbers, of which those that are there count. EINVAL.
fn set_sem_limits(data: &[u8]) -> Result<(), Errno> {
    let mut new = [&SEMMSL, &SEMMNS, &SEMOPM, &SETS.limit].map(|limit| limit.load(Relaxed));
    sysctl_numbers(data, &mut new)?;
    if !(0..=super::numbers::MAX_OBJECTS as i32).contains(&new[3]) {
        return Err(Errno::EINVAL);
    }
    for (limit, value) in [&SEMMSL, &SEMMNS, &SEMOPM, &SETS.limit].into_iter().zip(new) {
        limit.store(value, Relaxed);
    }
    Ok(())
}
