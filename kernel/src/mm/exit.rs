//! The end of an address space (Linux: `exit_mmap`).

use super::gather::Gather;
use super::page;
use super::space::{Mm, Space};
use vigil_mem::TASK_SIZE;

/// Page-table regions emptied between two yield points.
const REGIONS_PER_TURN: usize = 32;

impl Mm {
    /// Unmaps and frees everything, after the last user has gone ([`Mm::put_user`] said `true`). A large address space
    /// takes several polls. The CPU may still have our root in TTBR0: it is freed with the last `KArc`.
    pub async fn exit_mmap(&self) {
        let mut space = self.write().await;
        self.counters.update_hiwater();
        let mut at = Some(0);
        while let Some(from) = at {
            at = self.exit_turn(&space, from);
            if at.is_some() {
                page::yield_now().await;
            }
        }
        self.exit_rest(&mut space);
    }

    /// Takes the pages of mappings out for a bounded time, from `from` on; where to go on, if there is more. Only what is
    /// mapped is looked at: most of a table is empty.
    fn exit_turn(&self, space: &Space, from: usize) -> Option<usize> {
        let mut gather = Gather::new_exit(self);
        let mut turns = REGIONS_PER_TURN;
        let mut pos = space.tree.find(from);
        while let Some(vma) = pos.and_then(|p| space.tree.get(p)) {
            let mut at = vma.start.max(from);
            while at < vma.end {
                if turns == 0 {
                    return Some(at);
                }
                turns -= 1;
                at = gather.zap_some(at, vma.end, false);
                if gather.is_full() {
                    gather.flush();
                }
            }
            pos = pos.and_then(|p| space.tree.next(p));
        }
        None
    }

    /// The mappings, their files, and the tables.
    fn exit_rest(&self, space: &mut Space) {
        let mut gather = Gather::new_exit(self);
        while let Some(pos) = space.tree.last() {
            let Some(vma) = space.tree.remove(pos) else { break };
            self.forget_vma(&vma);
            let (start, end) = (vma.start, vma.end);
            // Its rmap node goes before its tables.
            drop(vma);
            // From the top down: above, nothing is left; below, the next mapping may share tables with this one.
            let floor = space.tree.last().and_then(|p| space.tree.get(p)).map_or(0, |v| v.end);
            self.tables.unhook_tables(start, end, floor, TASK_SIZE, &mut |pfn| gather.push_table(pfn));
        }
        self.set_exe(None);
    }
}

impl Drop for Mm {
    /// Normally everything is gone by now; an address space that never had its `exit_mmap` (a failed exec) is emptied
    /// here, before the nodes that point at it lose it.
    fn drop(&mut self) {
        if let Some(mut space) = self.space.try_write() {
            let mut at = Some(0);
            while let Some(from) = at {
                at = self.exit_turn(&space, from);
            }
            self.exit_rest(&mut space);
        }
    }
}
