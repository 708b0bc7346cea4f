//! Places at which tracers can look, at no cost while none does.
//!
//! Three kinds, all noted in the section `.trace_sites` and changed in the running text when a tracer asks for it
//! (kernel: `arch/aarch64/jump_label.rs`):
//!
//! * **Branches** ([`arch::is_traced`]): a NOP that becomes a branch to code out of line (Linux: static keys). For places
//!   that an instruction more or less does not hurt.
//! * **Traps** (the rest of `arch`'s functions that name a key): an instruction that has to be there anyway, such as the one
//!   that masks interrupts or the store of the current task, becomes a BRK; its handler does what the instruction would
//!   have done and tells the tracer. For the hot paths: switched off they do not even cost a NOP.
//! * **Twins** ([`KEY_STAMPS`]): likewise an instruction that has to be there, which becomes a branch to a copy of it out of line
//!   that also stores the counter: as cheap as it can be while it is on. One instruction may be a trap's and a twin's place.
//!
//! A site has one or more keys (`KEY_*`), and is on while one of them is wanted. What a trap is for is its [`Role`].

use crate::cpu::CpuId;
use crate::task::Task;

/// Tasks that are woken, made or moved.
pub const KEY_WAKE: u32 = 1 << 0;
/// Which task each CPU polls.
pub const KEY_SWITCH: u32 = 1 << 1;
/// Interrupts are masked and unmasked.
pub const KEY_IRQS: u32 = 1 << 2;
/// The preempt count changes.
pub const KEY_PREEMPT: u32 = 1 << 3;
/// The kernel is entered from EL0, and left.
pub const KEY_USER: u32 = 1 << 4;
/// Handlers of interrupt lines.
pub const KEY_LINES: u32 = 1 << 5;
/// Hard interrupts as a whole.
pub const KEY_HARDIRQ: u32 = 1 << 6;
/// Softirqs.
pub const KEY_SOFTIRQ: u32 = 1 << 7;
/// Processes begin, execute and end.
pub const KEY_PROCESS: u32 = 1 << 8;
/// When a CPU enters an interrupt's vector, acknowledges it and begins a poll: `vector_at`, `acked_at` and `polled_at` of
/// [`CpuLocal`](crate::cpu::CpuLocal).
pub const KEY_STAMPS: u32 = 1 << 9;

/// What a trap tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Role {
    /// The interrupt mask changes.
    Mask = 1,
    /// The preempt count of a context block is stored; the block is the base register.
    Count = 2,
    /// The current task of a context block is stored, or taken away; likewise.
    Current = 3,
    /// A task, the base register, is linked into this CPU's inbox.
    Wake = 4,
    /// A counter of a line, the base register's address, goes up: its handlers follow.
    Line = 5,
    /// The CPU waits for an interrupt.
    Rest = 6,
    /// The kernel was entered from EL0, and unmasks interrupts.
    UserIn = 7,
    /// The kernel masks interrupts to go to EL0, or takes up the context with which it does.
    UserOut = 8,
    /// This CPU has nothing to do.
    Idle = 9,
}

impl Role {
    /// The role whose number is `n`.
    pub const fn of(n: u32) -> Option<Role> {
        Some(match n {
            1 => Role::Mask,
            2 => Role::Count,
            3 => Role::Current,
            4 => Role::Wake,
            5 => Role::Line,
            6 => Role::Rest,
            7 => Role::UserIn,
            8 => Role::UserOut,
            9 => Role::Idle,
            _ => return None,
        })
    }
}

/// What the executor tells at its branches; traps tell the rest.
#[derive(Clone, Copy)]
pub enum Event<'a> {
    /// The task is about to be pushed on the inbox of another CPU. Interrupts masked.
    Woken(&'a Task, CpuId),
    /// The parked poll of the task is about to be resumed on this CPU. Interrupts masked.
    Resumed(&'a Task),
    /// The softirq of this number is raised.
    SoftirqRaised(u32),
    /// Its handler is about to be called.
    SoftirqBegins(u32),
    /// It has returned.
    SoftirqEnds(u32),
    /// No handler of the line whose handlers ran last knew the interrupt.
    NotHandled,
}

/// Tells the kernel's tracer.
#[cold]
#[inline(never)]
pub fn tell(event: Event<'_>) {
    if let Some(p) = crate::platform::get() {
        p.trace(event);
    }
}
