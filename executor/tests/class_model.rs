//! Random operations on a run queue against a model that is too simple to be wrong.

#![expect(clippy::disallowed_methods, reason = "a test may abort when memory runs out")]

use proptest::prelude::*;
use std::collections::{BTreeMap, VecDeque};
use std::ptr::NonNull;
use vigil_executor::class::{Class, Enqueue, Entity, Params, PickLimit, Policy, Preempt, PutPrev, Rank, RunQueue};
use vigil_executor::time::{MSEC, Nanos};

/// Entities on queues of their own memory, which lives to the end of the test.
struct World {
    queues: Vec<NonNull<RunQueue>>,
    entities: Vec<NonNull<Entity>>,
}

impl World {
    fn new(queues: usize, params: &[Params]) -> World {
        let queues = (0..queues).map(|_| NonNull::from(Box::leak(Box::new(RunQueue::new())))).collect();
        let entities = params.iter().map(|p| NonNull::from(Box::leak(Box::new(Entity::new(*p))))).collect();
        World { queues, entities }
    }
    fn rq(&mut self, i: usize) -> &mut RunQueue {
        // SAFETY: leaked above; the tests hold one reference at a time.
        unsafe { self.queues[i].as_mut() }
    }
    fn entity(&self, i: usize) -> &Entity {
        // SAFETY: as above.
        unsafe { self.entities[i].as_ref() }
    }
    /// `i` is on no queue.
    fn enqueue(&mut self, q: usize, i: usize, why: Enqueue, now: Nanos) {
        let e = self.entities[i];
        // SAFETY: by the callers' models it is on no queue; it lives as long as the queues.
        unsafe { self.rq(q).enqueue(e, why, now) }
    }
    /// `i` is queued on `q` and not current.
    fn dequeue(&mut self, q: usize, i: usize, now: Nanos) {
        let e = self.entities[i];
        // SAFETY: by the callers' models.
        unsafe { self.rq(q).dequeue(e, now) }
    }
    /// `i` is on `q`, or on none and was last on `q`.
    fn set_params(&mut self, q: usize, i: usize, params: Params, now: Nanos) -> bool {
        let e = self.entities[i];
        // SAFETY: by the callers' models.
        unsafe { self.rq(q).set_params(e, params, now) }
    }
    fn index(&self, e: NonNull<Entity>) -> usize {
        self.entities.iter().position(|x| *x == e).expect("an entity of this world")
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for e in self.entities.drain(..) {
            // SAFETY: leaked in `new`; nothing follows the pointer any more.
            drop(unsafe { Box::from_raw(e.as_ptr()) });
        }
        for q in self.queues.drain(..) {
            // SAFETY: as above.
            drop(unsafe { Box::from_raw(q.as_ptr()) });
        }
    }
}

fn any_params() -> impl Strategy<Value = Params> {
    prop_oneof![
        4 => (-20i8..=19).prop_map(Params::normal),
        1 => (-20i8..=19).prop_map(|nice| Params { policy: Policy::Batch, nice, rt_priority: 0 }),
        1 => Just(Params { policy: Policy::Idle, nice: 0, rt_priority: 0 }),
        2 => (1u8..=99).prop_map(Params::fifo),
        2 => (1u8..=99).prop_map(Params::round_robin),
        1 => Just(Params::STOP),
    ]
}

#[derive(Clone, Debug)]
enum Op {
    Wake(usize),
    /// Woken while nothing is current: straight to the CPU, if it is the one.
    WakeToRun(usize),
    /// Woken while a less urgent one is current, whose poll is parked for it. What that costs the queue is paid later.
    HandOver(usize),
    Stop(PutPrev),
    Pick {
        parked_only: bool,
    },
    Park,
    Move(usize),
    Change(usize, Params),
    Tick,
    Pass(Nanos),
}

fn any_op(n: usize) -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0..n).prop_map(Op::Wake),
        3 => (0..n).prop_map(Op::WakeToRun),
        3 => (0..n).prop_map(Op::HandOver),
        3 => prop_oneof![
            Just(PutPrev::Sleep), Just(PutPrev::Preempted), Just(PutPrev::Yield), Just(PutPrev::Dead)
        ].prop_map(Op::Stop),
        4 => prop::bool::weighted(0.1).prop_map(|parked_only| Op::Pick { parked_only }),
        1 => Just(Op::Park),
        1 => (0..n).prop_map(Op::Move),
        1 => ((0..n), any_params()).prop_map(|(i, p)| Op::Change(i, p)),
        2 => Just(Op::Tick),
        4 => (0u64..20 * MSEC).prop_map(Op::Pass),
    ]
}

