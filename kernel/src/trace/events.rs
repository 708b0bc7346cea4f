//! The directory `events`, and `set_event`.

use super::event::{EVENTS, MARK_EVENT, format_of};
use super::filters::FilterFile;
use super::page::{HEADER_EVENT, HEADER_PAGE};
use super::{control, state};
use core::fmt::Write;
use core::sync::atomic::Ordering::Relaxed;
use vigil_abi::Errno;
use vigil_abi::fcntl::{O_ACCMODE, O_RDONLY, O_TRUNC};
use vigil_abi::stat::S_IFREG;
use vigil_fs::vnode::{Node, SeqBuf, StaticDir};
use vigil_fs::{OpResult, Opened, Stop};
use vigil_mem::{KArc, try_format, unsize};

/// A file of an event, or of several.
enum EventFile {
    /// `enable` of those of the mask.
    Enable(u32),
    /// `format` of the one with this index.
    Format(usize),
    /// `id`.
    Id(usize),
}

/// All events.
const ALL: u32 = (1 << EVENTS.len()) - 1;

/// 0 or 1. EINVAL.
pub(super) fn switch(data: &[u8]) -> Result<bool, Errno> {
    match data.trim_ascii() {
        b"0" => Ok(false),
        b"1" => Ok(true),
        _ => Err(Errno::EINVAL),
    }
}

impl Node for EventFile {
    fn mode(&self) -> u32 {
        S_IFREG | if matches!(self, EventFile::Enable(_)) { 0o640 } else { 0o440 }
    }

    fn show<'a>(&'a self, out: &mut SeqBuf) -> OpResult<'a, ()> {
        let _ = match self {
            EventFile::Enable(mask) => {
                let on = state::ENABLED.load(Relaxed) & mask;
                writeln!(
                    out,
                    "{}",
                    if on == 0 {
                        "0"
                    } else if on == *mask {
                        "1"
                    } else {
                        "X"
                    }
                )
            }
            EventFile::Format(index) => format_of(&EVENTS[*index], out),
            EventFile::Id(index) => writeln!(out, "{}", EVENTS[*index].id),
        };
        Ok(())
    }

    fn store<'a>(&'a self, data: &[u8]) -> OpResult<'a, usize> {
        let EventFile::Enable(mask) = self else { return Err(Stop::Err(Errno::EIO)) };
        control::enable(*mask, switch(data)?)?;
        Ok(data.len())
    }
}

/// `set_event`.
struct SetEvent;

/// The events that `word` names, as Linux reads it: `event`, `system:event`, `system:`, `system:*`, `*:event`; none: 0.
fn matching(word: &[u8]) -> u32 {
    let (system, name) = match word.iter().position(|b| *b == b':') {
        Some(at) => (&word[..at], &word[at + 1..]),
        None => (&b"*"[..], word),
    };
    let fits = |pattern: &[u8], text: &str| pattern == b"*" || pattern.is_empty() || pattern == text.as_bytes();
    let whole = |e: &super::event::Event| !word.contains(&b':') && word == e.system.as_bytes();
    EVENTS
        .iter()
        .enumerate()
        .filter(|(_, e)| !word.is_empty() && (fits(system, e.system) && fits(name, e.name) || whole(e)))
        .fold(0, |mask, (i, _)| mask | 1 << i)
}

impl Node for SetEvent {
    fn mode(&self) -> u32 {
        S_IFREG | 0o640
    }

    fn open(&self, flags: u32) -> Result<Option<Opened>, Errno> {
        if flags & O_ACCMODE != O_RDONLY && flags & O_TRUNC != 0 {
            control::enable(ALL, false)?;
        }
        Ok(None)
    }

    fn show<'a>(&'a self, out: &mut SeqBuf) -> OpResult<'a, ()> {
        let on = state::ENABLED.load(Relaxed);
        for (_, e) in EVENTS.iter().enumerate().filter(|(i, _)| on & 1 << i != 0) {
            let _ = writeln!(out, "{}:{}", e.system, e.name);
        }
        Ok(())
    }

    fn store<'a>(&'a self, data: &[u8]) -> OpResult<'a, usize> {
        for word in data.split(u8::is_ascii_whitespace).filter(|w| !w.is_empty()) {
            let (on, word) = word.strip_prefix(b"!").map_or((true, word), |w| (false, w));
            match matching(word) {
                0 => return Err(Stop::Err(Errno::EINVAL)),
                mask => control::enable(mask, on)?,
            }
        }
        Ok(data.len())
    }
}

fn add(dir: &StaticDir, path: &str, file: EventFile) -> Result<(), Errno> {
    dir.add(path, unsize!(KArc, KArc::try_new(file)? => dyn Node))
}

/// Makes the files in the root of tracefs.
pub(super) fn init(root: &StaticDir) -> Result<(), Errno> {
    let dir = root.subdir("events")?;
    add(&dir, "enable", EventFile::Enable(ALL))?;
    for (index, event) in EVENTS.iter().enumerate() {
        let same = |e: &&super::event::Event| e.system == event.system;
        if !EVENTS[..index].iter().any(|e| same(&e)) {
            let mask = EVENTS.iter().enumerate().filter(|(_, e)| same(e)).fold(0, |mask, (i, _)| mask | 1 << i);
            add(&dir, try_format!("{}/enable", event.system)?.as_str(), EventFile::Enable(mask))?;
            FilterFile::add(&dir, try_format!("{}/filter", event.system)?.as_str(), mask, true)?;
        }
        let own = dir.subdir(try_format!("{}/{}", event.system, event.name)?.as_str())?;
        add(&own, "enable", EventFile::Enable(1 << index))?;
        add(&own, "format", EventFile::Format(index))?;
        add(&own, "id", EventFile::Id(index))?;
        FilterFile::add(&own, "filter", 1 << index, false)?;
    }
    dir.add_file("ftrace/print/format", 0o440, |out| format_of(const { &MARK_EVENT }, out).map_err(|_| Errno::ENOMEM))?;
    dir.add_file("header_page", 0o440, |out| out.write_str(HEADER_PAGE).map_err(|_| Errno::ENOMEM))?;
    dir.add_file("header_event", 0o440, |out| out.write_str(HEADER_EVENT).map_err(|_| Errno::ENOMEM))?;
    root.add("set_event", unsize!(KArc, KArc::try_new(SetEvent)? => dyn Node))?;
    root.add_file("available_events", 0o440, |out| {
        EVENTS.iter().try_for_each(|e| writeln!(out, "{}:{}", e.system, e.name)).map_err(|_| Errno::ENOMEM)
    })
}

/// Turns on the events of a comma-separated list, `trace_event=`. Those that there are not are passed over.
pub(super) fn enable_at_boot(list: &[u8]) -> Result<(), Errno> {
    list.split(|b| *b == b',').map(matching).filter(|mask| *mask != 0).try_for_each(|mask| control::enable(mask, true))
}
