//! Futexes: waiting, waking, robust lists.
use super::pi;
use crate::case::Calls;
use crate::help::*;
use crate::sys;
use libc::{
    FUTEX_CLOCK_REALTIME, FUTEX_CMP_REQUEUE, FUTEX_LOCK_PI, FUTEX_PRIVATE_FLAG, FUTEX_REQUEUE, FUTEX_UNLOCK_PI, FUTEX_WAIT,
    FUTEX_WAIT_BITSET, FUTEX_WAKE, FUTEX_WAKE_BITSET, FUTEX_WAKE_OP, timespec,
};
use std::sync::atomic::{AtomicU32, Ordering};

/// Adds the group.
pub fn add(a: &mut Calls) {
    futexes(a);
    robust(a);
}

/// A word that all children share.
pub fn shared_word() -> usize {
    sys!(mmap, 0, PAGE, 3, libc::MAP_SHARED | libc::MAP_ANONYMOUS, -1, 0) as usize
}

/// A child that waits on the word.
fn waiter(word: usize) -> i32 {
    let p = child(|| sys!(futex, word, FUTEX_WAIT, 0, &ms(5000), 0, 0) as i32 & 0xff);
    sleep_ms(40);
    p
}

static WORD: AtomicU32 = AtomicU32::new(0);

fn change_and_wake() {
    WORD.store(1, Ordering::SeqCst);
    sys!(futex, &WORD, FUTEX_WAKE, 1, 0, 0, 0);
}

