//! Drives the cases of `vigil-tests` through `cargo xtask run`, as a user would, two at a time.
use crate::apt::{Apt, rootfs};
use crate::ctx::Ctx;
use crate::run::KernelChoice;
use crate::test::{Tally, line};
use crate::{build, initramfs, linux, userland};
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};
use vigil_tests::{Case, Fixture, How, Input, Output};

/// Options of `run` for a test: a machine that goes on after its kernel has faulted must not look like a good one.
pub const OOPS_ENDS: [&str; 2] = ["--append", "oops=panic"];

/// Runs the cases and prints a line for each, under a name with this prefix.
pub fn run(ctx: &Ctx, cases: Vec<Case>, kernel: KernelChoice, prefix: &str) -> Result<Tally> {
    let tally = Mutex::new(Tally::default());
    if cases.is_empty() {
        return Ok(Tally::default());
    }
    let dir = ctx.target.join("cases").join(std::process::id().to_string());
    let apt = Apt::new(ctx)?;
    // Everything that a run would announce is done before: the cases look at standard error.
    build::init(ctx, false)?;
    initramfs::fetch(&apt)?;
    if kernel == KernelChoice::Linux {
        linux::fetch(ctx, false)?;
    }
    for case in &cases {
        prepare(ctx, &apt, &dir, case)?;
    }
    let roots = root_file_systems(ctx, &cases)?;
    let queue = Mutex::new(cases.into_iter());
    let workers = std::thread::available_parallelism().map_or(1, usize::from).clamp(1, 4);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(case) = queue.lock().ok().and_then(|mut q| q.next()) {
                    let start = Instant::now();
                    let result = run_case(&dir, &case, roots.get(case.packages), kernel);
                    let Ok(mut tally) = tally.lock() else { break };
                    tally.add(line(result.is_ok(), &format!("{prefix}{}", case.name), Some(start.elapsed().as_secs_f32())));
                    if let Err(error) = result {
                        println!("        {}", format!("{error:#}").replace('\n', "\n        "));
                    }
                }
            });
        }
    });
    std::fs::remove_dir_all(&dir)?;
    Ok(tally.into_inner().unwrap_or_default())
}

/// A directory for each set of packages that a case wants, by the set.
fn root_file_systems(ctx: &Ctx, cases: &[Case]) -> Result<BTreeMap<&'static [&'static str], PathBuf>> {
    let sets = cases.iter().map(|case| case.packages).filter(|packages| !packages.is_empty());
    sets.map(|packages| Ok((packages, root_file_system(ctx, packages)?))).collect()
}

/// A root file system of these packages, made once.
pub fn root_file_system(ctx: &Ctx, packages: &[&str]) -> Result<PathBuf> {
    let dir = ctx.target.join("roots").join(packages.join("-"));
    if !dir.exists() {
        let temporary = dir.with_extension(format!("tmp{}", std::process::id()));
        rootfs(ctx, &packages.iter().map(|p| p.to_string()).collect::<Vec<_>>(), &temporary)?;
        // Another process may have been faster: its result is the same.
        if std::fs::rename(&temporary, &dir).is_err() {
            std::fs::remove_dir_all(&temporary)?;
        }
    }
    Ok(dir)
}

fn case_dir(dir: &Path, case: &Case) -> PathBuf {
    dir.join(case.name.replace('/', "-"))
}

