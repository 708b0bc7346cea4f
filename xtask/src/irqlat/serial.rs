//! A board's shell behind a serial port: 115200 baud, 8N1, raw.
use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{OptionalActions, SpecialCodeIndex, tcgetattr, tcsetattr};
use std::fs::File;
use std::io::Write;
use std::path::Path;

/// How long the shell has for its first byte.
const PATIENCE: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };

/// Lines that the shell prints before and after the program, the second followed by its status. Numbered, since the end of an earlier one may
/// come first.
pub struct Marks {
    /// Before.
    pub begin: String,
    /// After.
    pub end: String,
}

/// Opens the port.
pub fn open(path: &Path) -> Result<File> {
    let port = File::options().read(true).write(true).open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut terminal = tcgetattr(&port).with_context(|| format!("{} is no serial port", path.display()))?;
    terminal.make_raw();
    terminal.set_speed(115_200)?;
    // A read waits for a byte.
    terminal.special_codes[SpecialCodeIndex::VMIN] = 1;
    terminal.special_codes[SpecialCodeIndex::VTIME] = 0;
    tcsetattr(&port, OptionalActions::Flush, &terminal)?;
    Ok(port)
}

/// Types a command, and waits for the shell to show that it is there; the marks of what the command prints.
pub fn order(mut port: &File, words: &[&str]) -> Result<Marks> {
    let number = std::process::id();
    // What still runs and what was typed before goes first (Ctrl-C, Ctrl-U, Return). The marks are not in the line as it is shown.
    port.write_all(format!("\x03\x15\recho '==>' begin {number}; {}; echo '==>' end {number} $?\r", words.join(" ")).as_bytes())?;
    if poll(&mut [PollFd::new(port, PollFlags::IN)], Some(&PATIENCE))? == 0 {
        bail!("nobody answers: is the board on, and does no other program have the port?");
    }
    Ok(Marks { begin: format!("==> begin {number}"), end: format!("==> end {number} ") })
}

/// A pseudo-terminal: the end of a board, and the path of ours.
#[cfg(test)]
pub fn pair() -> Result<(File, std::path::PathBuf)> {
    use rustix::pty;
    use std::os::unix::ffi::OsStringExt;
    let board = pty::openpt(pty::OpenptFlags::RDWR | pty::OpenptFlags::NOCTTY)?;
    pty::grantpt(&board)?;
    pty::unlockpt(&board)?;
    let name = std::ffi::OsString::from_vec(pty::ptsname(&board, Vec::new())?.into_bytes());
    Ok((File::from(board), name.into()))
}
