//! Checks of scheduling: the calls against Linux, and what hogs get of one CPU in exact virtual time.
use super::Verdict::Works;
use super::{Bed, Verdict, judge, value};
use crate::{contract, userland};
use anyhow::Result;
use std::collections::BTreeMap;
use vigil_tests::Ability;

/// The calls of sched(7), by the names of their cases.
const CALLS: &[&str] = &["sched_", "setpriority/", "getpriority/", "getcpu/"];
/// 32 ns an instruction: half a minute of hogs in seconds.
const SLOW: &[&str] = &[
    "--smp",
    "1",
    "--append",
    crate::bench::LEAN,
    "--qemu-arg=-icount",
    "--qemu-arg=shift=5,sleep=off",
    "--qemu-arg=-seed",
    "--qemu-arg=1",
    "--qemu-arg=-rtc",
    "--qemu-arg=base=2024-01-01,clock=vm",
];

pub(super) fn contract_tests(bed: &Bed) -> Result<Verdict> {
    if let Some(verdict) = bed.no_programs() {
        return verdict;
    }
    let program = userland::program(bed.ctx, "vigil-contract", "contract")?;
    let outcome = contract::compare(bed.ctx, &program, bed.kernel, CALLS)?;
    judge(outcome.differ == 0, format!("{} same, {} differ, {} differ for a stated reason", outcome.same, outcome.differ, outcome.known))
}

/// Parts per million of one CPU.
fn share(figures: &BTreeMap<String, i64>, index: usize) -> Result<f64> {
    Ok(value(figures, &format!("share_{index}"))? as f64)
}

pub(super) fn shares(bed: &Bed) -> Result<Verdict> {
    if let Some(verdict) = bed.no_programs() {
        return verdict;
    }
    let run = |what: &str, n: &str| bed.stress(SLOW, &["shares", what, n]);
    // Weights of nice 0, 5, 10 and 19.
    let (weights, nice) = ([1024.0, 335.0, 110.0, 15.0], run("nice", "30000")?);
    let (all, mut worst) = (weights.iter().sum::<f64>(), 0f64);
    for (i, weight) in weights.into_iter().enumerate() {
        worst = worst.max((share(&nice, i)? / (weight / all * 1e6) - 1.0).abs() * 100.0);
    }
    let fifo = share(&run("fifo", "20000")?, 1)? / 1e4;
    let deadline = share(&run("deadline", "20000")?, 0)? / 1e4;
    let reservation = run("reservation", "1000")?;
    let (missed, response) = (value(&reservation, "missed")?, value(&reservation, "worst_us")?);
    let admission = run("admission", "0")?;
    let admitted = (value(&admission, "errno_951")?, value(&admission, "errno_950")?);
    let figure = format!(
        "nice levels within {worst:.2} %; FIFO leaves {fifo:.2} %; 10/100 ms has {deadline:.2} %; 30/100 ms missed {missed} of {} (25 ms of work took \
         at most {:.1} ms); 951 and 950 ms of 1000: errno {} and {}",
        value(&reservation, "periods")?,
        response as f64 / 1e3,
        admitted.0,
        admitted.1,
    );
    // To two decimals, as the target is said; what interrupts take is nobody's.
    let good = worst <= 0.5 && (4.8..=5.2).contains(&fifo) && (9.995..=10.1).contains(&deadline) && missed == 0 && admitted == (16, 0);
    // Each says itself whether it is within 1 %.
    let (groups, quota) = (bed.cases("cgroup/shares", Ability::Programs)?, bed.cases("cgroup/quota", Ability::Programs)?);
    let kept = |verdict: &Verdict| matches!(verdict, Works(_));
    let word = |verdict: &Verdict| if kept(verdict) { "within 1 %" } else { "not within 1 %" };
    let figure = format!("{figure}; groups 100:300 {}, a quota of 25 % {}", word(&groups), word(&quota));
    judge(good && kept(&groups) && kept(&quota), figure)
}
