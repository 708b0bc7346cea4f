//! `cargo xtask irqlat`: measures interrupt latency in QEMU, from a timer's due time to a program, and draws it: a table, a CSV file,
//! and a picture as SVG and PNG with a histogram for each stage, Linux beside it on request.
mod canvas;
mod font;
mod plot;

use crate::board::Board;
use crate::ctx::Ctx;
use crate::run::KernelChoice;
use crate::{build, linux, ui, userland};
use anyhow::{Context, Result, bail};
use clap::Args;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Options of `irqlat`.
#[derive(Args, Clone, Debug)]
pub struct IrqlatArgs {
    /// Board to measure on
    #[arg(long, value_enum, default_value = "virt", value_name = "BOARD")]
    pub board: Board,
    /// Samples to take
    #[arg(long, default_value = "10000", value_name = "N")]
    pub samples: u64,
    /// Period in microseconds
    #[arg(long, default_value = "1000", value_name = "US", value_parser = clap::value_parser!(u64).range(50..=1_000_000))]
    pub interval: u64,
    /// What else runs on every CPU
    #[arg(long, default_value = "none", value_parser = ["none", "cpu", "mem", "fork"])]
    pub load: String,
    /// Measure Debian's Linux as well, the whole way by clock_nanosleep (virt only)
    #[arg(long, value_enum, value_name = "KERNEL")]
    pub vs: Option<KernelChoice>,
    /// Where the files go
    #[arg(long, default_value = "target/irqlat", value_name = "DIR")]
    pub out: PathBuf,
    /// Take init and target/Image as the last build left them
    #[arg(long, hide = true)]
    pub no_build: bool,
}

/// What one run of the program printed.
pub struct Outcome {
    /// `# name value` lines.
    pub facts: BTreeMap<String, String>,
    /// Histograms by stage: least value in nanoseconds, count.
    pub stages: BTreeMap<String, Vec<(u64, u64)>>,
    /// All of it.
    pub text: String,
}

/// The stages in their order, with what they are.
pub const STAGES: [(&str, &str); 5] = [
    ("due-handler", "due to handler"),
    ("handler-woken", "handler to wake"),
    ("woken-resumed", "wake to poll"),
    ("resumed-el0", "poll to EL0"),
    ("due-el0", "the whole way"),
];

/// Parses what the program prints.
pub fn parse(text: &str) -> Result<Outcome> {
    let mut outcome = Outcome { facts: BTreeMap::new(), stages: BTreeMap::new(), text: text.to_string() };
    for line in text.lines().map(str::trim_end) {
        if let Some((name, value)) = line.strip_prefix("# ").and_then(|l| l.split_once(' ')) {
            outcome.facts.insert(name.to_string(), value.to_string());
        } else if let [stage, from, count] = line.split(',').collect::<Vec<_>>()[..]
            && stage != "stage"
        {
            let number = |s: &str| s.parse::<u64>().with_context(|| format!("{line:?}: not a number"));
            outcome.stages.entry(stage.to_string()).or_default().push((number(from)?, number(count)?));
        }
    }
    if !outcome.stages.contains_key("due-el0") {
        bail!("the program printed no histogram");
    }
    Ok(outcome)
}

impl Outcome {
    /// The figure `name` of a stage's summary: mean, p50, …, max, in nanoseconds.
    pub fn figure(&self, stage: &str, name: &str) -> Option<u64> {
        let words: Vec<&str> = self.facts.get(stage)?.split_whitespace().collect();
        words.chunks_exact(2).find(|pair| pair[0] == name)?[1].parse().ok()
    }
}

/// Runs the program in QEMU, one instruction a nanosecond, and parses what it printed.
pub fn measure(board: Board, kernel: KernelChoice, program: &Path, arguments: &[&str]) -> Result<Outcome> {
    let mut command = Command::new("/proc/self/exe");
    command.args(["run", "--no-build", "--icount", "--timeout", "900", "--board", board.name()]);
    command.args(["--kernel", if kernel == KernelChoice::Linux { "linux" } else { "vigil" }]);
    command.args(["--append", crate::bench::LEAN]);
    let output = command.arg("--").arg(program).args(arguments).stdin(Stdio::null()).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        let lines: Vec<&str> = error.lines().chain(text.lines()).collect();
        bail!("irqlat: {}: {}", output.status, lines[lines.len().saturating_sub(3)..].join(" / "));
    }
    parse(&text)
}

