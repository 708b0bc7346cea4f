//! A real-time thread that waits on CPU 0 while CPU 1 could run it at once, because what runs there is less urgent from now on: it must
//! run, whoever keeps its own CPU busy. For two CPUs.
use crate::shares::{Way, clock};
use std::hint::spin_loop;
use std::io::Error;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32};
use std::thread::{sleep, spawn};
use std::time::Duration;

/// A wait that is this long is one for ever: a hog of a more urgent policy does not end by itself. Not longer, as CPU 0 does look around
/// at last, by chance: for a timer that has nothing to do with it.
const FOR_EVER: Duration = Duration::from_secs(2);
const MS: Duration = Duration::from_millis(1);
const THROTTLE: &str = "/proc/sys/kernel/sched_rt_runtime_us";

/// The waiting one does what it waits for from here on.
static GO: AtomicBool = AtomicBool::new(false);
/// It has run.
static RAN: AtomicBool = AtomicBool::new(false);
/// The futex of who waits.
static WORD: AtomicU32 = AtomicU32::new(0);

fn tid() -> i32 {
    // SAFETY: takes nothing.
    unsafe { libc::gettid() }
}

fn pin(tid: i32, cpus: &[usize]) -> Result<(), String> {
    // SAFETY: a set of CPUs that lives through the call.
    let set = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        cpus.iter().for_each(|cpu| libc::CPU_SET(*cpu, &mut set));
        libc::sched_setaffinity(tid, size_of::<libc::cpu_set_t>(), &raw const set)
    };
    if set == 0 { Ok(()) } else { Err(format!("CPUs {cpus:?}: {}", Error::last_os_error())) }
}

fn take(tid: i32, way: Way) -> Result<(), String> {
    match way.take_for(tid) {
        0 => Ok(()),
        error => Err(format!("a policy: {}", Error::from_raw_os_error(error))),
    }
}

fn futex(operation: i32, value: u32) {
    // SAFETY: the word lives for ever; no timeout, no second word.
    unsafe { libc::syscall(libc::SYS_futex, WORD.as_ptr(), operation | libc::FUTEX_PRIVATE_FLAG, value, 0, 0, 0) };
}

/// A thread on this CPU, of this policy; gives its number when it has become so. Then it does `then`.
fn thread(cpu: usize, way: Way, then: impl FnOnce() + Send + 'static) -> Result<i32, String> {
    static READY: AtomicI32 = AtomicI32::new(0);
    READY.store(0, SeqCst);
    spawn(move || {
        let good = pin(0, &[cpu]).and_then(|()| take(0, way)).is_ok();
        READY.store(if good { tid() } else { -1 }, SeqCst);
        then();
    });
    loop {
        match READY.load(SeqCst) {
            0 => sleep(MS),
            -1 => return Err(format!("a thread cannot be what it shall be: {}", Error::last_os_error())),
            tid => return Ok(tid),
        }
    }
}

/// Computes until the process ends.
fn hog() {
    loop {
        spin_loop();
    }
}

/// Says that it has run.
fn run() {
    RAN.store(true, SeqCst);
}

/// Waits until the waiting one has run; between looks this thread sleeps, or does not.
fn has_run(between: impl Fn()) -> bool {
    let end = clock(libc::CLOCK_MONOTONIC) + FOR_EVER.as_nanos() as u64;
    while !RAN.load(SeqCst) && clock(libc::CLOCK_MONOTONIC) < end {
        between();
    }
    RAN.load(SeqCst)
}

/// FIFO 20 waits behind FIFO 90 on CPU 0, and CPU 1 has something of FIFO 50, which becomes one of `way`.
fn lowered(way: Way) -> Result<bool, String> {
    let waits = thread(0, Way::Fifo(20), || {
        while !GO.load(SeqCst) {
            sleep(MS);
        }
        run();
    })?;
    let there = thread(1, Way::Fifo(50), hog)?;
    thread(0, Way::Fifo(90), hog)?;
    GO.store(true, SeqCst);
    // It wakes, and gets no CPU.
    sleep(50 * MS);
    pin(waits, &[0, 1])?;
    sleep(50 * MS);
    if RAN.load(SeqCst) {
        return Err("FIFO 20 has run beside FIFO 90 and FIFO 50".to_string());
    }
    take(there, way)?;
    Ok(has_run(|| sleep(MS)))
}

/// FIFO 50 is woken on CPU 0, which is busy with this thread and so takes in nobody; then FIFO 60 leaves CPU 1 to a fair one.
fn left() -> Result<bool, String> {
    thread(1, Way::Nice(0), hog)?;
    thread(1, Way::Fifo(60), || {
        while !GO.load(SeqCst) {
            spin_loop();
        }
        sleep(10 * FOR_EVER);
    })?;
    let waits = thread(0, Way::Fifo(50), || {
        while WORD.load(SeqCst) == 0 {
            futex(libc::FUTEX_WAIT, 0);
        }
        run();
    })?;
    // It sleeps.
    sleep(100 * MS);
    pin(waits, &[0, 1])?;
    sleep(100 * MS);
    WORD.store(1, SeqCst);
    futex(libc::FUTEX_WAKE, 1);
    let until = clock(libc::CLOCK_MONOTONIC) + (100 * MS).as_nanos() as u64;
    while clock(libc::CLOCK_MONOTONIC) < until {}
    if RAN.load(SeqCst) {
        return Err("FIFO 50 has run beside FIFO 95 and FIFO 60".to_string());
    }
    GO.store(true, SeqCst);
    Ok(has_run(spin_loop))
}

/// What runs on the other CPU becomes `low` or `fair`, or `leaves`. Fails if the one that waits does not run then.
pub fn run_beside(what: &str) -> Result<(), String> {
    // On one CPU nobody would ever come by the thread that keeps it busy.
    if std::thread::available_parallelism().is_ok_and(|n| n.get() < 2) {
        return Err("two CPUs are needed".to_string());
    }
    let before = std::fs::read_to_string(THROTTLE).map_err(|e| format!("{THROTTLE}: {e}"))?;
    // What takes turns with fair tasks is not kept off its CPU for ever.
    std::fs::write(THROTTLE, "-1").map_err(|e| format!("{THROTTLE}: {e}"))?;
    pin(0, &[0])?;
    take(0, Way::Fifo(95))?;
    let ran = match what {
        "low" => lowered(Way::Fifo(10)),
        "fair" => lowered(Way::Nice(0)),
        "leaves" => left(),
        _ => Err("which change? low, fair, leaves".to_string()),
    };
    drop(std::fs::write(THROTTLE, before.trim()));
    if ran? { Ok(()) } else { Err(format!("{what}: has waited {} s for a CPU that something less urgent has", FOR_EVER.as_secs())) }
}
