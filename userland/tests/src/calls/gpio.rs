//! ioctl(2) on pins and input devices: QEMU's `virt` has eight pins, and a power button on the third.
use crate::case::Calls;
use crate::help::*;
use crate::sys;
use libc::{O_NONBLOCK, O_RDONLY, O_RDWR};
use std::mem::size_of_val;

const CHIP_INFO: usize = 0x8044_b401;
const LINE_INFO: usize = 0xc048_b402;
const HANDLE: usize = 0xc16c_b403;
const EVENT: usize = 0xc030_b404;
const LINE_INFO_2: usize = 0xc100_b405;
const REQUEST: usize = 0xc250_b407;
const GET: usize = 0xc040_b408;
const SET: usize = 0xc040_b409;
const CONFIG: usize = 0xc054_b40a;
const CONFIG_2: usize = 0xc110_b40d;
const GET_2: usize = 0xc010_b40e;
const SET_2: usize = 0xc010_b40f;
const KEY_POWER: usize = 116;

/// Adds the group.
pub fn add(a: &mut Calls) {
    chips(a);
    handles(a);
    requests(a);
    inputs(a);
}

fn chip() -> i32 {
    open(c"/dev/gpiochip0", O_RDONLY)
}

fn io<T>(fd: i32, cmd: usize, arg: &mut T) -> isize {
    sys!(ioctl, fd, cmd, core::ptr::from_mut(arg))
}

/// A line's flags, its users' name and its own (version 1).
fn line(offset: u32) -> (isize, u32, String, String) {
    let mut info = [0u32; 18];
    info[0] = offset;
    let r = io(chip(), LINE_INFO, &mut info);
    let bytes: Vec<u8> = info.iter().flat_map(|w| w.to_ne_bytes()).collect();
    (r, info[1], ctext(&bytes[8..40]), ctext(&bytes[40..72]))
}

/// A line's flags and how many attributes it has (version 2).
fn line_2(offset: u32) -> (isize, u64, u32, [u32; 4]) {
    let mut info = [0u32; 64];
    info[16] = offset;
    let r = io(chip(), LINE_INFO_2, &mut info);
    (r, u64::from(info[18]) | u64::from(info[19]) << 32, info[17], [info[20], info[21], info[22], info[23]])
}

fn chips(a: &mut Calls) {
    a.call("ioctl_gpio", "EINVAL EBUSY EPERM", "", false);
    a.ok("chip", || {
        let mut info = [0u8; 68];
        let r = io(chip(), CHIP_INFO, &mut info);
        (r, ctext(&info[..32]), ctext(&info[32..64]), info[64])
    })
    .ok("line", || (line(0), line(7), line(8), line(u32::MAX)))
    .ok("line-2", || (line_2(0), line_2(8)))
    .ok("line-2-padding", || {
        let mut info = [0u32; 64];
        info[63] = 1;
        io(chip(), LINE_INFO_2, &mut info)
    })
    .ok("taken", || (line(3), line_2(3)))
    .ok("no-such", || {
        let mut info = [0u8; 68];
        [0x8044_b402, 0, 0x5401, 0xb4ff].map(|cmd| io(chip(), cmd, &mut info))
    })
    .ok("bad-pointer", || [CHIP_INFO, LINE_INFO, HANDLE, EVENT, LINE_INFO_2, REQUEST].map(|cmd| sys!(ioctl, chip(), cmd, BAD)))
    .ok("read-only-memory", || [CHIP_INFO, LINE_INFO, LINE_INFO_2].map(|cmd| sys!(ioctl, chip(), cmd, read_only())));
}

/// A request of version 1 for lines with these flags, and what outputs begin with.
fn handle(lines: &[u32], flags: u32, values: u8) -> (isize, i32) {
    let mut wanted = [0u32; 91];
    wanted[..lines.len()].copy_from_slice(lines);
    wanted[64] = flags;
    for i in 0..lines.len() {
        wanted[65 + i / 4] |= u32::from(values >> i & 1) << (8 * (i % 4));
    }
    wanted[81] = u32::from_ne_bytes(*b"me\0\0");
    wanted[89] = lines.len() as u32;
    let r = io(chip(), HANDLE, &mut wanted);
    (r, wanted[90] as i32)
}