/// Measures, prints the table, writes the files; the exit status.
pub fn irqlat(ctx: &Ctx, args: &IrqlatArgs) -> Result<i32> {
    if args.vs == Some(KernelChoice::Linux) && args.board != Board::Virt {
        bail!("--vs linux: Linux runs programs on virt only");
    }
    if !args.no_build {
        build::kernel(ctx, false)?;
        build::init(ctx, false)?;
    }
    let program = userland::program(ctx, "vigil-irqlat", "irqlat")?;
    let (samples, interval) = (args.samples.to_string(), args.interval.to_string());
    let arguments = ["--samples", &samples, "--interval", &interval, "--load", &args.load];
    ui::say(&format!("{} samples on {}, load {}: one instruction is one nanosecond", args.samples, args.board.name(), args.load));
    let ours = measure(args.board, KernelChoice::Vigil, &program, &arguments)?;
    let mut others = Vec::new();
    if args.vs == Some(KernelChoice::Linux) {
        linux::fetch(ctx)?;
        let timer = [&arguments[..], &["--timer"]].concat();
        ui::say("the same by clock_nanosleep, on Vigil and on Linux");
        others.push(("Vigil, clock_nanosleep", measure(args.board, KernelChoice::Vigil, &program, &timer)?));
        others.push(("Linux, clock_nanosleep", measure(args.board, KernelChoice::Linux, &program, &timer)?));
    }
    table(&ours, &others);
    std::fs::create_dir_all(&args.out)?;
    let name = format!("{}-{}", args.board.name(), args.load);
    let file = |extension: &str| args.out.join(format!("{name}.{extension}"));
    std::fs::write(file("csv"), &ours.text)?;
    for (other, outcome) in &others {
        let other = other.to_lowercase().replace(", clock_nanosleep", "-timer");
        std::fs::write(args.out.join(format!("{name}-{other}.csv")), &outcome.text)?;
    }
    let picture = plot::Picture { board: args.board.name(), load: &args.load, ours: &ours, others: &others };
    let mut svg = canvas::Svg::new(plot::WIDTH, plot::HEIGHT);
    picture.draw(&mut svg);
    std::fs::write(file("svg"), svg.finish())?;
    let mut png = canvas::Png::new(plot::WIDTH, plot::HEIGHT);
    picture.draw(&mut png);
    std::fs::write(file("png"), png.finish()?)?;
    ui::say(&format!("{} and .csv, .svg", file("png").display()));
    Ok(0)
}

/// The columns of the table.
pub const COLUMNS: [&str; 7] = ["mean", "p50", "p90", "p99", "p99.9", "p99.99", "max"];

fn table(ours: &Outcome, others: &[(&str, Outcome)]) {
    println!("{:<24}{}", "virtual time (QEMU), ns", COLUMNS.map(|c| format!("{c:>9}")).concat());
    let row = |label: &str, outcome: &Outcome, stage: &str| {
        let figures = COLUMNS.map(|c| format!("{:>9}", outcome.figure(stage, c).map_or("-".to_string(), |v| v.to_string())));
        println!("{label:<24}{}", figures.concat());
    };
    for (stage, label) in STAGES {
        row(label, ours, stage);
    }
    for (label, outcome) in others {
        row(label, outcome, "due-el0");
    }
    let missed = |o: &Outcome| o.facts.get("missed").cloned().unwrap_or_default();
    let all: Vec<String> = std::iter::once(missed(ours)).chain(others.iter().map(|(_, o)| missed(o))).collect();
    println!("missed periods: {}", all.join(", "));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_program_prints_is_read_back() {
        let text = "# samples 2\n# due-el0 mean 5 p50 4 max 9\nstage,from_ns,count\ndue-el0,4,1\r\ndue-el0,9,1\n";
        let outcome = parse(text).expect("a histogram");
        assert_eq!(outcome.figure("due-el0", "max"), Some(9));
        assert_eq!(outcome.stages["due-el0"], [(4, 1), (9, 1)]);
        assert!(parse("# samples 0\n").is_err());
    }
}
