//! The two ways in which user space reads the kernel log: `/dev/kmsg` records and syslog(2).
//!
//! Formats: Documentation/ABI/testing/dev-kmsg and syslog(2). Nothing here waits: the callers wait on their own queue,
//! which [`super::printk::set_notify`] wakes.

use super::console::write_time;
use super::printk::{self, LOG, Line};
use super::ring::{MAX_TEXT, Meta, Missing};
use core::fmt::Write;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use vigil_abi::Errno;

/// syslog(2)'s own position (SYSLOG_ACTION_READ).
static SYSLOG_SEQ: AtomicU64 = AtomicU64::new(0);
/// The first record after the last clear (SYSLOG_ACTION_CLEAR).
static CLEAR_SEQ: AtomicU64 = AtomicU64::new(0);

/// A record in `/dev/kmsg`'s form is at most this long: each byte of the text may become four.
pub const KMSG_MAX: usize = 4 * MAX_TEXT + 64;

/// The position of one opened `/dev/kmsg`.
#[derive(Clone, Debug)]
pub struct Reader {
    seq: u64,
}

impl Reader {
    /// At the oldest record.
    pub fn new() -> Self {
        Reader { seq: LOG.oldest() }
    }

    /// Writes the next record to `out` and steps over it. EAGAIN: there is none yet. EPIPE: records were overwritten, the
    /// position is now at the oldest. EINVAL: `out` is too small, the position stays.
    pub fn read(&mut self, out: &mut [u8]) -> Result<usize, Errno> {
        let mut text = [0; MAX_TEXT];
        match LOG.read(self.seq, &mut text) {
            Err(Missing::NotYet) => Err(Errno::EAGAIN),
            Err(Missing::Lost(next)) => {
                self.seq = next;
                Err(Errno::EPIPE)
            }
            Ok(meta) => {
                let n = format_kmsg(self.seq, &meta, &text[..meta.len as usize], out)?;
                self.seq += 1;
                Ok(n)
            }
        }
    }

    /// lseek(2) with offset 0: SEEK_SET (0) to the oldest, SEEK_DATA (3) behind the last clear, SEEK_END (2) behind the newest.
    /// Other offsets: ESPIPE; others whences: EINVAL.
    pub fn seek(&mut self, offset: i64, whence: u32) -> Result<u64, Errno> {
        if offset != 0 {
            return Err(Errno::ESPIPE);
        }
        self.seq = match whence {
            0 => LOG.oldest(),
            3 => CLEAR_SEQ.load(Relaxed).max(LOG.oldest()),
            2 => LOG.next(),
            _ => return Err(Errno::EINVAL),
        };
        Ok(0)
    }

    /// Whether a read would not answer EAGAIN (poll's POLLIN), and whether records were lost (POLLERR | POLLPRI).
    pub fn poll(&self) -> (bool, bool) {
        let mut text = [0; MAX_TEXT];
        match LOG.read(self.seq, &mut text) {
            Ok(_) => (true, false),
            Err(Missing::Lost(_)) => (true, true),
            Err(Missing::NotYet) => (false, false),
        }
    }
}

impl Default for Reader {
    fn default() -> Self {
        Self::new()
    }
}

/// A write(2) to `/dev/kmsg`: `<pri>text`, facility user and level 4 when there is no number. Facility 0 is not for users.
pub fn write_user(bytes: &[u8]) {
    let (mut level, mut facility, mut text) = (4u8, 1u8, bytes);
    if let [b'<', rest @ ..] = bytes {
        if let Some(end) = rest.iter().take(5).position(|b| *b == b'>') {
            let digits = &rest[..end];
            if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) {
                let pri = digits.iter().fold(0u32, |v, d| v.wrapping_mul(10).wrapping_add(u32::from(d - b'0')));
                level = (pri & 7) as u8;
                facility = if pri >> 3 == 0 { 1 } else { (pri >> 3) as u8 };
                text = &rest[end + 1..];
            }
        }
    }
    printk::store(level, facility, text);
}

/// A cursor over a byte slice that counts what does not fit.
struct Out<'a> {
    buf: &'a mut [u8],
    len: usize,
}

impl Out<'_> {
    fn put(&mut self, b: u8) {
        if let Some(slot) = self.buf.get_mut(self.len) {
            *slot = b;
        }
        self.len += 1;
    }
}

impl Write for Out<'_> {
    fn write_str(&mut self, s: &str) -> core::fmt::Result {
        s.bytes().for_each(|b| self.put(b));
        Ok(())
    }
}

/// `pri,seq,microseconds,-;text\n`, with bytes outside printable ASCII and backslashes as `\xNN`.
fn format_kmsg(seq: u64, meta: &Meta, text: &[u8], out: &mut [u8]) -> Result<usize, Errno> {
    let mut o = Out { buf: out, len: 0 };
    let pri = u32::from(meta.facility) << 3 | u32::from(meta.level);
    // `Out` never fails; it counts.
    let _ = write!(o, "{pri},{seq},{},-;", meta.time / 1000);
    for b in text {
        if (32..127).contains(b) && *b != b'\\' {
            o.put(*b);
        } else {
            let _ = write!(o, "\\x{b:02x}");
        }
    }
    o.put(b'\n');
    if o.len > o.buf.len() { Err(Errno::EINVAL) } else { Ok(o.len) }
}

/// The longest line that [`format_line`] makes of a record without newlines.
const LINE_PREFIX: usize = 32;

