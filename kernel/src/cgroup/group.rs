//! A control group: its place in the tree, what is counted in it, and the rules of its type (Linux: struct cgroup).
//!
//! The shape of all trees stands still while [`super::hierarchy::lock`] is held. Counts are atomics that each task's beginning, end
//! and move change in its group and in all above it; they are kept for every group, whatever controllers are on, so that switching
//! a controller on or off need not look at tasks.

use super::attr::Attributes;
use super::cpuset::CpusetState;
use super::freezer;
use super::hierarchy::Hierarchy;
use super::pressure::Pressure;
use super::release;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering::*};
use vigil_abi::Errno;
use vigil_abi::fcntl::PATH_MAX;
use vigil_executor::executor::Group;
use vigil_executor::lock_class;
use vigil_executor::sync::SpinLock;
use vigil_fs::vnode::{Changes, SeqBuf};
use vigil_mem::{AllocError, KArc, KVec};

/// Controllers, in the order in which they are listed (Linux: include/linux/cgroup_subsys.h).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Controller {
    /// Which CPUs its tasks may run on.
    Cpuset,
    /// Shares of the fair class, and their limit.
    Cpu,
    /// CPU time used (v1).
    Cpuacct,
    /// Stopping tasks (v1).
    Freezer,
    /// The number of tasks.
    Pids,
}

/// All of them.
pub const CONTROLLERS: [Controller; 5] = [Controller::Cpuset, Controller::Cpu, Controller::Cpuacct, Controller::Freezer, Controller::Pids];
/// Those that a group of version 2 can have. All may compete within threads: each is threaded.
pub const V2: u32 = Controller::Cpuset.bit() | Controller::Cpu.bit() | Controller::Pids.bit();

impl Controller {
    /// Its bit in a set.
    pub const fn bit(self) -> u32 {
        1 << self as u32
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Controller::Cpuset => "cpuset",
            Controller::Cpu => "cpu",
            Controller::Cpuacct => "cpuacct",
            Controller::Freezer => "freezer",
            Controller::Pids => "pids",
        }
    }

    /// The controller called `name`.
    pub fn by_name(name: &[u8]) -> Option<Controller> {
        CONTROLLERS.into_iter().find(|c| c.name().as_bytes() == name)
    }
}

/// Writes the names of a set.
pub fn put_set(set: u32, separator: &str, out: &mut SeqBuf) {
    let mut between = "";
    for controller in CONTROLLERS.into_iter().filter(|c| set & c.bit() != 0) {
        out.put(between.as_bytes());
        out.put(controller.name().as_bytes());
        between = separator;
    }
}

/// A group.
pub struct Cgroup {
    /// Its pressure files. Ends before the group above.
    pub pressure: Pressure,
    /// Unique, and larger than those of all groups made before it.
    pub id: u64,
    /// Its tree.
    pub root: KArc<Hierarchy>,
    /// The group above; `None` at the root of a tree.
    pub parent: Option<KArc<Cgroup>>,
    /// How many are above it.
    pub level: i32,
    name: SpinLock<KVec<u8>>,
    /// By rising id.
    children: SpinLock<KVec<KArc<Cgroup>>>,
    /// How many are below it.
    descendants: AtomicUsize,
    dead: AtomicBool,
    /// Living tasks that are in it itself.
    own: AtomicUsize,
    /// Living tasks in it and below.
    pub live: AtomicUsize,
    /// Those of `live` that stand still as in a freezer.
    pub frozen: AtomicUsize,
    /// Tasks in it and below, also dead ones that were not waited for.
    pub pids: AtomicI64,
    /// The controllers that its children have (version 2).
    pub subtree_control: AtomicU32,
    /// It shares its parent's domain (version 2).
    pub threaded: AtomicBool,
    /// How many children are threaded.
    pub threaded_children: AtomicU32,
    /// `cgroup.max.depth` and `cgroup.max.descendants`.
    pub max_depth: AtomicI32,
    /// See `max_depth`.
    pub max_descendants: AtomicI32,
    /// `notify_on_release` and `cgroup.clone_children` (version 1).
    pub notify_on_release: AtomicBool,
    /// See `notify_on_release`.
    pub clone_children: AtomicBool,
    /// Its release agent is to be told.
    pub released: AtomicBool,
    /// It itself was told to freeze.
    pub freeze: AtomicBool,
    /// `pids.max`; `i64::MAX`: none.
    pub pids_max: AtomicI64,
    /// `pids.peak`.
    pub pids_peak: AtomicI64,
    /// Forks that failed here.
    pub pids_events: AtomicU64,
    /// CPUs and memory nodes.
    pub cpuset: SpinLock<CpusetState>,
    /// Its part of the scheduler, once it has had the controller `cpu`.
    pub cpu: spin::Once<Group>,
    /// Changes of `cgroup.events`, and what it showed last: populated, frozen.
    pub events: Changes,
    shown: [AtomicBool; 2],
    /// Changes of `pids.events`.
    pub pids_changes: Changes,
    /// Changes of `cpuset.cpus.partition`.
    pub partition_changes: Changes,
    /// CPU time of tasks that have left or ended: user, system, nanoseconds.
    pub time: [AtomicU64; 2],
    /// The most that was seen of it, with what living tasks have used.
    pub time_seen: [AtomicU64; 2],
    /// What `time` and the living tasks' was when `cpuacct.usage` was set to 0.
    pub time_base: [AtomicU64; 2],
    /// Owners and modes that were changed.
    pub attributes: Attributes,
}

