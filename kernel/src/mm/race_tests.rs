//! Truncation against what other CPUs do with the file's pages: on threads, each a CPU of its own.

use super::tests::{User, anon, end, machine, new_mm, run, truncate};
use super::{Limits, Mm, MmapRequest};
use std::thread::JoinHandle;
use vigil_abi::mm::*;
use vigil_fs::File;
use vigil_mem::{KArc, PAGE_SIZE};

const PAGES: usize = 512;
const LEN: usize = PAGES * PAGE_SIZE;
const ROUNDS: usize = 12;

fn file() -> KArc<File> {
    vigil_fs::shmem_file(b"f", LEN as u64).unwrap()
}

fn map(mm: &Mm, file: &KArc<File>, flags: u32) -> usize {
    let req = MmapRequest { flags, file: Some(file.clone()), ..anon(0, LEN, PROT_READ | PROT_WRITE, flags) };
    run(mm.mmap(req, &Limits::NONE)).unwrap()
}

/// Empties the file on another CPU.
fn cut(file: &KArc<File>) -> JoinHandle<()> {
    let file = file.clone();
    std::thread::spawn(move || {
        let cpu = vigil_executor::cpu::CpuId::new(1).unwrap();
        // SAFETY: the areas of CPUs are statics; no other thread of this test program is CPU 1, see `machine`.
        unsafe { vigil_executor::arch::set_cpu_local(vigil_executor::cpu::local_of(cpu)) };
        truncate(&file, 0);
    })
}

/// The file grows again: every byte is zero.
fn assert_fresh(user: &User, file: &KArc<File>, at: usize, round: usize) {
    truncate(file, LEN as u64);
    for page in 0..PAGES {
        let byte = user.load(at + page * PAGE_SIZE).unwrap();
        assert_eq!(byte, 0, "round {round}: a page of the old file is still mapped");
    }
}

#[test]
fn a_page_that_mremap_moves_does_not_outlive_its_file() {
    let _m = machine();
    let mm = new_mm();
    let (u, file) = (User(&mm), file());
    let mut at = map(&mm, &file, MAP_SHARED);
    for round in 0..ROUNDS {
        (0..PAGES).for_each(|page| u.store(at + page * PAGE_SIZE, 9).unwrap());
        let cut = cut(&file);
        while !cut.is_finished() {
            // Back and forth, so that whichever of the two mappings is known first, the pages pass it.
            let to = at ^ (1 << 32);
            at = run(mm.mremap(at, LEN, LEN, MREMAP_MAYMOVE | MREMAP_FIXED, to, &Limits::NONE)).unwrap();
            std::thread::yield_now();
        }
        cut.join().unwrap();
        assert_fresh(&u, &file, at, round);
    }
    end(mm);
}

#[test]
fn a_fault_beside_a_truncation_maps_no_page_that_has_gone() {
    let _m = machine();
    let mm = new_mm();
    for flags in [MAP_SHARED, MAP_PRIVATE] {
        let (u, file) = (User(&mm), file());
        let (at, other) = (map(&mm, &file, flags), map(&mm, &file, MAP_SHARED));
        for round in 0..ROUNDS {
            (0..PAGES).for_each(|page| u.store(other + page * PAGE_SIZE, 9).unwrap());
            let cut = cut(&file);
            // From the end on, against the truncation's direction, until the file is gone below: by loads and by stores.
            for page in (0..PAGES).rev() {
                let here = at + page * PAGE_SIZE;
                let done = if page % 2 == 0 { u.load(here).map(drop) } else { u.store(here, 9) };
                if let Err(signal) = done {
                    assert_eq!(signal.signo, 7, "beyond the end of the file");
                }
            }
            cut.join().unwrap();
            assert_fresh(&u, &file, at, round);
        }
    }
    end(mm);
}
