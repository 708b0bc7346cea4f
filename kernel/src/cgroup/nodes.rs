//! The file systems `cgroup2` and `cgroup`: directories are groups, files are their controls.

use super::group::Cgroup;
use super::hierarchy::{self, Hierarchy, Trees};
use super::migrate::{self, What};
use super::{control, tables};
use crate::procfs::{Resource, Source, open_pressure};
use crate::task::thread::Thread;
use core::sync::atomic::Ordering::Relaxed;
use vigil_abi::Errno;
use vigil_abi::stat::{CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, S_IFDIR, S_IFREG};
use vigil_fs::vfs::cred::cap;
use vigil_fs::vfs::dentry::Dentry;
use vigil_fs::vfs::inode::Setattr;
use vigil_fs::vfs::ops::{NewNode, SuperOps};
use vigil_fs::vfs::superblock::{self, FsType, MountRequest, SuperFlags, SuperInfo};
use vigil_fs::vnode::{self, Changes, Node, NodeSink, SeqBuf};
use vigil_fs::{Cred, OpResult, Opened, Stop};
use vigil_mem::{KArc, KBox, KVec, unsize};

use super::group::Controller;
use super::options::{self, FAVORDYNMODS, V1Options, V2_OPTIONS, XATTR};

/// Shows a file.
pub type Show = fn(&KArc<Cgroup>, &mut SeqBuf) -> OpResult<'static, ()>;
/// Takes what was written to one.
pub type Store = fn(&KArc<Cgroup>, &[u8]) -> OpResult<'static, ()>;

/// What a file does.
#[derive(Clone, Copy)]
pub enum Kind {
    /// It can be read.
    Read(Show),
    /// The same, and who polls it is told of changes.
    Events(Show, fn(&Cgroup) -> &Changes),
    /// It can be read and written.
    ReadWrite(Show, Store),
    /// It can be read and written, and who polls it is told of changes.
    Change(Show, Store, fn(&Cgroup) -> &Changes),
    /// It can be read, and written if it was opened by who has CAP_SYS_ADMIN.
    Admin(Show, Store),
    /// It can be written.
    Write(Store),
    /// It says for how much of the time somebody waits, and takes triggers.
    Pressure(Resource),
    /// Its lines are tasks, and what is written to it is moved.
    Tasks(Show, What),
}

/// In which groups a file is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// All.
    Any,
    /// All but the root.
    NotRoot,
    /// The root.
    Root,
}

/// A type of file.
pub struct FileType {
    /// Its name.
    pub name: &'static str,
    /// Whose it is; `None`: every group has it.
    pub controller: Option<Controller>,
    /// Where it is.
    pub place: Place,
    /// What it does.
    pub kind: Kind,
}

impl FileType {
    fn mode(&self) -> u32 {
        match self.kind {
            Kind::Read(_) | Kind::Events(..) => 0o444,
            Kind::ReadWrite(..) | Kind::Change(..) | Kind::Admin(..) | Kind::Tasks(..) | Kind::Pressure(_) => 0o644,
            Kind::Write(_) => 0o200,
        }
    }

    fn is_in(&self, group: &Cgroup) -> bool {
        let here = match self.place {
            Place::Any => true,
            Place::NotRoot => !group.is_root(),
            Place::Root => group.is_root(),
        };
        let shown = !matches!(self.kind, Kind::Pressure(_)) || group.pressure.is_shown();
        here && shown && self.controller.is_none_or(|c| group.has(c))
    }
}

fn files(group: &Cgroup) -> impl Iterator<Item = &'static FileType> {
    tables::of(&group.root).filter(|f| f.is_in(group))
}

/// The directory of a group.
struct Dir {
    group: KArc<Cgroup>,
}

fn dir_node(group: KArc<Cgroup>) -> Result<KArc<dyn Node>, Errno> {
    Ok(unsize!(KArc, KArc::try_new(Dir { group })? => dyn Node))
}

