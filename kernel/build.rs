//! Passes the linker script to the link of the kernel binary. On the host there is no kernel to link.

use std::env;
use std::path::PathBuf;

fn main() {
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
