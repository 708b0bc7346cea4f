//! The bytes of a message on their way through the kernel: in pieces, as a large one would need memory that lies together
//! (Linux: struct msg_msg and its segments).

use crate::syscall::user;
use crate::task::thread::Thread;
use vigil_abi::Errno;
use vigil_mem::addr::PAGE_SIZE;
use vigil_mem::buf::uaccess;
use vigil_mem::{Fault, KVec};

/// Bytes of a message.
#[derive(Default)]
pub struct Payload {
    len: usize,
    /// Most messages have no more than this.
    first: KVec<u8>,
    /// What does not fit into the first piece.
    rest: KVec<KVec<u8>>,
}

impl Payload {
    /// Copies `len` bytes in from the user's `from`. ENOMEM, EFAULT, EINTR.
    pub async fn read(thread: &Thread, from: usize, len: usize) -> Result<Payload, Errno> {
        let mut payload = Payload { len, ..Payload::default() };
        payload.first.try_resize(len.min(PAGE_SIZE), 0)?;
        let mut left = len - payload.first.len();
        payload.rest.try_reserve_exact(left.div_ceil(PAGE_SIZE))?;
        while left > 0 {
            let mut piece = KVec::new();
            piece.try_resize(left.min(PAGE_SIZE), 0)?;
            left -= piece.len();
            payload.rest.try_push(piece)?;
        }
        let mut at = uaccess::access_ok(from, len).ok_or(Errno::EFAULT)?;
        copy_in(thread, &mut at, &mut payload.first).await?;
        for piece in payload.rest.iter_mut() {
            copy_in(thread, &mut at, piece).await?;
            vigil_executor::executor::cond_resched().await;
        }
        Ok(payload)
    }

    /// How many bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Copies the first `len` bytes out to the user's `to`. EFAULT, EINTR.
    pub async fn write(&self, thread: &Thread, to: usize, len: usize) -> Result<(), Errno> {
        let mut left = len.min(self.len);
        let mut at = uaccess::access_ok(to, left).ok_or(Errno::EFAULT)?;
        for piece in core::iter::once(&self.first).chain(self.rest.iter()) {
            let part = &piece[..piece.len().min(left)];
            if user::write_short(thread, at, part).await? < part.len() {
                return Err(Errno::EFAULT);
            }
            at = at.wrapping_add(part.len());
            left -= part.len();
            if left == 0 {
                break;
            }
            vigil_executor::executor::cond_resched().await;
        }
        Ok(())
    }

    /// A copy. ENOMEM.
    pub fn try_clone(&self) -> Result<Payload, Errno> {
        let mut rest = KVec::try_with_capacity(self.rest.len())?;
        for piece in self.rest.iter() {
            rest.try_push(piece.try_clone()?)?;
        }
        Ok(Payload { len: self.len, first: self.first.try_clone()?, rest })
    }
}

async fn copy_in(thread: &Thread, at: &mut usize, into: &mut [u8]) -> Result<(), Errno> {
    let mut done = 0;
    while done < into.len() {
        let rest = &mut into[done..];
        // SAFETY: the target is a slice of that size.
        let n = unsafe { uaccess::copy_from_user(rest.as_mut_ptr(), *at, rest.len()) };
        done += n;
        *at = at.wrapping_add(n);
        if done < into.len() {
            user::fault_in(thread, Fault { addr: *at, write: false }).await?;
        }
    }
    Ok(())
}
