//! Terminals: termios, winsize and the terminal ioctls.

// Indexes of c_cc.
abi_consts! { usize; checked general;
    VINTR = 0, VQUIT = 1, VERASE = 2, VKILL = 3, VEOF = 4, VTIME = 5, VMIN = 6, VSWTC = 7, VSTART = 8, VSTOP = 9,
    VSUSP = 10, VEOL = 11, VREPRINT = 12, VDISCARD = 13, VWERASE = 14, VLNEXT = 15, VEOL2 = 16,
}

// c_iflag.
abi_consts! { u32; checked general;
    IGNBRK = 0o1, BRKINT = 0o2, IGNPAR = 0o4, PARMRK = 0o10, INPCK = 0o20, ISTRIP = 0o40, INLCR = 0o100,
    IGNCR = 0o200, ICRNL = 0o400, IUCLC = 0o1000, IXON = 0o2000, IXANY = 0o4000, IXOFF = 0o10000,
    IMAXBEL = 0o20000, IUTF8 = 0o40000,
}

// c_oflag.
abi_consts! { u32; checked general;
    OPOST = 0o1, OLCUC = 0o2, ONLCR = 0o4, OCRNL = 0o10, ONOCR = 0o20, ONLRET = 0o40, OFILL = 0o100, OFDEL = 0o200,
    NLDLY = 0o400, NL0 = 0, NL1 = 0o400, CRDLY = 0o3000, CR0 = 0, CR1 = 0o1000, CR2 = 0o2000, CR3 = 0o3000,
    TABDLY = 0o14000, TAB0 = 0, TAB1 = 0o4000, TAB2 = 0o10000, TAB3 = 0o14000, XTABS = 0o14000, BSDLY = 0o20000,
    BS0 = 0, BS1 = 0o20000, VTDLY = 0o40000, VT0 = 0, VT1 = 0o40000, FFDLY = 0o100000, FF0 = 0, FF1 = 0o100000,
}

// c_cflag.
abi_consts! { u32; checked general;
    CBAUD = 0o10017, CSIZE = 0o60, CS5 = 0, CS6 = 0o20, CS7 = 0o40, CS8 = 0o60, CSTOPB = 0o100, CREAD = 0o200,
    PARENB = 0o400, PARODD = 0o1000, HUPCL = 0o2000, CLOCAL = 0o4000, CBAUDEX = 0o10000, BOTHER = 0o10000,
    CIBAUD = 0o2003600000, CMSPAR = 0o10000000000, CRTSCTS = 0o20000000000, IBSHIFT = 0o20, B0 = 0, B50 = 0o1,
    B75 = 0o2, B110 = 0o3, B134 = 0o4, B150 = 0o5, B200 = 0o6, B300 = 0o7, B600 = 0o10, B1200 = 0o11, B1800 = 0o12,
    B2400 = 0o13, B4800 = 0o14, B9600 = 0o15, B19200 = 0o16, B38400 = 0o17, B57600 = 0o10001, B115200 = 0o10002,
    B230400 = 0o10003, B460800 = 0o10004, B500000 = 0o10005, B576000 = 0o10006, B921600 = 0o10007,
    B1000000 = 0o10010, B1152000 = 0o10011, B1500000 = 0o10012, B2000000 = 0o10013, B2500000 = 0o10014,
    B3000000 = 0o10015, B3500000 = 0o10016, B4000000 = 0o10017,
}

// c_lflag.
abi_consts! { u32; checked general;
    ISIG = 0o1, ICANON = 0o2, XCASE = 0o4, ECHO = 0o10, ECHOE = 0o20, ECHOK = 0o40, ECHONL = 0o100, NOFLSH = 0o200,
    TOSTOP = 0o400, ECHOCTL = 0o1000, ECHOPRT = 0o2000, ECHOKE = 0o4000, FLUSHO = 0o10000, PENDIN = 0o40000,
    IEXTEN = 0o100000, EXTPROC = 0o200000,
}

// tcflow, tcflush, line disciplines, modem lines.
abi_consts! { u32; checked general;
    TCOOFF = 0, TCOON = 1, TCIOFF = 2, TCION = 3, TCIFLUSH = 0, TCOFLUSH = 1, TCIOFLUSH = 2, TIOCM_LE = 1,
    TIOCM_DTR = 2, TIOCM_RTS = 4, TIOCM_ST = 8, TIOCM_SR = 0x10, TIOCM_CTS = 0x20, TIOCM_CAR = 0x40,
    TIOCM_RNG = 0x80, TIOCM_DSR = 0x100, TIOCM_CD = 0x40, TIOCM_RI = 0x80, TIOCM_OUT1 = 0x2000,
    TIOCM_OUT2 = 0x4000, TIOCM_LOOP = 0x8000, TIOCPKT_DATA = 0, TIOCPKT_FLUSHREAD = 1, TIOCPKT_FLUSHWRITE = 2,
    TIOCPKT_STOP = 4, TIOCPKT_START = 8, TIOCPKT_NOSTOP = 0x10, TIOCPKT_DOSTOP = 0x20, TIOCPKT_IOCTL = 0x40,
}

