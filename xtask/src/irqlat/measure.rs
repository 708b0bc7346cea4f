//! Runs the program, in QEMU or on a board behind a serial port, and reads what it prints.
use super::serial;
use crate::board::Board;
use crate::{setup, ui};
use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};

/// Under which kernel the program runs.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// This project's
    #[value(skip)]
    Vigil,
    /// Debian's
    Linux,
    /// Debian's with PREEMPT_RT
    LinuxRt,
}

impl Kernel {
    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Kernel::Vigil => "Vigil",
            Kernel::Linux => "Linux",
            Kernel::LinuxRt => "Linux-RT",
        }
    }

    fn options(self) -> &'static [&'static str] {
        match self {
            Kernel::Vigil => &["--kernel", "vigil"],
            Kernel::Linux => &["--kernel", "linux"],
            Kernel::LinuxRt => &["--kernel", "linux", "--rt"],
        }
    }
}

/// What one run of the program printed.
pub struct Outcome {
    /// `# name value` lines.
    pub facts: BTreeMap<String, String>,
    /// Histograms by stage: least value in nanoseconds, count.
    pub stages: BTreeMap<String, Vec<(u64, u64)>>,
    /// Files by their extension.
    pub files: BTreeMap<String, String>,
    /// What a late sample was blamed on, a line each.
    pub blame: Vec<String>,
}

/// Parses what the program prints with `--format all`.
pub fn parse(text: &str) -> Result<Outcome> {
    let mut outcome = Outcome { facts: BTreeMap::new(), stages: BTreeMap::new(), files: BTreeMap::new(), blame: Vec::new() };
    let mut file = String::new();
    for line in text.lines().map(str::trim_end) {
        if let Some(name) = line.strip_prefix("==> ") {
            file = name.to_string();
            continue;
        }
        if let Some(blame) = line.strip_prefix("# blame: ") {
            outcome.blame.push(blame.to_string());
        }
        if !file.is_empty() {
            let body = outcome.files.entry(file.clone()).or_default();
            body.push_str(line);
            body.push('\n');
        }
        if file != "csv" {
            continue;
        }
        if let Some((name, value)) = line.strip_prefix("# ").and_then(|l| l.split_once(' ')) {
            outcome.facts.insert(name.to_string(), value.to_string());
        } else if let [stage, from, count] = line.split(',').collect::<Vec<_>>()[..]
            && stage != "stage"
        {
            let number = |s: &str| s.parse::<u64>().with_context(|| format!("{line:?}: not a number"));
            outcome.stages.entry(stage.to_string()).or_default().push((number(from)?, number(count)?));
        }
    }
    if !outcome.stages.contains_key("due-el0") || !outcome.files.contains_key("hist") {
        bail!("the program printed no histogram");
    }
    Ok(outcome)
}

impl Outcome {
    /// The figure `name` of a stage's summary: mean, p50, …, max, sum, in nanoseconds.
    pub fn figure(&self, stage: &str, name: &str) -> Option<u64> {
        let words: Vec<&str> = self.facts.get(stage)?.split_whitespace().collect();
        words.chunks_exact(2).find(|pair| pair[0] == name)?[1].parse().ok()
    }
}

/// A bar that follows the program's reports of progress; nothing where nobody looks.
struct Bar(Option<ProgressBar>);

