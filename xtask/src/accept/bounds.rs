//! irq-bounds: the longest sections with interrupts masked and with preemption off, over everything that the tests do.
//!
//! Every machine case that one CPU can run, and all contract cases, run once with each tracer, one instruction a nanosecond. The
//! kernel's last lines (`vigil.longest`) name the longest sections of each run with their places.
use super::Verdict::NotYet;
use super::{Bed, Verdict, judge};
use crate::run::KernelChoice;
use crate::test::select;
use crate::{cases, ui, userland};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use vigil_tests::Case;

/// The tracers, and the most that each may find, in instructions.
const LIMITS: [(&str, u64); 2] = [("irqsoff", 5_000), ("preemptoff", 20_000)];
/// Sections of each kind that are shown.
const SHOWN: usize = 5;
/// Cases that want several CPUs, that end in a panic, or that use the tracer themselves.
const NOT: [&str; 5] = ["smp/", "boot/", "crash/", "trace/", "sched/"];
/// Real seconds for one run: it takes longer with the tracer.
const PATIENCE: u32 = 600;

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
    let mut seen = std::collections::BTreeSet::new();
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
    let more = ["--smp", "1", "--icount", "--append", &format!("ftrace={tracer} vigil.longest"), "--timeout", &PATIENCE.to_string()];
    options.extend(more.map(str::to_string));
    options.extend(["--log".to_string(), log.display().to_string()]);
    case.options = options;
    case.timeout = PATIENCE;
    case
}

fn look(bed: &Bed, tracer: &str, dir: &Path) -> Result<(Vec<Section>, usize)> {
    let mut logs: Vec<(String, PathBuf)> = Vec::new();
    let mut log = |name: &str| {
        let file = dir.join(format!("{tracer}-{}.log", name.replace('/', "-")));
        logs.push((name.to_string(), file.clone()));
        file
    };
    let (chosen, _) = select(None, false, bed.kernel);
    let fits = |case: &Case| !NOT.iter().any(|prefix| case.name.starts_with(prefix)) && !case.options.iter().any(|o| o.starts_with("--qemu-arg"));
    let chosen = chosen.into_iter().filter(fits);
    let chosen: Vec<Case> = chosen
        .map(|case| {
            let file = log(&case.name);
            traced(case, tracer, &file)
        })
        .collect();
    let contract = userland::program(bed.ctx, "vigil-contract", "contract")?;
    let file = log("contract");
    let file = file.to_str().context("the log's path is not UTF-8")?;
    ui::say(&format!("{tracer}: all contract cases, then {} machine cases; whether a case is content does not matter here", chosen.len()));
    bed.output(&contract, &["--smp", "1", "--icount", "--mem", "1G", "--append", &format!("ftrace={tracer} vigil.longest"), "--log", file, "--timeout", "3000"], &[])?;
    cases::run(bed.ctx, chosen, bed.kernel, &format!("{tracer} "))?;
    let (mut all, mut silent) = (Vec::new(), 0);
    for (name, file) in logs {
        let found = sections(&String::from_utf8_lossy(&std::fs::read(&file).unwrap_or_default()), tracer, &name);
        if found.is_empty() {
            println!("{tracer} {name}: the kernel has said nothing");
            silent += 1;
        }
        all.extend(found);
    }
    Ok((by_place(all), silent))
}

/// irq-bounds.
pub(super) fn check(bed: &Bed) -> Result<Verdict> {
    if bed.kernel == KernelChoice::Linux {
        return Ok(NotYet("Debian's Linux is built without these tracers".to_string()));
    }
    let dir = bed.ctx.target.join("bounds");
    std::fs::create_dir_all(&dir)?;
    let (mut good, mut figures) = (true, Vec::new());
    for (tracer, limit) in LIMITS {
        let (found, silent) = look(bed, tracer, &dir)?;
        for (length, what, run) in found.iter().take(SHOWN) {
            println!("{tracer} {length} ({run}) {what}");
        }
        let (longest, what, _) = found.first().context("no section was seen")?;
        let place = what.split_once(": ").map_or(what.as_str(), |(_, place)| place.split(" <- ").next().unwrap_or_default());
        good &= *longest <= limit && silent == 0;
        figures.push(format!("{tracer} {longest} (≤ {limit}) {place}"));
    }
    judge(good, figures.join("; "))
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
