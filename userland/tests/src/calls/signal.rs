//! Signals: actions, masks, waiting.
use crate::case::Calls;
use crate::help::*;
use crate::sys;
use libc::{
    SA_NODEFER, SA_RESETHAND, SA_SIGINFO, SIG_BLOCK, SIG_SETMASK, SIG_UNBLOCK, SIGCHLD, SIGCONT, SIGKILL, SIGRTMIN, SIGSEGV, SIGSTOP,
    SIGTERM, SIGUSR1, SIGUSR2, c_int, c_void, siginfo_t,
};
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};

/// Adds the group.
pub fn add(a: &mut Calls) {
    actions(a);
    masks(a);
    waits(a);
}

/// The si_code that [`look`] saw.
pub static CODE: AtomicI32 = AtomicI32::new(99);

/// The address that [`look`] saw, or that [`look_and_leave`] expects.
pub static VALUE: AtomicUsize = AtomicUsize::new(0);

/// Remembers si_code and the address or value.
pub extern "C" fn look(signal: c_int, info: *mut siginfo_t, _: *mut c_void) {
    LAST.store(signal, Ordering::Relaxed);
    // SAFETY: the kernel passes a siginfo_t.
    unsafe {
        CODE.store((*info).si_code, Ordering::Relaxed);
        VALUE.store((*info).si_addr() as usize, Ordering::Relaxed);
    }
    CAUGHT.fetch_add(1, Ordering::Relaxed);
}

/// Like `look`, and ends the process: the status is the code, or 99 with another address than the one in `FD`.
pub extern "C" fn look_and_leave(_: c_int, info: *mut siginfo_t, _: *mut c_void) {
    // SAFETY: the kernel passes a siginfo_t.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr() as usize) };
    let expected = VALUE.load(Ordering::Relaxed);
    sys!(exit_group, if address == expected { code } else { 99 });
}

/// Installs a handler with siginfo.
pub fn install(signal: c_int, handler: extern "C" fn(c_int, *mut siginfo_t, *mut c_void), flags: c_int) {
    let action = SigAction { handler: handler as *const () as usize, flags: (flags | SA_SIGINFO) as u64, ..SigAction::default() };
    sys!(rt_sigaction, signal, &action, 0, 8);
}

/// The si_code of the fault that `body` makes at `address`, from a child.
fn fault_code(signal: c_int, address: usize, body: impl Fn(usize)) -> String {
    in_child(|| {
        VALUE.store(address, Ordering::Relaxed);
        install(signal, look_and_leave, 0);
        body(address);
        98
    })
}

/// This process.
pub fn me() -> i32 {
    sys!(getpid) as i32
}

/// The thread's mask.
fn current_mask() -> u64 {
    let mut m = 0u64;
    sys!(rt_sigprocmask, 0, 0, &mut m, 8);
    m
}

/// What a handler saw.
pub static INSIDE: AtomicUsize = AtomicUsize::new(0);

extern "C" fn note_mask(_: c_int) {
    INSIDE.store(current_mask() as usize, Ordering::Relaxed);
}

/// Notes the flags of the signal stack, and what setting it answers.
pub extern "C" fn note_stack(_: c_int) {
    let mut s: libc::stack_t = zero();
    sys!(sigaltstack, 0, &mut s);
    INSIDE.store(s.ss_flags as usize, Ordering::Relaxed);
    CODE.store(sys!(sigaltstack, &s, 0) as i32, Ordering::Relaxed);
}

