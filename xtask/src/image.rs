//! From the linked kernel to the `Image`: PT_LOAD segments laid out flat, symbol table filled in.
use crate::{erratum, ui};
use anyhow::{Context, Result, bail};
use object::Endianness;
use object::elf::{FileHeader64, PT_LOAD, SHT_SYMTAB, STT_FUNC, STT_NOTYPE, STT_OBJECT};
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader, Sym};

const KALLSYMS_MAGIC: u32 = 0x4b53_594d;

/// A named place in the image.
struct Symbol {
    offset: u32,
    function: bool,
    name: String,
}

/// Lays out the ELF's loadable segments from the lowest address on and fills the section `.kallsyms` when there is one.
///
/// Layout of `.kallsyms`, little-endian: `u32` magic `0x4b53594d`, `u32` count, `count` × {`u32` offset from the image's base,
/// `u32` offset of the name behind the entries} sorted by offset, then the names, NUL-terminated, demangled.
pub fn flatten(elf: &[u8]) -> Result<Vec<u8>> {
    let header = FileHeader64::<Endianness>::parse(elf).context("the kernel is not a 64-bit ELF")?;
    let endian = header.endian()?;
    let segments: Vec<_> =
        header.program_headers(endian, elf)?.iter().filter(|s| s.p_type(endian) == PT_LOAD && s.p_memsz(endian) > 0).collect();
    let base = segments.iter().map(|s| s.p_vaddr(endian)).min().context("the kernel has nothing to load")?;
    let mut image = Vec::new();
    for segment in &segments {
        let Ok(data) = segment.data(endian, elf) else { bail!("a segment lies outside the kernel's file") };
        let at = usize::try_from(segment.p_vaddr(endian) - base)?;
        if image.len() < at + data.len() {
            image.resize(at + data.len(), 0);
        }
        image[at..at + data.len()].copy_from_slice(data);
    }

    erratum::fix_835769(elf, &mut image, base)?;
    let sections = header.sections(endian, elf)?;
    let Some((_, section)) = sections.section_by_name(endian, b".kallsyms") else { return Ok(image) };
    let at = usize::try_from(section.sh_addr(endian) - base)?;
    let room = usize::try_from(section.sh_size(endian))?;
    if at + room > image.len() {
        bail!(".kallsyms is not among the bytes that are loaded");
    }
    let table = sections.symbols(endian, elf, SHT_SYMTAB)?;
    let mut symbols = Vec::new();
    for symbol in table.iter() {
        let kind = symbol.st_type();
        let name = symbol.name(endian, table.strings()).unwrap_or_default();
        let address = symbol.st_value(endian);
        let inside = address >= base && address - base <= image.len() as u64;
        if name.is_empty()
            || name.starts_with(b"$")
            || symbol.is_undefined(endian)
            || !inside
            || ![STT_FUNC, STT_OBJECT, STT_NOTYPE].contains(&kind)
        {
            continue;
        }
        let name = format!("{:#}", rustc_demangle::demangle(&String::from_utf8_lossy(name)));
        symbols.push(Symbol { offset: (address - base) as u32, function: kind == STT_FUNC, name });
    }
    let table = kallsyms(symbols, room);
    image[at..at + table.len()].copy_from_slice(&table);
    Ok(image)
}

/// Builds the symbol table; when it is larger than the room, first everything that is not a function goes, then the last functions.
fn kallsyms(mut symbols: Vec<Symbol>, room: usize) -> Vec<u8> {
    symbols.sort_by(|a, b| (a.offset, !a.function, &a.name).cmp(&(b.offset, !b.function, &b.name)));
    symbols.dedup_by_key(|s| s.offset);
    let size = |symbols: &[Symbol]| 8 + symbols.iter().map(|s| 9 + s.name.len()).sum::<usize>();
    let needed = size(&symbols);
    if needed > room {
        ui::say(&format!("the symbol table needs {needed} bytes and .kallsyms has {room}: functions only"));
        symbols.retain(|s| s.function);
        while size(&symbols) > room && symbols.pop().is_some() {}
    }
    if room < 8 {
        return Vec::new();
    }
    let mut table = Vec::with_capacity(size(&symbols));
    table.extend_from_slice(&KALLSYMS_MAGIC.to_le_bytes());
    table.extend_from_slice(&(symbols.len() as u32).to_le_bytes());
    let mut name_at = 0;
    for symbol in &symbols {
        table.extend_from_slice(&symbol.offset.to_le_bytes());
        table.extend_from_slice(&(name_at as u32).to_le_bytes());
        name_at += symbol.name.len() + 1;
    }
    for symbol in &symbols {
        table.extend_from_slice(symbol.name.as_bytes());
        table.push(0);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn symbol(offset: u32, function: bool, name: &str) -> Symbol {
        Symbol { offset, function, name: name.to_string() }
    }

    #[test]
    fn names_are_found_by_the_offsets_in_the_table() {
        let table = kallsyms(vec![symbol(64, true, "poll"), symbol(0, true, "_start"), symbol(64, false, "alias")], 1000);
        let word = |i: usize| u32::from_le_bytes(table[i..i + 4].try_into().expect("four bytes"));
        assert_eq!((word(0), word(4)), (KALLSYMS_MAGIC, 2));
        let name = |entry: usize| {
            let start = 8 + 8 * 2 + word(8 + 8 * entry + 4) as usize;
            table[start..].split(|b| *b == 0).next().map(<[u8]>::to_vec)
        };
        assert_eq!((word(8), name(0)), (0, Some(b"_start".to_vec())));
        assert_eq!((word(16), name(1)), (64, Some(b"poll".to_vec())));
    }

    #[test]
    fn a_small_section_keeps_functions_first() {
        let table = kallsyms(vec![symbol(0, false, "a_long_variable_name"), symbol(8, true, "f")], 20);
        assert_eq!(u32::from_le_bytes(table[4..8].try_into().expect("four bytes")), 1);
        assert!(table.len() <= 20);
    }
}
