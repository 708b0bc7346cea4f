//! Deferrable timers: they do not wake an idle CPU, and run when it next does something, or in time when it is busy.
#![cfg(not(loom))]

#[path = "common/interrupt.rs"]
mod interrupt;
#[path = "common/patience.rs"]
mod patience;

use interrupt::interrupt;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::Duration;
use vigil_executor::arch;
use vigil_executor::class::Params;
use vigil_executor::coarse::{CoarseTimer, Kind, TICK};
use vigil_executor::context::Context;
use vigil_executor::cpu::{ACTIVE, CpuId, CpuMask, ONLINE, local, local_of};
use vigil_executor::executor::{self, YieldKind, yield_now};
use vigil_executor::platform::{self, Platform};
use vigil_executor::sync::rcu;
use vigil_executor::task::Spawned;
use vigil_executor::time::now;
use vigil_executor::{softirq, timer};

const CPU: usize = 0;

/// A machine of one CPU whose idle loop waits for its comparator or for somebody who sends it an interrupt.
struct Machine {
    comparator: AtomicU64,
    sent: AtomicBool,
    /// How often the comparator has ended a wait.
    ended: AtomicU32,
}

static MACHINE: Machine = Machine { comparator: AtomicU64::new(u64::MAX), sent: AtomicBool::new(false), ended: AtomicU32::new(0) };

impl Platform for Machine {
    fn send_reschedule(&self, _: CpuId) {
        self.sent.store(true, SeqCst);
    }
    fn send_reschedule_mask(&self, _: CpuMask) {
        self.sent.store(true, SeqCst);
    }
    fn program_timer(&self, count: u64) {
        self.comparator.store(count, SeqCst);
    }
    fn alloc_stack(&self) -> Option<std::ptr::NonNull<Context>> {
        None
    }
    fn raise_rcu(&self, _: CpuMask) {
        rcu::softirq();
    }
    fn take_interrupt(&self) {
        loop {
            if arch::counter() >= self.comparator.load(SeqCst) {
                self.ended.fetch_add(1, SeqCst);
                return interrupt(|| _ = timer::interrupt(now()));
            }
            if self.sent.swap(false, SeqCst) {
                return interrupt(|| ());
            }
            // The loop has not waited.
            if local().pending.softirqs() != 0 {
                return;
            }
            thread::sleep(Duration::from_micros(200));
        }
    }
}

fn spawn(future: impl Future<Output = ()> + Send + 'static) {
    drop(Spawned::new(future, Params::DEFAULT, b"test", None, std::ptr::null()).unwrap().start());
    // Also when the CPU is about to idle: it would not wait.
    MACHINE.sent.store(true, SeqCst);
}

fn until(done: impl Fn() -> bool) -> bool {
    patience::until(done, || thread::sleep(Duration::from_millis(1)))
}

#[test]
fn a_deferrable_timer_wakes_no_idle_cpu_and_runs_when_it_wakes() {
    static RUNS: AtomicU32 = AtomicU32::new(0);
    static STARTED: AtomicBool = AtomicBool::new(false);
    static LATER: CoarseTimer = CoarseTimer::new(|_| _ = RUNS.fetch_add(1, SeqCst), Kind::DEFERRABLE);
    platform::set(&MACHINE);
    softirq::init();
    let cpu = CpuId::new(CPU).unwrap();
    thread::spawn(move || {
        // SAFETY: one thread per CPU.
        unsafe { arch::set_cpu_local(local_of(cpu)) };
        let _ = arch::irq_save();
        rcu::idle_exit(cpu);
        ONLINE.insert(cpu);
        ACTIVE.insert(cpu);
        executor::run()
    });
    assert!(until(|| ACTIVE.load().contains(cpu)));
    // SAFETY: no executor runs as CPU 7; this thread does not use per-CPU state that it could corrupt.
    unsafe { arch::set_cpu_local(local_of(CpuId::new(7).unwrap())) };

    spawn(async {
        Pin::static_ref(&LATER).start(5 * TICK);
        STARTED.store(true, SeqCst);
    });
    assert!(until(|| STARTED.load(SeqCst)));
    thread::sleep(Duration::from_millis(300));
    assert_eq!((RUNS.load(SeqCst), MACHINE.ended.load(SeqCst)), (0, 0), "the CPU idles");
    spawn(async {});
    assert!(until(|| RUNS.load(SeqCst) == 1), "it was woken for something else");

    // A busy CPU, which takes its interrupts.
    static DONE: AtomicBool = AtomicBool::new(false);
    spawn(async {
        Pin::static_ref(&LATER).start(5 * TICK);
        let begun = now();
        while RUNS.load(SeqCst) == 1 && now() - begun < 10_000_000_000 {
            if arch::counter() >= MACHINE.comparator.load(SeqCst) {
                interrupt(|| _ = timer::interrupt(now()));
            }
            yield_now(YieldKind::Yield).await;
        }
        DONE.store(true, SeqCst);
    });
    assert!(until(|| DONE.load(SeqCst)));
    assert_eq!(RUNS.load(SeqCst), 2, "it ran in time, without an end of the work");
}
