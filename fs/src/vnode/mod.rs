//! File systems whose files are generated: procfs, sysfs and their like (Linux: fs/proc/generic.c, fs/kernfs).
//!
//! A [`Node`] is a directory, a file or a link that makes its contents when it is asked. [`dir::StaticDir`] is a
//! directory that others fill at boot; whatever comes and goes, such as /proc/PID, is a node that finds its entries
//! itself. Opening a file, reading it and listing a directory work the same for all of them and are here.
//!
//! | file | what |
//! |---|---|
//! | [`seq`] | [`SeqBuf`]: generated text |
//! | `changes` | for those that poll a file |
//! | [`dir`] | directories with a fixed set of entries |
//! | [`file`] | open files and directories |

mod changes;
pub mod dir;
pub mod file;
pub mod seq;
#[cfg(test)]
mod tests;

pub use changes::Changes;
pub use dir::StaticDir;
pub use seq::SeqBuf;

use crate::vfs::dentry::Dentry;
use crate::vfs::inode::{Inode, OpsRef, Setattr};
use crate::vfs::ops::{FileOps, InodeOps, Link, NewNode, OpResult, Opened, Rename, Stop, SuperOps};
use crate::vfs::stat::Stat;
use crate::vfs::superblock::{SuperBlock, SuperInfo};
use crate::vfs::wait::Obstacle;
use vigil_abi::Errno;
use vigil_abi::stat::{S_IFDIR, S_IFLNK, S_IFMT, S_IFREG};
use vigil_mem::{KArc, KBox, KVec};

/// Receives a directory's entries; false when it is full.
pub trait NodeSink {
    /// One entry: its name, its mode (the type counts), and the position from which listing goes on after it.
    fn entry(&mut self, name: &[u8], mode: u32, next: u64) -> bool;
}

/// The least length of a part of a generated text ([`Node::show_part`]), bytes.
pub const PART: usize = 4096;

/// A generated directory, file or link.
pub trait Node: Send + Sync {
    /// Type and permissions.
    fn mode(&self) -> u32;

    /// Owner and group.
    fn owner(&self) -> (u32, u32) {
        (0, 0)
    }

    /// Hard links, as stat(2) shows them. Linux counts subdirectories in /proc and /sys.
    fn nlink(&self) -> u32 {
        if self.mode() & S_IFMT == S_IFDIR { 2 } else { 1 }
    }

    /// Size, as stat(2) shows it.
    fn size(&self) -> u64 {
        0
    }

    /// Whether it still stands for something. A dead node is looked up again.
    fn is_alive(&self) -> bool {
        true
    }

    /// Whether its name may be kept in the cache of names: not if it may stop standing for something at any time, because
    /// then nobody would take it out.
    fn may_cache(&self) -> bool {
        true
    }

    /// Finds an entry of a directory.
    fn lookup(&self, name: &[u8]) -> Result<Option<KArc<dyn Node>>, Errno> {
        let _ = name;
        Err(Errno::ENOTDIR)
    }

    /// Lists entries from position `from` on (0 at first; the positions are the node's own).
    fn list(&self, from: u64, sink: &mut dyn NodeSink) -> Result<(), Errno> {
        let _ = (from, sink);
        Err(Errno::ENOTDIR)
    }

