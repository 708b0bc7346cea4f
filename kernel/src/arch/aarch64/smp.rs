//! Starting the other CPUs by PSCI or spin tables, one after the other, and powering them off.
//!
//! A starting CPU runs `secondary_entry` with its MMU off: it loads [`SecondaryData`] by physical address, turns the MMU on with
//! the identity map of that code, and jumps to `secondary_start` on its own stack, which hands over to
//! `crate::secondary_main`. A CPU that was powered off goes on in [`power_off`] instead, where it was.

use super::features_mitigation::Bhb;
use super::{cpu, features, hardening, mmu, mmu_tlb, psci, switch};
use crate::boot::BootInfo;
use crate::platform::alloc_stack;
use crate::{pr_crit, pr_err, pr_info};
use core::cell::UnsafeCell;
use core::sync::atomic::{
    AtomicBool, AtomicU32, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};
use vigil_drivers::dt::early::EnableMethod;
use vigil_drivers::model::clean_invalidate_poc;
use vigil_executor::arch::{counter, counter_frequency, relax, set_cpu_local};
use vigil_executor::context::StackKind;
use vigil_executor::cpu::{CpuId, MAX_CPUS, PerCpu, local_of};
use vigil_mem::memblock::MEMBLOCK;
use vigil_mem::{PhysAddr, phys_to_virt};

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

pub(super) struct Cell(UnsafeCell<SecondaryData>);

// SAFETY: written by the CPU that starts another one, and read by that one before it reports; never both at a time.
unsafe impl Sync for Cell {}

pub(super) static DATA: Cell = Cell(UnsafeCell::new(SecondaryData { ttbr0: 0, ttbr1: 0, entry: 0, stack_top: 0, arg: 0 }));
/// No CPU.
const NONE: u32 = u32::MAX;
/// Logical number of the last CPU that reported.
static STARTED: AtomicU32 = AtomicU32::new(NONE);
/// The stack on which each CPU starts for the first time.
static START_STACKS: PerCpu<AtomicUsize> = PerCpu::new([const { AtomicUsize::new(0) }; MAX_CPUS]);
/// The SP of the flow that each CPU was in when it was powered off; 0: none.
static SUSPENDED: PerCpu<AtomicUsize> = PerCpu::new([const { AtomicUsize::new(0) }; MAX_CPUS]);
/// The CPU has left its stack for good, or till it is started again.
static OFF: PerCpu<AtomicBool> = PerCpu::new([const { AtomicBool::new(false) }; MAX_CPUS]);

unsafe extern "C" {
    static secondary_entry: u8;
    static spin_entry: u8;
}

/// Starts at most `limit` CPUs of `info`, the boot CPU among them; returns how many others came. Called once, by the boot CPU.
///
/// Each CPU arrives in `crate::secondary_main` with interrupts masked. Those that do not come stay out.
pub fn start_secondaries(info: &BootInfo, limit: usize) -> usize {
    let mut started = 0;
    for id in (1..info.cpus().count().min(limit)).filter_map(CpuId::new) {
        let begin = counter();
        let came = launch(id, info).and_then(|()| {
            while !has_started(id) {
                if counter().wrapping_sub(begin) > counter_frequency() {
                    return Err("it did not report within a second");
                }
                relax();
            }
            Ok(())
        });
        match came {
            Ok(()) => started += 1,
            Err(why) => pr_err!("CPU{}: failed to come online: {why}", id.index()),
        }
    }
    started
}

/// Gives CPU `id` what it starts with: three stacks, once.
fn provide_stacks(id: CpuId) -> Result<(), &'static str> {
    let local = local_of(id);
    if local.emergency_sp.load(Relaxed) != 0 {
        return Ok(());
    }
    let (Some(context), Some(irq), Some(emergency)) =
        (alloc_stack(StackKind::Cpu), alloc_stack(StackKind::Irq), alloc_stack(StackKind::Emergency))
    else {
        return Err("no memory for its stacks");
    };
    START_STACKS.of(id).store(context.as_ptr() as usize, Relaxed);
    local.irq_sp.store(irq.as_ptr() as usize, Relaxed);
    local.emergency_sp.store(emergency.as_ptr() as usize, Relaxed);
    Ok(())
}

