//! Runs cases, each in a child that is watched.
use crate::case::Case;
use crate::help::{ending, now_ms, sleep_ms};
use crate::sys;
use std::io::Write;

/// Milliseconds after which a case has hung; emulated CPUs are slow.
const LIMIT: i64 = 10_000;
/// The directory below which cases work.
const HOME: &str = "/tmp/contract";

/// Runs the cases; gives how many hung or were killed.
pub fn all(cases: &[&Case]) -> usize {
    set_up();
    let bad = cases.iter().filter(|case| one(case, None) != End::Printed).count();
    println!("# {} cases, {bad} hung or killed", cases.len());
    bad
}

/// How the child of a case ended.
#[derive(PartialEq, Eq, Clone, Copy)]
pub enum End {
    /// It printed its line; or it ended before the place of its injection.
    Printed,
    /// It ended after the injection, or by it.
    Injected,
    /// It hung or was killed, and the line says so.
    Lost,
    /// Under injection: it did not end by itself. SIGKILL has ended it.
    Waited,
    /// Not even SIGKILL has.
    Stuck,
}

/// What is injected into a case.
#[derive(Clone, Copy)]
pub struct Injection {
    /// The file of /proc/self that takes the order.
    pub file: &'static str,
    /// How many allocations or waits from the beginning of the case on.
    pub nth: u32,
    /// What happens there, for waits.
    pub what: &'static str,
}

/// Standard input empty, no descriptors but the three, so that numbers are the same wherever this runs.
pub fn set_up() {
    let null = sys!(openat, libc::AT_FDCWD, c"/dev/null", libc::O_RDWR, 0);
    sys!(dup3, null, 0, 0);
    for fd in 3..256 {
        sys!(close, fd);
    }
    sys!(umask, 0o022);
    // Rust's start-up code ignores it; children shall begin as C programs do.
    sys!(rt_sigaction, libc::SIGPIPE, &crate::help::SigAction::default(), 0, 8);
    // What is in the way is a leftover of an earlier run.
    drop(std::fs::create_dir_all(HOME));
}

fn clean(dir: &str) {
    crate::calls::sweep();
    if std::fs::remove_dir(dir).is_ok() {
        return;
    }
    // What a case that was ended in the middle has left mounted, the uppermost first.
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    for place in mounts.lines().rev().filter_map(|l| l.split(' ').nth(1)).filter(|p| p.starts_with(HOME)) {
        if let Ok(place) = std::ffi::CString::new(place) {
            sys!(umount2, place.as_c_str(), libc::MNT_DETACH);
        }
    }
    drop(std::fs::remove_dir_all(dir));
}

/// Ends what a case that was ended in the middle has left running in groups of its own: under injection this process takes
/// orphans in.
fn sweep() {
    for _ in 0..1000 {
        // 0: there are children, and none has ended.
        let got = sys!(wait4, -1, 0, libc::WNOHANG, 0);
        if got < 0 {
            return;
        }
        if got > 0 {
            continue;
        }
        let own = format!("PPid:\t{}", std::process::id());
        for pid in std::fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok()) {
            if std::fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|s| s.lines().any(|l| l == own)) {
                sys!(kill, pid, libc::SIGKILL);
            }
        }
        sleep_ms(1);
    }
}

/// Runs `f` with standard output into nothing.
pub fn quietly<T>(f: impl FnOnce() -> T) -> T {
    drop(std::io::stdout().flush());
    let null = sys!(openat, libc::AT_FDCWD, c"/dev/null", libc::O_RDWR, 0);
    let saved = sys!(fcntl, 1, libc::F_DUPFD_CLOEXEC, 200);
    sys!(dup3, null, 1, 0);
    sys!(close, null);
    let result = f();
    drop(std::io::stdout().flush());
    sys!(dup3, saved, 1, 0);
    sys!(close, saved);
    result
}

/// Runs one; under injection its line is not printed.
pub fn one(case: &Case, injection: Option<Injection>) -> End {
    let dir = format!("{HOME}/w");
    clean(&dir);
    drop(std::fs::create_dir(&dir));
    // Everybody may work here: some cases are an ordinary user.
    drop(std::fs::set_permissions(&dir, std::os::unix::fs::PermissionsExt::from_mode(0o777)));
    drop(std::io::stdout().flush());
    let pid = sys!(clone, libc::SIGCHLD, 0, 0, 0, 0) as i32;
    if pid == 0 {
        sys!(setpgid, 0, 0);
        if let Err(error) = std::env::set_current_dir(&dir) {
            eprintln!("{}/{}: cannot enter {dir}: {error}", case.call, case.name);
            sys!(exit_group, 1);
        }
        let fired = match injection {
            None => {
                let line = format!("{}/{}: {}\n", case.call, case.name, (case.run)());
                sys!(write, 1, line.as_ptr(), line.len());
                0
            }
            Some(injection) => inject(case, injection),
        };
        sys!(exit_group, fired);
    }
    if pid < 0 {
        println!("{}/{}: cannot fork", case.call, case.name);
        return End::Lost;
    }
    let mut status = 0i32;
    let start = now_ms();
    let mut hung = false;
    let mut naps = 0;
    loop {
        let got = sys!(wait4, pid, &mut status, libc::WNOHANG, 0);
        if got != 0 {
            break;
        }
        let passed = now_ms() - start;
        if passed > LIMIT && !hung {
            hung = true;
            sys!(kill, -pid, libc::SIGKILL);
            sys!(kill, pid, libc::SIGKILL);
        }
        if passed > LIMIT + 2000 {
            // Not even SIGKILL ends it: the next case runs beside it.
            break;
        }
        naps += 1;
        sleep_ms(if naps < 30 { 1 } else { 10 });
    }
    // What the case has left behind.
    sys!(kill, -pid, libc::SIGKILL);
    if injection.is_some() {
        sweep();
        clean(&dir);
    }
    if hung && injection.is_some() {
        return if status == 0 && sys!(wait4, pid, &mut status, libc::WNOHANG, 0) == 0 { End::Stuck } else { End::Waited };
    }
    if hung {
        println!("{}/{}: TIMEOUT", case.call, case.name);
        return End::Lost;
    }
    if libc::WIFEXITED(status) {
        return if libc::WEXITSTATUS(status) == FIRED as i32 { End::Injected } else { End::Printed };
    }
    if injection.is_some() {
        // Without an injection no case is killed.
        return End::Injected;
    }
    println!("{}/{}: CRASH {}", case.call, case.name, ending(status));
    End::Lost
}

/// The exit status of a child in which the injection took place.
const FIRED: usize = 99;

/// In the child: orders the injection and runs the case. [`FIRED`]: it took place; 0: the case was over before.
fn inject(case: &Case, injection: Injection) -> usize {
    let path = format!("/proc/self/{}\0", injection.file);
    let order = format!("{} {}", injection.nth, injection.what);
    let order = order.trim_end();
    let fd = sys!(openat, libc::AT_FDCWD, path.as_ptr(), libc::O_RDWR, 0);
    if sys!(pwrite64, fd, order.as_ptr(), order.len(), 0) < 0 {
        return 0;
    }
    // What it answers is its own affair.
    let answer = (case.run)();
    let mut left = [0u8; 16];
    let n = sys!(pread64, fd, &mut left, 16, 0);
    drop(answer);
    if n > 0 && left[0] == b'0' { FIRED } else { 0 }
}
