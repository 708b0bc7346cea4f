//! Locks, seals and owners: what fcntl(2) and flock(2) do beyond one process and one lock.
use crate::case::Calls;
use crate::help::*;
use crate::sys;
use libc::{
    F_ADD_SEALS, F_GET_SEALS, F_GETLK, F_GETOWN, F_OFD_SETLK, F_OFD_SETLKW, F_RDLCK, F_SEAL_FUTURE_WRITE, F_SEAL_GROW, F_SEAL_SEAL,
    F_SEAL_SHRINK, F_SEAL_WRITE, F_SETLK, F_SETLKW, F_SETOWN, F_UNLCK, F_WRLCK, LOCK_EX, LOCK_NB, LOCK_SH, LOCK_UN, MAP_PRIVATE,
    MAP_SHARED, O_RDONLY, O_RDWR, PROT_READ, PROT_WRITE,
};

const F_SETSIG: i32 = 10;
const F_GETSIG: i32 = 11;
const F_SETOWN_EX: i32 = 15;
const F_GETOWN_EX: i32 = 16;

fn range(kind: i32, whence: i32, start: i64, length: i64) -> libc::flock {
    libc::flock { l_type: kind as i16, l_whence: whence as i16, l_start: start, l_len: length, ..zero() }
}

fn lock(kind: i32, start: i64, length: i64) -> libc::flock {
    range(kind, 0, start, length)
}

/// What another process finds in the way of an exclusive lock from `start` on.
fn seen(fd: i32, start: i64) -> String {
    in_child(|| {
        let mut l = lock(F_WRLCK, start, 0);
        sys!(fcntl, fd, F_GETLK, &mut l);
        // Kind, first byte, length in one status.
        (l.l_type as i32) << 6 | (l.l_start as i32 & 7) << 3 | (l.l_len as i32 & 7)
    })
}

