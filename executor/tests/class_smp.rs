//! Balancing over virtual time, 1 to 1 024 CPUs: nobody idles beside a waiter, real-time runs where it can, nobody is lost,
//! and time is shared fairly across CPUs.
#![cfg(not(loom))]

use vigil_executor::balance::topology::Place;
use vigil_executor::class::{DlParams, Params};
use vigil_executor::sim::Behaviour;
use vigil_executor::sim::smp::Smp;
use vigil_executor::time::{MSEC, Nanos, SEC, USEC};

const ANYWHERE: u64 = u64::MAX;

/// `n` CPUs: threads of a core, cores of a cluster, clusters of a package.
fn places(n: usize, threads: usize, cores: usize, clusters: usize) -> Vec<Place> {
    (0..n)
        .map(|i| Place {
            thread: (i % threads) as u16,
            core: (i / threads % cores) as u16,
            cluster: (i / threads / cores % clusters) as u16,
            package: (i / threads / cores / clusters) as u16,
        })
        .collect()
}

fn flat(n: usize) -> Vec<Place> {
    places(n, 1, n, 1)
}

/// xorshift64*.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % n
    }
}

#[test]
fn one_hog_per_cpu_however_many_cpus() {
    for n in [1, 2, 3, 8, 64, 256, 1024] {
        let mut smp = Smp::new(&places(n, 1, 4, 4));
        for _ in 0..n {
            smp.spawn(0, Params::DEFAULT, ANYWHERE, Behaviour::Hog);
        }
        smp.run(MSEC, |_| {});
        for cpu in 0..n {
            assert_eq!(smp.nr_running(cpu), 1, "{n} CPUs, CPU {cpu}");
        }
    }
}

#[test]
fn hogs_share_cpus_that_do_not_divide_by_them() {
    for (cpus, hogs) in [(2, 3), (4, 6), (4, 9), (8, 12)] {
        let mut smp = Smp::new(&flat(cpus));
        let ids: Vec<_> = (0..hogs).map(|_| smp.spawn(0, Params::DEFAULT, ANYWHERE, Behaviour::Hog)).collect();
        let time = 30 * SEC;
        smp.run(time, |_| {});
        let fair = time as f64 * cpus as f64 / hogs as f64;
        for id in ids {
            let got = smp.runtime(id) as f64 / fair;
            assert!((0.75..=1.3).contains(&got), "{hogs} on {cpus}: {got:.3} of its share, {} moves", smp.moves());
        }
        // Linux moves one each second interval or so, not at each slice.
        assert!(smp.moves() < 30 * 1000 / 16 * cpus as u64, "{} moves", smp.moves());
    }
}

/// Sleepers, yielders and real-time tasks at random, with random affinities.
fn crowd(smp: &mut Smp, cpus: usize, tasks: usize, random: &mut Random) {
    for _ in 0..tasks {
        let params = match random.below(5) {
            0 => Params::fifo(1 + random.below(90) as u8),
            1 => Params::round_robin(1 + random.below(90) as u8),
            n => Params::normal(n as i8 * 3 - 6),
        };
        let behaviour = Behaviour::Sleeper { run: 1 + random.below(3 * MSEC), sleep: 1 + random.below(4 * MSEC) };
        let affinity = match random.below(3) {
            0 => 1 << random.below(cpus.min(64) as u64),
            1 => 3 << random.below(cpus.min(63) as u64),
            _ => ANYWHERE,
        };
        let affinity = if (0..cpus.min(64)).any(|c| affinity & 1 << c != 0) { affinity } else { ANYWHERE };
        smp.spawn(random.below(cpus as u64) as usize, params, affinity, behaviour);
    }
}

