//! `cargo xtask trace-linux`: what Linux's scheduler does with loads that leave it no choice, as traces for the simulator to be held against.
//!
//! Each runs on Debian's kernel with exact virtual time; its `sched_switch` events become one line each in `tests/traces`:
//! µs since everybody woke, which is in the middle between two ticks, who left the CPU, in which state, who got it. `-` is the
//! idle task, `.` a kernel thread or the load's own controller.
use crate::ctx::Ctx;
use crate::{setup, ui, userland};
use anyhow::{Context, Result, bail};
use std::fmt::Write;
use std::process::{Command, Stdio};

/// A load: its name, whether slices and budgets end by timers (HRTICK) and not at ticks, and what runs (see `stress trace`).
struct Load(&'static str, bool, &'static str);

const LOADS: &[Load] = &[
    Load("nice", false, "a nice 0 hog; b nice 5 hog; c nice 10 hog; run 1500000"),
    Load(
        "many",
        false,
        "a nice 0 hog; b nice 1 hog; c nice 2 hog; d nice 3 hog; e nice 4 hog; f nice 5 hog; g nice 6 hog; h nice 7 hog; i nice 8 hog; j nice 9 hog; run 800000",
    ),
    Load(
        "sleepers",
        false,
        "a nice 0 hog; b nice 0 periodic 900 10000; c nice 5 periodic 2300 17100; d batch 0 periodic 1500 23700; run 800000",
    ),
    Load("round-robin", false, "a rr 30 hog; b rr 30 hog; c rr 30 hog; d fifo 40 periodic 3000 160000; e nice 0 hog; run 900000"),
    Load(
        "fifo",
        false,
        "a fifo 10 hog; b fifo 10 hog; c fifo 10 hog; d fifo 20 periodic 2000 25000; \
        at 60000 a fifo 9; at 110000 c fifo 11; at 160000 c fifo 10; at 210000 a fifo 10; at 260000 b fifo 12; at 310000 b fifo 5; at 360000 c fifo 4; run 500000",
    ),
    Load(
        "fifo-yield",
        false,
        "a fifo 10 yielder 5300; b fifo 10 yielder 7100; c fifo 10 yielder 11900; d fifo 30 periodic 1000 20000; run 400000",
    ),
    Load(
        "deadline",
        true,
        "a deadline 10000 100000 hog; b deadline 20000 50000 hog; c deadline 5000 30000 periodic 3000 30000; d nice 0 hog; run 900000",
    ),
];

/// Records the loads of these names, all when there are none.
pub fn trace(ctx: &Ctx, names: &[String]) -> Result<i32> {
    let program = userland::program(ctx, "vigil-stress", "stress")?;
    let folder = ctx.root.join("tests/traces");
    std::fs::create_dir_all(&folder)?;
    if let Some(unknown) = names.iter().find(|n| !LOADS.iter().any(|load| load.0 == *n)) {
        bail!("no load {unknown}; there are {}", LOADS.iter().map(|l| l.0).collect::<Vec<_>>().join(", "));
    }
    for Load(name, exact, load) in LOADS.iter().filter(|load| names.is_empty() || names.iter().any(|n| n == load.0)) {
        let mut command = Command::new("/proc/self/exe");
        command.args([
            "run",
            "--kernel",
            "linux",
            "--smp",
            "1",
            "--icount",
            "--timeout",
            "300",
            "--append",
            "nokaslr mitigations=off noautogroup",
            "--",
        ]);
        command.arg(&program).args(["trace", load, if *exact { "exact" } else { "ticks" }]);
        ui::say(&format!("Linux runs {name}"));
        let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
        if !output.status.success() {
            bail!("{name}: status {:?}", output.status.code());
        }
        let text = compact(&String::from_utf8_lossy(&output.stdout), load)?;
        let head = format!(
            "# Debian's Linux 6.1 for arm64 in {}; cargo xtask trace-linux {name}\nload {load}\nexact {exact}\n",
            setup::qemu_version()
        );
        let path = folder.join(format!("{name}.txt"));
        std::fs::write(&path, head + &text).with_context(|| format!("cannot write {}", path.display()))?;
        println!("{}", path.display());
    }
    Ok(0)
}

/// One line for each switch of the text of `/sys/kernel/tracing/trace`, those between two that are not of the load left out.
fn compact(text: &str, load: &str) -> Result<String> {
    let (head, text) = text.split_once('\n').context("no trace")?;
    let start: i64 = head.strip_prefix("start ").context("no start")?.parse()?;
    let names: Vec<&str> = load.split(';').filter_map(|line| line.split_whitespace().next()).collect();
    let mut out = String::new();
    for line in text.lines() {
        let Some((before, after)) = line.split_once(": sched_switch: ") else { continue };
        let time = before.split_whitespace().last().context("no time")?;
        let (seconds, micros) = time.split_once('.').context("no µs")?;
        let at = seconds.parse::<i64>()? * 1_000_000 + micros.parse::<i64>()? - start;
        let field = |key: &str| after.split_whitespace().find_map(|word| word.strip_prefix(key)).context("a field is missing");
        let name = |key: &str| -> Result<&str> {
            let comm = field(key)?;
            Ok(match names.iter().find(|n| **n == comm) {
                Some(name) => name,
                None if comm.starts_with("swapper") => "-",
                None => ".",
            })
        };
        let (from, state, to) = (name("prev_comm=")?, field("prev_state=")?, name("next_comm=")?);
        if at >= 0 && !(from.len() == 1 && to.len() == 1 && "-.".contains(from) && "-.".contains(to)) {
            writeln!(out, "{at} {from} {state} {to}")?;
        }
    }
    Ok(out)
}
