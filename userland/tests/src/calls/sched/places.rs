//! Which CPUs a thread may run on, and where it runs.
use super::*;

/// One that was woken by a more urgent one, which goes on, runs as soon as it may use another CPU: it has, while that one still runs.
fn runnable_moves() -> (isize, String) {
    if cpus() < 2 {
        return (0, "exited 1".to_string());
    }
    // SAFETY: a page of its own, which all three share.
    let word = unsafe { AtomicU32::from_ptr(shared_word() as *mut u32) };
    let (from, to) = pipe();
    sys!(sched_setaffinity, 0, 8, &2u64);
    let urgent = |priority: i32| {
        sys!(sched_setaffinity, 0, 8, &1u64);
        sys!(sched_setscheduler, 0, SCHED_FIFO, &priority);
    };
    let woken = child(|| {
        urgent(10);
        sys!(read, from, pages(1), 1);
        (word.swap(2, SeqCst) == 1).into()
    });
    sleep_ms(60);
    let waker = child(|| {
        urgent(20);
        sleep_ms(20);
        sys!(write, to, c"w", 1);
        word.store(1, SeqCst);
        let end = now_ms() + 400;
        while now_ms() < end && word.load(SeqCst) == 1 {}
        word.fetch_add(2, SeqCst);
        0
    });
    // Not asleep: a CPU that idles looks for work by itself.
    while word.load(SeqCst) == 0 {}
    let moved = sys!(sched_setaffinity, woken, 8, &2u64);
    while word.load(SeqCst) == 1 {}
    let ended = wait(woken);
    wait(waker);
    (moved, ended)
}

/// Adds the group.
pub fn add(a: &mut Calls) {
    a.call("sched_setaffinity", "EINVAL EPERM ESRCH EBUSY", "mask", false);
    a.ok("first", || {
        let mut m = 0u64;
        (sys!(sched_setaffinity, 0, 8, &1u64), sys!(sched_getaffinity, 0, 8, &mut m), m)
    })
    .ok("not-there-is-ignored", || {
        let mut m = 0u64;
        (sys!(sched_setaffinity, 0, 8, &(1u64 | 1 << 40)), sys!(sched_getaffinity, 0, 8, &mut m), m)
    })
    .ok("short-mask", || sys!(sched_setaffinity, 0, 1, &1u8))
    .ok("inherited", || {
        sys!(sched_setaffinity, 0, 8, &1u64);
        in_child(|| {
            let mut m = 0u64;
            sys!(sched_getaffinity, 0, 8, &mut m);
            m as i32
        })
    })
    .ok("runs-there", || {
        let mut cpu = 9u32;
        (sys!(sched_setaffinity, 0, 8, &1u64), sys!(getcpu, &mut cpu, 0, 0), cpu)
    })
    .ok("runnable-moves", runnable_moves)
    .ok("deadline-all", || (small(), sys!(sched_setaffinity, 0, 8, &u64::MAX)))
    .err("EBUSY-deadline", || (small(), sys!(sched_setaffinity, 0, 8, &1u64), sys!(sched_setaffinity, 0, 8, &0u64)))
    .err("EINVAL", || {
        (sys!(sched_setaffinity, 0, 8, &0u64), sys!(sched_setaffinity, 0, 8, &(1u64 << 40)), sys!(sched_setaffinity, 0, 0, &1u64))
    })
    .err("EPERM", || as_user(|| sys!(sched_setaffinity, 1, 8, &1u64)))
    .err("ESRCH", || sys!(sched_setaffinity, NOBODY, 8, &1u64))
    .bad("mask", || sys!(sched_setaffinity, 0, 8, BAD));
    a.call("sched_getaffinity", "EINVAL ESRCH", "mask", false);
    a.ok("own", || {
        let mut m = 0u64;
        (sys!(sched_getaffinity, 0, 8, &mut m), m & 1)
    })
    .ok("of-init", || sys!(sched_getaffinity, 1, 8, pages(1)))
    .err("EINVAL", || {
        (sys!(sched_getaffinity, 0, 7, pages(1)), sys!(sched_getaffinity, 0, 12, pages(1)), sys!(sched_getaffinity, 0, 0, pages(1)))
    })
    .err("ESRCH", || sys!(sched_getaffinity, NOBODY, 8, pages(1)))
    .bad("mask", || sys!(sched_getaffinity, 0, 8, BAD));
    a.call("setpriority", "EINVAL EACCES EPERM ESRCH", "", false);
    a.ok("process", || (sys!(setpriority, PRIO_PROCESS, 0, 5), sys!(getpriority, PRIO_PROCESS, 0)))
        .ok("clamped", || {
            (
                sys!(setpriority, PRIO_PROCESS, 0, 100),
                sys!(getpriority, PRIO_PROCESS, 0),
                sys!(setpriority, PRIO_PROCESS, 0, -100),
                sys!(getpriority, PRIO_PROCESS, 0),
            )
        })
        .ok("group", || {
            in_child(|| {
                sys!(setpgid, 0, 0);
                sys!(setpriority, PRIO_PGRP, 0, 6);
                sys!(getpriority, PRIO_PROCESS, 0) as i32
            })
        })
        .ok("inherited", || {
            sys!(setpriority, PRIO_PROCESS, 0, 5);
            in_child(|| sys!(getpriority, PRIO_PROCESS, 0) as i32)
        })
        .ok("user-limit", || {
            sys!(prlimit64, 0, libc::RLIMIT_NICE, &[25u64, 25], 0);
            as_user(|| (sys!(setpriority, PRIO_PROCESS, 0, -5), sys!(setpriority, PRIO_PROCESS, 0, -6)))
        })
        .err("EINVAL", || sys!(setpriority, 3, 0, 0))
        .err("EACCES", || as_user(|| sys!(setpriority, PRIO_PROCESS, 0, -1)))
        .err("EPERM", || as_user(|| sys!(setpriority, PRIO_PROCESS, 1, 5)))
        .err("ESRCH", || {
            (sys!(setpriority, PRIO_PROCESS, NOBODY, 0), sys!(setpriority, PRIO_PGRP, NOBODY, 0), sys!(setpriority, PRIO_USER, 4242, 0))
        });
    a.call("getpriority", "EINVAL ESRCH", "", false);
    a.ok("default", || (sys!(getpriority, PRIO_PROCESS, 0), sys!(getpriority, PRIO_PGRP, 0)))
        .err("EINVAL", || sys!(getpriority, 3, 0))
        .err("ESRCH", || (sys!(getpriority, PRIO_PROCESS, NOBODY), sys!(getpriority, PRIO_USER, 4242)));
    a.call("getcpu", "", "cpu node", false);
    a.ok("both", || {
        let (mut cpu, mut node) = (99u32, 99u32);
        (sys!(getcpu, &mut cpu, &mut node, 0), cpu < 8, node)
    })
    .ok("neither", || sys!(getcpu, 0, 0, 0))
    .ok("third-is-ignored", || sys!(getcpu, 0, 0, BAD))
    .bad("cpu", || sys!(getcpu, BAD, 0, 0))
    .bad("node", || sys!(getcpu, 0, BAD, 0));
}
