//! Which address space a CPU runs: TTBR0 and the ASID (Linux: `check_and_switch_context`).

use super::asid::{AsidAllocator, AsidState};
use super::space::Mm;
use super::tlb;
use core::sync::atomic::Ordering;
use vigil_executor::cpu::CpuId;
use vigil_executor::lock_class;
use vigil_executor::sync::SpinLock;

static STATE: AsidState = AsidState::new();
static ALLOCATOR: SpinLock<AsidAllocator> = SpinLock::new(lock_class!("cpu_asid_lock"), AsidAllocator::new());

/// Sets the width of ASIDs from the CPU's ID register. Once, on the boot CPU, before the first address space.
pub fn init() {
    ALLOCATOR.lock_irq().set_bits(tlb::asid_bits());
}

/// What each CPU does once when it starts: no user space is mapped.
pub fn cpu_init() {
    switch_to_none();
}

/// Makes `next` this CPU's user address space. Interrupts are masked.
///
/// The caller keeps `next` alive until this CPU has switched again: TTBR0 holds its root.
#[inline(always)]
pub fn switch_mm(next: &Mm) {
    let cpu = CpuId::current();
    let id = next.context_id.load(Ordering::Relaxed);
    if STATE.try_activate(cpu, id) { activate(next, id) } else { renew(next, cpu) }
}

/// Puts `next` into the CPU, under context id `id`.
#[inline(always)]
fn activate(next: &Mm, id: u64) {
    // SAFETY: the root is a level 0 table of `next`, which the caller of `switch_mm` keeps alive.
    unsafe { tlb::set_ttbr0(next.tables.root(), id & 0xffff) };
    tlb::new_address_space();
}

/// `next` has no ASID of this generation.
#[cold]
#[inline(never)]
fn renew(next: &Mm, cpu: CpuId) {
    let mut allocator = ALLOCATOR.lock_irq();
    // Read again: another CPU may have renewed it while we waited for the lock.
    let old = next.context_id.load(Ordering::Relaxed);
    let (id, flush) = allocator.renew(&STATE, cpu.index(), old);
    next.context_id.store(id, Ordering::Relaxed);
    drop(allocator);
    if flush {
        tlb::flush_local_all();
    }
    activate(next, id);
}

/// Makes this CPU run no user address space: kernel tasks, and before an address space that ran here is freed. TTBR0
/// points at an empty table under ASID 0. Interrupts are masked.
pub fn switch_to_none() {
    // The CPU's active ASID stays noted: 0 there means that a roll-over passed, and would send the next switch through the
    // lock. A roll-over keeps one ASID for us that nobody uses, which costs nothing.
    // SAFETY: the empty table lives for ever and maps nothing.
    unsafe { tlb::set_ttbr0(super::page::empty_root(), 0) };
}

/// How often the ASIDs ran out; for the tests of roll-over.
pub fn asid_generation() -> u64 {
    STATE.generation() >> 16
}
