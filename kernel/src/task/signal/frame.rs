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
use crate::arch::aarch64::entry::PSTATE_USER;
use crate::arch::aarch64::fpsimd;
use crate::arch::aarch64::uaccess::{FrameHead, FrameParts, MCONTEXT, RESERVED, vigil_frame_load, vigil_frame_store};
use crate::syscall::Stop;
use crate::task::thread::Thread;
use core::mem::{offset_of, size_of};
use core::sync::atomic::Ordering::Relaxed;
use vigil_abi::Errno;
use vigil_abi::nr;
use vigil_abi::sigframe::*;
use vigil_abi::signal::*;
use vigil_mem::buf::uaccess::access_ok;
use vigil_mem::{Fault, UserPtr};

const RECORD: u64 = 16;
const FRAME: u64 = size_of::<RtSigframe>() as u64;
const UC: usize = offset_of!(RtSigframe, uc);
/// Bytes of a frame that are written and read: without what is left of the reserved space.
const USED: usize = RESERVED + size_of::<FpsimdContext>() + size_of::<EsrContext>() + size_of::<Aarch64Ctx>();

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
    let alt = thread.signals.altstack();
    StackT { ss_sp: alt.sp, ss_flags: flags_for_user(&alt, sp) as i32, __pad: 0, ss_size: alt.size }
}

/// Writes the frame and points the context at the handler; nothing but user memory has changed when that faults. EFAULT:
/// there is no place for a frame, or nowhere to return to.
pub fn push(thread: &Thread, info: &SigInfo, action: &Action, mask: Sigset) -> Result<(), Stop> {
    // SAFETY: the thread itself, outside EL0.
    let context = unsafe { thread.context() };
    let alt = thread.signals.altstack();
    let (frame, record) = place(&alt, context.sp.get(), action).ok_or(Errno::EFAULT)?;
    let trampoline = match action.flags & SA_RESTORER {
        0 => thread.mm().map_or(0, |mm| mm.sigreturn_trampoline()) as u64,
        _ => action.restorer,
    };
    let start = access_ok(frame as usize, (record + RECORD - frame) as usize).ok_or(Errno::EFAULT)?;
    if trampoline == 0 && action.flags & SA_RESTORER == 0 {
        return Err(Errno::EFAULT.into());
    }
    let parts = FrameParts {
        info: if action.flags & SA_EXPOSE_TAGBITS != 0 { info.head() } else { info.without_tag().head() },
        stack: [alt.sp, u64::from(flags_for_user(&alt, context.sp.get())), alt.size],
        mask,
        fault_address: thread.signals.fault_address.load(Relaxed),
        esr: thread.signals.fault_esr.load(Relaxed),
    };
    let record_at = start + (record - frame) as usize;
    // SAFETY: the range is checked; the context is this thread's, which runs here; its FP registers are in the CPU.
    if fpsimd::with_live(thread, || unsafe { vigil_frame_store(start, context, &parts, record_at) }) != 0 {
        return Err(missing(&[start, start + USED, record_at], true).into());
    }
    if alt.flags & SS_AUTODISARM != 0 {
        thread.signals.set_altstack(AltStack::NONE);
    }
    context.x[0].set(u64::from(info.signo));
    context.x[1].set(frame);
    context.x[2].set(frame + UC as u64);
    context.x[29].set(record);
    context.x[30].set(trampoline);
    context.sp.set(frame);
    context.pc.set(action.handler);
    Ok(())
}

/// Which of the pages that hold these addresses of a frame is not there. A write stores a zero: the frame is about to be
/// written, or is no more.
#[cold]
fn missing(addresses: &[usize], write: bool) -> Fault {
    let probe = |&at: &usize| {
        let byte = UserPtr::<u8>::new(at);
        if write { byte.write(&0).err() } else { byte.read().err() }
    };
    // All there: they have come meanwhile, and to bring one in again does no harm.
    addresses.iter().find_map(probe).unwrap_or(Fault { addr: addresses[0], write })
}

/// The records of a frame that nobody has touched and no fault has caused: FP registers, then nothing.
const PLAIN: [u64; 2] = [FPSIMD_MAGIC as u64 | (size_of::<FpsimdContext>() as u64) << 32, 0];

/// Restores what the frame at SP holds (rt_sigreturn(2)). An error means a bad frame, with registers half restored, as on
/// Linux, but those that the call itself needs to be made again.
pub fn pop(thread: &Thread) -> Result<(), Stop> {
    // SAFETY: the thread itself, outside EL0.
    let context = unsafe { thread.context() };
    let sp = context.sp.get();
    if sp & 15 != 0 {
        return Err(Errno::EFAULT.into());
    }
    let frame = access_ok(sp as usize, FRAME as usize).ok_or(Errno::EFAULT)?;
    let head = match load(thread, frame) {
        Ok(head) => head,
        Err(e) => {
            context.sp.set(sp);
            context.x[8].set(nr::rt_sigreturn as u64);
            return Err(e);
        }
    };
    let [sp, flags, size] = head.stack;
    let flags = flags as u32;
    // A bad setting is ignored, as by Linux's restore_altstack.
    if flags & !(SS_ONSTACK | SS_DISABLE | SS_AUTODISARM) == 0 {
        thread.signals.set_altstack(match flags & SS_DISABLE {
            0 => AltStack { sp, size, flags: flags & SS_AUTODISARM },
            _ => AltStack::NONE,
        });
    }
    context.pstate.set(head.pstate & PSTATE_USER);
    context.syscall.set(-1);
    thread.signals.set_blocked(head.mask);
    recalc(thread);
    Ok(())
}

/// Puts the registers of `frame`, a checked range, into their places, but for PSTATE.
fn load(thread: &Thread, frame: usize) -> Result<FrameHead, Stop> {
    let mut head = FrameHead::default();
    let mut load_with = |fp: usize| {
        // SAFETY: the range is checked, and `fp` in it; the context is this thread's, which runs here.
        match fpsimd::replace_live(thread, || unsafe { vigil_frame_load(frame, thread.context_ptr(), fp, &mut head) } == 0) {
            true => Ok(head.records),
            false => Err(missing(&[frame, frame + USED, fp, fp + size_of::<FpsimdContext>()], false)),
        }
    };
    let first = frame + RESERVED;
    if load_with(first)? != PLAIN {
        let fp = find_fp(frame)?;
        if fp != first {
            load_with(fp)?;
        }
    }
    // AArch32 and any exception level but EL0 are refused, as Linux's valid_user_regs does.
    if head.pstate & 0x1f != 0 { Err(Errno::EINVAL.into()) } else { Ok(head) }
}

/// A frame that is not all there: general registers as far as it is, zero where it is not, as Linux leaves them.
pub fn pop_what_is_there(thread: &Thread, frame: usize) {
    // SAFETY: the thread itself, outside EL0.
    let context = unsafe { thread.context() };
    let read = |i: usize| UserPtr::<u64>::new(frame.wrapping_add(MCONTEXT + 8 + 8 * i)).read().unwrap_or(0);
    context.x.iter().enumerate().for_each(|(i, x)| x.set(read(i)));
    context.sp.set(read(31));
    context.pc.set(read(32));
}

/// Where the FP registers are among the records of `frame`, which is a checked range.
fn find_fp(frame: usize) -> Result<usize, Stop> {
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
            return fp.ok_or(Errno::EINVAL.into());
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
}
