//! Switching trace sites (`vigil_executor::trace`) on and off in the running kernel's text.
//!
//! A record of the section `.trace_sites` names an instruction and the keys for which it is changed. While none of them is
//! wanted the instruction is what the compiler made of it. Else a NOP, or an instruction with a twin, is a branch to the record's
//! target, a call goes to that instead, and anything else is a BRK with the number of its record, for which [`trap`] does what the
//! instruction does. Of two records for one instruction, neighbours, the first that is wanted counts.
//!
//! All other CPUs are held in an interrupt meanwhile, and synchronise their instruction stream before they go on: not every
//! instruction here is one of those that may be changed while they are executed (Arm ARM B2.2.5). The text itself is
//! read-only; it is written through a slot of the fixmap that maps one page of it for as long as that takes.

use super::mmu::{self, clear_fixmap, set_fixmap};
use super::mmu_layout::{FixSlot, PAGE_SIZE};
use super::pgtable_kernel::Prot;
use super::vectors::ExceptionFrame;
use crate::smp::Steady;
use core::arch::asm;
use core::sync::atomic::{AtomicU32, Ordering::*, fence};
use spin::Once;
use vigil_abi::Errno;
use vigil_executor::lock_class;
use vigil_executor::sync::SpinLock;
use vigil_executor::trace::Role;
use vigil_mem::KVec;

/// A record: the instruction's distance from this field; the target's from the second, or the [`Role`]; and the keys.
#[repr(C)]
struct Site {
    at: i32,
    target: i32,
    keys: u32,
}

unsafe extern "C" {
    static __trace_sites_start: Site;
    static __trace_sites_end: Site;
}

/// The immediate of the BRK of record 0.
const BRK_BASE: u32 = 0x1000;
/// As many records as there are immediates from there on.
const MAX_SITES: usize = 0x1_0000 - BRK_BASE as usize;
const NOP: u32 = 0xd503_201f;
const B: u32 = 0x1400_0000;
const BL: u32 = 0x9400_0000;
/// The bits of B and BL that are not the distance.
const OPCODE: u32 = 0xfc00_0000;

impl Site {
    /// Whether the target is a place, not a role.
    fn has_target(&self) -> bool {
        Role::of(self.target as u32).is_none()
    }

    fn address(&self) -> usize {
        (&raw const self.at as usize).wrapping_add_signed(self.at as isize)
    }

    /// What is there while it is on; `off` is the instruction while it is not.
    fn on(&self, index: usize, off: u32) -> u32 {
        let is_call = off & OPCODE == BL;
        if self.has_target() {
            let target = (&raw const self.target as usize).wrapping_add_signed(self.target as isize);
            let distance = (target.wrapping_sub(self.address()) >> 2) as u32 & !OPCODE;
            if is_call { BL | distance } else { B | distance }
        } else {
            0xd420_0000 | (BRK_BASE + index as u32) << 5
        }
    }
}

fn sites() -> &'static [Site] {
    let start = &raw const __trace_sites_start;
    let bytes = (&raw const __trace_sites_end) as usize - start as usize;
    // SAFETY: the linker script lays whole records between the two symbols, read-only for ever.
    unsafe { core::slice::from_raw_parts(start, bytes / size_of::<Site>()) }
}

/// The instructions of all sites as the compiler made them, in their order; from the first time that one is changed on.
static ORIGINALS: Once<KVec<u32>> = Once::new();
/// The keys that are to be on.
static WANTED: AtomicU32 = AtomicU32::new(0);
/// Held while a piece of the text is changed; owns the fixmap's slot.
static LOCK: SpinLock<()> = SpinLock::new(lock_class!("jump_label"), ());
/// Sites that are changed while everybody waits.
const PIECE: usize = 24;
/// Sites that are looked at under one hold of the lock.
const TURN: usize = 64;

