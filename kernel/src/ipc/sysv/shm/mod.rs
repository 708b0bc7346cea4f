//! System V shared memory (shmop(2); Linux: ipc/shm.c).
//!
//! A segment is a file of tmpfs without a name. An attachment maps it through a file of its own, whose mappings the segment
//! counts, wherever they come from and go to: fork, munmap, exec, a thread's end.
//!
//! | file | what |
//! |---|---|
//! | [`segment`] | the segment, its attachments |
//! | [`control`] | what shmctl(2) asks and changes |

pub mod control;
pub mod segment;

use super::registry::{Object, Registry};
use super::total::Total;
use crate::task::thread::Thread;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use segment::Segment;
use vigil_abi::Errno;
use vigil_abi::ipc::SHM_HUGETLB;
use vigil_executor::lock_class;
use vigil_mem::{KArc, PAGE_SIZE};

/// Bytes of the largest segment: no limit, but for what must be added to it.
pub static SHMMAX: AtomicU64 = AtomicU64::new(u64::MAX - (1 << 24));
/// Pages of all segments.
pub static SHMALL: AtomicU64 = AtomicU64::new(u64::MAX - (1 << 24));

/// All segments.
pub static SEGMENTS: Registry<Segment> = Registry::new(lock_class!("shm_ids"), 4096);
/// Pages of all segments.
static TOTAL: Total = Total::new();

impl Object for Segment {
    fn perm(&self) -> &super::perm::Perm {
        &self.perm
    }
}

/// shmget(2). EINVAL, ENOSPC, ENOMEM and what [`Registry::get`] answers.
pub fn get(thread: &Thread, key: i32, size: u64, flags: u32) -> Result<i32, Errno> {
    let fits = |segment: &Segment| if size > segment.size { Err(Errno::EINVAL) } else { Ok(()) };
    SEGMENTS.get(thread, key, flags, fits, || {
        // Huge pages are not there.
        if size < 1 || size > SHMMAX.load(Relaxed) {
            return Err(Errno::EINVAL);
        }
        let pages = size.checked_next_multiple_of(PAGE_SIZE as u64).ok_or(Errno::ENOSPC)? / PAGE_SIZE as u64;
        let pages = TOTAL.add(pages, SHMALL.load(Relaxed))?;
        if flags & SHM_HUGETLB != 0 {
            return Err(Errno::EINVAL);
        }
        Ok(KArc::try_new(Segment::new(thread, key, size, flags, pages)?)?)
    })
}
