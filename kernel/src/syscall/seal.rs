//! memfd_create(2) and file seals (Linux: mm/memfd.c).

use super::{Args, Stop, fd, user};
use crate::task::thread::Thread;
use vigil_abi::Errno;
use vigil_abi::fcntl::{F_SEAL_FUTURE_WRITE, F_SEAL_GROW, F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_WRITE, MFD_ALLOW_SEALING, MFD_CLOEXEC};
use vigil_abi::stat::TMPFS_MAGIC;
use vigil_executor::wait_site;
use vigil_fs::{File, Inode};
use vigil_mem::{KArc, KVec, UserPtr};

const ALL: u32 = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_FUTURE_WRITE;
/// The longest name: 255 less the prefix.
const NAME_MAX: usize = 249;

/// The inode of a file that has seals: any of tmpfs. EINVAL.
pub(super) fn of(file: &File) -> Result<&KArc<Inode>, Errno> {
    let inode = file.inode();
    if inode.is_regular() && inode.sb().info.magic == TMPFS_MAGIC { Ok(inode) } else { Err(Errno::EINVAL) }
}

/// F_ADD_SEALS. EPERM for a file that is not open for writing or takes no seals, EINVAL, EBUSY for F_SEAL_WRITE while
/// somebody has mapped it to write to it.
pub(super) async fn add(file: &File, arg: u64) -> Result<(), Errno> {
    let seals = u32::try_from(arg).map_err(|_| Errno::EINVAL)?;
    if !file.writable() {
        return Err(Errno::EPERM);
    }
    if seals & !ALL != 0 {
        return Err(Errno::EINVAL);
    }
    let _guard = file.inode().rwsem.write(wait_site!("memfd_add_seals")).await;
    let inode = of(file)?;
    let old = inode.seals();
    if old & F_SEAL_SEAL != 0 {
        return Err(Errno::EPERM);
    }
    // First the seal, then the look: who maps the file enters its mapping, then looks at the seals.
    inode.set_seals(old | seals);
    if seals & !old & F_SEAL_WRITE != 0 && inode.mapping().is_mapped_writable() {
        inode.set_seals(old);
        return Err(Errno::EBUSY);
    }
    Ok(())
}

/// memfd_create(name, flags)
pub async fn memfd_create(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let flags = a[1] as u32;
    // Huge pages are not there.
    if flags & !(MFD_CLOEXEC | MFD_ALLOW_SEALING) != 0 {
        return Err(Errno::EINVAL);
    }
    let name = user::retry(t, || {
        let mut name = [0u8; NAME_MAX + 1];
        let n = UserPtr::<u8>::new(a[0] as usize).read_str(&mut name)?;
        if n > NAME_MAX {
            return Err(Stop::Errno(Errno::EINVAL));
        }
        let mut full = KVec::try_from_slice(b"memfd:")?;
        full.try_extend_from_slice(&name[..n])?;
        Ok(full)
    })
    .await?;
    let files = t.share_files().ok_or(Errno::EBADF)?;
    let reserved = files.reserve(0, fd::nofile(t), flags & MFD_CLOEXEC != 0)?;
    let file = vigil_fs::shmem_file(&name, 0)?;
    if flags & MFD_ALLOW_SEALING != 0 {
        file.inode().set_seals(0);
    }
    Ok(reserved.install(file) as usize)
}