impl Bar {
    fn new(what: &str) -> Bar {
        if !std::io::IsTerminal::is_terminal(&std::io::stderr()) {
            ui::say(&format!("{what} …"));
            return Bar(None);
        }
        let bar = ProgressBar::new(1).with_message(what.to_string());
        if let Ok(style) = ProgressStyle::with_template("vigil: {msg} {wide_bar} {percent} % {elapsed}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(std::time::Duration::from_millis(250));
        Bar(Some(bar))
    }

    fn see(&self, line: &str) {
        let numbers = line.strip_prefix("# progress ").and_then(|l| l.trim_end().split_once(' '));
        if let (Some(bar), Some((done, all))) = (&self.0, numbers)
            && let (Ok(done), Ok(all)) = (done.parse(), all.parse())
        {
            bar.set_length(all);
            bar.set_position(done);
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

/// Reads lines to the end, or to the line that begins with `end`; all of them.
fn follow(from: impl Read, bar: &Bar, end: Option<&str>) -> Result<String> {
    let (mut text, mut line) = (String::new(), Vec::new());
    let mut from = BufReader::new(from);
    loop {
        line.clear();
        if from.read_until(b'\n', &mut line)? == 0 {
            return Ok(text);
        }
        let one = String::from_utf8_lossy(&line).replace('\r', "");
        bar.see(&one);
        text.push_str(&one);
        if end.is_some_and(|end| one.starts_with(end)) {
            return Ok(text);
        }
    }
}

/// What every run asks of the program.
const ALWAYS: [&str; 3] = ["--format", "all", "--progress"];

/// Runs the program in QEMU, one instruction a nanosecond.
pub fn in_qemu(board: Board, kernel: Kernel, program: &Path, arguments: &[&str]) -> Result<Outcome> {
    let mut command = Command::new("/proc/self/exe");
    command.args(["run", "--no-build", "--icount", "--timeout", "1800", "--board", board.name()]).args(kernel.options());
    command.args(["--append", crate::bench::LEAN]);
    command.arg("--").arg(program).args(arguments).args(ALWAYS);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut errors = child.stderr.take().context("a child without errors")?;
    let complaints = std::thread::spawn(move || {
        let mut text = Vec::new();
        // What cannot be read is not shown.
        let _ = errors.read_to_end(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    });
    let bar = Bar::new(&format!("{} on {}: {}", kernel.name(), board.name(), arguments.join(" ")));
    let text = follow(child.stdout.take().context("a child without output")?, &bar, None)?;
    drop(bar);
    let status = child.wait()?;
    if !status.success() {
        let error = complaints.join().unwrap_or_default();
        let lines: Vec<&str> = error.lines().chain(text.lines()).collect();
        bail!("irqlat: {status}: {}", lines[lines.len().saturating_sub(3)..].join(" / "));
    }
    let mut outcome = parse(&text)?;
    let (major, minor) = setup::qemu()?;
    let host = [
        ("time", "virtual (QEMU): one instruction is one nanosecond".to_string()),
        ("qemu", if board == Board::Raspi4b && major < 9 { "Debian's backport".to_string() } else { format!("{major}.{minor}") }),
        ("compiler", setup::output(Command::new("rustc").arg("--version"))),
        ("commit", setup::output(Command::new("git").args(["rev-parse", "--short", "HEAD"]))),
    ];
    outcome.add(&host);
    Ok(outcome)
}

/// Runs the program on the board whose shell is at the serial port `path`.
pub fn on_board(path: &Path, arguments: &[&str]) -> Result<Outcome> {
    let port = serial::open(path)?;
    let bar = Bar::new(&format!("the board at {}: {}", path.display(), arguments.join(" ")));
    let marks = serial::order(&port, &[&["irqlat"], arguments, &ALWAYS[..]].concat()).with_context(|| path.display().to_string())?;
    let text = follow(port, &bar, Some(&marks.end))?;
    drop(bar);
    let text = text.split_once(&format!("\n{}\n", marks.begin)).map_or(&text[..], |(_, ours)| ours);
    let status = text.lines().last().and_then(|l| l.strip_prefix(&marks.end)).map_or("?", str::trim);
    if status != "0" {
        let lines: Vec<&str> = text.lines().collect();
        bail!("the board's irqlat ended with {status}: {}", lines[lines.len().saturating_sub(4)..].join(" / "));
    }
    let mut outcome = parse(text)?;
    outcome.add(&[("time", "real".to_string())]);
    Ok(outcome)
}

impl Outcome {
    /// Adds facts that the host knows, also to the files.
    fn add(&mut self, facts: &[(&str, String)]) {
        let lines: String = facts.iter().map(|(name, value)| format!("# {name} {value}\n")).collect();
        if let Some(csv) = self.files.get_mut("csv") {
            csv.insert_str(0, &lines);
        }
        if let Some(json) = self.files.get_mut("json") {
            let entries: String =
                facts.iter().map(|(name, value)| format!("    \"{name}\": {},\n", serde_json::Value::from(value.as_str()))).collect();
            *json = json.replacen("\"facts\": {\n", &format!("\"facts\": {{\n{entries}"), 1);
        }
        self.facts.extend(facts.iter().map(|(name, value)| (name.to_string(), value.clone())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub const PRINTED: &str = "# progress 0 2\r\n==> csv\r\n# samples 2\r\n# due-el0 mean 5 p50 4 max 9 sum 10\r\nstage,from_ns,count\r\n\
        due-el0,4,1\r\ndue-el0,9,1\r\n==> json\r\n{\r\n  \"facts\": {\r\n    \"samples\": \"2\"\r\n  }\r\n}\r\n==> hist\r\n# Histogram\r\n000000 000002\r\n";

    #[test]
    fn what_the_program_prints_is_read_back() {
        let mut outcome = parse(PRINTED).expect("a histogram");
        assert_eq!((outcome.figure("due-el0", "max"), outcome.figure("due-el0", "sum")), (Some(9), Some(10)));
        assert_eq!(outcome.stages["due-el0"], [(4, 1), (9, 1)]);
        assert_eq!(outcome.files["hist"], "# Histogram\n000000 000002\n");
        outcome.add(&[("qemu", "7 \"x\"".to_string())]);
        let json: serde_json::Value = serde_json::from_str(&outcome.files["json"]).expect("JSON");
        assert_eq!((json["facts"]["qemu"].as_str(), json["facts"]["samples"].as_str()), (Some("7 \"x\""), Some("2")));
        assert!(parse("# samples 0\n").is_err());
    }

    #[test]
    fn a_board_is_measured_through_its_serial_port() {
        let (board, port) = serial::pair().expect("a pseudo-terminal");
        let thread = std::thread::spawn(move || {
            let mut shell = BufReader::new(board);
            let mut typed = Vec::new();
            let ask = |typed: &[u8]| typed.windows(7).any(|w| w == b"irqlat ");
            while !ask(&typed) {
                typed.clear();
                shell.read_until(b'\r', &mut typed).expect("an order");
            }
            // A shell's terminal shows what is typed, and the kernel's log comes in between.
            // First what an earlier order, which Ctrl-C has ended, still printed.
            let (typed_text, number) = (String::from_utf8_lossy(&typed), std::process::id());
            let earlier = "due-el0,9000,1\r\n==> end 0 130\r\n";
            let echo =
                format!("{earlier}{typed_text}\r\n==> begin {number}\r\n[    1.0] a line of the log\r\n{PRINTED}==> end {number} 0\r\n");
            std::io::Write::write_all(shell.get_mut(), echo.as_bytes()).expect("written");
            (shell, String::from_utf8_lossy(&typed).into_owned())
        });
        let outcome = on_board(&port, &["--samples", "2"]).expect("measured");
        let (_, typed) = thread.join().expect("the board's end");
        assert!(typed.contains("; irqlat --samples 2 --format all --progress; echo"), "{typed}");
        assert_eq!((outcome.figure("due-el0", "max"), outcome.facts["time"].as_str()), (Some(9), "real"));
    }
}