fn handles(a: &mut Calls) {
    a.ok("handle", || {
        let (r, fd) = handle(&[1, 2], 2, 1);
        let mut values = [7u8; 64];
        let got = (r, fd >= 0, io(fd, GET, &mut values), values[0], values[1], values[2], line(1), line(2));
        values = [1; 64];
        let set = (io(fd, SET, &mut values), io(fd, GET, &mut values), values[0], values[1]);
        let cloexec = sys!(fcntl, fd, libc::F_GETFD, 0);
        (got, set, cloexec, sys!(close, fd), line(1))
    })
    .ok("handle-inverted", || {
        let (_, fd) = handle(&[4], 2 | 4, 1);
        let mut values = [0u8; 64];
        let inverted = (io(fd, GET, &mut values), values[0]);
        let flags = line(4);
        sys!(close, fd);
        let (_, fd) = handle(&[4], 0, 0);
        (inverted, flags, io(fd, GET, &mut values), values[0])
    })
    .ok("handle-input", || {
        let (r, fd) = handle(&[5], 1, 0);
        let mut values = [1u8; 64];
        (r, io(fd, SET, &mut values), io(fd, GET_2, &mut values), sys!(read, fd, pages(1), 64))
    })
    .ok("handle-config", || {
        let (_, fd) = handle(&[5], 1, 0);
        let mut config = [0u32; 21];
        let none = io(fd, CONFIG, &mut config);
        config[0] = 2;
        config[1] = 1;
        let mut values = [0u8; 64];
        (none, io(fd, CONFIG, &mut config), io(fd, GET, &mut values), values[0], line(5).1)
    })
    .ok("handle-flags", || {
        [0, 3, 0x100, 8, 9, 2 | 8 | 0x10, 0x20, 1 | 0x20 | 0x40, 1 | 0x80, 2 | 8, 2 | 0x10].map(|flags| {
            let (r, fd) = handle(&[6], flags, 0);
            let now = line(6).1;
            sys!(close, if r == 0 { fd } else { -1 });
            (r, now)
        })
    })
    .ok("handle-lines", || {
        [handle(&[], 1, 0).0, handle(&[0; 2], 1, 0).0, handle(&[8], 1, 0).0, handle(&[0, 3], 1, 0).0, handle(&[3], 1, 0).0]
    })
    .ok("given-back-when-one-is-taken", || (handle(&[0, 1, 3], 2, 7).0, line(0), line(1)))
    .ok("event", || {
        let mut wanted = [0u32; 12];
        (wanted[0], wanted[1], wanted[2]) = (6, 1, 3);
        let r = io(chip(), EVENT, &mut wanted);
        let fd = wanted[11] as i32;
        sys!(fcntl, fd, libc::F_SETFL, O_NONBLOCK);
        let mut values = [9u8; 64];
        let at = pages(1);
        (r, line(6), sys!(read, fd, at, 15), sys!(read, fd, at, 16), io(fd, GET, &mut values), values[0], io(fd, SET, &mut values))
    })
    .ok("event-flags", || {
        [(0, 1), (1, 4), (2, 1), (9, 1), (1, 0), (4, 2), (0x60, 1)].map(|(flags, edges)| {
            let mut wanted = [0u32; 12];
            (wanted[0], wanted[1], wanted[2]) = (6, flags, edges);
            let r = io(chip(), EVENT, &mut wanted);
            sys!(close, if r == 0 { wanted[11] as i32 } else { -1 });
            r
        })
    });
}

/// A request of version 2, to be changed before it is made.
#[derive(Clone)]
struct Request([u32; 148]);

