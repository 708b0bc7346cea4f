//! Spare stacks: two lists per CPU, `own` and what other CPUs have given back.
//!
//! A stack goes back to the CPU that it came from, whichever CPU frees it; otherwise the pools drift apart as parked polls
//! migrate (`spec/preemption.md`, bug 7). `own` belongs to its CPU, with interrupts masked, so taking and giving back take no
//! atomic operation. Others push on `returned`, lock-free; its CPU takes all of that at once when `own` is empty, so no
//! compare-and-swap can meet the ABA problem.

use crate::context::Context;
use crate::cpu::CpuId;
#[cfg(target_os = "none")]
use crate::cpu::local;
#[cfg(target_os = "none")]
use crate::pending::SHORT;
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering::*};

/// Spare stacks that each CPU starts with.
pub const SPARES_PER_CPU: usize = 8;
/// With no more than this left, the fair class resumes what is parked before it polls anything new: these are reserved
/// for polls above fair that are preempted by still higher ones.
pub const LOW_MARK: usize = 3;

/// The spare stacks of one CPU.
pub struct StackPool {
    own: AtomicPtr<Context>,
    own_len: AtomicUsize,
    returned: AtomicPtr<Context>,
    returned_len: AtomicUsize,
}

impl StackPool {
    pub(crate) const fn new() -> Self {
        StackPool {
            own: AtomicPtr::new(null_mut()),
            own_len: AtomicUsize::new(0),
            returned: AtomicPtr::new(null_mut()),
            returned_len: AtomicUsize::new(0),
        }
    }

    /// How many are free.
    #[inline(always)]
    pub fn len(&self) -> usize {
        self.own_len.load(Relaxed).wrapping_add(self.returned_len.load(Relaxed))
    }

    /// Whether none is free.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether what is left is reserved: see [`LOW_MARK`]. On the pool's own CPU, interrupts masked.
    #[inline(always)]
    pub(crate) fn is_short(&self) -> bool {
        self.own_len.load(Relaxed) <= LOW_MARK && self.stays_short()
    }

    /// Takes what other CPUs have given back; whether what is left is reserved all the same.
    #[cold]
    #[inline(never)]
    fn stays_short(&self) -> bool {
        if !self.returned.load(Relaxed).is_null() {
            self.collect();
        }
        self.own_len.load(Relaxed) <= LOW_MARK
    }

    /// Adds a stack that nobody runs on. On the pool's own CPU, interrupts masked.
    pub(crate) fn push_here(&self, stack: NonNull<Context>) {
        // SAFETY: the stack is the caller's.
        unsafe { stack.as_ref().pool_next.store(self.own.load(Relaxed), Relaxed) };
        self.own.store(stack.as_ptr(), Relaxed);
        self.own_len.store(self.own_len.load(Relaxed).wrapping_add(1), Relaxed);
    }

    /// Adds a stack that nobody runs on. Any CPU.
    pub(crate) fn push(&self, stack: NonNull<Context>) {
        let mut head = self.returned.load(Relaxed);
        loop {
            // SAFETY: the stack is the caller's until the exchange succeeds.
            unsafe { stack.as_ref().pool_next.store(head, Relaxed) };
            match self.returned.compare_exchange_weak(head, stack.as_ptr(), Release, Relaxed) {
                Ok(_) => break,
                Err(h) => head = h,
            }
        }
        self.returned_len.fetch_add(1, Relaxed);
    }

    /// Takes one. On the pool's own CPU, interrupts masked.
    #[cfg(target_os = "none")]
    #[inline(always)]
    pub(crate) fn pop(&self) -> Option<NonNull<Context>> {
        if self.own.load(Relaxed).is_null() {
            self.collect();
        }
        self.pop_own()
    }

    /// Takes one of those that are the CPU's already. The same.
    #[cfg(target_os = "none")]
    #[inline(always)]
    pub(crate) fn pop_own(&self) -> Option<NonNull<Context>> {
        let stack = NonNull::new(self.own.load(Relaxed))?;
        // SAFETY: a stack in the list is this CPU's.
        self.own.store(unsafe { stack.as_ref().pool_next.load(Relaxed) }, Relaxed);
        let left = self.own_len.load(Relaxed).wrapping_sub(1);
        self.own_len.store(left, Relaxed);
        if left <= LOW_MARK {
            local().pending.set(SHORT);
        }
        Some(stack)
    }

    /// Takes what other CPUs have given back.
    #[cold]
    #[inline(never)]
    fn collect(&self) {
        let mut p = self.returned.swap(null_mut(), Acquire);
        while let Some(stack) = NonNull::new(p) {
            // SAFETY: the swap made this CPU the list's only owner.
            p = unsafe { stack.as_ref().pool_next.load(Relaxed) };
            self.push_here(stack);
            self.returned_len.fetch_sub(1, Relaxed);
        }
    }
}

/// Gives `cpu` its spare stacks. `false` when memory ran out first; it then works with fewer.
pub fn fill(cpu: CpuId, alloc: impl Fn() -> Option<NonNull<Context>>) -> bool {
    let pool = &super::EXEC.of(cpu).pool;
    while pool.len() < SPARES_PER_CPU {
        let Some(stack) = alloc() else { return false };
        // SAFETY: a fresh stack's context block is initialised and nobody else's.
        unsafe { stack.as_ref().set_home_cpu(cpu.index() as u32) };
        pool.push(stack);
    }
    true
}
