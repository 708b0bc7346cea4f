//! Checks of figures that are exact under icount: instruction budgets, their growth, the way from power-on to init.
use super::Verdict::NotYet;
use super::{Bed, Verdict, judge};
use crate::bench::{self, LEAN, TARGETS};
use crate::cpio::Tree;
use crate::run::KernelChoice;
use crate::userland;
use anyhow::{Context, Result};
use std::process::{Command, Stdio};

pub(super) fn budgets(bed: &Bed) -> Result<Verdict> {
    if let Some(verdict) = bed.no_programs() {
        return verdict;
    }
    let ubench = userland::program(bed.ctx, "vigil-ubench", "ubench")?;
    let linux = bench::measure(&ubench, KernelChoice::Linux, LEAN, &[])?;
    let ours = if bed.kernel == KernelChoice::Linux { linux.clone() } else { bench::measure(&ubench, KernelChoice::Vigil, LEAN, &[])? };
    println!("{}", bench::table(bench::LEAN_TITLE, &linux, &ours, true));
    let met = TARGETS.iter().filter(|t| ours.get(t.name).is_some_and(|v| *v <= t.limit)).count();
    // The method is sound when Linux takes what it took when the targets were set.
    let off: Vec<&str> =
        TARGETS.iter().filter(|t| linux.get(t.name).is_none_or(|v| !(0.7..1.4).contains(&(v / t.linux)))).map(|t| t.name).collect();
    let doubt = if off.is_empty() { String::new() } else { format!("; Linux's own figure is off for {}", off.join(" ")) };
    judge(met == TARGETS.len(), format!("{met} of {} met{doubt}", TARGETS.len()))
}

pub(super) fn gate(bed: &Bed) -> Result<Verdict> {
    if let Some(verdict) = bed.no_programs() {
        return verdict;
    }
    let ubench = userland::program(bed.ctx, "vigil-ubench", "ubench")?;
    match bench::growth(bed.ctx, &bench::measure(&ubench, KernelChoice::Vigil, LEAN, &[])?)? {
        None => Ok(NotYet("no counts of these versions are stored: cargo xtask bench --store".to_string())),
        Some(lines) => judge(lines.is_empty(), if lines.is_empty() { "no growth".to_string() } else { lines.join("; ") }),
    }
}

/// Boots an archive with `size` bytes of files whose init says how long the machine has been on; instructions until then.
fn power_on_to_init(bed: &Bed, gzip: bool) -> Result<(i64, usize)> {
    const SIZE: usize = 8 << 20;
    let init = userland::program(bed.ctx, "vigil-stress", "stress")?;
    let mut tree = Tree::new();
    tree.chardev("/dev/console", 0o600, 5, 1);
    tree.host_file("/init", &init)?;
    // Data with the compressibility of programs: some of it repeats, some does not.
    let mut x = 1u32;
    let mut noise = || {
        x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (x >> 24) as u8
    };
    let rest = SIZE - std::fs::metadata(&init)?.len().min(SIZE as u64 / 2) as usize;
    for i in 0..64 {
        let data = (0..rest / 64).map(|n| if n % 64 < 24 { noise() } else { (n % 64) as u8 }).collect();
        tree.file(&format!("/data/{i}"), 0o644, data);
    }
    let archive = tree.archive();
    let file = bed.ctx.target.join("boot-test.cpio");
    std::fs::write(&file, if gzip { tree.archive_gz()? } else { archive.clone() })?;
    let mut command = Command::new("/proc/self/exe");
    command.args([
        "run",
        "--no-build",
        "--icount",
        "--timeout",
        "120",
        "--append",
        LEAN,
        "--kernel",
        if bed.kernel == KernelChoice::Linux { "linux" } else { "vigil" },
    ]);
    let output = command.arg("--initramfs").arg(&file).stdin(Stdio::null()).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let ns = text.lines().find_map(|l| l.split_once("boot_ns ")?.1.trim().parse().ok());
    Ok((ns.context("init did not say when it began")?, archive.len()))
}

pub(super) fn boot(bed: &Bed) -> Result<Verdict> {
    if let Some(verdict) = bed.no_programs() {
        return verdict;
    }
    let (plain, size) = power_on_to_init(bed, false)?;
    let (gzip, _) = power_on_to_init(bed, true)?;
    let per_byte = (gzip - plain) as f64 / size as f64;
    let ms = plain as f64 / 1e6;
    judge(ms <= 40.0 && per_byte <= 12.0, format!("{ms:.1} ms; gzip {per_byte:.1} instructions per byte"))
}
