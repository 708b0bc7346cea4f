//! Tests on the host's arena: real page tables, real pages, no CPU that walks them.
//!
//! A "program" is played by [`User`], which loads and stores bytes through the tables as a CPU would: it faults until the
//! entry allows the access, or reports the signal.

use super::layout::Layout;
use super::pgtable::page_down;
use super::*;
use core::future::Future;
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use std::sync::{Mutex, MutexGuard, Once};
use std::vec::Vec;
use vigil_abi::Errno;
use vigil_abi::mm::*;
use vigil_mem::page_alloc::{Item, item, meminfo};
use vigil_mem::{KArc, PAGE_SIZE};

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Starts the machine, and keeps other tests of this kind off: they count pages.
pub(crate) fn machine() -> MutexGuard<'static, ()> {
    static START: Once = Once::new();
    let guard = ONE_AT_A_TIME.lock().unwrap_or_else(|e| e.into_inner());
    START.call_once(|| {
        vigil_mem::host::start();
        init().unwrap();
        let root = vigil_fs::init(&HOST).unwrap();
        let _ = FS.set((vigil_fs::FsStruct::new(root), vigil_fs::Cred::root()));
    });
    guard
}

struct NoClock;

impl vigil_fs::Host for NoClock {
    fn signal_file(&self, _: &vigil_fs::File, _: i32, _: vigil_fs::vfs::fasync::Band) {}
    fn now(&self) -> vigil_fs::Time {
        vigil_fs::Time::default()
    }
    fn random(&self, out: &mut [u8]) {
        out.fill(7);
    }
    fn ram_pages(&self) -> u64 {
        4096
    }
    fn current_tgid(&self) -> u32 {
        1
    }
    fn current_tid(&self) -> u32 {
        1
    }
}

static HOST: &dyn vigil_fs::Host = &NoClock;
static FS: std::sync::OnceLock<(vigil_fs::FsStruct, vigil_fs::Cred)> = std::sync::OnceLock::new();

/// Root's view of the root file system.
pub(crate) fn context() -> vigil_fs::Ctx<'static> {
    let (fs, cred) = FS.get().unwrap();
    vigil_fs::Ctx { fs, cred, fsize_limit: u64::MAX }
}

/// Runs a future that has nothing to wait for.
pub(crate) fn run<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..10_000 {
        if let Poll::Ready(value) = future.as_mut().poll(&mut cx) {
            return value;
        }
    }
    panic!("waits for something that does not come");
}

/// A program's view of an address space.
pub(crate) struct User<'a>(pub &'a Mm);

impl User<'_> {
    fn access(&self, addr: usize, access: Access) -> Result<*mut u8, FaultSignal> {
        for _ in 0..4 {
            let pte = self.0.tables.peek(page_down(addr));
            let allowed = pte.is_valid()
                && match access {
                    Access::Read => true,
                    Access::Write => pte.is_writable(),
                    Access::Exec => pte.is_exec(),
                };
            if allowed {
                // SAFETY: the offset is within the page.
                return Ok(unsafe { page::data(pte.pfn()).add(addr % PAGE_SIZE) });
            }
            match self.0.try_fault(addr, access, 8 << 20) {
                Ok(_) => (),
                Err(FaultStop::Signal(s)) => return Err(s),
                Err(FaultStop::Retry) => match run(self.0.handle_fault(addr, access, 8 << 20)) {
                    Ok(_) => (),
                    Err(FaultError::Signal(s)) => return Err(s),
                    Err(e) => panic!("{e:?}"),
                },
            }
        }
        panic!("a fault that does not end at {addr:#x}");
    }

    pub(crate) fn load(&self, addr: usize) -> Result<u8, FaultSignal> {
        // SAFETY: a mapped page of the arena.
        self.access(addr, Access::Read).map(|p| unsafe { p.read() })
    }

    pub(crate) fn store(&self, addr: usize, v: u8) -> Result<(), FaultSignal> {
        // SAFETY: a mapped, writable page of the arena.
        self.access(addr, Access::Write).map(|p| unsafe { p.write(v) })
    }

    pub(crate) fn exec(&self, addr: usize) -> Result<(), FaultSignal> {
        self.access(addr, Access::Exec).map(|_| ())
    }
}

