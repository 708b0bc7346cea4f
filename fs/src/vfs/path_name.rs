//! The kernel's copy of a path string (Linux: struct filename, getname).

use super::ops::Stop;
use vigil_abi::Errno;
use vigil_abi::fcntl::PATH_MAX;
use vigil_mem::{KVec, UserPtr};

/// Paths up to this length need no allocation.
const INLINE: usize = 64;

/// A path string of at most 4 095 bytes, without NUL. May be empty.
pub struct PathName {
    inline: [u8; INLINE],
    len: usize,
    heap: KVec<u8>,
}

impl PathName {
    /// Copies a NUL-terminated string from user memory. ENAMETOOLONG, ENOMEM; a fault as [`Stop::Fault`].
    pub fn from_user(from: UserPtr<u8>) -> Result<PathName, Stop<'static>> {
        let mut name = PathName { inline: [0; INLINE], len: 0, heap: KVec::new() };
        name.len = from.read_str(&mut name.inline)?;
        if name.len < INLINE {
            return Ok(name);
        }
        name.heap.try_resize(PATH_MAX, 0)?;
        name.len = from.read_str(&mut name.heap)?;
        if name.len >= PATH_MAX { Err(Stop::Err(Errno::ENAMETOOLONG)) } else { Ok(name) }
    }

    /// A copy of `bytes`. ENAMETOOLONG, ENOMEM.
    pub fn from_bytes(bytes: &[u8]) -> Result<PathName, Errno> {
        if bytes.len() >= PATH_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        let mut name = PathName { inline: [0; INLINE], len: bytes.len(), heap: KVec::new() };
        match name.inline.get_mut(..bytes.len()) {
            Some(inline) if bytes.len() < INLINE => inline.copy_from_slice(bytes),
            _ => name.heap.try_extend_from_slice(bytes)?,
        }
        Ok(name)
    }
}

impl core::ops::Deref for PathName {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        if self.len < INLINE { &self.inline[..self.len] } else { self.heap.get(..self.len).unwrap_or(&[]) }
    }
}
