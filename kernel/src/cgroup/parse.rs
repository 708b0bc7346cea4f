//! Numbers and lists as user space writes them into control files; nothing of the kernel, so that they are tested on the host.

use vigil_abi::Errno;

/// What was written, without the white space around it (Linux: strstrip).
pub fn stripped(data: &[u8]) -> &[u8] {
    string(data).trim_ascii()
}

/// What was written, without one line feed behind it: the files that Linux reads numbers of by kstrtoull alone take no other white space.
pub fn line(data: &[u8]) -> &[u8] {
    let text = string(data);
    text.strip_suffix(b"\n").unwrap_or(text)
}

/// What was written, up to the first NUL.
fn string(data: &[u8]) -> &[u8] {
    data.split(|b| *b == 0).next().unwrap_or(data)
}

/// The decimal number with which `text` begins, whatever follows its digits (Linux: sscanf with "%llu"). EINVAL: it does not fit.
pub fn leading(text: &[u8]) -> Result<Option<u64>, Errno> {
    let n = text.iter().take_while(|b| b.is_ascii_digit()).count();
    let digits = core::str::from_utf8(&text[..n]).ok().filter(|digits| !digits.is_empty());
    digits.map(|digits| digits.parse().map_err(|_| Errno::EINVAL)).transpose()
}

/// A signed number, decimal, octal (0…) or hexadecimal (0x…) (Linux: kstrtoll with base 0). EINVAL: it is none; ERANGE: it
/// does not fit.
pub fn long(text: &[u8]) -> Result<i64, Errno> {
    let (negative, digits) = match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        Some((b'+', rest)) => (false, rest),
        _ => (false, text),
    };
    let value = magnitude(digits)?;
    let value = if negative { 0i64.checked_sub_unsigned(value) } else { i64::try_from(value).ok() };
    value.ok_or(Errno::ERANGE)
}

/// An unsigned number (Linux: kstrtoull with base 0). EINVAL, ERANGE.
pub fn unsigned(text: &[u8]) -> Result<u64, Errno> {
    magnitude(text.strip_prefix(b"+").unwrap_or(text))
}

/// A number of 32 bits (Linux: kstrtoint with base 0). EINVAL, ERANGE.
pub fn int(text: &[u8]) -> Result<i32, Errno> {
    long(text)?.try_into().map_err(|_| Errno::ERANGE)
}

fn magnitude(digits: &[u8]) -> Result<u64, Errno> {
    let (base, digits) = match digits {
        [b'0', b'x' | b'X', rest @ ..] => (16, rest),
        [b'0', rest @ ..] if !rest.is_empty() => (8, rest),
        _ => (10, digits),
    };
    if digits.is_empty() {
        return Err(Errno::EINVAL);
    }
    let mut value = 0u64;
    let mut fits = true;
    for byte in digits {
        let digit = (*byte as char).to_digit(base).ok_or(Errno::EINVAL)?;
        match value.checked_mul(u64::from(base)).and_then(|v| v.checked_add(u64::from(digit))) {
            Some(next) => value = next,
            None => fits = false,
        }
    }
    if fits { Ok(value) } else { Err(Errno::ERANGE) }
}

/// `max`, or a number that is not negative: a limit of `cgroup.max.*`. `None`: no limit. EINVAL, ERANGE.
pub fn limit(text: &[u8]) -> Result<Option<i32>, Errno> {
    if text == b"max" {
        return Ok(None);
    }
    match int(text)? {
        ..0 => Err(Errno::ERANGE),
        i32::MAX => Ok(None),
        n => Ok(Some(n)),
    }
}

/// A list of small numbers and ranges, `0-3,5`, as a set (Linux: bitmap_parselist): `N` is the last one that there is, `all` is
/// every one, `0-7:1/2` the first one of each two. EINVAL: it is none; ERANGE: a number is not below `bits`.
pub fn list(text: &[u8], bits: u32) -> Result<u64, Errno> {
    let bits = bits.clamp(1, 64);
    let mut set = 0u64;
    for part in text.split(|b| separates(*b)).filter(|part| !part.is_empty()) {
        let (range, group) = match part.iter().position(|b| *b == b':') {
            Some(colon) => (&part[..colon], Some(&part[colon + 1..])),
            None => (part, None),
        };
        let (first, last) = match range.iter().position(|b| *b == b'-') {
            _ if range == b"all" => (0, u64::from(bits) - 1),
            Some(dash) => (small(&range[..dash], bits)?, small(&range[dash + 1..], bits)?),
            None if group.is_some() => return Err(Errno::EINVAL),
            None => (small(range, bits)?, small(range, bits)?),
        };
        let (used, of) = match group {
            None => (1, 1),
            Some(group) => {
                let slash = group.iter().position(|b| *b == b'/').ok_or(Errno::EINVAL)?;
                (small(&group[..slash], bits)?, small(&group[slash + 1..], bits)?)
            }
        };
        if first > last || of == 0 || used > of {
            return Err(Errno::EINVAL);
        }
        if last >= u64::from(bits) {
            return Err(Errno::ERANGE);
        }
        set |= (first..=last).filter(|n| (n - first) % of < used).fold(0, |set, n| set | 1 << n);
    }
    Ok(set)
}

