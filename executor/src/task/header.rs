//! The task header.

use super::reaper;
use super::state::{State, Wake};
use crate::atomic;
use crate::class::{Enqueue, Entity, Params, Policy, Rank};
use crate::context::{Context, IrqGuard, MaskGuard};
use crate::cpu::{CpuId, CpuMask};
use crate::wait::{Stages, WaitMode, WaitSite};
use alloc::alloc::dealloc;
use core::alloc::Layout;
use core::cell::UnsafeCell;
use core::mem::offset_of;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering::*};
use core::task::{Context as PollContext, Poll};

/// A signal is pending: ends interruptible waits.
pub const INTERRUPT_SIGNAL: u32 = 1;
/// A fatal signal is pending: ends killable and interruptible waits.
pub const INTERRUPT_KILL: u32 = 2;

/// What the kernel wants to happen when the executor enters or leaves a task, a park and a resume included.
/// Both run with interrupts masked and may not block. They are plain functions, because the executor knows nothing of
/// address spaces or FP registers.
#[derive(Debug)]
pub struct Hooks {
    /// Before the task's frames run: restore TTBR0/ASID, SP_EL0, TPIDR_EL0 and the FP owner.
    pub switch_in: fn(&Task),
    /// After they have stopped: save dirty FP state and thread registers.
    pub switch_out: fn(&Task),
}

/// The upper half of `Task::place`: it was never on a queue. Nothing there: it was woken.
const ARRIVE_NEW: u64 = 1 << 32;
/// It was taken off another queue.
const ARRIVE_MIGRATED: u64 = 2 << 32;

