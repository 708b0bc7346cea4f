//! CPU numbers, sets of CPUs, and variables that each CPU has its own of.

use crate::arch;
use crate::context::PreemptGuard;
#[cfg(not(loom))]
use crate::executor::{CpuExec, EXEC};
use crate::pending::Pending;
use crate::trace::{Pin, STAGES};
use core::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};

/// The most CPUs that one image drives.
pub const MAX_CPUS: usize = 8;

/// A CPU's logical number: 0 is the boot CPU, then in the device tree's order. Always below [`MAX_CPUS`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CpuId(u32);

impl CpuId {
    /// The CPU that booted.
    pub const BOOT: CpuId = CpuId(0);

    /// The CPU numbered `n`, or `None` when there can be none.
    pub const fn new(n: usize) -> Option<CpuId> {
        if n < MAX_CPUS { Some(CpuId(n as u32)) } else { None }
    }

    /// Its number as an index.
    #[inline(always)]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// Its bit in a mask.
    #[inline(always)]
    const fn bit(self) -> u64 {
        1u64.wrapping_shl(self.0)
    }

    /// This CPU. The answer is worth something only under a preempt-off guard, with interrupts masked, or as a statistic.
    #[inline(always)]
    pub fn current() -> CpuId {
        local().id
    }
}

/// What TPIDR_EL1 points at: the CPU's number, and what the vectors need before they have a stack.
#[repr(C, align(64))]
pub struct CpuLocal {
    /// The CPU.
    pub id: CpuId,
    /// SP with which hard interrupts start: below the context block of the CPU's IRQ stack.
    pub irq_sp: AtomicUsize,
    /// The same of the emergency stack, on which a stack overflow is reported.
    pub emergency_sp: AtomicUsize,
    /// What its executor has to see to.
    pub pending: Pending,
    /// See `stamps`.
    #[cfg(feature = "stamps")]
    pub vector_stamp: AtomicU64,
    /// See `stamps`.
    #[cfg(feature = "stamps")]
    pub user_stamp: AtomicU64,
    /// VBAR_EL1 while EL0 runs, when it is another one than in the kernel.
    pub el0_vectors: AtomicUsize,
    /// What it schedules with: one load, where the array of all CPUs' takes a multiplication.
    #[cfg(not(loom))]
    pub(crate) exec: &'static CpuExec,
    /// When it last entered the vector of an interrupt, by the generic counter; while `trace::KEY_STAMPS` is on.
    pub vector_at: AtomicU64,
    /// When it last counted an interrupt of a line, which it has just acknowledged; likewise.
    pub acked_at: AtomicU64,
    /// When it last began a poll; likewise.
    pub polled_at: AtomicU64,
    /// The pins that it toggles while `trace::KEY_PINS` is on; null: none.
    pub pins: AtomicPtr<[Pin; STAGES]>,
}

impl CpuLocal {
    const fn new(id: CpuId) -> Self {
        CpuLocal {
            id,
            #[cfg(not(loom))]
            exec: EXEC.of(id),
            irq_sp: AtomicUsize::new(0),
            emergency_sp: AtomicUsize::new(0),
            el0_vectors: AtomicUsize::new(0),
            pending: Pending::new(),
            vector_at: AtomicU64::new(0),
            acked_at: AtomicU64::new(0),
            polled_at: AtomicU64::new(0),
            pins: AtomicPtr::new(core::ptr::null_mut()),
            #[cfg(feature = "stamps")]
            vector_stamp: AtomicU64::new(0),
            #[cfg(feature = "stamps")]
            user_stamp: AtomicU64::new(0),
        }
    }
}

/// The block of the CPU that this runs on: under a guard that keeps it there.
#[inline(always)]
pub fn local() -> &'static CpuLocal {
    // SAFETY: `cpu_local` is valid for ever once the CPU runs Rust code.
    unsafe { &*arch::cpu_local() }
}

static LOCALS: [CpuLocal; MAX_CPUS] = {
    let mut a = [const { CpuLocal::new(CpuId(0)) }; MAX_CPUS];
    let mut i = 0;
    while i < MAX_CPUS {
        a[i] = CpuLocal::new(CpuId(i as u32));
        i += 1;
    }
    a
};

/// The block of the boot CPU: a host's thread is that one until it says otherwise.
#[cfg(not(target_os = "none"))]
pub(crate) const BOOT_LOCAL: *const CpuLocal = &raw const LOCALS[0];

/// The block that TPIDR_EL1 of CPU `id` must point at.
pub fn local_of(id: CpuId) -> &'static CpuLocal {
    &LOCALS[id.index()]
}

/// A set of CPUs, a bit each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CpuMask(pub u64);

impl CpuMask {
    /// Every CPU that the image can drive.
    pub const ALL: CpuMask = CpuMask((1 << MAX_CPUS) - 1);

    /// The set of `cpu` alone.
    pub const fn of(cpu: CpuId) -> CpuMask {
        CpuMask(cpu.bit())
    }

