//! epoll(7): waiting for many files at the price of those that are ready (Linux: fs/eventpoll.c).
//!
//! ```text
//!   file's wait queue ─wake─► an item's node ─► on the ready list ─► wakes who waits in epoll_wait, or polls the epoll itself
//!   epoll_wait: takes an item off the list, asks its file what is ready, gives the event out, and, if it is level-triggered,
//!               puts the item back at the end
//! ```
//!
//! | file | what |
//! |---|---|
//! | [`item`] | one watched file; its nodes in the file's wait queues |
//! | [`ready`] | the list of items that may be ready |
//! | [`scan`] | epoll_wait |
//! | [`nest`] | epolls that watch epolls: no circles, no long chains |
//!
//! Locks: `epoll_items` (the set) and `epoll_nodes` (an item's nodes) are taken by tasks, neither inside the other;
//! `epoll_ready` is taken by wakes, under the lock of the queue that is woken. No lock is held while a file is polled.
//!
//! An item is in the epoll's set and in its file's list of watchers. Each side takes it apart when it goes first: by
//! [`Item::detach`], after which no wake reaches it.

pub mod item;
mod nest;
pub mod ready;
pub mod scan;
#[cfg(test)]
mod tests;

pub use item::Item;

use crate::anon::anon_file;
use crate::vfs::file::File;
use crate::vfs::ops::FileOps;
use crate::vfs::poll::{PollEvents, PollTable};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use item::key_of;
use ready::Ready;
use vigil_abi::Errno;
use vigil_abi::fcntl::O_RDWR;
use vigil_abi::poll::{
    EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD, EPOLLERR, EPOLLET, EPOLLEXCLUSIVE, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLWAKEUP, EpollEvent,
};
use vigil_executor::sync::{LockClass, SpinLock};
use vigil_executor::wait::WaitQueue;
use vigil_mem::{KArc, KVec, KWeak};

/// An epoll.
pub struct Epoll {
    this: KWeak<Epoll>,
    /// By [`Item::key`].
    items: SpinLock<KVec<KArc<Item>>>,
    ready: Ready,
    /// Who is in epoll_wait.
    wait: WaitQueue,
    /// Who polls the epoll itself.
    polled: WaitQueue,
    /// The epolls that watch this one.
    parents: SpinLock<KVec<KWeak<Epoll>>>,
    /// Where [`nest`] has been.
    mark: AtomicU64,
    /// More than that of any epoll that this one ever watched.
    level: AtomicU32,
}

static ITEMS: LockClass = LockClass::new("epoll_items");
static PARENTS: LockClass = LockClass::new("epoll_parents");
static WAIT: LockClass = LockClass::new("epoll_wait");
/// By the level of an epoll: a wake goes from what is watched up to who watches it.
static POLLED: [LockClass; nest::LEVELS] = [
    LockClass::new("epoll_polled"),
    LockClass::new("epoll_polled/2"),
    LockClass::new("epoll_polled/3"),
    LockClass::new("epoll_polled/4"),
    LockClass::new("epoll_polled/5"),
];

/// What may go with EPOLLEXCLUSIVE.
const EXCLUSIVE_OK: u32 = EPOLLIN | EPOLLOUT | EPOLLERR | EPOLLHUP | EPOLLWAKEUP | EPOLLET | EPOLLEXCLUSIVE;

/// epoll_create1(2): a new file. ENOMEM.
pub fn epoll() -> Result<KArc<File>, Errno> {
    let made = KArc::try_new_cyclic(|this| Epoll {
        this: this.clone(),
        items: SpinLock::new(&ITEMS, KVec::new()),
        ready: Ready::new(),
        wait: WaitQueue::with_class(&WAIT),
        polled: WaitQueue::with_class(&POLLED[0]),
        parents: SpinLock::new(&PARENTS, KVec::new()),
        mark: AtomicU64::new(0),
        level: AtomicU32::new(0),
    })?;
    anon_file(b"[eventpoll]", vigil_mem::unsize!(KArc, made => dyn FileOps), O_RDWR)
}

/// The epoll behind `file`. EINVAL if there is none.
pub fn of(file: &File) -> Result<&Epoll, Errno> {
    file.private().ok_or(Errno::EINVAL)
}

/// epoll_ctl(2) on `file`, an epoll's, about `target`, which is descriptor `fd`. EPERM for a file that cannot be polled,
/// EINVAL, EEXIST, ENOENT, ELOOP, ENOMEM.
pub async fn control(file: &KArc<File>, op: u32, fd: i32, target: &KArc<File>, event: EpollEvent) -> Result<(), Errno> {
    if !target.ops().can_poll() {
        return Err(Errno::EPERM);
    }
    let epoll = match of(file) {
        Ok(epoll) if !KArc::ptr_eq(file, target) => epoll,
        _ => return Err(Errno::EINVAL),
    };
    let exclusive = event.events & EPOLLEXCLUSIVE != 0;
    match op {
        EPOLL_CTL_ADD => {
            if exclusive && (of(target).is_ok() || event.events & !EXCLUSIVE_OK != 0) {
                return Err(Errno::EINVAL);
            }
            match of(target) {
                Ok(inner) => nest::add(epoll, inner, || epoll.add(fd, target, event)).await,
                Err(_) => epoll.add(fd, target, event),
            }
        }
        EPOLL_CTL_MOD if exclusive => Err(Errno::EINVAL),
        EPOLL_CTL_MOD => epoll.modify(fd, target, event),
        EPOLL_CTL_DEL => epoll.delete(fd, target),
        _ => Err(Errno::EINVAL),
    }
}

