//! What a new program finds on its stack (Linux: `create_elf_tables`, `setup_arg_pages`; AArch64 psABI).
//!
//! From the top down: eight zero bytes, the program's path, the environment's strings, the arguments' strings, the
//! platform's name, 16 random bytes; then, 16-byte aligned at the initial stack pointer and upwards: argc, argv, NULL, envp,
//! NULL, the auxiliary vector.

use super::args::Args;
use crate::mm::Limits;
use vigil_abi::Errno;
use vigil_abi::auxv::{
    AT_BASE, AT_CLKTCK, AT_EGID, AT_ENTRY, AT_EUID, AT_EXECFN, AT_FLAGS, AT_GID, AT_HWCAP, AT_HWCAP2, AT_MINSIGSTKSZ, AT_NULL, AT_PAGESZ,
    AT_PHDR, AT_PHENT, AT_PHNUM, AT_PLATFORM, AT_RANDOM, AT_SECURE, AT_SYSINFO_EHDR, AT_UID,
};
use vigil_mem::{KVec, PAGE_SIZE};

/// What the loader cannot know by itself.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// The new program's real user.
    pub uid: u32,
    /// Its effective user.
    pub euid: u32,
    /// Its real group.
    pub gid: u32,
    /// Its effective group.
    pub egid: u32,
    /// AT_SECURE: it gained privilege by its file.
    pub secure: bool,
    /// AT_HWCAP.
    pub hwcap: u64,
    /// AT_HWCAP2.
    pub hwcap2: u64,
    /// AT_MINSIGSTKSZ.
    pub min_sigstack: usize,
    /// 16 random bytes for the C library.
    pub random: [u8; 16],
    /// Four random words for the layout; `None`: no ASLR (ADDR_NO_RANDOMIZE, norandmaps, randomize_va_space=0).
    pub aslr: Option<[u64; 4]>,
    /// The legacy layout was asked for (ADDR_COMPAT_LAYOUT).
    pub legacy_layout: bool,
    /// Limits of the process.
    pub limits: Limits,
}

/// What the mapped program gives to the auxiliary vector.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Image {
    pub phdr: usize,
    pub phnum: usize,
    pub interp_base: usize,
    pub entry: usize,
    pub vdso: usize,
}

/// The finished contents and where they go.
pub(super) struct StackImage {
    /// Initial stack pointer.
    pub sp: usize,
    /// argc up to the end of the auxiliary vector, at `sp`.
    pub words: KVec<u64>,
    /// Where the random bytes and the platform's name go, and they.
    pub small: (usize, [u8; 24]),
    pub arg_start: usize,
    pub arg_end: usize,
    pub env_end: usize,
    /// Index in `words` of the auxiliary vector.
    pub auxv_at: usize,
}

/// Where the arguments' strings begin below `top`.
pub(super) fn strings_start(top: usize, args: &Args, path: &[u8]) -> Option<usize> {
    top.checked_sub(8)?.checked_sub(path.len() + 1)?.checked_sub(args.bytes().len())
}

