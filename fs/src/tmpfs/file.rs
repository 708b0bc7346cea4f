//! Open files and directories of tmpfs.

use super::STORE;
use super::dir::DirTable;
use super::inode::TmpDir;
use crate::cache::file as cached;
use crate::vfs::file::File;
use crate::vfs::ops::{DirSink, FileOps, MmapRequest, MmapTarget, OpResult, Stop};
use vigil_abi::Errno;
use vigil_abi::fcntl::{F_SEAL_FUTURE_WRITE, F_SEAL_WRITE};
use vigil_abi::stat::S_IFMT;
use vigil_mem::{IoBuf, IoBufMut};

/// Entries that a listing takes under the directory's lock at once.
const TURN: usize = 8;

/// A regular file.
pub struct TmpFileOps;

impl FileOps for TmpFileOps {
    #[inline]
    fn read<'a>(&'a self, file: &'a File, buf: &mut IoBufMut<'_>, pos: &mut u64) -> OpResult<'a, usize> {
        cached::read(file, buf, pos)
    }

    fn write<'a>(&'a self, file: &'a File, buf: &mut IoBuf<'_>, pos: &mut u64) -> OpResult<'a, usize> {
        cached::write(file.inode(), &STORE, buf, pos)
    }

    fn mmap(&self, file: &File, request: &MmapRequest) -> Result<MmapTarget, Errno> {
        if request.shared && request.write && file.inode().seals() & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE) != 0 {
            return Err(Errno::EPERM);
        }
        Ok(MmapTarget::Cache(file.inode().clone()))
    }

    fn fsync<'a>(&'a self, _: &'a File, _: bool) -> OpResult<'a, ()> {
        Ok(())
    }

    fn llseek(&self, file: &File, pos: u64, offset: i64, whence: u32) -> Result<u64, Errno> {
        cached::llseek(file, pos, offset, whence)
    }

    fn fallocate<'a>(&'a self, file: &'a File, mode: u32, offset: u64, len: u64) -> OpResult<'a, ()> {
        cached::fallocate(file.inode(), &STORE, mode, offset, len)
    }
}

/// A directory.
pub struct TmpDirFile;

/// Emits `.` and `..` from position 0; the number of the next position. `None`: the sink is full.
pub fn emit_dots(file: &File, pos: &mut u64, sink: &mut dyn DirSink) -> Option<()> {
    use vigil_abi::stat::DT_DIR;
    let dentry = &file.path().dentry;
    if *pos == 0 {
        sink.entry(b".", file.inode().ino, DT_DIR, 1).then_some(())?;
        *pos = 1;
    }
    if *pos == 1 {
        let parent = dentry.parent();
        let ino = parent.as_ref().and_then(|parent| parent.inode_opt()).map_or(file.inode().ino, |inode| inode.ino);
        sink.entry(b"..", ino, DT_DIR, 2).then_some(())?;
        *pos = 2;
    }
    Some(())
}

/// The `DT_*` type of a mode.
pub fn dirent_type(mode: u32) -> u8 {
    ((mode & S_IFMT) >> 12) as u8
}

impl FileOps for TmpDirFile {
    fn read<'a>(&'a self, _: &'a File, _: &mut IoBufMut<'_>, _: &mut u64) -> OpResult<'a, usize> {
        Err(Stop::Err(Errno::EISDIR))
    }

    fn iterate<'a>(&'a self, file: &'a File, pos: &mut u64, sink: &mut dyn DirSink) -> OpResult<'a, ()> {
        let Some(dir) = TmpDir::of(file.inode()) else { return Err(Stop::Err(Errno::ENOTDIR)) };
        if emit_dots(file, pos, sink).is_none() {
            return Ok(());
        }
        // Positions stay valid: the lock is let go of between a few entries and the next.
        let mut some = |table: &mut DirTable| {
            (0..TURN).all(|_| {
                let Some(entry) = table.next(*pos) else { return false };
                let taken = sink.entry(entry.name, entry.inode.ino, dirent_type(entry.inode.mode()), entry.next);
                *pos = if taken { entry.next } else { *pos };
                taken
            })
        };
        while dir.with(&mut some) {}
        file.inode().touch_atime();
        Ok(())
    }

    fn llseek(&self, _: &File, pos: u64, offset: i64, whence: u32) -> Result<u64, Errno> {
        use vigil_abi::fcntl::{SEEK_CUR, SEEK_SET};
        let base = match whence {
            SEEK_SET => 0,
            SEEK_CUR => pos,
            _ => return Err(Errno::EINVAL),
        };
        base.checked_add_signed(offset).filter(|&to| to <= i64::MAX as u64).ok_or(Errno::EINVAL)
    }

    fn fsync<'a>(&'a self, _: &'a File, _: bool) -> OpResult<'a, ()> {
        Ok(())
    }
}
