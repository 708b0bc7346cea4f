//! The per-CPU executor: inbox, run queue, stack pool, and the loop that joins them.
//!
//! ```text
//!   wake() ──push──► inbox ──drain──► run queue ──pick──► poll ──┬─ Pending: sleep, or requeue if woken meanwhile
//!   (any CPU,        (lock-free)      (rq lock, IRQs masked)     ├─ Ready: drop the future, DEAD, give the reference back
//!    any context)                                                └─ preempted in the middle: park (see `preempt`)
//! ```
//!
//! * [`push_runnable`], [`push_new`]: the wake side. Lock-free.
//! * [`run`]: the loop, in `run.rs`; its short ways, in `usual.rs`.
//! * [`pool`]: spare stacks.
//! * [`yield_now`], [`cond_resched`]: points at which a poll gives way by itself.
//! * `params.rs`: what a task is to its class, wherever it is.
//! * `group.rs`, `psi.rs`: groups of tasks, and sets that are watched.
//! * `hotplug.rs`: CPUs that come and go.
//!
//! The lock of a run queue is innermost in the lock order, and two of them are taken by ascending CPU. It is taken with
//! interrupts masked, held for one transition, and never while a future is polled or dropped.

mod affinity;
mod group;
mod hotplug;
mod params;
pub mod pool;
mod psi;
mod reserve;
mod rq_lock;
mod run;
mod told;
mod tuning;
mod usual;
mod yielding;

pub(crate) use affinity::elsewhere;
pub use affinity::{has_left, set_affinity};
pub use group::{Group, set_group};
pub use hotplug::{Needed, activate, come_online, deactivate, start_stopper, stop, take_over};
pub(crate) use params::{apply, apply_params};
pub use params::{effective_params, inherit, params, run_time, set_nice, set_params, with_entity};
pub use psi::{Psi, set_psi};
pub use reserve::{Refused, deadline, rt_bandwidth, set_deadline, set_rt_bandwidth, take_overrun};
pub(crate) use reserve::{forget as forget_reservation, give_back, lend, prepare as prepare_reservation, reserve};
pub(crate) use run::somebody_came;
pub use run::{Stopped, irq_exit, run};
#[cfg(target_os = "none")]
pub(crate) use run::{run_abandoned, run_handed_over, run_parked};
pub use tuning::{nr_migrate, set_nr_migrate, tunables, tune, with_queue};
pub(crate) use yielding::give_way;
pub use yielding::{YieldKind, YieldNow, cond_resched, yield_now};

use self::rq_lock::RqLock;
use crate::arch;
use crate::balance;
use crate::balance::spread::Periodic;
use crate::class::{Entity, Params, PickLimit, Rank, RunQueue};
use crate::coarse;
use crate::context::{Context, IrqGuard, MaskGuard, PreemptGuard};
use crate::cpu::{AtomicCpuMask, CpuId, MAX_CPUS, PerCpu, local, local_of};
use crate::idle_time::IdleTime;
use crate::inbox::{Drain, Inbox};
use crate::pending::{DUE_CHOICE, DUE_TICK, DUE_TIMERS, Pending, SHORT};
use crate::platform;
use crate::task::{Task, TaskRef};
use crate::time::{self, Nanos};
use crate::trace::{self, KEY_WAKE};
use core::cell::Cell;
use core::ptr::{NonNull, null};
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::*, fence};

/// What one CPU schedules with.
pub(crate) struct CpuExec {
    pub(crate) inbox: Inbox,
    pub(crate) rq: RqLock,
    pub(crate) pool: pool::StackPool,
    /// The task whose stack has just been left, to be put on the run queue by the loop on the new stack.
    #[cfg_attr(not(target_os = "none"), expect(dead_code, reason = "no stack is switched on a host"))]
    pub(crate) to_publish: Cell<*const Task>,
    /// The task for which a stack has just been left with the run queue locked.
    #[cfg_attr(not(target_os = "none"), expect(dead_code, reason = "no stack is switched on a host"))]
    pub(crate) handed_over: Cell<*const Task>,
    /// The stack that has just been left for good.
    pub(crate) to_free: Cell<*const Context>,
    /// For how long it has idled, and how many polls it has begun: statistics.
    pub(crate) idle: IdleTime,
    pub(crate) polls: AtomicU64,
    pub(crate) parks: AtomicU64,
    /// The rank of what runs, or was sent here to run at once: for other CPUs (Linux: cpupri).
    rank: AtomicU8,
    /// By when that is due, if it is of the deadline class (Linux: cpudl).
    deadline: AtomicU64,
    /// How much is to be done, while the queue is crowded: for other CPUs.
    nr: AtomicU32,
    weight: AtomicU64,
    /// One more than the CPU to which the current task should go; 0: none (Linux: push_cpu).
    send: AtomicU32,
    /// When it looks for lasting imbalance.
    pub(crate) periodic: Cell<Periodic>,
}

