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
//!   that also stores the counter: as cheap as it can be while it is on. One instruction may be a trap's and a twin's place. In the twins
//!   of the vectors and of the poll there is a branch for [`KEY_PINS`].
//!
//! A site has one or more keys (`KEY_*`), and is on while one of them is wanted. What a trap is for is its [`Role`].

#[cfg(not(loom))]
use crate::coarse::CoarseTimer;
use crate::cpu::{CpuId, CpuMask};
use crate::task::Task;
#[cfg(not(loom))]
use core::sync::atomic::Ordering::Acquire;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

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
/// Timers that nobody has pinned may be started elsewhere ([`leave_alone`](crate::timer::leave_alone)); no tracer's.
pub const KEY_TIMERS: u32 = 1 << 10;

/// Pins are toggled when a CPU passes a stage: `pins` of [`CpuLocal`](crate::cpu::CpuLocal).
pub const KEY_PINS: u32 = 1 << 11;
/// Timers of both kinds are started, cancelled, and fire.
pub const KEY_HRTIMERS: u32 = 1 << 12;
/// Work items.
pub const KEY_WORK: u32 = 1 << 13;
/// Interrupts between CPUs are sent.
pub const KEY_IPI: u32 = 1 << 14;
const _: () = {
    let keys = [
        KEY_WAKE, KEY_SWITCH, KEY_IRQS, KEY_PREEMPT, KEY_USER, KEY_LINES, KEY_HARDIRQ, KEY_SOFTIRQ, KEY_PROCESS, KEY_STAMPS, KEY_TIMERS,
        KEY_PINS, KEY_HRTIMERS, KEY_WORK, KEY_IPI,
    ];
    let mut i = 0;
    while i < keys.len() {
        assert!(keys[i] == 1 << i, "each key has a bit of its own");
        i += 1;
    }
};

/// The stages at which a CPU's pins are toggled, in their order: an interrupt's vector is entered; a reader of `/dev/irqlat` was woken; a poll
/// begins; EL0 is entered from a thread's future.
pub const STAGES: usize = 4;
/// See [`STAGES`].
pub const PIN_VECTOR: usize = 0;
/// See [`STAGES`].
pub const PIN_WAKE: usize = 1;
/// See [`STAGES`].
pub const PIN_POLL: usize = 2;
/// See [`STAGES`].
pub const PIN_EL0: usize = 3;

/// A store of a word that gives a pin a level.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Store {
    /// The register's address.
    pub register: usize,
    /// What is stored, in its lower half.
    pub value: u64,
}

/// A pin that is toggled by one store. The code at the sites of [`KEY_PINS`] knows its layout ([`toggle_pin`](crate::toggle_pin)).
#[repr(C)]
pub struct Pin {
    /// Which store was the last, as its distance from the first. Its CPU's alone, interrupts masked.
    last: AtomicUsize,
    stores: [Store; 2],
}

impl Pin {
    /// A pin that is low, and is made low and high by `stores`.
    ///
    /// # Safety
    /// Each may be done at any time, by any CPU.
    pub const unsafe fn new(stores: [Store; 2]) -> Pin {
        Pin { last: AtomicUsize::new(0), stores }
    }

    /// Gives it its other level. Interrupts masked.
    pub fn toggle(&self) {
        let last = self.last.load(Relaxed) ^ size_of::<Store>();
        self.last.store(last, Relaxed);
        let store = self.stores[last / size_of::<Store>()];
        // SAFETY: by the contract of `new`.
        unsafe { (store.register as *mut u32).write_volatile(store.value as u32) };
    }
}

/// Toggles the pin of `stage` of this CPU, if it has one. Interrupts masked; while [`KEY_PINS`] is on.
#[cfg(not(loom))]
pub fn toggle(stage: usize) {
    // SAFETY: null, or the pins of this CPU for ever.
    if let Some(pins) = unsafe { crate::cpu::local().pins.load(Acquire).as_ref() } {
        pins[stage].toggle();
    }
}

/// Instructions that toggle a pin: register `$block` holds the address of the CPU's block, `$a` is free, `$word` is the lower half of
/// `$block`. Operands of the `asm!` are `PINS`, the offset of the pins in the block, and `$pin`, that of the pin among them. They end at the
/// label 776, which is the caller's.
#[macro_export]
macro_rules! toggle_pin {
    ($a:literal, $block:literal, $word:literal, $pin:literal) => {
        concat!(
            "ldr ", $block, ", [", $block, ", #{PINS}]\n", "cbz ", $block, ", 776f\n", "ldr ", $a, ", [", $block, ", #{", $pin, "}]\n",
            "eor ", $a, ", ", $a, ", #16\n", "str ", $a, ", [", $block, ", #{", $pin, "}]\n", "add ", $block, ", ", $block, ", ", $a, "\n",
            "ldp ", $a, ", ", $block, ", [", $block, ", #{", $pin, "} + 8]\n", "str ", $word, ", [", $a, "]\n",
        )
    };
}

const _: () = {
    // What the instructions take it for.
    assert!(core::mem::offset_of!(Pin, stores) == 8 && size_of::<Store>() == 16);
};

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
    /// The state of a timer, the base register, becomes queued, or idle because it is taken out.
    TimerSet = 10,
    /// It becomes idle: its function is about to be called.
    TimerCalls = 11,
    /// The same of a sleeper's, which is about to be woken: the base register is the address of its state.
    TimerWakes = 12,
    /// A work item, the base register, gets a queue: what is stored is where it is counted.
    WorkQueued = 13,
    /// A work item, likewise, is linked among those that a worker may take.
    WorkReady = 14,
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
            10 => Role::TimerSet,
            11 => Role::TimerCalls,
            12 => Role::TimerWakes,
            13 => Role::WorkQueued,
            14 => Role::WorkReady,
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
    /// An interrupt of this kind, by the number of its SGI, is about to be sent to the CPUs.
    IpiSent(CpuMask, u32),
    /// A coarse timer waits from now on, with these flags as Linux has them: its CPU, and kinds.
    #[cfg(not(loom))]
    CoarseStarted(&'a CoarseTimer, u32),
    /// It was taken out.
    #[cfg(not(loom))]
    CoarseCancelled(&'a CoarseTimer),
    /// Its function is about to be called.
    #[cfg(not(loom))]
    CoarseExpires(&'a CoarseTimer),
    /// The function of the one of this address has returned.
    CoarseDone(usize),
    /// A worker is about to run the item of this address, whose function is at the other one.
    WorkBegins(usize, usize),
    /// It has run; the item may be gone.
    WorkEnds(usize, usize),
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
