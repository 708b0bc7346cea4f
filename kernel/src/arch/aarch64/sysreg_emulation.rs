//! Instructions of EL0 that trap although they are harmless, and are done for it: reads of ID registers, and WFI.
//!
//! CPUs with FEAT_IDST trap an MRS of an ID register as a system register access; older ones call it undefined, and the
//! instruction itself must be read. Linux: do_emulate_mrs, wfi_handler.

use super::entry::UserContext;
use super::features::{emulate_mrs_instruction, emulate_mrs_iss};
use vigil_mem::UserPtr;

/// ESR.EC of what is done here.
const EC_UNKNOWN: u64 = 0x00;
const EC_WFX: u64 = 0x01;
const EC_SYSREG: u64 = 0x18;

/// Does the instruction that trapped with `esr` for EL0 and steps over it. `false`: it is not one of ours (SIGILL). Copies from
/// user memory without faulting it in: the instruction was fetched a moment ago, and if its page went meanwhile the
/// signal is as wrong as it would be on Linux.
pub fn emulate(context: &mut UserContext, esr: u64) -> bool {
    let mrs = match esr >> 26 & 0x3f {
        EC_SYSREG => emulate_mrs_iss(esr as u32 & 0x1ff_ffff),
        EC_UNKNOWN => UserPtr::<u32>::new(context.pc as usize).read().ok().and_then(emulate_mrs_instruction),
        EC_WFX => {
            context.pc = context.pc.wrapping_add(4);
            return true;
        }
        _ => None,
    };
    let Some((rt, value)) = mrs else { return false };
    // Register 31 is XZR.
    if let Some(x) = context.x.get_mut(rt as usize) {
        *x = value;
    }
    context.pc = context.pc.wrapping_add(4);
    true
}
