//! A split virtqueue (specification 2.7) in which each descriptor is a slot of its own: no chains.
//!
//! A slot belongs to the driver or, once submitted, to the device until [`Queue::pop`] returns it. `outstanding` is the
//! driver's own record of that; the descriptor table and the rings are written, never believed.
//!
//! ```text
//!   CPU                                    device
//!   desc[slot], ring[i] = slot             reads avail.idx
//!   avail.idx = i + 1      (Release)       reads ring[i], desc[slot]
//!   fence; reads used.flags                used.ring[j] = slot, len
//!   notify unless NO_NOTIFY                used.idx = j + 1
//! ```

use core::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering, fence};
use vigil_abi::Errno;
use vigil_mem::PAGE_SIZE;
use vigil_mem::page::Page;
use vigil_mem::page_alloc::{Gfp, alloc_pages, free_pages};

/// The most slots of a queue: one bit each in a word.
pub const MAX_SLOTS: u16 = 64;

const DESC_SIZE: usize = 16;
const DESC_F_WRITE: u64 = 2;
const AVAIL_F_NO_INTERRUPT: u16 = 1;
const USED_F_NO_NOTIFY: u16 = 1;

/// Whose turn it is to write a buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// The device reads it.
    ToDevice,
    /// The device writes it.
    FromDevice,
}

/// A virtqueue. Its owner's lock makes it one CPU's at a time.
#[derive(Debug)]
pub struct Queue {
    index: u16,
    size: u16,
    /// Two pages: descriptors and the available ring in the first, the used ring in the second, which is the layout
    /// that a legacy device wants as well.
    memory: &'static Page,
    /// Slots that the device has.
    outstanding: u64,
    /// What was submitted with each slot: the most that a device may say it has written.
    submitted: [u32; MAX_SLOTS as usize],
    next_avail: u16,
    next_used: u16,
}

/// Pages as a power of two.
const ORDER: usize = 1;

impl Queue {
    /// A queue of `size` slots, a power of two. Errors: EINVAL, ENOMEM.
    pub(super) fn new(index: u16, size: u16) -> Result<Queue, Errno> {
        if !size.is_power_of_two() {
            return Err(Errno::EINVAL);
        }
        let size = size.min(MAX_SLOTS);
        let memory = alloc_pages(ORDER, Gfp::KERNEL | Gfp::ZERO).ok_or(Errno::ENOMEM)?;
        let submitted = [0; MAX_SLOTS as usize];
        Ok(Queue { index, size, memory, outstanding: 0, submitted, next_avail: 0, next_used: 0 })
    }

    /// Its number.
    pub fn index(&self) -> u16 {
        self.index
    }

    /// How many slots it has.
    pub fn size(&self) -> u16 {
        self.size
    }

    /// Physical addresses of the descriptors, the available ring and the used ring.
    pub(super) fn addresses(&self) -> (u64, u64, u64) {
        let base = self.memory.phys().get() as u64;
        (base, base + self.avail_offset() as u64, base + PAGE_SIZE as u64)
    }

    fn avail_offset(&self) -> usize {
        usize::from(self.size) * DESC_SIZE
    }

    /// Part of the queue's memory at `offset`.
    fn at<T>(&self, offset: usize) -> &T
    where
        T: Atomic,
    {
        debug_assert!(offset + size_of::<T>() <= 2 * PAGE_SIZE && offset.is_multiple_of(size_of::<T>()));
        // SAFETY: the offsets are those of descriptors, rings and indices of a queue of at most 64 slots: within the
        // two pages, aligned. The device may write at any time, so all of it is accessed as atomics.
        unsafe { &*self.memory.virt().as_ptr::<T>().byte_add(offset) }
    }

    fn avail16(&self, offset: usize) -> &AtomicU16 {
        self.at(self.avail_offset() + offset)
    }

    /// A slot that the driver has, if there is one.
    pub fn free_slot(&self) -> Option<u16> {
        let slot = (!self.outstanding).trailing_zeros() as u16;
        (slot < self.size).then_some(slot)
    }

