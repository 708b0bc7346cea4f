//! The operations of core-bench.
use crate::os::{Pipe, now_ns, ok, read_byte, wait_for, write_byte};
use crate::{Op, time};
use core::ffi::{c_char, c_int, c_void};
use core::ptr::{null, null_mut};
use core::sync::atomic::{AtomicU32, Ordering};

/// All operations, in the order in which they run.
pub const ALL: &[Op] = &[
    Op { name: "getppid", count: 20_000, run: getppid },
    Op { name: "clock_gettime", count: 20_000, run: clock_gettime },
    Op { name: "read_zero", count: 10_000, run: read_zero },
    Op { name: "stat", count: 5_000, run: stat },
    Op { name: "open_close", count: 2_000, run: open_close },
    Op { name: "signal", count: 2_000, run: signal },
    Op { name: "pipe_self", count: 5_000, run: pipe_self },
    Op { name: "pipe_round_trip", count: 1_000, run: pipe_round_trip },
    Op { name: "fork_exit_wait", count: 50, run: fork_exit_wait },
    Op { name: "fork_exec_wait", count: 50, run: fork_exec_wait },
    Op { name: "thread", count: 200, run: thread },
    Op { name: "touch_1MiB", count: 20, run: touch },
    Op { name: "poll", count: 10_000, run: poll },
    Op { name: "futex_wake", count: 20_000, run: futex_wake },
    Op { name: "nanosleep_over", count: 200, run: nanosleep_over },
];

fn getppid(count: u32) -> Result<u64, &'static str> {
    // SAFETY: takes no arguments.
    Ok(time(count, || unsafe {
        libc::syscall(libc::SYS_getppid);
    }))
}

fn clock_gettime(count: u32) -> Result<u64, &'static str> {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // By system call, not through the vDSO.
    // SAFETY: the structure lives through the loop.
    Ok(time(count, || unsafe {
        libc::syscall(libc::SYS_clock_gettime, libc::CLOCK_MONOTONIC, &raw mut t);
    }))
}

fn read_zero(count: u32) -> Result<u64, &'static str> {
    // SAFETY: a path with its NUL.
    let fd = ok(unsafe { libc::open(c"/dev/zero".as_ptr(), libc::O_RDONLY) }, "open /dev/zero")?;
    let mut good = true;
    let ns = time(count, || good &= read_byte(fd));
    // SAFETY: ours.
    unsafe { libc::close(fd) };
    if good { Ok(ns) } else { Err("read") }
}

fn stat(count: u32) -> Result<u64, &'static str> {
    // SAFETY: all-zero is a stat structure; it and the path live through the loop.
    let mut buffer: libc::stat = unsafe { core::mem::zeroed() };
    let mut good = true;
    // SAFETY: as above.
    let ns = time(count, || good &= unsafe { libc::stat(c"/".as_ptr(), &raw mut buffer) } == 0);
    if good { Ok(ns) } else { Err("stat /") }
}

fn open_close(count: u32) -> Result<u64, &'static str> {
    let mut good = true;
    let ns = time(count, || {
        // SAFETY: a path with its NUL; the descriptor is ours.
        unsafe {
            let fd = libc::open(c"/etc/passwd".as_ptr(), libc::O_RDONLY);
            good &= fd >= 0 && libc::close(fd) == 0;
        }
    });
    if good { Ok(ns) } else { Err("open /etc/passwd") }
}

static CAUGHT: AtomicU32 = AtomicU32::new(0);

extern "C" fn catch(_: c_int) {
    CAUGHT.fetch_add(1, Ordering::Relaxed);
}

fn signal(count: u32) -> Result<u64, &'static str> {
    // SAFETY: all-zero is a sigaction structure; the handler does nothing but an atomic addition.
    unsafe {
        let mut action: libc::sigaction = core::mem::zeroed();
        action.sa_sigaction = catch as *const () as usize;
        ok(libc::sigaction(libc::SIGUSR1, &raw const action, null_mut()), "sigaction")?;
    }
    // SAFETY: takes no pointers.
    let pid = unsafe { libc::getpid() };
    CAUGHT.store(0, Ordering::Relaxed);
    // SAFETY: takes no pointers.
    let ns = time(count, || unsafe {
        libc::kill(pid, libc::SIGUSR1);
    });
    if CAUGHT.load(Ordering::Relaxed) == count { Ok(ns) } else { Err("a signal was lost") }
}

fn pipe_self(count: u32) -> Result<u64, &'static str> {
    let pipe = Pipe::new()?;
    let mut good = true;
    let ns = time(count, || good &= write_byte(pipe.1) && read_byte(pipe.0));
    if good { Ok(ns) } else { Err("pipe") }
}

