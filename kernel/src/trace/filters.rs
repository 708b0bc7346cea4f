//! `filter` of an event, and of all events of a system.

use super::control;
use super::event::EVENTS;
use super::filter::{Bad, Filter};
use core::fmt::Write;
use vigil_abi::Errno;
use vigil_abi::stat::S_IFREG;
use vigil_executor::lock_class;
use vigil_executor::sync::SpinLock;
use vigil_fs::vnode::{Node, SeqBuf, StaticDir};
use vigil_fs::{OpResult, Stop};
use vigil_mem::{KArc, KBox, KVec, unsize};

/// The longest filter (Linux: a page).
const LONGEST: usize = 4096;

const OF_SYSTEM: &str = "### global filter ###\n# Use this to set filters for multiple events.\n\
    # Only events with the given fields will be affected.\n\
    # If no events are modified, an error message will be displayed here\n";
const NOT_ALL: &str = "Couldn't find or set field in one of a subsystem's events";

/// What the files of the events show; none: they have no filter.
static TEXTS: SpinLock<[Option<KVec<u8>>; EVENTS.len()]> = SpinLock::new(lock_class!("trace_filters"), [const { None }; EVENTS.len()]);

/// The file.
pub(super) struct FilterFile {
    /// Of these events, a bit each.
    mask: u32,
    /// Of a system, or of one event.
    system: bool,
}

impl FilterFile {
    /// Adds one to `dir`.
    pub(super) fn add(dir: &StaticDir, path: &str, mask: u32, system: bool) -> Result<(), Errno> {
        dir.add(path, unsize!(KArc, KArc::try_new(FilterFile { mask, system })? => dyn Node))
    }

    fn set(&self, text: &[u8]) -> Result<(), Errno> {
        let (mut filters, mut texts) = ([const { None }; EVENTS.len()], [const { None }; EVENTS.len()]);
        let mut result = Ok(());
        for (index, event) in EVENTS.iter().enumerate().filter(|(index, _)| self.mask & 1 << index != 0) {
            if text == b"0" {
                continue;
            }
            let mut shown = SeqBuf::new();
            shown.put(text);
            match Filter::parse(event, text) {
                Ok(filter) => filters[index] = Some(KBox::try_new(filter)?),
                Err(Bad::Memory) => return Err(Errno::ENOMEM),
                // An event that has no filter because of an error says so.
                Err(_) if self.system => shown.put(b"\n^\nparse_error: "),
                Err(bad @ Bad::Text(why, at)) => {
                    result = Err(bad.into());
                    let _ = match why {
                        "" => writeln!(shown, "\nError: (0)"),
                        _ => writeln!(shown, "\n{:>width$}\nparse_error: {why}", '^', width = at + 1),
                    };
                }
            }
            if self.system && filters[index].is_none() {
                let _ = writeln!(shown, "{NOT_ALL}");
            }
            shown.put(b"\n");
            shown.finish()?;
            texts[index] = Some(KVec::try_from_slice(shown.as_bytes())?);
        }
        control::set_filters(self.mask, &mut filters)?;
        let mut all = TEXTS.lock();
        for (index, text) in texts.iter_mut().enumerate().filter(|(index, _)| self.mask & 1 << index != 0) {
            core::mem::swap(&mut all[index], text);
        }
        drop(all);
        result
    }
}

impl Node for FilterFile {
    fn mode(&self) -> u32 {
        S_IFREG | 0o640
    }

    fn show<'a>(&'a self, out: &mut SeqBuf) -> OpResult<'a, ()> {
        if self.system {
            out.put(OF_SYSTEM.as_bytes());
        } else {
            out.put(TEXTS.lock()[self.mask.trailing_zeros() as usize].as_deref().unwrap_or(b"none\n"));
        }
        Ok(())
    }

    /// A filter; `0` for none. What is wrong with it is shown then. EINVAL, and for want of a quote or a parenthesis Linux's ESRCH, ENOENT
    /// and EPERM; EBUSY while a CPU comes or goes.
    fn store<'a>(&'a self, data: &[u8]) -> OpResult<'a, usize> {
        if data.len() >= LONGEST {
            return Err(Stop::Err(Errno::EINVAL));
        }
        let text = data.strip_suffix(b"\n").unwrap_or(data);
        self.set(if text.trim_ascii() == b"0" { b"0" } else { text.trim_ascii_end() }).map_err(Stop::Err)?;
        Ok(data.len())
    }
}
