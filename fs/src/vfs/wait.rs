//! The generic loop: call an operation, await what it names, call again.

use super::ops::{OpResult, Stop};
use core::future::{Future, poll_fn};
use core::pin::{Pin, pin};
use vigil_abi::Errno;
use vigil_executor::class::Rank;
use vigil_executor::task;
use vigil_executor::time::{Nanos, USEC, now};
use vigil_executor::timer::sleep_until;
use vigil_executor::wait::{Interrupted, WaitMode, WaitQueue, WaitSite, Waiting};
use vigil_mem::{Fault, KBox};

/// In the key of [`Stop::Wait`]: wait exclusively. A wake of one then wakes only the first of such waiters, and the
/// operation wakes the next one if it leaves something for it.
pub const EXCLUSIVE: u32 = 1 << 31;

/// In the key of [`Stop::Wait`]: the file has a time limit of its own for this wait (SO_RCVTIMEO, SO_SNDTIMEO).
pub const TIMED: u32 = 1 << 30;

/// Nobody wakes this queue: a stop at it means "call again after others had a turn".
static AGAIN: WaitQueue = WaitQueue::new();

/// What an operation answers that can go on at once but has done enough for one poll, or that met a lock which only its
/// `async` form can wait for.
pub fn again() -> Stop<'static> {
    Stop::Wait(&AGAIN, 0)
}

/// Whether `queue` is that of [`again`]: there is nothing to wait for in it.
#[inline]
pub fn is_again(queue: &WaitQueue) -> bool {
    core::ptr::eq(queue, &AGAIN)
}

/// How user pages are brought in; the kernel's address-space code implements it, one static type.
pub trait Mem: Sync {
    /// Handles a page fault for `fault`; EFAULT if none can help, ERESTARTSYS-like for a fatal signal.
    fn fault_in(&self, fault: Fault) -> impl Future<Output = Result<(), Errno>> + Send;
}

/// For buffers in the kernel: there is nothing to bring in.
pub struct KernelMem;

impl Mem for KernelMem {
    async fn fault_in(&self, _: Fault) -> Result<(), Errno> {
        Err(Errno::EFAULT)
    }
}

/// Waits until what an operation met that answered [`again`] is out of the way; [`FileOps::obstacle`](super::ops::FileOps::obstacle).
pub type Obstacle<'a> = Pin<KBox<dyn Future<Output = ()> + Send + 'a>>;

/// Calls `op` until it completes. ERESTARTSYS if a signal of `mode` ends a wait; a fault is EFAULT.
pub async fn wait_for<'a, T, F>(site: &'static WaitSite, mode: WaitMode, op: F) -> Result<T, Errno>
where
    F: FnMut() -> OpResult<'a, T> + Send,
    T: Send,
{
    drive(site, mode, &KernelMem, op).await
}

/// As [`wait_for`], and has `mem` bring in the user pages at which `op` stops.
pub fn drive<'a, T, F, M>(site: &'static WaitSite, mode: WaitMode, mem: &M, op: F) -> impl Future<Output = Result<T, Errno>>
where
    F: FnMut() -> OpResult<'a, T> + Send,
    T: Send,
    M: Mem,
{
    drive_past(|| None, site, mode, mem, op)
}

/// As [`drive`], and waits for `obstacle` where `op` met it.
pub async fn drive_past<'a, T, F, M>(
    obstacle: impl Fn() -> Option<Obstacle<'a>> + Send,
    site: &'static WaitSite,
    mode: WaitMode,
    mem: &M,
    mut op: F,
) -> Result<T, Errno>
where
    F: FnMut() -> OpResult<'a, T> + Send,
    T: Send,
    M: Mem,
{
    let mut result = op();
    let mut turns = 0u32;
    loop {
        let (queue, key) = match result {
            Ok(value) => return Ok(value),
            Err(Stop::Err(errno)) => return Err(errno),
            Err(Stop::Fault { addr, write }) => {
                mem.fault_in(Fault { addr, write }).await?;
                result = op();
                continue;
            }
            Err(Stop::Wait(queue, _)) if is_again(queue) => {
                match obstacle() {
                    Some(obstacle) => obstacle.await,
                    None => yield_once().await,
                }
                if turns >= TURNS && is_urgent() {
                    // Whoever is in the way may be less urgent than the caller: then a yield gives him nothing. Nor does an obstacle
                    // that is another one.
                    let _ = sleep_until(site, now().saturating_add(PAUSE), 0, WaitMode::Uninterruptible).await;
                }
                turns = turns.saturating_add(1);
                result = op();
                continue;
            }
            Err(Stop::Wait(queue, key)) => (queue, key),
        };
        let mut again = || match op() {
            Err(Stop::Wait(same, _)) if core::ptr::eq(same, queue) => None,
            other => Some(other),
        };
        let mut waiting = pin!(Waiting::after_look(queue, site, mode, key & EXCLUSIVE != 0));
        result = match poll_fn(|cx| waiting.as_mut().poll_until(cx, &mut again)).await {
            Ok(next) => next,
            Err(Interrupted) => return Err(Errno::ERESTARTSYS),
        };
    }
}

/// Whether the caller outranks tasks of the fair class.
fn is_urgent() -> bool {
    task::current().is_some_and(|task| task.rank().outranks(Rank::FAIR))
}

/// So often an operation of an urgent task that met an obstacle is tried again at once,
const TURNS: u32 = 4;
/// and then after so long.
const PAUSE: Nanos = 50 * USEC;

/// Lets the executor run others once.
async fn yield_once() {
    let mut yielded = false;
    poll_fn(|cx| {
        if core::mem::replace(&mut yielded, true) {
            return core::task::Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        core::task::Poll::Pending
    })
    .await;
}
