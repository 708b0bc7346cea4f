//! Where mappings go: the random offsets of an address space, and the search for a gap
//! (Linux: `mm/util.c` `mmap_base`, `arch_mmap_rnd`; spec seed 000 §3.2.2, §3.4.2).

use super::pgtable::page_down;
use super::space::Mm;
use super::tree::VmaTree;
use super::vma::VmFlags;
use super::{MMAP_MIN_ADDR, STACK_GUARD_GAP};
use vigil_abi::Errno;
use vigil_mem::{PAGE_SHIFT, PAGE_SIZE, TASK_SIZE};

/// Random bits of the mmap base, in pages (arm64's default with 48-bit addresses and 4 KiB pages).
const MMAP_RND_BITS: u32 = 18;
/// Random pages of the stack's top.
const STACK_RND_MASK: usize = 0x3ffff;
/// Smallest room kept for the stack.
const GAP_MIN: usize = 128 << 20;
/// Largest room kept for the stack.
const GAP_MAX: usize = TASK_SIZE / 6 * 5;
/// Where PIEs with an interpreter go: two thirds up.
pub const ELF_ET_DYN_BASE: usize = page_down(2 * TASK_SIZE / 3);

/// The limits and rights of the caller of a memory system call.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// RLIMIT_AS, bytes.
    pub as_: u64,
    /// RLIMIT_DATA, bytes.
    pub data: u64,
    /// RLIMIT_STACK, bytes.
    pub stack: u64,
    /// RLIMIT_MEMLOCK, bytes.
    pub memlock: u64,
    /// CAP_IPC_LOCK.
    pub cap_ipc_lock: bool,
    /// CAP_SYS_RAWIO: may map the lowest pages.
    pub cap_sys_rawio: bool,
}

impl Limits {
    /// Whether a mapping may be placed at `addr` (Linux: cap_mmap_addr). EPERM.
    pub fn check_low(&self, addr: usize) -> Result<(), Errno> {
        if addr < MMAP_MIN_ADDR && !self.cap_sys_rawio { Err(Errno::EPERM) } else { Ok(()) }
    }

    /// No limits: the kernel's own mappings.
    pub const NONE: Limits =
        Limits { as_: u64::MAX, data: u64::MAX, stack: u64::MAX, memlock: u64::MAX, cap_ipc_lock: true, cap_sys_rawio: true };
}

/// Where an address space puts things.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// The search goes down from here.
    pub mmap_base: usize,
    /// The search goes up from `mmap_base` instead: the legacy layout.
    pub bottom_up: bool,
    /// The stack's top.
    pub stack_top: usize,
    /// Random bytes for PIE base and heap, or `None` without ASLR.
    seed: Option<[u64; 4]>,
}

impl Layout {
    /// The layout for a program with `stack_limit` (RLIMIT_STACK, bytes). `seed`: four random words, `None` with
    /// ADDR_NO_RANDOMIZE or norandmaps. `legacy`: ADDR_COMPAT_LAYOUT or vm.legacy_va_layout; an unlimited stack means
    /// it, too.
    pub fn new(stack_limit: u64, seed: Option<[u64; 4]>, legacy: bool) -> Layout {
        let stack_limit = stack_limit as usize;
        let rnd = seed.map_or(0, |s| (s[0] as usize & ((1 << MMAP_RND_BITS) - 1)) << PAGE_SHIFT);
        let stack_rnd = seed.map_or(0, |s| (s[1] as usize & STACK_RND_MASK) << PAGE_SHIFT);
        let stack_top = TASK_SIZE - stack_rnd;
        if legacy || stack_limit == usize::MAX {
            let base = page_down(TASK_SIZE / 4).wrapping_add(rnd);
            return Layout { mmap_base: base, bottom_up: true, stack_top, seed };
        }
        let pad = STACK_GUARD_GAP + if seed.is_some() { STACK_RND_MASK << PAGE_SHIFT } else { 0 };
        let gap = stack_limit.checked_add(pad).unwrap_or(stack_limit).clamp(GAP_MIN, GAP_MAX);
        let base = TASK_SIZE - gap - rnd;
        let mmap_base = page_down(base.saturating_add(PAGE_SIZE - 1));
        Layout { mmap_base, bottom_up: false, stack_top, seed }
    }