fn futexes(a: &mut Calls) {
    a.call("futex", "EAGAIN EINVAL ENOSYS ETIMEDOUT EDEADLK EPERM ESRCH", "uaddr timeout uaddr2", true)
        .not("EACCES", "a word that cannot be read is EFAULT")
        .not("ENFILE", "FUTEX_FD is gone")
        .not("ENOMEM", "see --nth");
    a.ok("wake-nobody", || sys!(futex, &0u32, FUTEX_WAKE, 1, 0, 0, 0))
        .ok("wake-one", || {
            let w = shared_word();
            let p = waiter(w);
            (sys!(futex, w, FUTEX_WAKE, 1, 0, 0, 0), wait(p))
        })
        .ok("wake-two-of-three", || {
            let w = shared_word();
            let p = [waiter(w), waiter(w), waiter(w)];
            (sys!(futex, w, FUTEX_WAKE, 2, 0, 0, 0), sys!(futex, w, FUTEX_WAKE, 9, 0, 0, 0), wait(p[0]), wait(p[1]), wait(p[2]))
        })
        .ok("private-between-threads", || {
            let t = std::thread::spawn(|| sys!(futex, &WORD, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, 0, &ms(5000), 0, 0));
            sleep_ms(40);
            (sys!(futex, &WORD, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1, 0, 0, 0), t.join().unwrap_or(99))
        })
        .ok("private-does-not-wake-shared", || {
            let w = shared_word();
            let p = waiter(w);
            let r = sys!(futex, w, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1, 0, 0, 0);
            (r, sys!(futex, w, FUTEX_WAKE, 1, 0, 0, 0), wait(p))
        })
        .ok("shared-file-mapping", || {
            let fd = opened(c"f", "");
            sys!(ftruncate, fd, PAGE);
            let x = sys!(mmap, 0, PAGE, 3, libc::MAP_SHARED, fd, 0) as usize;
            let y = sys!(mmap, 0, PAGE, 3, libc::MAP_SHARED, fd, 0) as usize;
            let p = waiter(x);
            (sys!(futex, y, FUTEX_WAKE, 1, 0, 0, 0), wait(p))
        })
        .ok("requeue", || {
            let (x, y) = (shared_word(), shared_word());
            let p = [waiter(x), waiter(x)];
            (
                sys!(futex, x, FUTEX_REQUEUE, 1, 5, y, 0),
                sys!(futex, x, FUTEX_WAKE, 9, 0, 0, 0),
                sys!(futex, y, FUTEX_WAKE, 9, 0, 0, 0),
                wait(p[0]),
                wait(p[1]),
            )
        })
        .ok("compare-and-requeue", || {
            let (x, y) = (shared_word(), shared_word());
            let p = [waiter(x), waiter(x)];
            (sys!(futex, x, FUTEX_CMP_REQUEUE, 0, 9, y, 0), sys!(futex, y, FUTEX_WAKE, 9, 0, 0, 0), wait(p[0]), wait(p[1]))
        })
        .ok("bits-select", || {
            let w = shared_word();
            let p = child(|| sys!(futex, w, FUTEX_WAIT_BITSET, 0, 0, 0, 4) as i32);
            sleep_ms(40);
            (sys!(futex, w, FUTEX_WAKE_BITSET, 9, 0, 0, 3), sys!(futex, w, FUTEX_WAKE_BITSET, 9, 0, 0, 6), wait(p))
        })
        .ok("wake-op", || {
            let (x, y) = (shared_word(), shared_word());
            let p = waiter(x);
            // Sets the second word to 7, and wakes there when it was 0.
            (sys!(futex, x, FUTEX_WAKE_OP, 1, 1, y, 7 << 12), peek(y), wait(p))
        })
        .ok("pi-lock-and-unlock", || {
            let w = 0u32;
            let r = sys!(futex, &w, FUTEX_LOCK_PI, 0, 0, 0, 0);
            // SAFETY: a local word that the kernel changed.
            let held = unsafe { (&raw const w).read_volatile() } as isize == sys!(gettid);
            (r, held, sys!(futex, &w, FUTEX_UNLOCK_PI, 0, 0, 0, 0))
        })
        .err("EAGAIN-value", || sys!(futex, &5u32, FUTEX_WAIT, 4, 0, 0, 0))
        .err("EAGAIN-compare", || sys!(futex, &5u32, FUTEX_CMP_REQUEUE, 1, 1, &0u32, 4))
        .err("EINVAL-unaligned", || sys!(futex, pages(1) + 1, FUTEX_WAIT, 0, &ms(0), 0, 0))
        .err("EINVAL-timeout", || sys!(futex, &0u32, FUTEX_WAIT, 0, &timespec { tv_sec: 0, tv_nsec: 1_000_000_000 }, 0, 0))
        .err("EINVAL-no-bits", || (sys!(futex, &0u32, FUTEX_WAIT_BITSET, 0, 0, 0, 0), sys!(futex, &0u32, FUTEX_WAKE_BITSET, 0, 0, 0, 0)))
        .err("EINVAL-negative-counts", || sys!(futex, &0u32, FUTEX_REQUEUE, -1, 1, &0u32, 0))
        .err("ENOSYS", || sys!(futex, &0u32, 99, 0, 0, 0, 0))
        .err("ENOSYS-realtime", || {
            [0, 1, 3, 4, 5, 6, 7, 8, 10, 12].map(|op| sys!(futex, &0u32, op | FUTEX_CLOCK_REALTIME, 0, 0, 0, 0)).to_vec()
        })
        .err("ETIMEDOUT", || {
            let start = now_ms();
            (sys!(futex, &0u32, FUTEX_WAIT, 0, &ms(40), 0, 0), now_ms() - start >= 40)
        })
        .err("ETIMEDOUT-absolute-past", || sys!(futex, &0u32, FUTEX_WAIT_BITSET, 0, &ms(1), 0, -1))
        .err("ETIMEDOUT-realtime", || sys!(futex, &0u32, FUTEX_WAIT_BITSET | FUTEX_CLOCK_REALTIME, 0, &ms(1), 0, -1))
        .err("EDEADLK", || sys!(futex, &(sys!(gettid) as u32), FUTEX_LOCK_PI, 0, 0, 0, 0))
        .err("EPERM-unlock", || sys!(futex, &1u32, FUTEX_UNLOCK_PI, 0, 0, 0, 0))
        .err("ESRCH-owner", || sys!(futex, &mut 0x3fff_fff0u32, FUTEX_LOCK_PI, 0, 0, 0, 0))
        .bad("uaddr", || (sys!(futex, BAD, FUTEX_WAIT, 0, 0, 0, 0), sys!(futex, BAD, FUTEX_WAKE, 1, 0, 0, 0)))
        .bad("uaddr-unmapped", || {
            (sys!(futex, 0x20_0000_0000u64, FUTEX_WAIT, 0, 0, 0, 0), sys!(futex, 0x20_0000_0000u64, FUTEX_WAKE, 1, 0, 0, 0))
        })
        .bad("uaddr-private-wake", || sys!(futex, 0x20_0000_0000u64, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1, 0, 0, 0))
        .bad("uaddr-kernel", || sys!(futex, KERN, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, 0, 0, 0, 0))
        .bad("timeout", || sys!(futex, &0u32, FUTEX_WAIT, 0, BAD, 0, 0))
        .bad("uaddr2", || sys!(futex, &0u32, FUTEX_CMP_REQUEUE, 1, 1, BAD, 0))
        .intr("no-timeout", || interrupted(|| sys!(futex, &0u32, FUTEX_WAIT, 0, 0, 0, 0)))
        .intr("no-timeout-restarts", || (restarted(change_and_wake, || sys!(futex, &WORD, FUTEX_WAIT, 0, 0, 0, 0)), caught() > 0))
        .intr("timeout-not-restarted-without-flag", || interrupted(|| sys!(futex, &0u32, FUTEX_WAIT, 0, &ms(5000), 0, 0)));
    pi::add(a);
}

