//! The deadline class over virtual time: earliest deadline first, isolation, throttling, reclaiming, admission.

use proptest::prelude::*;
use vigil_executor::class::{DlParams, Params};
use vigil_executor::sim::{Behaviour, Sim, TaskId};
use vigil_executor::time::{MSEC, Nanos, SEC, USEC};

const HOG: Behaviour = Behaviour::Hog;

fn dl(runtime: Nanos, deadline: Nanos, period: Nanos) -> DlParams {
    DlParams { runtime, deadline, period, ..DlParams::NONE }
}

fn implicit(runtime: Nanos, period: Nanos) -> DlParams {
    dl(runtime, period, period)
}

fn start(sim: &mut Sim, p: DlParams, behaviour: Behaviour) -> TaskId {
    sim.spawn_deadline(0, p, behaviour).expect("not admitted")
}

/// A machine that promises all of its time.
fn unlimited() -> Sim {
    let sim = Sim::new(1);
    sim.domain().set_limit(SEC, None, 0).unwrap();
    sim
}

#[test]
fn a_hog_gets_its_budget_and_no_more() {
    for (runtime, period) in [(10, 100), (30, 100), (1, 4), (7, 13)] {
        let mut sim = Sim::new(1);
        let id = start(&mut sim, implicit(runtime * MSEC, period * MSEC), HOG);
        let other = sim.spawn(0, Params::DEFAULT, HOG);
        let periods = 100;
        sim.run(periods * period * MSEC);
        assert_eq!(sim.runtime(id), periods * runtime * MSEC, "{runtime}/{period}");
        assert_eq!(sim.runtime(other), periods * (period - runtime) * MSEC);
    }
}

#[test]
fn alone_it_is_throttled_too() {
    let mut sim = Sim::new(1);
    let id = start(&mut sim, implicit(10 * MSEC, 100 * MSEC), HOG);
    sim.run(SEC);
    assert_eq!((sim.runtime(id), sim.idle(0)), (100 * MSEC, 900 * MSEC));
}

#[test]
fn it_outranks_fifo_and_fair() {
    let mut sim = Sim::new(1);
    let hog = sim.spawn(0, Params::fifo(99), HOG);
    let id = start(&mut sim, implicit(30 * MSEC, 100 * MSEC), Behaviour::Periodic { run: 25 * MSEC, period: 100 * MSEC });
    sim.run(10 * SEC);
    assert_eq!(sim.worst_response(id), 25 * MSEC);
    assert!(sim.runtime(hog) > 0);
}

#[test]
fn deadline_and_real_time_together_leave_fair_its_share() {
    let mut sim = Sim::new(1);
    let fair = sim.spawn(0, Params::DEFAULT, HOG);
    let fifo = sim.spawn(0, Params::fifo(10), HOG);
    let id = start(&mut sim, implicit(50 * MSEC, 100 * MSEC), HOG);
    sim.run(20 * SEC);
    assert_eq!(sim.runtime(id), 10 * SEC);
    let share = sim.runtime(fair) as f64 / (20 * SEC) as f64;
    assert!((0.048..=0.052).contains(&share), "{share}");
    assert!(sim.runtime(fifo) > 85 * SEC / 10);
}

#[test]
fn thirty_of_a_hundred_beside_ten_hogs_misses_nothing_in_10_000_periods() {
    let mut sim = Sim::new(1);
    for _ in 0..10 {
        sim.spawn(0, Params::DEFAULT, HOG);
    }
    let id = start(&mut sim, implicit(30 * MSEC, 100 * MSEC), Behaviour::Periodic { run: 30 * MSEC, period: 100 * MSEC });
    sim.run(10_000 * 100 * MSEC);
    assert_eq!(sim.worst_response(id), 30 * MSEC);
    assert_eq!(sim.runtime(id), 10_000 * 30 * MSEC);
}

#[test]
fn yield_gives_up_the_rest_of_the_period() {
    let mut sim = Sim::new(1);
    let id = start(&mut sim, implicit(30 * MSEC, 100 * MSEC), Behaviour::Yielder { run: 5 * MSEC });
    sim.run(10 * SEC);
    assert_eq!(sim.runtime(id), 100 * 5 * MSEC);
}

#[test]
fn a_constrained_deadline_runs_once_in_its_period() {
    let mut sim = Sim::new(1);
    // Sleeps just beyond its deadline each time: without the rule it would get a new budget there.
    let id = start(&mut sim, dl(10 * MSEC, 20 * MSEC, 100 * MSEC), Behaviour::Sleeper { run: 10 * MSEC, sleep: 11 * MSEC });
    sim.run(10 * SEC);
    assert!(sim.runtime(id) <= 101 * 10 * MSEC, "{}", sim.runtime(id));
    assert!(sim.runtime(id) >= 99 * 10 * MSEC, "{}", sim.runtime(id));
}

