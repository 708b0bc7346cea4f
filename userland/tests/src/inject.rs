//! Cases under injection: each allocation failed once (`/proc/self/fail-nth`), each wait interrupted, killed in, and dropped
//! once (`/proc/self/fail-await`). What a case answers then is its own affair; the kernel must live, nothing may hang, and
//! what the case used must have come back.
use crate::case::Case;
use crate::leak::{lost_by, prepare, show};
use crate::run::{End, Injection, one, quietly, set_up};
use crate::sys;

/// More injections than that in one case are not made.
const MOST: u32 = 2000;

/// What came of one case.
#[derive(Default)]
struct Outcome {
    /// Injections that took place.
    count: u32,
    /// Those after which the case waited for something that did not come any more, as a test of what cannot fail does.
    waited: Vec<u32>,
    /// Those that left a process which cannot be killed.
    stuck: Vec<u32>,
}

/// Injects at the first, second, … place of a case until there is none.
fn each(case: &Case, at: impl Fn(u32) -> Injection) -> Outcome {
    let mut outcome = Outcome::default();
    for n in 1..=MOST {
        match one(case, Some(at(n))) {
            End::Printed | End::Lost => break,
            End::Injected => {}
            End::Waited => outcome.waited.push(n),
            End::Stuck => outcome.stuck.push(n),
        }
        outcome.count = n;
        if outcome.stuck.len() > 3 {
            break;
        }
    }
    outcome
}

/// The whole run over `cases`; how many of them left something that cannot be killed, or lost something.
pub fn all(cases: &[&Case], at: impl Fn(u32) -> Injection) -> usize {
    let file = at(1).file;
    if std::fs::metadata(format!("/proc/self/{file}")).is_err() {
        eprintln!("no /proc/self/{file}");
        return 1;
    }
    set_up();
    prepare();
    sys!(prctl, libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    let (mut injected, mut waited, mut stuck, mut leaking, mut skipped) = (0, 0, 0, 0, 0);
    for case in cases {
        if quietly(|| one(case, None)) != End::Printed {
            skipped += 1;
            continue;
        }
        let mut outcome = Outcome::default();
        let lost = lost_by(|| outcome = quietly(|| each(case, &at)));
        injected += outcome.count;
        let name = format!("{}/{}", case.call, case.name);
        if !outcome.waited.is_empty() {
            waited += outcome.waited.len();
            println!("# {name}: waits on after {:?}", outcome.waited);
        }
        if !outcome.stuck.is_empty() {
            stuck += 1;
            println!("{name}: cannot be killed after {:?}", outcome.stuck);
        }
        if !lost.is_empty() {
            leaking += 1;
            println!("{name}: {} times, loses {}", outcome.count, show(&lost));
            // Which of them it is.
            for n in 1..=outcome.count.min(200) {
                let lost = lost_by(|| _ = quietly(|| one(case, Some(at(n)))));
                if !lost.is_empty() {
                    println!("    at {n}: {}", show(&lost));
                }
            }
        }
    }
    println!("cases {}\ninjected {injected}\nwaited {waited}\nskipped {skipped}\nstuck {stuck}\nleaking {leaking}", cases.len());
    stuck + leaking
}
