//! The scheduling classes against what Linux 6.1 does: whole runs over virtual time (spec: measuring.md 5.2).

use vigil_executor::class::{Params, Policy, Tunables};
use vigil_executor::sim::{Behaviour, Sim};
use vigil_executor::time::{MSEC, Nanos, SEC, USEC};

const HOG: Behaviour = Behaviour::Hog;

#[track_caller]
fn assert_share(had: Nanos, of: Nanos, share: f64, tolerance: f64) {
    let got = had as f64 / of as f64;
    assert!((got / share - 1.0).abs() <= tolerance, "share {got:.5}, expected {share:.5}");
}

/// The times between one switch and the next.
fn slices(sim: &Sim, from: Nanos) -> Vec<Nanos> {
    let log: Vec<_> = sim.log(0).iter().filter(|(at, _)| *at >= from).collect();
    log.windows(2).map(|w| w[1].0 - w[0].0).collect()
}

#[test]
fn nice_levels_share_by_weight() {
    let mut sim = Sim::new(1);
    let levels = [(0, 1024), (5, 335), (10, 110), (19, 15)];
    let ids = levels.map(|(nice, _)| sim.spawn(0, Params::normal(nice), HOG));
    sim.run(30 * SEC);
    for (id, (_, weight)) in ids.into_iter().zip(levels) {
        assert_share(sim.runtime(id), 30 * SEC, weight as f64 / 1484.0, 0.005);
    }
    assert_eq!(sim.idle(0), 0);
}

#[test]
fn every_nice_step_shares_by_weight() {
    for nice in -20..19 {
        let mut sim = Sim::new(1);
        let a = sim.spawn(0, Params::normal(nice), HOG);
        let b = sim.spawn(0, Params::normal(nice + 1), HOG);
        sim.run(10 * SEC);
        let (wa, wb) = (Params::normal(nice).weight() as f64, Params::normal(nice + 1).weight() as f64);
        assert_share(sim.runtime(a), 10 * SEC, wa / (wa + wb), 0.005);
        assert_share(sim.runtime(b), 10 * SEC, wb / (wa + wb), 0.005);
    }
}

#[test]
fn equal_hogs_take_turns_of_half_the_period() {
    let mut sim = Sim::new(1);
    let ids = [sim.spawn(0, Params::DEFAULT, HOG), sim.spawn(0, Params::DEFAULT, HOG)];
    sim.run(5 * SEC);
    for id in ids {
        assert_share(sim.runtime(id), 5 * SEC, 0.5, 0.005);
    }
    for slice in slices(&sim, 100 * MSEC) {
        assert!(slice.abs_diff(3 * MSEC) < USEC, "slice {slice}");
    }
}

#[test]
fn with_a_4_ms_tick_equal_hogs_switch_as_often_as_on_linux() {
    let mut sim = Sim::new(1);
    sim.set_tick(4 * MSEC);
    let ids = [sim.spawn(0, Params::DEFAULT, HOG), sim.spawn(0, Params::DEFAULT, HOG)];
    sim.run(5 * SEC);
    for id in ids {
        assert_share(sim.runtime(id), 5 * SEC, 0.5, 0.005);
        let n = sim.stats(id).nivcsw;
        assert!((615..=630).contains(&n), "{n} switches");
    }
}

#[test]
fn many_hogs_get_at_least_the_minimal_granularity() {
    let mut sim = Sim::new(1);
    let ids: Vec<_> = (0..20).map(|_| sim.spawn(0, Params::DEFAULT, HOG)).collect();
    sim.run(SEC);
    let before: Vec<_> = ids.iter().map(|id| sim.runtime(*id)).collect();
    sim.run(6 * SEC);
    for (id, before) in ids.into_iter().zip(before) {
        assert_share(sim.runtime(id) - before, 6 * SEC, 0.05, 0.005);
    }
    for slice in slices(&sim, SEC) {
        assert!(slice >= 749 * USEC, "slice {slice}");
    }
}

