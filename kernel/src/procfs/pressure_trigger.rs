//! The files of `/proc/pressure` and those of control groups, and what is written to them: `some 150000 1000000` asks to be told, by POLLPRI,
//! when somebody has waited for more than 150 ms of a second (Linux: psi_trigger_create, update_triggers).
//!
//! Each open file has one trigger at most. While there are any, a work item looks ten times in the shortest of their windows.

use super::average::Window;
use super::pressure::{Resource, Source};
use crate::task::thread::Thread;
use core::sync::atomic::{AtomicBool, Ordering::*};
use vigil_abi::process::CAP_SYS_RESOURCE;
use vigil_abi::stat::S_IFREG;
use vigil_abi::{Errno, until_nul};
use vigil_executor::lock_class;
use vigil_executor::sync::SpinLock;
use vigil_executor::time::{MSEC, Nanos, USEC, now};
use vigil_executor::wait::WaitQueue;
use vigil_executor::work::{DelayedWork, UNBOUND, Work};
use vigil_fs::vnode::{Node, SeqBuf};
use vigil_fs::{File, FileOps, OpResult, Opened, PollEvents, PollTable, Stop};
use vigil_mem::{IoBuf, IoBufMut, KArc, KVec, PAGE_SIZE, unsize};

/// So much of what is written is looked at, of files of groups the second; the last byte of that is not (Linux: psi_write, kernfs).
const LONGEST: [usize; 2] = [32, PAGE_SIZE];
const SHORTEST_WINDOW: Nanos = 500 * MSEC;
const LONGEST_WINDOW: Nanos = 10_000 * MSEC;
/// Windows of others are multiples of this (Linux: PSI_FREQ, in which its averages are brought up to date anyway).
const UNPRIVILEGED_WINDOW: Nanos = 2_000 * MSEC;
/// So often it is looked in a window.
const LOOKS: Nanos = 10;
/// What a poll answers of a file that has nothing to tell any more, or not yet.
const ENDED: PollEvents = PollEvents::DEFAULT.union(PollEvents::ERR).union(PollEvents::PRI);

/// One file of the directory.
pub(super) struct PressureNode(pub(super) Resource);

/// An open one.
struct PressureFile {
    source: Source,
    /// Who opened it had CAP_SYS_RESOURCE.
    privileged: bool,
    trigger: SpinLock<Option<KArc<Trigger>>>,
}

struct Trigger {
    source: Source,
    /// Of the time in which everybody waits.
    full: bool,
    threshold: Nanos,
    state: SpinLock<State>,
    /// It has something to tell.
    event: AtomicBool,
    /// Its group is no more, or was told not to keep count: it tells nothing any more.
    ended: AtomicBool,
    wait: WaitQueue,
}

struct State {
    window: Window,
    /// What the total was when it was last looked at.
    total: Nanos,
    /// The threshold was exceeded, and nobody told yet.
    pending: bool,
    /// When it last told.
    told: Option<Nanos>,
}

/// Those of all open files.
static TRIGGERS: SpinLock<KVec<KArc<Trigger>>> = SpinLock::new(lock_class!("psi_triggers"), KVec::new());
static LATER: DelayedWork = DelayedWork::new(look);

/// Looks at all triggers, and comes again while there are any.
fn look(_: &Work) {
    let now = now();
    let mut shortest: Option<Nanos> = None;
    // One at a time, as there may be many. Who goes meanwhile may make one be passed over, until the next look.
    for at in 0.. {
        let Some(trigger) = TRIGGERS.lock().get(at).cloned() else { break };
        trigger.look(now, trigger.source.waited(trigger.full, now));
        let size = trigger.state.lock().window.size();
        shortest = Some(shortest.map_or(size, |s| s.min(size)));
    }
    if let Some(window) = shortest {
        LATER.schedule(&UNBOUND, window / LOOKS);
    }
}

/// Ends the triggers of files whose group is no more, or is not watched any more, and wakes who polls them (Linux: psi_trigger_destroy).
pub(crate) fn wake_ended() {
    TRIGGERS.lock().retain(|trigger| {
        let goes_on = trigger.source.check().is_ok();
        if !goes_on {
            trigger.ended.store(true, Release);
            trigger.wait.wake(ENDED.bits(), 0);
        }
        goes_on
    });
}

/// Opens the pressure file of `source`. ENOMEM.
pub(crate) fn open(source: Source) -> Result<Opened, Errno> {
    let trigger = SpinLock::new(lock_class!("psi_file"), None);
    let privileged = Thread::current().is_some_and(|t| t.cred().is_ok_and(|c| c.capable(CAP_SYS_RESOURCE)));
    let file = KArc::try_new(PressureFile { source, privileged, trigger })?;
    Ok(Opened::Own(unsize!(KArc, file => dyn FileOps)))
}

