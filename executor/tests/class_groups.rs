//! Groups of the fair class: shares, nesting, limits, and that nothing is lost however tasks and groups come and go.
#![cfg(not(loom))]

use proptest::prelude::*;
use std::ptr::NonNull;
use vigil_executor::class::{Enqueue, Entity, OwnedGroup, Params, PickLimit, Policy, PutPrev, RunQueue};
use vigil_executor::sim::{Behaviour, GroupId, Sim, TaskId};
use vigil_executor::time::{MSEC, Nanos, SEC};

fn hog(sim: &mut Sim, cpu: usize, group: Option<GroupId>) -> TaskId {
    let id = sim.spawn(cpu, Params::DEFAULT, Behaviour::Hog);
    sim.set_group(id, group);
    id
}

fn runtime(sim: &mut Sim, ids: &[TaskId]) -> Nanos {
    ids.iter().map(|id| sim.runtime(*id)).sum()
}

fn near(had: Nanos, due: Nanos, thousandths: u64) -> bool {
    had.abs_diff(due) <= due * thousandths / 1000
}

#[test]
fn groups_share_by_their_weights_whatever_is_in_them() {
    let mut sim = Sim::new(1);
    let (a, b) = (sim.group(None), sim.group(None));
    sim.set_shares(a, 1024, false);
    sim.set_shares(b, 3072, false);
    let in_a: Vec<_> = (0..5).map(|_| hog(&mut sim, 0, Some(a))).collect();
    let in_b = [hog(&mut sim, 0, Some(b))];
    sim.run(30 * SEC);
    let (had_a, had_b) = (runtime(&mut sim, &in_a), runtime(&mut sim, &in_b));
    assert_eq!(had_a + had_b, 30 * SEC);
    assert!(near(had_a, 30 * SEC / 4, 10), "{had_a}");
    for id in in_a {
        let had = sim.runtime(id);
        assert!(near(had, 30 * SEC / 20, 15), "{had}");
    }
}

#[test]
fn a_group_beside_tasks_of_the_root_is_like_one_of_them() {
    let mut sim = Sim::new(1);
    let a = sim.group(None);
    let inside: Vec<_> = (0..3).map(|_| hog(&mut sim, 0, Some(a))).collect();
    let outside = hog(&mut sim, 0, None);
    sim.run(20 * SEC);
    let had = runtime(&mut sim, &inside);
    assert!(near(had, 10 * SEC, 10), "{had}");
    assert_eq!(had + sim.runtime(outside), 20 * SEC);
}

#[test]
fn nested_groups_divide_what_their_parent_has() {
    let mut sim = Sim::new(1);
    let top = sim.group(None);
    let (left, right) = (sim.group(Some(top)), sim.group(Some(top)));
    sim.set_shares(right, 2048, false);
    let l = hog(&mut sim, 0, Some(left));
    let r = hog(&mut sim, 0, Some(right));
    let root = hog(&mut sim, 0, None);
    sim.run(30 * SEC);
    assert!(near(sim.runtime(root), 15 * SEC, 10));
    assert!(near(sim.runtime(l), 5 * SEC, 10), "{}", sim.runtime(l));
    assert!(near(sim.runtime(r), 10 * SEC, 10));
}

#[test]
fn an_idle_group_gets_what_its_weight_3_is_worth() {
    let mut sim = Sim::new(1);
    let a = sim.group(None);
    sim.set_shares(a, 1024, true);
    let inside = hog(&mut sim, 0, Some(a));
    let outside = hog(&mut sim, 0, None);
    sim.run(60 * SEC);
    assert!(near(sim.runtime(inside), 60 * SEC * 3 / 1027, 100), "{}", sim.runtime(inside));
    assert!(sim.runtime(outside) > 59 * SEC);
}

#[test]
fn a_quota_is_kept() {
    let mut sim = Sim::new(1);
    let a = sim.group(None);
    sim.set_bandwidth(a, Some(25 * MSEC), 100 * MSEC, 0);
    let inside: Vec<_> = (0..3).map(|_| hog(&mut sim, 0, Some(a))).collect();
    sim.run(10 * SEC);
    let had = runtime(&mut sim, &inside);
    assert!(near(had, 2500 * MSEC, 10), "{had}");
    assert_eq!(sim.idle(0) + had, 10 * SEC);
    let b = sim.bandwidth(a);
    assert!((98..=101).contains(&b.nr_periods) && b.nr_throttled.abs_diff(b.nr_periods) <= 1, "{b:?}");
    assert!(near(b.throttled_time, 7500 * MSEC, 20), "{b:?}");
    // Without the limit it has all.
    sim.set_bandwidth(a, None, 100 * MSEC, 0);
    sim.run(SEC);
    assert_eq!(runtime(&mut sim, &inside), had + SEC);
}

