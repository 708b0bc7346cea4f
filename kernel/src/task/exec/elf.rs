//! The ELF64 headers that a program is loaded by: pure parsing, no memory, no files.
//!
//! Every field is hostile. The functions take bytes and give values or the errno that Linux gives (`fs/binfmt_elf.c`);
//! arithmetic on the values is checked. What Linux does not look at (`EI_CLASS`, section headers, `e_version`) is not
//! looked at here either.

use vigil_abi::Errno;
use vigil_mem::PAGE_SIZE;

use crate::mm::TASK_SIZE;

/// Bytes of an ELF64 file header.
pub const EHDR_SIZE: usize = 64;
/// Bytes of an ELF64 program header.
pub const PHDR_SIZE: usize = 56;
/// Most program headers: their table may not be larger than a page.
pub const MAX_PHDRS: usize = PAGE_SIZE / PHDR_SIZE;
/// Longest interpreter path, its NUL included (PATH_MAX).
pub const MAX_INTERP: usize = 4096;

const EM_AARCH64: u16 = 183;
const PT_LOAD: u32 = 1;
const PT_INTERP: u32 = 3;
const PT_GNU_STACK: u32 = 0x6474_e551;
const PF_X: u32 = 1;
const PF_W: u32 = 2;
const PF_R: u32 = 4;

/// What sort of image it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ElfType {
    /// ET_EXEC: addresses are fixed.
    Exec,
    /// ET_DYN: a PIE or a shared object; the loader chooses the bias.
    Dyn,
}

/// The file header's fields that count.
#[derive(Clone, Copy, Debug)]
pub struct ElfHeader {
    /// Fixed or relocatable.
    pub kind: ElfType,
    /// Entry point, before the bias.
    pub entry: u64,
    /// File offset of the program headers.
    pub phoff: u64,
    /// How many there are, 1 to [`MAX_PHDRS`].
    pub phnum: usize,
}

/// One program header.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ProgramHeader {
    kind: u32,
    flags: u32,
    /// Offset in the file.
    pub offset: u64,
    /// Address, before the bias.
    pub vaddr: u64,
    /// Bytes that come from the file.
    pub filesz: u64,
    /// Bytes in memory.
    pub memsz: u64,
    /// Alignment that the linker asked for.
    pub align: u64,
}

