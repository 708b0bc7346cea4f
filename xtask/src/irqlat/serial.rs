//! A board's shell behind a serial port: 115200 baud, 8N1, raw.
use anyhow::{Context, Result};
use rustix::termios::{OptionalActions, SpecialCodeIndex, tcgetattr, tcsetattr};
use std::fs::File;
use std::io::Write;
use std::path::Path;

/// What the shell prints when the program has ended, followed by its status.
pub const END: &str = "==> end ";

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

/// Types a command, whose end [`END`] will tell.
pub fn order(mut port: &File, words: &[&str]) -> Result<()> {
    // What was typed before goes first (Ctrl-U, Return). The end mark is not in the line as it is shown.
    port.write_all(format!("\x15\r{}; echo '==>' end $?\r", words.join(" ")).as_bytes())?;
    Ok(())
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