/// What depends on the type of a task's future.
pub(super) struct VTable {
    pub(super) poll: unsafe fn(NonNull<Task>, &mut PollContext<'_>) -> Poll<()>,
    pub(super) drop_future: unsafe fn(NonNull<Task>),
    /// Of header and future together.
    pub(super) layout: Layout,
}

/// The header of every task. Its address is its identity: it never moves.
#[repr(C)]
pub struct Task {
    pub(crate) state: State,
    refs: AtomicU32,
    /// The link of the inbox, and later of the reaper's list. Owned by whoever set NOTIFIED on an idle task.
    pub(crate) link: AtomicPtr<Task>,
    vtable: &'static VTable,
    /// The CPU on whose queue it is, or last was, and why it comes to a run queue next (`ARRIVE_*`): together, as who comes home is
    /// asked for both. Written by its maker, by whoever took it off a queue, and by its enqueuer, one after the other.
    place: AtomicU64,
    /// Taken while its run queue changes, and by those who look at its entity: inside a run queue's lock, a leaf.
    moving: AtomicBool,
    interrupt: atomic::AtomicU32,
    affinity: AtomicU64,
    /// Its rank, as a waker on its CPU may read it without the queue's lock, and [`URGENCY_STAYS`].
    pub(super) urgency: AtomicU32,
    /// The kernel's number for it, 0 while it has none, and below it whether it is also its process's: for tracers.
    pub(super) number: AtomicU32,
    /// The context block of the stack on which its poll is parked.
    pub(crate) parked_on: AtomicPtr<Context>,
    wait_site: AtomicPtr<WaitSite>,
    /// The mode of the wait; above its byte, how many of `stages` belong to it.
    pub(crate) wait_mode: atomic::AtomicU32,
    /// The way to the wait, see `wait::stage`.
    pub(crate) stages: Stages,
    /// Its part in priority inheritance; null while it has none.
    #[cfg(not(loom))]
    pub(crate) pi: AtomicPtr<crate::sync::rt_mutex::PiTask>,
    /// The kernel's own object (a thread), opaque here.
    owner: AtomicUsize,
    pub(super) hooks: Option<&'static Hooks>,
    name: [core::sync::atomic::AtomicU8; 16],
    /// The place in its class. Touched only under the lock of the run queue of `cpu`.
    // After all that is looked at on each poll: it is long, and near offsets take fewer instructions.
    pub(crate) entity: UnsafeCell<Entity>,
    #[cfg(feature = "stamps")]
    stamps: crate::stamps::TaskStamps,
}

// SAFETY: the entity is guarded by a run-queue lock, everything else is atomic or constant.
unsafe impl Sync for Task {}
// SAFETY: as above; the future inside is `Send` by `Spawned::new`'s bound.
unsafe impl Send for Task {}

/// In [`Task::urgency`]: it runs until it waits or is outranked; company at its rank changes nothing (SCHED_FIFO, stop).
const URGENCY_STAYS: u32 = 1 << 8;
/// Its policy is SCHED_IDLE.
pub(super) const URGENCY_IDLE: u32 = 1 << 9;
/// Where Linux's priority (`Params::prio`) is in [`Task::urgency`], for tracers.
pub(super) const URGENCY_PRIO_SHIFT: u32 = 16;

/// The rank, [`URGENCY_STAYS`] or [`URGENCY_IDLE`], and the priority.
fn urgency_of(params: &Params) -> u32 {
    let stays = matches!(params.policy, Policy::Fifo | Policy::Stop);
    let flags = (u32::from(stays) * URGENCY_STAYS) | (u32::from(params.policy == Policy::Idle) * URGENCY_IDLE);
    u32::from(params.rank().0) | flags | u32::from(params.prio() as u16) << URGENCY_PRIO_SHIFT
}

impl Task {
    /// The header of a new task: NOTIFIED, for whoever starts it pushes it.
    #[inline(always)]
    pub(super) fn new(params: Params, vtable: &'static VTable, hooks: Option<&'static Hooks>, owner: *const ()) -> Task {
        Task {
            state: State::new_notified(),
            // One for the `Spawned`, one for the executor until the task is dead.
            refs: AtomicU32::new(2),
            link: AtomicPtr::new(core::ptr::null_mut()),
            vtable,
            place: AtomicU64::new(CpuId::current().index() as u64 | ARRIVE_NEW),
            moving: AtomicBool::new(false),
            interrupt: atomic::AtomicU32::new(0),
            affinity: AtomicU64::new(CpuMask::ALL.0),
            urgency: AtomicU32::new(urgency_of(&params)),
            number: AtomicU32::new(0),
            entity: UnsafeCell::new(Entity::new(params)),
            parked_on: AtomicPtr::new(core::ptr::null_mut()),
            wait_site: AtomicPtr::new(core::ptr::null_mut()),
            wait_mode: atomic::AtomicU32::new(0),
            stages: Stages::new(),
            #[cfg(not(loom))]
            pi: AtomicPtr::new(core::ptr::null_mut()),
            owner: AtomicUsize::new(owner as usize),
            hooks,
            name: [const { core::sync::atomic::AtomicU8::new(0) }; 16],
            #[cfg(feature = "stamps")]
            stamps: crate::stamps::TaskStamps::default(),
        }
    }

    /// The task that contains `entity`.
    ///
    /// # Safety
    /// `entity` must be the entity of a live task.
    #[inline(always)]
    pub unsafe fn of_entity(entity: NonNull<Entity>) -> NonNull<Task> {
        // SAFETY: by the caller's contract the entity lies inside a task.
        unsafe { entity.byte_sub(offset_of!(Task, entity)).cast() }
    }

    /// Where the entity of a task at `address` would be: for comparison.
    pub(crate) fn entity_at(address: usize) -> *const Entity {
        core::ptr::without_provenance(address.wrapping_add(offset_of!(Task, entity)))
    }

    /// Its entity.
    #[inline(always)]
    pub(crate) fn entity_ptr(&self) -> NonNull<Entity> {
        // SAFETY: the address of a field is not null.
        unsafe { NonNull::new_unchecked(self.entity.get()) }
    }

    /// Makes it runnable, if it sleeps: any context, with locks held. See [`State::wake`].
    ///
    /// Between the bit and the push the task is in nobody's list: this flow must not be parked there (bug 2).
    #[inline]
    pub fn wake(&self) {
        let masked = MaskGuard::new();
        #[cfg(feature = "stamps")]
        let called = crate::arch::cycles();
        // What an interrupt does calls nothing that comes back here, and so saves no register for it.
        if !self.state.wake_sleeping() {
            return self.wake_busy(masked);
        }
        #[cfg(feature = "stamps")]
        self.stamps.note_wake(called);
        if !crate::executor::push_unnoticed(self, masked.irq()) {
            return self.push(masked);
        }
        masked.end_unwoken();
    }