/// Gets ready for [`want`]. In a task or at boot. ENOMEM.
pub fn prepare() -> Result<(), Errno> {
    if sites().len() > MAX_SITES {
        return Err(Errno::E2BIG);
    }
    if ORIGINALS.get().is_none() {
        let mut all = KVec::new();
        // SAFETY: text. If another flow comes first and changes it already, that one's originals are kept, not these.
        all.try_extend(sites().iter().map(|s| unsafe { (s.address() as *const u32).read_volatile() }))?;
        ORIGINALS.call_once(|| all);
    }
    Ok(())
}

/// Makes `keys` the ones that are wanted: [`follow`] switches the sites. After [`prepare`].
pub fn want(keys: u32) {
    WANTED.store(keys, Release);
}

/// Switches all sites as is wanted. In a task or at boot, interrupts on, no spin lock held.
///
/// Some at a time: each site is an instruction by itself, and what they tell of is not looked at before all are on. Of
/// several callers at once each goes through all sites, so that with the last one's return all are as the last [`want`] says; who wanted
/// something earlier that is wanted still finds that done, too.
pub fn follow(steady: &Steady) {
    let mut from = 0;
    while from < sites().len() {
        let guard = LOCK.lock();
        let piece = Piece::find(from, ORIGINALS.get().map_or(&[][..], |all| all), WANTED.load(Acquire));
        from = piece.end;
        if piece.len != 0 {
            steady.stop_others_while(|| piece.patch());
        }
        drop(guard);
    }
}

/// Instructions that are to be others.
struct Piece {
    /// Where they are, and what they become.
    changes: [(usize, u32); PIECE],
    len: usize,
    /// The site to go on with.
    end: usize,
}

impl Piece {
    /// The next ones from site `from` on that are not as `keys` want them.
    fn find(from: usize, originals: &[u32], keys: u32) -> Piece {
        let all = sites();
        let mut piece = Piece { changes: [(0, 0); PIECE], len: 0, end: all.len() };
        for (index, (site, &off)) in all.iter().zip(originals).enumerate().skip(from) {
            if piece.len == PIECE || index == from + TURN {
                piece.end = index;
                break;
            }
            let at = site.address();
            let on = |s: &Site| s.keys & keys != 0;
            let wanted = if on(site) && (site.has_target() || is_known(off)) { site.on(index, off) } else { off };
            let before = index.checked_sub(1).and_then(|i| all.get(i));
            let other = [before.filter(|s| on(s)), all.get(index + 1).filter(|s| on(s) && !on(site))];
            if other.into_iter().flatten().any(|s| s.address() == at) {
                continue;
            }
            // SAFETY: text.
            if unsafe { (at as *const u32).read_volatile() } != wanted {
                piece.changes[piece.len] = (at, wanted);
                piece.len += 1;
            }
        }
        piece
    }

    /// Changes the text. This CPU alone runs, interrupts masked.
    fn patch(&self) {
        let mut writable = None;
        for &(at, wanted) in &self.changes[..self.len] {
            let page = at & !(PAGE_SIZE - 1);
            let alias = match writable {
                Some((mapped, alias)) if mapped == page => alias,
                _ => {
                    // SAFETY: the slot is this file's, under `LOCK`; the page is the image's and may be written as memory.
                    let alias = unsafe { set_fixmap(FixSlot::Text, mmu::kimage_to_phys(page), Prot::DATA) };
                    writable = Some((page, alias));
                    alias
                }
            } + (at - page);
            // SAFETY: the alias of the instruction, aligned; nobody else executes it now, and this CPU not while it writes.
            unsafe {
                (alias as *mut u32).write_volatile(wanted);
                asm!("dc cvau, {}", in(reg) alias, options(nostack, preserves_flags));
            }
        }
        if writable.is_some() {
            // SAFETY: as above: nothing is written through it any more.
            unsafe { clear_fixmap(FixSlot::Text) };
        }
        // SAFETY: the instructions are fetched anew from here on, by all CPUs once they have executed an ISB (Arm ARM B2.4.4).
        unsafe { asm!("dsb ish", "ic ialluis", "dsb ish", "isb", options(nostack, preserves_flags)) };
    }
}

