//! `cargo xtask test`: host tests, loom, and the machine tests of the crate `vigil-tests`; the last line is `N passed, N failed`.
use crate::ctx::Ctx;
use crate::run::KernelChoice;
use crate::selftest::{self, Pace};
use crate::{bench, build, cases, model, mutants, ui, userland};
use anyhow::Result;
use clap::Args;
use std::process::Command;
use std::time::Instant;
use vigil_tests::{ABILITIES, Ability, Case};

/// Options of `test`.
#[derive(Args, Clone, Debug)]
pub struct TestArgs {
    /// Only tests whose names contain this: host, loom, model, kernel, selftest, gate, qemu (all cases in the emulator), or a part
    /// of a case's name, such as shell, run, boot; mutant/NAME (planted bugs, only when asked for); anything else is the name of a
    /// host test
    pub filter: Option<String>,
    /// The long ones, too
    #[arg(long)]
    pub long: bool,
    /// Run the machine tests on this kernel; on Linux all of them run, to check the tests themselves
    #[arg(long, value_enum, default_value = "vigil")]
    pub kernel: KernelChoice,
    /// Show the names without running anything
    #[arg(long)]
    pub list: bool,
}

/// What is no case of `vigil-tests`, in the order in which it runs.
const GROUPS: [&str; 6] = ["host", "loom", "model", "kernel", "selftest", "gate"];

/// Counts, and prints a line per result.
#[derive(Default, Clone, Copy)]
pub struct Tally {
    /// Tests that did what they should.
    pub passed: usize,
    /// Tests that did not.
    pub failed: usize,
}

impl Tally {
    /// Adds another tally.
    pub fn add(&mut self, other: Tally) {
        self.passed += other.passed;
        self.failed += other.failed;
    }

    fn one(passed: bool) -> Tally {
        Tally { passed: passed.into(), failed: (!passed).into() }
    }
}

/// The cases of the crate `vigil-tests` that shall run, and how many wait for the kernel.
pub fn select(filter: Option<&str>, long: bool, kernel: KernelChoice) -> (Vec<Case>, usize) {
    let wanted = |case: &Case| {
        filter.is_none_or(|f| f == "qemu" || case.name.contains(f))
            && (long || !case.long)
            && (kernel == KernelChoice::Vigil || !["crash/", "pi/"].iter().any(|own| case.name.starts_with(own)))
    };
    let (ready, waiting): (Vec<Case>, Vec<Case>) =
        vigil_tests::cases().into_iter().filter(wanted).partition(|c| kernel == KernelChoice::Linux || ABILITIES.contains(&c.needs));
    (ready, waiting.len())
}

/// Runs the tests; the exit status is 0 only when none failed.
pub fn test(ctx: &Ctx, args: &TestArgs) -> Result<i32> {
    let start = Instant::now();
    let filter = args.filter.as_deref();
    let group = |name: &str| filter.is_none_or(|f| f == name);
    let (cases, waiting) = select(filter, args.long, args.kernel);
    if args.list {
        for name in GROUPS.iter().filter(|n| group(n)) {
            println!("{name}");
        }
        cases.iter().for_each(|c| println!("{}", c.name));
        return Ok(0);
    }
    let mut tally = Tally::default();
    if let Some(rest) = filter.and_then(|f| f.strip_prefix("mutant")) {
        // Never part of a whole run: each is a build.
        tally = mutants::check(ctx, rest.trim_start_matches('/'))?;
        println!("{} passed, {} failed", tally.passed, tally.failed);
        return Ok(i32::from(tally.failed > 0));
    }
    let on_vigil = args.kernel == KernelChoice::Vigil;
    if on_vigil && group("host") {
        tally.add(format(ctx));
        tally.add(host(ctx, None));
        tally.add(programs(ctx));
    }
    if on_vigil && group("loom") {
        tally.add(loom(ctx));
    }
    if on_vigil && group("model") {
        tally.add(model::check(ctx).unwrap_or_else(|error| failed("model", &format!("{error:#}"))));
    }
    if let Some(word) = filter.filter(|f| on_vigil && *f != "qemu" && !GROUPS.contains(f))
        && cases.is_empty()
        && waiting == 0
    {
        // Not one of ours: the name of a host test.
        tally.add(host(ctx, Some(word)));
    }
    if on_vigil && (group("kernel") || !cases.is_empty()) {
        // Both profiles must build; the release one stays as target/Image.
        for debug in [true, false] {
            let built = build::kernel(ctx, debug);
            if let Err(error) = &built {
                ui::say(&format!("{error:#}"));
            }
            let passed = line(built.is_ok(), &format!("kernel/build-{}", if debug { "debug" } else { "release" }), None);
            tally.add(passed);
        }
    }
    if on_vigil && group("selftest") {
        tally.add(inside(ctx));
    }
    // The harness itself is tested on Debian's kernel in each whole run.
    if on_vigil && filter.is_none() {
        let harness = ["run/stdin-cat-1MiB", "run/streams-separate", "shell/first-lines"];
        let chosen = vigil_tests::cases().into_iter().filter(|c| harness.contains(&c.name.as_str())).collect();
        tally.add(cases::run(ctx, chosen, KernelChoice::Linux, "linux/")?);
    }
    tally.add(cases::run(ctx, cases, args.kernel, if on_vigil { "" } else { "linux/" })?);
    if on_vigil && group("gate") && ABILITIES.contains(&Ability::Programs) {
        tally.add(gate(ctx));
    }
    if waiting > 0 {
        println!("{waiting} cases wait for abilities that the kernel does not have yet (tests/src/lib.rs)");
    }
    println!("{:.0} s", start.elapsed().as_secs_f32());
    println!("{} passed, {} failed", tally.passed, tally.failed);
    Ok(i32::from(tally.failed > 0))
}

