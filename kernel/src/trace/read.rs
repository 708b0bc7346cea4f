//! `trace` and `trace_pipe`: the entries of all CPUs, or of one, by their times.
//!
//! `trace` shows what is there and leaves it there. `trace_pipe` takes it out, and waits when there is nothing; `trace_pipe_raw` gives
//! pages in Linux's binary form. Entries are written in
//! the middle of anything, where nobody may be woken: while a pipe is open a timer looks whether there is something for it.

use super::merge::{Cursor, NO_BODIES, ring_of};
use super::page::Page;
use super::ring::{MAX_BODY, Ring};
use super::{control, event, report, state, text};
use crate::trace::latency::Tracer;
use core::fmt::Write;
use core::pin::Pin;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use vigil_abi::Errno;
use vigil_abi::fcntl::O_TRUNC;
use vigil_abi::poll::POLLIN;
use vigil_abi::stat::S_IFREG;
use vigil_executor::cpu::{CpuMask, ONLINE};
use vigil_executor::lock_class;
use vigil_executor::sync::SpinLock;
use vigil_executor::time::{self, MSEC};
use vigil_executor::timer::Timer;
use vigil_executor::wait::WaitQueue;
use vigil_fs::vnode::{Node, SeqBuf};
use vigil_fs::{File, FileOps, OpResult, Opened, PollEvents, PollTable};
use vigil_mem::{IoBuf, IoBufMut, KArc, KBox, KVec, unsize};

/// How much text is made at once.
const CHUNK: usize = 4096;

/// Entries that a page gets under one hold of the rings; a text gets one.
const TURN: usize = 8;

/// Where readers of pipes wait.
static WAIT: WaitQueue = WaitQueue::new();
/// Open pipes.
static PIPES: AtomicUsize = AtomicUsize::new(0);
static TIMER: Timer = Timer::new(look);

fn look(_: &Timer) {
    if PIPES.load(Relaxed) == 0 {
        return;
    }
    if WAIT.has_waiters() && has_entries(CpuMask::ALL) {
        WAIT.wake(POLLIN, 0);
    }
    Pin::static_ref(&TIMER).start(time::now() + 10 * MSEC, MSEC);
}

fn has_entries(cpus: CpuMask) -> bool {
    cpus.iter().filter_map(ring_of).any(|ring| ring.readable() != 0)
}

/// Where a reader is.
struct Reader {
    /// `None` at the start.
    cursor: Option<Cursor>,
    /// Text that is made and not read yet.
    text: KVec<u8>,
    at: usize,
    /// Something was read.
    began: bool,
}

/// An open file of either kind, for the CPUs of `cpus`.
struct TraceFile {
    cpus: CpuMask,
    consumes: bool,
    raw: bool,
    reader: SpinLock<Option<KBox<Reader>>>,
    drained: AtomicBool,
}

impl TraceFile {
    fn new(node: &TraceNode) -> Result<TraceFile, Errno> {
        let TraceNode { cpus, consumes, raw } = *node;
        let reader = Reader { cursor: None, text: KVec::new(), at: 0, began: false };
        let reader = SpinLock::new(lock_class!("trace_reader"), Some(KBox::try_new(reader)?));
        Ok(TraceFile { cpus, consumes, raw, reader, drained: AtomicBool::new(false) })
    }

    /// What stands above the entries.
    fn begin(&self, reader: &mut Reader, out: &mut SeqBuf) {
        reader.cursor = Some(Cursor::new(self.cpus, self.consumes));
        if self.consumes {
            return;
        }
        let rings = || self.cpus.iter().filter_map(ring_of);
        let (readable, written) = (rings().map(Ring::readable).sum(), rings().map(Ring::entries).sum());
        let tracer = state::tracer();
        if tracer != Tracer::Nop {
            let _ = report::show(tracer, out);
        }
        if tracer == Tracer::Nop || readable != 0 {
            let _ = text::header(tracer.name(), readable, written, ONLINE.load().0.count_ones(), out);
        }
    }

    /// Makes the next text. False: there is none.
    fn make(&self, reader: &mut Reader) -> Result<bool, Errno> {
        let mut out = SeqBuf::new();
        if reader.cursor.is_none() {
            self.begin(reader, &mut out);
        }
        let mut bodies = KBox::try_new(NO_BODIES)?;
        let mut page = if self.raw { Some(KBox::try_new(Page::new())?) } else { None };
        let Some(mut cursor) = reader.cursor else { return Ok(false) };
        let mut goes_on = true;
        while goes_on && out.as_bytes().len() < CHUNK {
            let mut entry = None;
            goes_on = control::reading(|| {
                for _ in 0..TURN {
                    let lost = |cpu, count| match &mut page {
                        Some(page) => page.set_lost(),
                        None if self.consumes => _ = writeln!(out, "CPU:{cpu} [LOST {count} EVENTS]"),
                        None => {}
                    };
                    let Some(found) = cursor.oldest(&mut bodies, lost) else { return false };
                    if let Some(page) = &mut page {
                        if !page.add(&found.head, found.body(&bodies)) {
                            return false;
                        }
                        cursor.pass(&found);
                    } else {
                        cursor.pass(&found);
                        entry = Some(found);
                        return true;
                    }
                }
                true
            });
            if let Some(found) = entry {
                // Without the rings: making text takes long.
                goes_on &= text::line(found.cpu, &found.head, found.body(&bodies), &mut out).is_ok();
            }
        }
        if let Some(page) = page.filter(|page| !page.is_empty()) {
            out.put(page.bytes());
        }
        out.finish()?;
        reader.cursor = Some(cursor);
        reader.text.clear();
        reader.text.try_extend_from_slice(out.as_bytes())?;
        reader.at = 0;
        Ok(!reader.text.is_empty())
    }

