//! The run queue of one CPU: the classes in their order, and the four transitions of an entity.

use super::deadline::DlRq;
use super::entity::{Entity, Place};
use super::fair::FairRq;
use super::params::{Class, Rank, Tunables, Urgency};
use super::plain::known;
use super::psi::PsiRq;
use super::realtime::RtRq;
use super::sched_class::{SchedClass, in_order, of_class};
use super::stop::StopRq;
use super::{Enqueue, PickLimit, PutPrev};
use crate::time::Nanos;
use core::ptr::NonNull;
use core::sync::atomic::Ordering::Relaxed;

/// The queues of one CPU.
///
/// The executor keeps it in a static, under a lock that masks interrupts. It may neither move nor be dropped as long
/// as an entity lives that was ever on it: entities remember the clock of their queue.
// In declared order: what every transition touches comes first, and near offsets take fewer instructions.
#[derive(Debug)]
#[repr(C)]
pub struct RunQueue {
    pub(super) curr: Option<NonNull<Entity>>,
    /// The entity that the last `put_prev` requeued, until the next pick: picked again, it was not switched.
    pub(super) requeued: Option<NonNull<Entity>>,
    /// The entity that the current one was handed the CPU by, and since when: it is still to be charged and to be put back. Its
    /// class takes it for its current one till then.
    pub(super) parked_for_current: Option<NonNull<Entity>>,
    parked_since: Nanos,
    nr_switches: u64,
    /// 0 while stop and deadline have nobody. See [`RunQueue::count_above`].
    pub(super) above: u32,
    /// What the loop knows of it (`plain::known`), if nobody else has had the lock since. See [`RunQueue::begin`].
    pub(super) plain: u8,
    pub(super) fair: FairRq,
    pub(super) stop: StopRq,
    pub(super) dl: DlRq,
    pub(super) rt: RtRq,
    pub(super) tunables: Tunables,
    /// How long entities have waited for this CPU, in sum.
    pub(super) run_delay: Nanos,
    /// Sets of tasks that are watched.
    pub(super) psi: PsiRq,
}

// SAFETY: its pointers lead to entities, which are `Send` and touched only under this queue's lock.
unsafe impl Send for RunQueue {}

impl RunQueue {
    /// An empty queue with the tunables of a machine with one CPU.
    pub const fn new() -> Self {
        let tunables = Tunables::for_cpus(1);
        RunQueue {
            curr: None,
            requeued: None,
            parked_for_current: None,
            parked_since: 0,
            fair: FairRq::new(&tunables),
            stop: StopRq::new(),
            dl: DlRq::new(&tunables),
            rt: RtRq::new(&tunables),
            above: 0,
            plain: known::NOTHING,
            tunables,
            nr_switches: 0,
            run_delay: 0,
            psi: PsiRq::new(),
        }
    }

    /// Whether `e`, which may be the address of nothing any more, is the current entity.
    pub(crate) fn is_current(&self, e: *const Entity) -> bool {
        self.curr.is_some_and(|curr| core::ptr::eq(curr.as_ptr(), e))
    }

    /// Brings `above` up to date, after stop or deadline has changed.
    #[inline]
    pub(super) fn count_above(&mut self) {
        self.above = self.stop.nr_running().wrapping_add(self.dl.tied());
    }

    /// Puts an entity on the queue. Ask [`RunQueue::should_preempt`] afterwards.
    ///
    /// # Safety
    /// `e` is on no queue, and stays valid and unmoved until it is off this one; the queue that it was on before still
    /// exists. No reference to `e` is held across the call.
    #[inline(always)]
    pub unsafe fn enqueue(&mut self, e: NonNull<Entity>, why: Enqueue, now: Nanos) {
        // SAFETY: valid by contract; each reference ends before the next one begins.
        unsafe {
            let this = e.as_ptr();
            debug_assert!((*this).place == Place::Off, "enqueued twice");
            let stats = &mut (*this).stats;
            stats.last_queued = now;
            stats.count_arrival(why);
            let class = (*this).class;
            // The fair class's clock must be right before somebody is placed by it; GRUB's rate is about to change.
            if self.curr.is_some() && !matches!(class, Class::Realtime | Class::Stop) {
                self.charge_current(now, true);
            }
            of_class!(self, class, c => c.enqueue_task(e, why, now));
            (*this).place = Place::Queued;
        }
    }