    /// [`Task::wake`] of a task that was not asleep a moment ago.
    #[inline(never)]
    fn wake_busy(&self, masked: MaskGuard) {
        if !self.wake_masked(masked.irq()) {
            masked.end_unwoken();
        }
    }

    /// The rest of [`Task::wake`], when it is not an interrupt's of a task of this CPU.
    #[inline(never)]
    fn push(&self, masked: MaskGuard) {
        if !crate::executor::push_runnable(self, masked.irq()) {
            masked.end_unwoken();
        }
    }

    /// [`Task::wake`] by a flow that has interrupts masked: a wake function of a wait queue. Whoever unmasks them, or turns
    /// preemption on, gives way; he need not ask whether to do it if this says `false`.
    #[inline(always)]
    pub fn wake_in_lock(&self) -> bool {
        self.wake_masked(&IrqGuard::held())
    }

    #[inline(always)]
    fn wake_masked(&self, irq: &IrqGuard) -> bool {
        #[cfg(feature = "stamps")]
        let called = crate::arch::cycles();
        // What nearly every wake finds first, in fewer steps.
        if self.state.wake_sleeping() || self.state.wake() == Wake::Push {
            #[cfg(feature = "stamps")]
            self.stamps.note_wake(called);
            return crate::executor::push_runnable(self, irq);
        }
        false
    }

    /// Whether it is above the fair class now: its sleeps have no slack (Linux: rt_task).
    #[inline]
    pub fn is_realtime(&self) -> bool {
        (self.urgency.load(Relaxed) as u8) < Rank::FAIR.0
    }

    /// Whether it is of the deadline class now.
    #[inline]
    pub(crate) fn is_deadline(&self) -> bool {
        self.urgency.load(Relaxed) as u8 == Rank::DEADLINE.0
    }

    /// Its urgency, as it may be read without the queue's lock.
    #[inline(always)]
    pub fn rank(&self) -> Rank {
        Rank(self.urgency.load(Relaxed) as u8)
    }

    /// Its latency stamps.
    #[cfg(feature = "stamps")]
    pub fn stamps(&self) -> &crate::stamps::TaskStamps {
        &self.stamps
    }

    /// Notes what [`Task::stays_before`] answers by. SeqCst: see `executor::push_to`.
    pub(crate) fn note_params(&self, params: &Params) {
        self.urgency.store(urgency_of(params), SeqCst);
    }

    /// Whether this task, running, goes on when `other` becomes runnable on its CPU, whatever the queue holds.
    #[inline]
    pub(crate) fn stays_before(&self, other: &Task) -> bool {
        let mine = self.urgency.load(SeqCst);
        mine & URGENCY_STAYS != 0 && mine as u8 <= other.urgency.load(SeqCst) as u8
    }

    /// Whether this task should run instead of `other` at once, whatever the queue holds.
    #[inline(always)]
    pub(crate) fn outranks(&self, other: &Task) -> bool {
        (self.urgency.load(Relaxed) as u8) < other.urgency.load(Relaxed) as u8
    }

    /// Polls the future once.
    ///
    /// # Safety
    /// The caller holds the RUN bit and took no `&mut` to anything of the task across the call.
    #[inline(always)]
    pub(crate) unsafe fn poll(&self, cx: &mut PollContext<'_>) -> Poll<()> {
        // SAFETY: the vtable belongs to this task's type; RUN gives exclusive access to the future.
        unsafe { (self.vtable.poll)(NonNull::from(self), cx) }
    }

    /// Drops the future in place.
    ///
    /// # Safety
    /// The caller holds the RUN bit, and the future is never polled or dropped again.
    pub(crate) unsafe fn drop_future(&self) {
        // SAFETY: as above.
        unsafe { (self.vtable.drop_future)(NonNull::from(self)) }
    }

