//! A push parser for cpio archives in the "newc" formats (070701, and 070702 with checksums).
//!
//! It is fed the archive in pieces of any size, because a compressed archive comes out of the decompressor in pieces,
//! and hands what it finds to a [`Sink`]: file contents as slices of the input, never copied. It accepts what Linux's
//! `init/initramfs.c` accepts and words its errors in the same way; it touches no file system, so that a host test can
//! feed it anything.
//!
//! ```text
//!   Header ──► Name ──► Data ──► Padding ──► Header        regular file
//!      │         └────────────────────────► Header        anything without contents
//!      ├──► Link (name and target together) ► Padding      symbolic link
//!      ├──► Skip ─────────────────────────► Header        what Linux passes over (bad name length, odd contents)
//!      └── trailer ► Gap (zeros between archives) ► Header
//! ```

use core::fmt;
use vigil_abi::fcntl::PATH_MAX;
use vigil_abi::stat::{S_IFLNK, S_IFMT, S_IFREG};
use vigil_abi::until_nul;
use vigil_mem::{AllocError, KVec};

/// Bytes of a header: a magic and thirteen fields of eight hexadecimal digits.
const HEADER_LEN: usize = 110;
/// The name that ends an archive.
const TRAILER: &[u8] = b"TRAILER!!!";

/// The fields of an entry's header which a kernel uses.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Header {
    /// Inode number within the archive: entries with the same one are hard links.
    pub ino: u32,
    /// File type and permissions (`S_IF*`).
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Number of hard links.
    pub nlink: u32,
    /// Modification time, seconds since 1970.
    pub mtime: u32,
    /// Bytes of contents.
    pub size: u32,
    /// Device of the archived file (major, minor): part of its identity.
    pub dev: (u32, u32),
    /// Device that a device node stands for (major, minor).
    pub rdev: (u32, u32),
    /// Sum of all content bytes, for the 070702 format only.
    pub checksum: Option<u32>,
}

/// Why unpacking stopped. The words are Linux's, since people search for them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CpioError {
    /// The header starts with 070707, the old format.
    OldFormat,
    /// The header does not start with a known magic.
    NoMagic,
    /// A header field is not hexadecimal.
    BadField,
    /// Contents differ from their checksum.
    BadChecksum,
    /// Something other than zeros or an aligned header follows an archive.
    BrokenPadding,
    /// The input ends within an entry.
    Truncated,
    /// No memory.
    NoMemory,
}

impl fmt::Display for CpioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CpioError::OldFormat => "incorrect cpio method used: use -H newc option",
            CpioError::NoMagic => "no cpio magic",
            CpioError::BadField => "malformed cpio header",
            CpioError::BadChecksum => "bad data checksum",
            CpioError::BrokenPadding => "broken padding",
            CpioError::Truncated => "unexpected end of archive",
            CpioError::NoMemory => "out of memory",
        })
    }
}

impl From<AllocError> for CpioError {
    fn from(_: AllocError) -> Self {
        CpioError::NoMemory
    }
}

/// What is done with the entries. Names have no NUL in them and may be anything else: absolute, with `..`, empty.
pub trait Sink {
    /// A new entry that is no symbolic link. True: its contents are wanted.
    fn entry(&mut self, header: &Header, name: &[u8]) -> bool;
    /// The next piece of the contents of the entry that was accepted last.
    fn data(&mut self, piece: &[u8]);
    /// All contents of the entry that was accepted last have come.
    fn end_entry(&mut self);
    /// A symbolic link.
    fn symlink(&mut self, header: &Header, name: &[u8], target: &[u8]);
    /// The trailer of an archive: inode numbers mean something else from now on.
    fn end_archive(&mut self);
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Header,
    Name,
    Link,
    Data,
    Skip,
    Gap,
}

/// The parser. One value serves several archives in a row.
pub struct Parser {
    state: State,
    /// What of a header, name or link target has come so far.
    collected: KVec<u8>,
    /// Bytes of the present state that are still to come.
    remaining: u64,
    /// Zeros after the contents that are still to come (0–3).
    padding: u64,
    /// Offset in the present archive modulo 4: where headers may start.
    offset: u64,
    header: Header,
    wanted: bool,
    sum: u32,
}

