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
enum End {
    /// It printed its line, and no allocation was failed.
    Printed,
    /// The n-th allocation was failed before the case was over.
    Injected,
    /// It hung or was killed, and the line says so.
    Lost,
}

/// Standard input empty, no descriptors but the three, so that numbers are the same wherever this runs.
fn set_up() {
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
    if std::fs::remove_dir(dir).is_err() {
        drop(std::fs::remove_dir_all(dir));
    }
}

/// Runs one; with `nth`, its n-th allocation fails and its line is not printed.
fn one(case: &Case, nth: Option<u32>) -> End {
    let dir = format!("{HOME}/w");
    clean(&dir);
    drop(std::fs::create_dir(&dir));
    // Everybody may work here: some cases are an ordinary user.
    drop(std::fs::set_permissions(&dir, std::os::unix::fs::PermissionsExt::from_mode(0o777)));
    drop(std::io::stdout().flush());
    let pid = sys!(clone, libc::SIGCHLD, 0, 0, 0, 0) as i32;
    if pid == 0 {
        sys!(setpgid, 0, 0);
        drop(std::env::set_current_dir(&dir));
        let left = match nth {
            None => {
                let line = format!("{}/{}: {}\n", case.call, case.name, (case.run)());
                sys!(write, 1, line.as_ptr(), line.len());
                0
            }
            Some(nth) => inject(case, nth),
        };
        sys!(exit_group, left);
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
    if hung {
        println!("{}/{}: TIMEOUT", case.call, case.name);
        return End::Lost;
    }
    if libc::WIFEXITED(status) {
        return if libc::WEXITSTATUS(status) == 0 { End::Printed } else { End::Injected };
    }
    if nth.is_none() {
        println!("{}/{}: CRASH {}", case.call, case.name, ending(status));
    }
    End::Lost
}

/// In the child: the n-th allocation from now fails. Status 1: it did; 0: there were fewer.
fn inject(case: &Case, nth: u32) -> i32 {
    let order = format!("{nth}\n");
    let fd = sys!(openat, libc::AT_FDCWD, c"/proc/self/fail-nth", libc::O_RDWR, 0);
    if sys!(write, fd, order.as_ptr(), order.len()) < 0 {
        return 0;
    }
    // What it answers under a failed allocation is its own affair: the kernel must live, that is all.
    drop((case.run)());
    let mut left = [0u8; 16];
    let n = sys!(pread64, fd, &mut left, 16, 0);
    i32::from(n > 0 && left[0] == b'0')
}

/// Fails the first, second, … allocation of each case until it needs no more; says how many there were.
pub fn each_allocation_fails(cases: &[&Case]) -> usize {
    if !std::path::Path::new("/proc/self/fail-nth").exists() {
        eprintln!("no /proc/self/fail-nth");
        return 1;
    }
    set_up();
    let mut failed = 0;
    for case in cases {
        let mut nth = 1;
        while nth < 2000 && one(case, Some(nth)) != End::Printed {
            nth += 1;
        }
        failed += nth - 1;
        println!("{}/{}: {} allocations", case.call, case.name, nth - 1);
    }
    println!("failed_allocations {failed}");
    0
}

fn free_kib() -> i64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let field = text.lines().find_map(|l| l.strip_prefix("MemFree:"));
    field.and_then(|l| l.split_whitespace().next()?.parse().ok()).unwrap_or(-1)
}

fn tasks() -> usize {
    std::fs::read_dir("/proc").map_or(0, |d| d.flatten().filter(|e| e.file_name().to_string_lossy().bytes().all(|b| b.is_ascii_digit())).count())
}

/// Runs all cases `rounds` times, quietly; prints what is less after the last than after the second.
pub fn leak(cases: &[&Case], rounds: u32) -> usize {
    set_up();
    let null = sys!(openat, libc::AT_FDCWD, c"/dev/null", libc::O_RDWR, 0);
    let saved = sys!(dup3, 1, 9, 0);
    let mut second = (0, 0);
    let mut last = (0, 0);
    for round in 1..=rounds.max(3) {
        sys!(dup3, null, 1, 0);
        for case in cases {
            one(case, None);
        }
        drop(std::io::stdout().flush());
        sys!(dup3, saved, 1, 0);
        // What is freed late (RCU, workers) gets its time.
        sleep_ms(500);
        last = (free_kib(), tasks());
        if round == 2 {
            second = last;
        }
    }
    println!("lost_kib {}\nlost_tasks {}", second.0 - last.0, last.1 as i64 - second.1 as i64);
    0
}
