//! Address-space identifiers with generations (Linux: `arch/arm64/mm/context.c`; spec seed 000 §3.12).
//!
//! An address space holds a 64-bit context id: the generation above, the ASID below. When the ASIDs of a generation are
//! used up, the next one begins: what runs on each CPU keeps its ASID ("reserved"), everything else gets a new one when
//! it runs next, and each CPU flushes its TLB once before it uses the new generation. ASID 0 belongs to nobody: it is
//! in TTBR0 while no user space is mapped.
//!
//! The fast path is two loads and one compare-and-exchange on this CPU's word. The word is set to 0 by a roll-over, so a
//! CPU that switches at the same moment fails the exchange and takes the lock.

use core::sync::atomic::{AtomicU64, Ordering};
use vigil_executor::cpu::{CpuId, MAX_CPUS};

/// Most ASIDs that hardware knows: 16 bits.
pub const MAX_ASIDS: usize = 1 << 16;

/// What the fast path reads: no lock.
pub struct AsidState {
    generation: AtomicU64,
    active: [AtomicU64; MAX_CPUS],
    flush_pending: AtomicU64,
}

impl AsidState {
    /// The state before the first switch. Context ids of 0 belong to no generation.
    pub const fn new() -> Self {
        AsidState { generation: AtomicU64::new(1 << 16), active: [const { AtomicU64::new(0) }; MAX_CPUS], flush_pending: AtomicU64::new(0) }
    }