/// A set as hexadecimal words of 32 bits, the highest first (Linux: bitmap_parse). EINVAL: it is none; EOVERFLOW: a word is too
/// long, or a member not below `bits`.
pub fn mask(text: &[u8], bits: u32) -> Result<u64, Errno> {
    let bits = bits.clamp(1, 64);
    let text = text.split(|b| *b == b'\n').next().unwrap_or(&[]);
    let mut set = 0u64;
    for (i, word) in text.rsplit(|b| separates(*b)).filter(|word| !word.is_empty()).enumerate() {
        if i as u32 >= bits.div_ceil(32) {
            return Err(Errno::EOVERFLOW);
        }
        for (k, digit) in word.iter().rev().enumerate() {
            let digit = (*digit as char).to_digit(16).ok_or(Errno::EINVAL)?;
            if k == 8 {
                return Err(Errno::EOVERFLOW);
            }
            set |= u64::from(digit) << (32 * i + 4 * k);
        }
    }
    if set & !(u64::MAX >> (64 - bits)) != 0 { Err(Errno::EOVERFLOW) } else { Ok(set) }
}

/// The number that `text` begins with, white space aside, whatever follows it; one that is too long is cut to 32 bits (Linux: sscanf
/// with `%d`). `None`: there is none.
pub fn leading_int(text: &[u8]) -> Option<i32> {
    let (negative, rest) = match text.trim_ascii_start().split_first()? {
        (b'-', rest) => (true, rest),
        (b'+', rest) => (false, rest),
        _ => (false, text.trim_ascii_start()),
    };
    let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
    let value = rest[..digits].iter().fold(0u32, |n, d| n.wrapping_mul(10).wrapping_add(u32::from(d - b'0')));
    let value = if negative { value.wrapping_neg() } else { value };
    (digits != 0).then_some(value as i32)
}

/// Whether words of lists and masks end before it.
fn separates(byte: u8) -> bool {
    byte == b',' || byte.is_ascii_whitespace()
}

fn small(digits: &[u8], bits: u32) -> Result<u64, Errno> {
    if digits == b"N" {
        return Ok(u64::from(bits) - 1);
    }
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Errno::EINVAL);
    }
    // However long it is, it is too large.
    Ok(digits.iter().fold(0u64, |n, d| n.saturating_mul(10).saturating_add(u64::from(d - b'0'))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_bases_and_two_errors() {
        assert_eq!([&b"0"[..], b"-1", b"+7", b"010", b"-0x10"].map(int), [0, -1, 7, 8, -16].map(Ok));
        assert_eq!([&b""[..], b"x", b"1x", b"--1", b"0x", b"08"].map(int), [Err(Errno::EINVAL); 6]);
        assert_eq!([&b"2147483648"[..], b"99999999999999999999"].map(int), [Err(Errno::ERANGE); 2]);
        assert_eq!(unsigned(b"18446744073709551615"), Ok(u64::MAX));
        assert_eq!(unsigned(b"-1"), Err(Errno::EINVAL));
        assert_eq!([&b"010x"[..], b"7", b"x", b"", b"+7"].map(leading), [Ok(Some(10)), Ok(Some(7)), Ok(None), Ok(None), Ok(None)]);
        assert_eq!(leading(b"18446744073709551616"), Err(Errno::EINVAL));
    }

    #[test]
    fn the_beginning_of_a_text_can_be_a_number() {
        let good = [&b"3x"[..], b" 7", b"-20", b"+1\n", b"5000000000"].map(leading_int);
        assert_eq!(good, [3, 7, -20, 1, 705_032_704].map(Some));
        assert_eq!([&b""[..], b"x", b"-", b"- 1", b" "].map(leading_int), [None; 5]);
    }

    #[test]
    fn limits() {
        assert_eq!([&b"max"[..], b"2147483647", b"3"].map(limit), [Ok(None), Ok(None), Ok(Some(3))]);
        assert_eq!(limit(b"-2"), Err(Errno::ERANGE));
        assert_eq!(limit(b"many"), Err(Errno::EINVAL));
    }

    #[test]
    fn lists() {
        assert_eq!([&b""[..], b"0", b"0-3,5", b"63", b"1,1"].map(|t| list(t, 64)), [0, 1, 0x2f, 1 << 63, 2].map(Ok));
        assert_eq!([&b"4"[..], b"0-9", b"99999999999999999999"].map(|t| list(t, 4)), [Err(Errno::ERANGE); 3]);
        assert_eq!([&b"x"[..], b"-1", b"3-1", b"1-", b"0-1-2"].map(|t| list(t, 4)), [Err(Errno::EINVAL); 5]);
        assert_eq!(
            [&b"N"[..], b"all", b"0-N", b"0-3:1/2", b"all:2/3", b"1 2", b",1,,2,"].map(|t| list(t, 4)),
            [8, 15, 15, 5, 11, 6, 6].map(Ok)
        );
        assert_eq!([&b"3:1/2"[..], b"0-3:1", b"0-3:2/1", b"0-3:1/0", b"N1"].map(|t| list(t, 4)), [Err(Errno::EINVAL); 5]);
    }

    #[test]
    fn masks() {
        assert_eq!(
            [&b"f"[..], b"00000002", b" 2 ", b"2\n", b"", b",", b"1,", b",1"].map(|t| mask(t, 4)),
            [15, 2, 2, 2, 0, 0, 1, 1].map(Ok)
        );
        let beyond = [&b"10"[..], b"2,0", b"2 3", b"1,,1", b"123456789", b"ffffffff,ffffffff"];
        assert_eq!(beyond.map(|t| mask(t, 4)), [Err(Errno::EOVERFLOW); 6]);
        assert_eq!([&b"x"[..], b"0x2", b"g", b"-1"].map(|t| mask(t, 4)), [Err(Errno::EINVAL); 4]);
        assert_eq!(mask(b"80000000,00000001", 64), Ok(1 << 63 | 1));
    }

    #[test]
    fn white_space_around_does_not_count() {
        assert_eq!(stripped(b" 1 2\n\0rest"), b"1 2");
    }
}
