//! Init: mounts what programs expect, then gives a shell on the console, or runs the one program that `cargo xtask run -- …`
//! packed, with its streams on virtio-console ports, and ends QEMU with the program's exit status.
//!
//! What to do is in `/.vigil` (see `xtask/src/initramfs.rs`): `argv` and `env` NUL-separated, `path`, `cwd`, `modules` (one path a line), `uart` (the
//! serial port for all output, on a board without virtio), and the empty marks `tty` (streams are the console) and `semihosting` (QEMU ends on request). Without `argv` it is a shell.
#![no_std]
#![no_main]

mod sys;

use sys::number::*;

/// Environment of the shell.
const SHELL_ENV: &[u8] = b"HOME=/root\0PATH=/bin:/sbin:/usr/bin:/usr/sbin\0TERM=linux\0USER=root\0SHELL=/bin/sh\0ENV=/etc/shrc\0";

/// A file's contents in static memory, NUL-terminated.
struct File<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

impl<const N: usize> File<N> {
    /// Reads a file; none when it is missing or does not fit.
    fn read(path: &[u8]) -> Option<File<N>> {
        let fd = sys::open(path, O_RDONLY | O_CLOEXEC);
        if fd < 0 {
            return None;
        }
        let mut file = File { bytes: [0; N], length: 0 };
        let complete = loop {
            let room = file.bytes.get_mut(file.length..N - 1).unwrap_or(&mut []);
            if room.is_empty() {
                break false;
            }
            match usize::try_from(sys::read(fd, room)) {
                Ok(0) => break true,
                Ok(n) => file.length += n,
                Err(_) => break false,
            }
        };
        sys::close(fd);
        complete.then_some(file)
    }

    /// The contents with a NUL behind them.
    fn with_nul(&self) -> &[u8] {
        &self.bytes[..=self.length]
    }
}

/// Splits NUL-separated strings into the pointer array that execve takes; false when there are too many.
fn pointers(strings: &[u8], into: &mut [*const u8]) -> bool {
    let mut count = 0;
    let mut start = 0;
    for (i, byte) in strings.iter().enumerate() {
        if *byte == 0 {
            if count + 1 >= into.len() {
                return false;
            }
            into[count] = strings[start..].as_ptr();
            count += 1;
            start = i + 1;
        }
    }
    into[count] = core::ptr::null();
    true
}

fn exists(path: &[u8]) -> bool {
    let fd = sys::open(path, O_RDONLY | O_CLOEXEC);
    if fd >= 0 {
        sys::close(fd);
    }
    fd >= 0
}

fn complain(what: &str) {
    sys::write_all(2, b"init: ");
    sys::write_all(2, what.as_bytes());
    sys::write_all(2, b"\n");
}

/// Entry from `_start`.
pub extern "C" fn main() -> ! {
    sys::mount(b"devtmpfs\0", b"/dev\0", b"mode=0755\0");
    sys::mount(b"proc\0", b"/proc\0", b"\0");
    sys::mount(b"sysfs\0", b"/sys\0", b"\0");
    sys::mount(b"devpts\0", b"/dev/pts\0", b"gid=5,mode=620,ptmxmode=666\0");
    sys::mount(b"tmpfs\0", b"/dev/shm\0", b"mode=1777\0");
    sys::mount(b"tmpfs\0", b"/tmp\0", b"mode=1777\0");
    sys::mount(b"tmpfs\0", b"/run\0", b"mode=0755\0");
    sys::symlink(b"/proc/self/fd\0", b"/dev/fd\0");
    sys::symlink(b"/proc/self/fd/0\0", b"/dev/stdin\0");
    sys::symlink(b"/proc/self/fd/1\0", b"/dev/stdout\0");
    sys::symlink(b"/proc/self/fd/2\0", b"/dev/stderr\0");
    load_modules();
    if exists(b"/.vigil/argv\0") { program() } else { shell() }
}