#[test]
fn more_cpus_make_longer_slices() {
    for (cpus, slice) in [(1, 3), (2, 6), (4, 9), (8, 12), (64, 12)] {
        let mut sim = Sim::new(cpus);
        sim.spawn(0, Params::DEFAULT, HOG);
        sim.spawn(0, Params::DEFAULT, HOG);
        sim.run(SEC);
        let slices = slices(&sim, 200 * MSEC);
        let mean = slices.iter().sum::<Nanos>() / slices.len() as u64;
        assert!(mean.abs_diff(slice * MSEC) < 10 * USEC, "{cpus} CPUs: {mean}");
    }
}

#[test]
fn sched_idle_gets_three_parts_in_a_thousand() {
    let mut sim = Sim::new(1);
    let normal = sim.spawn(0, Params::DEFAULT, HOG);
    let idle = sim.spawn(0, Params { policy: Policy::Idle, nice: 0, rt_priority: 0 }, HOG);
    sim.run(60 * SEC);
    assert_share(sim.runtime(normal), 60 * SEC, 1024.0 / 1027.0, 0.001);
    assert_share(sim.runtime(idle), 60 * SEC, 3.0 / 1027.0, 0.05);
}

#[test]
fn a_sleeper_preempts_a_hog_as_soon_as_it_wakes() {
    let mut sim = Sim::new(1);
    sim.spawn(0, Params::DEFAULT, HOG);
    let sleeper = sim.spawn(0, Params::DEFAULT, Behaviour::Sleeper { run: 100 * USEC, sleep: 10 * MSEC });
    sim.run(SEC);
    let before = sim.stats(sleeper);
    sim.run(10 * SEC);
    let after = sim.stats(sleeper);
    assert!(after.nvcsw - before.nvcsw > 980);
    assert_eq!(after.run_delay, before.run_delay, "it waited for the CPU");
}

#[test]
fn a_batch_wakee_waits_for_the_slice() {
    let mut sim = Sim::new(1);
    sim.spawn(0, Params::DEFAULT, HOG);
    let batch = Params { policy: Policy::Batch, nice: 0, rt_priority: 0 };
    let sleeper = sim.spawn(0, batch, Behaviour::Sleeper { run: 100 * USEC, sleep: 10 * MSEC });
    sim.run(10 * SEC);
    let stats = sim.stats(sleeper);
    assert!(stats.run_delay / stats.nvcsw > 500 * USEC, "mean delay {}", stats.run_delay / stats.nvcsw);
}

#[test]
fn sleepers_do_not_take_more_than_their_share() {
    // It wants the CPU for 90 % of the time; its credit may not give it more than half.
    let mut sim = Sim::new(1);
    let hog = sim.spawn(0, Params::DEFAULT, HOG);
    let greedy = sim.spawn(0, Params::DEFAULT, Behaviour::Sleeper { run: 9 * MSEC, sleep: MSEC });
    sim.run(20 * SEC);
    let (hog, greedy) = (sim.runtime(hog) as f64 / 20e9, sim.runtime(greedy) as f64 / 20e9);
    assert!(hog >= 0.495 && greedy >= 0.45, "{hog} {greedy}");
}

#[test]
fn yielding_lets_the_other_run() {
    let mut sim = Sim::new(1);
    let ids = [(); 2].map(|()| sim.spawn(0, Params::DEFAULT, Behaviour::Yielder { run: 10 * USEC }));
    sim.run(SEC);
    for id in ids {
        assert_share(sim.runtime(id), SEC, 0.5, 0.01);
    }
    let turns = slices(&sim, 100 * MSEC);
    assert!(turns.iter().filter(|t| **t == 10 * USEC).count() * 100 >= turns.len() * 99);
}

#[test]
fn real_time_leaves_five_percent() {
    let mut sim = Sim::new(1);
    let fair = sim.spawn(0, Params::DEFAULT, HOG);
    let fifo = sim.spawn(0, Params::fifo(50), HOG);
    sim.run(5 * SEC);
    assert_eq!(sim.runtime(fair), 250 * MSEC);
    assert_eq!(sim.runtime(fifo), 4_750 * MSEC);
}