    /// One more reference.
    #[inline]
    pub(crate) fn get(&self) {
        let old = self.refs.fetch_add(1, Relaxed);
        debug_assert!(old > 0 && old < u32::MAX / 2);
    }

    /// One reference less; the last one goes to the reaper. Any context.
    #[inline]
    pub(crate) fn put(&self) {
        if self.refs.fetch_sub(1, Release) == 1 {
            core::sync::atomic::fence(Acquire);
            reaper::push(NonNull::from(self));
        }
    }

    /// Frees the memory.
    ///
    /// # Safety
    /// The last reference is gone and the future was dropped. Not in an interrupt.
    pub(crate) unsafe fn free(task: NonNull<Task>) {
        // SAFETY: `layout` is what the task was allocated with.
        unsafe {
            #[cfg(not(loom))]
            {
                crate::sync::rt_mutex::forget(&task.as_ref().pi);
                crate::executor::forget_reservation((*task.as_ref().entity.get()).reservation_ptr());
            }
            let layout = task.as_ref().vtable.layout;
            dealloc(task.as_ptr().cast(), layout);
        }
    }

    /// The CPU on whose queue it is, or last was.
    #[inline]
    pub fn cpu(&self) -> CpuId {
        CpuId::new(self.place.load(Relaxed) as u32 as usize).unwrap_or(CpuId::BOOT)
    }

    /// Whether that is `cpu`.
    #[inline(always)]
    pub(crate) fn is_last_on(&self, cpu: CpuId) -> bool {
        self.place.load(Relaxed) as u32 == cpu.index() as u32
    }

    #[inline]
    pub(crate) fn set_cpu(&self, cpu: CpuId) {
        self.place.store(self.arrival() | cpu.index() as u64, Relaxed);
    }

    #[inline(always)]
    fn arrival(&self) -> u64 {
        self.place.load(Relaxed) >> 32 << 32
    }

    /// Why it comes to the queue on which it is about to be put: the first time because it is new, later because it was
    /// woken, unless [`Task::set_migrating`] has said otherwise.
    #[inline]
    pub(crate) fn take_arrival(&self) -> Enqueue {
        let why = self.next_arrival();
        if why != Enqueue::Wakeup {
            self.place.store(self.place.load(Relaxed) as u32 as u64, Relaxed);
        }
        why
    }

    /// What that will be.
    pub(crate) fn next_arrival(&self) -> Enqueue {
        match self.arrival() {
            0 => Enqueue::Wakeup,
            ARRIVE_NEW => Enqueue::New,
            _ => Enqueue::Migrated,
        }
    }

    /// Whether it comes because it was woken, and was last on the queue of `cpu`.
    #[inline(always)]
    pub(crate) fn is_woken_on(&self, cpu: CpuId) -> bool {
        self.place.load(Relaxed) == cpu.index() as u64
    }

    /// It was taken off a queue, still runnable, to go to another CPU. The caller pushes it there.
    #[inline]
    pub(crate) fn set_migrating(&self) {
        self.place.store(self.place.load(Relaxed) as u32 as u64 | ARRIVE_MIGRATED, Relaxed);
    }

    /// Keeps the task's run queue from changing. Interrupts masked; a run queue's lock is held, so the holder is brief.
    #[inline]
    pub(crate) fn lock_move(&self) {
        while self.moving.compare_exchange_weak(false, true, Acquire, Relaxed).is_err() {
            crate::arch::relax();
        }
    }

    #[inline]
    pub(crate) fn unlock_move(&self) {
        self.moving.store(false, Release);
    }

    /// The CPUs on which it may run.
    #[inline]
    pub fn affinity(&self) -> CpuMask {
        CpuMask(self.affinity.load(Relaxed))
    }

    /// Changes the CPUs on which it may run; takes effect at its next wake or requeue, unlike
    /// [`set_affinity`](crate::executor::set_affinity). Empty masks are refused.
    pub fn set_affinity(&self, mask: CpuMask) -> bool {
        if mask.0 == 0 {
            return false;
        }
        self.affinity.store(mask.0, Relaxed);
        true
    }

