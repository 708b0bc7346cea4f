//! Who begins or is woken goes where there is room, by averages: on simulated machines, over virtual time.
#![cfg(not(loom))]

use vigil_executor::balance::topology::Place;
use vigil_executor::class::{Params, Policy};
use vigil_executor::sim::Behaviour;
use vigil_executor::sim::smp::Smp;
use vigil_executor::time::{MSEC, SEC};

const ANYWHERE: u64 = u64::MAX;
const LIGHT: Behaviour = Behaviour::Sleeper { run: MSEC, sleep: 9 * MSEC };

/// `n` CPUs in clusters of `cores`.
fn clusters(n: usize, cores: usize) -> Vec<Place> {
    (0..n).map(|i| Place { core: (i % cores) as u16, cluster: (i / cores) as u16, ..Place::default() }).collect()
}

/// Lets time pass until `cpu` is busy.
fn until_busy(smp: &mut Smp, cpu: usize) {
    while smp.nr_running(cpu) == 0 {
        smp.run(MSEC / 10, |_| {});
    }
}

#[test]
fn a_cpu_whose_one_task_hardly_needs_it_counts_as_nearly_idle() {
    // Each CPU runs one task of the same weight. By weights there would be nothing to choose.
    let mut smp = Smp::new(&clusters(4, 4));
    for cpu in [0, 1, 3] {
        smp.spawn(cpu, Params::DEFAULT, 1 << cpu, Behaviour::Hog);
    }
    smp.spawn(2, Params::DEFAULT, 1 << 2, LIGHT);
    smp.run(SEC, |_| {});
    until_busy(&mut smp, 2);
    let new = smp.spawn(0, Params::DEFAULT, ANYWHERE, Behaviour::Hog);
    assert_eq!(smp.cpu_of(new), 2);
    // The other way round: who forks beside a light task, while all others are full, is followed by its child.
    let mut smp = Smp::new(&clusters(4, 4));
    for cpu in 1..4 {
        smp.spawn(cpu, Params::DEFAULT, 1 << cpu, Behaviour::Hog);
    }
    smp.spawn(0, Params::DEFAULT, 1, LIGHT);
    smp.run(SEC, |_| {});
    until_busy(&mut smp, 0);
    let new = smp.spawn(0, Params::DEFAULT, ANYWHERE, Behaviour::Hog);
    assert_eq!(smp.cpu_of(new), 0);
}

#[test]
fn idle_cpus_are_taken_by_what_they_were_used_for() {
    // CPU 0 forks; CPU 1 idles most of the time, 2 some more, 3 always.
    let mut smp = Smp::new(&clusters(4, 4));
    smp.spawn(0, Params::DEFAULT, 1, Behaviour::Hog);
    smp.spawn(1, Params::DEFAULT, 1 << 1, Behaviour::Sleeper { run: 4 * MSEC, sleep: 6 * MSEC });
    smp.spawn(2, Params::DEFAULT, 1 << 2, Behaviour::Sleeper { run: 2 * MSEC, sleep: 8 * MSEC });
    smp.run(SEC, |_| {});
    while smp.nr_running(1) + smp.nr_running(2) > 0 {
        smp.run(MSEC / 10, |_| {});
    }
    let went: Vec<_> = (0..3)
        .map(|_| {
            let id = smp.spawn(0, Params::DEFAULT, ANYWHERE, Behaviour::Hog);
            smp.cpu_of(id)
        })
        .collect();
    assert_eq!(went, [3, 2, 1]);
}

#[test]
fn what_begins_at_once_spreads_over_clusters_that_are_used_alike() {
    // 2 clusters of 4: the first one full of hogs, the second of tasks that need a tenth each, and both run somebody everywhere.
    let mut smp = Smp::new(&clusters(8, 4));
    for cpu in 0..8 {
        let behaviour = if cpu < 4 { Behaviour::Hog } else { LIGHT };
        smp.spawn(cpu, Params::DEFAULT, 1 << cpu, behaviour);
    }
    smp.run(SEC, |_| {});
    until_busy(&mut smp, 4);
    assert!((4..8).all(|cpu| smp.nr_running(cpu) == 1));
    let mut new = [0; 2];
    for _ in 0..8 {
        let id = smp.spawn(0, Params::DEFAULT, ANYWHERE, Behaviour::Hog);
        new[smp.cpu_of(id) / 4] += 1;
    }
    // Four make both alike, but for the light ones; by the weight of who runs at the moment it would be one here, one there from the start.
    assert!(new[1] >= 5, "{new:?}");
}

#[test]
fn the_averages_of_a_cpu_are_right_however_seldom_anybody_looks() {
    let mut smp = Smp::new(&clusters(2, 2));
    smp.spawn(0, Params::DEFAULT, 1, Behaviour::Hog);
    smp.spawn(1, Params::DEFAULT, 2, LIGHT);
    for _ in 0..50 {
        smp.run(37 * MSEC, |_| {});
        if smp.now() > SEC / 2 {
            let (hog, light) = (smp.average(0), smp.average(1));
            assert!(hog.util >= 1000 && hog.load >= 1000, "{hog:?}");
            assert!((60..=160).contains(&light.util) && light.runnable <= 160 && light.load <= 160, "{light:?}");
        }
    }
    // Three hogs on one CPU, which does not get more used by it.
    smp.spawn(0, Params::DEFAULT, 1, Behaviour::Hog);
    smp.spawn(0, Params::normal(-5), 1, Behaviour::Hog);
    smp.run(SEC, |_| {});
    let three = smp.average(0);
    assert!(three.util >= 1000 && three.runnable.abs_diff(3 * 1024) < 60, "{three:?}");
    assert!(three.load.abs_diff(1024 + 1024 + 3121) < 100, "{three:?}");
}

