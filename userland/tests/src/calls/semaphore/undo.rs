//! What SEM_UNDO takes back.
use super::*;

pub(super) fn undoes(a: &mut Calls) {
    a.ok("undo-at-exit", || {
        let set = Set::of(&[5, 5]);
        let pid = child(|| (set.op(&[(0, -3, UNDO), (1, 2, UNDO)]) + set.op(&[(0, -1, UNDO), (1, -1, 0)])) as i32);
        (wait(pid), set.values(), set.ask(0, GETPID) == pid as isize)
    })
    .ok("undo-when-killed", || {
        let set = Set::of(&[1]);
        let pid = child(|| {
            set.op(&[(0, -1, UNDO)]);
            loop {
                sleep_ms(1000);
            }
        });
        sleep_ms(60);
        let held = set.values();
        end(pid);
        (held, set.values())
    })
    .ok("undo-lets-go", || {
        let set = Set::of(&[1]);
        let pid = child(|| {
            set.op(&[(0, -1, UNDO)]);
            sleep_ms(60);
            0
        });
        sleep_ms(30);
        (set.op(&[(0, -1, 0)]), wait(pid), set.values())
    })
    .ok("undo-stops-at-the-ends", || {
        let set = Set::of(&[5, 5]);
        let pid = child(|| {
            set.op(&[(0, 4, UNDO), (1, -4, UNDO)]);
            set.op(&[(0, -9, 0), (1, 32766, 0)]);
            0
        });
        (wait(pid), set.values())
    })
    .ok("undo-forgotten-by-set", || {
        let set = Set::of(&[5, 5, 5]);
        let pid = child(|| {
            set.op(&[(0, -1, UNDO), (1, -1, UNDO), (2, -1, UNDO)]);
            set.set(1, 9);
            0
        });
        let first = (wait(pid), set.values());
        let pid = child(|| {
            set.op(&[(0, -1, UNDO)]);
            sys!(semctl, set.0, 0, SETALL, &[7u16, 7, 7]) as i32
        });
        (first, wait(pid), set.values())
    })
    .ok("undo-not-inherited", || {
        let set = Set::of(&[5]);
        let pid = child(|| {
            set.op(&[(0, -1, UNDO)]);
            wait(child(|| 0));
            sys!(semctl, set.0, 0, GETVAL, 0) as i32
        });
        (wait(pid), set.values())
    })
    .ok("undo-of-one-that-waited", || {
        let set = Set::of(&[0]);
        let pid = child(|| set.op(&[(0, -2, UNDO)]) as i32);
        sleep_ms(60);
        set.op(&[(0, 3, 0)]);
        (wait(pid), set.values())
    })
    .ok("undo-shared-by-clone", || {
        let set = Set::of(&[5]);
        let holder = child(|| {
            let pid = sys!(clone, libc::SIGCHLD | libc::CLONE_SYSVSEM, 0, 0, 0, 0);
            if pid == 0 {
                set.op(&[(0, -1, UNDO)]);
                sys!(exit_group, 0);
            }
            wait(pid as i32);
            // It is this process's as well.
            set.ask(0, GETVAL) as i32
        });
        (wait(holder), set.values())
    })
    .ok("undo-of-a-set-that-goes", || {
        let pid = child(|| {
            for _ in 0..5 {
                let set = Set::of(&[5]);
                set.op(&[(0, -1, UNDO)]);
            }
            0
        });
        wait(pid)
    });
}
