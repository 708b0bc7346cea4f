//! Policies beside what bounds the run time of all real-time tasks.
use super::*;

/// What `f` gives while real-time may run so many µs of each second, and the results of saying so and of going back to what is usual.
fn with_runtime<T>(runtime: &str, f: impl FnOnce() -> T) -> (isize, T, isize) {
    let fd = open(c"/proc/sys/kernel/sched_rt_runtime_us", libc::O_WRONLY);
    let put = |value: &str| {
        // While it is refused: what earlier cases have promised is given back after at most a second.
        let until = now_ms() + 3000;
        loop {
            sys!(lseek, fd, 0, 0);
            let r = sys!(write, fd, value.as_ptr(), value.len());
            if r != -libc::EBUSY as isize || now_ms() > until {
                return r;
            }
            sleep_ms(50);
        }
    };
    // Not what was there: should a case be killed in between, the next one puts it right.
    let r = (put(runtime), f(), put("950000"));
    sys!(close, fd);
    r
}

/// Cases of sched_setscheduler(2).
pub(super) fn policies(a: &mut Calls) {
    a.ok("without-realtime-is-not-held-back", || {
        with_runtime("0", || {
            let p = child(|| {
                let r = sys!(sched_setscheduler, 0, SCHED_FIFO, &5);
                let end = now_ms() + 100;
                while now_ms() < end {}
                sleep_ms(1);
                -r as i32
            });
            let (until, mut status) = (now_ms() + 5000, 0i32);
            while sys!(wait4, p, &mut status, libc::WNOHANG, 0) == 0 {
                if now_ms() > until {
                    return "hangs".to_string();
                }
                sleep_ms(10);
            }
            ending(status)
        })
    });
}

/// Cases of sched_setattr(2).
pub(super) fn attributes(a: &mut Calls) {
    a.ok("deadline-without-limit-on-some-cpus", || {
        with_runtime("-1", || in_child(|| -(sys!(sched_setaffinity, 0, 8, &1u64).min(0) + small()) as i32))
    });
}
