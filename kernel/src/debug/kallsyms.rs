//! The kernel's symbol table: written into the section `.kallsyms` by xtask after the link, read here for back-traces.
//!
//! Format: `u32` magic, `u32` count, `count` × { `u32` offset from the image's start, `u32` offset of the name behind the
//! entries }, sorted by offset; then the names, NUL-terminated. All little endian. Everything is checked: an image that
//! xtask has not seen has no table, and a damaged one must not break a panic.

/// "MYSK" as a little-endian number.
const MAGIC: u32 = 0x4b53_594d;

/// A symbol table in `bytes`.
#[derive(Clone, Copy, Debug)]
pub struct Symbols<'a> {
    bytes: &'a [u8],
    count: usize,
}

impl<'a> Symbols<'a> {
    /// The table in `bytes`, or `None` when there is none.
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        let s = Symbols { bytes, count: 0 };
        if s.word(0)? != MAGIC {
            return None;
        }
        let count = s.word(4)? as usize;
        (count <= (bytes.len() - 8) / 8).then_some(Symbols { bytes, count })
    }

    fn word(&self, at: usize) -> Option<u32> {
        let b = self.bytes.get(at..at.checked_add(4)?)?;
        Some(u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
    }

    fn offset(&self, i: usize) -> Option<u32> {
        self.word(8 + 8 * i)
    }

    fn name(&self, i: usize) -> Option<&'a str> {
        let names = self.bytes.get(8 + 8 * self.count..)?;
        let text = names.get(self.word(12 + 8 * i)? as usize..)?;
        let len = text.iter().position(|b| *b == 0)?;
        core::str::from_utf8(&text[..len]).ok()
    }

    /// The symbol at or before `offset` (from the image's start), and how far behind its beginning `offset` is.
    pub fn find(&self, offset: u32) -> Option<(&'a str, u32)> {
        let (mut lo, mut hi) = (0, self.count);
        while lo < hi {
            let mid = lo + (hi - lo) / 2;
            if self.offset(mid)? <= offset { lo = mid + 1 } else { hi = mid }
        }
        let i = lo.checked_sub(1)?;
        Some((self.name(i)?, offset - self.offset(i)?))
    }

    /// All symbols, ascending: offset and name (`/proc/kallsyms`).
    pub fn iter(&self) -> impl Iterator<Item = (u32, &'a str)> + use<'a> {
        let s = *self;
        (0..s.count).map_while(move |i| Some((s.offset(i)?, s.name(i)?)))
    }
}

/// The running kernel's table; `None` when xtask did not fill it.
#[cfg(target_os = "none")]
pub fn kernel() -> Option<Symbols<'static>> {
    unsafe extern "C" {
        static __kallsyms_start: u8;
        static __kallsyms_end: u8;
    }
    let start = &raw const __kallsyms_start;
    let len = (&raw const __kallsyms_end) as usize - start as usize;
    // SAFETY: the linker script lays the section out between the two symbols, read-only for ever.
    Symbols::new(unsafe { core::slice::from_raw_parts(start, len) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn table(symbols: &[(u32, &str)]) -> Vec<u8> {
        let mut b = Vec::new();
        let mut names = Vec::new();
        b.extend(MAGIC.to_le_bytes());
        b.extend((symbols.len() as u32).to_le_bytes());
        for (offset, name) in symbols {
            b.extend(offset.to_le_bytes());
            b.extend((names.len() as u32).to_le_bytes());
            names.extend(name.as_bytes());
            names.push(0);
        }
        b.extend(names);
        b
    }

    #[test]
    fn an_address_is_named_by_the_symbol_before_it() {
        let t = table(&[(0x40, "_head"), (0x1000, "start_kernel"), (0x2000, "panic")]);
        let s = Symbols::new(&t).unwrap();
        assert_eq!(s.find(0x1010), Some(("start_kernel", 0x10)));
        assert_eq!(s.find(0x1fff), Some(("start_kernel", 0xfff)));
        assert_eq!(s.find(0x9000), Some(("panic", 0x7000)));
        assert_eq!(s.find(0x3f), None);
        assert_eq!(s.iter().count(), 3);
    }

    #[test]
    fn damage_is_no_table_or_no_name() {
        assert!(Symbols::new(&[]).is_none());
        assert!(Symbols::new(&[0; 64]).is_none());
        let good = table(&[(0x40, "a"), (0x50, "b")]);
        for cut in 0..good.len() {
            if let Some(s) = Symbols::new(&good[..cut]) {
                let _ = (s.find(0x45), s.find(0x55), s.iter().count());
            }
        }
        let mut lies = good.clone();
        lies[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(Symbols::new(&lies).is_none());
    }
}
