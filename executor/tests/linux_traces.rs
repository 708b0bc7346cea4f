//! What Debian's Linux 6.1 did with a load (`tests/traces`, by `cargo xtask trace-linux`), and what the classes do with it in the
//! simulator: the same tasks get the CPU in the same order, at the same times but for what a timer's interrupt and a switch
//! take.
#![cfg(not(loom))]

use std::collections::HashMap;
use vigil_executor::class::{DlParams, Params, Policy};
use vigil_executor::sim::{Behaviour, Sim};
use vigil_executor::time::{MSEC, Nanos, USEC};

const TICK: Nanos = 4 * MSEC;
/// When everybody wakes: between two ticks.
const START: Nanos = 1000 * TICK + TICK / 2;

/// Who gets the CPU when, µs since the start; a stay that is interrupted by nobody of the load is one.
type Order = Vec<(i64, String)>;

struct Trace {
    load: String,
    order: Order,
    /// Kernel threads that preempted somebody of the load: who, when and for how long. They are part of the load, too.
    kthreads: Vec<(String, i64, i64)>,
}

fn push(order: &mut Order, at: i64, name: &str) {
    if order.last().is_none_or(|(_, last)| last != name) {
        order.push((at, name.to_string()));
    }
}

fn read(text: &str) -> Trace {
    let field = |key: &str| text.lines().find_map(|l| l.strip_prefix(key)).expect("a field");
    let mut order = Order::new();
    let mut kthreads = Vec::new();
    let mut preempted: Option<(String, i64)> = None;
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [at, from, state, to] = words[..] else { continue };
        let Ok(at) = at.parse::<i64>() else { continue };
        if let Some((who, since)) = preempted.take_if(|_| from == "." && to != ".") {
            kthreads.push((who, since, (at - since).max(1)));
        }
        if state == "R" && to == "." {
            preempted = Some((from.to_string(), at));
        }
        if !["-", "."].contains(&to) {
            push(&mut order, at, to);
        }
    }
    let load = field("load ").to_string();
    // What follows is the load's end.
    let length = load.split("run ").last().and_then(|n| n.trim().parse().ok()).expect("a length");
    order.retain(|(at, _)| *at < length);
    Trace { load, order: settled(&order), kthreads }
}

fn number(words: &mut dyn Iterator<Item = &str>) -> u64 {
    words.next().and_then(|w| w.parse().ok()).expect("a number")
}

fn way(words: &mut dyn Iterator<Item = &str>) -> (Params, Option<DlParams>) {
    let policy = words.next().expect("a policy");
    let n = number(words);
    let params = |policy, nice, rt_priority| (Params { policy, nice, rt_priority }, None);
    match policy {
        "nice" => params(Policy::Normal, n as i8, 0),
        "batch" => params(Policy::Batch, n as i8, 0),
        "fifo" => params(Policy::Fifo, 0, n as u8),
        "rr" => params(Policy::RoundRobin, 0, n as u8),
        _ => {
            let period = number(words) * USEC;
            (Params::DEFAULT, Some(DlParams { runtime: n * USEC, deadline: period, period, ..DlParams::default() }))
        }
    }
}

/// Without stays shorter than 50 µs: of two timers of one time Linux serves one after the other.
fn settled(order: &Order) -> Order {
    let mut out = Order::new();
    for (i, (at, name)) in order.iter().enumerate() {
        if order.get(i + 1).is_none_or(|next| next.0 - at >= 50) {
            push(&mut out, *at, name);
        }
    }
    out
}