impl Parser {
    /// A parser at the start of an archive. Allocates its buffer for names (8 KiB) at once.
    pub fn new() -> Result<Parser, CpioError> {
        Ok(Parser {
            state: State::Header,
            collected: KVec::try_with_capacity(HEADER_LEN + 2 * (PATH_MAX + 4))?,
            remaining: HEADER_LEN as u64,
            padding: 0,
            offset: 0,
            header: Header::default(),
            wanted: false,
            sum: 0,
        })
    }

    /// Whether an archive may end here: between entries or after a trailer.
    pub fn at_boundary(&self) -> bool {
        self.state == State::Gap || (self.state == State::Header && self.collected.is_empty())
    }

    /// Consumes all of `input`.
    pub fn feed(&mut self, mut input: &[u8], sink: &mut impl Sink) -> Result<(), CpioError> {
        while !input.is_empty() {
            input = self.step(input, sink)?;
        }
        Ok(())
    }

    /// Consumes one archive up to its trailer and returns its length: all of `input` if no trailer is in it. What follows
    /// a trailer may be compressed, so it is left to the caller. Call at a boundary, at an aligned place.
    pub fn feed_archive(&mut self, input: &[u8], sink: &mut impl Sink) -> Result<usize, CpioError> {
        if self.state == State::Gap {
            self.offset = 0;
            self.expect(State::Header, HEADER_LEN as u64);
        }
        let mut rest = input;
        while !rest.is_empty() && self.state != State::Gap {
            rest = self.step(rest, sink)?;
        }
        Ok(input.len() - rest.len())
    }

