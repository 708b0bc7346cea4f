//! The frame that a handler finds on its stack, and the return from it (arm64: `setup_rt_frame`, `sys_rt_sigreturn`).
//!
//! ```text
//!   SP at the signal, or the top of the alternate stack
//!     { x29, x30 }                 frame record: a debugger walks through the handler
//!     rt_sigframe: siginfo, ucontext with registers, FP registers, ESR of a fault, end mark
//!   SP of the handler
//! ```

use super::action::Action;
use super::pending::SigInfo;
use super::recalc;
use super::state::AltStack;
use crate::arch::aarch64::entry::{PSTATE_USER, REGISTERS};
use crate::arch::aarch64::fpsimd::{self, FpRegisters};
use crate::syscall::{Stop, user};
use crate::task::thread::Thread;
use core::mem::{offset_of, size_of};
use core::sync::atomic::Ordering::Relaxed;
use vigil_abi::Errno;
use vigil_abi::sigframe::*;
use vigil_abi::signal::*;
use vigil_mem::UserPtr;

const RECORD: u64 = 16;
const FRAME: u64 = size_of::<RtSigframe>() as u64;
/// Words of the siginfo and of the ucontext up to the mask.
const HEAD: usize = 22;
const UC: usize = offset_of!(RtSigframe, uc);
const MCONTEXT: usize = UC + offset_of!(Ucontext, uc_mcontext);
const _: () = assert!(UC == 128 && offset_of!(Ucontext, uc_sigmask) == 40 && 8 * HEAD == UC + 48);
const RESERVED: usize = MCONTEXT + offset_of!(Sigcontext, reserved);

/// Where the frame goes: the handler's SP, and the frame record above it.
fn place(alt: &AltStack, sp: u64, action: &Action) -> Option<(u64, u64)> {
    let on_alt = alt.contains(sp);
    let top = if action.flags & SA_ONSTACK != 0 && alt.size != 0 && alt.flags & SS_DISABLE == 0 && !on_alt {
        alt.sp.checked_add(alt.size)?
    } else {
        sp
    };
    let record = top.checked_sub(RECORD)? & !15;
    let frame = record.checked_sub(FRAME)? & !15;
    // A handler on the alternate stack that runs over its end would write to somebody else's memory.
    if on_alt && frame <= alt.sp && action.flags & SA_ONSTACK != 0 {
        return None;
    }
    Some((frame, record))
}

fn flags_for_user(alt: &AltStack, sp: u64) -> u32 {
    if alt.size == 0 {
        SS_DISABLE
    } else if alt.contains(sp) {
        SS_ONSTACK | alt.flags
    } else {
        alt.flags
    }
}

/// The alternate stack as sigaltstack(2) and a frame show it, seen from `sp`.
pub fn altstack_for_user(thread: &Thread, sp: u64) -> StackT {
    let alt = *thread.signals.altstack.lock();
    StackT { ss_sp: alt.sp, ss_flags: flags_for_user(&alt, sp) as i32, __pad: 0, ss_size: alt.size }
}

/// Writes the frame and points the context at the handler. EFAULT when the stack does not take it.
pub async fn build(thread: &Thread, info: &SigInfo, action: &Action, mask: Sigset) -> Result<(), Errno> {
    // SAFETY: the thread itself, outside EL0; the value is copied.
    let sp = unsafe { thread.context() }.sp;
    let alt = *thread.signals.altstack.lock();
    let (frame, record) = place(&alt, sp, action).ok_or(Errno::EFAULT)?;
    user::retry(thread, || write(thread, info, &alt, mask, frame, record)).await?;
    let trampoline = if action.flags & SA_RESTORER != 0 {
        action.restorer
    } else {
        let base = thread.mm().map_or(0, |mm| mm.sigreturn_trampoline());
        if base == 0 {
            return Err(Errno::EFAULT);
        }
        base as u64
    };
    if alt.flags & SS_AUTODISARM != 0 {
        *thread.signals.altstack.lock() = AltStack::NONE;
    }
    // SAFETY: as above.
    let context = unsafe { thread.context() };
    context.x[0] = u64::from(info.signo);
    context.x[1] = frame;
    context.x[2] = frame + UC as u64;
    context.x[29] = record;
    context.x[30] = trampoline;
    context.sp = frame;
    context.pc = action.handler;
    Ok(())
}

