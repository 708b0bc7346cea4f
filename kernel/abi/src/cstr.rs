//! Strings in fields of a fixed size, which end at their first NUL or with the field.

/// What of `bytes` comes before the first NUL; all of it if there is none.
pub fn until_nul(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    &bytes[..end]
}

#[cfg(test)]
mod tests {
    use super::until_nul;

    #[test]
    fn a_name_ends_at_its_first_nul() {
        let mut comm = [0; 16];
        comm[..4].copy_from_slice(b"init");
        assert_eq!(until_nul(&comm), b"init");
        assert_eq!(until_nul(b"a\0b\0"), b"a");
        assert_eq!((until_nul(b"whole"), until_nul(b"")), (&b"whole"[..], &b""[..]));
    }
}
