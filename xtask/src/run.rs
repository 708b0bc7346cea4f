//! `cargo xtask run`: boots to a shell, or runs one program and ends with its status.
use crate::cpio::Tree;
use crate::ctx::Ctx;
use crate::initramfs::{self, NONCE_PREFIX, Program};
use crate::linux::Linux;
use crate::qemu::Machine;
use crate::streams::{self, End, Port};
use crate::{build, linux, ui};
use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use rustix::process::{Pid, Signal, kill_process};
use std::fmt;
use std::io::{IsTerminal, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

/// An end with a status and one line that says why.
#[derive(Debug)]
pub struct Failure {
    /// Exit status.
    pub status: i32,
    line: String,
}

impl Failure {
    /// A failure with its line.
    pub fn new(status: i32, line: String) -> Failure {
        Failure { status, line }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line)
    }
}

impl std::error::Error for Failure {}

/// Which kernel boots.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum KernelChoice {
    /// This project's.
    Vigil,
    /// Debian's Linux for arm64, to compare with.
    Linux,
}

/// Options of `run`.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    #[command(flatten)]
    pub machine: Machine,
    /// Which kernel boots
    #[arg(long, value_enum, default_value = "vigil")]
    pub kernel: KernelChoice,
    /// With --kernel linux: the one with PREEMPT_RT
    #[arg(long)]
    pub rt: bool,
    /// Boot this initramfs as it is, instead of busybox
    #[arg(long, value_name = "FILE", conflicts_with_all = ["rootfs", "program"])]
    pub initramfs: Option<PathBuf>,
    /// Boot this kernel image as it is, instead of building one
    #[arg(long, value_name = "FILE", conflicts_with_all = ["debug", "release"])]
    pub image: Option<PathBuf>,
    /// Root file system to pack, as `cargo xtask rootfs` makes it; also where programs and libraries are looked up
    #[arg(long, value_name = "DIR")]
    pub rootfs: Option<PathBuf>,
    /// Add NAME=VALUE to the program's environment (may be repeated)
    #[arg(long, value_name = "NAME=VALUE")]
    pub env: Vec<String>,
    /// End with status 124 after this many seconds
    #[arg(long, value_name = "SECONDS")]
    pub timeout: Option<f64>,
    /// Write the console, which is where the kernel's log goes, to this file
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// Build the kernel optimised; this is the default
    #[arg(long, conflicts_with = "debug")]
    pub release: bool,
    /// Build the kernel with debug assertions
    #[arg(long)]
    pub debug: bool,
    /// Take init and target/Image as the last build left them
    #[arg(long, hide = true)]
    pub no_build: bool,
    /// Program of this machine to run in the guest, and its arguments; without, a shell
    #[arg(last = true, value_name = "PROGRAM")]
    pub program: Vec<String>,
}

/// What happened, as the waiting thread hears it.
enum Event {
    Ended(std::io::Result<ExitStatus>),
    Status(u8),
    Stream(End),
    Signal(i32),
}

