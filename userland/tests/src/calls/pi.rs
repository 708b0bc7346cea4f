//! Futexes that lend their owner the priority of those who wait; cases of the call that `futex` has begun.
use super::futex::shared_word;
use super::sched::cpus;
use crate::case::Calls;
use crate::help::*;
use crate::sys;
use crate::sys::Show;
use libc::{
    FUTEX_CMP_REQUEUE_PI, FUTEX_LOCK_PI, FUTEX_LOCK_PI2, FUTEX_REQUEUE, FUTEX_TRYLOCK_PI, FUTEX_UNLOCK_PI, FUTEX_WAIT_REQUEUE_PI,
    FUTEX_WAKE,
};

fn lock(word: usize) -> isize {
    sys!(futex, word, FUTEX_LOCK_PI, 0, 0, 0, 0)
}

fn unlock(word: usize) -> isize {
    sys!(futex, word, FUTEX_UNLOCK_PI, 0, 0, 0, 0)
}

/// A time of the wall clock so far from now.
fn wall(after: i64) -> libc::timespec {
    let mut t = ms(0);
    sys!(clock_gettime, libc::CLOCK_REALTIME, &mut t);
    ms(t.tv_sec * 1000 + t.tv_nsec / 1_000_000 + after)
}

/// The word: its flags, and whose number it has.
fn word(at: usize, who: isize) -> String {
    // SAFETY: a page that the case has mapped.
    let value = unsafe { (at as *const u32).read_volatile() };
    let owner = match (value & 0x3fff_ffff) as isize {
        0 => "nobody",
        n if n == who => "that one",
        _ => "another",
    };
    format!("{:x} {owner}", value >> 30)
}

/// A child that locks these, says so, does as it is told after a byte, and leaves.
fn holder(words: &[usize], then: impl FnOnce() -> i32) -> (i32, i32) {
    let (said, told) = (pipe(), pipe());
    let p = child(|| {
        for w in words {
            lock(*w);
        }
        sys!(write, said.1, c"l", 1);
        sys!(read, told.0, pages(1), 1);
        then()
    });
    sys!(read, said.0, pages(1), 1);
    (p, told.1)
}

fn go(fd: i32) {
    sys!(write, fd, c"g", 1);
}

/// A child of this real-time priority (0: fair) that locks the word, then does `then`.
fn locker(at: usize, priority: i32, then: impl FnOnce() -> i32) -> i32 {
    let p = child(|| {
        if priority > 0 {
            sys!(sched_setscheduler, 0, libc::SCHED_FIFO, &priority);
        }
        if lock(at) != 0 { 99 } else { then() }
    });
    sleep_ms(60);
    p
}

fn pin(pid: i32, cpu: usize) {
    sys!(sched_setaffinity, pid, 8, &(1u64 << cpu));
}

/// A child that holds these, on CPU 0 alone and for long without it: another one spins there at FIFO 50. Gives both: what is lent
/// shows by the first one's doing its work while the second still spins.
fn starved_holder(words: &[usize], then: impl FnOnce() -> i32) -> (i32, i32) {
    let (p, fd) = holder(words, then);
    pin(p, 0);
    let hog = child(|| {
        pin(0, 0);
        sys!(sched_setscheduler, 0, libc::SCHED_FIFO, &50i32);
        let until = now_ms() + 900;
        while now_ms() < until {}
        0
    });
    pin(0, 1);
    sleep_ms(30);
    go(fd);
    (p, hog)
}

/// What `case` gives, if there is a second CPU: on one alone the hog takes nine tenths of each second from everybody.
fn on_two_cpus<T>(case: impl FnOnce() -> T) -> Vec<T> {
    (cpus() > 1).then(case).into_iter().collect()
}

fn still_runs(pid: i32) -> bool {
    sys!(wait4, pid, 0, libc::WNOHANG, 0) == 0
}

/// What the process runs with: field 18 of its stat.
fn priority(pid: i32) -> i32 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let rest = text.rsplit(')').next().unwrap_or_default();
    rest.split_whitespace().nth(15).and_then(|f| f.parse().ok()).unwrap_or(999)
}

