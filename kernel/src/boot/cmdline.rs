//! Splitting of the kernel command line into words, as Linux does (lib/cmdline.c: next_arg, memparse).

/// A word: a name, and the value behind the first `=`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Word<'a> {
    /// What is before the first `=`, without quotes.
    pub name: &'a [u8],
    /// What is behind it, without the quotes around it; `None` without a `=`.
    pub value: Option<&'a [u8]>,
    /// The word as it stands in the line, but for quotes around all of it.
    pub raw: &'a [u8],
}

/// The words of a command line. Words are separated by white space outside of double quotes; quotes around the whole word
/// or around the value are dropped.
#[derive(Clone, Debug)]
pub struct Words<'a> {
    rest: &'a [u8],
}

impl<'a> Words<'a> {
    /// The words of `line`.
    pub fn new(line: &'a [u8]) -> Self {
        Words { rest: line }
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = Word<'a>;

    fn next(&mut self) -> Option<Word<'a>> {
        let rest = self.rest.trim_ascii_start();
        if rest.is_empty() {
            return None;
        }
        let (quoted_word, rest) = match rest {
            [b'"', inner @ ..] => (true, inner),
            _ => (false, rest),
        };
        let mut in_quotes = quoted_word;
        let mut equals = None;
        let mut end = rest.len();
        for (i, b) in rest.iter().enumerate() {
            match b {
                b if b.is_ascii_whitespace() && !in_quotes => {
                    end = i;
                    break;
                }
                b'=' if equals.is_none() => equals = Some(i),
                b'"' => in_quotes = !in_quotes,
                _ => {}
            }
        }
        let mut word = &rest[..end];
        self.rest = &rest[end..];
        if quoted_word {
            word = word.strip_suffix(b"\"").unwrap_or(word);
        }
        Some(match equals.filter(|e| *e < word.len()) {
            None => Word { name: word, value: None, raw: word },
            Some(e) => {
                let mut value = &word[e + 1..];
                if let [b'"', inner @ ..] = value {
                    value = inner.strip_suffix(b"\"").unwrap_or(inner);
                }
                Word { name: &word[..e], value: Some(value), raw: word }
            }
        })
    }
}

/// Whether two parameter names are the same: `-` and `_` are (Linux: parameq).
pub fn same_name(a: &[u8], b: &[u8]) -> bool {
    let dash = |c: u8| if c == b'-' { b'_' } else { c };
    a.len() == b.len() && a.iter().zip(b).all(|(x, y)| dash(*x) == dash(*y))
}

/// A decimal, hexadecimal (`0x`) or octal (`0`) number at the start of `s`, and what is behind it.
pub fn number(s: &[u8]) -> Option<(u64, &[u8])> {
    let (radix, digits) = match s {
        [b'0', b'x' | b'X', rest @ ..] => (16, rest),
        [b'0', rest @ ..] if rest.first().is_some_and(u8::is_ascii_digit) => (8, rest),
        _ => (10, s),
    };
    let mut value = 0u64;
    let mut n = 0;
    for b in digits {
        let Some(d) = (*b as char).to_digit(radix) else { break };
        value = value.checked_mul(u64::from(radix))?.checked_add(u64::from(d))?;
        n += 1;
    }
    if n == 0 { None } else { Some((value, &digits[n..])) }
}

/// A number of bytes with an optional suffix K, M, G, T, P or E.
pub fn memparse(s: &[u8]) -> Option<u64> {
    let (value, rest) = number(s)?;
    let shift = match rest.first().map(u8::to_ascii_uppercase) {
        None => 0,
        Some(b'K') => 10,
        Some(b'M') => 20,
        Some(b'G') => 30,
        Some(b'T') => 40,
        Some(b'P') => 50,
        Some(b'E') => 60,
        // Something else may follow: `64M@16M`.
        Some(_) => 0,
    };
    value.checked_shl(shift).filter(|v| v >> shift == value)
}