/// The part that may fault: only writes to user memory, so it can be done again.
fn write(thread: &Thread, info: &SigInfo, alt: &AltStack, mask: Sigset, frame: u64, record: u64) -> Result<(), Stop> {
    let at = |offset: usize| (frame as usize).wrapping_add(offset);
    // SAFETY: the thread itself, outside EL0; the reference does not leave this function.
    let context = unsafe { thread.context() };
    UserPtr::<[u64; 2]>::new(record as usize).write(&[context.x[29], context.x[30]])?;
    // The siginfo and the start of the ucontext behind it, in one copy.
    let mut head = [0u64; HEAD];
    head[0] = u64::from(info.signo) | u64::from(info.errno as u32) << 32;
    head[1] = u64::from(info.code as u32);
    head[2..6].copy_from_slice(&info.fields);
    head[HEAD - 4] = alt.sp;
    head[HEAD - 3] = u64::from(flags_for_user(alt, context.sp));
    head[HEAD - 2] = alt.size;
    head[HEAD - 1] = mask;
    UserPtr::<[u64; HEAD]>::new(at(0)).write(&head)?;
    UserPtr::<u64>::new(at(MCONTEXT)).write(&thread.signals.fault_address.load(Relaxed))?;
    UserPtr::<[u64; REGISTERS]>::new(at(MCONTEXT + 8)).write(context.registers())?;
    let mut next = RESERVED;
    fpsimd::with_registers(thread, |fp| write_fp(at(next), fp))?;
    next += size_of::<FpsimdContext>();
    let esr = thread.signals.fault_esr.load(Relaxed);
    if esr != 0 {
        UserPtr::<[u64; 2]>::new(at(next)).write(&[u64::from(ESR_MAGIC) | 16 << 32, esr])?;
        next += size_of::<EsrContext>();
    }
    UserPtr::<[u64; 2]>::new(at(next)).write(&[0, 0])?;
    Ok(())
}

fn write_fp(at: usize, fp: &FpRegisters) -> Result<(), Stop> {
    let head = [FPSIMD_MAGIC, size_of::<FpsimdContext>() as u32, fp.fpsr, fp.fpcr];
    UserPtr::<[u32; 4]>::new(at).write(&head)?;
    UserPtr::<u128>::new(at + 16).write_slice(&fp.v)?;
    Ok(())
}

/// Restores what the frame at SP holds (rt_sigreturn(2)). An error means a bad frame: SIGSEGV.
pub async fn restore(thread: &Thread) -> Result<(), Errno> {
    // SAFETY: the thread itself, outside EL0; the value is copied.
    let frame = unsafe { thread.context() }.sp;
    // The whole frame must be user memory: below, offsets are added to its address.
    if frame & 15 != 0 || vigil_mem::buf::uaccess::access_ok(frame as usize, FRAME as usize).is_none() {
        return Err(Errno::EFAULT);
    }
    user::retry(thread, || read(thread, frame as usize)).await?;
    recalc(thread);
    Ok(())
}

/// Reads the frame. General and FP registers go to their places at once: a fault starts over from the same address, and a
/// bad frame ends in a SIGSEGV with registers half restored, as on Linux. PSTATE, the mask and the stack come last.
fn read(thread: &Thread, frame: usize) -> Result<(), Stop> {
    let stack_and_mask = UserPtr::<[u64; 4]>::new(frame + UC + 16).read()?;
    // SAFETY: the thread itself, outside EL0; the reference does not leave this function.
    let context = unsafe { thread.context() };
    UserPtr::<u64>::new(frame + MCONTEXT + 8).read_slice(context.registers_but_pstate())?;
    let pstate = UserPtr::<u64>::new(frame + MCONTEXT + 8 * REGISTERS).read()?;
    let mut at = frame + RESERVED;
    let end = at + size_of::<Reserved>();
    let mut fp = None;
    loop {
        if end - at < size_of::<Aarch64Ctx>() {
            return Err(Errno::EINVAL.into());
        }
        let [magic, size] = UserPtr::<[u32; 2]>::new(at).read()?;
        let size = size as usize;
        if magic == 0 && size == 0 {
            break;
        }
        if size < size_of::<Aarch64Ctx>() || size % 16 != 0 || size > end - at {
            return Err(Errno::EINVAL.into());
        }
        match magic {
            FPSIMD_MAGIC if fp.is_none() && size == size_of::<FpsimdContext>() => fp = Some(at),
            ESR_MAGIC => {}
            _ => return Err(Errno::EINVAL.into()),
        }
        at += size;
    }
    let fp = fp.ok_or(Errno::EINVAL)?;
    // AArch32 and any exception level but EL0 are refused, as Linux's valid_user_regs does.
    if pstate & 0x1f != 0 {
        return Err(Errno::EINVAL.into());
    }
    fpsimd::with_registers(thread, |r| {
        [r.fpsr, r.fpcr] = UserPtr::<[u32; 2]>::new(fp + 8).read()?;
        UserPtr::<u128>::new(fp + 16).read_slice(&mut r.v)
    })?;
    let [alt_sp, alt_flags, alt_size, mask] = stack_and_mask;
    thread.signals.set_blocked(mask);
    {
        let mut alt = thread.signals.altstack.lock();
        // A bad setting is ignored, as by Linux's restore_altstack.
        let flags = alt_flags as u32;
        if flags & !(SS_ONSTACK | SS_DISABLE | SS_AUTODISARM) == 0 {
            *alt = if flags & SS_DISABLE != 0 {
                AltStack::NONE
            } else {
                AltStack { sp: alt_sp, size: alt_size, flags: flags & SS_AUTODISARM }
            };
        }
    }
    context.pstate = pstate & PSTATE_USER;
    context.syscall = -1;
    Ok(())
}
