//! `/proc/sysvipc/*`, and the limits in `/proc/sys/kernel`.

use super::msg::{MSGMAX, MSGMNB, QUEUES};
use super::numbers::MAX_OBJECTS;
use super::sem::{SEMMNS, SEMMSL, SEMOPM, SETS};
use super::shm::{SEGMENTS, SHMALL, SHMMAX};
use crate::procfs::{sysctl_line, sysctl_numbers};
use core::fmt::Write;
use core::sync::atomic::Ordering::Relaxed;
use vigil_abi::Errno;
use vigil_abi::ipc::IpcPerm;
use vigil_fs::proc::{add_file, add_file_rw};
use vigil_fs::vnode::SeqBuf;
use vigil_mem::PAGE_SIZE;

/// Adds the files.
pub fn init() -> Result<(), Errno> {
    add_file("sysvipc/sem", 0o444, show_sem)?;
    add_file("sysvipc/msg", 0o444, show_msg)?;
    add_file("sysvipc/shm", 0o444, show_shm)?;
    add_file_rw("sys/kernel/sem", 0o644, show_sem_limits, set_sem_limits)?;
    /// A file of one number, from 0 on.
    macro_rules! numbers {
        ($($name:literal: $value:expr, $type:ty, $max:expr;)*) => {
            $(add_file_rw(
                concat!("sys/kernel/", $name),
                0o644,
                |o| sysctl_line(o, $value.load(Relaxed)),
                |d| {
                    let new = <$type>::from_str_ascii(d)?;
                    if new > $max {
                        return Err(Errno::EINVAL);
                    }
                    $value.store(new, Relaxed);
                    Ok(())
                },
            )?;)*
        };
    }
    numbers! {
        "msgmax": MSGMAX, i32, i32::MAX;
        "msgmnb": MSGMNB, i32, i32::MAX;
        "msgmni": QUEUES.limit, i32, MAX_OBJECTS as i32;
        "shmmni": SEGMENTS.limit, i32, MAX_OBJECTS as i32;
        "shmmax": SHMMAX, u64, u64::MAX;
        "shmall": SHMALL, u64, u64::MAX;
    }
    Ok(())
}

/// Numbers from 0 on, in decimal.
trait Number: Sized {
    /// EINVAL.
    fn from_str_ascii(data: &[u8]) -> Result<Self, Errno>;
}

impl Number for u64 {
    fn from_str_ascii(data: &[u8]) -> Result<u64, Errno> {
        core::str::from_utf8(data).ok().and_then(|text| text.trim().parse().ok()).ok_or(Errno::EINVAL)
    }
}

impl Number for i32 {
    fn from_str_ascii(data: &[u8]) -> Result<i32, Errno> {
        u64::from_str_ascii(data).and_then(|n| i32::try_from(n).map_err(|_| Errno::EINVAL))
    }
}

/// The columns of the owners.
fn owners(perm: &IpcPerm) -> impl core::fmt::Display {
    let IpcPerm { uid, gid, cuid, cgid, .. } = *perm;
    core::fmt::from_fn(move |f| write!(f, "{uid:5} {gid:5} {cuid:5} {cgid:5}"))
}

fn show_sem(out: &mut SeqBuf) -> Result<(), Errno> {
    out.put(b"       key      semid perms      nsems   uid   gid  cuid  cgid      otime      ctime\n");
    for (id, set) in SETS.objects() {
        let Ok((otime, ctime)) = set.lock().map(|state| (state.otime, state.ctime)) else { continue };
        let perm = set.perm.show();
        let _ = writeln!(out, "{:10} {id:10}  {:4o} {:10} {} {otime:10} {ctime:10}", perm.key, perm.mode, set.nsems, owners(&perm));
    }
    Ok(())
}

fn show_msg(out: &mut SeqBuf) -> Result<(), Errno> {
    out.put(b"       key      msqid perms      cbytes       qnum lspid lrpid   uid   gid  cuid  cgid      stime      rtime      ctime\n");
    for (id, queue) in QUEUES.objects() {
        let perm = queue.perm.show();
        let Ok(q) = queue.lock() else { continue };
        let (bytes, count, sender, receiver) = (q.bytes, q.count, q.sender, q.receiver);
        let times = (q.stime, q.rtime, q.ctime);
        drop(q);
        let _ = writeln!(
            out,
            "{:10} {id:10}  {:4o}  {bytes:10} {count:10} {sender:5} {receiver:5} {} {:10} {:10} {:10}",
            perm.key,
            perm.mode,
            owners(&perm),
            times.0,
            times.1,
            times.2
        );
    }
    Ok(())
}

fn show_shm(out: &mut SeqBuf) -> Result<(), Errno> {
    out.put(
        b"       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid  cgid      atime      dtime      ctime ",
    );
    out.put(b"                  rss                  swap\n");
    for (id, segment) in SEGMENTS.objects() {
        let perm = segment.perm.show();
        let Ok(s) = segment.lock() else { continue };
        let (attached, lpid, times) = (s.attached, s.lpid, (s.atime, s.dtime, s.ctime));
        drop(s);
        let _ = write!(out, "{:10} {id:10}  {:4o} {:21} {:5} {lpid:5}  {attached:5} ", perm.key, perm.mode, segment.size, segment.cpid);
        let rss = segment.resident() * PAGE_SIZE as u64;
        let _ = writeln!(out, "{} {:10} {:10} {:10} {rss:21} {:21}", owners(&perm), times.0, times.1, times.2, 0);
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
    if !(0..=MAX_OBJECTS as i32).contains(&new[3]) {
        return Err(Errno::EINVAL);
    }
    for (limit, value) in [&SEMMSL, &SEMMNS, &SEMOPM, &SETS.limit].into_iter().zip(new) {
        limit.store(value, Relaxed);
    }
    Ok(())
}