#[test]
fn who_needs_much_wakes_on_a_strong_cpu_and_who_needs_little_need_not() {
    // Two weak CPUs and two strong ones; nobody runs for so long that it would be moved in the middle.
    let mut smp = Smp::new(&clusters(4, 2));
    smp.set_capacity(0, 446);
    smp.set_capacity(1, 446);
    // Something that ends soon makes the weak ones those with more room.
    smp.spawn(2, Params::DEFAULT, 1 << 2, Behaviour::Once { run: MSEC });
    let light = smp.spawn(0, Params::DEFAULT, ANYWHERE, LIGHT);
    let heavy = smp.spawn(1, Params::DEFAULT, ANYWHERE, Behaviour::Sleeper { run: 12 * MSEC, sleep: MSEC });
    assert_eq!((smp.cpu_of(light) / 2, smp.cpu_of(heavy) / 2), (0, 0), "nobody knows what they need");
    smp.run(SEC, |_| {});
    assert_eq!((smp.cpu_of(light) / 2, smp.cpu_of(heavy) / 2), (0, 1));
    // More of them than strong CPUs: nobody waits for those.
    for _ in 0..3 {
        smp.spawn(1, Params::DEFAULT, ANYWHERE, Behaviour::Sleeper { run: 12 * MSEC, sleep: MSEC });
    }
    smp.run(SEC, |smp| assert_eq!(smp.injustice(), None));
    assert!((2..4).all(|cpu| smp.average(cpu).util > 800), "{:?} {:?}", smp.average(2), smp.average(3));
}

#[test]
fn balancing_does_not_take_many_light_tasks_for_more_than_a_heavy_one() {
    // CPU 0 runs tasks that need a third of it together, and often wait for each other; CPU 1 runs a hog. By the weights of those who are
    // runnable at the moment, CPU 0 would have more to do at times.
    let mut smp = Smp::new(&clusters(2, 2));
    smp.spawn(1, Params::DEFAULT, 1 << 1, Behaviour::Hog);
    let light: Vec<_> = (0..4).map(|_| smp.spawn(0, Params::DEFAULT, 1, Behaviour::Periodic { run: MSEC, period: 12 * MSEC })).collect();
    smp.run(SEC, |_| {});
    light.iter().for_each(|id| smp.set_affinity(*id, ANYWHERE));
    let moves = smp.moves();
    let mut beside_the_hog = 0;
    smp.run(4 * SEC, |smp| beside_the_hog += u64::from(smp.nr_running(1) > 1));
    assert!(smp.moves() - moves < 5 && beside_the_hog < 5, "{} moves, {beside_the_hog} times beside the hog", smp.moves() - moves);
}

#[test]
fn those_who_end_young_leave_nothing_behind() {
    // Each millisecond one is begun that ends at once, and others sleep in between: the CPUs are used by a tenth.
    for behaviour in [Behaviour::Once { run: MSEC / 10 }, Behaviour::Once { run: MSEC / 5 }] {
        let mut smp = Smp::new(&clusters(2, 2));
        for _ in 0..500 {
            smp.spawn(0, Params::DEFAULT, ANYWHERE, behaviour);
            smp.run(MSEC, |_| {});
        }
        let both = [smp.average(0), smp.average(1)];
        let (load, runnable): (u64, u64) = (both.iter().map(|a| a.load).sum(), both.iter().map(|a| a.runnable).sum());
        assert!(load <= 256 && runnable <= 256, "{both:?}");
    }
}

#[test]
fn those_who_end_old_leave_nothing_behind_either_wherever_they_were_woken() {
    let mut smp = Smp::new(&clusters(2, 2));
    // A hog on CPU 1 throughout.
    smp.spawn(1, Params::DEFAULT, 1 << 1, Behaviour::Hog);
    smp.run(SEC, |_| {});
    for _ in 0..4 {
        smp.spawn(1, Params::DEFAULT, 1 << 1, Behaviour::Once { run: 50 * MSEC });
    }
    smp.run(SEC / 10, |_| {});
    let many = smp.average(1);
    assert!(many.load > 3000, "{many:?}");
    while smp.nr_running(1) > 1 {
        smp.run(MSEC, |_| {});
    }
    let left = smp.average(1);
    assert!(left.load.abs_diff(1024) < 200 && left.runnable.abs_diff(1024) < 200, "{left:?}");
}

#[test]
fn many_who_begin_at_once_on_cpus_that_have_idled_for_long_spread_evenly() {
    for cpus in [4, 8] {
        let mut smp = Smp::new(&clusters(cpus, cpus));
        smp.run(10 * SEC, |_| {});
        let mut began = vec![0; cpus];
        for _ in 0..3 * cpus {
            let id = smp.spawn(0, Params::DEFAULT, ANYWHERE, Behaviour::Hog);
            began[smp.cpu_of(id)] += 1;
        }
        assert_eq!(began, vec![3; cpus]);
    }
}

#[test]
fn who_is_of_sched_idle_counts_for_next_to_nothing() {
    let idle = Params { policy: Policy::Idle, ..Params::DEFAULT };
    let mut smp = Smp::new(&clusters(2, 2));
    for _ in 0..8 {
        smp.spawn(1, idle, 1 << 1, Behaviour::Hog);
    }
    smp.spawn(0, Params::DEFAULT, 1, Behaviour::Hog);
    smp.spawn(0, Params::DEFAULT, 1, Behaviour::Hog);
    smp.run(SEC, |_| {});
    let (two, eight) = (smp.average(0), smp.average(1));
    assert!(two.load > 1900 && eight.load < 50, "{two:?} {eight:?}");
}
