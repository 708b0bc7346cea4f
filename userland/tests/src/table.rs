//! The table of calls × columns, and the search for empty cells.
use crate::case::{Call, Calls, Kind};
use crate::sys::PRESENT;
use std::fmt::Write;

/// The cells of a call: each either what fills it, or `Err` with what is missing.
fn cells(all: &Calls, call: &Call) -> [Result<String, String>; 4] {
    let count = |kind| all.cases.iter().filter(|c| c.call == call.name && c.kind == kind).count();
    let list = |kind, words: &str, none: &str| {
        let missing: Vec<&str> = words.split_whitespace().filter(|w| !all.fills(call.name, kind, w)).collect();
        if !missing.is_empty() {
            return Err(missing.join(" "));
        }
        Ok(if words.is_empty() { format!("n.a.: {none}") } else { format!("ok ({}): {words}", count(kind)) })
    };
    let success = count(Kind::Success);
    let why = call.not.iter().find(|(what, _)| *what == "success").map(|(_, why)| *why);
    let mut errnos = list(Kind::Errno, call.errnos, "cannot fail otherwise");
    let excuses: Vec<String> = call.not.iter().filter(|(what, _)| *what != "success").map(|(what, why)| format!("{what}: {why}")).collect();
    if let (Ok(text), false) = (&mut errnos, excuses.is_empty()) {
        write!(text, "; n.a.: {}", excuses.join(", ")).unwrap_or_default();
    }
    [
        match (success, why) {
            (0, None) => Err("success".to_string()),
            (0, Some(why)) => Ok(format!("n.a.: {why}")),
            (n, _) => Ok(format!("ok ({n})")),
        },
        errnos,
        list(Kind::Pointer, call.pointers, "no pointer"),
        match (call.waits, count(Kind::Interrupt)) {
            (true, 0) => Err("EINTR".to_string()),
            (false, 0) => Ok("n.a.: no interruptible wait".to_string()),
            (_, n) => Ok(format!("ok ({n})")),
        },
    ]
}

/// Prints the empty cells and gives their number.
pub fn check(all: &Calls) -> usize {
    let mut empty = 0;
    for name in PRESENT {
        let Some(call) = all.calls.iter().find(|c| c.name == *name) else {
            println!("{name}: no cases");
            empty += 1;
            continue;
        };
        for (column, cell) in ["success", "errnos", "pointers", "EINTR"].iter().zip(cells(all, call)) {
            if let Err(missing) = cell {
                println!("{name}: {column}: {missing} missing");
                empty += 1;
            }
        }
    }
    println!("# {} calls, {} cases, {empty} empty cells", PRESENT.len(), all.cases.len());
    empty
}

/// The table for docs/conformance.md.
pub fn markdown(all: &Calls) -> String {
    let mut text = format!(
        "{} calls, {} cases.\n\n| call | success | errnos | bad pointers | EINTR, restart |\n|---|---|---|---|---|\n",
        PRESENT.len(),
        all.cases.len()
    );
    for name in PRESENT {
        let row = match all.calls.iter().find(|c| c.name == *name) {
            Some(call) => cells(all, call).map(|cell| cell.unwrap_or_else(|missing| format!("**empty: {missing}**"))).join(" | "),
            None => "**no cases** | | | ".to_string(),
        };
        writeln!(text, "| {name} | {row} |").unwrap_or_default();
    }
    text
}
