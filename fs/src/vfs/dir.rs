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
    let result = drive(wait_site!("getdents64"), WaitMode::Killable, mem, copy).await;
    if let Err(errno) = result {
        // What is whole before the page that is not there counts.
        let (len, next) = whole_records(bytes, copied);
        if len == 0 {
            return Err(errno);
        }
        file.set_pos(next);
        return Ok(len);
    }
    file.set_pos(if records.bytes.is_empty() { pos } else { records.next });
    Ok(records.bytes.len())
}

/// How long the whole records in the first `copied` bytes are, and where reading goes on behind them.
fn whole_records(bytes: &[u8], copied: usize) -> (usize, u64) {
    let field = |at: usize, n: usize| bytes.get(at..at + n).unwrap_or(&[]).iter().rev().fold(0u64, |sum, &byte| sum << 8 | u64::from(byte));
    let (mut end, mut next) = (0, 0);
    loop {
        let len = field(end + 16, 2) as usize;
        if len == 0 || end + len > copied {
            return (end, next);
        }
        next = field(end + 8, 8);
        end += len;
    }
}