fn pipe_round_trip(count: u32) -> Result<u64, &'static str> {
    let (there, back) = (Pipe::new()?, Pipe::new()?);
    // SAFETY: the child only reads and writes its pipes and leaves by _exit.
    let child = ok(unsafe { libc::fork() }, "fork")?;
    if child == 0 {
        // One more than is timed: the first round trip waits for the child's start.
        for _ in 0..=count {
            if !(read_byte(there.0) && write_byte(back.1)) {
                break;
            }
        }
        // SAFETY: ends the child.
        unsafe { libc::_exit(0) };
    }
    let mut good = write_byte(there.1) && read_byte(back.0);
    let ns = time(count, || good &= write_byte(there.1) && read_byte(back.0));
    if good & wait_for(child) { Ok(ns) } else { Err("a pipe between two processes") }
}

fn fork_exit_wait(count: u32) -> Result<u64, &'static str> {
    let mut good = true;
    let ns = time(count, || {
        // SAFETY: the child leaves at once.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // SAFETY: ends the child.
            unsafe { libc::_exit(0) };
        }
        good &= child > 0 && wait_for(child);
    });
    if good { Ok(ns) } else { Err("fork or wait") }
}

fn fork_exec_wait(count: u32) -> Result<u64, &'static str> {
    // The path that this process was executed by: the kernel puts it above the stack.
    // SAFETY: takes and gives an integer; AT_EXECFN is a pointer to a string that lives as long as the process.
    let own = unsafe { libc::getauxval(libc::AT_EXECFN) } as *const c_char;
    if own.is_null() {
        return Err("no AT_EXECFN");
    }
    let argv = [own, c"--exit".as_ptr(), null()];
    let envp = [null()];
    let mut good = true;
    let ns = time(count, || {
        // SAFETY: the child calls nothing but execve and _exit; the arrays end with null pointers.
        unsafe {
            let child = libc::fork();
            if child == 0 {
                libc::execve(own, argv.as_ptr(), envp.as_ptr());
                libc::_exit(127);
            }
            good &= child > 0 && wait_for(child);
        }
    });
    if good { Ok(ns) } else { Err("fork, exec or wait") }
}

extern "C" fn nothing(_: *mut c_void) -> *mut c_void {
    null_mut()
}

fn thread(count: u32) -> Result<u64, &'static str> {
    let mut good = true;
    let ns = time(count, || {
        let mut id: libc::pthread_t = 0;
        // SAFETY: the thread touches nothing and is joined at once.
        unsafe {
            good &= libc::pthread_create(&raw mut id, null(), nothing, null_mut()) == 0 && libc::pthread_join(id, null_mut()) == 0;
        }
    });
    if good { Ok(ns) } else { Err("pthread_create or pthread_join") }
}

fn touch(count: u32) -> Result<u64, &'static str> {
    const SIZE: usize = 1 << 20;
    let mut good = true;
    let ns = time(count, || {
        // SAFETY: a fresh mapping, written within its bounds, then unmapped.
        unsafe {
            let memory = libc::mmap(null_mut(), SIZE, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0);
            if memory == libc::MAP_FAILED {
                good = false;
                return;
            }
            for page in (0..SIZE).step_by(4096) {
                memory.cast::<u8>().add(page).write_volatile(1);
            }
            good &= libc::munmap(memory, SIZE) == 0;
        }
    });
    if good { Ok(ns) } else { Err("mmap or munmap") }
}

fn poll(count: u32) -> Result<u64, &'static str> {
    let pipe = Pipe::new()?;
    let mut entry = libc::pollfd { fd: pipe.1, events: libc::POLLOUT, revents: 0 };
    let mut good = true;
    // SAFETY: one entry, which lives through the loop.
    let ns = time(count, || good &= unsafe { libc::poll(&raw mut entry, 1, 0) } == 1);
    if good { Ok(ns) } else { Err("poll") }
}

fn futex_wake(count: u32) -> Result<u64, &'static str> {
    let word = 0u32;
    let mut good = true;
    let wake = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
    // SAFETY: the word lives through the loop.
    let ns = time(count, || good &= unsafe { libc::syscall(libc::SYS_futex, &raw const word, wake, 1) } == 0);
    if good { Ok(ns) } else { Err("futex") }
}

/// How much longer than 100 µs a sleep of 100 µs takes.
fn nanosleep_over(count: u32) -> Result<u64, &'static str> {
    const SLEEP: i64 = 100_000;
    let request = libc::timespec { tv_sec: 0, tv_nsec: SLEEP };
    let (mut good, mut over) = (true, 0);
    for _ in 0..count {
        let start = now_ns();
        // SAFETY: the request lives through the call.
        good &= unsafe { libc::nanosleep(&raw const request, null_mut()) } == 0;
        let slept = now_ns() - start;
        good &= slept + 32 >= SLEEP as u64;
        over += slept.saturating_sub(SLEEP as u64);
    }
    if good { Ok(over) } else { Err("nanosleep failed or was too short") }
}
