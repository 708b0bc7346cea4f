//! Raw system calls: registers in, x0 out, without the C library's own checks; and how results are shown.
use std::ffi::CStr;

include!(concat!(env!("OUT_DIR"), "/present.rs"));

/// What goes into a register.
pub trait Arg {
    /// As the register's bits.
    fn arg(self) -> usize;
}

macro_rules! integers {
    ($($t:ty)*) => {
        $(impl Arg for $t {
            fn arg(self) -> usize {
                self as isize as usize
            }
        })*
    };
}
integers!(i32 u32 i64 u64 isize usize u16 u8);

impl Arg for &CStr {
    fn arg(self) -> usize {
        self.as_ptr() as usize
    }
}

impl<T> Arg for &T {
    fn arg(self) -> usize {
        core::ptr::from_ref(self) as usize
    }
}

impl<T> Arg for &mut T {
    fn arg(self) -> usize {
        core::ptr::from_mut(self) as usize
    }
}

impl<T> Arg for *const T {
    fn arg(self) -> usize {
        self as usize
    }
}

impl<T> Arg for *mut T {
    fn arg(self) -> usize {
        self as usize
    }
}

/// The call with this number: its result, or the negative errno.
pub fn raw(number: i64, a: &[usize]) -> isize {
    let at = |i: usize| a.get(i).copied().unwrap_or(0);
    let result: isize;
    // SAFETY: a case runs in a process of its own: what the call does to that process is what the case is about, and the pointers that
    // cases pass lead to memory that they own or to none at all.
    unsafe {
        core::arch::asm!("svc 0", in("x8") number, inlateout("x0") at(0) => result,
            in("x1") at(1), in("x2") at(2), in("x3") at(3), in("x4") at(4), in("x5") at(5), options(nostack));
    }
    result
}

/// `sys!(read, fd, &mut buffer, 10)`: the raw call.
#[macro_export]
macro_rules! sys {
    ($name:ident $(, $arg:expr)* $(,)?) => {
        $crate::sys::raw($crate::sys::nr::$name, &[$($crate::sys::Arg::arg($arg)),*])
    };
}

/// A result as text that is the same on each kernel and in each run.
pub trait Show {
    /// The text.
    fn show(self) -> String;
}

impl Show for isize {
    fn show(self) -> String {
        if (-4095..0).contains(&self) { format!("-{}", errno(-self as i32)) } else { self.to_string() }
    }
}

impl Show for String {
    fn show(self) -> String {
        self
    }
}

impl Show for &str {
    fn show(self) -> String {
        self.to_string()
    }
}

macro_rules! displayed {
    ($($t:ty)*) => {
        $(impl Show for $t {
            fn show(self) -> String {
                self.to_string()
            }
        })*
    };
}
displayed!(bool i32 u32 i64 u64 usize u8 i16 u16);

macro_rules! tuples {
    ($(($($t:ident)*))*) => {
        $(impl<$($t: Show),*> Show for ($($t,)*) {
            #[allow(non_snake_case, reason = "a variable per type parameter")]
            fn show(self) -> String {
                let ($($t,)*) = self;
                [$($t.show()),*].join(" ")
            }
        })*
    };
}
tuples!((A B) (A B C) (A B C D) (A B C D E) (A B C D E F) (A B C D E F G) (A B C D E F G H) (A B C D E F G H I));

impl<T: Show, const N: usize> Show for [T; N] {
    fn show(self) -> String {
        Vec::from(self).show()
    }
}

impl<T: Show> Show for Vec<T> {
    fn show(self) -> String {
        self.into_iter().map(Show::show).collect::<Vec<_>>().join(" ")
    }
}

macro_rules! errnos {
    ($($name:ident)*) => {
        /// The errno's name.
        pub fn errno(number: i32) -> String {
            match number {
                $(libc::$name => stringify!($name).to_string(),)*
                _ => format!("E{number}"),
            }
        }
    };
}
errnos!(EPERM ENOENT ESRCH EINTR EIO ENXIO E2BIG ENOEXEC EBADF ECHILD EAGAIN ENOMEM EACCES EFAULT ENOTBLK EBUSY EEXIST EXDEV ENODEV ENOTDIR
    EISDIR EINVAL ENFILE EMFILE ENOTTY ETXTBSY EFBIG ENOSPC ESPIPE EROFS EMLINK EPIPE EDOM ERANGE EDEADLK ENAMETOOLONG ENOLCK ENOSYS ENOTEMPTY
    ELOOP EOVERFLOW EOPNOTSUPP ETIMEDOUT ENODATA ELIBBAD ENOTSOCK ETIME ESTALE EUSERS ENOMSG EIDRM EAFNOSUPPORT EPROTONOSUPPORT
    ESOCKTNOSUPPORT EADDRINUSE ENOTCONN EISCONN ECONNREFUSED ECONNRESET EPROTOTYPE ENOPROTOOPT EMSGSIZE ENOBUFS ETOOMANYREFS EDESTADDRREQ ECANCELED);

/// The signal's name.
pub fn signal_name(number: i32) -> String {
    const NAMES: [&str; 32] = [
        "0", "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM", "STKFLT",
        "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
    ];
    match NAMES.get(number as usize) {
        Some(name) => format!("SIG{name}"),
        None => format!("SIG{number}"),
    }
}