fn robust(a: &mut Calls) {
    a.call("set_robust_list", "EINVAL", "", false);
    a.ok("owner-died", || {
        // A list with one lock: when its holder dies the word says so.
        let page = shared_word();
        let p = child(|| {
            let head = page;
            let (entry, word) = (page + 64, page + 128);
            // SAFETY: all within one mapped page.
            unsafe {
                (head as *mut usize).write(entry);
                ((head + 8) as *mut i64).write((word - entry) as i64);
                ((head + 16) as *mut usize).write(0);
                (entry as *mut usize).write(head);
                (word as *mut u32).write(sys!(gettid) as u32);
            }
            sys!(set_robust_list, head, 24);
            0
        });
        let end = wait(p);
        // SAFETY: within the mapped page.
        let word = unsafe { ((page + 128) as *const u32).read_volatile() };
        (end, format!("{:#x}", word))
    })
    .ok("bad-pointer-at-exit", || {
        in_child(|| {
            sys!(set_robust_list, BAD, 24);
            3
        })
    })
    .err("EINVAL", || sys!(set_robust_list, 0, 16));
    a.call("get_robust_list", "EPERM ESRCH", "head_ptr len_ptr", false).not("EINVAL", "never on Linux");
    a.ok("own", || {
        sys!(set_robust_list, 0x1234, 24);
        let (mut head, mut length) = (0usize, 0usize);
        (sys!(get_robust_list, 0, &mut head, &mut length), head, length)
    })
    .ok("child-starts-without", || {
        sys!(set_robust_list, 0x1234, 24);
        in_child(|| {
            let (mut head, mut length) = (9usize, 0usize);
            sys!(get_robust_list, 0, &mut head, &mut length);
            head as i32
        })
    })
    .err("EPERM", || as_user(|| sys!(get_robust_list, 1, pages(1), pages(1))))
    .err("ESRCH", || sys!(get_robust_list, 0x3fff_fff0, pages(1), pages(1)))
    .bad("head_ptr", || sys!(get_robust_list, 0, BAD, pages(1)))
    .bad("len_ptr", || sys!(get_robust_list, 0, pages(1), BAD));
}
