//! mlock and its family.
use super::*;

pub(super) fn locks(a: &mut Calls) {
    let no_limit = || assert_eq!(sys!(prlimit64, 0, libc::RLIMIT_MEMLOCK, &[4096u64, 4096], 0), 0);
    a.call("mlock", "EINVAL ENOMEM EPERM", "", false).not("EAGAIN", "see --nth");
    a.ok("page", || sys!(mlock, pages(1), PAGE))
        .ok("unaligned", || sys!(mlock, pages(1) + 1, 1))
        .ok("zero-length", || sys!(mlock, pages(1), 0))
        .err("ENOMEM-unmapped", || sys!(mlock, 0x10_0000_0000u64, PAGE))
        .err("ENOMEM-limit", move || {
            no_limit();
            as_user(|| sys!(mlock, pages(4), 4 * PAGE))
        })
        .err("EINVAL-wraps", || sys!(mlock, usize::MAX - PAGE, 2 * PAGE))
        .err("EPERM-limit-zero", || {
            sys!(prlimit64, 0, libc::RLIMIT_MEMLOCK, &[0u64, 0], 0);
            as_user(|| sys!(mlock, pages(1), PAGE))
        });
    a.call("mlock2", "EINVAL ENOMEM", "", false);
    a.ok("on-fault", || sys!(mlock2, pages(1), PAGE, 1))
        .err("EINVAL-flags", || sys!(mlock2, pages(1), PAGE, 2))
        .err("ENOMEM", || sys!(mlock2, 0x10_0000_0000u64, PAGE, 0));
    a.call("munlock", "ENOMEM EINVAL", "", false);
    a.ok("locked", || {
        let at = pages(1);
        (sys!(mlock, at, PAGE), sys!(munlock, at, PAGE), sys!(madvise, at, PAGE, MADV_DONTNEED))
    })
    .ok("not-locked", || sys!(munlock, pages(1), PAGE))
    .err("ENOMEM", || sys!(munlock, 0x10_0000_0000u64, PAGE))
    .err("EINVAL-wraps", || sys!(munlock, usize::MAX - PAGE, 2 * PAGE));
    a.call("mlockall", "EINVAL ENOMEM EPERM", "", false);
    a.ok("current", || sys!(mlockall, MCL_CURRENT))
        .ok("future", || {
            (sys!(mlockall, MCL_FUTURE), {
                let mut v = [0u8; 1];
                let at = pages(1);
                (sys!(mincore, at, PAGE, &mut v), v[0] & 1)
            })
        })
        .ok("on-fault", || sys!(mlockall, MCL_CURRENT | MCL_ONFAULT))
        .err("EINVAL", || (sys!(mlockall, 0), sys!(mlockall, 8), sys!(mlockall, MCL_ONFAULT)))
        .err("ENOMEM-limit", move || {
            no_limit();
            as_user(|| sys!(mlockall, MCL_CURRENT))
        })
        .err("EPERM-limit-zero", || {
            sys!(prlimit64, 0, libc::RLIMIT_MEMLOCK, &[0u64, 0], 0);
            as_user(|| sys!(mlockall, MCL_CURRENT))
        });
    a.call("munlockall", "", "", false);
    a.ok("after-all", || (sys!(mlockall, MCL_CURRENT), sys!(munlockall), sys!(madvise, pages(1), PAGE, MADV_DONTNEED)));
    a.call("membarrier", "EINVAL EPERM", "", false).not("ENOSYS", "present here");
    a.ok("query", || sys!(membarrier, 0, 0, 0) & 0x7f)
        .ok("global", || sys!(membarrier, 1, 0, 0))
        .ok("global-expedited", || (sys!(membarrier, 2, 0, 0), sys!(membarrier, 4, 0, 0), sys!(membarrier, 2, 0, 0)))
        .ok("sync-core-after-registration", || {
            (sys!(membarrier, 32, 0, 0), sys!(membarrier, 64, 0, 0), sys!(membarrier, 32, 0, 0), sys!(membarrier, 8, 0, 0))
        })
        .ok("registration-inherited", || {
            sys!(membarrier, 16, 0, 0);
            in_child(|| sys!(membarrier, 8, 0, 0) as i32)
        })
        .ok("global-by-softirqs", || {
            let count = || {
                std::fs::read_to_string("/proc/softirqs").map_or(0, |t| {
                    t.lines().filter(|l| l.contains("RCU:")).flat_map(str::split_whitespace).filter_map(|w| w.parse::<u64>().ok()).sum()
                })
            };
            let before = count();
            (0..100).any(|_| sys!(membarrier, 1, 0, 0) == 0 && count() > before)
        })
        .ok("by-four-threads-at-once", || {
            sys!(membarrier, 16, 0, 0);
            let calls = || (0..20).filter(|_| sys!(membarrier, 8, 0, 0) != 0).count();
            let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(calls)).collect();
            threads.into_iter().filter_map(|t| t.join().ok()).sum::<usize>()
        })
        .ok("private-after-registration", || (sys!(membarrier, 16, 0, 0), sys!(membarrier, 8, 0, 0)))
        .err("EINVAL-command", || sys!(membarrier, 1 << 20, 0, 0))
        .err("EINVAL-flags", || sys!(membarrier, 1, 8, 0))
        .err("EPERM-not-registered", || sys!(membarrier, 8, 0, 0));
}
