//! Notification of POSIX message queues.
use super::*;

/// `struct sigevent`.
fn event(kind: i32, signal: i32, value: usize) -> [usize; 8] {
    [value, signal as u32 as usize | (kind as usize) << 32, 0, 0, 0, 0, 0, 0]
}

fn signal_of(mask_of: &[i32]) -> String {
    let mut info = [0i32; 32];
    let r = sys!(rt_sigtimedwait, &mask(mask_of), &mut info, &ms(200), 8);
    if r < 0 {
        crate::sys::Show::show(r)
    } else {
        format!("{r} code {} me {} uid {} value {}", info[2], info[4] == sys!(getpid) as i32, info[5], info[6])
    }
}

pub(super) fn notifies(a: &mut Calls) {
    a.call("mq_notify", "EBADF EBUSY EINVAL ENOTSOCK", "event", false).not("ENOMEM", "see --nth");
    a.ok("signal-once", || {
        block(&[SIGUSR1]);
        let fd = queue(0);
        let set = sys!(mq_notify, fd, &event(0, SIGUSR1, 77));
        let shown = line(fd);
        send(fd, "1", 0);
        let first = signal_of(&[SIGUSR1]);
        receive(fd);
        send(fd, "2", 0);
        (set, shown, first, signal_of(&[SIGUSR1]), line(fd))
    })
    .ok("only-from-empty", || {
        block(&[SIGUSR1]);
        let fd = queue(0);
        send(fd, "1", 0);
        sys!(mq_notify, fd, &event(0, SIGUSR1, 77));
        send(fd, "2", 0);
        let none = signal_of(&[SIGUSR1]);
        (receive(fd), receive(fd), none, send(fd, "3", 0), signal_of(&[SIGUSR1]))
    })
    .ok("not-if-somebody-waits", || {
        block(&[SIGUSR1]);
        let fd = queue(0);
        sys!(mq_notify, fd, &event(0, SIGUSR1, 1));
        let pid = child(|| i32::from(receive(fd) == "1@0"));
        sleep_ms(60);
        send(fd, "1", 0);
        (wait(pid), signal_of(&[SIGUSR1]), line(fd))
    })
    .ok("nothing", || {
        let fd = queue(0);
        let set = sys!(mq_notify, fd, &event(1, 0, 0));
        let shown = line(fd);
        send(fd, "1", 0);
        (set, shown, line(fd))
    })
    .ok("signal-0", || (sys!(mq_notify, queue(0), &event(0, 0, 0)), sys!(mq_notify, queue(0), &event(0, 64, 0))))
    .ok("ended-by-null", || {
        let fd = queue(0);
        let none = sys!(mq_notify, fd, 0);
        sys!(mq_notify, fd, &event(0, SIGUSR1, 0));
        let ended = sys!(mq_notify, fd, 0);
        (none, ended, line(fd), sys!(mq_notify, fd, &event(0, SIGALRM, 0)))
    })
    .ok("ended-by-close-of-any", || {
        let fd = queue(0);
        let copy = sys!(dup, fd);
        sys!(mq_notify, fd, &event(0, SIGUSR1, 0));
        sys!(close, copy);
        line(fd)
    })
    .ok("ended-by-exit", || {
        let fd = queue(0);
        let pid = child(|| sys!(mq_notify, fd, &event(0, SIGUSR1, 0)) as i32);
        (wait(pid), line(fd), sys!(mq_notify, fd, &event(0, SIGUSR1, 0)))
    })
    .err("EBADF", || {
        (sys!(mq_notify, 99, &event(0, SIGUSR1, 0)), sys!(mq_notify, pipe().0, 0), sys!(mq_notify, 99, &event(2, 98, pages(1))))
    })
    .err("EBUSY", || {
        let fd = queue(0);
        sys!(mq_notify, fd, &event(0, SIGUSR1, 0));
        let again = sys!(mq_notify, fd, &event(0, SIGUSR1, 0));
        let pid = child(|| -(sys!(mq_notify, fd, &event(1, 0, 0)) as i32) * i32::from(sys!(mq_notify, fd, 0) == 0));
        (again, wait(pid), line(fd))
    })
    .err("EINVAL", || {
        let fd = queue(0);
        (
            sys!(mq_notify, fd, &event(0, 65, 0)),
            sys!(mq_notify, fd, &event(3, 1, 0)),
            sys!(mq_notify, fd, &event(4, 1, 0)),
            sys!(mq_notify, 99, &event(0, -1, 0)),
        )
    })
    .err("ENOTSOCK", || sys!(mq_notify, queue(0), &event(2, pipe().0, pages(1))))
    .bad("event", || ([BAD, KERN, edge(63)].map(|p| sys!(mq_notify, 99, p)).to_vec(), sys!(mq_notify, queue(0), &event(2, 0, BAD))));
}