    /// Whether `cpu` is in it.
    pub const fn contains(self, cpu: CpuId) -> bool {
        self.0 & cpu.bit() != 0
    }

    /// The lowest CPU in it.
    pub const fn first(self) -> Option<CpuId> {
        CpuId::new(self.0.trailing_zeros() as usize)
    }

    /// Its members, ascending.
    pub fn iter(self) -> impl Iterator<Item = CpuId> {
        let mut rest = self.0;
        core::iter::from_fn(move || {
            let first = rest.trailing_zeros();
            rest &= rest.wrapping_sub(1);
            (first < MAX_CPUS as u32).then_some(CpuId(first))
        })
    }
}

/// A [`CpuMask`] that many CPUs change at once: online CPUs, idle CPUs.
#[derive(Debug)]
pub struct AtomicCpuMask(AtomicU64);

impl AtomicCpuMask {
    /// An empty set.
    pub const fn new() -> Self {
        AtomicCpuMask(AtomicU64::new(0))
    }

    /// Adds `cpu`; `true` if it was not in.
    pub fn insert(&self, cpu: CpuId) -> bool {
        self.0.fetch_or(cpu.bit(), Ordering::SeqCst) & cpu.bit() == 0
    }

    /// Takes `cpu` out; `true` if it was in.
    pub fn remove(&self, cpu: CpuId) -> bool {
        self.0.fetch_and(!cpu.bit(), Ordering::SeqCst) & cpu.bit() != 0
    }

    /// The set as it is now.
    #[inline]
    pub fn load(&self) -> CpuMask {
        CpuMask(self.0.load(Ordering::Relaxed))
    }

    /// The set as it is now, after what this CPU has inserted and removed anywhere (SeqCst, as these are).
    #[inline]
    pub fn load_ordered(&self) -> CpuMask {
        CpuMask(self.0.load(Ordering::SeqCst))
    }
}

impl Default for AtomicCpuMask {
    fn default() -> Self {
        Self::new()
    }
}

/// CPUs that run an executor loop (Linux: cpu_online_mask).
pub static ONLINE: AtomicCpuMask = AtomicCpuMask::new();
/// Those of them to which tasks may be sent: not the ones that are on their way out (Linux: cpu_active_mask).
pub static ACTIVE: AtomicCpuMask = AtomicCpuMask::new();

#[repr(align(64))]
struct Slot<T>(T);

/// A variable that each CPU has its own of, one cache line apart at least.
///
/// `T` is `Sync`: another CPU, or an interrupt on this one, may look at it at the same time. What is to be changed by
/// its own CPU alone uses atomics with relaxed loads and stores under the guard.
pub struct PerCpu<T>([Slot<T>; MAX_CPUS]);

impl<T> PerCpu<T> {
    /// One value for each CPU, in the order of their numbers.
    pub const fn new(values: [T; MAX_CPUS]) -> Self {
        // SAFETY: `Slot<T>` may be more aligned than `T`, so the array is rebuilt by reads of each element, exactly once.
        let values = core::mem::ManuallyDrop::new(values);
        let mut out: [core::mem::MaybeUninit<Slot<T>>; MAX_CPUS] = [const { core::mem::MaybeUninit::uninit() }; MAX_CPUS];
        let src = &raw const values as *const T;
        let mut i = 0;
        while i < MAX_CPUS {
            // SAFETY: `i` is in range; each element is read once and `values` is never dropped.
            out[i] = core::mem::MaybeUninit::new(Slot(unsafe { src.add(i).read() }));
            i += 1;
        }
        // SAFETY: all elements were written above.
        PerCpu(unsafe { (&raw const out as *const [Slot<T>; MAX_CPUS]).read() })
    }

    /// The current CPU's, for as long as the guard keeps us on it.
    #[inline(always)]
    pub fn get<'a>(&'a self, _guard: &'a PreemptGuard) -> &'a T {
        self.of(CpuId::current())
    }

    /// The current CPU's, for code that is bound to its CPU by masked interrupts, or reads a statistic.
    #[inline(always)]
    pub fn this(&self) -> &T {
        self.of(CpuId::current())
    }

    /// The one of `cpu`.
    #[inline(always)]
    pub const fn of(&self, cpu: CpuId) -> &T {
        // SAFETY: a `CpuId` is below `MAX_CPUS`: `CpuId::new` is the only way to make one.
        unsafe { &(*self.0.as_ptr().add(cpu.index())).0 }
    }

    /// All of them, by ascending CPU.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|s| &s.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn per_cpu_values_keep_their_order() {
        let v = PerCpu::new([0, 1, 2, 3, 4, 5, 6, 7]);
        for i in 0..MAX_CPUS {
            assert_eq!(*v.of(CpuId::new(i).unwrap()), i);
        }
        assert_eq!(CpuMask(0b1010).iter().map(|c| c.index()).sum::<usize>(), 4);
        assert!(CpuId::new(MAX_CPUS).is_none());
    }
}
