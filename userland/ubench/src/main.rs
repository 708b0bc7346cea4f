//! Nanoseconds per kernel operation, by the generic timer's virtual counter. Under QEMU's `-icount shift=0` one nanosecond is
//! one instruction, and the result is the same in each run. Each line of output is `name value`.
//!
//! `ubench` measures all, `ubench NAME…` some; `ubench --exit` does nothing (it is what the exec benchmark executes).
//! Linked statically with glibc and without Rust's own start-up code, so that fork and exec cost what they cost a C program.
#![no_main]

mod ops;
mod os;

use core::ffi::{CStr, c_char, c_int};
use os::{now_ns, set_up};

/// One measured operation.
pub struct Op {
    /// Its name in the output and in `xtask/src/bench.rs`.
    pub name: &'static str,
    /// Repetitions per batch: long enough that the counter's 16 ns ticks do not matter.
    pub count: u32,
    /// Prepares, performs the operation `count` times between two looks at the counter, and gives the nanoseconds between them.
    pub run: fn(count: u32) -> Result<u64, &'static str>,
}

/// Batches of which the fastest counts: the others had a timer tick in them.
const BATCHES: u32 = 5;

/// Times `operation` `count` times.
pub fn time(count: u32, mut operation: impl FnMut()) -> u64 {
    let start = now_ns();
    for _ in 0..count {
        operation();
    }
    now_ns() - start
}

fn measure(op: &Op) -> Result<f64, &'static str> {
    // The first batch fills caches of all kinds: it does not count.
    (op.run)(op.count.min(20))?;
    let mut best = f64::INFINITY;
    for _ in 0..BATCHES {
        best = best.min((op.run)(op.count)? as f64 / f64::from(op.count));
    }
    Ok(best)
}

/// The program's entry, called by glibc.
///
/// # Safety
///
/// `argv` holds `argc` pointers to NUL-terminated strings, as glibc passes them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn main(argc: c_int, argv: *const *const c_char) -> c_int {
    let arguments: Vec<&str> = (1..usize::try_from(argc).unwrap_or(0))
        // SAFETY: the caller promises `argc` valid strings.
        .map(|i| unsafe { CStr::from_ptr(*argv.add(i)) }.to_str().unwrap_or_default())
        .collect();
    if arguments.first() == Some(&"--exit") {
        return 0;
    }
    set_up();
    let mut failed = 0;
    let mut results = Vec::new();
    for op in ops::ALL.iter().filter(|op| arguments.is_empty() || arguments.contains(&op.name)) {
        match measure(op) {
            Ok(ns) => results.push(format!("{} {ns:.1}", op.name)),
            Err(why) => {
                failed = 1;
                results.push(format!("{} failed: {why}", op.name));
            }
        }
    }
    // Printed at the end: writing may not disturb what is measured.
    println!("{}", results.join("\n"));
    failed
}