pub(crate) fn new_mm() -> KArc<Mm> {
    Mm::new(Layout::new(8 << 20, None, false)).unwrap()
}

pub(crate) fn anon(addr: usize, len: usize, prot: u32, flags: u32) -> MmapRequest {
    MmapRequest { addr, len, prot, flags: flags | MAP_ANONYMOUS, file: None, offset: 0 }
}

pub(crate) const RW: u32 = PROT_READ | PROT_WRITE;

fn map(mm: &Mm, len: usize) -> usize {
    run(mm.mmap(anon(0, len, RW, MAP_PRIVATE), &Limits::NONE)).unwrap()
}

fn ranges(mm: &Mm) -> Vec<(usize, usize)> {
    run(mm.read()).tree.iter().map(|v| (v.start, v.end)).collect()
}

pub(crate) fn end(mm: KArc<Mm>) {
    assert!(mm.put_user());
    run(mm.exit_mmap());
}

/// Pages in use by user memory and tables.
pub(crate) fn in_use() -> (usize, usize, usize) {
    vigil_mem::page_alloc::drain_local();
    (meminfo().free, item(Item::AnonMapped), item(Item::PageTables))
}

#[test]
fn anonymous_memory_is_zero_until_written_and_gone_after_munmap() {
    let _m = machine();
    let mm = new_mm();
    let u = User(&mm);
    let a = map(&mm, 16 * PAGE_SIZE);
    assert_eq!(a + 16 * PAGE_SIZE, TASK_SIZE - (128 << 20), "top-down");
    assert_eq!(u.load(a + 5).unwrap(), 0);
    assert_eq!(mm.rss(), [0, 0, 0], "the zero page is not resident");
    u.store(a + 5, 7).unwrap();
    u.store(a + PAGE_SIZE, 8).unwrap();
    assert_eq!((u.load(a + 5).unwrap(), u.load(a + 6).unwrap()), (7, 0));
    assert_eq!(mm.rss(), [2, 0, 0]);
    run(mm.munmap(a, PAGE_SIZE)).unwrap();
    let fault = u.load(a + 5).unwrap_err();
    assert_eq!((fault.signo, fault.code, fault.addr), (11, 1, a + 5));
    assert_eq!(u.load(a + PAGE_SIZE).unwrap(), 8);
    assert_eq!(mm.rss(), [1, 0, 0]);
    end(mm);
}

#[test]
fn rights_are_enforced_with_the_right_code_and_address() {
    let _m = machine();
    let mm = new_mm();
    let u = User(&mm);
    let a = map(&mm, 4 * PAGE_SIZE);
    u.store(a, 1).unwrap();
    run(mm.mprotect(a, PAGE_SIZE, PROT_READ, &Limits::NONE)).unwrap();
    let f = u.store(a + 9, 2).unwrap_err();
    assert_eq!((f.signo, f.code, f.addr), (11, 2, a + 9));
    assert_eq!(u.load(a).unwrap(), 1);
    assert_eq!(u.exec(a).unwrap_err().code, 2);
    run(mm.mprotect(a, PAGE_SIZE, PROT_NONE, &Limits::NONE)).unwrap();
    assert_eq!(u.load(a).unwrap_err().code, 2);
    run(mm.mprotect(a, PAGE_SIZE, RW, &Limits::NONE)).unwrap();
    assert_eq!(u.load(a).unwrap(), 1, "contents survive PROT_NONE");
    u.store(a, 3).unwrap();
    assert_eq!(ranges(&mm).len(), 1, "equal neighbours are one again");
    assert_eq!(u.load(0x1_0000_0000_0000).unwrap_err().code, 1);
    assert_eq!(u.load(0xffff_0000_0000_0000).unwrap_err().addr, 0xffff_0000_0000_0000);
    end(mm);
}

