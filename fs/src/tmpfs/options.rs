//! Mount options of tmpfs.

use crate::cache::PAGE;
use crate::host::host;
use vigil_abi::Errno;

/// Options, with limits of 0 for none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// Most pages.
    pub max_pages: u64,
    /// Most inodes.
    pub max_inodes: u64,
    /// Permissions of the root.
    pub mode: u32,
    /// Owner of the root.
    pub uid: u32,
    /// Group of the root.
    pub gid: u32,
}

impl Options {
    /// Half of RAM, as many inodes as that has pages, root with mode 1777.
    pub fn default_for_ram() -> Options {
        let half = host().ram_pages() / 2;
        Options { max_pages: half, max_inodes: half, mode: 0o1777, uid: 0, gid: 0 }
    }

    /// Reads `size=`, `nr_blocks=`, `nr_inodes=`, `mode=`, `uid=`, `gid=`, comma-separated. EINVAL for anything else.
    pub fn parse(&mut self, data: &[u8]) -> Result<(), Errno> {
        for option in data.split(|&byte| byte == b',').filter(|option| !option.is_empty()) {
            self.parse_one(option).ok_or(Errno::EINVAL)?;
        }
        Ok(())
    }

    /// Reads `mode=` and passes over everything else, as ramfs does.
    pub fn parse_mode_only(&mut self, data: &[u8]) {
        for option in data.split(|&byte| byte == b',').filter(|option| option.starts_with(b"mode=")) {
            let _ = self.parse_one(option);
        }
    }

    fn parse_one(&mut self, option: &[u8]) -> Option<()> {
        let equals = option.iter().position(|&byte| byte == b'=')?;
        let (key, value) = (&option[..equals], core::str::from_utf8(&option[equals + 1..]).ok()?);
        match key {
            b"size" => self.max_pages = parse_size(value)?.div_ceil(PAGE),
            b"nr_blocks" => self.max_pages = parse_number(value)?,
            b"nr_inodes" => self.max_inodes = parse_number(value)?,
            b"mode" => self.mode = u32::from_str_radix(value, 8).ok()? & 0o7777,
            b"uid" => self.uid = value.parse().ok()?,
            b"gid" => self.gid = value.parse().ok()?,
            _ => return None,
        }
        Some(())
    }
}

/// A number with Linux's suffixes k, m, g, t, p, e (memparse).
fn parse_number(value: &str) -> Option<u64> {
    let digits = value.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match value.get(digits.len()..)? {
        "" => 0,
        "k" | "K" => 10,
        "m" | "M" => 20,
        "g" | "G" => 30,
        "t" | "T" => 40,
        "p" | "P" => 50,
        _ => return None,
    };
    let number = match digits.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok()?,
        None => digits.parse::<u64>().ok()?,
    };
    number.checked_mul(1 << shift)
}

/// A size in bytes: a number, or per cent of RAM.
fn parse_size(value: &str) -> Option<u64> {
    match value.strip_suffix('%') {
        Some(percent) => host().ram_pages().checked_mul(PAGE)?.checked_mul(percent.parse().ok()?).map(|bytes| bytes / 100),
        None => parse_number(value),
    }
}
