//! What a scheduling class is to the run queue (Linux: struct sched_class), and the one place that lists the classes.
//!
//! A class keeps the entities that it serves in a structure of its own and answers questions about them. The run queue asks the
//! class of an entity, or all classes in the order of their urgency, always by static dispatch: [`of_class`] and [`in_order`]
//! expand to one arm, or one statement, per class. To add a class: implement [`SchedClass`], give [`super::RunQueue`] a field of it,
//! [`super::Class`] a variant, and the two macros a line.

use super::entity::Entity;
use super::params::{Class, Rank, Tunables};
use super::{Enqueue, PickLimit};
use crate::time::Nanos;
use core::ptr::NonNull;

/// A scheduling class and its queue on one CPU. `now` is the run queue's clock.
///
/// # Safety of its methods
/// Those that take an entity ask that it is valid, that it is of this class, that no reference to it is held across the call,
/// and that it is where the method says: *off* every queue, *queued* here and waiting for the CPU, or *current*.
pub(super) trait SchedClass {
    /// Which one it is.
    fn class(&self) -> Class;

    /// How many entities it has, the current one included.
    fn nr_running(&self) -> u32;

    /// Takes in an entity that is off every queue. If a fair entity is current it has been charged up to now.
    ///
    /// # Safety
    /// `e` is off, and stays valid and unmoved until it is off again.
    unsafe fn enqueue_task(&mut self, e: NonNull<Entity>, why: Enqueue, now: Nanos);

    /// Takes in an entity that is off every queue and makes it current at once: what `enqueue_task` and `pick_next_task`
    /// come to when nothing of this class or of a more urgent one is runnable, without a look at any list; answers what
    /// [`SchedClass::next_event`] would of it, alone as it is. `None`, and nothing done, when the class cannot run now.
    ///
    /// # Safety
    /// As [`SchedClass::enqueue_task`]; nothing is current, and this class and those above it have nobody.
    unsafe fn enqueue_current(&mut self, e: NonNull<Entity>, why: Enqueue, now: Nanos) -> Option<Option<Nanos>>;

    /// Takes a queued entity off; it goes to another CPU.
    ///
    /// # Safety
    /// `e` is queued.
    unsafe fn dequeue_task(&mut self, e: NonNull<Entity>);

    /// Takes the current entity off: it sleeps or ends. It has been charged.
    ///
    /// # Safety
    /// `e` is current.
    unsafe fn dequeue_current(&mut self, e: NonNull<Entity>);

    /// Chooses the entity that should run next, and makes it current (Linux: pick_next_task with set_next_task).
    fn pick_next_task(&mut self, limit: PickLimit, now: Nanos) -> Option<NonNull<Entity>>;

    /// The current entity stays runnable and gives the CPU up; `gives_way`: by itself (Linux: yield_task, put_prev_task).
    ///
    /// # Safety
    /// `e` is current; it becomes queued.
    unsafe fn put_prev_task(&mut self, e: NonNull<Entity>, gives_way: bool);

    /// Charges the current entity for the time from `start` to `now`. It `stays` on the queue, or `dequeue_current` follows.
    ///
    /// # Safety
    /// `e` is current.
    unsafe fn update_curr(&mut self, e: NonNull<Entity>, start: Nanos, now: Nanos, stays: bool);

    /// Whether `e`, which was enqueued just now, should run instead of `curr` of the same class and rank.
    ///
    /// # Safety
    /// `curr` is current and charged, `e` queued.
    unsafe fn check_preempt_curr(&mut self, curr: NonNull<Entity>, e: NonNull<Entity>) -> bool {
        let _ = (curr, e);
        false
    }

    /// The tick's work for the charged current entity; whether it should stop.
    ///
    /// # Safety
    /// `curr` is current.
    unsafe fn task_tick(&mut self, curr: NonNull<Entity>) -> bool {
        let _ = curr;
        false
    }

    /// When the tick must next come for the charged current entity, or a moment before that: the same answer as long as it
    /// will do spares the timer.
    ///
    /// # Safety
    /// `curr` is current.
    unsafe fn next_event(&mut self, curr: NonNull<Entity>) -> Option<Nanos> {
        let _ = curr;
        None
    }

    /// Brings what depends on the clock alone up to `now`: periods of bandwidth.
    #[inline(always)]
    fn roll(&mut self, now: Nanos) {
        let _ = now;
    }

    /// The same before a look at `e`, which has come.
    ///
    /// # Safety
    /// `e` is queued.
    #[inline(always)]
    unsafe fn roll_for(&mut self, e: NonNull<Entity>, now: Nanos) {
        let _ = e;
        self.roll(now);
    }