/// Where the children begin in a listing.
const FIRST_CHILD: u64 = 1 << 32;

/// The number of a group's directory.
fn number_of(group: &Cgroup) -> u64 {
    if group.is_root() { 1 } else { group.id << 8 }
}

/// The group of version 2 whose directory is open as `file`. EBADF: it is none; ENOENT: it was removed.
pub(super) fn group_of(file: &vigil_fs::File, trees: &mut Trees) -> Result<KArc<Cgroup>, Errno> {
    let inode = file.inode();
    if inode.sb().info.magic != CGROUP2_SUPER_MAGIC || !inode.is_dir() {
        return Err(Errno::EBADF);
    }
    let mut found = Err(Errno::ENOENT);
    Cgroup::for_each(&trees.v2()?.top, |group| {
        if number_of(group) == inode.ino {
            found = Ok(group.clone());
        }
    });
    found
}

impl Dir {
    fn default_mode(&self) -> u32 {
        if self.group.is_root() { 0o555 } else { 0o755 }
    }
}

impl Node for Dir {
    fn mode(&self) -> u32 {
        S_IFDIR | self.group.attributes.get("", self.default_mode()).mode
    }

    fn owner(&self) -> (u32, u32) {
        let attr = self.group.attributes.get("", 0);
        (attr.uid, attr.gid)
    }

    fn nlink(&self) -> u32 {
        2 + self.group.nr_children() as u32
    }

    fn ino(&self) -> Option<u64> {
        Some(number_of(&self.group))
    }

    fn is_alive(&self) -> bool {
        !self.group.is_dead()
    }

    fn may_cache(&self) -> bool {
        false
    }

    fn lookup(&self, name: &[u8]) -> Result<Option<KArc<dyn Node>>, Errno> {
        if self.group.is_dead() {
            return Ok(None);
        }
        if let Some(kind) = files(&self.group).find(|f| f.name.as_bytes() == name) {
            let file = File { group: self.group.clone(), kind, opener: None };
            return Ok(Some(unsize!(KArc, KArc::try_new(file)? => dyn Node)));
        }
        self.group.child(name).map(dir_node).transpose()
    }

    fn list(&self, from: u64, sink: &mut dyn NodeSink) -> Result<(), Errno> {
        if from < FIRST_CHILD {
            for (i, file) in files(&self.group).enumerate().skip(from as usize) {
                if !sink.entry(file.name.as_bytes(), S_IFREG, i as u64 + 1) {
                    return Ok(());
                }
            }
        }
        let mut at = from.saturating_sub(FIRST_CHILD);
        while let Some(child) = self.group.child_from(at) {
            at = child.id + 1;
            let name = child.with_name(KVec::try_from_slice)?;
            if !sink.entry(&name, S_IFDIR, FIRST_CHILD + at) {
                break;
            }
        }
        Ok(())
    }

    fn setattr(&self, change: &Setattr) -> Result<(), Errno> {
        self.group.attributes.set("", self.default_mode(), change)
    }

    fn mkdir<'a>(&'a self, name: &[u8], node: &NewNode<'_>) -> OpResult<'a, KArc<dyn Node>> {
        let group = control::mkdir(&self.group, name)?;
        group.attributes.set_owner(node.uid, node.gid);
        let attr = Setattr { mode: Some(node.mode & 0o7777), ..Setattr::default() };
        let made = group.attributes.set("", 0o755, &attr).and_then(|()| dir_node(group.clone()));
        if made.is_err() {
            // Nobody can have come in: the directory is locked.
            let _ = control::rmdir(&self.group, &group);
        }
        Ok(made?)
    }

