//! Messages, and the queue of those that were not received yet.

use super::{UnixSocket, garbage};
use core::ptr::null_mut;
use vigil_abi::socket::Ucred;
use vigil_fs::File;
use vigil_mem::{KArc, KBox, KVec};

/// What a message costs its sender beside its bytes (Linux: the sk_buff and its shared info).
const OVERHEAD: usize = 768;

/// One message: a datagram, or what one write put into a stream.
pub struct Message {
    data: KVec<u8>,
    /// Bytes that were received already, of a stream.
    taken: usize,
    /// Descriptors that travel with it (SCM_RIGHTS); they go to whoever receives its first byte.
    pub files: KVec<KArc<File>>,
    /// Who sent it.
    pub cred: Ucred,
    /// Sender: its address, and the account that the message is on until it is gone.
    pub from: KArc<UnixSocket>,
    next: Option<KBox<Message>>,
}

impl Message {
    /// A message on the account of `from`.
    pub fn new(data: KVec<u8>, cred: Ucred, from: KArc<UnixSocket>) -> Message {
        from.charge(data.len() + OVERHEAD);
        Message { data, taken: 0, files: KVec::new(), cred, from, next: None }
    }

    /// Its bytes, to be filled.
    pub fn room(&mut self) -> &mut [u8] {
        &mut self.data
    }

    /// Bytes that are left.
    pub fn bytes(&self) -> &[u8] {
        &self.data[self.taken..]
    }

    /// `n` bytes were received.
    pub fn consume(&mut self, n: usize) {
        self.taken = self.data.len().min(self.taken + n);
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        drop(garbage::land(core::mem::take(&mut self.files)));
        self.from.uncharge(self.data.len() + OVERHEAD);
    }
}

/// First in, first out, of any length, without allocation.
pub struct Queue {
    first: Option<KBox<Message>>,
    /// The last message; null when there is none.
    last: *mut Message,
    len: usize,
}

// SAFETY: `last` points into the list that `first` owns.
unsafe impl Send for Queue {}

impl Queue {
    /// An empty queue.
    pub const fn new() -> Queue {
        Queue { first: None, last: null_mut(), len: 0 }
    }

    /// Messages in it.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The next to be received.
    pub fn front(&mut self) -> Option<&mut Message> {
        self.first.as_deref_mut()
    }

    /// All messages in order.
    pub fn iter(&self) -> impl Iterator<Item = &Message> {
        core::iter::successors(self.first.as_deref(), |m| m.next.as_deref())
    }

    /// Puts `message` at the end.
    pub fn push(&mut self, mut message: KBox<Message>) {
        let at: *mut Message = &mut *message;
        if self.last.is_null() {
            self.first = Some(message);
        } else {
            // SAFETY: `last` is the last message of the list, which is ours; nothing else borrows it here.
            unsafe { (*self.last).next = Some(message) };
        }
        self.last = at;
        self.len += 1;
    }

    /// Puts a message that was taken out back to where it was.
    pub fn push_front(&mut self, mut message: KBox<Message>) {
        if self.last.is_null() {
            self.last = &mut *message;
        }
        message.next = self.first.take();
        self.first = Some(message);
        self.len += 1;
    }

    /// Takes the next message out.
    pub fn pop(&mut self) -> Option<KBox<Message>> {
        let mut message = self.first.take()?;
        self.first = message.next.take();
        if self.first.is_none() {
            self.last = null_mut();
        }
        self.len -= 1;
        Some(message)
    }
}

impl Drop for Queue {
    /// One by one: a list that drops itself recurses over a length that a user chose.
    fn drop(&mut self) {
        while self.pop().is_some() {}
    }
}
