//! DEFLATE (RFC 1951), one way: the decoder of compressed initial file systems.
//!
//! Ours, because boot time is counted: the crates that need no allocator copy matches byte by byte where memory accesses
//! must be aligned, as in a kernel, and spend 15 instructions on a byte of output; this takes half
//! (`docs/dependencies.md`). It is all safe code, and has one loop:
//!
//! ```text
//!   bits (64, refilled by 32) ─► table of 2^10 ─┬─ literal ─► output
//!                                               ├─ length ─► table of 2^9 ─► distance ─► copy within the output
//!                                               └─ longer codes: a second table
//! ```
//!
//! The output is a linear buffer: when it is nearly full, what is new is handed out, and the last 32 KiB, which matches may
//! refer to, move to its beginning. Damaged input is an error, never a panic: what zlib refuses is refused.

use super::gzip::GzipError;
use super::huffman::{BASE, DISTANCE_SIZE, END, LENGTH_SIZE, LITERAL, MAX_BITS, SUB, Table, Trees};
use vigil_mem::{KBox, KVec};

/// How far back a match may reach.
const HISTORY: usize = 32 << 10;
/// The buffer: the history, and what is decoded between two calls of the sink.
const BUFFER: usize = HISTORY + (64 << 10);
/// The most bytes that one round of the loop writes: two literals, or one and a match.
const ROUND: usize = 1 + 258;

/// What decoding needs: the tables and the buffer. One value serves many streams.
pub struct Decoder {
    trees: KBox<Trees>,
    out: KVec<u8>,
}

/// The input, and the bits that were taken from it and not used yet. By value: it is to stay in registers.
#[derive(Clone, Copy)]
struct Bits<'a> {
    rest: &'a [u8],
    /// The next bit is the lowest.
    buffer: u64,
    /// How many of its bits there are.
    count: u32,
    /// How many of these are zeros from beyond the end of the input.
    beyond: u32,
}

impl<'a> Bits<'a> {
    /// Makes sure of 32 bits.
    #[inline(always)]
    fn refill(&mut self) -> Result<(), GzipError> {
        if self.count < 32 {
            match self.rest.split_first_chunk::<4>() {
                Some((word, rest)) => {
                    self.buffer |= u64::from(u32::from_le_bytes(*word)).wrapping_shl(self.count);
                    self.count = self.count.wrapping_add(32);
                    self.rest = rest;
                }
                // Its parts: a reference to the whole would keep it in memory.
                None => *self = Self::refill_at_end(self.rest, self.buffer, self.count, self.beyond)?,
            }
        }
        Ok(())
    }

    /// The last bytes of the input, and zeros behind them: a table look-up may look beyond the end of the stream.
    #[cold]
    #[inline(never)]
    fn refill_at_end(mut rest: &'a [u8], mut buffer: u64, mut count: u32, mut beyond: u32) -> Result<Self, GzipError> {
        while count < 32 {
            if let Some((byte, others)) = rest.split_first() {
                buffer |= u64::from(*byte) << count;
                rest = others;
            } else {
                beyond += 8;
                // More than were ever there ahead: some of them were used.
                if beyond > 64 {
                    return Err(GzipError::Truncated);
                }
            }
            count += 8;
        }
        Ok(Bits { rest, buffer, count, beyond })
    }

    /// Lets go of the code of `entry`.
    #[inline(always)]
    fn skip(&mut self, n: u32) {
        self.buffer = self.buffer.wrapping_shr(n);
        self.count = self.count.wrapping_sub(n);
    }

    /// Takes `n` bits, at most 16, of those that [`refill`](Self::refill) made sure of.
    #[inline(always)]
    fn take(&mut self, n: u32) -> usize {
        let value = self.buffer & 1u64.wrapping_shl(n).wrapping_sub(1);
        self.skip(n);
        value as usize
    }

    /// Takes `n` bits, at most 16.
    fn next(&mut self, n: u32) -> Result<usize, GzipError> {
        self.refill()?;
        Ok(self.take(n))
    }

    /// What is wrong when a code makes no sense: if it may reach beyond the end of the input, that is not all there.
    #[cold]
    fn bad(self) -> GzipError {
        if self.beyond + MAX_BITS > self.count { GzipError::Truncated } else { GzipError::BadData }
    }

