//! The bytes in a pipe: a ring of pages, each with the part of it that is not read yet (Linux: struct pipe_buffer).
//!
//! A write goes on in the last page if there is room, else into new pages; a page that was read to its end is kept for
//! the next write. Copies to and from user memory happen under the pipe's spin lock, at most a page at a time: they are
//! copies with fix-up, which stop at a page that is not there and never wait.

use crate::cache::page::{self, PageExt, PageRef};
use vigil_abi::Errno;
use vigil_mem::buf::uaccess::copy_from_user;
use vigil_mem::{Fault, IoBuf, IoBufMut, KVec, PAGE_SIZE, UserRange};

/// Slots of a new pipe (Linux: PIPE_DEF_BUFFERS).
pub const DEFAULT_SLOTS: usize = 16;

struct Slot {
    page: PageRef,
    /// `page`'s address, which takes a few steps to find.
    addr: *mut u8,
    start: usize,
    len: usize,
    /// Its end is the end of a packet (O_DIRECT): nothing is added, and a read stops behind it.
    packet: bool,
}

impl Slot {
    #[inline]
    fn new(page: PageRef, len: usize, packet: bool) -> Slot {
        Slot { addr: page.addr(), page, start: 0, len, packet }
    }
}

// SAFETY: the address is that of the page, which belongs to the slot.
unsafe impl Send for Slot {}

/// The ring.
pub struct Ring {
    /// A power of two of slots. The first free one may still have the page that was read last, for the next write.
    slots: KVec<Option<Slot>>,
    /// Slots ever filled, and ever emptied: their difference is in use, the lower bits are places.
    head: usize,
    tail: usize,
    /// Pages kept for the next writes.
    spare: [Option<PageRef>; 2],
}

/// What one step of a copy did.
pub enum Step {
    /// Some bytes.
    Copied(usize),
    /// The rest of a packet: the read ends here.
    Packet,
    /// There is nothing to read, or no room to write.
    Stuck,
}

impl Ring {
    /// A ring of `slots` pages, a power of two. ENOMEM.
    pub fn try_new(slots: usize) -> Result<Ring, Errno> {
        let mut ring = Ring { slots: KVec::new(), head: 0, tail: 0, spare: [None, None] };
        ring.slots.try_reserve_exact(slots)?;
        for _ in 0..slots {
            let _ = ring.slots.push_reserved(None);
        }
        Ok(ring)
    }

    fn place(&self, at: usize) -> usize {
        at & (self.slots.len() - 1)
    }

    /// Slots in use.
    #[inline]
    pub fn used(&self) -> usize {
        self.head.wrapping_sub(self.tail)
    }

