//! Checks of interrupts, bottom halves and time: images with the feature `selftest`.
use super::Verdict::NotYet;
use super::{Bed, Verdict, judge};
use crate::run::KernelChoice;
use crate::selftest::{self, Pace};
use crate::{build, mutants, ui};
use anyhow::{Context, Result};

/// The most that 100 000 pending timers may slow one down beside 10.
const FLAT: f64 = 2.0;

pub(super) fn cost(bed: &Bed) -> Result<Verdict> {
    if bed.kernel == KernelChoice::Linux {
        return Ok(NotYet("these tests are inside Vigil's kernel".to_string()));
    }
    let kernel = build::selftest(bed.ctx, false)?;
    ui::say("instructions of interrupts, softirqs, work items and timers, 1 and 2 CPUs, exact");
    let mut stages = selftest::run(bed.ctx, &kernel.image, "irq-cost:300", 1, Pace::Exact, 120)?.stages;
    stages.extend(selftest::run(bed.ctx, &kernel.image, "stages:300", 1, Pace::Exact, 120)?.stages);
    let two = selftest::run(bed.ctx, &kernel.image, "ipi-cost:300", 2, Pace::Exact, 120)?.stages;
    let median = |stages: &selftest::Stages, name: &str| {
        stages.get(name).and_then(|s| s.get("p50")).copied().with_context(|| format!("no stage {name}"))
    };
    let remote = median(&two, "ipi_to_poll")?;
    let flat = median(&stages, "timer_100000")? as f64 / median(&stages, "timer_10")? as f64;
    let (within, line) = selftest::stages(&stages).context("the kernel printed no stages")?;
    judge(within && flat <= FLAT, format!("{line}; timer {flat:.2} × from 10 to 100 000 pending; IPI → poll on another CPU {remote}"))
}

pub(super) fn guarantees(bed: &Bed) -> Result<Verdict> {
    if bed.kernel == KernelChoice::Linux {
        return Ok(NotYet("these tests are of Vigil's own parts".to_string()));
    }
    let tally = mutants::check(bed.ctx, "")?;
    judge(
        tally.failed == 0,
        format!("{} of {} planted bugs noticed by the test of their guarantee", tally.passed, tally.passed + tally.failed),
    )
}
