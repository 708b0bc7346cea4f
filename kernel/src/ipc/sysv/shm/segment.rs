//! A segment of shared memory and its attachments.

use super::SEGMENTS;
use crate::ipc::account::Account;
use crate::ipc::sysv::perm::Perm;
use crate::ipc::sysv::seconds;
use crate::ipc::sysv::total::Part;
use crate::mm::{self, Overcommit};
use crate::task::thread::Thread;
use vigil_abi::Errno;
use vigil_abi::ipc::{SHM_DEST, SHM_NORESERVE};
use vigil_executor::lock_class;
use vigil_executor::sync::{SpinGuard, SpinLock};
use vigil_fs::{File, FileOps, MmapRequest, MmapTarget, shmem_file};
use vigil_mem::{KArc, PAGE_SIZE, page_alloc, try_format, unsize};

/// Pages that users have locked by SHM_LOCK.
pub static LOCKED: Account = Account::new();

/// What the lock of a segment guards.
#[derive(Default)]
pub struct State {
    /// Mappings, and calls that are about to make one.
    pub attached: u64,
    /// Who attached or detached it last.
    pub lpid: u32,
    /// Seconds of the last attachment.
    pub atime: i64,
    /// Seconds of the last detachment.
    pub dtime: i64,
    /// Seconds of the last change.
    pub ctime: i64,
    /// The user whose pages are locked.
    pub locked: Option<u32>,
    /// It goes with the last attachment.
    doomed: bool,
    removed: bool,
}

/// A segment.
pub struct Segment {
    /// Whose it is.
    pub perm: Perm,
    /// Bytes.
    pub size: u64,
    /// Who made it.
    pub cpid: u32,
    file: KArc<File>,
    pages: Part,
    state: SpinLock<State>,
}

impl Segment {
    /// A segment of zeros. ENOMEM also for more than there is memory.
    pub(super) fn new(thread: &Thread, key: i32, size: u64, flags: u32, pages: Part) -> Result<Segment, Errno> {
        let reserves = flags & SHM_NORESERVE == 0 || mm::overcommit_mode() == Overcommit::Never;
        if reserves && mm::overcommit_mode() != Overcommit::Always && pages.amount() > page_alloc::total_pages() as u64 {
            return Err(Errno::ENOMEM);
        }
        let file = shmem_file(try_format!("SYSV{key:08x}")?.as_str().as_bytes(), size)?;
        file.inode().set_owner(thread.cred()?.fsuid, thread.cred()?.fsgid);
        let state = SpinLock::new(lock_class!("shm_segment"), State { ctime: seconds(), ..State::default() });
        Ok(Segment { perm: Perm::new(thread, key, flags)?, size, cpid: thread.process.pid, file, pages, state })
    }

    /// Its state. EIDRM when it is gone.
    pub fn lock(&self) -> Result<SpinGuard<'_, State>, Errno> {
        let state = self.state.lock();
        if state.removed { Err(Errno::EIDRM) } else { Ok(state) }
    }

    /// Its pages.
    pub fn pages(&self) -> u64 {
        self.pages.amount()
    }

    /// Those that are in memory.
    pub fn resident(&self) -> u64 {
        self.file.inode().blocks() * 512 / PAGE_SIZE as u64
    }

    /// Goes, if it is to and nobody has it.
    fn may_go(&self, mut state: SpinGuard<'_, State>) {
        if state.doomed && state.attached == 0 && !state.removed {
            state.removed = true;
            let locked = state.locked.take();
            drop(state);
            if let Some(uid) = locked {
                LOCKED.uncharge(uid, self.pages());
            }
            SEGMENTS.remove(self.perm.id());
        }
    }

    /// IPC_RMID: it goes with its last attachment, and nobody finds it by its key any more. EIDRM.
    pub fn kill(&self) -> Result<(), Errno> {
        let mut state = self.lock()?;
        state.doomed = true;
        if state.attached > 0 {
            self.perm.mark(SHM_DEST, true);
            self.perm.forget_key();
        }
        self.may_go(state);
        Ok(())
    }

    fn sub(&self) {
        let mut state = self.state.lock();
        state.attached = state.attached.saturating_sub(1);
        self.may_go(state);
    }
}

/// Keeps a segment while somebody is about to map it.
pub struct Attaching(KArc<Segment>);

impl Attaching {
    /// EIDRM.
    pub fn new(segment: KArc<Segment>) -> Result<Attaching, Errno> {
        // In one section: it cannot go in between.
        segment.lock()?.attached += 1;
        Ok(Attaching(segment))
    }

    /// The file that one attachment maps, opened with `flags`. ENOMEM.
    pub fn file(&self, flags: u32) -> Result<KArc<File>, Errno> {
        let ops = unsize!(KArc, KArc::try_new(Attachment { segment: self.0.clone() })? => dyn FileOps);
        File::counted(self.0.file.path().clone(), ops, flags)
    }
}

impl Drop for Attaching {
    fn drop(&mut self) {
        self.0.sub();
    }
}

/// What an attachment's file is.
struct Attachment {
    segment: KArc<Segment>,
}

fn current_pid() -> u32 {
    Thread::current().map_or(0, |thread| thread.process.pid)
}

impl FileOps for Attachment {
    fn mmap(&self, _: &File, _: &MmapRequest) -> Result<MmapTarget, Errno> {
        Ok(MmapTarget::Cache(self.segment.file.inode().clone()))
    }

    fn mapped(&self) {
        let mut state = self.segment.state.lock();
        state.attached += 1;
        (state.atime, state.lpid) = (seconds(), current_pid());
    }

    fn unmapped(&self) {
        {
            let mut state = self.segment.state.lock();
            (state.dtime, state.lpid) = (seconds(), current_pid());
        }
        self.segment.sub();
    }
}