    /// The input from the next whole byte on.
    fn into_bytes(self, input: &'a [u8]) -> Result<&'a [u8], GzipError> {
        if self.beyond > self.count {
            return Err(GzipError::Truncated);
        }
        let unused = ((self.count - self.beyond) / 8) as usize;
        let at = input.len() - self.rest.len() - unused;
        input.get(at..).ok_or(GzipError::Truncated)
    }
}

/// The bytes that a length or distance `entry` stands for, its extra bits included.
#[inline(always)]
fn amount(entry: u32, bits: &mut Bits<'_>) -> usize {
    (entry >> 16) as usize + bits.take(entry >> 8 & 0xf)
}

/// The entry for the next code, which is let go; of literals and lengths after their first table says so, or of distances.
#[inline(always)]
fn decode<const SIZE: usize>(table: &Table<SIZE>, bits: &mut Bits<'_>, first: u32) -> u32 {
    bits.skip(first & 0x3f);
    if first & SUB == 0 {
        return first;
    }
    let entry = table.second(first, bits.buffer);
    bits.skip(entry & 0x3f);
    entry
}

/// Copies `length` bytes from `distance` before `at` to `at`; what is written is read again if they overlap. Both lie in `out`.
#[inline(always)]
fn copy_match(out: &mut [u8], at: usize, distance: usize, length: usize) {
    let from = at - distance;
    if length > 16 && distance >= length {
        out.copy_within(from..from + length, at);
    } else if distance == 1 {
        let byte = out[from];
        out[at..at + length].fill(byte);
    } else if let Some(window) = out.get_mut(from..at + length) {
        let cells = core::cell::Cell::from_mut(window).as_slice_of_cells();
        for (to, from) in cells[distance..].iter().zip(cells) {
            to.set(from.get());
        }
    }
}

impl Decoder {
    /// Allocates the tables and the buffer. Errors: no memory.
    #[inline(never)]
    pub fn new() -> Result<Decoder, GzipError> {
        let trees = KBox::try_new(Trees::new()).map_err(|_| GzipError::NoMemory)?;
        let mut out = KVec::new();
        out.try_resize(BUFFER, 0).map_err(|_| GzipError::NoMemory)?;
        Ok(Decoder { trees, out })
    }

