//! Sockets: families, types, flags, options, and the structures of sendmsg(2) and recvmsg(2).

// Address families.
abi_consts! { u32; unchecked;
    AF_UNSPEC = 0, AF_UNIX = 1, AF_INET = 2, AF_INET6 = 10, AF_NETLINK = 16, AF_PACKET = 17, AF_MAX = 46,
}

// Types and their flags in socket(2).
abi_consts! { u32; unchecked;
    SOCK_STREAM = 1, SOCK_DGRAM = 2, SOCK_RAW = 3, SOCK_RDM = 4, SOCK_SEQPACKET = 5, SOCK_MAX = 11, SOCK_TYPE_MASK = 0xf,
    SOCK_CLOEXEC = 0o2000000, SOCK_NONBLOCK = 0o4000,
}

// Flags of a message.
abi_consts! { u32; unchecked;
    MSG_OOB = 1, MSG_PEEK = 2, MSG_DONTROUTE = 4, MSG_CTRUNC = 8, MSG_TRUNC = 0x20, MSG_DONTWAIT = 0x40, MSG_EOR = 0x80,
    MSG_WAITALL = 0x100, MSG_NOSIGNAL = 0x4000, MSG_MORE = 0x8000, MSG_WAITFORONE = 0x10000,
    MSG_CMSG_CLOEXEC = 0x4000_0000, MSG_CMSG_COMPAT = 0x8000_0000,
}

// How of shutdown(2).
abi_consts! { u32; unchecked; SHUT_RD = 0, SHUT_WR = 1, SHUT_RDWR = 2, }

// Levels and options.
abi_consts! { u32; unchecked;
    SOL_SOCKET = 1, SO_DEBUG = 1, SO_REUSEADDR = 2, SO_TYPE = 3, SO_ERROR = 4, SO_DONTROUTE = 5, SO_BROADCAST = 6,
    SO_SNDBUF = 7, SO_RCVBUF = 8, SO_KEEPALIVE = 9, SO_OOBINLINE = 10, SO_PRIORITY = 12, SO_LINGER = 13,
    SO_REUSEPORT = 15, SO_PASSCRED = 16, SO_PEERCRED = 17, SO_RCVLOWAT = 18, SO_SNDLOWAT = 19, SO_RCVTIMEO = 20,
    SO_SNDTIMEO = 21, SO_ACCEPTCONN = 30, SO_SNDBUFFORCE = 32, SO_RCVBUFFORCE = 33, SO_PROTOCOL = 38, SO_DOMAIN = 39,
}

// Control messages at SOL_SOCKET.
abi_consts! { u32; unchecked; SCM_RIGHTS = 1, SCM_CREDENTIALS = 2, }

/// Most descriptors in one SCM_RIGHTS.
pub const SCM_MAX_FD: usize = 253;
/// Bytes of a socket address in any family (`struct sockaddr_storage`).
pub const SOCKADDR_STORAGE: usize = 128;
/// Bytes of `sun_path`.
pub const UNIX_PATH_MAX: usize = 108;
/// Largest backlog of listen(2) (/proc/sys/net/core/somaxconn).
pub const SOMAXCONN: u32 = 4096;

abi_struct! {
    /// `struct msghdr` as a program passes it.
    pub struct MsgHdr: 56 {
        /// Address.
        pub name: u64,
        /// Its length.
        pub namelen: u32,
        /// Zero.
        pub __pad1: u32,
        /// `struct iovec` array.
        pub iov: u64,
        /// Its entries.
        pub iovlen: u64,
        /// Control messages.
        pub control: u64,
        /// Their bytes.
        pub controllen: u64,
        /// MSG_* of what was received.
        pub flags: u32,
        /// Zero.
        pub __pad2: u32,
    }
}

abi_struct! {
    /// `struct mmsghdr`.
    pub struct MMsgHdr: 64 {
        /// The message.
        pub hdr: MsgHdr,
        /// Bytes transferred.
        pub len: u32,
        /// Zero.
        pub __pad: u32,
    }
}

abi_struct! {
    /// `struct cmsghdr`.
    pub struct CmsgHdr: 16 {
        /// Bytes with this header.
        pub len: u64,
        /// Level.
        pub level: u32,
        /// Type.
        pub kind: u32,
    }
}

abi_struct! {
    /// `struct ucred`.
    pub struct Ucred: 12 {
        /// Process.
        pub pid: u32,
        /// User.
        pub uid: u32,
        /// Group.
        pub gid: u32,
    }
}

abi_struct! {
    /// `struct linger`.
    pub struct Linger: 8 {
        /// Whether close(2) waits.
        pub onoff: i32,
        /// Seconds.
        pub linger: i32,
    }
}
