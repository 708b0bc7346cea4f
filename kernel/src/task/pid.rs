//! The table of process numbers: which are taken, and by which thread and process.
//!
//! Numbers are given out in a circle, as Linux does (`alloc_pid`): the next free one after the last, so that a number
//! is not reused at once. A number stays taken while it is a thread, a process, a process group or a session.

use super::process::{Process, Tasks};
use super::thread::Thread;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use vigil_mem::{AllocError, KArc, KVec};

/// One more than the largest number (Linux: PID_MAX_DEFAULT).
pub const PID_MAX: u32 = 32_768;
/// Where the circle begins again (Linux: RESERVED_PIDS).
const RESERVED: u32 = 300;
/// Numbers in one chunk of the table.
const CHUNK: usize = 256;
/// Numbers that are looked at under the lock at once, by whoever looks at many; a chunk is some of these.
const TURN: u32 = 64;
/// Chunks of a table that is full.
const CHUNKS: usize = PID_MAX as usize / CHUNK;

#[derive(Default)]
struct Entry {
    thread: Option<KArc<Thread>>,
    process: Option<KArc<Process>>,
    /// Given out and not yet, or no longer, used by a thread.
    taken: bool,
    /// Processes whose group or session has this number, both counted.
    members: u32,
    /// Processes whose group has this number, zombies included.
    group: u32,
    /// The session that these are in: all members of a group are in one.
    session: u32,
}

impl Entry {
    fn is_free(&self) -> bool {
        !self.taken && self.members == 0 && self.process.is_none() && self.thread.is_none()
    }
}

/// [`CHUNK`] numbers.
struct Chunk {
    /// Empty, or [`CHUNK`] of them.
    entries: KVec<Entry>,
    /// How many are not free.
    used: usize,
}

/// Living threads. Changed under the lock of the process tree.
static THREADS: AtomicU32 = AtomicU32::new(0);

/// How many threads live.
pub fn threads() -> u32 {
    THREADS.load(Relaxed)
}

/// The table. Under the lock of the process tree. A chunk without a number in use goes when the circle has left it.
pub struct PidTable {
    chunks: [Chunk; CHUNKS],
    /// A chunk to enter the next part of the circle with: the one that the last part was left with.
    spare: KVec<Entry>,
    last: u32,
}

impl PidTable {
    /// An empty table.
    pub const fn new() -> Self {
        PidTable { chunks: [const { Chunk { entries: KVec::new(), used: 0 } }; CHUNKS], spare: KVec::new(), last: 0 }
    }

    fn entry(&self, n: u32) -> Option<&Entry> {
        self.chunks.get(n as usize / CHUNK)?.entries.get(n as usize % CHUNK)
    }

    /// Changes the entry of `n`, and counts it if it is free no more or again.
    fn change<R>(&mut self, n: u32, f: impl FnOnce(&mut Entry) -> R) -> Option<R> {
        let chunk = self.chunks.get_mut(n as usize / CHUNK)?;
        let entry = chunk.entries.get_mut(n as usize % CHUNK)?;
        let was_free = entry.is_free();
        let result = f(entry);
        match (was_free, entry.is_free()) {
            (true, false) => chunk.used += 1,
            (false, true) => {
                chunk.used -= 1;
                if chunk.used == 0 {
                    self.retire(n);
                }
            }
            _ => {}
        }
        Some(result)
    }

    /// Gives the chunk of `n` back if nothing in it is in use and the circle is elsewhere.
    fn retire(&mut self, n: u32) {
        let index = n as usize / CHUNK;
        if index == self.last as usize / CHUNK {
            return;
        }
        if let Some(chunk) = self.chunks.get_mut(index)
            && chunk.used == 0
        {
            let entries = core::mem::take(&mut chunk.entries);
            if self.spare.is_empty() {
                self.spare = entries;
            }
        }
    }

