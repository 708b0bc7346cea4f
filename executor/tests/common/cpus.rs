//! Two CPUs of the host that run the real executor loop, and a task on each that stands for the timer interrupt.

#[path = "host.rs"]
pub mod host;
#[path = "run_cpu.rs"]
mod run_cpu;

use host::Host;
use run_cpu::{bring_up, run_cpu};
use std::sync::Once;
use std::time::Duration;
use vigil_executor::class::{Params, Policy};
use vigil_executor::context::{Context, HARDIRQ_OFFSET};
use vigil_executor::cpu::{CpuId, CpuMask, local_of};
use vigil_executor::executor::{YieldKind, yield_now};
use vigil_executor::platform;
use vigil_executor::sync::rcu;
use vigil_executor::task::Spawned;
use vigil_executor::time::now;
use vigil_executor::{arch, softirq, timer};

pub fn spawn(name: &str, cpu: Option<usize>, future: impl Future<Output = ()> + Send + 'static) {
    let params = Params { policy: Policy::Normal, nice: 0, rt_priority: 0 };
    let spawned = Spawned::new(future, params, name.as_bytes(), None, std::ptr::null()).unwrap();
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
        softirq::init();
        for n in 0..2 {
            let cpu = CpuId::new(n).unwrap();
            let up = std::sync::Arc::new(std::sync::Barrier::new(2));
            let up2 = up.clone();
            run_cpu(cpu, move || {
                rcu::idle_exit(cpu);
                bring_up(cpu);
                up2.wait();
            });
            up.wait();
            spawn("tick", Some(n), async {
                loop {
                    let irq = arch::irq_save();
                    Context::here().add(HARDIRQ_OFFSET);
                    timer::interrupt(now());
                    Context::here().sub(HARDIRQ_OFFSET);
                    softirq::irq_exit(Context::here());
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