    /// Whether the class has used up its share and may not run.
    #[inline(always)]
    fn is_throttled(&self) -> bool {
        false
    }

    /// Whether `e`, which is queued, may not run now.
    ///
    /// # Safety
    /// `e` is queued.
    #[inline(always)]
    unsafe fn holds_back(&self, e: NonNull<Entity>) -> bool {
        let _ = e;
        self.is_throttled()
    }

    /// When a throttled class may run again, if anything waits for that.
    #[inline(always)]
    fn unthrottle_event(&self) -> Option<Nanos> {
        None
    }

    /// `event`, or that if it comes before.
    #[inline(always)]
    fn or_unthrottled(&self, event: Option<Nanos>) -> Option<Nanos> {
        match self.unthrottle_event() {
            Some(at) => Some(event.map_or(at, |e| e.min(at))),
            None => event,
        }
    }

    /// The most urgent rank that waits here, by the state of the last charge. The current entity may be counted if its rank is
    /// its class's only one.
    fn best_rank(&self) -> Option<Rank>;

    /// The first queued entity, in the order in which they would run, that is `wanted`: to run elsewhere. None of a class whose
    /// entities stay where they are.
    fn find_waiting(&self, wanted: &mut impl FnMut(NonNull<Entity>) -> bool) -> Option<NonNull<Entity>> {
        let _ = wanted;
        None
    }

    /// A queued entity, not the current one, whatever holds it back: its CPU is on the way out.
    fn first_queued(&mut self, now: Nanos) -> Option<NonNull<Entity>> {
        let _ = now;
        self.find_waiting(&mut |_| true)
    }

    /// The entity leaves for another class, or for another place in this one; it keeps its old parameters till then. It becomes
    /// the class's own no more when `for_good` (Linux: dequeue_task and switched_from).
    ///
    /// # Safety
    /// `e` is current if `current`, else queued.
    unsafe fn leave(&mut self, e: NonNull<Entity>, current: bool, for_good: bool);

    /// The entity comes, with its new parameters; `head`: before its peers (Linux: enqueue_task and switched_to).
    ///
    /// # Safety
    /// `e` has left its queue; it becomes current if `current`, else queued.
    unsafe fn join(&mut self, e: NonNull<Entity>, current: bool, head: bool);

    /// An entity that is off every queue, and was last on this one, is of the class no more, or goes to another CPU.
    ///
    /// # Safety
    /// `e` is off.
    unsafe fn disown(&mut self, e: NonNull<Entity>) {
        let _ = e;
    }

    /// The tunables have changed.
    fn tune(&mut self, tunables: &Tunables, now: Nanos) {
        let _ = (tunables, now);
    }
}

/// `of_class!(rq, class, c => expression)`: the expression with `c` as the queue of `class`.
macro_rules! of_class {
    ($rq:expr, $class:expr, $c:ident => $body:expr) => {{
        // The usual two by a comparison each; what hides the value keeps the rest from making a table of jumps of them all.
        let class = $class;
        if class == $crate::class::Class::Fair {
            let $c = &mut $rq.fair;
            $body
        } else if class == $crate::class::Class::Realtime {
            let $c = &mut $rq.rt;
            $body
        } else {
            let class = core::hint::black_box(class);
            if class == $crate::class::Class::Grouped {
                let $c = &mut $crate::class::fair::group::levels::Grouped(&mut $rq.fair);
                $body
            } else if class == $crate::class::Class::Deadline {
                let $c = &mut $rq.dl;
                let r = $body;
                $rq.count_above();
                r
            } else if class == $crate::class::Class::Watched {
                let $c = &mut $crate::class::psi::class::Watched(&mut $rq.fair, &$rq.psi);
                $body
            } else {
                let $c = &mut $rq.stop;
                let r = $body;
                $rq.count_above();
                r
            }
        }
    }};
}

/// `in_order!([&mut] rq, c => statement)`: the statement for the queue of each class that may have somebody, the most urgent
/// first. The two above real-time mostly have nobody: one look at a common count says so.
macro_rules! in_order {
    (&mut $rq:expr, $c:ident => $body:expr) => {{
        if $rq.above != 0 {
            let $c = &mut $rq.stop;
            $body;
            let $c = &mut $rq.dl;
            $body;
        }
        let $c = &mut $rq.rt;
        $body;
        let $c = &mut $rq.fair;
        $body;
    }};
    ($rq:expr, $c:ident => $body:expr) => {{
        if $rq.above != 0 {
            let $c = &$rq.stop;
            $body;
            let $c = &$rq.dl;
            $body;
        }
        let $c = &$rq.rt;
        $body;
        let $c = &$rq.fair;
        $body;
    }};
}

pub(super) use {in_order, of_class};