/// Loads Linux's modules in the listed order. A kernel that needs none is packed without the list.
fn load_modules() {
    let Some(list) = File::<2048>::read(b"/.vigil/modules\0") else { return };
    for line in list.bytes[..list.length].split(|b| *b == b'\n').filter(|l| !l.is_empty()) {
        let mut path = [0u8; 256];
        let Some(room) = path.get_mut(..line.len()) else { continue };
        room.copy_from_slice(line);
        let fd = sys::open(&path, O_RDONLY | O_CLOEXEC);
        if fd < 0 || sys::load_module(fd) < 0 {
            complain("a kernel module could not be loaded");
        }
        sys::close(fd);
    }
}

/// Opens the console's terminal: the last `console=` of the command line, else /dev/console.
fn open_console() -> isize {
    let mut path = [0u8; 64];
    path[..5].copy_from_slice(b"/dev/");
    if let Some(line) = File::<4096>::read(b"/proc/cmdline\0") {
        let words = line.bytes[..line.length].split(|b| b.is_ascii_whitespace());
        if let Some(word) = words.filter_map(|w| w.strip_prefix(b"console=")).next_back() {
            let name = word.split(|b| *b == b',').next().unwrap_or(b"");
            if let Some(room) = path[..63].get_mut(5..5 + name.len()) {
                room.copy_from_slice(name);
                let fd = sys::open(&path, O_RDWR | O_NOCTTY);
                if fd >= 0 {
                    return fd;
                }
            }
        }
    }
    let fd = sys::open(b"/dev/ttyAMA0\0", O_RDWR | O_NOCTTY);
    if fd >= 0 { fd } else { sys::open(b"/dev/console\0", O_RDWR | O_NOCTTY) }
}

/// In a child: a new session with the console as its terminal and as standard streams.
fn take_console() {
    sys::setsid();
    let fd = open_console();
    if fd < 0 {
        return;
    }
    sys::ioctl(fd, TIOCSCTTY, 0);
    for stream in 0..3 {
        if fd != stream {
            sys::dup2(fd, stream);
        }
    }
    if fd > 2 {
        sys::close(fd);
    }
}

/// Reaps children until this one ends; gives its status word.
fn wait_for(child: isize) -> u32 {
    loop {
        let (pid, status) = sys::wait();
        if pid == child || pid < 0 {
            return status;
        }
    }
}

/// A shell with job control on the console; when it ends the machine is switched off.
fn shell() -> ! {
    let child = sys::fork();
    if child == 0 {
        take_console();
        sys::chdir(b"/\0");
        let mut env = [core::ptr::null(); 16];
        pointers(SHELL_ENV, &mut env);
        sys::exec(b"/bin/sh\0", &[c"-sh".as_ptr().cast(), core::ptr::null()], &env);
        complain("cannot execute /bin/sh");
        sys::exit(127)
    }
    if child < 0 {
        complain("cannot fork");
    } else {
        wait_for(child);
    }
    sys::power_off(0)
}

/// Opens a virtio-console port; the ports appear a moment after the driver starts, their nodes (ENXIO) a moment before they can be opened.
fn open_port(path: &[u8], flags: usize) -> isize {
    for _ in 0..5000 {
        let fd = sys::open(path, flags | O_NOCTTY | O_CLOEXEC);
        if fd != ENOENT && fd != ENXIO {
            return fd;
        }
        sys::sleep_ms(1);
    }
    ENOENT
}

/// Opens a serial port and makes it pass bytes on as they are.
fn open_raw(path: &[u8]) -> isize {
    let fd = sys::open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
    // struct termios: input, output, control and local modes, 4 bytes each, and 20 bytes of characters.
    let mut termios = [0u32; 9];
    if sys::ioctl(fd, TCGETS, termios.as_mut_ptr() as usize) == 0 {
        (termios[0], termios[1], termios[3]) = (0, 0, 0);
        sys::ioctl(fd, TCSETS, termios.as_ptr() as usize);
    }
    fd
}

