//! lseek(2).

use super::file::{File, Mode};
use vigil_abi::Errno;
use vigil_abi::fcntl::{SEEK_CUR, SEEK_DATA, SEEK_END, SEEK_HOLE, SEEK_SET};
use vigil_executor::wait_site;

/// Moves the position of `file`; returns the new one. ESPIPE for streams, EINVAL, ENXIO, EOVERFLOW.
pub async fn llseek(file: &File, offset: i64, whence: u32) -> Result<u64, Errno> {
    if file.mode().contains(Mode::PATH) {
        return Err(Errno::EBADF);
    }
    if whence > SEEK_HOLE {
        return Err(Errno::EINVAL);
    }
    if file.mode().intersects(Mode::STREAM) {
        return Err(Errno::ESPIPE);
    }
    let _guard = match file.mode().contains(Mode::ATOMIC_POS) {
        true => Some(file.pos_lock.lock(wait_site!("f_pos_lock")).await),
        false => None,
    };
    let pos = file.ops().llseek(file, file.pos(), offset, whence)?;
    file.set_pos(pos);
    Ok(pos)
}

/// Seeking in a file with a size and no holes (Linux: generic_file_llseek).
pub fn generic(file: &File, pos: u64, offset: i64, whence: u32) -> Result<u64, Errno> {
    let inode = file.inode();
    in_size(pos, offset, whence, inode.size(), inode.sb().info.max_bytes)
}

/// As [`generic`], in `size` bytes of at most `max`. A file without holes is one extent of data: SEEK_DATA answers the
/// offset itself and SEEK_HOLE the end; ENXIO at or beyond the end.
pub fn in_size(pos: u64, offset: i64, whence: u32, size: u64, max: u64) -> Result<u64, Errno> {
    let base = match whence {
        SEEK_SET => 0,
        SEEK_CUR if offset == 0 => return Ok(pos),
        SEEK_CUR => pos,
        SEEK_END => size,
        SEEK_DATA | SEEK_HOLE => {
            let at = u64::try_from(offset).map_err(|_| Errno::ENXIO)?;
            if at >= size {
                return Err(Errno::ENXIO);
            }
            return Ok(if whence == SEEK_DATA { at } else { size });
        }
        _ => return Err(Errno::EINVAL),
    };
    let target = base.checked_add_signed(offset).ok_or(Errno::EINVAL)?;
    if target > max.min(i64::MAX as u64) { Err(Errno::EINVAL) } else { Ok(target) }
}
