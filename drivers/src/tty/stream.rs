//! A terminal as a stream: reading and writing without waiting, and poll.

use super::Tty;
use super::ntty::{MAX_EXPANSION, NTty};
use crate::char::{CharStream, KEY_IN, KEY_OUT, Stop};
use vigil_abi::poll::{POLLERR, POLLHUP, POLLIN, POLLOUT, POLLRDNORM, POLLWRNORM};
use vigil_abi::termios as t;
use vigil_executor::wait::WaitQueue;
use vigil_mem::{IoBuf, IoBufMut};

/// Output is taken in pieces that become no more than so many bytes, each under the lock in one go.
const PIECE: usize = 64;
/// Below so many bytes in the device a terminal is writable (Linux: WAKEUP_CHARS).
pub(crate) const WAKEUP_CHARS: usize = 256;

impl Tty {
    /// How many bytes a read that is not canonical waits for: VMIN, or 1 where VTIME decides.
    fn wanted(ldisc: &NTty) -> usize {
        if ldisc.settings().cc(t::VTIME) == 0 { usize::from(ldisc.settings().cc(t::VMIN)).max(1) } else { 1 }
    }

    /// Whether a read of `max` bytes must wait, when it is not canonical and `count` bytes are there (termios(3),
    /// "noncanonical mode").
    fn must_wait(&self, ldisc: &NTty, count: usize, max: usize) -> bool {
        let (min, time) = (usize::from(ldisc.settings().cc(t::VMIN)), ldisc.settings().cc(t::VTIME));
        if count >= min.min(max) && (count != 0 || min == 0 && time == 0) {
            return false;
        }
        match (min, time) {
            (_, 0) => true,
            (0, time) => !self.vtime_is_over(time, 0),
            // The clock runs between bytes: not before the first.
            (_, time) => count == 0 || !self.vtime_is_over(time, count),
        }
    }

    fn read_locked<'a>(&'a self, ldisc: &mut NTty, buf: &mut IoBufMut<'_>) -> Result<usize, Stop<'a>> {
        let canonical = ldisc.settings().lflag() & (t::ICANON | t::EXTPROC) == t::ICANON;
        let plan = ldisc.plan_read(buf.remaining());
        if !canonical && self.must_wait(ldisc, plan.map_or(0, |p| p.copy), buf.remaining()) {
            return Err(Stop::Wait(&self.read_wait, KEY_IN));
        }
        let Some(plan) = plan else {
            if canonical {
                return Err(Stop::Wait(&self.read_wait, KEY_IN));
            }
            self.vtime_reset();
            return Ok(0);
        };
        let mut copied = 0;
        while copied < plan.copy {
            let piece = ldisc.piece(copied, plan.copy - copied);
            let (n, whole) = match buf.copy_out(piece) {
                Ok(n) => (n, n == piece.len()),
                Err(fault) if copied == 0 => return Err(Stop::Fault(fault)),
                Err(_) => (0, false),
            };
            copied += n;
            if !whole {
                // The rest stays for the next read, a mark of the end as well.
                ldisc.consume(copied);
                return Ok(copied);
            }
        }
        ldisc.consume(plan.drop);
        self.vtime_reset();
        Ok(copied)
    }

    /// Takes one piece of `buf`; `None` when there is no room now.
    fn write_piece(&self, ldisc: &mut NTty, buf: &mut IoBuf<'_>) -> Option<Result<usize, Stop<'static>>> {
        if !self.push_echo(ldisc) || ldisc.is_stopped() {
            return None;
        }
        let mut piece = [0; PIECE];
        let take = (self.driver.write_room().min(PIECE) / ldisc.expansion()).min(buf.remaining());
        if take == 0 {
            return None;
        }
        let n = match buf.copy_in(&mut piece[..take]) {
            Ok(n) => n,
            Err(fault) => return Some(Err(Stop::Fault(fault))),
        };
        let bytes = &piece[..n];
        if ldisc.output_is_raw() {
            self.driver.write(bytes);
            return Some(Ok(n));
        }
        let mut out = [0; PIECE + MAX_EXPANSION];
        let mut used = 0;
        let mut one = [0; MAX_EXPANSION];
        let mut rest = bytes;
        while let Some(&c) = rest.first() {
            let plain = ldisc.pass_plain(&rest[..rest.len().min(PIECE - used)]);
            let (len, consumed) = if plain == 0 { (ldisc.process_output(c, &mut one), 1) } else { (plain, plain) };
            let new = if plain == 0 { &one[..len] } else { &rest[..plain] };
            out[used..used + len].copy_from_slice(new);
            used += len;
            rest = &rest[consumed..];
            if used >= PIECE {
                self.driver.write(&out[..used]);
                used = 0;
            }
        }
        if used != 0 {
            self.driver.write(&out[..used]);
        }
        Some(Ok(n))
    }

    /// Whether everything that was written has left for the device's line (tcdrain, TCSETSW): `Ok`, or what to wait
    /// for. Errors: EIO after a hang-up.
    pub fn try_drain(&self) -> Result<(), Stop<'_>> {
        self.check()?;
        let mut ldisc = self.ldisc.lock_bh();
        let drained = self.push_echo(&mut ldisc) && self.driver.chars_in_buffer() == 0;
        if drained { Ok(()) } else { Err(Stop::Wait(&self.write_wait, KEY_OUT)) }
    }
}

impl CharStream for Tty {
    /// Reads as the settings say: a line, or what VMIN and VTIME ask for. A hung-up terminal reads as ended.
    /// Job control (SIGTTIN) is the caller's.
    fn try_read<'a>(&'a self, buf: &mut IoBufMut<'_>) -> Result<usize, Stop<'a>> {
        self.flush_input();
        if self.is_hung_up() {
            return Ok(0);
        }
        let mut ldisc = self.ldisc.lock_bh();
        let result = self.read_locked(&mut ldisc, buf);
        drop(ldisc);
        if result.is_ok() {
            // The device may have kept characters for which there was no room.
            self.flush_input();
        }
        result
    }

    /// Writes through OPOST. Job control (TOSTOP, SIGTTOU) is the caller's. Errors: EIO after a hang-up.
    fn try_write<'a>(&'a self, buf: &mut IoBuf<'_>) -> Result<usize, Stop<'a>> {
        self.check()?;
        let mut written = 0;
        while !buf.is_empty() {
            let mut ldisc = self.ldisc.lock_bh();
            match self.write_piece(&mut ldisc, buf) {
                Some(Ok(n)) => written += n,
                Some(Err(stop)) if written == 0 => return Err(stop),
                None if written == 0 => return Err(Stop::Wait(&self.write_wait, KEY_OUT)),
                Some(Err(_)) | None => break,
            }
        }
        Ok(written)
    }

    fn poll(&self) -> u32 {
        self.flush_input();
        if self.is_hung_up() {
            return POLLIN | POLLRDNORM | POLLOUT | POLLWRNORM | POLLERR | POLLHUP;
        }
        let ldisc = self.ldisc.lock_bh();
        let mut events = 0;
        if ldisc.input_available(Self::wanted(&ldisc)) {
            events |= POLLIN | POLLRDNORM;
        }
        if self.driver.chars_in_buffer() < WAKEUP_CHARS && self.driver.write_room() > 0 {
            events |= POLLOUT | POLLWRNORM;
        }
        events
    }

    fn read_queue(&self) -> &WaitQueue {
        &self.read_wait
    }

    fn write_queue(&self) -> &WaitQueue {
        &self.write_wait
    }
}
