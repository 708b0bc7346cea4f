//! Starting the other CPUs by PSCI or spin tables, one after the other, and powering them off.
//!
//! A starting CPU runs `secondary_entry` with its MMU off: it loads its [`SecondaryData`] by physical address, turns the MMU on with
//! the identity map of that code, and jumps to `secondary_start` on its own stack, which hands over to
//! `crate::secondary_main`. A CPU that was powered off goes on in [`power_off`] instead, where it was.
//!
//! One that does not come in time is given up ([`give_up`]), but it may still come: the emulator's host, or the firmware, was busy. So
//! each CPU has a block of data of its own, and waits, before it touches anything of the running kernel, till it is called again
//! (Linux: `__secondary_too_slow`, where it waits for ever).

use super::features_mitigation::Bhb;
use super::{cpu, features, hardening, mmu, mmu_tlb, psci, switch};
use crate::boot::BootInfo;
use crate::boot::info::CpuInfo;
use crate::platform::alloc_stack;
use crate::{pr_crit, pr_err, pr_info};
use core::cell::UnsafeCell;
use core::sync::atomic::{
    AtomicU32, AtomicUsize,
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
    /// The CPU's affinity and [`MPIDR_RES1`]: by this a CPU finds its block that comes from a spin table. 0: not called yet.
    pub mpidr: u64,
}

/// Bit 31 of MPIDR_EL1, which is one on every CPU (Arm ARM D19.2.100): with it an affinity is never 0.
pub(super) const MPIDR_RES1: u64 = 1 << 31;
/// The bits of MPIDR_EL1 that are compared: the affinity, and [`MPIDR_RES1`].
pub(super) const MPIDR_KEY: u64 = 0xff_00ff_ffff | MPIDR_RES1;

pub(super) struct Blocks(UnsafeCell<[SecondaryData; MAX_CPUS]>);

// SAFETY: the block of a CPU is written by who launches it, before it is called for the first time or after it was powered off, and
// read by that CPU alone.
unsafe impl Sync for Blocks {}

/// By logical number.
pub(super) static DATA: Blocks =
    Blocks(UnsafeCell::new([const { SecondaryData { ttbr0: 0, ttbr1: 0, entry: 0, stack_top: 0, arg: 0, mpidr: 0 } }; MAX_CPUS]));

/// Where each CPU is: one of those below.
static STATE: PerCpu<AtomicU32> = PerCpu::new([const { AtomicU32::new(AWAY) }; MAX_CPUS]);
/// In the firmware: never launched, or off its stack for good, or till it is started again.
const AWAY: u32 = 0;
/// Launched; it may come.
const CALLED: u32 = 1;
/// It has come, in time, and makes itself ready.
const COMING: u32 = 2;
/// It runs.
const HERE: u32 = 3;
/// Launched and not waited for any more: if it comes it waits to be called again.
const GIVEN_UP: u32 = 4;
/// It lacks what the kernel needs, and stays out.
const REFUSED: u32 = 5;

/// How long the boot waits for a CPU to come, in seconds (Linux: 5),
const PATIENCE: u64 = 5;
/// and for one that has come to be ready.
const PATIENCE_ON_THE_WAY: u64 = 60;

/// The stack on which each CPU starts for the first time.
static START_STACKS: PerCpu<AtomicUsize> = PerCpu::new([const { AtomicUsize::new(0) }; MAX_CPUS]);
/// The SP of the flow that each CPU was in when it was powered off; 0: none.
static SUSPENDED: PerCpu<AtomicUsize> = PerCpu::new([const { AtomicUsize::new(0) }; MAX_CPUS]);

unsafe extern "C" {
    static secondary_entry: u8;
    static spin_entry: u8;
}

