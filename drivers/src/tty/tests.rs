//! A terminal on a device made of two vectors.

use super::*;
use crate::char::{CharStream, Stop};
use std::boxed::Box;
use std::collections::VecDeque;
use std::sync::Mutex;
use std::vec::Vec;
use vigil_abi::poll;
use vigil_mem::{IoBuf, IoBufMut};

#[derive(Default)]
struct Line {
    input: Mutex<VecDeque<(u8, Condition)>>,
    output: Mutex<Vec<u8>>,
    room: Mutex<usize>,
    stopped: Mutex<bool>,
}

impl TtyDriver for Line {
    fn write(&self, bytes: &[u8]) -> usize {
        let mut room = self.room.lock().unwrap();
        let n = bytes.len().min(*room);
        *room -= n;
        self.output.lock().unwrap().extend_from_slice(&bytes[..n]);
        n
    }
    fn write_room(&self) -> usize {
        *self.room.lock().unwrap()
    }
    fn chars_in_buffer(&self) -> usize {
        0
    }
    fn flush_buffer(&self) {}
    fn peek_input(&self) -> Option<(u8, Condition)> {
        self.input.lock().unwrap().front().copied()
    }
    fn skip_input(&self) {
        self.input.lock().unwrap().pop_front();
    }
    fn set_settings(&self, _: &mut Settings, _: &Settings) {}
    fn set_stopped(&self, stopped: bool) {
        *self.stopped.lock().unwrap() = stopped;
    }
    fn send_priority(&self, c: u8) {
        self.output.lock().unwrap().push(c);
    }
    fn set_break(&self, _: bool) {}
}

fn setup() -> (&'static Line, &'static Tty) {
    let line: &'static Line = Box::leak(Box::new(Line { room: Mutex::new(10_000), ..Line::default() }));
    (line, Tty::try_new("tty9", line).unwrap())
}

fn type_in(line: &Line, text: &[u8]) {
    line.input.lock().unwrap().extend(text.iter().map(|&c| (c, Condition::Normal)));
}

fn read(tty: &Tty, n: usize) -> Option<Vec<u8>> {
    let mut bytes = std::vec![0; n];
    match tty.try_read(&mut IoBufMut::kernel(&mut bytes)) {
        Ok(n) => Some(bytes[..n].to_vec()),
        Err(Stop::Wait(..)) => None,
        Err(e) => panic!("{e:?}"),
    }
}

fn raw(tty: &Tty, min: u8, time: u8) {
    let mut termios = tty.settings().to_termios();
    termios.c_lflag = 0;
    termios.c_cc[t::VMIN] = min;
    termios.c_cc[t::VTIME] = time;
    tty.set_settings(tty.settings().with_termios(&termios)).unwrap();
}

#[test]
fn signals_reach_the_kernel_without_a_lock_held() {
    static SENT: Mutex<Vec<(bool, u32)>> = Mutex::new(Vec::new());
    struct Events;
    impl TtyEvents for Events {
        fn input(&self, tty: &'static Tty) {
            tty.flush_input();
        }
        fn signal(&self, tty: &Tty, received: Received) {
            // Takes the line discipline's lock: would hang if it were held.
            let _ = tty.settings();
            SENT.lock().unwrap().push((received.interrupt(), tty.pgrp()));
        }
        fn readable(&self, _: &Tty) {}
    }
    let (line, tty) = setup();
    tty.set_events(&Events);
    tty.set_pgrp(42);
    type_in(line, b"x\x03");
    tty.notify_input();
    assert_eq!(*SENT.lock().unwrap(), [(true, 42)]);
    assert_eq!(*line.output.lock().unwrap(), b"^C");
}

#[test]
fn writes_wait_for_room_and_for_start() {
    let (line, tty) = setup();
    *line.room.lock().unwrap() = 20;
    let mut buf = IoBuf::kernel(b"0123456789abcdefghij");
    assert_eq!(tty.try_write(&mut buf).unwrap(), 19, "room for a line feed stays");
    assert!(matches!(tty.try_write(&mut buf), Err(Stop::Wait(..))));
    *line.room.lock().unwrap() = 10_000;
    type_in(line, b"\x13");
    tty.flush_input();
    assert!(*line.stopped.lock().unwrap());
    assert!(matches!(tty.try_write(&mut buf), Err(Stop::Wait(..))));
    type_in(line, b"\x11");
    tty.flush_input();
    assert_eq!(tty.try_write(&mut buf).unwrap(), 1);
    assert_eq!(*line.output.lock().unwrap(), b"0123456789abcdefghij");
    let mut termios = tty.settings().to_termios();
    termios.c_oflag |= t::XTABS;
    tty.set_settings(tty.settings().with_termios(&termios)).unwrap();
    *line.room.lock().unwrap() = 20;
    let mut buf = IoBuf::kernel(b"0123456789abcdefghij");
    assert_eq!(tty.try_write(&mut buf).unwrap(), 13, "room for a tab stays");
}

