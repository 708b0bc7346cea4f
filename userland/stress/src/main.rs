//! What a kernel must survive, each as a subcommand that prints `name value` lines and ends with 0 when all was well:
//!
//! `storm N T` N times fork, exec and exit, and T threads · `blocked T [detail]` kernel memory per thread blocked in `read` ·
//! `oom one|many` fill the memory · `leak R` memory after R rounds of everything · `fuzz-elf N` N mutated programs ·
//! `fuzz-calls SEED N` N random system calls · `faults N` N rounds of fork, mprotect, mmap and exec beside threads that fault · `cyclic N` wake-up latency at FIFO 95 · `shares nice|fifo|deadline|reservation|gaps|reniced|admission N` what hogs get of one CPU ·
//! `urgent low|fair|leaves` who waits for a CPU on which something more urgent becomes less so ·
//! `crowd N` N children, orphans, threads that end or are signalled at once ·
//! `trace LOAD ticks|exact` what a kernel's scheduler does with a load ·
//! `beside none|hackbench|forks|faults|copy COMMAND…` runs a command beside a load · as PID 1: time since power-on, then the machine is switched off.
mod beside;
mod calls;
mod crowd;
mod faults;
mod fuzz;
mod ipc;
mod memory;
mod shares;
mod sys;
mod timing;
mod trace;
mod urgent;

use std::process::ExitCode;

const WHICH: &str = "which one? storm, blocked, oom, leak, fuzz-elf, fuzz-calls, faults, crowd, cyclic, shares, urgent, beside, trace";

fn number(text: Option<&String>, default: u32) -> u32 {
    text.and_then(|t| t.parse().ok()).unwrap_or(default)
}

fn main() -> ExitCode {
    let start = timing::now_ns();
    if std::process::id() == 1 {
        println!("boot_ns {start}");
        sys::power_off();
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.first().map(String::as_str) {
        Some("exit") => Ok(()),
        Some("storm") => memory::storm(number(arguments.get(1), 10_000), number(arguments.get(2), 1000)),
        Some("blocked") => memory::blocked(number(arguments.get(1), 1000), arguments.get(2).is_some_and(|a| a == "detail")),
        Some("oom") => memory::out_of_memory(if arguments.get(1).is_some_and(|a| a == "many") { 16 } else { 1 }),
        Some("leak") => memory::leak(number(arguments.get(1), 5)),
        Some("fuzz-elf") => fuzz::programs(number(arguments.get(1), 10_000)),
        Some("fuzz-calls") => calls::fuzz(number(arguments.get(1), 1).into(), number(arguments.get(2), 20_000).into()),
        Some("faults") => faults::beside(number(arguments.get(1), 400)),
        Some("fault-and-exec") => faults::leave(),
        Some("crowd") => crowd::run(number(arguments.get(1), 2000)),
        Some("cyclic") => timing::cyclic(number(arguments.get(1), 3000)),
        Some("shares") => shares::run(arguments.get(1).map_or("", String::as_str), number(arguments.get(2), 10_000).into()),
        Some("urgent") => urgent::run_beside(arguments.get(1).map_or("", String::as_str)),
        Some("beside") => beside::run(arguments.get(1).map_or("", String::as_str), arguments.get(2..).unwrap_or_default()),
        Some("trace") => trace::run(arguments.get(1).map_or("", String::as_str), arguments.get(2).is_some_and(|a| a == "exact")),
        _ => Err(WHICH.to_string()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("stress: {why}");
            ExitCode::FAILURE
        }
    }
}
