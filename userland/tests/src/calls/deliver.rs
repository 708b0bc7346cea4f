//! Signals: queueing, stacks, sending.
use super::signal::{CODE, INSIDE, VALUE, install, look, look_and_leave, me, note_stack, queue_value, value_of};
use crate::case::Calls;
use crate::help::*;
use crate::sys;
use libc::{SA_ONSTACK, SIGCHLD, SIGCONT, SIGKILL, SIGRTMIN, SIGSEGV, SIGSTOP, SIGTERM, SIGUSR1, c_int, c_void, siginfo_t};
use std::sync::atomic::Ordering;

/// Adds the group.
pub fn add(a: &mut Calls) {
    queues(a);
    stacks(a);
    kills(a);
}

fn queues(a: &mut Calls) {
    fn info(code: i32) -> siginfo_t {
        let mut i: siginfo_t = zero();
        (i.si_signo, i.si_code) = (SIGUSR1, code);
        i
    }
    a.call("rt_sigqueueinfo", "EAGAIN EINVAL EPERM ESRCH", "uinfo", false);
    a.ok("self", || {
        install(SIGUSR1, look, 0);
        (sys!(rt_sigqueueinfo, me(), SIGUSR1, &info(-1)), CODE.load(Ordering::Relaxed))
    })
    .ok("order-of-values", || {
        let signal = SIGRTMIN();
        block(&[signal]);
        for v in [3, 1, 2] {
            let mut i = info(-1);
            queue_value(&mut i, v);
            sys!(rt_sigqueueinfo, me(), signal, &i);
        }
        (0..3)
            .map(|_| {
                let mut got: siginfo_t = zero();
                sys!(rt_sigtimedwait, &mask(&[signal]), &mut got, 0, 8);
                value_of(&got)
            })
            .collect::<Vec<_>>()
    })
    .ok("null-signal", || sys!(rt_sigqueueinfo, me(), 0, &info(-1)))
    .err("EAGAIN-limit", || {
        let signal = SIGRTMIN();
        block(&[signal]);
        sys!(prlimit64, 0, libc::RLIMIT_SIGPENDING, &[2u64, 2], 0);
        let r: Vec<isize> = (0..3).map(|_| sys!(rt_sigqueueinfo, me(), signal, &info(-1))).collect();
        r
    })
    .err("EINVAL", || sys!(rt_sigqueueinfo, me(), 65, &info(-1)))
    .err("EPERM-code", || sys!(rt_sigqueueinfo, 1, SIGUSR1, &info(0)))
    .err("EPERM-other-user", || as_user(|| sys!(rt_sigqueueinfo, 1, SIGUSR1, &info(-1))))
    .err("ESRCH", || sys!(rt_sigqueueinfo, 0x3fff_fff0, SIGUSR1, &info(-1)))
    .bad("uinfo", || sys!(rt_sigqueueinfo, me(), SIGUSR1, BAD))
    .bad("uinfo-edge", || sys!(rt_sigqueueinfo, me(), SIGUSR1, edge(100)));
    a.call("rt_tgsigqueueinfo", "EAGAIN EINVAL EPERM ESRCH", "uinfo", false);
    a.ok("self", || {
        install(SIGUSR1, look, 0);
        (sys!(rt_tgsigqueueinfo, me(), me(), SIGUSR1, &info(-1)), CODE.load(Ordering::Relaxed))
    })
    .err("EINVAL", || (sys!(rt_tgsigqueueinfo, 0, me(), SIGUSR1, &info(-1)), sys!(rt_tgsigqueueinfo, me(), me(), 65, &info(-1))))
    .err("EAGAIN-limit", || {
        let signal = SIGRTMIN();
        block(&[signal]);
        sys!(prlimit64, 0, libc::RLIMIT_SIGPENDING, &[0u64, 0], 0);
        sys!(rt_tgsigqueueinfo, me(), me(), signal, &info(-1))
    })
    .err("EPERM-code", || sys!(rt_tgsigqueueinfo, 1, 1, SIGUSR1, &info(0)))
    .err("ESRCH", || {
        (sys!(rt_tgsigqueueinfo, 0x3fff_fff0, 0x3fff_fff0, SIGUSR1, &info(-1)), sys!(rt_tgsigqueueinfo, 1, me(), SIGUSR1, &info(-1)))
    })
    .bad("uinfo", || sys!(rt_tgsigqueueinfo, me(), me(), SIGUSR1, BAD));
}

