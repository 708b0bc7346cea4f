//! Back-traces by frame pointers.
//!
//! Each frame record is {x29 of the caller, return address}; a chain ends at x29 = 0, which every stack's base has. A record
//! must lie in mapped kernel memory and above the one before it, on the same stack or where the chain of an interrupt
//! leads; anything else ends the trace, so a broken stack cannot break the panic that prints it.

use super::printk::{Level, emit};
use super::{kallsyms, panic};
use crate::arch::aarch64::{mmu, mmu_kernel};
use crate::smp;
use core::fmt::Write;
use vigil_executor::cpu::{CpuId, CpuMask};
use vigil_executor::stack::STACK_SIZE;
use vigil_executor::time::{SEC, now};
use vigil_mem::PAGE_SIZE;

/// Most frames that are printed.
const MAX_FRAMES: usize = 40;

/// A kernel address as `symbol+0x10/0xaddr`, or the number alone when it has no name; `{:#}` leaves out an offset of 0.
#[derive(Clone, Copy, Debug)]
pub struct Symbol(pub usize);

impl core::fmt::Display for Symbol {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let name = self
            .0
            .checked_sub(mmu::text_start())
            .filter(|_| self.0 < mmu::text_end())
            .and_then(|o| kallsyms::kernel()?.find(u32::try_from(o).ok()?));
        match name {
            Some((name, 0)) if f.alternate() => f.write_str(name),
            Some((name, offset)) => write!(f, "{name}+{offset:#x}"),
            None => write!(f, "{:#018x}", self.0),
        }
    }
}

/// Calls `f` with each return address of the chain that starts at the frame record `fp`.
pub fn walk(mut fp: usize, mut f: impl FnMut(usize)) {
    // The page of the last record: there are many on one, and looking it up takes longer than everything else.
    let mut known = usize::MAX;
    let mut is_mapped = |at: usize| {
        let page = at / PAGE_SIZE;
        if page != known && mmu_kernel::lookup(at).is_none() {
            return false;
        }
        known = page;
        true
    };
    for _ in 0..MAX_FRAMES {
        if fp == 0 || fp & 7 != 0 || !is_mapped(fp) || !is_mapped(fp.wrapping_add(8)) {
            return;
        }
        // SAFETY: both words are mapped (checked above), and aligned. The stack of another flow may change meanwhile: the
        // values are only checked and printed.
        let (next, ret) = unsafe { ((fp as *const usize).read_volatile(), (fp as *const usize).add(1).read_volatile()) };
        if ret == 0 {
            return;
        }
        f(ret);
        // On one stack frames ascend; a jump to another stack happens where an interrupt switched.
        let same_stack = (next ^ fp) & !(STACK_SIZE - 1) == 0;
        if same_stack && next <= fp {
            return;
        }
        fp = next;
    }
}

/// Logs the chain that starts at `fp`, after the place `pc` itself when it is not 0, as Linux's "Call trace:".
pub fn print(pc: usize, fp: usize) {
    print_at(Level::Emerg, pc, fp);
}

/// The same, as messages of `level`.
pub fn print_at(level: Level, pc: usize, fp: usize) {
    emit(level, format_args!("Call trace:"));
    if pc != 0 {
        emit(level, format_args!(" {}", Symbol(pc)));
    }
    walk(fp, |ret| caller(level, ret));
}

/// A line of a call trace.
fn caller(level: Level, ret: usize) {
    // A return address is behind its call: minus 4 names the caller even when the call was its last instruction.
    emit(level, format_args!(" {}", Symbol(ret.wrapping_sub(4))));
}

/// A chain that is shown later, when there is time for its names.
#[derive(Clone, Copy)]
pub struct Chain {
    places: [usize; MAX_FRAMES],
    depth: usize,
}

impl Chain {
    /// No frame.
    pub const EMPTY: Chain = Chain { places: [0; MAX_FRAMES], depth: 0 };

    /// Becomes the one that starts at `fp`.
    #[inline(always)]
    pub fn follow(&mut self, fp: usize) {
        self.depth = 0;
        walk(fp, |ret| {
            self.places[self.depth] = ret;
            self.depth += 1;
        });
    }

    /// Logs it, as [`print()`] does.
    pub fn print(&self) {
        emit(Level::Emerg, format_args!("Call trace:"));
        self.places[..self.depth].iter().for_each(|ret| caller(Level::Emerg, *ret));
    }
}

/// Writes the chain that starts at `fp`, one address per line (`/proc/PID/stack` of a parked task).
pub fn write_to(w: &mut dyn Write, fp: usize) -> core::fmt::Result {
    let mut result = Ok(());
    walk(fp, |ret| {
        if result.is_ok() {
            result = writeln!(w, "[<0>] {}", Symbol(ret.wrapping_sub(4)));
        }
    });
    result
}

/// The frame record of the caller's caller: it lives on even if the caller ends in a jump.
#[inline(always)]
pub fn frame_pointer() -> usize {
    let fp: usize;
    // SAFETY: a read of the word that x29 points at: the kernel is built with frame pointers, so it is a frame record.
    unsafe { core::arch::asm!("ldr {}, [x29]", out(reg) fp, options(readonly, nostack, preserves_flags)) };
    fp
}

/// Logs the task of this CPU and where it is. The number means nothing: other CPUs are made to call it.
pub fn show_this(_: usize) {
    panic::dump_task();
    print(0, frame_pointer());
}

/// Makes `others`, of which this CPU is none, do that in an interrupt, and does not wait for it: who has interrupts masked does when he
/// takes them again. Any context.
pub fn show_on(others: CpuMask) {
    smp::show(others, show_this);
}

/// All but this CPU.
pub fn show_others() {
    show_on(CpuMask(!CpuMask::of(CpuId::current()).0));
}

/// Logs where each CPU is, this one first; waits for the others ten seconds at most (Linux: nmi_trigger_cpumask_backtrace).
/// Interrupts are on.
pub fn show_all() {
    show_this(0);
    show_others();
    let end = now().saturating_add(10 * SEC);
    while smp::is_to_show() && now() < end {
        core::hint::spin_loop();
    }
}
