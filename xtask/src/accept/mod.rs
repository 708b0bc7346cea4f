//! `cargo xtask accept`: the acceptance checks of an issue, each with its id, its figure beside its target, and a verdict.
//!
//! A check whose machinery does not exist yet says "not yet" and counts as failed.
mod bounds;
mod cost;
mod figures;
mod inject;
mod inside;
mod irq;
mod irq_faults;
mod irq_torture;
mod pi;
mod posix;
mod programs;
mod rt;
mod sched;
mod sched_smp;

use crate::ctx::Ctx;
use crate::run::KernelChoice;
use crate::test::{Tally, select};
use crate::{build, cases, ui, userland};
use anyhow::{Context, Result, bail};
use clap::Args;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;
use vigil_tests::{ABILITIES, Ability};

/// Options of `accept`.
#[derive(Args, Clone, Debug)]
pub struct AcceptArgs {
    /// An issue (core, sched, irq, pi) or ids of checks (core-bench)
    #[arg(default_value = "core", value_name = "ISSUE|ID")]
    pub what: Vec<String>,
    /// Which kernel; with linux the checks themselves are checked
    #[arg(long, value_enum, default_value = "vigil")]
    pub kernel: KernelChoice,
    /// irq-bounds: only the cases whose names begin so (chaos/); not the check as a whole
    #[arg(long, value_name = "PREFIX")]
    pub only: Option<String>,
    /// Take target/Image as it is
    #[arg(long)]
    pub no_build: bool,
}

/// What came out of a check.
enum Verdict {
    Works(String),
    FallsShort(String),
    NotYet(String),
}
use Verdict::{FallsShort, NotYet, Works};

struct Check {
    id: &'static str,
    target: &'static str,
    run: fn(&Bed) -> Result<Verdict>,
}

/// What the checks share.
struct Bed<'a> {
    ctx: &'a Ctx,
    kernel: KernelChoice,
    only: Option<&'a str>,
}

const CORE: &[Check] = &[
    Check {
        id: "core-run",
        target: "the first lines that a user types behave as on Linux",
        run: |bed| bed.cases("shell/", Ability::Shell),
    },
    Check { id: "core-status", target: "exit status, streams, bad files", run: |bed| bed.cases("run/", Ability::Programs) },
    Check {
        id: "core-matrix",
        target: "5 CPUs × 2 GICs × 2 memory sizes × EL1/EL2 boot",
        run: |bed| bed.cases("boot/", Ability::Programs),
    },
    Check { id: "core-fuzz", target: "10 000 mutated ELFs, cpio archives and DTBs: no panic", run: programs::fuzz },
    Check { id: "core-contract", target: "every errno of every call as on Linux", run: programs::contract_tests },
    Check { id: "core-leak", target: "0 KiB lost over rounds of everything", run: inject::leak },
    Check { id: "core-oom", target: "memory filled by one and by 16 processes; kernel alive", run: programs::out_of_memory },
    Check { id: "core-storm", target: "10 000 fork/exec/exit and 1 000 threads on 4 CPUs", run: programs::storm },
    Check { id: "core-drop", target: "each await dropped and interrupted, nothing lost", run: inject::disturb },
    Check { id: "core-nth", target: "each allocation failed once, no panic", run: inject::nth },
    Check { id: "core-preempt", target: "FIFO 90 delayed ≤ 10 µs by a 5 ms poll; 100 000 parks", run: inside::preempt },
    Check { id: "core-bench", target: "15 operations within their instruction budgets", run: figures::budgets },
    Check { id: "core-gate", target: "no operation 2 % above docs/counts.json", run: figures::gate },
    Check { id: "core-boot", target: "power-on to /init ≤ 40 ms; gzip ≤ 12 instructions/byte", run: figures::boot },
    Check { id: "core-mem", target: "≤ 3 KiB of kernel memory per blocked thread", run: programs::memory },
    Check { id: "core-latency", target: "FIFO 95: avg ≤ 2 µs, max ≤ 4 µs; stages 150/300/250", run: inside::latency },
];

