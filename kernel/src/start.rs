//! From a booted CPU to its executor loop.
//!
//! The boot CPU: interrupts, clocks, the first tasks, the other CPUs, its loop. The first process is made by a task, like
//! everything that may wait. Each other CPU: its own interrupts and clock, then its loop.

use crate::arch::aarch64::{features, fpsimd, smp as bringup, switch, uaccess};
use crate::boot::BootInfo;
use crate::debug::{panic, report};
use crate::{irq, platform, pr_err, pr_info, random, task, time};
use vigil_drivers::dt::{NO_CLUSTER, Tree, cpu_capacities, cpu_map};
use vigil_executor::balance::{self, topology::Place};
use vigil_executor::class::Params;
use vigil_executor::context::StackKind;
use vigil_executor::cpu::CpuId;
use vigil_executor::executor;
use vigil_executor::softirq;
use vigil_executor::task::Spawned;

/// Where the boot code ends: memory works, interrupts are masked, one CPU. Does not return.
pub fn kernel_main(info: &'static BootInfo) -> ! {
    vigil_executor::time::init(vigil_executor::arch::counter_frequency(), crate::debug::printk::epoch());
    if let Some(seed) = &info.rng_seed {
        random::add_entropy(seed);
    }
    random::add_entropy(&vigil_executor::arch::counter().to_le_bytes());
    softirq::init();
    platform::init();
    panic::set_stop_others(crate::smp::stop_others);
    #[cfg(debug_assertions)]
    crate::debug::lockdep::init();
    panic::set_dump_task(task::dead::dump_current);
    report::set_kill_current(task::dead::kill_current);
    if let Err(e) = crate::mm::init() {
        pr_err!("mm: {}", e.name());
    }
    vigil_mem::buf::uaccess::set_tagged_addr_hook(crate::syscall::prctl::takes_tagged_addresses);
    start_devices(info);
    time::clock::update_vdso();
    let cpus = info.cpus().count();
    (0..cpus).filter_map(CpuId::new).for_each(crate::smp::init_cpu);
    start_cpu(CpuId::BOOT, cpus);
    let started = bringup::start_secondaries(info, info.params.maxcpus.map_or(usize::MAX, |n| n as usize));
    pr_info!("smp: Brought up 1 node, {} CPUs", started + 1);
    if task::rcu::start(info).is_err() {
        panic!("no memory for the tasks of RCU");
    }
    #[cfg(feature = "selftest")]
    if crate::selftest::start(info) {
        leave_boot_stack()
    }
    let made = time::itimer::start()
        .and_then(|()| crate::mm::kswapd::start())
        .and_then(|()| crate::hotplug::start())
        .and_then(|()| Spawned::new(task::init::start(info), Params::DEFAULT, b"init", None, core::ptr::null()));
    match made {
        Ok(first) => drop(first.start()),
        Err(_) => panic!("no memory for the first task"),
    }
    leave_boot_stack()
}

/// Enters the loop on a fresh stack: the frames of the boot stay on the stack that they are on, which is not used again.
fn leave_boot_stack() -> ! {
    extern "C" fn entry() -> ! {
        executor::run()
    }
    let Some(stack) = platform::alloc_stack(StackKind::Cpu) else { panic!("no memory for a kernel stack") };
    let mut left = 0;
    // SAFETY: interrupts are masked; the stack is fresh, and nothing returns to this one.
    unsafe {
        let sp = switch::vigil_fresh_stack(stack.as_ptr() as usize, entry as *const () as usize);
        switch::vigil_switch_stack(&mut left, sp);
    }
    unreachable!("the boot stack was entered again")
}

/// Interrupt controller, comparator, and the devices of the tree.
fn start_devices(info: &BootInfo) {
    let tree = match Tree::unflatten(&info.dtb) {
        Ok(tree) => tree,
        Err(e) => panic!("the device tree cannot be read: {e:?}"),
    };
    for (i, cpu) in info.cpus().enumerate() {
        if let Some(id) = CpuId::new(i) {
            vigil_drivers::irqchip::set_cpu_mpidr(id, cpu.mpidr);
            // Without a map all are cores of one package.
            balance::set_place(id, Place { core: i as u16, cluster: NO_CLUSTER, ..Place::default() });
        }
    }
    let by_mpidr = |mpidr: u64| info.cpus().position(|cpu| cpu.mpidr == mpidr).and_then(CpuId::new);
    cpu_map(&tree, |mpidr, place| {
        if let Some(id) = by_mpidr(mpidr) {
            balance::set_place(id, place);
        }
    });
    cpu_capacities(&tree, |mpidr, capacity| {
        if let Some(id) = by_mpidr(mpidr) {
            balance::set_capacity(id, capacity);
        }
    });
    vigil_executor::work::set_possible_cpus(info.cpus().count() as u32);
    vigil_executor::work::set_unbound_cpus(crate::boot::info::unbound_work_cpus());
    vigil_executor::coarse::set_cpus(crate::boot::info::kthread_cpus());
    if let Err(e) = irq::init(&tree) {
        panic!("no usable interrupt controller or timer: {}", e.name());
    }
    crate::dev::probe(&tree);
}

/// What each CPU does for itself whenever it starts. Interrupts masked.
fn init_this_cpu() {
    fpsimd::init_cpu();
    if features::has_pan() {
        uaccess::set_has_pan();
    }
    crate::mm::cpu_init();
}

/// What each CPU does for itself before its loop. Interrupts masked.
fn start_cpu(cpu: CpuId, cpus: usize) {
    init_this_cpu();
    executor::init_cpu(cpus);
    if !platform::fill_stack_pool(cpu) {
        pr_err!("CPU{}: fewer spare stacks than wanted", cpu.index());
    }
    if softirq::start_ksoftirqd(cpu).is_err() || executor::start_stopper(cpu).is_err() {
        pr_err!("CPU{}: no memory for its tasks", cpu.index());
    }
    executor::come_online(cpu);
    crate::hotplug::activate(cpu);
}

/// Where a CPU comes to that starts for the first time. Interrupts masked, its own stack. Does not return.
pub fn secondary_main(cpu: CpuId) -> ! {
    irq::init_cpu();
    start_cpu(cpu, crate::boot::info::get().map_or(1, |i| i.cpus().count()));
    bringup::report(cpu);
    executor::run()
}

/// What a CPU does that starts again. Interrupts masked.
pub fn secondary_again() {
    irq::init_cpu();
    init_this_cpu();
}
