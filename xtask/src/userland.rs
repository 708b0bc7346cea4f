//! Builds the glibc programs of `userland/`: static AArch64 ELFs, linked by lld against Debian's arm64 libc, without a cross compiler.
use crate::apt::Apt;
use crate::build::run_cargo;
use crate::ctx::Ctx;
use crate::setup::{self, USER_TARGET};
use anyhow::{Context, Result};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Builds a package of `userland/` and gives the path of its binary.
pub fn program(ctx: &Ctx, package: &str, binary: &str) -> Result<PathBuf> {
    let apt = Apt::new(ctx)?;
    let libc = apt.unpacked("libc6-dev")?.join("usr/lib/aarch64-linux-gnu");
    let gcc = apt.unpacked("libgcc-12-dev")?.join("usr/lib/gcc/aarch64-linux-gnu/12");
    let directory = ctx.target.join("userland");
    std::fs::create_dir_all(&directory)?;
    let linker = directory.join("ld.lld");
    write_linker(&linker, &libc, &gcc)?;

    let mut flags = format!(
        "-Ctarget-feature=+crt-static -Crelocation-model=static -Clinker-flavor=ld.lld -Lnative={} -Lnative={}",
        libc.display(),
        gcc.display()
    );
    let rustup = setup::user_target_of_rustup();
    let mut cargo = if rustup {
        Command::new("cargo")
    } else {
        // Debian's compiler with Debian's arm64 standard library, of the same version.
        if !Path::new("/usr/bin/cargo").exists() {
            setup::apt_install(&["rustc-web", "cargo-web"])?;
        }
        let sysroot = apt.unpacked("libstd-rust-web-dev")?.join("usr");
        flags.push_str(&format!(" --sysroot={}", sysroot.display()));
        let mut cargo = Command::new("/usr/bin/cargo");
        cargo.env("RUSTC", "/usr/bin/rustc").env_remove("RUSTUP_TOOLCHAIN");
        cargo
    };
    let target_dir = directory.join(if rustup { "rustup" } else { "debian" });
    cargo.args(["build", "--release", "--target", USER_TARGET, "--package", package]).arg("--target-dir").arg(&target_dir);
    cargo.env("RUSTFLAGS", flags).env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", &linker).env_remove("CARGO_ENCODED_RUSTFLAGS");
    run_cargo(&format!("building {binary}"), cargo.current_dir(ctx.root.join("userland")))?;
    Ok(target_dir.join(USER_TARGET).join("release").join(binary))
}

/// Writes the linker that rustc calls: lld with C's start files around the objects, in the order that gcc gives them.
fn write_linker(path: &Path, libc: &Path, gcc: &Path) -> Result<()> {
    let (lld, l, g) = (setup::lld()?, libc.display(), gcc.display());
    let flavor = if lld.ends_with("rust-lld") { " -flavor gnu" } else { "" };
    let script = format!(
        "#!/bin/sh\n[ \"$1\" = -flavor ] && shift 2\nexec '{}'{flavor} '{l}/crt1.o' '{l}/crti.o' '{g}/crtbeginT.o' \"$@\" '-L{l}' '-L{g}' \
         --start-group -lgcc -lgcc_eh -lc --end-group '{g}/crtend.o' '{l}/crtn.o'\n",
        lld.display()
    );
    if std::fs::read_to_string(path).is_ok_and(|old| old == script) {
        return Ok(());
    }
    std::fs::write(path, script).with_context(|| format!("cannot write {}", path.display()))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))?;
    Ok(())
}
