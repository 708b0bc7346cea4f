//! `/dev/irqlat`: how long it takes from a timer's due time to a program, in stages, measured where they are passed.
//!
//! A program sets a period by writing it (8 bytes, native order, in nanoseconds of 10 µs to 10 s; 0 ends the measurement), and
//! each read(2) waits for the next sample ([`Sample`]). The schedule is absolute: a period that nobody read in time, or that
//! passed while interrupts were masked, is counted as missed in the next sample and never moves the ones after it, so that slow
//! answers are not left out (no coordinated omission).
//!
//! ```text
//!   due ──────► vector ────► acked ───────► woken ────► polled ─────► read ──► EL0
//!   comparator  the CPU has  the line is    read's      the executor           the program reads CNTVCT_EL0 after
//!               saved x0,x1  known          task is     begins its             the system call
//!                                           queued      poll
//! ```
//!
//! Stamps are values of the generic counter, which the program reads as well. Those at the vector, behind the acknowledge and at the
//! poll's beginning are the CPU's ([`KEY_STAMPS`](vigil_executor::trace::KEY_STAMPS)), taken while somebody measures; where an
//! interrupt or poll had begun before the one in question was due, its stage is empty. What a late sample is to be blamed on is
//! noted by [`blame`].

use crate::trace::{self, blame};
use core::mem::offset_of;
use core::pin::Pin;
use core::sync::atomic::{
    AtomicBool, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use vigil_abi::Errno;
use vigil_abi::poll::POLLIN;
use vigil_abi::stat::S_IFCHR;
use vigil_executor::arch::{self, counter};
use vigil_executor::cpu::{CpuId, local};
use vigil_executor::lock_class;
use vigil_executor::sync::SpinLock;
use vigil_executor::task::current;
use vigil_executor::time::{MSEC, Nanos, SEC, USEC, nanos_to_counter, now};
use vigil_executor::timer::Timer;
use vigil_executor::wait::WaitQueue;
use vigil_fs::dev::{chrdev, devtmpfs};
use vigil_fs::{File, FileOps, Inode, OpResult, Opened, PollEvents, PollTable, Stop};
use vigil_mem::{IoBuf, IoBufMut, KArc, unsize};

/// Major number of miscellaneous devices (Linux: MISC_MAJOR).
const MAJOR: u32 = 10;
/// In the range that Linux leaves to local use (Documentation/admin-guide/devices.txt: 240 to 254).
const MINOR: u32 = 240;
/// The shortest period.
const SHORTEST: Nanos = 10 * USEC;
/// The longest.
const LONGEST: Nanos = 10 * SEC;
/// From the start to the first expiry: time for the program to read.
const LEAD: Nanos = MSEC;

/// What a read gives: nine words in native order, the first five counter values.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Sample {
    /// When the timer should have expired.
    due: u64,
    /// When the interrupt's vector was entered.
    vector: u64,
    /// When it had been acknowledged.
    acked: u64,
    /// When the reader's wake was done.
    woken: u64,
    /// When the reader's poll began.
    polled: u64,
    /// The CPU of the interrupt.
    cpu: u64,
    /// Periods between the sample before and this one that gave none.
    missed: u64,
    /// Counts samples.
    sequence: u64,
    /// The reader's priority as /proc/PID/stat has it, plus 100: 99 is deadline, 100 to 199 real-time, from 200 on fair.
    class: u64,
}

const SAMPLE: usize = size_of::<Sample>();

impl Sample {
    fn bytes(&self) -> [u8; SAMPLE] {
        let words = [self.due, self.vector, self.acked, self.woken, self.polled, self.cpu, self.missed, self.sequence, self.class];
        let mut bytes = [0; SAMPLE];
        for (to, word) in bytes.chunks_exact_mut(8).zip(words) {
            to.copy_from_slice(&word.to_ne_bytes());
        }
        bytes
    }
}

