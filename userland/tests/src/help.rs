//! What cases share: bad pointers, files, pipes, children, signals that come while a call waits.
use crate::sys;
use crate::sys::{Arg, Show, signal_name};
use libc::c_int;
use std::ffi::{CStr, CString};
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};

/// A pointer into the never-mapped first page.
pub const BAD: usize = 0x10;
/// A pointer into the kernel's half of the address space.
pub const KERN: usize = 0xffff_8000_0000_0000;
/// `AT_FDCWD`.
pub const CWD: i32 = libc::AT_FDCWD;
/// The page size.
pub const PAGE: usize = 4096;

/// Fresh pages, readable and writable, zero.
pub fn pages(count: usize) -> usize {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    sys!(mmap, 0, count * PAGE, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) as usize
}

/// A pointer to `n` bytes that are there, filled with `x`, before a page that is not.
pub fn edge(n: usize) -> usize {
    // Far from where mappings without an address go: the page behind stays unmapped.
    static NEXT: AtomicUsize = AtomicUsize::new(0x10_0000_0000);
    let at = NEXT.fetch_add(16 * PAGE, Ordering::Relaxed);
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
    let start = sys!(mmap, at, PAGE, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) as usize;
    fill(start, PAGE, b'x');
    start + PAGE - n
}

/// A pointer to a page that can be read only.
pub fn read_only() -> usize {
    let start = pages(1);
    sys!(mprotect, start, PAGE, libc::PROT_READ);
    start
}

/// A string that lies so close before an unmapped page that its NUL is missing.
pub fn endless() -> usize {
    let at = edge(8);
    fill(at, 8, b'a');
    at
}

/// Writes `count` bytes.
pub fn fill(at: usize, count: usize, byte: u8) {
    // SAFETY: callers pass memory that they have mapped.
    unsafe { core::ptr::write_bytes(at as *mut u8, byte, count) }
}

/// Reads one byte.
pub fn peek(at: usize) -> u8 {
    // SAFETY: callers pass memory that they have mapped.
    unsafe { (at as *const u8).read_volatile() }
}

/// A structure of zeros, as C programs begin.
pub fn zero<T>() -> T {
    // SAFETY: used for plain C structures of integers and pointers only.
    unsafe { core::mem::zeroed() }
}

/// The C string of some text.
pub fn c(text: &str) -> CString {
    CString::new(text).unwrap_or_default()
}

/// `openat` in the case's directory, mode 0644.
pub fn open(path: &CStr, flags: c_int) -> i32 {
    sys!(openat, CWD, path, flags, 0o644) as i32
}

/// Creates a file with this content.
pub fn file(path: &CStr, content: &str) {
    let fd = open(path, libc::O_CREAT | libc::O_TRUNC | libc::O_WRONLY);
    sys!(write, fd, content.as_ptr(), content.len());
    sys!(close, fd);
}

/// Creates a file and opens it for reading and writing at its start.
pub fn opened(path: &CStr, content: &str) -> i32 {
    file(path, content);
    open(path, libc::O_RDWR)
}

/// Creates a directory.
pub fn dir(path: &CStr) {
    sys!(mkdirat, CWD, path, 0o755);
}

/// The file's content.
pub fn content(path: &CStr) -> String {
    let fd = open(path, libc::O_RDONLY);
    if fd < 0 {
        return Show::show(fd as isize);
    }
    let mut buffer = [0u8; 256];
    let n = sys!(read, fd, &mut buffer, 256);
    sys!(close, fd);
    text(&buffer[..n.max(0) as usize])
}

/// Bytes as text.
pub fn text(bytes: &[u8]) -> String {
    bytes.iter().map(|b| if b.is_ascii_graphic() { char::from(*b) } else { '.' }).collect()
}

/// Bytes up to the first NUL as text.
pub fn ctext(bytes: &[u8]) -> String {
    text(bytes.split(|b| *b == 0).next().unwrap_or_default())
}

/// A pipe: (reading end, writing end).
pub fn pipe() -> (i32, i32) {
    pipe_with(0)
}