/// Runs and gives the exit status.
pub fn run(ctx: &Ctx, args: &RunArgs) -> Result<i32> {
    if let Some(dir) = args.rootfs.as_ref().filter(|d| !d.is_dir()) {
        return Err(Failure::new(2, format!("{}: not a directory", dir.display())).into());
    }
    if let Some(file) = args.image.as_ref().filter(|f| !f.is_file()) {
        return Err(Failure::new(2, format!("{}: no such file", file.display())).into());
    }
    let terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal() && std::io::stderr().is_terminal();
    if args.rt && args.kernel != KernelChoice::Linux {
        return Err(Failure::new(2, "--rt: only Linux has a kernel of that kind".to_string()).into());
    }
    let scratch = Scratch::new(ctx)?;
    let board = args.machine.board;
    let dtb = match args.kernel {
        KernelChoice::Linux => board.dtb_for_linux(ctx, &scratch.0)?,
        KernelChoice::Vigil => board.dtb(ctx)?,
    };
    let (mut qemu, user_exit) = args.machine.command(ctx, dtb.as_deref())?;
    // A kernel that is to have the last word is not cut short by its user.
    let user_exit = user_exit && !args.machine.append.iter().any(|a| a.contains("vigil.longest"));
    let nonce = nonce(args.machine.icount)?;
    let program = !args.program.is_empty();
    let pi = board.is_pi();
    if !pi && args.machine.uart != 0 {
        return Err(Failure::new(2, format!("{}: --uart cannot be chosen", board.name())).into());
    }
    if pi && program && args.machine.uart != 0 {
        return Err(Failure::new(
            2,
            "--uart: a program's output is on one serial port of a Raspberry Pi, and the log on the other".to_string(),
        )
        .into());
    }
    let linux = match args.kernel {
        KernelChoice::Linux => Some(linux::fetch(ctx, args.rt)?),
        KernelChoice::Vigil => None,
    };
    // The files are looked at before the kernel is built: a mistyped name is answered at once.
    let initrd = match &args.initramfs {
        Some(file) if file.exists() => file.clone(),
        Some(file) => return Err(Failure::new(2, format!("{}: no such file", file.display())).into()),
        None => {
            let tree = tree(ctx, args, linux.as_ref(), terminal, user_exit, &nonce)?;
            let file = scratch.0.join("initramfs.cpio");
            std::fs::write(&file, tree.archive())?;
            file
        }
    };
    let image = match (&args.image, &linux) {
        (Some(image), _) => image.clone(),
        (None, Some(linux)) => linux.image.clone(),
        _ if args.no_build => ctx.target.join("Image"),
        _ => build::kernel(ctx, args.debug)?.image,
    };
    let mini_uart = pi && (args.machine.uart == 1 || uart(args) == Some(PL011));
    let console = if mini_uart { "ttyS1,115200" } else { "ttyAMA0" };
    let mut append = format!("console={console} rdinit=/init panic=-1");
    if program && terminal {
        append.push_str(" quiet loglevel=1");
    }
    if linux.is_some() {
        append = format!("{append} {}", board.words_for_linux());
    }
    append = format!("{} {}", append.trim_end(), args.machine.append.join(" "));
    qemu.arg("-kernel").arg(image).arg("-initrd").arg(initrd).args(["-append", append.trim()]);
    if args.machine.gdb {
        ui::say(&format!(
            "waiting for gdb: gdb-multiarch {} -ex 'target remote :1234'",
            ctx.target.join("kernel/aarch64-unknown-none-softfloat/release/vigil").display()
        ));
    }

    if !program && terminal {
        ui::say("Ctrl-A X leaves");
    }
    let log = args.log.clone().unwrap_or_else(|| scratch.0.join("console.log"));
    let log_text = log.to_str().context("the log's path is not UTF-8")?.replace(',', ",,");
    let on_stdio = streams_are_console(args, terminal);
    if on_stdio {
        qemu.args(["-chardev", &format!("stdio,id=console,mux=on,signal=off,logfile={log_text}"), "-mon", "chardev=console"]);
    } else {
        qemu.args(["-chardev", &format!("file,id=console,path={log_text}")]);
        // Its own process group: Ctrl-C comes to us, and goes on to the program in the guest.
        qemu.process_group(0);
    }
    let ports = Ports::add(&mut qemu, program, pi, !on_stdio)?;
    let other = if pi && program { "chardev:stdout" } else { "null" };
    let serial = if mini_uart { [other, "chardev:console"] } else { ["chardev:console", other] };
    for port in serial.iter().take(if pi { 2 } else { 1 }) {
        qemu.args(["-serial", port]);
    }
    let outcome = supervise(qemu, ports, args.timeout, &nonce, on_stdio)?;
    Ok(outcome.judge(program, &log, args))
}

const PL011: &str = "/dev/ttyAMA0";
const MINI_UART: &str = "/dev/ttyS1";

/// The serial port of a program's output on a board without virtio. Linux's driver sets the mini UART's divisor when it is opened, and QEMU's
/// model of it sends that as if it were text.
fn uart(args: &RunArgs) -> Option<&'static str> {
    let port = if args.kernel == KernelChoice::Linux { PL011 } else { MINI_UART };
    (args.machine.board.is_pi() && !args.program.is_empty()).then_some(port)
}

/// Whether the guest's console is our standard streams. A program on a Raspberry Pi has its output on the other serial port.
fn streams_are_console(args: &RunArgs, terminal: bool) -> bool {
    args.program.is_empty() || (terminal && !args.machine.board.is_pi())
}

fn tree(ctx: &Ctx, args: &RunArgs, linux: Option<&Linux>, terminal: bool, user_exit: bool, nonce: &str) -> Result<Tree> {
    let rootfs = args.rootfs.as_deref();
    if let Some(name) = args.program.first().filter(|n| n.contains('/') && !Path::new(n).exists()) {
        return Err(Failure::new(127, format!("{name}: no such file")).into());
    }
    let mut tree = initramfs::base(ctx, &build::init(ctx, args.no_build)?, rootfs)?;
    if let Some(name) = args.program.first() {
        let mut env = args.env.clone();
        let tty = streams_are_console(args, terminal);
        let path = initramfs::add_program(ctx, &mut tree, name, rootfs, &mut env)?;
        let program =
            Program { path, argv: args.program.clone(), env, tty, uart: uart(args), semihosting: user_exit, nonce: nonce.to_string() };
        initramfs::add_orders(&mut tree, &program);
    }
    if let Some(linux) = linux {
        linux.pack_modules(&mut tree, args.machine.board, !args.machine.disk.is_empty())?;
    }
    Ok(tree)
}