#[test]
fn real_time_alone_is_throttled_too() {
    let mut sim = Sim::new(1);
    sim.spawn(0, Params::fifo(1), HOG);
    sim.run(10 * SEC);
    assert_eq!(sim.idle(0), 500 * MSEC);
}

#[test]
fn without_a_limit_real_time_takes_all() {
    let mut sim = Sim::new(1);
    let t = Tunables { rt_runtime: None, ..*sim.rq(0).tunables() };
    sim.rq(0).set_tunables(t, 0);
    let fair = sim.spawn(0, Params::DEFAULT, HOG);
    sim.spawn(0, Params::fifo(50), HOG);
    sim.run(5 * SEC);
    assert_eq!(sim.runtime(fair), 0);
}

#[test]
fn round_robin_alternates_every_100_ms() {
    let mut sim = Sim::new(1);
    let t = Tunables { rt_runtime: None, ..*sim.rq(0).tunables() };
    sim.rq(0).set_tunables(t, 0);
    let ids = [sim.spawn(0, Params::round_robin(10), HOG), sim.spawn(0, Params::round_robin(10), HOG)];
    sim.run(4 * SEC);
    let expected: Vec<_> = (0..40).map(|i| (i * 100 * MSEC, ids[i as usize % 2])).collect();
    assert_eq!(sim.log(0)[..40], expected);
}

#[test]
fn fifo_does_not_alternate() {
    let mut sim = Sim::new(1);
    let first = sim.spawn(0, Params::fifo(10), HOG);
    let second = sim.spawn(0, Params::fifo(10), HOG);
    sim.run(4 * SEC);
    assert!(sim.runtime(first) > 0);
    assert_eq!(sim.runtime(second), 0);
}

#[test]
fn fifo_yield_goes_behind_its_equals() {
    let mut sim = Sim::new(1);
    let ids = [(); 3].map(|()| sim.spawn(0, Params::fifo(10), Behaviour::Yielder { run: MSEC }));
    sim.run(30 * MSEC);
    let order: Vec<_> = sim.log(0).iter().map(|(_, id)| *id).take(9).collect();
    assert_eq!(order, [ids, ids, ids].concat());
}

#[test]
fn a_preempted_fifo_task_goes_on_before_its_equals() {
    let mut sim = Sim::new(1);
    let a = sim.spawn(0, Params::fifo(10), HOG);
    let b = sim.spawn(0, Params::fifo(10), HOG);
    let high = sim.spawn(0, Params::fifo(20), Behaviour::Sleeper { run: MSEC, sleep: 9 * MSEC });
    sim.run(500 * MSEC);
    assert_eq!(sim.runtime(high), 50 * MSEC);
    assert_eq!(sim.runtime(a), 450 * MSEC);
    assert_eq!(sim.runtime(b), 0);
}

#[test]
fn a_real_time_wakee_never_waits_for_fair_ones() {
    let mut sim = Sim::new(1);
    for nice in [-20, 0, 19] {
        sim.spawn(0, Params::normal(nice), HOG);
    }
    let rt = sim.spawn(0, Params::fifo(1), Behaviour::Sleeper { run: 50 * USEC, sleep: 777 * USEC });
    sim.run(5 * SEC);
    assert_eq!(sim.stats(rt).run_delay, 0);
}

#[test]
fn a_lone_task_needs_no_timer() {
    let mut sim = Sim::new(1);
    sim.spawn(0, Params::DEFAULT, HOG);
    sim.run(SEC);
    let now = sim.now();
    assert_eq!(sim.rq(0).next_event(now), None);
    sim.spawn(0, Params::DEFAULT, HOG);
    let event = sim.rq(0).next_event(now);
    assert!(event.is_some_and(|at| at <= now + 9 * MSEC), "{event:?}");
}