    /// Whether the device has slot `slot`.
    pub fn is_outstanding(&self, slot: u16) -> bool {
        slot < self.size && self.outstanding & 1 << slot != 0
    }

    /// Gives the device slot `slot` with the buffer of `len` bytes at `phys`. The caller notifies it afterwards if
    /// [`wants_notify`](Self::wants_notify). Errors: EBUSY when the device has the slot, EINVAL when there is none such.
    ///
    /// # Safety
    /// Until [`pop`](Self::pop) returns the slot, or the device is reset, the buffer stays allocated, and nobody but
    /// the device writes it; if it is [`Direction::FromDevice`], nobody has a reference to it.
    pub unsafe fn submit(&mut self, slot: u16, phys: u64, len: u32, direction: Direction) -> Result<(), Errno> {
        if slot >= self.size {
            return Err(Errno::EINVAL);
        }
        if self.is_outstanding(slot) {
            return Err(Errno::EBUSY);
        }
        let desc = usize::from(slot) * DESC_SIZE;
        let flags = if direction == Direction::FromDevice { DESC_F_WRITE } else { 0 };
        self.at::<AtomicU64>(desc).store(phys.to_le(), Ordering::Relaxed);
        self.at::<AtomicU64>(desc + 8).store((u64::from(len) | flags << 32).to_le(), Ordering::Relaxed);
        let position = usize::from(self.next_avail % self.size);
        self.avail16(4 + 2 * position).store(slot.to_le(), Ordering::Relaxed);
        self.next_avail = self.next_avail.wrapping_add(1);
        self.avail16(2).store(self.next_avail.to_le(), Ordering::Release);
        self.outstanding |= 1 << slot;
        if let Some(s) = self.submitted.get_mut(usize::from(slot)) {
            *s = len;
        }
        Ok(())
    }

    /// Whether the device wants to be told of what was submitted.
    pub fn wants_notify(&self) -> bool {
        // The index is written before the flags are read; the device does the opposite.
        fence(Ordering::SeqCst);
        u16::from_le(self.at::<AtomicU16>(PAGE_SIZE).load(Ordering::Relaxed)) & USED_F_NO_NOTIFY == 0
    }

    /// Whether the device has returned something that was not popped.
    pub fn has_used(&self) -> bool {
        u16::from_le(self.at::<AtomicU16>(PAGE_SIZE + 2).load(Ordering::Acquire)) != self.next_used
    }

    /// Takes back the next slot that the device is done with, and how many bytes it wrote: at most what was submitted.
    /// What the device returns without having it is skipped.
    pub fn pop(&mut self) -> Option<(u16, u32)> {
        // A device that runs ahead is followed no further than once around.
        for _ in 0..self.size {
            if !self.has_used() {
                return None;
            }
            let entry = PAGE_SIZE + 4 + 8 * usize::from(self.next_used % self.size);
            let id = u32::from_le(self.at::<AtomicU32>(entry).load(Ordering::Relaxed));
            let len = u32::from_le(self.at::<AtomicU32>(entry + 4).load(Ordering::Relaxed));
            self.next_used = self.next_used.wrapping_add(1);
            let Ok(slot) = u16::try_from(id) else { continue };
            if self.is_outstanding(slot) {
                self.outstanding &= !(1 << slot);
                let most = self.submitted.get(usize::from(slot)).copied().unwrap_or(0);
                return Some((slot, len.min(most)));
            }
        }
        None
    }

    /// Asks the device to interrupt, or not to, when it returns buffers. After switching on, look at
    /// [`has_used`](Self::has_used) again: what came before does not interrupt.
    pub fn set_interrupts(&mut self, on: bool) {
        let flags = if on { 0 } else { AVAIL_F_NO_INTERRUPT };
        self.avail16(0).store(flags.to_le(), Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Frees the queue of a device that was reset or has failed.
    pub(super) fn free(self) {
        free_pages(self.memory, ORDER);
    }
}

/// What the queue's memory is read and written as.
trait Atomic {}
impl Atomic for AtomicU16 {}
impl Atomic for AtomicU32 {}
impl Atomic for AtomicU64 {}