#[derive(Default)]
struct State {
    period: Nanos,
    /// When the timer expires next.
    due: Nanos,
    /// The sample that waits to be read; its sequence number is 0 if there is none.
    sample: Sample,
    /// When that was due.
    asked: Nanos,
    taken: u64,
    missed: u64,
}

/// A measurement: what one open(2) got.
struct IrqLat {
    timer: Timer,
    state: SpinLock<State>,
    /// When the reader of `State::sample` had been woken; 0 while its interrupt is at it.
    woken: AtomicU64,
    wait: WaitQueue,
    /// Whether it wants the stamps.
    stamping: AtomicBool,
}

/// Hard interrupt: the time has come.
fn fired(timer: &Timer) {
    let (vector, acked) = (local().vector_at.load(Relaxed), local().acked_at.load(Relaxed));
    // SAFETY: every `Timer` with this function is the field of an `IrqLat`, whose drop cancels it.
    let this = unsafe { &*core::ptr::from_ref(timer).byte_sub(offset_of!(IrqLat, timer)).cast::<IrqLat>() };
    let fresh = {
        let mut state = this.state.lock_irq();
        if state.period == 0 {
            return;
        }
        let (due, period) = (state.due, state.period);
        let fresh = state.sample.sequence == 0;
        if fresh {
            state.taken += 1;
            let missed = core::mem::take(&mut state.missed);
            let (at, cpu) = (nanos_to_counter(due), CpuId::current().index() as u64);
            // Before the stamp, the interrupt that this is in had begun already.
            let vector = vector.max(at);
            let acked = acked.max(vector);
            state.sample = Sample { due: at, vector, acked, cpu, missed, sequence: state.taken, ..Sample::default() };
            state.asked = due;
            this.woken.store(0, Relaxed);
        } else {
            // The one before has not been read.
            state.missed += 1;
        }
        state.due = due.saturating_add(period);
        let t = now();
        if t >= state.due {
            // Periods that have passed meanwhile are missed, not moved.
            let late = (t - due) / period;
            state.missed += late;
            state.due = due.saturating_add(period.saturating_mul(late + 1));
        }
        this.timer().start(state.due, 0);
        fresh
    };
    this.wait.wake(POLLIN, 0);
    if fresh {
        this.woken.store(counter(), Release);
    }
}

impl IrqLat {
    fn timer(&self) -> Pin<&Timer> {
        // SAFETY: an `IrqLat` is made in a `KArc` and never moves.
        unsafe { Pin::new_unchecked(&self.timer) }
    }

    /// Wants the stamps of interrupts, or no longer. ENOMEM; EBUSY while a CPU comes or goes.
    fn stamp(&self, on: bool) -> Result<(), Errno> {
        if self.stamping.swap(on, Relaxed) != on
            && let Err(e) = trace::stamp(on)
        {
            self.stamping.store(!on, Relaxed);
            return Err(e);
        }
        Ok(())
    }

    fn set(&self, period: Nanos) -> Result<(), Errno> {
        // Nothing starts it any more once this is 0 and its function is not running.
        self.state.lock_irq().period = 0;
        self.timer.cancel();
        self.stamp(period != 0)?;
        let mut state = self.state.lock_irq();
        *state = State { period, due: now().saturating_add(LEAD), ..State::default() };
        if period != 0 {
            self.timer().start(state.due, 0);
        }
        Ok(())
    }
}

impl Drop for IrqLat {
    fn drop(&mut self) {
        self.state.lock_irq().period = 0;
        self.timer.cancel();
        // If a CPU comes or goes the stamps stay on, until the next measurement ends.
        let _ = self.stamp(false);
    }
}

