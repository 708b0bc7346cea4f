//! Checks of the Raspberry Pi boards, in QEMU.
use super::Verdict::{FallsShort, NotYet};
use super::{Bed, Verdict, judge};
use crate::board::Board;
use crate::irqlat::{self, STAGES};
use crate::run::KernelChoice;
use crate::{contract, sdcard, ui, userland};
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use vigil_tests::Ability;

/// Calls whose contracts depend on what a board brings: processes, signals, memory, files, time and scheduling on four CPUs.
const CONTRACTS: &[&str] = &[
    "clone", "execve", "wait4", "kill", "rt_sigaction", "rt_sigtimedwait", "mmap", "munmap", "mprotect", "openat", "read", "write", "pipe2",
    "futex", "clock_nanosleep", "clock_gettime", "timer_create", "timerfd_settime", "sched_setaffinity", "sched_setscheduler", "ppoll",
];

/// Cases that set the wall clock to what it was a moment ago. A Raspberry Pi has no clock that goes on while it is off: it starts in
/// 1970, and such a moment is before the start, which clock_settime refuses (EINVAL, also Linux).
const OF_A_CLOCK: &[&str] = &["timerfd_settime/ECANCELED"];

/// The sessions on every board and port, and contract cases that must say on raspi3b what they say on virt.
pub(super) fn boot(bed: &Bed) -> Result<Verdict> {
    if bed.kernel == KernelChoice::Linux {
        return Ok(NotYet("these tests are of Vigil's own start".to_string()));
    }
    let sessions = match bed.cases("pi/", Ability::Programs)? {
        Verdict::Works(figure) => figure,
        other => return Ok(other),
    };
    ui::say("the same contract cases on virt and on raspi3b");
    let program = userland::program(bed.ctx, "vigil-contract", "contract")?;
    // The same file boots both: neither run builds.
    let on_virt = bed.output(&program, &["--smp", "4"], CONTRACTS)?;
    let on_pi = bed.output(&program, &["--board", "raspi3b"], CONTRACTS)?;
    let (virt, pi) = (contract::lines(&on_virt), contract::lines(&on_pi));
    let differ: Vec<_> = virt.iter().filter(|(case, line)| pi.get(*case) != Some(*line) && !OF_A_CLOCK.contains(case)).collect();
    for (case, line) in &differ {
        println!("{case}\n    virt:    {line}\n    raspi3b: {}", pi.get(*case).copied().unwrap_or("(nothing)"));
    }
    if virt.is_empty() {
        return Ok(FallsShort("contract printed nothing".to_string()));
    }
    judge(differ.is_empty(), format!("{sessions}; of {} contract cases {} differ on raspi3b, {} need a clock", virt.len(), differ.len(), OF_A_CLOCK.len()))
}

/// The files of a folder.
fn files(dir: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let entries = std::fs::read_dir(dir)?.collect::<std::io::Result<Vec<_>>>()?;
    entries.iter().map(|e| Ok((e.file_name().to_string_lossy().into_owned(), std::fs::read(e.path())?))).collect()
}

/// Makes each board's folder twice and looks at it; boots the Raspberry Pi 3's, as its firmware would, in QEMU.
pub(super) fn image(bed: &Bed) -> Result<Verdict> {
    if bed.kernel == KernelChoice::Linux {
        return Ok(NotYet("the folder is Vigil's".to_string()));
    }
    let base = bed.ctx.target.join("sdcard").join(std::process::id().to_string());
    let mut bytes = 0;
    for board in ["rpi3", "rpi4", "rpi5"] {
        let dirs = ["a", "b"].map(|copy| base.join(format!("{board}-{copy}")));
        for dir in &dirs {
            let status = Command::new("/proc/self/exe").args(["image", "--no-build", "--board", board]).arg(dir).stderr(Stdio::null()).status()?;
            if !status.success() {
                bail!("image --board {board}: {status}");
            }
            sdcard::check_card(dir).context(board)?;
        }
        let (a, b) = (files(&dirs[0])?, files(&dirs[1])?);
        if a != b {
            bail!("{board}: two folders differ");
        }
        bytes = bytes.max(a.values().map(Vec::len).sum::<usize>());
    }
    ui::say("booting the Raspberry Pi 3's folder");
    let card = base.join("rpi3-a");
    let mut command = Command::new("/proc/self/exe");
    command.args(["run", "--board", "raspi3b", "--uart", "1", "--timeout", "25", "--append", "oops=panic"]);
    command.arg("--image").arg(card.join("kernel8.img")).arg("--initramfs").arg(card.join("initramfs.cpio"));
    let output = command.stdin(Stdio::null()).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let prompt = text.contains("/ # ");
    std::fs::remove_dir_all(&base)?;
    judge(prompt, format!("3 folders, each twice the same bytes (at most {} KiB); rpi3's {}", bytes / 1024, if prompt { "boots to a prompt" } else { "does not boot" }))
}

/// Instructions of the whole way: p99.9 and the largest when nothing else runs, and the largest beside a load.
const IDLE_MOST: [u64; 2] = [1_500, 4_000];
const LOADED_MOST: u64 = 10_000;

/// The whole way, idle and beside each load that there is, and that the stages make up the whole.
pub(super) fn irqlat(bed: &Bed) -> Result<Verdict> {
    if bed.kernel == KernelChoice::Linux {
        return Ok(NotYet("the device is Vigil's".to_string()));
    }
    let program = userland::program(bed.ctx, "vigil-irqlat", "irqlat")?;
    let mut good = true;
    let mut figures = Vec::new();
    for board in [Board::Virt, Board::Raspi3b] {
        for load in ["none", "cpu", "mem", "fork"] {
            ui::say(&format!("{}, load {load}", board.name()));
            let samples = if load == "none" { "100000" } else { "20000" };
            let outcome = irqlat::measure(board, KernelChoice::Vigil, &program, &["--samples", samples, "--interval", "500", "--load", load])?;
            let figure = |stage: &str, name: &str| outcome.figure(stage, name).with_context(|| format!("{stage} has no {name}"));
            let (most, largest) = (figure("due-el0", "p99.9")?, figure("due-el0", "max")?);
            let parts = STAGES[..4].iter().map(|(stage, _)| figure(stage, "mean")).sum::<Result<u64>>()?;
            // Each mean is rounded down.
            good &= figure("due-el0", "mean")?.abs_diff(parts) <= 5 && outcome.facts.get("missed").is_some_and(|m| m == "0");
            good &= if load == "none" { most <= IDLE_MOST[0] && largest <= IDLE_MOST[1] } else { largest <= LOADED_MOST };
            figures.push(format!("{} {load} {most}/{largest}", board.name()));
        }
    }
    let figure = format!("p99.9/max {}; blame does not exist, Linux-RT was not run", figures.join(", "));
    // What the check asks for beyond the figures is not there.
    Ok(if good { NotYet(figure) } else { FallsShort(figure) })
}
