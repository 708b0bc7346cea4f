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

static NAMES: SpinLock<Names> = SpinLock::new(lock_class!("uts"), Names { host: padded(b"(none)"), domain: padded(b"(none)") });

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

/// Turns a release into the one that UNAME26 shows: 6.1 becomes 2.6.61, what follows the numbers stays.
pub fn make_release_26(release: &mut [u8; 65]) {
    const MINOR: u8 = 1;
    let mut dots = 0;
    let numbers = release.iter().position(|b| {
        dots += u32::from(*b == b'.');
        dots >= 3 || !b.is_ascii_digit() && *b != b'.'
    });
    let old = *release;
    let rest = &old[numbers.unwrap_or(old.len())..];
    let number = 60 + MINOR;
    let start = [b'2', b'.', b'6', b'.', b'0' + number / 10, b'0' + number % 10];
    *release = [0; 65];
    for (to, from) in release[..64].iter_mut().zip(start.iter().chain(rest)) {
        *to = *from;
    }
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
    fn a_release_for_old_programs_keeps_what_follows_its_numbers() {
        let mut release = padded(RELEASE.as_bytes());
        make_release_26(&mut release);
        assert!(release.starts_with(b"2.6.61-vigil\0"));
    }

    #[test]
    fn a_host_name_is_cut_to_64_bytes() {
        set_hostname(&[b'x'; 100]);
        let mut b = [0; 65];
        assert_eq!(hostname(&mut b).len(), 64);
        assert_eq!(&get().machine[..8], b"aarch64\0");
    }
}
