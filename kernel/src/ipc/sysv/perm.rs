//! Whose a System V object is, and who may do what to it (Linux: ipcperms, ipcctl_obtain_check).

use crate::task::thread::Thread;
use core::sync::atomic::{AtomicI32, Ordering::Relaxed};
use vigil_abi::Errno;
use vigil_abi::ipc::IpcPerm;
use vigil_abi::process::{CAP_IPC_OWNER, CAP_SYS_ADMIN};
use vigil_executor::lock_class;
use vigil_executor::sync::SpinLock;
use vigil_fs::Cred;

/// Permissions of reading, for everybody.
pub const READ: u32 = 0o444;
/// Permissions of changing.
pub const WRITE: u32 = 0o222;

/// Owner and mode of an object.
pub struct Perm {
    /// The key; 0 for IPC_PRIVATE.
    key: AtomicI32,
    id: AtomicI32,
    fields: SpinLock<IpcPerm>,
}

impl Perm {
    /// An object of `thread`'s with the permissions among `flags`.
    pub fn new(thread: &Thread, key: i32, flags: u32) -> Result<Perm, Errno> {
        let cred = thread.cred()?;
        let fields =
            IpcPerm { key, uid: cred.euid, gid: cred.egid, cuid: cred.euid, cgid: cred.egid, mode: flags & 0o777, ..IpcPerm::default() };
        Ok(Perm { key: AtomicI32::new(key), id: AtomicI32::new(-1), fields: SpinLock::new(lock_class!("ipc_perm"), fields) })
    }

    /// As programs see it.
    pub fn show(&self) -> IpcPerm {
        *self.fields.lock()
    }

    /// The key; 0 for IPC_PRIVATE.
    pub fn key(&self) -> i32 {
        self.key.load(Relaxed)
    }

    /// Nobody finds the object by its key any more.
    pub fn forget_key(&self) {
        self.key.store(0, Relaxed);
        self.fields.lock().key = 0;
    }

    /// The number of its object; -1 while it has none.
    pub fn id(&self) -> i32 {
        self.id.load(Relaxed)
    }

    /// Tells it the number of its object.
    pub(super) fn set_id(&self, id: i32) {
        self.id.store(id, Relaxed);
        self.fields.lock().seq = (id >> 15) as u16;
    }

    /// Whether `thread` may do what the permissions in `flags` stand for. EACCES.
    pub fn check(&self, thread: &Thread, flags: u32) -> Result<(), Errno> {
        let cred = thread.cred()?;
        let fields = self.show();
        let wanted = flags >> 6 | flags >> 3 | flags;
        let granted = if cred.euid == fields.cuid || cred.euid == fields.uid {
            fields.mode >> 6
        } else if cred.in_group(fields.cgid) || cred.in_group(fields.gid) {
            fields.mode >> 3
        } else {
            fields.mode
        };
        if wanted & !granted & 7 != 0 && !cred.capable(CAP_IPC_OWNER) { Err(Errno::EACCES) } else { Ok(()) }
    }

    /// Whether `cred` is the owner's or maker's.
    pub fn is_own(&self, cred: &Cred) -> bool {
        let fields = self.show();
        cred.euid == fields.cuid || cred.euid == fields.uid
    }

    /// Whether `thread` may change or remove the object. EPERM.
    pub fn check_owner(&self, thread: &Thread) -> Result<(), Errno> {
        let cred = thread.cred()?;
        if self.is_own(cred) || cred.capable(CAP_SYS_ADMIN) { Ok(()) } else { Err(Errno::EPERM) }
    }

    /// IPC_SET. EINVAL for users and groups that cannot be.
    pub fn set(&self, new: &IpcPerm) -> Result<(), Errno> {
        if new.uid == u32::MAX || new.gid == u32::MAX {
            return Err(Errno::EINVAL);
        }
        let mut fields = self.fields.lock();
        (fields.uid, fields.gid) = (new.uid, new.gid);
        fields.mode = fields.mode & !0o777 | new.mode & 0o777;
        Ok(())
    }

    /// Sets or clears bits of the mode above the permissions.
    pub fn mark(&self, bits: u32, on: bool) {
        let mut fields = self.fields.lock();
        fields.mode = if on { fields.mode | bits } else { fields.mode & !bits };
    }
}