/// A child that waits at `from` to be moved to `to`, then unlocks that.
fn mover(from: usize, to: usize, timeout: i64) -> i32 {
    let p = child(|| {
        let until = ms(now_ms() + timeout);
        let r = sys!(futex, from, FUTEX_WAIT_REQUEUE_PI, 0, &until, to, 0);
        if r == 0 { -unlock(to) as i32 } else { -r as i32 }
    });
    sleep_ms(60);
    p
}

fn requeue(from: usize, to: usize, more: i32, expected: u32) -> isize {
    sys!(futex, from, FUTEX_CMP_REQUEUE_PI, 1, more, to, expected)
}

/// Adds the cases.
pub fn add(a: &mut Calls) {
    locking(a);
    lending(a);
    moving(a);
}

/// Whether somebody waits at the word, or does so soon.
fn has_waiters(at: usize) -> bool {
    let until = now_ms() + 5000;
    // SAFETY: a page that the case has mapped.
    while unsafe { (at as *const u32).read_volatile() } >> 31 == 0 && now_ms() < until {
        sleep_ms(5);
    }
    // SAFETY: as above.
    unsafe { (at as *const u32).read_volatile() >> 31 == 1 }
}

/// Who inherits a futex that it cannot write does not have it; then it is as good as new.
fn heir_without_word() -> (isize, isize, bool, isize, isize) {
    let (w, gate) = (shared_word(), pipe());
    // SAFETY: in this function: a page of its own, which is written while it may be.
    let write = |value: isize| unsafe { (w as *mut u32).write_volatile(value as u32) };
    let (said, told) = (std::sync::mpsc::channel(), pipe());
    let heir = std::thread::spawn(move || {
        let mut byte = 0u8;
        sys!(read, gate.0, &mut byte, 1);
        let _ = said.0.send(lock(w));
        // Its end would put right what is wrong.
        sys!(read, told.0, &mut byte, 1);
    });
    let owner = std::thread::spawn(move || {
        let mut byte = 0u8;
        lock(w);
        sys!(write, gate.1, &byte, 1);
        let waits = has_waiters(w);
        // Not only the bit.
        sleep_ms(20);
        sys!(mprotect, w, PAGE, libc::PROT_READ);
        byte = u8::from(waits);
        byte
    });
    let waits = owner.join().unwrap_or(9);
    let inherits = said.1.recv().unwrap_or(99);
    sys!(mprotect, w, PAGE, libc::PROT_READ | libc::PROT_WRITE);
    // It is nobody's: taken without the kernel.
    write(sys!(gettid));
    let late = std::thread::spawn(move || {
        let r = sys!(futex, w, FUTEX_LOCK_PI, 0, &wall(5000), 0, 0);
        if r == 0 { unlock(w) } else { r }
    });
    let r = (inherits, waits as isize, has_waiters(w), unlock(w), late.join().unwrap_or(99));
    go(told.1);
    drop(heir.join());
    r
}