/// The end mark of the output streams: random, so that no program prints it; fixed where runs must repeat exactly.
fn nonce(fixed: bool) -> Result<String> {
    let mut bytes = [0x5a; 16];
    if !fixed {
        std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    }
    Ok(bytes.iter().fold(NONCE_PREFIX.to_string(), |s, b| s + &format!("{b:02x}")))
}

/// A directory for one run's files, removed at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(ctx: &Ctx) -> Result<Scratch> {
        let dir = ctx.target.join("run").join(std::process::id().to_string());
        std::fs::create_dir_all(&dir)?;
        Ok(Scratch(dir))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed lies below target/, where `cargo clean` removes it.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Ways into and out of the guest: virtio-console ports, the streams as /dev/vport0p1-3 and the control port as /dev/vport0p4; on a
/// Raspberry Pi a serial port for all output.
struct Ports {
    stdin: Option<Port>,
    stdout: Option<Port>,
    stderr: Option<Port>,
    control: Option<Port>,
}

impl Ports {
    fn add(qemu: &mut Command, program: bool, pi: bool, streams: bool) -> Result<Ports> {
        let mut ports = Ports { stdin: None, stdout: None, stderr: None, control: None };
        if program && pi {
            ports.stdout = Some(Port::chardev(qemu, "stdout")?);
        } else if program {
            qemu.args(["-device", "virtio-serial-device,max_ports=8"]);
            if streams {
                ports.stdin = Some(Port::add(qemu, "stdin", 1)?);
                ports.stdout = Some(Port::add(qemu, "stdout", 2)?);
                ports.stderr = Some(Port::add(qemu, "stderr", 3)?);
            }
            ports.control = Some(Port::add(qemu, "control", 4)?);
        }
        Ok(ports)
    }
}

/// How a run ended.
struct Outcome {
    /// What init reported.
    status: Option<u8>,
    /// How QEMU ended; none when it was ended because of the time limit.
    qemu: Option<ExitStatus>,
    reader_gone: bool,
    /// Init has marked the end of an output stream: the program has ended.
    complete: bool,
}

