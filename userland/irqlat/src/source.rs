//! Where samples come from.
use std::fs::File;
use std::io::{Error, Read, Write};

/// Stamps in nanoseconds of the generic counter: due, vector, acknowledged, woken, polled, EL0.
pub type Stamps = [u64; 6];

/// A sample.
#[derive(Clone, Copy)]
pub struct Sample {
    /// When it was where.
    pub stamps: Stamps,
    /// How many periods were missed before it.
    pub missed: u64,
    /// The CPU that took the interrupt, where that is known.
    pub cpu: u64,
    /// The number that the kernel gave it.
    pub sequence: u64,
}

/// Gives samples.
pub trait Source {
    /// Waits for the next one.
    fn next(&mut self) -> Result<Sample, String>;
}

/// The generic counter and its frequency. The `isb` keeps it from being read early.
#[cfg(target_arch = "aarch64")]
pub fn counter() -> (u64, u64) {
    let (count, frequency): (u64, u64);
    // SAFETY: both registers may be read at EL0 (Linux sets CNTKCTL_EL1.EL0VCTEN) and reading changes nothing.
    unsafe {
        std::arch::asm!("isb", "mrs {}, cntvct_el0", "mrs {}, cntfrq_el0", out(reg) count, out(reg) frequency, options(nostack));
    }
    (count, frequency)
}

/// Elsewhere only the histograms are tested.
#[cfg(not(target_arch = "aarch64"))]
pub fn counter() -> (u64, u64) {
    (0, 1)
}

/// Nanoseconds of so many ticks.
pub fn nanos(ticks: u64, frequency: u64) -> u64 {
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
    fn next(&mut self) -> Result<Sample, String> {
        let mut bytes = [0; 72];
        let n = self.0.read(&mut bytes).map_err(|e| format!("/dev/irqlat: {e}"))?;
        let (el0, frequency) = counter();
        if n != bytes.len() {
            return Err(format!("/dev/irqlat: {n} bytes"));
        }
        let mut words = [0u64; 9];
        for (word, chunk) in words.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = u64::from_ne_bytes(chunk.try_into().unwrap_or_default());
        }
        let [due, vector, acked, woken, polled, cpu, missed, sequence, _class] = words;
        let stamps = [due, vector, acked, woken, polled, el0].map(|t| nanos(t, frequency));
        Ok(Sample { stamps, missed, cpu, sequence })
    }
}

/// clock_nanosleep(2) on an absolute schedule: what cyclictest measures.
pub struct Sleeper {
    interval: u64,
    due: u64,
    taken: u64,
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
        Sleeper { interval, due: monotonic() + 1_000_000, taken: 0 }
    }
}

impl Source for Sleeper {
    fn next(&mut self) -> Result<Sample, String> {
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
        self.taken += 1;
        Ok(Sample { stamps: [due, due, due, due, due, now], missed, cpu: 0, sequence: self.taken })
    }
}

/// Keeps this thread on one CPU; whether that was possible.
pub fn pin(cpu: usize) -> bool {
    // SAFETY: a zeroed set is an empty one; the calls are given its size.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) == 0
    }
}

/// The scheduling of this thread: FIFO of that priority (0: as it is), memory locked, one CPU.
pub fn set_up(priority: i32, cpu: Option<usize>) -> Result<(), String> {
    let last = |what: &str| format!("{what}: {}", Error::last_os_error());
    if let Some(cpu) = cpu
        && !pin(cpu)
    {
        return Err(last("sched_setaffinity"));
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
