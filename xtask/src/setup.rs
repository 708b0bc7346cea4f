//! Set-up: finds the compiler for the kernel's target and QEMU, installs what is missing, and says so.
//!
//! Nothing asks a question. What may not be installed is named with the one command that installs it.
use crate::ctx::Ctx;
use crate::ui;
use anyhow::{Result, bail};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// The kernel's target triple.
pub const KERNEL_TARGET: &str = "aarch64-unknown-none-softfloat";
/// The target triple of glibc programs.
pub const USER_TARGET: &str = "aarch64-unknown-linux-gnu";
/// The QEMU binary.
pub const QEMU: &str = "qemu-system-aarch64";

/// A compiler that has, or can build, `core` and `alloc` for the kernel's target.
pub enum Toolchain {
    /// The toolchain that runs us, with the target added by rustup.
    Rustup,
    /// Debian's `rustc-web` with its library source (`-Zbuild-std`), linking with this lld.
    Debian {
        /// Path of `rust-lld` or `ld.lld`.
        lld: PathBuf,
    },
}

impl Toolchain {
    /// A `cargo` command that builds for the bare-metal target with this toolchain; the subcommand is given.
    pub fn cargo(&self, subcommand: &str) -> Command {
        let mut cargo = match self {
            Toolchain::Rustup => Command::new("cargo"),
            Toolchain::Debian { .. } => Command::new("/usr/bin/cargo"),
        };
        // RUSTFLAGS from outside would replace those of .cargo/config.toml.
        cargo.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS").arg(subcommand).args(["--target", KERNEL_TARGET]);
        if let Toolchain::Debian { lld } = self {
            cargo
                .env("RUSTC", "/usr/bin/rustc")
                .env("RUSTC_BOOTSTRAP", "1")
                .env_remove("RUSTUP_TOOLCHAIN")
                .env("CARGO_TARGET_AARCH64_UNKNOWN_NONE_SOFTFLOAT_LINKER", lld)
                .args(["-Zbuild-std=core,alloc,compiler_builtins", "-Zbuild-std-features=compiler-builtins-mem"]);
        }
        cargo
    }

    /// The version line of the compiler.
    pub fn rustc_version(&self) -> String {
        let rustc = match self {
            Toolchain::Rustup => "rustc",
            Toolchain::Debian { .. } => "/usr/bin/rustc",
        };
        output(Command::new(rustc).arg("--version"))
    }
}

/// Finds or installs the toolchain for the kernel. `VIGIL_TOOLCHAIN=debian` forces the second way.
pub fn kernel_toolchain() -> Result<Toolchain> {
    let force_debian = std::env::var("VIGIL_TOOLCHAIN").is_ok_and(|v| v == "debian");
    if !force_debian && have_rustup_target(KERNEL_TARGET) {
        return Ok(Toolchain::Rustup);
    }
    let debian_ready = Path::new("/usr/lib/rustlib/src/rust/library/core").exists() && Path::new("/usr/bin/cargo").exists();
    let is_hopeless = debian_ready && failed_lately();
    if !force_debian && !is_hopeless && add_rustup_target(KERNEL_TARGET) {
        return Ok(Toolchain::Rustup);
    }
    if !debian_ready {
        apt_install(&["rustc-web", "cargo-web", "rust-web-src"])?;
    }
    Ok(Toolchain::Debian { lld: lld()? })
}

/// Whether the running toolchain has a precompiled standard library for the target.
fn have_rustup_target(target: &str) -> bool {
    let sysroot = output(Command::new("rustc").args(["--print", "sysroot"]));
    !sysroot.is_empty() && Path::new(&sysroot).join("lib/rustlib").join(target).join("lib").exists()
}

/// The note that rustup could not get a target.
fn failure_note() -> Option<PathBuf> {
    Some(Ctx::new().ok()?.cache.join("rustup-failed"))
}

/// Whether rustup could not get a target within the last day: it is not asked again for as long as there is another way, since
/// without a network it takes its time to find out.
fn failed_lately() -> bool {
    let age = failure_note().and_then(|note| std::fs::metadata(note).ok()?.modified().ok()?.elapsed().ok());
    age.is_some_and(|age| age < Duration::from_secs(24 * 3600))
}

