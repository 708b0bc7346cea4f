//! A device's place in `/sys`: files whose text does not change, and links.

use core::fmt::Arguments;
use vigil_abi::Errno;
use vigil_abi::stat::{S_IFLNK, S_IFREG};
use vigil_fs::OpResult;
use vigil_fs::vfs::ops::Link;
use vigil_fs::vnode::{Node, SeqBuf, StaticDir};
use vigil_mem::{KArc, KString, KVec, unsize};

struct Text(KString);

impl Node for Text {
    fn mode(&self) -> u32 {
        S_IFREG | 0o444
    }

    fn size(&self) -> u64 {
        4096
    }

    fn show<'a>(&'a self, out: &mut SeqBuf) -> OpResult<'a, ()> {
        out.put(self.0.as_str().as_bytes());
        Ok(())
    }
}

struct To(KString);

impl Node for To {
    fn mode(&self) -> u32 {
        S_IFLNK | 0o777
    }

    fn follow(&self) -> Result<Link, Errno> {
        Ok(Link::Text(KVec::try_from_slice(self.0.as_str().as_bytes())?))
    }
}

/// Puts a file with this text under `path`. EEXIST, ENOMEM.
pub(super) fn text(dir: &StaticDir, path: &str, text: Arguments<'_>) -> Result<(), Errno> {
    dir.add(path, unsize!(KArc, KArc::try_new(Text(KString::try_format(text)?))? => dyn Node))
}

/// Puts a link to `target` under `path`. EEXIST, ENOMEM.
pub(super) fn link(dir: &StaticDir, path: &str, target: Arguments<'_>) -> Result<(), Errno> {
    dir.add(path, unsize!(KArc, KArc::try_new(To(KString::try_format(target)?))? => dyn Node))
}
