//! The frame of a signal handler on arm64: `ucontext`, and the records in its reserved space.
//!
//! The user stack holds, from its SP upward: `siginfo` (128 bytes), `ucontext` with `sigcontext` and its 4096 reserved
//! bytes, then a frame record {x29, x30}. Written from uapi `asm/sigcontext.h` and `asm/ucontext.h`.

use crate::signal::{Siginfo, Sigset, StackT};

abi_struct! {
    /// `struct _aarch64_ctx`: the header of a record in the reserved space. Magic 0 and size 0 end the list.
    pub struct Aarch64Ctx: 8 {
        /// What it is.
        pub magic: u32,
        /// Bytes, header included, a multiple of 16.
        pub size: u32,
    }
}

/// Magic of [`FpsimdContext`].
pub const FPSIMD_MAGIC: u32 = 0x4650_8001;
/// Magic of [`EsrContext`].
pub const ESR_MAGIC: u32 = 0x4553_5201;
/// Magic of `extra_context`, which points at records outside of the reserved space.
pub const EXTRA_MAGIC: u32 = 0x4558_5401;
/// Magic of `sve_context`.
pub const SVE_MAGIC: u32 = 0x5356_4501;

abi_struct! {
    /// `struct fpsimd_context`.
    pub struct FpsimdContext: 528 {
        /// [`FPSIMD_MAGIC`], 528.
        pub head: Aarch64Ctx,
        /// FPSR.
        pub fpsr: u32,
        /// FPCR.
        pub fpcr: u32,
        /// V0 to V31.
        pub vregs: [u128; 32],
    }
}

abi_struct! {
    /// `struct esr_context`: ESR_EL1 of the fault that caused the signal.
    pub struct EsrContext: 16 {
        /// [`ESR_MAGIC`], 16.
        pub head: Aarch64Ctx,
        /// ESR_EL1.
        pub esr: u64,
    }
}

abi_struct! {
    /// The reserved space of [`Sigcontext`]: records one after the other.
    pub struct Reserved: 4096 {
        /// As 128-bit words, for its alignment.
        pub words: [u128; 256],
    }
}

abi_struct! {
    /// `struct sigcontext`.
    pub struct Sigcontext: 4384 {
        /// FAR of the fault that caused the signal.
        pub fault_address: u64,
        /// X0 to X30.
        pub regs: [u64; 31],
        /// SP.
        pub sp: u64,
        /// PC.
        pub pc: u64,
        /// PSTATE, as SPSR_EL1 has it.
        pub pstate: u64,
        /// Zero.
        pub __pad: u64,
        /// Records.
        pub reserved: Reserved,
    }
}

abi_struct! {
    /// `struct ucontext`.
    pub struct Ucontext: 4560 {
        /// Zero.
        pub uc_flags: u64,
        /// NULL.
        pub uc_link: u64,
        /// The alternate stack's settings.
        pub uc_stack: StackT,
        /// The mask to be restored.
        pub uc_sigmask: Sigset,
        /// Room for a mask of 1024 bits.
        pub __unused: [u8; 120],
        /// Zero.
        pub __pad: u64,
        /// Registers.
        pub uc_mcontext: Sigcontext,
    }
}

abi_struct! {
    /// `struct rt_sigframe`: what lies at the handler's SP.
    pub struct RtSigframe: 4688 {
        /// Argument 2 of the handler points here.
        pub info: Siginfo,
        /// Argument 3 of the handler points here.
        pub uc: Ucontext,
    }
}

const _: () = {
    use core::mem::offset_of;
    assert!(offset_of!(Sigcontext, reserved) == 288 && offset_of!(Sigcontext, sp) == 256);
    assert!(offset_of!(Ucontext, uc_sigmask) == 40 && offset_of!(Ucontext, uc_mcontext) == 176);
    assert!(offset_of!(RtSigframe, uc) == 128);
    assert!(core::mem::align_of::<Ucontext>() == 16);
};