/// The tests inside the kernel, in a minute or two; `cargo xtask accept core-preempt` runs the same for longer.
fn inside(ctx: &Ctx) -> Tally {
    let runs = [
        ("spin", false, "spin:200,rcu:5000,pmu", 1, Pace::Exact),
        ("late-cpus", false, "late-cpus maxcpus=1", 4, Pace::Free),
        ("rcu", true, "rcu:5000,rcu-stall", 2, Pace::Free),
        ("parks", true, "parks:5000", 4, Pace::Free),
        ("parks-single", true, "parks:2000", 4, Pace::Single),
        ("irq-faults", false, "irq-faults:100", 2, Pace::Free),
        ("irq-storm", false, "irq-storm:50", 4, Pace::Exact),
        ("deadlocks", true, "lockdep", 1, Pace::Exact),
        ("torture", true, "torture:6", 4, Pace::Free),
    ];
    let mut tally = Tally::default();
    for (name, debug, tests, cpus, pace) in runs {
        let start = Instant::now();
        let result = build::selftest(ctx, debug).and_then(|kernel| selftest::run(ctx, &kernel.image, tests, cpus, pace, 300));
        let good = result.as_ref().is_ok_and(selftest::Report::good);
        tally.add(line(good, &format!("selftest/{name}"), Some(start.elapsed().as_secs_f32())));
        match result {
            Ok(report) if !good => report.tests.iter().for_each(|(test, _, figures)| println!("        {test}: {figures}")),
            Err(error) => println!("        {error:#}"),
            Ok(_) => {}
        }
    }
    tally
}

/// A group that could not run.
fn failed(name: &str, why: &str) -> Tally {
    let tally = line(false, name, None);
    println!("        {}", why.replace('\n', "\n        "));
    tally
}

/// core-gate: no operation takes 2 % more instructions than stored, on matching versions.
fn gate(ctx: &Ctx) -> Tally {
    let start = Instant::now();
    let result = userland::program(ctx, "vigil-ubench", "ubench")
        .and_then(|ubench| bench::measure(&ubench, KernelChoice::Vigil, bench::LEAN, &[]))
        .and_then(|counts| bench::growth(ctx, &counts));
    let lines = match result {
        Ok(None) => return Tally::default(),
        Ok(Some(lines)) => lines,
        Err(error) => vec![format!("{error:#}")],
    };
    let tally = line(lines.is_empty(), "gate", Some(start.elapsed().as_secs_f32()));
    lines.iter().for_each(|l| println!("        {l}"));
    tally
}

/// Prints one result.
pub fn line(passed: bool, name: &str, seconds: Option<f32>) -> Tally {
    let seconds = seconds.map(|s| format!("  ({s:.1} s)")).unwrap_or_default();
    println!("{}  {name}{seconds}", if passed { "ok    " } else { "FAILED" });
    if !passed {
        println!("        to repeat: cargo xtask test {}", repeat_by(name));
    }
    Tally::one(passed)
}

/// The words behind `cargo xtask test` that run this check again.
fn repeat_by(name: &str) -> String {
    let (group, rest) = name.split_once('/').unwrap_or((name, ""));
    match group {
        "linux" => format!("{rest} --kernel linux"),
        "boot" => format!("{name} --long"),
        "mutant" => name.split(' ').next().unwrap_or(name).to_string(),
        group if GROUPS.contains(&group) => group.to_string(),
        _ => name.to_string(),
    }
}

