//! Properties of whole runs: shares, real-time bandwidth, and time that adds up, for any mix of tasks.

#![expect(clippy::disallowed_methods, reason = "a test may abort when memory runs out")]

use proptest::prelude::*;
use vigil_executor::class::{Params, Policy};
use vigil_executor::sim::{Behaviour, Sim};
use vigil_executor::time::{MSEC, Nanos, SEC, USEC};

fn behaviour() -> impl Strategy<Value = Behaviour> {
    prop_oneof![
        Just(Behaviour::Hog),
        (10 * USEC..20 * MSEC, 10 * USEC..50 * MSEC).prop_map(|(run, sleep)| Behaviour::Sleeper { run, sleep }),
        (50 * USEC..5 * MSEC).prop_map(|run| Behaviour::Yielder { run }),
        (MSEC..SEC).prop_map(|run| Behaviour::Once { run }),
    ]
}

fn params() -> impl Strategy<Value = Params> {
    prop_oneof![
        3 => (-20i8..=19).prop_map(Params::normal),
        1 => Just(Params { policy: Policy::Batch, nice: 0, rt_priority: 0 }),
        1 => Just(Params { policy: Policy::Idle, nice: 0, rt_priority: 0 }),
        1 => (1u8..=99).prop_map(Params::fifo),
        1 => (1u8..=3).prop_map(Params::round_robin),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    /// Hogs share by weight; the error is a few slices, however long they run.
    #[test]
    fn hogs_share_by_weight(nices in prop::collection::vec(-20i8..=19, 2..10), seconds in 5u64..40) {
        let mut sim = Sim::new(1);
        let ids: Vec<_> = nices.iter().map(|n| sim.spawn(0, Params::normal(*n), Behaviour::Hog)).collect();
        sim.run(seconds * SEC);
        let total: u64 = nices.iter().map(|n| u64::from(Params::normal(*n).weight())).sum();
        for (id, nice) in ids.into_iter().zip(&nices) {
            let weight = u64::from(Params::normal(*nice).weight());
            let due = seconds * SEC * weight / total;
            let had = sim.runtime(id);
            prop_assert!(had.abs_diff(due) <= due / 200 + 13 * MSEC, "nice {}: {} instead of {}", nice, had, due);
        }
    }

    /// Whatever real-time does, it leaves 5 % of each second, and a fair hog gets all that is left.
    #[test]
    fn real_time_leaves_its_part(
        rt in prop::collection::vec(((1u8..=99), any::<bool>(), behaviour()), 1..6),
        seconds in 1u64..6,
    ) {
        let mut sim = Sim::new(1);
        let hog = sim.spawn(0, Params::DEFAULT, Behaviour::Hog);
        let rt: Vec<_> = rt.into_iter().map(|(priority, rr, behaviour)| {
            let params = if rr { Params::round_robin(priority) } else { Params::fifo(priority) };
            sim.spawn(0, params, behaviour)
        }).collect();
        for second in 1..=seconds {
            sim.run(SEC);
            let used: Nanos = rt.iter().map(|id| sim.runtime(*id)).sum();
            prop_assert!(used <= second * 950 * MSEC, "{} after {} s", used, second);
            prop_assert_eq!(sim.runtime(hog) + used, second * SEC);
        }
    }

    /// The CPU is never idle while somebody may run, and every nanosecond is charged to one entity.
    #[test]
    fn time_adds_up(tasks in prop::collection::vec((params(), behaviour()), 1..12), ticks in any::<bool>()) {
        let mut sim = Sim::new(1);
        if ticks {
            sim.set_tick(4 * MSEC);
        }
        let fair_hog = tasks.iter().any(|(p, b)| p.rt_priority == 0 && *b == Behaviour::Hog);
        let ids: Vec<_> = tasks.iter().map(|(p, b)| sim.spawn(0, *p, *b)).collect();
        sim.run(3 * SEC);
        let sum: Nanos = ids.iter().map(|id| sim.runtime(*id)).sum();
        prop_assert_eq!(sum + sim.idle(0), 3 * SEC);
        prop_assert!(!fair_hog || sim.idle(0) == 0);
    }

    /// With others beside it, nobody that is runnable waits for ever: each hog runs within what the others' weights
    /// and slices explain.
    #[test]
    fn nobody_starves(nices in prop::collection::vec(-5i8..=5, 2..30)) {
        let mut sim = Sim::new(1);
        let ids: Vec<_> = nices.iter().map(|n| sim.spawn(0, Params::normal(*n), Behaviour::Hog)).collect();
        sim.run(SEC);
        let before: Vec<_> = ids.iter().map(|id| sim.runtime(*id)).collect();
        sim.run(SEC);
        for (id, before) in ids.into_iter().zip(before) {
            prop_assert!(sim.runtime(id) > before, "task {} did not run for a second", id);
        }
    }

    /// At any time no hog is further from the service that its weight earns than one period, in which each runs once.
    #[test]
    fn the_lag_of_a_hog_is_bounded(nices in prop::collection::vec(-20i8..=19, 2..12), steps in prop::collection::vec(1u64..7 * MSEC, 300)) {
        let mut sim = Sim::new(1);
        let ids: Vec<_> = nices.iter().map(|n| sim.spawn(0, Params::normal(*n), Behaviour::Hog)).collect();
        // New ones begin a slice behind: from here on they are settled.
        sim.run(5 * SEC);
        let before: Vec<_> = ids.iter().map(|id| sim.runtime(*id)).collect();
        let (start, total) = (sim.now(), nices.iter().map(|n| u64::from(Params::normal(*n).weight())).sum::<u64>());
        let period = (6 * MSEC).max(nices.len() as u64 * 750 * USEC);
        for step in steps {
            sim.run(step);
            for (i, (id, nice)) in ids.iter().zip(&nices).enumerate() {
                let due = (sim.now() - start) * u64::from(Params::normal(*nice).weight()) / total;
                let had = sim.runtime(*id) - before[i];
                // Both at the beginning and now it may be off by a period.
                prop_assert!(had.abs_diff(due) <= 2 * period + due / 1000, "nice {}: {} instead of {}", nice, had, due);
            }
        }
    }
}
