//! Loads that are described in a line each, run on one CPU while the kernel traces what its scheduler does.
//!
//! `NAME POLICY BEHAVIOUR`, separated by `;`, times in µs:
//! `POLICY` is `nice N`, `batch N`, `fifo P`, `rr P` or `deadline RUNTIME PERIOD`; `BEHAVIOUR` is `hog`, `periodic RUN PERIOD`,
//! `yielder RUN` or `once RUN`. `at T NAME POLICY` changes a task's policy after `T`; `run T` is how long it lasts. Everybody wakes at one time, between
//! two ticks, in the order of the lines. `executor/tests/linux_traces.rs` does the same in the simulator.
use crate::shares::{Way, clock, end, sleep_until};
use crate::sys;
use std::fs;

const US: u64 = 1000;
const TRACING: &str = "/sys/kernel/tracing";
/// From now to the time at which everybody wakes; the fair class's clock moves on in it, so that all are placed alike.
const LEAD: u64 = 400_000 * US;
/// A tick at the 250 Hz of Debian's kernel.
const TICK: u64 = 4000 * US;

#[derive(Clone, Copy)]
enum Behaviour {
    Hog,
    Periodic(u64, u64),
    Yielder(u64),
    Once(u64),
}

/// The words of a line, taken from the front.
struct Words<'a>(std::str::SplitWhitespace<'a>);

impl<'a> Words<'a> {
    fn word(&mut self) -> Result<&'a str, String> {
        self.0.next().ok_or_else(|| "a word is missing".to_string())
    }

    fn number(&mut self) -> Result<i64, String> {
        let word = self.word()?;
        word.parse().map_err(|_| format!("{word} is no number"))
    }

    fn time(&mut self) -> Result<u64, String> {
        Ok(self.number()?.unsigned_abs() * US)
    }

    fn way(&mut self) -> Result<Way, String> {
        Ok(match self.word()? {
            "nice" => Way::Nice(self.number()? as i32),
            "batch" => Way::Batch(self.number()? as i32),
            "fifo" => Way::Fifo(self.number()? as u32),
            "rr" => Way::RoundRobin(self.number()? as u32),
            "deadline" => Way::Deadline(self.time()?, self.time()?),
            other => return Err(format!("no policy {other}")),
        })
    }

    fn behaviour(&mut self) -> Result<Behaviour, String> {
        Ok(match self.word()? {
            "hog" => Behaviour::Hog,
            "periodic" => Behaviour::Periodic(self.time()?, self.time()?),
            "yielder" => Behaviour::Yielder(self.time()?),
            "once" => Behaviour::Once(self.time()?),
            other => return Err(format!("no behaviour {other}")),
        })
    }
}

fn tracing(file: &str, text: &str) -> Result<(), String> {
    fs::write(format!("{TRACING}/{file}"), text).map_err(|e| format!("{file}: {e}"))
}

fn mount(kind: &std::ffi::CStr, place: &std::ffi::CStr) {
    // SAFETY: the strings live through the call. A failure shows at the files.
    unsafe { libc::mount(kind.as_ptr(), place.as_ptr(), kind.as_ptr(), 0, std::ptr::null()) };
}

/// Computes for `time` of CPU time.
fn compute(time: u64) {
    let done = clock(libc::CLOCK_THREAD_CPUTIME_ID) + time;
    while clock(libc::CLOCK_THREAD_CPUTIME_ID) < done {}
}

/// The time of a tick: it interrupts a loop that reads the clock, and so does the next one.
fn tick() -> Result<u64, String> {
    let (mut last, mut gaps) = (clock(libc::CLOCK_MONOTONIC), Vec::new());
    for _ in 0..1_000_000 {
        let now = clock(libc::CLOCK_MONOTONIC);
        if now - last > 2 * US {
            if gaps.iter().any(|gap| (last - gap).abs_diff(TICK) < 5 * US) {
                return Ok(last);
            }
            gaps.push(last);
        }
        last = now;
    }
    Err("no tick is seen".to_string())
}

/// A child that takes `way`, sleeps until `start` and behaves.
fn task(name: &str, way: Way, behaviour: Behaviour, start: u64) -> Result<libc::pid_t, String> {
    let name = std::ffi::CString::new(name).map_err(|e| e.to_string())?;
    sys::child(|| {
        // SAFETY: the name lives through the call.
        unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
        let error = way.take();
        if error != 0 {
            return error;
        }
        sleep_until(start);
        match behaviour {
            Behaviour::Hog => loop {
                std::hint::spin_loop();
            },
            Behaviour::Periodic(run, period) => {
                for n in 1.. {
                    compute(run);
                    sleep_until(start + n * period);
                }
            }
            Behaviour::Yielder(run) => loop {
                compute(run);
                // SAFETY: takes nothing.
                unsafe { libc::sched_yield() };
            },
            Behaviour::Once(run) => compute(run),
        }
        0
    })
}

/// Runs `load` and prints the kernel's trace, times in µs since everybody woke.
pub fn run(load: &str, exact: bool) -> Result<(), String> {
    mount(c"tracefs", c"/sys/kernel/tracing");
    mount(c"debugfs", c"/sys/kernel/debug");
    if exact {
        // Slices and budgets end by a timer of their own, not at the next tick.
        for feature in ["HRTICK", "HRTICK_DL"] {
            fs::write("/sys/kernel/debug/sched/features", feature).map_err(|e| format!("{feature}: {e}"))?;
        }
    }
    tracing("tracing_on", "0")?;
    tracing("trace_clock", "mono")?;
    tracing("buffer_size_kb", "16384")?;
    tracing("events/sched/sched_switch/enable", "1")?;
    tracing("events/sched/sched_wakeup/enable", "1")?;
    let own = Way::Fifo(99).take();
    if own != 0 {
        return Err(format!("SCHED_FIFO 99: {own}"));
    }
    let start = tick()? + LEAD + TICK / 2;
    let filler = task("filler", Way::Nice(0), Behaviour::Once(LEAD - 100_000 * US), 0)?;
    let (mut tasks, mut changes, mut length) = (Vec::new(), Vec::new(), 0);
    for line in load.split(';').map(str::trim).filter(|line| !line.is_empty()) {
        let mut words = Words(line.split_whitespace());
        match words.word()? {
            "run" => length = words.time()?,
            "at" => changes.push((words.time()?, words.word()?, words.way()?)),
            name => {
                let (way, behaviour) = (words.way()?, words.behaviour()?);
                tasks.push((name, task(name, way, behaviour, start)?));
                // It takes its policy and goes to sleep before the next one does.
                sleep_until(clock(libc::CLOCK_MONOTONIC) + 2000 * US);
            }
        }
    }
    sleep_until(start - 1000 * US);
    tracing("tracing_on", "1")?;
    for (at, name, way) in changes {
        sleep_until(start + at);
        let (_, pid) = tasks.iter().find(|(n, _)| *n == name).ok_or_else(|| format!("no task {name}"))?;
        let error = way.take_for(*pid);
        if error != 0 {
            return Err(format!("{name}: error {error}"));
        }
    }
    sleep_until(start + length);
    tracing("tracing_on", "0")?;
    println!("start {}", start / US);
    print!("{}", fs::read_to_string(format!("{TRACING}/trace")).map_err(|e| e.to_string())?);
    for (_, pid) in tasks {
        end(pid)?;
    }
    sys::wait(filler).map(|_| ())
}
