//! Identity: user and group numbers, capabilities (setuid(2) and its kin, capabilities(7)).
//!
//! Credentials are copied, changed and swapped: others that hold the old ones see them unchanged, as with Linux's
//! `prepare_creds`/`commit_creds`.

use super::{Args, SysResult};
use crate::task::process::{self, Process};
use crate::task::thread::Thread;
use core::sync::atomic::Ordering::Relaxed;
use vigil_abi::process::*;
use vigil_abi::{Errno, Pod};
use vigil_fs::Cred;
use vigil_fs::vfs::cred::secure;
use vigil_mem::{KArc, KVec, UserPtr};

const UNCHANGED: u32 = u32::MAX;
/// The largest number of supplementary groups (NGROUPS_MAX).
const GROUPS_MAX: usize = 65_536;

fn has(t: &Thread, capability: u32) -> Result<bool, Errno> {
    Ok(t.cred()?.capable(capability))
}

/// Swaps in credentials that `f` has changed; capabilities follow the user numbers as setuid(2) says. Who acts as
/// another is not dumped any more, and not told of its parent's end (Linux: commit_creds).
fn change(t: &Thread, f: impl FnOnce(&mut Cred)) -> SysResult {
    let old = t.share_cred().ok_or(Errno::EPERM)?;
    let mut new = old.try_clone()?;
    f(&mut new);
    if !new.is_secure(secure::NO_SETUID_FIXUP) {
        follow_uid(&old, &mut new);
    }
    t.process.uid.store(new.uid, Relaxed);
    if (old.euid, old.egid, old.fsuid, old.fsgid) != (new.euid, new.egid, new.fsuid, new.fsgid) {
        t.process.dumpable.store(0, Relaxed);
        t.process.pdeath_signal.store(0, Relaxed);
    }
    t.replace_cred(KArc::try_new(new)?);
    Ok(0)
}

/// Linux's `cap_emulate_setxuid`.
fn follow_uid(old: &Cred, new: &mut Cred) {
    const FS_CAPS: u64 = 1 << CAP_CHOWN
        | 1 << CAP_DAC_OVERRIDE
        | 1 << CAP_DAC_READ_SEARCH
        | 1 << CAP_FOWNER
        | 1 << CAP_FSETID
        | 1 << CAP_LINUX_IMMUTABLE
        | 1 << CAP_MKNOD
        | 1 << CAP_MAC_OVERRIDE;
    let had_root = old.uid == 0 || old.euid == 0 || old.suid == 0;
    let has_root = new.uid == 0 || new.euid == 0 || new.suid == 0;
    if had_root && !has_root {
        if !new.is_secure(secure::KEEP_CAPS) {
            new.cap_permitted = 0;
            new.cap_effective = 0;
        }
        new.cap_ambient = 0;
    }
    if old.euid == 0 && new.euid != 0 {
        new.cap_effective = 0;
    }
    if old.euid != 0 && new.euid == 0 {
        new.cap_effective = new.cap_permitted;
    }
    if old.fsuid == 0 && new.fsuid != 0 {
        new.cap_effective &= !FS_CAPS;
    }
    if old.fsuid != 0 && new.fsuid == 0 {
        new.cap_effective |= new.cap_permitted & FS_CAPS;
    }
}

/// getuid()
pub fn getuid(t: &Thread, _: Args) -> SysResult {
    Ok(t.cred()?.uid as usize)
}

/// geteuid()
pub fn geteuid(t: &Thread, _: Args) -> SysResult {
    Ok(t.cred()?.euid as usize)
}

/// getgid()
pub fn getgid(t: &Thread, _: Args) -> SysResult {
    Ok(t.cred()?.gid as usize)
}

/// getegid()
pub fn getegid(t: &Thread, _: Args) -> SysResult {
    Ok(t.cred()?.egid as usize)
}

/// getresuid(real, effective, saved)
pub fn getresuid(t: &Thread, a: Args) -> SysResult {
    let c = t.cred()?;
    put_three(a, [c.uid, c.euid, c.suid])
}

