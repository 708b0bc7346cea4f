//! CPUs that come and go: who asks for it, and what the kernel does around the executor's part (Linux: kernel/cpu.c).
//!
//! A write to `/sys/devices/system/cpu/cpuN/online` is a [`Request`], which `cpuhp`, a kernel task, carries out, one at a time; the
//! writer waits. On the way out of a CPU:
//!
//! 1. no task is sent there any more, interrupts of devices go elsewhere, groups lose it (`cpuset`);
//! 2. its stop task sends away who is there, gives its lists of free memory back, and powers it off
//!    ([`vigil_executor::executor`], `hotplug.rs`);
//! 3. `cpuhp` takes over what it leaves: timers, RCU callbacks, softirqs.
//!
//! A CPU that has run before comes back where it went; one that has not (`maxcpus=`) starts as at boot.

use crate::arch::aarch64::{psci, smp as firmware};
use crate::cgroup::cpuset;
use crate::debug::watchdog;
use crate::task::kthread;
use crate::{pr_err, pr_info, smp};
use core::sync::atomic::{AtomicI32, Ordering::*};
use vigil_abi::Errno;
use vigil_abi::poll::POLLOUT;
use vigil_drivers::irq;
use vigil_executor::balance;
use vigil_executor::class::Params;
use vigil_executor::cpu::{CpuId, CpuMask, ONLINE};
use vigil_executor::executor;
use vigil_executor::lock_class;
use vigil_executor::softirq;
use vigil_executor::sync::SpinLock;
use vigil_executor::task::SpawnError;
use vigil_executor::time::{MSEC, Nanos, SEC, USEC, now};
use vigil_executor::timer::sleep_until;
use vigil_executor::wait::{WaitMode, WaitQueue};
use vigil_executor::wait_site;
use vigil_executor::work;
use vigil_fs::{OpResult, Stop};
use vigil_mem::KArc;

/// How often `cpuhp` looks whether a CPU has come or gone.
const LOOK: Nanos = 50 * USEC;

/// In [`Request::result`]: it is not over.
const OPEN: i32 = i32::MIN;

/// A CPU that should come or go.
pub struct Request {
    cpu: CpuId,
    up: bool,
    /// 0, an errno, or [`OPEN`].
    result: AtomicI32,
}

/// The one that `cpuhp` is at.
static CURRENT: SpinLock<Option<KArc<Request>>> = SpinLock::new(lock_class!("cpu_hotplug"), None);
static ASKED: WaitQueue = WaitQueue::new();
static DONE: WaitQueue = WaitQueue::new();

/// Starts `cpuhp`. Once, at boot.
pub fn start() -> Result<(), SpawnError> {
    kthread::spawn(cpuhp(), Params::DEFAULT, b"cpuhp", None)
}

/// Tasks may be sent to `cpu`, which is online; unless it is isolated, balancing counts it in.
pub fn activate(cpu: CpuId) {
    executor::activate(cpu);
    let isolated = crate::boot::info().is_some_and(|i| CpuMask(i.params.isolcpus).contains(cpu));
    if !isolated {
        balance::join(cpu);
    }
}

/// Makes `cpu` come (`up`) or go. `slot` is the caller's own, and empty at first: called again after each wait, this answers what came
/// of the one request. EBUSY: it cannot be spared. EIO, EINVAL: it does not come. ENOMEM.
pub fn change(slot: &SpinLock<Option<KArc<Request>>>, cpu: CpuId, up: bool) -> OpResult<'static, ()> {
    let mut mine = slot.lock();
    if let Some(request) = &*mine {
        let result = request.result.load(Acquire);
        if result == OPEN {
            return Err(Stop::Wait(&DONE, POLLOUT));
        }
        // One that a signal has kept its writer from waiting for may have been for something else.
        let same = (request.cpu, request.up) == (cpu, up);
        *mine = None;
        if same {
            return if result == 0 { Ok(()) } else { Err(Stop::Err(Errno::from_raw(result).unwrap_or(Errno::EIO))) };
        }
    }
    let request = KArc::try_new(Request { cpu, up, result: AtomicI32::new(OPEN) })?;
    let mut current = CURRENT.lock();
    if current.is_some() {
        drop(current);
        return Err(Stop::Wait(&DONE, POLLOUT));
    }
    if ONLINE.load().contains(cpu) == up {
        return Ok(());
    }
    *current = Some(request.clone());
    drop(current);
    *mine = Some(request);
    drop(mine);
    ASKED.wake_all();
    Err(Stop::Wait(&DONE, POLLOUT))
}