    /// Whether there is nothing to read.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.head == self.tail
    }

    /// Whether no slot is free.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.used() >= self.slots.len()
    }

    /// Slots in all.
    pub fn capacity(&self) -> usize {
        self.slots.len()
    }

    /// Bytes to read (FIONREAD).
    pub fn bytes(&self) -> usize {
        self.slots.iter().flatten().map(|slot| slot.len).sum()
    }

    /// Changes the number of slots, a power of two. EBUSY if more are in use, ENOMEM.
    pub fn resize(&mut self, slots: usize) -> Result<(), Errno> {
        if self.used() > slots {
            return Err(Errno::EBUSY);
        }
        let mut new = Ring::try_new(slots)?;
        while !self.is_empty() {
            let (from, to) = (self.place(self.tail), new.place(new.head));
            new.slots[to] = self.slots[from].take();
            self.tail = self.tail.wrapping_add(1);
            new.head = new.head.wrapping_add(1);
        }
        new.spare = core::mem::take(&mut self.spare);
        *self = new;
        Ok(())
    }

    /// The short way of a read from a ring that is not empty: one copy that fills the range or empties the ring. `None`,
    /// and nothing done, when it takes more than that.
    #[inline(always)]
    pub fn read_at_once(&mut self, to: UserRange) -> Option<usize> {
        let place = self.place(self.tail);
        let slot = self.slots.get_mut(place)?.as_mut()?;
        let n = slot.len.min(to.len());
        let empties = n == slot.len;
        if slot.packet || empties && (self.head.wrapping_sub(self.tail) != 1 || !slot.page.is_unique()) {
            return None;
        }
        // SAFETY: `start + len` is within the page, which the slot counts.
        if !unsafe { to.copy_out(slot.addr.wrapping_add(slot.start), n) } {
            return None;
        }
        slot.start = slot.start.wrapping_add(n);
        slot.len = slot.len.wrapping_sub(n);
        if empties {
            // The next write finds the page in its place.
            self.head = self.tail;
        }
        Some(n)
    }

    /// The short way of a write into an empty ring: all of it with one copy into the page that was read last. `None`, and
    /// nothing done, when it takes more than that.
    #[inline(always)]
    pub fn write_at_once(&mut self, from: UserRange, packet: bool) -> Option<usize> {
        let (place, n) = (self.place(self.head), from.len());
        let slot = self.slots.get_mut(place)?.as_mut()?;
        // SAFETY: a page has room for so many bytes, and nobody reads it.
        if n > PAGE_SIZE || !unsafe { from.copy_in(slot.addr, n) } {
            return None;
        }
        slot.start = 0;
        slot.len = n;
        slot.packet = packet;
        self.head = self.head.wrapping_add(1);
        Some(n)
    }

    /// Copies out of the first slot: what is asked for of it, or nothing, as what a fault divides would be lost to others.
    pub fn read(&mut self, buf: &mut IoBufMut<'_>) -> Result<Step, Fault> {
        if self.is_empty() {
            return Ok(Step::Stuck);
        }
        let place = self.place(self.tail);
        let Some(slot) = &mut self.slots[place] else { return Ok(Step::Stuck) };
        let n = slot.len.min(buf.remaining());
        // SAFETY: `start + len` is within the page, which the slot counts.
        let copied = unsafe { buf.copy_out_whole_raw(slot.addr.add(slot.start), n) }?;
        slot.start += copied;
        slot.len -= copied;
        let mut ends = false;
        // What a reader has no room for of a packet is lost.
        if slot.len == 0 || (slot.packet && copied == n) {
            if let Some(slot) = self.slots[place].take() {
                ends = slot.packet;
                self.keep(slot.page);
            }
            self.tail = self.tail.wrapping_add(1);
        }
        Ok(if ends { Step::Packet } else { Step::Copied(copied) })
    }

    /// Copies in, at most a page in all: first to the end of the last page, then into a new one. With `whole`, all of
    /// `buf` (at most a page) or nothing.
    pub fn write(&mut self, buf: &mut IoBuf<'_>, whole: bool, packet: bool) -> Result<Result<Step, Fault>, Errno> {
        let total = buf.remaining();
        let mut room = 0;
        let mut last = None;
        if !packet && !self.is_empty() {
            let place = self.place(self.head.wrapping_sub(1));
            if let Some(slot) = &self.slots[place]
                && !slot.packet
            {
                room = PAGE_SIZE - slot.start - slot.len;
                last = Some(place);
            }
        }
        let n = total.min(PAGE_SIZE);
        let merged = n.min(room);
        let needs_slot = merged < n;
        if needs_slot && self.is_full() && (whole || merged == 0) {
            return Ok(Ok(Step::Stuck));
        }
        let mut copied = 0;
        if let (Some(place), true) = (last, merged > 0)
            && let Some(slot) = &mut self.slots[place]
        {
            // SAFETY: `start + len + merged` is within the page, which the slot counts.
            let to = unsafe { slot.addr.add(slot.start + slot.len) };
            match copy_in(buf, to, merged, whole) {
                Ok(done) => copied = done,
                Err(fault) => return Ok(Err(fault)),
            }
            slot.len += copied;
            if copied < merged {
                return Ok(Ok(Step::Copied(copied)));
            }
        }
        if needs_slot && !self.is_full() {
            let place = self.place(self.head);
            let left = self.slots[place].take().map(|slot| slot.page);
            let page = match left.or_else(|| self.spare.iter_mut().find_map(Option::take)) {
                Some(page) => page,
                None => page::alloc(false)?,
            };
            let done = match copy_in(buf, page.addr(), n - merged, whole && copied == 0) {
                Ok(done) => done,
                Err(fault) => {
                    self.keep(page);
                    return Ok(if copied > 0 { Ok(Step::Copied(copied)) } else { Err(fault) });
                }
            };
            self.slots[place] = Some(Slot::new(page, done, packet));
            self.head = self.head.wrapping_add(1);
            copied += done;
        }
        Ok(Ok(Step::Copied(copied)))
    }

    /// Keeps a page for the next write, if it is nobody else's.
    #[inline]
    fn keep(&mut self, page: PageRef) {
        if page.is_unique()
            && let Some(free) = self.spare.iter_mut().find(|spare| spare.is_none())
        {
            *free = Some(page);
        }
    }
}

/// Copies `n` bytes to `to`; with `whole` all of them or none, as far as they are in one range of user memory.
#[inline]
fn copy_in(buf: &mut IoBuf<'_>, to: *mut u8, n: usize, whole: bool) -> Result<usize, Fault> {
    if whole
        && let Some(range) = buf.next_user_range()
        && range.len >= n
    {
        // SAFETY: the caller gives room for `n` bytes.
        let done = unsafe { copy_from_user(to, range.addr, n) };
        if done < n {
            return Err(Fault { addr: range.addr + done, write: false });
        }
        buf.skip(n);
        return Ok(n);
    }
    // SAFETY: as above.
    unsafe { buf.copy_in_raw(to, n) }
}
