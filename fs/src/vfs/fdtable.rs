//! Descriptor tables (Linux: struct files_struct, fs/file.c).
//!
//! A table is an array of slots with two bitmaps, reserved and close-on-exec, under one spin lock. A number is given out
//! in two steps, reserve and install, so that a call can fail in between without anybody having seen the descriptor.
//!
//! A thread that does not share its table may use [`FdTable::get_light`] instead of counting references: while it is in a
//! system call nobody else can close what it uses (Linux: __fget_light).

use super::file::{File, Mode};
use super::lock::Owner;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering::*};
use vigil_abi::Errno;
use vigil_executor::nospec::index_nospec;
use vigil_executor::sync::{LockClass, SpinLock};
use vigil_mem::{KArc, KVec};

/// Largest table, whatever the limits say (/proc/sys/fs/nr_open).
pub const NR_OPEN: usize = 1 << 20;

const WORD: usize = 64;

/// Descriptors that are looked at in one holding of a table's lock.
const PART: usize = 1024 * WORD;

struct Table {
    slots: KVec<Option<KArc<File>>>,
    /// Numbers given out, reserved ones included; one bit each.
    used: KVec<u64>,
    cloexec: KVec<u64>,
    /// No number below is free.
    hint: usize,
}

/// A table of descriptors, shared by the threads of a process.
pub struct FdTable {
    lock: SpinLock<()>,
    table: UnsafeCell<Table>,
    /// Tasks that use the table; at 1, its only user need not lock.
    users: AtomicU32,
    /// Somebody set a record lock through this table: each close looks for what it must remove.
    locks: AtomicBool,
}

// SAFETY: the cell is reached under the lock, or by the table's only user as `get_light` says.
unsafe impl Sync for FdTable {}

static CLASS: LockClass = LockClass::new("files_struct");

impl FdTable {
    /// An empty table with room for 64 descriptors.
    pub fn try_new() -> Result<FdTable, Errno> {
        let mut table = Table { slots: KVec::new(), used: KVec::new(), cloexec: KVec::new(), hint: 0 };
        table.grow(WORD)?;
        Ok(FdTable {
            lock: SpinLock::new(&CLASS, ()),
            table: UnsafeCell::new(table),
            users: AtomicU32::new(1),
            locks: AtomicBool::new(false),
        })
    }

    fn with<R>(&self, f: impl FnOnce(&mut Table) -> R) -> R {
        let _guard = self.lock.lock();
        // SAFETY: the lock is held, and `get_light`'s callers do not hold on to the table while it changes.
        f(unsafe { &mut *self.table.get() })
    }

    /// A copy for a new process: the same files, with numbers below `below` only. Reserved numbers are left out. ENOMEM.
    pub fn fork(&self, below: usize) -> Result<FdTable, Errno> {
        let copy = FdTable::try_new()?;
        loop {
            // Grown outside of the lock, so that a large table costs no long section.
            let size = self.with(|table| table.top().min(below));
            copy.with(|table| table.grow(size))?;
            let done = self.with(|from| {
                if from.top().min(below) > size {
                    return false;
                }
                copy.with_nested(|to| {
                    for word in 0..size.div_ceil(WORD) {
                        let mut bits = from.used.get(word).copied().unwrap_or(0);
                        while bits != 0 {
                            let fd = word * WORD + bits.trailing_zeros() as usize;
                            bits &= bits - 1;
                            to.copy_from(from, fd, size);
                        }
                    }
                });
                true
            });
            if done {
                return Ok(copy);
            }
        }
    }

    fn with_nested<R>(&self, f: impl FnOnce(&mut Table) -> R) -> R {
        static NESTED: LockClass = LockClass::new("files_struct/new");
        let _guard = self.lock.lock_nested(&NESTED);
        // SAFETY: as in `with`.
        f(unsafe { &mut *self.table.get() })
    }

    /// One more task uses the table (CLONE_FILES).
    pub fn add_user(&self) {
        self.users.fetch_add(1, AcqRel);
    }

