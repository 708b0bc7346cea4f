//! The checked pass over an untrusted blob. After it, [`Dtb`] stands for a blob whose structure is sound.

use super::{DtError, MAX_DEPTH, MAX_SIZE};
use fdt::Fdt;
use fdt::parsing::NoPanic;
use fdt::parsing::aligned::AlignedParser;

const MAGIC: u32 = 0xd00d_feed;
const HEADER_LEN: usize = 40;
const VERSION: u32 = 17;
/// Names are 31 characters by the specification; Linux and dtc accept more, nobody uses it.
const MAX_NAME: usize = 255;

const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROP: u32 = 3;
const NOP: u32 = 4;
const END: u32 = 9;

/// How `fdt` is used here: reading aligned words, answering errors.
pub(super) type Mode<'a> = (AlignedParser<'a>, NoPanic);
/// A node as `fdt` hands it out.
pub(super) type RawNode<'a> = fdt::nodes::Node<'a, Mode<'a>>;

/// A blob that passed [`validate`].
#[derive(Clone, Copy, Debug)]
pub struct Dtb<'a> {
    words: &'a [u32],
    total: usize,
    reserve_map: usize,
}

impl<'a> Dtb<'a> {
    /// How many bytes to map for the blob that starts with `head` (at least 40 bytes): its size, rounded up to eight.
    ///
    /// For a caller that has only an address. Errors: [`DtError::BadMagic`], [`DtError::TooLarge`],
    /// [`DtError::Truncated`] when `head` is too short or the size in it is less than a header.
    pub fn peek_size(head: &[u8]) -> Result<usize, DtError> {
        let word = |i: usize| be32(head, i * 4).ok_or(DtError::Truncated);
        if word(0)? != MAGIC {
            return Err(DtError::BadMagic);
        }
        let total = word(1)? as usize;
        if total < HEADER_LEN {
            return Err(DtError::Truncated);
        }
        if total > MAX_SIZE {
            return Err(DtError::TooLarge);
        }
        Ok(total.next_multiple_of(8))
    }

    /// The blob's size in bytes as its header states it.
    pub fn total_size(&self) -> usize {
        self.total
    }

    /// The memory reservation block (`/memreserve/`): base and length in bytes. Empty entries are left out.
    pub fn reserve_map(&self) -> impl Iterator<Item = super::Region> + 'a {
        let (bytes, start) = (self.bytes(), self.reserve_map);
        (0..)
            .map_while(move |i: usize| {
                let off = start.checked_add(i.checked_mul(16)?)?;
                Some((be64(bytes, off)?, be64(bytes, off.checked_add(8)?)?))
            })
            .take_while(|&(base, size)| base != 0 || size != 0)
            .filter(|&(_, size)| size != 0)
            .map(|(base, size)| super::Region { base, size })
    }

    /// The root node.
    pub(super) fn root(&self) -> Result<RawNode<'a>, DtError> {
        use fdt::nodes::AsNode;
        let fdt: Fdt<'a, Mode<'a>> = Fdt::new_fallible(self.words).map_err(|_| DtError::Structure)?;
        fdt.root().map(|r| r.as_node()).map_err(|_| DtError::Structure)
    }

    fn bytes(&self) -> &'a [u8] {
        as_bytes(self.words)
    }
}

fn as_bytes(words: &[u32]) -> &[u8] {
    // SAFETY: any bytes are valid `u8`s, the alignment of `u8` is 1, and the length in bytes is that of `words`.
    unsafe { core::slice::from_raw_parts(words.as_ptr().cast(), core::mem::size_of_val(words)) }
}

pub(super) fn be32(bytes: &[u8], off: usize) -> Option<u32> {
    let b = bytes.get(off..off.checked_add(4)?)?;
    Some(u32::from_be_bytes(b.try_into().ok()?))
}

pub(super) fn be64(bytes: &[u8], off: usize) -> Option<u64> {
    let b = bytes.get(off..off.checked_add(8)?)?;
    Some(u64::from_be_bytes(b.try_into().ok()?))
}

