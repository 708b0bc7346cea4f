//! Identity, and the system as a whole.
use crate::case::Calls;
use crate::help::*;
use crate::sys;

/// Adds the group.
pub fn add(a: &mut Calls) {
    identities(a);
    groups(a);
    capabilities(a);
    system(a);
}

const NOBODY: i32 = 0x3fff_fff0;

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
    a.call("getrandom", "EINVAL", "buf", false)
        .not("EAGAIN", "the pool is ready")
        .not("EINTR", "needs a request that takes long")
        .not("ENOSYS", "present here");
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
        .err("EINVAL", || {
            (sys!(syslog, 99, 0, 0), sys!(syslog, 3, 0, 10), sys!(syslog, 3, pages(1), -1), sys!(syslog, 8, 0, 0), sys!(syslog, 8, 0, 9))
        })
        .err("EPERM", || as_user(|| (sys!(syslog, 6, 0, 0), sys!(syslog, 5, 0, 0))))
        .bad("buf", || sys!(syslog, 3, BAD, 8192));
    a.call("reboot", "EINVAL EPERM", "", false).not("EFAULT", "LINUX_REBOOT_CMD_RESTART2 restarts the machine when its pointer is good");
    a.ok("ctrl-alt-del", || {
        (
            sys!(reboot, 0xfee1_deadu32, 672_274_793, 0, 0),
            sys!(reboot, 0xfee1_deadu32, 672_274_793, 0x89ab_cdefu32, 0),
            sys!(reboot, 0xfee1_deadu32, 672_274_793, 0, 0),
        )
    })
    .err("EINVAL", || (sys!(reboot, 1, 2, 0, 0), sys!(reboot, 0xfee1_deadu32, 1, 0, 0), sys!(reboot, 0xfee1_deadu32, 672_274_793, 99, 0)))
    .err("EPERM", || as_user(|| (sys!(reboot, 0xfee1_deadu32, 672_274_793, 0, 0), sys!(reboot, 1, 2, 0, 0))));
}
