//! `cargo xtask bench`: the same ELF under Debian's Linux and under Vigil, instructions per operation, and the gate on their growth.
use crate::ctx::Ctx;
use crate::run::KernelChoice;
use crate::{counts, ui, userland};
use anyhow::{Context, Result, bail};
use clap::Args;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// An operation with its target.
pub struct Target {
    /// Name in `userland/ubench`.
    pub name: &'static str,
    /// For people.
    pub label: &'static str,
    /// The most that Vigil may take (instructions; nanoseconds for the sleep).
    pub limit: f64,
    /// What the issue says that Linux 6.1 takes, to check the method.
    pub linux: f64,
}

/// core-bench's operations.
pub const TARGETS: &[Target] = &[
    Target { name: "getppid", label: "getppid", limit: 110.0, linux: 329.0 },
    Target { name: "clock_gettime", label: "clock_gettime by call", limit: 180.0, linux: 524.0 },
    Target { name: "read_zero", label: "read 1 B /dev/zero", limit: 280.0, linux: 754.0 },
    Target { name: "stat", label: "stat /", limit: 1_000.0, linux: 3_165.0 },
    Target { name: "open_close", label: "open + close", limit: 2_200.0, linux: 6_741.0 },
    Target { name: "signal", label: "signal to self", limit: 1_600.0, linux: 6_478.0 },
    Target { name: "pipe_self", label: "pipe write + read", limit: 800.0, linux: 2_592.0 },
    Target { name: "pipe_round_trip", label: "pipe round trip, 2 processes", limit: 2_500.0, linux: 13_542.0 },
    Target { name: "fork_exit_wait", label: "fork + exit + wait", limit: 55_000.0, linux: 168_207.0 },
    Target { name: "fork_exec_wait", label: "fork + exec + wait", limit: 180_000.0, linux: 550_246.0 },
    Target { name: "thread", label: "thread create + join", limit: 12_000.0, linux: 40_045.0 },
    Target { name: "touch_1MiB", label: "touch 1 MiB and unmap", limit: 400_000.0, linux: 1_084_363.0 },
    Target { name: "poll", label: "poll 1 fd", limit: 400.0, linux: 1_155.0 },
    Target { name: "futex_wake", label: "futex wake, no waiter", limit: 170.0, linux: 513.0 },
    Target { name: "nanosleep_over", label: "nanosleep 100 µs, overshoot", limit: 3_000.0, linux: 4_000.0 },
];

/// Growth that the gate allows.
const GROWTH: f64 = 1.02;
/// The lean command line: what a comparison of kernels compares. Without `norandmaps` the number of page tables of a process, and
/// with it what fork and exec take, would change with each build.
pub const LEAN: &str = "nokaslr norandmaps mitigations=off randomize_kstack_offset=off";

/// The head of its table.
pub const LEAN_TITLE: &str = "Lean: nokaslr norandmaps mitigations=off (instructions, icount, 1 CPU)";

/// Options of `bench`.
#[derive(Args, Clone, Debug)]
pub struct BenchArgs {
    /// Only these operations
    pub names: Vec<String>,
    /// Only one kernel
    #[arg(long, value_enum)]
    pub kernel: Option<KernelChoice>,
    /// Also with mitigations and randomisation as each kernel has them by default
    #[arg(long)]
    pub hardened: bool,
    /// Store Vigil's counts as those that `cargo xtask test` compares with (docs/counts.json)
    #[arg(long)]
    pub store: bool,
}

/// Value by operation.
pub type Counts = BTreeMap<String, f64>;

/// Runs ubench on a kernel and gives its counts; what failed is said and left out.
pub fn measure(ubench: &Path, kernel: KernelChoice, append: &str, names: &[String]) -> Result<Counts> {
    let mut command = Command::new("/proc/self/exe");
    command.args(["run", "--icount", "--timeout", "300", "--kernel", if kernel == KernelChoice::Linux { "linux" } else { "vigil" }]);
    command.args(["--append", append, "--"]).arg(ubench).args(names).stdin(std::process::Stdio::null());
    let output = command.stderr(std::process::Stdio::inherit()).output().context("cannot start xtask run")?;
    let mut counts = Counts::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let Some((name, value)) = line.split_once(' ') else { continue };
        match value.parse() {
            Ok(value) => drop(counts.insert(name.to_string(), value)),
            Err(_) => ui::say(&format!("{kernel:?}: {line}")),
        }
    }
    if counts.is_empty() {
        bail!("ubench gave no figures under {kernel:?} (status {:?})", output.status.code());
    }
    Ok(counts)
}