#[test]
fn fork_shares_until_either_side_writes() {
    let _m = machine();
    let before = in_use();
    let mm = new_mm();
    let u = User(&mm);
    let a = map(&mm, 4 * PAGE_SIZE);
    u.store(a, 1).unwrap();
    u.store(a + PAGE_SIZE, 2).unwrap();
    let child = run(mm.fork()).unwrap();
    let c = User(&child);
    assert_eq!(item(Item::AnonMapped) - before.1, 2, "no page was copied");
    assert_eq!((c.load(a).unwrap(), c.load(a + PAGE_SIZE).unwrap()), (1, 2));
    c.store(a, 10).unwrap();
    u.store(a + PAGE_SIZE, 20).unwrap();
    assert_eq!((u.load(a).unwrap(), u.load(a + PAGE_SIZE).unwrap()), (1, 20));
    assert_eq!((c.load(a).unwrap(), c.load(a + PAGE_SIZE).unwrap()), (10, 2));
    assert_eq!(item(Item::AnonMapped) - before.1, 4);
    // The last owner writes in place.
    let pfn = mm.tables.peek(a).pfn();
    end(child);
    u.store(a, 5).unwrap();
    assert_eq!(mm.tables.peek(a).pfn(), pfn);
    end(mm);
    assert_eq!(in_use(), before, "every page came back");
}

#[test]
fn the_stack_grows_to_its_limit_and_keeps_its_guard() {
    let _m = machine();
    let mm = new_mm();
    let top = 0x7000_0000_0000;
    let stack = VmFlags::READ | VmFlags::WRITE | VmFlags::MAY_ALL | VmFlags::GROWSDOWN;
    {
        let mut space = run(mm.write());
        mm.map_anonymous(&mut space, top - 0x21000, top, stack, &Limits::NONE).unwrap();
    }
    let u = User(&mm);
    u.store(top - (7 << 20), 1).unwrap();
    assert_eq!(ranges(&mm), [(top - (7 << 20), top)]);
    let f = u.store(top - (8 << 20) - 1, 1).unwrap_err();
    assert_eq!((f.signo, f.code), (11, 1));
    u.store(top - (8 << 20), 1).unwrap();
    // A mapping near below: no growth into its guard.
    end(mm);
    let mm = new_mm();
    {
        let mut space = run(mm.write());
        mm.map_anonymous(&mut space, top - 0x21000, top, stack, &Limits::NONE).unwrap();
    }
    let near = top - 0x21000 - STACK_GUARD_GAP - PAGE_SIZE;
    run(mm.mmap(anon(near, PAGE_SIZE, RW, MAP_PRIVATE | MAP_FIXED), &Limits::NONE)).unwrap();
    assert!(User(&mm).store(top - 0x21000 - 1, 1).is_err());
    end(mm);
}

