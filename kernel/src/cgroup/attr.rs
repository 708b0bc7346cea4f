//! Owners and modes of the files of a group, where they differ from what they are made with: delegation.
//!
//! Inodes come and go with their use; what chown(2) and chmod(2) said is kept here.

use vigil_abi::Errno;
use vigil_executor::lock_class;
use vigil_executor::sync::SpinLock;
use vigil_fs::vfs::inode::Setattr;
use vigil_mem::KVec;

/// Mode and owner of one file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attr {
    /// Permissions.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// What was changed: by the name of the file, "" for the directory.
pub struct Attributes {
    /// Who made the group owns all of it at first.
    base: SpinLock<(u32, u32)>,
    changed: SpinLock<KVec<(&'static str, Attr)>>,
}

impl Attributes {
    /// Nothing is changed, the superuser owns all.
    pub fn new() -> Attributes {
        Attributes {
            base: SpinLock::new(lock_class!("cgroup_owner"), (0, 0)),
            changed: SpinLock::new(lock_class!("cgroup_attr"), KVec::new()),
        }
    }

    /// Who made the group owns all of it.
    pub fn set_owner(&self, uid: u32, gid: u32) {
        *self.base.lock() = (uid, gid);
    }

    /// Those of the file `name`, which has `mode` unless that was changed.
    pub fn get(&self, name: &str, mode: u32) -> Attr {
        if let Some((_, attr)) = self.changed.lock().iter().find(|(n, _)| *n == name) {
            return *attr;
        }
        let (uid, gid) = *self.base.lock();
        Attr { mode, uid, gid }
    }

    /// Changes those of the file `name`. ENOMEM.
    pub fn set(&self, name: &'static str, mode: u32, change: &Setattr) -> Result<(), Errno> {
        let old = self.get(name, mode);
        let new = Attr {
            mode: change.mode.map_or(old.mode, |m| m & 0o7777),
            uid: change.uid.unwrap_or(old.uid),
            gid: change.gid.unwrap_or(old.gid),
        };
        let mut changed = self.changed.lock();
        match changed.iter_mut().find(|(n, _)| *n == name) {
            Some((_, attr)) => *attr = new,
            None => changed.try_push((name, new))?,
        }
        Ok(())
    }
}
