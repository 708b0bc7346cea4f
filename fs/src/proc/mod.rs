//! procfs and sysfs: the roots that the kernel fills (Linux: fs/proc/root.c, fs/sysfs).
//!
//! `/proc` lists first what was added with [`add`] and its like, then a directory for each process, which the kernel's
//! [`ProcSource`] supplies. `self`, `thread-self`, `mounts`, `filesystems` and `devices` are made here; everything else
//! is added by whoever knows it.

use crate::host::host;
use crate::vfs::dentry::Dentry;
use crate::vfs::superblock::{self, FsType, MountRequest, SuperFlags, SuperInfo};
use crate::vnode::{self, Node, NodeSink, SeqBuf, StaticDir};
use core::fmt::Write;
use vigil_abi::Errno;
use vigil_abi::stat::{PROC_SUPER_MAGIC, S_IFDIR, SYSFS_MAGIC};
use vigil_executor::sync::{LockClass, SpinLock};
use vigil_mem::{KArc, KString, KVec};

/// Where process directories start in a listing of /proc (Linux: FIRST_PROCESS_ENTRY).
const FIRST_PID: u64 = 1 << 20;

/// The kernel's processes.
pub trait ProcSource: Send + Sync {
    /// The smallest process id (thread group id) that is at least `from`.
    fn next_pid(&self, from: u32) -> Option<u32>;
    /// The directory `/proc/ID` of a process, or of a thread that is not listed.
    fn node(&self, id: u32) -> Option<KArc<dyn Node>>;
}

struct Tree {
    proc_root: Option<KArc<Dentry>>,
    proc_dir: Option<StaticDir>,
    sys_root: Option<KArc<Dentry>>,
    sys_dir: Option<StaticDir>,
    source: Option<&'static dyn ProcSource>,
}

static CLASS: LockClass = LockClass::new("proc_tree");
static TREE: SpinLock<Tree> = SpinLock::new(&CLASS, Tree { proc_root: None, proc_dir: None, sys_root: None, sys_dir: None, source: None });

/// The root of /proc: what was added, and the processes.
struct ProcRoot {
    dir: StaticDir,
}

fn source() -> Option<&'static dyn ProcSource> {
    TREE.lock().source
}

/// A process id in decimal, without leading zeros.
fn parse_pid(name: &[u8]) -> Option<u32> {
    if name.first() == Some(&b'0') || !name.iter().all(u8::is_ascii_digit) {
        return None;
    }
    core::str::from_utf8(name).ok()?.parse().ok()
}

impl Node for ProcRoot {
    fn mode(&self) -> u32 {
        S_IFDIR | 0o555
    }

    fn nlink(&self) -> u32 {
        let mut count = self.dir.node().nlink();
        let mut from = 1;
        while let Some(pid) = source().and_then(|source| source.next_pid(from)) {
            count = count.saturating_add(1);
            from = pid.saturating_add(1);
        }
        count
    }

    fn lookup(&self, name: &[u8]) -> Result<Option<KArc<dyn Node>>, Errno> {
        if let Some(node) = self.dir.find(name) {
            return Ok(Some(node));
        }
        Ok(parse_pid(name).and_then(|id| source()?.node(id)))
    }

    fn list(&self, from: u64, sink: &mut dyn NodeSink) -> Result<(), Errno> {
        if from < FIRST_PID && !self.dir.list_from(from, sink) {
            return Ok(());
        }
        let mut from = from.saturating_sub(FIRST_PID).max(1) as u32;
        while let Some(pid) = source().and_then(|source| source.next_pid(from)) {
            let name = vigil_mem::try_format!("{pid}")?;
            if !sink.entry(name.as_str().as_bytes(), S_IFDIR | 0o555, FIRST_PID + u64::from(pid) + 1) {
                break;
            }
            from = pid.saturating_add(1);
        }
        Ok(())
    }
}

fn root_of(pick: fn(&Tree) -> &Option<KArc<Dentry>>) -> Result<KArc<Dentry>, Errno> {
    pick(&TREE.lock()).clone().ok_or(Errno::ENODEV)
}

fn mount_proc(_: &MountRequest<'_>) -> Result<KArc<Dentry>, Errno> {
    root_of(|tree| &tree.proc_root)
}

fn mount_sys(_: &MountRequest<'_>) -> Result<KArc<Dentry>, Errno> {
    root_of(|tree| &tree.sys_root)
}