fn actions(a: &mut Calls) {
    a.call("rt_sigaction", "EINVAL", "act oldact", false);
    a.ok("old", || {
        handle(SIGUSR1, libc::SA_RESTART);
        let mut old = SigAction::default();
        (sys!(rt_sigaction, SIGUSR1, 0, &mut old, 8), old.handler != 0, old.flags, old.mask)
    })
    .ok("handler-runs", || {
        handle(SIGUSR1, 0);
        (sys!(kill, me(), SIGUSR1), caught())
    })
    .ok("ignore-drops-pending", || {
        block(&[SIGUSR1]);
        sys!(kill, me(), SIGUSR1);
        let mut m = 9u64;
        (sys!(rt_sigaction, SIGUSR1, &SigAction { handler: 1, ..SigAction::default() }, 0, 8), sys!(rt_sigpending, &mut m, 8), m)
    })
    .ok("reset-hand", || {
        handle(SIGUSR1, SA_RESETHAND);
        sys!(kill, me(), SIGUSR1);
        let mut old = SigAction::default();
        (caught(), sys!(rt_sigaction, SIGUSR1, 0, &mut old, 8), old.handler)
    })
    .ok("own-signal-blocked-inside", || {
        let action = SigAction { handler: note_mask as *const () as usize, mask: mask(&[SIGUSR2]), ..SigAction::default() };
        sys!(rt_sigaction, SIGUSR1, &action, 0, 8);
        sys!(kill, me(), SIGUSR1);
        (format!("{:#x}", INSIDE.load(Ordering::Relaxed)), current_mask())
    })
    .ok("no-defer", || {
        let action = SigAction { handler: note_mask as *const () as usize, flags: SA_NODEFER as u64, ..SigAction::default() };
        sys!(rt_sigaction, SIGUSR1, &action, 0, 8);
        sys!(kill, me(), SIGUSR1);
        INSIDE.load(Ordering::Relaxed)
    })
    .ok("kill-and-stop-not-masked", || {
        let action = SigAction { handler: note_mask as *const () as usize, mask: !0, ..SigAction::default() };
        sys!(rt_sigaction, SIGUSR1, &action, 0, 8);
        sys!(kill, me(), SIGUSR1);
        format!("{:#x}", INSIDE.load(Ordering::Relaxed))
    })
    .ok("unknown-flags-cleared", || {
        let action = SigAction { handler: 1, flags: 0x7000_0fff, ..SigAction::default() };
        let mut old = SigAction::default();
        (sys!(rt_sigaction, SIGUSR1, &action, &mut old, 8), sys!(rt_sigaction, SIGUSR1, 0, &mut old, 8), format!("{:#x}", old.flags))
    })
    .ok("kill-may-be-asked", || sys!(rt_sigaction, SIGKILL, 0, pages(1), 8))
    .ok("info-of-kill", || {
        install(SIGUSR1, look, 0);
        sys!(kill, me(), SIGUSR1);
        (CODE.load(Ordering::Relaxed), VALUE.load(Ordering::Relaxed) as u32 as i32 == me())
    })
    .ok("info-of-tgkill", || {
        install(SIGUSR1, look, 0);
        sys!(tgkill, me(), me(), SIGUSR1);
        CODE.load(Ordering::Relaxed)
    })
    .ok("info-of-child", || {
        install(SIGCHLD, look, 0);
        let p = child(|| 3);
        sys!(wait4, p, 0, 0, 0);
        (caught(), CODE.load(Ordering::Relaxed))
    })
    .ok("fault-unmapped", || {
        fault_code(SIGSEGV, 0x20_0000_0000, |at| {
            peek(at);
        })
    })
    .ok("fault-protected", || fault_code(SIGSEGV, read_only(), |at| fill(at, 1, 1)))
    .ok("fault-null", || fault_code(SIGSEGV, 0x10, |at| fill(at, 1, 1)))
    .ok("fault-kernel-address", || {
        fault_code(SIGSEGV, KERN, |at| {
            peek(at);
        })
    })
    .ok("fault-beyond-file", || {
        let fd = opened(c"f", "x");
        let at = sys!(mmap, 0, 2 * PAGE, 3, libc::MAP_SHARED, fd, 0) as usize;
        fault_code(libc::SIGBUS, at + PAGE, |at| {
            peek(at);
        })
    })
    .ok("fault-execute", || {
        fault_code(SIGSEGV, pages(1), |at| {
            // SAFETY: the call never returns: the page cannot be executed.
            let f: extern "C" fn() = unsafe { core::mem::transmute::<usize, extern "C" fn()>(at) };
            f();
        })
    })
    .ok("illegal-instruction", || {
        // SAFETY: an undefined instruction: the child ends here.
        in_child(|| unsafe { core::arch::asm!("udf #0", options(noreturn)) })
    })
    .ok("breakpoint", || {
        // SAFETY: a breakpoint: the child ends here.
        in_child(|| unsafe { core::arch::asm!("brk #1", options(noreturn)) })
    })
    .ok("system-register-of-kernel", || {
        in_child(|| {
            // SAFETY: not allowed at EL0: the child ends here.
            unsafe { core::arch::asm!("mrs {x}, sctlr_el1", x = out(reg) _) };
            0
        })
    })
    .ok("fault-while-blocked-kills", || {
        in_child(|| {
            handle(SIGSEGV, 0);
            block(&[SIGSEGV]);
            i32::from(peek(BAD))
        })
    })
    .ok("floating-point-kept", || {
        handle(SIGUSR1, 0);
        let (value, back): (u64, u64) = (0x4009_21fb_5444_2d18, 0);
        let mut got = back;
        // SAFETY: the call and two moves; the handler runs in between; all that the kernel may change is named.
        unsafe {
            core::arch::asm!("fmov d8, {v}", "svc 0", "fmov {g}, d8", v = in(reg) value, g = lateout(reg) got,
                in("x8") libc::SYS_kill, inlateout("x0") i64::from(me()) => _, in("x1") i64::from(SIGUSR1), out("d8") _);
        }
        (caught(), got == value)
    })
    .err("EINVAL-number", || (sys!(rt_sigaction, 0, 0, 0, 8), sys!(rt_sigaction, 65, 0, 0, 8), sys!(rt_sigaction, -1, 0, 0, 8)))
    .err("EINVAL-kill", || {
        let ignore = SigAction { handler: 1, ..SigAction::default() };
        (sys!(rt_sigaction, SIGKILL, &ignore, 0, 8), sys!(rt_sigaction, SIGSTOP, &ignore, 0, 8))
    })
    .err("EINVAL-size", || sys!(rt_sigaction, SIGUSR1, 0, 0, 4))
    .bad("act", || sys!(rt_sigaction, SIGUSR1, BAD, 0, 8))
    .bad("act-edge", || sys!(rt_sigaction, SIGUSR1, edge(16), 0, 8))
    .bad("oldact", || sys!(rt_sigaction, SIGUSR1, 0, BAD, 8))
    .bad("oldact-after-change", || {
        let r = sys!(rt_sigaction, SIGUSR1, &SigAction { handler: 1, ..SigAction::default() }, BAD, 8);
        let mut old = SigAction::default();
        sys!(rt_sigaction, SIGUSR1, 0, &mut old, 8);
        (r, old.handler)
    });
    a.call("rt_sigreturn", "", "", false);
    a.ok("handler-returns", || {
        handle(SIGUSR1, 0);
        (0..3).for_each(|_| assert_eq!(sys!(kill, me(), SIGUSR1), 0));
        caught()
    })
    .ok("registers-survive", || {
        handle(SIGUSR1, 0);
        let sum: u64;
        // SAFETY: the call, and registers that are named; the handler runs in between.
        unsafe {
            core::arch::asm!(
                "mov x20, #1", "mov x21, #2", "mov x22, #4", "mov x23, #8", "mov x24, #16", "mov x25, #32", "mov x26, #64", "mov x27, #128", "mov x28, #256", "mov x9, #512",
                "svc 0",
                "add {s}, x20, x21", "add {s}, {s}, x22", "add {s}, {s}, x23", "add {s}, {s}, x24", "add {s}, {s}, x25", "add {s}, {s}, x26", "add {s}, {s}, x27", "add {s}, {s}, x28", "add {s}, {s}, x9",
                s = lateout(reg) sum, in("x8") libc::SYS_kill, inlateout("x0") i64::from(me()) => _, in("x1") i64::from(SIGUSR1),
                out("x9") _, out("x20") _, out("x21") _, out("x22") _, out("x23") _, out("x24") _, out("x25") _, out("x26") _, out("x27") _, out("x28") _,
            );
        }
        (caught(), sum)
    })
    .ok("several-at-once", || {
        for signal in [SIGUSR1, libc::SIGUSR2, libc::SIGRTMIN()] {
            handle(signal, 0);
        }
        block(&[SIGUSR1, libc::SIGUSR2, libc::SIGRTMIN()]);
        for signal in [libc::SIGRTMIN(), SIGUSR1, libc::SIGRTMIN(), libc::SIGUSR2] {
            sys!(kill, me(), signal);
        }
        sys!(rt_sigprocmask, libc::SIG_SETMASK, &0u64, 0, 8);
        // Frames are stacked: the first that is entered is the last to run.
        (caught(), LAST.load(Ordering::Relaxed), current_mask())
    })
    .ok("stack-that-is-not-there-yet", || {
        let size = 16 * PAGE;
        let stack = libc::stack_t { ss_sp: pages(16) as *mut c_void, ss_flags: 0, ss_size: size };
        sys!(sigaltstack, &stack, 0);
        handle(SIGUSR1, libc::SA_ONSTACK);
        (sys!(kill, me(), SIGUSR1), caught())
    })
    .ok("garbage-frame", || {
        let frame = pages(2);
        fill(frame, 2 * PAGE, 0xff);
        // SAFETY: nothing comes back from a frame that is no frame: the child is killed.
        in_child(|| unsafe { core::arch::asm!("mov sp, {f}", "svc 0", "brk #1", f = in(reg) frame, in("x8") libc::SYS_rt_sigreturn, options(noreturn)) })
    })
    .ok("no-frame", || {
        // SAFETY: as above.
        in_child(|| unsafe { core::arch::asm!("mov sp, {f}", "svc 0", "brk #1", f = in(reg) 0x20_0000_0000usize, in("x8") libc::SYS_rt_sigreturn, options(noreturn)) })
    });
}

