//! Interrupt lines, handlers, device trees and deadlines that misbehave.
use super::Verdict::NotYet;
use super::{Bed, Verdict, judge};
use crate::run::KernelChoice;
use crate::selftest::{self, Pace};
use crate::{build, contract, ui, userland};
use anyhow::{Context, Result, bail};
use std::process::Command;

/// Tests on the host: lines and controllers, properties of interrupts, and timers in the past and in storms.
const HOST: &[&[&str]] = &[
    &["--package", "vigil-drivers", "--lib", "irq"],
    &["--package", "vigil-drivers", "--lib", "dt::"],
    &["--package", "vigil-executor", "--test", "timer_host"],
];

pub(super) fn check(bed: &Bed) -> Result<Verdict> {
    if bed.kernel == KernelChoice::Linux {
        return Ok(NotYet("these tests are inside Vigil's kernel".to_string()));
    }
    if let Some(verdict) = bed.no_programs() {
        return verdict;
    }
    let kernel = build::selftest(bed.ctx, false)?;
    ui::say("lines that scream, handlers that lie, come and go; storms on 4 CPUs");
    let faults = selftest::run(bed.ctx, &kernel.image, "irq-faults:1000", 2, Pace::Free, 300)?;
    let storm = selftest::run(bed.ctx, &kernel.image, "irq-storm:300", 4, Pace::Exact, 300)?;
    ui::say("on the host: lines and handlers, malformed properties, timers");
    ui::say("timers and waits at the end of time, on Linux and on the kernel");
    let program = userland::program(bed.ctx, "vigil-contract", "contract")?;
    let end = contract::compare(bed.ctx, &program, bed.kernel, &["clock_nanosleep"])?;
    let mut passed = 0;
    for args in HOST {
        passed += host(bed, args)?;
    }
    let late = storm.figure("irq-storm", "worst").context("no figure of the storm")?;
    let off = faults.figure("irq-scream", "after").context("no figure of the screaming line")?;
    let failed: Vec<&str> = faults.tests.iter().chain(&storm.tests).filter(|(_, ok, _)| !ok).map(|(name, ..)| name.as_str()).collect();
    let figure = format!(
        "screaming line off after {off} interrupts; FIFO in storms on 4 CPUs at most {:.1} µs late (50); {passed} host tests; {} sleeps and timers to the end of time as on Linux, {} not",
        late as f64 / 1000.0,
        end.same,
        end.differ
    );
    let figure = if failed.is_empty() { figure } else { format!("{figure}; failed: {}", failed.join(" ")) };
    judge(faults.good() && storm.good() && end.differ == 0, figure)
}

/// `cargo test` with these arguments, which must pass; how many tests that were.
pub(super) fn host(bed: &Bed, args: &[&str]) -> Result<u64> {
    let mut cargo = Command::new("cargo");
    cargo.arg("test").args(args).arg("--target-dir").arg(&bed.ctx.target).current_dir(&bed.ctx.root);
    let output = cargo.output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        let bad: Vec<&str> = text.lines().filter(|l| l.ends_with("FAILED") || l.contains("panicked")).collect();
        bail!("cargo test {}: {}", args.join(" "), bad.join(" / "));
    }
    let of = |line: &str| line.strip_prefix("test result: ok. ")?.split(' ').next()?.parse::<u64>().ok();
    match text.lines().filter_map(of).sum() {
        0 => bail!("cargo test {}: no test", args.join(" ")),
        n => Ok(n),
    }
}
