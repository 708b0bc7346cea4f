//! What a program needs: its machine, its interpreter, and its shared libraries, found without running it.
use anyhow::{Result, bail};
use object::elf::{DT_NEEDED, DT_RPATH, DT_RUNPATH, EM_AARCH64, FileHeader64, PT_DYNAMIC, PT_INTERP};
use object::read::elf::{Dyn, FileHeader, ProgramHeader};
use object::{Endianness, StringTable};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What the headers of an AArch64 ELF ask for.
#[derive(Debug, Default)]
pub struct Needs {
    /// PT_INTERP.
    pub interpreter: Option<String>,
    /// DT_NEEDED, in order.
    pub libraries: Vec<String>,
    /// DT_RUNPATH or DT_RPATH, split at colons.
    pub run_path: Vec<String>,
}

/// Reads an ELF's needs; the error is a clause for "PROGRAM: clause".
pub fn needs(bytes: &[u8]) -> Result<Needs> {
    if bytes.get(..4) != Some(b"\x7fELF") {
        bail!("not an ELF file");
    }
    let Ok(header) = FileHeader64::<Endianness>::parse(bytes) else { bail!("an ELF file, but not for 64-bit Arm") };
    let endian = header.endian()?;
    if header.e_machine(endian) != EM_AARCH64 || header.is_big_endian() {
        bail!("an ELF file for another machine (e_machine {}), not for 64-bit Arm", header.e_machine(endian));
    }
    let Ok(segments) = header.program_headers(endian, bytes) else { bail!("a damaged ELF file") };
    let mut needs = Needs::default();
    for segment in segments {
        match segment.p_type(endian) {
            PT_INTERP => {
                let text = segment.data(endian, bytes).unwrap_or_default();
                let text = text.split(|b| *b == 0).next().unwrap_or_default();
                needs.interpreter = Some(String::from_utf8_lossy(text).into_owned());
            }
            PT_DYNAMIC => {
                let Ok(Some(entries)) = segment.dynamic(endian, bytes) else { bail!("a damaged ELF file") };
                let Some(strings) = dynamic_strings(header, endian, bytes, entries) else { continue };
                let text = |entry: &object::elf::Dyn64<Endianness>| {
                    strings.get(entry.d_val(endian) as u32).ok().map(|s| String::from_utf8_lossy(s).into_owned())
                };
                for entry in entries {
                    match entry.tag32(endian) {
                        Some(DT_NEEDED) => needs.libraries.extend(text(entry)),
                        Some(DT_RUNPATH | DT_RPATH) => {
                            needs.run_path.extend(text(entry).iter().flat_map(|t| t.split(':')).map(str::to_string));
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Ok(needs)
}

fn dynamic_strings<'a>(
    header: &FileHeader64<Endianness>,
    endian: Endianness,
    bytes: &'a [u8],
    entries: &[object::elf::Dyn64<Endianness>],
) -> Option<StringTable<'a>> {
    let value = |tag| entries.iter().find(|e| e.tag32(endian) == Some(tag)).map(|e| e.d_val(endian));
    let (address, size) = (value(object::elf::DT_STRTAB)?, value(object::elf::DT_STRSZ)?);
    for segment in header.program_headers(endian, bytes).ok()? {
        if let Ok(Some(_)) = segment.data_range(endian, bytes, address, size) {
            let start = segment.p_offset(endian) + (address - segment.p_vaddr(endian));
            return Some(StringTable::new(bytes, start, start + size));
        }
    }
    None
}

/// Where a file to be packed comes from and where it goes.
pub type Found = BTreeMap<String, PathBuf>;

/// Finds the interpreter and all libraries of a program, and theirs; the keys of the result are the guest's paths.
///
/// `beside` is the program's directory (also `$ORIGIN`), `roots` are directories of Debian's layout. Libraries beside the
/// program go to `at`. The error is a clause naming what is missing.
pub fn resolve(program: &Path, at: &str, roots: &[PathBuf]) -> Result<Found> {
    let beside = program.parent().unwrap_or(Path::new("."));
    let mut found = Found::new();
    let mut queue = vec![(program.to_path_buf(), needs(&std::fs::read(program)?)?)];
    while let Some((_, wanted)) = queue.pop() {
        if let Some(interpreter) = &wanted.interpreter {
            let Some(host) = roots.iter().map(|r| r.join(interpreter.trim_start_matches('/'))).find_map(|p| inside(&p, roots)) else {
                bail!("its interpreter {interpreter} is missing");
            };
            found.insert(interpreter.clone(), host);
        }
        for library in &wanted.libraries {
            let name = library.rsplit('/').next().unwrap_or(library);
            if found.keys().any(|k| k.rsplit('/').next() == Some(name)) {
                continue;
            }
            let Some((guest, host)) = find_library(name, &wanted.run_path, beside, at, roots) else {
                bail!("the shared library {name} is missing");
            };
            queue.push((host.clone(), needs(&std::fs::read(&host)?).unwrap_or_default()));
            found.insert(guest, host);
        }
    }
    Ok(found)
}

/// The directories in which Debian's arm64 loader looks by itself.
const LIBRARY_DIRS: [&str; 6] = ["lib/aarch64-linux-gnu", "usr/lib/aarch64-linux-gnu", "lib", "usr/lib", "lib64", "usr/local/lib"];

fn find_library(name: &str, run_path: &[String], beside: &Path, at: &str, roots: &[PathBuf]) -> Option<(String, PathBuf)> {
    for dir in run_path {
        if let Some(rest) = dir.strip_prefix("$ORIGIN").or_else(|| dir.strip_prefix("${ORIGIN}")) {
            let host = beside.join(rest.trim_start_matches('/')).join(name);
            if host.is_file() {
                return Some((format!("{at}{rest}/{name}"), host));
            }
        }
        for root in roots {
            if let Some(host) = inside(&root.join(dir.trim_start_matches('/')).join(name), roots) {
                return Some((format!("{dir}/{name}"), host));
            }
        }
    }
    let host = beside.join(name);
    if std::fs::read(&host).is_ok_and(|bytes| needs(&bytes).is_ok()) {
        return Some((format!("{at}/{name}"), host));
    }
    LIBRARY_DIRS
        .iter()
        .flat_map(|dir| roots.iter().map(move |root| (dir, root)))
        .find_map(|(dir, root)| inside(&root.join(dir).join(name), roots).map(|host| (format!("/{dir}/{name}"), host)))
}

/// Follows symbolic links of a root directory without leaving the roots: an absolute link starts at each root again.
fn inside(path: &Path, roots: &[PathBuf]) -> Option<PathBuf> {
    let mut path = path.to_path_buf();
    for _ in 0..16 {
        match std::fs::read_link(&path) {
            Ok(to) if to.is_absolute() => {
                let to = to.strip_prefix("/").ok()?.to_path_buf();
                path = roots.iter().map(|r| r.join(&to)).find(|p| std::fs::symlink_metadata(p).is_ok())?;
            }
            Ok(to) => path = path.parent()?.join(to),
            Err(_) => return path.is_file().then_some(path),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_for_arm_is_named() {
        let own = std::fs::read(std::env::current_exe().expect("a test has a path")).expect("and can be read");
        assert!(needs(b"#!/bin/sh\n").expect_err("a script").to_string().contains("not an ELF"));
        assert!(needs(b"\x7fELF").expect_err("four bytes").to_string().contains("ELF file"));
        if cfg!(target_arch = "x86_64") {
            assert!(needs(&own).expect_err("a PC's program").to_string().contains("another machine"));
        }
    }
}
