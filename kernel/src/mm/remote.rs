//! Access to an address space from outside of it: ptrace, `/proc/PID/{mem,cmdline,environ}`, a new program's stack.
//!
//! Pages are faulted in and copied through the linear map, so it does not matter which address space the CPU runs.

use super::fault::{Access, untag};
use super::page;
use super::pgtable::page_down;
use super::space::Mm;
use vigil_mem::PAGE_SIZE;

impl Mm {
    /// Copies from `addr` on into `out`; how many bytes, short at the first page that cannot be read.
    pub async fn read_remote(&self, addr: usize, out: &mut [u8]) -> usize {
        let mut done = 0;
        while done < out.len() {
            let at = untag(addr).wrapping_add(done);
            let n = (PAGE_SIZE - at % PAGE_SIZE).min(out.len() - done);
            let piece = &mut out[done..done + n];
            if !self.with_page(at, Access::Read, &mut move |p| piece.copy_from_slice(&p[at % PAGE_SIZE..][..piece.len()])).await {
                break;
            }
            done += n;
        }
        done
    }

    /// Copies `data` to `addr`; how many bytes, short at the first page that cannot be written. Private pages are copied
    /// first, as for a store of the program itself.
    pub async fn write_remote(&self, addr: usize, data: &[u8]) -> usize {
        let mut done = 0;
        while done < data.len() {
            let at = untag(addr).wrapping_add(done);
            let n = (PAGE_SIZE - at % PAGE_SIZE).min(data.len() - done);
            let from = &data[done..done + n];
            if !self.with_page(at, Access::Write, &mut |p| p[at % PAGE_SIZE..][..n].copy_from_slice(from)).await {
                break;
            }
            done += n;
        }
        done
    }

    /// Fills `[addr, addr + len)` with zeros; how many bytes.
    pub async fn zero_remote(&self, addr: usize, len: usize) -> usize {
        let mut done = 0;
        while done < len {
            let at = addr.wrapping_add(done);
            let n = (PAGE_SIZE - at % PAGE_SIZE).min(len - done);
            if !self.with_page(at, Access::Write, &mut |p| p[at % PAGE_SIZE..][..n].fill(0)).await {
                break;
            }
            done += n;
        }
        done
    }

    /// Runs `f` on the bytes of the page at `addr` after faulting it in for `access`; `false` when that is impossible.
    async fn with_page(&self, addr: usize, access: Access, f: &mut impl FnMut(&mut [u8; PAGE_SIZE])) -> bool {
        let here = page_down(addr);
        // A page can go between the fault and the look (another thread, reclaim): try a few times, then give up.
        for _ in 0..8 {
            if self.try_fault(addr, access, u64::MAX).is_err() && self.handle_fault(addr, access, u64::MAX).await.is_err() {
                return false;
            }
            let Some(table) = self.tables.find(here) else { continue };
            let locked = self.tables.lock(table, here);
            let pte = locked.get(here);
            if !pte.is_valid() || (access.is_write() && !pte.is_writable()) {
                continue;
            }
            // SAFETY: the page is mapped and its table is locked, so it stays allocated; user programs may change it at
            // the same time, which copies of plain bytes bear: nobody keeps a reference beyond `f`.
            f(unsafe { &mut *page::data(pte.pfn()).cast() });
            return true;
        }
        false
    }
}
