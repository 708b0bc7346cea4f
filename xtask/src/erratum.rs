//! Cortex-A53 erratum 835769 in the linked kernel: a 64-bit multiply-accumulate directly behind a load or store may compute a
//! wrong result (Arm's Software Developers Errata Notice for the A53, r0p0 to r0p4).
//!
//! No stable compiler option avoids the sequence, so it is taken apart here: the multiply-accumulate moves to a veneer at the
//! end of the text, `[multiply-accumulate, branch back]`, and a branch stands in its place. Branches are no part of the
//! sequence. Data between instructions is left alone: the assembler's mapping symbols (`$x`, `$d`) tell the two apart.
use anyhow::{Context, Result, bail};
use object::Endianness;
use object::elf::{FileHeader64, SHT_SYMTAB};
use object::read::elf::{FileHeader, Sym};
use std::collections::BTreeMap;
use std::ops::Range;

/// Whether `word` is a load, a store or a prefetch (A64 encoding group x1x0).
fn touches_memory(word: u32) -> bool {
    word & 0x0a00_0000 == 0x0800_0000
}

/// Whether `word` is MADD, MSUB, SMADDL, SMSUBL, UMADDL or UMSUBL on 64 bits with a register to add to.
fn multiplies_and_adds(word: u32) -> bool {
    word >> 24 == 0x9b && matches!(word >> 21 & 7, 0 | 1 | 5) && word >> 10 & 31 != 31
}

fn word_at(image: &[u8], at: usize) -> u32 {
    image[at..at + 4].try_into().map_or(0, u32::from_le_bytes)
}

fn branch(from: usize, to: usize) -> u32 {
    0x1400_0000 | ((to.wrapping_sub(from) >> 2) as u32 & 0x03ff_ffff)
}

/// The offsets of the sequences' second instructions in `code` of `image`.
fn sequences(image: &[u8], code: &[Range<usize>]) -> Vec<usize> {
    let second = |range: &Range<usize>| {
        let range = range.start.next_multiple_of(4)..range.end & !3;
        (range.start + 4..range.end).step_by(4).collect::<Vec<_>>()
    };
    let hit = |at: &usize| multiplies_and_adds(word_at(image, *at)) && touches_memory(word_at(image, *at - 4));
    code.iter().flat_map(second).filter(hit).collect()
}

/// Takes the sequences in `code` apart, with veneers in `room`; says how many there were.
fn take_apart(image: &mut [u8], code: &[Range<usize>], room: Range<usize>) -> Result<usize> {
    let sites = sequences(image, code);
    if sites.len() * 8 > room.len() {
        bail!("{} sequences of Cortex-A53 erratum 835769, and room for {} veneers: enlarge it in kernel.ld", sites.len(), room.len() / 8);
    }
    for (site, veneer) in sites.iter().zip(room.step_by(8)) {
        image.copy_within(*site..*site + 4, veneer);
        image[veneer + 4..veneer + 8].copy_from_slice(&branch(veneer + 4, site + 4).to_le_bytes());
        image[*site..*site + 4].copy_from_slice(&branch(*site, veneer).to_le_bytes());
    }
    let left = sequences(image, code);
    if !left.is_empty() {
        bail!("erratum 835769: {} sequences are left", left.len());
    }
    Ok(sites.len())
}

/// Takes the sequences in the text of the kernel `elf` apart in its flat `image`, which begins at address `base`.
pub fn fix_835769(elf: &[u8], image: &mut [u8], base: u64) -> Result<usize> {
    let header = FileHeader64::<Endianness>::parse(elf).context("the kernel is not a 64-bit ELF")?;
    let endian = header.endian()?;
    let table = header.sections(endian, elf)?.symbols(endian, elf, SHT_SYMTAB)?;
    let mut marks = BTreeMap::new();
    let mut named = BTreeMap::new();
    for symbol in table.iter() {
        let name = symbol.name(endian, table.strings()).unwrap_or_default();
        let Some(at) = symbol.st_value(endian).checked_sub(base).and_then(|at| usize::try_from(at).ok()) else { continue };
        match name {
            [b'$', kind @ (b'x' | b'd')] | [b'$', kind @ (b'x' | b'd'), b'.', ..] => {
                marks.insert(at, *kind == b'x');
            }
            b"_etext" | b"__erratum_835769_start" | b"__erratum_835769_end" | b"__trampoline_start" | b"__trampoline_end" => {
                named.insert(name, at);
            }
            _ => {}
        }
    }
    let place =
        |name: &[u8]| named.get(name).copied().with_context(|| format!("the kernel has no symbol {}", String::from_utf8_lossy(name)));
    let end = place(b"_etext")?;
    let ends = marks.keys().skip(1).copied().chain([end]).collect::<Vec<_>>();
    let code: Vec<_> =
        marks.iter().zip(ends).filter(|((at, is_code), to)| **is_code && **at < end && *to <= end).map(|((at, _), to)| *at..to).collect();
    // Neighbouring pieces are one: a sequence may begin in the one and end in the other.
    let mut pieces: Vec<Range<usize>> = Vec::new();
    for piece in code {
        match pieces.last_mut() {
            Some(last) if last.end == piece.start => last.end = piece.end,
            _ => pieces.push(piece),
        }
    }
    // Its code also runs at another address, from which no branch reaches a veneer.
    let trampoline = place(b"__trampoline_start")?..place(b"__trampoline_end")?;
    if sequences(image, &pieces).iter().any(|at| trampoline.contains(at)) {
        bail!("erratum 835769 in the trampoline");
    }
    take_apart(image, &pieces, place(b"__erratum_835769_start")?..place(b"__erratum_835769_end")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LDR: u32 = 0xf940_0000; // ldr x0, [x0]
    const STP: u32 = 0xa900_0400; // stp x0, x1, [x0]
    const MADD: u32 = 0x9b02_0c20; // madd x0, x1, x2, x3
    const MUL: u32 = 0x9b02_7c20; // mul x0, x1, x2
    const UMADDL: u32 = 0x9ba2_0c20; // umaddl x0, w1, w2, x3
    const MADDW: u32 = 0x1b02_0c20; // madd w0, w1, w2, w3
    const NOP: u32 = 0xd503_201f;

    fn image(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|w| w.to_le_bytes()).collect()
    }

    #[test]
    fn a_sequence_becomes_two_branches_around_the_same_instruction() {
        let mut text = image(&[LDR, MADD, NOP, STP, UMADDL, NOP, 0, 0, 0, 0]);
        assert_eq!(take_apart(&mut text, &[0..24], 24..40).unwrap(), 2);
        let expected = [LDR, branch(4, 24), NOP, STP, branch(16, 32), NOP, MADD, branch(28, 8), UMADDL, branch(36, 20)];
        assert_eq!(text, image(&expected));
    }

    #[test]
    fn what_is_not_affected_stays() {
        let words = [LDR, MUL, LDR, MADDW, LDR, NOP, MADD, MADD];
        let mut text = image(&words);
        assert_eq!(take_apart(&mut text, &[0..32], 0..0).unwrap(), 0);
        assert_eq!(text, image(&words));
    }

    #[test]
    fn too_little_room_is_an_error_and_data_is_no_code() {
        let mut text = image(&[LDR, MADD, LDR, MADD]);
        assert!(take_apart(&mut text, &[0..8], 0..0).is_err());
        assert_eq!(take_apart(&mut text, &[], 0..0).unwrap(), 0);
    }
}
