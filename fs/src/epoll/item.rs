//! One file that an epoll watches (Linux: struct epitem).

use super::Epoll;
use super::ready::Links;
use crate::vfs::file::File;
use crate::vfs::poll::{PollSink, PollTable};
use core::pin::Pin;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};
use vigil_abi::Errno;
use vigil_abi::poll::{EPOLLERR, EPOLLET, EPOLLEXCLUSIVE, EPOLLHUP, EPOLLIN, EPOLLONESHOT, EPOLLOUT, EPOLLWAKEUP, EpollEvent};
use vigil_executor::sync::{LockClass, SpinLock};
use vigil_executor::wait::{Register, WaitNode, WaitQueue};
use vigil_mem::{KArc, KBox, KVec, KWeak};

/// How an item behaves, beside what it waits for.
pub(super) const PRIVATE: u32 = EPOLLWAKEUP | EPOLLONESHOT | EPOLLET | EPOLLEXCLUSIVE;

/// One watched file.
pub struct Item {
    epoll: *const Epoll,
    owner: KWeak<Epoll>,
    file: KWeak<File>,
    /// The file's address and the descriptor that it was added by.
    pub(super) key: (usize, i32),
    events: AtomicU32,
    data: AtomicU64,
    /// Guarded by the lock of the epoll's ready list.
    pub(super) links: Links,
    nodes: SpinLock<Nodes>,
}

// SAFETY: `epoll` is only used by the nodes' callbacks, and each node is out of its queue before the epoll goes (`detach` in
// its drop); `links` is guarded as it says; everything else is `Send + Sync`.
unsafe impl Send for Item {}
// SAFETY: as above.
unsafe impl Sync for Item {}

static CLASS: LockClass = LockClass::new("epoll_nodes");

struct Nodes {
    list: KVec<Pin<KBox<Node>>>,
    /// The item is being taken apart: no node is entered any more.
    detached: bool,
}

/// A node in one wait queue of the file.
#[repr(C)]
struct Node {
    /// First, so that the node is found from it.
    wait: WaitNode,
    item: *const Item,
}

// SAFETY: `item` is only used by the callback, while the item owns the node or holds it for entry.
unsafe impl Send for Node {}
// SAFETY: as above.
unsafe impl Sync for Node {}

/// The name of a watched file within an epoll.
pub(super) fn key_of(file: &KArc<File>, fd: i32) -> (usize, i32) {
    (KArc::as_ptr(file).addr(), fd)
}

impl Item {
    pub(super) fn try_new(epoll: &Epoll, fd: i32, file: &KArc<File>, event: EpollEvent) -> Result<KArc<Item>, Errno> {
        let item = KArc::try_new(Item {
            epoll,
            owner: epoll.this.clone(),
            file: KArc::downgrade(file),
            key: key_of(file, fd),
            events: AtomicU32::new(0),
            data: AtomicU64::new(0),
            links: Links::new(),
            nodes: SpinLock::new(&CLASS, Nodes { list: KVec::new(), detached: false }),
        })?;
        item.set(event);
        Ok(item)
    }

    /// What it waits for and how, from epoll_ctl: errors and hang-ups always.
    pub(super) fn set(&self, event: EpollEvent) {
        self.data.store(event.data, Relaxed);
        // Release, and Acquire where it is read: the word is that of these events.
        self.events.store(event.events | EPOLLERR | EPOLLHUP, Release);
    }

    /// What it waits for and how.
    pub(super) fn events(&self) -> u32 {
        self.events.load(Acquire)
    }

    /// The caller's word.
    pub(super) fn data(&self) -> u64 {
        self.data.load(Relaxed)
    }

    /// EPOLLONESHOT: nothing more until the next EPOLL_CTL_MOD. `false`, and nothing done, when there was one since it had `events`.
    pub(super) fn disable(&self, events: u32) -> bool {
        self.events.compare_exchange(events, events & PRIVATE, Acquire, Relaxed).is_ok()
    }

    /// What was disabled has not been given out: it has `events` again, unless there was an EPOLL_CTL_MOD.
    pub(super) fn enable(&self, events: u32) {
        let _ = self.events.compare_exchange(events & PRIVATE, events, Relaxed, Relaxed);
    }

