//! A thread's registers while it is not in EL0, and the word that says what is to be done before it goes there.

use core::cell::Cell;
use core::sync::atomic::AtomicU32;

/// The registers of a thread while it is not in EL0, and what the vectors need to leave EL0.
///
/// Cells, because several shared references to it are alive at a time: the thread's own, and those of the hooks that switch
/// the thread. Who may touch what and when is [`Thread::context`](crate::task::thread::Thread::context)'s contract; the work
/// word is anybody's.
#[repr(C, align(16))]
#[derive(Debug)]
pub struct UserContext {
    /// x0–x30.
    pub x: [Cell<u64>; 31],
    /// SP_EL0.
    pub sp: Cell<u64>,
    /// The address at which EL0 goes on (ELR_EL1).
    pub pc: Cell<u64>,
    /// SPSR_EL1: EL0t with interrupts on, and the flags.
    pub pstate: Cell<u64>,
    /// SP_EL1 of the kernel frame that entered EL0.
    pub(super) kernel_sp: Cell<u64>,
    /// The address of that stack's context block.
    pub(super) kernel_context: Cell<u64>,
    /// ESR_EL1 of the last exception that was not a system call.
    pub esr: Cell<u64>,
    /// FAR_EL1 of the same.
    pub far: Cell<u64>,
    /// What must be done before the thread may enter EL0 again (`WORK_*`); zero on the fast path.
    pub work: AtomicU32,
    /// x0 as it was at the system call, for restarts.
    pub orig_x0: Cell<u64>,
    /// The number of the system call that is being served, or -1.
    pub syscall: Cell<i64>,
    /// TPIDR_EL0 while the thread is not on a CPU.
    pub tls: Cell<u64>,
}

/// A signal may be pending.
pub const WORK_SIGNAL: u32 = 1;
/// The thread group is stopping or exiting, or an exec wants this thread gone.
pub const WORK_STOP: u32 = 2;
/// A budget was not enough: see `signal::budget_overrun`.
pub const WORK_BUDGET: u32 = 4;
/// The long-poll watchdog has found it in the kernel.
pub const WORK_SEEN: u32 = 8;
/// All CPUs on which it might run have gone: this bit shifted by the number of the one on which it was.
pub const WORK_UNAFFINE: u32 = 1 << 8;
/// All of them.
pub const WORK_UNAFFINE_ANY: u32 = ((1 << vigil_executor::cpu::MAX_CPUS) - 1) << 8;

/// PSTATE of a new thread: EL0t, all interrupts unmasked, flags clear.
pub const PSTATE_EL0: u64 = 0;
/// The bits of PSTATE that user space may set through a signal frame: NZCV, and SSBS.
pub const PSTATE_USER: u64 = 0xf000_0000 | 1 << 12;

impl UserContext {
    /// All zero: EL0 at address 0.
    pub const fn new() -> Self {
        UserContext {
            x: [const { Cell::new(0) }; 31],
            sp: Cell::new(0),
            pc: Cell::new(0),
            pstate: Cell::new(PSTATE_EL0),
            kernel_sp: Cell::new(0),
            kernel_context: Cell::new(0),
            esr: Cell::new(0),
            far: Cell::new(0),
            work: AtomicU32::new(0),
            orig_x0: Cell::new(0),
            syscall: Cell::new(-1),
            tls: Cell::new(0),
        }
    }

    /// The arguments of the system call: x0–x5.
    ///
    /// # Safety
    /// Nobody sets one of them while the reference is used.
    #[inline(always)]
    pub unsafe fn arguments(&self) -> &[u64; 6] {
        // SAFETY: six cells of u64 have the layout of six of them; they do not change, by the caller's contract.
        unsafe { &*self.x.as_ptr().cast() }
    }

    /// Copies the registers that a clone inherits; the thread pointer is the caller's business.
    pub fn copy_registers(&self, from: &UserContext) {
        for (to, from) in self.x.iter().zip(&from.x) {
            to.set(from.get());
        }
        self.sp.set(from.sp.get());
        self.pc.set(from.pc.get());
        self.pstate.set(from.pstate.get());
    }
}

/// x0–x30, SP, PC, PSTATE: [`UserContext`]'s first words, in the order of a signal frame.
pub const REGISTERS: usize = 34;

impl Default for UserContext {
    fn default() -> Self {
        Self::new()
    }
}