#[test]
fn mmap_refuses_in_linuxs_order() {
    let _m = machine();
    let mm = new_mm();
    let go = |r: MmapRequest| run(mm.mmap(r, &Limits::NONE));
    assert_eq!(go(anon(0, 0, RW, MAP_PRIVATE)), Err(Errno::EINVAL));
    assert_eq!(go(anon(0, usize::MAX, RW, MAP_PRIVATE)), Err(Errno::ENOMEM));
    assert_eq!(go(anon(0, TASK_SIZE + PAGE_SIZE, RW, MAP_PRIVATE)), Err(Errno::ENOMEM));
    assert_eq!(go(anon(TASK_SIZE, PAGE_SIZE, RW, MAP_PRIVATE | MAP_FIXED)), Err(Errno::ENOMEM));
    assert_eq!(go(anon(0x20_0001, PAGE_SIZE, RW, MAP_PRIVATE | MAP_FIXED)), Err(Errno::EINVAL));
    let unprivileged = Limits { cap_sys_rawio: false, ..Limits::NONE };
    assert_eq!(run(mm.mmap(anon(0, PAGE_SIZE, RW, MAP_PRIVATE | MAP_FIXED), &unprivileged)), Err(Errno::EPERM));
    assert_eq!(go(anon(0, PAGE_SIZE, RW, 0)), Err(Errno::EINVAL), "no type");
    assert_eq!(go(anon(0, PAGE_SIZE, RW, MAP_SHARED_VALIDATE)), Err(Errno::EINVAL));
    assert_eq!(go(MmapRequest { offset: 1, ..anon(0, PAGE_SIZE, RW, MAP_PRIVATE) }), Err(Errno::EINVAL));
    let a = go(anon(0x5000_0000, 2 * PAGE_SIZE, RW, MAP_PRIVATE)).unwrap();
    assert_eq!(a, 0x5000_0000, "a free hint is taken");
    let again = anon(a, PAGE_SIZE, RW, MAP_PRIVATE | MAP_FIXED_NOREPLACE);
    assert_eq!(go(again), Err(Errno::EEXIST));
    assert_ne!(go(anon(a, PAGE_SIZE, RW, MAP_PRIVATE)).unwrap(), a, "an occupied hint is not");
    let tight = Limits { as_: 64 << 10, ..Limits::NONE };
    assert_eq!(run(mm.mmap(anon(0, 1 << 20, RW, MAP_PRIVATE), &tight)), Err(Errno::ENOMEM));
    let locked = Limits { memlock: 4096, cap_ipc_lock: false, ..Limits::NONE };
    assert_eq!(run(mm.mmap(anon(0, 1 << 20, RW, MAP_PRIVATE | MAP_LOCKED), &locked)), Err(Errno::EAGAIN));
    assert_eq!(go(anon(0, 1 << 40, RW, MAP_PRIVATE)), Err(Errno::ENOMEM), "overcommit guesses");
    assert!(go(anon(0, 1 << 40, RW, MAP_PRIVATE | MAP_NORESERVE)).is_ok());
    end(mm);
}

#[test]
fn a_fixed_mapping_replaces_what_was_there() {
    let _m = machine();
    let mm = new_mm();
    let u = User(&mm);
    let a = map(&mm, 8 * PAGE_SIZE);
    for i in 0..8 {
        u.store(a + i * PAGE_SIZE, i as u8 + 1).unwrap();
    }
    let r = anon(a + 2 * PAGE_SIZE, 2 * PAGE_SIZE, PROT_READ, MAP_PRIVATE | MAP_FIXED);
    run(mm.mmap(r, &Limits::NONE)).unwrap();
    let seen: Vec<u8> = (0..8).map(|i| u.load(a + i * PAGE_SIZE).unwrap()).collect();
    assert_eq!(seen, [1, 2, 0, 0, 5, 6, 7, 8]);
    assert_eq!(ranges(&mm).len(), 3);
    end(mm);
}

