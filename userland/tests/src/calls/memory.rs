//! Memory.
mod lock;

use crate::case::Calls;
use crate::help::*;
use crate::sys;
use libc::{
    MADV_DONTFORK, MADV_DONTNEED, MADV_FREE, MADV_HUGEPAGE, MADV_NORMAL, MADV_POPULATE_WRITE, MADV_REMOVE, MADV_WILLNEED, MADV_WIPEONFORK,
    MAP_ANONYMOUS, MAP_FIXED, MAP_FIXED_NOREPLACE, MAP_POPULATE, MAP_PRIVATE, MAP_SHARED, MAP_SHARED_VALIDATE, MCL_CURRENT, MCL_FUTURE,
    MCL_ONFAULT, MREMAP_DONTUNMAP, MREMAP_FIXED, MREMAP_MAYMOVE, MS_ASYNC, MS_INVALIDATE, MS_SYNC, O_APPEND, O_RDONLY, O_RDWR, O_WRONLY,
    PROT_EXEC, PROT_NONE, PROT_READ, PROT_WRITE,
};

/// Adds the group.
pub fn add(a: &mut Calls) {
    maps(a);
    remaps(a);
    advice(a);
    lock::locks(a);
}

const RW: i32 = PROT_READ | PROT_WRITE;

const ANON: i32 = MAP_PRIVATE | MAP_ANONYMOUS;

fn mapped(result: isize) -> String {
    if result < 0 && result > -4096 { crate::sys::Show::show(result) } else { "mapped".to_string() }
}

/// How a child ends that reads, then writes, at an address.
fn touch(at: usize) -> (String, String) {
    (
        in_child(|| {
            peek(at);
            0
        }),
        in_child(|| {
            fill(at, 1, 1);
            0
        }),
    )
}

