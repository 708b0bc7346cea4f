//! The address space object.

use super::counters::Counters;
use super::layout::Layout;
use super::table::PageTables;
use super::tree::{Pos, VmaTree};
use super::vma::{VmFlags, Vma};
use crate::task::exec::ExecFile;
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use vigil_abi::Errno;
use vigil_executor::lock_class;
use vigil_executor::sync::{RwSem, RwSemReadGuard, RwSemWriteGuard, SpinLock};
use vigil_executor::wait_site;
use vigil_fs::File;
use vigil_mem::{KArc, KVec};

/// The borders that `/proc/PID/stat` and prctl(PR_SET_MM) know; addresses.
#[derive(Clone, Copy, Default, Debug)]
pub struct MmFields {
    /// Program text.
    pub start_code: usize,
    /// Its end.
    pub end_code: usize,
    /// Initialised data.
    pub start_data: usize,
    /// Its end.
    pub end_data: usize,
    /// The heap's start.
    pub start_brk: usize,
    /// The heap's end as the program sees it, any byte.
    pub brk: usize,
    /// The stack pointer that the program began with.
    pub start_stack: usize,
    /// argv's strings.
    pub arg_start: usize,
    /// Their end.
    pub arg_end: usize,
    /// The environment's strings.
    pub env_start: usize,
    /// Their end.
    pub env_end: usize,
}

/// What mmap_lock protects.
pub struct Space {
    /// The mappings.
    pub tree: VmaTree,
    /// Borders.
    pub fields: MmFields,
    /// Where the search for a gap begins.
    pub layout: Layout,
    /// Flags that every new mapping gets: mlockall(MCL_FUTURE).
    pub def_flags: VmFlags,
    /// The auxiliary vector as the program got it, pairs, AT_NULL included.
    pub auxv: KVec<u64>,
}

/// An address space.
pub struct Mm {
    /// mmap_lock.
    pub(super) space: RwSem<Space>,
    pub(super) tables: PageTables,
    /// ASID generation and number; see [`super::asid`].
    pub(super) context_id: AtomicU64,
    pub(super) counters: Counters,
    users: AtomicUsize,
    hint: AtomicUsize,
    pub(super) vdso: AtomicUsize,
    /// The program's file, for `/proc/PID/exe`: readlink(2) does not wait for mmap_lock.
    exe: SpinLock<Option<KArc<ExecFile>>>,
    /// Private commands of membarrier(2) that were registered for.
    pub membarrier: AtomicU32,
}

/// mmap_lock held for reading.
pub(crate) type SpaceRead<'a> = RwSemReadGuard<'a, Space>;
/// mmap_lock held for writing.
pub(crate) type SpaceWrite<'a> = RwSemWriteGuard<'a, Space>;

impl Mm {
    /// An empty address space with one user. ENOMEM.
    pub fn new(layout: Layout) -> Result<KArc<Mm>, Errno> {
        let space = Space { tree: VmaTree::new(), fields: MmFields::default(), layout, def_flags: VmFlags::empty(), auxv: KVec::new() };
        Ok(KArc::try_new(Mm {
            space: RwSem::new(lock_class!("mmap_lock"), space),
            tables: PageTables::new()?,
            context_id: AtomicU64::new(0),
            counters: Counters::default(),
            users: AtomicUsize::new(1),
            hint: AtomicUsize::new(0),
            vdso: AtomicUsize::new(0),
            exe: SpinLock::new(lock_class!("exe_file"), None),
            membarrier: AtomicU32::new(0),
        })?)
    }

    /// One more task runs in it (Linux: mm_users).
    pub fn get_user(&self) {
        self.users.fetch_add(1, Ordering::Relaxed);
    }

    /// One more user, unless there is none left: for those who found the object elsewhere (`/proc`, ptrace).
    pub fn try_get_user(&self) -> bool {
        self.users.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n != 0).then_some(n + 1)).is_ok()
    }

    /// One user less. `true`: it was the last one, and the caller awaits [`Mm::exit_mmap`].
    #[must_use = "the last user empties the address space"]
    pub fn put_user(&self) -> bool {
        self.users.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// How many tasks use it.
    pub fn users(&self) -> usize {
        self.users.load(Ordering::Relaxed)
    }

    /// mmap_lock for reading. Waits uninterruptibly.
    pub(crate) async fn read(&self) -> SpaceRead<'_> {
        match self.space.try_read() {
            Some(guard) => guard,
            None => self.space.read(wait_site!("mmap_read_lock")).await,
        }
    }

    /// mmap_lock for writing. Waits uninterruptibly.
    pub(crate) async fn write(&self) -> SpaceWrite<'_> {
        match self.space.try_write() {
            Some(guard) => guard,
            None => self.space.write(wait_site!("mmap_write_lock")).await,
        }
    }

    /// The ASID that its TLB entries carry; 0 when it never ran.
    #[inline(always)]
    pub(super) fn asid(&self) -> u64 {
        self.context_id.load(Ordering::Relaxed) & 0xffff
    }

    /// The first mapping that ends above `addr`; a hit in the mapping of the last call costs a few instructions.
    #[inline]
    pub(super) fn find_vma<'s>(&self, space: &'s Space, addr: usize) -> Option<&'s Vma> {
        if let Some(vma) = space.tree.get(Pos::unpack(self.hint.load(Ordering::Relaxed)))
            && vma.contains(addr)
        {
            return Some(vma);
        }
        let pos = space.tree.find(addr)?;
        self.hint.store(pos.pack(), Ordering::Relaxed);
        space.tree.get(pos)
    }

    /// Borders as of now, waiting for mmap_lock.
    pub async fn fields(&self) -> MmFields {
        self.read().await.fields
    }

    /// Changes the borders by `f`, which is told whether something is mapped at `address` (prctl(PR_SET_MM)).
    pub async fn update_fields(&self, address: usize, f: impl FnOnce(&mut MmFields, bool) -> Result<(), Errno>) -> Result<(), Errno> {
        let mut space = self.write().await;
        // Linux: find_vma, which is content with a mapping above.
        let mapped = space.tree.find(address).is_some();
        f(&mut space.fields, mapped)
    }

    /// Replaces what `/proc/PID/auxv` shows.
    pub async fn set_auxv(&self, words: KVec<u64>) {
        let old = core::mem::replace(&mut self.write().await.auxv, words);
        drop(old);
    }

    /// The program's file.
    pub fn exe(&self) -> Option<KArc<File>> {
        self.exe.lock().as_ref().map(|e| e.file().clone())
    }

    /// What keeps the program's file from being written to, to be shared with another address space.
    pub(super) fn share_exe(&self) -> Option<KArc<ExecFile>> {
        self.exe.lock().clone()
    }

    /// Makes `exe` the program's file.
    pub fn set_exe(&self, exe: Option<KArc<ExecFile>>) {
        let old = core::mem::replace(&mut *self.exe.lock(), exe);
        drop(old);
    }

    /// Copies the auxiliary vector, as bytes, from offset `at` on; how many were copied.
    pub async fn read_auxv(&self, at: usize, out: &mut [u8]) -> usize {
        let space = self.read().await;
        let bytes = space.auxv.iter().flat_map(|w| w.to_le_bytes()).skip(at);
        let mut n = 0;
        for (slot, b) in out.iter_mut().zip(bytes) {
            *slot = b;
            n += 1;
        }
        n
    }

    /// Where the vDSO is mapped; 0 when it is not.
    pub fn vdso_base(&self) -> usize {
        self.vdso.load(Ordering::Relaxed)
    }
}