/// So many children are compared under their lock.
const LOOKED_AT: usize = 32;
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

impl Drop for Cgroup {
    /// Lets go of the groups above one by one: a tree may be deeper than a stack, and an open file of its lowest group may be the last that
    /// holds all of them.
    fn drop(&mut self) {
        let mut next = self.let_go();
        while let Some(parent) = next {
            next = KArc::try_unwrap(parent).ok().and_then(|mut group| group.let_go());
        }
    }
}

impl Cgroup {
    /// A group without children, not yet in its parent's list. ENOMEM.
    pub fn try_new(root: KArc<Hierarchy>, parent: Option<KArc<Cgroup>>, name: &[u8]) -> Result<KArc<Cgroup>, AllocError> {
        let level = parent.as_ref().map_or(0, |p| p.level + 1);
        let cpuset = CpusetState::of_new(parent.as_deref());
        let name = KVec::try_from_slice(name)?;
        KArc::try_new(Cgroup {
            pressure: Pressure::new(),
            id: NEXT_ID.fetch_add(1, Relaxed),
            root,
            level,
            name: SpinLock::new(lock_class!("cgroup_name"), name),
            children: SpinLock::new(lock_class!("cgroup_children"), KVec::new()),
            descendants: AtomicUsize::new(0),
            dead: AtomicBool::new(false),
            own: AtomicUsize::new(0),
            live: AtomicUsize::new(0),
            frozen: AtomicUsize::new(0),
            pids: AtomicI64::new(0),
            subtree_control: AtomicU32::new(0),
            threaded: AtomicBool::new(false),
            threaded_children: AtomicU32::new(0),
            max_depth: AtomicI32::new(i32::MAX),
            max_descendants: AtomicI32::new(i32::MAX),
            notify_on_release: AtomicBool::new(parent.as_ref().is_some_and(|p| p.notify_on_release.load(Relaxed))),
            clone_children: AtomicBool::new(parent.as_ref().is_some_and(|p| p.clone_children.load(Relaxed))),
            released: AtomicBool::new(false),
            freeze: AtomicBool::new(false),
            pids_max: AtomicI64::new(i64::MAX),
            pids_peak: AtomicI64::new(0),
            pids_events: AtomicU64::new(0),
            cpuset: SpinLock::new(lock_class!("cpuset"), cpuset),
            cpu: spin::Once::new(),
            events: Changes::new(),
            shown: [const { AtomicBool::new(false) }; 2],
            pids_changes: Changes::new(),
            partition_changes: Changes::new(),
            time: [const { AtomicU64::new(0) }; 2],
            time_seen: [const { AtomicU64::new(0) }; 2],
            time_base: [const { AtomicU64::new(0) }; 2],
            attributes: Attributes::new(),
            parent,
        })
    }

    /// Ends what must not outlive the group above, and lets go of that.
    fn let_go(&mut self) -> Option<KArc<Cgroup>> {
        self.pressure = Pressure::new();
        self.cpu = spin::Once::new();
        self.parent.take()
    }

    /// Whether it was removed.
    pub fn is_dead(&self) -> bool {
        self.dead.load(Acquire)
    }

    /// Whether it is the root of its tree.
    pub fn is_root(&self) -> bool {
        self.parent.is_none()
    }

    /// It and all above it, nearest first.
    pub fn ancestors(&self) -> impl Iterator<Item = &Cgroup> {
        core::iter::successors(Some(self), |g| g.parent.as_deref())
    }

    /// Whether it is `top` or below it.
    pub fn is_within(&self, top: &Cgroup) -> bool {
        self.ancestors().any(|g| core::ptr::eq(g, top))
    }

    /// Whether files of `controller` are in it.
    pub fn has(&self, controller: Controller) -> bool {
        self.controls() & controller.bit() != 0
    }