/// Checks `blob` and returns a handle through which it can be read without any further doubt about its structure.
///
/// `blob` starts at a multiple of four bytes and is at least as long as its header says, rounded up to four; more is
/// allowed. One pass, no recursion, no allocation; the time is linear in the size of its structure block.
pub fn validate(blob: &[u8]) -> Result<Dtb<'_>, DtError> {
    if !blob.as_ptr().addr().is_multiple_of(4) {
        return Err(DtError::Unaligned);
    }
    Dtb::peek_size(blob)?;
    let field = |i: usize| be32(blob, i * 4).map(|v| v as usize).ok_or(DtError::Truncated);
    let total = field(1)?;
    let len = total.next_multiple_of(4);
    if blob.len() < HEADER_LEN || blob.len() < len {
        return Err(DtError::Truncated);
    }
    let (struct_off, strings_off, reserve_map) = (field(2)?, field(3)?, field(4)?);
    let (version, last_comp) = (field(5)? as u32, field(6)? as u32);
    let (strings_len, struct_len) = (field(8)?, field(9)?);
    if version < VERSION || last_comp > VERSION {
        return Err(DtError::BadVersion);
    }
    if !struct_off.is_multiple_of(4) || !struct_len.is_multiple_of(4) {
        return Err(DtError::Layout);
    }
    let block = |off: usize, len: usize| {
        let end = off.checked_add(len).filter(|&e| off >= HEADER_LEN && e <= total).ok_or(DtError::Truncated)?;
        blob.get(off..end).ok_or(DtError::Truncated)
    };
    let strings = block(strings_off, strings_len)?;
    check_structure(block(struct_off, struct_len)?, strings)?;
    check_reserve_map(block(reserve_map, total.checked_sub(reserve_map).ok_or(DtError::Truncated)?)?)?;

    // SAFETY: the pointer is aligned to four (tested above), `len` is a multiple of four within `blob`, and any bits
    // are a `u32`.
    let words = unsafe { core::slice::from_raw_parts(blob.as_ptr().cast::<u32>(), len / 4) };
    Ok(Dtb { words, total, reserve_map })
}

fn check_reserve_map(map: &[u8]) -> Result<(), DtError> {
    for entry in map.chunks_exact(16) {
        if entry.iter().all(|&b| b == 0) {
            return Ok(());
        }
    }
    Err(DtError::Truncated)
}

/// The token grammar: one root with an empty name, in each node properties before children, END as the last word.
fn check_structure(block: &[u8], strings: &[u8]) -> Result<(), DtError> {
    let mut at = 0;
    let mut depth = 0usize;
    let mut root_seen = false;
    // Whether a property may come next: only between a node's name and its first child.
    let mut in_properties = false;
    loop {
        let token = be32(block, at).ok_or(DtError::Truncated)?;
        at += 4;
        match token {
            NOP => {}
            BEGIN_NODE => {
                let name = c_string(block.get(at..).ok_or(DtError::Truncated)?)?;
                if depth == 0 {
                    if root_seen || !name.is_empty() {
                        return Err(DtError::Structure);
                    }
                    root_seen = true;
                } else if name.is_empty() {
                    return Err(DtError::BadName);
                }
                depth += 1;
                if depth > MAX_DEPTH {
                    return Err(DtError::TooDeep);
                }
                at += (name.len() + 1).next_multiple_of(4);
                in_properties = true;
            }
            PROP if in_properties => {
                let len = be32(block, at).ok_or(DtError::Truncated)? as usize;
                let name_off = be32(block, at + 4).ok_or(DtError::Truncated)? as usize;
                at += 8;
                let name = c_string(strings.get(name_off..).ok_or(DtError::Truncated)?)?;
                if name.is_empty() {
                    return Err(DtError::BadName);
                }
                let end = at.checked_add(len).ok_or(DtError::Truncated)?;
                if end > block.len() {
                    return Err(DtError::Truncated);
                }
                at = end.next_multiple_of(4);
            }
            END_NODE if depth > 0 => {
                depth -= 1;
                in_properties = false;
            }
            END if depth == 0 && root_seen => {
                return if at == block.len() { Ok(()) } else { Err(DtError::Structure) };
            }
            _ => return Err(DtError::Structure),
        }
    }
}

/// The printable ASCII string at the start of `bytes`, which ends within [`MAX_NAME`] characters.
fn c_string(bytes: &[u8]) -> Result<&[u8], DtError> {
    let len = bytes.iter().take(MAX_NAME + 1).position(|&b| b == 0).ok_or(DtError::BadName)?;
    let name = bytes.get(..len).ok_or(DtError::BadName)?;
    if name.iter().all(|b| b.is_ascii_graphic() && *b != b'/') { Ok(name) } else { Err(DtError::BadName) }
}
