//! Contract tests: one line per case, `call/case: result`, which is the same in each run and on each kernel that keeps Linux's
//! contract. No process ids, addresses or times are printed.
//!
//! `contract [PATTERN…]` runs the cases whose `call/name` contains a pattern · `--list` names them · `--check` names the calls and
//! columns without a case · `--table` prints the table of docs/conformance.md · `--leak R [PATTERN…]` what the kernel has lost
//! after R rounds · `--nth` fails each allocation of each case once, through `/proc/self/fail-nth` · `--interrupt`, `--kill`,
//! `--drop` do so to each wait, through `/proc/self/fail-await` · `--shard=I/N` before these: the I-th of N parts of the cases.
//!
//! Each case runs in a child with a process group and an empty directory of its own; one that hangs prints `TIMEOUT`, one that is
//! killed prints the signal.
mod calls;
mod case;
mod help;
mod inject;
mod leak;
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
    // Every N-th case: those that take long stand beside each other.
    let shard = options
        .iter()
        .find_map(|o| o.strip_prefix("--shard=")?.split_once('/'))
        .and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
    let (index, shards): (usize, usize) = shard.unwrap_or((0, 1));
    let options: Vec<&str> = options.iter().map(|o| o.as_str()).filter(|o| !o.starts_with("--shard=")).collect();
    let wanted = |patterns: &[&String]| -> Vec<&case::Case> {
        let named = |c: &&case::Case| patterns.is_empty() || patterns.iter().any(|p| format!("{}/{}", c.call, c.name).contains(p.as_str()));
        all.cases.iter().filter(named).skip(index).step_by(shards.max(1)).collect()
    };
    let chosen = wanted(&patterns);
    let at_wait = |what: &'static str| move |nth| run::Injection { file: "fail-await", nth, what };
    let bad = match options.first().copied() {
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
            leak::leak(&wanted(patterns.get(1..).unwrap_or_default()), patterns.first().and_then(|p| p.parse().ok()).unwrap_or(4))
        }
        Some("--nth") => inject::all(&chosen, |nth| run::Injection { file: "fail-nth", nth, what: "" }),
        Some("--interrupt") => inject::all(&chosen, at_wait("interrupt")),
        Some("--kill") => inject::all(&chosen, at_wait("kill")),
        Some("--drop") => inject::all(&chosen, at_wait("drop")),
        Some(other) => {
            eprintln!("contract: unknown option {other}");
            1
        }
    };
    if bad == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