/// Checks that a pick of the fair class was the leftmost, or a buddy that is not unfair to it.
fn check_fair_pick(world: &World, picked: usize, queued: &[usize], parked_only: bool) {
    let fair = |i: &&usize| world.entity(**i).rank() == Rank::FAIR && (!parked_only || world.entity(**i).is_parked());
    let v = |i: usize| world.entity(i).vruntime();
    let left = queued.iter().filter(fair).copied().min_by(|a, b| (v(*a).wrapping_sub(v(*b)) as i64).cmp(&0));
    let left = left.expect("the picked one at least");
    let ahead = v(picked).wrapping_sub(v(left)) as i64;
    // Of several that are leftmost, the class may have looked at any; Linux's inverse weights are rounded.
    let lightest = queued.iter().filter(fair).filter(|i| v(**i) == v(left)).map(|i| world.entity(*i).weight()).min();
    let granularity = MSEC * 1024 / u64::from(lightest.unwrap_or(1));
    let granularity = granularity + granularity / 10_000 + 2;
    if parked_only {
        assert_eq!(ahead, 0);
    }
    assert!(ahead >= 0 && ahead as u64 <= granularity, "{ahead} ahead of the leftmost");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    /// Nothing is lost or doubled, ranks are respected, the fair pick is fair, clocks go forward, time is charged once.
    #[test]
    fn random_operations(
        params in prop::collection::vec(any_params(), 1..12),
        ops in prop::collection::vec(any_op(12), 1..200),
    ) {
        let n = params.len();
        let mut w = World::new(2, &params);
        let mut at: BTreeMap<usize, usize> = BTreeMap::new(); // queued entities and their queues
        let mut current: Option<usize> = None; // on queue 0
        let (mut now, mut busy) = (MSEC, 0);
        let mut clock = 0;
        for op in ops {
            match op {
                Op::Wake(i) if i < n && !at.contains_key(&i) && current != Some(i) => {
                    let e = w.entities[i];
                    w.enqueue(0, i, Enqueue::Wakeup, now);
                    at.insert(i, 0);
                    let verdict = w.rq(0).should_preempt(e, now);
                    if let Some(c) = current {
                        let (cr, er) = (w.entity(c).rank(), w.entity(i).rank());
                        prop_assert!(verdict != Preempt::HigherClass || er.outranks(cr));
                        prop_assert!(verdict != Preempt::Fair || (er == cr && er == Rank::FAIR));
                    }
                }
                Op::WakeToRun(i) if i < n && !at.contains_key(&i) && current.is_none() => {
                    let e = w.entities[i];
                    // SAFETY: by the model it is on no queue; it lives as long as the queues.
                    let runs = unsafe { w.rq(0).enqueue_as_current(e, Enqueue::Wakeup, now) }.is_some();
                    let alone = at.iter().all(|(j, q)| *q != 0 || w.entity(i).rank().outranks(w.entity(*j).rank()) && w.entity(i).class() != w.entity(*j).class());
                    prop_assert!(!runs || alone);
                    prop_assert!(runs || !alone || w.entity(i).class() <= Class::Realtime, "only throttling forbids it, and Stop goes the long way");
                    prop_assert_eq!(w.rq(0).current(), runs.then_some(e));
                    if runs {
                        current = Some(i);
                    }
                }
                Op::HandOver(i) if i < n && !at.contains_key(&i) && current.is_some_and(|c| w.entity(i).rank().outranks(w.entity(c).rank())) => {
                    let e = w.entities[i];
                    // SAFETY: by the model it is on no queue; it lives as long as the queues.
                    let event = unsafe { w.rq(0).park_current_for(e, Enqueue::Wakeup, now) };
                    if let (Some(event), Some(c)) = (event, current) {
                        prop_assert_eq!(w.rq(0).current(), Some(e));
                        prop_assert_eq!(w.rq(0).nr_running(), at.values().filter(|q| **q == 0).count() + 2);
                        // Time passes before the queue is next locked; it is the urgent one's.
                        let lost = now;
                        now += 1000;
                        busy += 1000;
                        w.rq(0).put_back_parked();
                        prop_assert_eq!(w.entity(c).exec_start(), lost);
                        prop_assert!(w.entity(c).is_parked() && w.entity(c).on_rq() && !w.entity(c).is_current());
                        prop_assert!(event.is_none() || w.rq(0).next_event(now).is_some());
                        at.insert(c, 0);
                        current = Some(i);
                    }
                }
                Op::Stop(why) => {
                    w.rq(0).put_prev(why, now);
                    if let Some(c) = current.take()
                        && matches!(why, PutPrev::Preempted | PutPrev::Yield)
                    {
                        at.insert(c, 0);
                    }
                }
                Op::Pick { parked_only } if current.is_none() => {
                    let limit = if parked_only { PickLimit::FairParkedOnly } else { PickLimit::Any };
                    let queued: Vec<_> = at.iter().filter(|(_, q)| **q == 0).map(|(i, _)| *i).collect();
                    let best = queued.iter().map(|i| w.entity(*i).rank()).min();
                    match w.rq(0).pick(limit, now) {
                        Some(e) => {
                            let i = w.index(e);
                            prop_assert!(queued.contains(&i), "picked one that is not queued");
                            let rank = w.entity(i).rank();
                            if rank == Rank::FAIR {
                                check_fair_pick(&w, i, &queued, parked_only);
                            } else {
                                prop_assert_eq!(Some(rank), best);
                            }
                            at.remove(&i);
                            current = Some(i);
                        }
                        None => for i in queued {
                            let e = w.entity(i);
                            // Only throttled real-time, and under the limit the fair, may be left.
                            prop_assert!(e.rank() != Rank::STOP);
                            prop_assert!(e.rank() != Rank::FAIR || (parked_only && !e.is_parked()));
                        },
                    }
                }
                Op::Park => if let Some(c) = current.take() {
                    let parked = !w.entity(c).is_parked();
                    // SAFETY: it is current, and no other reference to it is alive.
                    unsafe { w.entities[c].as_mut().set_parked(parked) };
                    w.rq(0).put_prev(PutPrev::Preempted, now);
                    at.insert(c, 0);
                },
                Op::Move(i) => if let Some(&from) = at.get(&i) {
                    w.dequeue(from, i, now);
                    w.enqueue(1 - from, i, Enqueue::Migrated, now);
                    at.insert(i, 1 - from);
                },
                Op::Change(i, p) if i < n => {
                    let q = at.get(&i).copied().unwrap_or(0);
                    let _ = w.set_params(q, i, p, now);
                    prop_assert_eq!(w.entity(i).params(), p);
                }
                Op::Tick => {
                    let _ = w.rq(0).tick(now);
                    let event = w.rq(0).next_event(now);
                    prop_assert!(event.is_none_or(|t| t >= now));
                }
                Op::Pass(t) => {
                    now += t;
                    if current.is_some() {
                        busy += t;
                    }
                }
                _ => {}
            }
            let on = |q: usize| at.values().filter(|x| **x == q).count();
            prop_assert_eq!(w.rq(0).nr_running(), on(0) + usize::from(current.is_some()));
            prop_assert_eq!(w.rq(1).nr_running(), on(1));
            prop_assert_eq!(w.rq(0).current().map(|e| w.index(e)), current);
            let load: u64 = (0..n)
                .filter(|i| at.get(i) == Some(&0) || current == Some(*i))
                .filter(|i| w.entity(*i).rank() == Rank::FAIR)
                .map(|i| u64::from(w.entity(i).weight()))
                .sum();
            prop_assert_eq!(w.rq(0).load(), load);
            let c = w.rq(0).min_vruntime();
            prop_assert!(c.wrapping_sub(clock) as i64 >= 0, "the clock went back");
            clock = c;
        }
        w.rq(0).update_current(now);
        let charged: Nanos = (0..n).map(|i| w.entity(i).sum_exec_runtime()).sum();
        prop_assert_eq!(charged, busy);
    }

    /// Real-time entities come in the order of priority, and first in, first out within one.
    #[test]
    fn real_time_order(priorities in prop::collection::vec(1u8..=5, 1..40)) {
        let params: Vec<_> = priorities.iter().map(|p| Params::fifo(*p)).collect();
        let mut w = World::new(1, &params);
        let mut model: BTreeMap<u8, VecDeque<usize>> = BTreeMap::new();
        for (i, p) in priorities.iter().enumerate() {
            w.enqueue(0, i, Enqueue::Wakeup, 0);
            model.entry(*p).or_default().push_back(i);
        }
        for expected in model.into_values().rev().flatten() {
            let e = w.rq(0).pick(PickLimit::Any, 0).expect("one is left");
            prop_assert_eq!(w.index(e), expected);
            w.rq(0).put_prev(PutPrev::Sleep, 0);
        }
        prop_assert!(w.rq(0).pick(PickLimit::Any, 0).is_none());
    }

    /// Hogs of any weights, picked at any times, never have more service than their weight earns by more than a slice.
    #[test]
    fn service_follows_weight(
        nices in prop::collection::vec(-20i8..=19, 2..8),
        steps in prop::collection::vec(1u64..5 * MSEC, 2000),
    ) {
        let params: Vec<_> = nices.iter().map(|n| Params::normal(*n)).collect();
        let mut w = World::new(1, &params);
        for i in 0..nices.len() {
            w.enqueue(0, i, Enqueue::Migrated, 0);
        }
        let (mut now, mut longest) = (0, 0);
        for step in steps {
            let e = w.rq(0).pick(PickLimit::Any, now).expect("hogs do not sleep");
            let i = w.index(e);
            now += step;
            w.rq(0).put_prev(PutPrev::Preempted, now);
            // A stay is at most this much of anybody's virtual time.
            longest = longest.max(step * 1024 / u64::from(w.entity(i).weight()) + 2);
            let v: Vec<_> = (0..nices.len()).map(|i| w.entity(i).vruntime()).collect();
            let spread = v.iter().max().unwrap() - v.iter().min().unwrap();
            prop_assert!(spread <= longest, "{} > {}", spread, longest);
        }
    }
}