impl Request {
    fn new(lines: &[u32], flags: u64) -> Request {
        let mut words = [0; 148];
        words[..lines.len()].copy_from_slice(lines);
        words[64] = u32::from_ne_bytes(*b"two\0");
        words[140] = lines.len() as u32;
        (words[72], words[73]) = (flags as u32, (flags >> 32) as u32);
        Request(words)
    }

    /// With an attribute for the lines of `mask`.
    fn with(mut self, id: u32, value: u64, mask: u64) -> Request {
        let at = 80 + 6 * self.0[74] as usize;
        self.0[at..at + 6].copy_from_slice(&[id, 0, value as u32, (value >> 32) as u32, mask as u32, (mask >> 32) as u32]);
        self.0[74] += 1;
        self
    }

    /// Another word.
    fn word(mut self, at: usize, value: u32) -> Request {
        self.0[at] = value;
        self
    }

    fn make(mut self) -> (isize, i32) {
        let r = io(chip(), REQUEST, &mut self.0);
        (r, if r == 0 { self.0[147] as i32 } else { -1 })
    }
}

/// The values of a request's lines.
fn values(fd: i32, cmd: usize, bits: u64, mask: u64) -> (isize, u64) {
    let mut values = [bits, mask];
    let r = io(fd, cmd, &mut values);
    (r, values[0])
}

fn requests(a: &mut Calls) {
    a.ok("request", || {
        let (r, fd) = Request::new(&[0, 1, 2], 8).with(2, 0b101, 0b111).make();
        let first = (r, values(fd, GET_2, 0, 0b111), values(fd, GET_2, 0, 0b110), line_2(0), line(2));
        let set = (values(fd, SET_2, 0b010, 0b011), values(fd, GET_2, 0, 0b111), values(fd, GET_2, 0, u64::MAX));
        (first, set, values(fd, GET_2, 0, 0b1000), values(fd, SET_2, 0, 0), sys!(close, fd), line_2(0))
    })
    .ok("request-mixed", || {
        let (r, fd) = Request::new(&[4, 5], 4).with(1, 8 | 2, 2).with(2, 2, 2).make();
        (r, values(fd, GET_2, 0, 3), values(fd, SET_2, 0, 1), values(fd, SET_2, 0, 2), line_2(4), line_2(5))
    })
    .ok("request-config", || {
        let (r, fd) = Request::new(&[6], 8).with(2, 1, 1).make();
        let mut config = [0u32; 68];
        config[0] = 4 | 2;
        let input = (r, io(fd, CONFIG_2, &mut config), line_2(6), values(fd, GET_2, 0, 1));
        config[0] = 0x10;
        let bad = io(fd, CONFIG_2, &mut config);
        config[0] = 4 | 0x30 | 0x800;
        (input, bad, io(fd, CONFIG_2, &mut config), line_2(6))
    })
    .ok("request-flags", || {
        [0, 1, 4, 8, 12, 0x10, 0x14, 0x18, 0x34, 0xc8, 0x44, 0x48, 0x88, 0x100, 0x104, 0x308, 0x408, 0x804, 0x10_0000, 1 << 40].map(
            |flags| {
                let (r, fd) = Request::new(&[6], flags).make();
                let now = line_2(6).1;
                sys!(close, fd);
                (r, now)
            },
        )
    })
    .ok("request-malformed", || {
        let of = |lines: &[u32]| Request::new(lines, 4);
        [
            of(&[]).make().0,
            of(&[0]).word(140, 65).make().0,
            of(&[0]).word(142, 1).make().0,
            of(&[0]).word(75, 1).make().0,
            of(&[0]).word(74, 11).make().0,
            of(&[0]).with(7, 1, 1).make().0,
            of(&[0]).word(141, 100_000).make().0,
            of(&[8]).make().0,
            of(&[3]).make().0,
            of(&[0, 0]).make().0,
            Request::new(&[0], 8).with(3, 100, 1).make().0,
            of(&[0]).with(3, 1000, 1).make().0,
        ]
    })
    .ok("debounced", || {
        let (r, fd) = Request::new(&[6], 0x34).with(3, 2000, 1).make();
        (r, line_2(6), values(fd, GET_2, 0, 1))
    })
    .ok("no-edge", || {
        let (r, fd) = Request::new(&[6], 0x34).make();
        sys!(fcntl, fd, libc::F_SETFL, O_NONBLOCK);
        let at = pages(1);
        let mut entry = libc::pollfd { fd, events: libc::POLLIN | libc::POLLOUT, revents: 0 };
        let zero = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        (r, sys!(read, fd, at, 47), sys!(read, fd, at, 48), sys!(ppoll, &mut entry, 1, &zero, 0, 8), entry.revents)
    })
    .err("EINVAL-no-lines", || Request::new(&[], 4).make().0)
    .err("EBUSY-taken", || Request::new(&[3], 4).make().0)
    .err("EPERM-input", || {
        let (_, fd) = Request::new(&[6], 4).make();
        values(fd, SET_2, 1, 1).0
    })
    .ok("answer-not-writable", || {
        // The request can be read and not be written: nothing is taken.
        let at = pages(1);
        let wanted = Request::new(&[6], 4);
        // SAFETY: the page is ours, and larger than a request.
        unsafe { core::ptr::copy_nonoverlapping(wanted.0.as_ptr(), at as *mut u32, wanted.0.len()) };
        sys!(mprotect, at, PAGE, libc::PROT_READ);
        let r = sys!(ioctl, chip(), REQUEST, at);
        assert_eq!(line(6).1 & 1, 0);
        r
    });
}

