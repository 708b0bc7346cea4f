//! core-contract: the same contract tests on Debian's Linux and on Vigil, line by line; and docs/conformance.md.
use crate::cases::OOPS_ENDS;
use crate::ctx::Ctx;
use crate::run::KernelChoice;
use crate::ui;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

/// Seconds of real time for one run of all cases.
const LIMIT: &str = "900";
/// Divergences that are meant, `call/case  reason` per line.
const KNOWN: &str = include_str!("../../userland/tests/known-divergences");

/// What the comparison found.
pub struct Outcome {
    /// Cases with the same line on both kernels.
    pub same: usize,
    /// Cases with different lines, and cases that one kernel did not get to.
    pub differ: usize,
    /// Those whose difference is meant.
    pub known: usize,
    /// Cells of the table that no case fills.
    pub empty: usize,
}

fn run(contract: &Path, kernel: KernelChoice, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new("/proc/self/exe");
    command.args(["run", "--no-build"]).args(OOPS_ENDS).args([
        "--smp",
        "2",
        "--timeout",
        LIMIT,
        "--kernel",
        if kernel == KernelChoice::Linux { "linux" } else { "vigil" },
    ]);
    let output = command
        .arg("--")
        .arg(contract)
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start xtask run")?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Result by case.
pub fn lines(text: &str) -> BTreeMap<&str, &str> {
    text.lines().filter(|l| !l.starts_with('#')).filter_map(|l| l.split_once(": ")).collect()
}

/// Whether a case's errno is in what Linux answered: a case that is named after another errno is a wrong case.
fn keeps_its_name(case: &str, result: &str) -> bool {
    let name = case.split_once('/').map_or("", |(_, name)| name);
    let errno = name.split('-').next().unwrap_or_default();
    let is_errno = errno.len() > 2 && errno.starts_with('E') && errno.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit());
    !is_errno || result.contains(errno)
}

/// Runs the cases whose names begin as one of `calls`, or all, on both kernels, prints the lines that differ, and after all on Linux
/// writes docs/conformance.md.
pub fn compare(ctx: &Ctx, contract: &Path, kernel: KernelChoice, calls: &[&str]) -> Result<Outcome> {
    let check = run(contract, KernelChoice::Linux, &["--check"])?;
    let empty: Vec<&str> = check.lines().filter(|l| !l.starts_with('#')).collect();
    empty.iter().for_each(|line| println!("empty: {line}"));
    let on_linux = run(contract, KernelChoice::Linux, calls)?;
    // With `--kernel linux` two runs are compared: that the cases give the same lines each time.
    let on_ours = run(contract, kernel, calls)?;
    let (linux, ours) = (lines(&on_linux), lines(&on_ours));
    if linux.is_empty() {
        bail!("contract printed nothing under Linux");
    }
    let mut outcome = Outcome { same: 0, differ: 0, known: 0, empty: empty.len() };
    for (case, expected) in &linux {
        if !keeps_its_name(case, expected) || expected.starts_with("TIMEOUT") {
            println!("wrong case: {case}: {expected} on Linux");
            outcome.differ += 1;
            continue;
        }
        let got = ours.get(case).copied().unwrap_or("(nothing)");
        if got == *expected {
            outcome.same += 1;
        } else if KNOWN.lines().any(|l| l.split_whitespace().next() == Some(case)) {
            outcome.known += 1;
        } else {
            println!("{case}\n    Linux: {expected}\n    ours:  {got}");
            outcome.differ += 1;
        }
    }
    if kernel == KernelChoice::Linux && calls.is_empty() {
        write_table(ctx, &run(contract, KernelChoice::Linux, &["--table"])?)?;
    }
    Ok(outcome)
}

/// Writes docs/conformance.md.
fn write_table(ctx: &Ctx, table: &str) -> Result<()> {
    let known: String = KNOWN.lines().filter(|l| !l.starts_with('#') && !l.trim().is_empty()).map(|l| format!("- {l}\n")).collect();
    let known = if known.is_empty() { "None.\n".to_string() } else { known };
    let text = format!(
        "# What the contract tests cover\n\nWritten by `cargo xtask accept core-contract --kernel linux`; do not edit. The cases are in `userland/tests`: one program, run on Debian's\n\
         Linux and on Vigil, whose outputs are compared line by line (`cargo xtask accept core-contract`). A call of the kernel's table without a case in a\n\
         column makes the check fail. EFAULT and EINTR have columns of their own; n.a. is said with its reason.\n\n{table}\n## Known divergences\n\n{known}"
    );
    let file = ctx.root.join("docs/conformance.md");
    std::fs::write(&file, text)?;
    ui::say(&format!("{} written", file.display()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_is_named_after_the_errno_that_linux_gives() {
        assert!(keeps_its_name("read/EBADF-path", "-EBADF"));
        assert!(!keeps_its_name("read/EBADF-path", "-EINVAL"));
        assert!(keeps_its_name("read/file", "5 hello") && keeps_its_name("read/F_GETFL", "2"));
    }

    #[test]
    fn counts_are_no_cases() {
        assert_eq!(lines("a/b: 1: 2\n# 3 cases: all").into_iter().collect::<Vec<_>>(), [("a/b", "1: 2")]);
    }
}
