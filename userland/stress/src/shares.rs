//! Shares of one CPU: hogs of several policies, and what each has had of it after a while. And who keeps its policy.
use crate::sys;
use std::io::Error;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

const MS: u64 = 1_000_000;
const SCHED_DEADLINE: u32 = 6;

/// `struct sched_attr`, version 0.
#[repr(C)]
#[derive(Default)]
struct Attr {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// How a task is scheduled.
#[derive(Clone, Copy)]
pub enum Way {
    /// SCHED_OTHER with this nice value.
    Nice(i32),
    /// SCHED_BATCH, the same.
    Batch(i32),
    /// SCHED_FIFO with this priority.
    Fifo(u32),
    /// SCHED_RR, the same.
    RoundRobin(u32),
    /// Run time and period.
    Deadline(u64, u64),
}

impl Way {
    /// Makes the caller so; 0, or the number of the error.
    pub fn take(self) -> i32 {
        self.take_for(0)
    }

    /// Makes `pid` so.
    pub fn take_for(self, pid: libc::pid_t) -> i32 {
        let mut attr = Attr { size: size_of::<Attr>() as u32, ..Attr::default() };
        match self {
            Way::Nice(nice) => attr.nice = nice,
            Way::Batch(nice) => (attr.policy, attr.nice) = (libc::SCHED_BATCH as u32, nice),
            Way::Fifo(priority) => (attr.policy, attr.priority) = (libc::SCHED_FIFO as u32, priority),
            Way::RoundRobin(priority) => (attr.policy, attr.priority) = (libc::SCHED_RR as u32, priority),
            Way::Deadline(runtime, period) => {
                (attr.policy, attr.runtime, attr.deadline, attr.period) = (SCHED_DEADLINE, runtime, period, period);
            }
        }
        // SAFETY: the structure says its size and lives through the call.
        match unsafe { libc::syscall(libc::SYS_sched_setattr, pid, &raw const attr, 0) } {
            0 => 0,
            _ => Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL),
        }
    }
}

/// Nanoseconds of a clock.
pub fn clock(id: libc::clockid_t) -> u64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the structure lives through the call.
    unsafe { libc::clock_gettime(id, &raw mut t) };
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

/// Sleeps until CLOCK_MONOTONIC shows `at`.
pub fn sleep_until(at: u64) {
    let until = libc::timespec { tv_sec: (at / 1_000_000_000) as i64, tv_nsec: (at % 1_000_000_000) as i64 };
    // SAFETY: the structure lives through the call; an early return is a signal's, of which there are none.
    unsafe { libc::clock_nanosleep(libc::CLOCK_MONOTONIC, libc::TIMER_ABSTIME, &raw const until, std::ptr::null_mut()) };
}