impl FileOps for IrqLat {
    /// The next sample. EAGAIN: it has not come and the file does not wait. EINVAL: the buffer is too small, or there is no
    /// measurement.
    fn read<'a>(&'a self, file: &'a File, buf: &mut IoBufMut<'_>, _: &mut u64) -> OpResult<'a, usize> {
        if buf.remaining() < SAMPLE {
            return Err(Stop::Err(Errno::EINVAL));
        }
        let (mut sample, asked) = {
            let mut state = self.state.lock_irq();
            if state.period == 0 {
                return Err(Stop::Err(Errno::EINVAL));
            }
            if state.sample.sequence == 0 {
                return Err(file.would_block(&self.wait, POLLIN));
            }
            // While it is here an interrupt that makes no new one leaves `woken` alone; the one that made it may still be
            // waking us, on another CPU: some instructions.
            while self.woken.load(Acquire) == 0 {
                arch::relax();
            }
            (core::mem::take(&mut state.sample), state.asked)
        };
        sample.woken = self.woken.load(Relaxed);
        // Masked, so that both are of one CPU. A reader that did not wait was polled before.
        let (polled, cpu) = arch::without_irqs(|| (local().polled_at.load(Relaxed), CpuId::current()));
        sample.polled = polled.max(sample.woken);
        sample.class = current().map_or(0, |task| (i64::from(task.prio()) + 100) as u64);
        blame::sample(asked, cpu, sample.sequence);
        match buf.copy_out(&sample.bytes()) {
            Ok(copied) => Ok(copied),
            Err(fault) => {
                // The reader comes again when its page is there; a sample that came meanwhile counts this one as missed.
                let mut state = self.state.lock_irq();
                if state.sample.sequence == 0 && state.period != 0 {
                    state.sample = sample;
                } else {
                    state.missed += 1;
                }
                Err(fault.into())
            }
        }
    }

    /// The period. EINVAL: not eight bytes, or too short or too long; EBUSY: a CPU comes or goes.
    fn write<'a>(&'a self, _: &'a File, buf: &mut IoBuf<'_>, _: &mut u64) -> OpResult<'a, usize> {
        let mut bytes = [0; 8];
        if buf.remaining() != bytes.len() {
            return Err(Stop::Err(Errno::EINVAL));
        }
        let copied = buf.copy_in(&mut bytes)?;
        let period = u64::from_ne_bytes(bytes);
        if period != 0 && !(SHORTEST..=LONGEST).contains(&period) {
            return Err(Stop::Err(Errno::EINVAL));
        }
        self.set(period)?;
        Ok(copied)
    }

    fn can_poll(&self) -> bool {
        true
    }

    fn poll(&self, _: &File, table: &mut PollTable<'_>) -> PollEvents {
        table.add(&self.wait);
        let state = self.state.lock_irq();
        if state.sample.sequence != 0 { PollEvents::IN | PollEvents::RDNORM } else { PollEvents::empty() }
    }

    fn is_stream(&self) -> bool {
        true
    }
}

fn open(_: &Inode, _: u32) -> Result<Opened, Errno> {
    let state = SpinLock::new(lock_class!("irqlat"), State::default());
    let made = KArc::try_new(IrqLat {
        timer: Timer::new(fired),
        state,
        woken: AtomicU64::new(0),
        wait: WaitQueue::new(),
        stamping: AtomicBool::new(false),
    })?;
    Ok(Opened::Own(unsize!(KArc, made => dyn FileOps)))
}

/// Registers the device, for the superuser: its interrupts come before every task.
pub(super) fn init() -> Result<(), Errno> {
    chrdev::register(MAJOR, MINOR, 1, "irqlat", open)?;
    devtmpfs::device_node("irqlat", S_IFCHR | 0o600, MAJOR, MINOR)?;
    vigil_fs::proc::sys_root()?.subdir("kernel/debug")?.add_file_rw(
        "irqlat_blame",
        0o600,
        |out| blame::show(out),
        |data| {
            let text = core::str::from_utf8(data).map_err(|_| Errno::EINVAL)?;
            blame::arm(text.trim().parse().map_err(|_| Errno::EINVAL)?)
        },
    )
}
