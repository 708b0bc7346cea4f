//! Loads beside which something else is measured: `beside LOAD COMMAND…` starts the load, runs the command to its end, and ends the
//! load, which must have been busy until then.
use crate::sys;
use std::io::{Error, Read, Seek, SeekFrom, Write};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

/// Long enough for each load to be in full swing.
const BEFORE: Duration = Duration::from_millis(200);
/// What one call copies.
const COPY: usize = 64 << 20;
const PAGE: usize = 4096;

/// Runs `command` beside `load`; its exit status when it is not 0 is an error.
pub fn run(load: &str, command: &[String]) -> Result<(), String> {
    let (program, arguments) = command.split_first().ok_or("beside LOAD COMMAND…")?;
    let body: fn() -> String = match load {
        "none" => return status(program, arguments),
        "hackbench" => hackbench,
        "forks" => forks,
        "faults" => faults,
        "copy" => copy,
        _ => return Err("beside which load? none, hackbench, forks, faults, copy".to_string()),
    };
    let pid = sys::child(|| {
        // SAFETY: takes integers. The load and all that it starts are one group, so that one signal ends them.
        unsafe { libc::setpgid(0, 0) };
        eprintln!("stress: {load} ended: {}", body());
        1
    })?;
    std::thread::sleep(BEFORE);
    let result = status(program, arguments);
    let mut word = 0;
    // SAFETY: the status word lives through the calls; the group is this program's own, it is ended and its leader waited for.
    let ended = unsafe {
        let ended = libc::waitpid(pid, &raw mut word, libc::WNOHANG);
        libc::kill(-pid, libc::SIGKILL);
        ended
    };
    if ended != 0 {
        return Err(format!("{load} was over before {program}"));
    }
    sys::wait(pid)?;
    result
}

fn status(program: &str, arguments: &[String]) -> Result<(), String> {
    let status = Command::new(program).args(arguments).status().map_err(|e| format!("{program}: {e}"))?;
    if status.success() { Ok(()) } else { Err(format!("{program}: {status}")) }
}

/// 160 processes that talk through sockets.
fn hackbench() -> String {
    let error = Command::new("hackbench").args(["-g", "4", "-l", "100000000"]).stdout(std::process::Stdio::null()).exec();
    format!("hackbench: {error}")
}

/// Four processes that fork, every other child executes a program.
fn forks() -> String {
    let path = sys::own_path();
    let storm = || -> Result<(), String> {
        loop {
            sys::wait(sys::child(|| 0)?)?;
            sys::wait(sys::child(|| sys::exec(&path, "exit"))?)?;
        }
    };
    for _ in 0..3 {
        if let Err(error) = sys::child(|| i32::from(storm().is_err())) {
            return error;
        }
    }
    storm().err().unwrap_or_default()
}

/// Anonymous pages that are read first, written first, and written by a child of a fork.
fn faults() -> String {
    const SIZE: usize = 16 << 20;
    loop {
        // SAFETY: a new mapping of this size, touched within it and unmapped by its only user.
        unsafe {
            let map =
                libc::mmap(std::ptr::null_mut(), SIZE, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0);
            if map == libc::MAP_FAILED {
                return format!("mmap: {}", Error::last_os_error());
            }
            let pages = || (0..SIZE).step_by(PAGE).map(|offset| map.cast::<u8>().add(offset));
            pages().step_by(2).for_each(|page| _ = page.read_volatile());
            pages().for_each(|page| page.write_volatile(1));
            let copied = sys::child(|| {
                pages().for_each(|page| page.write_volatile(2));
                0
            });
            if let Err(error) = copied.and_then(sys::wait) {
                return error;
            }
            libc::munmap(map, SIZE);
        }
    }
}

/// 64 MiB into a file by one call, out of it by another, and the file's pages freed at once.
fn copy() -> String {
    let once = |buffer: &mut [u8]| -> std::io::Result<()> {
        let mut file = std::fs::File::options().read(true).write(true).create(true).truncate(true).open("/tmp/beside")?;
        file.write_all(buffer)?;
        file.seek(SeekFrom::Start(0))?;
        file.read_exact(buffer)
    };
    let mut buffer = vec![1; COPY];
    loop {
        if let Err(error) = once(&mut buffer) {
            return format!("/tmp/beside: {error}");
        }
    }
}