// SAFETY: the cells are touched only by their own CPU with interrupts masked; everything else is atomic or locked.
unsafe impl Sync for CpuExec {}

impl CpuExec {
    const fn new() -> Self {
        CpuExec {
            inbox: Inbox::new(),
            rq: RqLock::new(),
            pool: pool::StackPool::new(),
            to_publish: Cell::new(null()),
            handed_over: Cell::new(null()),
            to_free: Cell::new(null()),
            idle: IdleTime::new(),
            polls: AtomicU64::new(0),
            parks: AtomicU64::new(0),
            rank: AtomicU8::new(Rank::IDLE.0),
            deadline: AtomicU64::new(Nanos::MAX),
            nr: AtomicU32::new(0),
            weight: AtomicU64::new(0),
            send: AtomicU32::new(0),
            periodic: Cell::new(Periodic::NEW),
        }
    }

    /// This CPU's, as [`PerCpu::this`].
    #[inline(always)]
    pub(crate) fn this() -> &'static CpuExec {
        local().exec
    }

    /// A poll has ended. Its own CPU, interrupts masked: no read-modify-write.
    #[inline(always)]
    fn count_poll(&self) {
        self.polls.store(self.polls.load(Relaxed).wrapping_add(1), Relaxed);
    }
}

pub(crate) static EXEC: PerCpu<CpuExec> = PerCpu::new([const { CpuExec::new() }; MAX_CPUS]);

/// CPUs that wait for an interrupt, or are about to. A waker that sees its target here prefers it.
pub(crate) static IDLE: AtomicCpuMask = AtomicCpuMask::new();

/// Puts a task that its caller has just made runnable on the inbox of the CPU that suits it, and tells that CPU.
///
/// Called by [`Task::wake`] between the state transition and the end of its masked section. Whether this flow may have been asked to
/// give way.
#[inline(always)]
pub(crate) fn push_runnable(task: &Task, irq: &IrqGuard) -> bool {
    let here = CpuId::current();
    // That it may stay here is asked when it is taken in, in the lock under which that changes.
    if task.is_last_on(here) && IDLE.load().0 == 0 {
        push_here(task, here)
    } else {
        push_away(task, here, irq);
        true
    }
}

/// [`push_runnable`] in an interrupt, or in the executor's loop, which nobody asks to give way: they look at the inbox before they end
/// or choose. `false`, and nothing done, in a poll, and if the task may go to another CPU.
#[inline(always)]
pub(crate) fn push_unnoticed(task: &Task, _irq: &IrqGuard) -> bool {
    let local = local();
    let unnoticed = task.is_last_on(local.id) && IDLE.load().0 == 0 && Context::here().current().is_null();
    if unnoticed {
        local.exec.inbox.push_here(NonNull::from(task));
    }
    unnoticed
}

/// [`push_runnable`] when its last CPU is another one, or some idle.
#[inline(never)]
fn push_away(task: &Task, here: CpuId, irq: &IrqGuard) {
    push_to(task, balance::place_woken(task, here), here, irq);
}

/// Puts a task that has just been made on the inbox of the CPU that suits it. The choice takes some time: with interrupts on, if they were, but in
/// one section with the push, for a CPU that goes ([`hotplug`]).
pub(crate) fn push_new(task: &Task) {
    let _here = PreemptGuard::new();
    let here = CpuId::current();
    let cpu = balance::place_new(task, here);
    push_to(task, cpu, here, MaskGuard::new().irq());
}

/// Pushes `task` to `cpu`'s inbox. `here` is the current CPU.
#[inline]
pub(crate) fn push_to(task: &Task, cpu: CpuId, here: CpuId, _irq: &IrqGuard) {
    if cpu == here {
        push_here(task, here);
        return;
    }
    let exec = EXEC.of(cpu);
    if arch::is_traced::<KEY_WAKE>() {
        trace::tell(trace::Event::Woken(task, cpu));
    }
    if exec.inbox.push(NonNull::from(task))
        && let Some(p) = platform::get()
    {
        p.send_reschedule(cpu);
    }
}

/// Puts `task` on the inbox of `here`, this CPU. Interrupts masked. Whether this flow may have been asked to give way.
#[inline(always)]
fn push_here(task: &Task, here: CpuId) -> bool {
    CpuExec::this().inbox.push_here(NonNull::from(task));
    let ctx = Context::here();
    // Interrupts and the loop have no current task, and look at the inbox before they end or choose.
    // SAFETY: the current task is alive while it is current.
    let Some(current) = (unsafe { ctx.current().as_ref() }) else { return false };
    if !lets_lie(current, task, here) {
        ctx.set_need_resched();
    } else if balance::are_many() {
        balance::lies(task, here, ctx);
    }
    true
}