/// Cases of fcntl(2).
pub fn records(a: &mut Calls) {
    a.ok("lock-middle-unlocked", || {
        let fd = opened(c"f", "");
        sys!(fcntl, fd, F_SETLK, &lock(F_WRLCK, 0, 7));
        sys!(fcntl, fd, F_SETLK, &lock(F_UNLCK, 2, 2));
        (seen(fd, 0), seen(fd, 2), seen(fd, 7))
    })
    .ok("lock-middle-weaker", || {
        let fd = opened(c"f", "");
        sys!(fcntl, fd, F_SETLK, &lock(F_WRLCK, 0, 7));
        sys!(fcntl, fd, F_SETLK, &lock(F_RDLCK, 2, 2));
        (seen(fd, 0), seen(fd, 2), seen(fd, 4))
    })
    .ok("lock-neighbours-merge", || {
        let fd = opened(c"f", "");
        sys!(fcntl, fd, F_SETLK, &lock(F_RDLCK, 4, 2));
        sys!(fcntl, fd, F_SETLK, &lock(F_RDLCK, 1, 3));
        seen(fd, 0)
    })
    .ok("lock-whence", || {
        let fd = opened(c"f", "0123456789");
        sys!(lseek, fd, 5, 0);
        let set = |l: &libc::flock| sys!(fcntl, fd, F_SETLK, l);
        (
            set(&range(F_RDLCK, 1, -2, 3)),
            set(&range(F_RDLCK, 2, -1, -2)),
            set(&range(F_RDLCK, 2, 0, -11)),
            set(&range(F_RDLCK, 3, 0, 1)),
            seen(fd, 0),
            seen(fd, 6),
        )
    })
    .ok("lock-largest", || {
        let fd = opened(c"f", "");
        let set = |start, length| sys!(fcntl, fd, F_SETLK, &lock(F_RDLCK, start, length));
        sys!(lseek, fd, 10, 0);
        (set(i64::MAX, 1), set(i64::MAX, 2), set(5, i64::MAX), sys!(fcntl, fd, F_SETLK, &range(F_RDLCK, 1, i64::MAX, 1)))
    })
    .ok("lock-wait-is-over", || {
        let fd = opened(c"f", "");
        let other = child(|| {
            sys!(fcntl, fd, F_SETLK, &lock(F_WRLCK, 0, 1));
            sleep_ms(150);
            sys!(fcntl, fd, F_SETLK, &lock(F_UNLCK, 0, 1)) as i32
        });
        sleep_ms(60);
        let begin = now_ms();
        let held = sys!(fcntl, fd, F_SETLK, &lock(F_WRLCK, 0, 1));
        let got = sys!(fcntl, fd, F_SETLKW, &lock(F_WRLCK, 0, 1));
        (held, got, now_ms() - begin > 20, wait(other))
    })
    .ok("lock-wait-ends-with-holder", || {
        let fd = opened(c"f", "");
        let other = child(|| {
            sys!(fcntl, fd, F_SETLK, &lock(F_WRLCK, 0, 1));
            sleep_ms(100);
            0
        });
        sleep_ms(50);
        (sys!(fcntl, fd, F_SETLKW, &lock(F_RDLCK, 0, 1)), wait(other))
    })
    .ok("lock-ping-pong-is-no-deadlock", || {
        // Each gives up what the other waits for, and waits for it in turn.
        let fd = opened(c"f", "");
        let turn = |fd| {
            (0..40).fold(0, |bad, _| {
                let r = sys!(fcntl, fd, F_SETLKW, &lock(F_WRLCK, 0, 1));
                sys!(fcntl, fd, F_SETLK, &lock(F_UNLCK, 0, 1));
                bad + i32::from(r != 0)
            })
        };
        let others: Vec<i32> = (0..3).map(|_| child(|| turn(fd))).collect();
        (turn(fd), others.into_iter().map(wait).collect::<Vec<_>>())
    })
    .ok("lock-read-write-only", || {
        let (r, w) = (opened(c"f", ""), open(c"f", libc::O_WRONLY));
        (
            sys!(fcntl, w, F_SETLK, &lock(F_RDLCK, 0, 1)),
            sys!(fcntl, w, F_SETLK, &lock(F_WRLCK, 0, 1)),
            sys!(fcntl, r, F_SETLK, &lock(F_UNLCK, 0, 1)),
        )
    })
    .ok("lock-of-pipe", || sys!(fcntl, pipe().0, F_SETLK, &lock(F_RDLCK, 0, 1)))
    .ok("lock-dup-of-other-table", || {
        // A child's close of its copy takes nothing from the parent.
        let fd = opened(c"f", "");
        sys!(fcntl, fd, F_SETLK, &lock(F_WRLCK, 0, 0));
        in_child(|| sys!(close, fd) as i32);
        seen(fd, 0)
    })
    .ok("ofd-lock-shared-with-child", || {
        let fd = opened(c"f", "");
        sys!(fcntl, fd, F_OFD_SETLK, &lock(F_WRLCK, 0, 0));
        let same = in_child(|| -sys!(fcntl, fd, F_OFD_SETLK, &lock(F_RDLCK, 0, 1)) as i32);
        let posix = in_child(|| -sys!(fcntl, fd, F_SETLK, &lock(F_WRLCK, 0, 1)) as i32);
        (
            same,
            posix,
            sys!(fcntl, open(c"f", O_RDWR), F_OFD_SETLK, &lock(F_RDLCK, 1, 1)),
            sys!(fcntl, open(c"f", O_RDWR), F_OFD_SETLK, &lock(F_WRLCK, 0, 1)),
        )
    })
    .ok("ofd-lock-gone-with-last-close", || {
        let (f, g) = (opened(c"f", ""), open(c"f", O_RDWR));
        sys!(fcntl, f, F_OFD_SETLK, &lock(F_WRLCK, 0, 0));
        let d = sys!(dup, f);
        sys!(close, f);
        let held = sys!(fcntl, g, F_OFD_SETLK, &lock(F_WRLCK, 0, 0));
        sys!(close, d);
        (held, sys!(fcntl, g, F_OFD_SETLK, &lock(F_WRLCK, 0, 0)))
    })
    .ok("seals-one-by-one", || {
        let fd = sys!(memfd_create, c"m", libc::MFD_ALLOW_SEALING) as i32;
        sys!(ftruncate, fd, 10);
        let seal = |s| sys!(fcntl, fd, F_ADD_SEALS, s);
        let shrink = (seal(F_SEAL_SHRINK), sys!(ftruncate, fd, 9), sys!(ftruncate, fd, 12));
        let grow = (
            seal(F_SEAL_GROW),
            sys!(ftruncate, fd, 13),
            sys!(pwrite64, fd, c"0123456789", 10, 5),
            sys!(pwrite64, fd, c"01", 2, 10),
            sys!(fallocate, fd, 0, 0, 20),
        );
        (
            shrink.0,
            shrink.1,
            shrink.2,
            grow.0,
            format!("{} {} {} {}", grow.1, grow.2, grow.3, grow.4),
            seal(F_SEAL_SEAL),
            seal(F_SEAL_WRITE),
            sys!(fcntl, fd, F_GET_SEALS, 0),
        )
    })
    .ok("seal-write", || {
        let fd = sys!(memfd_create, c"m", libc::MFD_ALLOW_SEALING) as i32;
        sys!(ftruncate, fd, PAGE);
        let seal = || sys!(fcntl, fd, F_ADD_SEALS, F_SEAL_WRITE);
        let at = sys!(mmap, 0, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) as usize;
        let busy = seal();
        sys!(munmap, at, PAGE);
        let map = |protection, flags| {
            if sys!(mmap, 0, PAGE, protection, flags, fd, 0) > 0 { 0 } else { sys!(mmap, 0, PAGE, protection, flags, fd, 0) }
        };
        (
            busy,
            seal(),
            sys!(write, fd, c"x", 1),
            map(PROT_READ | PROT_WRITE, MAP_SHARED),
            map(PROT_READ, MAP_SHARED),
            map(PROT_READ | PROT_WRITE, MAP_PRIVATE),
            sys!(fallocate, fd, 3, 0, PAGE),
        )
    })
    .ok("seal-future-write", || {
        let fd = sys!(memfd_create, c"m", libc::MFD_ALLOW_SEALING) as i32;
        sys!(ftruncate, fd, PAGE);
        let old = sys!(mmap, 0, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) as usize;
        let sealed = sys!(fcntl, fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE);
        fill(old, 1, b'x');
        let new = sys!(mmap, 0, PAGE, PROT_READ, MAP_SHARED, fd, 0);
        (
            sealed,
            peek(new as usize),
            sys!(mprotect, new, PAGE, PROT_READ | PROT_WRITE),
            sys!(write, fd, c"x", 1),
            sys!(mmap, 0, PAGE, PROT_WRITE, MAP_SHARED, fd, 0),
        )
    })
    .ok("seals-of-unwritable", || {
        let fd = sys!(memfd_create, c"m", libc::MFD_ALLOW_SEALING) as i32;
        let again = open(&c(&format!("/proc/self/fd/{fd}")), O_RDONLY);
        (
            sys!(fcntl, again, F_GET_SEALS, 0),
            sys!(fcntl, again, F_ADD_SEALS, 1),
            sys!(fcntl, fd, F_ADD_SEALS, 64),
            sys!(fcntl, fd, F_ADD_SEALS, 1u64 << 32),
        )
    })
    .ok("F_SETOWN-group", || {
        let p = pipe();
        (
            sys!(fcntl, p.0, F_SETOWN, -sys!(getpgid, 0)),
            sys!(fcntl, p.0, F_GETOWN, 0) == -sys!(getpgid, 0),
            sys!(fcntl, p.0, F_SETOWN, 0),
            sys!(fcntl, p.0, F_GETOWN, 0),
            sys!(fcntl, p.0, F_SETOWN, i32::MIN),
        )
    })
    .ok("F_SETOWN-gone", || {
        let p = pipe();
        let pid = sleeper();
        let r = sys!(fcntl, p.0, F_SETOWN, pid);
        end(pid);
        (r, sys!(fcntl, p.0, F_GETOWN, 0))
    })
    .ok("F_SETOWN_EX", || {
        let p = pipe();
        let mut owner = [9i32; 2];
        let none = (sys!(fcntl, p.0, F_GETOWN_EX, &mut owner), owner[0], owner[1]);
        let set = (0..4).map(|kind| sys!(fcntl, p.0, F_SETOWN_EX, &[kind, sys!(gettid) as i32])).collect::<Vec<_>>();
        (
            none.0,
            none.1,
            none.2,
            set,
            sys!(fcntl, p.0, F_SETOWN_EX, &[0, 0x3fff_ffff]),
            sys!(fcntl, p.0, F_SETOWN_EX, BAD),
            sys!(fcntl, p.0, F_GETOWN_EX, BAD),
        )
    })
    .ok("F_SETSIG", || {
        let p = pipe();
        let get = || sys!(fcntl, p.0, F_GETSIG, 0);
        (
            get(),
            sys!(fcntl, p.0, F_SETSIG, 40),
            get(),
            sys!(fcntl, p.0, F_SETSIG, 65),
            sys!(fcntl, p.0, F_SETSIG, -1),
            sys!(fcntl, p.0, F_SETSIG, 0),
            get(),
        )
    })
    .ok("O_ASYNC-only-where-it-can-be", || {
        let (f, p) = (opened(c"f", ""), pipe());
        let set = |fd| (sys!(fcntl, fd, libc::F_SETFL, libc::O_ASYNC), sys!(fcntl, fd, libc::F_GETFL, 0) & libc::O_ASYNC as isize);
        (
            set(f).1,
            set(p.0).1,
            sys!(fcntl, p.0, libc::F_SETFL, 0),
            sys!(fcntl, p.0, libc::F_GETFL, 0),
            sys!(ioctl, p.0, libc::FIOASYNC, &1i32),
            sys!(fcntl, p.0, libc::F_GETFL, 0) & libc::O_ASYNC as isize,
            sys!(ioctl, f, libc::FIOASYNC, &1i32),
            sys!(ioctl, f, libc::FIOASYNC, &0i32),
        )
    })
    .ok("O_ASYNC-signals", || {
        let p = pipe();
        block(&[29, 40]);
        sys!(fcntl, p.0, libc::F_SETFL, libc::O_ASYNC);
        let come = || {
            let mut info = [0u32; 32];
            let r = sys!(rt_sigtimedwait, &mask(&[29, 40]), &mut info, &ms(0), 8);
            format!("{} code {} band {:#x} fd {}", crate::sys::Show::show(r), info[2] as i32, info[4], info[6])
        };
        let write = || sys!(write, p.1, c"x", 1);
        write();
        let nobody = come();
        sys!(fcntl, p.0, F_SETOWN, sys!(getpid));
        write();
        let plain = come();
        sys!(fcntl, p.0, F_SETSIG, 40);
        write();
        let queued = come();
        sys!(close, p.1);
        let end = come();
        (nobody, plain, queued, end, come())
    })
    .ok("O_ASYNC-of-writer-and-thread", || {
        let p = pipe();
        block(&[29]);
        sys!(fcntl, p.1, libc::F_SETFL, libc::O_ASYNC);
        sys!(fcntl, p.1, F_SETOWN_EX, &[0, sys!(gettid) as i32]);
        sys!(write, p.1, c"x", 1);
        let none = sys!(rt_sigtimedwait, &mask(&[29]), 0, &ms(0), 8);
        sys!(read, p.0, pages(1), 1);
        (none, sys!(rt_sigtimedwait, &mask(&[29]), 0, &ms(0), 8))
    })
    .intr("F_OFD_SETLKW", || {
        let (f, g) = (opened(c"f", ""), open(c"f", O_RDWR));
        sys!(fcntl, f, F_OFD_SETLK, &lock(F_WRLCK, 0, 10));
        interrupted(|| sys!(fcntl, g, F_OFD_SETLKW, &lock(F_WRLCK, 0, 10)))
    });
}

