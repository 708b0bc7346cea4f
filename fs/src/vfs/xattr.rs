//! Extended attributes kept in memory (Linux: simple_xattrs): what tmpfs and its kin have. The names that a file system knows
//! are `security.*` and `trusted.*`; who may see or change them is the system calls' business.

use super::inode::Inode;
use super::superblock::SuperFlags;
use vigil_abi::Errno;
use vigil_executor::sync::{LockClass, SpinLock};
use vigil_mem::KVec;

struct Attribute {
    name: KVec<u8>,
    value: KVec<u8>,
}

/// The attributes of one inode, the newest first.
pub struct AttributeList(SpinLock<KVec<Attribute>>);

static CLASS: LockClass = LockClass::new("xattrs");

impl Default for AttributeList {
    fn default() -> AttributeList {
        AttributeList(SpinLock::new(&CLASS, KVec::new()))
    }
}

/// How to set an attribute.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Set {
    /// Make or replace it.
    Any,
    /// EEXIST if it is there (XATTR_CREATE).
    Create,
    /// ENODATA if it is not (XATTR_REPLACE).
    Replace,
}

/// Whether `name` can be an attribute of `inode` (Linux: xattr_resolve_name). EOPNOTSUPP, EINVAL for a mere prefix.
fn check_name(inode: &Inode, name: &[u8]) -> Result<(), Errno> {
    if !inode.sb().info.flags.contains(SuperFlags::XATTR) {
        return Err(Errno::EOPNOTSUPP);
    }
    let prefixes: [&[u8]; 2] = [b"security.", b"trusted."];
    let rest = prefixes.iter().find_map(|prefix| name.strip_prefix(*prefix)).ok_or(Errno::EOPNOTSUPP)?;
    if rest.is_empty() { Err(Errno::EINVAL) } else { Ok(()) }
}

/// Sets attribute `name`. EOPNOTSUPP, EINVAL, EEXIST, ENODATA, ENOMEM.
pub fn set(inode: &Inode, name: &[u8], value: &[u8], how: Set) -> Result<(), Errno> {
    check_name(inode, name)?;
    let mut value = KVec::try_from_slice(value)?;
    let new = KVec::try_from_slice(name)?;
    let mut list = inode.attributes_or_new()?.0.lock();
    let known = list.iter_mut().find(|attribute| *attribute.name == *name);
    match (known, how) {
        (Some(_), Set::Create) => return Err(Errno::EEXIST),
        (None, Set::Replace) => return Err(Errno::ENODATA),
        (Some(attribute), _) => core::mem::swap(&mut attribute.value, &mut value),
        (None, _) => list.try_insert(0, Attribute { name: new, value: core::mem::take(&mut value) })?,
    }
    drop(list);
    // The old value goes outside of the lock.
    drop(value);
    inode.touch_ctime();
    Ok(())
}

/// A copy of the value of attribute `name`. EOPNOTSUPP, EINVAL, ENODATA, ENOMEM.
pub fn get(inode: &Inode, name: &[u8]) -> Result<KVec<u8>, Errno> {
    check_name(inode, name)?;
    let list = inode.attributes().ok_or(Errno::ENODATA)?.0.lock();
    let attribute = list.iter().find(|attribute| *attribute.name == *name).ok_or(Errno::ENODATA)?;
    Ok(attribute.value.try_clone()?)
}

/// Removes attribute `name`. EOPNOTSUPP, EINVAL, ENODATA.
pub fn remove(inode: &Inode, name: &[u8]) -> Result<(), Errno> {
    check_name(inode, name)?;
    let mut list = inode.attributes().ok_or(Errno::ENODATA)?.0.lock();
    let at = list.iter().position(|attribute| *attribute.name == *name).ok_or(Errno::ENODATA)?;
    let removed = list.remove(at);
    drop(list);
    drop(removed);
    inode.touch_ctime();
    Ok(())
}

/// The names, each with a NUL behind it; `trusted.*` only for those who may know of them. ENOMEM.
pub fn list(inode: &Inode, trusted: bool) -> Result<KVec<u8>, Errno> {
    let mut names = KVec::new();
    let Some(attributes) = inode.attributes() else { return Ok(names) };
    let list = attributes.0.lock();
    for attribute in list.iter().filter(|attribute| trusted || !attribute.name.starts_with(b"trusted.")) {
        names.try_extend_from_slice(&attribute.name)?;
        names.try_push(0)?;
    }
    Ok(names)
}