fn maps(a: &mut Calls) {
    a.call("brk", "", "", false).not("ENOMEM", "the call gives the old end instead");
    a.ok("grow-and-shrink", || {
        let end = sys!(brk, 0);
        let grown = sys!(brk, end + 0x10000);
        fill(end as usize, 0x10000, 1);
        (grown == end + 0x10000, sys!(brk, end) == end, sys!(brk, 0) == end)
    })
    .ok("zero-after-shrink", || {
        let end = (sys!(brk, 0) as usize).next_multiple_of(PAGE);
        sys!(brk, end + PAGE);
        fill(end, PAGE, 7);
        sys!(brk, end);
        sys!(brk, end + PAGE);
        peek(end)
    })
    .ok("below-start", || {
        let end = sys!(brk, 0);
        sys!(brk, 0x1000) == end
    })
    .ok("data-limit", || {
        let end = sys!(brk, 0);
        sys!(prlimit64, 0, libc::RLIMIT_DATA, &[4096u64, 4096], 0);
        sys!(brk, end + 0x10_0000) == end
    });
    a.call("mmap", "EACCES EAGAIN EBADF EEXIST EINVAL ENODEV ENOMEM EPERM EOPNOTSUPP", "", false)
        .not("ENFILE", "needs the whole system's limit")
        .not("ETXTBSY", "MAP_DENYWRITE is ignored")
        .not("EOVERFLOW", "32-bit only");
    a.ok("anonymous-zero", || {
        let at = sys!(mmap, 0, PAGE, RW, ANON, -1, 0);
        (mapped(at), peek(at as usize), at as usize % PAGE)
    })
    .ok("fixed", || {
        let at = pages(3);
        fill(at, 3 * PAGE, 5);
        let r = sys!(mmap, at + PAGE, PAGE, RW, ANON | MAP_FIXED, -1, 0) as usize;
        (r == at + PAGE, peek(at), peek(at + PAGE), peek(at + 2 * PAGE))
    })
    .ok("hint", || {
        let at = pages(1);
        sys!(munmap, at, PAGE);
        sys!(mmap, at, PAGE, RW, ANON, -1, 0) as usize == at
    })
    .ok("private-file", || {
        let fd = opened(c"f", "hello");
        let at = sys!(mmap, 0, PAGE, RW, MAP_PRIVATE, fd, 0) as usize;
        fill(at, 1, b'J');
        (peek(at), peek(at + 4), peek(at + 5), content(c"f"))
    })
    .ok("shared-file", || {
        let fd = opened(c"f", "hello");
        let at = sys!(mmap, 0, PAGE, RW, MAP_SHARED, fd, 0) as usize;
        fill(at, 1, b'J');
        sys!(pwrite64, fd, c"!", 1, 4);
        (content(c"f"), peek(at + 4))
    })
    .ok("shared-anonymous-across-fork", || {
        let at = sys!(mmap, 0, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0) as usize;
        let end = in_child(|| {
            fill(at, 1, 42);
            0
        });
        (end, peek(at))
    })
    .ok("private-across-fork", || {
        let at = pages(1);
        let end = in_child(|| {
            fill(at, 1, 42);
            i32::from(peek(at))
        });
        (end, peek(at))
    })
    .ok("beyond-end-of-file", || {
        let fd = opened(c"f", "hello");
        let at = sys!(mmap, 0, 2 * PAGE, RW, MAP_SHARED, fd, 0) as usize;
        touch(at + PAGE)
    })
    .ok("no-access", || touch(sys!(mmap, 0, PAGE, PROT_NONE, ANON, -1, 0) as usize))
    .ok("read-only", || touch(sys!(mmap, 0, PAGE, PROT_READ, ANON, -1, 0) as usize))
    .ok("write-only-is-readable", || touch(sys!(mmap, 0, PAGE, PROT_WRITE, ANON, -1, 0) as usize))
    .ok("populate", || mapped(sys!(mmap, 0, PAGE, RW, ANON | MAP_POPULATE, -1, 0)))
    .ok("dev-zero", || {
        let at = sys!(mmap, 0, PAGE, RW, MAP_PRIVATE, open(c"/dev/zero", O_RDWR), 0);
        (mapped(at), peek(at as usize))
    })
    .ok("closed-file-stays", || {
        let fd = opened(c"f", "hello");
        let at = sys!(mmap, 0, PAGE, PROT_READ, MAP_SHARED, fd, 0) as usize;
        (sys!(close, fd), sys!(unlinkat, CWD, c"f", 0), peek(at))
    })
    .ok("offset", || {
        let fd = opened(c"f", "");
        sys!(pwrite64, fd, c"z", 1, PAGE);
        peek(sys!(mmap, 0, PAGE, PROT_READ, MAP_SHARED, fd, PAGE) as usize)
    })
    .err("EBADF", || sys!(mmap, 0, PAGE, RW, MAP_PRIVATE, 99, 0))
    .err("EACCES-shared-write-of-read-only", || {
        file(c"f", "x");
        sys!(mmap, 0, PAGE, RW, MAP_SHARED, open(c"f", O_RDONLY), 0)
    })
    .err("EACCES-write-only-file", || {
        file(c"f", "x");
        sys!(mmap, 0, PAGE, PROT_READ, MAP_PRIVATE, open(c"f", O_WRONLY), 0)
    })
    .ok("shared-of-append", || {
        file(c"f", "x");
        let fd = open(c"f", O_RDWR | O_APPEND);
        mapped(sys!(mmap, 0, PAGE, RW, MAP_SHARED, fd, 0))
    })
    .err("EINVAL-length", || sys!(mmap, 0, 0, RW, ANON, -1, 0))
    .err("EINVAL-offset", || sys!(mmap, 0, PAGE, RW, MAP_PRIVATE, opened(c"f", "x"), 1))
    .err("EINVAL-no-type", || sys!(mmap, 0, PAGE, RW, MAP_ANONYMOUS, -1, 0))
    .err("EINVAL-fixed-unaligned", || sys!(mmap, 0x1_0000_0001u64, PAGE, RW, ANON | MAP_FIXED, -1, 0))
    .err("EEXIST", || sys!(mmap, pages(1), PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0))
    .err("ENODEV-directory", || sys!(mmap, 0, PAGE, PROT_READ, MAP_PRIVATE, open(c".", O_RDONLY), 0))
    .err("ENODEV-pipe", || sys!(mmap, 0, PAGE, PROT_READ, MAP_PRIVATE, pipe().0, 0))
    .err("ENOMEM-huge", || sys!(mmap, 0, 1u64 << 50, RW, ANON, -1, 0))
    .err("ENOMEM-limit", || {
        sys!(prlimit64, 0, libc::RLIMIT_AS, &[1u64 << 20, 1 << 20], 0);
        sys!(mmap, 0, 64 << 20, RW, ANON, -1, 0)
    })
    .err("ENOMEM-fixed-beyond", || sys!(mmap, KERN, PAGE, RW, ANON | MAP_FIXED, -1, 0))
    .err("ENOMEM-wraps", || sys!(mmap, 0, usize::MAX - 10, RW, ANON, -1, 0))
    .err("EAGAIN-locked", || {
        sys!(prlimit64, 0, libc::RLIMIT_MEMLOCK, &[4096u64, 4096], 0);
        as_user(|| sys!(mmap, 0, 4 * PAGE, RW, ANON | libc::MAP_LOCKED, -1, 0))
    })
    .err("EPERM-locked", || {
        sys!(prlimit64, 0, libc::RLIMIT_MEMLOCK, &[0u64, 0], 0);
        as_user(|| sys!(mmap, 0, PAGE, RW, ANON | libc::MAP_LOCKED, -1, 0))
    })
    .ok("low-address-of-root", || (sys!(mmap, PAGE, PAGE, RW, ANON | MAP_FIXED, -1, 0), sys!(mremap, pages(1), PAGE, PAGE, 3, 2 * PAGE)))
    .err("EPERM-low-address", || as_user(|| sys!(mmap, 0, PAGE, RW, ANON | MAP_FIXED, -1, 0)))
    .err("EPERM-sealed", || {
        let fd = sys!(memfd_create, c"m", libc::MFD_ALLOW_SEALING);
        sys!(ftruncate, fd, PAGE);
        sys!(fcntl, fd, libc::F_ADD_SEALS, libc::F_SEAL_WRITE);
        sys!(mmap, 0, PAGE, RW, MAP_SHARED, fd, 0)
    })
    .err("EOPNOTSUPP-validate", || sys!(mmap, 0, PAGE, RW, MAP_SHARED_VALIDATE | 0x80000, opened(c"f", "x"), 0));
    a.call("munmap", "EINVAL", "", false).not("ENOMEM", "needs the most mappings");
    a.ok("whole", || {
        let at = pages(2);
        (sys!(munmap, at, 2 * PAGE), touch(at).0)
    })
    .ok("middle", || {
        let at = pages(3);
        (sys!(munmap, at + PAGE, PAGE), touch(at).0, touch(at + PAGE).0, touch(at + 2 * PAGE).0)
    })
    .ok("nothing-there", || sys!(munmap, 0x10_0000_0000u64, PAGE))
    .ok("length-rounded-up", || {
        let at = pages(2);
        (sys!(munmap, at, PAGE + 1), touch(at + PAGE).0)
    })
    .ok("several-mappings", || {
        let at = pages(4);
        sys!(mprotect, at + PAGE, PAGE, PROT_READ);
        sys!(munmap, at, 4 * PAGE)
    })
    .err("EINVAL-unaligned", || sys!(munmap, pages(1) + 1, PAGE))
    .err("EINVAL-length", || sys!(munmap, pages(1), 0))
    .err("EINVAL-beyond", || sys!(munmap, KERN, PAGE));
    a.call("mprotect", "EACCES EINVAL ENOMEM", "", false);
    a.ok("read-only-and-back", || {
        let at = pages(1);
        fill(at, 1, 9);
        (sys!(mprotect, at, PAGE, PROT_READ), touch(at), sys!(mprotect, at, PAGE, RW), touch(at), peek(at))
    })
    .ok("none", || {
        let at = pages(1);
        (sys!(mprotect, at, PAGE, PROT_NONE), touch(at))
    })
    .ok("middle-of-three", || {
        let at = pages(3);
        (sys!(mprotect, at + PAGE, PAGE, PROT_NONE), touch(at).1, touch(at + PAGE).1, touch(at + 2 * PAGE).1)
    })
    .ok("executable", || {
        let at = pages(1);
        // mov w0, #7; ret
        fill(at, 1, 0);
        for (i, byte) in [0xe0u8, 0x00, 0x80, 0x52, 0xc0, 0x03, 0x5f, 0xd6].into_iter().enumerate() {
            fill(at + i, 1, byte);
        }
        let r = sys!(mprotect, at, PAGE, PROT_READ | PROT_EXEC);
        // SAFETY: two instructions that follow the calling convention; mprotect made them visible to instruction fetch.
        let f: extern "C" fn() -> i32 = unsafe { core::mem::transmute::<usize, extern "C" fn() -> i32>(at) };
        (r, f())
    })
    .ok("not-executable", || {
        let at = pages(1);
        in_child(|| {
            // SAFETY: the call never returns: the page cannot be executed.
            let f: extern "C" fn() -> i32 = unsafe { core::mem::transmute::<usize, extern "C" fn() -> i32>(at) };
            f()
        })
    })
    .ok("zero-length", || sys!(mprotect, pages(1), 0, PROT_READ))
    .err("EACCES", || {
        file(c"f", "x");
        let at = sys!(mmap, 0, PAGE, PROT_READ, MAP_SHARED, open(c"f", O_RDONLY), 0);
        sys!(mprotect, at, PAGE, RW)
    })
    .err("EINVAL-unaligned", || sys!(mprotect, pages(1) + 1, PAGE, PROT_READ))
    .err("EINVAL-bits", || sys!(mprotect, pages(1), PAGE, 0x80))
    .err("EINVAL-grows-both", || sys!(mprotect, pages(1), PAGE, 0x0300_0000 | PROT_READ))
    .err("ENOMEM-unmapped", || sys!(mprotect, 0x10_0000_0000u64, PAGE, PROT_READ))
    .err("ENOMEM-hole", || {
        let at = edge(0) - PAGE;
        (sys!(mprotect, at, 2 * PAGE, PROT_READ), touch(at).1)
    });
}

