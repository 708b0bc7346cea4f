//! Passes the linker script to the link of the kernel binary, and the compiler's version to /proc/version. On the host there is no kernel to
//! link.

use std::env;
use std::path::PathBuf;
use std::process::Command;

fn main() {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let line = Command::new(rustc).arg("--version").output().map(|out| String::from_utf8_lossy(&out.stdout).trim().to_string());
    println!("cargo:rustc-env=VIGIL_COMPILER={}", line.ok().filter(|line| !line.is_empty()).unwrap_or_else(|| "rustc".to_string()));
    println!("cargo:rerun-if-env-changed=RUSTC");
    let script = PathBuf::from(env::var("CARGO_MANIFEST_DIR").unwrap_or_default()).join("src/arch/aarch64/kernel.ld");
    println!("cargo:rerun-if-changed={}", script.display());
    println!("cargo:rerun-if-changed=build.rs");
    if env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("none") {
        println!("cargo:rustc-link-arg-bins=-T{}", script.display());
        // Segments are aligned by the script, to 64 KiB; the linker's own notion of a page must not exceed it.
        println!("cargo:rustc-link-arg-bins=-zmax-page-size=65536");
        println!("cargo:rustc-link-arg-bins=-znoexecstack");
    }
}
