//! Longer tests of address spaces: random operations against a model, keys of shared futexes, sizes of futures.

use super::pgtable::page_down;
use super::tests::{RW, User, anon, end, in_use, machine, new_mm, run};
use super::*;
use std::vec::Vec;
use vigil_abi::mm::*;
use vigil_mem::{KArc, PAGE_SIZE};

/// Random maps, unmaps, protections, moves and forks against a byte model of what a program must see.
#[test]
fn random_operations_agree_with_a_model() {
    let _m = machine();
    let before = in_use();
    const BASE: usize = 0x2000_0000;
    const PAGES: usize = 64;
    let mut seed = 99u64;
    let mut rnd = |n: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed >> 11) as usize % n
    };
    // Per page: None unmapped, Some((writable, byte)).
    let mut mms: Vec<(KArc<Mm>, [Option<(bool, u8)>; PAGES])> = std::vec![(new_mm(), [None; PAGES])];
    for step in 0..6000 {
        let which = rnd(mms.len());
        let first = rnd(PAGES);
        let n = 1 + rnd((PAGES - first).min(12));
        let at = BASE + first * PAGE_SIZE;
        let count = mms.len();
        let (mm, model) = &mut mms[which];
        let area = first..first + n;
        match rnd(8) {
            0 | 1 => {
                let prot = if rnd(3) == 0 { PROT_READ } else { RW };
                run(mm.mmap(anon(at, n * PAGE_SIZE, prot, MAP_PRIVATE | MAP_FIXED), &Limits::NONE)).unwrap();
                model[area].fill(Some((prot == RW, 0)));
            }
            2 => {
                run(mm.munmap(at, n * PAGE_SIZE)).unwrap();
                model[area].fill(None);
            }
            3 => {
                let write = rnd(2) == 0;
                let result = run(mm.mprotect(at, n * PAGE_SIZE, if write { RW } else { PROT_READ }, &Limits::NONE));
                let mut whole = true;
                for page in &mut model[area] {
                    match page {
                        Some(p) if whole => p.0 = write,
                        _ => whole = false,
                    }
                }
                assert_eq!(result.is_ok(), whole);
            }
            4 if count < 6 => {
                let child = run(mm.fork()).unwrap();
                let copy = *model;
                mms.push((child, copy));
            }
            5 if count > 1 => {
                let (mm, _) = mms.swap_remove(which);
                end(mm);
            }
            6 => {
                let result = run(mm.madvise(at, n * PAGE_SIZE, MADV_DONTNEED));
                let mapped = model[area.clone()].iter().all(|p| p.is_some());
                assert_eq!(result.is_ok(), mapped);
                for page in model[area].iter_mut().flatten() {
                    page.1 = 0;
                }
            }
            _ => {
                for i in area {
                    let addr = BASE + i * PAGE_SIZE + (step % PAGE_SIZE);
                    let got = User(mm).store(addr, step as u8);
                    match &mut model[i] {
                        Some((true, _)) => {
                            got.unwrap();
                            // One byte stands for the page: clear the others that were written before.
                            let here = page_down(addr);
                            let pte = mm.tables.peek(here);
                            // SAFETY: the page was just written to, so it is mapped and ours.
                            unsafe { core::ptr::write_bytes(page::data(pte.pfn()), step as u8, PAGE_SIZE) };
                            model[i] = Some((true, step as u8));
                        }
                        Some((false, _)) => assert_eq!(got.unwrap_err().code, 2),
                        None => assert_eq!(got.unwrap_err().code, 1),
                    }
                }
            }
        }
        if step % 16 == 0 {
            for (mm, model) in &mms {
                for (i, page) in model.iter().enumerate() {
                    let got = User(mm).load(BASE + i * PAGE_SIZE).ok();
                    assert_eq!(got, page.map(|p| p.1), "step {step}, page {i}");
                }
                let mapped = model.iter().flatten().count();
                assert_eq!(mm.total_vm() / PAGE_SIZE, mapped);
            }
        }
    }
    for (mm, _) in mms {
        end(mm);
    }
    assert_eq!(in_use(), before, "every page came back");
}

#[test]
fn a_shared_futex_is_one_word_at_two_addresses() {
    let _m = machine();
    let (a, b) = (new_mm(), new_mm());
    let file = vigil_fs::shmem_file(b"f", 2 * PAGE_SIZE as u64).unwrap();
    let req = |at, flags| MmapRequest {
        addr: at,
        len: PAGE_SIZE,
        prot: RW,
        flags: flags | MAP_FIXED,
        file: Some(file.clone()),
        offset: PAGE_SIZE as u64,
    };
    run(a.mmap(req(0x10_0000, MAP_SHARED), &Limits::NONE)).unwrap();
    run(b.mmap(req(0x20_0000, MAP_SHARED), &Limits::NONE)).unwrap();
    run(b.mmap(req(0x30_0000, MAP_PRIVATE), &Limits::NONE)).unwrap();
    let one = a.try_futex_key(0x10_0010, true).unwrap();
    assert_eq!(one, b.try_futex_key(0x20_0010, true).unwrap());
    assert_ne!(one, b.try_futex_key(0x20_0014, true).unwrap());
    assert_ne!(one, b.try_futex_key(0x30_0010, true).unwrap(), "a private mapping");
    assert_eq!(b.try_futex_key(0x30_0010, true).unwrap(), FutexKey::private(&b, 0x30_0010));
    assert_eq!(a.try_futex_key(0x50_0000, false), Err(FaultStop::Retry));
    end(a);
    end(b);
}

/// A system call's future lives in the task's inline slot (768 bytes, DESIGN.md rule 7).
#[test]
fn futures_of_memory_calls_fit_the_inline_slot() {
    let _m = machine();
    let mm = new_mm();
    fn size_of_val<T: Send>(future: &T) -> usize {
        core::mem::size_of_val(future)
    }
    let sizes = [
        ("mmap", size_of_val(&mm.mmap(anon(0, 1, RW, MAP_PRIVATE), &Limits::NONE))),
        ("munmap", size_of_val(&mm.munmap(0, 1))),
        ("mprotect", size_of_val(&mm.mprotect(0, 1, 0, &Limits::NONE))),
        ("mremap", size_of_val(&mm.mremap(0, 1, 1, 0, 0, &Limits::NONE))),
        ("madvise", size_of_val(&mm.madvise(0, 1, 0))),
        ("brk", size_of_val(&mm.brk(0, &Limits::NONE))),
        ("mlock", size_of_val(&mm.mlock(0, 1, false, &Limits::NONE))),
        ("fork", size_of_val(&mm.fork())),
        ("exit_mmap", size_of_val(&mm.exit_mmap())),
        ("handle_fault", size_of_val(&mm.handle_fault(0, Access::Read, 0))),
        ("fault_in", size_of_val(&mm.fault_in(0, 1, false, 0))),
        ("read_remote", size_of_val(&mm.read_remote(0, &mut []))),
    ];
    std::println!("{sizes:?}");
    for (name, size) in sizes {
        assert!(size <= 768, "{name}: {size} bytes");
    }
    end(mm);
}
