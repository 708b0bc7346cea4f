//! Lock classes and the lock dependency checker (Linux: lockdep).
//!
//! Every lock names its [`LockClass`]: the rule that holds for one lock of a kind holds for all. In debug builds each
//! acquisition notes "B was taken while A was held" once per pair of classes, and reports what could deadlock on
//! another day, although it went well today:
//!
//! - **inversion**: B is to be taken under A, but elsewhere A is (perhaps through others) taken under B;
//! - **recursion**: a lock of a class is taken while another of the same class is held by the same flow;
//! - **interrupt misuse**: a class is taken in a hard interrupt or a softirq, and also held with these on; or, by a chain, a
//!   lock of an interrupt-safe class waits for one that an interrupt may find held (Linux: irq-safe -> irq-unsafe);
//! - **sleeping in an atomic section**: something is awaited with preemption off, interrupts masked or a spinning lock held.
//!
//! A report names the places in the source of both ways. Spinning locks that are held live in the
//! [`Context`](crate::context::Context) of the flow; those that are held across awaits in a table by task. No allocation, fixed
//! tables. In release builds nothing of it is left: a class is then not even stored in its locks.

#[cfg(all(debug_assertions, not(loom)))]
mod check;
#[cfg(all(debug_assertions, not(loom)))]
mod graph;
#[cfg(all(debug_assertions, not(loom)))]
mod places;
#[cfg(all(debug_assertions, not(loom)))]
mod report;
#[cfg(all(debug_assertions, not(loom)))]
pub mod stat;
#[cfg(all(debug_assertions, not(loom)))]
mod tasks;
#[cfg(all(debug_assertions, not(loom)))]
pub use check::{assert_none_held, set_report_hook};
#[cfg(all(debug_assertions, not(loom)))]
pub use graph::{ClassInfo, MAX_CLASSES, Totals, for_each_class, totals};
#[cfg(all(debug_assertions, not(loom)))]
pub use report::{Kind, Report};

use crate::wait::WaitSite;
use core::sync::atomic::AtomicU32;

/// A kind of lock: all locks of one class obey one rule. A static; see [`lock_class!`](crate::lock_class).
#[derive(Debug)]
pub struct LockClass {
    pub(crate) name: &'static str,
    /// 1 + its index in the checker's table; 0 until its first use.
    #[cfg_attr(not(all(debug_assertions, not(loom))), allow(dead_code, reason = "only the checker reads it"))]
    pub(crate) id: AtomicU32,
    /// Locks of this class are held within each other.
    #[cfg_attr(not(all(debug_assertions, not(loom))), allow(dead_code, reason = "only the checker reads it"))]
    pub(crate) nests: bool,
}

impl LockClass {
    /// A class called `name`, as it appears in reports and in `docs/locking.md`.
    pub const fn new(name: &'static str) -> Self {
        LockClass { name, id: AtomicU32::new(0), nests: false }
    }

    /// A class whose locks are taken within each other, in an order that their users keep, such as parent before child (Linux:
    /// `inode_lock_nested`). That no lock is taken twice is checked all the same.
    pub const fn nesting(name: &'static str) -> Self {
        LockClass { name, id: AtomicU32::new(0), nests: true }
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        self.name
    }
}

/// A `&'static LockClass` of its own for the place where the macro stands: `SpinLock::new(lock_class!("rq"), ..)`.
#[macro_export]
macro_rules! lock_class {
    ($name:literal) => {{
        static CLASS: $crate::sync::LockClass = $crate::sync::LockClass::new($name);
        &CLASS
    }};
}

/// How a lock is being taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Acquire {
    /// It waits until it has it.
    Wait,
    /// As a reader that may share it with readers.
    Read,
    /// It does not wait, so it cannot close a circle.
    Try,
    /// As a reader, without waiting.
    TryRead,
}

/// The caller may wait by sleeping, at `site`, even if it need not this time: debug builds report it where that is forbidden
/// (Linux: might_sleep).
#[inline(always)]
pub fn might_sleep(site: &'static WaitSite) {
    #[cfg(all(debug_assertions, not(loom)))]
    check::might_wait(site.wchan, places::Place::of_site(site));
    #[cfg(not(all(debug_assertions, not(loom))))]
    let _ = site;
}

/// What a lock stores of its class: the class in debug builds, nothing in release builds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tracked {
    #[cfg(all(debug_assertions, not(loom)))]
    class: &'static LockClass,
}

/// When a lock was asked for that has to be waited for. Nothing in release builds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    #[cfg(all(debug_assertions, not(loom)))]
    at: u64,
}

impl Asked {
    #[inline(always)]
    pub(crate) fn now() -> Asked {
        Asked {
            #[cfg(all(debug_assertions, not(loom)))]
            at: crate::time::now(),
        }
    }
}