#[test]
fn a_quota_is_one_for_all_cpus_and_for_groups_below() {
    let mut sim = Sim::new(2);
    let a = sim.group(None);
    let below = sim.group(Some(a));
    sim.set_bandwidth(a, Some(50 * MSEC), 100 * MSEC, 0);
    let inside = [hog(&mut sim, 0, Some(a)), hog(&mut sim, 0, Some(below)), hog(&mut sim, 1, Some(below))];
    // CPUs of the simulator take turns: not longer than a slice, for they share a pool.
    for _ in 0..10_000 {
        sim.run(MSEC);
    }
    let had = runtime(&mut sim, &inside);
    assert!(near(had, 5 * SEC, 10), "{had}");
}

#[test]
fn weights_on_two_cpus_follow_the_load() {
    let mut sim = Sim::new(2);
    let (a, b) = (sim.group(None), sim.group(None));
    // Each CPU has one of both: half of each group's weight is there, so all is even.
    let in_a = [hog(&mut sim, 0, Some(a)), hog(&mut sim, 1, Some(a))];
    let in_b = [hog(&mut sim, 0, Some(b)), hog(&mut sim, 1, Some(b))];
    // And a task of the root on the first: it weighs 1024 there against 512 of each group.
    let root = hog(&mut sim, 0, None);
    for _ in 0..20_000 {
        sim.run(MSEC);
    }
    let had = sim.runtime(root);
    assert!(near(had, 10 * SEC, 30), "{had}");
    let (a, b) = (runtime(&mut sim, &in_a), runtime(&mut sim, &in_b));
    assert!(near(a, b, 30), "{a} {b}");
}

/// One step of a random history.
#[derive(Clone, Copy, Debug)]
enum Step {
    Spawn(usize, usize, u8),
    Move(usize, usize),
    Migrate(usize, usize),
    Policy(usize, u8),
    Shares(usize, u32),
    Limit(usize, u64),
    Run(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => (0usize..2, 0usize..5, 0u8..4).prop_map(|(cpu, group, kind)| Step::Spawn(cpu, group, kind)),
        1 => (0usize..32, 0usize..5).prop_map(|(task, group)| Step::Move(task, group)),
        1 => (0usize..32, 0usize..2).prop_map(|(task, cpu)| Step::Migrate(task, cpu)),
        1 => (0usize..32, 0u8..4).prop_map(|(task, kind)| Step::Policy(task, kind)),
        1 => (0usize..4, 2u32..10_000).prop_map(|(group, shares)| Step::Shares(group, shares)),
        1 => (0usize..4, 0u64..30).prop_map(|(group, quota)| Step::Limit(group, quota)),
        3 => (1u64..50).prop_map(Step::Run),
    ]
}