    fn rmdir<'a>(&'a self, name: &[u8]) -> OpResult<'a, ()> {
        let group = self.group.child(name).ok_or(Errno::ENOENT)?;
        control::rmdir(&self.group, &group)
    }

    fn rename<'a>(&'a self, name: &[u8], new: &[u8], same: bool) -> OpResult<'a, ()> {
        if self.group.root.is_v2() {
            return Err(Stop::Err(Errno::EPERM));
        }
        if new.contains(&b'\n') {
            return Err(Stop::Err(Errno::EINVAL));
        }
        if !same {
            return Err(Stop::Err(Errno::EIO));
        }
        let _trees = hierarchy::lock()?;
        let group = self.group.child(name).ok_or(Errno::ENOENT)?;
        let old = group.set_name(KVec::try_from_slice(new)?);
        drop(old);
        Ok(())
    }
}

static QUIET: Changes = Changes::new();

/// A file of a group.
struct File {
    group: KArc<Cgroup>,
    kind: &'static FileType,
    /// Who has opened it, which is who moves tasks by it.
    opener: Option<KArc<Cred>>,
}

impl File {
    fn check(&self) -> Result<(), Errno> {
        if self.group.is_dead() || !self.kind.is_in(&self.group) { Err(Errno::ENODEV) } else { Ok(()) }
    }
}

impl Node for File {
    fn mode(&self) -> u32 {
        S_IFREG | self.group.attributes.get(self.kind.name, self.kind.mode()).mode
    }

    fn owner(&self) -> (u32, u32) {
        let attr = self.group.attributes.get(self.kind.name, 0);
        (attr.uid, attr.gid)
    }

    fn ino(&self) -> Option<u64> {
        let index = tables::of(&self.group.root).position(|f| core::ptr::eq(f, self.kind)).unwrap_or(0);
        Some(self.group.id << 8 | (index as u64 + 1))
    }

    fn is_alive(&self) -> bool {
        self.check().is_ok()
    }

    fn may_cache(&self) -> bool {
        false
    }

    fn show<'a>(&'a self, out: &mut SeqBuf) -> OpResult<'a, ()> {
        self.check()?;
        match self.kind.kind {
            Kind::Read(show)
            | Kind::Events(show, _)
            | Kind::ReadWrite(show, _)
            | Kind::Change(show, ..)
            | Kind::Admin(show, _)
            | Kind::Tasks(show, _) => show(&self.group, out),
            Kind::Write(_) | Kind::Pressure(_) => Err(Stop::Err(Errno::EINVAL)),
        }
    }

    fn changes(&self) -> Option<&Changes> {
        Some(match self.kind.kind {
            Kind::Events(_, changes) | Kind::Change(_, _, changes) => changes(&self.group),
            // As all files of groups it can be polled, and nobody is ever told.
            _ => &QUIET,
        })
    }

    fn store<'a>(&'a self, data: &[u8]) -> OpResult<'a, usize> {
        self.check()?;
        if data.is_empty() {
            return Ok(0);
        }
        match self.kind.kind {
            Kind::ReadWrite(_, store) | Kind::Change(_, store, _) | Kind::Write(store) => store(&self.group, data)?,
            Kind::Admin(_, store) => {
                // As Linux: agents run as the superuser, whoever owns the file.
                if !self.opener.as_ref().is_some_and(|cred| cred.capable(cap::SYS_ADMIN)) {
                    return Err(Stop::Err(Errno::EPERM));
                }
                store(&self.group, data)?;
            }
            Kind::Tasks(_, what) => {
                let cred = self.opener.as_ref().ok_or(Errno::EACCES)?;
                migrate::store(&self.group, what, data, cred)?;
            }
            Kind::Read(_) | Kind::Events(..) | Kind::Pressure(_) => return Err(Stop::Err(Errno::EINVAL)),
        }
        Ok(data.len())
    }

    fn setattr(&self, change: &Setattr) -> Result<(), Errno> {
        self.group.attributes.set(self.kind.name, self.kind.mode(), change)
    }

    fn open(&self, _: u32) -> Result<Option<Opened>, Errno> {
        match self.kind.kind {
            Kind::Pressure(resource) => {
                self.check()?;
                return open_pressure(Source { resource, group: Some(self.group.clone()) }).map(Some);
            }
            Kind::Tasks(..) | Kind::Admin(..) => {}
            _ => return Ok(None),
        }
        let opener = Thread::current().and_then(|t| t.share_cred());
        let file = File { group: self.group.clone(), kind: self.kind, opener };
        vnode::open_text(unsize!(KArc, KArc::try_new(file)? => dyn Node)).map(Some)
    }
}