    /// Its controllers (Linux: cgroup_control; for version 1 all that its tree has).
    pub fn controls(&self) -> u32 {
        match &self.parent {
            Some(parent) if self.root.is_v2() => parent.subtree_control.load(Relaxed),
            _ => self.root.mask.load(Relaxed),
        }
    }

    /// The nearest group from it up that has `controller`; the root of its tree has it in any case.
    pub fn effective(&self, controller: Controller) -> &Cgroup {
        self.ancestors().find(|g| g.is_root() || g.has(controller)).unwrap_or(self)
    }

    /// Calls `f` with its name.
    pub fn with_name<R>(&self, f: impl FnOnce(&[u8]) -> R) -> R {
        f(&self.name.lock())
    }

    /// Gives it another name; the old one is returned, to be freed outside of locks.
    pub fn set_name(&self, name: KVec<u8>) -> KVec<u8> {
        core::mem::replace(&mut *self.name.lock(), name)
    }

    /// Writes its path. ENAMETOOLONG: it has PATH_MAX bytes or more.
    pub fn put_path(&self, out: &mut SeqBuf) -> Result<(), Errno> {
        let start = out.len();
        let most = start.saturating_add(PATH_MAX);
        // The way up is the one that there is: back to front.
        for group in self.ancestors().filter(|g| !g.is_root()) {
            group.with_name(|name| name.iter().rev().for_each(|byte| out.put_byte(*byte)));
            out.put_byte(b'/');
            if out.len() >= most {
                return Err(Errno::ENAMETOOLONG);
            }
        }
        if out.len() == start {
            out.put_byte(b'/');
        }
        out.reverse_from(start);
        Ok(())
    }

    /// The child called `name`.
    pub fn child(&self, name: &[u8]) -> Option<KArc<Cgroup>> {
        let mut from = 0;
        loop {
            // Some at a time: there may be thousands, and preemption is off.
            let children = self.children.lock();
            let rest = children.get(children.partition_point(|c| c.id < from)..).unwrap_or_default();
            let some = rest.get(..LOOKED_AT).unwrap_or(rest);
            if let Some(found) = some.iter().find(|c| c.with_name(|n| n == name)) {
                return Some(found.clone());
            }
            from = some.last()?.id + 1;
        }
    }

    /// The first child with an id of at least `from`.
    pub fn child_from(&self, from: u64) -> Option<KArc<Cgroup>> {
        let children = self.children.lock();
        children.get(children.partition_point(|c| c.id < from)).cloned()
    }

    /// Its children, by rising id.
    pub fn children(&self) -> impl Iterator<Item = KArc<Cgroup>> {
        let mut from = 0;
        core::iter::from_fn(move || {
            let child = self.child_from(from)?;
            from = child.id + 1;
            Some(child)
        })
    }

    /// How many children it has.
    pub fn nr_children(&self) -> usize {
        self.children.lock().len()
    }

    /// How many groups are below it, at any depth.
    pub fn nr_descendants(&self) -> usize {
        self.descendants.load(Relaxed)
    }

    /// Adds a child. ENOMEM. The trees are locked.
    pub fn add_child(&self, child: KArc<Cgroup>) -> Result<(), AllocError> {
        self.children.lock().try_push(child)?;
        self.ancestors().for_each(|g| _ = g.descendants.fetch_add(1, Relaxed));
        Ok(())
    }

    /// Takes a child out, which has none itself, and marks it dead. The trees are locked.
    pub fn remove_child(&self, child: &Cgroup) -> Option<KArc<Cgroup>> {
        child.dead.store(true, Release);
        let mut children = self.children.lock();
        // They are in the order of their numbers.
        let at = children.partition_point(|c| c.id < child.id);
        let removed = children.get(at).is_some_and(|c| core::ptr::eq(&**c, child)).then(|| children.remove(at))??;
        drop(children);
        self.ancestors().for_each(|g| _ = g.descendants.fetch_sub(1, Relaxed));
        Some(removed)
    }

    /// The group after `at` in the tree below `top`, parents first; `None` behind the last. Start with `at` = `top`. The trees are
    /// locked.
    pub fn next_below(at: &KArc<Cgroup>, top: &KArc<Cgroup>) -> Option<KArc<Cgroup>> {
        at.child_from(0).or_else(|| Cgroup::next_beside(at, top))
    }

    /// The same, but none of those below `at`.
    pub fn next_beside(at: &KArc<Cgroup>, top: &KArc<Cgroup>) -> Option<KArc<Cgroup>> {
        let mut at = at.clone();
        while !KArc::ptr_eq(&at, top) {
            let parent = at.parent.clone()?;
            if let Some(sibling) = parent.child_from(at.id + 1) {
                return Some(sibling);
            }
            at = parent;
        }
        None
    }