/// Starts at most `limit` CPUs of `info`, the boot CPU among them; returns how many others came. Called once, by the boot CPU.
///
/// Each CPU arrives in `crate::secondary_main` with interrupts masked. Those that do not come stay out.
pub fn start_secondaries(info: &BootInfo, limit: usize) -> usize {
    STATE.of(CpuId::BOOT).store(HERE, Relaxed);
    // What memory held before may say something of a CPU that looks for its block.
    clean_invalidate_poc(DATA.0.get() as usize, size_of::<[SecondaryData; MAX_CPUS]>());
    let mut started = 0;
    for id in (1..info.cpus().count().min(limit)).filter_map(CpuId::new) {
        let begin = counter();
        let came = launch(id, info).and_then(|()| {
            while !has_started(id) {
                let waited = counter().wrapping_sub(begin) / counter_frequency();
                if is_refused(id) || waited >= PATIENCE && give_up(id) || waited >= PATIENCE_ON_THE_WAY {
                    return Err("it did not report in time");
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
    let stacks = [(START_STACKS.of(id), StackKind::Cpu), (&local.irq_sp, StackKind::Irq), (&local.emergency_sp, StackKind::Emergency)];
    for (sp, kind) in stacks {
        if sp.load(Relaxed) == 0 {
            sp.store(alloc_stack(kind).ok_or("no memory for its stacks")?.as_ptr() as usize, Relaxed);
        }
    }
    Ok(())
}

/// Makes the firmware start CPU `id`, which is not running; [`has_started`] says when it is there. One that was [given up](give_up) is
/// called again, whether it has come since or not.
pub fn launch(id: CpuId, info: &BootInfo) -> Result<(), &'static str> {
    launch_as(CALLED, id, info)
}

/// The same for a CPU that is given up before it can have come.
#[cfg(feature = "selftest")]
pub fn launch_too_late(id: CpuId, info: &BootInfo) -> Result<(), &'static str> {
    launch_as(GIVEN_UP, id, info)
}

fn launch_as(state: u32, id: CpuId, info: &BootInfo) -> Result<(), &'static str> {
    let Some(target) = info.cpus().nth(id.index()) else { return Err("there is no such CPU") };
    if !mmu::idmap_ready() {
        return Err("no identity map");
    }
    if target.enable == EnableMethod::Unknown {
        return Err("its enable-method is not supported");
    }
    match STATE.of(id).load(Acquire) {
        AWAY => STATE.of(id).store(state, Release),
        GIVEN_UP => {
            STATE.of(id).store(state, Release);
            call_again();
            return Ok(());
        }
        REFUSED => return Err("it was refused"),
        _ => return Err("it runs"),
    }
    provide_stacks(id).and_then(|()| start(id, target)).inspect_err(|_| {
        // Unless it has come all the same.
        let _ = STATE.of(id).compare_exchange(state, AWAY, Relaxed, Relaxed);
    })
}

/// CPU `id`, which is in the firmware and has its stacks, shall come.
fn start(id: CpuId, target: CpuInfo) -> Result<(), &'static str> {
    let suspended = SUSPENDED.of(id).load(Acquire) != 0;
    // One that goes on where it stopped starts on the stack of its interrupts, which are masked.
    let stack = if suspended { local_of(id).irq_sp.load(Relaxed) } else { START_STACKS.of(id).load(Relaxed) };
    // SAFETY: an element of the array.
    let data = unsafe { DATA.0.get().cast::<SecondaryData>().add(id.index()) };
    // SAFETY: the CPU is in the firmware, so nobody reads the block.
    unsafe {
        data.write(SecondaryData {
            ttbr0: mmu::idmap_root(),
            ttbr1: mmu::kernel_root(),
            entry: secondary_start as *const () as u64,
            stack_top: stack as u64,
            arg: id.index() as u64,
            mpidr: 0,
        });
    }
    clean_invalidate_poc(data as usize, size_of::<SecondaryData>());
    // A CPU may look for its block already that shares its release address with another one: by this it finds it, complete.
    // SAFETY: as above.
    unsafe { (&raw mut (*data).mpidr).write_volatile(target.mpidr & MPIDR_KEY | MPIDR_RES1) };
    clean_invalidate_poc(data as usize, size_of::<SecondaryData>());
    if let Some(word) = target.enable.release_addr() {
        return release(word);
    }
    let entry = mmu::kimage_to_phys((&raw const secondary_entry) as usize);
    if psci::cpu_on(target.mpidr, entry, mmu::kimage_to_phys(data as usize)) { Ok(()) } else { Err("PSCI CPU_ON refused") }
}

/// Nobody waits any more for CPU `id`, which was [launched](launch). `false`: it has come, and will run in a moment if it does not yet.
pub fn give_up(id: CpuId) -> bool {
    !matches!(STATE.of(id).compare_exchange(CALLED, GIVEN_UP, Relaxed, Relaxed), Err(COMING | HERE))
}

/// Whether CPU `id` has come and lacks what the kernel needs.
pub fn is_refused(id: CpuId) -> bool {
    STATE.of(id).load(Acquire) == REFUSED
}

/// CPU `id`, this one, is ready: nobody need fear any more that it waits, masked, for a lock that a CPU holds which somebody stops.
pub fn report(id: CpuId) {
    STATE.of(id).store(HERE, Release);
}

/// For a CPU that is here too late.
fn call_again() {
    // SAFETY: an event for those who wait, after the store that they wait for.
    unsafe { core::arch::asm!("dsb ishst", "sev", options(nostack, preserves_flags)) };
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

/// Whether CPU `id`, which was [launched](launch), runs.
pub fn has_started(id: CpuId) -> bool {
    STATE.of(id).load(Acquire) == HERE
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
    STATE.of(CpuId::current()).store(AWAY, Release);
    psci::cpu_off();
    pr_crit!("CPU{}: the firmware does not power it off", CpuId::current().index());
    cpu::park()
}

/// Whether CPU `id` has come to the end of [`power_off`]; it may still be in the firmware.
pub fn is_off(id: CpuId) -> bool {
    STATE.of(id).load(Acquire) == AWAY
}

/// The first Rust code of a starting CPU: at the virtual address, exceptions masked, on its own stack.
extern "C" fn secondary_start(cpu_number: u64) -> ! {
    let Some(id) = CpuId::new(cpu_number as usize) else { cpu::park() };
    while STATE.of(id).compare_exchange(CALLED, COMING, Acquire, Relaxed).is_err() {
        // SAFETY: a hint.
        unsafe { core::arch::asm!("wfe", options(nomem, nostack, preserves_flags)) };
    }
    // SAFETY: the block belongs to this CPU.
    unsafe { set_cpu_local(local_of(id)) };
    cpu::install_vectors(Bhb::None);
    cpu::init_this_cpu();
    // SAFETY: this CPU uses no low address.
    unsafe { mmu_tlb::set_ttbr0(mmu::empty_root()) };
    features::add_cpu(&features::read_this_cpu());
    if let Err(why) = hardening::init_cpu(id) {
        pr_crit!("CPU{cpu_number}: {why}, refused to boot");
        STATE.of(id).store(REFUSED, Release);
        cpu::park();
    }
    pr_info!("CPU{cpu_number}: Booted secondary processor {:#012x} [{:#010x}]", cpu::mpidr(), cpu::midr());
    let suspended = SUSPENDED.of(id).swap(0, Relaxed);
    if suspended == 0 {
        crate::secondary_main(id);
    }
    crate::secondary_again();
    report(id);
    let mut never_used = 0;
    // SAFETY: `power_off` has stored it, and its stack was left since; interrupts are masked. Nobody comes back to this one.
    unsafe { switch::vigil_switch_stack(&mut never_used, suspended) };
    unreachable!("a start was entered again")
}