    /// Makes the chunk of `n` of `entries`, all free; gives them back if it is there already.
    fn add_chunk(&mut self, n: u32, entries: KVec<Entry>) -> KVec<Entry> {
        match self.chunks.get_mut(n as usize / CHUNK) {
            Some(chunk) if chunk.entries.is_empty() => {
                chunk.entries = entries;
                if n < CHUNK as u32 {
                    // Number 0 is nobody's.
                    self.change(0, |e| e.taken = true);
                }
                KVec::new()
            }
            _ => entries,
        }
    }

    /// Gives out `n`, which is free.
    fn take(&mut self, n: u32) {
        FORKS.fetch_add(1, Relaxed);
        self.change(n, |e| e.taken = true);
    }

    /// The next free number after the last, and whether its chunk is there; `None`: all are taken.
    fn next_free(&self) -> Option<(u32, bool)> {
        let mut n = self.last;
        let mut looked = 0;
        while looked < PID_MAX + CHUNK as u32 {
            n += 1;
            looked += 1;
            if n >= PID_MAX {
                n = RESERVED;
            }
            // What is full is passed at once, so that this takes some hundred steps at most, however many numbers are taken.
            if self.chunks.get(n as usize / CHUNK).is_some_and(|chunk| chunk.used == CHUNK) {
                let rest = CHUNK as u32 - 1 - n % CHUNK as u32;
                n += rest;
                looked += rest;
                continue;
            }
            match self.entry(n) {
                Some(e) if e.is_free() => return Some((n, true)),
                Some(_) => {}
                None => return Some((n, false)),
            }
        }
        None
    }

    /// Whether `n` names a thread, process, group or session.
    pub fn is_known(&self, n: u32) -> bool {
        self.entry(n).is_some_and(|entry| !entry.is_free())
    }

    /// Whether `n` names a group or session.
    pub fn is_group(&self, n: u32) -> bool {
        self.entry(n).is_some_and(|entry| entry.members > 0)
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
        let old = self.change(n, |e| core::mem::replace(&mut e.thread, thread))?;
        THREADS.store(THREADS.load(Relaxed).wrapping_add(adds).wrapping_sub(old.is_some() as u32), Relaxed);
        old
    }

    /// Enters a process.
    pub fn set_process(&mut self, n: u32, process: Option<KArc<Process>>) -> Option<KArc<Process>> {
        self.change(n, |e| core::mem::replace(&mut e.process, process))?
    }

    /// One process more is in group `pgrp`, which is in `session`.
    pub fn join_group(&mut self, pgrp: u32, session: u32) {
        self.change(pgrp, |e| {
            e.members += 1;
            e.group += 1;
            e.session = session;
        });
    }

    /// One less.
    pub fn leave_group(&mut self, pgrp: u32) {
        self.change(pgrp, |e| {
            e.members = e.members.saturating_sub(1);
            e.group = e.group.saturating_sub(1);
        });
    }

    /// One process more is in `session`.
    pub fn join_session(&mut self, session: u32) {
        self.change(session, |e| e.members += 1);
    }

    /// One less.
    pub fn leave_session(&mut self, session: u32) {
        self.change(session, |e| e.members = e.members.saturating_sub(1));
    }

    /// The session of group `pgrp`; `None`: there is no such group.
    pub fn session_of(&self, pgrp: u32) -> Option<u32> {
        self.entry(pgrp).filter(|e| e.group > 0).map(|e| e.session)
    }

    /// Takes the process numbered `n` out and gives its number back.
    pub fn remove_process(&mut self, n: u32) -> Option<KArc<Process>> {
        self.change(n, |e| {
            e.taken = false;
            e.process.take()
        })?
    }

    /// Gives number `n` back.
    pub fn release(&mut self, n: u32) {
        self.change(n, |e| e.taken = false);
    }

    /// The entries that are numbered from `from` on, within one turn's numbers, and where the next turn begins; `None`: there are no more.
    fn turn(&self, from: u32) -> Option<(impl Iterator<Item = (&Entry, u32)>, u32)> {
        let (first, chunk) = self.chunks.iter().enumerate().skip(from as usize / CHUNK).find(|(_, c)| !c.entries.is_empty())?;
        let start = (first * CHUNK) as u32;
        let from = from.max(start);
        let next = (from / TURN + 1) * TURN;
        Some((chunk.entries.iter().skip((from - start) as usize).zip(from..next), next))
    }

