//! prctl, personality.
use crate::case::Calls;
use crate::help::*;
use crate::sys;
use libc::SIGTERM;

/// PR_GET_SPECULATION_CTRL.
const GET_SPECULATION_CTRL: i32 = 52;
/// PR_SET_SPECULATION_CTRL.
const SET_SPECULATION_CTRL: i32 = 53;

/// Adds the group.
pub fn add(a: &mut Calls) {
    a.call("prctl", "EINVAL EPERM", "arg2", false)
        .not("EACCES", "seccomp is not present")
        .not("EBADF", "PR_SET_MM only")
        .not("EBUSY", "PR_SET_MM only")
        .not("ENXIO", "x86 only")
        .not("EOPNOTSUPP", "floating-point emulation only")
        .not("EFAULT", "own column");
    a.ok("name", || {
        let mut b = [9u8; 16];
        (sys!(prctl, libc::PR_SET_NAME, c"a-name-that-is-too-long"), sys!(prctl, libc::PR_GET_NAME, &mut b), ctext(&b))
    })
    .ok("store-bypass", || {
        // What a CPU answers depends on it; what is refused does not, unless the command line forces something.
        let (get, set) = (GET_SPECULATION_CTRL, SET_SPECULATION_CTRL);
        (sys!(prctl, get, 0, 0, 0, 0), sys!(prctl, set, 0, 4, 0, 0), sys!(prctl, get, 0, 0, 0, 0), sys!(prctl, set, 0, 2, 0, 0))
    })
    .ok("store-bypass-for-ever", || {
        in_child(|| {
            let (get, set) = (GET_SPECULATION_CTRL, SET_SPECULATION_CTRL);
            let forced = sys!(prctl, set, 0, 8, 0, 0);
            let back = sys!(prctl, set, 0, 2, 0, 0);
            let again = sys!(prctl, set, 0, 4, 0, 0);
            i32::from(forced == 0) | i32::from(back == 0) << 1 | i32::from(again == 0) << 2 | (sys!(prctl, get, 0, 0, 0, 0) as i32) << 3
        })
    })
    .ok("speculation-refused", || {
        let (get, set) = (GET_SPECULATION_CTRL, SET_SPECULATION_CTRL);
        (
            sys!(prctl, get, 1, 0, 0, 0),
            sys!(prctl, get, 3, 0, 0, 0),
            sys!(prctl, get, 0, 1, 0, 0),
            sys!(prctl, set, 1, 2, 0, 0),
            sys!(prctl, set, 0, 3, 0, 0),
            sys!(prctl, set, 0, 2, 1, 0),
            sys!(prctl, set, 1, 2, 1, 0),
        )
    })
    .ok("parent-death-signal", || {
        let mut s = 9i32;
        (sys!(prctl, libc::PR_SET_PDEATHSIG, SIGTERM), sys!(prctl, libc::PR_GET_PDEATHSIG, &mut s), s)
    })
    .ok("parent-death-signal-comes", || {
        let p = pipe();
        in_child(|| {
            child(|| {
                sys!(prctl, libc::PR_SET_PDEATHSIG, SIGTERM);
                sys!(write, p.1, c"r", 1);
                sleep_ms(60_000);
                0
            });
            sys!(read, p.0, pages(1), 1);
            0
        });
        sys!(close, p.1);
        // End of file when the grandchild is dead, too.
        sys!(read, p.0, pages(1), 1)
    })
    .ok("parent-death-signal-not-inherited", || {
        sys!(prctl, libc::PR_SET_PDEATHSIG, SIGTERM);
        in_child(|| {
            let mut s = 9i32;
            sys!(prctl, libc::PR_GET_PDEATHSIG, &mut s);
            s
        })
    })
    .ok("dumpable", || (sys!(prctl, libc::PR_GET_DUMPABLE), sys!(prctl, libc::PR_SET_DUMPABLE, 0), sys!(prctl, libc::PR_GET_DUMPABLE)))
    .ok("keep-capabilities", || {
        (sys!(prctl, libc::PR_GET_KEEPCAPS), sys!(prctl, libc::PR_SET_KEEPCAPS, 1), sys!(prctl, libc::PR_GET_KEEPCAPS))
    })
    .ok("timer-slack", || {
        (sys!(prctl, libc::PR_GET_TIMERSLACK), sys!(prctl, libc::PR_SET_TIMERSLACK, 1), sys!(prctl, libc::PR_GET_TIMERSLACK))
    })
    .ok("timer-slack-zero-is-default", || {
        sys!(prctl, libc::PR_SET_TIMERSLACK, 1);
        (sys!(prctl, libc::PR_SET_TIMERSLACK, 0), sys!(prctl, libc::PR_GET_TIMERSLACK))
    })
    .ok("no-new-privileges", || {
        (
            sys!(prctl, libc::PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0),
            sys!(prctl, libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
            sys!(prctl, libc::PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0),
        )
    })
    .ok("sub-reaper", || {
        let mut s = 9i32;
        (sys!(prctl, libc::PR_SET_CHILD_SUBREAPER, 1), sys!(prctl, libc::PR_GET_CHILD_SUBREAPER, &mut s), s)
    })
    .ok("bounding-set", || {
        (sys!(prctl, libc::PR_CAPBSET_READ, 0), sys!(prctl, libc::PR_CAPBSET_DROP, 0), sys!(prctl, libc::PR_CAPBSET_READ, 0))
    })
    .ok("secure-bits", || {
        (sys!(prctl, libc::PR_GET_SECUREBITS), sys!(prctl, libc::PR_SET_SECUREBITS, 1), sys!(prctl, libc::PR_GET_SECUREBITS))
    })
    .ok("tid-address", || {
        let (mut word, mut got) = (0i32, 0usize);
        sys!(set_tid_address, &mut word);
        (sys!(prctl, libc::PR_GET_TID_ADDRESS, &mut got), got == std::ptr::from_ref(&word) as usize)
    })
    .ok("timing", || (sys!(prctl, libc::PR_GET_TIMING), sys!(prctl, libc::PR_SET_TIMING, 0), sys!(prctl, libc::PR_SET_TIMING, 1)))
    .ok("options-with-zeros", || {
        // Speculation (52, 53), performance events (31, 32), vector lengths (50, 51, 63, 64), keys (54, 60, 61) and core scheduling (62)
        // depend on the machine and its options.
        (1..=66)
            .filter(|o| ![31, 32, 50, 51, 52, 53, 54, 60, 61, 62, 63, 64].contains(o))
            .map(|o| format!("{o}:{}", sys!(prctl, o, 0, 0, 0, 0)))
            .collect::<Vec<_>>()
            .join(" ")
    })
    .ok("timer-slack-default-is-the-parent's", || {
        sys!(prctl, libc::PR_SET_TIMERSLACK, 70_000);
        in_child(|| {
            sys!(prctl, libc::PR_SET_TIMERSLACK, 1);
            sys!(prctl, libc::PR_SET_TIMERSLACK, 0);
            (sys!(prctl, libc::PR_GET_TIMERSLACK) / 1000) as i32
        })
    })
    .ok("dumpable-no-more-as-another", || as_user(|| sys!(prctl, libc::PR_GET_DUMPABLE)))
    .ok("parent-death-signal-not-as-another", || {
        let mut s = 9i32;
        sys!(prctl, libc::PR_SET_PDEATHSIG, SIGTERM);
        as_user(|| sys!(prctl, libc::PR_GET_PDEATHSIG, &mut s));
        s
    })
    .ok("broken-memory", || {
        let get = || sys!(prctl, 34, 0, 0, 0, 0);
        (get(), sys!(prctl, 33, 1, 1, 0, 0), get(), sys!(prctl, 33, 1, 0, 0, 0), get(), sys!(prctl, 33, 0, 0, 0, 0), get())
    })
    .ok("io-flusher", || (sys!(prctl, 57, 1, 0, 0, 0), sys!(prctl, 58, 0, 0, 0, 0), sys!(prctl, 57, 2, 0, 0, 0)))
    .ok("huge-pages", || {
        (
            sys!(prctl, 42, 0, 0, 0, 0),
            sys!(prctl, 41, 1, 0, 0, 0),
            sys!(prctl, 42, 0, 0, 0, 0),
            in_child(|| sys!(prctl, 42, 0, 0, 0, 0) as i32),
        )
    })
    .ok("tagged-addresses", || {
        let p = pipe();
        let tagged = (c"x".as_ptr() as usize) | 0x2a << 56;
        (
            sys!(write, p.1, tagged, 1),
            sys!(prctl, 55, 1, 0, 0, 0),
            sys!(prctl, 56, 0, 0, 0, 0),
            sys!(write, p.1, tagged, 1),
            sys!(prctl, 55, 0, 0, 0, 0),
            sys!(write, p.1, tagged, 1),
        )
    })
    .ok("ambient", || {
        let ambient = |what: usize, cap: usize| sys!(prctl, 47, what, cap, 0, 0);
        (ambient(1, 10), ambient(2, 10), ambient(3, 10), ambient(4, 0), ambient(4, 1), ambient(2, 99), ambient(9, 1))
    })
    .ok("secure-bits-locked", || {
        (
            sys!(prctl, libc::PR_SET_SECUREBITS, 0x2f),
            sys!(prctl, libc::PR_SET_SECUREBITS, 0x2e),
            sys!(prctl, libc::PR_SET_SECUREBITS, 0),
            sys!(prctl, libc::PR_SET_KEEPCAPS, 1),
            sys!(prctl, libc::PR_SET_SECUREBITS, 0x100),
        )
    })
    .ok("no-root-at-exec", || {
        sys!(prctl, libc::PR_SET_SECUREBITS, 1);
        in_child(|| {
            let path = c("/proc/self/exe");
            sys!(execve, &path, [path.as_ptr(), c"--role=capabilities".as_ptr(), core::ptr::null()].as_ptr(), 0);
            99
        })
    })
    .ok("memory-borders", || {
        let set = |what: usize, at: usize| sys!(prctl, libc::PR_SET_MM, what, at, 0, 0);
        (set(7, 0), set(99, 0x40_0000), set(7, 0x1_0000), set(1, 1 << 50), sys!(prctl, libc::PR_SET_MM, 7, 0x40_0000, 1, 0), set(12, 0))
    })
    .err("EINVAL-option", || sys!(prctl, 9999))
    .err("EINVAL-signal", || sys!(prctl, libc::PR_SET_PDEATHSIG, 65))
    .err("EINVAL-dumpable", || sys!(prctl, libc::PR_SET_DUMPABLE, 2))
    .err("EINVAL-keep-capabilities", || sys!(prctl, libc::PR_SET_KEEPCAPS, 2))
    .err("EINVAL-no-new-privileges", || {
        (sys!(prctl, libc::PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0), sys!(prctl, libc::PR_SET_NO_NEW_PRIVS, 1, 1, 0, 0))
    })
    .err("EINVAL-bounding-set", || sys!(prctl, libc::PR_CAPBSET_READ, 64))
    .err("EPERM-bounding-set", || as_user(|| sys!(prctl, libc::PR_CAPBSET_DROP, 0)))
    .err("EPERM-memory-borders", || as_user(|| sys!(prctl, libc::PR_SET_MM, 7, 0x40_0000, 0, 0)))
    .err("EPERM-io-flusher", || as_user(|| (sys!(prctl, 57, 1, 0, 0, 0), sys!(prctl, 58, 0, 0, 0, 0))))
    .err("EINVAL-unused-arguments", || [34, 41, 42, 55, 56].map(|o| sys!(prctl, o, 0, 0, 1, 0)).to_vec())
    .err("EPERM-secure-bits", || as_user(|| sys!(prctl, libc::PR_SET_SECUREBITS, 1)))
    .bad("arg2", || (sys!(prctl, libc::PR_SET_NAME, BAD), sys!(prctl, libc::PR_GET_NAME, BAD), sys!(prctl, libc::PR_GET_PDEATHSIG, BAD)))
    .bad("arg2-name-edge", || {
        let at = edge(3);
        (sys!(prctl, libc::PR_SET_NAME, at), sys!(prctl, libc::PR_GET_NAME, at))
    });
    a.call("personality", "", "", false).not("EINVAL", "never on Linux");
    a.ok("query", || (sys!(personality, 0xffff_ffffu32), sys!(personality, 0x004_0000), sys!(personality, 0xffff_ffffu32)));
}
