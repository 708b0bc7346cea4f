//! A message queue and those who wait for a message or for room.

use super::MSGMNB;
use crate::ipc::hand::Hand;
use crate::ipc::payload::Payload;
use crate::ipc::sysv::perm::{Perm, READ, WRITE};
use crate::ipc::sysv::seconds;
use crate::task::thread::Thread;
use crate::time::until::Until;
use core::sync::atomic::Ordering::Relaxed;
use vigil_abi::Errno;
use vigil_executor::lock_class;
use vigil_executor::sync::{SpinGuard, SpinLock};
use vigil_executor::wait::{WaitMode, WaitQueue};
use vigil_executor::wait_site;
use vigil_mem::{KArc, KBox, KVec};

/// A message.
pub struct Message {
    /// Its type, above 0.
    pub kind: i64,
    /// Its bytes.
    pub payload: Payload,
    /// The next one of those that came back.
    next: Option<KBox<Message>>,
}

impl Message {
    /// A message of type `kind`.
    pub const fn new(kind: i64, payload: Payload) -> Message {
        Message { kind, payload, next: None }
    }
}

/// Which message is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wanted {
    /// The first.
    Any,
    /// The first of this type.
    Equal(i64),
    /// The first of another type.
    NotEqual(i64),
    /// The first of the lowest type that is no higher.
    LessEqual(i64),
}

impl Wanted {
    fn matches(self, kind: i64) -> bool {
        match self {
            Wanted::Any => true,
            Wanted::Equal(wanted) => kind == wanted,
            Wanted::NotEqual(other) => kind != other,
            Wanted::LessEqual(highest) => kind <= highest,
        }
    }
}

/// How a message is received.
#[derive(Clone, Copy)]
pub struct Reception {
    /// Which one.
    pub wanted: Wanted,
    /// Bytes that there is room for.
    pub room: usize,
    /// A longer one is cut (MSG_NOERROR), rather than E2BIG.
    pub cuts: bool,
    /// ENOMSG rather than to wait (IPC_NOWAIT).
    pub at_once: bool,
}

struct Receiver {
    reception: Reception,
    pid: u32,
    hand: Hand<Result<KBox<Message>, Errno>>,
}

/// What the lock of a queue guards.
pub struct State {
    messages: KVec<KBox<Message>>,
    /// Messages that were handed to somebody who did not take them: they come before the others.
    returned: Option<KBox<Message>>,
    /// Bytes and number of all messages.
    pub bytes: usize,
    /// See `bytes`.
    pub count: usize,
    /// Bytes that there may be.
    pub most: usize,
    receivers: KVec<KArc<Receiver>>,
    /// Processes that sent and received last, and when.
    pub sender: u32,
    /// See `sender`.
    pub receiver: u32,
    /// See `sender`.
    pub stime: i64,
    /// See `sender`.
    pub rtime: i64,
    /// When it was made or changed.
    pub ctime: i64,
    removed: bool,
}

impl Drop for State {
    fn drop(&mut self) {
        while let Some(mut message) = self.returned.take() {
            self.returned = message.next.take();
        }
    }
}

/// A message queue.
pub struct Queue {
    /// Whose it is.
    pub perm: Perm,
    state: SpinLock<State>,
    /// Who waits for room.
    room: WaitQueue,
}

impl State {
    /// Takes the message that is wanted; E2BIG when it is too long.
    fn take(&mut self, reception: &Reception) -> Result<Option<KBox<Message>>, Errno> {
        let too_long = |message: &Message| message.payload.len() > reception.room && !reception.cuts;
        let mut back = &mut self.returned;
        while back.as_ref().is_some_and(|m| !reception.wanted.matches(m.kind)) {
            let Some(other) = back else { break };
            back = &mut other.next;
        }
        if back.as_ref().is_some_and(|m| too_long(m)) {
            return Err(Errno::E2BIG);
        }
        if let Some(mut message) = back.take() {
            *back = message.next.take();
            return Ok(Some(message));
        }
        let mut found: Option<(usize, i64)> = None;
        for (at, message) in self.messages.iter().enumerate() {
            let better = found.is_none_or(|(_, kind)| message.kind < kind);
            if reception.wanted.matches(message.kind) && better {
                found = Some((at, message.kind));
                if !matches!(reception.wanted, Wanted::LessEqual(_)) || message.kind == 1 {
                    break;
                }
            }
        }
        let Some((at, _)) = found else { return Ok(None) };
        if too_long(&self.messages[at]) {
            return Err(Errno::E2BIG);
        }
        Ok(self.messages.remove(at))
    }

