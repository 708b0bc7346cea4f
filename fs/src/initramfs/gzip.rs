//! gzip members (RFC 1952), decompressed in pieces.
//!
//! The work is [`inflate`](super::inflate)'s; this file reads the member's header and trailer. As Linux's boot decompressor
//! it does not compute the CRC-32 of the output, but it checks the length that the trailer promises.

use super::inflate::Decoder;
use core::fmt;

const FLAG_HCRC: u8 = 2;
const FLAG_EXTRA: u8 = 4;
const FLAG_NAME: u8 = 8;
const FLAG_COMMENT: u8 = 16;

/// Why decompression stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GzipError {
    /// The header is cut off, or of a method other than deflate.
    BadHeader,
    /// The deflate stream is damaged.
    BadData,
    /// The input ends within the stream.
    Truncated,
    /// The trailer's length is not that of the output.
    BadLength,
    /// No memory for the window.
    NoMemory,
}

impl fmt::Display for GzipError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            GzipError::BadHeader => "not a gzip file",
            GzipError::BadData => "invalid compressed format (err=1)",
            GzipError::Truncated => "uncompression error: unexpected end of data",
            GzipError::BadLength => "length error",
            GzipError::NoMemory => "out of memory while allocating the window",
        })
    }
}

/// What inflating needs. One value serves many members.
pub struct Inflater(Decoder);

impl Inflater {
    /// Allocates it: 110 KiB.
    pub fn new() -> Result<Inflater, GzipError> {
        Ok(Inflater(Decoder::new()?))
    }

    /// Decompresses the member at the start of `input`, handing the output to `out` in order. Returns the length of the
    /// member in `input`, or the first error, `out`'s included.
    pub fn member<E: From<GzipError>>(&mut self, input: &[u8], out: impl FnMut(&[u8]) -> Result<(), E>) -> Result<usize, E> {
        let header = header_len(input).ok_or(GzipError::BadHeader)?;
        let (length, total) = self.0.stream(&input[header..], out)?;
        let end = header + length;
        let trailer = input.get(end..end + 8).ok_or(GzipError::Truncated)?;
        if trailer[4..] != total.to_le_bytes() {
            return Err(GzipError::BadLength.into());
        }
        Ok(end + 8)
    }
}

/// Whether `input` starts as a gzip member does.
pub fn is_gzip(input: &[u8]) -> bool {
    matches!(input, [0x1f, 0x8b | 0x9e, ..])
}

/// Length of a member's header (RFC 1952, 2.3), if it is whole and the method is deflate.
fn header_len(input: &[u8]) -> Option<usize> {
    let fixed = input.get(..10)?;
    let flags = fixed[3];
    if !is_gzip(input) || fixed[2] != 8 {
        return None;
    }
    let mut len = 10;
    if flags & FLAG_EXTRA != 0 {
        let extra = input.get(len..len + 2)?;
        len += 2 + usize::from(u16::from_le_bytes([extra[0], extra[1]]));
    }
    for flag in [FLAG_NAME, FLAG_COMMENT] {
        if flags & flag != 0 {
            len += input.get(len..)?.iter().position(|&byte| byte == 0)? + 1;
        }
    }
    if flags & FLAG_HCRC != 0 {
        len += 2;
    }
    (len <= input.len()).then_some(len)
}