/// The same load in the simulator.
fn simulate(trace: &Trace, ticks: bool) -> Order {
    let mut sim = Sim::new(1);
    if ticks {
        sim.set_tick(TICK);
    }
    let (mut names, mut changes, mut length) = (HashMap::new(), Vec::new(), 0);
    let mut fair = Vec::new();
    for line in trace.load.split(';') {
        let mut words = line.split_whitespace();
        match words.next().expect("a word") {
            "run" => length = number(&mut words) * USEC,
            "at" => {
                let at = number(&mut words) * USEC;
                changes.push((at, words.next().expect("a name"), way(&mut words).0));
            }
            name => {
                let (params, dl) = way(&mut words);
                let behaviour = match words.next().expect("a behaviour") {
                    "hog" => Behaviour::Hog,
                    "periodic" => Behaviour::Periodic { run: number(&mut words) * USEC, period: number(&mut words) * USEC },
                    "yielder" => Behaviour::Yielder { run: number(&mut words) * USEC },
                    _ => Behaviour::Once { run: number(&mut words) * USEC },
                };
                let id = sim.spawn_asleep(0, params, dl, behaviour, START);
                if dl.is_none() && params.rt_priority == 0 {
                    fair.push(id);
                }
                names.insert(name.to_string(), id);
            }
        }
    }
    for (who, at, run) in &trace.kthreads {
        if names.get(who).is_some_and(|id| fair.contains(id)) {
            sim.spawn_asleep(0, Params::DEFAULT, None, Behaviour::Once { run: *run as u64 * USEC }, START + *at as u64 * USEC);
        }
    }
    sim.run(START);
    for (at, name, params) in changes {
        sim.run(START + at - sim.now());
        sim.set_params(names[name], params);
    }
    sim.run(START + length - sim.now());
    let mut order = Order::new();
    for (at, id) in sim.log(0) {
        if let Some((name, _)) = names.iter().find(|n| *n.1 == *id) {
            push(&mut order, (*at as i64 - START as i64) / USEC as i64, name);
        }
    }
    settled(&order)
}

/// The orders are the same, and no two times are further apart than `tolerance` µs.
#[track_caller]
fn assert_same(linux: &[(i64, String)], ours: &[(i64, String)], tolerance: i64) {
    for (i, (l, o)) in linux.iter().zip(ours).enumerate() {
        let near = |order: &[(i64, String)]| order[i.saturating_sub(3)..(i + 4).min(order.len())].to_vec();
        let same = l.1 == o.1 && l.0.abs_diff(o.0) <= tolerance as u64;
        assert!(same, "switch {i} of {}:\nLinux {:?}\nours  {:?}", linux.len(), near(linux), near(ours));
    }
    // The last one may fall on the end.
    assert!(linux.len().abs_diff(ours.len()) <= 1, "Linux {} switches, ours {}", linux.len(), ours.len());
}
/// Of Linux's switches at least the part `share` has one of ours to the same task within `tolerance` µs, they are as many within 1 %,
/// and the first twentieth has no other.
#[track_caller]
fn assert_alike(linux: &Order, ours: &Order, tolerance: i64, share: f64) {
    let begin = linux.len() / 20;
    assert_same(&linux[..begin], &ours[..begin], tolerance);
    let found = linux.iter().filter(|l| ours.iter().any(|o| l.1 == o.1 && l.0.abs_diff(o.0) <= tolerance as u64)).count();
    let (part, more) = (found as f64 / linux.len() as f64, ours.len() as f64 / linux.len() as f64);
    assert!(part >= share && (0.99..=1.01).contains(&more), "{found} of Linux's {} switches, ours are {}", linux.len(), ours.len());
}

macro_rules! trace {
    ($name:literal) => {
        read(include_str!(concat!("../../tests/traces/", $name, ".txt")))
    };
}

#[test]
fn fifo_and_where_a_changed_priority_puts_a_task() {
    let trace = trace!("fifo");
    assert_same(&trace.order, &simulate(&trace, false), 50);
}

#[test]
fn earliest_deadline_first_with_budgets() {
    let trace = trace!("deadline");
    assert_same(&trace.order, &simulate(&trace, false), 100);
}

/// Linux counts the ticks of a quantum: each ends up to a tick before or after 100 ms of run time.
#[test]
fn round_robin() {
    let trace = trace!("round-robin");
    assert_same(&trace.order, &simulate(&trace, false), 6000);
}

/// A yield may come just before a wake-up on Linux, where the call takes time, and just after it here.
#[test]
fn fifo_and_sched_yield() {
    let trace = trace!("fifo-yield");
    assert_alike(&trace.order, &simulate(&trace, false), 600, 0.97);
}

/// Slices end at ticks; where the virtual times of two are within microseconds, what interrupts and switches take decides, for as
/// long as it takes to come back to the same order.
#[test]
fn nice_levels_with_ticks() {
    let trace = trace!("nice");
    assert_alike(&trace.order, &simulate(&trace, true), 50, 0.94);
}

#[test]
fn ten_nice_levels_with_ticks() {
    let trace = trace!("many");
    assert_alike(&trace.order, &simulate(&trace, true), 50, 0.97);
}

#[test]
fn wake_up_preemption_of_fair_sleepers() {
    let trace = trace!("sleepers");
    assert_alike(&trace.order, &simulate(&trace, true), 200, 0.98);
}
