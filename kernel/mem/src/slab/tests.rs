//! Tests of the slab allocator on the host's machine.

use super::*;
use crate::page_alloc::{self, Gfp};
use crate::{fault, host};
use std::alloc::{GlobalAlloc, Layout};
use std::collections::BTreeSet;
use std::ptr::NonNull;
use std::vec::Vec;

fn alone() -> std::sync::MutexGuard<'static, ()> {
    host::start();
    host::EXCLUSIVE.lock().unwrap_or_else(|e| e.into_inner())
}

#[test]
fn objects_are_distinct_aligned_and_all_come_back() {
    let _alone = alone();
    static C: KmemCache = KmemCache::new("test-72", 72, 16);
    page_alloc::drain_local();
    let before = page_alloc::meminfo().free;
    let mut seen = BTreeSet::new();
    let objs: Vec<_> = (0..1000)
        .map(|i| {
            let p = C.alloc(Gfp::KERNEL).unwrap();
            assert!((p.as_ptr() as usize).is_multiple_of(16) && seen.insert(p.as_ptr() as usize));
            // SAFETY: our own object.
            unsafe { p.as_ptr().write_bytes(i as u8, 72) };
            p
        })
        .collect();
    assert_eq!(C.info().active_objs, 1000);
    assert!(seen.iter().zip(seen.iter().skip(1)).all(|(a, b)| b - a >= 72));
    for (i, p) in objs.into_iter().enumerate() {
        // SAFETY: our own object, given back once.
        unsafe {
            assert!(std::slice::from_raw_parts(p.as_ptr(), 72).iter().all(|b| *b == i as u8));
            C.free(p);
        }
    }
    assert_eq!(C.info().active_objs, 0);
    C.shrink();
    assert_eq!(C.info().num_slabs, 0);
    assert_eq!(page_alloc::meminfo().free, before);
    assert!(caches().any(|c| c.info().name == "test-72"));
}

#[test]
fn a_turn_of_draining_gives_a_few_objects_back() {
    let _alone = alone();
    static C: KmemCache = KmemCache::new("test-turn", 64, 8);
    let objs: Vec<_> = (0..30).map(|_| C.alloc(Gfp::KERNEL).unwrap()).collect();
    // SAFETY: our own objects, given back once.
    objs.into_iter().for_each(|p| unsafe { C.free(p) });
    let mut turns = 0;
    while C.drain_turn() {
        turns += 1;
    }
    assert!((4..1000).contains(&turns), "{turns}");
    C.shrink();
    assert_eq!(C.info().num_slabs, 0);
}

#[test]
fn constructed_objects_stay_constructed() {
    let _alone = alone();
    fn ctor(p: NonNull<u8>) {
        // SAFETY: an object of 16 bytes.
        unsafe { p.as_ptr().cast::<u64>().write(0x1234) };
    }
    static C: KmemCache = KmemCache::with_ctor("test-ctor", 16, 8, ctor);
    for _ in 0..3 {
        let all: Vec<_> = (0..300).map(|_| C.alloc(Gfp::KERNEL).unwrap()).collect();
        for p in all {
            // SAFETY: our own object, given back once.
            unsafe {
                assert_eq!(p.as_ptr().cast::<u64>().read(), 0x1234);
                C.free(p);
            }
        }
    }
    C.shrink();
}

#[test]
fn every_size_and_alignment_is_served_and_zeroed() {
    let _alone = alone();
    page_alloc::drain_local();
    drain_local();
    shrink_all();
    let before = page_alloc::meminfo().free;
    let mut held = Vec::new();
    for size in (1..300)
        .chain([512, 513, 1000, 1024, 1025, 1168, 1169, 1248, 1249, 1360, 1361, 1632, 1633, 2048, 4096, 4097, 8192, 8193, 20_000, 100_000])
    {
        for align in [1, 8, 16, 32, 64, 128, 4096] {
            let layout = Layout::from_size_align(size, align).unwrap();
            // SAFETY: the size is not 0.
            let p = unsafe { KernelAllocator.alloc_zeroed(layout) };
            assert!(!p.is_null() && (p as usize).is_multiple_of(align), "{size} {align}");
            // SAFETY: our own memory.
            unsafe {
                let bytes = std::slice::from_raw_parts_mut(p, size);
                assert!(bytes.iter().all(|b| *b == 0));
                bytes.fill(0xee);
            }
            held.push((p, layout));
        }
    }
    for (p, layout) in held {
        // SAFETY: allocated above with this layout.
        unsafe { KernelAllocator.dealloc(p, layout) };
    }
    shrink_all();
    page_alloc::drain_local();
    assert_eq!(page_alloc::meminfo().free, before);
}