/// getresgid(real, effective, saved)
pub fn getresgid(t: &Thread, a: Args) -> SysResult {
    let c = t.cred()?;
    put_three(a, [c.gid, c.egid, c.sgid])
}

fn put_three(a: Args, values: [u32; 3]) -> SysResult {
    for (to, value) in a.iter().zip(values) {
        UserPtr::new(*to as usize).write(&value)?;
    }
    Ok(0)
}

/// setuid(uid)
pub fn setuid(t: &Thread, a: Args) -> SysResult {
    let uid = a[0] as u32;
    if uid == UNCHANGED {
        return Err(Errno::EINVAL.into());
    }
    let privileged = has(t, CAP_SETUID)?;
    let c = t.cred()?;
    if !privileged && uid != c.uid && uid != c.suid {
        return Err(Errno::EPERM.into());
    }
    change(t, |c| {
        if privileged {
            (c.uid, c.suid) = (uid, uid);
        }
        (c.euid, c.fsuid) = (uid, uid);
    })
}

/// setgid(gid)
pub fn setgid(t: &Thread, a: Args) -> SysResult {
    let gid = a[0] as u32;
    if gid == UNCHANGED {
        return Err(Errno::EINVAL.into());
    }
    let privileged = has(t, CAP_SETGID)?;
    let c = t.cred()?;
    if !privileged && gid != c.gid && gid != c.sgid {
        return Err(Errno::EPERM.into());
    }
    change(t, |c| {
        if privileged {
            (c.gid, c.sgid) = (gid, gid);
        }
        (c.egid, c.fsgid) = (gid, gid);
    })
}

/// setreuid(real, effective)
pub fn setreuid(t: &Thread, a: Args) -> SysResult {
    let (r, e) = (a[0] as u32, a[1] as u32);
    let c = t.cred()?;
    let ok = |v, allowed: &[u32]| v == UNCHANGED || allowed.contains(&v);
    if !has(t, CAP_SETUID)? && !(ok(r, &[c.uid, c.euid]) && ok(e, &[c.uid, c.euid, c.suid])) {
        return Err(Errno::EPERM.into());
    }
    change(t, |c| {
        let old = c.uid;
        if r != UNCHANGED {
            c.uid = r;
        }
        if e != UNCHANGED {
            c.euid = e;
        }
        if r != UNCHANGED || e != UNCHANGED && e != old {
            c.suid = c.euid;
        }
        c.fsuid = c.euid;
    })
}

/// setregid(real, effective)
pub fn setregid(t: &Thread, a: Args) -> SysResult {
    let (r, e) = (a[0] as u32, a[1] as u32);
    let c = t.cred()?;
    let ok = |v, allowed: &[u32]| v == UNCHANGED || allowed.contains(&v);
    if !has(t, CAP_SETGID)? && !(ok(r, &[c.gid, c.egid]) && ok(e, &[c.gid, c.egid, c.sgid])) {
        return Err(Errno::EPERM.into());
    }
    change(t, |c| {
        let old = c.gid;
        if r != UNCHANGED {
            c.gid = r;
        }
        if e != UNCHANGED {
            c.egid = e;
        }
        if r != UNCHANGED || e != UNCHANGED && e != old {
            c.sgid = c.egid;
        }
        c.fsgid = c.egid;
    })
}

/// setresuid(real, effective, saved)
pub fn setresuid(t: &Thread, a: Args) -> SysResult {
    let [r, e, s] = [a[0] as u32, a[1] as u32, a[2] as u32];
    let c = t.cred()?;
    let ok = |v| v == UNCHANGED || v == c.uid || v == c.euid || v == c.suid;
    if !has(t, CAP_SETUID)? && !(ok(r) && ok(e) && ok(s)) {
        return Err(Errno::EPERM.into());
    }
    change(t, |c| {
        for (slot, v) in [(&mut c.uid, r), (&mut c.euid, e), (&mut c.suid, s)] {
            if v != UNCHANGED {
                *slot = v;
            }
        }
        c.fsuid = c.euid;
    })
}

