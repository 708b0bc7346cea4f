//! Checks that run a program and look at what it prints: contracts, injected failures, leaks, storms, memory.
use super::{Bed, Verdict, judge, value};
use crate::{contract, ui, userland};
use anyhow::Result;
use std::process::Command;

pub(super) fn fuzz(bed: &Bed) -> Result<Verdict> {
    if let Some(verdict) = bed.no_programs() {
        return verdict;
    }
    // Archives, device trees and headers are read by code that runs on the host, too: its tests named fuzz_, 10 000 mutants each.
    let mut cargo = Command::new("cargo");
    cargo.args(["test", "--workspace", "--lib", "fuzz_"]).arg("--target-dir").arg(&bed.ctx.target).current_dir(&bed.ctx.root);
    let (host, text) = ui::capture(&mut cargo)?;
    let passed = |kind: &str| text.lines().any(|l| l.contains(&format!("fuzz_{kind}")) && l.ends_with("... ok"));
    let without: Vec<&str> = ["cpio", "dtb", "elf"].into_iter().filter(|kind| !passed(kind)).collect();
    let host = match (host, without.as_slice()) {
        (true, []) => "passed".to_string(),
        (true, kinds) => format!("none of {}", kinds.join(", ")),
        (false, _) => format!("FAILED\n{text}"),
    };
    let figures = bed.stress(&["--smp", "1"], &["fuzz-elf", "10000"])?;
    let figure = format!(
        "{} ELFs executed ({} ran, {} refused, {} killed); on the host 10 000 each of cpio, DTB, ELF: {host}",
        value(&figures, "mutants")?,
        value(&figures, "ran")?,
        value(&figures, "refused")?,
        value(&figures, "killed")?,
    );
    judge(host == "passed", figure)
}

pub(super) fn contract_tests(bed: &Bed) -> Result<Verdict> {
    if let Some(verdict) = bed.no_programs() {
        return verdict;
    }
    let program = userland::program(bed.ctx, "vigil-contract", "contract")?;
    let outcome = contract::compare(bed.ctx, &program, bed.kernel, &[])?;
    let figure = format!(
        "{} same, {} differ, {} differ for a stated reason, {} empty cells",
        outcome.same, outcome.differ, outcome.known, outcome.empty
    );
    judge(outcome.differ == 0 && outcome.empty == 0, figure)
}

pub(super) fn out_of_memory(bed: &Bed) -> Result<Verdict> {
    if let Some(verdict) = bed.no_programs() {
        return verdict;
    }
    let one = value(&bed.stress(&["--mem", "256M"], &["oom", "one"])?, "lost_kib")?;
    let many = value(&bed.stress(&["--mem", "256M"], &["oom", "many"])?, "lost_kib")?;
    judge(one.max(many) <= 1024, format!("alive; {one} and {many} KiB less free afterwards"))
}

pub(super) fn storm(bed: &Bed) -> Result<Verdict> {
    if let Some(verdict) = bed.no_programs() {
        return verdict;
    }
    let figures = bed.stress(&["--smp", "4"], &["storm", "10000", "1000"])?;
    let (processes, threads) = (value(&figures, "processes")?, value(&figures, "threads")?);
    judge(processes == 10_000 && threads == 1000, format!("{processes} processes, {threads} threads"))
}

pub(super) fn memory(bed: &Bed) -> Result<Verdict> {
    if let Some(verdict) = bed.no_programs() {
        return verdict;
    }
    let mut figures = Vec::new();
    for cpus in ["1", "2", "4"] {
        figures.push(value(&bed.stress(&["--smp", cpus], &["blocked", "1000"])?, "bytes_per_thread")? as f64 / 1024.0);
    }
    let good = figures.iter().all(|kib| *kib <= 3.0);
    judge(good, format!("{:.2}, {:.2}, {:.2} KiB on 1, 2, 4 CPUs", figures[0], figures[1], figures[2]))
}
