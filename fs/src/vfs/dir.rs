//! getdents64(2) (Linux: fs/readdir.c).

use super::file::{File, Mode};
use super::ops::DirSink;
use super::wait::{Mem, drive, wait_for};
use vigil_abi::Errno;
use vigil_abi::stat::DIRENT64_NAME_OFFSET;
use vigil_executor::wait::WaitMode;
use vigil_executor::wait_site;
use vigil_mem::{IoBufMut, KVec};

/// Most bytes that one call returns: entries are collected in kernel memory first, because a directory's lock is held
/// while it is listed.
const MAX: usize = 32 << 10;

struct Records {
    bytes: KVec<u8>,
    room: usize,
    /// Where reading goes on after what was taken.
    next: u64,
    failed: Option<Errno>,
}

impl DirSink for Records {
    fn entry(&mut self, name: &[u8], ino: u64, kind: u8, next: u64) -> bool {
        let len = (DIRENT64_NAME_OFFSET + name.len() + 1).next_multiple_of(8);
        if self.bytes.len() + len > self.room {
            // Not even one fits.
            if self.bytes.is_empty() {
                self.failed = Some(Errno::EINVAL);
            }
            return false;
        }
        if self.bytes.try_reserve(len).is_err() {
            self.failed = Some(Errno::ENOMEM);
            return false;
        }
        let end = self.bytes.len() + len;
        let header = [&ino.to_ne_bytes()[..], &next.to_ne_bytes(), &(len as u16).to_ne_bytes(), &[kind], name];
        for part in header {
            let _ = self.bytes.try_extend_from_slice(part);
        }
        let _ = self.bytes.try_resize(end, 0);
        self.next = next;
        true
    }
}

/// Reads entries into `buf` as `struct linux_dirent64`s; 0 at the end. EBADF, ENOTDIR, ENOENT for a removed directory,
/// EINVAL if not even one entry fits, EFAULT, ENOMEM.
pub async fn getdents64<M: Mem>(file: &File, buf: &mut IoBufMut<'_>, mem: &M) -> Result<usize, Errno> {
    if file.mode().contains(Mode::PATH) {
        return Err(Errno::EBADF);
    }
    let inode = file.inode();
    if !inode.is_dir() {
        return Err(Errno::ENOTDIR);
    }
    let _guard = file.pos_lock.lock(wait_site!("f_pos_lock")).await;
    let mut pos = file.pos();
    let mut records = Records { bytes: KVec::new(), room: buf.remaining().min(MAX), next: pos, failed: None };
    {
        let _inode_guard = inode.rwsem.read(wait_site!("iterate_dir")).await;
        if inode.is_dead() {
            return Err(Errno::ENOENT);
        }
        let iterate = || file.ops().iterate(file, &mut pos, &mut records);
        wait_for(wait_site!("iterate_dir"), WaitMode::Killable, iterate).await?;
    }
    if records.bytes.is_empty()
        && let Some(errno) = records.failed
    {
        return Err(errno);
    }
    let mut copied = 0;
    let bytes = &records.bytes;
    let copy = || {
        while copied < bytes.len() {
            copied += buf.copy_out(&bytes[copied..])?;
        }
        Ok(())
    };
    drive(wait_site!("getdents64"), WaitMode::Killable, mem, copy).await?;
    file.set_pos(if records.bytes.is_empty() { pos } else { records.next });
    Ok(records.bytes.len())
}
