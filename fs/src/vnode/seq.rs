//! The text of a generated file (Linux: seq_file).

use core::fmt;
use vigil_abi::Errno;
use vigil_mem::KVec;

/// A growing buffer for generated text. Out of memory is remembered and reported once, at the end.
#[derive(Default)]
pub struct SeqBuf {
    bytes: KVec<u8>,
    failed: bool,
}

impl SeqBuf {
    /// An empty one.
    pub const fn new() -> SeqBuf {
        SeqBuf { bytes: KVec::new(), failed: false }
    }

    /// Appends bytes.
    pub fn put(&mut self, bytes: &[u8]) {
        self.failed |= self.bytes.try_extend_from_slice(bytes).is_err();
    }

    /// Appends one byte.
    #[inline]
    pub fn put_byte(&mut self, byte: u8) {
        self.failed |= self.bytes.try_push(byte).is_err();
    }

    /// Appends `byte` until the text is `length` bytes long.
    pub fn pad(&mut self, length: usize, byte: u8) {
        if length > self.bytes.len() {
            self.failed |= self.bytes.try_resize(length, byte).is_err();
        }
    }

    /// Appends `value` in decimal, right-aligned in `width` columns (at least one, at most 20).
    pub fn put_decimal(&mut self, value: u64, width: usize) {
        let mut digits = [b' '; 20];
        let mut rest = value;
        let mut first = digits.len();
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
            first -= 1;
            if rest == 0 {
                break;
            }
        }
        let first = first.min(digits.len().saturating_sub(width));
        self.put(digits.get(first..).unwrap_or(&[]));
    }

    /// Appends `value` in hexadecimal with at least `width` digits (at most 16).
    pub fn put_hex(&mut self, value: u64, width: usize) {
        let shown = (16 - value.leading_zeros() as usize / 4).max(width).clamp(1, 16);
        for at in (0..shown).rev() {
            let digit = (value >> (at * 4) & 0xf) as u8;
            self.put_byte(if digit < 10 { b'0' + digit } else { b'a' + digit - 10 });
        }
    }

    /// Appends a path, escaped as /proc/mounts and /proc/PID/maps do: space, tab, newline and backslash in octal.
    pub fn put_escaped(&mut self, bytes: &[u8], special: &[u8]) {
        for &byte in bytes {
            if special.contains(&byte) {
                self.put(&[b'\\', b'0' + (byte >> 6), b'0' + (byte >> 3 & 7), b'0' + (byte & 7)]);
            } else {
                self.put_byte(byte);
            }
        }
    }

    /// Turns the text from `start` on round, its last byte first: what was written back to front.
    pub fn reverse_from(&mut self, start: usize) {
        if let Some(text) = self.bytes.get_mut(start..) {
            text.reverse();
        }
    }

    /// Bytes of text.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there is no text.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// What was appended.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Forgets the contents and an earlier failure.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.failed = false;
    }

    /// ENOMEM if something did not fit into memory.
    pub fn finish(&self) -> Result<(), Errno> {
        if self.failed { Err(Errno::ENOMEM) } else { Ok(()) }
    }
}

impl fmt::Write for SeqBuf {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        self.put(s.as_bytes());
        Ok(())
    }

    #[inline]
    fn write_char(&mut self, c: char) -> fmt::Result {
        match u8::try_from(c) {
            Ok(byte) if byte.is_ascii() => self.put_byte(byte),
            _ => self.put(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
        Ok(())
    }
}
