//! Page faults: which mapping, is it allowed, and what kind of page is missing (Linux: `do_page_fault`,
//! `handle_mm_fault`; spec seed 000 §3.14).
//!
//! One step, [`Mm::fault_step`], does everything that needs no waiting; it is run by the plain [`Mm::try_fault`] and by
//! the waiting [`Mm::handle_fault`], which gives it what it lacked and runs it again. So there is one fault path.

use super::page::{self, Page};
use super::pgtable::{Pte, page_down};
use super::space::{Mm, Space};
use super::tlb;
use super::vma::{Backing, VmFlags, Vma};
use super::{MMAP_MIN_ADDR, STACK_GUARD_GAP};
use vigil_abi::signal::{BUS_ADRERR, SEGV_ACCERR, SEGV_MAPERR, SIGBUS, SIGSEGV};
use vigil_fs::Inode;
use vigil_mem::{KArc, PAGE_SHIFT, TASK_SIZE};

/// What the faulting instruction wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// A load, or cache maintenance.
    Read,
    /// A store.
    Write,
    /// An instruction fetch.
    Exec,
}

impl Access {
    /// Whether a mapping with `flags` allows it. Without EPAN an execute-only page is readable, and so is a
    /// write-only one.
    #[inline(always)]
    pub fn allowed_by(self, flags: VmFlags) -> bool {
        flags.intersects(match self {
            Access::Read => VmFlags::RWX,
            Access::Write => VmFlags::WRITE,
            Access::Exec => VmFlags::EXEC,
        })
    }

    /// Whether it is a store.
    #[inline(always)]
    pub fn is_write(self) -> bool {
        self == Access::Write
    }
}

/// A fault that was repaired.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    /// Storage was read for it (ru_majflt); otherwise it counts in ru_minflt.
    pub major: bool,
}

/// The signal that a fault ends in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FaultSignal {
    /// SIGSEGV or SIGBUS.
    pub signo: u32,
    /// si_code.
    pub code: i32,
    /// si_addr: the address that was accessed, tag removed.
    pub addr: usize,
}

impl FaultSignal {
    fn segv(code: i32, addr: usize) -> Self {
        FaultSignal { signo: SIGSEGV, code, addr }
    }

    /// Beyond the end of the file, or the file could not be read.
    pub(super) fn bus(addr: usize) -> Self {
        FaultSignal { signo: SIGBUS, code: BUS_ADRERR, addr }
    }
}

/// Why [`Mm::try_fault`] did not repair the fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FaultStop {
    /// It cannot be repaired.
    Signal(FaultSignal),
    /// It needs a wait: await [`Mm::handle_fault`].
    Retry,
}

/// Why [`Mm::handle_fault`] did not repair the fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FaultError {
    /// It cannot be repaired.
    Signal(FaultSignal),
    /// No memory, even after reclaim. The OOM killer has chosen its victim: return to user mode and let it fault again
    /// unless it is us.
    Oom,
    /// A fatal signal is pending.
    Interrupted,
}

/// What a step lacked.
pub(super) enum Step {
    /// Nothing can be done.
    Signal(FaultSignal),
    /// A page.
    Memory,
    /// mmap_lock for writing: a stack grows.
    WriteLock,
    /// The file's page `1` must be read first; whether it is to be written.
    FilePage(KArc<Inode>, u64, bool),
}

/// A fault's circumstances.
#[derive(Clone, Copy)]
pub(super) struct Cause {
    /// The address, tag removed.
    pub addr: usize,
    pub access: Access,
}

/// `addr` without the tag of top-byte-ignore.
#[inline(always)]
pub fn untag(addr: usize) -> usize {
    // Bit 55 says which half the address is of; user addresses lose their tag, others stay what they are.
    if addr & (1 << 55) == 0 { addr & ((1 << 56) - 1) } else { addr }
}

impl Mm {
    /// Repairs the page fault at `addr` if that needs no waiting. `stack_limit` is RLIMIT_STACK, in bytes.
    ///
    /// Callable wherever preemption is possible, from EL0 faults and from EL1 accesses to user memory alike. Takes
    /// mmap_lock by trying only.
    #[inline]
    pub fn try_fault(&self, addr: usize, access: Access, stack_limit: u64) -> Result<Fault, FaultStop> {
        let cause = Cause { addr: untag(addr), access };
        let Some(space) = self.space.try_read() else { return Err(FaultStop::Retry) };
        match self.fault_step(&space, cause, &mut None) {
            Ok(fault) => return Ok(fault),
            Err(Step::Signal(s)) => return Err(FaultStop::Signal(s)),
            Err(Step::WriteLock) => (),
            Err(_) => return Err(FaultStop::Retry),
        }
        drop(space);
        let Some(mut space) = self.space.try_write() else { return Err(FaultStop::Retry) };
        self.grow_stack(&mut space, cause, stack_limit).map_err(FaultStop::Signal)?;
        match self.fault_step(&space, cause, &mut None) {
            Ok(fault) => Ok(fault),
            Err(Step::Signal(s)) => Err(FaultStop::Signal(s)),
            Err(_) => Err(FaultStop::Retry),
        }
    }