/// The life of `cpuhp`.
async fn cpuhp() {
    loop {
        let asked = || CURRENT.lock().clone();
        let Ok(request) = ASKED.wait_until(wait_site!("smpboot_thread_fn"), WaitMode::Interruptible, asked).await else { continue };
        while !smp::begin_transition() {
            let _ = sleep_until(wait_site!("cpuhp"), now().saturating_add(LOOK), 0, WaitMode::Uninterruptible).await;
        }
        let result = if request.up { bring_up(request.cpu).await } else { take_down(request.cpu).await };
        smp::end_transition();
        let done = CURRENT.lock().take();
        request.result.store(result.map_or_else(Errno::raw, |()| 0), Release);
        drop(done);
        DONE.wake_all();
    }
}

/// Waits until `ready`, for `limit` at most; whether it was.
async fn wait_for(limit: Nanos, ready: impl Fn() -> bool) -> bool {
    let end = now().saturating_add(limit);
    loop {
        if ready() {
            return true;
        }
        let t = now();
        if t >= end {
            return false;
        }
        let _ = sleep_until(wait_site!("cpuhp"), t.saturating_add(LOOK), 0, WaitMode::Uninterruptible).await;
    }
}

async fn take_down(cpu: CpuId) -> Result<(), Errno> {
    if !firmware::can_power_off(cpu) {
        return Err(Errno::EOPNOTSUPP);
    }
    executor::deactivate(cpu).map_err(|executor::Needed| Errno::EBUSY)?;
    irq::leave_cpu();
    cpuset::cpus_changed().await;
    executor::stop(cpu);
    // It goes when every other CPU has been seen out of what it was in: nothing that could fail, and no time to give up at.
    while !wait_for(SEC, || firmware::is_off(cpu)).await {}
    let begun = now();
    if wait_for(100 * MSEC, || psci::is_off(cpu)).await {
        pr_info!("psci: CPU{} killed (polled {} ms)", cpu.index(), now().saturating_sub(begun) / MSEC);
    } else {
        pr_err!("psci: CPU{} may not have shut down cleanly", cpu.index());
    }
    executor::take_over(cpu);
    softirq::take_over(cpu);
    Ok(())
}

/// Makes `cpu` come, at the caller's own transition. EINVAL: it cannot. EIO: it has not, in time.
pub(crate) async fn bring_up(cpu: CpuId) -> Result<(), Errno> {
    let info = crate::boot::info().ok_or(Errno::EINVAL)?;
    if let Err(why) = firmware::launch(cpu, info) {
        pr_err!("CPU{}: failed to come online: {why}", cpu.index());
        return Err(Errno::EINVAL);
    }
    let ready = || firmware::has_started(cpu) && ONLINE.load().contains(cpu);
    let begun = now();
    while !wait_for(5 * SEC, || ready() || firmware::is_refused(cpu)).await || !ready() {
        // One that has come is waited for longer: its host may be slow.
        if firmware::give_up(cpu) || now().saturating_sub(begun) > 60 * SEC {
            pr_err!("CPU{}: failed to come online", cpu.index());
            return Err(Errno::EIO);
        }
    }
    activate(cpu);
    if work::start_system().is_err() {
        pr_err!("CPU{}: no memory for its workers", cpu.index());
    }
    watchdog::start();
    cpuset::cpus_changed().await;
    Ok(())
}
