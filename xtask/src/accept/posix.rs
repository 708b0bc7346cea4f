//! irq-contract: calls of time against Linux errno by errno, and the clock and timer groups of the POSIX test suite.
use super::{Bed, Verdict, judge};
use crate::apt::Apt;
use crate::bench::LEAN;
use crate::ctx::Ctx;
use crate::run::KernelChoice;
use crate::{cases, contract, setup, ui, userland};
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The calls whose contract cases are compared; ioctl for the real-time clock's.
const CALLS: &[&str] = &[
    "clock_", "nanosleep", "gettimeofday", "settimeofday", "adjtimex", "timer_", "timerfd_", "getitimer", "setitimer", "times",
    "restart_syscall", "ioctl",
];
/// The suite's groups: its area TMR, and what else in it reads or sets time.
const GROUPS: &[&str] = &[
    "clock", "clock_getcpuclockid", "clock_getres", "clock_gettime", "clock_nanosleep", "clock_settime", "nanosleep", "time",
    "timer_create", "timer_delete", "timer_getoverrun", "timer_gettime", "timer_settime", "asctime", "ctime", "difftime", "gmtime",
    "localtime", "mktime", "strftime", "pthread_getcpuclockid",
];
/// The root file system below the programs.
const ROOT: &[&str] = &["bash", "coreutils"];
/// One instruction is a nanosecond, and sleeping costs no time of the host.
const OPTIONS: &[&str] = &["--icount", "--smp", "1", "--mem", "1G", "--append", LEAN, "--timeout", "1500"];

pub(super) fn check(bed: &Bed) -> Result<Verdict> {
    if let Some(verdict) = bed.no_programs() {
        return verdict;
    }
    let program = userland::program(bed.ctx, "vigil-contract", "contract")?;
    let outcome = contract::compare(bed.ctx, &program, bed.kernel, CALLS)?;
    let root = programs(bed.ctx)?;
    ui::say("the POSIX test suite's clocks and timers on Linux and on the kernel, -icount shift=0");
    let of = |kernel: KernelChoice| -> Result<BTreeMap<String, String>> {
        let display = root.display().to_string();
        let text = Bed { ctx: bed.ctx, kernel, only: None }.output(
            &root.join("usr/bin/bash"),
            &[OPTIONS, &["--rootfs", &display]].concat(),
            &["-c", SCRIPT],
        )?;
        Ok(text
            .lines()
            .filter_map(|l| l.strip_prefix("== ")?.split_once(' '))
            .map(|(name, status)| (name.to_string(), status.to_string()))
            .collect())
    };
    let (linux, ours) = (of(KernelChoice::Linux)?, of(bed.kernel)?);
    let passes = |of: &BTreeMap<String, String>, name: &str| of.get(name).is_some_and(|s| s == "0");
    for (name, status) in &linux {
        match ours.get(name) {
            Some(mine) if mine == status => {}
            mine => println!("{name}: status {status} on Linux, {} here", mine.map_or("none", String::as_str)),
        }
    }
    let there = linux.keys().filter(|name| passes(&linux, name)).count();
    // Those that Linux fails tell nothing, whatever they do here.
    let here = linux.keys().filter(|name| passes(&linux, name) && passes(&ours, name)).count();
    if there < 80 {
        bail!("only {there} programs of the suite pass on Linux");
    }
    judge(
        outcome.differ == 0 && here * 100 >= there * 95,
        format!(
            "{} cases same, {} differ, {} for a stated reason; POSIX test suite: {here} of the {there} that pass on Linux",
            outcome.same, outcome.differ, outcome.known
        ),
    )
}

/// Runs each program and prints its name and status. The suite's own results: 0 passed, 1 failed, 2 unresolved, 4 unsupported, 5 untested.
const SCRIPT: &str = "cd /pts && for p in *; do timeout -k 5 400 ./$p >/dev/null 2>&1; echo \"== $p $?\"; done";

/// Fetches and compiles the suite's groups, once, into a root file system of their own.
fn programs(ctx: &Ctx) -> Result<PathBuf> {
    let root = ctx.target.join("roots/posixtestsuite");
    if root.is_dir() {
        return Ok(root);
    }
    if !setup::found("aarch64-linux-gnu-gcc") {
        // The suite's programs are compiled.
        setup::apt_install(&["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"])?;
    }
    let source = Apt::new(ctx)?.source("posixtestsuite")?;
    let temporary = root.with_extension(format!("tmp{}", std::process::id()));
    copy(&cases::root_file_system(ctx, ROOT)?, &temporary)?;
    let into = temporary.join("pts");
    std::fs::create_dir_all(&into)?;
    ui::say("compiling the POSIX test suite's clocks and timers");
    for group in GROUPS {
        let dir = source.join("conformance/interfaces").join(group);
        for dir in [dir.join("speculative"), dir] {
            let Ok(files) = std::fs::read_dir(&dir) else { continue };
            for file in files {
                let file = file?.path();
                if file.extension().is_some_and(|e| e == "c")
                    && std::fs::read_to_string(&file).is_ok_and(|text| text.contains("main(") || text.contains("main ("))
                {
                    let speculative = if dir.ends_with("speculative") { "speculative-" } else { "" };
                    let name = format!("{group}-{speculative}{}", file.file_stem().unwrap_or_default().to_string_lossy());
                    compile(&source, &file, &into.join(name))?;
                }
            }
        }
    }
    // Another process may have been faster: its result is the same.
    if std::fs::rename(&temporary, &root).is_err() {
        std::fs::remove_dir_all(&temporary)?;
    }
    Ok(root)
}

fn compile(source: &Path, file: &Path, to: &Path) -> Result<()> {
    let mut gcc = Command::new("aarch64-linux-gnu-gcc");
    gcc.args(["-std=gnu99", "-O1", "-w", "-D_GNU_SOURCE", "-D_POSIX_C_SOURCE=200112L", "-I"]).arg(source.join("include"));
    gcc.arg("-o").arg(to).arg(file).args(["-lpthread", "-lrt", "-lm"]);
    let (ok, text) = ui::capture(&mut gcc)?;
    if !ok {
        bail!("cannot compile {}: {text}", file.display());
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status().context("cannot start cp")?;
    if !status.success() {
        bail!("cannot copy {}", from.display());
    }
    Ok(())
}
