//! Mount options of both versions (Linux: cgroup1_parse_param, check_cgroupfs_options, cgroup2_parse_param).

use super::group::{CONTROLLERS, Controller};
use vigil_abi::Errno;
use vigil_mem::KVec;

/// In a tree's flags: options that are kept and shown, and change nothing here. `xattr` (version 1).
pub const XATTR: u32 = 1;
/// `nsdelegate` (version 2): for cgroup name spaces.
pub const NSDELEGATE: u32 = 2;
/// `favordynmods` (both).
pub const FAVORDYNMODS: u32 = 4;
/// `memory_localevents` (version 2).
pub const MEMORY_LOCALEVENTS: u32 = 8;
/// `memory_recursiveprot` (version 2).
pub const MEMORY_RECURSIVEPROT: u32 = 16;

/// The options of version 2 by name, as `/proc/mounts` lists them.
pub const V2_OPTIONS: [(&str, u32); 4] = [
    ("nsdelegate", NSDELEGATE),
    ("favordynmods", FAVORDYNMODS),
    ("memory_localevents", MEMORY_LOCALEVENTS),
    ("memory_recursiveprot", MEMORY_RECURSIVEPROT),
];

/// The longest name of a tree.
const NAME_MAX: usize = 63;

/// What a mount of version 1 asks for.
#[derive(Default)]
pub struct V1Options {
    /// Controllers.
    pub mask: u32,
    /// It is to have none.
    pub none: bool,
    /// Its name.
    pub name: Option<KVec<u8>>,
    /// Flags.
    pub flags: u32,
    /// Children take their settings from their parents.
    pub clone_children: bool,
    /// `release_agent`
    pub release_agent: Option<KVec<u8>>,
}

fn words(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    data.split(|b| *b == b',').filter(|word| !word.is_empty())
}

impl V1Options {
    /// Reads options. EINVAL: unknown, or contradictory. ENOMEM.
    pub fn parse(data: &[u8]) -> Result<V1Options, Errno> {
        let mut options = V1Options::default();
        let mut all = false;
        for word in words(data) {
            match word {
                b"all" => all = true,
                b"none" => options.none = true,
                b"clone_children" => options.clone_children = true,
                b"xattr" => options.flags |= XATTR,
                b"favordynmods" => options.flags |= FAVORDYNMODS,
                b"nofavordynmods" => options.flags &= !FAVORDYNMODS,
                _ => options.parse_other(word)?,
            }
        }
        if options.mask == 0 && !options.none && options.name.is_none() {
            all = true;
        }
        if all {
            if options.mask != 0 {
                return Err(Errno::EINVAL);
            }
            options.mask = CONTROLLERS.iter().fold(0, |set, c| set | c.bit());
        }
        if options.mask == 0 && options.name.is_none() || options.mask != 0 && options.none {
            return Err(Errno::EINVAL);
        }
        Ok(options)
    }

    fn parse_other(&mut self, word: &[u8]) -> Result<(), Errno> {
        if let Some(name) = word.strip_prefix(b"name=") {
            let fine = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
            if name.is_empty() || name.len() > NAME_MAX || !name.iter().all(fine) || self.name.is_some() {
                return Err(Errno::EINVAL);
            }
            self.name = Some(KVec::try_from_slice(name)?);
        } else if let Some(agent) = word.strip_prefix(b"release_agent=") {
            if self.release_agent.is_some() {
                return Err(Errno::EINVAL);
            }
            self.release_agent = Some(KVec::try_from_slice(agent)?);
        } else {
            self.mask |= Controller::by_name(word).ok_or(Errno::EINVAL)?.bit();
        }
        Ok(())
    }
}

/// Reads options of version 2: flags. EINVAL.
pub fn parse_v2(data: &[u8]) -> Result<u32, Errno> {
    let mut flags = 0;
    for word in words(data) {
        let known = V2_OPTIONS.iter().find(|(name, _)| name.as_bytes() == word);
        match known {
            Some((_, flag)) => flags |= flag,
            None if word == b"nofavordynmods" => flags &= !FAVORDYNMODS,
            None => return Err(Errno::EINVAL),
        }
    }
    Ok(flags)
}
