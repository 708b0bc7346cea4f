//! Signals of files: who asked by O_ASYNC to be told when a file becomes ready (Linux: fasync_helper, kill_fasync).
//!
//! An object that can tell keeps a list of the files over it that want it. It is told of each change where Linux's twin of
//! the object is, in task context and with nothing locked, and the kernel sends the signal ([`crate::Host::signal_file`]).

use super::file::File;
use super::lazy::Lazy;
use crate::host::host;
use vigil_abi::Errno;
use vigil_executor::sync::{LockClass, SpinLock};
use vigil_mem::{KArc, KVec, KWeak};

/// What a file has become ready for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Band {
    /// Reading (POLL_IN).
    In,
    /// Writing (POLL_OUT).
    Out,
}

struct Entry {
    file: KWeak<File>,
    /// The descriptor by which it was asked for.
    fd: i32,
}

/// The files over one object that want signals. One word while there are none.
#[derive(Default)]
pub struct FasyncList(Lazy<SpinLock<KVec<Entry>>>);

static CLASS: LockClass = LockClass::new("fasync");

impl FasyncList {
    /// Nobody.
    pub const fn new() -> FasyncList {
        FasyncList(Lazy::new())
    }

    /// `file`, by its descriptor `fd`, wants signals. ENOMEM.
    pub fn add(&self, file: &KArc<File>, fd: i32) -> Result<(), Errno> {
        let mut list = self.0.get_or_make(|| SpinLock::new(&CLASS, KVec::new()))?.lock();
        if let Some(known) = list.iter_mut().find(|entry| entry.file.is(file)) {
            known.fd = fd;
            return Ok(());
        }
        Ok(list.try_push(Entry { file: KArc::downgrade(file), fd })?)
    }

    /// `file` does not want signals any more.
    pub fn remove(&self, file: &KArc<File>) {
        if let Some(list) = self.0.get() {
            list.lock().retain(|entry| !entry.file.is(file));
        }
    }

    /// A file has gone: forgets all that have.
    pub fn forget_gone(&self) {
        let Some(list) = self.0.get() else { return };
        let mut at = 0;
        loop {
            // One at a time: what may be a last reference is not dropped under the lock.
            let Some(file) = list.lock().get(at).map(|entry| entry.file.clone()) else { return };
            if file.upgrade().is_some() {
                at += 1;
            } else {
                list.lock().retain(|entry| !entry.file.ptr_eq(&file));
            }
        }
    }

    /// The object is ready for `band`: tells the files that can make use of it.
    #[inline]
    pub fn tell(&self, band: Band) {
        if let Some(list) = self.0.get() {
            FasyncList::tell_all(list, band);
        }
    }

    #[cold]
    fn tell_all(list: &SpinLock<KVec<Entry>>, band: Band) {
        let mut at = 0;
        loop {
            let Some((file, fd)) = list.lock().get(at).map(|entry| (entry.file.clone(), entry.fd)) else { return };
            at += 1;
            let Some(file) = file.upgrade() else { continue };
            let usable = match band {
                Band::In => file.readable(),
                Band::Out => file.writable(),
            };
            if usable {
                host().signal_file(&file, fd, band);
            }
        }
    }
}