#[test]
fn nobody_idles_beside_a_waiter_and_nothing_urgent_waits_beside_something_less_urgent() {
    for seed in 1..=12 {
        let mut random = Random(seed * 77_777);
        let cpus = 1 + random.below(12) as usize;
        let threads = 1 + random.below(2) as usize;
        let mut smp = Smp::new(&places(cpus, threads, 2, 2));
        crowd(&mut smp, cpus, cpus * 3, &mut random);
        smp.run(2 * SEC, |smp| assert_eq!(smp.injustice(), None, "seed {seed}, {cpus} CPUs"));
        assert!(cpus == 1 || smp.moves() > 0);
    }
}

#[test]
fn on_a_thousand_cpus_as_well() {
    let mut smp = Smp::new(&places(1024, 2, 8, 8));
    crowd(&mut smp, 1024, 1500, &mut Random(4711));
    let mut events = 0u64;
    smp.run(10 * MSEC, |smp| {
        events += 1;
        if events % 64 == 0 {
            assert_eq!(smp.injustice(), None);
        }
    });
    assert!(events > 1000);
}

#[test]
fn no_task_is_lost() {
    let mut random = Random(99);
    let mut smp = Smp::new(&places(6, 2, 3, 1));
    let runs: Vec<Nanos> = (0..300).map(|_| 1 + random.below(20 * MSEC)).collect();
    let ids: Vec<_> = runs
        .iter()
        .map(|run| {
            let affinity = 1 << random.below(6) | 1 << random.below(6);
            let params = if random.below(4) == 0 { Params::fifo(10) } else { Params::DEFAULT };
            smp.spawn(random.below(6) as usize, params, affinity, Behaviour::Once { run: *run })
        })
        .collect();
    smp.run(60 * SEC, |_| {});
    for (id, run) in ids.into_iter().zip(runs) {
        assert!(smp.is_dead(id), "task {id}");
        assert_eq!(smp.runtime(id), run);
    }
    assert!((0..6).all(|cpu| smp.nr_running(cpu) == 0));
}

#[test]
fn no_task_is_lost_on_any_number_of_cpus() {
    for cpus in [1, 2, 7, 64, 333, 1024] {
        let mut random = Random(7 + cpus as u64);
        let mut smp = Smp::new(&places(cpus, 2, 8, 8));
        let runs: Vec<Nanos> = (0..cpus * 3 + 5).map(|_| 1 + random.below(3 * MSEC)).collect();
        let ids: Vec<_> = runs
            .iter()
            .map(|run| {
                let params = if random.below(8) == 0 { Params::fifo(10) } else { Params::normal(random.below(10) as i8) };
                smp.spawn(random.below(cpus as u64) as usize, params, ANYWHERE, Behaviour::Once { run: *run })
            })
            .collect();
        smp.run(5 * SEC, |_| {});
        for (id, run) in ids.into_iter().zip(runs) {
            assert!(smp.is_dead(id), "{cpus} CPUs, task {id}");
            assert_eq!(smp.runtime(id), run);
        }
        assert!((0..cpus).all(|cpu| smp.nr_running(cpu) == 0));
    }
}

#[test]
fn two_hogs_for_each_cpu_share_alike_however_many_cpus() {
    for cpus in [1, 2, 8, 64, 256] {
        let mut smp = Smp::new(&places(cpus, 1, 4, 4));
        let ids: Vec<_> = (0..2 * cpus).map(|_| smp.spawn(0, Params::DEFAULT, ANYWHERE, Behaviour::Hog)).collect();
        smp.run(2 * SEC, |_| {});
        let sum: Nanos = ids
            .into_iter()
            .map(|id| {
                let had = smp.runtime(id) as f64 / SEC as f64;
                assert!((0.9..=1.1).contains(&had), "{cpus} CPUs: {had:.3} s of 1");
                smp.runtime(id)
            })
            .sum();
        assert_eq!(sum, cpus as u64 * 2 * SEC, "no CPU idled");
    }
}

