//! Booting of the boot CPU in Rust: first at the load address (identity map), then at the virtual address.
//!
//! `early_start` decides where the kernel goes and builds its tables; `high_start` is the first code that runs there and
//! goes on in [`crate::boot`]. What the two share with the assembly in [`super::head`] are [`BootArgs`] and [`EarlyMap`].

use super::{cpu, early, head_vectors, mmu};
use core::cell::UnsafeCell;
use core::sync::atomic::Ordering::Relaxed;
use vigil_executor::context::{Context, StackKind};
use vigil_executor::cpu::{CpuId, local_of};
use vigil_executor::stack::{CONTEXT_SIZE, STACK_SIZE};

/// What `primary_entry` found, written once before any Rust code runs.
#[repr(C)]
#[derive(Debug)]
pub struct BootArgs {
    /// x0 to x3 at entry: the device tree's physical address (0 when it was unusable), and three zeros by the protocol.
    pub x: [u64; 4],
    /// The exception level at entry: 1 or 2.
    pub boot_el: u64,
    /// Physical address of the image's first byte.
    pub image_phys: u64,
    /// Physical address of the first free table of the identity map's pool.
    pub idmap_free: u64,
}

/// A `BootArgs` that only the entry code writes.
struct Cell(UnsafeCell<BootArgs>);

// SAFETY: written by the boot CPU before another CPU runs, read-only afterwards.
unsafe impl Sync for Cell {}

#[unsafe(no_mangle)]
static BOOT_ARGS: Cell = Cell(UnsafeCell::new(BootArgs { x: [0; 4], boot_el: 0, image_phys: 0, idmap_free: 0 }));

/// What the entry code found.
pub fn boot_args() -> &'static BootArgs {
    // SAFETY: nothing writes it after the entry code, which ran before every caller.
    unsafe { &*BOOT_ARGS.0.get() }
}

/// The kernel's tables and place, handed to the assembly in x0 and x1.
#[repr(C)]
pub(super) struct EarlyMap {
    /// Physical address of the level-0 table for TTBR1.
    ttbr1: u64,
    /// Virtual address of the image's first byte.
    image_va: u64,
}

unsafe extern "C" {
    static mut boot_stack: u8;
    static mut boot_irq_stack: u8;
    static mut boot_emergency_stack: u8;
}

/// Writes the context block at the top of the stack whose lowest byte is `base`.
///
/// # Safety
/// `base` is the start of a writable stack of STACK_SIZE bytes, aligned to its size, that no flow uses beyond its top.
unsafe fn init_stack(base: *mut u8, kind: StackKind) {
    // SAFETY: by the caller's contract the block lies in the stack and nothing refers to it.
    unsafe { base.add(STACK_SIZE - CONTEXT_SIZE).cast::<Context>().write(Context::new(kind)) };
}

/// The boot CPU's stack for interrupts: its context block.
pub fn boot_irq_context() -> *mut Context {
    // SAFETY: the address of a linker-placed stack; no access.
    unsafe { (&raw mut boot_irq_stack).add(STACK_SIZE - CONTEXT_SIZE).cast() }
}

/// The boot CPU's stack for reporting an overflow: its context block.
pub fn boot_emergency_context() -> *mut Context {
    // SAFETY: the address of a linker-placed stack; no access.
    unsafe { (&raw mut boot_emergency_stack).add(STACK_SIZE - CONTEXT_SIZE).cast() }
}

/// Runs at the load address with the identity map and caches on, one CPU, exceptions masked. Returns where to go.
pub(super) extern "C" fn early_start() -> EarlyMap {
    // SAFETY: the three stacks were just cleared with .bss; this flow uses the first one below its context block.
    unsafe {
        init_stack(&raw mut boot_stack, StackKind::Cpu);
        init_stack(&raw mut boot_irq_stack, StackKind::Irq);
        init_stack(&raw mut boot_emergency_stack, StackKind::Emergency);
        vigil_executor::arch::set_cpu_local(local_of(CpuId::BOOT));
    }
    let args = boot_args();
    // SAFETY: called once, here, at the load address.
    let image_va = unsafe { early::prepare(args) };
    // SAFETY: called once, before any other table edit.
    let ttbr1 = unsafe { mmu::build_kernel_tables(args, image_va) };
    EarlyMap { ttbr1, image_va: image_va as u64 }
}

/// Runs at the virtual address for the first time, one CPU, exceptions masked, on the empty boot stack.
pub(super) extern "C" fn high_start() -> ! {
    let local = local_of(CpuId::BOOT);
    // SAFETY: the block belongs to this CPU. The one set in `early_start` was its physical address.
    unsafe { vigil_executor::arch::set_cpu_local(local) };
    // A stack starts below its context block, and that is what the block's address says.
    local.irq_sp.store(boot_irq_context() as usize, Relaxed);
    local.emergency_sp.store(boot_emergency_context() as usize, Relaxed);
    head_vectors::install();
    cpu::init_this_cpu();
    // SAFETY: nothing is accessed through the identity map any more.
    unsafe { mmu::leave_identity_map() };
    crate::boot::start()
}
