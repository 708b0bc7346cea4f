//! munmap(2).

use super::fault::untag;
use super::pgtable::page_up;
use super::space::Mm;
use vigil_abi::Errno;
use vigil_mem::{PAGE_SIZE, TASK_SIZE};

impl Mm {
    /// munmap(2). EINVAL: `addr` is no page, or the range is empty or not in user space. ENOMEM: too many mappings
    /// would result. Returns after the last CPU has forgotten the range.
    pub async fn munmap(&self, addr: usize, len: usize) -> Result<(), Errno> {
        let start = untag(addr);
        if start % PAGE_SIZE != 0 || start > TASK_SIZE || len > TASK_SIZE - start {
            return Err(Errno::EINVAL);
        }
        let end = start + page_up(len).ok_or(Errno::EINVAL)?;
        if end == start {
            return Err(Errno::EINVAL);
        }
        let mut space = self.write().await;
        self.unmap(&mut space, start, end).await
    }
}
