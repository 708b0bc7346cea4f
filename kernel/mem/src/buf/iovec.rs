//! [`Iovecs`]: the iovec list of `readv`, `writev`, `sendmsg` and their kin, fetched once and checked as Linux checks it.

use super::user::UserSlice;
use super::user_ptr::UserPtr;
use crate::error::{AllocError, Fault};
use crate::kvec::KVec;
use vigil_abi::Errno;

/// The most entries of one list (Linux: UIO_MAXIOV).
pub const UIO_MAXIOV: usize = 1024;

/// The most bytes that one read or write moves (Linux: MAX_RW_COUNT, INT_MAX rounded down to a page).
pub const MAX_RW_COUNT: usize = 0x7fff_f000;

/// Entries kept without allocating (Linux: UIO_FASTIOV).
const FAST: usize = 8;

/// Why a list was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IovecError {
    /// To be returned to the user: EINVAL (too many entries, a negative length), ENOMEM, EFAULT (an entry outside of
    /// user memory).
    Errno(Errno),
    /// The list itself could not be read: bring the page in and try again.
    Fault(Fault),
}

/// A checked list. The ranges lie below TASK_SIZE; the bytes beyond [`MAX_RW_COUNT`] are cut off.
#[derive(Debug)]
pub struct Iovecs {
    few: [UserSlice; FAST],
    many: KVec<UserSlice>,
    count: usize,
    total: usize,
}

impl Iovecs {
    /// Fetches `count` entries at `list` (Linux: import_iovec).
    pub fn import(list: UserPtr<[u64; 2]>, count: usize) -> Result<Iovecs, IovecError> {
        if count > UIO_MAXIOV {
            return Err(IovecError::Errno(Errno::EINVAL));
        }
        let mut out = Iovecs { few: [UserSlice::default(); FAST], many: KVec::new(), count, total: 0 };
        if count > FAST {
            out.many.try_resize(count, UserSlice::default()).map_err(|AllocError| IovecError::Errno(Errno::ENOMEM))?;
        }
        for i in 0..count {
            let [base, len] = list.index(i).read().map_err(IovecError::Fault)?;
            if (len as i64) < 0 {
                return Err(IovecError::Errno(Errno::EINVAL));
            }
            let range = UserSlice::checked(base as usize, len as usize).ok_or(IovecError::Errno(Errno::EFAULT))?;
            // Every entry is checked at its full length first; what is beyond the limit is left out afterwards.
            let len = range.len.min(MAX_RW_COUNT - out.total);
            out.total += len;
            out.slot(i).clone_from(&UserSlice { addr: range.addr, len });
        }
        Ok(out)
    }

    fn slot(&mut self, i: usize) -> &mut UserSlice {
        if self.count > FAST { &mut self.many[i] } else { &mut self.few[i] }
    }

    /// The ranges.
    pub fn ranges(&self) -> &[UserSlice] {
        if self.count > FAST { &self.many } else { &self.few[..self.count] }
    }

    /// The bytes of all ranges together.
    pub fn total(&self) -> usize {
        self.total
    }
}