    /// Generates the contents. EIO: it cannot be read.
    fn show<'a>(&'a self, out: &mut SeqBuf) -> OpResult<'a, ()> {
        let _ = out;
        Err(Stop::Err(Errno::EIO))
    }

    /// Generates the part of the contents that begins at `from` (0 at first; otherwise the node's own), at least [`PART`] bytes if
    /// there are so many; where the next part begins, if there is one. For what may be large: only what is read is made, and
    /// each part shows its own moment.
    fn show_part<'a>(&'a self, from: u64, out: &mut SeqBuf) -> OpResult<'a, Option<u64>> {
        let _ = from;
        self.show(out).map(|()| None)
    }

    /// What generating met when it answered [`again`](crate::vfs::wait::again), see [`FileOps::obstacle`].
    fn obstacle(&self) -> Option<Obstacle<'_>> {
        None
    }

    /// The node itself, if others may ask what it is ([`node_of`]).
    fn as_any(&self) -> Option<&dyn core::any::Any> {
        None
    }

    /// What tells of changes of the contents, if it can be polled.
    fn changes(&self) -> Option<&Changes> {
        None
    }

    /// Takes what was written: all of one write(2), up to 4 095 bytes. The number of bytes used. EIO: cannot be written.
    fn store<'a>(&'a self, data: &[u8]) -> OpResult<'a, usize> {
        let _ = data;
        Err(Stop::Err(Errno::EIO))
    }

    /// Where a link leads.
    fn follow(&self) -> Result<Link, Errno> {
        Err(Errno::EINVAL)
    }

    /// The text of a link for readlink(2), if following it is more than reading it.
    fn read_link(&self) -> Result<KVec<u8>, Errno> {
        match self.follow()? {
            Link::Text(text) => Ok(text),
            Link::Jump(_) => Err(Errno::EINVAL),
        }
    }

    /// Opens it as something else than generated text. `None`: generated text, or a listing.
    fn open(&self, flags: u32) -> Result<Option<Opened>, Errno> {
        let _ = flags;
        Ok(None)
    }

    /// Changes mode or owner. EPERM: not here.
    fn setattr(&self, change: &Setattr) -> Result<(), Errno> {
        let _ = change;
        Err(Errno::EPERM)
    }

    /// Its inode number, if it keeps one for as long as it lives; `None`: any.
    fn ino(&self) -> Option<u64> {
        None
    }

    /// Makes the directory `name` in it, with mode and owner of `node`. EPERM: no directories can be made here.
    fn mkdir<'a>(&'a self, name: &[u8], node: &NewNode<'_>) -> OpResult<'a, KArc<dyn Node>> {
        let _ = (name, node);
        Err(Stop::Err(Errno::EPERM))
    }

    /// Removes the directory `name` from it. EPERM: not here.
    fn rmdir<'a>(&'a self, name: &[u8]) -> OpResult<'a, ()> {
        let _ = name;
        Err(Stop::Err(Errno::EPERM))
    }

    /// Gives the directory `name` of it another name, in it if `same`. EPERM: not here.
    fn rename<'a>(&'a self, name: &[u8], new: &[u8], same: bool) -> OpResult<'a, ()> {
        let _ = (name, new, same);
        Err(Stop::Err(Errno::EPERM))
    }
}

/// What an open of `node`, which shows text, comes to: for a [`Node::open`] that opens another node than itself. ENOMEM.
pub fn open_text(node: KArc<dyn Node>) -> Result<Opened, Errno> {
    let file = KArc::try_new(file::SeqFile::new(node))?;
    Ok(Opened::Own(vigil_mem::unsize!(KArc, file => dyn FileOps)))
}

/// The inode of a node.
pub(crate) struct NodeInode {
    pub(crate) node: KArc<dyn Node>,
}

/// Makes an inode for `node`. ENOMEM.
fn new_inode(sb: &KArc<SuperBlock>, node: KArc<dyn Node>) -> Result<KArc<Inode>, Errno> {
    let mode = node.mode();
    let (uid, gid) = node.owner();
    let (nlink, ino) = (node.nlink(), node.ino());
    let ops = vigil_mem::unsize!(KBox, KBox::try_new(NodeInode { node })? => dyn InodeOps);
    let inode = Inode::try_new(sb, ino.unwrap_or_else(|| sb.new_ino()), mode, 0, OpsRef::Own(ops))?;
    inode.set_owner(uid, gid);
    inode.set_nlink(nlink);
    Ok(inode)
}

impl InodeOps for NodeInode {
    fn lookup<'a>(&'a self, dir: &'a KArc<Inode>, name: &[u8]) -> OpResult<'a, Option<KArc<Inode>>> {
        match self.node.lookup(name)? {
            Some(node) => Ok(Some(new_inode(dir.sb(), node)?)),
            None => Ok(None),
        }
    }