fn locking(a: &mut Calls) {
    a.ok("pi-waits-for-owner", || {
        let w = shared_word();
        let (p, fd) = holder(&[w], move || -unlock(w) as i32);
        let waits = child(|| {
            lock(w);
            let mine = word(w, sys!(gettid));
            i32::from(mine == "2 that one") + 2 * i32::from(unlock(w) == 0)
        });
        sleep_ms(60);
        let before = word(w, p as isize);
        go(fd);
        (before, wait(p), wait(waits), word(w, 0))
    })
    .ok("pi-try", || {
        let w = shared_word();
        let free = (sys!(futex, w, FUTEX_TRYLOCK_PI, 0, 0, 0, 0), word(w, sys!(gettid)), unlock(w));
        let (p, fd) = holder(&[w], move || -unlock(w) as i32);
        let held = (sys!(futex, w, FUTEX_TRYLOCK_PI, 0, 0, 0, 0), word(w, p as isize));
        go(fd);
        (free.0, free.1, free.2, held.0, held.1, wait(p), word(w, 0))
    })
    .ok("pi-owner-died-bit-stays", || {
        let w = shared_word();
        // SAFETY: a page of its own.
        unsafe { (w as *mut u32).write(0x4000_0000) };
        (lock(w), word(w, sys!(gettid)), unlock(w), word(w, 0))
    })
    .ok("pi-robust-owner-dies", || {
        let w = shared_word();
        let entry = w + 64;
        let (p, fd) = holder(&[w], move || {
            let head = w + 128;
            // SAFETY: all within one mapped page. The link's lowest bit says what kind of futex it is.
            unsafe {
                (head as *mut usize).write(entry | 1);
                ((head + 8) as *mut i64).write(w as i64 - entry as i64);
                ((head + 16) as *mut usize).write(0);
                (entry as *mut usize).write(head);
            }
            sys!(set_robust_list, head, 24);
            0
        });
        let heir = child(|| {
            let r = lock(w);
            if r != 0 { -r as i32 } else { i32::from(word(w, sys!(gettid)) == "3 that one") + 2 * i32::from(unlock(w) == 0) }
        });
        sleep_ms(60);
        go(fd);
        (wait(p), wait(heir), word(w, 0))
    })
    .ok("pi-owner-exits-without-a-list", || {
        let w = shared_word();
        let (p, fd) = holder(&[w], || 0);
        let heir = locker(w, 0, move || i32::from(word(w, sys!(gettid)) == "3 that one") + 2 * i32::from(unlock(w) == 0));
        go(fd);
        (wait(p), wait(heir), word(w, 0))
    })
    .err("ETIMEDOUT-pi-owner-is-about-to-end", || {
        let w = shared_word();
        let (p, fd) = holder(&[w], || 0);
        let heir = locker(w, 0, move || i32::from(word(w, sys!(gettid)) == "3 that one") + 2 * i32::from(unlock(w) == 0));
        let waits = has_waiters(w);
        // What its end writes first, of each futex on its list, before it gives one to who waits.
        // SAFETY: a page of its own.
        unsafe { (w as *mut u32).write(0xc000_0000) };
        let late = sys!(futex, w, FUTEX_LOCK_PI, 0, &wall(100), 0, 0);
        go(fd);
        (waits, late, wait(p), wait(heir), word(w, 0))
    })
    .err("ETIMEDOUT-pi", || {
        let w = shared_word();
        let (p, _fd) = holder(&[w], || 0);
        let start = now_ms();
        let wall_clock = sys!(futex, w, FUTEX_LOCK_PI, 0, &wall(40), 0, 0);
        let monotonic = sys!(futex, w, FUTEX_LOCK_PI2, 0, &ms(now_ms() + 40), 0, 0);
        let both = sys!(futex, w, FUTEX_LOCK_PI2 | libc::FUTEX_CLOCK_REALTIME, 0, &wall(40), 0, 0);
        let past = sys!(futex, w, FUTEX_LOCK_PI, 0, &ms(1), 0, 0);
        end(p);
        (wall_clock, monotonic, both, past, now_ms() - start >= 120)
    })
    .err("EINVAL-pi-time", || sys!(futex, shared_word(), FUTEX_LOCK_PI, 0, &libc::timespec { tv_sec: 0, tv_nsec: -1 }, 0, 0))
    .err("EINVAL-pi-unaligned", || (lock(shared_word() + 1), sys!(futex, shared_word() + 2, FUTEX_TRYLOCK_PI, 0, 0, 0, 0)))
    .err("EDEADLK-pi-chain", || {
        let (x, y) = (shared_word(), shared_word());
        let (p, fd) = holder(&[x], move || -lock(y) as i32);
        lock(y);
        go(fd);
        sleep_ms(60);
        // The other waits for us.
        let r = lock(x);
        unlock(y);
        (r, wait(p))
    })
    .err("ESRCH-pi-try", || {
        let w = shared_word();
        // SAFETY: a page of its own.
        unsafe { (w as *mut u32).write(0x3fff_fff0) };
        (sys!(futex, w, FUTEX_TRYLOCK_PI, 0, 0, 0, 0), word(w, 0x3fff_fff0))
    })
    .err("EPERM-pi-unlock-of-another's", || {
        let w = shared_word();
        let (p, _fd) = holder(&[w], || 0);
        let r = unlock(w);
        end(p);
        r
    })
    .bad("uaddr-pi", || (lock(BAD), unlock(BAD), sys!(futex, KERN, FUTEX_TRYLOCK_PI, 0, 0, 0, 0), lock(read_only()), unlock(read_only())))
    .bad("uaddr-pi-of-the-heir", heir_without_word)
    .bad("timeout-pi", || sys!(futex, shared_word(), FUTEX_LOCK_PI, 0, BAD, 0, 0))
    .intr("pi-restarts-always", || {
        let w = shared_word();
        let (p, _fd) = holder(&[w], || 0);
        let r = interrupted(|| sys!(futex, w, FUTEX_LOCK_PI, 0, &wall(150), 0, 0));
        end(p);
        (r, caught() > 0)
    });
}

