//! The table of process numbers: which are taken, and by which thread and process.
//!
//! Numbers are given out in a circle, as Linux does (`alloc_pid`): the next free one after the last, so that a number
//! is not reused at once. A number stays taken while it is a thread, a process, a process group or a session.

use super::process::Process;
use super::thread::Thread;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use vigil_mem::{AllocError, KArc, KVec};

/// One more than the largest number (Linux: PID_MAX_DEFAULT).
pub const PID_MAX: u32 = 32_768;
/// Where the circle begins again (Linux: RESERVED_PIDS).
const RESERVED: u32 = 300;
/// Numbers in one chunk of the table.
const CHUNK: usize = 256;

#[derive(Default)]
struct Entry {
    thread: Option<KArc<Thread>>,
    process: Option<KArc<Process>>,
    /// Given out and not yet, or no longer, used by a thread.
    taken: bool,
    /// Processes whose group or session has this number.
    members: u32,
}

impl Entry {
    fn is_free(&self) -> bool {
        !self.taken && self.members == 0 && self.process.is_none() && self.thread.is_none()
    }
}

/// The table. Under the lock of the process tree.
pub struct PidTable {
    chunks: KVec<KVec<Entry>>,
    last: u32,
    /// Living threads.
    pub threads: u32,
}

impl PidTable {
    /// An empty table.
    pub const fn new() -> Self {
        PidTable { chunks: KVec::new(), last: 0, threads: 0 }
    }

    fn entry(&self, n: u32) -> Option<&Entry> {
        self.chunks.get(n as usize / CHUNK)?.get(n as usize % CHUNK)
    }

    fn entry_mut(&mut self, n: u32) -> Option<&mut Entry> {
        self.chunks.get_mut(n as usize / CHUNK)?.get_mut(n as usize % CHUNK)
    }

    /// Whether an allocation needs another chunk: then call [`PidTable::add_chunk`] with one that was made outside the
    /// lock, and try again.
    fn next_free(&self) -> Option<Option<u32>> {
        let mut n = self.last;
        for _ in 0..PID_MAX {
            n += 1;
            if n >= PID_MAX {
                n = RESERVED;
            }
            match self.entry(n) {
                Some(e) if e.is_free() => return Some(Some(n)),
                Some(_) => {}
                None => return Some(None),
            }
        }
        None
    }

    /// Gives out number `n`, which is free.
    fn take(&mut self, n: u32) -> u32 {
        FORKS.fetch_add(1, Relaxed);
        if let Some(e) = self.entry_mut(n) {
            e.taken = true;
        }
        n
    }

    /// The number that was given out last.
    pub fn last(&self) -> u32 {
        self.last
    }

    /// The thread numbered `n`.
    pub fn thread(&self, n: u32) -> Option<KArc<Thread>> {
        self.entry(n)?.thread.clone()
    }

    /// The process numbered `n`.
    pub fn process(&self, n: u32) -> Option<KArc<Process>> {
        self.entry(n)?.process.clone()
    }

    /// The same without a count, for as long as the table is locked.
    pub fn process_ref(&self, n: u32) -> Option<&KArc<Process>> {
        self.entry(n)?.process.as_ref()
    }

    /// Enters a thread under the number that was allocated for it.
    pub fn set_thread(&mut self, n: u32, thread: Option<KArc<Thread>>) -> Option<KArc<Thread>> {
        let adds = thread.is_some() as u32;
        let entry = self.entry_mut(n)?;
        let old = core::mem::replace(&mut entry.thread, thread);
        self.threads = (self.threads + adds).saturating_sub(old.is_some() as u32);
        old
    }

    /// Enters a process.
    pub fn set_process(&mut self, n: u32, process: Option<KArc<Process>>) -> Option<KArc<Process>> {
        core::mem::replace(&mut self.entry_mut(n)?.process, process)
    }

    /// One process more has group or session `n`.
    pub fn join(&mut self, n: u32) {
        if let Some(e) = self.entry_mut(n) {
            e.members += 1;
        }
    }

    /// One less.
    pub fn leave(&mut self, n: u32) {
        if let Some(e) = self.entry_mut(n) {
            e.members = e.members.saturating_sub(1);
        }
    }

    /// Gives number `n` back.
    pub fn release(&mut self, n: u32) {
        if let Some(e) = self.entry_mut(n) {
            e.taken = false;
        }
    }

    /// The first process numbered at least `from`.
    pub fn next_process(&self, from: u32) -> Option<KArc<Process>> {
        (from..self.chunks.len() as u32 * CHUNK as u32).find_map(|n| self.process(n))
    }

    /// Every process.
    pub fn processes(&self) -> impl Iterator<Item = &KArc<Process>> {
        self.chunks.iter().flat_map(|c| c.iter()).filter_map(|e| e.process.as_ref())
    }
}

impl Default for PidTable {
    fn default() -> Self {
        Self::new()
    }
}

/// Why no number could be had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PidError {
    /// All are taken (EAGAIN).
    Exhausted,
    /// The one that was asked for is taken (EEXIST).
    Taken,
    /// The table could not grow (ENOMEM).
    NoMemory,
}

impl From<AllocError> for PidError {
    fn from(_: AllocError) -> Self {
        PidError::NoMemory
    }
}

/// Numbers given out since boot (`processes` of `/proc/stat`).
static FORKS: AtomicU64 = AtomicU64::new(0);

/// How many threads and processes have been begun since boot.
pub fn forks() -> u64 {
    FORKS.load(Relaxed)
}

/// Takes a free number. Give it back with [`free`] unless a thread was entered under it.
pub fn alloc() -> Result<u32, PidError> {
    loop {
        {
            let mut tasks = super::process::tasks();
            match tasks.pids.next_free() {
                None => return Err(PidError::Exhausted),
                Some(Some(n)) => {
                    tasks.pids.last = n;
                    return Ok(tasks.pids.take(n));
                }
                Some(None) => {}
            }
        }
        grow()?;
    }
}

/// Takes number `n`, which is below [`PID_MAX`].
pub fn alloc_this(n: u32) -> Result<u32, PidError> {
    loop {
        {
            let mut tasks = super::process::tasks();
            match tasks.pids.entry(n).map(Entry::is_free) {
                Some(true) => return Ok(tasks.pids.take(n)),
                Some(false) => return Err(PidError::Taken),
                None => {}
            }
        }
        grow()?;
    }
}

/// Adds a chunk to the table; the memory is allocated outside the lock.
fn grow() -> Result<(), PidError> {
    let mut entries = KVec::try_with_capacity(CHUNK)?;
    for _ in 0..CHUNK {
        let _ = entries.push_reserved(Entry::default());
    }
    let wanted = super::process::tasks().pids.chunks.len() + 1;
    let mut spine = KVec::try_with_capacity(wanted)?;
    let mut tasks = super::process::tasks();
    if tasks.pids.chunks.len() + 1 == wanted {
        if wanted == 1 {
            // Number 0 is nobody's.
            entries[0].taken = true;
        }
        for chunk in tasks.pids.chunks.drain(..) {
            let _ = spine.push_reserved(chunk);
        }
        let _ = spine.push_reserved(entries);
        core::mem::swap(&mut tasks.pids.chunks, &mut spine);
    }
    drop(tasks);
    Ok(())
}

/// Gives a number back that no thread was entered under.
pub fn free(n: u32) {
    super::process::tasks().pids.release(n);
}
