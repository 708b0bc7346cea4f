//! Sets against their definition, and queues that are watched against those that are not.

use super::{BUSY, FULL, OwnedPsi, PsiTimes, SOME};
use crate::class::entity::Place;
use crate::class::{Enqueue, Entity, OwnedGroup, Params, PickLimit, PutPrev, RunQueue};
use crate::time::{MSEC, Nanos};
use core::ptr::NonNull;
use proptest::prelude::*;
use std::boxed::Box;
use std::vec::Vec;

/// Sets 1 and 2 are the children of 0; 3 is that of 1.
const PARENTS: [Option<usize>; 4] = [None, Some(0), Some(0), Some(1)];

/// One thing that happens.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A task wakes.
    Wake(usize),
    /// The current one sleeps.
    Sleep,
    /// It stays, and another may come.
    Preempt,
    /// A tick.
    Tick,
    /// A task goes to another set; 4: none.
    Set(usize, usize),
    /// Or to another group; 2: none.
    Group(usize, usize),
    /// It becomes real-time or fair.
    Params(usize, bool),
}

struct Machine {
    rq: Box<RunQueue>,
    tasks: Vec<NonNull<Entity>>,
    groups: Vec<OwnedGroup>,
    sets: Vec<OwnedPsi>,
    /// What ought to be: the states since the last look, and the times.
    states: [u8; 4],
    last: Nanos,
    times: [PsiTimes; 4],
}

impl Machine {
    fn new(tasks: usize) -> Machine {
        let mut rq = Box::new(RunQueue::new());
        rq.set_cpu(0);
        let groups: Vec<_> = (0..2).map(|_| OwnedGroup::try_new(None, 1, |_| {}).unwrap()).collect();
        groups[1].note_bandwidth(Some(20 * MSEC), 100 * MSEC, 0, 0);
        let mut sets: Vec<OwnedPsi> = Vec::new();
        for parent in PARENTS {
            sets.push(OwnedPsi::try_new(parent.map(|p| &*sets[p])).unwrap());
        }
        let tasks = (0..tasks).map(|_| NonNull::from(Box::leak(Box::new(Entity::new(Params::DEFAULT))))).collect();
        Machine { rq, tasks, groups, sets, states: [0; 4], last: 0, times: [[0; 3]; 4] }
    }

    /// Does a step at `now`; steps that make no sense then do nothing. With `watched` false nobody is put into a set.
    fn step(&mut self, step: Step, now: Nanos, watched: bool) {
        let task = |i: usize| self.tasks[i % self.tasks.len()];
        // SAFETY: the tasks and groups live as long as this, and nobody else looks at them.
        unsafe {
            match step {
                Step::Wake(i) if !task(i).as_ref().on_rq() => {
                    self.rq.enqueue(task(i), Enqueue::Wakeup, now);
                    let _ = self.rq.should_preempt(task(i), now);
                }
                Step::Wake(_) => {}
                Step::Sleep => self.rq.put_prev(PutPrev::Sleep, now),
                Step::Preempt => self.rq.put_prev(PutPrev::Preempted, now),
                Step::Tick => {
                    self.rq.tick(now);
                }
                Step::Set(i, set) => {
                    if watched {
                        self.rq.set_psi(task(i), self.sets.get(set).map_or(0, |s| s.number()));
                    }
                }
                Step::Group(i, group) => {
                    let group = self.groups.get(group).map(|g| NonNull::from(&**g));
                    self.rq.set_group(task(i), group, now);
                }
                Step::Params(i, realtime) => {
                    let params = if realtime { Params::fifo(3) } else { Params::normal(0) };
                    self.rq.set_params(task(i), params, now);
                }
            }
        }
        if self.rq.current().is_none() {
            self.rq.pick(PickLimit::Any, now);
        }
        self.rq.note_psi(now);
        self.integrate(now);
    }

    /// Whether a task of set `number` is in the set `i`.
    fn is_in(&self, number: u32, i: usize) -> bool {
        let mut at = self.sets.iter().position(|s| s.number() == number);
        while let Some(set) = at {
            if set == i {
                return true;
            }
            at = PARENTS[set];
        }
        false
    }