const SCHED: &[Check] = &[
    Check { id: "sched-contract", target: "every scheduling call with every errno as on Linux", run: sched::contract_tests },
    Check {
        id: "sched-smp",
        target: "8 CPUs: no movable waiter when a CPU idles; ten minutes of hotplug lose nothing",
        run: sched_smp::check,
    },
    Check { id: "sched-shares", target: "hogs of every policy get what Linux promises", run: sched::shares },
    Check {
        id: "sched-cost",
        target: "wake, pick and poll ≤ 1.5 × the best of the others at 1 and 100 tasks, ≤ 3 × at 10 000",
        run: cost::cost,
    },
    Check {
        id: "sched-latency",
        target: "cyclictest avg ≤ 2, max ≤ 4 µs; ≤ 8 beside hackbench, forks, faults, a 64 MiB copy",
        run: rt::latency,
    },
    Check { id: "sched-rt-tests", target: "rt-tests report as on Linux; hackbench ≤ 0.5 × Linux's guest time", run: rt::reports },
];

const IRQ: &[Check] = &[
    Check { id: "irq-cost", target: "interrupt 400, waker 200, poll 200, softirq 200, work 400, timer 200", run: irq::cost },
    Check {
        id: "irq-bounds",
        target: "interrupts masked ≤ 5 000, preemption off ≤ 20 000 instructions, over all tests",
        run: bounds::check,
    },
    Check {
        id: "irq-faults",
        target: "screaming lines, lying handlers, storms, malformed properties: the machine lives, FIFO ≤ 50 µs late",
        run: irq_faults::check,
    },
    Check { id: "irq-guarantees", target: "a test per guarantee, each fails on a planted bug", run: irq::guarantees },
    Check {
        id: "irq-torture",
        target: "RCU and locks tortured for ten minutes on 4 CPUs; each of 20 planted deadlocks found",
        run: irq_torture::check,
    },
    Check {
        id: "irq-contract",
        target: "calls of time with every errno as on Linux; POSIX test suite's clocks and timers ≥ 95 % of Linux's",
        run: posix::check,
    },
];

const PI: &[Check] = &[
    Check { id: "pi-boot", target: "raspi3b and raspi4b: four CPUs, a shell on both UARTs, contracts as on virt", run: pi::boot },
    Check {
        id: "pi-irqlat",
        target: "100 000 samples, virt and raspi3b: p99.9 ≤ 1500, max ≤ 4000 idle, ≤ 10 000 loaded; blame",
        run: pi::irqlat,
    },
    Check {
        id: "pi-gpio",
        target: "pins on host register fakes; virt's power button and pins, and their ioctls, as on Linux",
        run: pi::gpio,
    },
    Check {
        id: "pi-image",
        target: "SD folders of rpi3, rpi4, rpi5: the same bytes twice, boot files right; rpi3's boots",
        run: pi::image,
    },
];

/// Checks that start no kernel.
const ON_HOST: &[&str] = &["irq-guarantees", "sched-cost"];

/// The issues, by name and number, with their checks.
const ISSUES: &[(&str, &str, &[Check])] = &[("core", "2", CORE), ("sched", "3", SCHED), ("irq", "4", IRQ), ("pi", "5", PI)];

/// Runs the checks of an issue or one of them.
pub fn accept(ctx: &Ctx, args: &AcceptArgs) -> Result<i32> {
    let named = |word: &str| -> Vec<&Check> {
        let all = ISSUES.iter().flat_map(|(name, number, checks)| checks.iter().map(move |check| (name, number, check)));
        all.filter(|(name, number, check)| word == **name || word == **number || word == check.id).map(|(_, _, check)| check).collect()
    };
    let mut chosen: Vec<&Check> = Vec::new();
    for word in &args.what {
        let checks = named(word);
        if checks.is_empty() {
            let ids = |&(name, _, checks): &(&str, &str, &[Check])| {
                format!("{name}: {}", checks.iter().map(|c| c.id).collect::<Vec<_>>().join(" "))
            };
            bail!("no issue or check {word:?}; there are {}", ISSUES.iter().map(ids).collect::<Vec<_>>().join("; "));
        }
        chosen.extend(checks);
    }
    if chosen.iter().any(|check| !ON_HOST.contains(&check.id)) {
        if args.kernel == KernelChoice::Vigil && !args.no_build {
            build::kernel(ctx, false)?;
        }
        build::init(ctx, false)?;
    }
    let bed = Bed { ctx, kernel: args.kernel, only: args.only.as_deref() };
    let mut tally = Tally::default();
    let mut lines = Vec::new();
    for check in chosen {
        ui::say(&format!("{}: {}", check.id, check.target));
        let start = Instant::now();
        let verdict = (check.run)(&bed).unwrap_or_else(|error| FallsShort(format!("{error:#}")));
        let (word, figure) = match &verdict {
            Works(figure) => ("works", figure),
            FallsShort(figure) => ("falls short", figure),
            NotYet(figure) => ("not yet", figure),
        };
        let good = matches!(verdict, Works(_));
        tally.add(Tally { passed: good.into(), failed: (!good).into() });
        let seconds = start.elapsed().as_secs_f32();
        let mut line = format!("{:<14} {word:<12} {figure}  ({seconds:.0} s)\n{:<27} target: {}", check.id, "", check.target);
        if !good {
            line.push_str(&format!("\n{:<27} to repeat: cargo xtask accept {}", "", check.id));
        }
        println!("{line}");
        lines.push(line);
    }
    if lines.len() > 1 {
        println!("\n{}", lines.join("\n"));
    }
    println!("{} passed, {} failed", tally.passed, tally.failed);
    Ok(i32::from(tally.failed > 0))
}

