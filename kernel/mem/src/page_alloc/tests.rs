//! Tests of the page allocator on the host's machine.

use super::*;
use crate::addr::{PAGE_SIZE, Pfn};
use crate::page::{PageRef, page_of};
use crate::{fault, host};
use proptest::prelude::*;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::vec::Vec;

/// Counts of the shared machine are compared, so these tests run one at a time.
fn alone() -> std::sync::MutexGuard<'static, ()> {
    host::start();
    crate::host::EXCLUSIVE.lock().unwrap_or_else(|e| e.into_inner())
}

#[test]
fn pages_are_distinct_aligned_counted_and_come_back() {
    let _alone = alone();
    let before = meminfo().free;
    let mut held = Vec::new();
    for order in 0..MAX_ORDER {
        let p = alloc_pages(order, Gfp::KERNEL | Gfp::ZERO).unwrap();
        assert_eq!(p.pfn().get() % (1 << order), 0);
        assert_eq!((p.refcount(), p.order()), (1, order));
        // SAFETY: our own pages.
        unsafe {
            let bytes = std::slice::from_raw_parts_mut(p.as_ptr(), PAGE_SIZE << order);
            assert!(bytes.iter().all(|b| *b == 0));
            bytes.fill(0xaa);
        }
        held.push((p, order));
    }
    assert_eq!(meminfo().free, before - ((1 << MAX_ORDER) - 1));
    for (p, order) in held {
        free_pages(p, order);
    }
    assert_eq!(meminfo().free, before);
    assert!(alloc_pages(MAX_ORDER, Gfp::KERNEL).is_none());
}

#[test]
fn references_keep_a_page() {
    let _alone = alone();
    let before = meminfo().free;
    let a = PageRef::try_new(Gfp::USER).unwrap();
    let b = a.clone();
    assert!(b.is(&a) && a.refcount() == 2);
    assert!(std::ptr::eq(page_of(a.pfn()).unwrap(), a.page()));
    drop(a);
    assert_eq!(meminfo().free, before - 1);
    let page = b.page();
    drop(b);
    assert_eq!(meminfo().free, before);
    assert!(PageRef::try_from_page(page).is_none(), "a free page gives no reference");
}

#[test]
fn exhaustion_is_an_answer_and_the_reserve_is_for_atomic_requests() {
    let _alone = alone();
    drain_local();
    let before = meminfo().free;
    let mut held = Vec::new();
    while let Some(p) = alloc_pages(0, Gfp::KERNEL) {
        held.push(p);
    }
    assert!(meminfo().free > 0, "the reserve is left");
    let reserve = meminfo().free;
    let atomic = alloc_pages(0, Gfp::ATOMIC).unwrap();
    assert!(alloc_pages(0, Gfp::KERNEL).is_none(), "one atomic request opens the reserve for itself only");
    let mut rest: Vec<_> = std::iter::from_fn(|| alloc_pages(0, Gfp::ATOMIC | Gfp::MEMALLOC)).collect();
    assert_eq!(meminfo().free, 0);
    assert!(rest.len() + 1 >= reserve);
    assert!(alloc_pages(0, Gfp::MEMALLOC).is_none());
    rest.push(atomic);
    held.into_iter().chain(rest).for_each(|p| free_pages(p, 0));
    drain_local();
    assert_eq!(meminfo().free, before);
    let whole: usize = zone_stats().map(|z| z.blocks[MAX_ORDER - 1] << (MAX_ORDER - 1)).sum();
    assert!(whole + (2 << MAX_ORDER) > before, "everything has merged again");
}

#[test]
fn injected_failures_are_seen_also_by_the_waiting_face() {
    let _alone = alone();
    assert!(fault::set(1));
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    let r = std::pin::pin!(alloc_pages_wait(0, Gfp::KERNEL)).poll(&mut cx);
    assert_eq!(r.map(|p| p.is_none()), std::task::Poll::Ready(true));
    let std::task::Poll::Ready(Some(p)) = std::pin::pin!(alloc_pages_wait(0, Gfp::KERNEL)).poll(&mut cx) else { panic!("memory is there") };
    free_pages(p, 0);
    assert!(fault::set(0));
}

struct Hoard(std::sync::Mutex<Vec<&'static crate::page::Page>>);
impl Shrinker for Hoard {
    fn name(&self) -> &'static str {
        "hoard"
    }
    fn count(&self, _: Gfp) -> usize {
        self.0.lock().unwrap().len()
    }
    fn scan(&self, nr: usize, _: Gfp) -> usize {
        let mut h = self.0.lock().unwrap();
        let n = nr.min(h.len());
        h.drain(..n).for_each(|p| free_pages(p, 0));
        n
    }
}
static HOARD: Hoard = Hoard(std::sync::Mutex::new(Vec::new()));
static OOMS: AtomicUsize = AtomicUsize::new(0);

