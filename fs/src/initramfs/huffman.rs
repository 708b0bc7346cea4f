//! Tables of prefix codes for [`inflate`](super::inflate): the next bits are the index, the entry says how many of them are
//! the code and what it stands for (RFC 1951, 3.2.2; the two-level tables are zlib's idea).
//!
//! An entry:
//!
//! | bits | hold |
//! |---|---|
//! | 0–5 | length of the code, of what is left of it in a second table |
//! | 8–11 | extra bits behind it; for [`SUB`] the second table's index bits |
//! | 12–15 | the kind: [`BASE`], [`SUB`], [`END`], [`LITERAL`]; none: no such code |
//! | 16–31 | the literal, the base of the length or distance, the place of the second table |

use super::gzip::GzipError;

/// A length or a distance.
pub const BASE: u32 = 1 << 12;
/// The code is longer than the first table's index.
pub const SUB: u32 = 1 << 13;
/// The end of the block.
pub const END: u32 = 1 << 14;
/// A literal byte, or the length of a code.
pub const LITERAL: u32 = 1 << 15;

/// The longest code.
pub const MAX_BITS: u32 = 15;
const LENGTHS_OF_CODES: usize = MAX_BITS as usize + 1;

/// Entries of the table of literals and lengths: 10 bits, and the most that 286 codes of up to 15 bits need beyond them
/// (computed by zlib's `enough`: 1332).
pub const LENGTH_SIZE: usize = 1 << 11;
const LENGTH_BITS: u32 = 10;
/// The same for 30 distances behind 9 bits: 592.
pub const DISTANCE_SIZE: usize = 1 << 10;
const DISTANCE_BITS: u32 = 9;
/// Code lengths have codes of at most 7 bits.
const CODE_SIZE: usize = 1 << 7;
const CODE_BITS: u32 = 7;

/// Base and extra bits of the length symbols 257–285 (RFC 1951, 3.2.5).
const LENGTHS: [(u16, u8); 29] = [
    (3, 0),
    (4, 0),
    (5, 0),
    (6, 0),
    (7, 0),
    (8, 0),
    (9, 0),
    (10, 0),
    (11, 1),
    (13, 1),
    (15, 1),
    (17, 1),
    (19, 2),
    (23, 2),
    (27, 2),
    (31, 2),
    (35, 3),
    (43, 3),
    (51, 3),
    (59, 3),
    (67, 4),
    (83, 4),
    (99, 4),
    (115, 4),
    (131, 5),
    (163, 5),
    (195, 5),
    (227, 5),
    (258, 0),
];

/// Base and extra bits of the distance symbols.
const DISTANCES: [(u16, u8); 30] = [
    (1, 0),
    (2, 0),
    (3, 0),
    (4, 0),
    (5, 1),
    (7, 1),
    (9, 2),
    (13, 2),
    (17, 3),
    (25, 3),
    (33, 4),
    (49, 4),
    (65, 5),
    (97, 5),
    (129, 6),
    (193, 6),
    (257, 7),
    (385, 7),
    (513, 8),
    (769, 8),
    (1025, 9),
    (1537, 9),
    (2049, 10),
    (3073, 10),
    (4097, 11),
    (6145, 11),
    (8193, 12),
    (12289, 12),
    (16385, 13),
    (24577, 13),
];

fn literal_or_length(symbol: usize) -> u32 {
    match symbol {
        0..256 => (symbol as u32) << 16 | LITERAL,
        256 => END,
        _ => LENGTHS.get(symbol - 257).map_or(0, base),
    }
}

fn distance(symbol: usize) -> u32 {
    DISTANCES.get(symbol).map_or(0, base)
}

fn base(&(base, extra): &(u16, u8)) -> u32 {
    u32::from(base) << 16 | u32::from(extra) << 8 | BASE
}

/// A table of `SIZE` entries, a power of two; the first 2^`bits` of them are the first level.
pub struct Table<const SIZE: usize> {
    bits: u32,
    entries: [u32; SIZE],
}

impl<const SIZE: usize> Table<SIZE> {
    const fn new(bits: u32) -> Self {
        Table { bits, entries: [0; SIZE] }
    }

    /// The entry for the code at the bottom of `buffer`.
    #[inline(always)]
    pub fn first(&self, buffer: u64) -> u32 {
        // The mask is a constant after inlining where it matters: `bits` is, by the table's size.
        let bits = match SIZE {
            LENGTH_SIZE => LENGTH_BITS,
            DISTANCE_SIZE => DISTANCE_BITS,
            _ => CODE_BITS,
        };
        self.entries[buffer as usize & ((1 << bits) - 1)]
    }

    /// The entry in the second table that `link` names, for the rest of the code at the bottom of `buffer`.
    #[inline(always)]
    pub fn second(&self, link: u32, buffer: u64) -> u32 {
        let index = buffer as usize & 1usize.wrapping_shl(link >> 8 & 0xf).wrapping_sub(1);
        self.entries[((link >> 16) as usize).wrapping_add(index) & (SIZE - 1)]
    }