    /// A task less; true if it was the last: its descriptors are to be closed.
    pub fn sub_user(&self) -> bool {
        self.users.fetch_sub(1, AcqRel) == 1
    }

    /// The processes that use this table, as the owner of their record locks.
    pub fn lock_owner(&self) -> Owner {
        Owner::Table(core::ptr::from_ref(self).addr())
    }

    /// A record lock is about to be set for [`FdTable::lock_owner`].
    pub fn note_record_lock(&self) {
        self.locks.store(true, Release);
    }

    /// Whether a record lock was ever set for [`FdTable::lock_owner`].
    #[inline]
    pub fn has_record_locks(&self) -> bool {
        self.locks.load(Acquire)
    }

    /// Whether more than one task uses the table.
    pub fn is_shared(&self) -> bool {
        self.users.load(Acquire) > 1
    }

    /// The file of `fd`, for a call that works on its content. EBADF, also for one opened with O_PATH (Linux: fdget).
    pub fn get(&self, fd: i32) -> Result<KArc<File>, Errno> {
        self.get_raw(fd).and_then(|file| if file.mode().contains(Mode::PATH) { Err(Errno::EBADF) } else { Ok(file) })
    }

    /// The file of `fd`, for a call to which a mere place will do: where a path starts, fstat, dup (Linux: fdget_raw).
    /// EBADF.
    pub fn get_raw(&self, fd: i32) -> Result<KArc<File>, Errno> {
        self.with(|table| table.slot(fd).cloned()).ok_or(Errno::EBADF)
    }