fn u16_at(b: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(b.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

fn u32_at(b: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(b.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn u64_at(b: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(b.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

impl ElfHeader {
    /// Parses the first bytes of a file. ENOEXEC when this is no ELF executable of ours, or its program headers have a
    /// strange size or number (`load_elf_phdrs`).
    pub fn parse(bytes: &[u8]) -> Result<ElfHeader, Errno> {
        Self::parse_fields(bytes).ok_or(Errno::ENOEXEC)
    }

    fn parse_fields(b: &[u8]) -> Option<ElfHeader> {
        if b.get(..4)? != b"\x7fELF" || u16_at(b, 18)? != EM_AARCH64 {
            return None;
        }
        let kind = match u16_at(b, 16)? {
            2 => ElfType::Exec,
            3 => ElfType::Dyn,
            _ => return None,
        };
        let (entry, phoff) = (u64_at(b, 24)?, u64_at(b, 32)?);
        let (entsize, phnum) = (u16_at(b, 54)? as usize, u16_at(b, 56)? as usize);
        if entsize != PHDR_SIZE || phnum == 0 || phnum > MAX_PHDRS {
            return None;
        }
        Some(ElfHeader { kind, entry, phoff, phnum })
    }

    /// Bytes of the table of program headers, at [`ElfHeader::phoff`].
    pub fn phdrs_len(&self) -> usize {
        self.phnum * PHDR_SIZE
    }
}

impl ProgramHeader {
    /// Parses the program header at the start of `b`.
    pub fn parse(b: &[u8]) -> Option<ProgramHeader> {
        Some(ProgramHeader {
            kind: u32_at(b, 0)?,
            flags: u32_at(b, 4)?,
            offset: u64_at(b, 8)?,
            vaddr: u64_at(b, 16)?,
            filesz: u64_at(b, 32)?,
            memsz: u64_at(b, 40)?,
            align: u64_at(b, 48)?,
        })
    }

    /// Whether it is to be loaded.
    pub fn is_load(&self) -> bool {
        self.kind == PT_LOAD
    }

    /// Readable, writable, executable.
    pub fn rights(&self) -> (bool, bool, bool) {
        (self.flags & PF_R != 0, self.flags & PF_W != 0, self.flags & PF_X != 0)
    }

    /// Checks that the segment lies in user space and is not larger in the file than in memory: EINVAL.
    pub fn check_span(&self) -> Result<(), Errno> {
        let task_size = TASK_SIZE as u64;
        if self.vaddr >= task_size || self.filesz > self.memsz || self.memsz > task_size || task_size - self.memsz < self.vaddr {
            return Err(Errno::EINVAL);
        }
        Ok(())
    }

    /// Offset of the segment's address in its page.
    pub fn page_offset(&self) -> u64 {
        self.vaddr % PAGE_SIZE as u64
    }
}

/// A table of program headers, still in the file's form.
#[derive(Clone, Copy)]
pub struct ProgramHeaders<'a>(&'a [u8]);

impl<'a> ProgramHeaders<'a> {
    /// `bytes` is what the file holds at `phoff`, [`ElfHeader::phdrs_len`] long.
    pub fn new(bytes: &'a [u8]) -> Self {
        ProgramHeaders(bytes)
    }

    /// All of them, in the file's order.
    pub fn iter(&self) -> impl Iterator<Item = ProgramHeader> + 'a {
        self.0.chunks_exact(PHDR_SIZE).filter_map(ProgramHeader::parse)
    }

    /// Those to be loaded, in the file's order.
    pub fn loads(&self) -> impl Iterator<Item = ProgramHeader> + 'a {
        self.iter().filter(|p| p.is_load())
    }

    /// The place of the interpreter's path in the file: offset and length with its NUL. ENOEXEC for a length that is
    /// no path.
    pub fn interpreter(&self) -> Result<Option<(u64, usize)>, Errno> {
        match self.iter().find(|p| p.kind == PT_INTERP) {
            None => Ok(None),
            Some(p) if p.filesz < 2 || p.filesz > MAX_INTERP as u64 => Err(Errno::ENOEXEC),
            Some(p) => Ok(Some((p.offset, p.filesz as usize))),
        }
    }

    /// Whether PT_GNU_STACK asks for an executable stack. Without it the stack is not executable on arm64.
    pub fn executable_stack(&self) -> bool {
        self.iter().filter(|p| p.kind == PT_GNU_STACK).last().is_some_and(|p| p.flags & PF_X != 0)
    }

    /// Bytes from the first page to the end of the last segment (`total_mapping_size`), or `None` when nothing is to be
    /// loaded. EINVAL when that is no size.
    pub fn total_size(&self) -> Result<Option<u64>, Errno> {
        let mut span: Option<(u64, u64)> = None;
        for p in self.loads() {
            let start = p.vaddr & !(PAGE_SIZE as u64 - 1);
            let end = p.vaddr.checked_add(p.memsz).ok_or(Errno::EINVAL)?;
            span = Some(span.map_or((start, end), |(s, e)| (s.min(start), e.max(end))));
        }
        match span {
            None => Ok(None),
            Some((s, e)) => e.checked_sub(s).filter(|n| *n != 0).map(Some).ok_or(Errno::EINVAL),
        }
    }

    /// The largest alignment of a loaded segment that is a power of two, at least a page (`maximum_alignment`).
    pub fn max_alignment(&self) -> u64 {
        self.loads().map(|p| p.align).filter(|a| a.is_power_of_two()).max().unwrap_or(0).max(PAGE_SIZE as u64)
    }

    /// Where the program headers themselves are in memory, before the bias; 0 when no segment holds them.
    pub fn phdr_address(&self, phoff: u64) -> u64 {
        self.loads()
            .filter(|p| p.offset <= phoff && phoff - p.offset < p.filesz)
            .last()
            .map_or(0, |p| (phoff - p.offset).wrapping_add(p.vaddr))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::vec::Vec;

    /// A small, right ELF: one RX segment with the headers, one RW segment with bss.
    pub(crate) fn sample(kind: u16) -> Vec<u8> {
        let mut f = std::vec![0u8; 0x3000];
        let base: u64 = if kind == 2 { 0x400000 } else { 0 };
        f[..4].copy_from_slice(b"\x7fELF");
        f[4..7].copy_from_slice(&[2, 1, 1]);
        f[16..18].copy_from_slice(&kind.to_le_bytes());
        f[18..20].copy_from_slice(&EM_AARCH64.to_le_bytes());
        f[24..32].copy_from_slice(&(base + 0x1000).to_le_bytes());
        f[32..40].copy_from_slice(&64u64.to_le_bytes());
        f[54..56].copy_from_slice(&56u16.to_le_bytes());
        f[56..58].copy_from_slice(&2u16.to_le_bytes());
        let mut ph = |i: usize, flags: u32, off: u64, va: u64, fs: u64, ms: u64| {
            let b = 64 + i * 56;
            f[b..b + 4].copy_from_slice(&PT_LOAD.to_le_bytes());
            f[b + 4..b + 8].copy_from_slice(&flags.to_le_bytes());
            for (at, v) in [(8, off), (16, va), (24, va), (32, fs), (40, ms), (48, 0x1000)] {
                f[b + at..b + at + 8].copy_from_slice(&v.to_le_bytes());
            }
        };
        ph(0, PF_R | PF_X, 0, base, 0x2000, 0x2000);
        ph(1, PF_R | PF_W, 0x2000, base + 0x12000, 0x800, 0x3000);
        f
    }

    #[test]
    fn a_good_header_is_understood() {
        let f = sample(2);
        let h = ElfHeader::parse(&f).unwrap();
        assert_eq!((h.kind, h.entry, h.phnum), (ElfType::Exec, 0x401000, 2));
        let ph = ProgramHeaders::new(&f[64..64 + h.phdrs_len()]);
        assert_eq!(ph.loads().count(), 2);
        assert_eq!(ph.total_size(), Ok(Some(0x15000)));
        assert_eq!(ph.phdr_address(h.phoff), 0x400040);
        assert_eq!(ph.interpreter(), Ok(None));
        assert!(!ph.executable_stack());
    }

    #[test]
    fn every_corrupt_field_is_refused() {
        for (at, v) in [(0usize, 0u8), (16, 1), (16, 4), (18, 62), (54, 32), (56, 0), (57, 1)] {
            let mut f = sample(3);
            f[at] = v;
            assert_eq!(ElfHeader::parse(&f).err(), Some(Errno::ENOEXEC), "byte {at} = {v}");
        }
        assert_eq!(ElfHeader::parse(b"\x7fELF").err(), Some(Errno::ENOEXEC));
        assert_eq!(ElfHeader::parse(b"").err(), Some(Errno::ENOEXEC));
    }

    #[test]
    fn fuzz_elf_headers_ten_thousand_times() {
        let mut seed = 1u64;
        let mut rnd = move || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed
        };
        for _ in 0..10_000 {
            let mut f = sample(if rnd() & 1 == 0 { 2 } else { 3 });
            for _ in 0..1 + rnd() % 8 {
                let at = (rnd() % 200) as usize;
                f[at] = [0, 0xff, 0x7f, 0x80, rnd() as u8][(rnd() % 5) as usize];
            }
            f.truncate((rnd() % 300) as usize);
            let Ok(h) = ElfHeader::parse(&f) else { continue };
            let start = usize::try_from(h.phoff).unwrap_or(usize::MAX).min(f.len());
            let end = start.saturating_add(h.phdrs_len()).min(f.len());
            let ph = ProgramHeaders::new(&f[start..end]);
            let _ = ph.interpreter();
            let _ = ph.total_size();
            let _ = ph.max_alignment();
            let _ = ph.phdr_address(h.phoff);
            for p in ph.loads() {
                if p.check_span().is_ok() {
                    assert!(p.vaddr + p.memsz <= TASK_SIZE as u64);
                }
            }
        }
    }
}