    /// Builds the table of the canonical code with these `lengths`, 0 for a symbol without a code. As in zlib, a code that
    /// leaves bit patterns unused is an error, unless it is one code of one bit, or none at all, and `may_lack`.
    fn build(&mut self, lengths: &[u8], may_lack: bool, entry: fn(usize) -> u32) -> Result<(), GzipError> {
        let mut count = [0u16; LENGTHS_OF_CODES];
        for &length in lengths {
            count[usize::from(length)] += 1;
        }
        count[0] = 0;
        let longest = count.iter().rposition(|&n| n != 0).unwrap_or(0);
        let mut left = 1i32;
        for &n in &count[1..] {
            left = (left << 1) - i32::from(n);
            if left < 0 {
                return Err(GzipError::BadData);
            }
        }
        if left > 0 && !(may_lack && longest <= 1) {
            return Err(GzipError::BadData);
        }
        // Symbols by code: by length, then by number.
        let mut offset = [0u16; LENGTHS_OF_CODES + 1];
        for length in 1..LENGTHS_OF_CODES {
            offset[length + 1] = offset[length] + count[length];
        }
        let mut sorted = [0u16; 288];
        for (symbol, &length) in lengths.iter().enumerate().filter(|(_, length)| **length != 0) {
            let slot = &mut offset[usize::from(length)];
            sorted[usize::from(*slot)] = symbol as u16;
            *slot += 1;
        }
        let codes = usize::from(count.iter().sum::<u16>());
        let root = 1usize << self.bits;
        self.entries[..root].fill(0);
        let mut used = root;
        // The code, with its bits reversed: they come lowest first.
        let mut code = 0usize;
        // The second table that is being filled: its place, the bits that lead to it, and its index bits.
        let mut second = (0, usize::MAX, 0u32);
        for &symbol in &sorted[..codes] {
            let length = u32::from(lengths[usize::from(symbol)]);
            let what = entry(usize::from(symbol));
            if length <= self.bits {
                for slot in self.entries[..root].iter_mut().skip(code).step_by(1 << length) {
                    *slot = what | length;
                }
            } else {
                let low = code & (root - 1);
                if second.1 != low {
                    // As large as the codes that begin with `low` need.
                    let mut bits = length - self.bits;
                    let mut room = 1i32 << bits;
                    while ((bits + self.bits) as usize) < longest {
                        room -= i32::from(count[(bits + self.bits) as usize]);
                        if room <= 0 {
                            break;
                        }
                        bits += 1;
                        room <<= 1;
                    }
                    second = (used, low, bits);
                    used += 1 << bits;
                    if used > SIZE {
                        return Err(GzipError::BadData);
                    }
                    self.entries[low] = (second.0 as u32) << 16 | bits << 8 | SUB | self.bits;
                }
                let (place, _, bits) = second;
                let rest = length - self.bits;
                for slot in self.entries[place..place + (1 << bits)].iter_mut().skip(code >> self.bits).step_by(1 << rest) {
                    *slot = what | rest;
                }
            }
            count[length as usize] -= 1;
            // The next code of this length, in reversed bits; going on to longer ones needs nothing.
            let mut bit = 1usize << (length - 1);
            while code & bit != 0 {
                bit >>= 1;
            }
            code = if bit == 0 { 0 } else { (code & (bit - 1)) + bit };
        }
        Ok(())
    }
}

/// The tables of a block, and the one that its lengths are read by.
pub struct Trees {
    /// Literals, lengths and the end.
    pub lengths: Table<LENGTH_SIZE>,
    /// Distances.
    pub distances: Table<DISTANCE_SIZE>,
    /// Lengths of codes.
    pub codes: Table<CODE_SIZE>,
}

impl Trees {
    /// Tables without codes.
    pub const fn new() -> Self {
        Trees { lengths: Table::new(LENGTH_BITS), distances: Table::new(DISTANCE_BITS), codes: Table::new(CODE_BITS) }
    }

    /// The codes that RFC 1951 fixes (3.2.6).
    pub fn fixed(&mut self) -> Result<(), GzipError> {
        let mut lengths = [8u8; 288];
        lengths[144..256].fill(9);
        lengths[256..280].fill(7);
        self.lengths.build(&lengths, false, literal_or_length)?;
        // 30 and 31 have codes, and mean nothing.
        self.distances.build(&[5; 32], false, distance)
    }

    /// A block's own codes.
    pub fn dynamic(&mut self, lengths: &[u8], distances: &[u8]) -> Result<(), GzipError> {
        self.lengths.build(lengths, true, literal_or_length)?;
        self.distances.build(distances, true, distance)
    }

    /// The codes of code lengths.
    pub fn codes(&mut self, lengths: &[u8]) -> Result<(), GzipError> {
        self.codes.build(lengths, false, |symbol| (symbol as u32) << 16 | LITERAL)
    }
}