#[test]
fn a_hog_keeps_its_place_in_line_when_it_migrates() {
    // CPU 1 has run ahead by seconds; who comes from CPU 0 neither starves nor takes over.
    let mut sim = Sim::new(2);
    let old = [sim.spawn(1, Params::DEFAULT, HOG), sim.spawn(1, Params::DEFAULT, HOG)];
    sim.run(10 * SEC);
    let moved = sim.spawn(0, Params::DEFAULT, HOG);
    sim.run(SEC);
    sim.migrate(moved, 1);
    let all = [old[0], old[1], moved];
    let before = all.map(|id| sim.runtime(id));
    sim.run(3 * SEC);
    for (id, before) in all.into_iter().zip(before) {
        assert_share(sim.runtime(id) - before, 3 * SEC, 1.0 / 3.0, 0.01);
    }
    sim.migrate(moved, 0);
    let before = sim.runtime(moved);
    sim.run(SEC);
    assert_eq!(sim.runtime(moved) - before, SEC);
}

#[test]
fn a_sleeper_that_wakes_elsewhere_gets_no_more_than_a_sleepers_credit() {
    let mut sim = Sim::new(2);
    let hog = sim.spawn(1, Params::DEFAULT, HOG);
    let sleeper = sim.spawn(0, Params::DEFAULT, Behaviour::Sleeper { run: 100 * MSEC, sleep: 5 * SEC });
    sim.run(SEC);
    sim.migrate(sleeper, 1);
    let (hog_had, sleeper_had) = (sim.runtime(hog), sim.runtime(sleeper));
    // It wakes after 4.1 s more; then the two share.
    sim.run(4 * SEC + 250 * MSEC);
    let (hog_ran, sleeper_ran) = (sim.runtime(hog) - hog_had, sim.runtime(sleeper) - sleeper_had);
    assert!((69 * MSEC..=87 * MSEC).contains(&sleeper_ran), "{sleeper_ran}");
    assert_eq!(hog_ran + sleeper_ran, 4 * SEC + 250 * MSEC);
}

#[test]
fn raising_and_lowering_priorities_takes_effect_at_once() {
    let mut sim = Sim::new(1);
    let a = sim.spawn(0, Params::DEFAULT, HOG);
    let b = sim.spawn(0, Params::DEFAULT, HOG);
    sim.run(SEC);
    sim.set_params(b, Params::fifo(1));
    let had = sim.runtime(a);
    sim.run(900 * MSEC);
    assert_eq!(sim.runtime(a), had, "a fair task ran beside a FIFO hog");
    sim.set_params(b, Params::normal(10));
    let (had_a, had_b) = (sim.runtime(a), sim.runtime(b));
    sim.run(10 * SEC);
    assert_share(sim.runtime(a) - had_a, 10 * SEC, 1024.0 / 1134.0, 0.005);
    assert_share(sim.runtime(b) - had_b, 10 * SEC, 110.0 / 1134.0, 0.005);
}

#[test]
fn run_time_and_idle_time_add_up() {
    let mut sim = Sim::new(1);
    let ids = [
        sim.spawn(0, Params::normal(3), Behaviour::Sleeper { run: 300 * USEC, sleep: 2 * MSEC }),
        sim.spawn(0, Params::fifo(3), Behaviour::Sleeper { run: 200 * USEC, sleep: 5 * MSEC }),
        sim.spawn(0, Params::DEFAULT, Behaviour::Once { run: 700 * MSEC }),
    ];
    sim.run(3 * SEC);
    let sum: Nanos = ids.iter().map(|id| sim.runtime(*id)).sum();
    assert_eq!(sum + sim.idle(0), 3 * SEC);
    assert_eq!(sim.runtime(ids[2]), 700 * MSEC);
}

#[test]
fn a_yielder_does_not_stall_the_hogs_beside_it() {
    // The hog's slice ended, and the pick passed over the yielder, brought the hog back, and so on for ever.
    let mut sim = Sim::new(1);
    let yielder = sim.spawn(0, Params::DEFAULT, Behaviour::Yielder { run: 50 * USEC });
    let strong = sim.spawn(0, Params::normal(-8), HOG);
    let weak = sim.spawn(0, Params { policy: Policy::Batch, nice: 0, rt_priority: 0 }, HOG);
    sim.run(3 * SEC);
    let sum: Nanos = [yielder, strong, weak].into_iter().map(|id| sim.runtime(id)).sum();
    assert_eq!(sum, 3 * SEC);
    assert!(sim.runtime(strong) > sim.runtime(weak));
}
