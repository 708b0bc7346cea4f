//! Files whose only store is the page cache: tmpfs, ramfs, shared anonymous memory (Linux: mm/shmem.c).
//!
//! A page that is not cached is a hole and reads as zeros. The file system is asked before a page is added and told when
//! pages go ([`Store`]), which is how tmpfs keeps its limit. Changes of the size happen under the inode's `rwsem`, held
//! exclusively by the callers of [`write`], [`set_size`] and [`fallocate`].

use super::page::{PageExt, PageRef};
use super::{PAGE, page};
use crate::vfs::file::{File, Mode};
use crate::vfs::inode::Inode;
use crate::vfs::ops::{OpResult, Stop};
use crate::vfs::wait::again;
use vigil_abi::Errno;
use vigil_abi::fcntl::{
    F_SEAL_FUTURE_WRITE, F_SEAL_GROW, F_SEAL_SHRINK, F_SEAL_WRITE, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, FALLOC_FL_ZERO_RANGE,
    SEEK_DATA, SEEK_HOLE,
};
use vigil_mem::{IoBuf, IoBufMut};

/// Bytes that one call copies before it lets others run.
const MAX_AT_ONCE: usize = 1 << 20;

/// Who pays for the pages.
pub trait Store: Sync {
    /// A page is about to be added to `inode`. ENOSPC.
    fn charge(&self, inode: &Inode) -> Result<(), Errno>;
    /// `pages` pages of `inode` went, or were not added after all.
    fn uncharge(&self, inode: &Inode, pages: u64);
}

/// Reads at `pos`.
#[inline]
pub fn read(file: &File, buf: &mut IoBufMut<'_>, pos: &mut u64) -> OpResult<'static, usize> {
    let inode = file.inode();
    let mut total = 0;
    while !buf.is_empty() {
        let left = inode.size().saturating_sub(*pos);
        if left == 0 {
            break;
        }
        let within = (*pos % PAGE) as usize;
        let n = (PAGE as usize - within).min(buf.remaining()).min(usize::try_from(left).unwrap_or(usize::MAX));
        let copied = match inode.mapping().find(*pos / PAGE) {
            // SAFETY: `within + n` is at most a page; the page is counted, and its bytes are never a Rust reference.
            Some(page) => unsafe { buf.copy_out_raw(page.addr().add(within), n) },
            None => buf.zero(n),
        }?;
        *pos += copied as u64;
        total += copied;
        if total >= MAX_AT_ONCE && !buf.is_empty() {
            return Err(again());
        }
    }
    if file.mode().contains(Mode::ATIME) {
        inode.touch_atime();
    }
    Ok(total)
}

/// Writes at `pos`, extending the file. The caller holds `rwsem` and has checked limits.
pub fn write(inode: &Inode, store: &dyn Store, buf: &mut IoBuf<'_>, pos: &mut u64) -> OpResult<'static, usize> {
    let mut total = 0;
    let result = loop {
        if buf.is_empty() {
            break Ok(());
        }
        if total >= MAX_AT_ONCE {
            break Err(again());
        }
        match write_page(inode, store, buf, *pos) {
            Ok(copied) => {
                *pos += copied as u64;
                total += copied;
                if *pos > inode.size() {
                    inode.set_size(*pos);
                }
            }
            Err(stop) => break Err(stop),
        }
    };
    if total > 0 {
        inode.touch_mtime();
    }
    match result {
        Err(Stop::Err(_)) if total > 0 => Ok(total),
        other => other.map(|()| total),
    }
}

/// Copies up to the end of the page at `pos`; at least one byte.
fn write_page(inode: &Inode, store: &dyn Store, buf: &mut IoBuf<'_>, pos: u64) -> OpResult<'static, usize> {
    let within = (pos % PAGE) as usize;
    let n = (PAGE as usize - within).min(buf.remaining());
    let seals = inode.seals();
    if seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE) != 0 || (seals & F_SEAL_GROW != 0 && pos + n as u64 > inode.size()) {
        return Err(Stop::Err(Errno::EPERM));
    }
    let page = match inode.mapping().find(pos / PAGE) {
        Some(page) => page,
        // In the cache before anything is taken out of the buffer: what cannot be stored must not count as written.
        None => add_page(inode, store, pos / PAGE)?,
    };
    // SAFETY: `within + n` is at most a page, and the page is counted.
    Ok(unsafe { buf.copy_in_raw(page.addr().add(within), n) }?)
}

/// A new page of zeros at `index`, or the one that somebody else has added meanwhile.
fn add_page(inode: &Inode, store: &dyn Store, index: u64) -> Result<PageRef, Errno> {
    let page = page::alloc(true)?;
    store.charge(inode)?;
    let (page, added) = inode.mapping().add(index, page).inspect_err(|_| store.uncharge(inode, 1))?;
    if !added {
        store.uncharge(inode, 1);
    }
    Ok(page)
}

/// The page at `index` for a page fault or another kernel user, made if it is a hole. EFAULT beyond the end of the file
/// (SIGBUS), ENOSPC (SIGBUS, too), ENOMEM. Read [`super::AddressSpace::seq`] first.
pub fn fault(inode: &Inode, store: &dyn Store, index: u64) -> Result<PageRef, Errno> {
    if index >= inode.size().div_ceil(PAGE) {
        return Err(Errno::EFAULT);
    }
    if let Some(page) = inode.mapping().find(index) {
        return Ok(page);
    }
    let page = add_page(inode, store, index)?;
    // A truncation may have passed between the look at the size and the add.
    if index >= inode.size().div_ceil(PAGE) {
        store.uncharge(inode, inode.mapping().truncate(inode.size().div_ceil(PAGE)));
        return Err(Errno::EFAULT);
    }
    Ok(page)
}

/// Changes the size: pages beyond it go, and what is left of the last one is zeroed, so that growing again shows zeros. EPERM
/// if the file is sealed against it.
pub fn set_size(inode: &Inode, store: &dyn Store, size: u64) -> Result<(), Errno> {
    let old = inode.size();
    let seals = inode.seals();
    if (size < old && seals & F_SEAL_SHRINK != 0) || (size > old && seals & F_SEAL_GROW != 0) {
        return Err(Errno::EPERM);
    }
    inode.set_size(size);
    if size < old {
        store.uncharge(inode, inode.mapping().truncate(size.div_ceil(PAGE)));
        inode.mapping().zero_tail(size);
    }
    inode.touch_mtime();
    Ok(())
}

/// fallocate(2): pages for a range, a hole, or zeros.
pub fn fallocate(inode: &Inode, store: &dyn Store, mode: u32, offset: u64, len: u64) -> OpResult<'static, ()> {
    let end = offset + len;
    let seals = inode.seals();
    let refused = match mode & FALLOC_FL_PUNCH_HOLE {
        0 => seals & F_SEAL_GROW != 0 && end > inode.size(),
        _ => seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE) != 0,
    };
    if refused {
        return Err(Stop::Err(Errno::EPERM));
    }
    if mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE) != 0 {
        punch(inode, store, offset, end.min(inode.size().max(offset)));
        if mode & FALLOC_FL_PUNCH_HOLE != 0 {
            return Ok(());
        }
    }
    for index in offset / PAGE..end.div_ceil(PAGE) {
        if inode.mapping().find(index).is_some() {
            continue;
        }
        add_page(inode, store, index)?;
    }
    if mode & FALLOC_FL_KEEP_SIZE == 0 && end > inode.size() {
        inode.set_size(end);
    }
    inode.touch_mtime();
    Ok(())
}