    /// The file, unless its last reference has gone.
    pub(super) fn file(&self) -> Option<KArc<File>> {
        self.file.upgrade()
    }

    /// The epoll, unless its last reference has gone.
    pub(crate) fn epoll(&self) -> Option<KArc<Epoll>> {
        self.owner.upgrade()
    }

    /// What is ready now of `file`, which is the item's.
    pub(super) fn poll(&self, file: &File, table: &mut PollTable<'_>) -> u32 {
        file.ops().poll(file, table).bits()
    }

    /// Enters its nodes in the queues of `file`; what was ready then. ENOMEM: some nodes are entered.
    pub(super) fn attach(&self, file: &File) -> Result<u32, Errno> {
        let exclusive = self.events() & EPOLLEXCLUSIVE != 0;
        let how = if exclusive { Register::KeepExclusive } else { Register::Keep };
        let mut sink = Sink { item: self, how, nodes: KVec::new(), failed: false };
        let ready = self.poll(file, &mut PollTable::to(&mut sink));
        let Sink { nodes, failed, .. } = sink;
        let mut entered = self.nodes.lock();
        if entered.detached {
            // Dropped outside of the lock: they leave their queues.
            drop(entered);
            drop(nodes);
            return Ok(0);
        }
        entered.list = nodes;
        drop(entered);
        if failed { Err(Errno::ENOMEM) } else { Ok(ready) }
    }

    /// Takes its nodes out of their queues: when it returns, no wake is under way to it, and none will come.
    pub(crate) fn detach(&self) {
        let mut nodes = self.nodes.lock();
        nodes.detached = true;
        for node in nodes.list.iter() {
            // SAFETY: structural pinning of the field.
            let wait = unsafe { node.as_ref().map_unchecked(|node| &node.wait) };
            // SAFETY: nodes are registered before they are in the list, and unregistered here only, under the lock.
            unsafe { wait.unregister() };
        }
        let garbage = core::mem::take(&mut nodes.list);
        drop(nodes);
        drop(garbage);
    }
}

struct Sink<'i> {
    item: &'i Item,
    how: Register,
    nodes: KVec<Pin<KBox<Node>>>,
    failed: bool,
}

impl PollSink for Sink<'_> {
    fn add(&mut self, queue: &WaitQueue) {
        let node = KBox::try_pin(Node { wait: WaitNode::with_callback(woken), item: self.item });
        let (Ok(node), Ok(())) = (node, self.nodes.try_reserve(1)) else {
            self.failed = true;
            return;
        };
        // SAFETY: structural pinning of the field.
        let wait = unsafe { node.as_ref().map_unchecked(|node| &node.wait) };
        // SAFETY: the node is new. The queue belongs to the file, which takes its watchers' nodes out when it goes.
        unsafe { wait.register(queue, u32::MAX, self.how, None) };
        let _ = self.nodes.push_reserved(node);
    }

    fn fail(&mut self) {
        self.failed = true;
    }
}

/// A wake has come by: the item may be ready (Linux: ep_poll_callback). Says whether the wake was of use, for exclusive
/// nodes.
fn woken(wait: Pin<&WaitNode>, key: u32) -> bool {
    // SAFETY: every node with this callback is the first field of a `Node`; it is in a queue, so its item lives.
    let item = unsafe { &*(*core::ptr::from_ref(wait.get_ref()).cast::<Node>()).item };
    let events = item.events();
    // Disabled by EPOLLONESHOT, or a wake for others.
    if events & !PRIVATE == 0 || (key != 0 && key & events == 0) {
        return events & EPOLLEXCLUSIVE == 0;
    }
    // SAFETY: as above: the epoll takes the node out before it goes.
    let epoll = unsafe { &*item.epoll };
    epoll.ready.push_back(item);
    let somebody = epoll.wait.wake(0, 1) > 0;
    epoll.tell_parents();
    if events & EPOLLEXCLUSIVE == 0 {
        return true;
    }
    // Another epoll is asked if nobody waits at this one, or for something else.
    let both = EPOLLIN | EPOLLOUT;
    somebody && (key & both == 0 || key & both == both || key & both & events != 0)
}
