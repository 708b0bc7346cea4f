//! The counter, the process's scheduling, and small wrappers with errors as values.
use core::arch::asm;

/// The virtual counter in nanoseconds. The `isb` keeps it from being read early.
pub fn now_ns() -> u64 {
    let (count, frequency): (u64, u64);
    // SAFETY: CNTVCT_EL0 and CNTFRQ_EL0 may be read at EL0 (Linux sets CNTKCTL_EL1.EL0VCTEN) and reading changes nothing.
    unsafe {
        asm!("isb", "mrs {}, cntvct_el0", "mrs {}, cntfrq_el0", out(reg) count, out(reg) frequency, options(nostack));
    }
    (u128::from(count) * 1_000_000_000 / u128::from(frequency.max(1))) as u64
}

/// FIFO 50, so that nothing else runs in between, and timers without slack. Where that is not allowed the figures are merely noisier.
pub fn set_up() {
    let priority = libc::sched_param { sched_priority: 50 };
    // SAFETY: the structure lives through the call.
    unsafe {
        libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const priority);
        libc::prctl(libc::PR_SET_TIMERSLACK, 1, 0, 0, 0);
    }
}

/// Turns C's -1 into an error that says what was tried.
pub fn ok(result: libc::c_int, what: &'static str) -> Result<libc::c_int, &'static str> {
    if result < 0 { Err(what) } else { Ok(result) }
}

/// A pipe: (reading end, writing end). Closed when dropped.
pub struct Pipe(pub libc::c_int, pub libc::c_int);

impl Pipe {
    /// `pipe`.
    pub fn new() -> Result<Pipe, &'static str> {
        let mut fds = [0; 2];
        // SAFETY: the array has room for two descriptors.
        ok(unsafe { libc::pipe(fds.as_mut_ptr()) }, "pipe")?;
        Ok(Pipe(fds[0], fds[1]))
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        // SAFETY: both are ours.
        unsafe {
            libc::close(self.0);
            libc::close(self.1);
        }
    }
}

/// Writes, then reads, one byte.
pub fn write_byte(fd: libc::c_int) -> bool {
    // SAFETY: one byte is there.
    unsafe { libc::write(fd, c"x".as_ptr().cast(), 1) == 1 }
}

/// Reads one byte.
pub fn read_byte(fd: libc::c_int) -> bool {
    let mut byte = 0u8;
    // SAFETY: there is room for one byte.
    unsafe { libc::read(fd, (&raw mut byte).cast(), 1) == 1 }
}

/// Waits for a child and checks that it ended with status 0.
pub fn wait_for(pid: libc::pid_t) -> bool {
    let mut status = 0;
    // SAFETY: the status word lives through the call.
    let waited = unsafe { libc::waitpid(pid, &raw mut status, 0) };
    waited == pid && status == 0
}