fn prepare(ctx: &Ctx, apt: &Apt, dir: &Path, case: &Case) -> Result<()> {
    let dir = case_dir(dir, case);
    std::fs::create_dir_all(&dir)?;
    for fixture in &case.fixtures {
        let (name, bytes) = match fixture {
            Fixture::Own(name, package) => (name, std::fs::read(userland::program(ctx, package, name)?)?),
            Fixture::Text(name, text) => (name, text.as_bytes().to_vec()),
            Fixture::Host(name, from) => (name, std::fs::read(from)?),
            Fixture::Debian(name, package, path) => {
                let from = apt.unpacked(package)?.join(path);
                (name, std::fs::read(&from).with_context(|| format!("cannot read {}", from.display()))?)
            }
        };
        let to = dir.join(name);
        std::fs::create_dir_all(to.parent().unwrap_or(&dir))?;
        std::fs::write(&to, bytes)?;
        std::fs::set_permissions(&to, std::fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

/// A child that does not outlive us, nor its time.
struct Guarded(Child);

impl Drop for Guarded {
    fn drop(&mut self) {
        // It may have ended already: then there is nothing to kill.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Guarded {
    fn wait(&mut self, until: Instant) -> Result<ExitStatus> {
        loop {
            if let Some(status) = self.0.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > until {
                bail!("not over in time");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn collect(mut from: impl Read + Send + 'static) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(n) = from.read(&mut buffer) {
            if n == 0 || sender.send(buffer[..n].to_vec()).is_err() {
                break;
            }
        }
    });
    receiver
}

fn run_case(dir: &Path, case: &Case, root: Option<&PathBuf>, kernel: KernelChoice) -> Result<()> {
    // The path of our own binary may have been replaced by a build since; this one is always ourselves.
    let mut command = Command::new("/proc/self/exe");
    let until = Instant::now() + Duration::from_secs(case.timeout.into());
    command.arg("run").arg("--no-build").args(OOPS_ENDS).args(["--kernel", if kernel == KernelChoice::Linux { "linux" } else { "vigil" }]);
    if !case.options.iter().any(|o| o == "--timeout") {
        command.args(["--timeout", &case.timeout.to_string()]);
    }
    if let Some(root) = root {
        command.arg("--rootfs").arg(root);
    }
    command.args(&case.options).current_dir(case_dir(dir, case)).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    if let How::Program { argv, .. } = &case.how {
        command.arg("--").args(argv);
    }
    let mut child = Guarded(command.spawn().context("cannot start xtask run")?);
    let (Some(mut stdin), Some(stdout), Some(stderr)) = (child.0.stdin.take(), child.0.stdout.take(), child.0.stderr.take()) else {
        bail!("no pipes to the child");
    };
    let (stdout, stderr) = (collect(stdout), collect(stderr));
    let (input, mut transcript) = match &case.how {
        How::Program { stdin: input, .. } => {
            let bytes = bytes(*input);
            let feed = bytes.clone();
            std::thread::spawn(move || drop(stdin.write_all(&feed)));
            (bytes, Vec::new())
        }
        How::Session(lines) => (Vec::new(), type_lines(&mut stdin, &stdout, lines, until)?),
    };
    let status = child.wait(until)?;
    let (out, err): (Vec<u8>, Vec<u8>) = (stdout.iter().flatten().collect(), stderr.iter().flatten().collect());
    let err_text = String::from_utf8_lossy(&err).into_owned();
    let code = status.code().or_else(|| status.signal().map(|s| 128 + s)).unwrap_or(-1);
    if code != case.status {
        transcript.extend(&out);
        bail!("status {code}, not {}\n{}{err_text}", case.status, tail(&transcript));
    }
    if let How::Program { stdout: want_out, stderr: want_err, .. } = &case.how {
        check("stdout", want_out, &out, &input)?;
        check("stderr", want_err, &err, &input)?;
    }
    Ok(())
}

/// Types each line when the prompt is there and waits for its text; gives all that was shown.
fn type_lines(stdin: &mut impl Write, stdout: &mpsc::Receiver<Vec<u8>>, lines: &[(&str, &str)], until: Instant) -> Result<Vec<u8>> {
    let mut shown = Vec::new();
    let mut seen = 0;
    let wait = |seen: &mut usize, text: &str, shown: &mut Vec<u8>| -> Result<()> {
        loop {
            if let Some(at) = find(&shown[*seen..], text.as_bytes()) {
                *seen += at + text.len();
                return Ok(());
            }
            let left = until.saturating_duration_since(Instant::now());
            match stdout.recv_timeout(left) {
                Ok(bytes) => shown.extend(bytes),
                Err(_) => bail!("{text:?} did not appear\n{}", tail(shown)),
            }
        }
    };
    for (line, expected) in lines {
        // Ctrl-A C goes to the emulator's monitor and back.
        if let Some(order) = line.strip_prefix(vigil_tests::MONITOR) {
            stdin.write_all(format!("\x01c{order}\r\x01c").as_bytes())?;
            wait(&mut seen, expected, &mut shown)?;
            continue;
        }
        // Ctrl-A B is a break.
        if let Some(keys) = line.strip_prefix(vigil_tests::BREAK) {
            stdin.write_all(format!("\x01b{keys}").as_bytes())?;
            wait(&mut seen, expected, &mut shown)?;
            continue;
        }
        wait(&mut seen, "# ", &mut shown)?;
        stdin.write_all(line.as_bytes())?;
        stdin.write_all(b"\r")?;
        // The line comes back as an echo first; what is expected must come after it.
        let echo_end: String = line.chars().rev().take(8).collect::<Vec<_>>().into_iter().rev().collect();
        wait(&mut seen, &echo_end, &mut shown)?;
        wait(&mut seen, expected, &mut shown)?;
    }
    Ok(shown)
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    if needle.is_empty() { Some(0) } else { haystack.windows(needle.len()).position(|w| w == needle) }
}

fn bytes(input: Input) -> Vec<u8> {
    match input {
        Input::Empty => Vec::new(),
        Input::Text(text) => text.as_bytes().to_vec(),
        Input::Random(count) => {
            // xorshift64: no pattern that a lost or doubled block could hide in.
            let mut x = 0x9e37_79b9_7f4a_7c15_u64;
            let next = |x: &mut u64| {
                *x ^= *x << 13;
                *x ^= *x >> 7;
                *x ^= *x << 17;
                (*x >> 24) as u8
            };
            (0..count).map(|_| next(&mut x)).collect()
        }
    }
}

fn check(stream: &str, want: &Output, got: &[u8], input: &[u8]) -> Result<()> {
    let text = String::from_utf8_lossy(got);
    let (good, wanted) = match want {
        Output::Any => (true, String::new()),
        Output::Empty => (got.is_empty(), "nothing".to_string()),
        Output::Exact(exact) => (got == exact.as_bytes(), format!("{exact:?}")),
        Output::Input if got == input => (true, String::new()),
        Output::Input => {
            let same = got.iter().zip(input).take_while(|(a, b)| a == b).count();
            bail!("{stream}: {} bytes of {}, the same up to byte {same}", got.len(), input.len());
        }
        Output::Contains(part) => (text.contains(part), format!("something with {part:?}")),
        Output::OneLine(part) => (text.contains(part) && text.lines().count() == 1, format!("one line with {part:?}")),
    };
    if !good {
        bail!("{stream}: {wanted} expected, but it is\n{}", tail(got));
    }
    Ok(())
}

fn tail(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(2000)..]).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n") + "\n"
}