    /// As [`FdTable::get_raw`] without a count while the table has one user.
    ///
    /// # Safety
    /// The caller is a task that uses this table, and neither closes or replaces descriptors nor lets another task share
    /// the table while it holds the result. Others (who look at it from outside, through /proc) only use [`FdTable::get_raw`]
    /// and [`FdTable::next`].
    #[inline]
    pub unsafe fn get_light(&self, fd: i32) -> Result<FdRef<'_>, Errno> {
        if self.is_shared() {
            return self.get_raw(fd).map(FdRef::Counted);
        }
        // SAFETY: by the caller's contract nobody changes the table: its only user is here.
        let table = unsafe { &*self.table.get() };
        table.slot(fd).map(FdRef::Borrowed).ok_or(Errno::EBADF)
    }

    /// Reserves the lowest free number from `min` on, below `limit` (RLIMIT_NOFILE). EMFILE, ENOMEM. EINVAL is for
    /// F_DUPFD's caller, who checks `min` against the limit.
    pub fn reserve(&self, min: usize, limit: usize, cloexec: bool) -> Result<Reserved<'_>, Errno> {
        let limit = limit.min(NR_OPEN);
        self.with(|table| {
            let fd = table.next_free(min);
            if fd >= limit {
                return Err(Errno::EMFILE);
            }
            table.grow(fd + 1)?;
            set(&mut table.used, fd, true);
            set(&mut table.cloexec, fd, cloexec);
            if fd == table.hint {
                table.hint = fd + 1;
            }
            Ok(fd)
        })
        .map(|fd| Reserved { table: self, fd })
    }

    /// Reserves and installs in one step.
    pub fn install(&self, file: KArc<File>, limit: usize, cloexec: bool) -> Result<i32, Errno> {
        Ok(self.reserve(0, limit, cloexec)?.install(file))
    }

    /// Makes `new` another number of `file` (dup2, dup3). Returns what `new` was before, which the caller closes. EBADF:
    /// `new` is not below `limit`; EBUSY: `new` is reserved by a call under way.
    pub fn replace(&self, file: KArc<File>, new: i32, limit: usize, cloexec: bool) -> Result<Option<KArc<File>>, Errno> {
        let fd = usize::try_from(new).ok().filter(|&fd| fd < limit.min(NR_OPEN)).ok_or(Errno::EBADF)?;
        self.with(|table| {
            table.grow(fd + 1)?;
            let fd = index_nospec(fd, table.slots.len());
            if table.slots[fd].is_none() && get(&table.used, fd) {
                return Err(Errno::EBUSY);
            }
            set(&mut table.used, fd, true);
            set(&mut table.cloexec, fd, cloexec);
            Ok(table.slots[fd].replace(file))
        })
    }

    /// Takes `fd` out of the table. EBADF. The caller closes the file ([`super::close`]).
    pub fn remove(&self, fd: i32) -> Result<KArc<File>, Errno> {
        self.with(|table| {
            let fd = table.index(fd)?;
            let file = table.slots[fd].take().ok_or(Errno::EBADF)?;
            table.release(fd);
            Ok(file)
        })
    }

    /// Calls `take` with the first open descriptor of `first..=last` that has its bit in `bits`. A large table is looked through
    /// in parts, so that its lock is held for a short time only.
    fn seek<R>(
        &self,
        first: usize,
        last: usize,
        bits: impl Fn(&Table) -> &[u64],
        take: impl Fn(&mut Table, usize) -> Option<R>,
    ) -> Option<R> {
        let mut from = first;
        loop {
            let part = self.with(|table| {
                let end = table.slots.len().min(last.saturating_add(1));
                let stop = end.min(from.saturating_add(PART));
                match table.first_open(bits(table), from, stop) {
                    Some(fd) => Ok(take(table, fd)),
                    None if stop < end => Err(stop),
                    None => Ok(None),
                }
            });
            match part {
                Ok(result) => return result,
                Err(next) => from = next,
            }
        }
    }

    /// Takes out the first open descriptor of `first..=last`, for close_range(2) and exit.
    pub fn remove_next(&self, first: usize, last: usize) -> Option<(i32, KArc<File>)> {
        self.seek(first, last, |table| &table.used, Table::take)
    }

    /// Takes out the first close-on-exec descriptor from `first` on, for execve(2).
    pub fn remove_next_cloexec(&self, first: usize) -> Option<(i32, KArc<File>)> {
        self.seek(first, usize::MAX, |table| &table.cloexec, Table::take)
    }

    /// FD_CLOEXEC of `fd`. EBADF.
    pub fn cloexec(&self, fd: i32) -> Result<bool, Errno> {
        self.with(|table| table.index(fd).map(|fd| get(&table.cloexec, fd)))
    }

    /// Sets FD_CLOEXEC of `fd`. EBADF.
    pub fn set_cloexec(&self, fd: i32, on: bool) -> Result<(), Errno> {
        self.with(|table| {
            let fd = table.index(fd)?;
            set(&mut table.cloexec, fd, on);
            Ok(())
        })
    }

    /// The first open descriptor from `first` on, for /proc/PID/fd.
    pub fn next(&self, first: usize) -> Option<(i32, KArc<File>)> {
        self.seek(first, usize::MAX, |table| &table.used, |table, fd| Some((fd as i32, table.slots.get(fd)?.clone()?)))
    }

    /// Numbers that the table has room for (FDSize in /proc/PID/status).
    pub fn capacity(&self) -> usize {
        self.with(|table| table.slots.len())
    }
}

impl Table {
    #[inline]
    fn slot(&self, fd: i32) -> Option<&KArc<File>> {
        // A number that is too large, negative ones included, is no index.
        let index = fd as u32 as usize;
        if index >= self.slots.len() {
            return None;
        }
        self.slots.get(index_nospec(index, self.slots.len()))?.as_ref()
    }

    /// The number of an open descriptor as an index.
    fn index(&self, fd: i32) -> Result<usize, Errno> {
        self.slot(fd).map(|_| index_nospec(fd as u32 as usize, self.slots.len())).ok_or(Errno::EBADF)
    }

    /// The first open descriptor of `from..stop` that has its bit in `bits`.
    fn first_open(&self, bits: &[u64], from: usize, stop: usize) -> Option<usize> {
        let mut fd = from;
        while fd < stop {
            let word = bits.get(fd / WORD)? >> (fd % WORD);
            if word == 0 {
                fd = (fd / WORD + 1) * WORD;
                continue;
            }
            fd += word.trailing_zeros() as usize;
            // A reserved number has its bit, and no file yet.
            if fd < stop && self.slots.get(fd)?.is_some() {
                return Some(fd);
            }
            fd += 1;
        }
        None
    }