    /// Puts an entity on the queue and makes it current, if nothing of its class or of a more urgent one is runnable: what
    /// [`RunQueue::enqueue`] and [`RunQueue::pick`] would come to, without a look at any list. `None`, and nothing done,
    /// otherwise, and for what is above real-time; else what [`RunQueue::next_event`] answers then. There is no current entity at
    /// the time of the call.
    ///
    /// # Safety
    /// As [`RunQueue::enqueue`].
    #[inline(always)]
    pub unsafe fn enqueue_as_current(&mut self, e: NonNull<Entity>, why: Enqueue, now: Nanos) -> Option<Option<Nanos>> {
        debug_assert!(self.curr.is_none(), "a second current entity");
        // SAFETY: passed on.
        let event = unsafe { self.class_takes(e, why, now) }?;
        self.requeued = None;
        self.note_switch(e);
        Some(event)
    }

    /// [`RunQueue::enqueue_as_current`] while another entity, of a less urgent class, is current: its poll is parked, and it goes
    /// back to its queue. That is done by [`RunQueue::put_back_parked`], before anything else is done to the queue: what the
    /// urgent one does not wait for comes after it has begun. `None`, and nothing done, if it is not as simple as that; else what
    /// [`RunQueue::next_event`] answers then.
    ///
    /// # Safety
    /// As [`RunQueue::enqueue`]. No reference to the current entity is held, either.
    #[inline(always)]
    pub unsafe fn park_current_for(&mut self, e: NonNull<Entity>, why: Enqueue, now: Nanos) -> Option<Option<Nanos>> {
        // SAFETY: passed on.
        let event = unsafe { self.class_takes(e, why, now) }?;
        self.parked_for_current = self.curr;
        self.parked_since = now;
        self.note_switch(e);
        Some(event)
    }

    /// To be called by whoever gets at the queue, unless he keeps to the operations of `plain.rs`, which leave a plain queue plain, or
    /// make somebody current on an empty one.
    #[inline(always)]
    pub(crate) fn begin(&mut self) {
        self.plain = known::NOTHING;
        self.put_back_parked();
    }

    /// Puts back the entity whose poll was parked by [`RunQueue::park_current_for`], if it is still to be done. To be called
    /// first of all by whoever gets at the queue after that.
    #[inline(always)]
    pub fn put_back_parked(&mut self) {
        if let Some(e) = self.parked_for_current {
            self.put_back(e);
        }
    }

    /// Whether it is.
    pub(crate) fn has_parked(&self) -> bool {
        self.parked_for_current.is_some()
    }

    #[inline(never)]
    fn put_back(&mut self, e: NonNull<Entity>) {
        self.parked_for_current = None;
        // SAFETY: it was current, and its class takes it for that: on the queue, hence valid.
        unsafe { (*e.as_ptr()).parked = true };
        let current = self.curr.replace(e);
        self.put_prev(PutPrev::Preempted, self.parked_since);
        self.curr = current;
        // Another one has had the CPU meanwhile.
        self.requeued = None;
    }

    /// Hands `e` to its class as its current entity, if nothing of it or of a more urgent class is runnable; answers when the class
    /// must be asked about it again.
    ///
    /// # Safety
    /// As [`RunQueue::enqueue`].
    #[inline(always)]
    unsafe fn class_takes(&mut self, e: NonNull<Entity>, why: Enqueue, now: Nanos) -> Option<Option<Nanos>> {
        let this = e.as_ptr();
        // SAFETY: valid by contract; each reference ends before the next one begins.
        unsafe {
            debug_assert!((*this).place == Place::Off, "enqueued twice");
            let class = (*this).class;
            in_order!(&mut self, c => {
                if c.nr_running() != 0 {
                    return None;
                }
                if c.class() == class {
                    let event = c.enqueue_current(e, why, now)?;
                    (*this).stats.count_arrival(why);
                    (*this).begin_stay(now);
                    // Its class is not throttled, and those above it have nobody who can run: those below may be, and reservations.
                    return Some(match class {
                        _ if self.above != 0 => {
                            self.plain = known::NOTHING;
                            self.or_unthrottled(event, now)
                        }
                        Class::Fair => event,
                        Class::Realtime => {
                            // Not even the current entity.
                            self.plain = known::NOTHING;
                            self.fair.or_unthrottled(event)
                        }
                        _ => self.or_unthrottled(event, now),
                    });
                }
            });
            None
        }
    }

