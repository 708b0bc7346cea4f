//! poll(2), select(2), epoll(7).

// Events of poll.
abi_consts! { u32; checked general;
    POLLIN = 1, POLLPRI = 2, POLLOUT = 4, POLLERR = 8, POLLHUP = 0x10, POLLNVAL = 0x20, POLLRDNORM = 0x40,
    POLLRDBAND = 0x80, POLLWRNORM = 0x100, POLLWRBAND = 0x200, POLLMSG = 0x400, POLLREMOVE = 0x1000,
    POLLRDHUP = 0x2000,
}

// epoll.
abi_consts! { u32; checked general;
    EPOLLIN = 1, EPOLLPRI = 2, EPOLLOUT = 4, EPOLLERR = 8, EPOLLHUP = 0x10, EPOLLRDNORM = 0x40, EPOLLRDBAND = 0x80,
    EPOLLWRNORM = 0x100, EPOLLWRBAND = 0x200, EPOLLMSG = 0x400, EPOLLRDHUP = 0x2000, EPOLLEXCLUSIVE = 0x10000000,
    EPOLLWAKEUP = 0x20000000, EPOLLONESHOT = 0x40000000, EPOLLET = 0x80000000, EPOLL_CTL_ADD = 1,
    EPOLL_CTL_DEL = 2, EPOLL_CTL_MOD = 3, EPOLL_CLOEXEC = 0x80000,
}

/// Descriptors in an fd_set.
pub const FD_SETSIZE: usize = 1024;

abi_struct! {
    /// `struct pollfd`.
    pub struct Pollfd: 8 {
        /// Descriptor; negative is skipped.
        pub fd: i32,
        /// What is asked for.
        pub events: i16,
        /// What there is.
        pub revents: i16,
    }
}
check_layout!(Pollfd = linux_raw_sys::general::pollfd { fd, events, revents });

abi_struct! {
    /// `struct epoll_event` (not packed on arm64).
    pub struct EpollEvent: 16 {
        /// EPOLL*.
        pub events: u32,
        /// Zero.
        pub __pad: u32,
        /// The caller's.
        pub data: u64,
    }
}
check_layout!(EpollEvent = linux_raw_sys::general::epoll_event { events, data });