fn event_file() -> i32 {
    open(c"/dev/input/event0", O_RDWR | O_NONBLOCK)
}

/// `EVIOC…(len)` of number `nr`.
fn sized(nr: usize, len: usize) -> usize {
    2 << 30 | len << 16 | 0x45 << 8 | nr
}

/// What a sized ioctl answers, and the bytes.
fn get(fd: i32, nr: usize, len: usize) -> (isize, String) {
    let mut bytes = [0x55u8; 256];
    let r = io(fd, sized(nr, len), &mut bytes);
    (r, text(&bytes[..r.clamp(0, 256) as usize]))
}

/// Writes an event: kind, code, value.
fn put(fd: i32, kind: u16, code: u16, value: i32) -> isize {
    let event = (0u64, 0u64, kind, code, value);
    sys!(write, fd, &event, 24)
}

/// What can be read, without times: events, and what comes after them.
fn events(fd: i32) -> (Vec<u64>, isize) {
    let mut all = Vec::new();
    loop {
        let mut event = [0u64; 3];
        let r = sys!(read, fd, &mut event, size_of_val(&event));
        if r != 24 {
            return (all, r);
        }
        all.push(event[2]);
    }
}

fn inputs(a: &mut Calls) {
    a.call("ioctl_evdev", "EINVAL", "", false);
    a.ok("who", || {
        let fd = event_file();
        let (mut version, mut id) = (0u32, [0u16; 4]);
        (
            io(fd, 0x8004_4501, &mut version),
            version,
            io(fd, 0x8008_4502, &mut id),
            id,
            get(fd, 6, 64),
            get(fd, 6, 4),
            get(fd, 7, 64),
            get(fd, 8, 64),
        )
    })
    .ok("what", || {
        let fd = event_file();
        let all: Vec<_> = (0x20..0x40).map(|nr| get(fd, nr, 100).0).collect();
        (
            all,
            get(fd, 0x20, 8),
            get(fd, 0x21, 96),
            get(fd, 0x21, 15),
            get(fd, 9, 8),
            get(fd, 0x18, 96),
            get(fd, 0x19, 8),
            get(fd, 0x1a, 8),
            get(fd, 0x1b, 8),
        )
    })
    .ok("not-there", || {
        let (fd, mut word) = (event_file(), [0u64; 3]);
        [0x8008_4503, 0x4008_4503, 0x4004_4581, 0x8004_4584, sized(0x40, 24), sized(0x0a, 8), 0x5401, 0].map(|cmd| io(fd, cmd, &mut word))
    })
    .ok("injected", || {
        let (fd, other) = (event_file(), event_file());
        let key = KEY_POWER as u16;
        let wrote = [put(fd, 1, key, 1), put(fd, 1, key, 1), put(fd, 1, 30, 1), put(fd, 0, 0, 0), put(fd, 0, 0, 0)];
        let held = get(other, 0x18, 96);
        let up = [put(fd, 1, key, 2), put(fd, 0, 0, 0), put(fd, 1, key, 0), put(fd, 0, 0, 0)];
        (wrote, held, up, events(fd), events(other))
    })
    .ok("half-a-report", || {
        let fd = event_file();
        let key = KEY_POWER as u16;
        put(fd, 1, key, 1);
        let half = events(fd);
        let _ = (put(fd, 0, 0, 0), put(fd, 1, key, 0), put(fd, 0, 0, 0));
        (half, events(fd))
    })
    .ok("too-many", || {
        let fd = event_file();
        for _ in 0..40 {
            let _ = (put(fd, 1, KEY_POWER as u16, 1), put(fd, 0, 0, 0), put(fd, 1, KEY_POWER as u16, 0), put(fd, 0, 0, 0));
        }
        events(fd)
    })
    .ok("grab", || {
        let (fd, other) = (event_file(), event_file());
        let grab = |fd: i32, on: usize| sys!(ioctl, fd, 0x4004_4590, on);
        let first = (grab(fd, 0), grab(fd, 1), grab(fd, 1), grab(other, 1), grab(other, 0));
        let _ = (put(other, 1, KEY_POWER as u16, 1), put(other, 0, 0, 0));
        let none = (events(fd), events(other));
        let _ = (put(fd, 1, KEY_POWER as u16, 1), put(fd, 0, 0, 0), put(fd, 1, KEY_POWER as u16, 0), put(fd, 0, 0, 0));
        (first, none, events(fd), events(other), grab(fd, 0), grab(other, 1))
    })
    .ok("revoke", || {
        let fd = event_file();
        let some = sys!(ioctl, fd, 0x4004_4591, 1);
        let mut entry = libc::pollfd { fd, events: libc::POLLIN | libc::POLLOUT, revents: 0 };
        let zero = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        let before = (sys!(ppoll, &mut entry, 1, &zero, 0, 8), entry.revents);
        let gone = sys!(ioctl, fd, 0x4004_4591, 0);
        let after = (sys!(ppoll, &mut entry, 1, &zero, 0, 8), entry.revents);
        (some, before, gone, after, events(fd), put(fd, 0, 0, 0), get(fd, 6, 4))
    })
    .ok("clocks", || {
        let fd = event_file();
        [0u32, 1, 2, 3, 7, 11, 100].map(|mut clock| io(fd, 0x4004_45a0, &mut clock))
    })
    .ok("clock-changes", || {
        let fd = event_file();
        let _ = (put(fd, 1, KEY_POWER as u16, 1), put(fd, 0, 0, 0), put(fd, 1, KEY_POWER as u16, 0), put(fd, 0, 0, 0));
        let mut clock = 1u32;
        let set = io(fd, 0x4004_45a0, &mut clock);
        (set, events(fd))
    })
    .ok("keys-are-flushed", || {
        let fd = event_file();
        let _ = (put(fd, 1, KEY_POWER as u16, 1), put(fd, 0, 0, 0));
        let pressed = get(fd, 0x18, 96).0;
        let none = events(fd);
        let _ = (put(fd, 1, KEY_POWER as u16, 0), put(fd, 0, 0, 0));
        (pressed, none, events(fd))
    })
    .ok("small-reads", || {
        let (fd, at) = (event_file(), pages(1));
        (sys!(read, fd, at, 23), sys!(read, fd, at, 0), sys!(write, fd, at, 23), sys!(write, fd, at, 0), sys!(lseek, fd, 0, 0))
    })
    .err("EINVAL-short", || sys!(read, event_file(), pages(1), 1));
}