fn stacks(a: &mut Calls) {
    fn stack(at: usize, size: usize, flags: c_int) -> libc::stack_t {
        libc::stack_t { ss_sp: at as *mut c_void, ss_flags: flags, ss_size: size }
    }
    a.call("sigaltstack", "EINVAL ENOMEM EPERM", "ss old_ss", false);
    a.ok("set-and-get", || {
        let at = pages(4);
        let mut old: libc::stack_t = zero();
        (
            sys!(sigaltstack, &stack(at, 4 * PAGE, 0), &mut old),
            old.ss_flags,
            sys!(sigaltstack, 0, &mut old),
            old.ss_sp as usize == at,
            old.ss_size,
            old.ss_flags,
        )
    })
    .ok("used", || {
        let at = pages(8);
        sys!(sigaltstack, &stack(at, 8 * PAGE, 0), 0);
        handle(SIGUSR1, SA_ONSTACK);
        let action = SigAction { handler: note_stack as *const () as usize, flags: SA_ONSTACK as u64, ..SigAction::default() };
        sys!(rt_sigaction, SIGUSR1, &action, 0, 8);
        sys!(kill, me(), SIGUSR1);
        ("flags inside", INSIDE.load(Ordering::Relaxed))
    })
    .ok("not-asked-for", || {
        sys!(sigaltstack, &stack(pages(8), 8 * PAGE, 0), 0);
        sys!(rt_sigaction, SIGUSR1, &SigAction { handler: note_stack as *const () as usize, ..SigAction::default() }, 0, 8);
        sys!(kill, me(), SIGUSR1);
        INSIDE.load(Ordering::Relaxed)
    })
    .ok("auto-disarm", || {
        sys!(sigaltstack, &stack(pages(8), 8 * PAGE, 1 << 31), 0);
        let action = SigAction { handler: note_stack as *const () as usize, flags: SA_ONSTACK as u64, ..SigAction::default() };
        sys!(rt_sigaction, SIGUSR1, &action, 0, 8);
        sys!(kill, me(), SIGUSR1);
        (INSIDE.load(Ordering::Relaxed), CODE.load(Ordering::Relaxed))
    })
    .ok("stack-overflow-is-caught", || {
        in_child(|| {
            sys!(sigaltstack, &stack(pages(8), 8 * PAGE, 0), 0);
            VALUE.store(0x20_0000_0000, Ordering::Relaxed);
            install(SIGSEGV, look_and_leave, SA_ONSTACK);
            // SAFETY: moves the stack pointer to where no stack is and stores there: the handler ends the child.
            unsafe { core::arch::asm!("mov sp, {at}", "str xzr, [sp]", at = in(reg) 0x20_0000_0000usize, options(noreturn)) }
        })
    })
    .ok("no-stack-for-handler", || {
        in_child(|| {
            install(SIGSEGV, look_and_leave, 0);
            // SAFETY: as above; no frame can be written and the child is killed.
            unsafe { core::arch::asm!("mov sp, {at}", "str xzr, [sp]", at = in(reg) 0x20_0000_0000usize, options(noreturn)) }
        })
    })
    .ok("disable", || {
        sys!(sigaltstack, &stack(pages(4), 4 * PAGE, 0), 0);
        let mut old: libc::stack_t = zero();
        (sys!(sigaltstack, &stack(0, 0, libc::SS_DISABLE), 0), sys!(sigaltstack, 0, &mut old), old.ss_flags, old.ss_size)
    })
    .err("EINVAL-flags", || sys!(sigaltstack, &stack(pages(4), 4 * PAGE, 8), 0))
    .err("ENOMEM", || (sys!(sigaltstack, &stack(pages(4), 5119, 0), 0), sys!(sigaltstack, &stack(pages(4), 5120, 0), 0)))
    .err("EPERM-inside", || {
        sys!(sigaltstack, &stack(pages(8), 8 * PAGE, 0), 0);
        let action = SigAction { handler: note_stack as *const () as usize, flags: SA_ONSTACK as u64, ..SigAction::default() };
        sys!(rt_sigaction, SIGUSR1, &action, 0, 8);
        sys!(kill, me(), SIGUSR1);
        CODE.load(Ordering::Relaxed) as isize
    })
    .bad("ss", || sys!(sigaltstack, BAD, 0))
    .bad("old_ss", || sys!(sigaltstack, 0, BAD));
}

