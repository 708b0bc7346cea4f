//! argv and envp on their way from the old address space to the new one.

use crate::mm::{FaultError, Mm};
use vigil_abi::Errno;
use vigil_mem::{KVec, PAGE_SIZE, UserPtr};

/// Longest single string, its NUL included (MAX_ARG_STRLEN).
pub const MAX_ARG_STRLEN: usize = 32 * PAGE_SIZE;
/// Three quarters of the default stack: no limit lets the strings take more.
const STACK_SHARE: usize = 6 << 20;
/// Room that every program has, whatever its limit (ARG_MAX).
const ARG_MAX: usize = 128 << 10;

/// The strings of a program: each with its NUL, arguments first, then the environment, in order.
#[derive(Default)]
pub struct Args {
    strings: KVec<u8>,
    /// Bytes of the arguments.
    arg_bytes: usize,
    argc: usize,
    envc: usize,
    /// The program is named by a descriptor that exec closes: a script's interpreter could not open it.
    pub path_vanishes: bool,
}

impl Args {
    /// From the kernel: for init. E2BIG, ENOMEM.
    pub fn from_kernel(argv: &[&[u8]], envp: &[&[u8]]) -> Result<Args, Errno> {
        let mut args = Args::default();
        for s in argv {
            args.push(s)?;
            args.argc += 1;
        }
        args.arg_bytes = args.strings.len();
        for s in envp {
            args.push(s)?;
            args.envc += 1;
        }
        Ok(args)
    }

    /// From the caller's address space `mm`, which is current. `argv` and `envp` may be null. EFAULT, E2BIG, ENOMEM,
    /// EINTR. Pages are faulted in as need be.
    pub async fn copy_from_user(mm: &Mm, argv: usize, envp: usize, stack_limit: u64) -> Result<Args, Errno> {
        let mut args = Args::default();
        args.argc = args.copy_strings(mm, argv, stack_limit).await?;
        if args.argc == 0 {
            // A program without even a name: it gets an empty one (Linux since 5.18).
            args.push(b"")?;
            args.argc = 1;
        }
        args.arg_bytes = args.strings.len();
        args.envc = args.copy_strings(mm, envp, stack_limit).await?;
        Ok(args)
    }

    async fn copy_strings(&mut self, mm: &Mm, array: usize, stack_limit: u64) -> Result<usize, Errno> {
        if array == 0 {
            return Ok(0);
        }
        let mut count = 0usize;
        loop {
            let at = array.wrapping_add(count.wrapping_mul(8));
            let pointer: u64 = loop {
                match UserPtr::<u64>::new(at).read() {
                    Ok(p) => break p,
                    Err(_) => fault_in(mm, at, 8).await?,
                }
            };
            if pointer == 0 {
                return Ok(count);
            }
            self.copy_string(mm, pointer as usize).await?;
            count += 1;
            if !self.fits(count, stack_limit) {
                return Err(Errno::E2BIG);
            }
            if count % 64 == 0 {
                vigil_executor::executor::cond_resched().await;
            }
        }
    }

    /// Copies one string, NUL included, page by page.
    async fn copy_string(&mut self, mm: &Mm, from: usize) -> Result<(), Errno> {
        let begin = self.strings.len();
        let mut at = from;
        loop {
            let room = PAGE_SIZE - at % PAGE_SIZE;
            let old = self.strings.len();
            self.strings.try_resize(old + room, 0)?;
            let got = UserPtr::<u8>::new(at).read_str(&mut self.strings[old..]);
            match got {
                Ok(n) if n < room => {
                    self.strings.truncate(old + n + 1);
                    return if self.strings.len() - begin > MAX_ARG_STRLEN { Err(Errno::E2BIG) } else { Ok(()) };
                }
                Ok(_) => at = at.wrapping_add(room),
                Err(_) => {
                    self.strings.truncate(old);
                    fault_in(mm, at, 1).await?;
                }
            }
            if self.strings.len() - begin >= MAX_ARG_STRLEN {
                return Err(Errno::E2BIG);
            }
        }
    }