    /// Takes a queued entity, which is not the current one, off: to migrate it.
    ///
    /// # Safety
    /// `e` is on this queue and not current. No reference to `e` is held across the call.
    pub unsafe fn dequeue(&mut self, e: NonNull<Entity>, now: Nanos) {
        self.update_current(now);
        if self.requeued == Some(e) {
            self.requeued = None;
        }
        // SAFETY: valid by contract.
        unsafe {
            let this = e.as_ptr();
            debug_assert!((*this).place == Place::Queued, "dequeued while not queued");
            of_class!(self, (*this).class, c => {
                c.dequeue_task(e);
                c.disown(e);
            });
            (*this).place = Place::Off;
            self.run_delay = self.run_delay.wrapping_add((*this).stats.waited_until(now));
        }
    }

    /// Chooses the entity that runs next and makes it current. `None`: the CPU is idle.
    /// There is no current entity at the time of the call: [`RunQueue::put_prev`] comes first.
    #[inline(always)]
    pub fn pick(&mut self, limit: PickLimit, now: Nanos) -> Option<NonNull<Entity>> {
        debug_assert!(self.curr.is_none(), "pick without put_prev");
        let e = self.pick_next_task(limit, now);
        let Some(e) = e else {
            // Under a limit the caller may try again without; otherwise the CPU goes idle, and waits count.
            if limit == PickLimit::Any {
                self.requeued = None;
            }
            return None;
        };
        // SAFETY: it is on the queue, hence valid; no reference outlives its statement.
        unsafe {
            let this = e.as_ptr();
            if self.requeued.take() == Some(e) {
                // It goes on as if it had not stopped: no switch, and its slice goes on, too.
                (*this).stats.nivcsw = (*this).stats.nivcsw.wrapping_sub(1);
                (*this).place = Place::Current;
                (*this).exec_start = now;
                self.curr = Some(e);
            } else {
                self.run_delay = self.run_delay.wrapping_add((*this).stats.waited_until(now));
                (*this).begin_stay(now);
                self.note_switch(e);
            }
        }
        Some(e)
    }

    /// `e` has become current, after another entity or after idling.
    #[inline(always)]
    pub(super) fn note_switch(&mut self, e: NonNull<Entity>) {
        self.nr_switches = self.nr_switches.wrapping_add(1);
        self.curr = Some(e);
    }

    #[inline(always)]
    fn pick_next_task(&mut self, limit: PickLimit, now: Nanos) -> Option<NonNull<Entity>> {
        in_order!(&mut self, c => {
            if c.nr_running() != 0
                && let Some(e) = c.pick_next_task(limit, now)
            {
                return Some(e);
            }
        });
        None
    }

    /// Charges the current entity, and requeues it or takes it off. Nothing is current afterwards. No effect when
    /// nothing is.
    pub fn put_prev(&mut self, why: PutPrev, now: Nanos) {
        self.put_prev_inline(why, now);
    }

    /// [`RunQueue::put_prev`] in the caller's frame: for the executor's loop.
    #[inline(always)]
    pub(crate) fn put_prev_inline(&mut self, why: PutPrev, now: Nanos) {
        let leaves = matches!(why, PutPrev::Sleep | PutPrev::Dead);
        self.charge_current(now, !leaves);
        let Some(e) = self.curr.take() else { return };
        // SAFETY: the current entity is on the queue, hence valid.
        unsafe {
            let this = e.as_ptr();
            let class = (*this).class;
            let stats = &mut (*this).stats;
            if leaves {
                stats.nvcsw = stats.nvcsw.wrapping_add(1);
                if why == PutPrev::Dead && self.fair.notes.is_some() {
                    self.fair.ends(e, now);
                }
                (*this).place = Place::Off;
                of_class!(self, class, c => c.dequeue_current(e));
                if why == PutPrev::Dead
                    && let Some(dl) = (*this).reservation
                {
                    self.dl.give_back(dl, now);
                }
                return;
            }
            stats.nivcsw = stats.nivcsw.wrapping_add(1);
            stats.last_queued = now;
            (*this).place = Place::Queued;
            self.requeued = Some(e);
            let gives_way = why == PutPrev::Yield;
            of_class!(self, class, c => c.put_prev_task(e, gives_way));
        }
    }

