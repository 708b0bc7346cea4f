//! Handlers that run in a task of their own (Linux: request_threaded_irq, `threadirqs`).
//!
//! ```text
//!   interrupt ─► primary handler: is it ours? quieten the device ─► WakeThread ─► irq/N-NAME, SCHED_FIFO 50 ─► function
//!                                    ONESHOT: the line is disabled here ─────────────────────► and enabled here
//! ```
//!
//! The thread is scheduled like every real-time task: what is more urgent comes first, `chrt` changes it. It runs on the CPUs to which the
//! line goes. Every thread of a shared ONESHOT line that was woken must be done before the line is on again: each has disabled it once.
//! Forced threading (the word `threadirqs`) makes such threads of all ordinary handlers, which still see interrupts masked.

use super::manage::{hang, line, unhang};
use super::{IrqAction, IrqFlags, IrqReturn, Virq, disable_hardirq, disable_irq_nosync, enable_irq};
use core::ptr::{from_ref, null};
use core::sync::atomic::{
    AtomicBool,
    Ordering::{Acquire, Relaxed, Release, SeqCst},
};
use vigil_abi::Errno;
use vigil_executor::arch;
use vigil_executor::class::Params;
use vigil_executor::cpu::{CpuId, CpuMask};
use vigil_executor::executor::{YieldKind, yield_now};
use vigil_executor::platform;
use vigil_executor::sync::Completion;
use vigil_executor::task::{self, Spawned};
use vigil_executor::wait::{WaitMode, WaitQueue};
use vigil_executor::wait_site;
use vigil_mem::KBox;

/// What a primary or a threaded handler is called with: the line, and what the driver gave.
pub type Handler = fn(Virq, *const ()) -> IrqReturn;

/// Threads of interrupts run at this real-time priority (Linux: MAX_RT_PRIO / 2).
const PRIORITY: u8 = 50;

/// Make a thread of each handler that does not refuse ([`IrqFlags::NO_THREAD`]).
static FORCED: AtomicBool = AtomicBool::new(false);

/// Those who wait for threads of a line; woken whenever one has done its work.
static DONE: WaitQueue = WaitQueue::new();

/// Handlers that are requested from now on run in threads (the word `threadirqs`).
pub fn force_threads() {
    FORCED.store(true, Relaxed);
}

/// Whether handlers run in threads.
pub fn threads_forced() -> bool {
    FORCED.load(Relaxed)
}

/// A handler with a thread. Made by [`request_threaded_irq`], gone after [`free_threaded_irq`].
pub struct IrqThread {
    action: IrqAction,
    virq: Virq,
    primary: Option<Handler>,
    function: Handler,
    dev: *const (),
    /// An ordinary handler whose thread this is.
    forced: bool,
    /// It was woken since it last looked.
    wanted: AtomicBool,
    /// It is at it, or about to look whether it is wanted.
    busy: AtomicBool,
    /// It shall end; no interrupt wakes it any more.
    stopping: AtomicBool,
    wait: WaitQueue,
    ended: Completion,
}

// SAFETY: `dev` is only passed on to the handlers, whose author promises in `request_threaded_irq` that any CPU may run them.
unsafe impl Send for IrqThread {}
// SAFETY: as above; the rest is shared by its types.
unsafe impl Sync for IrqThread {}

/// Puts a handler on line `virq` whose `function` runs in a thread called `irq/N-NAME`, at SCHED_FIFO 50. `primary` runs in the hard
/// interrupt and answers [`IrqReturn::WakeThread`] to have it run; without one every interrupt does.
///
/// Errors: as [`request_irq`](super::request_irq); EINVAL without both a primary handler and [`IrqFlags::ONESHOT`], because the line
/// would be raised again before the thread has come; ENOMEM. Not for interrupt context.
///
/// # Safety
/// Both handlers can be called with `dev` on any CPU from now on until [`free_threaded_irq`] has ended: `primary` in a hard interrupt,
/// `function` in a task.
pub unsafe fn request_threaded_irq(
    virq: Virq,
    name: &'static str,
    primary: Option<Handler>,
    function: Handler,
    dev: *const (),
    flags: IrqFlags,
) -> Result<&'static IrqThread, Errno> {
    if primary.is_none() && !flags.contains(IrqFlags::ONESHOT) {
        return Err(Errno::EINVAL);
    }
    make(virq, name, primary, function, dev, flags, false)
}

