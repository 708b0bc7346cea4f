//! What memory there is and what of it is taken: from the device tree to memblock. Pure, and fuzzed: the tree is the boot
//! loader's word, and a wrong one may cost memory but must not stop the boot.
//!
//! memblock gets what `/memory` describes, cut by `mem=`; reserved are the image, the device tree, the initrd, `/memreserve/` and
//! `/reserved-memory`, of which `no-map` ranges are not even mapped.

use crate::arch::aarch64::mmu_layout::{LINEAR_BASE, LINEAR_END, PAGE_SIZE};
use core::ops::Range;
use vigil_drivers::dt::{Dtb, early};
use vigil_mem::PhysAddr;
use vigil_mem::memblock::{MemBlock, TooManyRegions};

/// Memory at and above this cannot be mapped.
const LIMIT: usize = LINEAR_END - LINEAR_BASE;

/// The pages that `size` bytes at `base` touch, as start and length; empty when out of reach.
fn touched(base: u64, size: u64) -> (PhysAddr, usize) {
    let start = base as usize & !(PAGE_SIZE - 1);
    let end = (base as usize).saturating_add(size as usize).min(LIMIT).next_multiple_of(PAGE_SIZE);
    (PhysAddr::new(start), end.saturating_sub(start))
}

/// The whole pages inside `size` bytes at `base`, as start and end.
fn inside(base: u64, size: u64) -> Range<usize> {
    let start = (base as usize).checked_next_multiple_of(PAGE_SIZE).unwrap_or(usize::MAX);
    start..(base as usize).saturating_add(size as usize).min(LIMIT) & !(PAGE_SIZE - 1)
}