    /// Charges the current entity for the time since it was last charged or picked.
    pub fn update_current(&mut self, now: Nanos) {
        self.charge_current(now, true);
    }

    /// The hot paths' [`RunQueue::update_current`]; `stays` as in [`SchedClass::update_curr`].
    #[inline(always)]
    pub(super) fn charge_current(&mut self, now: Nanos, stays: bool) {
        let Some(e) = self.curr else { return };
        // SAFETY: the current entity is on the queue, hence valid.
        unsafe {
            let this = e.as_ptr();
            let start = (*this).exec_start;
            // Clocks of two CPUs may differ by a little: time never runs backwards here.
            if now <= start {
                return;
            }
            (*this).exec_start = now;
            (*this).sum_exec = (*this).sum_exec.wrapping_add(now.wrapping_sub(start));
            let class = (*this).class;
            of_class!(self, class, c => c.update_curr(e, start, now, stays));
            if class == Class::Deadline {
                // Both together leave the fair class its share (Linux: in `update_curr_dl`).
                self.rt.charge_deadline(start, now);
            }
        }
    }

    /// The entity that runs.
    #[inline(always)]
    pub fn current(&self) -> Option<NonNull<Entity>> {
        self.curr
    }

    /// The rank of the entity that runs, [`Rank::IDLE`] when none does.
    #[inline]
    pub fn current_rank(&self) -> Rank {
        // SAFETY: the current entity is on the queue, hence valid.
        self.curr.map_or(Rank::IDLE, |e| unsafe { (*e.as_ptr()).rank })
    }

    /// The urgency of the entity that runs, [`Urgency::IDLE`] when none does.
    pub fn current_urgency(&self) -> Urgency {
        // SAFETY: the current entity is on the queue, hence valid.
        self.curr.map_or(Urgency::IDLE, |e| unsafe { e.as_ref() }.urgency())
    }

    /// How many entities are runnable, the current one included.
    #[inline]
    pub fn nr_running(&self) -> usize {
        let mut n = 0usize;
        in_order!(self, c => n = n.saturating_add(c.nr_running() as usize));
        n.wrapping_add_signed(self.fair.nr_in_groups() as i32 as isize)
    }

    /// Whether an entity besides the current one could run now: throttled real-time entities do not count.
    #[inline]
    pub fn has_runnable(&self) -> bool {
        let mut n = 0usize;
        in_order!(self, c => if !c.is_throttled() {
            n = n.saturating_add(c.nr_running() as usize);
        });
        n = n.wrapping_add_signed(self.fair.nr_in_groups() as i32 as isize);
        if let Some(e) = self.curr {
            // SAFETY: the current entity is on the queue, hence valid.
            let class = unsafe { (*e.as_ptr()).class };
            // A throttled deadline entity is not counted.
            let counted = match class {
                Class::Realtime => !self.rt.is_throttled(),
                // SAFETY: as above.
                Class::Deadline => !unsafe { self.dl.holds_back(e) },
                Class::Fair | Class::Grouped | Class::Watched | Class::Stop => true,
            };
            if counted {
                n = n.saturating_sub(1);
            }
        }
        n > 0
    }

    /// The sum of the weights of the runnable fair entities, for the placement of wakes.
    #[inline]
    pub fn load(&self) -> u64 {
        self.fair.load
    }

    /// The fair class's clock: monotone; no fair entity that stays on the queue is behind it by more than a sleeper's
    /// credit.
    #[inline]
    pub fn min_vruntime(&self) -> u64 {
        self.fair.min_vruntime.load(Relaxed)
    }

    /// How often the CPU went from one entity to another, or from idle to one (`/proc/stat` ctxt, per CPU).
    #[inline]
    pub fn nr_switches(&self) -> u64 {
        self.nr_switches
    }

    /// How long entities have waited for the CPU, in sum, ns (`/proc/schedstat`).
    pub fn run_delay(&self) -> Nanos {
        self.run_delay
    }
}

impl Default for RunQueue {
    fn default() -> Self {
        RunQueue::new()
    }
}