// Ioctls.
abi_consts! { u32; checked ioctl;
    TCXONC = 0x540a, TCFLSH = 0x540b, TCGETS = 0x5401, TCGETA = 0x5405, TCSBRK = 0x5409, TCSBRKP = 0x5425,
    TCSETA = 0x5406, TCSETAF = 0x5408, TCSETAW = 0x5407, TCGETS2 = 0x802c542a, TCSETS = 0x5402,
    TCSETS2 = 0x402c542b, TCSETSF = 0x5404, TCSETSF2 = 0x402c542d, TCSETSW = 0x5403, TCSETSW2 = 0x402c542c,
    TIOCSCTTY = 0x540e, TIOCSPGRP = 0x5410, TIOCOUTQ = 0x5411, TIOCSTI = 0x5412, TIOCSWINSZ = 0x5414,
    TIOCMGET = 0x5415, TIOCMBIS = 0x5416, TIOCMBIC = 0x5417, TIOCMSET = 0x5418, TIOCCONS = 0x541d,
    TIOCSSERIAL = 0x541f, TIOCPKT = 0x5420, TIOCNOTTY = 0x5422, TIOCSETD = 0x5423, TIOCSBRK = 0x5427,
    TIOCCBRK = 0x5428, TIOCSPTLCK = 0x40045431, TIOCSIG = 0x40045436, TIOCVHANGUP = 0x5437, TIOCEXCL = 0x540c,
    TIOCNXCL = 0x540d, TIOCGDEV = 0x80045432, TIOCGEXCL = 0x80045440, TIOCGICOUNT = 0x545d, TIOCGPGRP = 0x540f,
    TIOCGPKT = 0x80045438, TIOCGPTLCK = 0x80045439, TIOCGPTN = 0x80045430, TIOCGPTPEER = 0x5441,
    TIOCGSERIAL = 0x541e, TIOCGSID = 0x5429, TIOCGWINSZ = 0x5413, TIOCGETD = 0x5424, TIOCINQ = 0x541b,
    FIONREAD = 0x541b, FIONBIO = 0x5421, FIOCLEX = 0x5451, FIONCLEX = 0x5450, FIOASYNC = 0x5452,
}

// Line disciplines.
abi_consts! { u32; unchecked;
    N_TTY = 0,
}

/// Length of c_cc.
pub const NCCS: usize = 19;

abi_struct! {
    /// `struct termios` of TCGETS.
    pub struct Termios: 36 {
        /// Input modes.
        pub c_iflag: u32,
        /// Output modes.
        pub c_oflag: u32,
        /// Control modes.
        pub c_cflag: u32,
        /// Local modes.
        pub c_lflag: u32,
        /// Line discipline.
        pub c_line: u8,
        /// Control characters.
        pub c_cc: [u8; NCCS],
    }
}
check_layout!(Termios = linux_raw_sys::general::termios { c_iflag, c_oflag, c_cflag, c_lflag, c_line, c_cc });

abi_struct! {
    /// `struct termios2` of TCGETS2.
    pub struct Termios2: 44 {
        /// Input modes.
        pub c_iflag: u32,
        /// Output modes.
        pub c_oflag: u32,
        /// Control modes.
        pub c_cflag: u32,
        /// Local modes.
        pub c_lflag: u32,
        /// Line discipline.
        pub c_line: u8,
        /// Control characters.
        pub c_cc: [u8; NCCS],
        /// Input speed in baud.
        pub c_ispeed: u32,
        /// Output speed in baud.
        pub c_ospeed: u32,
    }
}
check_layout!(Termios2 = linux_raw_sys::general::termios2 { c_iflag, c_oflag, c_cflag, c_lflag, c_line, c_cc, c_ispeed, c_ospeed });

abi_struct! {
    /// `struct winsize`.
    pub struct Winsize: 8 {
        /// Rows.
        pub ws_row: u16,
        /// Columns.
        pub ws_col: u16,
        /// Unused.
        pub ws_xpixel: u16,
        /// Unused.
        pub ws_ypixel: u16,
    }
}
check_layout!(Winsize = linux_raw_sys::general::winsize { ws_row, ws_col, ws_xpixel, ws_ypixel });