#[test]
fn the_kernels_example_of_reclaiming() {
    // sched-deadline.rst, section 2.2: T1 4/8 reclaims, T2 4/8 sleeps at once; Umax is 1 there.
    let mut sim = unlimited();
    let t1 = start(&mut sim, DlParams { reclaim: true, ..implicit(4 * MSEC, 8 * MSEC) }, HOG);
    let t2 = start(&mut sim, DlParams { reclaim: true, ..implicit(4 * MSEC, 8 * MSEC) }, Behaviour::Once { run: 4 * MSEC });
    sim.run(8 * MSEC);
    assert_eq!(sim.runtime(t2), 4 * MSEC);
    sim.run(80 * MSEC);
    // T2 has ended: what it leaves is not T1's by right of inactivity once it is given back, but T1 has at least its own.
    assert!(sim.runtime(t1) >= 44 * MSEC);
}

#[test]
fn one_that_reclaims_uses_what_a_sleeper_leaves() {
    let run = |reclaim| {
        let mut sim = Sim::new(1);
        let hog = start(&mut sim, DlParams { reclaim, ..implicit(40 * MSEC, 100 * MSEC) }, HOG);
        let sleeper = start(&mut sim, implicit(20 * MSEC, 50 * MSEC), Behaviour::Periodic { run: 5 * MSEC, period: 50 * MSEC });
        sim.run(10 * SEC);
        assert!(sim.worst_response(sleeper) <= 50 * MSEC);
        sim.runtime(hog)
    };
    assert_eq!(run(false), 4 * SEC);
    let with = run(true);
    assert!(with > 5 * SEC, "{with}");
    assert!(with < 95 * SEC / 10 - SEC, "{with}");
}

#[test]
fn admission_is_exact() {
    let mut sim = Sim::new(1);
    assert!(sim.spawn_deadline(0, implicit(951 * MSEC, SEC), HOG).is_none());
    let id = start(&mut sim, implicit(950 * MSEC, SEC), HOG);
    assert!(sim.spawn_deadline(0, implicit(2 * USEC, SEC), HOG).is_none());
    assert!(sim.set_deadline(id, implicit(500 * MSEC, SEC)), "its own counts for itself");
    let second = start(&mut sim, implicit(450 * MSEC, SEC), HOG);
    assert!(!sim.set_deadline(second, implicit(451 * MSEC, SEC)));
    assert!(sim.domain().set_limit(SEC, Some(900 * MSEC), sim.now()).is_err());
}

#[test]
fn two_cpus_promise_twice_as_much() {
    let mut sim = Sim::new(2);
    for cpu in 0..2 {
        assert!(sim.spawn_deadline(cpu, implicit(950 * MSEC, SEC), HOG).is_some());
    }
    assert!(sim.spawn_deadline(0, implicit(10 * USEC, SEC), HOG).is_none());
}

#[test]
fn what_is_given_back_counts_until_the_zero_lag_time() {
    let mut sim = Sim::new(1);
    let id = start(&mut sim, implicit(500 * MSEC, SEC), HOG);
    sim.run(100 * MSEC);
    // 100 of 500 ms used: at 200 ms it would have used as much anyhow.
    sim.set_params(id, Params::DEFAULT);
    assert!(sim.spawn_deadline(0, implicit(500 * MSEC, SEC), HOG).is_none());
    sim.run(99 * MSEC);
    assert!(sim.spawn_deadline(0, implicit(500 * MSEC, SEC), HOG).is_none());
    sim.run(2 * MSEC);
    assert!(sim.spawn_deadline(0, implicit(500 * MSEC, SEC), HOG).is_some());
    assert_eq!(sim.domain().total(sim.now()), 1 << 19);
}

#[test]
fn the_end_of_a_task_gives_its_bandwidth_back() {
    let mut sim = Sim::new(1);
    start(&mut sim, implicit(500 * MSEC, SEC), Behaviour::Once { run: 50 * MSEC });
    sim.run(60 * MSEC);
    assert_eq!(sim.domain().total(sim.now()), 1 << 19);
    sim.run(50 * MSEC);
    assert_eq!(sim.domain().total(sim.now()), 0);
    assert_eq!(sim.rq(0).deadline_bandwidth(), (0, 0));
}