/// The same of an ordinary handler, for the word `threadirqs`.
pub(super) fn force(virq: Virq, action: &'static IrqAction) -> Result<(), Errno> {
    make(virq, action.name, None, action.handler, action.dev, action.flags | IrqFlags::ONESHOT, true).map(|_| ())
}

fn make(
    virq: Virq,
    name: &'static str,
    primary: Option<Handler>,
    function: Handler,
    dev: *const (),
    flags: IrqFlags,
    forced: bool,
) -> Result<&'static IrqThread, Errno> {
    // SAFETY: `enter` is called with the address of the thread's own structure, which is there until it is off the line.
    let action = unsafe { IrqAction::new(name, enter, null(), flags | IrqFlags::THREAD) };
    let made = IrqThread {
        action,
        virq,
        primary,
        function,
        dev,
        forced,
        wanted: AtomicBool::new(false),
        busy: AtomicBool::new(false),
        stopping: AtomicBool::new(false),
        wait: WaitQueue::new(),
        ended: Completion::new(),
    };
    let raw = KBox::into_raw(KBox::try_new(made).map_err(|_| Errno::ENOMEM)?);
    // SAFETY: nobody else has the address yet; afterwards it is only shared.
    let this: &'static IrqThread = unsafe {
        (*raw).action.dev = raw.cast_const().cast();
        &*raw
    };
    let spawned = Spawned::new(serve(this), Params::fifo(PRIORITY), &thread_name(virq, name), None, null());
    let result = spawned.map_err(|_| Errno::ENOMEM).and_then(|spawned| {
        hang(virq, &this.action)?;
        if let Some(platform) = platform::get() {
            platform.kernel_task(spawned.task());
        }
        drop(spawned.start());
        Ok(this)
    });
    if result.is_err() {
        // SAFETY: it is on no line, and its future has been dropped: this is the only user.
        drop(unsafe { KBox::from_raw(raw) });
    }
    result
}

/// Takes `thread` off its line and waits until it has ended; what it had begun it ends. Not in it.
pub async fn free_threaded_irq(thread: &'static IrqThread) {
    thread.stopping.store(true, Release);
    // What it ends with needs the line as it was.
    disable_hardirq(thread.virq);
    thread.wait.wake_all();
    thread.ended.wait(wait_site!("free_irq")).await;
    thread.unhang();
    // SAFETY: no interrupt and no thread uses it any more, and `make` took it out of a box.
    drop(unsafe { KBox::from_raw(from_ref(thread).cast_mut()) });
}

/// Takes the forced thread of `action` off line `virq`, if it has one; `false` if it has none. The thread ends when it gets to it; it runs
/// nothing any more when this returns.
pub(super) fn free_forced(virq: Virq, action: &'static IrqAction) -> bool {
    let Ok((d, _)) = line(virq) else { return false };
    let thread =
        d.handlers().filter_map(of_action).find(|t| t.forced && t.dev == action.dev && core::ptr::fn_addr_eq(t.function, action.handler));
    let Some(thread) = thread else { return false };
    thread.stopping.store(true, Release);
    disable_hardirq(virq);
    if thread.wanted.swap(false, SeqCst) {
        enable_irq(virq);
    }
    // It has interrupts masked: it is on another CPU.
    while thread.busy.load(SeqCst) {
        core::hint::spin_loop();
    }
    thread.unhang();
    thread.wait.wake_all();
    true
}

/// Waits until no thread of line `virq` has anything to do.
pub(super) async fn synchronize(virq: Virq) {
    let Ok((d, _)) = line(virq) else { return };
    let idle = || {
        // Under the lock none of them goes off the line.
        let _line = d.state.lock_irq();
        d.handlers().filter_map(of_action).all(IrqThread::is_idle).then_some(())
    };
    while DONE.wait_until(wait_site!("synchronize_irq"), WaitMode::Uninterruptible, idle).await.is_err() {}
}

impl IrqThread {
    /// Takes it off its line, which its caller has disabled: others that share it need it.
    fn unhang(&'static self) {
        unhang(self.virq, &self.action);
        if line(self.virq).is_ok_and(|(d, _)| d.handlers().next().is_some()) {
            enable_irq(self.virq);
        }
    }