/// Whether `cargo fmt` would change anything (rustfmt.toml); says so and counts nothing where there is no rustfmt.
fn format(ctx: &Ctx) -> Tally {
    let fmt = |dir: &str, args: &[&str]| ui::capture(Command::new("cargo").arg("fmt").args(args).current_dir(ctx.root.join(dir)));
    if !fmt(".", &["--version"]).is_ok_and(|(ok, _)| ok) {
        ui::say("the format of the sources is not checked: there is no rustfmt (rustup component add rustfmt)");
        return Tally::default();
    }
    let odd: Vec<String> = [".", "userland"]
        .into_iter()
        .filter_map(|dir| match fmt(dir, &["--all", "--check", "--", "-l"]) {
            Ok((true, _)) => None,
            Ok((false, text)) => Some(text),
            Err(error) => Some(format!("{error:#}")),
        })
        .collect();
    if !odd.is_empty() {
        ui::say(&format!("cargo fmt --all, here or in userland, would change\n{}", odd.concat()));
    }
    line(odd.is_empty(), "host/format", None)
}

/// Host tests of the programs for the guest that have any.
fn programs(ctx: &Ctx) -> Tally {
    let mut cargo = Command::new("cargo");
    cargo.args(["test", "--package", "vigil-irqlat", "--target-dir"]).arg(ctx.target.join("userland/host"));
    cargo_test("programs", cargo.current_dir(ctx.root.join("userland")))
}

/// `cargo test` of the workspace.
fn host(ctx: &Ctx, word: Option<&str>) -> Tally {
    let mut cargo = Command::new("cargo");
    cargo.args(["test", "--workspace", "--no-fail-fast"]).arg("--target-dir").arg(&ctx.target).args(word).current_dir(&ctx.root);
    cargo_test("host", &mut cargo)
}

/// The executor's loom tests: every interleaving of its state transitions and wait primitives.
fn loom(ctx: &Ctx) -> Tally {
    let manifest = std::fs::read_to_string(ctx.root.join("executor/Cargo.toml")).unwrap_or_default();
    if !manifest.contains("loom") {
        return Tally::default();
    }
    let mut cargo = Command::new("cargo");
    cargo.args(["test", "--package", "vigil-executor", "--release", "--lib", "--tests", "--no-fail-fast"]).env("RUSTFLAGS", "--cfg loom");
    cargo.arg("--target-dir").arg(ctx.target.join("loom")).current_dir(&ctx.root);
    // Link-time optimisation buys nothing here and costs minutes.
    cargo.env("CARGO_PROFILE_RELEASE_LTO", "off").env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
    if std::env::var_os("LOOM_MAX_PREEMPTIONS").is_none() {
        cargo.env("LOOM_MAX_PREEMPTIONS", "2");
    }
    cargo_test("loom", &mut cargo)
}

/// Runs `cargo test` and counts what it says; a build that fails is one failure.
fn cargo_test(name: &str, cargo: &mut Command) -> Tally {
    let start = Instant::now();
    cargo.env("CARGO_TERM_COLOR", "never");
    let announced = ui::announce_if_slow(&format!("{name} tests"));
    let result = ui::capture(cargo);
    drop(announced);
    let (ok, text) = match result {
        Ok(result) => result,
        Err(error) => (false, format!("{error:#}")),
    };
    let mut tally = Tally::default();
    for result in text.lines().filter_map(|l| l.trim().strip_prefix("test result: ")) {
        let count = |word: &str| {
            result
                .split(|c: char| !c.is_alphanumeric())
                .collect::<Vec<_>>()
                .windows(2)
                .find(|w| w[1] == word)
                .and_then(|w| w[0].parse().ok())
        };
        tally.passed += count("passed").unwrap_or(0);
        tally.failed += count("failed").unwrap_or(0);
    }
    if !ok {
        print!("{text}");
        tally.failed = tally.failed.max(1);
    }
    if !ok {
        println!("        to repeat: cargo xtask test {name}");
    }
    println!(
        "{}  {name}: {} passed, {} failed  ({:.1} s)",
        if ok { "ok    " } else { "FAILED" },
        tally.passed,
        tally.failed,
        start.elapsed().as_secs_f32()
    );
    tally
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_check_names_what_repeats_it() {
        assert_eq!(repeat_by("shell/first-lines"), "shell/first-lines");
        assert_eq!(repeat_by("linux/run/status-0"), "run/status-0 --kernel linux");
        assert_eq!(repeat_by("model/park-mutant-no-recheck"), "model");
        assert_eq!(repeat_by("selftest/parks"), "selftest");
        assert_eq!(repeat_by("mutant/work-again (so it is)"), "mutant/work-again");
    }
}
