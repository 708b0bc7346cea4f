//! Credentials: who acts, for permission checks (Linux: struct cred, capable, in_group_p).

use vigil_abi::Errno;
use vigil_mem::KVec;

/// Capability numbers that the file systems ask for (uapi/linux/capability.h).
pub mod cap {
    /// Change owners of files at will.
    pub const CHOWN: u32 = 0;
    /// Pass over read, write and execute permissions.
    pub const DAC_OVERRIDE: u32 = 1;
    /// Pass over read permission and directory search.
    pub const DAC_READ_SEARCH: u32 = 2;
    /// Act as the owner of any file.
    pub const FOWNER: u32 = 3;
    /// Keep set-id bits that a change would clear.
    pub const FSETID: u32 = 4;
    /// chroot(2).
    pub const SYS_CHROOT: u32 = 18;
    /// mount(2) and much else.
    pub const SYS_ADMIN: u32 = 21;
    /// Exceed resource limits, e.g. of pipe buffers.
    pub const SYS_RESOURCE: u32 = 24;
    /// Make device nodes.
    pub const MKNOD: u32 = 27;
}

/// Secure bits: capabilities(7), uapi/linux/securebits.h. Each has a lock, one bit above it.
pub mod secure {
    /// Root gets no capabilities at exec.
    pub const NOROOT: u32 = 1;
    /// Changes of user numbers leave capabilities alone.
    pub const NO_SETUID_FIXUP: u32 = 1 << 2;
    /// Permitted capabilities stay when the last user number stops being root's; until the next exec.
    pub const KEEP_CAPS: u32 = 1 << 4;
    /// The lock of KEEP_CAPS.
    pub const KEEP_CAPS_LOCKED: u32 = 1 << 5;
    /// No ambient capability can be raised.
    pub const NO_CAP_AMBIENT_RAISE: u32 = 1 << 6;
    /// All bits.
    pub const BITS: u32 = 0x55;
    /// All locks.
    pub const LOCKS: u32 = BITS << 1;
}

/// All capabilities that Linux 6.1 knows (0–40).
pub const CAP_FULL: u64 = (1 << 41) - 1;

/// Who acts. Immutable once shared: a change makes a new one (Linux: prepare_creds/commit_creds).
#[derive(Debug)]
pub struct Cred {
    /// Real user.
    pub uid: u32,
    /// Effective user.
    pub euid: u32,
    /// Saved user.
    pub suid: u32,
    /// User for file access.
    pub fsuid: u32,
    /// Real group.
    pub gid: u32,
    /// Effective group.
    pub egid: u32,
    /// Saved group.
    pub sgid: u32,
    /// Group for file access.
    pub fsgid: u32,
    /// Supplementary groups, sorted.
    pub groups: KVec<u32>,
    /// Capabilities that an exec may keep.
    pub cap_inheritable: u64,
    /// Capabilities that may be raised.
    pub cap_permitted: u64,
    /// Capabilities in force.
    pub cap_effective: u64,
    /// Limit of what an exec can gain.
    pub cap_bounding: u64,
    /// Capabilities that an unprivileged exec keeps.
    pub cap_ambient: u64,
    /// SECBIT_*.
    pub securebits: u32,
}

impl Cred {
    /// Root with all capabilities: what the first process has.
    pub const fn root() -> Cred {
        Cred {
            uid: 0,
            euid: 0,
            suid: 0,
            fsuid: 0,
            gid: 0,
            egid: 0,
            sgid: 0,
            fsgid: 0,
            groups: KVec::new(),
            cap_inheritable: 0,
            cap_permitted: CAP_FULL,
            cap_effective: CAP_FULL,
            cap_bounding: CAP_FULL,
            cap_ambient: 0,
            securebits: 0,
        }
    }

    /// An ordinary user without capabilities.
    pub const fn user(uid: u32, gid: u32) -> Cred {
        let mut cred = Cred::root();
        (cred.uid, cred.euid, cred.suid, cred.fsuid) = (uid, uid, uid, uid);
        (cred.gid, cred.egid, cred.sgid, cred.fsgid) = (gid, gid, gid, gid);
        (cred.cap_permitted, cred.cap_effective) = (0, 0);
        cred
    }

    /// A copy, to be changed before it is shared. ENOMEM.
    pub fn try_clone(&self) -> Result<Cred, Errno> {
        Ok(Cred { groups: self.groups.try_clone()?, ..*self })
    }

    /// Whether capability `cap` is in force.
    #[inline]
    pub fn capable(&self, cap: u32) -> bool {
        self.cap_effective >> cap & 1 != 0
    }

    /// Whether one of these [`secure`] bits is set.
    #[inline]
    pub fn is_secure(&self, bits: u32) -> bool {
        self.securebits & bits != 0
    }

    /// Sets or clears these [`secure`] bits.
    pub fn set_secure(&mut self, bits: u32, on: bool) {
        if on {
            self.securebits |= bits;
        } else {
            self.securebits &= !bits;
        }
    }

    /// Whether `gid` is the group for file access or a supplementary one.
    pub fn in_group(&self, gid: u32) -> bool {
        self.fsgid == gid || self.groups.binary_search(&gid).is_ok()
    }
}
