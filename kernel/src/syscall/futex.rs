//! futex(2) and robust lists.

use super::{Args, Stop, SysResult, user};
use crate::ipc::futex::{self, EnqueueError, Waiter};
use crate::ipc::pi;
use crate::task::process::find_thread;
use crate::task::thread::Thread;
use crate::time::clock;
use crate::time::until::Until;
use core::pin::{Pin, pin};
use core::sync::atomic::Ordering::Relaxed;
use vigil_abi::Errno;
use vigil_abi::futex::*;
use vigil_abi::process::CAP_SYS_PTRACE;
use vigil_abi::time::Timespec;
use vigil_mem::buf::uaccess::{self, UserAtomic};
use vigil_mem::{KBox, UserPtr};

/// The operation without its flags, or ENOSYS.
fn command(op: u32) -> Result<u32, Errno> {
    let command = op & FUTEX_CMD_MASK;
    let realtime = op & FUTEX_CLOCK_REALTIME != 0;
    match command {
        FUTEX_WAIT_BITSET | FUTEX_WAIT_REQUEUE_PI | FUTEX_LOCK_PI2 => Ok(command),
        FUTEX_WAIT | FUTEX_WAKE | FUTEX_WAKE_BITSET | FUTEX_REQUEUE | FUTEX_CMP_REQUEUE | FUTEX_WAKE_OP if !realtime => Ok(command),
        FUTEX_LOCK_PI | FUTEX_TRYLOCK_PI | FUTEX_UNLOCK_PI | FUTEX_CMP_REQUEUE_PI if !realtime => Ok(command),
        _ => Err(Errno::ENOSYS),
    }
}

/// What needs no wait: wakes whose keys are at hand.
pub fn try_futex(t: &Thread, a: Args) -> SysResult {
    let op = a[1] as u32;
    let shared = op & FUTEX_PRIVATE_FLAG == 0;
    let bitset = match op & FUTEX_CMD_MASK {
        FUTEX_WAKE => FUTEX_BITSET_MATCH_ANY,
        FUTEX_WAKE_BITSET => a[5] as u32,
        FUTEX_UNLOCK_PI if op & FUTEX_CLOCK_REALTIME == 0 => return pi::try_unlock(t, a[0] as usize, shared),
        _ => return Err(Stop::NotYet),
    };
    command(op)?;
    if bitset == 0 {
        return Err(Errno::EINVAL.into());
    }
    let key = futex::try_key(t, a[0] as usize, shared, false)?;
    // Linux wakes one for a count of zero or less.
    Ok(futex::wake(&key, (a[2] as i32).max(1) as usize, bitset)?)
}

/// futex(address, operation, value, timeout or value 2, address 2, value 3)
pub async fn futex(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let op = a[1] as u32;
    let shared = op & FUTEX_PRIVATE_FLAG == 0;
    let command = command(op)?;
    match command {
        FUTEX_WAKE | FUTEX_WAKE_BITSET | FUTEX_UNLOCK_PI => user::retry(t, || try_futex(t, a)).await,
        FUTEX_LOCK_PI | FUTEX_LOCK_PI2 => {
            // The older call's time is the wall clock's.
            let clock = if command == FUTEX_LOCK_PI { FUTEX_CLOCK_REALTIME } else { 0 };
            let until = until(t, a[3], op | clock, false).await?;
            KBox::try_pin(pi::lock(t, a[0] as usize, shared, until, false))?.await.map(|()| 0)
        }
        FUTEX_TRYLOCK_PI => KBox::try_pin(pi::lock(t, a[0] as usize, shared, Until::Endless, true))?.await.map(|()| 0),
        FUTEX_WAIT_REQUEUE_PI => {
            let until = until(t, a[3], op, false).await?;
            if a[0] == a[4] {
                return Err(Errno::EINVAL);
            }
            let from = (a[0] as usize, a[2] as u32);
            KBox::try_pin(pi::wait_requeue(t, from, a[4] as usize, shared, until))?.await.map(|()| 0)
        }
        FUTEX_CMP_REQUEUE_PI => {
            let (woken, more) = (a[2] as i32, a[3] as i32);
            // One is woken: two who own the futex there cannot be.
            if woken != 1 || more < 0 || a[0] == a[4] {
                return Err(Errno::EINVAL);
            }
            let from = (a[0] as usize, a[5] as u32);
            KBox::try_pin(pi::requeue(t, from, a[4] as usize, shared, more as usize))?.await
        }
        FUTEX_WAIT | FUTEX_WAIT_BITSET => {
            let bitset = if command == FUTEX_WAIT { FUTEX_BITSET_MATCH_ANY } else { a[5] as u32 };
            let until = until(t, a[3], op, command == FUTEX_WAIT).await?;
            if until.may_move() {
                return KBox::try_pin(wait_moving(t, *a, shared, bitset, until))?.await;
            }
            wait(t, a, shared, bitset, until).await
        }
        FUTEX_REQUEUE | FUTEX_CMP_REQUEUE => {
            let expected = (command == FUTEX_CMP_REQUEUE).then_some(a[5] as u32);
            requeue(t, a, shared, expected).await
        }
        _ => wake_op(t, a, shared).await,
    }
}