/// setresgid(real, effective, saved)
pub fn setresgid(t: &Thread, a: Args) -> SysResult {
    let [r, e, s] = [a[0] as u32, a[1] as u32, a[2] as u32];
    let c = t.cred()?;
    let ok = |v| v == UNCHANGED || v == c.gid || v == c.egid || v == c.sgid;
    if !has(t, CAP_SETGID)? && !(ok(r) && ok(e) && ok(s)) {
        return Err(Errno::EPERM.into());
    }
    change(t, |c| {
        for (slot, v) in [(&mut c.gid, r), (&mut c.egid, e), (&mut c.sgid, s)] {
            if v != UNCHANGED {
                *slot = v;
            }
        }
        c.fsgid = c.egid;
    })
}

/// setfsuid(uid): returns the old one, whatever happens
pub fn setfsuid(t: &Thread, a: Args) -> SysResult {
    let uid = a[0] as u32;
    let c = t.cred()?;
    let old = c.fsuid;
    if uid != UNCHANGED && (has(t, CAP_SETUID)? || [c.uid, c.euid, c.suid, c.fsuid].contains(&uid)) {
        change(t, |c| c.fsuid = uid)?;
    }
    Ok(old as usize)
}

/// setfsgid(gid): returns the old one, whatever happens
pub fn setfsgid(t: &Thread, a: Args) -> SysResult {
    let gid = a[0] as u32;
    let c = t.cred()?;
    let old = c.fsgid;
    if gid != UNCHANGED && (has(t, CAP_SETGID)? || [c.gid, c.egid, c.sgid, c.fsgid].contains(&gid)) {
        change(t, |c| c.fsgid = gid)?;
    }
    Ok(old as usize)
}

/// getgroups(size, list)
pub fn getgroups(t: &Thread, a: Args) -> SysResult {
    let size = a[0] as i32;
    let groups = &t.cred()?.groups;
    if size < 0 {
        return Err(Errno::EINVAL.into());
    }
    if size > 0 {
        if groups.len() > size as usize {
            return Err(Errno::EINVAL.into());
        }
        UserPtr::<u32>::new(a[1] as usize).write_slice(groups)?;
    }
    Ok(groups.len())
}

/// setgroups(size, list)
pub fn setgroups(t: &Thread, a: Args) -> SysResult {
    if !has(t, CAP_SETGID)? {
        return Err(Errno::EPERM.into());
    }
    let size = a[0] as u32 as usize;
    if size > GROUPS_MAX {
        return Err(Errno::EINVAL.into());
    }
    let mut groups = KVec::new();
    groups.try_resize(size, 0u32)?;
    UserPtr::<u32>::new(a[1] as usize).read_slice(&mut groups)?;
    groups.sort_unstable();
    change(t, |c| c.groups = groups)
}

/// Whether `t` may change the limits of `who` (Linux: check_prlimit_permission).
pub(super) fn may_change_limits(t: &Thread, who: &Process) -> Result<bool, Errno> {
    let mine = t.cred()?;
    if mine.capable(CAP_SYS_RESOURCE) {
        return Ok(true);
    }
    let Some(theirs) = who.any_thread().and_then(|x| x.share_cred()) else { return Ok(false) };
    Ok([theirs.uid, theirs.euid, theirs.suid].iter().all(|u| *u == mine.uid)
        && [theirs.gid, theirs.egid, theirs.sgid].iter().all(|g| *g == mine.gid))
}