fn params(kind: u8) -> Params {
    match kind {
        0 => Params::DEFAULT,
        1 => Params::normal(7),
        2 => Params { policy: Policy::Idle, nice: 0, rt_priority: 0 },
        _ => Params::fifo(5),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever comes and goes, each nanosecond is somebody's or idle, and in the end everybody runs on.
    #[test]
    fn nothing_is_lost(steps in prop::collection::vec(step(), 1..120)) {
        let mut sim = Sim::new(2);
        let a = sim.group(None);
        let b = sim.group(Some(a));
        let c = sim.group(Some(b));
        let d = sim.group(None);
        let groups = [None, Some(a), Some(b), Some(c), Some(d)];
        let mut tasks: Vec<TaskId> = Vec::new();
        let mut total = 0;
        for step in steps {
            let of = |i: usize, tasks: &[TaskId]| tasks.get(i % tasks.len().max(1)).copied();
            match step {
                Step::Spawn(cpu, group, kind) if tasks.len() < 32 => {
                    let behaviour = match kind {
                        0 => Behaviour::Hog,
                        1 => Behaviour::Sleeper { run: 300_000, sleep: 2 * MSEC },
                        2 => Behaviour::Yielder { run: 700_000 },
                        _ => Behaviour::Sleeper { run: 4 * MSEC, sleep: 9 * MSEC },
                    };
                    let id = sim.spawn(cpu, Params::DEFAULT, behaviour);
                    sim.set_group(id, groups[group]);
                    tasks.push(id);
                }
                Step::Spawn(..) => {}
                Step::Move(task, group) => if let Some(id) = of(task, &tasks) { sim.set_group(id, groups[group]) },
                Step::Migrate(task, cpu) => if let Some(id) = of(task, &tasks) { sim.migrate(id, cpu) },
                Step::Policy(task, kind) => if let Some(id) = of(task, &tasks) { sim.set_params(id, params(kind)) },
                Step::Shares(group, shares) => sim.set_shares(group, shares, shares % 7 == 0),
                Step::Limit(group, quota) => sim.set_bandwidth(group, (quota != 0).then_some(quota * MSEC), 50 * MSEC, 0),
                Step::Run(ms) => for _ in 0..ms {
                    sim.run(MSEC);
                    total += MSEC;
                },
            }
        }
        let sum = runtime(&mut sim, &tasks);
        prop_assert_eq!(sum + sim.idle(0) + sim.idle(1), 2 * total);
        // Without limits, and alone in the fair class, all go on.
        for group in [a, b, c, d] {
            sim.set_bandwidth(group, None, 100 * MSEC, 0);
            sim.set_shares(group, 1024, false);
        }
        for id in &tasks {
            sim.set_params(*id, Params::DEFAULT);
        }
        let before: Vec<_> = tasks.iter().map(|id| sim.runtime(*id)).collect();
        // Who ran with a small weight has virtual time to wait for, in a group that has little.
        for _ in 0..30 {
            sim.run(20 * SEC);
            if tasks.iter().zip(&before).all(|(id, before)| sim.runtime(*id) > *before) {
                break;
            }
        }
        for (id, before) in tasks.iter().zip(before) {
            prop_assert!(sim.runtime(*id) > before, "task {} does not run", id);
        }
    }
}

#[test]
fn who_leaves_a_group_that_is_held_back_is_no_load_of_it_any_more() {
    let mut sim = Sim::new(2);
    let (a, b) = (sim.group(None), sim.group(None));
    sim.set_bandwidth(a, Some(150 * MSEC), 100 * MSEC, 0);
    let stays = hog(&mut sim, 0, Some(a));
    let leaves = hog(&mut sim, 1, Some(a));
    for _ in 0..95 {
        sim.run(MSEC);
    }
    // The quota is used up on both CPUs; what is left needs less than it from now on.
    sim.set_group(leaves, None);
    let other = hog(&mut sim, 0, Some(b));
    sim.run(5 * SEC);
    let before = [sim.runtime(stays), sim.runtime(other)];
    sim.run(10 * SEC);
    let had = sim.runtime(stays) - before[0];
    assert!(near(had, 5 * SEC, 20), "{had} and {}", sim.runtime(other) - before[1]);
}

#[test]
fn when_stacks_are_short_a_group_that_is_held_back_keeps_nobody_else_from_running() {
    let rq = Box::leak(Box::new(RunQueue::new()));
    let [inside, outside] = [Params::DEFAULT; 2].map(|p| NonNull::from(Box::leak(Box::new(Entity::new(p)))));
    let group: &OwnedGroup = Box::leak(Box::new(OwnedGroup::try_new(None, 1, |_| {}).unwrap()));
    group.note_bandwidth(Some(MSEC), SEC, 0, 0);
    // SAFETY: all of them live for ever, and no other reference is alive.
    unsafe {
        let _ = rq.set_group(inside, Some(NonNull::from(&**group)), 0);
        rq.enqueue(inside, Enqueue::Wakeup, 0);
        assert_eq!(rq.pick(PickLimit::Any, 0), Some(inside));
        (*inside.as_ptr()).set_parked(true);
        rq.put_prev(PutPrev::Preempted, 2 * MSEC);
        rq.enqueue(outside, Enqueue::Wakeup, 2 * MSEC);
        assert_eq!(rq.pick(PickLimit::Any, 2 * MSEC), Some(outside), "the limit is used up");
        (*outside.as_ptr()).set_parked(true);
        rq.put_prev(PutPrev::Preempted, 50 * MSEC);
    }
    assert_eq!(rq.pick(PickLimit::FairParkedOnly, 50 * MSEC), Some(outside));
}
