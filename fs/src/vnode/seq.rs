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

    /// Appends a path, escaped as /proc/mounts and /proc/PID/maps do: space, tab, newline and backslash in octal.
    pub fn put_escaped(&mut self, bytes: &[u8], special: &[u8]) {
        for &byte in bytes {
            if special.contains(&byte) {
                self.put(&[b'\\', b'0' + (byte >> 6), b'0' + (byte >> 3 & 7), b'0' + (byte & 7)]);
            } else {
                self.put(&[byte]);
            }
        }
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
}