#[test]
fn vmin_and_vtime_without_a_clock() {
    let (line, tty) = setup();
    raw(tty, 3, 0);
    type_in(line, b"ab");
    assert_eq!(read(tty, 10), None);
    assert_eq!(tty.poll() & poll::POLLIN, 0);
    assert_eq!(read(tty, 2).unwrap(), b"ab", "a smaller buffer is filled");
    type_in(line, b"cde");
    assert_eq!(tty.poll() & poll::POLLIN, poll::POLLIN);
    assert_eq!(tty.input_queued(), 3);
    assert_eq!(read(tty, 10).unwrap(), b"cde");
    raw(tty, 0, 0);
    assert_eq!(read(tty, 10).unwrap(), b"");
}

#[test]
fn hang_up_ends_everything() {
    let (line, tty) = setup();
    type_in(line, b"abc\n");
    tty.hangup();
    assert_eq!(read(tty, 10).unwrap(), b"");
    assert!(matches!(tty.try_write(&mut IoBuf::kernel(b"x")), Err(Stop::Err(Errno::EIO))));
    assert_eq!(tty.flush(t::TCIFLUSH), Err(Errno::EIO));
    assert_eq!(tty.poll() & (poll::POLLHUP | poll::POLLERR), poll::POLLHUP | poll::POLLERR);
    tty.reopen();
    assert_eq!(read(tty, 10).unwrap(), b"abc\n");
}

#[test]
fn flush_flow_and_winsize() {
    let (line, tty) = setup();
    type_in(line, b"abc\n");
    tty.flush(t::TCIFLUSH).unwrap();
    assert_eq!(read(tty, 10), None);
    assert_eq!(tty.flush(9), Err(Errno::EINVAL));
    tty.flow(t::TCIOFF).unwrap();
    assert_eq!(*line.output.lock().unwrap(), [0o23]);
    tty.flow(t::TCOOFF).unwrap();
    assert!(matches!(tty.try_write(&mut IoBuf::kernel(b"x")), Err(Stop::Wait(..))));
    tty.flow(t::TCOON).unwrap();
    assert_eq!(tty.try_write(&mut IoBuf::kernel(b"x")).unwrap(), 1);
    let size = Winsize { ws_row: 25, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
    assert!(tty.set_winsize(size));
    assert!(!tty.set_winsize(size));
    assert_eq!(tty.winsize().ws_col, 80);
}

/// VTIME with a clock: the terminal's timer wakes a reader that waits, and a reader that gave up leaves no trace.
#[test]
fn vtime_ends_a_read() {
    use core::pin::pin;
    use core::task::Waker;
    use std::time::{Duration, Instant};
    use vigil_executor::wait::{Register, WaitNode};
    let (line, tty) = setup();
    let wait_for_timer = |node: Option<core::pin::Pin<&WaitNode>>| {
        let end = Instant::now() + Duration::from_secs(10);
        let start = Instant::now();
        while Instant::now() < end {
            vigil_executor::arch::without_irqs(|| vigil_executor::timer::interrupt(vigil_executor::time::now()));
            match node {
                Some(node) if node.is_woken() => return,
                None if start.elapsed() > Duration::from_millis(200) => return,
                _ => std::thread::sleep(Duration::from_millis(5)),
            }
        }
        panic!("the timer did not wake the reader");
    };
    raw(tty, 0, 1);
    assert_eq!(read(tty, 10), None);
    {
        let node = pin!(WaitNode::new());
        // SAFETY: the queue is the terminal's, which lives for ever.
        unsafe { node.as_ref().register(tty.read_queue(), KEY_IN, Register::Shared, Some(Waker::noop())) };
        wait_for_timer(Some(node.as_ref()));
    }
    assert_eq!(read(tty, 10).unwrap(), b"", "the time is over");
    assert_eq!(read(tty, 10), None, "a new read has its own time");
    wait_for_timer(None);
    assert_eq!(read(tty, 10), None, "nobody waited when it ran out");
    type_in(line, b"a");
    assert_eq!(read(tty, 10).unwrap(), b"a");

    raw(tty, 3, 1);
    type_in(line, b"b");
    assert_eq!(read(tty, 10), None);
    {
        let node = pin!(WaitNode::new());
        // SAFETY: as above.
        unsafe { node.as_ref().register(tty.read_queue(), KEY_IN, Register::Shared, Some(Waker::noop())) };
        wait_for_timer(Some(node.as_ref()));
    }
    assert_eq!(read(tty, 10).unwrap(), b"b", "fewer than VMIN, but the pause was too long");
}