#[test]
fn mremap_moves_pages_and_keeps_their_bytes() {
    let _m = machine();
    let mm = new_mm();
    let u = User(&mm);
    let go = |o, ol, nl, f, n| run(mm.mremap(o, ol, nl, f, n, &Limits::NONE));
    let a = map(&mm, 5 * PAGE_SIZE);
    u.store(a, 1).unwrap();
    u.store(a + 3 * PAGE_SIZE, 4).unwrap();
    // Something above, so that it cannot grow in place.
    run(mm.mprotect(a + 4 * PAGE_SIZE, PAGE_SIZE, PROT_READ, &Limits::NONE)).unwrap();
    assert_eq!(go(a, 4 * PAGE_SIZE, 8 * PAGE_SIZE, 0, 0), Err(Errno::ENOMEM));
    let b = go(a, 4 * PAGE_SIZE, 8 * PAGE_SIZE, MREMAP_MAYMOVE, 0).unwrap();
    assert_ne!(a, b);
    assert_eq!((u.load(b).unwrap(), u.load(b + 3 * PAGE_SIZE).unwrap(), u.load(b + 7 * PAGE_SIZE).unwrap()), (1, 4, 0));
    assert!(u.load(a + 3 * PAGE_SIZE).is_err());
    assert_eq!(go(b, 8 * PAGE_SIZE, 2 * PAGE_SIZE, 0, 0), Ok(b));
    assert!(u.load(b + 3 * PAGE_SIZE).is_err());
    let to = 0x4000_0000_0000;
    assert_eq!(go(b, 2 * PAGE_SIZE, 2 * PAGE_SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, to), Ok(to));
    assert_eq!(u.load(to).unwrap(), 1);
    assert!(u.load(b).is_err());
    let kept = go(to, 2 * PAGE_SIZE, 2 * PAGE_SIZE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, 0).unwrap();
    assert_eq!((u.load(kept).unwrap(), u.load(to).unwrap()), (1, 0));
    assert_eq!(go(0x1234_5000, PAGE_SIZE, PAGE_SIZE, 0, 0), Err(Errno::EFAULT));
    assert_eq!(go(to, PAGE_SIZE, 0, MREMAP_MAYMOVE, 0), Err(Errno::EINVAL));
    assert_eq!(go(to, PAGE_SIZE, PAGE_SIZE, MREMAP_FIXED, 0), Err(Errno::EINVAL));
    assert_eq!(go(to, 3 * PAGE_SIZE, 4 * PAGE_SIZE, MREMAP_MAYMOVE, 0), Err(Errno::EFAULT));
    end(mm);
}

#[test]
fn shared_memory_is_shared_with_a_child_and_file_pages_vanish_on_truncation() {
    let _m = machine();
    let mm = new_mm();
    let u = User(&mm);
    let a = run(mm.mmap(anon(0, 2 * PAGE_SIZE, RW, MAP_SHARED), &Limits::NONE)).unwrap();
    u.store(a, 1).unwrap();
    let child = run(mm.fork()).unwrap();
    let c = User(&child);
    assert_eq!(c.load(a).unwrap(), 1);
    c.store(a + 1, 2).unwrap();
    assert_eq!(u.load(a + 1).unwrap(), 2);
    assert_eq!(mm.rss().iter().sum::<usize>(), 1);
    end(child);

    let file = vigil_fs::shmem_file(b"f", 3 * PAGE_SIZE as u64).unwrap();
    let req = |flags| MmapRequest { addr: 0, len: 4 * PAGE_SIZE, prot: RW, flags, file: Some(file.clone()), offset: 0 };
    let s = run(mm.mmap(req(MAP_SHARED), &Limits::NONE)).unwrap();
    let p = run(mm.mmap(req(MAP_PRIVATE), &Limits::NONE)).unwrap();
    u.store(s, 9).unwrap();
    assert_eq!(u.load(p).unwrap(), 9);
    u.store(p, 10).unwrap();
    assert_eq!(u.load(s).unwrap(), 9, "a private copy");
    u.store(s + 2 * PAGE_SIZE, 3).unwrap();
    let f = u.load(s + 3 * PAGE_SIZE + 5).unwrap_err();
    assert_eq!((f.signo, f.code, f.addr), (7, 2, s + 3 * PAGE_SIZE + 5));
    truncate(&file, PAGE_SIZE as u64);
    assert_eq!(u.load(s + 2 * PAGE_SIZE).unwrap_err().signo, 7);
    assert_eq!(u.load(s).unwrap(), 9);
    end(mm);
}

pub(crate) fn truncate(file: &vigil_fs::File, size: u64) {
    run(vigil_fs::vfs::ftruncate(&context(), file, size)).unwrap();
}