#[test]
fn leaving_and_coming_back_renews_no_budget() {
    let mut sim = Sim::new(1);
    let p = implicit(10 * MSEC, 100 * MSEC);
    let id = start(&mut sim, p, HOG);
    let other = sim.spawn(0, Params::fifo(1), HOG);
    sim.run(50 * MSEC);
    assert_eq!(sim.runtime(id), 10 * MSEC);
    sim.set_params(id, Params::DEFAULT);
    assert!(sim.set_deadline(id, p));
    sim.run(40 * MSEC);
    assert_eq!(sim.runtime(id), 10 * MSEC, "throttled till its period ends");
    assert_eq!(sim.runtime(other), 80 * MSEC);
    sim.run(30 * MSEC);
    assert_eq!(sim.runtime(id), 20 * MSEC);
}

fn set() -> impl Strategy<Value = Vec<(u64, u64)>> {
    prop::collection::vec((1u64..40, 1u64..60), 1..8)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, failure_persistence: None, ..ProptestConfig::default() })]

    /// Earliest deadline first meets every deadline of a set whose densities sum up to no more than one.
    #[test]
    fn a_schedulable_set_misses_nothing(set in set()) {
        let mut sim = unlimited();
        let mut left = 1u64 << 20;
        let mut tasks = Vec::new();
        for (share, period) in set {
            let period = (period + 3) * MSEC + share * 1000;
            let runtime = period * share / 40;
            let p = implicit(runtime, period);
            if p.bandwidth() >= left || runtime < 1024 {
                continue;
            }
            left -= p.bandwidth() + 1;
            tasks.push((start(&mut sim, p, Behaviour::Periodic { run: runtime, period }), period));
        }
        sim.spawn(0, Params::fifo(50), HOG);
        sim.run(3 * SEC);
        for (id, period) in tasks {
            prop_assert!(sim.worst_response(id) <= period, "{} of {period}", sim.worst_response(id));
        }
    }

    /// One that wants more than its budget, or sleeps and wakes as it likes, takes nothing from the others.
    #[test]
    fn misbehaviour_harms_nobody_else(
        (q, t) in (1u64..20, 20u64..50),
        (run, sleep) in (1u64..60_000, 1u64..60_000),
        victims in prop::collection::vec((20u64..80, 1u64..10), 1..4),
    ) {
        let mut sim = unlimited();
        let p = implicit(q * MSEC, t * MSEC);
        let rude = start(&mut sim, p, Behaviour::Sleeper { run: run * USEC, sleep: sleep * USEC });
        let mut left = (1u64 << 20) - p.bandwidth();
        let mut tasks = Vec::new();
        for (period, part) in victims {
            let p = implicit(period * MSEC * part / 20, period * MSEC);
            if p.bandwidth() + 1 < left {
                left -= p.bandwidth() + 1;
                tasks.push((start(&mut sim, p, Behaviour::Periodic { run: p.runtime, period: p.period }), p.period));
            }
        }
        sim.run(2 * SEC);
        for (id, period) in tasks {
            // A budget may be overdrawn by 10 us at a time.
            prop_assert!(sim.worst_response(id) <= period + 200 * USEC);
        }
        prop_assert!(sim.runtime(rude) <= 2 * SEC * q / t + q * MSEC + MSEC);
    }

    /// Whatever is done to them, runnable entities run again, and the counts of bandwidth end where they began.
    #[test]
    fn nobody_is_lost(ops in prop::collection::vec((0usize..6, 0usize..4, 1u64..30), 1..120)) {
        let mut sim = Sim::new(2);
        let behaviours = [HOG, Behaviour::Sleeper { run: 3 * MSEC, sleep: 7 * MSEC }, Behaviour::Yielder { run: MSEC }, HOG];
        let ids: Vec<_> = behaviours.into_iter().enumerate().map(|(i, b)| sim.spawn(i % 2, Params::DEFAULT, b)).collect();
        for (op, which, n) in ops {
            let id = ids[which];
            match op {
                0 => sim.set_params(id, Params::fifo(n as u8)),
                1 => sim.set_params(id, Params::normal(n as i8 - 15)),
                2 => drop(sim.set_deadline(id, implicit(n * MSEC, 50 * MSEC))),
                3 => drop(sim.set_deadline(id, dl(n * 100 * USEC, 5 * MSEC, 20 * MSEC))),
                4 => sim.migrate(id, n as usize % 2),
                _ => sim.run(n * MSEC),
            }
            for cpu in 0..2 {
                let (this, running) = sim.rq(cpu).deadline_bandwidth();
                prop_assert!(running <= this && this <= 1 << 22);
            }
        }
        // What a reservation that ended had counts until its zero-lag time, and then no more: there is room for all.
        for id in &ids {
            sim.set_params(*id, Params::DEFAULT);
        }
        sim.run(SEC);
        for id in &ids {
            prop_assert!(sim.set_deadline(*id, implicit(5 * MSEC, 50 * MSEC)));
        }
        sim.run(10 * SEC);
        for id in &ids {
            let before = sim.runtime(*id);
            sim.run(SEC);
            let had = sim.runtime(*id) - before;
            prop_assert!(had > 0, "{id} does not run any more");
        }
        for id in &ids {
            sim.set_params(*id, Params::DEFAULT);
        }
        for cpu in 0..2 {
            prop_assert_eq!(sim.rq(cpu).deadline_bandwidth(), (0, 0));
        }
        sim.run(SEC);
        prop_assert_eq!(sim.domain().total(sim.now()), 0);
    }
}

