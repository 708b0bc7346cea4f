//! The kernel image: nothing but the link of `vigil_kernel` into a binary; the entry point is in `arch::aarch64::boot`.
#![cfg_attr(target_os = "none", no_std)]
#![cfg_attr(target_os = "none", no_main)]

#[cfg(target_os = "none")]
use vigil_kernel as _;

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("vigil: this is a kernel; build and boot it with `cargo xtask run`");
    std::process::exit(1);
}