    /// Takes `id` into use on `cpu` if it is of the current generation and no roll-over is under way. `false`: take
    /// the lock and call [`AsidAllocator::renew`]. Interrupts are masked.
    #[inline(always)]
    pub fn try_activate(&self, cpu: CpuId, id: u64) -> bool {
        let active = &self.active[cpu.index() % MAX_CPUS];
        let old = active.load(Ordering::Relaxed);
        // The CPU has had nothing else since: a roll-over, before or after this look, finds it noted all the same, and keeps it.
        old == id && id != 0
            || old != 0
                && (id ^ self.generation.load(Ordering::Relaxed)) >> 16 == 0
                && active.compare_exchange(old, id, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// The generation now, in the upper 48 bits.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }
}

impl Default for AsidState {
    fn default() -> Self {
        Self::new()
    }
}

/// What the slow path changes, under one lock.
pub struct AsidAllocator {
    used: [u64; MAX_ASIDS / 64],
    reserved: [u64; MAX_CPUS],
    limit: usize,
    next: usize,
}

impl AsidAllocator {
    /// An allocator of 16-bit ASIDs; [`Self::set_bits`] narrows it.
    pub const fn new() -> Self {
        AsidAllocator { used: [0; MAX_ASIDS / 64], reserved: [0; MAX_CPUS], limit: MAX_ASIDS, next: 1 }
    }

    /// Sets the width, 7 to 16 bits: ID_AA64MMFR0_EL1.ASIDBits gives 8 or 16, of which KPTI takes one. Before the first
    /// address space.
    pub fn set_bits(&mut self, bits: u32) {
        self.limit = 1 << bits.clamp(7, 16);
    }

    fn test_and_set(&mut self, asid: usize) -> bool {
        let bit = 1 << (asid % 64);
        let was = self.used[asid / 64] & bit != 0;
        self.used[asid / 64] |= bit;
        was
    }

    fn find_free(&self, from: usize) -> Option<usize> {
        let mut word = from / 64;
        let mut bits = !self.used[word] & (!0 << (from % 64));
        loop {
            if bits != 0 {
                let asid = word * 64 + bits.trailing_zeros() as usize;
                return (asid < self.limit).then_some(asid);
            }
            word += 1;
            if word * 64 >= self.limit {
                return None;
            }
            bits = !self.used[word];
        }
    }

    /// Begins a new generation: only what runs now keeps its ASID.
    fn roll_over(&mut self, state: &AsidState) {
        self.used[..self.limit.div_ceil(64)].fill(0);
        for cpu in 0..MAX_CPUS {
            // 0 tells a racing fast path that its exchange came too late, and us, at the next roll-over, that this CPU
            // has not switched since: then what it was running is what we reserved the last time.
            let running = match state.active[cpu].swap(0, Ordering::Relaxed) {
                0 => self.reserved[cpu],
                id => id,
            };
            self.test_and_set(running as usize & (MAX_ASIDS - 1));
            self.reserved[cpu] = running;
        }
        state.flush_pending.store((1 << MAX_CPUS) - 1, Ordering::Relaxed);
    }

    /// If `id` is reserved for some CPU, moves the reservations to `new`.
    fn update_reserved(&mut self, id: u64, new: u64) -> bool {
        let mut hit = false;
        for r in &mut self.reserved {
            if *r == id {
                *r = new;
                hit = true;
            }
        }
        hit
    }

    /// The context id with which the address space whose id was `old` (0: none yet) runs on `cpu` from now on. The
    /// second value: this CPU must flush its whole TLB before it uses it. Interrupts are masked.
    pub fn renew(&mut self, state: &AsidState, cpu: usize, old: u64) -> (u64, bool) {
        let mut id = old;
        if (old ^ state.generation.load(Ordering::Relaxed)) >> 16 != 0 {
            id = self.new_context(state, old);
        }
        let bit = 1 << cpu;
        let flush = state.flush_pending.fetch_and(!bit, Ordering::Relaxed) & bit != 0;
        state.active[cpu].store(id, Ordering::Relaxed);
        (id, flush)
    }

    fn new_context(&mut self, state: &AsidState, old: u64) -> u64 {
        let generation = state.generation.load(Ordering::Relaxed);
        let asid = old as usize & (MAX_ASIDS - 1);
        if old != 0 {
            let moved = generation | asid as u64;
            // Was running during the roll-over: keeps its number, for another CPU may still use it.
            if self.update_reserved(old, moved) {
                return moved;
            }
            // Its number may be free in this generation: then it keeps that, too.
            if !self.test_and_set(asid) {
                return moved;
            }
        }
        if let Some(free) = self.find_free(self.next) {
            self.test_and_set(free);
            self.next = free;
            return generation | free as u64;
        }
        let generation = generation.wrapping_add(1 << 16);
        state.generation.store(generation, Ordering::Relaxed);
        self.roll_over(state);
        self.test_and_set(0);
        // There are more ASIDs than CPUs, so one is free.
        let free = self.find_free(1).unwrap_or(1);
        self.test_and_set(free);
        self.next = free;
        generation | free as u64
    }
}

impl Default for AsidAllocator {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    /// 600 address spaces on 4 CPUs with 8-bit ASIDs: at no time do two that run, or that ran in the same generation,
    /// share an ASID; each CPU flushes once per generation.
    #[test]
    fn eight_bit_asids_survive_many_roll_overs_without_sharing() {
        let state = AsidState::new();
        let mut alloc = AsidAllocator::new();
        alloc.set_bits(8);
        let mut ids = [0u64; 600];
        let mut running = [usize::MAX; 4];
        let mut seen: [HashMap<u64, usize>; 4] = Default::default();
        let mut seed = 12345u64;
        let first = state.generation();
        for _ in 0..200_000 {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let cpu = (seed >> 33) as usize % 4;
            let mm = (seed >> 40) as usize % ids.len();
            if !state.try_activate(CpuId::new(cpu).unwrap(), ids[mm]) {
                let (id, flush) = alloc.renew(&state, cpu, ids[mm]);
                ids[mm] = id;
                if flush {
                    seen[cpu].clear();
                }
            }
            running[cpu] = mm;
            let asid = ids[mm] & 0xffff;
            assert!(asid != 0 && asid < 256);
            // The TLB of this CPU may hold entries of every space that ran here since its last flush.
            let owner = *seen[cpu].entry(asid).or_insert(mm);
            assert_eq!(owner, mm, "ASID {asid} on CPU {cpu} used by two address spaces without a flush between");
            for other in 0..4 {
                let o = running[other];
                if other != cpu && o != usize::MAX && o != mm {
                    assert_ne!(ids[o] & 0xffff, asid, "two spaces run with one ASID");
                }
            }
        }
        assert!(state.generation() > first + (100 << 16));
    }
}
