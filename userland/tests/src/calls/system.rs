//! Scheduling, identity, and the system as a whole.
use crate::case::Calls;
use crate::help::*;
use crate::sys;
use libc::{PRIO_PGRP, PRIO_PROCESS, PRIO_USER, SCHED_BATCH, SCHED_FIFO, SCHED_IDLE, SCHED_OTHER, SCHED_RESET_ON_FORK, SCHED_RR};

/// Adds the group.
pub fn add(a: &mut Calls) {
    policies(a);
    attributes(a);
    places(a);
    identities(a);
    groups(a);
    capabilities(a);
    system(a);
}

const NOBODY: i32 = 0x3fff_fff0;

fn policies(a: &mut Calls) {
    a.call("sched_yield", "", "", false);
    a.ok("once", || sys!(sched_yield));
    a.call("sched_setscheduler", "EINVAL EPERM ESRCH", "param", false);
    a.ok("all", || [(SCHED_FIFO, 50), (SCHED_RR, 1), (SCHED_BATCH, 0), (SCHED_IDLE, 0), (SCHED_OTHER, 0)].into_iter().map(|(p, n)| sys!(sched_setscheduler, 0, p, &n)).collect::<Vec<_>>())
        .ok("inherited", || {
            sys!(sched_setscheduler, 0, SCHED_FIFO, &5);
            in_child(|| sys!(sched_getscheduler, 0) as i32)
        })
        .ok("reset-on-fork", || {
            sys!(sched_setscheduler, 0, SCHED_FIFO | SCHED_RESET_ON_FORK, &5);
            (sys!(sched_getscheduler, 0), in_child(|| sys!(sched_getscheduler, 0) as i32))
        })
        .ok("user-to-batch", || as_user(|| sys!(sched_setscheduler, 0, SCHED_BATCH, &0)))
        .ok("user-within-limit", || {
            sys!(prlimit64, 0, libc::RLIMIT_RTPRIO, &[10u64, 10], 0);
            as_user(|| (sys!(sched_setscheduler, 0, SCHED_FIFO, &10), sys!(sched_setscheduler, 0, SCHED_FIFO, &11)))
        })
        .err("EINVAL-policy", || (sys!(sched_setscheduler, 0, 9, &0), sys!(sched_setscheduler, 0, -1, &0)))
        .err("EINVAL-priority", || (sys!(sched_setscheduler, 0, SCHED_FIFO, &0), sys!(sched_setscheduler, 0, SCHED_FIFO, &100), sys!(sched_setscheduler, 0, SCHED_OTHER, &1)))
        .err("EINVAL-pid", || sys!(sched_setscheduler, -1, SCHED_OTHER, &0))
        .err("EINVAL-null", || sys!(sched_setscheduler, 0, SCHED_OTHER, 0))
        .err("EPERM", || as_user(|| sys!(sched_setscheduler, 0, SCHED_FIFO, &1)))
        .err("EPERM-other", || as_user(|| sys!(sched_setscheduler, 1, SCHED_OTHER, &0)))
        .err("EPERM-user-leaves-idle", || {
            sys!(sched_setscheduler, 0, SCHED_IDLE, &0);
            sys!(setpriority, PRIO_PROCESS, 0, 5);
            sys!(prlimit64, 0, libc::RLIMIT_NICE, &[0u64, 0], 0);
            as_user(|| sys!(sched_setscheduler, 0, SCHED_OTHER, &0))
        })
        .err("ESRCH", || sys!(sched_setscheduler, NOBODY, SCHED_OTHER, &0))
        .bad("param", || sys!(sched_setscheduler, 0, SCHED_OTHER, BAD));
    a.call("sched_getscheduler", "EINVAL ESRCH", "", false).not("EPERM", "never on Linux");
    a.ok("default", || sys!(sched_getscheduler, 0)).err("EINVAL", || sys!(sched_getscheduler, -1)).err("ESRCH", || sys!(sched_getscheduler, NOBODY));
    a.call("sched_setparam", "EINVAL EPERM ESRCH", "param", false);
    a.ok("real-time", || {
        sys!(sched_setscheduler, 0, SCHED_RR, &5);
        let mut n = 0;
        (sys!(sched_setparam, 0, &7), sys!(sched_getparam, 0, &mut n), n)
    })
    .err("EINVAL", || (sys!(sched_setparam, 0, &1), sys!(sched_setparam, -1, &0), sys!(sched_setparam, 0, 0)))
    .err("EPERM", || as_user(|| sys!(sched_setparam, 1, &0)))
    .err("ESRCH", || sys!(sched_setparam, NOBODY, &0))
    .bad("param", || sys!(sched_setparam, 0, BAD));
    a.call("sched_getparam", "EINVAL ESRCH", "param", false).not("EPERM", "never on Linux");
    a.ok("default", || {
        let mut n = 9;
        (sys!(sched_getparam, 0, &mut n), n)
    })
    .err("EINVAL", || (sys!(sched_getparam, -1, pages(1)), sys!(sched_getparam, 0, 0)))
    .err("ESRCH", || sys!(sched_getparam, NOBODY, pages(1)))
    .bad("param", || sys!(sched_getparam, 0, BAD));
    a.call("sched_get_priority_max", "EINVAL", "", false);
    a.ok("all", || (0..7).map(|p| sys!(sched_get_priority_max, p)).collect::<Vec<_>>()).err("EINVAL", || sys!(sched_get_priority_max, 99));
    a.call("sched_get_priority_min", "EINVAL", "", false);
    a.ok("all", || (0..7).map(|p| sys!(sched_get_priority_min, p)).collect::<Vec<_>>()).err("EINVAL", || sys!(sched_get_priority_min, 99));
    a.call("sched_rr_get_interval", "EINVAL ESRCH", "tp", false);
    a.ok("real-time", || {
        sys!(sched_setscheduler, 0, SCHED_RR, &5);
        let mut t = ms(0);
        (sys!(sched_rr_get_interval, 0, &mut t), t.tv_sec, t.tv_nsec)
    })
    .ok("fifo-is-zero", || {
        sys!(sched_setscheduler, 0, SCHED_FIFO, &5);
        let mut t = ms(9);
        (sys!(sched_rr_get_interval, 0, &mut t), t.tv_nsec)
    })
    .ok("other", || sys!(sched_rr_get_interval, 0, pages(1)))
    .err("EINVAL", || sys!(sched_rr_get_interval, -1, pages(1)))
    .err("ESRCH", || sys!(sched_rr_get_interval, NOBODY, pages(1)))
    .bad("tp", || sys!(sched_rr_get_interval, 0, BAD));
}