    /// It may run on all CPUs, because those of `mask` are gone; `false` when it was given others meanwhile. Lock-free.
    pub fn lose_affinity(&self, mask: CpuMask) -> bool {
        self.affinity.compare_exchange(mask.0, CpuMask::ALL.0, Relaxed, Relaxed).is_ok()
    }

    /// Sets interrupt flags (`INTERRUPT_*`) and wakes it if its wait ends by them.
    pub fn interrupt(&self, flags: u32) {
        self.interrupt.fetch_or(flags, SeqCst);
        atomic::fence_for_loom();
        let mode = self.wait_mode.load(SeqCst);
        if WaitMode::from_word(mode).is_ended_by(flags) {
            self.wake();
        }
    }

    /// Takes interrupt flags back (signals were delivered or blocked).
    pub fn clear_interrupt(&self, flags: u32) {
        self.interrupt.fetch_and(!flags, SeqCst);
    }

    /// The interrupt flags that are set.
    #[inline]
    pub fn interrupt_flags(&self) -> u32 {
        self.interrupt.load(Relaxed)
    }

    /// Notes that this task waits at `site` in `mode`; and says whether an interrupt is pending that ends such a wait.
    ///
    /// The mode is stored before the flags are read, and [`Task::interrupt`] stores the flags before it reads the mode,
    /// all SeqCst: one of the two sees the other (Dekker).
    ///
    /// ```text
    ///   waiter                      interrupter
    ///   mode  = Interruptible       flags |= SIGNAL
    ///   read flags                  read mode → wake
    /// ```
    #[inline]
    pub fn begin_wait(&self, site: &'static WaitSite, mode: WaitMode) -> bool {
        self.wait_site.store(core::ptr::from_ref(site).cast_mut(), Relaxed);
        self.wait_mode.store(mode.to_word(), SeqCst);
        atomic::fence_for_loom();
        mode.is_ended_by(self.interrupt.load(SeqCst))
    }

    /// Notes that it waits no longer.
    #[inline]
    pub fn end_wait(&self) {
        self.wait_mode.store(0, Relaxed);
        self.wait_site.store(core::ptr::null_mut(), Relaxed);
    }

    /// Where it waits and how, for `/proc/PID/wchan` and SysRq-t.
    pub fn waiting_at(&self) -> Option<(&'static WaitSite, WaitMode)> {
        let site = self.wait_site.load(Relaxed);
        // SAFETY: only addresses of statics are stored.
        let site = unsafe { site.cast_const().as_ref() }?;
        Some((site, WaitMode::from_word(self.wait_mode.load(Relaxed))))
    }

    /// Whether it is asleep: its future waits and no wake is under way.
    pub fn is_sleeping(&self) -> bool {
        self.state.is_idle()
    }

    /// Whether its future has finished.
    pub fn is_dead(&self) -> bool {
        self.state.is_dead()
    }

    /// The kernel's object for this task, as given to [`Spawned::new`].
    #[inline(always)]
    pub fn owner(&self) -> *const () {
        self.owner.load(Relaxed) as *const ()
    }

    /// Forgets the owner: it ends before the task does. The task itself only, interrupts masked.
    pub fn clear_owner(&self) {
        self.owner.store(0, Relaxed);
    }

    /// The executor enters it. Interrupts masked.
    #[inline(always)]
    pub(crate) fn switch_in(&self) {
        if let Some(hooks) = self.hooks {
            (hooks.switch_in)(self);
        }
    }

    /// The executor leaves it. Interrupts masked.
    #[inline(always)]
    pub(crate) fn switch_out(&self) {
        if let Some(hooks) = self.hooks {
            (hooks.switch_out)(self);
        }
    }

    /// Its name (Linux: `comm`), at most 15 bytes, NUL-padded.
    pub fn name(&self) -> [u8; 16] {
        core::array::from_fn(|i| self.name[i].load(Relaxed))
    }

    /// Renames it; longer names are cut to 15 bytes, as Linux does.
    pub fn set_name(&self, name: &[u8]) {
        for (i, slot) in self.name.iter().enumerate() {
            slot.store(if i < 15 { name.get(i).copied().unwrap_or(0) } else { 0 }, Relaxed);
        }
    }
}