/// One entry in the flow's table of held locks; taken out when it drops. Nothing in release builds.
#[derive(Debug)]
#[must_use = "the lock counts as held while this lives"]
pub(crate) struct Held {
    #[cfg(all(debug_assertions, not(loom)))]
    addr: usize,
    /// Of its class the index, as a reader, since when: for the statistics.
    #[cfg(all(debug_assertions, not(loom)))]
    stay: core::cell::Cell<Option<(usize, bool, u64)>>,
}

#[cfg(all(debug_assertions, not(loom)))]
impl Held {
    /// Takes the lock: by `wait`, which is timed, if `at_once` finds that it has to be waited for.
    pub(crate) fn take<G>(&self, at_once: impl FnOnce() -> Option<G>, wait: impl FnOnce() -> G) -> G {
        let Some((class, reads, asked)) = self.stay.get() else { return wait() };
        let guard = match at_once() {
            Some(guard) => guard,
            None => {
                let guard = wait();
                stat::waited(class, reads, crate::time::now().saturating_sub(asked));
                guard
            }
        };
        self.stay.set(Some((class, reads, crate::time::now())));
        guard
    }
}

#[cfg(not(all(debug_assertions, not(loom))))]
impl Held {
    #[inline(always)]
    pub(crate) fn take<G>(&self, _at_once: impl FnOnce() -> Option<G>, wait: impl FnOnce() -> G) -> G {
        wait()
    }
}

#[cfg(all(debug_assertions, not(loom)))]
impl Drop for Held {
    fn drop(&mut self) {
        if let Some((class, reads, since)) = self.stay.get() {
            stat::held(class, reads, crate::time::now().saturating_sub(since));
        }
        check::release(self.addr);
    }
}

#[cfg(all(debug_assertions, not(loom)))]
impl Tracked {
    pub(crate) const fn new(class: &'static LockClass) -> Self {
        Tracked { class }
    }

    /// Before the lock at `addr` is taken.
    #[track_caller]
    pub(crate) fn acquire(&self, addr: *const (), how: Acquire) -> Held {
        self.acquire_as(self.class, addr, how)
    }

    /// As `acquire`, counted under `class` instead of the lock's own: for a second lock of the same kind.
    #[track_caller]
    pub(crate) fn acquire_as(&self, class: &'static LockClass, addr: *const (), how: Acquire) -> Held {
        check::acquire(class, addr as usize, how, core::panic::Location::caller());
        let reads = matches!(how, Acquire::Read | Acquire::TryRead);
        let stay = graph::index(class).map(|index| (index, reads, crate::time::now()));
        Held { addr: addr as usize, stay: core::cell::Cell::new(stay) }
    }

    /// The lock of a task at `addr` is about to be awaited at `site`: no spinning lock may be held (Linux: might_sleep).
    pub(crate) fn will_wait(&self, addr: *const (), reads: bool, site: &'static WaitSite) {
        tasks::will_wait(self.class, addr as usize, reads, places::Place::of_site(site));
    }

    /// The task has its lock, which it has waited for since `asked`.
    pub(crate) fn waited(&self, reads: bool, asked: Asked) {
        if let Some(index) = graph::index(self.class) {
            stat::waited(index, reads, crate::time::now().saturating_sub(asked.at));
        }
    }

    /// The task has its lock at `addr`.
    pub(crate) fn acquired(&self, addr: *const (), reads: bool, site: &'static WaitSite) {
        tasks::acquired(self.class, addr as usize, reads, places::Place::of_site(site));
    }

    /// The same, without having waited.
    #[track_caller]
    pub(crate) fn acquired_here(&self, addr: *const (), reads: bool) {
        tasks::acquired(self.class, addr as usize, reads, places::Place::of(core::panic::Location::caller()));
    }

    /// The task's lock at `addr` is about to be let go.
    pub(crate) fn released(&self, addr: *const ()) {
        tasks::released(addr as usize);
    }
}

#[cfg(not(all(debug_assertions, not(loom))))]
impl Tracked {
    pub(crate) const fn new(_class: &'static LockClass) -> Self {
        Tracked {}
    }

    #[inline(always)]
    pub(crate) fn acquire(&self, _addr: *const (), _how: Acquire) -> Held {
        Held {}
    }

    #[inline(always)]
    pub(crate) fn acquire_as(&self, _class: &'static LockClass, _addr: *const (), _how: Acquire) -> Held {
        Held {}
    }

    #[inline(always)]
    pub(crate) fn will_wait(&self, _addr: *const (), _reads: bool, _site: &'static WaitSite) {}

    #[inline(always)]
    pub(crate) fn waited(&self, _reads: bool, _asked: Asked) {}

    #[inline(always)]
    pub(crate) fn acquired(&self, _addr: *const (), _reads: bool, _site: &'static WaitSite) {}

    #[inline(always)]
    pub(crate) fn acquired_here(&self, _addr: *const (), _reads: bool) {}

    #[inline(always)]
    pub(crate) fn released(&self, _addr: *const ()) {}
}
