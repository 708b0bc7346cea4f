//! What a CPU's executor has to see to before it polls again: one word, as every interrupt and each turn of the loop looks at it.
//!
//! | bits | set by | taken by |
//! |---|---|---|
//! | softirqs, by number | whoever raises one, on any CPU | `softirq`, on the CPU itself |
//! | `DUE_*` | interrupts, and other CPUs that want something | the executor, when it asks the classes |
//! | [`REAP`] | whoever drops the last reference of a task | the loop, which frees it |
//! | [`SHORT`] | the stack pool, when what is left is reserved | the loop, when it is not any more |

use core::sync::atomic::{AtomicU32, Ordering::*};

/// Softirqs, a bit each by their number.
const SOFTIRQS: u32 = 0xffff;
/// The slice timer has fired.
pub const DUE_TICK: u32 = 1 << 16;
/// The order of the queue, or where the current task may run, was changed from outside.
pub const DUE_CHOICE: u32 = 2 << 16;
/// Another CPU could take something that waits here.
pub const DUE_SPREAD: u32 = 4 << 16;
/// The current task should go to another CPU.
pub const DUE_SEND: u32 = 8 << 16;
/// It has begun to idle, and the event of coarse timers that do not end that was taken away.
pub const DUE_TIMERS: u32 = 16 << 16;
const DUE: u32 = 0xff << 16;
/// Dead tasks wait to be freed.
pub const REAP: u32 = 1 << 24;
/// Spare stacks may be short.
pub const SHORT: u32 = 2 << 24;

/// The word. Bits are set in any context.
#[derive(Debug)]
pub struct Pending(AtomicU32);

impl Pending {
    /// That of a CPU that has never run: its stacks are still to be counted.
    pub(crate) const fn new() -> Self {
        Pending(AtomicU32::new(SHORT))
    }

    /// All bits; not 0 if there is anything to see to.
    #[inline(always)]
    pub fn any(&self) -> u32 {
        self.0.load(Relaxed)
    }

    /// Sets `bits`. Release: whoever takes them sees what they were set for.
    #[inline(always)]
    pub fn set(&self, bits: u32) {
        self.0.fetch_or(bits, Release);
    }

    /// Takes `bits` back; those that were set.
    #[inline(always)]
    pub fn take(&self, bits: u32) -> u32 {
        self.0.fetch_and(!bits, Acquire) & bits
    }

    /// The softirqs that are pending.
    #[inline(always)]
    pub fn softirqs(&self) -> u32 {
        match self.any() {
            // Nearly always: one test.
            0 => 0,
            bits => bits & SOFTIRQS,
        }
    }

    /// Takes them.
    #[inline(always)]
    pub fn take_softirqs(&self) -> u32 {
        self.take(SOFTIRQS)
    }

    /// What the classes are to be asked (`DUE_*`).
    #[inline(always)]
    pub fn due(&self) -> u32 {
        self.any() & DUE
    }

    /// Takes it.
    #[inline(always)]
    pub fn take_due(&self) -> u32 {
        if self.due() != 0 { self.take(DUE) } else { 0 }
    }
}