/// Makes the firmware start CPU `id`, which is not running; [`has_started`] says when it is there. One CPU at a time: the next one
/// when that has been said, or when this one is given up.
pub fn launch(id: CpuId, info: &BootInfo) -> Result<(), &'static str> {
    let Some(target) = info.cpus().nth(id.index()) else { return Err("there is no such CPU") };
    if !mmu::idmap_ready() {
        return Err("no identity map");
    }
    if target.enable == EnableMethod::Unknown {
        return Err("its enable-method is not supported");
    }
    provide_stacks(id)?;
    let suspended = SUSPENDED.of(id).load(Acquire) != 0;
    // One that goes on where it stopped starts on the stack of its interrupts, which are masked.
    let stack = if suspended { local_of(id).irq_sp.load(Relaxed) } else { START_STACKS.of(id).load(Relaxed) };
    STARTED.store(NONE, Relaxed);
    let data = DATA.0.get();
    // SAFETY: the CPU started before has reported, or has been given up, so nobody reads the block.
    unsafe {
        data.write(SecondaryData {
            ttbr0: mmu::idmap_root(),
            ttbr1: mmu::kernel_root(),
            entry: secondary_start as *const () as u64,
            stack_top: stack as u64,
            arg: id.index() as u64,
        });
    }
    clean_invalidate_poc(data as usize, size_of::<SecondaryData>());
    if let Some(word) = target.enable.release_addr() {
        return release(word);
    }
    let entry = mmu::kimage_to_phys((&raw const secondary_entry) as usize);
    if psci::cpu_on(target.mpidr, entry, mmu::kimage_to_phys(data as usize)) { Ok(()) } else { Err("PSCI CPU_ON refused") }
}

/// Lets the CPU go that spins, with its caches off, until the word at `word` is not zero (booting.rst, "spin-table").
fn release(word: u64) -> Result<(), &'static str> {
    let phys = PhysAddr::new(word as usize);
    let in_memory = MEMBLOCK.lock().memory().find(phys.get()).is_some_and(|r| phys.get() + 8 <= r.end());
    if !in_memory || !word.is_multiple_of(8) {
        return Err("its release address is not in memory");
    }
    let at = phys_to_virt(phys).get();
    // SAFETY: the linear map covers the word, which the device tree says is for this; the firmware reserved its page.
    unsafe { (at as *mut u64).write_volatile(mmu::kimage_to_phys((&raw const spin_entry) as usize)) };
    clean_invalidate_poc(at, 8);
    // SAFETY: an event for those who wait; `clean_invalidate_poc` ends with the barrier that it needs before it.
    unsafe { core::arch::asm!("sev", options(nostack, preserves_flags)) };
    Ok(())
}

/// Whether CPU `id` can be powered off, and started again: a spin table knows no way back.
pub fn can_power_off(id: CpuId) -> bool {
    crate::boot::info().and_then(|i| i.cpus().nth(id.index())).is_none_or(|c| c.enable.release_addr().is_none())
}

/// Whether the CPU that was [launched](launch) last, `id`, runs.
pub fn has_started(id: CpuId) -> bool {
    STARTED.load(Acquire) == id.index() as u32
}

/// Turns this CPU off. Returns when it was [launched](launch) again, as if from a call, on the same stack and with everything that
/// belongs to the CPU set up. Interrupts masked before and after.
pub fn power_off() {
    let id = CpuId::current();
    // SAFETY: interrupts are masked, so nobody is on the stack of interrupts; `off` does not return to it.
    unsafe {
        let sp = switch::vigil_fresh_stack(local_of(id).irq_sp.load(Relaxed), off as *const () as usize);
        switch::vigil_switch_stack(SUSPENDED.of(id).as_ptr(), sp);
    }
}

/// The flow that was suspended is off its stack.
extern "C" fn off() -> ! {
    OFF.of(CpuId::current()).store(true, Release);
    psci::cpu_off();
    pr_crit!("CPU{}: the firmware does not power it off", CpuId::current().index());
    cpu::park()
}

/// Whether CPU `id` has come to the end of [`power_off`]; it may still be in the firmware.
pub fn is_off(id: CpuId) -> bool {
    OFF.of(id).load(Acquire)
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
    // Whoever starts the next one may change the block from here on: everything in it was loaded.
    let suspended = SUSPENDED.of(id).swap(0, Relaxed);
    OFF.of(id).store(false, Relaxed);
    STARTED.store(cpu_number as u32, Release);
    if suspended == 0 {
        crate::secondary_main(id);
    }
    crate::secondary_again();
    let mut never_used = 0;
    // SAFETY: `power_off` has stored it, and its stack was left since; interrupts are masked. Nobody comes back to this one.
    unsafe { switch::vigil_switch_stack(&mut never_used, suspended) };
    unreachable!("a start was entered again")
}