/// A signed decimal number that is all of `s`.
pub fn integer(s: &[u8]) -> Option<i64> {
    let (negative, digits) = match s {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, s),
    };
    let (value, rest) = number(digits)?;
    let value = i64::try_from(value).ok().filter(|_| rest.is_empty())?;
    Some(if negative { -value } else { value })
}

/// A list of CPUs, `0,2-5`, as a mask; CPUs beyond 63 are not in it. Words before the first number (`domain,`) are skipped,
/// as `isolcpus=` has them.
pub fn cpu_list(s: &[u8]) -> Option<u64> {
    let mut mask = 0u64;
    for part in s.split(|b| *b == b',') {
        if !part.first().is_some_and(u8::is_ascii_digit) {
            continue;
        }
        let (from, rest) = number(part)?;
        let to = match rest {
            [] => from,
            [b'-', more @ ..] => number(more).filter(|(_, r)| r.is_empty())?.0,
            _ => return None,
        };
        if to < from {
            return None;
        }
        for cpu in from..=to.min(63) {
            mask |= 1u64.checked_shl(cpu as u32).unwrap_or(0);
        }
    }
    Some(mask)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    fn words(s: &str) -> Vec<(&str, Option<&str>)> {
        let text = |b| core::str::from_utf8(b).unwrap();
        Words::new(s.as_bytes()).map(|w| (text(w.name), w.value.map(text))).collect()
    }

    #[test]
    fn words_and_quotes_are_linux_s() {
        assert_eq!(words("  foo=bar,bar2 baz=fuz wiz "), [("foo", Some("bar,bar2")), ("baz", Some("fuz")), ("wiz", None)]);
        assert_eq!(words("a=\"b c\" d"), [("a", Some("b c")), ("d", None)]);
        assert_eq!(words("\"a=b c\" d=\"\""), [("a", Some("b c")), ("d", Some(""))]);
        assert_eq!(words("a=b=c -- x=1"), [("a", Some("b=c")), ("--", None), ("x", Some("1"))]);
        assert_eq!(words("dyndbg=\"file x +p; file y\""), [("dyndbg", Some("file x +p; file y"))]);
        assert_eq!(words("\""), [("", None)]);
        assert!(same_name(b"log-buf_len", b"log_buf_len"));
    }

    #[test]
    fn numbers() {
        assert_eq!(memparse(b"512M"), Some(512 << 20));
        assert_eq!(memparse(b"0x10k"), Some(16 << 10));
        assert_eq!(memparse(b"64M@16M"), Some(64 << 20));
        assert_eq!(memparse(b"99999999999E"), None);
        assert_eq!(memparse(b"M"), None);
        assert_eq!(integer(b"-1"), Some(-1));
        assert_eq!(integer(b"5x"), None);
        assert_eq!(cpu_list(b"1,3-5"), Some(0b111010));
        assert_eq!(cpu_list(b"domain,managed_irq,2"), Some(0b100));
        assert_eq!(cpu_list(b"5-3"), None);
        assert_eq!(cpu_list(b"0-999999999999"), Some(u64::MAX));
    }

    proptest! {
        #[test]
        fn any_bytes_are_split_without_a_panic(line in proptest::collection::vec(any::<u8>(), 0..300)) {
            for w in Words::new(&line) {
                let _ = (memparse(w.name), w.value.map(memparse), w.value.map(integer), w.value.map(cpu_list));
            }
        }

        #[test]
        fn words_without_quotes_join_to_the_line(parts in proptest::collection::vec("[a-z]{1,5}(=[a-z=]{0,5})?", 0..8)) {
            let line = parts.join(" ");
            let back: Vec<std::string::String> = words(&line).iter()
                .map(|(n, v)| v.map_or((*n).into(), |v| std::format!("{n}={v}"))).collect();
            prop_assert_eq!(back, parts);
        }
    }
}
