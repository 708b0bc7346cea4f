//! Spare stacks: a lock-free list per CPU.
//!
//! A stack goes back to the list of the CPU that it came from, whichever CPU frees it; otherwise the pools drift apart
//! as parked polls migrate (`spec/preemption.md`, bug 7). Only the owner CPU pops, with interrupts masked, so the
//! compare-and-swap of a pop cannot meet the ABA problem: a node that it saw at the head leaves only by its own hand.

use crate::context::Context;
use crate::cpu::CpuId;
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering::*};

/// Spare stacks that each CPU starts with.
pub const SPARES_PER_CPU: usize = 8;
/// With no more than this left, the fair class resumes what is parked before it polls anything new: these are reserved
/// for polls above fair that are preempted by still higher ones.
pub const LOW_MARK: usize = 3;

/// The spare stacks of one CPU.
pub struct StackPool {
    head: AtomicPtr<Context>,
    len: AtomicUsize,
}

impl StackPool {
    pub(crate) const fn new() -> Self {
        StackPool { head: AtomicPtr::new(null_mut()), len: AtomicUsize::new(0) }
    }

    /// How many are free.
    #[inline(always)]
    pub fn len(&self) -> usize {
        self.len.load(Relaxed)
    }

    /// Whether none is free.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a stack that nobody runs on. Any CPU.
    pub(crate) fn push(&self, stack: NonNull<Context>) {
        let mut head = self.head.load(Relaxed);
        loop {
            // SAFETY: the stack is the caller's until the exchange succeeds.
            unsafe { stack.as_ref().pool_next.store(head, Relaxed) };
            match self.head.compare_exchange_weak(head, stack.as_ptr(), Release, Relaxed) {
                Ok(_) => break,
                Err(h) => head = h,
            }
        }
        self.len.fetch_add(1, Relaxed);
    }

    /// Takes one. The owner CPU only, interrupts masked.
    #[cfg(target_os = "none")]
    pub(crate) fn pop(&self) -> Option<NonNull<Context>> {
        let mut head = self.head.load(Acquire);
        loop {
            let stack = NonNull::new(head)?;
            // SAFETY: stacks are never unmapped while the system runs, and only this flow pops.
            let next = unsafe { stack.as_ref().pool_next.load(Relaxed) };
            match self.head.compare_exchange_weak(head, next, Acquire, Acquire) {
                Ok(_) => {
                    self.len.fetch_sub(1, Relaxed);
                    return Some(stack);
                }
                Err(h) => head = h,
            }
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