fn masks(a: &mut Calls) {
    a.call("rt_sigprocmask", "EINVAL", "set oldset", false);
    a.ok("block-unblock-set", || {
        let (x, y) = (mask(&[SIGUSR1]), mask(&[SIGUSR2]));
        let mut seen = Vec::new();
        for (how, m) in [(SIG_BLOCK, x), (SIG_BLOCK, y), (SIG_UNBLOCK, x), (SIG_SETMASK, x)] {
            sys!(rt_sigprocmask, how, &m, 0, 8);
            seen.push(current_mask());
        }
        seen
    })
    .ok("kill-and-stop-stay", || (sys!(rt_sigprocmask, SIG_SETMASK, &!0u64, 0, 8), format!("{:#x}", current_mask())))
    .ok("pending-comes-on-unblock", || {
        handle(SIGUSR1, 0);
        block(&[SIGUSR1]);
        sys!(kill, me(), SIGUSR1);
        let before = caught();
        (before, sys!(rt_sigprocmask, SIG_UNBLOCK, &mask(&[SIGUSR1]), 0, 8), caught())
    })
    .ok("standard-signals-merge", || {
        handle(SIGUSR1, 0);
        block(&[SIGUSR1]);
        (0..3).for_each(|_| assert_eq!(sys!(kill, me(), SIGUSR1), 0));
        sys!(rt_sigprocmask, SIG_SETMASK, &0u64, 0, 8);
        caught()
    })
    .ok("real-time-signals-queue", || {
        let signal = SIGRTMIN();
        handle(signal, 0);
        block(&[signal]);
        (0..3).for_each(|_| assert_eq!(sys!(kill, me(), signal), 0));
        sys!(rt_sigprocmask, SIG_SETMASK, &0u64, 0, 8);
        caught()
    })
    .ok("lowest-first", || {
        // Frames are stacked: the last one pushed runs first, the lowest number last.
        block(&[SIGUSR1, SIGUSR2, SIGTERM]);
        for s in [SIGTERM, SIGUSR2, SIGUSR1] {
            handle(s, 0);
            sys!(kill, me(), s);
        }
        sys!(rt_sigprocmask, SIG_SETMASK, &0u64, 0, 8);
        (caught(), LAST.load(Ordering::Relaxed))
    })
    .ok("bad-how-without-set", || sys!(rt_sigprocmask, 99, 0, pages(1), 8))
    .err("EINVAL-how", || sys!(rt_sigprocmask, 99, &0u64, 0, 8))
    .err("EINVAL-size", || (sys!(rt_sigprocmask, SIG_BLOCK, &0u64, 0, 4), sys!(rt_sigprocmask, SIG_BLOCK, &0u64, 0, 128)))
    .bad("set", || sys!(rt_sigprocmask, SIG_BLOCK, BAD, 0, 8))
    .bad("oldset", || sys!(rt_sigprocmask, SIG_BLOCK, 0, BAD, 8))
    .bad("oldset-after-change", || (sys!(rt_sigprocmask, SIG_BLOCK, &mask(&[SIGUSR1]), BAD, 8), current_mask()));
    a.call("rt_sigpending", "EINVAL", "set", false);
    a.ok("blocked", || {
        block(&[SIGUSR1, SIGUSR2]);
        sys!(kill, me(), SIGUSR1);
        let mut m = 0u64;
        (sys!(rt_sigpending, &mut m, 8), m)
    })
    .ok("ignored-but-blocked", || {
        sys!(rt_sigaction, SIGUSR1, &SigAction { handler: 1, ..SigAction::default() }, 0, 8);
        block(&[SIGUSR1]);
        sys!(kill, me(), SIGUSR1);
        let mut m = 0u64;
        (sys!(rt_sigpending, &mut m, 8), m)
    })
    .err("EINVAL", || sys!(rt_sigpending, pages(1), 16))
    .bad("set", || sys!(rt_sigpending, BAD, 8));
}

