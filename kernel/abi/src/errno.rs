//! Error numbers: `asm-generic/errno.h`, which arm64 uses as it is, and the kernel-internal ones that never reach a user.

use core::fmt;

/// An error number of a system call, positive. `0` is no error and is never stored.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Errno(i32);

/// The largest value that a system call's result may carry as an error (Linux: MAX_ERRNO).
pub const MAX_ERRNO: i32 = 4095;

macro_rules! errnos {
    (uapi { $($name:ident = $value:literal,)* } internal { $($(#[$meta:meta])* $iname:ident = $ivalue:literal,)* }) => {
        impl Errno {
            $(
                #[doc = concat!("`", stringify!($name), "` as in uapi.")]
                pub const $name: Errno = Errno($value);
            )*
            $(
                $(#[$meta])*
                pub const $iname: Errno = Errno($ivalue);
            )*

            /// Its name, or `"E?"` for a number that Linux does not have.
            pub const fn name(self) -> &'static str {
                match self.0 {
                    $($value => stringify!($name),)*
                    $($ivalue => stringify!($iname),)*
                    _ => "E?",
                }
            }
        }
        #[cfg(target_arch = "aarch64")]
        const _: () = {
            $(assert!($value == linux_raw_sys::errno::$name as i32, stringify!($name));)*
        };
    };
}

errnos! {
    uapi {
        EPERM = 1, ENOENT = 2, ESRCH = 3, EINTR = 4, EIO = 5, ENXIO = 6, E2BIG = 7, ENOEXEC = 8, EBADF = 9,
        ECHILD = 10, EAGAIN = 11, ENOMEM = 12, EACCES = 13, EFAULT = 14, ENOTBLK = 15, EBUSY = 16, EEXIST = 17,
        EXDEV = 18, ENODEV = 19, ENOTDIR = 20, EISDIR = 21, EINVAL = 22, ENFILE = 23, EMFILE = 24, ENOTTY = 25,
        ETXTBSY = 26, EFBIG = 27, ENOSPC = 28, ESPIPE = 29, EROFS = 30, EMLINK = 31, EPIPE = 32, EDOM = 33,
        ERANGE = 34, EDEADLK = 35, ENAMETOOLONG = 36, ENOLCK = 37, ENOSYS = 38, ENOTEMPTY = 39, ELOOP = 40,
        ENOMSG = 42, EIDRM = 43, ECHRNG = 44, EL2NSYNC = 45, EL3HLT = 46, EL3RST = 47, ELNRNG = 48,
        EUNATCH = 49, ENOCSI = 50, EL2HLT = 51, EBADE = 52, EBADR = 53, EXFULL = 54, ENOANO = 55, EBADRQC = 56,
        EBADSLT = 57, EBFONT = 59, ENOSTR = 60, ENODATA = 61, ETIME = 62, ENOSR = 63, ENONET = 64, ENOPKG = 65,
        EREMOTE = 66, ENOLINK = 67, EADV = 68, ESRMNT = 69, ECOMM = 70, EPROTO = 71, EMULTIHOP = 72,
        EDOTDOT = 73, EBADMSG = 74, EOVERFLOW = 75, ENOTUNIQ = 76, EBADFD = 77, EREMCHG = 78, ELIBACC = 79,
        ELIBBAD = 80, ELIBSCN = 81, ELIBMAX = 82, ELIBEXEC = 83, EILSEQ = 84, ERESTART = 85, ESTRPIPE = 86,
        EUSERS = 87, ENOTSOCK = 88, EDESTADDRREQ = 89, EMSGSIZE = 90, EPROTOTYPE = 91, ENOPROTOOPT = 92,
        EPROTONOSUPPORT = 93, ESOCKTNOSUPPORT = 94, EOPNOTSUPP = 95, EPFNOSUPPORT = 96, EAFNOSUPPORT = 97,
        EADDRINUSE = 98, EADDRNOTAVAIL = 99, ENETDOWN = 100, ENETUNREACH = 101, ENETRESET = 102,
        ECONNABORTED = 103, ECONNRESET = 104, ENOBUFS = 105, EISCONN = 106, ENOTCONN = 107, ESHUTDOWN = 108,
        ETOOMANYREFS = 109, ETIMEDOUT = 110, ECONNREFUSED = 111, EHOSTDOWN = 112, EHOSTUNREACH = 113,
        EALREADY = 114, EINPROGRESS = 115, ESTALE = 116, EUCLEAN = 117, ENOTNAM = 118, ENAVAIL = 119,
        EISNAM = 120, EREMOTEIO = 121, EDQUOT = 122, ENOMEDIUM = 123, EMEDIUMTYPE = 124, ECANCELED = 125,
        ENOKEY = 126, EKEYEXPIRED = 127, EKEYREVOKED = 128, EKEYREJECTED = 129, EOWNERDEAD = 130,
        ENOTRECOVERABLE = 131, ERFKILL = 132, EHWPOISON = 133,
    }
    internal {
        /// Restart the call when the handler has SA_RESTART, else EINTR (include/linux/errno.h).
        ERESTARTSYS = 512,
        /// Restart the call always.
        ERESTARTNOINTR = 513,
        /// Restart the call when no handler runs, else EINTR.
        ERESTARTNOHAND = 514,
        /// There is no such ioctl; becomes ENOTTY.
        ENOIOCTLCMD = 515,
        /// Restart by `restart_syscall`, with the state that the call left in the task.
        ERESTART_RESTARTBLOCK = 516,
        /// A driver wants to be probed later.
        EPROBE_DEFER = 517,
        /// The operation is not supported by this file system or protocol; becomes EOPNOTSUPP.
        ENOTSUPP = 524,
        /// The request was queued; its completion comes later.
        EIOCBQUEUED = 529,
    }
}

impl Errno {
    /// `EAGAIN` under its other name.
    pub const EWOULDBLOCK: Errno = Errno::EAGAIN;
    /// `EOPNOTSUPP` under its other name.
    pub const ENOTSUP: Errno = Errno::EOPNOTSUPP;
    /// `EDEADLK` under its other name.
    pub const EDEADLOCK: Errno = Errno::EDEADLK;

    /// The error numbered `n`; `None` outside 1..=[`MAX_ERRNO`].
    pub const fn from_raw(n: i32) -> Option<Errno> {
        if n >= 1 && n <= MAX_ERRNO { Some(Errno(n)) } else { None }
    }

    /// Its number, positive.
    #[inline]
    pub const fn raw(self) -> i32 {
        self.0
    }

    /// As a system call returns it in x0: the negated number.
    #[inline]
    pub const fn to_ret(self) -> isize {
        -(self.0 as isize)
    }

    /// Whether it is one of the kernel-internal "restart the system call" numbers.
    #[inline]
    pub const fn is_restart(self) -> bool {
        matches!(self, Errno::ERESTARTSYS | Errno::ERESTARTNOINTR | Errno::ERESTARTNOHAND | Errno::ERESTART_RESTARTBLOCK)
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            "E?" => write!(f, "E{}", self.0),
            name => f.write_str(name),
        }
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What a system call hands back.
pub type Result<T> = core::result::Result<T, Errno>;

/// The value of x0 for a result: the number, or the negated error.
#[inline]
pub const fn to_ret(result: Result<usize>) -> isize {
    match result {
        Ok(v) => v as isize,
        Err(e) => e.to_ret(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;

    #[test]
    fn names_and_numbers() {
        assert_eq!(Errno::ENOENT.raw(), 2);
        assert_eq!(Errno::ENOSYS.to_ret(), -38);
        assert_eq!(format!("{} {:?}", Errno::EAGAIN, Errno::ERESTARTSYS), "EAGAIN ERESTARTSYS");
        assert_eq!(format!("{}", Errno::from_raw(4000).unwrap()), "E4000");
        assert!(Errno::from_raw(0).is_none() && Errno::from_raw(4096).is_none());
        assert_eq!(to_ret(Err(Errno::EFAULT)), -14);
        assert_eq!(to_ret(Ok(5)), 5);
    }
}
