//! The cases, a file per group of calls.
mod fd;
mod file;
mod path;
mod rw;

use crate::case::Calls;

/// All of them, in the order in which they run.
pub fn all() -> Calls {
    let mut all = Calls::default();
    rw::add(&mut all);
    fd::add(&mut all);
    path::add(&mut all);
    file::add(&mut all);
    all
}

/// What this program does when a case has executed it: gives the exit status.
pub fn role(role: &str, arguments: &[String]) -> u8 {
    match role {
        "status" => arguments.first().and_then(|a| a.parse().ok()).unwrap_or(0),
        _ => 99,
    }
}
