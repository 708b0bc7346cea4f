//! The counter, and wake-up latency as cyclictest measures it.
use std::arch::asm;

/// The virtual counter in nanoseconds; under QEMU it starts with the machine.
pub fn now_ns() -> u64 {
    let (count, frequency): (u64, u64);
    // SAFETY: both registers may be read at EL0 and reading changes nothing.
    unsafe {
        asm!("isb", "mrs {}, cntvct_el0", "mrs {}, cntfrq_el0", out(reg) count, out(reg) frequency, options(nostack));
    }
    (u128::from(count) * 1_000_000_000 / u128::from(frequency.max(1))) as u64
}

fn monotonic_ns() -> i64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the structure lives through the call.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut t) };
    t.tv_sec * 1_000_000_000 + t.tv_nsec
}

/// Sleeps to absolute points of time 1 ms apart at FIFO 95 and prints how late it woke: `avg_ns`, `p99_ns`, `max_ns`.
pub fn cyclic(count: u32) -> Result<(), String> {
    const PERIOD: i64 = 1_000_000;
    let priority = libc::sched_param { sched_priority: 95 };
    // SAFETY: the structure lives through the call; mlockall takes an integer.
    let set = unsafe {
        libc::mlockall(libc::MCL_CURRENT | libc::MCL_FUTURE);
        libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const priority)
    };
    if set != 0 {
        return Err(format!("SCHED_FIFO 95: {}", std::io::Error::last_os_error()));
    }
    let mut late = Vec::with_capacity(count as usize);
    let mut next = monotonic_ns() + 10 * PERIOD;
    for _ in 0..count {
        let until = libc::timespec { tv_sec: next / 1_000_000_000, tv_nsec: next % 1_000_000_000 };
        // SAFETY: the structure lives through the call.
        let slept = unsafe { libc::clock_nanosleep(libc::CLOCK_MONOTONIC, libc::TIMER_ABSTIME, &raw const until, std::ptr::null_mut()) };
        let now = monotonic_ns();
        if slept != 0 || now < next {
            return Err(format!("clock_nanosleep: error {slept}, {} ns early", next - now));
        }
        late.push(now - next);
        next += PERIOD;
    }
    late.sort_unstable();
    let last = late.len().saturating_sub(1);
    let at = |i: usize| late.get(i).copied().unwrap_or(0);
    println!("avg_ns {}", late.iter().sum::<i64>() / i64::from(count.max(1)));
    println!("p99_ns {}", at(last * 99 / 100));
    println!("max_ns {}", at(last));
    Ok(())
}