/// Asks rustup for the target's library; false when it cannot be had.
fn add_rustup_target(target: &str) -> bool {
    if !found("rustup") {
        return false;
    }
    let mut command = Command::new("timeout");
    command.args(["120", "rustup", "target", "add", target]);
    match ui::step(&format!("adding the target {target} with rustup"), &mut command) {
        Ok(_) => have_rustup_target(target),
        Err(_) => {
            if let Some(note) = failure_note() {
                // Without the note it is only asked again.
                let _ = std::fs::write(note, "");
            }
            ui::say("rustup does not have it here; using Debian's compiler instead");
            false
        }
    }
}

/// Whether programs for the guest are built by rustup's toolchain, whose target is added when it is missing; otherwise by
/// Debian's. `VIGIL_TOOLCHAIN=debian` forces the second way.
pub fn user_target_of_rustup() -> bool {
    let force_debian = std::env::var("VIGIL_TOOLCHAIN").is_ok_and(|v| v == "debian");
    !force_debian && (have_rustup_target(USER_TARGET) || (!failed_lately() && add_rustup_target(USER_TARGET)))
}

/// The linker of the rustup toolchain, else LLVM's own.
pub fn lld() -> Result<PathBuf> {
    let mut sysroots = vec![output(Command::new("rustc").args(["--print", "sysroot"]))];
    if let Some(home) = std::env::var_os("HOME") {
        let toolchains = std::env::var_os("RUSTUP_HOME").map_or_else(|| Path::new(&home).join(".rustup"), PathBuf::from).join("toolchains");
        if let Ok(entries) = std::fs::read_dir(toolchains) {
            sysroots.extend(entries.flatten().map(|e| e.path().to_string_lossy().into_owned()));
        }
    }
    for sysroot in sysroots {
        let Ok(hosts) = std::fs::read_dir(Path::new(&sysroot).join("lib/rustlib")) else { continue };
        for host in hosts.flatten() {
            let lld = host.path().join("bin/rust-lld");
            if lld.exists() {
                return Ok(lld);
            }
        }
    }
    if !found("ld.lld") {
        apt_install(&["lld"])?;
    }
    Ok(PathBuf::from("ld.lld"))
}

/// Makes sure that QEMU is there and gives its version, as (major, minor).
pub fn qemu() -> Result<(u32, u32)> {
    if !found(QEMU) {
        apt_install(&["qemu-system-arm"])?;
    }
    let line = qemu_version();
    let mut numbers = line.split("version ").nth(1).unwrap_or("").split('.').map(|n| n.trim().parse::<u32>().unwrap_or(0));
    Ok((numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)))
}

/// QEMU's version line.
pub fn qemu_version() -> String {
    output(Command::new(QEMU).arg("--version"))
}

/// Installs Debian packages on the host, as root or with sudo; otherwise names the command.
pub fn apt_install(packages: &[&str]) -> Result<()> {
    let list = packages.join(" ");
    let by_hand = format!("apt-get install -y --no-install-recommends {list}");
    let root = rustix::process::geteuid().is_root();
    let sudo =
        !root && Command::new("sudo").args(["-n", "true"]).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success());
    if !found("apt-get") || !(root || sudo) {
        bail!("{list} is missing and may not be installed from here; run this once:\n    sudo {by_hand}");
    }
    let apt = |args: &[&str]| {
        let mut command = if sudo { Command::new("sudo") } else { Command::new("env") };
        command.args(if sudo { &["-n", "env"][..] } else { &[] }).args(["DEBIAN_FRONTEND=noninteractive", "apt-get"]).args(args);
        command
    };
    let mut install = vec!["install", "-y", "--no-install-recommends"];
    install.extend(packages);
    if ui::capture(&mut apt(&[&["-s"][..], &install].concat()))?.0 && ui::step(&format!("installing {list}"), &mut apt(&install)).is_ok() {
        return Ok(());
    }
    if let Err(error) = ui::step("reading the package lists", &mut apt(&["update"])) {
        ui::say(&format!("{error:#}"));
    }
    ui::step(&format!("installing {list}"), &mut apt(&install))?;
    Ok(())
}

/// Whether the program is on the PATH.
pub fn found(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()))
}

/// First line of what a command prints, empty if it fails.
pub fn output(command: &mut Command) -> String {
    match command.stderr(Stdio::null()).output() {
        Ok(out) if out.status.success() => String::from_utf8_lossy(&out.stdout).lines().next().unwrap_or("").trim().to_string(),
        _ => String::new(),
    }
}