fn text(bytes: KString) -> KVec<u8> {
    bytes.into_bytes()
}

fn self_link() -> Result<KVec<u8>, Errno> {
    match host().current_tgid() {
        0 => Err(Errno::ENOENT),
        pid => Ok(text(vigil_mem::try_format!("{pid}")?)),
    }
}

fn thread_self_link() -> Result<KVec<u8>, Errno> {
    match (host().current_tgid(), host().current_tid()) {
        (0, _) => Err(Errno::ENOENT),
        (pid, tid) => Ok(text(vigil_mem::try_format!("{pid}/task/{tid}")?)),
    }
}

fn show_filesystems(out: &mut SeqBuf) -> Result<(), Errno> {
    let mut n = 0;
    while let Some(kind) = superblock::nth(n) {
        n += 1;
        let _ = writeln!(out, "{}\t{}", if kind.needs_device { "" } else { "nodev" }, kind.name);
    }
    Ok(())
}

fn show_devices(out: &mut SeqBuf) -> Result<(), Errno> {
    crate::dev::chrdev::show(out);
    out.put(b"\nBlock devices:\n");
    Ok(())
}

/// Makes both file systems. Once, at boot.
pub fn init() -> Result<(), Errno> {
    let flags = SuperFlags::REVALIDATE | SuperFlags::NOATIME | SuperFlags::NOEXEC | SuperFlags::NODEV;
    let info = |fstype, magic| SuperInfo { fstype, magic, flags, max_bytes: i64::MAX as u64 };
    let proc_dir = StaticDir::try_new(0o555)?;
    let root = KArc::try_new(ProcRoot { dir: proc_dir.clone() })?;
    let proc_root = vnode::make_super(info("proc", PROC_SUPER_MAGIC), vigil_mem::unsize!(KArc, root => dyn Node))?;
    let sys_dir = StaticDir::try_new(0o555)?;
    let sys_root = vnode::make_super(info("sysfs", SYSFS_MAGIC), sys_dir.node())?;
    {
        let mut tree = TREE.lock();
        tree.proc_root = Some(proc_root);
        tree.proc_dir = Some(proc_dir.clone());
        tree.sys_root = Some(sys_root);
        tree.sys_dir = Some(sys_dir.clone());
    }
    proc_dir.add_link("self", self_link)?;
    proc_dir.add_link("thread-self", thread_self_link)?;
    proc_dir.add_link("mounts", || Ok(KVec::try_from_slice(b"self/mounts")?))?;
    proc_dir.add_file("filesystems", 0o444, show_filesystems)?;
    proc_dir.add_file("devices", 0o444, show_devices)?;
    for dir in ["block", "bus", "class", "dev/block", "dev/char", "devices", "firmware", "fs", "kernel", "module", "power"] {
        sys_dir.subdir(dir)?;
    }
    superblock::register(FsType { name: "proc", needs_device: false, user_mount: true, mount: mount_proc })?;
    superblock::register(FsType { name: "sysfs", needs_device: false, user_mount: true, mount: mount_sys })
}

/// The root of /proc, to add to. ENODEV before [`init`].
pub fn root() -> Result<StaticDir, Errno> {
    TREE.lock().proc_dir.clone().ok_or(Errno::ENODEV)
}

/// The root of /sys, to add to. ENODEV before [`init`].
pub fn sys_root() -> Result<StaticDir, Errno> {
    TREE.lock().sys_dir.clone().ok_or(Errno::ENODEV)
}

/// Adds a node under `path` in /proc. EEXIST, ENOMEM.
pub fn add(path: &str, node: KArc<dyn Node>) -> Result<(), Errno> {
    root()?.add(path, node)
}

/// Adds a generated file under `path` in /proc.
pub fn add_file(path: &str, mode: u32, show: fn(&mut SeqBuf) -> Result<(), Errno>) -> Result<(), Errno> {
    root()?.add_file(path, mode, show)
}

/// Adds a generated file that can be written.
pub fn add_file_rw(
    path: &str,
    mode: u32,
    show: fn(&mut SeqBuf) -> Result<(), Errno>,
    store: fn(&[u8]) -> Result<(), Errno>,
) -> Result<(), Errno> {
    root()?.add_file_rw(path, mode, show, store)
}

/// Tells where processes come from.
pub fn set_source(source: &'static dyn ProcSource) {
    TREE.lock().source = Some(source);
}
