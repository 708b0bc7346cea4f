//! Builds the kernel, its `Image`, and init.
use crate::ctx::Ctx;
use crate::setup::{self, KERNEL_TARGET, Toolchain};
use crate::{image, ui};
use anyhow::{Context, Result};
use std::path::PathBuf;
use std::process::Command;

/// The built kernel.
pub struct Kernel {
    /// The flat image that boots.
    pub image: PathBuf,
    /// The linked ELF with symbols, for gdb.
    pub elf: PathBuf,
}

/// Builds the kernel and writes `Image` into the target directory. `debug` builds with the checks on.
pub fn kernel(ctx: &Ctx, debug: bool) -> Result<Kernel> {
    image(ctx, debug, None, "Image")
}

/// Builds the kernel with the tests that run inside it; the image is another one than users boot.
pub fn selftest(ctx: &Ctx, debug: bool) -> Result<Kernel> {
    image(ctx, debug, Some("selftest"), if debug { "Image.selftest-debug" } else { "Image.selftest" })
}

fn image(ctx: &Ctx, debug: bool, feature: Option<&str>, name: &str) -> Result<Kernel> {
    let toolchain = setup::kernel_toolchain()?;
    let target_dir = kernel_target_dir(ctx, &toolchain);
    let mut cargo = toolchain.cargo("build");
    cargo.args(["--package", "vigil-kernel", "--bin", "vigil"]).arg("--target-dir").arg(&target_dir).current_dir(&ctx.root);
    if !debug {
        cargo.arg("--release");
    }
    if let Some(feature) = feature {
        cargo.args(["--features", feature]);
    }
    // Cargo's own progress is the best there is; its messages belong on standard error.
    let what = feature.map_or("building the kernel".to_string(), |f| format!("building the kernel with {f}"));
    run_cargo(&what, &mut cargo)?;
    let elf = target_dir.join(KERNEL_TARGET).join(if debug { "debug" } else { "release" }).join("vigil");
    let bytes = std::fs::read(&elf).with_context(|| format!("cannot read {}", elf.display()))?;
    let image = ctx.target.join(name);
    let temporary = ctx.target.join(format!(".{name}.{}", std::process::id()));
    std::fs::write(&temporary, image::flatten(&bytes)?)?;
    std::fs::rename(&temporary, &image)?;
    Ok(Kernel { image, elf })
}

/// Builds `userland/init` (bare-metal target: no library, no floating point) and gives the ELF's path.
/// `as_is`: only when it is not there yet.
pub fn init(ctx: &Ctx, as_is: bool) -> Result<PathBuf> {
    let toolchain = setup::kernel_toolchain()?;
    let target_dir = kernel_target_dir(ctx, &toolchain).join("userland");
    let elf = target_dir.join(KERNEL_TARGET).join("release/init");
    if as_is && elf.exists() {
        return Ok(elf);
    }
    let mut cargo = toolchain.cargo("build");
    // RUSTFLAGS replaces the kernel's flags of .cargo/config.toml, which a user program must not have.
    cargo.env("RUSTFLAGS", "-Cforce-frame-pointers=yes").args(["--release", "--package", "vigil-init"]);
    cargo.arg("--target-dir").arg(&target_dir).current_dir(ctx.root.join("userland"));
    run_cargo("building init", &mut cargo)?;
    Ok(elf)
}

fn kernel_target_dir(ctx: &Ctx, toolchain: &Toolchain) -> PathBuf {
    ctx.target.join(match toolchain {
        Toolchain::Rustup => "kernel",
        Toolchain::Debian { .. } => "kernel-debian",
    })
}

/// Runs cargo; quiet when there is nothing to say, its progress and errors on our standard error.
pub fn run_cargo(what: &str, cargo: &mut Command) -> Result<()> {
    cargo.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null());
    cargo.env("CARGO_TERM_QUIET", if ui::verbose() { "false" } else { "true" });
    let start = std::time::Instant::now();
    let announced = ui::announce_if_slow(what);
    let status = cargo.status().context("cannot start cargo")?;
    drop(announced);
    if !status.success() {
        anyhow::bail!("{what}: failed; the command was:\n    {}", ui::shell_line(cargo));
    }
    if start.elapsed().as_secs() >= 2 {
        ui::say(&format!("{what}: {:.0} s", start.elapsed().as_secs_f32()));
    }
    Ok(())
}