    /// Decodes the stream at the start of `input`, handing the output to `sink` in order. Returns the length of the stream
    /// in `input` and of the output, modulo 2^32, or the first error, `sink`'s included.
    pub fn stream<E: From<GzipError>>(&mut self, input: &[u8], mut sink: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(usize, u32), E> {
        let mut bits = Bits { rest: input, buffer: 0, count: 0, beyond: 0 };
        let mut total = 0u32;
        // Where the next byte goes, and where the first one is that the sink has not seen.
        let (mut at, mut new) = (0, 0);
        loop {
            let last = bits.next(1)? != 0;
            match bits.next(2)? {
                0 => {
                    let stored = bits.into_bytes(input)?;
                    let header = stored.first_chunk::<4>().ok_or(GzipError::Truncated)?;
                    let (length, check) = (u16::from_le_bytes([header[0], header[1]]), u16::from_le_bytes([header[2], header[3]]));
                    if length != !check {
                        return Err(GzipError::BadData.into());
                    }
                    let mut data = stored.get(4..4 + usize::from(length)).ok_or(GzipError::Truncated)?;
                    bits = Bits { rest: &stored[4 + data.len()..], buffer: 0, count: 0, beyond: 0 };
                    while !data.is_empty() {
                        if at == BUFFER {
                            (at, new) = flush(&mut self.out, at, new, &mut total, &mut sink)?;
                        }
                        let piece = data.len().min(BUFFER - at);
                        self.out[at..at + piece].copy_from_slice(&data[..piece]);
                        at += piece;
                        data = &data[piece..];
                    }
                }
                kind @ (1 | 2) => {
                    if kind == 1 {
                        self.trees.fixed()?;
                    } else {
                        self.read_trees(&mut bits).map_err(|_| bits.bad())?;
                    }
                    // Until the end of the block, or of the room.
                    loop {
                        let (left, position, ended) = block(&self.trees, bits, &mut self.out, at)?;
                        (bits, at) = (left, position);
                        if ended {
                            break;
                        }
                        (at, new) = flush(&mut self.out, at, new, &mut total, &mut sink)?;
                    }
                }
                _ => return Err(bits.bad().into()),
            }
            if last {
                break;
            }
        }
        flush(&mut self.out, at, new, &mut total, &mut sink)?;
        Ok((input.len() - bits.into_bytes(input)?.len(), total))
    }

    /// Reads the trees of a block that brings its own (RFC 1951, 3.2.7).
    #[inline(never)]
    fn read_trees(&mut self, bits: &mut Bits<'_>) -> Result<(), GzipError> {
        /// The order in which the lengths of the codes for code lengths come.
        const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
        let (literals, distances, codes) = (257 + bits.next(5)?, 1 + bits.next(5)?, 4 + bits.next(4)?);
        if literals > 286 || distances > 30 {
            return Err(GzipError::BadData);
        }
        let mut lengths = [0u8; 286 + 30];
        for &symbol in &ORDER[..codes] {
            lengths[symbol] = bits.next(3)? as u8;
        }
        self.trees.codes(&lengths[..19])?;
        lengths[..19].fill(0);
        let mut n = 0;
        while n < literals + distances {
            bits.refill()?;
            let first = self.trees.codes.first(bits.buffer);
            let entry = decode(&self.trees.codes, bits, first);
            if entry & LITERAL == 0 {
                return Err(GzipError::BadData);
            }
            let (value, repeat) = match (entry >> 16, n) {
                (length @ 0..16, _) => (length as u8, 1),
                (16, 1..) => (lengths[n - 1], 3 + bits.take(2)),
                (17, _) => (0, 3 + bits.take(3)),
                (18, _) => (0, 11 + bits.take(7)),
                _ => return Err(GzipError::BadData),
            };
            if n + repeat > literals + distances {
                return Err(GzipError::BadData);
            }
            lengths[n..n + repeat].fill(value);
            n += repeat;
        }
        // A block that cannot end.
        if lengths[256] == 0 {
            return Err(GzipError::BadData);
        }
        self.trees.dynamic(&lengths[..literals], &lengths[literals..n])
    }
}

/// Hands out what is new in `out`, whose first `at` bytes are in use, and moves the history to its beginning. Returns the new
/// `at`, twice.
#[inline(never)]
fn flush<E>(
    out: &mut [u8],
    at: usize,
    new: usize,
    total: &mut u32,
    sink: &mut impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(usize, usize), E> {
    sink(&out[new..at])?;
    *total = total.wrapping_add((at - new) as u32);
    if at <= HISTORY {
        return Ok((at, at));
    }
    out.copy_within(at - HISTORY..at, 0);
    Ok((HISTORY, HISTORY))
}

/// Decodes codes to `out` from `at` on, until the block ends or the room does. Returns the input, the position, and whether it
/// was the end.
#[inline(never)]
fn block<'a>(trees: &Trees, bits: Bits<'a>, out: &mut [u8], mut at: usize) -> Result<(Bits<'a>, usize, bool), GzipError> {
    // Not the argument itself, which has an address.
    let Bits { rest, buffer, count, beyond } = bits;
    let mut bits = Bits { rest, buffer, count, beyond };
    let (lengths, distances): (&Table<LENGTH_SIZE>, &Table<DISTANCE_SIZE>) = (&trees.lengths, &trees.distances);
    let limit = out.len().saturating_sub(ROUND);
    while at <= limit {
        bits.refill()?;
        let mut entry = lengths.first(bits.buffer);
        if entry & LITERAL != 0 {
            bits.skip(entry & 0x3f);
            out[at] = (entry >> 16) as u8;
            at = at.wrapping_add(1);
            entry = lengths.first(bits.buffer);
            if entry & LITERAL != 0 {
                // 17 bits were left at least.
                bits.skip(entry & 0x3f);
                out[at] = (entry >> 16) as u8;
                at = at.wrapping_add(1);
                continue;
            }
            bits.refill()?;
        }
        entry = decode(lengths, &mut bits, entry);
        if entry & BASE == 0 {
            if entry & LITERAL != 0 {
                out[at] = (entry >> 16) as u8;
                at = at.wrapping_add(1);
                continue;
            }
            return if entry & END != 0 { Ok((bits, at, true)) } else { Err(bits.bad()) };
        }
        // A length's code and its extra bits are 20 at most, a distance's 28.
        let length = amount(entry, &mut bits);
        bits.refill()?;
        let first = distances.first(bits.buffer);
        let entry = decode(distances, &mut bits, first);
        let distance = amount(entry, &mut bits);
        if entry & BASE == 0 || distance > at {
            return Err(bits.bad());
        }
        copy_match(out, at, distance, length);
        at = at.wrapping_add(length);
    }
    Ok((bits, at, false))
}

#[cfg(test)]
mod tests {
    use super::*;
    use miniz_oxide::deflate::compress_to_vec;
    use miniz_oxide::inflate::decompress_to_vec_with_limit;
    use proptest::prelude::*;
    use std::vec::Vec;

