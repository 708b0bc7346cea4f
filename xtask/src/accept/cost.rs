//! The price of a wake, pick and poll of an empty future, in instructions of this machine, beside other executors.
use super::{Bed, Verdict, judge};
use crate::setup::{apt_install, found, output};
use crate::ui;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Ours: of the fair class, which decides; SCHED_FIFO beside it.
const OURS: &[&str] = &["vigil", "vigil-fifo"];
const OTHERS: &[&str] = &["tokio", "async-executor", "embassy"];
/// The last of them with its scheduler that has an order (feature `scheduler-deadline`), for information: what that costs without classes,
/// run time or a lock.
const ORDERED: &str = "embassy, ordered";
/// What order by run time and a clock read per poll cost alone: a bound from below for ours, not somebody to compare with.
const FLOOR: &str = "floor";
/// Tasks, rounds, and how many times the best of the others ours may cost.
const LOADS: &[(u64, u64, f64)] = &[(1, 2000, 1.5), (100, 100, 1.5), (10_000, 8, 3.0)];

/// Instructions that a run of the comparison program executes.
fn instructions(program: &Path, executor: &str, tasks: u64, rounds: u64) -> Result<u64> {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(program).args([
        executor,
        &tasks.to_string(),
        &rounds.to_string(),
    ]);
    let run = command.output().context("valgrind")?;
    let text = String::from_utf8_lossy(&run.stderr);
    if !run.status.success() {
        bail!("{executor}, {tasks} tasks: {}", text.lines().last().unwrap_or("no output"));
    }
    let collected = text.lines().find_map(|line| line.split_once("Collected :")).context("callgrind has not counted")?;
    Ok(collected.1.trim().parse()?)
}

/// Builds the comparison program in its own folder of the target directory.
fn build(bed: &Bed, folder: &str, more: &[&str]) -> Result<PathBuf> {
    let target = bed.ctx.target.join(folder);
    let mut build = Command::new("cargo");
    build
        .env_remove("RUSTFLAGS")
        .args(["build", "--release", "--quiet", "--manifest-path"])
        .arg(bed.ctx.root.join("tests/cost/Cargo.toml"))
        .args(more);
    ui::step("building the executors to compare", build.arg("--target-dir").arg(&target))?;
    Ok(target.join("release/vigil-cost"))
}

/// Of one wake, pick and poll under each load. What comes before the first round is in both runs, and cancels.
fn prices(program: &Path, executor: &str, loads: &[(u64, u64, f64)]) -> Result<Vec<f64>> {
    let price = |&(tasks, rounds, _): &(u64, u64, f64)| {
        let (once, twice) = (instructions(program, executor, tasks, rounds)?, instructions(program, executor, tasks, 2 * rounds)?);
        Ok((twice - once) as f64 / (tasks * rounds) as f64)
    };
    loads.iter().map(price).collect()
}

pub(super) fn cost(bed: &Bed) -> Result<Verdict> {
    if !found("valgrind") {
        apt_install(&["valgrind"])?;
    }
    let program = build(bed, "cost", &[])?;
    let mut costs: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for executor in OURS.iter().chain(OTHERS).chain([&FLOOR]) {
        costs.insert(executor, prices(&program, executor, LOADS)?);
    }
    let ordered = build(bed, "cost-ordered", &["--features", "ordered"])?;
    costs.insert(ORDERED, prices(&ordered, "embassy", LOADS)?);
    println!("{:<18}{}", "instructions", LOADS.iter().map(|(n, ..)| format!("{n:>8} tasks")).collect::<String>());
    for executor in OURS.iter().chain(OTHERS).chain([&ORDERED, &FLOOR]) {
        println!("{executor:<18}{}", costs[executor].iter().map(|c| format!("{c:>14.1}")).collect::<String>());
    }
    println!("{}", output(Command::new("valgrind").arg("--version")));
    let (mut good, mut figures) = (true, Vec::new());
    for (i, &(tasks, _, limit)) in LOADS.iter().enumerate() {
        let best = OTHERS.iter().min_by(|a, b| costs[*a][i].total_cmp(&costs[*b][i])).context("nobody to compare with")?;
        let ratio = costs["vigil"][i] / costs[best][i];
        good &= ratio <= limit;
        figures.push(format!("{tasks}: {:.0}, {ratio:.2} × {best}", costs["vigil"][i]));
    }
    judge(good, figures.join("; "))
}
