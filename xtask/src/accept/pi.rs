//! Checks of the Raspberry Pi boards, in QEMU.
use super::Verdict::{FallsShort, NotYet};
use super::{Bed, Verdict, irq_faults, judge};
use crate::board::Board;
use crate::irqlat::{self, Kernel, Outcome, STAGES, WHOLE};
use crate::run::KernelChoice;
use crate::{contract, sdcard, ui, userland};
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use vigil_tests::Ability;

/// Calls whose contracts depend on what a board brings: processes, signals, memory, files, time and scheduling on four CPUs.
const CONTRACTS: &[&str] = &[
    "clone", "execve", "wait4", "kill", "rt_sigaction", "rt_sigtimedwait", "mmap", "munmap", "mprotect", "openat", "read", "write",
    "pipe2", "futex", "clock_nanosleep", "clock_gettime", "timer_create", "timerfd_settime", "sched_setaffinity", "sched_setscheduler",
    "ppoll",
];

/// Cases of what a Raspberry Pi has not: a clock that goes on while it is off, without which it starts in 1970, and the moment before, to
/// which the first sets the clock, is before the start, which clock_settime refuses (EINVAL, also Linux); and virt's power button.
const OF_A_DEVICE: &[&str] = &["timerfd_settime/ECANCELED", "ioctl_evdev/small-reads"];

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
    let differ: Vec<_> = virt.iter().filter(|(case, line)| pi.get(*case) != Some(*line) && !OF_A_DEVICE.contains(case)).collect();
    for (case, line) in &differ {
        println!("{case}\n    virt:    {line}\n    raspi3b: {}", pi.get(*case).copied().unwrap_or("(nothing)"));
    }
    if virt.is_empty() {
        return Ok(FallsShort("contract printed nothing".to_string()));
    }
    judge(
        differ.is_empty(),
        format!(
            "{sessions}; of {} contract cases {} differ on raspi3b, {} are of a device that it has not",
            virt.len(),
            differ.len(),
            OF_A_DEVICE.len()
        ),
    )
}

/// The chips on fakes of their registers, the pins of `virt` through the monitor's button and Debian's programs, and the ioctls of both.
pub(super) fn gpio(bed: &Bed) -> Result<Verdict> {
    if bed.kernel == KernelChoice::Linux {
        return Ok(NotYet("the fakes are of Vigil's drivers".to_string()));
    }
    ui::say("on the host: PL061, BCM2835, BCM2711, input devices");
    let fakes = irq_faults::host(bed, &["--package", "vigil-drivers", "--lib", "gpio::"])?
        + irq_faults::host(bed, &["--package", "vigil-drivers", "--lib", "input::"])?;
    let cases = match bed.cases("gpio/", Ability::Programs)? {
        Verdict::Works(figure) => figure,
        other => return Ok(other),
    };
    ui::say("ioctls of pins and input devices, on Linux and on Vigil");
    let program = userland::program(bed.ctx, "vigil-contract", "contract")?;
    let ioctls = contract::compare(bed.ctx, &program, bed.kernel, &["ioctl_gpio", "ioctl_evdev"])?;
    let figure = format!(
        "{fakes} tests on fakes, {cases} in QEMU, {} contract cases as on Linux, {} differ; not run on a board",
        ioctls.same, ioctls.differ
    );
    judge(ioctls.differ == 0, figure)
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
            let status =
                Command::new("/proc/self/exe").args(["image", "--no-build", "--board", board]).arg(dir).stderr(Stdio::null()).status()?;
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
    judge(
        prompt,
        format!(
            "3 folders, each twice the same bytes (at most {} KiB); rpi3's {}",
            bytes / 1024,
            if prompt { "boots to a prompt" } else { "does not boot" }
        ),
    )
}

/// Instructions of the whole way: p99.9 and the largest when nothing else runs, and the largest beside a load.
const IDLE_MOST: [u64; 2] = [1_500, 4_000];
const LOADED_MOST: u64 = 10_000;