impl Epoll {
    fn add(&self, fd: i32, target: &KArc<File>, event: EpollEvent) -> Result<(), Errno> {
        let item = Item::try_new(self, fd, target, event)?;
        {
            let mut items = self.items.lock();
            match items.binary_search_by_key(&item.key, |known| known.key) {
                Ok(_) => return Err(Errno::EEXIST),
                Err(at) => items.try_insert(at, item.clone())?,
            }
        }
        // The file first: whoever closes it from here on takes the item out again.
        let watched = target.watch(&item).and_then(|()| item.attach(target));
        match watched {
            Ok(ready) => {
                if ready & item.events() != 0 {
                    self.make_ready(&item);
                }
                Ok(())
            }
            Err(errno) => {
                self.remove(&item);
                target.unwatch(&item);
                Err(errno)
            }
        }
    }

    fn find(&self, fd: i32, target: &KArc<File>) -> Result<KArc<Item>, Errno> {
        let items = self.items.lock();
        let at = items.binary_search_by_key(&key_of(target, fd), |known| known.key).map_err(|_| Errno::ENOENT)?;
        items.get(at).cloned().ok_or(Errno::ENOENT)
    }

    fn modify(&self, fd: i32, target: &KArc<File>, event: EpollEvent) -> Result<(), Errno> {
        let item = self.find(fd, target)?;
        if item.events() & EPOLLEXCLUSIVE != 0 {
            return Err(Errno::EINVAL);
        }
        item.set(event);
        // Events that came before the change are there still, and nobody will tell of them again.
        if item.poll(target, &mut PollTable::none()) & item.events() != 0 {
            self.make_ready(&item);
        }
        Ok(())
    }

    fn delete(&self, fd: i32, target: &KArc<File>) -> Result<(), Errno> {
        let item = self.find(fd, target)?;
        self.remove(&item);
        target.unwatch(&item);
        if let Ok(inner) = of(target) {
            inner.forget_parent(self);
        }
        Ok(())
    }

    /// Takes `item` out: no wake reaches it any more, and no scan.
    pub(crate) fn remove(&self, item: &KArc<Item>) {
        item.detach();
        let removed = {
            let mut items = self.items.lock();
            let at = items.binary_search_by_key(&item.key, |known| known.key).ok();
            at.filter(|&at| items.get(at).is_some_and(|known| KArc::ptr_eq(known, item))).and_then(|at| items.remove(at))
        };
        self.ready.unlink(item);
        drop(removed);
    }

    /// Puts `item` on the ready list, and tells those who wait.
    fn make_ready(&self, item: &Item) {
        self.ready.push_back(item);
        self.tell();
    }

    /// There is something on the ready list.
    fn tell(&self) {
        self.wait.wake(0, 1);
        self.tell_parents();
    }

    /// Who polls this epoll looks again.
    fn tell_parents(&self) {
        let level = (self.level.load(Relaxed) as usize).min(nest::LEVELS - 1);
        self.polled.wake_nested(EPOLLIN, 0, &POLLED[level]);
    }

    fn forget_parent(&self, parent: &Epoll) {
        let gone = {
            let mut parents = self.parents.lock();
            let at = parents.iter().position(|known| known.ptr_eq(&parent.this));
            at.and_then(|at| parents.swap_remove(at))
        };
        drop(gone);
    }
}

impl FileOps for Epoll {
    /// Readable when an item is ready. Items that turn out not to be go off the list.
    fn poll(&self, _: &File, table: &mut PollTable<'_>) -> PollEvents {
        table.add(&self.polled);
        while let Some(item) = self.ready.pop_front() {
            let Some(file) = item.file() else { continue };
            if item.poll(&file, &mut PollTable::none()) & item.events() != 0 {
                self.ready.push_front(&item);
                // It was off the list for a moment, in which somebody may have gone to sleep.
                self.wait.wake(0, 1);
                return PollEvents::IN | PollEvents::RDNORM;
            }
        }
        PollEvents::empty()
    }

    fn can_poll(&self) -> bool {
        true
    }

    fn llseek(&self, _: &File, pos: u64, _: i64, _: u32) -> Result<u64, Errno> {
        Ok(pos)
    }

    fn as_any(&self) -> Option<&dyn core::any::Any> {
        Some(self)
    }
}

impl Drop for Epoll {
    fn drop(&mut self) {
        loop {
            let Some(item) = self.items.lock().pop() else { break };
            item.detach();
            self.ready.unlink(&item);
            // A file that is going takes its list of watchers with it.
            if let Some(file) = item.file() {
                file.unwatch(&item);
                if let Ok(inner) = of(&file) {
                    inner.forget_parent(self);
                }
            }
        }
    }
}
