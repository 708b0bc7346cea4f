//! Contract tests: one line per case, `call/case: result`, which is the same in each run and on each kernel that keeps Linux's
//! contract. No process ids, addresses or times are printed.
//!
//! `contract [PATTERN…]` runs the cases whose `call/name` contains a pattern · `--list` names them · `--check` names the calls and
//! columns without a case · `--table` prints the table of docs/conformance.md · `--leak R [PATTERN…]` memory after R rounds ·
//! `--nth` fails each allocation of each case once, through `/proc/self/fail-nth`.
//!
//! Each case runs in a child with a process group and an empty directory of its own; one that hangs prints `TIMEOUT`, one that is
//! killed prints the signal.
mod calls;
mod case;
mod help;
mod run;
mod sys;
mod table;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if std::env::var_os("CONTRACT_ROLE").is_some() {
        return ExitCode::from(std::env::args_os().count() as u8);
    }
    if let Some(role) = arguments.first().and_then(|a| a.strip_prefix("--role=")) {
        return ExitCode::from(calls::role(role, &arguments[1..]));
    }
    let all = calls::all();
    let (options, patterns): (Vec<&String>, Vec<&String>) = arguments.iter().partition(|a| a.starts_with("--"));
    let chosen: Vec<&case::Case> =
        all.cases.iter().filter(|c| patterns.is_empty() || patterns.iter().any(|p| format!("{}/{}", c.call, c.name).contains(p.as_str()))).collect();
    let bad = match options.first().map(|o| o.as_str()) {
        None => run::all(&chosen),
        Some("--list") => {
            chosen.iter().for_each(|c| println!("{}/{}", c.call, c.name));
            0
        }
        Some("--check") => table::check(&all),
        Some("--table") => {
            print!("{}", table::markdown(&all));
            0
        }
        Some("--leak") => {
            let wanted = |c: &&case::Case| patterns.len() < 2 || patterns[1..].iter().any(|p| format!("{}/{}", c.call, c.name).contains(p.as_str()));
            let chosen: Vec<&case::Case> = all.cases.iter().filter(wanted).collect();
            run::leak(&chosen, patterns.first().and_then(|p| p.parse().ok()).unwrap_or(4))
        }
        Some("--nth") => run::each_allocation_fails(&chosen),
        Some(other) => {
            eprintln!("contract: unknown option {other}");
            1
        }
    };
    if bad == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