/// `struct sched_attr`, 56 bytes: size and policy, flags, nice and priority, runtime, deadline, period, clamps.
fn attr(policy: i32, nice: i32, priority: u32) -> [u64; 7] {
    [56 | (policy as u64) << 32, 0, u64::from(nice as u32) | u64::from(priority) << 32, 0, 0, 0, 0]
}

fn attributes(a: &mut Calls) {
    a.call("sched_setattr", "EINVAL EPERM ESRCH E2BIG", "attr", false).not("EBUSY", "needs a whole system of deadlines");
    a.ok("nice", || (sys!(sched_setattr, 0, &attr(SCHED_OTHER, 7, 0), 0), sys!(getpriority, PRIO_PROCESS, 0)))
        .ok("fifo", || (sys!(sched_setattr, 0, &attr(SCHED_FIFO, 0, 7), 0), sys!(sched_getscheduler, 0)))
        .ok("size-zero-is-first-version", || {
            let mut x = attr(SCHED_OTHER, 3, 0);
            x[0] = 0;
            sys!(sched_setattr, 0, &x, 0)
        })
        .err("EINVAL", || (sys!(sched_setattr, 0, 0, 0), sys!(sched_setattr, -1, &attr(0, 0, 0), 0), sys!(sched_setattr, 0, &attr(0, 0, 0), 1)))
        .err("EINVAL-policy", || sys!(sched_setattr, 0, &attr(9, 0, 0), 0))
        .err("EINVAL-flags", || {
            let mut x = attr(SCHED_OTHER, 0, 0);
            x[1] = 1 << 20;
            sys!(sched_setattr, 0, &x, 0)
        })
        .err("EINVAL-deadline", || {
            let mut x = attr(6, 0, 0);
            (x[3], x[4], x[5]) = (20_000_000, 10_000_000, 30_000_000);
            sys!(sched_setattr, 0, &x, 0)
        })
        .err("E2BIG", || {
            let mut x = attr(SCHED_OTHER, 0, 0);
            x[0] = 20;
            let r = sys!(sched_setattr, 0, &mut x, 0);
            // The kernel's size comes back.
            (r, x[0] as u32)
        })
        .err("E2BIG-non-zero-rest", || {
            let mut x = [1u64; 8];
            x[..7].copy_from_slice(&attr(SCHED_OTHER, 0, 0));
            x[0] = 64;
            sys!(sched_setattr, 0, &x, 0)
        })
        .err("EPERM", || as_user(|| sys!(sched_setattr, 0, &attr(SCHED_OTHER, -5, 0), 0)))
        .err("ESRCH", || sys!(sched_setattr, NOBODY, &attr(0, 0, 0), 0))
        .bad("attr", || sys!(sched_setattr, 0, BAD, 0))
        .bad("attr-edge", || {
            let at = edge(24);
            fill(at, 24, 0);
            fill(at, 1, 48);
            sys!(sched_setattr, 0, at, 0)
        });
    a.call("sched_getattr", "EINVAL ESRCH", "attr", false).not("E2BIG", "is EINVAL");
    a.ok("default", || {
        let mut x = [0u64; 7];
        (sys!(sched_getattr, 0, &mut x, 56, 0), x[0], x[2], x[3])
    })
    .ok("smaller", || {
        let mut x = [0u64; 7];
        (sys!(sched_getattr, 0, &mut x, 48, 0), x[0])
    })
    .ok("larger", || {
        let mut x = [0u64; 16];
        (sys!(sched_getattr, 0, &mut x, 128, 0), x[0])
    })
    .err("EINVAL", || (sys!(sched_getattr, 0, pages(1), 47, 0), sys!(sched_getattr, 0, pages(2), 4097, 0), sys!(sched_getattr, 0, pages(1), 56, 1), sys!(sched_getattr, 0, 0, 56, 0)))
    .err("ESRCH", || sys!(sched_getattr, NOBODY, pages(1), 56, 0))
    .bad("attr", || sys!(sched_getattr, 0, BAD, 56, 0));
}

