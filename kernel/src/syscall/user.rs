//! User memory from async code: copy; on a fault await the page, outside of all locks; retry (DESIGN.md rule 6).

use super::Stop;
use crate::mm::FaultError;
use crate::task::thread::Thread;
use core::future::Future;
use vigil_abi::{Errno, Pod};
use vigil_executor::stage;
use vigil_mem::buf::uaccess;
use vigil_mem::{Fault, KArc, KBox, UserPtr};

/// Brings in the page that `fault` missed. EFAULT when there is none to bring, or no memory to bring it in; EINTR when a
/// fatal signal is pending.
///
/// In a box: nearly every call's future holds this one, few ever poll it, and a thread that waits would carry its size.
pub async fn fault_in(thread: &Thread, fault: Fault) -> Result<(), Errno> {
    if !fault.is_resolvable() {
        return Err(Errno::EFAULT);
    }
    match KBox::try_pin_with(|| resolve(thread, fault)) {
        Ok(resolved) => resolved.await,
        Err(_) => Err(Errno::EFAULT),
    }
}

async fn resolve(thread: &Thread, fault: Fault) -> Result<(), Errno> {
    let mm = thread.share_mm().ok_or(Errno::EFAULT)?;
    match stage!("fault_in_user", mm.fault_in(fault.addr, 1, fault.write, thread.stack_limit())).await {
        Ok(()) => Ok(()),
        Err(FaultError::Signal(_)) => Err(Errno::EFAULT),
        Err(FaultError::Interrupted) => Err(Errno::EINTR),
        Err(FaultError::Oom) => {
            crate::mm::oom::out_of_memory(thread).await;
            Ok(())
        }
    }
}

/// Reads a `T` from user memory.
pub async fn get<T: Pod>(thread: &Thread, from: UserPtr<T>) -> Result<T, Errno> {
    loop {
        match from.read() {
            Ok(value) => return Ok(value),
            Err(fault) => fault_in(thread, fault).await?,
        }
    }
}

/// Writes a `T` to user memory.
pub async fn put<T: Pod>(thread: &Thread, to: UserPtr<T>, value: &T) -> Result<(), Errno> {
    loop {
        match to.write(value) {
            Ok(()) => return Ok(()),
            Err(fault) => fault_in(thread, fault).await?,
        }
    }
}

/// Writes as much of `bytes` as user memory takes; how much. An error when it takes nothing.
pub async fn write_short(thread: &Thread, to: usize, bytes: &[u8]) -> Result<usize, Errno> {
    let mut done = 0;
    while done < bytes.len() {
        let rest = &bytes[done..];
        // SAFETY: the source is a slice of that size.
        let n = unsafe { uaccess::copy_to_user(to.wrapping_add(done), rest.as_ptr(), rest.len()) };
        done += n;
        if n < rest.len()
            && let Err(e) = fault_in(thread, Fault { addr: to.wrapping_add(done), write: true }).await
        {
            return if done > 0 { Ok(done) } else { Err(e) };
        }
    }
    Ok(done)
}

/// Calls `f` until it completes, bringing in the pages that it misses. `f` has no effect before its last user access.
pub async fn retry<R>(thread: &Thread, mut f: impl FnMut() -> Result<R, Stop>) -> Result<R, Errno> {
    loop {
        match f() {
            Ok(r) => return Ok(r),
            Err(Stop::Errno(e)) => return Err(e),
            Err(Stop::Fault { addr, write }) => fault_in(thread, Fault { addr, write }).await?,
            // A plain call that says so has an async twin; one that has none does not exist for this file.
            Err(Stop::NotYet) => return Err(Errno::EAGAIN),
        }
    }
}

/// How `fs` asks for pages: see `vigil_fs::Mem`.
pub struct Faulter<'a>(pub &'a Thread);

impl vigil_fs::Mem for Faulter<'_> {
    fn fault_in(&self, fault: Fault) -> impl Future<Output = Result<(), Errno>> + Send {
        fault_in(self.0, fault)
    }
}

/// The bytes of a path name, from user memory.
pub async fn path(thread: &Thread, from: u64) -> Result<vigil_fs::PathName, Errno> {
    loop {
        match vigil_fs::PathName::from_user(UserPtr::new(from as usize)) {
            Ok(name) => return Ok(name),
            Err(vigil_fs::Stop::Err(e)) => return Err(e),
            Err(vigil_fs::Stop::Fault { addr, write }) => fault_in(thread, Fault { addr, write }).await?,
            Err(vigil_fs::Stop::Wait(..)) => return Err(Errno::EIO),
        }
    }
}

/// A counted reference to `thread` for work that outlives the call.
pub fn counted(thread: &Thread) -> Option<KArc<Thread>> {
    crate::task::process::find_thread(thread.tid())
}