/// Whether `t` may take over what `who` has open (Linux: ptrace_may_access with PTRACE_MODE_ATTACH_REALCREDS).
pub(super) fn may_attach(t: &Thread, who: &Thread) -> Result<bool, Errno> {
    let mine = t.cred()?;
    if who.process.pid == t.process.pid || mine.capable(CAP_SYS_PTRACE) {
        return Ok(true);
    }
    let Some(theirs) = who.share_cred() else { return Ok(false) };
    Ok(who.process.dumpable.load(core::sync::atomic::Ordering::Relaxed) == 1
        && [theirs.uid, theirs.euid, theirs.suid].iter().all(|u| *u == mine.uid)
        && [theirs.gid, theirs.egid, theirs.sgid].iter().all(|g| *g == mine.gid))
}

/// The number of 32-bit words per set for a header's version; writes the preferred version and fails when unknown.
fn words_of(header: UserPtr<CapHeader>, h: CapHeader, probe: bool) -> Result<usize, super::Stop> {
    match h.version {
        _LINUX_CAPABILITY_VERSION_1 => Ok(1),
        _LINUX_CAPABILITY_VERSION_2 | _LINUX_CAPABILITY_VERSION_3 => Ok(2),
        _ => {
            header.write(&CapHeader { version: _LINUX_CAPABILITY_VERSION_3, pid: h.pid })?;
            if probe { Ok(0) } else { Err(Errno::EINVAL.into()) }
        }
    }
}

/// capget(header, data)
pub fn capget(t: &Thread, a: Args) -> SysResult {
    let header = UserPtr::<CapHeader>::new(a[0] as usize);
    let h = header.read()?;
    let words = words_of(header, h, a[1] == 0)?;
    if a[1] == 0 || words == 0 {
        return Ok(0);
    }
    if h.pid < 0 {
        return Err(Errno::EINVAL.into());
    }
    let cred = if h.pid == 0 || h.pid as u32 == t.tid() {
        t.share_cred()
    } else {
        process::find_thread(h.pid as u32).ok_or(Errno::ESRCH)?.share_cred()
    }
    .ok_or(Errno::ESRCH)?;
    for i in 0..words {
        let mut data = CapData::zeroed();
        data.effective = (cred.cap_effective >> (32 * i)) as u32;
        data.permitted = (cred.cap_permitted >> (32 * i)) as u32;
        data.inheritable = (cred.cap_inheritable >> (32 * i)) as u32;
        UserPtr::<CapData>::new(a[1] as usize).index(i).write(&data)?;
    }
    Ok(0)
}

/// capset(header, data)
pub fn capset(t: &Thread, a: Args) -> SysResult {
    let header = UserPtr::<CapHeader>::new(a[0] as usize);
    let h = header.read()?;
    let words = words_of(header, h, false)?;
    if h.pid != 0 && h.pid as u32 != t.tid() {
        return Err(Errno::EPERM.into());
    }
    let (mut effective, mut permitted, mut inheritable) = (0u64, 0u64, 0u64);
    for i in 0..words {
        let data = UserPtr::<CapData>::new(a[1] as usize).index(i).read()?;
        effective |= u64::from(data.effective) << (32 * i);
        permitted |= u64::from(data.permitted) << (32 * i);
        inheritable |= u64::from(data.inheritable) << (32 * i);
    }
    let valid = (1u64 << (CAP_LAST_CAP + 1)) - 1;
    (effective, permitted, inheritable) = (effective & valid, permitted & valid, inheritable & valid);
    let c = t.cred()?;
    let setpcap = c.capable(CAP_SETPCAP);
    let beyond = inheritable & !(c.cap_inheritable | c.cap_permitted) != 0 && !setpcap
        || inheritable & !(c.cap_inheritable | c.cap_bounding) != 0
        || permitted & !c.cap_permitted != 0
        || effective & !permitted != 0;
    if beyond {
        return Err(Errno::EPERM.into());
    }
    let mut new = c.try_clone()?;
    new.cap_effective = effective;
    new.cap_permitted = permitted;
    new.cap_inheritable = inheritable;
    new.cap_ambient &= permitted & inheritable;
    t.replace_cred(KArc::try_new(new)?);
    Ok(0)
}