/// Fills `memory`; `image` is where the kernel is, `dtb_phys` where the tree is, `limit` what `mem=` says. Returns the initrd, if it
/// is in memory. Regions that do not fit in the lists are left out, and the first such error is returned at the end.
pub fn fill(
    memory: &mut MemBlock,
    dtb: &Dtb<'_>,
    dtb_phys: u64,
    image: Range<usize>,
    limit: Option<u64>,
) -> Result<Option<Range<PhysAddr>>, TooManyRegions> {
    let mut result = Ok(());
    let mut keep = |r: Result<(), TooManyRegions>| result = result.and(r);
    early::memory(dtb, |r| {
        let pages = inside(r.base, r.size);
        if pages.start < pages.end {
            keep(memory.add(PhysAddr::new(pages.start), pages.end - pages.start));
        }
    });
    let initrd = early::chosen(dtb).initrd.filter(|r| {
        let found = memory.memory().find(r.start as usize);
        r.start < r.end && found.is_some_and(|m| r.end as usize <= m.end())
    });
    if let Some(limit) = limit {
        keep(memory.enforce_limit(limit as usize & !(PAGE_SIZE - 1)));
    }
    // With `mem=` the image, the tree and the initrd may lie above the limit: their own pages are mapped all the same (Linux
    // does so for the initrd: arm64_memblock_init).
    let tree = touched(dtb_phys, dtb.total_size() as u64);
    let ramdisk = initrd.as_ref().map(|r| touched(r.start, r.end - r.start));
    let kernel = (PhysAddr::new(image.start), image.end.saturating_sub(image.start));
    for (start, len) in [Some(kernel), Some(tree), ramdisk].into_iter().flatten().filter(|r| r.1 != 0) {
        keep(memory.add(start, len));
        keep(memory.reserve(start, len));
    }
    for r in dtb.reserve_map() {
        let (start, len) = touched(r.base, r.size);
        if len != 0 {
            keep(memory.reserve(start, len));
        }
    }
    // CPUs spin there until they are released, on code that is next to the word (booting.rst: it is reserved).
    for word in early::cpus(dtb).filter_map(|cpu| cpu.enable.release_addr()) {
        let (start, len) = touched(word, 8);
        keep(memory.reserve(start, len));
    }
    early::reserved_memory(dtb, |r| {
        let (start, len) = touched(r.region.base, r.region.size);
        // What the kernel itself is in cannot be unmapped.
        let own = start.get() < image.end && image.start < start.get() + len;
        if len != 0 && !own {
            keep(if r.no_map { memory.mark_nomap(start, len) } else { memory.reserve(start, len) });
        }
    });
    result.map(|()| initrd.map(|r| PhysAddr::new(r.start as usize)..PhysAddr::new(r.end as usize)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;
    use vigil_drivers::dt::validate;

    /// A flattened tree, big-endian words.
    #[derive(Default)]
    struct Blob {
        words: Vec<u8>,
        strings: Vec<u8>,
        reserve: Vec<u8>,
    }

    impl Blob {
        fn word(&mut self, w: u32) -> &mut Self {
            self.words.extend(w.to_be_bytes());
            self
        }
        fn begin(&mut self, name: &str) -> &mut Self {
            self.word(1).words.extend(name.as_bytes());
            self.words.push(0);
            self.words.resize(self.words.len().next_multiple_of(4), 0);
            self
        }
        fn end(&mut self) -> &mut Self {
            self.word(2)
        }
        fn bytes(&mut self, name: &str, value: &[u8]) -> &mut Self {
            let at = self.strings.len() as u32;
            self.strings.extend(name.as_bytes());
            self.strings.push(0);
            self.word(3).word(value.len() as u32).word(at);
            self.words.extend(value);
            self.words.resize(self.words.len().next_multiple_of(4), 0);
            self
        }
        fn prop(&mut self, name: &str, cells: &[u32]) -> &mut Self {
            let value: Vec<u8> = cells.iter().flat_map(|c| c.to_be_bytes()).collect();
            self.bytes(name, &value)
        }
        fn reserve(&mut self, base: u64, size: u64) -> &mut Self {
            self.reserve.extend([base.to_be_bytes(), size.to_be_bytes()].concat());
            self
        }
        fn finish(&mut self) -> Vec<u8> {
            self.word(9).reserve(0, 0);
            let rsv = 40usize;
            let structure = rsv + self.reserve.len();
            let strings = structure + self.words.len();
            let total = (strings + self.strings.len()).next_multiple_of(8);
            let head = [0xd00d_feed, total, structure, strings, rsv, 17, 16, 0, self.strings.len(), self.words.len()];
            let mut out: Vec<u8> = head.iter().flat_map(|w| (*w as u32).to_be_bytes()).collect();
            out.extend(&self.reserve);
            out.extend(&self.words);
            out.extend(&self.strings);
            out.resize(total, 0);
            out
        }
    }

    /// 512 MiB at 1 GiB, an initrd, one reserved and one no-map range, and a /memreserve/.
    fn tree() -> Vec<u8> {
        let mut b = Blob::default();
        b.reserve(0x4100_0000, 0x1000);
        b.begin("").prop("#address-cells", &[2]).prop("#size-cells", &[2]);
        b.begin("memory@40000000").bytes("device_type", b"memory\0");
        b.prop("reg", &[0, 0x4000_0000, 0, 0x2000_0000]).end();
        b.begin("chosen").prop("linux,initrd-start", &[0x4800_0000]).prop("linux,initrd-end", &[0x4812_3456]).end();
        b.begin("reserved-memory").prop("#address-cells", &[2]).prop("#size-cells", &[2]).prop("ranges", &[]);
        b.begin("a@50000000").prop("reg", &[0, 0x5000_0000, 0, 0x10_0000]).end();
        b.begin("b@51000000").prop("reg", &[0, 0x5100_0000, 0, 0x20_0000]).prop("no-map", &[]).end();
        b.end().end();
        b.finish()
    }

    /// The blob, 8-byte aligned.
    fn aligned(blob: &[u8]) -> Vec<u64> {
        blob.chunks(8)
            .map(|c| {
                let mut w = [0; 8];
                w[..c.len()].copy_from_slice(c);
                u64::from_ne_bytes(w)
            })
            .collect()
    }

    fn with_tree<R>(blob: &[u8], f: impl FnOnce(Option<Dtb<'_>>) -> R) -> R {
        let words = aligned(blob);
        // SAFETY: the words are initialised bytes, and outlive the slice.
        let bytes = unsafe { core::slice::from_raw_parts(words.as_ptr().cast::<u8>(), blob.len()) };
        f(validate(bytes).ok())
    }

    const IMAGE: Range<usize> = 0x4020_0000..0x4040_0000;

    #[test]
    fn memory_is_what_the_tree_says() {
        with_tree(&tree(), |dtb| {
            let dtb = dtb.expect("the tree is valid");
            let mut m = std::boxed::Box::new(MemBlock::new());
            let initrd = fill(&mut m, &dtb, 0x4700_0000, IMAGE, None).unwrap().unwrap();
            assert_eq!((initrd.start.get(), initrd.end.get()), (0x4800_0000, 0x4812_3456));
            assert_eq!(m.memory().total(), 0x2000_0000);
            assert!(m.is_map_memory(PhysAddr::new(0x5000_0000)));
            assert!(!m.is_map_memory(PhysAddr::new(0x5110_0000)));
            let mut free = Vec::new();
            m.for_each_free_pages(|a, b| free.push(a.get()..b.get()));
            for taken in [0x4020_0000usize, 0x403f_f000, 0x4100_0000, 0x4700_0000, 0x4812_3000, 0x500f_f000, 0x5100_0000] {
                assert!(!free.iter().any(|r| r.contains(&taken)), "{taken:#x} is free");
            }
            for unused in [0x4000_0000usize, 0x4040_0000, 0x4812_4000, 0x5010_0000, 0x5120_0000, 0x5fff_f000] {
                assert!(free.iter().any(|r| r.contains(&unused)), "{unused:#x} is not free");
            }
        });
    }

    #[test]
    fn mem_cuts_but_keeps_what_is_needed() {
        with_tree(&tree(), |dtb| {
            let mut m = std::boxed::Box::new(MemBlock::new());
            let initrd = fill(&mut m, &dtb.unwrap(), 0x4700_0000, IMAGE, Some(64 << 20)).unwrap();
            assert!(initrd.is_some());
            assert!(m.is_map_memory(PhysAddr::new(0x4812_3000)) && m.is_map_memory(PhysAddr::new(0x4700_0000)));
            assert!(!m.is_map_memory(PhysAddr::new(0x4600_0000)));
        });
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]
        #[test]
        fn a_damaged_tree_never_panics(edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
                                       limit in proptest::option::of(any::<u64>()), at in any::<u64>()) {
            let mut blob = tree();
            for (i, b) in edits {
                let n = blob.len();
                blob[i.index(n)] = b;
            }
            with_tree(&blob, |dtb| {
                if let Some(dtb) = dtb {
                    let mut m = std::boxed::Box::new(MemBlock::new());
                    let _ = fill(&mut m, &dtb, at & !7, IMAGE, limit);
                    m.for_each_free_pages(|a, b| assert!(a < b));
                }
            });
        }
    }
}
