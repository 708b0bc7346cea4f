//! Entry point and the arm64 system calls that init needs, without any library: init must run on a kernel that can do little.
use core::arch::{asm, global_asm};

/// `fcntl.h`, `sys/mount.h`, `sys/reboot.h`, `asm/ioctls.h`, `signal.h`: arm64's values.
pub mod number {
    /// Open for reading only.
    pub const O_RDONLY: usize = 0;
    /// Open for writing only.
    pub const O_WRONLY: usize = 1;
    /// Open for both.
    pub const O_RDWR: usize = 2;
    /// Do not become the controlling terminal's session.
    pub const O_NOCTTY: usize = 0o400;
    /// Close at exec.
    pub const O_CLOEXEC: usize = 0o2_000_000;
    /// Relative paths start at the working directory.
    pub const AT_FDCWD: isize = -100;
    /// The ioctl that makes a terminal the session's.
    pub const TIOCSCTTY: usize = 0x540e;
    /// Reads a terminal's settings.
    pub const TCGETS: usize = 0x5401;
    /// Sets them.
    pub const TCSETS: usize = 0x5402;
    /// Sends a break; with 1 it waits until all is sent.
    pub const TCSBRK: usize = 0x5409;
    /// The signal number of SIGKILL, and of SIGCHLD as clone's exit signal.
    pub const SIGKILL: usize = 9;
    /// The exit signal that wait4 waits for by default.
    pub const SIGCHLD: usize = 17;
    /// `reboot`: the two magic words.
    pub const REBOOT_MAGIC: [usize; 2] = [0xfee1_dead, 672_274_793];
    /// `reboot`: switch the machine off.
    pub const REBOOT_POWER_OFF: usize = 0x4321_fedc;
    /// The file does not exist.
    pub const ENOENT: isize = -2;
    /// An interrupted call.
    pub const EINTR: isize = -4;
    /// The device behind the node is not there.
    pub const ENXIO: isize = -6;
    /// The file may not be executed.
    pub const EACCES: isize = -13;
}
use number::AT_FDCWD;

global_asm!(
    // The kernel enters with argc, argv, envp and auxv on the stack; x29 and x30 end the chain of frames.
    ".globl _start",
    "_start:",
    "mov x29, #0",
    "mov x30, #0",
    "mov x0, sp",
    "and sp, x0, #-16",
    "bl {main}",
    "brk #1",
    main = sym crate::main,
);

/// One system call; the result is the kernel's: negative is -errno.
fn syscall(n: usize, a: [usize; 6]) -> isize {
    let result: isize;
    // SAFETY: the kernel keeps every register but x0. Callers pass pointers to live, NUL-terminated or
    // length-described memory of the right kind, as each wrapper below shows.
    unsafe {
        asm!("svc #0", in("x8") n, inlateout("x0") a[0] => result, in("x1") a[1], in("x2") a[2], in("x3") a[3], in("x4") a[4], in("x5") a[5], options(nostack));
    }
    result
}

fn text(path: &[u8]) -> usize {
    // A path without its NUL would let the kernel read on: an empty one fails with ENOENT instead.
    let path = if path.last() == Some(&0) { path } else { b"\0" };
    path.as_ptr() as usize
}

/// `openat(AT_FDCWD, path, flags)`; the path ends with NUL.
pub fn open(path: &[u8], flags: usize) -> isize {
    syscall(56, [AT_FDCWD as usize, text(path), flags, 0, 0, 0])
}

/// `close`.
pub fn close(fd: isize) {
    syscall(57, [fd as usize, 0, 0, 0, 0, 0]);
}

/// `read`, again when interrupted.
pub fn read(fd: isize, buffer: &mut [u8]) -> isize {
    loop {
        let n = syscall(63, [fd as usize, buffer.as_mut_ptr() as usize, buffer.len(), 0, 0, 0]);
        if n != number::EINTR {
            return n;
        }
    }
}

/// Writes all bytes; false on an error.
pub fn write_all(fd: isize, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        let n = syscall(64, [fd as usize, bytes.as_ptr() as usize, bytes.len(), 0, 0, 0]);
        match usize::try_from(n) {
            Ok(n) => bytes = bytes.get(n..).unwrap_or(&[]),
            Err(_) if n == number::EINTR => {}
            Err(_) => return false,
        }
    }
    true
}