    fn take(&mut self, fd: usize) -> Option<(i32, KArc<File>)> {
        let file = self.slots.get_mut(fd)?.take()?;
        self.release(fd);
        Some((fd as i32, file))
    }

    /// Copies one descriptor of `from`, if it is open and below `size`.
    fn copy_from(&mut self, from: &Table, fd: usize, size: usize) {
        if fd < size
            && let Some(Some(file)) = from.slots.get(fd)
        {
            self.slots[fd] = Some(file.clone());
            set(&mut self.used, fd, true);
            set(&mut self.cloexec, fd, get(&from.cloexec, fd));
        }
    }

    /// One above the largest number in use, rounded up to a word.
    fn top(&self) -> usize {
        self.used.iter().rposition(|&word| word != 0).map_or(0, |word| (word + 1) * WORD)
    }

    #[inline(always)]
    fn grow(&mut self, wanted: usize) -> Result<(), Errno> {
        if wanted <= self.slots.len() { Ok(()) } else { self.grow_slow(wanted) }
    }

    #[cold]
    #[inline(never)]
    fn grow_slow(&mut self, wanted: usize) -> Result<(), Errno> {
        let size = wanted.next_power_of_two().max(WORD);
        let words = size / WORD;
        self.used.try_resize(words, 0)?;
        self.cloexec.try_resize(words, 0)?;
        self.slots.try_resize_with(size, || None)?;
        Ok(())
    }

    fn next_free(&self, min: usize) -> usize {
        let start = min.max(self.hint);
        let mut word = start / WORD;
        let mut busy = self.used.get(word).copied().unwrap_or(0) | ((1u64 << (start % WORD)) - 1);
        while busy == u64::MAX {
            word += 1;
            busy = self.used.get(word).copied().unwrap_or(0);
        }
        word * WORD + busy.trailing_ones() as usize
    }

    fn release(&mut self, fd: usize) {
        set(&mut self.used, fd, false);
        set(&mut self.cloexec, fd, false);
        self.hint = self.hint.min(fd);
    }
}

fn get(bits: &[u64], at: usize) -> bool {
    bits.get(at / WORD).is_some_and(|word| word >> (at % WORD) & 1 != 0)
}

fn set(bits: &mut [u64], at: usize, on: bool) {
    if let Some(word) = bits.get_mut(at / WORD) {
        *word = *word & !(1 << (at % WORD)) | u64::from(on) << (at % WORD);
    }
}

/// A file found by its number.
pub enum FdRef<'t> {
    /// The table keeps it.
    Borrowed(&'t KArc<File>),
    /// A reference of its own.
    Counted(KArc<File>),
}

impl FdRef<'_> {
    /// A counted reference, to be kept across awaits and beyond.
    pub fn to_counted(&self) -> KArc<File> {
        (**self).clone()
    }
}

impl core::ops::Deref for FdRef<'_> {
    type Target = KArc<File>;
    #[inline]
    fn deref(&self) -> &KArc<File> {
        match self {
            FdRef::Borrowed(file) => file,
            FdRef::Counted(file) => file,
        }
    }
}

/// A number that is given out but not in use yet. Dropping it gives the number back.
pub struct Reserved<'t> {
    table: &'t FdTable,
    fd: usize,
}

impl Reserved<'_> {
    /// The number.
    pub fn fd(&self) -> i32 {
        self.fd as i32
    }

    /// Puts `file` under the number.
    pub fn install(self, file: KArc<File>) -> i32 {
        let this = core::mem::ManuallyDrop::new(self);
        this.table.with(|table| {
            if let Some(slot) = table.slots.get_mut(this.fd) {
                *slot = Some(file);
            }
        });
        this.fd as i32
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        self.table.with(|table| table.release(self.fd));
    }
}
