//! What else the machine does while it is measured: child processes of the ordinary class, one for each CPU or for the one that is
//! measured, ended with the measurement.
use crate::source::pin;
use std::fs::File;
use std::io::{Error, Read, Seek, Write};
use std::os::unix::fs::FileExt;
use std::time::Duration;

/// The kinds of load.
pub const KINDS: [&str; 6] = ["none", "cpu", "mem", "fork", "disk", "irq"];

/// Running loads; dropping it ends them.
pub struct Load(Vec<libc::pid_t>);

impl Load {
    /// Starts `kind` on `cpu`, or on every CPU. To be called before this thread becomes a real-time one: children inherit its class.
    pub fn start(kind: &str, cpu: Option<usize>) -> Result<Load, String> {
        let work: fn() = match kind {
            "none" => return Ok(Load(Vec::new())),
            "cpu" => spin,
            "mem" => mem,
            "fork" => fork,
            "disk" => disk,
            "irq" => irq,
            _ => return Err(format!("{kind}: no such load")),
        };
        let mut load = Load(Vec::new());
        let all = 0..std::thread::available_parallelism().map_or(1, usize::from);
        for on in cpu.map_or(all, |cpu| cpu..cpu + 1) {
            load.child(Some(on), &mut || work())?;
        }
        Ok(load)
    }

    /// Lets the kernel mask interrupts for `micros` microseconds again and again, on `cpu`: something for `--blame` to find.
    pub fn plant(&mut self, micros: u64, cpu: Option<usize>) -> Result<(), String> {
        let path = "/sys/kernel/debug/provoke-crash/DIRECT";
        let order = format!("SPIN_IRQS_OFF {micros}");
        let file = File::options().write(true).open(path).map_err(|e| format!("{path}: {e}"))?;
        let mut n = 0;
        self.child(cpu, &mut || {
            // Another phase of the measurement's period each time.
            n += 1;
            std::thread::sleep(Duration::from_micros(2_000 + n * 17 % 1000));
            let _ = file.write_all_at(order.as_bytes(), 0);
        })
    }

    fn child(&mut self, cpu: Option<usize>, work: &mut dyn FnMut()) -> Result<(), String> {
        // SAFETY: this process has one thread, so the child may do what it could.
        match unsafe { libc::fork() } {
            0 => {
                // It does not outlive its parent, however that ends.
                // SAFETY: nothing but that is asked for.
                unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
                // Where it cannot be kept there it loads another one.
                cpu.map(pin);
                loop {
                    work();
                }
            }
            child if child > 0 => self.0.push(child),
            _ => return Err(format!("fork: {}", Error::last_os_error())),
        }
        Ok(())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        for child in &self.0 {
            // SAFETY: they are our own children, and not waited for yet.
            unsafe {
                libc::kill(*child, libc::SIGKILL);
                libc::waitpid(*child, std::ptr::null_mut(), 0);
            }
        }
    }
}

fn spin() {
    for i in 0..100_000u32 {
        std::hint::black_box(i.wrapping_mul(i));
    }
}

/// Fresh memory, written and copied.
fn mem() {
    let from = vec![std::hint::black_box(1u8); 8 << 20];
    let mut to = vec![0u8; from.len()];
    to.copy_from_slice(&from);
    std::hint::black_box(&to);
}

fn fork() {
    // SAFETY: the child of a process with one thread, which ends at once.
    unsafe {
        let child = libc::fork();
        if child == 0 {
            libc::_exit(0);
        }
        libc::waitpid(child, std::ptr::null_mut(), 0);
    }
}

/// A file written, synchronised, read and removed, in the working directory: whatever that is on.
fn disk() {
    let path = format!("irqlat-load-{}", std::process::id());
    let mut block = [7; 1 << 16];
    let mut go = || -> std::io::Result<()> {
        let mut file = File::options().read(true).write(true).create(true).truncate(true).open(&path)?;
        for _ in 0..16 {
            file.write_all(&block)?;
        }
        file.sync_all()?;
        file.rewind()?;
        while file.read(&mut block)? != 0 {}
        std::fs::remove_file(&path)
    };
    if go().is_err() {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Timers of short and different periods, so that their interrupts fall anywhere.
fn irq() {
    let timers: Vec<i32> = [53_000, 71_000, 97_000, 131_000].into_iter().filter_map(timer).collect();
    let mut list: Vec<libc::pollfd> = timers.iter().map(|fd| libc::pollfd { fd: *fd, events: libc::POLLIN, revents: 0 }).collect();
    loop {
        // SAFETY: the list is as long as it says, and the buffer as long as a timer's count.
        unsafe {
            libc::poll(list.as_mut_ptr(), list.len() as libc::nfds_t, -1);
            for ready in list.iter().filter(|p| p.revents != 0) {
                let mut count = 0u64;
                libc::read(ready.fd, (&raw mut count).cast(), size_of::<u64>());
            }
        }
    }
}

fn timer(nanos: libc::c_long) -> Option<i32> {
    let period = libc::timespec { tv_sec: 0, tv_nsec: nanos };
    let setting = libc::itimerspec { it_interval: period, it_value: period };
    // SAFETY: the structure lives through the calls.
    unsafe {
        let fd = libc::timerfd_create(libc::CLOCK_MONOTONIC, 0);
        (fd >= 0 && libc::timerfd_settime(fd, 0, &raw const setting, std::ptr::null_mut()) == 0).then_some(fd)
    }
}
