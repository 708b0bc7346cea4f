//! debugfs: the root that the kernel fills with what helps to look into it (Linux: fs/debugfs).
//!
//! Every mount shows the same tree. Its root is for root alone unless an option of the mount says otherwise (`mode=`, `uid=`,
//! `gid=`; others are passed over, as on Linux).

use crate::tmpfs::options::Options;
use crate::vfs::dentry::Dentry;
use crate::vfs::inode::Setattr;
use crate::vfs::superblock::{self, FsType, MountRequest, SuperFlags, SuperInfo};
use crate::vnode::{self, Node, NodeSink, StaticDir};
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use vigil_abi::Errno;
use vigil_abi::stat::{DEBUGFS_MAGIC, S_IFDIR};
use vigil_executor::sync::{LockClass, SpinLock};
use vigil_mem::KArc;

/// Permissions of the root when no option says anything (Linux: DEBUGFS_DEFAULT_MODE).
const MODE: u32 = 0o700;

/// The root directory with the owner that the last mount gave it; its permissions are the inode's.
struct Root {
    dir: StaticDir,
    uid: AtomicU32,
    gid: AtomicU32,
}

struct Tree {
    dentry: KArc<Dentry>,
    root: KArc<Root>,
}

static CLASS: LockClass = LockClass::new("debugfs");
static TREE: SpinLock<Option<Tree>> = SpinLock::new(&CLASS, None);

impl Node for Root {
    fn mode(&self) -> u32 {
        S_IFDIR | MODE
    }

    fn owner(&self) -> (u32, u32) {
        (self.uid.load(Relaxed), self.gid.load(Relaxed))
    }

    fn nlink(&self) -> u32 {
        self.dir.node().nlink()
    }

    fn lookup(&self, name: &[u8]) -> Result<Option<KArc<dyn Node>>, Errno> {
        Ok(self.dir.find(name))
    }

    fn list(&self, from: u64, sink: &mut dyn NodeSink) -> Result<(), Errno> {
        self.dir.list_from(from, sink);
        Ok(())
    }
}

fn mount(request: &MountRequest<'_>) -> Result<KArc<Dentry>, Errno> {
    let tree = TREE.lock();
    let tree = tree.as_ref().ok_or(Errno::ENODEV)?;
    let mut options = Options { max_pages: 0, max_inodes: 0, mode: MODE, uid: 0, gid: 0 };
    for option in request.data.split(|byte| *byte == b',').filter(|o| [&b"mode="[..], b"uid=", b"gid="].iter().any(|k| o.starts_with(k))) {
        options.parse(option)?;
    }
    tree.root.uid.store(options.uid, Relaxed);
    tree.root.gid.store(options.gid, Relaxed);
    if let Some(inode) = tree.dentry.inode_opt() {
        let (mode, uid, gid) = (Some(options.mode), Some(options.uid), Some(options.gid));
        inode.apply(&Setattr { mode, uid, gid, size: None, atime: None, mtime: None });
    }
    Ok(tree.dentry.clone())
}

/// Makes the file system, and where it is usually mounted. Once, at boot, after `/sys`.
pub(crate) fn init() -> Result<(), Errno> {
    let flags = SuperFlags::REVALIDATE | SuperFlags::NOATIME | SuperFlags::NOEXEC | SuperFlags::NODEV;
    let info = SuperInfo { fstype: "debugfs", magic: DEBUGFS_MAGIC, flags, max_bytes: i64::MAX as u64 };
    let (uid, gid) = (AtomicU32::new(0), AtomicU32::new(0));
    let root = KArc::try_new(Root { dir: StaticDir::try_new(0o755)?, uid, gid })?;
    let dentry = vnode::make_super(info, vigil_mem::unsize!(KArc, root.clone() => dyn Node))?;
    *TREE.lock() = Some(Tree { dentry, root });
    crate::proc::sys_root()?.subdir("kernel/debug")?;
    superblock::register(FsType { name: "debugfs", needs_device: false, user_mount: true, mount })
}

/// The root of debugfs, to add to. ENODEV before [`init`].
pub fn root() -> Result<StaticDir, Errno> {
    TREE.lock().as_ref().map(|tree| tree.root.dir.clone()).ok_or(Errno::ENODEV)
}