    fn inflate(input: &[u8]) -> Result<(usize, Vec<u8>), GzipError> {
        let mut output = Vec::new();
        let mut decoder = Decoder::new()?;
        let (length, total) = decoder.stream(input, |piece| {
            output.extend_from_slice(piece);
            Ok::<(), GzipError>(())
        })?;
        assert_eq!(total as usize, output.len());
        Ok((length, output))
    }

    /// Text with matches near and far, of all lengths, and with bytes that occur seldom: codes longer than a first table.
    fn sample(len: usize) -> Vec<u8> {
        let mut x = 1u32;
        let mut data: Vec<u8> = Vec::new();
        while data.len() < len {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let (kind, n) = (x >> 28, (x >> 13 & 0x7f) as usize);
            match kind {
                0..2 if data.len() > n => {
                    let back = (x >> 8) as usize % data.len().min(HISTORY) + 1;
                    let from = data.len() - back;
                    (0..n).for_each(|i| data.push(data[from + i]));
                }
                2 => data.extend(std::iter::repeat_n((x >> 9) as u8, 4 * n)),
                _ => data.push((x >> 20) as u8 >> (x >> 12 & 7)),
            }
        }
        data.truncate(len);
        data
    }

    #[test]
    fn every_level_of_compression_comes_back() {
        for len in [0, 1, 2, 3, 100, HISTORY - 1, HISTORY, HISTORY + 1, BUFFER, 1_000_000] {
            let data = sample(len);
            for level in [0, 1, 4, 6, 9] {
                let mut packed = compress_to_vec(&data, level);
                let whole = packed.len();
                assert_eq!(inflate(&packed), Ok((whole, data.clone())), "{len} bytes at level {level}");
                // What comes behind the stream is left alone.
                packed.extend_from_slice(b"trailer");
                assert_eq!(inflate(&packed).map(|(n, _)| n), Ok(whole));
            }
        }
    }

    #[test]
    fn a_cut_stream_is_truncated_wherever_it_is_cut() {
        let packed = compress_to_vec(&sample(3000), 6);
        for cut in 0..packed.len() {
            assert_eq!(inflate(&packed[..cut]), Err(GzipError::Truncated), "cut at {cut} of {}", packed.len());
        }
    }

    #[test]
    fn what_zlib_refuses_is_refused() {
        let bad: [(&str, &[u8]); 6] = [
            ("a block type that does not exist", &[7, 0, 0, 0]),
            ("stored length and its complement", &[1, 1, 0, 0, 0, 0]),
            ("287 literal codes", &[0xf5, 0, 0, 0, 0, 0]),
            ("31 distance codes", &[0x05, 0x1e, 0, 0, 0, 0]),
            ("no codes for code lengths", &[0x05, 0, 0, 0, 0, 0, 0, 0]),
            // Fixed codes: length 3, distance 1, at the very beginning.
            ("a distance before the beginning", &[0x03, 0x02, 0, 0, 0, 0, 0, 0, 0, 0]),
        ];
        for (what, input) in bad {
            assert_eq!(inflate(&[input, &[0; 8]].concat()), Err(GzipError::BadData), "{what}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 1500 }))]

        /// A damaged stream never panics; where it is still one, the output is what another decoder makes of it.
        #[test]
        fn fuzz_damaged_streams(len in 1usize..6000, level in 0u8..10, flips in proptest::collection::vec((any::<usize>(), any::<u8>()), 0..6)) {
            let mut packed = compress_to_vec(&sample(len), level);
            for (at, byte) in flips {
                let at = at % packed.len();
                packed[at] ^= byte;
            }
            let other = decompress_to_vec_with_limit(&packed, 1 << 20);
            match inflate(&packed) {
                Ok((_, output)) => prop_assert_eq!(Some(output), other.ok()),
                Err(_) => prop_assert!(other.is_err()),
            }
        }
    }
}
