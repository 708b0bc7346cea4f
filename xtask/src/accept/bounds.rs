//! irq-bounds: the longest sections with interrupts masked and with preemption off, over everything that the tests do.
//!
//! Every machine case that one CPU can run, and all contract cases, run once with each tracer, one instruction a nanosecond. The
//! kernel's last lines (`vigil.longest`) name the longest sections of each run with their places.
use super::Verdict::NotYet;
use super::{Bed, Verdict, judge};
use crate::run::KernelChoice;
use crate::test::select;
use crate::{cases, ui};
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::path::Path;
use vigil_tests::{Case, Fixture, How, Output};

/// The tracers, and the most that each may find, in instructions.
const LIMITS: [(&str, u64); 2] = [("irqsoff", 5_000), ("preemptoff", 20_000)];
/// Sections of each kind that are shown.
const SHOWN: usize = 5;
/// Cases that want several CPUs or a board, that end in a panic, that use the tracer themselves, or whose machine is killed or not even started.
const NOT: [&str; 11] = [
    "smp/", "irq/idle-workers", "boot/", "crash/", "trace/", "pi/", "run/timeout", "run/missing-file", "run/missing-library",
    "run/not-an-elf", "run/other-machine",
];
/// Real seconds for one run: it takes longer with the tracer.
const PATIENCE: u32 = 900;

/// A section: its length, what is known of it, and in which run it was seen.
type Section = (u64, String, String);

/// The lines that the kernel has left in the log of a run.
fn sections(log: &str, tracer: &str, run: &str) -> Vec<Section> {
    let mark = format!("longest {tracer}: ");
    let tail = |line: &str| line.split_once(&mark).map(|(_, tail)| tail.trim().to_string());
    let parse = |tail: String| {
        let (length, rest) = tail.split_once(" ns ")?;
        Some((length.parse().ok()?, rest.to_string(), run.to_string()))
    };
    log.lines().filter_map(tail).filter_map(parse).collect()
}

/// One for each pair of ends, the longest first.
fn by_place(mut all: Vec<Section>) -> Vec<Section> {
    let place = |s: &Section| s.1.split_once(": ").map(|(_, ends)| ends.split(" <- ").next().unwrap_or_default().to_string());
    all.sort_by_key(|s| std::cmp::Reverse(s.0));
    let mut seen = BTreeSet::new();
    all.retain(|s| seen.insert(place(s)));
    all
}

/// `case` on one CPU with the tracer, its console in `log`.
fn traced(mut case: Case, tracer: &str, log: &Path) -> Case {
    let mut options: Vec<String> = Vec::new();
    let mut given = case.options.into_iter();
    while let Some(option) = given.next() {
        match option.as_str() {
            "--smp" | "--timeout" => _ = given.next(),
            "--icount" => {}
            _ => options.push(option),
        }
    }
    let more =
        ["--smp", "1", "--icount", "--append", &format!("nokaslr ftrace={tracer} vigil.longest"), "--timeout", &PATIENCE.to_string()];
    options.extend(more.map(str::to_string));
    options.extend(["--log".to_string(), log.display().to_string()]);
    case.options = options;
    case.timeout = PATIENCE;
    // What a program prints on one CPU and beside a tracer is its own affair.
    if let How::Program { stdout, stderr, .. } = &mut case.how {
        (*stdout, *stderr) = (Output::Any, Output::Any);
    }
    case.name = format!("{tracer} {}", case.name);
    case
}

/// What runs: all contract cases, and each machine case that one CPU can run, once of those that differ in their CPUs alone.
fn chosen(bed: &Bed) -> Vec<Case> {
    let contract =
        Case::program("contract", vec!["./contract"], 0).with(&[Fixture::Own("contract", "vigil-contract")]).options(&["--mem", "1G"]);
    let elsewhere = |option: &String| option == "--board" || option.starts_with("--qemu-arg");
    let fits = |case: &Case| !NOT.iter().any(|prefix| case.name.starts_with(prefix)) && !case.options.iter().any(elsewhere);
    let mut all = vec![contract];
    all.extend(select(None, false, bed.kernel).0.into_iter().filter(fits));
    let mut seen = BTreeSet::new();
    all.retain(|case| seen.insert(format!("{:?} {:?}", case.how, case.packages)));
    all.retain(|case| bed.only.is_none_or(|prefix| case.name.starts_with(prefix)));
    all
}

/// irq-bounds.
pub(super) fn check(bed: &Bed) -> Result<Verdict> {
    if bed.kernel == KernelChoice::Linux {
        return Ok(NotYet("Debian's Linux is built without these tracers".to_string()));
    }
    let dir = bed.ctx.target.join("bounds");
    std::fs::create_dir_all(&dir)?;
    let (mut cases, mut logs) = (Vec::new(), Vec::new());
    for case in chosen(bed) {
        for (tracer, _) in LIMITS {
            let file = dir.join(format!("{tracer}-{}.log", case.name.replace('/', "-")));
            logs.push((tracer, case.name.clone(), file.clone()));
            cases.push(traced(case.clone(), tracer, &file));
        }
    }
    ui::say(&format!("{} runs under a tracer; whether a case is content does not matter here", cases.len()));
    cases::run(bed.ctx, cases, bed.kernel, "")?;
    let (mut good, mut figures) = (true, Vec::new());
    for (tracer, limit) in LIMITS {
        let mut found = Vec::new();
        for (_, name, file) in logs.iter().filter(|(of, ..)| *of == tracer) {
            let some = sections(&String::from_utf8_lossy(&std::fs::read(file).unwrap_or_default()), tracer, name);
            if some.is_empty() {
                println!("{tracer} {name}: the kernel has said nothing");
                good = false;
            }
            found.extend(some);
        }
        let found = by_place(found);
        for (length, what, run) in found.iter().enumerate().take_while(|(n, s)| *n < SHOWN || s.0 > limit).map(|(_, s)| s) {
            println!("{tracer} {length} ({run}) {what}");
        }
        let (longest, what, _) = found.first().context("no section was seen")?;
        let place = what.split_once(": ").map_or(what.as_str(), |(_, place)| place.split(" <- ").next().unwrap_or_default());
        good &= *longest <= limit;
        figures.push(format!("{tracer} {longest} (≤ {limit}) {place}"));
    }
    match bed.only {
        Some(prefix) => Ok(NotYet(format!("{prefix} alone: {}", figures.join("; ")))),
        None => judge(good, figures.join("; ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_of_a_log_are_read() {
        let log = "[    0.1] longest irqsoff: 120 ns init-1: a::b+0x1 -> c+0x2 <- d+0x3\r\n[    0.2] longest irqsoff: 90 ns sh-7: a::b+0x1 -> c+0x2 <- e+0x4\nother\n\
                   [    0.3] longest irqsoff: 100 ns <idle>-0: f+0x1 -> c+0x2";
        let found = by_place(sections(log, "irqsoff", "case"));
        assert_eq!(found.iter().map(|s| s.0).collect::<Vec<_>>(), [120, 100]);
        assert!(sections(log, "preemptoff", "case").is_empty());
    }
}