    /// The base of a PIE with an interpreter, before its alignment.
    pub fn pie_base(&self) -> usize {
        ELF_ET_DYN_BASE + self.seed.map_or(0, |s| ((s[2] as usize) & ((1 << MMAP_RND_BITS) - 1)) << PAGE_SHIFT)
    }

    /// The heap's start for a program whose data ends at `end`: within 1 GiB above it (`arch_randomize_brk`).
    pub fn randomize_brk(&self, end: usize) -> usize {
        let pages = (1usize << 30) >> PAGE_SHIFT;
        end.saturating_add(self.seed.map_or(0, |s| (s[3] as usize % pages) << PAGE_SHIFT))
    }

    /// Random bytes by which the initial stack pointer is lowered (`arch_align_stack`), below 8 KiB.
    pub fn stack_offset(&self) -> usize {
        self.seed.map_or(0, |s| (s[2] >> 20) as usize & (PAGE_SIZE - 1))
    }

    /// Whether addresses are random.
    pub fn is_random(&self) -> bool {
        self.seed.is_some()
    }
}

/// The highest gap of `len` bytes that ends at or below `top`, not below `low` (`unmapped_area_topdown`).
pub fn gap_top_down(tree: &VmaTree, len: usize, low: usize, top: usize) -> Option<usize> {
    let mut high = top;
    let mut pos = tree.before(top);
    // A mapping above `top` keeps its own guard free below it.
    if let Some(above) = tree.find(top).and_then(|p| tree.get(p)) {
        high = high.min(above.guard_start(STACK_GUARD_GAP));
    }
    loop {
        let (below_end, below_start, prev) = match pos.and_then(|p| tree.get(p).map(|v| (p, v))) {
            Some((p, v)) => (v.end, v.guard_start(STACK_GUARD_GAP), tree.prev(p)),
            None => (low, low, None),
        };
        let floor = below_end.max(low);
        if high >= floor && high - floor >= len {
            return Some(high - len);
        }
        if pos.is_none() || below_end <= low {
            return None;
        }
        high = high.min(below_start);
        pos = prev;
    }
}

/// The lowest gap of `len` bytes that begins at or above `low` and ends at or below `high` (`unmapped_area`).
pub fn gap_bottom_up(tree: &VmaTree, len: usize, low: usize, high: usize) -> Option<usize> {
    let mut at = low;
    let mut pos = tree.find(low);
    loop {
        let limit = match pos.and_then(|p| tree.get(p)) {
            Some(v) => v.guard_start(STACK_GUARD_GAP).min(high),
            None => high,
        };
        if limit >= at && limit - at >= len {
            return Some(at);
        }
        let vma = pos.and_then(|p| tree.get(p))?;
        at = at.max(vma.end);
        if at >= high {
            return None;
        }
        pos = pos.and_then(|p| tree.next(p));
    }
}

impl Mm {
    /// Where a mapping of `len` bytes goes that asked for `hint` (`arch_get_unmapped_area_topdown`). ENOMEM.
    pub(crate) fn get_unmapped_area(tree: &VmaTree, layout: &Layout, hint: usize, len: usize) -> Result<usize, Errno> {
        if len > TASK_SIZE - MMAP_MIN_ADDR {
            return Err(Errno::ENOMEM);
        }
        if hint != 0 {
            let at = page_down(hint.saturating_add(PAGE_SIZE - 1)).max(MMAP_MIN_ADDR);
            if TASK_SIZE - len >= at && Self::is_free(tree, at, len) {
                return Ok(at);
            }
        }
        let found = if layout.bottom_up {
            gap_bottom_up(tree, len, layout.mmap_base, TASK_SIZE)
        } else {
            gap_top_down(tree, len, MMAP_MIN_ADDR, layout.mmap_base)
                // A long search from the bottom is better than failure.
                .or_else(|| gap_bottom_up(tree, len, page_down(TASK_SIZE / 4), TASK_SIZE))
        };
        found.ok_or(Errno::ENOMEM)
    }