/// Measures and prints the table.
pub fn bench(ctx: &Ctx, args: &BenchArgs) -> Result<i32> {
    let ubench = userland::program(ctx, "vigil-ubench", "ubench")?;
    let run = |kernel, append| -> Counts {
        if args.kernel.is_some_and(|k| k != kernel) {
            return Counts::new();
        }
        ui::say(&format!("measuring under {kernel:?} {append}"));
        measure(&ubench, kernel, append, &args.names).unwrap_or_else(|error| {
            ui::say(&format!("{error:#}"));
            Counts::new()
        })
    };
    let (linux, vigil) = (run(KernelChoice::Linux, LEAN), run(KernelChoice::Vigil, LEAN));
    println!("{}", table(LEAN_TITLE, &linux, &vigil, true));
    if args.hardened {
        let (linux, vigil) = (run(KernelChoice::Linux, ""), run(KernelChoice::Vigil, ""));
        println!("{}", table("Each kernel's default: mitigations on, KASLR (instructions, icount, 1 CPU)", &linux, &vigil, false));
    }
    if args.store {
        counts::store(ctx, &linux, &vigil)?;
    }
    Ok(i32::from(vigil.is_empty() && args.kernel != Some(KernelChoice::Linux)))
}

/// The table of both kernels: winners and losers alike. `judged`: with the targets, which are for the lean command line.
pub fn table(title: &str, linux: &Counts, vigil: &Counts, judged: bool) -> String {
    let mut text = format!("{title}\n{:<30} {:>10} {:>10} {:>7}", "operation", "Linux", "Vigil", "ratio");
    text.push_str(if judged { "     target\n" } else { "\n" });
    for target in TARGETS {
        let (on_linux, on_vigil) = (linux.get(target.name), vigil.get(target.name));
        if on_linux.is_none() && on_vigil.is_none() {
            continue;
        }
        let show = |v: Option<&f64>| v.map_or("-".to_string(), |v| format!("{v:.0}"));
        let ratio = on_linux.zip(on_vigil).map_or("-".to_string(), |(l, v)| format!("{:.2}", v / l.max(0.001)));
        let verdict = match on_vigil {
            Some(v) if *v <= target.limit => "met",
            Some(_) => "missed",
            None => "",
        };
        text.push_str(&format!("{:<30} {:>10} {:>10} {:>7}", target.label, show(on_linux), show(on_vigil), ratio));
        if judged {
            text.push_str(&format!(" {:>10} {verdict}", target.limit));
        }
        text.push('\n');
    }
    text
}

/// What has grown beyond the stored counts: a line each. `None`: nothing comparable is stored.
pub fn growth(ctx: &Ctx, vigil: &Counts) -> Result<Option<Vec<String>>> {
    let Some(stored) = counts::load(ctx)? else { return Ok(None) };
    let mut lines = Vec::new();
    for (name, old) in &stored {
        match vigil.get(name) {
            None => lines.push(format!("{name}: {old} stored, not measured now")),
            Some(new) if *new > old * GROWTH => lines.push(format!("{name}: {new} instructions, {old} stored")),
            Some(_) => {}
        }
    }
    Ok(Some(lines))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_shows_losers() {
        let linux = Counts::from([("getppid".to_string(), 329.0)]);
        let vigil = Counts::from([("getppid".to_string(), 658.0)]);
        let text = table("t", &linux, &vigil, true);
        assert!(text.contains("2.00") && text.contains("missed"), "{text}");
        assert!(!table("t", &linux, &vigil, false).contains("missed"));
    }
}
