//! What each CPU has its own of: [`Local`], for state that one CPU changes under masked interrupts, and
//! [`PerCpuCounter`], a counter that many CPUs change and few read.

use crate::error::AllocError;
use crate::kvec::KVec;
use core::sync::atomic::{AtomicIsize, Ordering};
use vigil_executor::context::IrqGuard;
use vigil_executor::cpu::{CpuId, MAX_CPUS, PerCpu};

struct Slot<T> {
    value: T,
    /// Several threads of a host may play the same CPU; masked interrupts do not keep them apart.
    #[cfg(not(target_os = "none"))]
    lock: std::sync::Mutex<()>,
}

/// A `T` for each CPU that its CPU changes with interrupts masked: a few instructions, no lock, usable in interrupts.
///
/// `T` is made of atomics that are loaded and stored relaxed: its CPU alone writes, any CPU may read a statistic.
pub struct Local<T>(PerCpu<Slot<T>>);

impl<T> Local<T> {
    /// One value for each CPU.
    pub const fn new(values: [T; MAX_CPUS]) -> Self {
        let values = core::mem::ManuallyDrop::new(values);
        let src = &raw const values as *const T;
        let mut slots: [core::mem::MaybeUninit<Slot<T>>; MAX_CPUS] = [const { core::mem::MaybeUninit::uninit() }; MAX_CPUS];
        let mut i = 0;
        while i < MAX_CPUS {
            slots[i] = core::mem::MaybeUninit::new(Slot {
                // SAFETY: in range; each value is read once and never dropped where it was.
                value: unsafe { src.add(i).read() },
                #[cfg(not(target_os = "none"))]
                lock: std::sync::Mutex::new(()),
            });
            i += 1;
        }
        // SAFETY: all slots were written above.
        Local(PerCpu::new(unsafe { (&raw const slots as *const [Slot<T>; MAX_CPUS]).read() }))
    }

    /// Runs `f` on this CPU's value with interrupts masked. `f` is short and does not come back here.
    #[inline(always)]
    pub fn with<R>(&self, f: impl FnOnce(&T) -> R) -> R {
        let _irq = IrqGuard::new();
        let slot = self.0.this();
        #[cfg(not(target_os = "none"))]
        let _alone = slot.lock.lock().unwrap_or_else(|e| e.into_inner());
        f(&slot.value)
    }

    /// All CPUs' values, for a statistic.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|s| &s.value)
    }
}

/// A counter in two parts: a share for each CPU and the sum of what was folded in. [`PerCpuCounter::read`] is off by at
/// most `batch` for each CPU; [`PerCpuCounter::sum`] is exact when nobody changes it.
pub struct PerCpuCounter {
    count: AtomicIsize,
    batch: isize,
    shares: PerCpu<AtomicIsize>,
}

impl PerCpuCounter {
    /// Zero; shares are folded in when they reach `batch` in either direction.
    pub const fn new(batch: isize) -> Self {
        PerCpuCounter { count: AtomicIsize::new(0), batch, shares: PerCpu::new([const { AtomicIsize::new(0) }; MAX_CPUS]) }
    }

    /// Adds `n`. Any context.
    #[inline]
    pub fn add(&self, n: isize) {
        // An atomic add, so that neither an interrupt nor a move to another CPU in the middle loses anything.
        let share = self.shares.this();
        let now = share.fetch_add(n, Ordering::Relaxed).wrapping_add(n);
        if now >= self.batch || now <= -self.batch {
            let taken = share.swap(0, Ordering::Relaxed);
            self.count.fetch_add(taken, Ordering::Relaxed);
        }
    }

    /// About its value, from one load.
    #[inline]
    pub fn read(&self) -> isize {
        self.count.load(Ordering::Relaxed)
    }

    /// Its value.
    pub fn sum(&self) -> isize {
        self.shares.iter().fold(self.read(), |n, s| n.wrapping_add(s.load(Ordering::Relaxed)))
    }

    /// Its value for a statistic that cannot be negative.
    pub fn sum_positive(&self) -> usize {
        self.sum().max(0) as usize
    }
}

/// A value for each CPU, allocated at run time.
pub struct DynPerCpu<T>(KVec<T>);

impl<T> DynPerCpu<T> {
    /// Makes one value for each CPU.
    pub fn try_new(mut make: impl FnMut(CpuId) -> T) -> Result<Self, AllocError> {
        let mut v = KVec::try_with_capacity(MAX_CPUS)?;
        for cpu in (0..MAX_CPUS).filter_map(CpuId::new) {
            v.try_push(make(cpu))?;
        }
        Ok(DynPerCpu(v))
    }

    /// The one of `cpu`.
    #[inline]
    pub fn of(&self, cpu: CpuId) -> &T {
        &self.0[cpu.index()]
    }

    /// This CPU's; see [`PerCpu::this`] for when that means something.
    #[inline]
    pub fn this(&self) -> &T {
        &self.0[CpuId::current().index()]
    }

    /// All, by ascending CPU.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_lose_nothing() {
        static C: PerCpuCounter = PerCpuCounter::new(32);
        std::thread::scope(|s| {
            for t in 0..4isize {
                s.spawn(move || (0..10_001).for_each(|_| C.add(if t % 2 == 0 { 3 } else { -1 })));
            }
        });
        assert_eq!(C.sum(), 10_001 * 4);
        assert!((C.read() - C.sum()).abs() <= 32 * MAX_CPUS as isize);
        let d = DynPerCpu::try_new(|c| c.index()).unwrap();
        assert!(d.iter().copied().eq(0..MAX_CPUS));
    }
}