    /// The processes of a turn that begins at `from`, and where the next one does.
    pub fn some_processes(&self, from: u32) -> Option<(impl Iterator<Item = &KArc<Process>>, u32)> {
        self.turn(from).map(|(entries, next)| (entries.filter_map(|(e, _)| e.process.as_ref()), next))
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
    alloc_by(|pids| pids.next_free().ok_or(PidError::Exhausted), true)
}

/// Takes number `n`, which is below [`PID_MAX`].
pub fn alloc_this(n: u32) -> Result<u32, PidError> {
    let choose = |pids: &PidTable| match pids.entry(n).map(Entry::is_free) {
        Some(false) => Err(PidError::Taken),
        there => Ok((n, there.is_some())),
    };
    alloc_by(choose, false)
}

/// Takes the number that `choose` gives with whether its chunk is there; `moves`: the circle goes on from it.
fn alloc_by(choose: impl Fn(&PidTable) -> Result<(u32, bool), PidError>, moves: bool) -> Result<u32, PidError> {
    let mut entries = KVec::new();
    loop {
        let mut tasks = super::process::tasks();
        let (n, there) = choose(&tasks.pids)?;
        if !there && entries.is_empty() {
            entries = core::mem::take(&mut tasks.pids.spare);
        }
        if there || !entries.is_empty() {
            let unused = if there { entries } else { tasks.pids.add_chunk(n, entries) };
            let left = if moves { core::mem::replace(&mut tasks.pids.last, n) } else { n };
            tasks.pids.take(n);
            tasks.pids.retire(left);
            drop(tasks);
            drop(unused);
            return Ok(n);
        }
        drop(tasks);
        // The table grows, outside the lock.
        entries = KVec::try_with_capacity(CHUNK)?;
        for _ in 0..CHUNK {
            let _ = entries.push_reserved(Entry::default());
        }
    }
}

/// Calls `f` with each living thread, with the tree locked, which is let go of between some and the next: they may be as many as there
/// are numbers. What begins or ends meanwhile may be missed.
pub fn for_each_thread(mut f: impl FnMut(&Tasks, &KArc<Thread>)) {
    let mut from = 0;
    loop {
        let guard = super::process::tasks();
        let Some((entries, next)) = guard.pids.turn(from) else { return };
        entries.filter_map(|(e, _)| e.thread.as_ref()).filter(|thread| !thread.is_gone()).for_each(|thread| f(&guard, thread));
        from = next;
    }
}

/// Whether `f` holds for a process, zombies included. As [`for_each_thread`].
pub fn any_process(mut f: impl FnMut(&Tasks, &KArc<Process>) -> bool) -> bool {
    let mut from = 0;
    loop {
        let guard = super::process::tasks();
        let Some((mut processes, next)) = guard.pids.some_processes(from) else { return false };
        if processes.any(|process| f(&guard, process)) {
            return true;
        }
        from = next;
    }
}

/// What `f` makes of the first entry from number `from` on of which it makes something.
fn find<R>(mut from: u32, mut f: impl FnMut(&Entry, u32) -> Option<R>) -> Option<R> {
    loop {
        let guard = super::process::tasks();
        let (mut entries, next) = guard.pids.turn(from)?;
        if let Some(found) = entries.find_map(|(e, n)| f(e, n)) {
            return Some(found);
        }
        from = next;
    }
}

/// The first process numbered at least `from`.
pub fn next_process(from: u32) -> Option<KArc<Process>> {
    find(from, |e, _| e.process.clone())
}

/// The first thread numbered at least `from`, and the number.
pub fn next_thread(from: u32) -> Option<(u32, KArc<Thread>)> {
    find(from, |e, n| Some((n, e.thread.clone()?)))
}

/// Gives a number back that no thread was entered under.
pub fn free(n: u32) {
    super::process::tasks().pids.release(n);
}
