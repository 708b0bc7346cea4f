//! Check of several CPUs: nobody waits who could run on a CPU that idles; nothing is lost when CPUs go and come.
use super::Verdict::NotYet;
use super::{Bed, Verdict, judge, value};
use crate::run::KernelChoice;
use crate::{build, cases, selftest};
use anyhow::{Context, Result};
use std::path::Path;
use vigil_tests::hotplug;

/// The loads are programs of these.
const PACKAGES: &[&str] = &["bash", "coreutils", "rt-tests", "util-linux"];
/// The fewest idle entries that say something.
const ENTRIES: i64 = 1000;

/// Hackbench by processes and threads, a fork storm, the same within affinities, real-time and deadline tasks; one after the other, and
/// all at once. Each prints its status.
const LOAD: &str = r#"
storm() { for i in $(seq 20); do (for j in 1 2 3 4 5 6 7 8 9 10; do (exit 0) & done; wait); done; }
bench() { hackbench "$@" >/dev/null; }
pinned() { for c in 1 3 6 c 18 30 60 c0 81 ff; do taskset $c hackbench -g 1 -l 20 >/dev/null & done; wait; }
urgent() {
    cyclictest -q -t 12 -p 80 -i 700 -D 2 >/dev/null 2>&1 &
    for p in 5 20 50; do
        chrt -f $p sh -c 'i=0; while [ $i -lt 3000 ]; do i=$((i+1)); done' &
        chrt -r $p hackbench -p -g 1 -l 20 >/dev/null &
    done
    wait
}
deadline() {
    P=
    for n in 1 2 3 4 5 6; do
        chrt -d -T 2000000 -D 10000000 -P 10000000 0 sh -c 'i=0; while [ $i -lt 5000 ]; do i=$((i+1)); done' & P="$P $!"
    done
    for p in $P; do wait $p || return; done
}
bench -g 4 -l 50; echo processes $?
bench -p -T -g 4 -l 50; echo threads $?
storm; echo storm $?
pinned; echo pinned $?
urgent; echo urgent $?
deadline; echo deadline $?
bench -g 2 -l 30 & storm & pinned & urgent & deadline & wait; echo all $?
sleep 1
"#;

pub(super) fn check(bed: &Bed) -> Result<Verdict> {
    if let Some(verdict) = bed.no_programs() {
        return verdict;
    }
    if bed.kernel == KernelChoice::Linux {
        return Ok(NotYet("the count is inside Vigil's kernel".to_string()));
    }
    let kernel = build::selftest(bed.ctx, false)?;
    let (root, log) = (cases::root_file_system(bed.ctx, PACKAGES)?, bed.ctx.target.join("idle-audit.log"));
    let (image, root, log_name) = (kernel.image.display().to_string(), root.display().to_string(), log.display().to_string());
    let options =
        ["--smp", "8", "--mem", "1G", "--image", &image, "--rootfs", &root, "--log", &log_name, "--append", "vigil.test=idle-audit:500"];
    let figures = bed.figures(Path::new("sh"), &options, &["-c", LOAD])?;
    let mut good = true;
    for load in ["processes", "threads", "storm", "pinned", "urgent", "deadline", "all"] {
        good &= value(&figures, load)? == 0;
    }
    let (entries, waiters) = counted(&std::fs::read_to_string(&log)?).context("the kernel counted nothing")?;
    let (lost_nothing, said) = hotplug(bed)?;
    judge(
        good && entries >= ENTRIES && waiters == 0 && lost_nothing,
        format!("{entries} idle entries looked at, {waiters} movable waiters{}; {said}", if good { "" } else { "; a load FAILED" }),
    )
}

/// CPUs 1 to 7 go and come for ten minutes beside hackbench, sleepers, hogs, and a group that is held back.
fn hotplug(bed: &Bed) -> Result<(bool, String)> {
    let root = cases::root_file_system(bed.ctx, hotplug::PACKAGES)?.display().to_string();
    let options = ["--smp", "8", "--mem", "1G", "--timeout", "1800", "--rootfs", &root];
    let figures = bed.figures(Path::new("bash"), &options, &["-c", hotplug::LOAD, "load", "600"])?;
    let late = figures.iter().filter(|(name, _)| name.starts_with("late_")).map(|(_, late)| *late).max().unwrap_or(i64::MAX);
    let [rounds, runs, lost, leak] = ["rounds", "runs", "lost", "leak"].map(|name| value(&figures, name));
    let (rounds, runs, lost, leak) = (rounds?, runs?, lost?, leak?);
    let good = rounds > 0 && runs > 0 && lost == 0 && late < hotplug::LATE && leak <= hotplug::LEAK;
    Ok((
        good,
        format!(
            "CPUs 1-7 went and came {rounds} times: {runs} hackbench runs, {lost} failed, {leak} KiB less, sleepers at most {} ms late",
            late / 1000
        ),
    ))
}

/// Idle entries, and who waited at them, by the last line of a log that counts both.
fn counted(log: &str) -> Option<(i64, i64)> {
    let mut report = selftest::parse(log);
    let last = report.tests.iter().rposition(|(name, ..)| name == "idle-audit")?;
    report.tests.drain(..last);
    Some((report.figure("idle-audit", "entries")?, report.figure("idle-audit", "waiters")?))
}
