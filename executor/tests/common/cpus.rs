//! Two CPUs of the host that run the real executor loop, and a task on each that stands for the timer interrupt.

use std::sync::Once;
use std::thread;
use std::time::Duration;
use vigil_executor::class::{Params, Policy};
use vigil_executor::context::{Context, HARDIRQ_OFFSET};
use vigil_executor::cpu::{CpuId, CpuMask, ONLINE, local_of};
use vigil_executor::executor::{self, YieldKind, yield_now};
use vigil_executor::platform::{self, Platform};
use vigil_executor::sync::rcu;
use vigil_executor::task::{Hooks, Spawned};
use vigil_executor::time::now;
use vigil_executor::{arch, timer};

struct Host;

impl Platform for Host {
    // The loop of a host CPU looks at its inbox all the time.
    fn send_reschedule(&self, _cpu: CpuId) {}
    fn send_reschedule_mask(&self, _mask: CpuMask) {}
    fn program_timer(&self, _count: u64) {}
    fn alloc_stack(&self) -> Option<std::ptr::NonNull<Context>> {
        None
    }
    fn raise_rcu(&self, _: CpuMask) {
        rcu::softirq();
    }
}

pub fn spawn(name: &str, cpu: Option<usize>, future: impl Future<Output = ()> + Send + 'static) {
    let params = Params { policy: Policy::Normal, nice: 0, rt_priority: 0 };
    let spawned = Spawned::new(future, params, name.as_bytes(), &Hooks::NONE, std::ptr::null()).unwrap();
    if let Some(cpu) = cpu {
        spawned.task().set_affinity(CpuMask::of(CpuId::new(cpu).unwrap()));
    }
    drop(spawned.start());
}

/// Two CPUs that run for as long as the test program.
fn boot() {
    static BOOTED: Once = Once::new();
    BOOTED.call_once(|| {
        platform::set(&Host);
        for n in 0..2 {
            let cpu = CpuId::new(n).unwrap();
            let up = std::sync::Arc::new(std::sync::Barrier::new(2));
            let up2 = up.clone();
            thread::spawn(move || {
                // SAFETY: one thread per CPU.
                unsafe { arch::set_cpu_local(local_of(cpu)) };
                let _ = arch::irq_save();
                rcu::idle_exit(cpu);
                ONLINE.insert(cpu);
                vigil_executor::cpu::ACTIVE.insert(cpu);
                up2.wait();
                executor::run()
            });
            up.wait();
            spawn("tick", Some(n), async {
                loop {
                    let irq = arch::irq_save();
                    Context::here().add(HARDIRQ_OFFSET);
                    timer::interrupt(now());
                    Context::here().sub(HARDIRQ_OFFSET);
                    arch::irq_restore(irq);
                    yield_now(YieldKind::Yield).await;
                }
            });
        }
        // The test threads are none of the CPUs: they use a number of their own.
    });
    // SAFETY: no executor runs as CPU 7; test threads do not use per-CPU state that they could corrupt.
    unsafe { arch::set_cpu_local(local_of(CpuId::new(7).unwrap())) };
}

/// Runs `future` as a task and waits for its end, at most a minute: the CPUs are threads of a host that may be busy.
pub fn run(future: impl Future<Output = ()> + Send + 'static) {
    boot();
    let (tx, rx) = std::sync::mpsc::channel();
    spawn("test", None, async move {
        future.await;
        tx.send(()).unwrap();
    });
    rx.recv_timeout(Duration::from_secs(60)).expect("the task did not end");
}
