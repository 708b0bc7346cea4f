//! Block devices by number. The block layer registers its devices here.

use super::chrdev::OpenFn;
use crate::vfs::inode::Inode;
use crate::vfs::ops::Opened;
use crate::vfs::stat::major;
use vigil_abi::Errno;
use vigil_executor::sync::{LockClass, SpinLock};
use vigil_mem::KVec;

static CLASS: LockClass = LockClass::new("blkdevs");
static MAJORS: SpinLock<KVec<(u32, &'static str, OpenFn)>> = SpinLock::new(&CLASS, KVec::new());

/// Gives a major number to `open`. EBUSY, ENOMEM.
pub fn register(major: u32, name: &'static str, open: OpenFn) -> Result<(), Errno> {
    let mut majors = MAJORS.lock();
    if majors.iter().any(|known| known.0 == major) {
        return Err(Errno::EBUSY);
    }
    Ok(majors.try_push((major, name, open))?)
}

/// Opens the device that `inode` stands for. ENXIO: nobody has that number.
pub fn open(inode: &Inode, flags: u32) -> Result<Opened, Errno> {
    let wanted = major(inode.rdev);
    let open = MAJORS.lock().iter().find(|known| known.0 == wanted).map(|known| known.2).ok_or(Errno::ENXIO)?;
    open(inode, flags)
}