fn lending(a: &mut Calls) {
    a.ok("pi-lends-priority", || {
        let w = shared_word();
        let (p, fd) = holder(&[w], move || {
            unlock(w);
            20 - priority(sys!(getpid) as i32)
        });
        let before = priority(p);
        let waits = [locker(w, 30, move || -unlock(w) as i32), locker(w, 50, move || -unlock(w) as i32)];
        let during = priority(p);
        let policy = sys!(sched_getscheduler, p);
        go(fd);
        (before, during, policy, wait(p), wait(waits[0]), wait(waits[1]))
    })
    .ok("pi-lends-along-a-chain", || {
        let (x, y) = (shared_word(), shared_word());
        let (first, fd) = holder(&[x], move || -unlock(x) as i32);
        let (second, fd2) = holder(&[y], move || {
            let r = lock(x);
            unlock(y);
            unlock(x);
            -r as i32
        });
        go(fd2);
        sleep_ms(60);
        let urgent = locker(y, 70, move || -unlock(y) as i32);
        let during = (priority(first), priority(second));
        // What it is given while it is lent more counts later.
        let rr = sys!(sched_setscheduler, first, libc::SCHED_RR, &5i32);
        let still = priority(first);
        end(urgent);
        sleep_ms(60);
        let after = (priority(first), priority(second));
        go(fd);
        (during.0, during.1, rr, still, after.0, after.1, wait(first), wait(second))
    })
    .ok("pi-lends-along-a-chain-across-cpus", || {
        on_two_cpus(|| {
            let (x, y) = (shared_word(), shared_word());
            let (first, hog) = starved_holder(&[x], move || -unlock(x) as i32);
            let (second, fd) = holder(&[y], move || {
                let r = lock(x);
                unlock(y);
                unlock(x);
                -r as i32
            });
            go(fd);
            sleep_ms(30);
            let starved = (still_runs(first), still_runs(second));
            sys!(sched_setscheduler, 0, libc::SCHED_FIFO, &60i32);
            let r = (lock(y), still_runs(hog));
            unlock(y);
            end(hog);
            (starved, r, wait(first), wait(second))
        })
    })
    .ok("pi-lends-a-reservation-to-another-cpu", || {
        on_two_cpus(|| {
            let w = shared_word();
            let (owner, hog) = starved_holder(&[w], move || -unlock(w) as i32);
            let waits = child(|| {
                sys!(sched_setaffinity, 0, 8, &3u64);
                let (policy, budget, period) = (6u64, 5_000_000u64, 50_000_000u64);
                let set = sys!(sched_setattr, 0, &[48 | policy << 32, 0, 0, budget, period, period], 0);
                if set != 0 { 99 } else { -(lock(w) + unlock(w)) as i32 }
            });
            let r = (wait(waits), still_runs(hog));
            end(hog);
            (r, wait(owner))
        })
    })
    .ok("pi-most-urgent-first", || {
        let (w, order) = (shared_word(), pipe());
        let (p, fd) = holder(&[w], move || -unlock(w) as i32);
        let waits = [0, 10, 20, 10].map(|rt| {
            locker(w, rt, move || {
                sys!(write, order.1, &[b'a' + rt as u8 / 10], 1);
                -unlock(w) as i32
            })
        });
        go(fd);
        let ends = waits.map(wait).join(" ");
        let mut got = [0u8; 4];
        sys!(read, order.0, &mut got, 4);
        (wait(p), ends, text(&got))
    })
    .ok("pi-not-inherited-by-a-child", || {
        let w = shared_word();
        let (p, fd) = holder(&[w], move || {
            // Asks while it is lent something: the child gets what is its own.
            let pid = child(|| 20 - priority(sys!(getpid) as i32));
            let mut status = 0i32;
            sys!(wait4, pid, &mut status, 0, 0);
            unlock(w);
            libc::WEXITSTATUS(status)
        });
        let waits = locker(w, 50, move || -unlock(w) as i32);
        go(fd);
        (wait(p), wait(waits))
    });
}

