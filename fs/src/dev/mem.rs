//! /dev/null, /dev/zero, /dev/full, /dev/random, /dev/urandom (Linux: drivers/char/mem.c, random.c).

use super::chrdev;
use super::devtmpfs::device_node;
use crate::host::host;
use crate::vfs::file::File;
use crate::vfs::inode::Inode;
use crate::vfs::ops::{FileOps, MmapRequest, MmapTarget, OpResult, Opened, Stop};
use crate::vfs::stat::minor;
use crate::vfs::wait::again;
use vigil_abi::Errno;
use vigil_abi::stat::S_IFCHR;
use vigil_mem::{IoBuf, IoBufMut};

/// Major number of memory devices.
const MAJOR: u32 = 1;
/// Bytes that one poll produces before it lets others run.
const AT_ONCE: usize = 1 << 20;

struct Null;
struct Zero;
struct Full;
struct Random;

/// Takes everything.
fn swallow(buf: &mut IoBuf<'_>) -> usize {
    let n = buf.remaining();
    buf.skip(n);
    n
}

/// Zeros, up to [`AT_ONCE`] at a time.
#[inline(always)]
fn zeros(buf: &mut IoBufMut<'_>) -> OpResult<'static, usize> {
    let mut total = 0;
    while !buf.is_empty() {
        if total >= AT_ONCE {
            return Err(again());
        }
        let n = buf.remaining().min(AT_ONCE);
        total += buf.clear(n)?;
    }
    Ok(total)
}

impl FileOps for Null {
    fn read<'a>(&'a self, _: &'a File, _: &mut IoBufMut<'_>, _: &mut u64) -> OpResult<'a, usize> {
        Ok(0)
    }
    fn write<'a>(&'a self, _: &'a File, buf: &mut IoBuf<'_>, _: &mut u64) -> OpResult<'a, usize> {
        Ok(swallow(buf))
    }
    fn llseek(&self, _: &File, _: u64, _: i64, _: u32) -> Result<u64, Errno> {
        Ok(0)
    }
}

impl FileOps for Zero {
    #[inline]
    fn read<'a>(&'a self, _: &'a File, buf: &mut IoBufMut<'_>, _: &mut u64) -> OpResult<'a, usize> {
        zeros(buf)
    }
    fn write<'a>(&'a self, _: &'a File, buf: &mut IoBuf<'_>, _: &mut u64) -> OpResult<'a, usize> {
        Ok(swallow(buf))
    }
    fn mmap(&self, _: &File, request: &MmapRequest) -> Result<MmapTarget, Errno> {
        if !request.shared {
            return Ok(MmapTarget::Anonymous);
        }
        let file = crate::tmpfs::shmem::shmem_file(b"dev/zero", request.offset.saturating_add(request.len))?;
        Ok(MmapTarget::Cache(file.inode().clone()))
    }
    fn llseek(&self, _: &File, _: u64, _: i64, _: u32) -> Result<u64, Errno> {
        Ok(0)
    }
}

impl FileOps for Full {
    fn read<'a>(&'a self, _: &'a File, buf: &mut IoBufMut<'_>, _: &mut u64) -> OpResult<'a, usize> {
        zeros(buf)
    }
    fn write<'a>(&'a self, _: &'a File, _: &mut IoBuf<'_>, _: &mut u64) -> OpResult<'a, usize> {
        Err(Stop::Err(Errno::ENOSPC))
    }
    fn llseek(&self, _: &File, _: u64, _: i64, _: u32) -> Result<u64, Errno> {
        Ok(0)
    }
}

impl FileOps for Random {
    fn read<'a>(&'a self, _: &'a File, buf: &mut IoBufMut<'_>, _: &mut u64) -> OpResult<'a, usize> {
        let mut total = 0;
        let mut block = [0; 256];
        while !buf.is_empty() {
            if total >= AT_ONCE / 16 {
                return Err(again());
            }
            let block = &mut block[..buf.remaining().min(256)];
            host().random(block);
            total += buf.copy_out(block)?;
        }
        Ok(total)
    }
    fn write<'a>(&'a self, _: &'a File, buf: &mut IoBuf<'_>, _: &mut u64) -> OpResult<'a, usize> {
        // Linux mixes it in without crediting it; it is no error to pass over it.
        Ok(swallow(buf))
    }
    fn llseek(&self, _: &File, pos: u64, _: i64, _: u32) -> Result<u64, Errno> {
        Ok(pos)
    }
}

fn open(inode: &Inode, _: u32) -> Result<Opened, Errno> {
    Ok(Opened::Static(match minor(inode.rdev) {
        3 => &Null,
        5 => &Zero,
        7 => &Full,
        8 | 9 => &Random,
        _ => return Err(Errno::ENXIO),
    }))
}

/// Registers the devices and makes their nodes. Minor 11 (kmsg) is the kernel's.
pub fn init() -> Result<(), Errno> {
    for (name, minor) in [("null", 3), ("zero", 5), ("full", 7), ("random", 8), ("urandom", 9)] {
        chrdev::register(MAJOR, minor, 1, "mem", open)?;
        device_node(name, S_IFCHR | 0o666, MAJOR, minor)?;
    }
    Ok(())
}
