//! struct sched_attr, whose size the caller says.

use crate::syscall::Stop;
use vigil_abi::process::*;
use vigil_abi::{Errno, Pod};
use vigil_mem::UserPtr;

/// Reads one of the size that it says: E2BIG, with our size written back, when it has more than we know. EINVAL: clamps without
/// room for them.
pub(super) fn read(from: usize) -> Result<SchedAttr, Stop> {
    let head = UserPtr::<u32>::new(from);
    let size = match head.read()? {
        0 => SCHED_ATTR_SIZE_VER0,
        size => size,
    } as usize;
    if size < SCHED_ATTR_SIZE_VER0 as usize || size > vigil_mem::addr::PAGE_SIZE {
        head.write(&(size_of::<SchedAttr>() as u32))?;
        return Err(Errno::E2BIG.into());
    }
    for at in size_of::<SchedAttr>()..size {
        if UserPtr::<u8>::new(from.wrapping_add(at)).read()? != 0 {
            head.write(&(size_of::<SchedAttr>() as u32))?;
            return Err(Errno::E2BIG.into());
        }
    }
    let mut attr = SchedAttr::zeroed();
    UserPtr::<u8>::new(from).read_slice(&mut attr.as_bytes_mut()[..size.min(size_of::<SchedAttr>())])?;
    if attr.sched_flags & SCHED_FLAG_UTIL_CLAMP != 0 && size < SCHED_ATTR_SIZE_VER1 as usize {
        return Err(Errno::EINVAL.into());
    }
    Ok(attr)
}