/// Runs the packed program and ends QEMU with its status.
fn program() -> ! {
    let semihosting = exists(b"/.vigil/semihosting\0");
    let tty = exists(b"/.vigil/tty\0");
    let uart = File::<64>::read(b"/.vigil/uart\0").map(|path| open_raw(path.with_nul()));
    let control = if uart.is_some() { -1 } else { open_port(b"/dev/vport0p4\0", O_RDWR) };
    let streams = if let Some(uart) = uart {
        [sys::open(b"/dev/null\0", O_RDONLY | O_CLOEXEC), uart, uart]
    } else if tty {
        [-1; 3]
    } else {
        [open_port(b"/dev/vport0p1\0", O_RDONLY), open_port(b"/dev/vport0p2\0", O_WRONLY), open_port(b"/dev/vport0p3\0", O_WRONLY)]
    };
    if !tty && streams.iter().any(|fd| *fd < 0) {
        complain("the ports for the program's streams are missing");
    }
    let child = sys::fork();
    if child == 0 {
        if tty {
            take_console();
        } else {
            sys::setsid();
            for (to, fd) in streams.iter().enumerate() {
                sys::dup2(*fd, to as isize);
            }
        }
        execute()
    }
    if child < 0 {
        complain("cannot fork");
        finish(semihosting, 125);
    }
    let helper = sys::fork();
    if helper == 0 {
        forward_signals(control, child)
    }
    let status = wait_for(child);
    if helper > 0 {
        sys::kill(helper, SIGKILL);
        wait_for(helper);
    }
    let code = if status & 0x7f == 0 { (status >> 8) as u8 } else { 128 + (status & 0x7f) as u8 };
    report(control, &streams, code);
    finish(semihosting, code)
}

/// In the child: executes the program; a shell's statuses when that fails.
fn execute() -> ! {
    let files = (File::<65536>::read(b"/.vigil/argv\0"), File::<16384>::read(b"/.vigil/env\0"), File::<4096>::read(b"/.vigil/path\0"));
    let (Some(argv), Some(env), Some(path)) = files else {
        complain("the arguments are missing or too long");
        sys::exit(126)
    };
    if let Some(cwd) = File::<4096>::read(b"/.vigil/cwd\0") {
        sys::chdir(cwd.with_nul());
    }
    let (mut argv_pointers, mut env_pointers) = ([core::ptr::null(); 4096], [core::ptr::null(); 512]);
    if !pointers(&argv.bytes[..argv.length], &mut argv_pointers) || !pointers(&env.bytes[..env.length], &mut env_pointers) {
        complain("too many arguments");
        sys::exit(126)
    }
    let error = sys::exec(path.with_nul(), &argv_pointers, &env_pointers);
    let (what, status): (&[u8], u8) = match error {
        ENOENT => (b": the program or its interpreter is not there\n", 127),
        EACCES => (b": permission denied\n", 126),
        _ => (b": cannot be executed\n", 126),
    };
    sys::write_all(2, &path.bytes[..path.length]);
    sys::write_all(2, what);
    sys::exit(status)
}

/// In the helper: bytes on the control port are signal numbers for the program's process group.
fn forward_signals(control: isize, child: isize) -> ! {
    let mut signal = [0u8];
    while control >= 0 && sys::read(control, &mut signal) == 1 {
        if sys::kill(-child, usize::from(signal[0])) < 0 {
            sys::kill(child, usize::from(signal[0]));
        }
    }
    sys::exit(0)
}

/// Tells the host the status, marks the end of both output streams with the nonce, and waits until the host has seen it all.
fn report(control: isize, streams: &[isize; 3], code: u8) {
    let Some(nonce) = File::<128>::read(b"/.vigil/nonce\0") else { return };
    let (stdout, stderr) = (streams[1], streams[2]);
    for fd in [stdout, if stderr == stdout { -1 } else { stderr }] {
        if fd >= 0 {
            sys::write_all(fd, &nonce.bytes[..nonce.length]);
        }
    }
    if stdout >= 0 && stdout == stderr {
        // A serial port still has it: TCSBRK with 1 is tcdrain.
        sys::ioctl(stdout, TCSBRK, 1);
    }
    if control >= 0 && sys::write_all(control, &[b'S', code]) {
        sys::read(control, &mut [0u8]);
    }
}

fn finish(semihosting: bool, code: u8) -> ! {
    if semihosting { sys::semihosting_exit(code) } else { sys::power_off(code) }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    complain("internal error");
    sys::power_off(101)
}