#[test]
fn the_most_urgent_run_on_as_many_cpus_as_there_are() {
    let mut smp = Smp::new(&flat(3));
    let ids: Vec<_> = [10, 20, 30, 40].map(|p| smp.spawn(0, Params::fifo(p), ANYWHERE, Behaviour::Hog)).into();
    smp.run(900 * MSEC, |_| {});
    let had: Vec<_> = ids.into_iter().map(|id| smp.runtime(id)).collect();
    assert_eq!(had, [0, 900 * MSEC, 900 * MSEC, 900 * MSEC]);
}

#[test]
fn a_free_core_is_taken_before_the_thread_of_a_busy_one() {
    let mut smp = Smp::new(&places(4, 2, 2, 1));
    smp.spawn(0, Params::DEFAULT, ANYWHERE, Behaviour::Hog);
    smp.spawn(0, Params::DEFAULT, ANYWHERE, Behaviour::Hog);
    smp.run(USEC, |_| {});
    assert_eq!((smp.nr_running(0), smp.nr_running(1)), (1, 0));
    assert_eq!(smp.nr_running(2) + smp.nr_running(3), 1);
}

/// A reservation of `runtime` in each `period`.
fn reservation(runtime: Nanos, period: Nanos) -> DlParams {
    DlParams { runtime, deadline: period, period, ..DlParams::NONE }
}

#[test]
fn those_that_are_due_first_run_on_as_many_cpus_as_there_are() {
    for (seed, cpus) in (1..=10).zip([1usize, 2, 3, 4, 6, 8, 12, 16, 64, 3]) {
        let mut random = Random(seed * 31_337);
        let mut smp = Smp::new(&places(cpus, 1, 4, 2));
        crowd(&mut smp, cpus, cpus, &mut random);
        let mut admitted = 0;
        for _ in 0..cpus * 4 {
            let period = MSEC + random.below(20 * MSEC);
            let runtime = (period / (2 + random.below(8))).max(USEC);
            // Some want more than they have.
            let behaviour = match random.below(3) {
                0 => Behaviour::Hog,
                1 => Behaviour::Sleeper { run: 1 + random.below(runtime * 3 / 2), sleep: 1 + random.below(period) },
                _ => Behaviour::Periodic { run: runtime, period },
            };
            let cpu = random.below(cpus as u64) as usize;
            admitted += u32::from(smp.spawn_deadline(cpu, reservation(runtime, period), behaviour).is_some());
        }
        assert!(admitted as usize >= cpus, "{admitted} admitted on {cpus}");
        smp.run(SEC / cpus as u64, |smp| assert_eq!(smp.injustice(), None, "seed {seed}, {cpus} CPUs"));
    }
}

#[test]
fn one_more_than_there_are_cpus_are_late_by_less_than_a_burst() {
    // Global EDF: m + 1 tasks of 2 / 5 of a CPU each on m CPUs fit when they may move, and two never fit on one.
    for cpus in [2, 4, 8] {
        let mut smp = Smp::new(&flat(cpus));
        let (run, period) = (4 * MSEC, 10 * MSEC);
        for _ in 0..2 * cpus {
            smp.spawn(0, Params::DEFAULT, ANYWHERE, Behaviour::Hog);
        }
        let ids: Vec<_> = (0..=cpus)
            .map(|_| smp.spawn_deadline(0, reservation(run + MSEC, period), Behaviour::Periodic { run, period }).unwrap())
            .collect();
        smp.run(2 * SEC, |_| {});
        for id in ids {
            assert!(smp.worst_response(id) <= period, "{} us on {cpus}", smp.worst_response(id) / USEC);
            assert_eq!(smp.runtime(id) / (100 * MSEC), 2 * SEC * 4 / 10 / (100 * MSEC));
        }
    }
}