    /// The states as they are defined.
    fn integrate(&mut self, now: Nanos) {
        for i in 0..4 {
            for bit in 0..3 {
                if self.states[i] & 1 << bit != 0 {
                    self.times[i][bit] += now - self.last;
                }
            }
            // SAFETY: as above.
            let places = self.tasks.iter().map(|t| unsafe { t.as_ref() }).filter(|t| self.is_in(t.psi(), i)).map(|t| t.place);
            let (mut waits, mut runs) = (false, false);
            places.for_each(|place| {
                waits |= place == Place::Queued;
                runs |= place == Place::Current;
            });
            let some = if waits { SOME } else { 0 };
            let full = if waits && !runs { FULL } else { 0 };
            self.states[i] = some | full | if waits || runs { BUSY } else { 0 };
        }
        self.last = now;
    }

    /// What the classes know.
    fn books(&self) -> (Vec<(u64, Nanos, Nanos, Place)>, u64, usize, u64, Nanos) {
        // SAFETY: as above.
        let of = |e: &NonNull<Entity>| unsafe {
            let e = e.as_ref();
            (e.vruntime(), e.sum_exec_runtime(), e.stats().run_delay, e.place)
        };
        let rq = &self.rq;
        (self.tasks.iter().map(of).collect(), rq.min_vruntime(), rq.nr_running(), rq.nr_switches(), rq.run_delay())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Groups are left by who is in them, and sets as well.
        for e in core::mem::take(&mut self.tasks) {
            // SAFETY: leaked above, and off the queue in the end.
            unsafe {
                self.rq.set_psi(e, 0);
                self.rq.set_group(e, None, self.last);
                match e.as_ref().place {
                    Place::Queued => self.rq.dequeue(e, self.last),
                    Place::Current => self.rq.put_prev(PutPrev::Dead, self.last),
                    Place::Off => {}
                }
                self.rq.note_psi(self.last);
                drop(Box::from_raw(e.as_ptr()));
            }
        }
        self.groups.iter().for_each(|g| self.rq.group_ends(g));
        self.sets.iter().for_each(|s| self.rq.forget_psi(s, self.last));
        while self.sets.pop().is_some() {}
    }
}

fn steps(kinds: u32) -> impl Strategy<Value = Vec<(u64, Step)>> {
    let step = (0..kinds, 0usize..6, 0usize..5).prop_map(|(kind, i, to)| match kind {
        0..=3 => Step::Wake(i),
        4 | 5 => Step::Sleep,
        6 => Step::Preempt,
        7 => Step::Tick,
        8 => Step::Set(i, to),
        9 => Step::Group(i, to % 3),
        _ => Step::Params(i, to == 0),
    });
    prop::collection::vec((0u64..12_000_000, step), 1..150)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_times_are_those_of_the_definition(steps in steps(11)) {
        let mut m = Machine::new(6);
        (0..6).for_each(|i| m.step(Step::Set(i, i % 5), 0, true));
        let mut now = MSEC;
        for (passed, step) in steps {
            now += passed;
            m.step(step, now, true);
        }
        for (i, set) in m.sets.iter().enumerate() {
            prop_assert_eq!(m.rq.psi_times(set, now), m.times[i], "set {}", i);
        }
    }

    #[test]
    fn who_is_watched_runs_as_if_nobody_was(steps in steps(10)) {
        let mut sides = [Machine::new(6), Machine::new(6)];
        let mut now = MSEC;
        for (passed, step) in steps {
            now += passed;
            sides[0].step(step, now, false);
            sides[1].step(step, now, true);
            let [free, watched] = sides.each_mut().map(|s| (s.books(), s.rq.next_event(now)));
            prop_assert_eq!(free, watched);
        }
    }
}

#[test]
fn one_that_is_held_back_stalls_all_of_its_set() {
    let mut m = Machine::new(1);
    m.step(Step::Set(0, 3), 0, true);
    m.step(Step::Group(0, 1), 0, true);
    m.step(Step::Wake(0), 0, true);
    // A tick ends the stay when 20 ms are used up; the period ends at 100 ms.
    for ms in 1..=200 {
        m.step(if ms == 100 { Step::Tick } else { Step::Preempt }, ms * MSEC, true);
    }
    let times: Vec<PsiTimes> = m.sets.iter().map(|set| m.rq.psi_times(set, 200 * MSEC).map(|t| t.div_ceil(MSEC))).collect();
    let stalled = [160, 160, 200];
    assert_eq!(times, [stalled, stalled, [0; 3], stalled]);
}

#[test]
fn the_averages_leave_no_gap_in_an_entity() {
    // So that the two numbers beside them take no room of their own.
    assert_eq!(size_of::<crate::class::task_avg::TaskAvg>(), 48);
}