    fn push(&mut self, s: &[u8]) -> Result<(), Errno> {
        if s.len() >= MAX_ARG_STRLEN {
            return Err(Errno::E2BIG);
        }
        self.strings.try_extend_from_slice(s)?;
        self.strings.try_push(0)?;
        Ok(())
    }

    /// Whether the strings and `more` pointers besides those counted fit (`bprm_stack_limits`).
    fn fits(&self, more: usize, stack_limit: u64) -> bool {
        let limit = STACK_SHARE.min((stack_limit / 4) as usize).max(ARG_MAX);
        let pointers = (self.argc.max(1) + self.envc + more) * size_of::<u64>();
        pointers.checked_add(self.strings.len()).is_some_and(|n| n <= limit)
    }

    /// Whether everything fits beside the program's path `name`. E2BIG.
    pub(super) fn check(&self, name: &[u8], stack_limit: u64) -> Result<(), Errno> {
        if self.strings.len().checked_add(name.len() + 1).is_none() || !self.fits(0, stack_limit) {
            return Err(Errno::E2BIG);
        }
        Ok(())
    }

    /// Replaces the first argument by `front`: what `#!` does. E2BIG, ENOMEM.
    pub(super) fn replace_first(&mut self, front: &[&[u8]]) -> Result<(), Errno> {
        let first = self.strings.iter().position(|b| *b == 0).map_or(0, |p| p + 1).min(self.arg_bytes);
        let mut fresh = Args::from_kernel(front, &[])?;
        fresh.strings.try_extend_from_slice(&self.strings[first..])?;
        fresh.arg_bytes += self.arg_bytes - first;
        fresh.argc += self.argc.saturating_sub(1);
        fresh.envc = self.envc;
        *self = fresh;
        Ok(())
    }

    /// All strings.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.strings
    }

    /// Bytes of the arguments' strings.
    pub(super) fn arg_bytes(&self) -> usize {
        self.arg_bytes
    }

    /// How many arguments and environment strings.
    pub fn counts(&self) -> (usize, usize) {
        (self.argc, self.envc)
    }
}

async fn fault_in(mm: &Mm, addr: usize, len: usize) -> Result<(), Errno> {
    mm.fault_in(addr, len, false, u64::MAX).await.map_err(|e| match e {
        FaultError::Signal(_) => Errno::EFAULT,
        FaultError::Oom => Errno::ENOMEM,
        FaultError::Interrupted => Errno::EINTR,
    })
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn a_script_replaces_the_first_argument_only() {
        let mut a = Args::from_kernel(&[b"./x.sh", b"a", b"b"], &[b"K=V"]).unwrap();
        a.replace_first(&[b"/bin/sh", b"-e", b"./x.sh"]).unwrap();
        assert_eq!(a.bytes(), b"/bin/sh\0-e\0./x.sh\0a\0b\0K=V\0");
        assert_eq!(a.counts(), (5, 1));
        assert_eq!(a.arg_bytes(), a.bytes().len() - 4);
    }

    #[test]
    fn strings_are_limited_to_a_quarter_of_the_stack_but_not_below_arg_max() {
        let long = std::vec![b'x'; 100 << 10];
        let a = Args::from_kernel(&[&long], &[]).unwrap();
        assert!(a.check(b"p", 64 << 10).is_ok());
        let b = Args::from_kernel(&[&long, &long], &[]).unwrap();
        assert_eq!(b.check(b"p", 64 << 10), Err(Errno::E2BIG));
        assert!(b.check(b"p", 8 << 20).is_ok());
        let huge = std::vec![b'x'; MAX_ARG_STRLEN];
        assert_eq!(Args::from_kernel(&[&huge], &[]).err(), Some(Errno::E2BIG));
    }
}
