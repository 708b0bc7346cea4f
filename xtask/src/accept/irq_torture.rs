//! Check of synchronisation: RCU and the locks under torture, and deadlocks that the lock checker must find.
use super::Verdict::NotYet;
use super::{Bed, Verdict, judge};
use crate::run::KernelChoice;
use crate::selftest::{self, Pace, Report};
use crate::{build, ui};
use anyhow::Result;

/// Seconds of the long run.
const LONG: u32 = 600;
/// Seconds of each of the runs with checks on.
const CHECKED: u32 = 60;
/// The fewest deadlocks that are planted.
const PLANTED: i64 = 20;
/// A machine may need so many seconds more than its test.
const GRACE: u32 = 180;

pub(super) fn check(bed: &Bed) -> Result<Verdict> {
    if bed.kernel == KernelChoice::Linux {
        return Ok(NotYet("these tests are inside Vigil's kernel".to_string()));
    }
    let checked = build::selftest(bed.ctx, true)?;
    let deadlocks = selftest::run(bed.ctx, &checked.image, "lockdep", 1, Pace::Exact, 120)?;
    let (planted, found) = (deadlocks.figure("lockdep", "planted").unwrap_or(0), deadlocks.figure("lockdep", "found").unwrap_or(0));
    let mut good = deadlocks.good() && planted >= PLANTED && found == planted;
    let mut figure = format!("{found} of {planted} planted deadlocks found");
    let released = build::selftest(bed.ctx, false)?;
    for (what, image, pace, seconds) in [
        ("4 CPUs", &released.image, Pace::Free, LONG),
        ("with checks on", &checked.image, Pace::Free, CHECKED),
        ("with checks on, one instruction per block", &checked.image, Pace::Single, CHECKED),
    ] {
        ui::say(&format!("{seconds} seconds of torture, {what}"));
        let report = selftest::run(bed.ctx, image, &format!("torture:{seconds}"), 4, pace, 2 * seconds + GRACE)?;
        good &= report.good();
        figure.push_str(&format!("; {seconds} s {what}: {}", said(&report)));
    }
    judge(good, figure)
}

/// The figures of a torture in a few words, and those of the tests that failed in full.
fn said(report: &Report) -> String {
    let of = |test: &str, word: &str| report.figure(test, word).unwrap_or(0);
    let mut text = format!(
        "RCU readers {} ({} too early), SRCU {} ({}), updates {}, barriers {}, CPUs gone {}",
        of("rcu-torture", "readers"),
        of("rcu-torture", "early"),
        of("srcu-torture", "readers"),
        of("srcu-torture", "early"),
        of("rcu-torture", "updates"),
        of("rcu-barrier", "barriers"),
        of("torture", "gone")
    );
    let locks = report.tests.iter().filter(|(name, ..)| name == "lock-torture").count();
    text.push_str(&format!(", {locks} kinds of locks"));
    for (name, _, figures) in report.tests.iter().filter(|(_, good, _)| !good) {
        text.push_str(&format!(", FAILED {name}: {figures}"));
    }
    text
}