fn places(a: &mut Calls) {
    a.call("sched_setaffinity", "EINVAL EPERM ESRCH", "mask", false);
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
    .err("EINVAL", || (sys!(sched_setaffinity, 0, 8, &0u64), sys!(sched_setaffinity, 0, 8, &(1u64 << 40)), sys!(sched_setaffinity, 0, 0, &1u64)))
    .err("EPERM", || as_user(|| sys!(sched_setaffinity, 1, 8, &1u64)))
    .err("ESRCH", || sys!(sched_setaffinity, NOBODY, 8, &1u64))
    .bad("mask", || sys!(sched_setaffinity, 0, 8, BAD));
    a.call("sched_getaffinity", "EINVAL ESRCH", "mask", false);
    a.ok("own", || {
        let mut m = 0u64;
        (sys!(sched_getaffinity, 0, 8, &mut m), m & 1)
    })
    .ok("of-init", || sys!(sched_getaffinity, 1, 8, pages(1)))
    .err("EINVAL", || (sys!(sched_getaffinity, 0, 7, pages(1)), sys!(sched_getaffinity, 0, 12, pages(1)), sys!(sched_getaffinity, 0, 0, pages(1))))
    .err("ESRCH", || sys!(sched_getaffinity, NOBODY, 8, pages(1)))
    .bad("mask", || sys!(sched_getaffinity, 0, 8, BAD));
    a.call("setpriority", "EINVAL EACCES EPERM ESRCH", "", false);
    a.ok("process", || (sys!(setpriority, PRIO_PROCESS, 0, 5), sys!(getpriority, PRIO_PROCESS, 0)))
        .ok("clamped", || (sys!(setpriority, PRIO_PROCESS, 0, 100), sys!(getpriority, PRIO_PROCESS, 0), sys!(setpriority, PRIO_PROCESS, 0, -100), sys!(getpriority, PRIO_PROCESS, 0)))
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
        .err("ESRCH", || (sys!(setpriority, PRIO_PROCESS, NOBODY, 0), sys!(setpriority, PRIO_PGRP, NOBODY, 0), sys!(setpriority, PRIO_USER, 4242, 0)));
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

fn uids() -> String {
    let mut u = [9u32; 3];
    sys!(getresuid, &mut u[0], &mut u[1], &mut u[2]);
    format!("{u:?}")
}

fn gids() -> String {
    let mut g = [9u32; 3];
    sys!(getresgid, &mut g[0], &mut g[1], &mut g[2]);
    format!("{g:?}")
}

/// Effective capabilities, low word.
fn effective() -> String {
    let mut data = [0u32; 6];
    sys!(capget, &[0x2008_0522u32, 0], &mut data);
    format!("{:#x}/{:#x}", data[0], data[1])
}

fn identities(a: &mut Calls) {
    macro_rules! plain {
        ($($name:ident)*) => {
            $(a.call(stringify!($name), "", "", false);
            a.ok("root", || sys!($name)).ok("user", || as_user(|| sys!($name)));)*
        };
    }
    plain!(getuid geteuid getgid getegid);
    a.call("getresuid", "", "ruid euid suid", false);
    a.ok("all", || {
        sys!(setresuid, 1, 2, 3);
        uids()
    })
    .bad("ruid", || sys!(getresuid, BAD, pages(1), pages(1)))
    .bad("euid", || sys!(getresuid, pages(1), BAD, pages(1)))
    .bad("suid", || sys!(getresuid, pages(1), pages(1), BAD));
    a.call("getresgid", "", "rgid egid sgid", false);
    a.ok("all", || {
        sys!(setresgid, 1, 2, 3);
        gids()
    })
    .bad("rgid", || sys!(getresgid, BAD, pages(1), pages(1)))
    .bad("egid", || sys!(getresgid, pages(1), BAD, pages(1)))
    .bad("sgid", || sys!(getresgid, pages(1), pages(1), BAD));
    a.call("setuid", "EPERM EINVAL", "", false).not("EAGAIN", "since 3.1 only exec fails");
    a.ok("root-sets-all", || (sys!(setuid, 5), uids(), effective()))
        .ok("user-to-saved", || {
            sys!(setresuid, 1, 2, 3);
            (sys!(setuid, 3), uids())
        })
        .err("EPERM", || as_user(|| sys!(setuid, 0)))
        .err("EINVAL", || sys!(setuid, -1));
    a.call("setgid", "EPERM EINVAL", "", false);
    a.ok("root-sets-all", || (sys!(setgid, 5), gids())).err("EPERM", || as_user(|| sys!(setgid, 0))).err("EINVAL", || sys!(setgid, -1));
    a.call("setreuid", "EPERM", "", false).not("EAGAIN", "since 3.1 only exec fails").not("EINVAL", "no unmapped ids");
    a.ok("swap", || {
        sys!(setresuid, 1, 2, 2);
        (sys!(setreuid, 2, 1), uids())
    })
    .ok("saved-follows", || (sys!(setreuid, -1, 5), uids()))
    .ok("saved-stays", || (sys!(setreuid, -1, -1), uids()))
    .ok("effective-capabilities-come-and-go", || (sys!(setreuid, -1, 5), effective(), sys!(setreuid, -1, 0), effective()))
    .err("EPERM", || as_user(|| (sys!(setreuid, 0, -1), sys!(setreuid, -1, 0))));
    a.call("setregid", "EPERM", "", false).not("EAGAIN", "never on Linux").not("EINVAL", "no unmapped ids");
    a.ok("both", || (sys!(setregid, 5, 6), gids())).err("EPERM", || as_user(|| (sys!(setregid, 0, -1), sys!(setregid, -1, 0))));
    a.call("setresuid", "EPERM", "", false).not("EAGAIN", "since 3.1 only exec fails").not("EINVAL", "no unmapped ids");
    a.ok("minus-one-keeps", || (sys!(setresuid, 1, -1, 3), uids(), effective()))
        .ok("drops-capabilities", || (sys!(setresuid, 1, 1, 1), effective()))
        .ok("keeps-permitted", || {
            sys!(prctl, libc::PR_SET_KEEPCAPS, 1);
            (sys!(setresuid, 1, 1, 1), effective())
        })
        .ok("user-among-own", || {
            sys!(setresuid, 1, 2, 3);
            (sys!(setresuid, 3, 1, 2), uids())
        })
        .err("EPERM", || as_user(|| (sys!(setresuid, 0, -1, -1), sys!(setresuid, -1, -1, 0))));
    a.call("setresgid", "EPERM", "", false).not("EINVAL", "no unmapped ids");
    a.ok("minus-one-keeps", || (sys!(setresgid, 1, -1, 3), gids())).err("EPERM", || as_user(|| sys!(setresgid, 0, -1, -1)));
    a.call("setfsuid", "", "", false);
    a.ok("old-each-time", || (sys!(setfsuid, 5), sys!(setfsuid, -1), sys!(setfsuid, 0)))
        .ok("counts-for-files", || {
            sys!(setfsuid, 5);
            file(c"f", "");
            let mut s: libc::stat = zero();
            (sys!(newfstatat, CWD, c"f", &mut s, 0), s.st_uid)
        })
        .ok("user-cannot", || as_user(|| (sys!(setfsuid, 0), sys!(setfsuid, -1))));
    a.call("setfsgid", "", "", false);
    a.ok("old-each-time", || (sys!(setfsgid, 5), sys!(setfsgid, -1)));
}

fn groups(a: &mut Calls) {
    a.call("setgroups", "EINVAL EPERM", "list", false).not("ENOMEM", "see --nth");
    a.ok("two", || {
        let mut g = [9u32; 4];
        (sys!(setgroups, 2, &[30u32, 20]), sys!(getgroups, 4, &mut g), g[0], g[1])
    })
    .ok("none", || (sys!(setgroups, 0, 0), sys!(getgroups, 0, 0)))
    .ok("count-for-files", || {
        file(c"f", "x");
        sys!(fchownat, CWD, c"f", 0, 55, 0);
        sys!(fchmodat, CWD, c"f", 0o640);
        sys!(setgroups, 2, &[44u32, 55]);
        sys!(setresuid, 1000, 1000, 1000);
        open(c"f", libc::O_RDONLY)
    })
    .ok("most", || sys!(setgroups, 65536, pages(64)))
    .err("EINVAL", || (sys!(setgroups, 65537, pages(65)), sys!(setgroups, -1, pages(1))))
    .err("EPERM", || as_user(|| sys!(setgroups, 0, 0)))
    .bad("list", || sys!(setgroups, 1, BAD))
    .bad("list-edge", || sys!(setgroups, 4, edge(8)));
    a.call("getgroups", "EINVAL", "list", false);
    a.ok("count", || {
        sys!(setgroups, 2, &[30u32, 20]);
        sys!(getgroups, 0, BAD)
    })
    .err("EINVAL", || {
        sys!(setgroups, 2, &[30u32, 20]);
        (sys!(getgroups, 1, pages(1)), sys!(getgroups, -1, pages(1)))
    })
    .bad("list", || {
        sys!(setgroups, 2, &[30u32, 20]);
        sys!(getgroups, 2, BAD)
    });
}

fn capabilities(a: &mut Calls) {
    const V3: u32 = 0x2008_0522;
    a.call("capget", "EINVAL ESRCH", "hdrp datap", false).not("EPERM", "never");
    a.ok("root", effective)
        .ok("user", || as_user(effective))
        .ok("of-init", || sys!(capget, &[V3, 1], pages(1)))
        .ok("version-1", || sys!(capget, &[0x1998_0330u32, 0], pages(1)))
        .err("EINVAL", || {
            let mut header = [1u32, 0];
            (sys!(capget, &mut header, pages(1)), format!("{:#x}", header[0]), sys!(capget, &[V3, !0], pages(1)))
        })
        .ok("version-query", || {
            let mut header = [0u32, 0];
            (sys!(capget, &mut header, 0), format!("{:#x}", header[0]))
        })
        .err("ESRCH", || sys!(capget, &[V3, NOBODY as u32], pages(1)))
        .bad("hdrp", || sys!(capget, BAD, pages(1)))
        .bad("datap", || sys!(capget, &[V3, 0], BAD));
    a.call("capset", "EINVAL EPERM", "hdrp datap", false).not("ESRCH", "another process is EPERM");
    a.ok("drop-and-raise", || {
        let (none, all) = ([0u32, !0, 0, 0, 0x1ff, 0], [!0u32, !0, 0, 0x1ff, 0x1ff, 0]);
        (sys!(capset, &[V3, 0], &none), effective(), sys!(capset, &[V3, 0], &all), effective())
    })
    .ok("unknown-bits-ignored", || (sys!(capset, &[V3, 0], &[!0u32, !0, 0, !0, !0, 0]), effective()))
    .err("EPERM-raise", || as_user(|| sys!(capset, &[V3, 0], &[1u32, 1, 0, 0, 0, 0])))
    .err("EPERM-effective-beyond-permitted", || sys!(capset, &[V3, 0], &[1u32, 0, 0, 0, 0, 0]))
    .err("EPERM-other", || sys!(capset, &[V3, 1], &[0u32; 6]))
    .err("EINVAL", || sys!(capset, &mut [1u32, 0], &[0u32; 6]))
    .bad("hdrp", || sys!(capset, BAD, pages(1)))
    .bad("datap", || sys!(capset, &[V3, 0], BAD));
}

fn system(a: &mut Calls) {
    let name = |field: usize| {
        let mut u = [0u8; 390];
        sys!(uname, &mut u);
        ctext(&u[65 * field..65 * field + 65])
    };
    a.call("uname", "", "buf", false);
    a.ok("fields", move || (sys!(uname, pages(1)), name(0), name(4)))
        .ok("under-personality", move || {
            sys!(personality, 0x0002_0000);
            name(2).starts_with("2.6.")
        })
        .bad("buf", || sys!(uname, BAD))
        .bad("buf-edge", || sys!(uname, edge(200)));
    a.call("sysinfo", "", "info", false);
    a.ok("fields", || {
        let mut s: libc::sysinfo = zero();
        (sys!(sysinfo, &mut s), s.totalram > s.freeram, s.freeram > 0, s.procs > 0, s.mem_unit, s.totalswap)
    })
    .bad("info", || sys!(sysinfo, BAD));
    a.call("getrandom", "EINVAL", "buf", false).not("EAGAIN", "the pool is ready").not("EINTR", "needs a request that takes long").not("ENOSYS", "present here");
    a.ok("bytes", || {
        let mut b = [0u8; 64];
        (sys!(getrandom, &mut b, 64, 0), b.iter().any(|x| *x != b[0]))
    })
    .ok("flags", || (0..5).map(|f| sys!(getrandom, pages(1), 8, f)).collect::<Vec<_>>())
    .ok("zero", || sys!(getrandom, BAD, 0, 0))
    .ok("large", || sys!(getrandom, pages(64), 64 * PAGE, 0))
    .err("EINVAL", || (sys!(getrandom, pages(1), 1, 8), sys!(getrandom, pages(1), 1, 6)))
    .bad("buf", || sys!(getrandom, BAD, 8, 0))
    .bad("buf-edge", || sys!(getrandom, edge(10), 100, 0));
    a.call("sethostname", "EINVAL EPERM", "name", false);
    a.ok("set", move || {
        let old = name(1);
        let r = (sys!(sethostname, c"contract", 8), name(1));
        sys!(sethostname, &*c(&old), old.len());
        r
    })
    .ok("longest", move || {
        let old = name(1);
        let r = (sys!(sethostname, &*long_name(64), 64), name(1).len());
        sys!(sethostname, &*c(&old), old.len());
        r
    })
    .err("EINVAL", || (sys!(sethostname, &*long_name(65), 65), sys!(sethostname, c"x", -1)))
    .err("EPERM", || as_user(|| sys!(sethostname, c"x", 1)))
    .bad("name", || sys!(sethostname, BAD, 3));
    a.call("setdomainname", "EINVAL EPERM", "name", false);
    a.ok("set", move || {
        let old = name(5);
        let r = (sys!(setdomainname, c"example", 7), name(5));
        sys!(setdomainname, &*c(&old), old.len());
        r
    })
    .err("EINVAL", || (sys!(setdomainname, &*long_name(65), 65), sys!(setdomainname, c"x", -1)))
    .err("EPERM", || as_user(|| sys!(setdomainname, c"x", 1)))
    .bad("name", || sys!(setdomainname, BAD, 3));
    a.call("syslog", "EINVAL EPERM", "buf", false).not("EINTR", "a reader that waits needs an empty log").not("ENOSYS", "present here");
    a.ok("sizes", || (sys!(syslog, 10, 0, 0) > 1000, sys!(syslog, 9, 0, 0) >= 0))
        .ok("read-all", || sys!(syslog, 3, pages(2), 2 * PAGE) > 0)
        .ok("zero-length", || sys!(syslog, 3, pages(1), 0))
        .ok("console-level", || (sys!(syslog, 8, 0, 4), sys!(syslog, 6, 0, 0), sys!(syslog, 7, 0, 0)))
        .err("EINVAL", || (sys!(syslog, 99, 0, 0), sys!(syslog, 3, 0, 10), sys!(syslog, 3, pages(1), -1), sys!(syslog, 8, 0, 0), sys!(syslog, 8, 0, 9)))
        .err("EPERM", || as_user(|| (sys!(syslog, 6, 0, 0), sys!(syslog, 5, 0, 0))))
        .bad("buf", || sys!(syslog, 3, BAD, 8192));
    a.call("reboot", "EINVAL EPERM", "", false).not("EFAULT", "LINUX_REBOOT_CMD_RESTART2 restarts the machine when its pointer is good");
    a.ok("ctrl-alt-del", || (sys!(reboot, 0xfee1_deadu32, 672_274_793, 0, 0), sys!(reboot, 0xfee1_deadu32, 672_274_793, 0x89ab_cdefu32, 0), sys!(reboot, 0xfee1_deadu32, 672_274_793, 0, 0)))
        .err("EINVAL", || (sys!(reboot, 1, 2, 0, 0), sys!(reboot, 0xfee1_deadu32, 1, 0, 0), sys!(reboot, 0xfee1_deadu32, 672_274_793, 99, 0)))
        .err("EPERM", || as_user(|| (sys!(reboot, 0xfee1_deadu32, 672_274_793, 0, 0), sys!(reboot, 1, 2, 0, 0))));
}