/// `dup3(from, to, 0)`.
pub fn dup2(from: isize, to: isize) {
    syscall(24, [from as usize, to as usize, 0, 0, 0, 0]);
}

/// `ioctl` with an integer argument.
pub fn ioctl(fd: isize, request: usize, argument: usize) -> isize {
    syscall(29, [fd as usize, request, argument, 0, 0, 0])
}

/// `mkdirat`, mode 0755.
pub fn mkdir(path: &[u8]) {
    syscall(34, [AT_FDCWD as usize, text(path), 0o755, 0, 0, 0]);
}

/// `mount` of a file system without a device.
pub fn mount(kind: &[u8], on: &[u8], options: &[u8]) -> isize {
    mkdir(on);
    syscall(40, [text(kind), text(on), text(kind), 0, text(options), 0])
}

/// `symlinkat`.
pub fn symlink(to: &[u8], path: &[u8]) {
    syscall(36, [text(to), AT_FDCWD as usize, text(path), 0, 0, 0]);
}

/// `chdir`.
pub fn chdir(path: &[u8]) -> isize {
    syscall(49, [text(path), 0, 0, 0, 0, 0])
}

/// `finit_module` without parameters.
pub fn load_module(fd: isize) -> isize {
    syscall(273, [fd as usize, c"".as_ptr() as usize, 0, 0, 0, 0])
}

/// `fork`, by `clone(SIGCHLD)`.
pub fn fork() -> isize {
    syscall(220, [number::SIGCHLD, 0, 0, 0, 0, 0])
}

/// `setsid`.
pub fn setsid() -> isize {
    syscall(157, [0; 6])
}

/// `execve`; returns only with an error. `argv` and `envp` are arrays of pointers that end with a null pointer.
pub fn exec(path: &[u8], argv: &[*const u8], envp: &[*const u8]) -> isize {
    syscall(221, [text(path), argv.as_ptr() as usize, envp.as_ptr() as usize, 0, 0, 0])
}

/// `exit_group`.
pub fn exit(status: u8) -> ! {
    loop {
        syscall(94, [status as usize, 0, 0, 0, 0, 0]);
    }
}

/// `wait4(-1)`: the pid and the status word of a child that ended.
pub fn wait() -> (isize, u32) {
    let mut status = 0u32;
    loop {
        let pid = syscall(260, [usize::MAX, &raw mut status as usize, 0, 0, 0, 0]);
        if pid != number::EINTR {
            return (pid, status);
        }
    }
}

/// `kill`; a negative pid means a process group.
pub fn kill(pid: isize, signal: usize) -> isize {
    syscall(129, [pid as usize, signal, 0, 0, 0, 0])
}

/// `nanosleep` for less than a second.
pub fn sleep_ms(ms: u32) {
    let time = [0u64, u64::from(ms) * 1_000_000];
    syscall(101, [time.as_ptr() as usize, 0, 0, 0, 0, 0]);
}

/// `sync`, then `reboot(POWER_OFF)`; should that fail, PID 1 ends.
pub fn power_off(status: u8) -> ! {
    syscall(81, [0; 6]);
    syscall(142, [number::REBOOT_MAGIC[0], number::REBOOT_MAGIC[1], number::REBOOT_POWER_OFF, 0, 0, 0]);
    exit(status)
}

/// Ends QEMU with this exit status: semihosting SYS_EXIT_EXTENDED, reason ADP_Stopped_ApplicationExit
/// (Arm "Semihosting for AArch32 and AArch64", 7.10). Only where QEMU allows it to user space; elsewhere an illegal instruction.
pub fn semihosting_exit(status: u8) -> ! {
    let block = [0x20026u64, u64::from(status)];
    // SAFETY: `hlt #0xf000` with x0 = 0x20 reads the two words at x1 and ends the emulation.
    unsafe {
        asm!("hlt #0xf000", in("x0") 0x20, in("x1") block.as_ptr(), options(nostack));
    }
    exit(status)
}