fn supervise(mut qemu: Command, ports: Ports, timeout: Option<f64>, nonce: &str, on_stdio: bool) -> Result<Outcome> {
    let saved = rustix::termios::tcgetattr(std::io::stdin()).ok();
    let parent = std::process::id();
    // SAFETY: between fork and exec only two system calls are made; neither allocates nor takes a lock.
    unsafe {
        qemu.pre_exec(move || {
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
            match rustix::process::getppid() {
                Some(pid) if pid.as_raw_nonzero().get() as u32 == parent => Ok(()),
                _ => Err(std::io::ErrorKind::NotFound.into()),
            }
        });
    }
    if !on_stdio {
        qemu.stdin(std::process::Stdio::null());
    }
    let mut child = qemu.spawn().context("cannot start QEMU")?;
    let pid = Pid::from_child(&child);
    let (events, inbox) = mpsc::channel();
    let mut drains = Vec::new();
    let tell = |events: &Sender<Event>| {
        let events = events.clone();
        move |end| drop(events.send(Event::Stream(end)))
    };
    if let Some(stdin) = ports.stdin {
        streams::feed(stdin.started());
    }
    if let Some(stdout) = ports.stdout {
        drains.push(streams::drain(stdout.started(), std::io::stdout(), nonce, tell(&events)));
    }
    if let Some(stderr) = ports.stderr {
        drains.push(streams::drain(stderr.started(), std::io::stderr(), nonce, tell(&events)));
    }
    let mut open_streams = drains.len();
    let mut control = ports.control.map(Port::started);
    if let Some(port) = &control {
        let (mut port, events) = (port.try_clone()?, events.clone());
        std::thread::spawn(move || {
            let mut message = [0; 2];
            if port.read_exact(&mut message).is_ok() && message[0] == b'S' {
                drop(events.send(Event::Status(message[1])));
            }
        });
    }
    {
        let events = events.clone();
        std::thread::spawn(move || drop(events.send(Event::Ended(child.wait()))));
    }
    if !on_stdio {
        let mut signals = signal_hook::iterator::Signals::new([2, 15, 1, 3])?;
        std::thread::spawn(move || signals.forever().for_each(|signal| drop(events.send(Event::Signal(signal)))));
    }

    let deadline = timeout.map(|s| Instant::now() + Duration::from_secs_f64(s.clamp(0.0, 1e9)));
    let mut outcome = Outcome { status: None, qemu: None, reader_gone: false, complete: false };
    let mut interrupts = 0;
    let mut acknowledged = false;
    loop {
        let event = match deadline {
            Some(deadline) => inbox.recv_timeout(deadline.saturating_duration_since(Instant::now())),
            None => inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match event {
            Ok(Event::Ended(status)) => {
                outcome.qemu = Some(status?);
                break;
            }
            Ok(Event::Status(status)) => outcome.status = Some(status),
            Ok(Event::Stream(End::ReaderGone)) => {
                outcome.reader_gone = true;
                kill_process(pid, Signal::KILL)?;
            }
            Ok(Event::Stream(end)) => {
                open_streams -= 1;
                outcome.complete |= end == End::Complete;
            }
            Ok(Event::Signal(signal)) => {
                interrupts += 1;
                // A guest that does not listen is ended by the third.
                let sent = control.as_mut().is_some_and(|port| port.write_all(&[signal as u8]).is_ok());
                if interrupts >= 3 || !sent {
                    kill_process(pid, Signal::KILL)?;
                }
            }
            Err(_) => {
                kill_process(pid, Signal::KILL)?;
                break;
            }
        }
        if outcome.status.is_some() && open_streams == 0 && !acknowledged {
            acknowledged = true;
            if let Some(port) = &mut control {
                // Init waits for this byte before it ends QEMU.
                drop(port.write_all(&[0]));
            }
        }
    }
    for thread in drains {
        drop(thread.join());
    }
    // QEMU's end may be known before what it wrote last was read: without a control port nobody waits for that.
    for event in inbox.try_iter() {
        if let Event::Stream(end) = event {
            outcome.reader_gone |= end == End::ReaderGone;
            outcome.complete |= end == End::Complete;
        }
    }
    if let (true, Some(saved)) = (on_stdio, saved) {
        rustix::termios::tcsetattr(std::io::stdin(), rustix::termios::OptionalActions::Now, &saved)?;
    }
    Ok(outcome)
}

impl Outcome {
    /// The exit status; says what went wrong.
    fn judge(&self, program: bool, log: &Path, args: &RunArgs) -> i32 {
        let Some(qemu) = self.qemu else {
            ui::say(&format!("no end after {} s", args.timeout.unwrap_or(0.0)));
            return 124;
        };
        if self.reader_gone {
            return 128 + 13;
        }
        if let Some(status) = self.status {
            return i32::from(status);
        }
        // Without a control port the status is the one that init ended QEMU with.
        if let (true, true, Some(status)) = (self.complete, args.machine.board.is_pi(), qemu.code()) {
            return status;
        }
        let text = String::from_utf8_lossy(&std::fs::read(log).unwrap_or_default()).into_owned();
        let panicked = qemu.code() == Some(101) || text.contains("Kernel panic");
        let clean = qemu.success() && !panicked;
        if clean && !program {
            return 0;
        }
        if let Some(signal) = qemu.signal() {
            return 128 + signal;
        }
        let lines: Vec<&str> = text.lines().collect();
        // An interactive console has shown the log already.
        if program {
            for line in &lines[lines.len().saturating_sub(40)..] {
                eprintln!("    {line}");
            }
        }
        if panicked {
            ui::say("kernel panic");
            101
        } else if clean {
            ui::say("the machine was switched off before the program ended");
            125
        } else {
            ui::say(&format!("QEMU ended with status {}", qemu.code().unwrap_or(-1)));
            qemu.code().unwrap_or(125)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_machine_writes_last_counts_although_its_end_is_known_first() {
        for _ in 0..50 {
            // In place of QEMU: it gets the number of its socket as QEMU does, writes the mark, and ends.
            let mut machine = Command::new("bash");
            machine.args(["-c", "printf %s mark >&${1##*=}"]);
            let stdout = Port::chardev(&mut machine, "out").expect("a socket");
            let ports = Ports { stdin: None, stdout: Some(stdout), stderr: None, control: None };
            let outcome = supervise(machine, ports, Some(20.0), "mark", true).expect("bash runs");
            assert!(outcome.complete, "{:?}", outcome.qemu);
        }
    }
}