    /// Gives a message to the first who wants it, or gives it back.
    fn hand_over(&mut self, message: KBox<Message>) -> Result<(), KBox<Message>> {
        let mut at = 0;
        while let Some(receiver) = self.receivers.get(at) {
            let reception = receiver.reception;
            if !reception.wanted.matches(message.kind) {
                at += 1;
                continue;
            }
            let Some(receiver) = self.receivers.remove(at) else { break };
            if message.payload.len() > reception.room && !reception.cuts {
                receiver.hand.give(Err(Errno::E2BIG));
                continue;
            }
            (self.receiver, self.rtime) = (receiver.pid, seconds());
            receiver.hand.give(Ok(message));
            return Ok(());
        }
        Err(message)
    }
}

impl Queue {
    /// An empty queue.
    pub(super) fn new(thread: &Thread, key: i32, flags: u32) -> Result<Queue, Errno> {
        let state = State {
            messages: KVec::new(),
            returned: None,
            bytes: 0,
            count: 0,
            most: usize::try_from(MSGMNB.load(Relaxed)).unwrap_or(0),
            receivers: KVec::new(),
            sender: 0,
            receiver: 0,
            stime: 0,
            rtime: 0,
            ctime: seconds(),
            removed: false,
        };
        let state = SpinLock::new(lock_class!("msg_queue"), state);
        Ok(Queue { perm: Perm::new(thread, key, flags)?, state, room: WaitQueue::new() })
    }