impl Trigger {
    /// What `text` asks for. EINVAL, also for a window that only who is `privileged` may have; what [`Source::with`] says.
    fn parse(source: &Source, privileged: bool, text: &[u8]) -> OpResult<'static, Trigger> {
        let text = until_nul(text);
        let (full, rest) = match (text.strip_prefix(b"some"), text.strip_prefix(b"full")) {
            (Some(rest), _) => (false, rest),
            (_, Some(rest)) => (true, rest),
            _ => return Err(Stop::Err(Errno::EINVAL)),
        };
        let mut words = rest.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        let mut micros = || -> Option<Nanos> {
            // As scanf reads a number: what follows its digits is not looked at.
            let word = words.next()?;
            let digits = word.iter().position(|b| !b.is_ascii_digit()).unwrap_or(word.len());
            core::str::from_utf8(&word[..digits]).ok()?.parse::<u32>().ok().map(|n| Nanos::from(n) * USEC)
        };
        let (threshold, window) = micros().zip(micros()).ok_or(Errno::EINVAL)?;
        if !(SHORTEST_WINDOW..=LONGEST_WINDOW).contains(&window) || !(1..=window).contains(&threshold) {
            return Err(Stop::Err(Errno::EINVAL));
        }
        if !privileged && window % UNPRIVILEGED_WINDOW != 0 {
            return Err(Stop::Err(Errno::EINVAL));
        }
        let total = source.with(|s| s.total(full))?;
        let state = State { window: Window::begun(window, now(), total), total, pending: false, told: None };
        let state = SpinLock::new(lock_class!("psi_trigger"), state);
        let [event, ended] = [const { AtomicBool::new(false) }; 2];
        Ok(Trigger { source: source.clone(), full, threshold, state, event, ended, wait: WaitQueue::new() })
    }

    /// By `now` somebody has waited for `total`.
    fn look(&self, now: Nanos, total: Nanos) {
        let mut state = self.state.lock();
        if total != state.total {
            state.total = total;
            let grown = state.window.update(now, total);
            state.pending |= grown >= self.threshold;
        }
        // Once in a window at most.
        let size = state.window.size();
        if !state.pending || state.told.is_some_and(|told| now < told.saturating_add(size)) {
            return;
        }
        (state.pending, state.told) = (false, Some(now));
        drop(state);
        if !self.event.swap(true, AcqRel) {
            self.wait.wake(PollEvents::PRI.bits(), 0);
        }
    }
}

impl FileOps for PressureFile {
    fn read<'a>(&'a self, _: &'a File, buf: &mut IoBufMut<'_>, pos: &mut u64) -> OpResult<'a, usize> {
        let mut text = SeqBuf::new();
        self.source.show(&mut text)?;
        text.finish()?;
        let n = buf.copy_out(text.as_bytes().get(*pos as usize..).unwrap_or_default())?;
        *pos += n as u64;
        Ok(n)
    }

    /// A trigger. EINVAL: it is none; EBUSY: the file has one; of a group's file ENODEV: the group is no more; E2BIG.
    fn write<'a>(&'a self, _: &'a File, buf: &mut IoBuf<'_>, pos: &mut u64) -> OpResult<'a, usize> {
        let (of_group, n) = (self.source.group.is_some(), buf.remaining());
        self.source.check()?;
        match n {
            0 if of_group => return Ok(0),
            0 => return Err(Stop::Err(Errno::EINVAL)),
            _ if of_group && n > PAGE_SIZE => return Err(Stop::Err(Errno::E2BIG)),
            _ => {}
        }
        // What a group's file is given ends with a NUL in any case.
        let room = LONGEST[usize::from(of_group)];
        let mut bytes = KVec::new();
        bytes.try_resize((n + usize::from(of_group)).min(room), 0)?;
        // Nothing is consumed yet: a look at the group may have to be tried again.
        let looked_at = bytes.len() - usize::from(of_group);
        let _ = buf.peek_all(&mut bytes[..looked_at])?;
        if let Some(trigger) = &*self.trigger.lock() {
            let ended = trigger.ended.load(Acquire);
            return Err(Stop::Err(if ended { Errno::ENODEV } else { Errno::EBUSY }));
        }
        let trigger = KArc::try_new(Trigger::parse(&self.source, self.privileged, &bytes[..bytes.len() - 1])?)?;
        {
            let mut own = self.trigger.lock();
            if own.is_some() {
                return Err(Stop::Err(Errno::EBUSY));
            }
            TRIGGERS.lock().try_push(trigger.clone())?;
            *own = Some(trigger);
        }
        LATER.schedule(&UNBOUND, SHORTEST_WINDOW / LOOKS);
        buf.skip(n);
        if of_group {
            *pos += n as u64;
        }
        Ok(n)
    }

    fn can_poll(&self) -> bool {
        true
    }

    fn poll(&self, _: &File, table: &mut PollTable<'_>) -> PollEvents {
        let own = self.trigger.lock();
        let Some(trigger) = own.as_ref() else { return ENDED };
        // Before it is asked whether there is more to come: whoever ends it wakes after having said so.
        table.add(&trigger.wait);
        if trigger.ended.load(Acquire) || self.source.check().is_err() {
            return ENDED;
        }
        if trigger.event.swap(false, AcqRel) { PollEvents::DEFAULT | PollEvents::PRI } else { PollEvents::DEFAULT }
    }

    fn llseek(&self, _: &File, pos: u64, offset: i64, whence: u32) -> Result<u64, Errno> {
        vigil_fs::vfs::seek::in_size(pos, offset, whence, 0, i64::MAX as u64)
    }

    fn release(&self, _: &File) {
        let own = self.trigger.lock().take();
        if let Some(own) = &own {
            TRIGGERS.lock().retain(|trigger| !KArc::ptr_eq(trigger, own));
        }
    }
}

impl Node for PressureNode {
    fn mode(&self) -> u32 {
        S_IFREG | 0o666
    }

    fn open(&self, _: u32) -> Result<Option<Opened>, Errno> {
        open(Source { resource: self.0, group: None }).map(Some)
    }
}