/// Cases of flock(2).
pub fn whole(a: &mut Calls) {
    a.ok("conversion-that-fails-loses", || {
        let (f, g) = (opened(c"f", ""), open(c"f", O_RDWR));
        (sys!(flock, f, LOCK_SH), sys!(flock, g, LOCK_SH), sys!(flock, f, LOCK_EX | LOCK_NB), sys!(flock, g, LOCK_EX | LOCK_NB))
    })
    .ok("conversion", || {
        let (f, g) = (opened(c"f", ""), open(c"f", O_RDWR));
        (
            sys!(flock, f, LOCK_EX),
            sys!(flock, f, LOCK_SH),
            sys!(flock, g, LOCK_SH | LOCK_NB),
            sys!(flock, g, LOCK_UN),
            sys!(flock, f, LOCK_EX | LOCK_NB),
        )
    })
    .ok("read-only-may-lock-exclusively", || {
        file(c"f", "");
        sys!(flock, open(c"f", O_RDONLY), LOCK_EX | LOCK_NB)
    })
    .ok("kept-by-child", || {
        let (f, g) = (opened(c"f", ""), open(c"f", O_RDWR));
        sys!(flock, f, LOCK_EX);
        let other = sleeper();
        sys!(close, f);
        let held = sys!(flock, g, LOCK_EX | LOCK_NB);
        end(other);
        (held, sys!(flock, g, LOCK_EX | LOCK_NB))
    })
    .ok("waits", || {
        let f = opened(c"f", "");
        let other = child(|| {
            let g = open(c"f", O_RDWR);
            sys!(flock, g, LOCK_EX);
            sleep_ms(120);
            0
        });
        sleep_ms(50);
        let begin = now_ms();
        (sys!(flock, f, LOCK_SH), now_ms() - begin > 20, wait(other))
    })
    .ok("not-a-record-lock", || {
        let (f, g) = (opened(c"f", ""), open(c"f", O_RDWR));
        (sys!(flock, f, LOCK_EX), in_child(|| sys!(fcntl, g, F_SETLK, &lock(F_WRLCK, 0, 0)) as i32))
    })
    .ok("order-of-errors", || (sys!(flock, 99, 0), sys!(flock, 99, 32), sys!(flock, pipe().0, LOCK_EX)));
}