/// Whether `current` goes on before `task`, which has just been pushed here, whatever the queue holds: then it lies in the
/// inbox of `here` until the poll ends.
#[inline(always)]
fn lets_lie(current: &Task, task: &Task, here: CpuId) -> bool {
    // Whoever changes parameters or affinities looks at the inbox afterwards (`apply`, `set_affinity`): the fence is the other half.
    current.stays_before(task) && {
        fence(SeqCst);
        current.stays_before(task) && task.affinity().contains(here)
    }
}

/// Moves `arrivals`, taken from the inbox of `here`, this CPU, to its run queue, and calls `arrived` for each.
///
/// Interrupts are masked; `rq` is this CPU's, locked.
#[inline(always)]
pub(crate) fn take_in(
    arrivals: Drain,
    rq: &mut RunQueue,
    here: CpuId,
    now: Nanos,
    mut arrived: impl FnMut(&mut RunQueue, NonNull<Entity>),
) {
    for task in arrivals {
        // SAFETY: a queued task is alive: the executor's reference goes only after DEAD.
        let task = unsafe { task.as_ref() };
        if !is_at_home(task, here) && !arrives(rq, task, here) {
            continue;
        }
        let entity = task.entity_ptr();
        // SAFETY: the task is in no queue (it came from an inbox) and lives until it is dequeued.
        unsafe { rq.enqueue(entity, task.take_arrival(), now) };
        arrived(rq, entity);
    }
}

/// [`take_in`] of what this CPU has woken, while nothing is current. What an interrupt has woken, one after the other, mostly goes to the
/// queue in the same order: it is put together beside it, the last one first, as that is how it lies in the inbox.
#[inline(never)]
fn take_in_own(inbox: &Inbox, rq: &mut RunQueue, here: CpuId, now: Nanos) {
    let mut chain = rq.chain(now);
    let mut own = inbox.take_own();
    // SAFETY: as in `take_in`. Its address: at the end it may be gone, if it is not in the chain.
    let newest = own.peek().map(|task| unsafe { task.as_ref() }.entity_ptr());
    while let Some(task) = own.peek() {
        // SAFETY: as in `take_in`.
        let task = unsafe { task.as_ref() };
        // SAFETY: as in `take_in`.
        if !(task.is_woken_on(here) && task.affinity().contains(here) && unsafe { chain.put_first(task.entity_ptr()) }) {
            break;
        }
        own.pass(task);
    }
    take_in(own.rest(), rq, here, now, |_, _| {});
    if let Some(newest) = newest {
        // SAFETY: if anybody is there, it was the first to be put there.
        unsafe { rq.join_chain(chain, newest) };
    }
}

/// Takes the inbox of this CPU in and chooses what runs next; and says when the classes must be asked again. Nothing is current; interrupts are masked, `rq` is locked.
#[inline(always)]
fn choose(exec: &CpuExec, rq: &mut RunQueue, here: CpuId, now: Nanos) -> (Option<NonNull<Entity>>, Option<Nanos>) {
    // What sleeping and waking is made of: one has come, and nothing as urgent as it is runnable.
    if let Some(task) = usual::only_arrival(exec, here)
        && let Some(event) = usual::takes_cpu(exec, rq, here, task, now)
    {
        return (Some(task.entity_ptr()), event);
    }
    if exec.inbox.has_many_own() {
        take_in_own(&exec.inbox, rq, here, now);
    }
    take_in(exec.inbox.take(), rq, here, now, |_, _| {});
    let pending = &local().pending;
    let due = pending.take_due();
    if due & DUE_TICK != 0 {
        rq.tick(now);
    }
    if due & DUE_TIMERS != 0 {
        coarse::runs_again(here);
    }
    let next = if pending.any() & SHORT != 0 && is_short(exec, pending) { pick_short(rq, now) } else { rq.pick(PickLimit::Any, now) };
    (next, rq.next_event(now))
}

/// Whether stacks are still short. Who takes one says so.
#[cold]
#[inline(never)]
fn is_short(exec: &CpuExec, pending: &Pending) -> bool {
    let short = exec.pool.is_short();
    if !short {
        pending.take(SHORT);
    }
    short
}

/// The pick when stacks are short: of the fair class, what is parked; with nothing parked here the missing stacks are
/// elsewhere, and waiting for them could be for ever.
#[cold]
fn pick_short(rq: &mut RunQueue, now: Nanos) -> Option<NonNull<Entity>> {
    rq.pick(PickLimit::FairParkedOnly, now).or_else(|| rq.pick(PickLimit::Any, now))
}