/// A pipe with flags.
pub fn pipe_with(flags: c_int) -> (i32, i32) {
    let mut fds = [-1i32; 2];
    sys!(pipe2, &mut fds, flags);
    (fds[0], fds[1])
}

/// A pipe that takes no more bytes.
pub fn full_pipe() -> (i32, i32) {
    let ends = pipe_with(libc::O_NONBLOCK);
    let page = [b'p'; PAGE];
    while sys!(write, ends.1, &page, PAGE) > 0 {}
    sys!(fcntl, ends.0, libc::F_SETFL, 0);
    sys!(fcntl, ends.1, libc::F_SETFL, 0);
    ends
}

/// Becomes an ordinary user: uid and gid 1000, no capabilities.
pub fn user() {
    sys!(setgroups, 0, 0);
    sys!(setresgid, 1000, 1000, 1000);
    sys!(setresuid, 1000, 1000, 1000);
}

/// As an ordinary user.
pub fn as_user<S>(f: impl FnOnce() -> S) -> S {
    user();
    f()
}

/// What an ordinary user gets: in a child, so that the caller stays who he is.
pub fn user_gets<S: Show>(f: impl FnOnce() -> S) -> String {
    let ends = pipe();
    let pid = child(|| {
        let text = as_user(f).show();
        sys!(write, ends.1, text.as_ptr(), text.len());
        0
    });
    let mut buffer = [0u8; 200];
    let n = sys!(read, ends.0, &mut buffer, 200);
    wait(pid);
    sys!(close, ends.0);
    sys!(close, ends.1);
    String::from_utf8_lossy(&buffer[..n.max(0) as usize]).into_owned()
}

/// Forks; the child runs `body` and ends with its status.
pub fn child(body: impl FnOnce() -> i32) -> i32 {
    let pid = sys!(clone, libc::SIGCHLD, 0, 0, 0, 0);
    if pid == 0 {
        let status = body();
        sys!(exit_group, status);
    }
    pid as i32
}

/// A child that shares its parent's descriptors, and does this while its parent waits in a call.
pub fn meanwhile(body: impl FnOnce()) -> i32 {
    let pid = sys!(clone, libc::SIGCHLD | libc::CLONE_FILES, 0, 0, 0, 0);
    if pid == 0 {
        sleep_ms(80);
        body();
        sys!(exit_group, 0);
    }
    pid as i32
}

/// A child that sleeps until it is killed.
pub fn sleeper() -> i32 {
    child(|| {
        loop {
            sleep_ms(1000);
        }
    })
}

/// Waits for a child: how it ended.
pub fn wait(pid: i32) -> String {
    let mut status = 0i32;
    let got = sys!(wait4, pid, &mut status, 0, 0);
    if got < 0 { got.show() } else { ending(status) }
}

/// A child that does this and is waited for.
pub fn in_child(body: impl FnOnce() -> i32) -> String {
    wait(child(body))
}

/// Kills and reaps a child.
pub fn end(pid: i32) {
    sys!(kill, pid, libc::SIGKILL);
    sys!(wait4, pid, 0, 0, 0);
}

/// A status word in words.
pub fn ending(status: i32) -> String {
    if libc::WIFEXITED(status) {
        format!("exited {}", libc::WEXITSTATUS(status))
    } else if libc::WIFSIGNALED(status) {
        format!("killed {}", signal_name(libc::WTERMSIG(status)))
    } else if libc::WIFSTOPPED(status) {
        format!("stopped {}", signal_name(libc::WSTOPSIG(status)))
    } else if status == 0xffff {
        "continued".to_string()
    } else {
        format!("status {status:#x}")
    }
}

/// A time in milliseconds.
pub fn ms(ms: i64) -> libc::timespec {
    libc::timespec { tv_sec: ms / 1000, tv_nsec: ms % 1000 * 1_000_000 }
}

/// Sleeps.
pub fn sleep_ms(duration: i64) {
    let time = ms(duration);
    sys!(nanosleep, &time, 0);
}

/// The monotonic clock in milliseconds.
pub fn now_ms() -> i64 {
    let mut t = ms(0);
    sys!(clock_gettime, libc::CLOCK_MONOTONIC, &mut t);
    t.tv_sec * 1000 + t.tv_nsec / 1_000_000
}