const DAIFSET_I: u32 = 0xd503_42df;
const DAIFCLR_I: u32 = 0xd503_42ff;
const WFI: u32 = 0xd503_207f;
const MOV_X9_SP: u32 = 0x9100_03e9;

/// MSR DAIF, Xt.
fn is_daif(code: u32) -> bool {
    code & 0xffff_ffe0 == 0xd51b_4220
}

/// STR Wt or Xt, [Xn, #offset].
fn is_store(code: u32) -> bool {
    code & 0xbfc0_0000 == 0xb900_0000
}

/// STLR Wt or Xt, [Xn].
fn is_release(code: u32) -> bool {
    code & 0xbfff_fc00 == 0x889f_fc00
}

/// Whether [`trap`] can do it, or it is a branch's place. What a linker's work-around for an erratum has moved away is not.
fn is_known(code: u32) -> bool {
    matches!(code, NOP | DAIFSET_I | DAIFCLR_I | WFI | MOV_X9_SP)
        || code & OPCODE == BL
        || is_daif(code)
        || is_store(code)
        || is_release(code)
}

/// A register of the interrupted flow; 31 is zero.
fn register(frame: &ExceptionFrame, n: u32) -> u64 {
    match n {
        29 => frame.fp,
        30 => frame.lr,
        _ => frame.x.get(n as usize).copied().unwrap_or(0),
    }
}

/// What a site was about to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Doing {
    /// Give the interrupt mask (DAIF) another value, which the frame has already.
    Mask {
        /// The mask as it was.
        before: u64,
    },
    /// Store `value` at `base` + `offset`: it is not done yet.
    Store {
        /// The base register.
        base: usize,
        /// The stored register.
        value: u64,
    },
    /// Something else, which is done.
    Other,
}

/// DAIF in PSTATE.
pub const DAIF: u64 = 0xf << 6;

/// If `frame` is that of a site's BRK: calls `tell` with the role and what the instruction does, and does it. Whether it was.
pub fn trap(frame: &mut ExceptionFrame, tell: impl FnOnce(Role, &ExceptionFrame, Doing)) -> bool {
    let number = (frame.esr as u32 & 0xffff).wrapping_sub(BRK_BASE) as usize;
    let (Some(site), Some(originals)) = (sites().get(number), ORIGINALS.get()) else { return false };
    let (Some(role), Some(&code)) = (Role::of(site.target as u32), originals.get(number)) else { return false };
    if site.address() as u64 != frame.pc {
        return false;
    }
    let before = frame.pstate & DAIF;
    match code {
        DAIFSET_I => frame.pstate |= 1 << 7,
        DAIFCLR_I => frame.pstate &= !(1 << 7),
        _ if is_daif(code) => frame.pstate = frame.pstate & !DAIF | register(frame, code & 31) & DAIF,
        _ if is_store(code) || is_release(code) => {
            let base = register(frame, code >> 5 & 31) as usize;
            let value = register(frame, code & 31);
            let scale = if code & 1 << 30 != 0 { 3 } else { 2 };
            let offset = if is_release(code) { 0 } else { (code >> 10 & 0xfff) << scale };
            let at = base + offset as usize;
            tell(role, frame, Doing::Store { base, value });
            if is_release(code) {
                fence(Release);
            }
            // SAFETY: what the instruction would have done.
            unsafe {
                if scale == 3 {
                    (at as *mut u64).write_volatile(value);
                } else {
                    (at as *mut u32).write_volatile(value as u32);
                }
            }
            frame.pc += 4;
            return true;
        }
        MOV_X9_SP => frame.x[9] = core::ptr::from_ref(frame) as u64 + size_of::<ExceptionFrame>() as u64,
        // The tracer does the waiting.
        WFI => {
            tell(role, frame, Doing::Other);
            frame.pc += 4;
            return true;
        }
        _ => return false,
    }
    let doing = if frame.pstate & DAIF != before || role == Role::Mask { Doing::Mask { before } } else { Doing::Other };
    tell(role, frame, doing);
    frame.pc += 4;
    true
}
