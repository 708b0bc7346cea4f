//! The trees: that of version 2, which is always there, and those of version 1, which mount(2) makes (Linux: struct cgroup_root,
//! kernel/cgroup/cgroup-v1.c).
//!
//! A tree of version 1 has a set of controllers, which it takes from version 2 as long as it lives, or a name, or both. It ends
//! when it is mounted nowhere and has no group but its root; that is noticed by whoever looks at the list of trees next.

use super::cpuset;
use super::group::{CONTROLLERS, Cgroup, Controller, V2, put_set};
use super::options::V1Options;
use core::fmt::Write;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use vigil_abi::Errno;
use vigil_executor::lock_class;
use vigil_executor::sync::{Mutex, MutexGuard, SpinLock};
use vigil_executor::wait_site;
use vigil_fs::OpResult;
use vigil_fs::vfs::dentry::Dentry;
use vigil_fs::vfs::wait::again;
use vigil_fs::vnode::SeqBuf;
use vigil_mem::{KArc, KVec, KWeak};

/// A tree.
pub struct Hierarchy {
    /// Its number in `/proc/PID/cgroup`; 0 for version 2.
    pub id: u32,
    /// Its name (version 1); empty: none.
    pub name: KVec<u8>,
    /// Its controllers.
    pub mask: AtomicU32,
    /// Mount options, see [`super::options`].
    pub flags: AtomicU32,
    /// `release_agent` (version 1).
    pub release_agent: SpinLock<KVec<u8>>,
}

impl Hierarchy {
    fn try_new(id: u32, name: KVec<u8>, mask: u32, flags: u32) -> Result<KArc<Hierarchy>, Errno> {
        let release_agent = SpinLock::new(lock_class!("release_agent"), KVec::new());
        Ok(KArc::try_new(Hierarchy { id, name, mask: AtomicU32::new(mask), flags: AtomicU32::new(flags), release_agent })?)
    }

    /// Whether it is that of version 2.
    pub fn is_v2(&self) -> bool {
        self.id == 0
    }

    /// Its controllers and its name as `/proc/PID/cgroup` and `/proc/mounts` have them.
    pub fn put_title(&self, out: &mut SeqBuf) {
        let mask = self.mask.load(Relaxed);
        put_set(mask, ",", out);
        if !self.name.is_empty() {
            out.put(if mask == 0 { b"name=" } else { b",name=" });
            out.put(&self.name);
        }
    }
}

/// A tree in the list.
pub struct Tree {
    /// The tree.
    pub root: KArc<Hierarchy>,
    /// Its topmost group.
    pub top: KArc<Cgroup>,
    /// Its file system as long as it is mounted.
    pub mounted: KWeak<Dentry>,
}

/// All trees, that of version 2 first, and what the next one is numbered.
pub struct Trees {
    list: KVec<Tree>,
    last_id: u32,
    /// Version 2 was mounted once.
    v2_seen: bool,
}

/// Held only in plain functions, never across an await; preemption stays on.
static TREES: Mutex<Trees> = Mutex::new(lock_class!("cgroup_mutex"), Trees { list: KVec::new(), last_id: 0, v2_seen: false });

/// Locks the shape of all trees, and where tasks are in them; "again" if somebody else has it.
pub fn lock() -> OpResult<'static, MutexGuard<'static, Trees>> {
    TREES.try_lock().ok_or_else(again)
}

/// For mount(2), which cannot try again by itself: the call is made again.
pub fn lock_or_restart() -> Result<MutexGuard<'static, Trees>, Errno> {
    TREES.try_lock().ok_or(Errno::ERESTARTNOINTR)
}

/// The same for a task of the kernel, which waits.
pub async fn lock_later() -> MutexGuard<'static, Trees> {
    TREES.lock(wait_site!("cgroup_mutex")).await
}

/// Makes the tree of version 2. Once, at boot.
pub fn init() -> Result<(), Errno> {
    let mut trees = lock_or_restart()?;
    let root = Hierarchy::try_new(0, KVec::new(), V2, 0)?;
    let top = Cgroup::try_new(root.clone(), None, b"")?;
    Ok(trees.list.try_push(Tree { root, top, mounted: KWeak::new() })?)
}

impl Trees {
    /// That of version 2.
    pub fn v2(&mut self) -> Result<&mut Tree, Errno> {
        self.list.first_mut().ok_or(Errno::ENODEV)
    }

    /// The root group of the tree in which `group` is. ENODEV.
    pub fn top_of(&self, group: &Cgroup) -> Result<KArc<Cgroup>, Errno> {
        self.list.iter().find(|t| t.root.id == group.root.id).map(|t| t.top.clone()).ok_or(Errno::ENODEV)
    }

