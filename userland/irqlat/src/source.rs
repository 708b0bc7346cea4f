//! Where samples come from.
use std::fs::File;
use std::io::{Error, ErrorKind, Read};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

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
    /// Waits for the next one; none when a signal came that stops the measurement.
    fn next(&mut self) -> Result<Option<Sample>, String>;
}

static STOPPED: AtomicBool = AtomicBool::new(false);

/// Whether a signal has asked for the end.
pub fn is_stopped() -> bool {
    STOPPED.load(Relaxed)
}

extern "C" fn stop(_: libc::c_int) {
    STOPPED.store(true, Relaxed);
}

/// From now on the first of SIGINT and SIGTERM ends a wait and sets [`is_stopped`], the second ends this program.
pub fn stop_by_signals() {
    // SAFETY: a zeroed action is one without flags and mask; the handler does nothing but store.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = stop as *const () as usize;
        action.sa_flags = libc::SA_RESETHAND;
        for signal in [libc::SIGINT, libc::SIGTERM] {
            libc::sigaction(signal, &raw const action, std::ptr::null_mut());
        }
    }
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

/// Pins by the number of their chip and their own there: one that is toggled, and the one that a wire leads to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pins {
    /// Is toggled.
    pub out: [u32; 2],
    /// Its edges are measured.
    pub input: [u32; 2],
}

impl Pins {
    /// `[CHIP:]OUT,[CHIP:]IN`: chip 0 if there is none.
    pub fn parse(text: &str) -> Option<Pins> {
        let pin = |text: &str| {
            let (chip, line) = text.split_once(':').unwrap_or(("0", text));
            Some([chip.parse().ok()?, line.parse().ok()?])
        };
        let (out, input) = text.split_once(',')?;
        Some(Pins { out: pin(out)?, input: pin(input)? })
    }
}

/// IRQLAT_START's argument (`struct irqlat_setup` of Vigil's `kernel/abi/src/irqlat.rs`).
#[repr(C)]
struct Setup {
    source: u32,
    reserved: u32,
    period: u64,
    threshold: u64,
    out: [u32; 2],
    input: [u32; 2],
}

const IRQLAT_START: u32 = 0x4028_be01;

/// `/dev/irqlat`.
pub struct Device(File);

impl Device {
    /// Starts a measurement with this period in nanoseconds, of a timer or of a wire's edges; late samples are blamed from `threshold` on,
    /// if that is not 0.
    pub fn open(interval: u64, pins: Option<Pins>, threshold: u64) -> Result<Device, String> {
        let path = "/dev/irqlat";
        let file = File::options().read(true).write(true).open(path).map_err(|e| format!("{path}: {e} (--timer runs without it)"))?;
        let Pins { out, input } = pins.unwrap_or(Pins { out: [0; 2], input: [0; 2] });
        let setup = Setup { source: pins.is_some().into(), reserved: 0, period: interval, threshold, out, input };
        // SAFETY: the structure lives through the call and is as the request wants it.
        if unsafe { libc::ioctl(file.as_raw_fd(), IRQLAT_START as _, &raw const setup) } != 0 {
            let what = pins.map_or(String::new(), |pins| format!("pins {:?} and {:?}, ", pins.out, pins.input));
            return Err(format!("{what}a period of {interval} ns: {}", Error::last_os_error()));
        }
        let mut ready = libc::pollfd { fd: file.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: the list is as long as it says.
        if pins.is_some() && unsafe { libc::poll(&raw mut ready, 1, (interval / 1_000_000) as i32 + 1000) } != 1 {
            return Err("no edge has come in a second: a wire is needed from the first pin to the second".to_string());
        }
        Ok(Device(file))
    }
}

impl Source for Device {
    fn next(&mut self) -> Result<Option<Sample>, String> {
        let mut bytes = [0; 72];
        let result = self.0.read(&mut bytes);
        let (el0, frequency) = counter();
        let n = match result {
            Ok(n) => n,
            Err(e) if e.kind() == ErrorKind::Interrupted && is_stopped() => return Ok(None),
            Err(e) => return Err(format!("/dev/irqlat: {e}")),
        };
        if n != bytes.len() {
            return Err(format!("/dev/irqlat: {n} bytes"));
        }
        let mut words = [0u64; 9];
        for (word, chunk) in words.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = u64::from_ne_bytes(chunk.try_into().unwrap_or_default());
        }
        let [due, vector, acked, woken, polled, cpu, missed, sequence, _class] = words;
        let stamps = [due, vector, acked, woken, polled, el0].map(|t| nanos(t, frequency));
        Ok(Some(Sample { stamps, missed, cpu, sequence }))
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
    fn next(&mut self) -> Result<Option<Sample>, String> {
        let t = libc::timespec { tv_sec: (self.due / 1_000_000_000) as libc::time_t, tv_nsec: (self.due % 1_000_000_000) as libc::c_long };
        // SAFETY: the structure lives through the call.
        let error = unsafe { libc::clock_nanosleep(libc::CLOCK_MONOTONIC, libc::TIMER_ABSTIME, &raw const t, std::ptr::null_mut()) };
        let now = monotonic();
        if error == libc::EINTR && is_stopped() {
            return Ok(None);
        }
        if error != 0 {
            return Err(format!("clock_nanosleep: {}", Error::from_raw_os_error(error)));
        }
        let due = self.due;
        let missed = now.saturating_sub(due) / self.interval.max(1);
        self.due = due + (missed + 1) * self.interval;
        self.taken += 1;
        Ok(Some(Sample { stamps: [due, due, due, due, due, now], missed, cpu: 0, sequence: self.taken }))
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
        return Err(last(&format!("CPU {cpu}")));
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

#[cfg(test)]
mod tests {
    use super::{Pins, is_stopped, stop_by_signals};

    #[test]
    fn ctrl_c_ends_a_measurement_and_not_the_program() {
        assert!(!is_stopped());
        stop_by_signals();
        // SAFETY: the signal has a handler, which only stores.
        unsafe { libc::raise(libc::SIGINT) };
        assert!(is_stopped());
    }

    #[test]
    fn pins_have_a_chip() {
        assert_eq!(Pins::parse("23,24"), Some(Pins { out: [0, 23], input: [0, 24] }));
        assert_eq!(Pins::parse("1:5,0:5"), Some(Pins { out: [1, 5], input: [0, 5] }));
        assert_eq!([Pins::parse("23"), Pins::parse("x,1"), Pins::parse("1,2,3"), Pins::parse("1:,2")], [None; 4]);
    }
}
