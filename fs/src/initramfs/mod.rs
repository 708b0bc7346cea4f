//! The initial file system: cpio archives, plain or gzip-compressed, one after another with zeros between, unpacked into
//! the root file system before the first program runs.
//!
//! [`unpack`] is called once by the boot path, in a task, with nothing else running: it may take as long as the archive
//! is large, takes only the file system's own locks and never waits. Whatever the archive contains, the worst outcome
//! is an error to be printed as Linux prints it (`Initramfs unpacking failed: …`), with what was unpacked before it kept.
//!
//! | file | what |
//! |---|---|
//! | [`cpio`] | the archive format, a push parser |
//! | [`gzip`] | members: headers and trailers |
//! | [`inflate`], `huffman` | decompression in pieces |
//! | [`populate`] | entries → directories, files, nodes, links |

pub mod cpio;
pub mod gzip;
mod huffman;
pub mod inflate;
pub mod populate;
#[cfg(test)]
mod tests;

use core::fmt;
use cpio::{CpioError, Parser, Sink};
use gzip::{GzipError, Inflater};

/// Why unpacking stopped early.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UnpackError {
    /// In the archive.
    Cpio(CpioError),
    /// In the compression.
    Gzip(GzipError),
    /// A compression that is not supported, by its name.
    Unsupported(&'static str),
    /// Bytes that begin neither an archive nor a compressed one.
    BadMagic,
}

impl From<CpioError> for UnpackError {
    fn from(error: CpioError) -> Self {
        UnpackError::Cpio(error)
    }
}

impl From<GzipError> for UnpackError {
    fn from(error: GzipError) -> Self {
        UnpackError::Gzip(error)
    }
}

impl fmt::Display for UnpackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UnpackError::Cpio(error) => error.fmt(f),
            UnpackError::Gzip(error) => error.fmt(f),
            UnpackError::Unsupported(name) => write!(f, "compression method {name} not configured"),
            UnpackError::BadMagic => f.write_str("invalid magic at start of compressed archive"),
        }
    }
}

/// Feeds every archive in `image` to `sink` (Linux: unpack_to_rootfs): plain archives start with `0` at a multiple of
/// four bytes, zeros are passed over, anything else must be a compressed member.
pub fn scan(image: &[u8], sink: &mut impl Sink) -> Result<(), UnpackError> {
    let mut parser = Parser::new()?;
    let mut inflater: Option<Inflater> = None;
    let mut at = 0;
    while at < image.len() {
        let rest = &image[at..];
        if rest[0] == b'0' && at & 3 == 0 && parser.at_boundary() {
            at += parser.feed_archive(rest, sink)?;
        } else if rest[0] == 0 {
            at += rest.iter().take_while(|&&byte| byte == 0).count();
        } else if gzip::is_gzip(rest) {
            let inflater = match &mut inflater {
                Some(inflater) => inflater,
                none => none.insert(Inflater::new()?),
            };
            at += inflater.member(rest, |piece| parser.feed(piece, sink).map_err(UnpackError::from))?;
        } else {
            return Err(compression_name(rest).map_or(UnpackError::BadMagic, UnpackError::Unsupported));
        }
    }
    parser.finish().map_err(UnpackError::from)
}

/// The kernel's name of a compression that starts like this and that we do not have.
fn compression_name(input: &[u8]) -> Option<&'static str> {
    const MAGICS: [(&[u8], &str); 6] = [
        (&[0x42, 0x5a], "bzip2"),
        (&[0x5d, 0x00], "lzma"),
        (&[0xfd, 0x37], "xz"),
        (&[0x89, 0x4c], "lzo"),
        (&[0x02, 0x21], "lz4"),
        (&[0x28, 0xb5], "zstd"),
    ];
    MAGICS.iter().find(|(magic, _)| input.starts_with(magic)).map(|&(_, name)| name)
}
