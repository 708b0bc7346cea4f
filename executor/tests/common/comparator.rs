//! CPUs for tests of timers: each test is the interrupt controller of one, and calls `interrupt` itself.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};
use vigil_executor::arch;
use vigil_executor::context::{Context, HARDIRQ_OFFSET};
use vigil_executor::cpu::{CpuId, CpuMask, local_of};
use vigil_executor::platform::{self, Platform};
use vigil_executor::time::{MSEC, Nanos, now};
use vigil_executor::timer;

/// Notes what the comparator was programmed to, per CPU.
pub struct Comparator {
    value: [AtomicU64; 8],
    pub writes: AtomicU32,
}

/// What stands in a comparator that waits for nothing.
pub const NEVER: u64 = i64::MAX as u64;

pub static COMPARATOR: Comparator = Comparator { value: [const { AtomicU64::new(NEVER) }; 8], writes: AtomicU32::new(0) };

impl Platform for Comparator {
    fn send_reschedule(&self, _cpu: CpuId) {}
    fn send_reschedule_mask(&self, _mask: CpuMask) {}
    fn program_timer(&self, deadline: u64) {
        assert!(arch::irqs_disabled(), "the comparator is programmed with interrupts masked");
        self.value[CpuId::current().index()].store(deadline, SeqCst);
        self.writes.fetch_add(1, SeqCst);
    }
    fn alloc_stack(&self) -> Option<std::ptr::NonNull<Context>> {
        None
    }
    fn raise_rcu(&self, _: CpuMask) {
        vigil_executor::sync::rcu::softirq();
    }
}

/// Each test is a CPU of its own for as long as it runs.
pub struct Cpu(usize);
static CPUS: Mutex<Vec<usize>> = Mutex::new(Vec::new());
static NEXT: AtomicU32 = AtomicU32::new(0);

impl Cpu {
    pub fn take() -> Cpu {
        platform::set(&COMPARATOR);
        let n = CPUS.lock().unwrap().pop().unwrap_or_else(|| NEXT.fetch_add(1, SeqCst) as usize);
        // SAFETY: the number is this thread's until the value drops.
        unsafe { arch::set_cpu_local(local_of(CpuId::new(n).unwrap())) };
        // What an earlier test cancelled stays in the comparator until it is written again.
        arch::without_irqs(timer::reprogram);
        Cpu(n)
    }

    pub fn comparator(&self) -> Nanos {
        COMPARATOR.value[self.0].load(SeqCst)
    }

    pub fn interrupt(&self, at: Nanos) -> bool {
        let irq = arch::irq_save();
        Context::here().add(HARDIRQ_OFFSET);
        let slice = timer::interrupt(at);
        Context::here().sub(HARDIRQ_OFFSET);
        arch::irq_restore(irq);
        slice
    }
}

impl Drop for Cpu {
    fn drop(&mut self) {
        CPUS.lock().unwrap().push(self.0);
    }
}

/// An hour from now: nothing of it comes due during a test by itself.
pub fn later() -> Nanos {
    now() + 3_600_000 * MSEC
}