fn moving(a: &mut Calls) {
    a.ok("requeue-to-free-pi", || {
        let (x, y) = (shared_word(), shared_word());
        let p = mover(x, y, 5000);
        (requeue(x, y, 9, 0), wait(p), word(y, 0))
    })
    .ok("requeue-to-held-pi", || {
        let (x, y) = (shared_word(), shared_word());
        let p = [mover(x, y, 5000), mover(x, y, 5000), mover(x, y, 5000)];
        lock(y);
        let moved = (requeue(x, y, 1, 0), requeue(x, y, 9, 0), requeue(x, y, 9, 0));
        let held = word(y, sys!(gettid));
        (moved.0, moved.1, moved.2, held, unlock(y), p.map(wait).join(" "), word(y, 0))
    })
    .ok("requeue-wakes-one-moves-none", || {
        let (x, y) = (shared_word(), shared_word());
        let p = [mover(x, y, 5000), mover(x, y, 300)];
        (requeue(x, y, 0, 0), wait(p[0]), wait(p[1]), word(y, 0))
    })
    .err("ETIMEDOUT-requeue-pi", || {
        let (x, y) = (shared_word(), shared_word());
        let p = [mover(x, y, 120), mover(x, y, 120)];
        lock(y);
        let moved = requeue(x, y, 0, 0);
        let ends = p.map(wait).join(" ");
        (moved, ends.replace("exited 110", "ETIMEDOUT"), unlock(y), word(y, 0))
    })
    .err("EAGAIN-requeue-pi", || {
        let (x, y) = (shared_word(), shared_word());
        (requeue(x, y, 1, 5), sys!(futex, x, FUTEX_WAIT_REQUEUE_PI, 7, 0, y, 0))
    })
    .err("EINVAL-requeue-pi", || {
        let (x, y, z) = (shared_word(), shared_word(), shared_word());
        let p = mover(x, y, 5000);
        let counts = [sys!(futex, x, FUTEX_CMP_REQUEUE_PI, 2, 1, y, 0), requeue(x, y, -1, 0)];
        let targets = [requeue(x, z, 1, 0), requeue(x, x, 1, 0), sys!(futex, x, FUTEX_WAIT_REQUEUE_PI, 0, 0, x, 0)];
        let others = [sys!(futex, x, FUTEX_WAKE, 1, 0, 0, 0), sys!(futex, x, FUTEX_REQUEUE, 0, 1, z, 0)];
        end(p);
        [counts.to_vec(), targets.to_vec(), others.to_vec()].concat()
    })
    .err("EDEADLK-requeue-pi", || {
        // The waiter owns what it would be moved to.
        let (x, y) = (shared_word(), shared_word());
        let p = child(|| {
            lock(y);
            let r = sys!(futex, x, FUTEX_WAIT_REQUEUE_PI, 0, &ms(now_ms() + 300), y, 0);
            -r as i32
        });
        sleep_ms(60);
        (requeue(x, y, 1, 0), wait(p).replace("exited 110", "ETIMEDOUT"))
    })
    .bad("uaddr2-requeue-pi", || {
        (requeue(shared_word(), BAD, 1, 0), sys!(futex, shared_word(), FUTEX_WAIT_REQUEUE_PI, 0, 0, BAD, 0).show())
    });
}
