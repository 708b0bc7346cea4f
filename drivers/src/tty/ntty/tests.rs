//! N_TTY against what a user sees on a Linux terminal: what is echoed, what is read, which signals are asked for.

use super::*;
use crate::tty::Condition;
use std::borrow::ToOwned;
use std::string::String;
use std::vec::Vec;

/// Types `text`; the union of what was asked for.
fn typed(tty: &mut NTty, text: &[u8]) -> Received {
    let mut all = Received::default();
    for &c in text {
        all.merge(tty.receive(c, Condition::Normal));
    }
    all
}

fn echoed(tty: &mut NTty) -> String {
    let bytes: Vec<u8> = core::iter::from_fn(|| tty.pending_echo().pop()).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn read(tty: &mut NTty, max: usize) -> Option<Vec<u8>> {
    let plan = tty.plan_read(max)?;
    let mut out = Vec::new();
    while out.len() < plan.copy {
        let piece = tty.piece(out.len(), plan.copy - out.len()).to_vec();
        out.extend(piece);
    }
    tty.consume(plan.drop);
    Some(out)
}

fn with(f: impl FnOnce(&mut vigil_abi::termios::Termios2)) -> NTty {
    let mut tty = NTty::try_new().unwrap();
    let mut termios = tty.settings().to_termios2();
    f(&mut termios);
    let _ = tty.set_settings(Settings::from_termios2(termios));
    tty
}

fn line(text: &[u8]) -> (String, Option<Vec<u8>>) {
    let mut tty = NTty::try_new().unwrap();
    let _ = typed(&mut tty, text);
    (echoed(&mut tty), read(&mut tty, 4096))
}

const RUB: &str = "\x08 \x08";

#[test]
fn lines_are_read_one_at_a_time_and_only_when_complete() {
    let mut tty = NTty::try_new().unwrap();
    assert!(!typed(&mut tty, b"one").wake_readers);
    assert_eq!(read(&mut tty, 10), None);
    assert_eq!(tty.readable(), 0);
    assert!(typed(&mut tty, b"\rtwo\n").wake_readers);
    assert_eq!(tty.readable(), 8);
    assert_eq!(read(&mut tty, 2).unwrap(), b"on");
    assert_eq!(read(&mut tty, 100).unwrap(), b"e\n");
    assert_eq!(read(&mut tty, 100).unwrap(), b"two\n");
    assert_eq!(echoed(&mut tty), "one\r\ntwo\r\n");
}

#[test]
fn end_of_file_ends_a_line_or_the_input() {
    let mut tty = NTty::try_new().unwrap();
    let _ = typed(&mut tty, b"abc\x04\x04");
    assert_eq!(tty.readable(), 3);
    assert_eq!(read(&mut tty, 100).unwrap(), b"abc");
    assert_eq!(read(&mut tty, 100).unwrap(), b"");
    assert_eq!(read(&mut tty, 100), None);
    // A mark right behind a full buffer belongs to that read: no empty read follows.
    let _ = typed(&mut tty, b"abc\x04");
    assert_eq!(read(&mut tty, 3).unwrap(), b"abc");
    assert_eq!(read(&mut tty, 3), None);
    assert_eq!(echoed(&mut tty), "abcabc");
}

#[test]
fn erase_takes_back_what_was_shown() {
    assert_eq!(line(b"ab\x7f\n"), ("ab".to_owned() + RUB + "\r\n", Some(b"a\n".to_vec())));
    assert_eq!(line(b"\x7f\n"), ("\r\n".to_owned(), Some(b"\n".to_vec())));
    assert_eq!(line(b"a\x01\x7f\n"), ("a^A".to_owned() + RUB + RUB + "\r\n", Some(b"a\n".to_vec())));
    // A tab goes back to where it began: from column 8 to 3.
    assert_eq!(line(b"abc\t\x7f\n"), ("abc\t\x08\x08\x08\x08\x08\r\n".to_owned(), Some(b"abc\n".to_vec())));
    assert_eq!(line(b"x\ta\t\x7f\n").0, "x\ta\t\x08\x08\x08\x08\x08\x08\x08\r\n");
}

#[test]
fn erasing_a_tab_counts_the_prompt_before_the_line() {
    let mut tty = NTty::try_new().unwrap();
    let mut out = [0; MAX_EXPANSION];
    for &c in b"$ " {
        tty.process_output(c, &mut out);
    }
    let _ = typed(&mut tty, b"a\t\x7f");
    assert_eq!(echoed(&mut tty), "a\t\x08\x08\x08\x08\x08");
}

#[test]
fn utf8_is_erased_by_character() {
    let mut tty = with(|t| t.c_iflag |= super::t::IUTF8);
    let _ = typed(&mut tty, "aé€\x7f\x7f\n".as_bytes());
    assert_eq!(echoed(&mut tty), "aé€".to_owned() + RUB + RUB + "\r\n");
    assert_eq!(read(&mut tty, 100).unwrap(), b"a\n");
}

#[test]
fn word_erase_and_kill() {
    assert_eq!(line(b"ls foo.bar  \x17\n").1.unwrap(), b"ls foo.\n");
    assert_eq!(line(b"ls foo_1\x17\x17\x17x\n").1.unwrap(), b"x\n");
    assert_eq!(line(b"abc\x15d\n"), ("abc".to_owned() + RUB + RUB + RUB + "d\r\n", Some(b"d\n".to_vec())));
    let mut tty = with(|t| t.c_lflag &= !super::t::ECHOKE);
    let _ = typed(&mut tty, b"abc\x15d\n");
    assert_eq!(echoed(&mut tty), "abc^U\r\nd\r\n");
    let mut tty = with(|t| t.c_lflag &= !super::t::ECHO);
    let _ = typed(&mut tty, b"abc\x15d\x7fe\n");
    assert_eq!((echoed(&mut tty), read(&mut tty, 9).unwrap()), (String::new(), b"e\n".to_vec()));
}

#[test]
fn print_erase_shows_what_is_taken() {
    let mut tty = with(|t| t.c_lflag |= super::t::ECHOPRT);
    let _ = typed(&mut tty, b"abc\x7f\x7fx\n");
    assert_eq!(echoed(&mut tty), "abc\\cb/x\r\n");
}

#[test]
fn literal_next_and_reprint() {
    assert_eq!(line(b"a\x16\x03b\n"), ("a^\x08^Cb\r\n".to_owned(), Some(b"a\x03b\n".to_vec())));
    assert_eq!(line(b"\x16\nb\n").1.unwrap(), b"\nb\n");
    assert_eq!(line(b"ab\x12c\n"), ("ab^R\r\nabc\r\n".to_owned(), Some(b"abc\n".to_vec())));
}

#[test]
fn signals_flush_and_are_echoed() {
    let mut tty = NTty::try_new().unwrap();
    let r = typed(&mut tty, b"abc\x03");
    assert!(r.interrupt() && r.flush_output && r.wake_readers && !r.quit());
    assert_eq!(echoed(&mut tty), "^C", "echoes before it are dropped");
    assert_eq!(read(&mut tty, 9), None);
    let r = typed(&mut tty, b"\x1c\x1a");
    assert!(r.quit() && r.suspend());
    let mut tty = with(|t| t.c_lflag |= super::t::NOFLSH);
    let r = typed(&mut tty, b"ab\x03c\n");
    assert!(r.interrupt() && !r.flush_output);
    assert_eq!(read(&mut tty, 9).unwrap(), b"abc\n");
    let mut tty = with(|t| t.c_lflag &= !super::t::ISIG);
    assert!(!typed(&mut tty, b"\x03\n").interrupt());
    assert_eq!(read(&mut tty, 9).unwrap(), b"\x03\n");
}

#[test]
fn input_maps() {
    use super::t::*;
    let raw = |iflag: u32, text: &[u8]| {
        let mut tty = with(|t| {
            t.c_iflag = iflag;
            t.c_lflag = 0;
        });
        assert!(typed(&mut tty, text).wake_readers);
        read(&mut tty, 100).unwrap()
    };
    assert_eq!(raw(ICRNL, b"a\rb\n"), b"a\nb\n");
    assert_eq!(raw(IGNCR | INLCR, b"a\rb\n"), b"ab\r");
    assert_eq!(raw(ISTRIP, b"\xe1"), b"a");
    assert_eq!(raw(PARMRK, b"\xffa"), b"\xff\xffa");
    assert_eq!(raw(IUCLC, b"AB"), b"AB", "IUCLC needs IEXTEN");
    assert_eq!(raw(0, b"\x03\x04\x11\x7f\0"), b"\x03\x04\x11\x7f\0");
}

#[test]
fn line_errors_and_breaks() {
    use super::t::*;
    let receive = |iflag: u32, c: Condition| {
        let mut tty = with(|t| {
            t.c_iflag = iflag;
            t.c_lflag = 0;
        });
        let r = tty.receive(b'x', c);
        (r.interrupt(), read(&mut tty, 9).unwrap_or_default())
    };
    assert_eq!(receive(BRKINT, Condition::Break), (true, b"".to_vec()));
    assert_eq!(receive(IGNBRK | BRKINT, Condition::Break), (false, b"".to_vec()));
    assert_eq!(receive(0, Condition::Break), (false, b"\0".to_vec()));
    assert_eq!(receive(PARMRK, Condition::Break), (false, b"\xff\0\0".to_vec()));
    assert_eq!(receive(0, Condition::Parity), (false, b"x".to_vec()));
    assert_eq!(receive(INPCK, Condition::Parity), (false, b"\0".to_vec()));
    assert_eq!(receive(INPCK | IGNPAR, Condition::Frame), (false, b"".to_vec()));
    assert_eq!(receive(INPCK | PARMRK, Condition::Parity), (false, b"\xff\0x".to_vec()));
}

#[test]
fn flow_control() {
    let mut tty = NTty::try_new().unwrap();
    assert!(typed(&mut tty, b"\x13").flow_changed);
    assert!(tty.is_stopped());
    let _ = typed(&mut tty, b"a");
    assert!(tty.is_stopped());
    let _ = typed(&mut tty, b"\x11");
    assert!(!tty.is_stopped());
    let mut tty = with(|t| t.c_iflag |= super::t::IXANY);
    let _ = typed(&mut tty, b"\x13a");
    assert!(!tty.is_stopped());
    tty.set_tco_stopped(true);
    let _ = typed(&mut tty, b"\x11");
    assert!(tty.is_stopped(), "START does not undo TCOOFF");
    tty.set_tco_stopped(false);
    let _ = typed(&mut tty, b"\x13");
    let _ = tty.set_settings(with(|t| t.c_iflag &= !super::t::IXON).settings);
    assert!(!tty.is_stopped(), "without IXON nothing could start it again");
}

#[test]
fn plain_stretches_come_out_as_their_bytes_would() {
    use super::t::*;
    let text = "plain, \u{e4}\ttab\x08\nline\r\x07end\t".as_bytes();
    for (oflag, iflag) in [(OPOST, 0), (OPOST | ONLCR, IUTF8), (OPOST | OLCUC, 0), (OPOST | XTABS, IUTF8)] {
        let fresh = || with(|t| (t.c_oflag, t.c_iflag) = (oflag, iflag));
        let (mut by_byte, mut by_stretch) = (fresh(), fresh());
        let (mut expected, mut got, mut one) = (Vec::new(), Vec::new(), [0; MAX_EXPANSION]);
        for &c in text {
            let n = by_byte.process_output(c, &mut one);
            expected.extend_from_slice(&one[..n]);
        }
        let mut rest = text;
        while let Some(&c) = rest.first() {
            let plain = by_stretch.pass_plain(rest);
            got.extend_from_slice(&rest[..plain]);
            if plain == 0 {
                let n = by_stretch.process_output(c, &mut one);
                got.extend_from_slice(&one[..n]);
            }
            rest = &rest[plain.max(1)..];
        }
        assert_eq!((got, by_stretch.column), (expected, by_byte.column), "{oflag:o}");
    }
}

#[test]
fn output_processing() {
    use super::t::*;
    let out = |oflag: u32, text: &[u8]| {
        let mut tty = with(|t| t.c_oflag = oflag);
        let mut all = Vec::new();
        let mut one = [0; MAX_EXPANSION];
        for &c in text {
            let n = tty.process_output(c, &mut one);
            all.extend_from_slice(&one[..n]);
        }
        String::from_utf8(all).unwrap()
    };
    assert_eq!(out(OPOST | ONLCR, b"a\nb\n"), "a\r\nb\r\n");
    assert_eq!(out(ONLCR, b"a\nb"), "a\nb", "nothing without OPOST");
    assert_eq!(out(OPOST | XTABS, b"ab\tc"), "ab      c");
    assert_eq!(out(OPOST | ONOCR, b"\ra\r"), "a\r");
    assert_eq!(out(OPOST | OCRNL, b"a\r"), "a\n");
    assert_eq!(out(OPOST | OLCUC, b"aB1"), "AB1");
}

#[test]
fn a_line_may_be_4095_long_and_still_ends() {
    let mut tty = NTty::try_new().unwrap();
    for _ in 0..5000 {
        assert!(tty.can_receive());
        let _ = typed(&mut tty, b"x");
    }
    let _ = typed(&mut tty, b"\n");
    let line = read(&mut tty, 8192).unwrap();
    assert_eq!((line.len(), line.last()), (4095, Some(&b'\n')));
    // Complete lines are never overwritten: the device keeps what comes then.
    while tty.can_receive() {
        let _ = typed(&mut tty, b"yyyyyyy\n");
    }
    assert!(tty.readable() > 4000);
    read(&mut tty, 100).unwrap();
    assert!(tty.can_receive());
}

#[test]
fn switching_modes_keeps_what_was_typed() {
    let mut tty = NTty::try_new().unwrap();
    let _ = typed(&mut tty, b"half");
    assert!(tty.set_settings(with(|t| t.c_lflag &= !super::t::ICANON).settings));
    assert_eq!(read(&mut tty, 2).unwrap(), b"ha");
    assert!(tty.set_settings(Settings::INITIAL));
    assert_eq!(read(&mut tty, 9).unwrap(), b"lf");
    let _ = typed(&mut tty, b"x\n");
    assert_eq!(read(&mut tty, 9).unwrap(), b"x\n");
}

#[test]
fn speeds() {
    use super::t::*;
    let speed = |cflag: u32, o: u32| {
        let mut t2 = Settings::INITIAL.to_termios2();
        (t2.c_cflag, t2.c_ospeed) = (cflag, o);
        Settings::from_termios2(t2).speed()
    };
    assert_eq!(speed(B9600, 1), 9600);
    assert_eq!(speed(B57600, 1), 57_600);
    assert_eq!(speed(B4000000, 1), 4_000_000);
    assert_eq!(speed(BOTHER, 31_250), 31_250);
    let mut s = Settings::INITIAL;
    s.set_speed(31_250);
    assert_eq!((s.cflag() & CBAUD, s.speed()), (BOTHER, 31_250));
}

proptest::proptest! {
    /// Any bytes under any settings: positions stay in order, and what is read was received.
    #[test]
    fn no_input_breaks_the_invariants(
        iflag in 0u32..0o200000, lflag in 0u32..0o1000000, oflag in 0u32..0o10,
        text in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..5000), reads in 1usize..500,
    ) {
        let mut tty = with(|t| (t.c_iflag, t.c_lflag, t.c_oflag) = (iflag, lflag, oflag));
        for (i, &c) in text.iter().enumerate() {
            let _ = tty.receive(c, Condition::Normal);
            proptest::prop_assert!(tty.count() < SIZE);
            proptest::prop_assert!(tty.readable() <= tty.count());
            if i % 97 == 0 {
                let _ = read(&mut tty, reads);
            }
            if i % 101 == 0 {
                tty.pending_echo().clear();
            }
        }
        let mut rounds = 0;
        while read(&mut tty, reads).is_some_and(|r| !r.is_empty() || tty.count() > 0) {
            rounds += 1;
            proptest::prop_assert!(rounds < 5000);
        }
    }
}
