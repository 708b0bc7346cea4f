//! What a fault in the kernel means, and what becomes of it: the oops policy (docs/oops.md), pure.
//!
//! A fault in a task's own poll with no lock held kills that task; anything that could leave a lock held or an interrupt
//! half-handled is the end, as is `oops=panic`. `report` says it and does it.

#[cfg(target_os = "none")]
pub use super::report::{bad_vector, el1_exception, set_kill_current, stack_overflow};

/// The registers of an interrupted flow at EL1, as the early vectors store them.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct KernelRegs {
    /// x0 to x30.
    pub x: [u64; 31],
    /// The stack pointer before the exception.
    pub sp: u64,
    /// ELR_EL1.
    pub pc: u64,
    /// SPSR_EL1.
    pub pstate: u64,
}

/// What the trap code must do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use = "the fault is not handled until this is done"]
pub enum OopsAction {
    /// End the current task as if by SIGKILL, without running its poll any further; its future is leaked, not dropped.
    KillTask,
    /// Nothing may go on.
    Panic,
}

/// What is known of the flow that faulted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Situation {
    /// A task's poll was running.
    pub in_poll: bool,
    /// preempt_count of the flow: locks, interrupts, RCU readers all show here.
    pub preempt_count: u32,
    /// Interrupts were masked where it faulted.
    pub irqs_masked: bool,
    /// The kernel has said how a task is killed in the middle of its poll.
    pub can_kill: bool,
    /// `oops=panic`.
    pub panic_on_oops: bool,
}

/// The policy, pure.
pub const fn policy(s: Situation) -> OopsAction {
    if !s.in_poll || s.preempt_count != 0 || s.irqs_masked || !s.can_kill || s.panic_on_oops {
        OopsAction::Panic
    } else {
        OopsAction::KillTask
    }
}

/// Why the policy says panic, in Linux's words where it has some.
pub const fn reason(s: Situation) -> &'static str {
    if s.panic_on_oops {
        "Fatal exception"
    } else if s.preempt_count >> 16 & 0xf != 0 {
        "Fatal exception in interrupt"
    } else if !s.in_poll {
        "Fatal exception outside of any task"
    } else if s.preempt_count != 0 {
        "Fatal exception with preemption off"
    } else if s.irqs_masked {
        "Fatal exception with interrupts masked"
    } else {
        "Fatal exception in a task that cannot be killed"
    }
}

/// The exception class of an ESR in words (Arm ARM D17.2.37), with the fault's kind for aborts.
pub const fn describe(esr: u64) -> &'static str {
    match esr >> 26 & 0x3f {
        0x00 => "undefined instruction",
        0x01 => "trapped WFI or WFE",
        0x07 => "FP or SIMD access while it is off",
        0x0d => "branch target exception",
        0x0e => "illegal execution state",
        0x11 | 0x15 => "SVC",
        0x16 => "HVC",
        0x17 => "SMC",
        0x18 => "trapped system register access",
        0x19 => "SVE access while it is off",
        0x1d => "SME access while it is off",
        0x1c => "pointer authentication failure",
        0x20 | 0x21 => instruction_abort(esr),
        0x22 => "PC alignment fault",
        0x24 | 0x25 => data_abort(esr),
        0x26 => "SP alignment fault",
        0x2c => "floating point exception",
        0x2f => "SError",
        0x30 | 0x31 => "hardware breakpoint",
        0x32 | 0x33 => "software step",
        0x34 | 0x35 => "watchpoint",
        0x3c => "BRK",
        _ => "unknown exception",
    }
}

const fn instruction_abort(esr: u64) -> &'static str {
    match esr & 0x3f {
        4..=7 => "instruction fetch from an unmapped address",
        8..=11 => "instruction fetch, access flag fault",
        12..=15 => "instruction fetch from memory that is not executable",
        _ => "instruction abort",
    }
}

const fn data_abort(esr: u64) -> &'static str {
    let write = esr & 1 << 6 != 0;
    match (esr & 0x3f, write) {
        (4..=7, false) => "read of an unmapped address",
        (4..=7, true) => "write to an unmapped address",
        (8..=11, _) => "access flag fault",
        (12..=15, false) => "read without permission",
        (12..=15, true) => "write to read-only memory",
        (0x10 | 0x14..=0x17, _) => "external abort",
        (0x21, _) => "alignment fault",
        _ => "data abort",
    }
}

/// PSTATE's flags in Linux's order, ASCII: capitals are set.
pub fn flags(pstate: u64) -> [u8; 9] {
    let mut out = *b"nzcv daif";
    for (at, bit) in [(0, 31), (1, 30), (2, 29), (3, 28), (5, 9), (6, 8), (7, 7), (8, 6)] {
        if pstate >> bit & 1 != 0 {
            out[at] = out[at].to_ascii_uppercase();
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_lone_poll_is_survivable() {
        let fine = Situation { in_poll: true, preempt_count: 0, irqs_masked: false, can_kill: true, panic_on_oops: false };
        assert_eq!(policy(fine), OopsAction::KillTask);
        for bad in [
            Situation { in_poll: false, ..fine },
            Situation { preempt_count: 1, ..fine },
            Situation { preempt_count: 1 << 16, ..fine },
            Situation { irqs_masked: true, ..fine },
            Situation { can_kill: false, ..fine },
            Situation { panic_on_oops: true, ..fine },
        ] {
            assert_eq!(policy(bad), OopsAction::Panic, "{bad:?}");
        }
        assert_eq!(reason(Situation { preempt_count: 1 << 16, in_poll: false, ..fine }), "Fatal exception in interrupt");
        assert_eq!(reason(Situation { preempt_count: 1, ..fine }), "Fatal exception with preemption off");
    }

    #[test]
    fn exceptions_have_names() {
        assert_eq!(describe(0x9600_0045), "write to an unmapped address");
        assert_eq!(describe(0x9600_0006), "read of an unmapped address");
        assert_eq!(describe(0x8600_000f), "instruction fetch from memory that is not executable");
        assert_eq!(describe(0x0200_0000), "undefined instruction");
        assert_eq!(&flags(0x6000_03c5), b"nZCv DAIF");
    }
}
