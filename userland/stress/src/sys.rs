//! System calls with errors as values.
use std::ffi::CString;
use std::io::Error;

/// Waits for this child and gives its status word.
pub fn wait(pid: libc::pid_t) -> Result<i32, String> {
    let mut status = 0;
    loop {
        // SAFETY: the status word lives through the call.
        let waited = unsafe { libc::waitpid(pid, &raw mut status, 0) };
        if waited == pid {
            return Ok(status);
        }
        let error = Error::last_os_error();
        if error.raw_os_error() != Some(libc::EINTR) {
            return Err(format!("waitpid: {error}"));
        }
    }
}

/// Forks; the child runs `body`, which must not return to its caller's work, and ends with its status.
///
/// Only for single-threaded moments: `body` may allocate.
pub fn child(body: impl FnOnce() -> i32) -> Result<libc::pid_t, String> {
    // SAFETY: the process has one thread here, so the child may use everything.
    match unsafe { libc::fork() } {
        -1 => Err(format!("fork: {}", Error::last_os_error())),
        0 => {
            let status = body();
            // SAFETY: ends the child without running the parent's exit handlers.
            unsafe { libc::_exit(status) }
        }
        pid => Ok(pid),
    }
}

/// Replaces the process; returns only when that fails, with the error number.
pub fn exec(path: &str, argument: &str) -> i32 {
    let (Ok(path), Ok(argument)) = (CString::new(path), CString::new(argument)) else { return libc::EINVAL };
    let argv = [path.as_ptr(), argument.as_ptr(), std::ptr::null()];
    // SAFETY: the strings and the array, which ends with a null pointer, live through the call.
    unsafe { libc::execv(path.as_ptr(), argv.as_ptr()) };
    Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// The path that this program was executed by.
pub fn own_path() -> String {
    // SAFETY: AT_EXECFN points to a string that lives as long as the process.
    let path = unsafe {
        let pointer = libc::getauxval(libc::AT_EXECFN) as *const libc::c_char;
        if pointer.is_null() { c"/proc/self/exe" } else { std::ffi::CStr::from_ptr(pointer) }
    };
    path.to_string_lossy().into_owned()
}

/// As PID 1: switches the machine off.
pub fn power_off() -> ! {
    loop {
        // SAFETY: takes an integer.
        unsafe { libc::reboot(libc::RB_POWER_OFF) };
    }
}

/// Empties the caches of the kernel, on each CPU.
pub fn drop_caches() {
    for cpu in 0..8 {
        // SAFETY: sets of CPUs that live through the calls.
        unsafe {
            let mut set: libc::cpu_set_t = std::mem::zeroed();
            libc::CPU_SET(cpu, &mut set);
            if libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) == 0 {
                drop(std::fs::write("/proc/sys/vm/drop_caches", "3"));
            }
        }
    }
    // SAFETY: as above.
    unsafe {
        let mut all: libc::cpu_set_t = std::mem::zeroed();
        (0..8).for_each(|cpu| libc::CPU_SET(cpu, &mut all));
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const all);
    }
}

/// A field of /proc/meminfo in KiB.
pub fn meminfo(field: &str) -> Result<i64, String> {
    fields("/proc/meminfo", &[field])
}

/// The sum of fields, in KiB, of one look at a file like /proc/meminfo or /proc/PID/status.
pub fn fields(path: &str, names: &[&str]) -> Result<i64, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{path}: {e}"))?;
    let field = |name: &&str| {
        let line = text.lines().find_map(|l| l.strip_prefix(*name)?.strip_prefix(':'));
        line.and_then(|l| l.split_whitespace().next()?.parse::<i64>().ok()).ok_or_else(|| format!("{path} has no {name}"))
    };
    names.iter().map(field).sum()
}