/// A mounted tree.
struct Super {
    root: KArc<Hierarchy>,
}

impl SuperOps for Super {
    fn show_options(&self, out: &mut SeqBuf) {
        let flags = self.root.flags.load(Relaxed);
        if self.root.is_v2() {
            for (name, _) in V2_OPTIONS.iter().filter(|(_, flag)| flags & flag != 0) {
                out.put(b",");
                out.put(name.as_bytes());
            }
            return;
        }
        let mask = self.root.mask.load(Relaxed);
        if mask != 0 {
            out.put(b",");
            super::group::put_set(mask, ",", out);
        }
        for (name, flag) in [("xattr", XATTR), ("favordynmods", FAVORDYNMODS)] {
            if flags & flag != 0 {
                out.put(b",");
                out.put(name.as_bytes());
            }
        }
        let agent = self.root.release_agent.lock();
        if !agent.is_empty() {
            out.put(b",release_agent=");
            out.put_escaped(&agent, b" \t\n\\,");
        }
        drop(agent);
        if !self.root.name.is_empty() {
            out.put(b",name=");
            out.put(&self.root.name);
        }
    }

    fn remount(&self, data: &[u8]) -> Result<(), Errno> {
        if self.root.is_v2() {
            self.root.flags.store(options::parse_v2(data)?, Relaxed);
            return Ok(());
        }
        let wanted = V1Options::parse(data)?;
        // A tree keeps its controllers and its name.
        let same_name = wanted.name.as_ref().is_none_or(|n| **n == *self.root.name);
        if wanted.mask != self.root.mask.load(Relaxed) || !same_name { Err(Errno::EINVAL) } else { Ok(()) }
    }
}

/// The file system of a tree: the one that is mounted, or a new one.
fn root_of(tree: &mut hierarchy::Tree, fstype: &'static str, magic: u64) -> Result<KArc<Dentry>, Errno> {
    if let Some(dentry) = tree.mounted.upgrade() {
        return Ok(dentry);
    }
    let flags = SuperFlags::REVALIDATE | SuperFlags::NOATIME | SuperFlags::NOEXEC | SuperFlags::NODEV;
    let info = SuperInfo { fstype, magic, flags, max_bytes: i64::MAX as u64 };
    let ops = unsize!(KBox, KBox::try_new(Super { root: tree.root.clone() })? => dyn SuperOps);
    let dentry = vnode::make_super_with(info, ops, dir_node(tree.top.clone())?)?;
    tree.mounted = KArc::downgrade(&dentry);
    Ok(dentry)
}

fn mount_v2(request: &MountRequest<'_>) -> Result<KArc<Dentry>, Errno> {
    let flags = options::parse_v2(request.data)?;
    let mut trees = hierarchy::lock_or_restart()?;
    trees.see_v2();
    let tree = trees.v2()?;
    tree.root.flags.store(flags, Relaxed);
    root_of(tree, "cgroup2", CGROUP2_SUPER_MAGIC)
}

fn mount_v1(request: &MountRequest<'_>) -> Result<KArc<Dentry>, Errno> {
    let options = V1Options::parse(request.data)?;
    let mut trees = hierarchy::lock_or_restart()?;
    root_of(trees.v1(options)?, "cgroup", CGROUP_SUPER_MAGIC)
}

/// Makes both types mountable.
pub fn register() -> Result<(), Errno> {
    superblock::register(FsType { name: "cgroup", needs_device: false, user_mount: true, mount: mount_v1 })?;
    superblock::register(FsType { name: "cgroup2", needs_device: false, user_mount: true, mount: mount_v2 })
}
