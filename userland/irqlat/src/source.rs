//! Where samples come from, and what the machine says of itself.
use std::fs::File;
use std::io::{Error, Read, Write};

/// Stamps in nanoseconds of the generic counter: due, handler, woken, resumed, EL0.
pub type Stamps = [u64; 5];

/// Gives samples: the stamps, and how many periods were missed before.
pub trait Source {
    /// Waits for the next one.
    fn next(&mut self) -> Result<(Stamps, u64), String>;
}

/// The generic counter and its frequency. The `isb` keeps it from being read early.
#[cfg(target_arch = "aarch64")]
fn counter() -> (u64, u64) {
    let (count, frequency): (u64, u64);
    // SAFETY: both registers may be read at EL0 (Linux sets CNTKCTL_EL1.EL0VCTEN) and reading changes nothing.
    unsafe {
        std::arch::asm!("isb", "mrs {}, cntvct_el0", "mrs {}, cntfrq_el0", out(reg) count, out(reg) frequency, options(nostack));
    }
    (count, frequency)
}

/// Elsewhere only the histograms are tested.
#[cfg(not(target_arch = "aarch64"))]
fn counter() -> (u64, u64) {
    (0, 1)
}

fn nanos(ticks: u64, frequency: u64) -> u64 {
    (u128::from(ticks) * 1_000_000_000 / u128::from(frequency.max(1))) as u64
}

/// Nanoseconds that a look at the counter takes.
pub fn overhead() -> u64 {
    let (first, _) = counter();
    (0..998).for_each(|_| _ = counter());
    let (last, frequency) = counter();
    nanos(last.wrapping_sub(first), frequency) / 999
}

/// `/dev/irqlat`.
pub struct Device(File);

impl Device {
    /// Starts a measurement with this period in nanoseconds.
    pub fn open(interval: u64) -> Result<Device, String> {
        let path = "/dev/irqlat";
        let mut file = File::options().read(true).write(true).open(path).map_err(|e| format!("{path}: {e} (--timer runs without it)"))?;
        file.write_all(&interval.to_ne_bytes()).map_err(|e| format!("a period of {interval} ns: {e}"))?;
        Ok(Device(file))
    }
}

impl Source for Device {
    fn next(&mut self) -> Result<(Stamps, u64), String> {
        let mut bytes = [0; 56];
        let n = self.0.read(&mut bytes).map_err(|e| format!("/dev/irqlat: {e}"))?;
        let (el0, frequency) = counter();
        if n != bytes.len() {
            return Err(format!("/dev/irqlat: {n} bytes"));
        }
        let mut words = [0u64; 7];
        for (word, chunk) in words.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = u64::from_ne_bytes(chunk.try_into().unwrap_or_default());
        }
        let [due, handler, woken, resumed, _cpu, missed, _sequence] = words;
        Ok(([due, handler, woken, resumed, el0].map(|t| nanos(t, frequency)), missed))
    }
}

/// clock_nanosleep(2) on an absolute schedule: what cyclictest measures.
pub struct Sleeper {
    interval: u64,
    due: u64,
}

fn monotonic() -> u64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the structure lives through the call.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut t) };
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

impl Sleeper {
    /// With this period in nanoseconds.
    pub fn new(interval: u64) -> Sleeper {
        Sleeper { interval, due: monotonic() + 1_000_000 }
    }
}

impl Source for Sleeper {
    fn next(&mut self) -> Result<(Stamps, u64), String> {
        let t = libc::timespec { tv_sec: (self.due / 1_000_000_000) as libc::time_t, tv_nsec: (self.due % 1_000_000_000) as libc::c_long };
        // SAFETY: the structure lives through the call.
        let error = unsafe { libc::clock_nanosleep(libc::CLOCK_MONOTONIC, libc::TIMER_ABSTIME, &raw const t, std::ptr::null_mut()) };
        let now = monotonic();
        if error != 0 {
            return Err(format!("clock_nanosleep: {}", Error::from_raw_os_error(error)));
        }
        let due = self.due;
        let missed = now.saturating_sub(due) / self.interval.max(1);
        self.due = due + (missed + 1) * self.interval;
        Ok(([due, due, due, due, now], missed))
    }
}

/// The scheduling of this thread: FIFO of that priority (0: as it is), memory locked, one CPU.
pub fn set_up(priority: i32, cpu: Option<usize>) -> Result<(), String> {
    let last = |what: &str| format!("{what}: {}", Error::last_os_error());
    if let Some(cpu) = cpu {
        // SAFETY: a zeroed set is an empty one; the calls are given its size.
        let bad = unsafe {
            let mut set: libc::cpu_set_t = std::mem::zeroed();
            libc::CPU_SET(cpu, &mut set);
            libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) != 0
        };
        if bad {
            return Err(last("sched_setaffinity"));
        }
    }
    let parameter = libc::sched_param { sched_priority: priority };
    // SAFETY: the structure lives through the call.
    if priority != 0 && unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const parameter) } != 0 {
        return Err(last("sched_setscheduler"));
    }
    // SAFETY: no memory is given away. Without the right to it pages may be faulted in later: noisier, not wrong.
    unsafe { libc::mlockall(libc::MCL_CURRENT | libc::MCL_FUTURE) };
    Ok(())
}

fn read(path: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    Some(text.trim_end_matches(['\0', '\n']).to_string())
}

/// What the machine is: kernel, board, CPU, counter, command line.
pub fn metadata() -> Vec<(&'static str, String)> {
    let mut list = Vec::new();
    for (name, path) in [("kernel", "/proc/sys/kernel/osrelease"), ("version", "/proc/version"), ("cmdline", "/proc/cmdline")] {
        list.extend(read(path).map(|text| (name, text)));
    }
    let cpuinfo = read("/proc/cpuinfo").unwrap_or_default();
    let part = cpuinfo.lines().find_map(|l| l.strip_prefix("CPU part")).map(|l| l.trim_start_matches([' ', '\t', ':']).to_string());
    list.extend(part.map(|part| ("cpu_part", part)));
    list.push(("cpus", cpuinfo.lines().filter(|l| l.starts_with("processor")).count().to_string()));
    list.push(("counter_hz", counter().1.to_string()));
    list
}