/// `<pri>[    1.234567] text\n` for each line of the record; returns how long it is, which may exceed `out`.
fn format_line(meta: &Meta, text: &[u8], out: &mut [u8]) -> usize {
    let mut o = Out { buf: out, len: 0 };
    let pri = u32::from(meta.facility) << 3 | u32::from(meta.level);
    for part in text.split(|b| *b == b'\n') {
        let mut time = Line::new();
        // Neither writer fails.
        let _ = write!(o, "<{pri}>");
        let _ = write_time(&mut time, meta.time);
        time.bytes().iter().chain(part).for_each(|b| o.put(*b));
        o.put(b'\n');
    }
    o.len
}

/// SYSLOG_ACTION_READ: fills `out` with whole lines and steps over them; 0 when there is nothing new (the caller waits).
pub fn syslog_read(out: &mut [u8]) -> usize {
    let seq = SYSLOG_SEQ.load(Relaxed);
    let (n, next) = collect(seq, out);
    SYSLOG_SEQ.store(next, Relaxed);
    n
}

/// SYSLOG_ACTION_SIZE_UNREAD: bytes that [`syslog_read`] would give with an endless buffer.
pub fn syslog_unread() -> usize {
    measure(SYSLOG_SEQ.load(Relaxed))
}

/// SYSLOG_ACTION_SIZE_BUFFER.
pub fn syslog_buffer_size() -> usize {
    LOG.capacity()
}

/// SYSLOG_ACTION_CLEAR.
pub fn syslog_clear() {
    CLEAR_SEQ.store(LOG.next(), Relaxed);
}

/// SYSLOG_ACTION_READ_ALL (and READ_CLEAR): the newest lines since the last clear that fit in `out`.
pub fn syslog_read_all(out: &mut [u8], clear: bool) -> usize {
    let mut seq = CLEAR_SEQ.load(Relaxed).max(LOG.oldest());
    let end = LOG.next();
    let mut total = measure(seq);
    let mut text = [0; MAX_TEXT];
    while total > out.len() && seq < end {
        if let Ok(meta) = LOG.read(seq, &mut text) {
            total = total.saturating_sub(format_line(&meta, &text[..meta.len as usize], &mut []));
        }
        seq += 1;
    }
    let (n, _) = collect(seq, out);
    if clear {
        CLEAR_SEQ.store(end, Relaxed);
    }
    n
}

/// Whole records from `seq` on as lines, as many as fit; returns bytes and the first record that did not fit.
fn collect(mut seq: u64, out: &mut [u8]) -> (usize, u64) {
    let mut text = [0; MAX_TEXT];
    let mut n = 0;
    loop {
        match LOG.read(seq, &mut text) {
            Err(Missing::NotYet) => return (n, seq),
            Err(Missing::Lost(next)) => seq = next,
            Ok(meta) => {
                let used = format_line(&meta, &text[..meta.len as usize], &mut out[n..]);
                if n + used > out.len() {
                    if n != 0 || out.len() < LINE_PREFIX {
                        return (n, seq);
                    }
                    // A buffer smaller than the first record gets its beginning, as a short read.
                    return (out.len(), seq + 1);
                }
                n += used;
                seq += 1;
            }
        }
    }
}

fn measure(mut seq: u64) -> usize {
    let mut text = [0; MAX_TEXT];
    let mut n = 0usize;
    loop {
        match LOG.read(seq, &mut text) {
            Err(Missing::NotYet) => return n,
            Err(Missing::Lost(next)) => seq = next,
            Ok(meta) => {
                n = n.saturating_add(format_line(&meta, &text[..meta.len as usize], &mut []));
                seq += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;

    fn meta(time: u64) -> Meta {
        Meta { time, level: 6, facility: 0, cpu: 0, len: 0 }
    }

    #[test]
    fn kmsg_records_look_like_linux_s() {
        let mut out = [0; 100];
        let n = format_kmsg(339, &meta(5_140_900_123), b"NET: a\\b\n\xff", &mut out).unwrap();
        assert_eq!(core::str::from_utf8(&out[..n]).unwrap(), "6,339,5140900,-;NET: a\\x5cb\\x0a\\xff\n");
        assert_eq!(format_kmsg(339, &meta(0), &[b'x'; 90], &mut out), Err(Errno::EINVAL));
    }

    #[test]
    fn syslog_lines_look_like_linux_s() {
        let mut out = [0; 100];
        let n = format_line(&meta(1_234_567_899), b"one\ntwo", &mut out);
        assert_eq!(core::str::from_utf8(&out[..n]).unwrap(), "<6>[    1.234567] one\n<6>[    1.234567] two\n");
    }

    #[test]
    fn what_is_written_is_read_by_every_reader_and_kept_by_syslog() {
        let mut a = Reader::new();
        a.seek(0, 2).unwrap();
        assert_eq!(a.read(&mut [0; 10]), Err(Errno::EAGAIN));
        write_user(b"<12>hello from user\n");
        crate::pr_warn!("value {}", 42);
        let mut out = [0; KMSG_MAX];
        let mut lines = String::new();
        while let Ok(n) = a.read(&mut out) {
            lines.push_str(core::str::from_utf8(&out[..n]).unwrap());
        }
        assert!(lines.contains("-;hello from user\n") && lines.contains("12,"), "{lines}");
        assert!(lines.contains("-;value 42\n"), "{lines}");
        let mut all = std::vec![0; 1 << 16];
        let n = syslog_read_all(&mut all, false);
        assert!(core::str::from_utf8(&all[..n]).unwrap().contains("] value 42\n"));
        // A small buffer gets the newest lines.
        let n = syslog_read_all(&mut all[..120], false);
        assert!(n > 0 && core::str::from_utf8(&all[..n]).unwrap().contains('\n'));
        assert_eq!(a.seek(1, 0), Err(Errno::ESPIPE));
    }
}
