//! RLIMIT_RTTIME.
use super::*;

/// Limits the run time of real-time threads without a blocking call, µs, and becomes one.
fn limited(soft: u64, hard: u64) -> (isize, isize) {
    handle(libc::SIGXCPU, 0);
    (sys!(prlimit64, 0, libc::RLIMIT_RTTIME, &[soft, hard], 0), sys!(sched_setscheduler, 0, SCHED_FIFO, &1))
}

/// Runs until `n` signals have come, or for two seconds; how long in ms.
fn spin_until(n: i32) -> i64 {
    let start = now_ms();
    while caught() < n && now_ms() < start + 2000 {}
    now_ms() - start
}

/// RLIMIT_RTTIME.
pub(super) fn rttime(a: &mut Calls) {
    a.ok("rttime-soft", || {
        let r = limited(100_000, u64::MAX);
        let (first, mut now) = (spin_until(1), [0u64; 2]);
        // The limit has grown by a second.
        (r, (90..300).contains(&first), sys!(prlimit64, 0, libc::RLIMIT_RTTIME, 0, &mut now), now[0], (900..1900).contains(&spin_until(2)))
    })
    .ok("rttime-hard", || {
        in_child(|| {
            limited(50_000, 200_000);
            spin_until(9) as i32
        })
    })
    .ok("rttime-sleeps-end-it", || {
        limited(150_000, u64::MAX);
        for _ in 0..10 {
            let start = now_ms();
            while now_ms() < start + 40 {}
            sleep_ms(1);
        }
        caught()
    })
    .ok("rttime-beside-moves", || {
        let me = sys!(getpid);
        // It waits on the CPU that the real-time thread is not on.
        let mover = child(|| {
            for i in 0..100 {
                sys!(sched_setaffinity, me, 8, &(1u64 << (i & 1)));
                sleep_ms(20);
            }
            0
        });
        let r = limited(150_000, u64::MAX);
        let took = spin_until(1);
        end(mover);
        (r, (130..1900).contains(&took))
    })
    .ok("rttime-of-others", || {
        handle(libc::SIGXCPU, 0);
        sys!(prlimit64, 0, libc::RLIMIT_RTTIME, &[50_000u64, 60_000], 0);
        let start = now_ms();
        while now_ms() < start + 150 {}
        caught()
    })
    .ok("rttime-not-of-a-fair-stretch", || {
        in_child(|| {
            sys!(prlimit64, 0, libc::RLIMIT_RTTIME, &[1_500_000u64, 1_500_000], 0);
            for (policy, priority, spins) in [(SCHED_FIFO, 1, 50), (SCHED_OTHER, 0, 1700), (SCHED_FIFO, 1, 50)] {
                sys!(sched_setscheduler, 0, policy, &priority);
                let end = now_ms() + spins;
                while now_ms() < end {}
            }
            0
        })
    })
    .ok("rttime-set-later", || {
        let r = limited(u64::MAX, u64::MAX);
        let set = sys!(prlimit64, 0, libc::RLIMIT_RTTIME, &[40_000, u64::MAX], 0);
        (r, set, spin_until(1) < 400)
    });
}