/// When the wait ends.
async fn until(t: &Thread, address: u64, op: u32, relative: bool) -> Result<Until, Errno> {
    let Some(p) = UserPtr::<Timespec>::new(address as usize).or_null() else { return Ok(Until::Endless) };
    let ts = user::get(t, p).await?;
    if !ts.is_valid() {
        return Err(Errno::EINVAL);
    }
    let time = ts.to_nanos();
    Ok(match (relative, op & FUTEX_CLOCK_REALTIME != 0) {
        (true, _) => Until::Elapsed(clock::after(time)),
        (false, false) => Until::Monotonic(time),
        (false, true) => Until::Realtime(time),
    })
}

async fn wait(t: &Thread, a: Args<'_>, shared: bool, bitset: u32, until: Until) -> Result<usize, Errno> {
    if bitset == 0 {
        return Err(Errno::EINVAL);
    }
    let key = futex::key(t, a[0] as usize, shared, false).await?;
    let waiter = pin!(Waiter::new(key, bitset));
    enter(t, waiter.as_ref(), a[0] as usize, a[2] as u32).await?;
    let slack = super::time::slack_of(t);
    match futex::wait(waiter.as_ref(), until.deadline(), slack).await {
        Ok(()) => Ok(0),
        // A relative timeout must not begin anew: no handler restarts such a wait.
        Err(Errno::EINTR) if matches!(until, Until::Elapsed(_)) => Err(Errno::EINTR),
        Err(Errno::EINTR) => Err(Errno::ERESTARTSYS),
        Err(e) => Err(e),
    }
}

/// The same with a time of a clock that may be set meanwhile.
async fn wait_moving(t: &Thread, a: [u64; 6], shared: bool, bitset: u32, until: Until) -> Result<usize, Errno> {
    if bitset == 0 {
        return Err(Errno::EINVAL);
    }
    let key = futex::key(t, a[0] as usize, shared, false).await?;
    let waiter = pin!(Waiter::new(key, bitset));
    enter(t, waiter.as_ref(), a[0] as usize, a[2] as u32).await?;
    match futex::wait_moving(waiter.as_ref(), until, super::time::slack_of(t)).await {
        Ok(()) => Ok(0),
        Err(Errno::EINTR) => Err(Errno::ERESTARTSYS),
        Err(e) => Err(e),
    }
}

/// Enters `waiter` for the word at `addr`. EAGAIN: it is not `expected`; EINVAL, EFAULT.
async fn enter(t: &Thread, waiter: Pin<&Waiter>, addr: usize, expected: u32) -> Result<(), Errno> {
    loop {
        match waiter.enqueue(addr, expected) {
            Ok(()) => return Ok(()),
            Err(EnqueueError::Changed) => return Err(Errno::EAGAIN),
            Err(EnqueueError::Requeueable) => return Err(Errno::EINVAL),
            Err(EnqueueError::Fault(fault)) => user::fault_in(t, fault).await?,
        }
    }
}