/// A child that computes for ever as `way` says; it begins when this process sleeps.
fn hog(way: Way) -> Result<libc::pid_t, String> {
    sys::child(|| {
        let error = way.take();
        if error != 0 {
            return error;
        }
        let mut x = 0u64;
        loop {
            x = std::hint::black_box(x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
        }
    })
}

/// CPU time of `pid` so far.
fn used(pid: libc::pid_t) -> u64 {
    // The clock of a process: its complement shifted, and 2 for time on a CPU.
    clock(!pid << 3 | 2)
}

/// Kills a child and waits for it.
pub fn end(pid: libc::pid_t) -> Result<i32, String> {
    // SAFETY: takes integers.
    unsafe { libc::kill(pid, libc::SIGKILL) };
    sys::wait(pid)
}

/// Runs hogs on one CPU for `ms` and prints the share of each in the span, in parts per million and in percent: `share_0`, `percent_0` and
/// so on.
fn measure(ways: &[Way], ms: u64) -> Result<(), String> {
    let own = Way::Fifo(99).take();
    if own != 0 {
        return Err(format!("SCHED_FIFO 99: {}", Error::from_raw_os_error(own)));
    }
    let pids: Vec<libc::pid_t> = ways.iter().map(|way| hog(*way)).collect::<Result<_, _>>()?;
    // All have begun, and periods of real-time bandwidth have settled.
    sleep_until(clock(libc::CLOCK_MONOTONIC) + 2000 * MS);
    let start = clock(libc::CLOCK_MONOTONIC);
    let before: Vec<u64> = pids.iter().map(|p| used(*p)).collect();
    sleep_until(start + ms * MS);
    let span = clock(libc::CLOCK_MONOTONIC) - start;
    for (i, (pid, before)) in pids.iter().zip(before).enumerate() {
        let share = u128::from(used(*pid) - before) * 1_000_000 / u128::from(span);
        println!("share_{i} {share}\npercent_{i} {}", (share + 5000) / 10_000);
    }
    pids.into_iter().try_for_each(|pid| end(pid).map(|_| ()))
}

/// A task with 30 ms in each 100 ms beside ten hogs: prints in how many of `periods` its 25 ms of work were not done in time.
fn reservation(periods: u64) -> Result<(), String> {
    const WORK: u64 = 25 * MS;
    const PERIOD: u64 = 100 * MS;
    let hogs: Vec<libc::pid_t> = (0..10).map(|_| hog(Way::Nice(0))).collect::<Result<_, _>>()?;
    let error = Way::Deadline(30 * MS, PERIOD).take();
    if error != 0 {
        return Err(format!("SCHED_DEADLINE: {}", Error::from_raw_os_error(error)));
    }
    let (mut missed, mut worst, mut next) = (0, 0, clock(libc::CLOCK_MONOTONIC) + PERIOD);
    for _ in 0..periods {
        sleep_until(next);
        let done = clock(libc::CLOCK_THREAD_CPUTIME_ID) + WORK;
        while clock(libc::CLOCK_THREAD_CPUTIME_ID) < done {}
        let response = clock(libc::CLOCK_MONOTONIC) - next;
        worst = worst.max(response);
        missed += u64::from(response > PERIOD);
        next += PERIOD;
    }
    println!("periods {periods}\nmissed {missed}\nworst_us {}", worst / 1000);
    hogs.into_iter().try_for_each(|pid| end(pid).map(|_| ()))
}

/// A thread with 10 ms in each 100 ms that always wants to run, in `rounds` in which FIFO 50 sleeps and computes: prints for how many
/// stretches it had to wait longer than its period, and the longest. Once without anybody else, once beside a hog.
fn gaps(rounds: u64) -> Result<(), String> {
    const PERIOD: u64 = 100 * MS;
    static LONGER: AtomicU64 = AtomicU64::new(0);
    static LONGEST: AtomicU64 = AtomicU64::new(0);
    let error = Way::Fifo(50).take();
    if error != 0 {
        return Err(format!("SCHED_FIFO 50: {}", Error::from_raw_os_error(error)));
    }
    std::thread::spawn(|| {
        if Way::Deadline(10 * MS, PERIOD).take() != 0 {
            LONGER.store(u64::MAX, SeqCst);
        }
        let mut last = clock(libc::CLOCK_MONOTONIC);
        loop {
            let now = clock(libc::CLOCK_MONOTONIC);
            LONGER.fetch_add(u64::from(now - last > PERIOD), SeqCst);
            LONGEST.fetch_max(now - last, SeqCst);
            last = now;
        }
    });
    // Its first period begins somewhere in between.
    sleep_until(clock(libc::CLOCK_MONOTONIC) + 2 * PERIOD);
    for hogs in [0, 1] {
        LONGER.store(0, SeqCst);
        LONGEST.store(0, SeqCst);
        let hog = (hogs > 0).then(|| hog(Way::Nice(0))).transpose()?;
        for _ in 0..rounds {
            sleep_until(clock(libc::CLOCK_MONOTONIC) + 130 * MS);
            let until = clock(libc::CLOCK_MONOTONIC) + 500 * MS;
            while clock(libc::CLOCK_MONOTONIC) < until {}
        }
        println!("longer_{hogs} {}\nlongest_us_{hogs} {}", LONGER.load(SeqCst), LONGEST.load(SeqCst) / 1000);
        hog.map_or(Ok(0), end)?;
    }
    Ok(())
}

/// A sleeper whose nice value another one changes again and again becomes a deadline task and a fair one `tries` times, or for three
/// seconds: prints how often it was not what it was made.
fn reniced(tries: u64) -> Result<(), String> {
    let target = sys::child(|| {
        loop {
            std::thread::sleep(std::time::Duration::from_secs(1));
        }
    })?;
    let nicer = sys::child(|| {
        for i in 0.. {
            // SAFETY: takes integers.
            unsafe { libc::setpriority(libc::PRIO_PROCESS, target as u32, i % 10) };
        }
        0
    })?;
    let (until, mut wrong) = (clock(libc::CLOCK_MONOTONIC) + 3000 * MS, 0);
    for _ in 0..tries {
        if clock(libc::CLOCK_MONOTONIC) > until {
            break;
        }
        // The reservation may be refused while the one before counts: Linux counts a sleeper's for long.
        let [_, error] = [Way::Deadline(10 * MS, 100 * MS), Way::Nice(0)].map(|way| way.take_for(target));
        for _ in 0..20 {
            std::thread::yield_now();
        }
        // SAFETY: takes an integer.
        let policy = unsafe { libc::sched_getscheduler(target) };
        wrong += u32::from(error != 0 || policy != libc::SCHED_OTHER);
    }
    println!("wrong {wrong}");
    [nicer, target].into_iter().try_for_each(|pid| end(pid).map(|_| ()))
}

/// Prints the error numbers of asking for 951 of 1000 ms, and for 950.
fn admission() -> Result<(), String> {
    println!("errno_951 {}\nerrno_950 {}", Way::Deadline(951 * MS, 1000 * MS).take(), Way::Deadline(950 * MS, 1000 * MS).take());
    Ok(())
}

/// `what` for `n` milliseconds, or periods.
pub fn run(what: &str, n: u64) -> Result<(), String> {
    match what {
        "nice" => measure(&[0, 5, 10, 19].map(Way::Nice), n),
        "fifo" => measure(&[Way::Fifo(50), Way::Nice(0)], n),
        "deadline" => measure(&[Way::Deadline(10 * MS, 100 * MS), Way::Nice(0)], n),
        "reservation" => reservation(n),
        "gaps" => gaps(n),
        "reniced" => reniced(n),
        "admission" => admission(),
        _ => Err("which shares? nice, fifo, deadline, reservation, gaps, reniced, admission".to_string()),
    }
}