fn kills(a: &mut Calls) {
    a.call("kill", "EINVAL EPERM ESRCH", "", false);
    a.ok("null-signal", || sys!(kill, me(), 0))
        .ok("default-actions", || {
            [
                libc::SIGHUP,
                libc::SIGINT,
                libc::SIGQUIT,
                libc::SIGUSR1,
                libc::SIGPIPE,
                libc::SIGALRM,
                SIGTERM,
                libc::SIGIO,
                libc::SIGPROF,
                libc::SIGSYS,
            ]
            .into_iter()
            .map(|s| in_child(|| sys!(kill, me(), s) as i32))
            .collect::<Vec<_>>()
        })
        .ok("ignored-by-default", || {
            [SIGCHLD, SIGCONT, libc::SIGURG, libc::SIGWINCH]
                .into_iter()
                .map(|s| in_child(|| sys!(kill, me(), s) as i32))
                .collect::<Vec<_>>()
        })
        .ok("real-time-kills", || in_child(|| sys!(kill, me(), SIGRTMIN()) as i32) == format!("killed SIG{}", SIGRTMIN()))
        .ok("zombie", || {
            let p = child(|| 0);
            sleep_ms(30);
            sys!(kill, p, SIGTERM)
        })
        .ok("group", || {
            in_child(|| {
                sys!(setpgid, 0, 0);
                handle(SIGUSR1, 0);
                sys!(kill, 0, SIGUSR1);
                caught()
            })
        })
        .ok("other-group", || {
            let p = sleeper();
            sys!(setpgid, p, p);
            (sys!(kill, -p, SIGTERM), wait(p))
        })
        .ok("continue-wakes-stopped", || {
            let p = sleeper();
            sys!(kill, p, SIGSTOP);
            sys!(wait4, p, 0, libc::WUNTRACED, 0);
            sys!(kill, p, SIGTERM);
            sleep_ms(20);
            let still = sys!(wait4, p, 0, libc::WNOHANG, 0) == 0;
            (still, sys!(kill, p, SIGCONT), wait(p))
        })
        .ok("kill-wakes-stopped", || {
            let p = sleeper();
            sys!(kill, p, SIGSTOP);
            (sys!(kill, p, SIGKILL), wait(p))
        })
        .ok("user-to-own", || {
            user();
            let p = sleeper();
            (sys!(kill, p, SIGTERM), wait(p))
        })
        .err("EINVAL", || (sys!(kill, me(), 65), sys!(kill, me(), -1)))
        .err("EPERM", || as_user(|| sys!(kill, 1, SIGTERM)))
        .err("ESRCH", || (sys!(kill, 0x3fff_fff0, 0), sys!(kill, -0x3fff_fff0, 0), sys!(kill, i32::MIN, 0)));
    a.call("tkill", "EINVAL EPERM ESRCH", "", false).not("EAGAIN", "as rt_sigqueueinfo");
    a.ok("self", || {
        handle(SIGUSR1, 0);
        (sys!(tkill, sys!(gettid), SIGUSR1), caught())
    })
    .err("EINVAL", || (sys!(tkill, 0, SIGUSR1), sys!(tkill, me(), 65)))
    .err("EPERM", || as_user(|| sys!(tkill, 1, SIGTERM)))
    .err("ESRCH", || sys!(tkill, 0x3fff_fff0, 0))
    .err("ESRCH-before-EINVAL", || (sys!(tkill, 0x3fff_fff0, 65), sys!(kill, 0x3fff_fff0, 65), sys!(tgkill, 0x3fff_fff0, 0x3fff_fff0, 65)));
    a.call("tgkill", "EINVAL EPERM ESRCH", "", false).not("EAGAIN", "as rt_sigqueueinfo");
    a.ok("self", || {
        handle(SIGUSR1, 0);
        (sys!(tgkill, me(), sys!(gettid), SIGUSR1), caught())
    })
    .ok("that-thread-only", || {
        let (p, q) = (pipe(), pipe());
        handle(SIGUSR1, 0);
        let t = std::thread::spawn(move || {
            sys!(write, p.1, &(sys!(gettid) as i32), 4);
            // Only this thread's read is interrupted.
            sys!(read, q.0, pages(1), 1)
        });
        let mut tid = 0i32;
        sys!(read, p.0, &mut tid, 4);
        sleep_ms(30);
        let r = sys!(tgkill, me(), tid, SIGUSR1);
        (r, t.join().unwrap_or(99), caught())
    })
    .err("EINVAL", || (sys!(tgkill, 0, me(), SIGUSR1), sys!(tgkill, me(), -1, SIGUSR1), sys!(tgkill, me(), me(), 65)))
    .err("EPERM", || as_user(|| sys!(tgkill, 1, 1, SIGTERM)))
    .err("ESRCH", || (sys!(tgkill, 1, me(), 0), sys!(tgkill, me(), 0x3fff_fff0, 0)));
}