/// Every sample of the whole way, idle and beside each load; that the stages make up the whole; Linux by the same program; and that a
/// planted section of masked interrupts is found and named.
pub(super) fn irqlat(bed: &Bed) -> Result<Verdict> {
    if bed.kernel == KernelChoice::Linux {
        return Ok(NotYet("the device is Vigil's".to_string()));
    }
    let program = userland::program(bed.ctx, "vigil-irqlat", "irqlat")?;
    let most = |outcome: &Outcome, name: &str| outcome.figure(WHOLE, name).with_context(|| format!("no {name}"));
    // Beside a load all the time between samples is executed, too: a shorter period.
    let common = |load: &str| ["--samples", "100000", "--cpu", "0", "--interval", if load == "none" { "500" } else { "100" }];
    let mut good = true;
    let mut figures = Vec::new();
    for board in [Board::Virt, Board::Raspi3b] {
        for load in irqlat::LOADS {
            let outcome = irqlat::in_qemu(board, Kernel::Vigil, &program, &[&common(load)[..], &["--load", load]].concat())?;
            let sums = STAGES.map(|(stage, _)| outcome.figure(stage, "sum"));
            let [parts @ .., Some(whole)] = sums else { bail!("no sum of the whole") };
            let parts = parts.iter().map(|p| p.context("a stage without a sum")).sum::<Result<u64>>()?;
            let (p999, largest) = (most(&outcome, "p99.9")?, most(&outcome, "max")?);
            let fact = |name: &str| outcome.facts.get(name).map_or("?", String::as_str);
            let fits = if load == "none" { p999 <= IDLE_MOST[0] && largest <= IDLE_MOST[1] } else { largest <= LOADED_MOST };
            let sound = parts == whole && fact("missed") == "0" && fact("disordered") == "0" && fact("samples") == "100000";
            if !fits || !sound {
                ui::say(&format!(
                    "{} {load}: sums {parts} and {whole}, missed {}, disordered {}",
                    board.name(),
                    fact("missed"),
                    fact("disordered")
                ));
            }
            good &= fits && sound;
            figures.push(format!("{} {load} {p999}/{largest}", board.name()));
        }
    }
    let mut others = Vec::new();
    for board in [Board::Virt, Board::Raspi3b] {
        let mut row = Vec::new();
        for kernel in [Kernel::Vigil, Kernel::Linux, Kernel::LinuxRt] {
            let outcome = irqlat::in_qemu(board, kernel, &program, &[&common("none")[..], &["--timer"]].concat())?;
            row.push(format!("{} {}/{}", kernel.name(), most(&outcome, "p99.9")?, most(&outcome, "max")?));
        }
        others.push(format!("on {} {}", board.name(), row.join(", ")));
    }
    let planted = planted(&program)?;
    good &= planted.is_ok();
    let blame = planted.unwrap_or_else(|why| why);
    judge(good, format!("p99.9/max {}; by clock_nanosleep {}; {blame}", figures.join(", "), others.join(", ")))
}

/// A section of 50 us of masked interrupts in the midst of others is what a late sample is blamed on; without it no sample is late.
fn planted(program: &Path) -> Result<Result<String, String>> {
    let threshold = ["--samples", "4000", "--interval", "500", "--cpu", "0", "--blame", "--threshold", "30000"];
    let with = irqlat::in_qemu(Board::Virt, Kernel::Vigil, program, &[&threshold[..], &["--plant", "50"]].concat())?;
    let without = irqlat::in_qemu(Board::Virt, Kernel::Vigil, program, &threshold)?;
    let Some(line) = with.blame.iter().find(|l| l.starts_with("blamed: ")) else { return Ok(Err(format!("blame says {:?}", with.blame))) };
    let length = line.split_once("off for ").and_then(|(_, l)| l.split_once(" ns")).and_then(|(n, _)| n.parse::<u64>().ok());
    let named = line.contains("spin_irqs_off") && length.is_some_and(|l| (50_000..60_000).contains(&l));
    let quiet = without.blame == ["no sample was late"];
    Ok(if named && quiet {
        Ok(format!("of 50 us planted blame says: {line}"))
    } else {
        Err(format!("blame says {line}, and without a cause {:?}", without.blame))
    })
}
