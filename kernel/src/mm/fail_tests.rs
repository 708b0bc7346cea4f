//! Every allocation of every operation is made to fail once: an error, no leak, and an address space that still works.

use super::tests::{User, anon, machine, new_mm, run};
use super::*;
use vigil_abi::Errno;
use vigil_abi::mm::*;
use vigil_mem::page_alloc::{Item, item};
use vigil_mem::{KArc, PAGE_SIZE, fault};

const RW: u32 = PROT_READ | PROT_WRITE;
const BASE: usize = 0x4000_0000;

/// Private memory with pages in it, a shared object and a file's private mapping.
fn filled() -> KArc<Mm> {
    let mm = new_mm();
    let go = |r| run(mm.mmap(r, &Limits::NONE)).unwrap();
    let at = |i: usize| BASE + i * (64 << 12);
    go(anon(at(0), 32 * PAGE_SIZE, RW, MAP_PRIVATE | MAP_FIXED));
    go(anon(at(1), 8 * PAGE_SIZE, RW, MAP_SHARED | MAP_FIXED));
    go(anon(BASE + (1 << 30), 4 * PAGE_SIZE, RW, MAP_PRIVATE | MAP_FIXED));
    let u = User(&mm);
    for addr in [at(0), at(0) + 5 * PAGE_SIZE, at(1), BASE + (1 << 30)] {
        u.store(addr, 1).unwrap();
    }
    mm
}

fn end(mm: KArc<Mm>) {
    assert!(mm.put_user());
    run(mm.exit_mmap());
}

/// Runs `op` with its first, second, … allocation failing until it succeeds; afterwards the memory must be intact.
fn each_allocation_fails<T>(what: &str, op: impl Fn(&Mm) -> Result<T, Errno>) {
    // What is kept for later use (spare slabs) is allocated by a first run.
    for n in 1..200 {
        let before = (item(Item::AnonMapped), item(Item::PageTables), committed());
        let mm = filled();
        assert!(fault::set(n));
        let result = op(&mm);
        let fired = fault::get() == 0;
        fault::set(0);
        let done = match result {
            Ok(value) => {
                drop(value);
                !fired
            }
            Err(Errno::ENOMEM | Errno::EAGAIN | Errno::EFAULT) => {
                assert!(fired, "{what}: an error without a cause");
                false
            }
            Err(e) => panic!("{what}, allocation {n}: {e:?}"),
        };
        let u = User(&mm);
        assert_eq!(u.load(BASE + (1 << 30)).unwrap(), 1, "{what}, allocation {n}");
        u.store(BASE + (1 << 30) + PAGE_SIZE, 2).unwrap();
        let mapped: usize = run(mm.read()).tree.iter().map(|v| v.pages()).sum();
        assert_eq!(mm.total_vm() / PAGE_SIZE, mapped, "{what}, allocation {n}: sizes drifted");
        end(mm);
        let after = (item(Item::AnonMapped), item(Item::PageTables), committed());
        assert_eq!(after, before, "{what}, allocation {n}: leaked (private pages, tables, commitment)");
        if done {
            return;
        }
    }
    panic!("{what} never succeeded");
}

#[test]
fn failing_allocations_leave_no_trace() {
    let _m = machine();
    let far = BASE + (2 << 30);
    each_allocation_fails("mmap", |mm| run(mm.mmap(anon(far, 4 * PAGE_SIZE, RW, MAP_PRIVATE | MAP_FIXED), &Limits::NONE)));
    each_allocation_fails("mmap shared", |mm| run(mm.mmap(anon(far, PAGE_SIZE, RW, MAP_SHARED | MAP_FIXED), &Limits::NONE)));
    each_allocation_fails("munmap", |mm| run(mm.munmap(BASE + PAGE_SIZE, PAGE_SIZE)));
    each_allocation_fails("mprotect", |mm| run(mm.mprotect(BASE + PAGE_SIZE, PAGE_SIZE, PROT_READ, &Limits::NONE)));
    each_allocation_fails("mremap", |mm| {
        run(mm.mremap(BASE, 32 * PAGE_SIZE, 40 * PAGE_SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, far, &Limits::NONE))
    });
    each_allocation_fails("madvise", |mm| run(mm.madvise(BASE + PAGE_SIZE, PAGE_SIZE, MADV_DONTFORK)));
    each_allocation_fails("mlock", |mm| run(mm.mlock(BASE, 8 * PAGE_SIZE, false, &Limits::NONE)));
    each_allocation_fails("fork", |mm| {
        let child = run(mm.fork())?;
        end(child);
        Ok(())
    });
    each_allocation_fails("fault", |mm| {
        run(mm.handle_fault(BASE + 7 * PAGE_SIZE, Access::Write, 0)).map_err(|e| match e {
            FaultError::Oom => Errno::ENOMEM,
            e => panic!("{e:?}"),
        })
    });
}
