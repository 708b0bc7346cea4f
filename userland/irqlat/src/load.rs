//! What else the machine does while it is measured: child processes of the ordinary class, one for each CPU, ended with the
//! measurement.
use std::io::Error;

/// The kinds of load.
pub const KINDS: [&str; 4] = ["none", "cpu", "mem", "fork"];

/// Running loads; dropping it ends them.
pub struct Load(Vec<libc::pid_t>);

impl Load {
    /// Starts `kind` on every CPU. To be called before this thread becomes a real-time one: children inherit its class.
    pub fn start(kind: &str) -> Result<Load, String> {
        let work: fn() = match kind {
            "none" => return Ok(Load(Vec::new())),
            "cpu" => cpu,
            "mem" => mem,
            "fork" => fork,
            _ => return Err(format!("{kind}: there are {}", KINDS.join(", "))),
        };
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let mut load = Load(Vec::new());
        for _ in 0..cpus {
            // SAFETY: this process has one thread, so the child may do what it could.
            match unsafe { libc::fork() } {
                0 => loop {
                    work();
                },
                child if child > 0 => load.0.push(child),
                _ => return Err(format!("fork: {}", Error::last_os_error())),
            }
        }
        Ok(load)
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

fn cpu() {
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
