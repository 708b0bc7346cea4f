//! The tests inside the kernel (`kernel/src/selftest`): an image of its own with the feature `selftest`, booted without user
//! space; the command line names the tests, the log holds their lines, the exit status is the number of those that failed.
use crate::ctx::Ctx;
use crate::qemu::ICOUNT;
use crate::setup;
use crate::ui;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// How a machine is emulated.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// One instruction is one nanosecond; one CPU.
    Exact,
    /// As fast as the host can.
    Free,
    /// One instruction per translation block, a thread per CPU: interrupts and other CPUs come between any two.
    Single,
}

/// Costs by name: words with their numbers, such as `p50`.
pub type Stages = BTreeMap<String, BTreeMap<String, i64>>;

/// What a run printed.
pub struct Report {
    /// `selftest NAME: ok|FAILED figures`: name, whether ok, figures.
    pub tests: Vec<(String, bool, String)>,
    /// `stage NAME word value …`: by name, the words with their numbers.
    pub stages: Stages,
}

impl Report {
    /// Whether tests ran and all are ok.
    pub fn good(&self) -> bool {
        !self.tests.is_empty() && self.tests.iter().all(|(_, ok, _)| *ok)
    }

    /// The number behind a word in a test's figures, such as 1550 for `worst` in `worst 1550 ns`.
    pub fn figure(&self, test: &str, word: &str) -> Option<i64> {
        let (_, _, figures) = self.tests.iter().find(|(name, ..)| name == test)?;
        let words: Vec<&str> = figures.split_whitespace().collect();
        words.windows(2).find(|pair| pair[0] == word)?[1].trim_end_matches(',').parse().ok()
    }
}

/// Boots `image` with `vigil.test=TESTS` on so many CPUs and gives what it printed. A machine that hangs, dies or prints nothing
/// is an error; a test that failed is not.
pub fn run(ctx: &Ctx, image: &Path, tests: &str, cpus: u32, pace: Pace, seconds: u32) -> Result<Report> {
    setup::qemu()?;
    let mut qemu = Command::new("timeout");
    qemu.args(["--kill-after=5", &seconds.to_string(), setup::QEMU, "-M", "virt,gic-version=3", "-cpu", "cortex-a72", "-m", "512M"]);
    qemu.args(["-smp", &cpus.to_string(), "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-net", "none"]);
    qemu.args(["-serial", "stdio", "-semihosting-config", "enable=on,target=native"]);
    match pace {
        Pace::Exact => drop(qemu.args(ICOUNT)),
        Pace::Free => {}
        Pace::Single => drop(qemu.args(["-accel", "tcg,thread=multi", "-singlestep"])),
    }
    let append = format!("console=ttyAMA0 nokaslr mitigations=off vigil.semihosting panic=-1 oops=panic vigil.test={tests}");
    qemu.arg("-kernel").arg(image).args(["-append", &append]).current_dir(&ctx.target);
    let (_, text) = ui::capture(&mut qemu)?;
    let report = parse(&text);
    if report.tests.is_empty() && report.stages.is_empty() {
        let lines: Vec<&str> = text.lines().collect();
        bail!("{tests}: no result; the console ends with\n    {}", lines[lines.len().saturating_sub(15)..].join("\n    "));
    }
    Ok(report)
}

/// Reads the log. A line may have a time stamp, and the end of a serial line.
pub fn parse(log: &str) -> Report {
    let mut report = Report { tests: Vec::new(), stages: BTreeMap::new() };
    for line in log.lines() {
        let line = line.trim_end();
        let line = if line.starts_with('[') { line.split_once("] ").map_or(line, |(_, rest)| rest) } else { line };
        if let Some((name, rest)) = line.strip_prefix("selftest ").and_then(|l| l.split_once(": ")) {
            let (word, figures) = rest.split_once(' ').unwrap_or((rest, ""));
            report.tests.push((name.to_string(), word == "ok", figures.to_string()));
        } else if let Some((name, rest)) = line.strip_prefix("stage ").and_then(|l| l.split_once(' ')) {
            let words: Vec<&str> = rest.split_whitespace().collect();
            let values = words.chunks_exact(2).filter_map(|pair| Some((pair[0].to_string(), pair[1].parse().ok()?)));
            report.stages.insert(name.to_string(), values.collect());
        }
    }
    report
}

/// The stages of a log as one line, and whether each median is within its limit. None when there are no stages.
pub fn stages(stages: &Stages) -> Option<(bool, String)> {
    let mut good = !stages.is_empty();
    let mut parts = Vec::new();
    for (name, values) in stages {
        let get = |word: &str| values.get(word).copied().with_context(|| format!("stage {name} has no {word}"));
        let (Ok(p50), Ok(limit)) = (get("p50"), get("limit")) else {
            good = false;
            continue;
        };
        good &= p50 <= limit;
        parts.push(format!("{name} {p50} (≤ {limit}, max {})", get("max").unwrap_or(-1)));
    }
    (!parts.is_empty()).then(|| (good, parts.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "[    0.1] smp: Brought up 1 node, 1 CPUs\r\n[    0.4] selftest spin: ok FIFO 90: wakes 300, average 900 ns, worst 1550 ns (at most 10000)\r\n\
                       [    0.5] selftest parks: FAILED parks 12, damaged 1\r\nstage poll_to_el0 p50 343 max 400 limit 250 samples 300\r\n";

    #[test]
    fn results_and_figures_are_found_in_a_log() {
        let report = parse(LOG);
        assert_eq!(report.tests.iter().map(|(name, ok, _)| (name.as_str(), *ok)).collect::<Vec<_>>(), [("spin", true), ("parks", false)]);
        assert_eq!(
            (report.figure("spin", "worst"), report.figure("spin", "wakes"), report.figure("parks", "damaged")),
            (Some(1550), Some(300), Some(1))
        );
        assert!(!report.good());
    }

    #[test]
    fn a_stage_above_its_limit_is_bad() {
        let (good, line) = stages(&parse(LOG).stages).unwrap();
        assert!(!good && line.contains("poll_to_el0 343 (≤ 250"), "{line}");
    }
}
