//! `cargo xtask irqlat`: measures interrupt latency, from a timer's due time to a program, in QEMU or on a board, and draws it: a table,
//! files (CSV, JSON, cyclictest's histogram), and a picture as SVG and PNG with a histogram for each stage, Linux beside it on request.
mod canvas;
mod font;
mod measure;
mod plot;
mod serial;

pub use measure::{Kernel, Outcome, in_qemu};

use crate::board::Board;
use crate::ctx::Ctx;
use crate::{build, linux, ui, userland};
use anyhow::{Context, Result};
use clap::Args;
use std::path::PathBuf;

/// Options of `irqlat`.
#[derive(Args, Clone, Debug)]
pub struct IrqlatArgs {
    /// Board to measure on, in QEMU
    #[arg(long, value_enum, default_value = "virt", value_name = "BOARD")]
    pub board: Board,
    /// Measure on the board whose shell is at this serial port
    #[arg(long, value_name = "PORT", conflicts_with_all = ["board", "vs"])]
    pub serial: Option<PathBuf>,
    /// Samples to take
    #[arg(long, default_value = "10000", value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub samples: u64,
    /// Period in microseconds
    #[arg(long, default_value = "1000", value_name = "US", value_parser = clap::value_parser!(u64).range(50..=1_000_000))]
    pub interval: u64,
    /// What else runs on the CPU
    #[arg(long, default_value = "none", value_parser = LOADS)]
    pub load: String,
    /// Show what the kernel did before the first sample that takes more than this many nanoseconds
    #[arg(long, value_name = "NS", value_parser = clap::value_parser!(u64).range(1..))]
    pub blame: Option<u64>,
    /// Measure other kernels as well, the whole way by clock_nanosleep (may be repeated)
    #[arg(long, value_enum, value_name = "KERNEL")]
    pub vs: Vec<Kernel>,
    /// Where the files go
    #[arg(long, default_value = "target/irqlat", value_name = "DIR")]
    pub out: PathBuf,
    /// Take init and target/Image as the last build left them
    #[arg(long, hide = true)]
    pub no_build: bool,
}

/// The program's kinds of load.
pub const LOADS: [&str; 6] = ["none", "cpu", "mem", "fork", "disk", "irq"];

/// The stages in their order, with what they are.
pub const STAGES: [(&str, &str); 6] = [
    ("due-vector", "due to vector"),
    ("vector-ack", "vector to acknowledge"),
    ("ack-wake", "acknowledge to wake"),
    ("wake-poll", "wake to poll"),
    ("poll-el0", "poll to EL0"),
    (WHOLE, "the whole way"),
];

/// The whole way, which others are compared by.
pub const WHOLE: &str = "due-el0";

/// Measures, prints the table, writes the files; the exit status.
pub fn irqlat(ctx: &Ctx, args: &IrqlatArgs) -> Result<i32> {
    // Before anything is measured in vain.
    std::fs::create_dir_all(&args.out).with_context(|| format!("cannot create {}", args.out.display()))?;
    let (samples, interval) = (args.samples.to_string(), args.interval.to_string());
    let threshold = args.blame.map(|ns| ns.to_string());
    // On a machine of several CPUs QEMU counts the instructions of all: what is measured and the load are on one.
    let mut arguments = vec!["--samples", &samples, "--interval", &interval, "--load", &args.load, "--cpu", "0"];
    if let Some(ns) = &threshold {
        arguments.extend(["--blame", "--threshold", ns]);
    }
    let mut others = Vec::new();
    let (place, ours) = if let Some(port) = &args.serial {
        ("board".to_string(), measure::on_board(port, &arguments)?)
    } else {
        if !args.no_build {
            build::kernel(ctx, false)?;
            build::init(ctx, false)?;
        }
        let program = userland::program(ctx, "vigil-irqlat", "irqlat")?;
        let ours = in_qemu(args.board, Kernel::Vigil, &program, &arguments)?;
        let timer = [&arguments[..], &["--timer"]].concat();
        let rest = (!args.vs.is_empty()).then_some(Kernel::Vigil).into_iter().chain(args.vs.iter().copied());
        for kernel in rest {
            if kernel != Kernel::Vigil {
                linux::fetch(ctx, kernel == Kernel::LinuxRt)?;
            }
            others.push((kernel.name(), in_qemu(args.board, kernel, &program, &timer)?));
        }
        (args.board.name().to_string(), ours)
    };
    table(&ours, &others);
    ours.blame.iter().for_each(|line| println!("{line}"));
    write(args, &place, &ours, &others)?;
    Ok(0)
}

/// Writes the files.
fn write(args: &IrqlatArgs, place: &str, ours: &Outcome, others: &[(&str, Outcome)]) -> Result<()> {
    let name = format!("{place}-{}", args.load);
    let file = |extension: &str| args.out.join(format!("{name}.{extension}"));
    for (extension, text) in &ours.files {
        std::fs::write(file(extension), text)?;
    }
    for (other, outcome) in others {
        for (extension, text) in outcome.files.iter().filter(|(extension, _)| *extension != "json") {
            std::fs::write(args.out.join(format!("{name}-{}-timer.{extension}", other.to_lowercase())), text)?;
        }
    }
    let picture = plot::Picture { place, load: &args.load, ours, others };
    let mut svg = canvas::Svg::new(plot::WIDTH, picture.height());
    picture.draw(&mut svg);
    std::fs::write(file("svg"), svg.finish())?;
    let mut png = canvas::Png::new(plot::WIDTH, picture.height());
    picture.draw(&mut png);
    std::fs::write(file("png"), png.finish()?)?;
    ui::say(&format!("{} and .svg, .csv, .json, .hist", file("png").display()));
    Ok(())
}

/// The columns of the table.
pub const COLUMNS: [&str; 7] = ["mean", "p50", "p90", "p99", "p99.9", "p99.99", "max"];

fn table(ours: &Outcome, others: &[(&str, Outcome)]) {
    let time = if plot::is_virtual(ours) { "virtual time (QEMU), ns" } else { "ns" };
    let head = |title: &str| println!("{title:<32}{}", COLUMNS.map(|c| format!("{c:>9}")).concat());
    let row = |label: &str, outcome: &Outcome, stage: &str| {
        let figures = COLUMNS.map(|c| format!("{:>9}", outcome.figure(stage, c).map_or("-".to_string(), |v| v.to_string())));
        println!("{label:<32}{}", figures.concat());
    };
    head(time);
    for (stage, label) in STAGES {
        row(label, ours, stage);
    }
    let missed = |o: &Outcome| o.facts.get("missed").cloned().unwrap_or_default();
    println!("missed periods: {}", missed(ours));
    if others.is_empty() {
        return;
    }
    println!();
    head("the same program, clock_nanosleep");
    for (kernel, outcome) in others {
        row(kernel, outcome, WHOLE);
    }
    let all: Vec<String> = others.iter().map(|(_, o)| missed(o)).collect();
    println!("missed periods: {}", all.join(", "));
}
