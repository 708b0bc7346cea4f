//! The file system `mqueue`: one directory, whose files are the queues. Every mount of it shows the same.

use super::queue::Mqueue;
use crate::task::thread::Thread;
use vigil_abi::Errno;
use vigil_abi::ipc::MqAttr;
use vigil_abi::stat::{MQUEUE_MAGIC, S_IFDIR, S_IFMT, S_IFREG};
use vigil_abi::time::SIGEV_SIGNAL;
use vigil_executor::lock_class;
use vigil_executor::sync::SpinLock;
use vigil_fs::tmpfs::inode::TmpDir;
use vigil_fs::vfs::dentry::Dentry;
use vigil_fs::vfs::inode::OpsRef;
use vigil_fs::vfs::mount::MountFlags;
use vigil_fs::vfs::namei::single;
use vigil_fs::vfs::ops::{InodeOps, NewNode, SuperOps};
use vigil_fs::vfs::superblock::{self, FsType, MountRequest, SuperBlock, SuperFlags, SuperInfo};
use vigil_fs::{Ctx, File, FileOps, Inode, Mount, OpResult, Path, PollEvents, PollTable, Stop};
use vigil_mem::{IoBufMut, KArc, KBox, try_format, unsize};

/// What stat(2) says of a queue's size: room for the line that can be read.
const FILE_SIZE: u64 = 80;

/// Its only mount that nobody has to make.
static MOUNT: SpinLock<Option<KArc<Mount>>> = SpinLock::new(lock_class!("mqueue_mount"), None);

struct Super;

impl SuperOps for Super {}

/// The directory: names are kept as tmpfs keeps them.
struct Dir {
    names: TmpDir,
}

/// Makes the file system. Once, at boot.
pub(super) fn init() -> Result<(), Errno> {
    let flags = SuperFlags::NOEXEC | SuperFlags::NODEV;
    let info = SuperInfo { fstype: "mqueue", magic: MQUEUE_MAGIC, flags, max_bytes: i64::MAX as u64 };
    let sb = SuperBlock::try_new(info, unsize!(KBox, KBox::try_new(Super)? => dyn SuperOps))?;
    let ops = unsize!(KBox, KBox::try_new(Dir { names: TmpDir::new() })? => dyn InodeOps);
    let root = Inode::try_new(&sb, sb.new_ino(), S_IFDIR | 0o1777, 0, OpsRef::Own(ops))?;
    root.set_nlink(2);
    root.set_size(40);
    let mount = Mount::of_root(Dentry::try_root(root, b"/")?, b"mqueue", MountFlags::empty())?;
    *MOUNT.lock() = Some(mount);
    superblock::register(FsType { name: "mqueue", needs_device: false, user_mount: true, mount: mount_it })
}

fn mount_it(_: &MountRequest<'_>) -> Result<KArc<Dentry>, Errno> {
    Ok(root()?.dentry)
}

fn root() -> Result<Path, Errno> {
    MOUNT.lock().as_ref().map(Mount::root_path).ok_or(Errno::ENODEV)
}

/// mq_open(2): the open file. ENOENT, EEXIST, EACCES, EINVAL and what [`Mqueue::new`] answers.
pub async fn open(ctx: &Ctx<'_>, name: &[u8], flags: u32, mode: u32, attr: Option<MqAttr>) -> Result<KArc<File>, Errno> {
    let root = root()?;
    let wish = attr.map(|attr| (attr.mq_maxmsg, attr.mq_msgsize));
    let make = |node: &NewNode<'_>| Ok(make(root.inode(), name, node, wish)?);
    single::open_single(ctx, &root, name, flags, mode & 0o7777, make).await
}

/// mq_unlink(2). ENOENT, EACCES, EPERM.
pub async fn unlink(ctx: &Ctx<'_>, name: &[u8]) -> Result<(), Errno> {
    single::unlink_single(ctx, &root()?, name).await
}

fn make(dir: &KArc<Inode>, name: &[u8], node: &NewNode<'_>, wish: Option<(i64, i64)>) -> Result<KArc<Inode>, Errno> {
    let names = TmpDir::of(dir).ok_or(Errno::ENOTDIR)?;
    let queue = Mqueue::new(Thread::current().ok_or(Errno::EPERM)?, wish)?;
    let ops = unsize!(KBox, KBox::try_new(queue)? => dyn InodeOps);
    let inode = Inode::try_new(dir.sb(), dir.sb().new_ino(), node.mode, 0, OpsRef::Own(ops))?;
    inode.set_owner(node.uid, node.gid);
    inode.set_size(FILE_SIZE);
    names.add(dir, name, &inode)?;
    Ok(inode)
}

impl InodeOps for Dir {
    fn lookup<'a>(&'a self, dir: &'a KArc<Inode>, name: &[u8]) -> OpResult<'a, Option<KArc<Inode>>> {
        self.names.lookup(dir, name)
    }

    fn make<'a>(&'a self, dir: &'a KArc<Inode>, name: &[u8], node: &NewNode<'_>) -> OpResult<'a, KArc<Inode>> {
        if node.mode & S_IFMT != S_IFREG {
            return Err(Stop::Err(Errno::EPERM));
        }
        Ok(make(dir, name, node, None)?)
    }

    fn remove<'a>(&'a self, dir: &'a KArc<Inode>, name: &[u8], inode: &KArc<Inode>) -> OpResult<'a, ()> {
        self.names.remove(dir, name, inode)
    }

    fn file_ops(&self) -> &(dyn FileOps + 'static) {
        self.names.file_ops()
    }

    fn as_any(&self) -> Option<&dyn core::any::Any> {
        Some(&self.names)
    }
}

impl InodeOps for Mqueue {
    fn file_ops(&self) -> &(dyn FileOps + 'static) {
        self
    }
}

impl FileOps for Mqueue {
    /// A line about the queue.
    fn read<'a>(&'a self, file: &'a File, buf: &mut IoBufMut<'_>, pos: &mut u64) -> OpResult<'a, usize> {
        let now = self.snapshot();
        let (pid, kind, signo) = now.notify.unwrap_or((0, 0, 0));
        let signo = if kind == SIGEV_SIGNAL { signo } else { 0 };
        let line = try_format!("QSIZE:{:<10} NOTIFY:{kind:<5} SIGNO:{signo:<5} NOTIFY_PID:{pid:<6}\n", now.bytes)?;
        let start = usize::try_from(*pos).unwrap_or(usize::MAX).min(line.as_str().len());
        let n = buf.copy_out(&line.as_str().as_bytes()[start..])?;
        *pos += n as u64;
        file.inode().touch_atime();
        Ok(n)
    }

    fn poll(&self, _: &File, table: &mut PollTable<'_>) -> PollEvents {
        table.add(&self.wait);
        let count = self.snapshot().count;
        let mut events = PollEvents::empty();
        if count > 0 {
            events |= PollEvents::IN | PollEvents::RDNORM;
        }
        if count < self.size.maxmsg {
            events |= PollEvents::OUT | PollEvents::WRNORM;
        }
        events
    }

    fn can_poll(&self) -> bool {
        true
    }

    /// A process that closes a descriptor of the queue is told of it no longer.
    fn flush<'a>(&'a self, _: &'a File) -> OpResult<'a, ()> {
        if let Some(thread) = Thread::current() {
            self.unregister(&thread.process);
        }
        Ok(())
    }

    fn as_any(&self) -> Option<&dyn core::any::Any> {
        Some(self)
    }
}
