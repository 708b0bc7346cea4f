//! Checks that look inside the kernel: images with the feature `selftest`.
use super::Verdict::NotYet;
use super::{Bed, Verdict, judge, value};
use crate::bench::LEAN;
use crate::run::KernelChoice;
use crate::selftest::{self, Pace, Report};
use crate::{build, ui};
use anyhow::{Context, Result};

/// The most that a FIFO 90 task may wait behind a poll that spins, in nanoseconds.
const LATE: i64 = 10_000;
/// Parks in each of the two runs with checks on.
const PARKS: i64 = 100_000;

/// Runs, with a line before: they take minutes.
fn run(bed: &Bed, what: &str, debug: bool, tests: &str, cpus: u32, pace: Pace) -> Result<Report> {
    let kernel = build::selftest(bed.ctx, debug)?;
    ui::say(what);
    selftest::run(bed.ctx, &kernel.image, tests, cpus, pace, 1200)
}

pub(super) fn preempt(bed: &Bed) -> Result<Verdict> {
    if bed.kernel == KernelChoice::Linux {
        return Ok(NotYet("these tests are inside Vigil's kernel".to_string()));
    }
    let spin = run(bed, "polls that spin for 5 ms, 1 CPU, exact", false, "spin:1000", 1, Pace::Exact)?;
    let worst = spin.figure("spin", "worst").context("spin printed no worst time")?;
    let mut good = spin.good() && worst <= LATE;
    let mut figure = format!("FIFO 90 at most {:.2} µs late", worst as f64 / 1e3);
    for (what, pace) in [("4 CPUs", Pace::Free), ("4 CPUs, one instruction per block", Pace::Single)] {
        let report = run(bed, &format!("{PARKS} parks with checks on, {what}"), true, &format!("parks:{PARKS}"), 4, pace)?;
        let parks = report.figure("parks", "parks").context("parks printed no count")?;
        good &= report.good() && parks >= PARKS;
        figure.push_str(&format!("; {what}: {parks} parks{}", if report.good() { ", nothing damaged or lost" } else { ", FAILED: " }));
        if !report.good() {
            figure.push_str(report.tests.first().map_or("", |(_, _, figures)| figures));
        }
    }
    judge(good, figure)
}

pub(super) fn latency(bed: &Bed) -> Result<Verdict> {
    if let Some(verdict) = bed.no_programs() {
        return verdict;
    }
    let figures = bed.stress(&["--icount", "--append", LEAN], &["cyclic", "3000"])?;
    let (average, worst) = (value(&figures, "avg_ns")?, value(&figures, "max_ns")?);
    let mut good = average <= 2000 && worst <= 4000;
    let mut figure = format!("avg {:.2} µs, max {:.2} µs", average as f64 / 1e3, worst as f64 / 1e3);
    if bed.kernel == KernelChoice::Vigil {
        let kernel = build::selftest(bed.ctx, false)?;
        let mut stages = selftest::run(bed.ctx, &kernel.image, "stages:300", 1, Pace::Exact, 120)?.stages;
        // The stages on the way to EL0 need user space; they are in the log.
        let (image, log) = (kernel.image.display().to_string(), bed.ctx.target.join("stages.log"));
        let append = format!("{LEAN} vigil.test=stages-user:300");
        bed.stress(&["--icount", "--image", &image, "--log", &log.display().to_string(), "--append", &append], &["cyclic", "600"])?;
        stages.extend(selftest::parse(&std::fs::read_to_string(&log)?).stages);
        let (within, line) = selftest::stages(&stages).context("the kernel printed no stages")?;
        good &= within && ["idle", "parking", "el0"].iter().all(|word| stages.keys().any(|name| name.ends_with(word)));
        figure.push_str(&format!("; {line}"));
    }
    judge(good, figure)
}