#[test]
fn brk_moves_within_its_limits_and_says_where_it_is() {
    let _m = machine();
    let mm = new_mm();
    let u = User(&mm);
    run(mm.update_fields(0, |fields, _| {
        *fields = MmFields { start_brk: 0x10_0000, brk: 0x10_0000, ..MmFields::default() };
        Ok(())
    }))
    .unwrap();
    assert_eq!(run(mm.brk(0, &Limits::NONE)), 0x10_0000);
    assert_eq!(run(mm.brk(0x10_1800, &Limits::NONE)), 0x10_1800);
    u.store(0x10_1fff, 1).unwrap();
    assert!(u.store(0x10_2000, 1).is_err());
    assert_eq!(run(mm.brk(0x20_0000, &Limits::NONE)), 0x20_0000);
    assert_eq!(ranges(&mm), [(0x10_0000, 0x20_0000)]);
    assert_eq!(run(mm.brk(0x10_1000, &Limits::NONE)), 0x10_1000);
    assert!(u.load(0x10_1fff).is_err());
    let tight = Limits { data: 8192, ..Limits::NONE };
    assert_eq!(run(mm.brk(0x10_4000, &tight)), 0x10_1000);
    end(mm);
}

#[test]
fn advice_and_locks_answer_as_on_linux() {
    let _m = machine();
    let mm = new_mm();
    let u = User(&mm);
    let a = map(&mm, 4 * PAGE_SIZE);
    u.store(a, 1).unwrap();
    run(mm.madvise(a, PAGE_SIZE, MADV_DONTNEED)).unwrap();
    assert_eq!(u.load(a).unwrap(), 0);
    assert_eq!(run(mm.madvise(a, PAGE_SIZE, 25)), Err(Errno::EINVAL), "no huge page to collapse to");
    assert_eq!(run(mm.madvise(a + 1, PAGE_SIZE, MADV_DONTNEED)), Err(Errno::EINVAL));
    assert_eq!(run(mm.madvise(a, 1 << 20, MADV_NORMAL)), Err(Errno::ENOMEM));
    run(mm.madvise(a, PAGE_SIZE, MADV_DONTFORK)).unwrap();
    let child = run(mm.fork()).unwrap();
    assert!(User(&child).load(a).is_err());
    assert_eq!(User(&child).load(a + PAGE_SIZE).unwrap(), 0);
    end(child);
    let poor = Limits { memlock: 2 * PAGE_SIZE as u64, cap_ipc_lock: false, ..Limits::NONE };
    run(mm.mlock(a + 1, PAGE_SIZE, false, &poor)).unwrap();
    assert!(mm.rss()[0] >= 2, "locking brings the pages in");
    assert_eq!(run(mm.mlock(a, 4 * PAGE_SIZE, false, &poor)), Err(Errno::ENOMEM));
    assert_eq!(run(mm.madvise(a, PAGE_SIZE, MADV_DONTNEED)), Err(Errno::EINVAL));
    let mut seen = [0; 4];
    run(mm.mincore(a, &mut seen)).unwrap();
    assert_eq!(seen, [1, 1, 0, 0]);
    run(mm.munlock(a, 4 * PAGE_SIZE)).unwrap();
    run(mm.mlockall(MCL_CURRENT | MCL_FUTURE, &Limits::NONE)).unwrap();
    let b = map(&mm, PAGE_SIZE);
    run(mm.mincore(b, &mut seen[..1])).unwrap();
    assert_eq!(seen[0], 1, "MCL_FUTURE");
    run(mm.munlockall());
    assert_eq!(run(mm.mlock(0x1000_0000, PAGE_SIZE, false, &Limits::NONE)), Err(Errno::ENOMEM));
    assert_eq!(run(mm.msync(a, PAGE_SIZE, MS_SYNC | MS_ASYNC)), Err(Errno::EINVAL));
    assert_eq!(run(mm.msync(a, PAGE_SIZE, MS_SYNC)), Ok(()));
    end(mm);
}
