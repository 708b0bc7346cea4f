//! Crowds: a process with many children that ends, signals to many, a group that forks while it is killed, many threads that end at once. What is
//! printed is the same on every kernel; how long others had to wait meanwhile is what irq-bounds measures.
use crate::sys::{child, wait};
use std::io::Error;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

fn check(what: &str, result: i64) -> Result<i64, String> {
    if result < 0 { Err(format!("{what}: {}", Error::last_os_error())) } else { Ok(result) }
}

fn pause() -> i32 {
    loop {
        // SAFETY: takes nothing.
        unsafe { libc::pause() };
    }
}

fn kill(pid: i32, signal: i32) -> Result<(), String> {
    // SAFETY: takes integers.
    check("kill", unsafe { libc::kill(pid, signal) }.into()).map(drop)
}

/// A process that leads its own group in this session, has `n` children that sleep there, and ends when it is told to through a pipe.
fn family(n: u32, before_the_end: fn(&[i32]) -> Result<(), String>) -> Result<i32, String> {
    let body = move || -> Result<(), String> {
        // SAFETY: takes integers.
        check("setpgid", unsafe { libc::setpgid(0, 0) }.into())?;
        let children = (0..n).map(|_| child(pause)).collect::<Result<Vec<_>, _>>()?;
        before_the_end(&children)
    };
    let father = child(move || match body() {
        Ok(()) => 0,
        Err(why) => {
            eprintln!("stress: {why}");
            1
        }
    })?;
    match wait(father)? {
        0 => Ok(father),
        status => Err(format!("the father has ended by {status:#x}")),
    }
}

/// Waits for all children that there are; how many ended by `signal`.
fn count_ended_by(signal: i32) -> usize {
    let (mut status, mut count) = (0, 0);
    // SAFETY: the status word lives through the call.
    while unsafe { libc::waitpid(-1, &raw mut status, 0) } > 0 {
        count += usize::from(libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == signal);
    }
    count
}

/// Whether there are children, and none has ended.
fn all_live() -> Result<bool, String> {
    // SAFETY: a siginfo that lives through the call; all zeroes is one.
    unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        check("waitid", libc::waitid(libc::P_ALL, 0, &raw mut info, libc::WEXITED | libc::WNOHANG | libc::WNOWAIT).into())?;
        Ok(info.si_pid() == 0)
    }
}

/// One child stops, and is waited for until it has.
fn one_stops(children: &[i32]) -> Result<(), String> {
    let one = *children.last().ok_or("no child")?;
    kill(one, libc::SIGSTOP)?;
    let mut status = 0;
    // SAFETY: the status word lives through the call.
    check("waitpid", unsafe { libc::waitpid(one, &raw mut status, libc::WUNTRACED) }.into()).map(drop)
}

/// Zombies that nobody has waited for, besides one that lives.
fn most_end(children: &[i32]) -> Result<(), String> {
    children.iter().skip(1).try_for_each(|pid| kill(*pid, libc::SIGKILL))
}

/// A group whose members fork as long as they live, killed by one call; how many of it are left.
fn forking_group() -> Result<usize, String> {
    let leader = child(|| {
        // SAFETY: takes integers, and nothing.
        unsafe {
            libc::setpgid(0, 0);
            for _ in 0..16 {
                if libc::fork() == 0 {
                    // Each ends when it has a child, which does the same: there are as many as before.
                    loop {
                        match libc::fork() {
                            0 => {}
                            -1 => drop(libc::sched_yield()),
                            _ => libc::_exit(0),
                        }
                    }
                }
            }
        }
        pause()
    })?;
    std::thread::sleep(Duration::from_millis(30));
    kill(-leader, libc::SIGKILL)?;
    // Those who were orphaned are ours: we reap them all, and with them go the last members of the group.
    for _ in 0..200 {
        // SAFETY: takes integers; the status is not wanted.
        while unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) } > 0 {}
        // SAFETY: takes integers.
        if unsafe { libc::kill(-leader, 0) } != 0 {
            return Ok(0);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    kill(-leader, libc::SIGKILL)?;
    Ok(1)
}

/// `n` threads that sleep end with their process.
fn threads(n: u32) -> Result<i32, String> {
    static BEGUN: AtomicUsize = AtomicUsize::new(0);
    let process = child(move || {
        let begin = || {
            std::thread::Builder::new().stack_size(16 << 10).spawn(|| {
                BEGUN.fetch_add(1, Relaxed);
                pause()
            })
        };
        let begun = (0..n).map_while(|_| begin().ok()).count();
        while BEGUN.load(Relaxed) < begun {
            std::thread::yield_now();
        }
        i32::from(begun != n as usize)
    })?;
    wait(process)
}

/// All of it, with crowds of `n`.
pub fn run(n: u32) -> Result<(), String> {
    // SAFETY: takes integers.
    check("prctl", unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }.into())?;
    let father = family(n, |_| Ok(()))?;
    println!("orphans live {}", all_live()?);
    kill(-father, libc::SIGTERM)?;
    println!("terminated {}", count_ended_by(libc::SIGTERM));
    family(n, |_| Ok(()))?;
    kill(-1, libc::SIGINT)?;
    println!("interrupted {}", count_ended_by(libc::SIGINT));
    family(n, one_stops)?;
    println!("hung up {}", count_ended_by(libc::SIGHUP));
    let father = family(n, most_end)?;
    kill(-father, libc::SIGKILL)?;
    println!("killed {}", count_ended_by(libc::SIGKILL));
    println!("escaped {}", forking_group()?);
    println!("threads' status {}", threads(n)?);
    Ok(())
}