    /// Its state. EIDRM when it was removed.
    pub fn lock(&self) -> Result<SpinGuard<'_, State>, Errno> {
        let state = self.state.lock();
        if state.removed { Err(Errno::EIDRM) } else { Ok(state) }
    }

    /// Its limit or its rights have changed, or there is room: who waits looks again (Linux: ss_wakeup).
    pub fn wake_senders(&self) {
        self.room.wake_all();
    }

    /// Its rights have changed: who waits to receive looks again (Linux: expunge_all with EAGAIN).
    pub fn wake_receivers(&self) {
        let mut state = self.state.lock();
        let receivers = core::mem::take(&mut state.receivers);
        for receiver in receivers.iter() {
            receiver.hand.give(Err(Errno::EAGAIN));
        }
        drop(state);
        drop(receivers);
    }

    /// IPC_RMID. The caller takes it out of the table. EIDRM.
    pub fn kill(&self) -> Result<(), Errno> {
        let mut state = self.lock()?;
        state.removed = true;
        let gone = (core::mem::take(&mut state.messages), core::mem::take(&mut state.receivers));
        for receiver in gone.1.iter() {
            receiver.hand.give(Err(Errno::EIDRM));
        }
        drop(state);
        self.room.wake_all();
        drop(gone);
        Ok(())
    }

    /// Sends if there is room; `Ok(Some)`: there is none. EACCES, EIDRM, ENOMEM.
    fn try_send(&self, thread: &Thread, message: KBox<Message>) -> Result<Option<KBox<Message>>, Errno> {
        self.perm.check(thread, WRITE)?;
        let mut state = self.lock()?;
        let len = message.payload.len();
        if state.bytes + len > state.most || state.count >= state.most {
            return Ok(Some(message));
        }
        state.messages.try_reserve(1)?;
        (state.sender, state.stime) = (thread.process.pid, seconds());
        if let Err(message) = state.hand_over(message) {
            let _ = state.messages.push_reserved(message);
            state.bytes += len;
            state.count += 1;
        }
        Ok(None)
    }

    /// msgsnd(2), with checked arguments. EACCES, EIDRM, EAGAIN, ENOMEM, EINTR.
    pub async fn send(&self, thread: &Thread, message: KBox<Message>, at_once: bool) -> Result<(), Errno> {
        let Some(message) = self.try_send(thread, message)? else { return Ok(()) };
        if at_once {
            return Err(Errno::EAGAIN);
        }
        let mut waiting = Some(message);
        let attempt = || {
            let message = waiting.take()?;
            match self.try_send(thread, message) {
                Ok(None) => Some(Ok(())),
                Ok(Some(message)) => {
                    waiting = Some(message);
                    None
                }
                Err(e) => Some(Err(e)),
            }
        };
        match self.room.wait_until(wait_site!("do_msgsnd"), WaitMode::Interruptible, attempt).await {
            Ok(result) => result,
            Err(_) => Err(Errno::ERESTARTNOHAND),
        }
    }

    /// Receives if the message is there. EACCES, EIDRM, E2BIG.
    fn try_receive(&self, thread: &Thread, reception: &Reception) -> Result<Option<KBox<Message>>, Errno> {
        self.perm.check(thread, READ)?;
        let mut state = self.lock()?;
        let Some(message) = state.take(reception)? else { return Ok(None) };
        state.bytes -= message.payload.len();
        state.count -= 1;
        (state.receiver, state.rtime) = (thread.process.pid, seconds());
        drop(state);
        self.wake_senders();
        Ok(Some(message))
    }

    /// msgrcv(2), with checked arguments. EACCES, EIDRM, E2BIG, ENOMSG, ENOMEM, EINTR.
    pub async fn receive(&self, thread: &Thread, reception: Reception) -> Result<KBox<Message>, Errno> {
        loop {
            if let Some(message) = self.try_receive(thread, &reception)? {
                return Ok(message);
            }
            if reception.at_once {
                return Err(Errno::ENOMSG);
            }
            let receiver = KArc::try_new(Receiver { reception, pid: thread.process.pid, hand: Hand::new() })?;
            {
                let mut state = self.lock()?;
                // What came since the look above.
                if let Some(message) = state.take(&reception)? {
                    state.bytes -= message.payload.len();
                    state.count -= 1;
                    (state.receiver, state.rtime) = (thread.process.pid, seconds());
                    drop(state);
                    self.wake_senders();
                    return Ok(message);
                }
                state.receivers.try_push(receiver.clone())?;
            }
            let waiting = Receiving { queue: self, receiver };
            let result = match waiting.receiver.hand.wait(wait_site!("do_msgrcv"), Until::Endless, 0).await {
                Ok(result) => result,
                Err(_) => waiting.leave().unwrap_or(Err(Errno::ERESTARTNOHAND)),
            };
            if !matches!(result, Err(Errno::EAGAIN)) {
                return result;
            }
        }
    }

    /// MSG_COPY: a copy of the `number`-th message. ENOMSG, E2BIG, EINVAL when it is longer than there is room, EACCES, EIDRM, ENOMEM.
    pub fn copy(&self, thread: &Thread, number: i64, reception: &Reception) -> Result<KBox<Message>, Errno> {
        self.perm.check(thread, READ)?;
        let state = self.lock()?;
        let mut number = usize::try_from(number).map_err(|_| Errno::ENOMSG)?;
        let mut found = state.returned.as_deref();
        while let Some(message) = found.filter(|_| number > 0) {
            number -= 1;
            found = message.next.as_deref();
        }
        let message = found.or_else(|| state.messages.get(number).map(|m| &**m)).ok_or(Errno::ENOMSG)?;
        if message.payload.len() > reception.room {
            return Err(if reception.cuts { Errno::EINVAL } else { Errno::E2BIG });
        }
        Ok(KBox::try_new(Message::new(message.kind, message.payload.try_clone()?))?)
    }

    /// A message that was handed to somebody who is not there any more.
    fn give_back(&self, message: KBox<Message>) {
        let Ok(mut state) = self.lock() else { return };
        if let Err(mut message) = state.hand_over(message) {
            state.bytes += message.payload.len();
            state.count += 1;
            message.next = state.returned.take();
            state.returned = Some(message);
        }
    }
}

/// A receiver in the queue's list.
struct Receiving<'q> {
    queue: &'q Queue,
    receiver: KArc<Receiver>,
}

impl Receiving<'_> {
    /// Leaves the list; what it was given.
    fn leave(&self) -> Option<Result<KBox<Message>, Errno>> {
        let mut state = self.queue.state.lock();
        let at = state.receivers.iter().position(|other| KArc::ptr_eq(other, &self.receiver));
        let gone = at.and_then(|at| state.receivers.remove(at));
        drop(state);
        drop(gone);
        self.receiver.hand.take()
    }
}

impl Drop for Receiving<'_> {
    fn drop(&mut self) {
        if let Some(Ok(message)) = self.leave() {
            self.queue.give_back(message);
        }
    }
}