fn remaps(a: &mut Calls) {
    a.call("mremap", "EINVAL ENOMEM EAGAIN EFAULT", "", false);
    a.ok("shrink", || {
        let at = pages(3);
        (sys!(mremap, at, 3 * PAGE, PAGE, 0, 0) as usize == at, touch(at + PAGE).0)
    })
    .ok("grow-moving", || {
        let at = edge(0) - PAGE;
        fill(at, 1, 77);
        sys!(mmap, at + PAGE, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
        let to = sys!(mremap, at, PAGE, 4 * PAGE, MREMAP_MAYMOVE, 0) as usize;
        (to != at, peek(to), peek(to + 3 * PAGE), touch(at).0)
    })
    .ok("grow-in-place", || {
        let at = edge(0) - PAGE;
        (sys!(mremap, at, PAGE, 2 * PAGE, 0, 0) as usize == at, touch(at + PAGE).1)
    })
    .ok("fixed", || {
        let (at, to) = (pages(1), pages(1));
        fill(at, 1, 77);
        (sys!(mremap, at, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to) as usize == to, peek(to))
    })
    .ok("dont-unmap", || {
        let at = pages(1);
        fill(at, 1, 77);
        let to = sys!(mremap, at, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, 0) as usize;
        (peek(to), peek(at))
    })
    .ok("old-size-zero-of-shared", || {
        let at = sys!(mmap, 0, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0) as usize;
        fill(at, 1, 77);
        let to = sys!(mremap, at, 0, PAGE, MREMAP_MAYMOVE, 0) as usize;
        (to != at, peek(to), peek(at))
    })
    .err("EINVAL-unaligned", || sys!(mremap, pages(1) + 1, PAGE, PAGE, 0, 0))
    .err("EINVAL-flags", || sys!(mremap, pages(1), PAGE, PAGE, 8, 0))
    .err("EINVAL-new-size", || sys!(mremap, pages(1), PAGE, 0, 0, 0))
    .err("EINVAL-fixed-without-maymove", || sys!(mremap, pages(1), PAGE, PAGE, MREMAP_FIXED, pages(1)))
    .err("EINVAL-overlap", || {
        let at = pages(2);
        sys!(mremap, at, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, at + PAGE)
    })
    .err("EINVAL-old-size-zero-of-private", || sys!(mremap, pages(1), 0, PAGE, MREMAP_MAYMOVE, 0))
    .err("ENOMEM-may-not-move", || {
        let at = pages(2);
        sys!(mprotect, at + PAGE, PAGE, PROT_NONE);
        sys!(mremap, at, PAGE, 2 * PAGE, 0, 0)
    })
    .err("EFAULT-unmapped", || sys!(mremap, 0x10_0000_0000u64, PAGE, 2 * PAGE, MREMAP_MAYMOVE, 0))
    .err("EFAULT-across-mappings", || {
        let at = pages(2);
        sys!(mprotect, at + PAGE, PAGE, PROT_READ);
        sys!(mremap, at, 2 * PAGE, 3 * PAGE, MREMAP_MAYMOVE, 0)
    })
    .err("EAGAIN-locked", || {
        let at = pages(1);
        sys!(mlock, at, PAGE);
        sys!(prlimit64, 0, libc::RLIMIT_MEMLOCK, &[4096u64, 4096], 0);
        as_user(|| sys!(mremap, at, PAGE, 8 * PAGE, MREMAP_MAYMOVE, 0))
    });
}

fn advice(a: &mut Calls) {
    a.call("madvise", "EINVAL ENOMEM EACCES", "", false)
        .not("EBADF", "kernels without swap only")
        .not("EAGAIN", "see --nth")
        .not("EIO", "needs swap")
        .not("EPERM", "needs memory failure injection");
    a.ok("dont-need", || {
        let at = pages(1);
        fill(at, 1, 7);
        (sys!(madvise, at, PAGE, MADV_DONTNEED), peek(at))
    })
    .ok("dont-need-of-file", || {
        let fd = opened(c"f", "hello");
        let at = sys!(mmap, 0, PAGE, RW, MAP_PRIVATE, fd, 0) as usize;
        fill(at, 1, b'J');
        (sys!(madvise, at, PAGE, MADV_DONTNEED), peek(at))
    })
    .ok("hints", || {
        let at = pages(1);
        [MADV_NORMAL, libc::MADV_RANDOM, libc::MADV_SEQUENTIAL, MADV_WILLNEED, MADV_FREE]
            .into_iter()
            .map(|h| sys!(madvise, at, PAGE, h))
            .collect::<Vec<_>>()
    })
    .ok("dont-fork", || {
        let at = pages(1);
        (sys!(madvise, at, PAGE, MADV_DONTFORK), touch(at).0)
    })
    .ok("wipe-on-fork", || {
        let at = pages(1);
        fill(at, 1, 7);
        (sys!(madvise, at, PAGE, MADV_WIPEONFORK), in_child(|| i32::from(peek(at))), peek(at))
    })
    .ok("populate-write", || sys!(madvise, pages(2), 2 * PAGE, MADV_POPULATE_WRITE))
    .ok("huge-page-hint", || sys!(madvise, pages(1), PAGE, MADV_HUGEPAGE))
    .ok("remove", || {
        let fd = opened(c"f", "hello");
        let at = sys!(mmap, 0, PAGE, RW, MAP_SHARED, fd, 0) as usize;
        (sys!(madvise, at, PAGE, MADV_REMOVE), content(c"f"))
    })
    .ok("every-advice", || {
        // Collapsing to a huge page (25) needs one; broken memory (100, 101) stays broken.
        let anonymous = || pages(1);
        let shared = || sys!(mmap, 0, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0) as usize;
        let file = || sys!(mmap, 0, PAGE, RW, MAP_PRIVATE, opened(c"f", "hello"), 0) as usize;
        (0..110)
            .filter(|a| ![25, 100, 101].contains(a))
            .map(|a| [anonymous(), shared(), file()].map(|at| sys!(madvise, at, PAGE, a).to_string()).join(","))
            .collect::<Vec<_>>()
            .join(" ")
    })
    .ok("remove-part", || {
        let fd = opened(c"f", "");
        sys!(ftruncate, fd, 3 * PAGE);
        let at = sys!(mmap, 0, 3 * PAGE, RW, MAP_SHARED, fd, 0) as usize;
        fill(at, 3 * PAGE, b'J');
        let mut byte = [0u8; 1];
        sys!(pread64, fd, &mut byte, 1, PAGE);
        (sys!(madvise, at + PAGE, PAGE, MADV_REMOVE), peek(at), peek(at + PAGE), peek(at + 2 * PAGE), byte[0])
    })
    .ok("remove-of-shared-memory", || {
        let at = sys!(mmap, 0, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0) as usize;
        fill(at, 1, 7);
        (sys!(madvise, at, PAGE, MADV_REMOVE), peek(at))
    })
    .ok("zero-length", || sys!(madvise, pages(1), 0, MADV_DONTNEED))
    .err("EINVAL-remove-of-locked", || {
        let at = sys!(mmap, 0, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0) as usize;
        sys!(mlock, at, PAGE);
        sys!(madvise, at, PAGE, MADV_REMOVE)
    })
    .err("EACCES-remove-of-private-file", || {
        sys!(madvise, sys!(mmap, 0, PAGE, RW, MAP_PRIVATE, opened(c"f", "hello"), 0), PAGE, MADV_REMOVE)
    })
    .err("EINVAL-unaligned", || sys!(madvise, pages(1) + 1, PAGE, MADV_DONTNEED))
    .err("EINVAL-advice", || sys!(madvise, pages(1), PAGE, 9999))
    .err("EINVAL-locked", || {
        let at = pages(1);
        sys!(mlock, at, PAGE);
        sys!(madvise, at, PAGE, MADV_DONTNEED)
    })
    .err("EINVAL-free-of-shared", || sys!(madvise, sys!(mmap, 0, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0), PAGE, MADV_FREE))
    .err("EINVAL-remove-of-private", || sys!(madvise, pages(1), PAGE, MADV_REMOVE))
    .err("ENOMEM-unmapped", || sys!(madvise, 0x10_0000_0000u64, PAGE, MADV_NORMAL))
    .err("ENOMEM-hole", || sys!(madvise, edge(0) - PAGE, 2 * PAGE, MADV_DONTNEED))
    .err("EACCES-remove-of-read-only", || {
        file(c"f", "x");
        sys!(madvise, sys!(mmap, 0, PAGE, PROT_READ, MAP_SHARED, open(c"f", O_RDONLY), 0), PAGE, MADV_REMOVE)
    });
    a.call("msync", "EINVAL ENOMEM EBUSY", "", false);
    a.ok("file", || {
        let fd = opened(c"f", "hello");
        let at = sys!(mmap, 0, PAGE, RW, MAP_SHARED, fd, 0) as usize;
        fill(at, 1, b'J');
        (sys!(msync, at, PAGE, MS_SYNC), sys!(msync, at, PAGE, MS_ASYNC), sys!(msync, at, PAGE, MS_INVALIDATE))
    })
    .ok("anonymous", || sys!(msync, pages(1), PAGE, MS_SYNC))
    .ok("zero-length", || sys!(msync, pages(1), 0, MS_SYNC))
    .err("EINVAL-flags", || (sys!(msync, pages(1), PAGE, 8), sys!(msync, pages(1), PAGE, MS_SYNC | MS_ASYNC)))
    .err("EINVAL-unaligned", || sys!(msync, pages(1) + 1, PAGE, MS_SYNC))
    .err("ENOMEM", || sys!(msync, 0x10_0000_0000u64, PAGE, MS_SYNC))
    .err("ENOMEM-hole", || sys!(msync, edge(0) - PAGE, 2 * PAGE, MS_SYNC))
    .err("EBUSY-invalidate-locked", || {
        let at = pages(1);
        sys!(mlock, at, PAGE);
        sys!(msync, at, PAGE, MS_INVALIDATE)
    });
    a.call("mincore", "EINVAL ENOMEM", "vec", false).not("EAGAIN", "see --nth");
    a.ok("touched-and-not", || {
        let at = pages(3);
        fill(at + PAGE, 1, 1);
        let mut v = [9u8; 4];
        (sys!(mincore, at, 3 * PAGE, &mut v), v[0] & 1, v[1] & 1, v[2] & 1, v[3])
    })
    .ok("zero-length", || sys!(mincore, pages(1), 0, BAD))
    .err("EINVAL", || sys!(mincore, pages(1) + 1, PAGE, pages(1)))
    .err("ENOMEM", || sys!(mincore, 0x10_0000_0000u64, PAGE, pages(1)))
    .err("ENOMEM-beyond", || sys!(mincore, KERN, PAGE, pages(1)))
    .bad("vec", || sys!(mincore, pages(1), PAGE, BAD))
    .bad("vec-edge", || sys!(mincore, pages(4), 4 * PAGE, edge(2)));
}
