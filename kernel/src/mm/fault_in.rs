//! The waiting side of page faults: get what a step lacked, and run it again.

use super::fault::{Access, Cause, Fault, FaultError, Step, untag};
use super::page;
use super::pgtable::page_down;
use super::space::Mm;
use vigil_abi::Errno;
use vigil_executor::wait::WaitMode;
use vigil_executor::wait_site;
use vigil_mem::{PAGE_SIZE, TASK_SIZE};

/// How often a fault may find no memory after it was said to be there.
const MAX_SHORTAGES: u32 = 16;
/// How often one fault may start over before other tasks are let in.
const TURNS: u32 = 16;

impl Mm {
    /// Repairs the page fault at `addr`, waiting for mmap_lock, memory and the file's storage as need be. Waits for
    /// storage end by a fatal signal. `stack_limit` is RLIMIT_STACK, in bytes.
    pub async fn handle_fault(&self, addr: usize, access: Access, stack_limit: u64) -> Result<Fault, FaultError> {
        let cause = Cause { addr: untag(addr), access };
        let mut spare = None;
        let mut major = false;
        let mut turn = 0u32;
        let mut shortages = 0u32;
        loop {
            let step = {
                let space = self.read().await;
                self.fault_step(&space, cause, &mut spare)
            };
            match step {
                Ok(fault) => return Ok(Fault { major: fault.major || major }),
                Err(Step::Signal(signal)) => return Err(FaultError::Signal(signal)),
                Err(Step::WriteLock) => {
                    let mut space = self.write().await;
                    self.grow_stack(&mut space, cause, stack_limit).map_err(FaultError::Signal)?;
                }
                Err(Step::Memory) => {
                    // With a spare page at hand it was a table that could not be had: then this one is only to make room.
                    let page = page::alloc_wait().await;
                    if page.is_none() || shortages >= MAX_SHORTAGES {
                        return Err(if page::is_dying() { FaultError::Interrupted } else { FaultError::Oom });
                    }
                    shortages += 1;
                    spare = spare.or(page);
                }
                Err(Step::FilePage(inode, index, write)) => {
                    // The inode is ours meanwhile: the mapping may go while we wait.
                    major = true;
                    let site = wait_site!("folio_wait_bit_common");
                    let got =
                        vigil_fs::vfs::wait::wait_for(site, WaitMode::Killable, || inode.mapping().get_for_fault(index, write).map(drop));
                    // Any other error is found again, and told, by the next step.
                    if got.await == Err(Errno::ERESTARTSYS) {
                        return Err(FaultError::Interrupted);
                    }
                }
            }
            turn = turn.wrapping_add(1);
            if turn % TURNS == 0 {
                page::yield_now().await;
            }
        }
    }

    /// Makes each page of `[addr, addr + len)` accessible: what an access to user memory awaits after it came back
    /// short. The pages may be gone again when it returns, so the access is tried in a loop.
    pub async fn fault_in(&self, addr: usize, len: usize, write: bool, stack_limit: u64) -> Result<(), FaultError> {
        let access = if write { Access::Write } else { Access::Read };
        let start = untag(addr);
        let end = start.saturating_add(len.max(1));
        let mut at = start;
        while at < end {
            if self.try_fault(at, access, stack_limit).is_err() {
                self.handle_fault(at, access, stack_limit).await?;
            }
            at = page_down(at).saturating_add(PAGE_SIZE);
        }
        Ok(())
    }

    /// Brings in every page of `[start, end)` that is mapped and allows it, as MAP_POPULATE and mlock do
    /// (`populate_vma_page_range`). ENOMEM, EFAULT, EINTR; for MAP_POPULATE the caller ignores them.
    pub(super) async fn populate(&self, start: usize, end: usize) -> Result<(), Errno> {
        use super::vma::VmFlags;
        let mut at = start;
        while at < end.min(TASK_SIZE) {
            let access = {
                let space = self.read().await;
                let Some(vma) = space.tree.at(at) else { return Err(Errno::ENOMEM) };
                if vma.flags.contains(VmFlags::PFNMAP) {
                    at = vma.end;
                    continue;
                }
                // A private writable page is copied now rather than at its first store.
                if vma.flags.contains(VmFlags::WRITE) && !vma.flags.contains(VmFlags::SHARED) { Access::Write } else { Access::Read }
            };
            let wanted = self.tables.peek(at);
            if !wanted.is_valid() || (access.is_write() && !wanted.is_writable()) {
                self.handle_fault(at, access, 0).await.map_err(|e| match e {
                    FaultError::Oom => Errno::ENOMEM,
                    FaultError::Signal(_) => Errno::EFAULT,
                    FaultError::Interrupted => Errno::EINTR,
                })?;
            }
            at = at.saturating_add(PAGE_SIZE);
            if (at >> 12) % 64 == 0 {
                page::yield_now().await;
            }
        }
        Ok(())
    }
}