    /// Whether `[at, at + len)` is free, with the guards of stacks around it.
    fn is_free(tree: &VmaTree, at: usize, len: usize) -> bool {
        let above = tree.find(at).and_then(|p| tree.get(p));
        above.is_none_or(|v| at + len <= v.guard_start(STACK_GUARD_GAP))
    }

    /// Whether `pages` more of `flags` stay within RLIMIT_AS and RLIMIT_DATA (`may_expand_vm`).
    pub(super) fn may_expand(&self, flags: VmFlags, pages: usize, limits: &Limits) -> bool {
        use core::sync::atomic::Ordering::Relaxed;
        let total = self.counters.total.load(Relaxed).saturating_add(pages);
        let data = self.counters.data.load(Relaxed).saturating_add(pages);
        total <= limits.as_ as usize >> PAGE_SHIFT && (!flags.is_data() || data <= limits.data as usize >> PAGE_SHIFT)
    }
}

#[cfg(test)]
mod tests {
    use super::super::vma::Vma;
    use super::*;

    fn tree(ranges: &[(usize, usize)]) -> VmaTree {
        let mut t = VmaTree::new();
        for (s, e) in ranges {
            t.reserve().unwrap();
            t.insert(Vma::anonymous(*s, *e, VmFlags::READ)).map_err(|_| ()).unwrap();
        }
        t
    }

    #[test]
    fn without_randomness_the_base_is_linuxs() {
        let l = Layout::new(8 << 20, None, false);
        assert_eq!(l.mmap_base, TASK_SIZE - (128 << 20));
        assert_eq!(l.stack_top, TASK_SIZE);
        assert_eq!(ELF_ET_DYN_BASE, 0xaaaa_aaaa_a000);
        assert!(Layout::new(u64::MAX, None, false).bottom_up);
    }

    #[test]
    fn random_layouts_leave_room_for_the_stack() {
        for s in 0..1000u64 {
            let x = s.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let l = Layout::new(8 << 20, Some([x, x.rotate_left(13), x.rotate_left(29), x.rotate_left(47)]), false);
            assert!(l.stack_top - l.mmap_base >= (8 << 20) + STACK_GUARD_GAP);
            assert_eq!(l.mmap_base % PAGE_SIZE, 0);
            assert_eq!(l.pie_base() % PAGE_SIZE, 0);
        }
    }

    #[test]
    fn gaps_are_found_from_the_wanted_side() {
        let t = tree(&[(0x10000, 0x20000), (0x30000, 0x40000), (0x80000, 0x90000)]);
        assert_eq!(gap_top_down(&t, 0x1000, 0x10000, 0x100000), Some(0xff000));
        assert_eq!(gap_top_down(&t, 0x1000, 0x10000, 0x90000), Some(0x7f000));
        assert_eq!(gap_top_down(&t, 0x41000, 0x10000, 0x90000), None);
        assert_eq!(gap_top_down(&t, 0x40000, 0x10000, 0x90000), Some(0x40000));
        assert_eq!(gap_top_down(&t, 0x10000, 0x10000, 0x40000), Some(0x20000));
        assert_eq!(gap_top_down(&t, 0x1000, 0x10000, 0x88000), Some(0x7f000), "the top lies in a mapping");
        assert_eq!(gap_bottom_up(&t, 0x10000, 0x10000, 0x100000), Some(0x20000));
        assert_eq!(gap_bottom_up(&t, 0x20000, 0x10000, 0x100000), Some(0x40000));
        assert_eq!(gap_bottom_up(&t, 0x80000, 0x10000, 0x100000), None);
    }

    #[test]
    fn a_stack_keeps_its_guard() {
        let mut t = tree(&[(0x10000, 0x20000)]);
        t.reserve().unwrap();
        let stack = VmFlags::READ | VmFlags::GROWSDOWN;
        t.insert(Vma::anonymous(0x1000_0000, 0x1002_0000, stack)).map_err(|_| ()).unwrap();
        let found = gap_top_down(&t, 0x1000, 0x10000, 0x1000_0000).unwrap();
        assert_eq!(found + 0x1000, 0x1000_0000 - STACK_GUARD_GAP);
    }
}