/// The kernel's `struct sigaction`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct SigAction {
    /// Handler, or SIG_DFL (0), SIG_IGN (1).
    pub handler: usize,
    /// SA_ flags.
    pub flags: u64,
    /// SA_RESTORER's address; 0 with the vDSO's.
    pub restorer: usize,
    /// Signals blocked while the handler runs.
    pub mask: u64,
}

/// How often [`count`] ran.
pub static CAUGHT: AtomicI32 = AtomicI32::new(0);
/// The last signal that [`count`] saw.
pub static LAST: AtomicI32 = AtomicI32::new(0);
static ACTION: AtomicUsize = AtomicUsize::new(0);

/// A handler that counts.
pub extern "C" fn count(signal: c_int) {
    CAUGHT.fetch_add(1, Ordering::Relaxed);
    LAST.store(signal, Ordering::Relaxed);
    let action = ACTION.load(Ordering::Relaxed);
    if action != 0 {
        // SAFETY: only `restarted` stores a non-zero value, a `fn()`.
        let action: fn() = unsafe { core::mem::transmute::<usize, fn()>(action) };
        action();
    }
}

/// How many signals were caught so far.
pub fn caught() -> i32 {
    CAUGHT.load(Ordering::Relaxed)
}

/// Installs a handler that counts.
pub fn handle(signal: c_int, flags: c_int) {
    let action = SigAction { handler: count as *const () as usize, flags: flags as u64, ..SigAction::default() };
    sys!(rt_sigaction, signal, &action, 0, 8);
}

/// SIGALRM after 30 ms and every 30 ms from then on.
pub fn alarm() {
    let tick = libc::timeval { tv_sec: 0, tv_usec: 30_000 };
    let timer = libc::itimerval { it_interval: tick, it_value: tick };
    sys!(setitimer, libc::ITIMER_REAL, &timer, 0);
}

/// Ends [`alarm`].
pub fn no_alarm() {
    let timer: libc::itimerval = zero();
    sys!(setitimer, libc::ITIMER_REAL, &timer, 0);
}

/// Runs a call that waits, while SIGALRM comes with a handler without SA_RESTART.
pub fn interrupted<S>(f: impl FnOnce() -> S) -> S {
    handle(libc::SIGALRM, 0);
    alarm();
    let result = f();
    no_alarm();
    result
}

/// Runs a call that waits, while SIGALRM comes with SA_RESTART; the handler does what the call waits for.
pub fn restarted<S>(action: fn(), f: impl FnOnce() -> S) -> S {
    ACTION.store(action as usize, Ordering::Relaxed);
    handle(libc::SIGALRM, libc::SA_RESTART);
    alarm();
    let result = f();
    no_alarm();
    result
}

/// Descriptors, by number, for actions of handlers, which take no arguments.
pub static FD: AtomicI32 = AtomicI32::new(-1);

/// Writes one byte to [`FD`].
pub fn write_fd() {
    sys!(write, FD.load(Ordering::Relaxed), c"r", 1);
}

/// A mask with one signal.
pub fn mask(signals: &[c_int]) -> u64 {
    signals.iter().fold(0, |m, s| m | 1 << (s - 1))
}

/// Blocks signals.
pub fn block(signals: &[c_int]) {
    sys!(rt_sigprocmask, libc::SIG_BLOCK, &mask(signals), 0, 8);
}

/// Type, permissions, links and size.
pub fn stat_text(path: &CStr) -> String {
    let mut s: libc::stat = zero();
    let result = sys!(newfstatat, CWD, path, &mut s, libc::AT_SYMLINK_NOFOLLOW);
    if result < 0 { result.show() } else { format!("{:o} links {} size {}", s.st_mode, s.st_nlink, s.st_size) }
}

/// An argument that is the address of the first of these.
pub fn ptr<T>(slice: &[T]) -> usize {
    slice.as_ptr().arg()
}

/// A path of so many bytes without a slash.
pub fn long_name(length: usize) -> CString {
    c(&"n".repeat(length))
}
