//! What the user sees while the tool works: one line per step, a spinner on a terminal, the output of what failed.
use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{IsTerminal, Read};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Says one line about what is going on, on standard error (standard output belongs to the program that runs).
pub fn say(line: &str) {
    eprintln!("vigil: {line}");
}

/// Runs a step's command with its output kept back; announces it, shows that time passes, and prints the output if it fails.
pub fn step(what: &str, command: &mut Command) -> Result<String> {
    let spinner = if std::io::stderr().is_terminal() {
        let bar = ProgressBar::new_spinner().with_message(format!("{what} …"));
        if let Ok(style) = ProgressStyle::with_template("vigil: {msg} {elapsed} {spinner}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(120));
        Some(bar)
    } else {
        say(&format!("{what} …"));
        None
    };
    let start = Instant::now();
    let result = capture(command);
    if let Some(bar) = spinner {
        bar.finish_and_clear();
    }
    let (ok, text) = result?;
    if !ok {
        eprint!("{text}");
        bail!("{what}: failed; the command was:\n    {}", shell_line(command));
    }
    if std::io::stderr().is_terminal() && start.elapsed() > Duration::from_secs(1) {
        say(&format!("{what}: {:.1} s", start.elapsed().as_secs_f32()));
    }
    Ok(text)
}

/// Runs a command and gives its success and what it printed on both streams, in order.
pub fn capture(command: &mut Command) -> Result<(bool, String)> {
    let (mut reader, writer) = std::io::pipe()?;
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child =
        command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer).spawn().with_context(|| format!("cannot start {name}"))?;
    // The command keeps its copies of the pipe's writing end until it is given others.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut text = Vec::new();
    reader.read_to_end(&mut text)?;
    let ok = child.wait()?.success();
    Ok((ok, String::from_utf8_lossy(&text).into_owned()))
}

/// The command as a line to type.
pub fn shell_line(command: &Command) -> String {
    let word = |s: &std::ffi::OsStr| {
        let s = s.to_string_lossy();
        if !s.is_empty() && s.chars().all(|c| c.is_alphanumeric() || "-_./=:,+@%".contains(c)) {
            s.into_owned()
        } else {
            format!("'{}'", s.replace('\'', r"'\''"))
        }
    };
    let mut words = Vec::new();
    for (key, value) in command.get_envs() {
        if let Some(value) = value {
            words.push(format!("{}={}", key.to_string_lossy(), word(value)));
        }
    }
    words.push(word(command.get_program()));
    words.extend(command.get_args().map(word));
    words.join(" ")
}

/// Whether the user wants to see what sub-commands print (`VIGIL_VERBOSE=1`).
pub fn verbose() -> bool {
    std::env::var_os("VIGIL_VERBOSE").is_some_and(|v| v != "0")
}

/// Says what is being done when it is not over within half a second. Dropping the guard ends it.
pub fn announce_if_slow(what: &str) -> impl Drop + use<> {
    struct Guard(Option<std::sync::mpsc::Sender<()>>, Option<std::thread::JoinHandle<()>>);
    impl Drop for Guard {
        fn drop(&mut self) {
            self.0.take();
            if let Some(thread) = self.1.take() {
                // The thread only sleeps and prints: it cannot fail.
                let _ = thread.join();
            }
        }
    }
    let (sender, receiver) = std::sync::mpsc::channel::<()>();
    let line = format!("{what} …");
    let thread = std::thread::spawn(move || {
        if receiver.recv_timeout(Duration::from_millis(500)) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            say(&line);
        }
    });
    Guard(Some(sender), Some(thread))
}