/// Whether `task` was last on the queue of `here`, and may stay.
#[inline(always)]
pub(crate) fn is_at_home(task: &Task, here: CpuId) -> bool {
    task.is_last_on(here) && elsewhere(task, here).is_none()
}

/// A task has come that was on another CPU's queue, or may not be here: makes it this CPU's, or sends it on (`false`).
#[inline(never)]
fn arrives(rq: &mut RunQueue, task: &Task, here: CpuId) -> bool {
    // If it comes from another CPU, `with_entity` may still look at it under the lock of the queue that it was last on.
    let arrives = task.cpu() != here;
    if arrives {
        task.lock_move();
    }
    // The affinity may have changed after the waker had looked.
    let away = elsewhere(task, here);
    if away.is_none() {
        task.set_cpu(here);
    }
    if arrives {
        task.unlock_move();
    }
    if let Some(cpu) = away {
        if !arrives {
            // SAFETY: it is off this queue, on which it was last: it came from the inbox.
            unsafe { rq.detach(task.entity_ptr()) };
        }
        push_to(task, cpu, here, &IrqGuard::held());
    }
    away.is_none()
}

/// Makes `cpu` choose again: something but a wake has changed what it should run.
fn ask_for_choice(cpu: CpuId, _guard: &PreemptGuard) {
    local_of(cpu).pending.set(DUE_CHOICE);
    if cpu == CpuId::current() {
        Context::here().set_need_resched();
    } else if let Some(p) = platform::get() {
        p.send_reschedule(cpu);
    }
}

/// The number of runnable tasks on `cpu`, the current one included.
pub fn nr_running(cpu: CpuId) -> usize {
    EXEC.of(cpu).rq.lock_irq().nr_running()
}

/// Statistics of one CPU's executor since boot.
#[derive(Clone, Copy, Debug)]
pub struct CpuStat {
    /// Nanoseconds without a task.
    pub idle: Nanos,
    /// Nanoseconds that the CPU was not online.
    pub offline: Nanos,
    /// Polls begun.
    pub polls: u64,
    /// Polls parked in the middle.
    pub parks: u64,
    /// How long tasks have waited for it, ns in sum, and how often one got it.
    pub run_delay: Nanos,
    /// See there.
    pub switches: u64,
    /// Spare stacks in the pool now.
    pub spare_stacks: usize,
}

/// How often `cpu` has begun a poll or parked one, without a lock: it moves on while this grows. Any context.
pub fn moves(cpu: CpuId) -> u64 {
    let exec = EXEC.of(cpu);
    exec.polls.load(Relaxed).wrapping_add(exec.parks.load(Relaxed))
}

/// The statistics of `cpu`.
pub fn stat(cpu: CpuId) -> CpuStat {
    let exec = EXEC.of(cpu);
    let (run_delay, switches) = {
        let rq = exec.rq.lock_irq();
        (rq.run_delay(), rq.nr_switches())
    };
    CpuStat {
        idle: exec.idle.total(time::now),
        offline: hotplug::offline_time(cpu),
        polls: exec.polls.load(Relaxed),
        parks: exec.parks.load(Relaxed),
        run_delay,
        switches,
        spare_stacks: exec.pool.len(),
    }
}

/// Prepares this CPU's executor: `nr_cpus` scales the class's latencies. Before [`run`], on the CPU itself.
pub fn init_cpu(nr_cpus: usize) {
    let _irq = IrqGuard::new();
    // The stack that the loop begins on belongs to this CPU like its spares: `preempt` gives it back here one day.
    Context::here().set_home_cpu(CpuId::current().index() as u32);
    {
        let mut rq = CpuExec::this().rq.lock();
        rq.set_nr_cpus(nr_cpus);
        rq.set_cpu(CpuId::current().index());
        if nr_cpus > 1 {
            rq.note_averages(balance::averages(), &CpuExec::this().idle);
        }
    }
}

/// A reference to the task that is current in `cpu`'s run queue: for the tick's accounting and SysRq.
pub fn current_of(cpu: CpuId) -> Option<TaskRef> {
    let rq = EXEC.of(cpu).rq.lock_irq();
    // SAFETY: a task that is current in a queue is alive while the queue is locked.
    rq.current().map(|e| TaskRef::from_task(unsafe { Task::of_entity(e).as_ref() }))
}

/// The slice deadline of this CPU has passed (`timer::interrupt` said so): [`irq_exit`] asks the classes. Interrupts
/// masked.
pub fn slice_expired() {
    local().pending.set(DUE_TICK);
}