#[test]
fn realloc_keeps_the_bytes() {
    let _alone = alone();
    let mut layout = Layout::from_size_align(10, 1).unwrap();
    // SAFETY: allocated and reallocated with the layouts that were used.
    unsafe {
        let mut p = KernelAllocator.alloc(layout);
        p.write_bytes(7, 10);
        for size in [12, 40, 5000, 20_000, 100, 10] {
            p = KernelAllocator.realloc(p, layout, size);
            assert!(std::slice::from_raw_parts(p, 10).iter().all(|b| *b == 7));
            layout = Layout::from_size_align(size, 1).unwrap();
        }
        KernelAllocator.dealloc(p, layout);
    }
}

#[test]
fn injected_failures_come_once_per_object() {
    let _alone = alone();
    static C: KmemCache = KmemCache::new("test-inject", 64, 8);
    assert!(fault::set(3));
    let r: Vec<_> = (0..5).map(|_| C.alloc(Gfp::KERNEL)).collect();
    assert!(fault::set(0));
    assert_eq!(r.iter().map(|o| o.is_some()).collect::<Vec<_>>(), [true, true, false, true, true]);
    // SAFETY: our own objects.
    r.into_iter().flatten().for_each(|o| unsafe { C.free(o) });
    C.shrink();
}

#[test]
fn boxes_of_a_named_cache() {
    let _alone = alone();
    static C: Cache<[u64; 5]> = Cache::new("test-typed");
    let a = C.try_new([1, 2, 3, 4, 5]).unwrap();
    assert_eq!((a[4], C.raw().info().active_objs), (5, 1));
    drop(a);
    assert_eq!(C.raw().info().active_objs, 0);
}

#[test]
fn many_threads_share_a_cache() {
    let _alone = alone();
    static C: KmemCache = KmemCache::new("test-smp", 128, 64);
    std::thread::scope(|s| {
        for t in 0..4u64 {
            s.spawn(move || {
                // Each thread plays a CPU of its own.
                let cpu = vigil_executor::cpu::CpuId::new(t as usize).unwrap();
                // SAFETY: the block is a static; no other thread of this test plays this CPU.
                unsafe { vigil_executor::arch::set_cpu_local(vigil_executor::cpu::local_of(cpu)) };
                let mut seed = t + 1;
                let mut held: Vec<NonNull<u8>> = Vec::new();
                for _ in 0..50_000 {
                    seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    if (seed >> 60 < 8 && !held.is_empty()) || held.len() > 400 {
                        let p = held.swap_remove((seed >> 33) as usize % held.len());
                        // SAFETY: our own object, given back once.
                        unsafe {
                            assert_eq!(p.as_ptr().cast::<u64>().read(), t ^ p.as_ptr() as u64);
                            C.free(p);
                        }
                    } else {
                        let p = C.alloc(Gfp::KERNEL).unwrap();
                        // SAFETY: our own object.
                        unsafe { p.as_ptr().cast::<u64>().write(t ^ p.as_ptr() as u64) };
                        held.push(p);
                    }
                }
                // SAFETY: our own objects.
                held.into_iter().for_each(|p| unsafe { C.free(p) });
                C.drain_local();
            });
        }
    });
    assert_eq!(C.info().active_objs, 0);
    C.shrink();
    assert_eq!(C.info().num_slabs, 0);
}

#[cfg(debug_assertions)]
mod checks {
    use super::*;

    fn message(f: impl FnOnce() + std::panic::UnwindSafe) -> std::string::String {
        let e = std::panic::catch_unwind(f).expect_err("not noticed");
        *e.downcast::<std::string::String>().unwrap()
    }

    #[test]
    fn misuse_is_noticed() {
        let _alone = alone();
        static C: KmemCache = KmemCache::new("test-checks", 40, 8);
        let p = C.alloc(Gfp::KERNEL).unwrap();
        // SAFETY: deliberate misuse of an object of this test's own cache, which is never used again.
        unsafe {
            assert!(message(move || C.free(NonNull::new(p.as_ptr().add(8)).unwrap())).contains("not the start"));
            p.as_ptr().add(40).write(0);
            assert!(message(move || C.free(p)).contains("behind its end"));
            p.as_ptr().add(40).write(0xbb);
            C.free(p);
            assert!(message(move || C.free(p)).contains("freed twice"));
            p.as_ptr().add(3).write(1);
            assert!(message(move || assert!(C.alloc(Gfp::KERNEL).is_some())).contains("written after"));
        }
    }
}
