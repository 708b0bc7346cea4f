//! Small texts and numbers as `/proc` has them; nothing of the kernel, so that they are tested on the host.

use core::fmt::{self, Write};

/// A number in decimal, without leading zeros: the name of an entry.
pub(super) fn parse_number(name: &[u8]) -> Option<u32> {
    if name.len() > 1 && name[0] == b'0' || name.is_empty() || !name.iter().all(u8::is_ascii_digit) {
        return None;
    }
    core::str::from_utf8(name).ok()?.parse().ok()
}

/// A decimal number with blanks around it: what was written to a file.
pub(super) fn number(data: &[u8]) -> Option<i64> {
    let text = core::str::from_utf8(data).ok()?.trim_matches(|c: char| c.is_ascii_whitespace() || c == '\0');
    text.parse().ok()
}

/// A number of 32 bits, decimal, octal (0…) or hexadecimal (0x…), with a newline after it or not (Linux: kstrtouint with base 0).
pub(super) fn unsigned(data: &[u8]) -> Option<u32> {
    unsigned_long(data)?.try_into().ok()
}

/// The same of 64 bits (Linux: kstrtoull with base 0).
pub(super) fn unsigned_long(data: &[u8]) -> Option<u64> {
    let text = core::str::from_utf8(data).ok()?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_prefix('+').unwrap_or(text);
    // What `from_str_radix` would accept beyond digits.
    if text.starts_with(['+', '-']) {
        return None;
    }
    match text.strip_prefix('0') {
        None | Some("") => text.parse().ok(),
        Some(rest) => match rest.strip_prefix(['x', 'X']) {
            Some(hex) if !hex.starts_with('+') => u64::from_str_radix(hex, 16).ok(),
            Some(_) => None,
            None if rest.starts_with('+') => None,
            None => u64::from_str_radix(rest, 8).ok(),
        },
    }
}

/// Writes a mask of `cpus` CPUs, 1 to 64: hexadecimal words of 32 bits, with as many digits as that takes (Linux: `%*pb`).
pub(super) fn put_mask(mask: u64, cpus: usize, out: &mut impl Write) -> fmt::Result {
    if cpus > 32 {
        write!(out, "{:0width$x},", mask >> 32, width = (cpus - 32).div_ceil(4))?;
    }
    write!(out, "{:0width$x}", mask as u32, width = cpus.min(32).div_ceil(4))
}

/// Writes a mask of CPUs as a list of ranges: `0-3,5`.
pub(crate) fn put_list(mask: u64, out: &mut impl Write) -> fmt::Result {
    let mut rest = mask;
    let mut comma = "";
    while rest != 0 {
        let from = rest.trailing_zeros();
        let length = (rest >> from).trailing_ones();
        match length {
            1 => write!(out, "{comma}{from}")?,
            n => write!(out, "{comma}{from}-{}", from + n - 1)?,
        }
        comma = ",";
        rest &= (u64::MAX << (from + length - 1)) << 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;

    #[test]
    fn unsigned_numbers_in_three_bases() {
        assert_eq!([&b"0"[..], b"10\n", b"010", b"0x10\n", b"+7", b"4294967295"].map(unsigned), [0, 10, 8, 16, 7, u32::MAX].map(Some));
        assert_eq!(
            [&b""[..], b"-1", b"1 ", b"0x", b"0x+1", b"++1", b"0+1", b"08", b"4294967296", b"1\n\n", b"\xff"].map(unsigned),
            [None; 11]
        );
    }

    fn list(mask: u64) -> String {
        let mut out = String::new();
        put_list(mask, &mut out).unwrap();
        out
    }

    #[test]
    fn lists_have_ranges() {
        assert_eq!(list(0), "");
        assert_eq!(list(0b1), "0");
        assert_eq!(list(0b10_1111), "0-3,5");
        assert_eq!(list(u64::MAX), "0-63");
        assert_eq!(list(1 << 63 | 1), "0,63");
    }

    #[test]
    fn masks_have_words_of_32_bits_and_a_digit_for_four_cpus() {
        let mut out = String::new();
        for (mask, cpus) in [(0xf, 4), (1, 4), (1, 8), (2, 9), (1 << 32 | 2, 40)] {
            put_mask(mask, cpus, &mut out).unwrap();
            out.push(' ');
        }
        assert_eq!(out, "f 1 01 002 01,00000002 ");
    }

    #[test]
    fn names_of_entries_are_plain_numbers() {
        assert_eq!(parse_number(b"0"), Some(0));
        assert_eq!(parse_number(b"42"), Some(42));
        for name in [&b""[..], b"042", b"4x", b"-1", b"4294967296"] {
            assert_eq!(parse_number(name), None);
        }
    }

    #[test]
    fn written_numbers_may_have_blanks_around_them() {
        assert_eq!(number(b" -17\n"), Some(-17));
        assert_eq!(number(b"1\0"), Some(1));
        assert_eq!(number(b"1 2"), None);
    }
}