    fn step<'i>(&mut self, input: &'i [u8], sink: &mut impl Sink) -> Result<&'i [u8], CpioError> {
        match self.state {
            State::Header | State::Name | State::Link => self.collect(input, sink),
            State::Data => self.contents(input, sink),
            State::Skip => Ok(self.skip(input)),
            State::Gap => self.gap(input),
        }
    }

    /// Ends the input.
    pub fn finish(&mut self) -> Result<(), CpioError> {
        if self.at_boundary() { Ok(()) } else { Err(CpioError::Truncated) }
    }

    fn advance(&mut self, n: usize) {
        self.offset = self.offset.wrapping_add(n as u64);
        self.remaining -= n as u64;
    }

    fn expect(&mut self, state: State, bytes: u64) {
        self.state = state;
        self.remaining = bytes;
        self.collected.clear();
    }

    fn collect<'i>(&mut self, input: &'i [u8], sink: &mut impl Sink) -> Result<&'i [u8], CpioError> {
        let n = usize::try_from(self.remaining).unwrap_or(usize::MAX).min(input.len());
        let (piece, rest) = input.split_at(n);
        self.collected.try_extend_from_slice(piece)?;
        self.advance(n);
        if self.remaining == 0 {
            match self.state {
                State::Header => self.got_header()?,
                State::Name => self.got_name(sink)?,
                _ => self.got_link(sink),
            }
        }
        Ok(rest)
    }

    fn got_header(&mut self) -> Result<(), CpioError> {
        let (header, name_len) = parse_header(&self.collected)?;
        self.header = header;
        let kind = header.mode & S_IFMT;
        let name_padded = align_name(name_len);
        let size = u64::from(header.size);
        self.padding = size.wrapping_neg() & 3;
        if name_len == 0 || name_len > PATH_MAX as u64 || (kind == S_IFLNK && size > PATH_MAX as u64) {
            self.expect(State::Skip, name_padded + size + self.padding);
        } else if kind == S_IFLNK {
            self.expect(State::Link, name_padded + size);
            self.sum = name_len as u32;
        } else if kind == S_IFREG || size == 0 {
            self.expect(State::Name, name_padded);
            self.sum = name_len as u32;
        } else {
            // Contents on a directory or device: Linux passes over the whole entry.
            self.expect(State::Skip, name_padded + size + self.padding);
        }
        Ok(())
    }

    /// The collected name up to its NUL; `sum` holds the name's length in this state.
    fn name(&self) -> &[u8] {
        let name = self.collected.get(..self.sum as usize).unwrap_or(&self.collected);
        until_nul(name)
    }

    fn got_name(&mut self, sink: &mut impl Sink) -> Result<(), CpioError> {
        if self.name() == TRAILER {
            sink.end_archive();
            self.expect(State::Gap, 0);
            return Ok(());
        }
        self.wanted = sink.entry(&self.header, self.name());
        self.sum = 0;
        let size = u64::from(self.header.size);
        if size == 0 {
            return self.end_of_contents(sink);
        }
        self.expect(State::Data, size);
        Ok(())
    }

    fn got_link(&mut self, sink: &mut impl Sink) {
        let target = self.collected.get(align_name(u64::from(self.sum)) as usize..).unwrap_or(&[]);
        sink.symlink(&self.header, self.name(), until_nul(target));
        let padding = self.padding;
        self.expect_skip(padding);
    }

    fn contents<'i>(&mut self, input: &'i [u8], sink: &mut impl Sink) -> Result<&'i [u8], CpioError> {
        let n = usize::try_from(self.remaining).unwrap_or(usize::MAX).min(input.len());
        let (piece, rest) = input.split_at(n);
        if self.header.checksum.is_some() {
            self.sum = piece.iter().fold(self.sum, |sum, &byte| sum.wrapping_add(u32::from(byte)));
        }
        if self.wanted {
            sink.data(piece);
        }
        self.advance(n);
        if self.remaining == 0 {
            self.end_of_contents(sink)?;
        }
        Ok(rest)
    }

    fn end_of_contents(&mut self, sink: &mut impl Sink) -> Result<(), CpioError> {
        if self.wanted {
            sink.end_entry();
        }
        let damaged = self.wanted && self.header.checksum.is_some_and(|sum| sum != self.sum);
        let padding = self.padding;
        self.expect_skip(padding);
        if damaged { Err(CpioError::BadChecksum) } else { Ok(()) }
    }

    fn expect_skip(&mut self, bytes: u64) {
        if bytes == 0 { self.expect(State::Header, HEADER_LEN as u64) } else { self.expect(State::Skip, bytes) }
    }

    fn skip<'i>(&mut self, input: &'i [u8]) -> &'i [u8] {
        let n = usize::try_from(self.remaining).unwrap_or(usize::MAX).min(input.len());
        self.advance(n);
        if self.remaining == 0 {
            self.expect(State::Header, HEADER_LEN as u64);
        }
        &input[n..]
    }

    fn gap<'i>(&mut self, input: &'i [u8]) -> Result<&'i [u8], CpioError> {
        let zeros = input.iter().take_while(|&&byte| byte == 0).count();
        self.offset = self.offset.wrapping_add(zeros as u64);
        let rest = &input[zeros..];
        if !rest.is_empty() {
            if self.offset & 3 != 0 {
                return Err(CpioError::BrokenPadding);
            }
            self.expect(State::Header, HEADER_LEN as u64);
        }
        Ok(rest)
    }
}

/// Length of a name field of `len` bytes with its padding: header and name together end on a multiple of 4.
fn align_name(len: u64) -> u64 {
    ((len + 1) & !3) + 2
}

fn parse_header(raw: &[u8]) -> Result<(Header, u64), CpioError> {
    let with_checksum = match raw.get(..6) {
        Some(b"070701") => false,
        Some(b"070702") => true,
        Some(b"070707") => return Err(CpioError::OldFormat),
        _ => return Err(CpioError::NoMagic),
    };
    let mut fields = [0u32; 13];
    for (field, digits) in fields.iter_mut().zip(raw[6..].chunks_exact(8)) {
        *field = hex(digits).ok_or(CpioError::BadField)?;
    }
    let [ino, mode, uid, gid, nlink, mtime, size, major, minor, rmajor, rminor, name_len, checksum] = fields;
    let header = Header {
        ino,
        mode,
        uid,
        gid,
        nlink,
        mtime,
        size,
        dev: (major, minor),
        rdev: (rmajor, rminor),
        checksum: with_checksum.then_some(checksum),
    };
    Ok((header, u64::from(name_len)))
}

fn hex(digits: &[u8]) -> Option<u32> {
    let mut value = 0u32;
    for &digit in digits {
        value = value << 4 | char::from(digit).to_digit(16)?;
    }
    Some(value)
}