    fn link_target<'a>(&'a self, _: &'a KArc<Inode>) -> OpResult<'a, Link> {
        Ok(self.node.follow()?)
    }

    fn read_link<'a>(&'a self, _: &'a KArc<Inode>) -> OpResult<'a, KVec<u8>> {
        Ok(self.node.read_link()?)
    }

    fn open<'a>(&'a self, _: &'a KArc<Inode>, flags: u32) -> OpResult<'a, Opened> {
        if let Some(opened) = self.node.open(flags)? {
            return Ok(opened);
        }
        let mode = self.node.mode() & S_IFMT;
        if mode == S_IFDIR || mode == S_IFLNK {
            return Ok(Opened::Inode);
        }
        Ok(open_text(self.node.clone())?)
    }

    fn make<'a>(&'a self, dir: &'a KArc<Inode>, name: &[u8], node: &NewNode<'_>) -> OpResult<'a, KArc<Inode>> {
        match node.mode & S_IFMT {
            S_IFDIR => Ok(new_inode(dir.sb(), self.node.mkdir(name, node)?)?),
            S_IFREG => Err(Stop::Err(Errno::EACCES)),
            _ => Err(Stop::Err(Errno::EPERM)),
        }
    }

    fn remove<'a>(&'a self, _: &'a KArc<Inode>, name: &[u8], inode: &KArc<Inode>) -> OpResult<'a, ()> {
        if inode.is_dir() { self.node.rmdir(name) } else { Err(Stop::Err(Errno::EPERM)) }
    }

    fn rename<'a>(&'a self, rename: &Rename<'_>) -> OpResult<'a, ()> {
        if rename.exchange || !rename.inode.is_dir() {
            return Err(Stop::Err(Errno::EPERM));
        }
        if rename.victim.is_some() {
            return Err(Stop::Err(Errno::EEXIST));
        }
        self.node.rename(rename.old_name, rename.new_name, KArc::ptr_eq(rename.old_dir, rename.new_dir))
    }

    fn file_ops(&self) -> &(dyn FileOps + 'static) {
        &file::NodeDirFile
    }

    fn setattr<'a>(&'a self, inode: &'a KArc<Inode>, change: &Setattr) -> OpResult<'a, ()> {
        // Truncating generated text, which `> file` does, changes nothing.
        if change.size.is_none() {
            self.node.setattr(change)?;
            inode.apply(change);
        }
        Ok(())
    }

    fn getattr(&self, _: &Inode, stat: &mut Stat) {
        (stat.uid, stat.gid) = self.node.owner();
        stat.size = self.node.size();
        stat.nlink = self.node.nlink();
        stat.blksize = 1024;
    }

    fn is_alive(&self, _: &Inode) -> bool {
        self.node.is_alive()
    }

    fn may_cache(&self, _: &Inode) -> bool {
        self.node.may_cache()
    }

    fn as_any(&self) -> Option<&dyn core::any::Any> {
        Some(self)
    }
}

struct NodeSuper;

impl SuperOps for NodeSuper {}

/// The node behind an open file, if it is a `T`.
pub fn node_of<T: Node + 'static>(file: &crate::File) -> Option<&T> {
    file.inode().ops().as_any()?.downcast_ref::<NodeInode>()?.node.as_any()?.downcast_ref()
}

/// A file system whose root is `root`: its root dentry. ENOMEM.
pub fn make_super(info: SuperInfo, root: KArc<dyn Node>) -> Result<KArc<Dentry>, Errno> {
    make_super_with(info, vigil_mem::unsize!(KBox, KBox::try_new(NodeSuper)? => dyn SuperOps), root)
}

/// The same with operations of its own: mount options. ENOMEM.
pub fn make_super_with(info: SuperInfo, ops: KBox<dyn SuperOps>, root: KArc<dyn Node>) -> Result<KArc<Dentry>, Errno> {
    let sb = SuperBlock::try_new(info, ops)?;
    Dentry::try_root(new_inode(&sb, root)?, b"/")
}
