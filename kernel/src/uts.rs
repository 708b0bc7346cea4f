//! The names of the system: uname(2), `/proc/sys/kernel/{hostname,domainname}`.

use vigil_abi::Pod;
use vigil_abi::misc::Utsname;
use vigil_executor::lock_class;
use vigil_executor::sync::SpinLock;

/// What `uname -s` prints: programs ask for the ABI's name.
pub const SYSNAME: &str = "Linux";
/// The release: the version of Linux whose behaviour is followed, and who follows it.
pub const RELEASE: &str = "6.1.0-vigil";
/// The version.
pub const VERSION: &str = concat!("#1 SMP PREEMPT Vigil ", env!("CARGO_PKG_VERSION"));
/// The machine.
pub const MACHINE: &str = "aarch64";

struct Names {
    host: [u8; 65],
    domain: [u8; 65],
}

const fn padded(s: &[u8]) -> [u8; 65] {
    let mut out = [0; 65];
    let mut i = 0;
    while i < s.len() && i < 64 {
        out[i] = s[i];
        i += 1;
    }
    out
}

static NAMES: SpinLock<Names> =
    SpinLock::new(lock_class!("uts"), Names { host: padded(b"(none)"), domain: padded(b"(none)") });

/// What uname(2) returns.
pub fn get() -> Utsname {
    let mut u = Utsname::zeroed();
    let names = NAMES.lock();
    u.sysname = padded(SYSNAME.as_bytes());
    u.nodename = names.host;
    u.release = padded(RELEASE.as_bytes());
    u.version = padded(VERSION.as_bytes());
    u.machine = padded(MACHINE.as_bytes());
    u.domainname = names.domain;
    u
}

/// Sets the host name; at most 64 bytes count.
pub fn set_hostname(name: &[u8]) {
    NAMES.lock().host = padded(name);
}

/// Sets the NIS domain name; at most 64 bytes count.
pub fn set_domainname(name: &[u8]) {
    NAMES.lock().domain = padded(name);
}

/// The host name, without its padding.
pub fn hostname(out: &mut [u8; 65]) -> &[u8] {
    *out = NAMES.lock().host;
    let n = out.iter().position(|b| *b == 0).unwrap_or(out.len());
    &out[..n]
}

/// The NIS domain name, without its padding.
pub fn domainname(out: &mut [u8; 65]) -> &[u8] {
    *out = NAMES.lock().domain;
    let n = out.iter().position(|b| *b == 0).unwrap_or(out.len());
    &out[..n]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_name_is_cut_to_64_bytes() {
        set_hostname(&[b'x'; 100]);
        let mut b = [0; 65];
        assert_eq!(hostname(&mut b).len(), 64);
        assert_eq!(&get().machine[..8], b"aarch64\0");
    }
}
