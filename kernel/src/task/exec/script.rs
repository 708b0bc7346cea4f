//! `#!` lines (Linux: `fs/binfmt_script.c`): pure parsing of a program's first bytes.

use vigil_abi::Errno;

/// How many bytes of a file decide what it is (BINPRM_BUF_SIZE).
pub const HEAD_SIZE: usize = 256;
/// How deep interpreters may be scripts themselves.
pub const MAX_DEPTH: u32 = 5;

/// What a `#!` line says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Script<'a> {
    /// The interpreter's path.
    pub interpreter: &'a [u8],
    /// All that follows it, trimmed, as one argument.
    pub argument: Option<&'a [u8]>,
}

fn is_blank(b: u8) -> bool {
    b == b' ' || b == b'\t'
}

/// Reads the line in `head`, the file's first bytes (at most [`HEAD_SIZE`]). `None` when it does not begin with `#!`.
/// ENOEXEC: no interpreter in it, or the line is cut off within the interpreter's path.
pub fn parse(head: &[u8]) -> Option<Result<Script<'_>, Errno>> {
    let rest = head.strip_prefix(b"#!")?;
    // A file shorter than the buffer ends in zeros there, and a NUL ends the line as well.
    let newline = rest.iter().position(|b| *b == b'\n');
    let end = newline.unwrap_or(rest.len());
    let truncated = newline.is_none() && head.len() >= HEAD_SIZE;
    let line = &rest[..end];
    let line = &line[..line.iter().position(|b| *b == 0).unwrap_or(line.len())];
    let trimmed_start = line.iter().position(|b| !is_blank(*b)).unwrap_or(line.len());
    let line = &line[trimmed_start..];
    let name_end = line.iter().position(|b| is_blank(*b));
    if truncated && name_end.is_none() {
        // The path may go on after the buffer: what we see could name another file.
        return Some(Err(Errno::ENOEXEC));
    }
    let (interpreter, tail) = line.split_at(name_end.unwrap_or(line.len()));
    if interpreter.is_empty() {
        return Some(Err(Errno::ENOEXEC));
    }
    let from = tail.iter().position(|b| !is_blank(*b)).unwrap_or(tail.len());
    let to = tail.iter().rposition(|b| !is_blank(*b)).map_or(from, |p| p + 1);
    let argument = Some(&tail[from..to]).filter(|a| !a.is_empty());
    Some(Ok(Script { interpreter, argument }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ok(line: &[u8]) -> (&[u8], Option<&[u8]>) {
        let s = parse(line).unwrap().unwrap();
        (s.interpreter, s.argument)
    }

    #[test]
    fn interpreter_and_one_argument() {
        assert_eq!(ok(b"#!/bin/sh\necho"), (&b"/bin/sh"[..], None));
        assert_eq!(ok(b"#! \t/bin/sh -e  -x \t\n"), (&b"/bin/sh"[..], Some(&b"-e  -x"[..])));
        assert_eq!(ok(b"#!/bin/sh"), (&b"/bin/sh"[..], None));
        assert_eq!(ok(b"#!/bin/sh\0junk"), (&b"/bin/sh"[..], None));
        assert_eq!(parse(b"\x7fELF"), None);
        assert_eq!(parse(b"#"), None);
    }

    #[test]
    fn lines_without_interpreter_or_cut_off_within_it_are_no_program() {
        assert_eq!(parse(b"#!\n"), Some(Err(Errno::ENOEXEC)));
        assert_eq!(parse(b"#!   \t \n/bin/sh"), Some(Err(Errno::ENOEXEC)));
        let mut long = [b'a'; HEAD_SIZE];
        long[..3].copy_from_slice(b"#!/");
        assert_eq!(parse(&long), Some(Err(Errno::ENOEXEC)));
        long[100] = b' ';
        assert!(parse(&long).unwrap().is_ok());
    }
}