#[test]
fn who_is_woken_to_run_at_once_hears_of_the_next_period() {
    use std::ptr::NonNull;
    use vigil_executor::class::{Enqueue, Entity, PickLimit, Policy, PutPrev, Reservation, RunQueue};
    for params in [Params::fifo(50), Params::DEFAULT] {
        // As long as entities live that were ever on it: for ever.
        let rq = Box::leak(Box::new(RunQueue::new()));
        let [reserved, woken] = [Params::DEFAULT, params].map(|p| NonNull::from(Box::leak(Box::new(Entity::new(p)))));
        // SAFETY: all of them stay where they are, and nobody else has them.
        unsafe {
            let dl = NonNull::from(Box::leak(Box::new(Reservation::new(reserved, |_| {}))));
            (*reserved.as_ptr()).set_reservation(dl);
            rq.reserve(reserved, implicit(10 * MSEC, 100 * MSEC), 0).unwrap();
            rq.set_params(reserved, Params { policy: Policy::Deadline, ..Params::DEFAULT }, 0);
            rq.enqueue(reserved, Enqueue::Wakeup, 0);
            assert_eq!(rq.pick(PickLimit::Any, 0), Some(reserved));
            assert!(rq.tick(10 * MSEC), "the budget is used up");
            rq.put_prev(PutPrev::Preempted, 10 * MSEC);
            assert_eq!(rq.pick(PickLimit::Any, 10 * MSEC), None);
            let event = rq.enqueue_as_current(woken, Enqueue::Wakeup, 20 * MSEC).expect("nobody else can run");
            let asked = rq.next_event(20 * MSEC);
            assert_eq!((event, asked), (Some(100 * MSEC), Some(100 * MSEC)), "{params:?}");
        }
    }
}

#[test]
fn what_nobody_ran_by_is_given_back() {
    use std::ptr::NonNull;
    use vigil_executor::class::deadline::domain::Domain;
    use vigil_executor::class::{Entity, Reservation};
    let domain: &'static Domain = Box::leak(Box::new(Domain::new()));
    let other: &'static Domain = Box::leak(Box::new(Domain::new()));
    let entity = NonNull::from(Box::leak(Box::new(Entity::new(Params::DEFAULT))));
    let half = implicit(500 * MSEC, SEC).bandwidth();
    let new = || NonNull::from(Box::leak(Box::new(Reservation::new(entity, |_| {}))));
    // SAFETY: none of them is freed, and nobody else has them.
    unsafe {
        let r = new();
        domain.admit(r, half, 0).unwrap();
        assert!(Domain::abandon(r, SEC), "nobody counts it");
        assert_eq!(domain.total(SEC), 0, "its task has ended, or was never started");
        let r = new();
        domain.admit(r, half, SEC).unwrap();
        Domain::give_back(r, u64::MAX, SEC);
        assert_eq!(domain.total(SEC), 0, "no deadline has passed");
        // What does not fit elsewhere stays promised.
        let (r, hog) = (new(), new());
        domain.admit(r, half, SEC).unwrap();
        other.admit(hog, half, SEC).unwrap();
        assert!(other.admit(r, half + 1, SEC).is_err());
        assert_eq!(domain.total(SEC) + other.total(SEC), 2 * half);
    }
}

#[test]
fn what_is_promised_says_nothing_of_how_many_cpus_there_are() {
    let sim = Sim::new(2);
    let domain = sim.domain();
    // A CPU has gone, and real-time's share is changed: the sum is still that of one CPU.
    domain.set_cpus(1, 0).unwrap();
    domain.set_limit(SEC, Some(500 * MSEC), 0).unwrap();
    let room = |percent: u64| domain.has_room(implicit(percent * 10 * MSEC, SEC).bandwidth(), 0);
    assert_eq!((room(50), room(51)), (true, false));
}