    /// Calls `f` for `top` and every group below it, parents first. The trees are locked.
    pub fn for_each(top: &KArc<Cgroup>, mut f: impl FnMut(&KArc<Cgroup>)) {
        let mut at = Some(top.clone());
        while let Some(group) = at {
            f(&group);
            at = Cgroup::next_below(&group, top);
        }
    }

    /// Whether tasks are in it itself.
    pub fn has_tasks(&self) -> bool {
        self.own.load(Relaxed) != 0
    }

    /// Whether tasks are in it or below.
    pub fn is_populated(&self) -> bool {
        self.live.load(Acquire) != 0
    }

    /// A living task comes, or (`false`) is one no more.
    pub fn count_task(&self, comes: bool, frozen: bool) {
        let change = |n: &AtomicUsize| {
            if comes {
                n.fetch_add(1, AcqRel)
            } else {
                n.fetch_sub(1, AcqRel)
            };
        };
        change(&self.own);
        for group in self.ancestors() {
            change(&group.live);
            if frozen {
                change(&group.frozen);
            }
            group.tell_events();
        }
        if !comes {
            release::look(self);
        }
    }

    /// Tells who polls `cgroup.events` if it shows something else now.
    pub fn tell_events(&self) {
        let now = [self.is_populated(), freezer::is_frozen(self)];
        let before = [0, 1].map(|i: usize| self.shown[i].swap(now[i], AcqRel));
        if before != now {
            self.events.tell();
        }
    }

    /// A living task of it stands still, or (`false`) goes on.
    pub fn count_frozen(&self, stands: bool) {
        for group in self.ancestors() {
            if stands {
                group.frozen.fetch_add(1, AcqRel)
            } else {
                group.frozen.fetch_sub(1, AcqRel)
            };
            group.tell_events();
        }
    }

    /// A number is given back, or (`true`) taken without asking for a limit.
    pub fn charge_pid(&self, takes: bool) {
        for group in self.ancestors() {
            let n = group.pids.fetch_add(if takes { 1 } else { -1 }, AcqRel);
            if takes {
                group.pids_peak.fetch_max(n + 1, Relaxed);
            }
        }
    }

    /// Adds CPU time to it and all above.
    pub fn add_time(&self, time: [u64; 2]) {
        for group in self.ancestors() {
            for (total, spent) in group.time.iter().zip(time) {
                total.fetch_add(spent, Relaxed);
            }
        }
    }

    /// Whether it, or a group above it, was told to freeze.
    pub fn is_freezing(&self) -> bool {
        self.ancestors().any(|g| g.freeze.load(SeqCst))
    }

    /// The group whose domain it belongs to (Linux: dom_cgrp).
    pub fn domain(&self) -> &Cgroup {
        self.ancestors().find(|g| !g.threaded.load(Relaxed)).unwrap_or(self)
    }

    /// Whether it has threaded children, or threads of its own that compete with children (Linux: cgroup_is_thread_root).
    fn is_thread_root(&self) -> bool {
        !self.threaded.load(Relaxed)
            && (self.threaded_children.load(Relaxed) != 0 || self.has_tasks() && self.subtree_control.load(Relaxed) != 0)
    }

    /// Whether it can host what is not bound to threads (Linux: cgroup_is_valid_domain).
    pub fn is_valid_domain(&self) -> bool {
        if self.threaded.load(Relaxed) {
            return false;
        }
        // The root may compete with its children.
        self.ancestors().skip(1).all(|g| (g.is_root() || !g.is_thread_root()) && !g.threaded.load(Relaxed))
    }

    /// Whether threads of its own may compete with its children (Linux: cgroup_can_be_thread_root; all controllers are threaded).
    pub fn can_be_thread_root(&self) -> bool {
        let domain = |c: &Cgroup| !c.threaded.load(Relaxed) && c.is_populated();
        self.is_root() || !self.threaded.load(Relaxed) && !self.children().any(|c| domain(&c))
    }

    /// Whether tasks of its own and children with controllers go together (version 2; Linux: the no-internal-process rule).
    pub fn may_compete(&self) -> bool {
        self.threaded.load(Relaxed) || self.can_be_thread_root()
    }

    /// `cgroup.type`
    pub fn kind(&self) -> &'static str {
        if self.threaded.load(Relaxed) {
            "threaded"
        } else if !self.is_valid_domain() {
            "domain invalid"
        } else if self.is_thread_root() {
            "domain threaded"
        } else {
            "domain"
        }
    }
}