    /// Runs the function, if it is wanted.
    fn work(&self) {
        self.busy.store(true, SeqCst);
        if self.wanted.swap(false, SeqCst) {
            (self.function)(self.virq, self.dev);
            if self.action.flags.contains(IrqFlags::ONESHOT) {
                enable_irq(self.virq);
            }
        }
        self.busy.store(false, SeqCst);
        DONE.wake_all();
    }

    /// Whether there is nothing for it to do. Who has said so is wanted no more once the line is off: `busy` is set before `wanted` is
    /// taken off, and read after it.
    fn is_idle(&self) -> bool {
        !self.wanted.load(SeqCst) && !self.busy.load(SeqCst)
    }
}

/// The thread of an action on a line, if it has one.
fn of_action(action: &'static IrqAction) -> Option<&'static IrqThread> {
    // SAFETY: threads, and only they, give their actions this flag and their own address.
    action.flags.contains(IrqFlags::THREAD).then(|| unsafe { &*action.dev.cast::<IrqThread>() })
}

/// The action's handler: in the hard interrupt.
fn enter(virq: Virq, dev: *const ()) -> IrqReturn {
    // SAFETY: `make` gave the action its own structure's address.
    let this = unsafe { &*dev.cast::<IrqThread>() };
    let result = this.primary.map_or(IrqReturn::WakeThread, |primary| primary(virq, this.dev));
    if result != IrqReturn::WakeThread {
        return result;
    }
    if !this.stopping.load(Acquire) && !this.wanted.swap(true, SeqCst) {
        if this.action.flags.contains(IrqFlags::ONESHOT) {
            disable_irq_nosync(virq);
        }
        this.wait.wake_all();
    }
    IrqReturn::Handled
}

/// The thread.
async fn serve(this: &'static IrqThread) {
    loop {
        let wanted = || (this.wanted.load(Acquire) || this.stopping.load(Acquire)).then_some(());
        let _ = this.wait.wait_until(wait_site!("irq_thread"), WaitMode::Interruptible, wanted).await;
        if !this.wanted.load(Acquire) && this.stopping.load(Acquire) {
            if let (Some(platform), Some(me)) = (platform::get(), task::current()) {
                platform.kernel_task_ends(me);
            }
            this.ended.complete();
            return;
        }
        follow(this.virq).await;
        if this.forced {
            arch::without_irqs(|| this.work());
        } else {
            this.work();
        }
    }
}

/// Goes where the line goes.
async fn follow(virq: Virq) {
    let Some(mask) = effective(virq) else { return };
    if let Some(me) = task::current()
        && me.affinity() != mask
        && me.set_affinity(mask)
        && mask.0 & CpuMask::of(CpuId::current()).0 == 0
    {
        yield_now(YieldKind::Preempted).await;
    }
}

fn effective(virq: Virq) -> Option<CpuMask> {
    let (d, _) = line(virq).ok()?;
    let mask = d.state.lock_irq().effective;
    (mask.0 != 0).then_some(mask)
}

/// `irq/13-uart-pl0`: what is longer than a task's name is cut.
fn thread_name(virq: Virq, name: &str) -> [u8; 15] {
    let mut bytes = *b"irq/\0\0\0\0\0\0\0\0\0\0\0";
    let n = virq.get();
    let digits = [n / 100 % 10, n / 10 % 10, n % 10].map(|d| b'0' + d as u8);
    let skip = if n >= 100 {
        0
    } else if n >= 10 {
        1
    } else {
        2
    };
    let text = digits[skip..].iter().chain(b"-").chain(name.as_bytes());
    for (to, from) in bytes[4..].iter_mut().zip(text) {
        *to = *from;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_called_as_on_linux() {
        let name = |n, name| thread_name(Virq::new(n).unwrap(), name);
        assert_eq!(&name(13, "uart-pl011"), b"irq/13-uart-pl0");
        assert_eq!(&name(7, "rtc"), b"irq/7-rtc\0\0\0\0\0\0");
        assert_eq!(&name(104, "x"), b"irq/104-x\0\0\0\0\0\0");
    }
}