    /// One attempt. `spare` is a page that the caller got beforehand, taken if one is needed.
    pub(super) fn fault_step(&self, space: &Space, cause: Cause, spare: &mut Option<Page>) -> Result<Fault, Step> {
        let Cause { addr, access } = cause;
        let vma = match self.find_vma(space, addr) {
            Some(vma) if vma.start <= addr => vma,
            Some(vma) if vma.flags.contains(VmFlags::GROWSDOWN) && addr < TASK_SIZE => return Err(Step::WriteLock),
            _ => return Err(Step::Signal(FaultSignal::segv(SEGV_MAPERR, addr))),
        };
        if !access.allowed_by(vma.flags) {
            return Err(Step::Signal(FaultSignal::segv(SEGV_ACCERR, addr)));
        }
        let here = page_down(addr);
        let table = self.tables.find_or_alloc(here).map_err(|_| Step::Memory)?;
        let pte = Pte(self.tables.unlocked(table)[super::pgtable::index_of(here, 3)].load(ORDER));
        if pte.is_present() {
            if access.is_write() && !pte.is_writable() {
                return self.write_protect_fault(vma, table, cause, pte, spare);
            }
            // Somebody else repaired it, or this CPU had an old entry.
            if pte.is_valid() {
                tlb::flush_page(|| self.asid(), here);
                return Ok(Fault { major: false });
            }
        }
        match &vma.backing {
            Backing::Anon => self.anonymous_fault(vma, table, here, access, spare),
            Backing::File(map) => self.file_fault(vma, map, table, cause, spare),
            Backing::Special(special) => {
                let pfn = special.page(vma.page_index(here));
                let pfn = pfn.ok_or(Step::Signal(FaultSignal::bus(addr)))?;
                self.map_if_none(table, here, Pte::new(pfn, vma.pte_prot().read_only().special()));
                Ok(Fault { major: false })
            }
            Backing::Device { pfn, device, .. } => {
                let frame = pfn.wrapping_add(vma.page_index(here)) as usize;
                let mut prot = vma.pte_prot().special();
                if *device {
                    prot = prot.with_memory_type(super::pgtable::MT_DEVICE_NGNRE);
                }
                self.map_if_none(table, here, Pte::new(vigil_mem::Pfn::new(frame), prot));
                Ok(Fault { major: false })
            }
        }
    }

    /// First touch of anonymous memory: the zero page for a load, a page of one's own for a store
    /// (`do_anonymous_page`).
    #[inline]
    fn anonymous_fault(
        &self,
        vma: &Vma,
        table: vigil_mem::Pfn,
        here: usize,
        access: Access,
        spare: &mut Option<Page>,
    ) -> Result<Fault, Step> {
        if !access.is_write() {
            self.map_if_none(table, here, Pte::new(page::zero_pfn(), vma.pte_prot().read_only().special()));
            return Ok(Fault { major: false });
        }
        let page = page::take_zeroed(spare).ok_or(Step::Memory)?;
        vma.set_anon();
        let prot = vma.pte_prot().dirty();
        if vma.flags.contains(VmFlags::EXEC) {
            page::sync_icache(page.pfn());
        }
        let locked = self.tables.lock(table, here);
        if locked.get(here).is_none() {
            locked.set(here, Pte::new(page.into_anon(), prot));
            drop(locked);
            tlb::table_store_barrier();
            self.counters.inc_anon();
        }
        Ok(Fault { major: false })
    }

    /// Installs `pte`, unless another CPU was faster. For entries that hold no reference to a page.
    pub(super) fn map_if_none(&self, table: vigil_mem::Pfn, here: usize, pte: Pte) -> bool {
        let locked = self.tables.lock(table, here);
        let free = locked.get(here).is_none();
        if free {
            locked.set(here, pte);
        }
        drop(locked);
        tlb::table_store_barrier();
        free
    }

    /// Extends the stack above `cause.addr` down to it (`expand_stack`), or says which signal it is.
    pub(super) fn grow_stack(&self, space: &mut Space, cause: Cause, stack_limit: u64) -> Result<(), FaultSignal> {
        let failed = FaultSignal::segv(SEGV_MAPERR, cause.addr);
        let to = page_down(cause.addr);
        let Some(pos) = space.tree.find(cause.addr) else { return Err(failed) };
        let below = space.tree.prev(pos).and_then(|p| space.tree.get(p));
        let accessible = |v: &&Vma| !v.flags.contains(VmFlags::GROWSDOWN) && v.flags.intersects(VmFlags::RWX);
        let too_close = below.filter(accessible).is_some_and(|v| to.saturating_sub(v.end) < STACK_GUARD_GAP);
        let Some(vma) = space.tree.get_mut(pos) else { return Err(failed) };
        if vma.start <= to {
            return Ok(());
        }
        let grow = (vma.start - to) >> PAGE_SHIFT;
        if !vma.flags.contains(VmFlags::GROWSDOWN)
            || too_close
            || to < MMAP_MIN_ADDR
            || (vma.end - to) as u64 > stack_limit
            || (vma.flags.contains(VmFlags::ACCOUNT) && !self.counters.charge(grow))
        {
            return Err(failed);
        }
        vma.set_start(to);
        self.counters.account(vma.flags, grow as isize);
        Ok(())
    }
}

/// Entries are plain data under a lock; a look without it needs no order, because what it decides is checked under it.
pub(super) const ORDER: core::sync::atomic::Ordering = core::sync::atomic::Ordering::Relaxed;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_go_from_user_addresses_only() {
        assert_eq!(untag(0xab00_1234_5678_9abc), 0x1234_5678_9abc);
        assert_eq!(untag(0xffff_8000_0000_0000), 0xffff_8000_0000_0000);
        assert_eq!(untag(0x0001_0000_0000_0000), 0x0001_0000_0000_0000);
    }

    #[test]
    fn any_right_allows_a_load_and_no_right_allows_nothing() {
        for f in [VmFlags::READ, VmFlags::WRITE, VmFlags::EXEC] {
            assert!(Access::Read.allowed_by(f));
        }
        for a in [Access::Read, Access::Write, Access::Exec] {
            assert!(!a.allowed_by(VmFlags::empty()));
        }
        assert!(!Access::Write.allowed_by(VmFlags::READ | VmFlags::EXEC));
    }
}