impl Bed<'_> {
    fn can(&self, ability: Ability) -> bool {
        self.kernel == KernelChoice::Linux || ABILITIES.contains(&ability)
    }

    /// All machine tests whose names begin so, the long ones too.
    fn cases(&self, prefix: &str, needs: Ability) -> Result<Verdict> {
        if !self.can(needs) {
            return Ok(NotYet(format!("the kernel lacks {needs:?} (tests/src/lib.rs)")));
        }
        let (chosen, waiting) = select(Some(prefix), true, self.kernel);
        let tally = cases::run(self.ctx, chosen, self.kernel, "")?;
        let figure = format!("{} of {} cases", tally.passed, tally.passed + tally.failed + waiting);
        Ok(if tally.failed + waiting == 0 { Works(figure) } else { FallsShort(figure) })
    }

    /// Runs `stress ARGS` and gives the `name value` lines that it printed.
    fn stress(&self, options: &[&str], arguments: &[&str]) -> Result<BTreeMap<String, i64>> {
        self.figures(&userland::program(self.ctx, "vigil-stress", "stress")?, options, arguments)
    }

    /// Runs a program and gives the `name value` lines that it printed.
    fn figures(&self, program: &Path, options: &[&str], arguments: &[&str]) -> Result<BTreeMap<String, i64>> {
        let text = self.output(program, options, arguments)?;
        Ok(text.lines().filter_map(|l| l.split_once(' ')).filter_map(|(k, v)| Some((k.to_string(), v.parse().ok()?))).collect())
    }

    /// Runs a program, which must end with status 0, and gives what it printed.
    fn output(&self, program: &Path, options: &[&str], arguments: &[&str]) -> Result<String> {
        let mut command = Command::new("/proc/self/exe");
        command
            .args(["run", "--no-build"])
            .args(cases::OOPS_ENDS)
            .args(["--kernel", if self.kernel == KernelChoice::Linux { "linux" } else { "vigil" }]);
        if !options.contains(&"--timeout") {
            command.args(["--timeout", "600"]);
        }
        let output = command.args(options).arg("--").arg(program).args(arguments).stdin(Stdio::null()).output()?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            let lines: Vec<&str> = text.lines().collect();
            // What it has printed says what it did not like.
            let printed = String::from_utf8_lossy(&output.stdout);
            let said: Vec<&str> = printed.lines().chain(lines[lines.len().saturating_sub(3)..].iter().copied()).collect();
            bail!("{}: status {:?}: {}", arguments.join(" "), output.status.code(), said.join(" / "));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The check's verdict when programs cannot run yet.
    fn no_programs(&self) -> Option<Result<Verdict>> {
        (!self.can(Ability::Programs)).then(|| Ok(NotYet("the kernel cannot run programs yet".to_string())))
    }
}

fn value(figures: &BTreeMap<String, i64>, name: &str) -> Result<i64> {
    figures.get(name).copied().with_context(|| format!("no {name} was printed"))
}

fn judge(good: bool, figure: String) -> Result<Verdict> {
    Ok(if good { Works(figure) } else { FallsShort(figure) })
}
