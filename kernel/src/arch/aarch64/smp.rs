//! Starting the other CPUs by PSCI, one after the other.
//!
//! A starting CPU runs `secondary_entry` with its MMU off: it loads [`SecondaryData`] by physical address, turns the MMU on with
//! the identity map of that code, and jumps to `secondary_start` on its own stack, which hands over to
//! `crate::secondary_main`.

use super::features_mitigation::Bhb;
use super::{cache, cpu, features, hardening, mmu, mmu_tlb, psci};
use crate::boot::BootInfo;
use crate::platform::alloc_stack;
use crate::{pr_crit, pr_err, pr_info};
use core::cell::UnsafeCell;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, Ordering::{Acquire, Relaxed, Release}};
use vigil_drivers::dt::early::EnableMethod;
use vigil_executor::arch::{counter, counter_frequency, relax, set_cpu_local};
use vigil_executor::context::{Context, StackKind};
use vigil_executor::cpu::{CpuId, local_of};

/// What a starting CPU loads before its MMU is on; physical reads, so it is cleaned to the point of coherency.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct SecondaryData {
    /// TTBR0: the identity map of the entry code.
    pub ttbr0: u64,
    /// TTBR1: the kernel's tables.
    pub ttbr1: u64,
    /// Virtual address of the first Rust function.
    pub entry: u64,
    /// Its stack pointer.
    pub stack_top: u64,
    /// Its argument: the CPU's logical number.
    pub arg: u64,
}

struct Cell(UnsafeCell<SecondaryData>);

// SAFETY: written by the CPU that starts another one, and read by that one before it reports; never both at a time.
unsafe impl Sync for Cell {}

static DATA: Cell = Cell(UnsafeCell::new(SecondaryData { ttbr0: 0, ttbr1: 0, entry: 0, stack_top: 0, arg: 0 }));
/// Logical number of the last CPU that reported.
static STARTED: AtomicU32 = AtomicU32::new(0);

unsafe extern "C" {
    static secondary_entry: u8;
}

/// Starts every CPU of `info` but the boot CPU; returns how many came. Each gets three stacks from the platform. Called once,
/// by the boot CPU.
///
/// Each CPU arrives in `crate::secondary_main` with interrupts masked. A CPU that does not come within a second stays out,
/// and so do the ones behind it, whose numbers would otherwise have a gap.
pub fn start_secondaries(info: &BootInfo) -> usize {
    let mut started = 0;
    if !mmu::idmap_ready() {
        pr_err!("smp: no identity map, no other CPUs");
        return started;
    }
    for (n, target) in info.cpus().enumerate().skip(1) {
        let Some(id) = CpuId::new(n) else { break };
        let (Some(context), Some(irq), Some(emergency)) =
            (alloc_stack(StackKind::Cpu), alloc_stack(StackKind::Irq), alloc_stack(StackKind::Emergency))
        else {
            pr_err!("CPU{n}: no memory for its stacks");
            break;
        };
        let local = local_of(id);
        local.irq_sp.store(irq.as_ptr() as usize, Relaxed);
        local.emergency_sp.store(emergency.as_ptr() as usize, Relaxed);
        if let Err(why) = start(id, target.mpidr, target.enable, context) {
            pr_err!("CPU{n}: failed to come online: {why}");
            break;
        }
        started += 1;
    }
    started
}

fn start(id: CpuId, mpidr: u64, method: EnableMethod, context: NonNull<Context>) -> Result<(), &'static str> {
    if method != EnableMethod::Psci {
        return Err("its enable-method is not supported");
    }
    let data = DATA.0.get();
    // SAFETY: the CPU started before has reported, so nobody reads the block.
    unsafe {
        data.write(SecondaryData {
            ttbr0: mmu::idmap_root(),
            ttbr1: mmu::kernel_root(),
            entry: secondary_start as *const () as u64,
            stack_top: context.as_ptr() as u64,
            arg: id.index() as u64,
        });
    }
    cache::clean_invalidate_poc(data as usize, size_of::<SecondaryData>());
    let entry = mmu::kimage_to_phys((&raw const secondary_entry) as usize);
    if !psci::cpu_on(mpidr, entry, mmu::kimage_to_phys(data as usize)) {
        return Err("PSCI CPU_ON refused");
    }
    let begin = counter();
    while STARTED.load(Acquire) != id.index() as u32 {
        if counter().wrapping_sub(begin) > counter_frequency() {
            return Err("it did not report within a second");
        }
        relax();
    }
    Ok(())
}

/// The first Rust code of a starting CPU: at the virtual address, exceptions masked, on its own stack.
extern "C" fn secondary_start(cpu_number: u64) -> ! {
    let Some(id) = CpuId::new(cpu_number as usize) else { cpu::park() };
    // SAFETY: the block belongs to this CPU.
    unsafe { set_cpu_local(local_of(id)) };
    cpu::install_vectors(Bhb::None);
    cpu::init_this_cpu();
    // SAFETY: this CPU uses no low address.
    unsafe { mmu_tlb::set_ttbr0(mmu::empty_root()) };
    features::add_cpu(&features::read_this_cpu());
    if let Err(why) = hardening::init_cpu(id) {
        pr_crit!("CPU{cpu_number}: {why}, refused to boot");
        cpu::park();
    }
    pr_info!("CPU{cpu_number}: Booted secondary processor {:#012x} [{:#010x}]", cpu::mpidr(), cpu::midr());
    // The boot CPU may change the block from here on: everything in it was loaded.
    STARTED.store(cpu_number as u32, Release);
    crate::secondary_main(id)
}