#[test]
fn the_waiting_face_reclaims_and_gives_up_in_the_end() {
    let _alone = alone();
    register_shrinker(&HOARD).unwrap();
    set_oom_hook(|_| {
        OOMS.fetch_add(1, Ordering::Relaxed);
        false
    });
    let wait = |order| {
        let mut f = std::pin::pin!(alloc_pages_wait(order, Gfp::KERNEL));
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        for _ in 0..1000 {
            if let std::task::Poll::Ready(r) = f.as_mut().poll(&mut cx) {
                return r;
            }
        }
        panic!("never ready")
    };
    let mut held = Vec::new();
    while let Some(p) = alloc_pages(0, Gfp::KERNEL) {
        held.push(p);
    }
    *HOARD.0.lock().unwrap() = held.split_off(held.len() - 3000);
    let p = wait(0).expect("the hoard can be given up");
    free_pages(p, 0);
    assert_eq!(OOMS.load(Ordering::Relaxed), 0);
    HOARD.0.lock().unwrap().drain(..).for_each(|p| held.push(p));
    while let Some(p) = alloc_pages(0, Gfp::KERNEL) {
        held.push(p);
    }
    assert!(wait(0).is_none());
    assert_eq!(OOMS.load(Ordering::Relaxed), 1);
    held.into_iter().for_each(|p| free_pages(p, 0));
    drain_local();
}

#[test]
fn many_threads_never_share_a_page() {
    let _alone = alone();
    drain_local();
    let before = meminfo().free;
    std::thread::scope(|s| {
        for t in 0..4u64 {
            s.spawn(move || {
                // Two of the threads play one CPU, the others one each.
                let cpu = vigil_executor::cpu::CpuId::new(t as usize / 2 + t as usize % 2).unwrap();
                // SAFETY: the block is a static; that two threads share a CPU is what the list's host lock is for.
                unsafe { vigil_executor::arch::set_cpu_local(vigil_executor::cpu::local_of(cpu)) };
                let mut seed = t + 1;
                let mut held: Vec<(&'static Page, usize)> = Vec::new();
                for _ in 0..20_000 {
                    seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    if seed >> 63 == 0 || held.len() > 200 {
                        if let Some((p, o)) = held.pop() {
                            // SAFETY: our own page.
                            unsafe { assert_eq!(p.as_ptr().cast::<u64>().read(), t << 32 | p.pfn().get() as u64) };
                            free_pages(p, o);
                        }
                    } else {
                        let order = [0, 0, 0, 1, 3][(seed >> 40) as usize % 5];
                        let gfp = [Gfp::KERNEL, Gfp::USER, Gfp::KERNEL | Gfp::RECLAIMABLE][(seed >> 50) as usize % 3];
                        let p = alloc_pages(order, gfp).unwrap();
                        // SAFETY: our own page.
                        unsafe { p.as_ptr().cast::<u64>().write(t << 32 | p.pfn().get() as u64) };
                        held.push((p, order));
                    }
                }
                held.into_iter().for_each(|(p, o)| free_pages(p, o));
                drain_local();
            });
        }
    });
    assert_eq!(meminfo().free, before);
}

#[test]
fn what_cannot_be_moved_does_not_scatter() {
    let _alone = alone();
    drain_local();
    let before = meminfo().free;
    let (mut stay, mut go) = (Vec::new(), Vec::new());
    // One page in eight is the kernel's, and they are requested in turn with the movable ones.
    for i in 0..before * 7 / 8 {
        if i % 8 == 0 {
            stay.push(alloc_pages(0, Gfp::KERNEL).unwrap());
        } else {
            go.push(alloc_pages(0, Gfp::USER).unwrap());
        }
    }
    go.into_iter().for_each(|p| free_pages(p, 0));
    drain_local();
    let huge: usize = zone_stats().map(|z| (z.blocks[9] << 9) + (z.blocks[10] << 10)).sum();
    assert!(huge > meminfo().free * 3 / 4, "only {huge} of {} free pages are in blocks of 2 MiB", meminfo().free);
    stay.into_iter().for_each(|p| free_pages(p, 0));
    drain_local();
    assert_eq!(meminfo().free, before);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]
    #[test]
    fn blocks_never_overlap(ops in prop::collection::vec((0..6usize, 0..3usize, any::<bool>()), 1..300)) {
        let _alone = alone();
        let before = meminfo().free;
        let mut used = std::collections::BTreeSet::new();
        let mut held: Vec<(&'static Page, usize)> = Vec::new();
        for (order, kind, free) in ops {
            if free && !held.is_empty() {
                let (p, o) = held.swap_remove(order % held.len());
                (0..1 << o).for_each(|i| { used.remove(&(p.pfn().get() + i)); });
                free_pages(p, o);
            } else {
                let gfp = [Gfp::KERNEL, Gfp::USER, Gfp::KERNEL | Gfp::RECLAIMABLE][kind];
                let p = alloc_pages(order, gfp).unwrap();
                for i in 0..1 << order {
                    let pfn = p.pfn().get() + i;
                    prop_assert!(used.insert(pfn), "frame given out twice");
                    prop_assert!(crate::page::pfn_valid(Pfn::new(pfn)));
                }
                held.push((p, order));
            }
        }
        held.into_iter().for_each(|(p, o)| free_pages(p, o));
        prop_assert_eq!(meminfo().free, before);
    }
}
