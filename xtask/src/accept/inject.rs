//! The checks that run every contract case under injection: each allocation failed, each await disturbed; and what all of
//! them lose without.
//!
//! The machines count instructions (`--icount`): time that nobody uses passes at once, and a run is repeatable. The cases are
//! dealt out to as many machines as the host has CPUs.
use super::{Bed, Verdict, judge, value};
use crate::cases::OOPS_ENDS;
use crate::run::KernelChoice;
use crate::{ui, userland};
use anyhow::{Result, bail};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

/// Seconds of real time for one part of the cases.
const LIMIT: &str = "3000";

/// Runs part `index` of `parts` of the cases with `--MODE`; its figures. What is wrong is printed.
fn part(program: &Path, mode: &str, index: usize, parts: usize) -> Result<BTreeMap<String, i64>> {
    let mut command = Command::new("/proc/self/exe");
    command.args(["run", "--no-build"]).args(OOPS_ENDS).args(["--icount", "--timeout", LIMIT, "--"]).arg(program);
    let output = command.args([format!("--shard={index}/{parts}"), format!("--{mode}")]).stdin(Stdio::null()).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut figures = BTreeMap::new();
    for line in text.lines().filter(|l| !l.starts_with('#')) {
        match line.split_once(' ').and_then(|(name, number)| Some((name.to_string(), number.parse().ok()?))) {
            Some((name, number)) => _ = figures.insert(name, number),
            None => println!("{line}"),
        }
    }
    if !figures.contains_key("injected") {
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        bail!("--{mode}: status {:?}: {}", output.status.code(), lines[lines.len().saturating_sub(3)..].join(" / "));
    }
    Ok(figures)
}

/// Runs all cases with `--MODE`; the sums of the figures.
fn all(bed: &Bed, mode: &str) -> Result<BTreeMap<String, i64>> {
    let program = userland::program(bed.ctx, "vigil-contract", "contract")?;
    let parts = std::thread::available_parallelism().map_or(1, usize::from).min(8);
    ui::say(&format!("contract --{mode}, on {parts} machines"));
    let results: Vec<Result<BTreeMap<String, i64>>> = std::thread::scope(|scope| {
        let program = &program;
        let runs: Vec<_> = (0..parts).map(|index| scope.spawn(move || part(program, mode, index, parts))).collect();
        runs.into_iter().map(|run| run.join().unwrap_or_else(|_| bail!("a part of the run was lost"))).collect()
    });
    let mut sums = BTreeMap::new();
    for figures in results {
        for (name, number) in figures? {
            *sums.entry(name).or_insert(0) += number;
        }
    }
    Ok(sums)
}

/// Why the check cannot be made: Linux's kernel of Debian has no injectors.
fn needs_vigil(bed: &Bed) -> Option<Result<Verdict>> {
    let linux = bed.kernel == KernelChoice::Linux;
    bed.no_programs().or_else(|| linux.then(|| Ok(Verdict::NotYet("Debian's Linux is built without fault injection".to_string()))))
}

/// core-nth.
pub(super) fn nth(bed: &Bed) -> Result<Verdict> {
    if let Some(verdict) = needs_vigil(bed) {
        return verdict;
    }
    let sums = all(bed, "nth")?;
    let (injected, stuck, leaking) = (value(&sums, "injected")?, value(&sums, "stuck")?, value(&sums, "leaking")?);
    let figure = format!("{injected} allocations failed in {} cases; {stuck} hang, {leaking} lose something", value(&sums, "cases")?);
    judge(injected > 0 && stuck + leaking == 0, figure)
}

/// core-drop.
pub(super) fn disturb(bed: &Bed) -> Result<Verdict> {
    if let Some(verdict) = needs_vigil(bed) {
        return verdict;
    }
    let (mut figures, mut bad) = (Vec::new(), 0);
    for (mode, done) in [("drop", "dropped"), ("kill", "killed in"), ("interrupt", "interrupted")] {
        let sums = all(bed, mode)?;
        bad += value(&sums, "stuck")? + value(&sums, "leaking")?;
        // An interrupted wait is taken up again: then nothing may wait longer than without.
        bad += if mode == "interrupt" { value(&sums, "waited")? } else { 0 };
        figures.push(format!("{} {done}", value(&sums, "injected")?));
    }
    judge(bad == 0, format!("awaits: {}; {bad} hang or lose something", figures.join(", ")))
}

/// core-leak.
pub(super) fn leak(bed: &Bed) -> Result<Verdict> {
    if let Some(verdict) = bed.no_programs() {
        return verdict;
    }
    let rounds = bed.stress(&[], &["leak", "8"])?;
    let (lost, lost_objects) = (value(&rounds, "lost_kib")?, value(&rounds, "lost_objects")?);
    let program = userland::program(bed.ctx, "vigil-contract", "contract")?;
    let cases = bed.figures(&program, &["--icount"], &["--leak", "4"])?;
    let of = |name: &str| value(&cases, name);
    let (kib, tasks, files, objects) = (of("lost_kib")?, of("lost_tasks")?, of("lost_files")?, of("lost_objects")?);
    let figure = format!(
        "{lost} KiB and {lost_objects} slab objects more in the second half of 8 rounds of everything than in the first; all contract cases, rounds 3 and 4: {objects} slab objects, {kib} KiB, {tasks} tasks, \
         {files} files"
    );
    judge(lost <= 0 && lost_objects <= 0 && kib <= 0 && tasks <= 0 && files <= 0 && objects <= 0, figure)
}
