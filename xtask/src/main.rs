//! The tool around Vigil: builds the kernel, boots it, runs programs on it, tests it and measures it, and sets up what it needs.
mod accept;
mod apt;
mod bench;
mod board;
mod build;
mod cases;
mod contract;
mod counts;
mod cpio;
mod ctx;
mod dtb;
mod elf;
mod erratum;
mod image;
mod initramfs;
mod irqlat;
mod linux;
mod model;
mod mutants;
mod qemu;
mod run;
mod sdcard;
mod selftest;
mod setup;
mod streams;
mod test;
mod trace;
mod ui;
mod userland;

use anyhow::Result;
use clap::{Parser, Subcommand};
use ctx::Ctx;
use run::{Failure, RunArgs};
use std::path::PathBuf;
use std::process::ExitCode;

/// Builds, boots, tests and measures Vigil. What is missing is set up by the first call.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Cmd,
}

#[derive(Subcommand)]
enum Cmd {
    /// Boot to a shell (Ctrl-A X leaves), or run a program of this machine in the guest and end with its status
    Run(Box<RunArgs>),
    /// Build the kernel and write target/Image
    Build {
        /// Optimised; this is the default
        #[arg(long, conflicts_with = "debug")]
        release: bool,
        /// With debug assertions
        #[arg(long)]
        debug: bool,
    },
    /// Run the tests: on this machine, with loom, and in QEMU; the last line is `N passed, N failed`
    Test(test::TestArgs),
    /// Run the acceptance checks of an issue; each prints its figure beside its target
    Accept(accept::AcceptArgs),
    /// Measure instructions per operation under Debian's Linux and under Vigil, and show them side by side
    Bench(bench::BenchArgs),
    /// Write what goes on a Raspberry Pi's SD card, and name the firmware's files that must be added
    Image(sdcard::ImageArgs),
    /// Measure interrupt latency in QEMU in stages, from a timer to a program, and draw it
    Irqlat(irqlat::IrqlatArgs),
    /// Record what Debian's Linux schedules, for the simulator's tests: one load or all, into tests/traces
    TraceLinux {
        /// Names of loads
        #[arg(value_name = "LOAD")]
        loads: Vec<String>,
    },
    /// Make a root file system of Debian arm64 packages with their dependencies, without touching this machine
    Rootfs {
        /// Debian package names
        #[arg(required = true, value_name = "PACKAGE")]
        packages: Vec<String>,
        /// Where to put it
        #[arg(long, default_value = "target/rootfs", value_name = "DIR")]
        out: PathBuf,
    },
}

fn main() -> ExitCode {
    match main_result(Cli::parse()) {
        Ok(status) => ExitCode::from(u8::try_from(status).unwrap_or(255)),
        Err(error) => {
            eprintln!("vigil: {error:#}");
            let status = error.downcast_ref::<Failure>().map_or(1, |failure| failure.status);
            ExitCode::from(u8::try_from(status).unwrap_or(255))
        }
    }
}

fn main_result(cli: Cli) -> Result<i32> {
    let ctx = Ctx::new()?;
    match cli.command {
        Cmd::Run(args) => run::run(&ctx, &args),
        Cmd::Build { release: _, debug } => {
            let kernel = build::kernel(&ctx, debug)?;
            ui::say(&format!("{} (symbols: {})", kernel.image.display(), kernel.elf.display()));
            Ok(0)
        }
        Cmd::Test(args) => test::test(&ctx, &args),
        Cmd::Bench(args) => bench::bench(&ctx, &args),
        Cmd::Accept(args) => accept::accept(&ctx, &args),
        Cmd::Image(args) => sdcard::image(&ctx, &args),
        Cmd::Irqlat(args) => irqlat::irqlat(&ctx, &args),
        Cmd::TraceLinux { loads } => trace::trace(&ctx, &loads),
        Cmd::Rootfs { packages, out } => apt::rootfs(&ctx, &packages, &out).map(|()| 0),
    }
}
