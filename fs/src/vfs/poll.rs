//! poll(2) and select(2): asking many files what is ready, and waiting for any of them (Linux: fs/select.c).
//!
//! A file's `poll` says what is ready now and gives its wait queues to the [`PollTable`]. The first scan registers a
//! node with each queue; a wake of any of them polls the task's future again, which scans anew.

use super::file::File;
use core::pin::Pin;
use vigil_abi::Errno;
use vigil_abi::poll::{POLLERR, POLLHUP, POLLIN, POLLNVAL, POLLOUT, POLLPRI, POLLRDHUP, POLLRDNORM, POLLWRNORM};
use vigil_executor::time::Nanos;
use vigil_executor::wait::{Register, WaitMode, WaitNode, WaitQueue, Waited};
use vigil_executor::wait_site;
use vigil_mem::{KArc, KBox, KVec};

bitflags::bitflags! {
    /// Poll bits, Linux's values.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct PollEvents: u32 {
        /// Something can be read.
        const IN = POLLIN;
        /// Something urgent can be read.
        const PRI = POLLPRI;
        /// Something can be written.
        const OUT = POLLOUT;
        /// An error; reported whether asked for or not.
        const ERR = POLLERR;
        /// The other end is gone; reported whether asked for or not.
        const HUP = POLLHUP;
        /// The descriptor is not open.
        const NVAL = POLLNVAL;
        /// As `IN`.
        const RDNORM = POLLRDNORM;
        /// As `OUT`.
        const WRNORM = POLLWRNORM;
        /// The other end writes no more.
        const RDHUP = POLLRDHUP;
        /// What a file without `poll` answers.
        const DEFAULT = POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM;
    }
}

/// Reported whether asked for or not.
pub const ALWAYS: u32 = POLLERR | POLLHUP | POLLNVAL;

/// Takes the queues that a file's `poll` names.
pub trait PollSink {
    /// `queue` is woken when something changes.
    fn add(&mut self, queue: &WaitQueue);

    /// A queue could not be named, for want of memory.
    fn fail(&mut self);
}

/// Given to a file's `poll`: collects its queues the first time, nothing later.
pub struct PollTable<'t>(Option<&'t mut dyn PollSink>);

impl<'t> PollTable<'t> {
    /// A table that only asks.
    pub const fn none() -> PollTable<'t> {
        PollTable(None)
    }

    /// A table that hands queues to `sink`.
    pub fn to(sink: &'t mut dyn PollSink) -> PollTable<'t> {
        PollTable(Some(sink))
    }

    /// Names a queue that tells of changes (Linux: poll_wait). Call it before looking at the state.
    #[inline]
    pub fn add(&mut self, queue: &WaitQueue) {
        if let Some(sink) = &mut self.0 {
            sink.add(queue);
        }
    }

    /// Says that a queue could not be named, for want of memory: whoever wants to wait gets ENOMEM.
    pub fn fail(&mut self) {
        if let Some(sink) = &mut self.0 {
            sink.fail();
        }
    }
}

/// One descriptor of a poll.
pub struct PollSlot {
    /// The file; `None` with `revents` as the caller set it (0 for a negative number, POLLNVAL for one not open).
    pub file: Option<KArc<File>>,
    /// What is asked for.
    pub events: u32,
    /// The answer.
    pub revents: u32,
}

/// What is ready now of what `events` asks for.
#[inline]
pub fn ready(file: &File, events: u32) -> u32 {
    file.ops().poll(file, &mut PollTable::none()).bits() & (events | ALWAYS)
}

/// Fills in the answers; returns how many are not empty.
#[inline]
pub fn try_poll(slots: &mut [PollSlot]) -> usize {
    scan(slots, &mut PollTable::none())
}

fn scan(slots: &mut [PollSlot], table: &mut PollTable<'_>) -> usize {
    let mut count = 0;
    for slot in slots {
        if let Some(file) = &slot.file {
            slot.revents = file.ops().poll(file, table).bits() & (slot.events | ALWAYS);
        }
        count += usize::from(slot.revents != 0);
    }
    count
}

/// The nodes of one poll. Each is in its own allocation: lists point at it.
struct Nodes {
    nodes: KVec<Pin<KBox<WaitNode>>>,
    waker: core::task::Waker,
    failed: bool,
}

impl PollSink for Nodes {
    fn add(&mut self, queue: &WaitQueue) {
        let Ok(node) = KBox::try_pin(WaitNode::new()) else {
            self.failed = true;
            return;
        };
        if self.nodes.try_reserve(1).is_err() {
            self.failed = true;
            return;
        }
        // SAFETY: the node is new. The queue belongs to a file that the slot, which outlives these nodes, holds.
        unsafe { node.as_ref().register(queue, u32::MAX, Register::Keep, Some(&self.waker)) };
        let _ = self.nodes.push_reserved(node);
    }

    fn fail(&mut self) {
        self.failed = true;
    }
}

/// Waits until something is ready, or until `deadline` (CLOCK_MONOTONIC; `None`: without end) by at most `slack`
/// nanoseconds more. Returns how many answers are not empty, 0 at the deadline. EINTR is the caller's reading of
/// ERESTARTNOHAND, which a signal gives. ENOMEM.
pub async fn poll(slots: &mut [PollSlot], deadline: Option<Nanos>, slack: Nanos) -> Result<usize, Errno> {
    let waker = core::future::poll_fn(|cx| core::task::Poll::Ready(cx.waker().clone())).await;
    let mut nodes = Nodes { nodes: KVec::new(), waker, failed: false };
    let ready = scan(slots, &mut PollTable::to(&mut nodes));
    if ready > 0 {
        return Ok(ready);
    }
    if nodes.failed {
        return Err(Errno::ENOMEM);
    }
    // Nobody wakes this queue: the nodes wake the task, and each wake looks again.
    let own = WaitQueue::new();
    let again = || match try_poll(slots) {
        0 => None,
        count => Some(count),
    };
    let waited = own.wait_until_deadline(wait_site!("do_sys_poll"), WaitMode::Interruptible, deadline, slack, again).await;
    // Out of the queues before the files can go.
    drop(nodes);
    match waited {
        Waited::Ready(count) => Ok(count),
        Waited::TimedOut => Ok(0),
        Waited::Interrupted => Err(Errno::ERESTARTNOHAND),
    }
}