/// Lays the stack out below `top`; `jitter`: random bytes by which it is lowered. ENOMEM.
pub(super) fn build(top: usize, jitter: usize, args: &Args, path: &[u8], image: &Image, facts: &Facts) -> Result<StackImage, Errno> {
    let arg_start = strings_start(top, args, path).ok_or(Errno::ENOMEM)?;
    let arg_end = arg_start + args.arg_bytes();
    let env_end = arg_start + args.bytes().len();
    let execfn = env_end;
    let aligned = arg_start.checked_sub(jitter).ok_or(Errno::ENOMEM)? & !15;
    let platform = aligned.checked_sub(8).ok_or(Errno::ENOMEM)?;
    let random = platform.checked_sub(16).ok_or(Errno::ENOMEM)?;
    let mut small = [0u8; 24];
    small[..16].copy_from_slice(&facts.random);
    small[16..].copy_from_slice(b"aarch64\0");

    let auxv = [
        (AT_SYSINFO_EHDR, image.vdso as u64),
        (AT_MINSIGSTKSZ, facts.min_sigstack as u64),
        (AT_HWCAP, facts.hwcap),
        (AT_PAGESZ, PAGE_SIZE as u64),
        (AT_CLKTCK, 100),
        (AT_PHDR, image.phdr as u64),
        (AT_PHENT, super::elf::PHDR_SIZE as u64),
        (AT_PHNUM, image.phnum as u64),
        (AT_BASE, image.interp_base as u64),
        (AT_FLAGS, 0),
        (AT_ENTRY, image.entry as u64),
        (AT_UID, u64::from(facts.uid)),
        (AT_EUID, u64::from(facts.euid)),
        (AT_GID, u64::from(facts.gid)),
        (AT_EGID, u64::from(facts.egid)),
        (AT_SECURE, u64::from(facts.secure)),
        (AT_RANDOM, random as u64),
        (AT_HWCAP2, facts.hwcap2),
        (AT_EXECFN, execfn as u64),
        (AT_PLATFORM, platform as u64),
        (AT_NULL, 0),
    ];
    // Without a vDSO its entry is not there.
    let auxv = if image.vdso == 0 { &auxv[1..] } else { &auxv[..] };
    let (argc, envc) = args.counts();
    let count = 1 + argc + 1 + envc + 1 + auxv.len() * 2;
    let sp = random.checked_sub(count * 8).ok_or(Errno::ENOMEM)? & !15;
    let mut words = KVec::try_with_capacity(count)?;
    words.try_push(argc as u64)?;
    let mut at = arg_start;
    for (index, string) in args.bytes().split_inclusive(|b| *b == 0).enumerate() {
        if index == argc {
            words.try_push(0)?;
        }
        words.try_push(at as u64)?;
        at += string.len();
    }
    if envc == 0 {
        words.try_push(0)?;
    }
    words.try_push(0)?;
    let auxv_at = words.len();
    for (tag, value) in auxv {
        words.try_push(u64::from(*tag))?;
        words.try_push(*value)?;
    }
    Ok(StackImage { sp, words, small: (random, small), arg_start, arg_end, env_end, auxv_at })
}

#[cfg(test)]
pub(super) mod unit {
    use super::*;

    pub(in super::super) fn facts() -> Facts {
        Facts {
            uid: 1,
            euid: 2,
            gid: 3,
            egid: 4,
            secure: false,
            hwcap: 0xff,
            hwcap2: 1,
            min_sigstack: 4720,
            random: [7; 16],
            aslr: None,
            legacy_layout: false,
            limits: Limits { stack: 8 << 20, ..Limits::NONE },
        }
    }

    #[test]
    fn the_stack_is_what_the_c_library_expects() {
        let args = Args::from_kernel(&[b"prog", b"arg"], &[b"A=1", b"B=2"]).unwrap();
        let top = 0x1_0000_0000_0000;
        let image = Image { phdr: 0x400040, phnum: 2, interp_base: 0, entry: 0x401000, vdso: 0x7000 };
        let s = build(top, 0, &args, b"/bin/prog", &image, &facts()).unwrap();
        assert_eq!(s.sp % 16, 0);
        assert_eq!(s.words[0], 2);
        assert_eq!(s.words[1] as usize, s.arg_start);
        assert_eq!(s.words[2] as usize, s.arg_start + 5);
        assert_eq!(s.words[3], 0);
        assert_eq!(s.words[4] as usize, s.arg_end);
        assert_eq!(s.words[6], 0);
        assert_eq!(s.auxv_at, 7);
        assert_eq!(s.words[7], u64::from(AT_SYSINFO_EHDR));
        assert_eq!(*s.words.last().unwrap(), 0);
        assert!(s.sp + s.words.len() * 8 <= s.small.0);
        assert_eq!(s.env_end + b"/bin/prog\0".len() + 8, top);
        // No environment: still two NULLs.
        let args = Args::from_kernel(&[b"p"], &[]).unwrap();
        let s = build(top, 100, &args, b"p", &image, &facts()).unwrap();
        assert_eq!(&s.words[..4], &[1, s.arg_start as u64, 0, 0]);
        assert_eq!(s.auxv_at, 4);
    }
}