async fn requeue(t: &Thread, a: Args<'_>, shared: bool, expected: Option<u32>) -> Result<usize, Errno> {
    let (n, m) = (a[2] as i32, a[3] as i32);
    if n < 0 || m < 0 {
        return Err(Errno::EINVAL);
    }
    let addr = a[0] as usize;
    loop {
        let from = futex::key(t, addr, shared, false).await?;
        let to = futex::key(t, a[4] as usize, shared, false).await?;
        match futex::requeue(&from, &to, n as usize, m as usize, expected.map(|v| (addr, v))) {
            Ok((woken, moved)) => return Ok(woken + moved),
            Err(EnqueueError::Changed) => return Err(Errno::EAGAIN),
            Err(EnqueueError::Requeueable) => return Err(Errno::EINVAL),
            Err(EnqueueError::Fault(fault)) => user::fault_in(t, fault).await?,
        }
    }
}

/// FUTEX_WAKE_OP: changes the second word, wakes waiters of the first, and of the second if its old value says so.
async fn wake_op(t: &Thread, a: Args<'_>, shared: bool) -> Result<usize, Errno> {
    let encoded = a[5] as u32;
    let op = encoded >> 28 & 7;
    let comparison = encoded >> 24 & 15;
    // Both operands are 12 bits, signed.
    let sign = |v: u32| ((v << 20) as i32) >> 20;
    let mut operand = sign(encoded >> 12);
    let compared = sign(encoded);
    if encoded >> 28 & FUTEX_OP_OPARG_SHIFT != 0 {
        operand = 1i32.wrapping_shl(operand as u32 & 31);
    }
    let atomic = match op {
        FUTEX_OP_SET => UserAtomic::Xchg,
        FUTEX_OP_ADD => UserAtomic::Add,
        FUTEX_OP_OR => UserAtomic::Or,
        FUTEX_OP_ANDN => UserAtomic::Andn,
        FUTEX_OP_XOR => UserAtomic::Xor,
        _ => return Err(Errno::ENOSYS),
    };
    let from = futex::key(t, a[0] as usize, shared, false).await?;
    let second = futex::key(t, a[4] as usize, shared, true).await?;
    let old = loop {
        match uaccess::user_atomic_u32(atomic, a[4] as usize, operand as u32) {
            Ok(old) => break old as i32,
            Err(fault) => user::fault_in(t, fault).await?,
        }
    };
    let also = match comparison {
        FUTEX_OP_CMP_EQ => old == compared,
        FUTEX_OP_CMP_NE => old != compared,
        FUTEX_OP_CMP_LT => old < compared,
        FUTEX_OP_CMP_LE => old <= compared,
        FUTEX_OP_CMP_GT => old > compared,
        FUTEX_OP_CMP_GE => old >= compared,
        _ => return Err(Errno::ENOSYS),
    };
    let mut woken = futex::wake(&from, (a[2] as i32).max(1) as usize, FUTEX_BITSET_MATCH_ANY)?;
    if also {
        woken += futex::wake(&second, (a[3] as i32).max(1) as usize, FUTEX_BITSET_MATCH_ANY)?;
    }
    Ok(woken)
}

/// set_robust_list(head, length)
pub fn set_robust_list(t: &Thread, a: Args) -> SysResult {
    if a[1] as usize != size_of::<RobustListHead>() {
        return Err(Errno::EINVAL.into());
    }
    t.robust_list.store(a[0] as usize, Relaxed);
    Ok(0)
}

/// get_robust_list(tid, head, length)
pub fn get_robust_list(t: &Thread, a: Args) -> SysResult {
    let head = match a[0] as i32 {
        0 => t.robust_list.load(Relaxed),
        tid => {
            let who = find_thread(tid as u32).ok_or(Errno::ESRCH)?;
            let same = who.share_cred().is_some_and(|c| t.cred().is_ok_and(|me| me.uid == c.uid && me.uid == c.euid));
            if !same && !t.cred()?.capable(CAP_SYS_PTRACE) {
                return Err(Errno::EPERM.into());
            }
            who.robust_list.load(Relaxed)
        }
    };
    UserPtr::new(a[2] as usize).write(&(size_of::<RobustListHead>() as u64))?;
    UserPtr::new(a[1] as usize).write(&(head as u64))?;
    Ok(0)
}