    fn read_text<'a>(&'a self, file: &'a File, reader: &mut Reader, buf: &mut IoBufMut<'_>) -> OpResult<'a, usize> {
        if reader.at == reader.text.len() && !self.make(reader)? {
            let is_over = !self.consumes || !state::TRACING.load(Relaxed) && reader.began;
            return if is_over { Ok(0) } else { Err(file.would_block(&WAIT, POLLIN)) };
        }
        let n = buf.copy_out(&reader.text[reader.at..])?;
        reader.at += n;
        reader.began = true;
        Ok(n)
    }
}

impl FileOps for TraceFile {
    /// EBUSY: another thread reads by the same open file at this moment.
    fn read<'a>(&'a self, file: &'a File, buf: &mut IoBufMut<'_>, pos: &mut u64) -> OpResult<'a, usize> {
        let mut reader = self.reader.lock().take().ok_or(Errno::EBUSY)?;
        if *pos == 0 && !self.consumes && reader.began {
            // From the start: the text is made anew.
            (reader.cursor, reader.at, reader.began) = (None, 0, false);
            reader.text.clear();
        }
        let result = self.read_text(file, &mut reader, buf);
        *self.reader.lock() = Some(reader);
        if let Ok(n) = &result {
            *pos += *n as u64;
        }
        result
    }

    /// Ignored, as on Linux: what clears is the opening with O_TRUNC.
    fn write<'a>(&'a self, _: &'a File, buf: &mut IoBuf<'_>, pos: &mut u64) -> OpResult<'a, usize> {
        let n = buf.remaining();
        buf.skip(n);
        *pos += n as u64;
        Ok(n)
    }

    fn can_poll(&self) -> bool {
        self.consumes
    }

    fn poll(&self, _: &File, table: &mut PollTable<'_>) -> PollEvents {
        table.add(&WAIT);
        if has_entries(self.cpus) { PollEvents::IN | PollEvents::RDNORM } else { PollEvents::empty() }
    }

    fn llseek(&self, _: &File, pos: u64, offset: i64, whence: u32) -> Result<u64, Errno> {
        if self.consumes {
            return Err(Errno::ESPIPE);
        }
        vigil_fs::vfs::seek::in_size(pos, offset, whence, 0, i64::MAX as u64)
    }

    fn release(&self, _: &File) {
        if self.consumes && !self.drained.swap(true, Relaxed) {
            PIPES.fetch_sub(1, Relaxed);
        }
    }
}

/// `trace`, `trace_pipe` or `trace_pipe_raw` of all CPUs, or of one.
pub struct TraceNode {
    /// Of which.
    pub cpus: CpuMask,
    /// `trace_pipe`, `trace_pipe_raw`.
    pub consumes: bool,
    /// `trace_pipe_raw`.
    pub raw: bool,
}

impl Node for TraceNode {
    fn mode(&self) -> u32 {
        S_IFREG | if self.consumes { 0o440 } else { 0o640 }
    }

    fn open(&self, flags: u32) -> Result<Option<Opened>, Errno> {
        if flags & O_TRUNC != 0 && !self.consumes {
            control::clear_of(self.cpus);
        }
        let file = KArc::try_new(TraceFile::new(self)?)?;
        if self.consumes && PIPES.fetch_add(1, Relaxed) == 0 {
            Pin::static_ref(&TIMER).start(time::now() + 10 * MSEC, MSEC);
        }
        Ok(Some(Opened::Own(unsize!(KArc, file => dyn FileOps))))
    }
}

/// `trace_marker`: what is written becomes an entry.
pub struct MarkNode;

/// Longest text of one entry (Linux: TRACE_BUF_SIZE): of a longer one so much is written.
const MARK_MAX: usize = MAX_BODY;

struct MarkFile;

impl FileOps for MarkFile {
    /// EBADF: tracing is off; ENOMEM.
    fn write<'a>(&'a self, _: &'a File, buf: &mut IoBuf<'_>, pos: &mut u64) -> OpResult<'a, usize> {
        let n = buf.remaining().min(MARK_MAX);
        let mut bytes = KVec::new();
        bytes.try_resize(n, 0)?;
        control::expand()?;
        if !state::TRACING.load(Relaxed) {
            return Err(Errno::EBADF.into());
        }
        let mut at = 0;
        while at < n {
            at += buf.copy_in(&mut bytes[at..])?;
        }
        let _ = state::enter(|cpu| state::write(cpu, event::MARK, false, &bytes));
        *pos += n as u64;
        Ok(n)
    }
}

impl Node for MarkNode {
    fn mode(&self) -> u32 {
        S_IFREG | 0o220
    }

    fn open(&self, _: u32) -> Result<Option<Opened>, Errno> {
        let file = KArc::try_new(MarkFile)?;
        Ok(Some(Opened::Own(unsize!(KArc, file => dyn FileOps))))
    }
}
