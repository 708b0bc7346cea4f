//! [`KString`] and [`try_format!`](crate::try_format): text whose growth can fail.

use crate::error::AllocError;
use crate::kvec::KVec;
use core::fmt;
use core::ops::Deref;

/// Growing UTF-8 text. Writing to it by `write!` fails when memory does.
#[derive(Default, PartialEq, Eq)]
pub struct KString(KVec<u8>);

impl KString {
    /// Empty. Does not allocate.
    pub const fn new() -> KString {
        KString(KVec::new())
    }

    /// A copy of `s`.
    pub fn try_from_str(s: &str) -> Result<KString, AllocError> {
        Ok(KString(KVec::try_from_slice(s.as_bytes())?))
    }

    /// Formats `args`; `try_format!` is the convenient way. A `Display` that fails by itself counts as no memory.
    pub fn try_format(args: fmt::Arguments<'_>) -> Result<KString, AllocError> {
        let mut s = KString::new();
        fmt::write(&mut s, args).map_err(|_| AllocError)?;
        Ok(s)
    }

    /// Appends `s`.
    pub fn try_push_str(&mut self, s: &str) -> Result<(), AllocError> {
        self.0.try_extend_from_slice(s.as_bytes())
    }

    /// Appends one character.
    pub fn try_push(&mut self, c: char) -> Result<(), AllocError> {
        self.try_push_str(c.encode_utf8(&mut [0; 4]))
    }

    /// Makes it empty, keeps the room.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// As text.
    #[inline]
    pub fn as_str(&self) -> &str {
        // SAFETY: only whole `str`s are ever appended.
        unsafe { core::str::from_utf8_unchecked(&self.0) }
    }

    /// Its bytes, given away.
    pub fn into_bytes(self) -> KVec<u8> {
        self.0
    }

    /// A copy of it.
    pub fn try_clone(&self) -> Result<KString, AllocError> {
        Ok(KString(self.0.try_clone()?))
    }
}

impl fmt::Write for KString {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        self.try_push_str(s).map_err(|_| fmt::Error)
    }
}

impl Deref for KString {
    type Target = str;
    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for KString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self)
    }
}

impl fmt::Debug for KString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// `format!` that can fail: `try_format!("{}", x)?` is a [`KString`](crate::KString).
#[macro_export]
macro_rules! try_format {
    ($($arg:tt)*) => { $crate::KString::try_format(core::format_args!($($arg)*)) };
}

/// Bytes written into a slice that is as long as it is: what does not fit is cut off and noted. For formatting without
/// memory (panic, names of fixed length).
#[derive(Debug)]
pub struct SliceWriter<'a> {
    buf: &'a mut [u8],
    len: usize,
    cut: bool,
}

impl<'a> SliceWriter<'a> {
    /// Writes to the start of `buf`.
    pub fn new(buf: &'a mut [u8]) -> Self {
        SliceWriter { buf, len: 0, cut: false }
    }

    /// What was written so far.
    pub fn written(&self) -> &[u8] {
        &self.buf[..self.len]
    }

    /// Whether something did not fit.
    pub fn is_cut(&self) -> bool {
        self.cut
    }
}

impl fmt::Write for SliceWriter<'_> {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        let room = &mut self.buf[self.len..];
        let n = s.len().min(room.len());
        room[..n].copy_from_slice(&s.as_bytes()[..n]);
        self.len += n;
        if n < s.len() {
            self.cut = true;
            return Err(fmt::Error);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault;
    use core::fmt::Write;

    #[test]
    fn formats_or_says_that_memory_ran_out() {
        assert_eq!(crate::try_format!("{}-{:04x}", "é", 0xbe).unwrap().as_str(), "é-00be");
        assert!(fault::set(1));
        assert_eq!(crate::try_format!("{}", 1).err(), Some(AllocError));
        assert!(fault::set(0));
        let mut room = [0; 5];
        let mut w = SliceWriter::new(&mut room);
        assert!(write!(w, "abc{}", 12345).is_err());
        assert!(w.is_cut());
        assert_eq!(w.written(), b"abc12");
    }
}