/// Makes `start..end` read as zeros: whole pages go, the ends are zeroed.
fn punch(inode: &Inode, store: &dyn Store, start: u64, end: u64) {
    if start >= end {
        return;
    }
    let (first, last) = (start.div_ceil(PAGE), end / PAGE);
    let zero = |from: u64, to: u64| {
        if from < to
            && let Some(page) = inode.mapping().find(from / PAGE)
        {
            page.zero_range((from % PAGE) as usize, (to - from) as usize);
        }
    };
    if first > last {
        zero(start, end);
        return;
    }
    zero(start, first * PAGE);
    zero(last * PAGE, end);
    if first < last {
        store.uncharge(inode, inode.mapping().remove_range(first, last - 1));
    }
    inode.touch_mtime();
}

/// lseek(2), with holes where no pages are.
pub fn llseek(file: &File, pos: u64, offset: i64, whence: u32) -> Result<u64, Errno> {
    if whence != SEEK_DATA && whence != SEEK_HOLE {
        return crate::vfs::seek::generic(file, pos, offset, whence);
    }
    let inode = file.inode();
    let size = inode.size();
    let at = u64::try_from(offset).ok().filter(|&at| at < size).ok_or(Errno::ENXIO)?;
    let mut index = at / PAGE;
    if whence == SEEK_DATA {
        let (found, _) = inode.mapping().next(index).ok_or(Errno::ENXIO)?;
        return Some((found * PAGE).max(at)).filter(|&at| at < size).ok_or(Errno::ENXIO);
    }
    while inode.mapping().find(index).is_some() {
        index += 1;
    }
    Ok((index * PAGE).max(at).min(size))
}