#[test]
fn a_running_task_leaves_a_busy_core_for_a_free_one() {
    // Two cores of two threads each: four hogs, of which the two of one core end.
    let mut smp = Smp::new(&places(4, 2, 2, 1));
    let hog = |smp: &mut Smp, cpu: u64| smp.spawn(cpu as usize, Params::DEFAULT, 1 << cpu, Behaviour::Once { run: 100 * MSEC });
    let free = |smp: &mut Smp| smp.spawn(0, Params::DEFAULT, ANYWHERE, Behaviour::Hog);
    hog(&mut smp, 0);
    hog(&mut smp, 1);
    free(&mut smp);
    free(&mut smp);
    assert_eq!((smp.nr_running(2), smp.nr_running(3)), (1, 1));
    smp.run(300 * MSEC, |_| {});
    assert_eq!((smp.nr_running(0) + smp.nr_running(1), smp.nr_running(2) + smp.nr_running(3)), (1, 1));
    let moves = smp.moves();
    smp.run(5 * SEC, |_| {});
    assert_eq!(smp.moves(), moves, "once is enough");
}

#[test]
fn a_task_that_never_sleeps_goes_to_a_strong_cpu() {
    // Two weak CPUs, two strong ones, on which something ends.
    let mut smp = Smp::new(&places(4, 1, 2, 2));
    for cpu in 0..2 {
        smp.set_capacity(cpu, 446);
    }
    for cpu in 2..4 {
        smp.spawn(cpu, Params::DEFAULT, 1 << cpu, Behaviour::Once { run: 50 * MSEC });
    }
    for _ in 0..2 {
        smp.spawn(0, Params::DEFAULT, ANYWHERE, Behaviour::Hog);
    }
    assert_eq!((smp.nr_running(0), smp.nr_running(1)), (1, 1));
    smp.run(SEC, |_| {});
    assert_eq!((smp.nr_running(2), smp.nr_running(3)), (1, 1));
}

#[test]
fn who_wants_more_than_its_budget_makes_nobody_late_on_any_number_of_cpus() {
    for (seed, cpus) in (1..=6).zip([1usize, 2, 3, 4, 8, 16]) {
        let mut random = Random(seed * 7_919);
        let mut smp = Smp::new(&flat(cpus));
        for _ in 0..cpus {
            smp.spawn(0, Params::DEFAULT, ANYWHERE, Behaviour::Hog);
        }
        // What fits by the bound of global EDF: all together at most m - (m - 1) times the largest, here a quarter.
        let (mut left, mut greedy, mut modest) = (1000 * cpus - 250 * (cpus - 1), vec![], vec![]);
        loop {
            let period = 2 * MSEC + random.below(30 * MSEC);
            let permille = 50 + random.below(200) as usize;
            if permille + 50 > left {
                break;
            }
            left -= permille;
            let runtime = period * permille as u64 / 1000;
            let cpu = random.below(cpus as u64) as usize;
            if random.below(2) == 0 {
                greedy.push((smp.spawn_deadline(cpu, reservation(runtime, period), Behaviour::Hog).unwrap(), runtime, period));
            } else {
                let run = runtime - runtime / 50;
                modest.push((
                    smp.spawn_deadline(cpu, reservation(runtime, period), Behaviour::Periodic { run, period }).unwrap(),
                    run,
                    period,
                ));
            }
        }
        assert!(!greedy.is_empty() && !modest.is_empty());
        let time = 2 * SEC;
        smp.run(time, |smp| assert_eq!(smp.injustice(), None));
        for (id, runtime, period) in greedy {
            let (got, most) = (smp.runtime(id), (time / period + 1) * runtime);
            // A budget is overdrawn by the shortest time that is awaited, and pays it back.
            assert!(got <= most + 10 * USEC && got >= (time / period - 1) * runtime, "{got} ns of {most} on {cpus}");
        }
        for (id, run, period) in modest {
            let (late, got) = (smp.worst_response(id), smp.runtime(id));
            assert!(late <= period && got >= (time / period - 1) * run, "{late} ns after the start of a period of {period}, on {cpus}");
        }
    }
}