fn waits(a: &mut Calls) {
    a.call("rt_sigsuspend", "EINVAL", "set", true);
    a.ok("pending", || {
        handle(SIGUSR1, 0);
        block(&[SIGUSR1]);
        sys!(kill, me(), SIGUSR1);
        (sys!(rt_sigsuspend, &0u64, 8), caught(), current_mask())
    })
    .err("EINVAL", || sys!(rt_sigsuspend, &0u64, 4))
    .bad("set", || sys!(rt_sigsuspend, BAD, 8))
    .intr("alarm", || interrupted(|| sys!(rt_sigsuspend, &0u64, 8)))
    .intr("not-restarted", || restarted(|| (), || sys!(rt_sigsuspend, &0u64, 8)))
    .intr("ignored-does-not-end", || {
        sys!(rt_sigaction, SIGUSR1, &SigAction { handler: 1, ..SigAction::default() }, 0, 8);
        let me = me();
        let p = child(|| {
            sleep_ms(20);
            sys!(kill, me, SIGUSR1);
            0
        });
        handle(libc::SIGALRM, 0);
        sleep_ms(100);
        wait(p);
        interrupted(|| sys!(rt_sigsuspend, &0u64, 8))
    });
    a.call("rt_sigtimedwait", "EAGAIN EINVAL", "set info timeout", true);
    a.ok("pending", || {
        block(&[SIGUSR1]);
        sys!(kill, me(), SIGUSR1);
        let mut i: siginfo_t = zero();
        (sys!(rt_sigtimedwait, &mask(&[SIGUSR1]), &mut i, 0, 8), i.si_signo, i.si_code)
    })
    .ok("comes-later", || {
        block(&[SIGCHLD]);
        child(|| {
            sleep_ms(30);
            0
        });
        sys!(rt_sigtimedwait, &mask(&[SIGCHLD]), 0, &ms(5000), 8)
    })
    .ok("lowest-of-several", || {
        block(&[SIGUSR1, SIGUSR2]);
        sys!(kill, me(), SIGUSR2);
        sys!(kill, me(), SIGUSR1);
        let m = mask(&[SIGUSR1, SIGUSR2]);
        (sys!(rt_sigtimedwait, &m, 0, 0, 8), sys!(rt_sigtimedwait, &m, 0, 0, 8))
    })
    .ok("value", || {
        let signal = SIGRTMIN();
        block(&[signal]);
        let mut i: siginfo_t = zero();
        (i.si_signo, i.si_code) = (signal, -1);
        queue_value(&mut i, 1234);
        sys!(rt_sigqueueinfo, me(), signal, &i);
        let mut got: siginfo_t = zero();
        (sys!(rt_sigtimedwait, &mask(&[signal]), &mut got, 0, 8), got.si_code, value_of(&got))
    })
    .err("EAGAIN-at-once", || sys!(rt_sigtimedwait, &mask(&[SIGUSR1]), 0, &ms(0), 8))
    .err("EAGAIN-later", || {
        let start = now_ms();
        (sys!(rt_sigtimedwait, &mask(&[SIGUSR1]), 0, &ms(40), 8), now_ms() - start >= 40)
    })
    .err("EINVAL-timeout", || sys!(rt_sigtimedwait, &0u64, 0, &libc::timespec { tv_sec: 0, tv_nsec: -1 }, 8))
    .err("EINVAL-size", || sys!(rt_sigtimedwait, &0u64, 0, &ms(0), 4))
    .bad("set", || sys!(rt_sigtimedwait, BAD, 0, &ms(0), 8))
    .bad("timeout", || sys!(rt_sigtimedwait, &0u64, 0, BAD, 8))
    .bad("info", || {
        block(&[SIGUSR1]);
        sys!(kill, me(), SIGUSR1);
        let mut m = 0u64;
        (sys!(rt_sigtimedwait, &mask(&[SIGUSR1]), BAD, 0, 8), sys!(rt_sigpending, &mut m, 8), m)
    })
    .intr("other-signal", || interrupted(|| sys!(rt_sigtimedwait, &mask(&[SIGUSR1]), 0, 0, 8)));
    a.call("restart_syscall", "", "", true);
    a.ok("sleep-goes-on-after-stop", || {
        // A stopped and continued sleep restarts with what is left of it.
        let p = child(|| {
            let start = now_ms();
            let r = sys!(nanosleep, &ms(200), 0);
            i32::from(r == 0 && (195..2000).contains(&(now_ms() - start)))
        });
        sleep_ms(50);
        sys!(kill, p, SIGSTOP);
        sleep_ms(50);
        sys!(kill, p, SIGCONT);
        wait(p)
    })
    .intr("nothing-to-restart", || sys!(restart_syscall));
}

/// Stores a value where `si_value` lies.
pub fn queue_value(info: &mut siginfo_t, value: i32) {
    // SAFETY: si_value lies at byte 24 of the 128.
    unsafe { std::ptr::from_mut(info).cast::<u8>().add(24).cast::<i32>().write_unaligned(value) };
}

/// What [`queue_value`] stored.
pub fn value_of(info: &siginfo_t) -> i32 {
    // SAFETY: si_value lies at byte 24 of the 128.
    unsafe { std::ptr::from_ref(info).cast::<u8>().add(24).cast::<i32>().read_unaligned() }
}