    /// The root group of the tree that has `controller`.
    pub fn top_with(&self, controller: Controller) -> Option<&KArc<Cgroup>> {
        self.list.iter().find(|t| t.root.mask.load(Relaxed) & controller.bit() != 0).map(|t| &t.top)
    }

    /// Version 2 is mounted: from now on its groups are shown. It has what trees of version 1 have left.
    pub fn see_v2(&mut self) {
        self.end_unused();
        self.v2_seen = true;
    }

    /// The tree of version 1 that a mount asks for; made if there is none. EINVAL, EBUSY, ENOMEM.
    pub fn v1(&mut self, options: V1Options) -> Result<&mut Tree, Errno> {
        self.end_unused();
        let mut found = None;
        for (i, tree) in self.list.iter().enumerate().skip(1) {
            let mut same_name = false;
            if let Some(name) = &options.name {
                if *tree.root.name != **name {
                    continue;
                }
                same_name = true;
            }
            let mask = tree.root.mask.load(Relaxed);
            if (options.mask != 0 || options.none) && options.mask != mask {
                if same_name {
                    return Err(Errno::EBUSY);
                }
                continue;
            }
            found = Some(i);
            break;
        }
        let at = match found {
            Some(at) => at,
            None => self.make(options)?,
        };
        self.list.get_mut(at).ok_or(Errno::ENODEV)
    }

    fn make(&mut self, options: V1Options) -> Result<usize, Errno> {
        if options.mask == 0 && !options.none {
            return Err(Errno::EINVAL);
        }
        // As on Linux a tree that cannot be has used a number up, too.
        self.last_id = self.last_id.wrapping_add(1).max(1);
        let id = self.last_id;
        let v2 = self.v2()?;
        let (free, used) = (v2.root.mask.load(Relaxed), v2.top.subtree_control.load(Relaxed));
        let taken = options.mask & V2 & !free != 0 || options.mask & used != 0 && v2.top.nr_children() != 0;
        let elsewhere = self.list.iter().skip(1).any(|t| t.root.mask.load(Relaxed) & options.mask != 0);
        if taken || elsewhere {
            return Err(Errno::EBUSY);
        }
        let root = Hierarchy::try_new(id, options.name.unwrap_or_default(), options.mask, options.flags)?;
        if let Some(agent) = options.release_agent {
            *root.release_agent.lock() = agent;
        }
        let top = Cgroup::try_new(root.clone(), None, b"")?;
        top.clone_children.store(options.clone_children, Relaxed);
        self.list.try_push(Tree { root, top, mounted: KWeak::new() })?;
        let v2 = self.v2()?;
        v2.root.mask.fetch_and(!options.mask, Relaxed);
        v2.top.subtree_control.fetch_and(!options.mask, Relaxed);
        Ok(self.list.len() - 1)
    }

    /// Ends the trees of version 1 that nobody sees any more; their controllers go back to version 2.
    fn end_unused(&mut self) {
        let mut back = 0;
        self.list.retain(|tree| {
            let keep = tree.root.is_v2() || tree.mounted.upgrade().is_some() || tree.top.nr_children() != 0;
            if !keep {
                back |= tree.root.mask.load(Relaxed) & V2;
            }
            keep
        });
        if back != 0
            && let Ok(v2) = self.v2()
        {
            v2.root.mask.fetch_or(back, Relaxed);
        }
        if back & Controller::Cpuset.bit() != 0
            && let Ok(v2) = self.v2()
        {
            // What version 1 had said of domains goes with it.
            cpuset::settle(&v2.top);
        }
    }

    /// All trees.
    pub fn all(&self) -> impl Iterator<Item = &Tree> {
        self.list.iter()
    }

    /// The trees that `/proc/PID/cgroup` shows, newest first.
    pub fn shown(&mut self) -> impl Iterator<Item = &Tree> {
        self.end_unused();
        let v2_seen = self.v2_seen;
        self.list.iter().rev().filter(move |t| v2_seen || !t.root.is_v2())
    }

    /// `/proc/cgroups`
    pub fn put_controllers(&mut self, out: &mut SeqBuf) {
        self.end_unused();
        out.put(b"#subsys_name\thierarchy\tnum_cgroups\tenabled\n");
        for controller in CONTROLLERS {
            let (id, groups) = self.list.iter().find(|t| t.root.mask.load(Relaxed) & controller.bit() != 0).map_or((0, 1), |t| {
                let mut n = 0;
                Cgroup::for_each(&t.top, |g| n += u32::from(g.is_root() || g.has(controller)));
                (t.root.id, n)
            });
            let _ = writeln!(out, "{}\t{id}\t{groups}\t1", controller.name());
        }
    }
}
