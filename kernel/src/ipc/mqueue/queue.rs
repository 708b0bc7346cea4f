//! A message queue: who sends, who receives, who is told of a first message.

use super::heap::{Heap, Node};
use super::limits::{Existence, Size};
use crate::ipc::hand::Hand;
use crate::ipc::payload::Payload;
use crate::ipc::urgency_of;
use crate::task::process::Process;
use crate::task::signal::{self, SigInfo};
use crate::task::thread::Thread;
use crate::time::until::Until;
use vigil_abi::Errno;
use vigil_abi::poll::{POLLIN, POLLOUT};
use vigil_abi::signal::SI_MESGQ;
use vigil_abi::time::SIGEV_SIGNAL;
use vigil_executor::lock_class;
use vigil_executor::sync::SpinLock;
use vigil_executor::wait::WaitQueue;
use vigil_executor::wait_site;
use vigil_mem::{KArc, KBox, KVec};

/// A message.
pub type Message = Node<Payload>;

/// How long a call may wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Patience {
    /// Not at all: EAGAIN.
    None,
    /// Until then: ETIMEDOUT.
    Some(Until),
}

/// Who waits for a message (`T`: what he is given), or for room for his.
struct Waiter<T> {
    urgency: i32,
    hand: Hand<T>,
    /// What he wants to send.
    message: SpinLock<Option<KBox<Message>>>,
}

impl<T: Send> Waiter<T> {
    fn try_new(thread: &Thread) -> Result<KArc<Waiter<T>>, Errno> {
        let message = SpinLock::new(lock_class!("mqueue_message"), None);
        Ok(KArc::try_new(Waiter { urgency: urgency_of(thread), hand: Hand::new(), message })?)
    }
}

/// Those who wait, the most urgent one last, and of equals the one that waits longest.
struct Waiters<T>(KVec<KArc<Waiter<T>>>);

impl<T> Waiters<T> {
    fn add(&mut self, waiter: &KArc<Waiter<T>>) -> Result<(), Errno> {
        let at = self.0.partition_point(|other| other.urgency > waiter.urgency);
        Ok(self.0.try_insert(at, waiter.clone())?)
    }

    fn remove(&mut self, waiter: &KArc<Waiter<T>>) {
        if let Some(at) = self.0.iter().position(|other| KArc::ptr_eq(other, waiter)) {
            self.0.remove(at);
        }
    }
}

/// Who is told that a message has come to an empty queue at which nobody waited.
pub struct Registration {
    /// Whose process it is.
    pub process: KArc<Process>,
    /// SIGEV_*.
    pub kind: u32,
    /// The signal; 0 for none.
    pub signo: u32,
    /// What goes with it.
    pub value: u64,
}

impl Registration {
    /// A message has come: tells the process, as the caller (Linux: __do_notify). No lock is held.
    fn tell(self) {
        if self.kind != SIGEV_SIGNAL || self.signo == 0 {
            return;
        }
        let (pid, uid) = Thread::current().map_or((0, 0), |t| (t.process.pid, t.cred().map_or(0, |c| c.uid)));
        // A queue of signals that is full loses it, as on Linux.
        let _ = signal::send_to_process(&self.process, SigInfo::from_process(self.signo, SI_MESGQ, pid, uid, self.value));
    }
}

struct State {
    messages: Heap<Payload>,
    count: usize,
    /// Bytes of all messages.
    bytes: usize,
    receivers: Waiters<KBox<Message>>,
    senders: Waiters<()>,
    registration: Option<Registration>,
}

/// A message queue.
pub struct Mqueue {
    /// What it may hold.
    pub size: Size,
    _existence: Existence,
    state: SpinLock<State>,
    /// Who polls.
    pub(super) wait: WaitQueue,
}

/// What a queue is like at a moment.
pub struct Snapshot {
    /// Messages.
    pub count: usize,
    /// Their bytes.
    pub bytes: usize,
    /// Who will be told: process, SIGEV_*, signal.
    pub notify: Option<(u32, u32, u32)>,
}

impl State {
    fn insert(&mut self, message: KBox<Message>) {
        self.count += 1;
        self.bytes += message.value.len();
        self.messages.push(message);
    }

    fn first(&mut self) -> Option<KBox<Message>> {
        let message = self.messages.pop()?;
        self.count -= 1;
        self.bytes -= message.value.len();
        Some(message)
    }
}

impl Mqueue {
    /// An empty queue of `thread`'s; `wish`: see [`Size::of`]. ENOSPC, EINVAL, EOVERFLOW, EMFILE, ENOMEM.
    pub fn new(thread: &Thread, wish: Option<(i64, i64)>) -> Result<Mqueue, Errno> {
        let existence = Existence::of(thread)?;
        let size = Size::of(thread, wish)?;
        let state = State {
            messages: Heap::new(),
            count: 0,
            bytes: 0,
            receivers: Waiters(KVec::new()),
            senders: Waiters(KVec::new()),
            registration: None,
        };
        Ok(Mqueue { size, _existence: existence, state: SpinLock::new(lock_class!("mqueue"), state), wait: WaitQueue::new() })
    }

    /// What it is like now.
    pub fn snapshot(&self) -> Snapshot {
        let state = self.state.lock();
        let notify = state.registration.as_ref().map(|r| (r.process.pid, r.kind, r.signo));
        Snapshot { count: state.count, bytes: state.bytes, notify }
    }

    /// Sends, if there is room; else gives the message back.
    fn try_send(&self, message: KBox<Message>) -> Result<(), KBox<Message>> {
        let mut state = self.state.lock();
        if state.count >= self.size.maxmsg {
            return Err(message);
        }
        if let Some(receiver) = state.receivers.0.pop() {
            receiver.hand.give(message);
            return Ok(());
        }
        state.insert(message);
        let told = if state.count == 1 { state.registration.take() } else { None };
        drop(state);
        if let Some(registration) = told {
            registration.tell();
        }
        self.wait.wake(POLLIN, 0);
        Ok(())
    }

    /// mq_timedsend(2), with checked arguments. EAGAIN, ETIMEDOUT, ENOMEM, ERESTARTSYS.
    pub async fn send(&self, thread: &Thread, message: KBox<Message>, patience: Patience) -> Result<(), Errno> {
        let Err(mut message) = self.try_send(message) else { return Ok(()) };
        let Patience::Some(until) = patience else { return Err(Errno::EAGAIN) };
        let sender = Waiter::try_new(thread)?;
        loop {
            {
                let mut state = self.state.lock();
                if state.count >= self.size.maxmsg {
                    *sender.message.lock() = Some(message);
                    state.senders.add(&sender)?;
                    break;
                }
            }
            match self.try_send(message) {
                Ok(()) => return Ok(()),
                Err(back) => message = back,
            }
        }
        let waiting = Sending { queue: self, sender };
        match waiting.sender.hand.wait(wait_site!("mq_timedsend"), until, 0).await {
            Ok(()) => Ok(()),
            Err(_) if waiting.leave() => Ok(()),
            Err(e) => Err(ended(e)),
        }
    }

    /// Receives, if there is a message.
    fn try_receive(&self) -> Option<KBox<Message>> {
        let mut state = self.state.lock();
        let message = state.first()?;
        match state.senders.0.pop() {
            Some(sender) => {
                let next = sender.message.lock().take();
                if let Some(next) = next {
                    state.insert(next);
                }
                sender.hand.give(());
            }
            None => {
                drop(state);
                self.wait.wake(POLLOUT, 0);
            }
        }
        Some(message)
    }

    /// mq_timedreceive(2), with checked arguments. EAGAIN, ETIMEDOUT, ENOMEM, ERESTARTSYS.
    pub async fn receive(&self, thread: &Thread, patience: Patience) -> Result<KBox<Message>, Errno> {
        if let Some(message) = self.try_receive() {
            return Ok(message);
        }
        let Patience::Some(until) = patience else { return Err(Errno::EAGAIN) };
        let receiver = Waiter::try_new(thread)?;
        loop {
            {
                let mut state = self.state.lock();
                if state.count == 0 {
                    state.receivers.add(&receiver)?;
                    break;
                }
            }
            if let Some(message) = self.try_receive() {
                return Ok(message);
            }
        }
        let waiting = Receiving { queue: self, receiver };
        match waiting.receiver.hand.wait(wait_site!("mq_timedreceive"), until, 0).await {
            Ok(message) => Ok(message),
            Err(e) => waiting.leave().ok_or(ended(e)),
        }
    }

    /// A message that was handed to somebody who is not there any more: it is the first of its priority again.
    fn give_back(&self, message: KBox<Message>) {
        let mut state = self.state.lock();
        if let Some(receiver) = state.receivers.0.pop() {
            receiver.hand.give(message);
            return;
        }
        state.count += 1;
        state.bytes += message.value.len();
        state.messages.put_back(message);
        drop(state);
        self.wait.wake(POLLIN, 0);
    }

    /// mq_notify(2). EBUSY when somebody is registered already.
    pub fn register(&self, registration: Registration) -> Result<(), Errno> {
        let mut state = self.state.lock();
        if state.registration.is_some() {
            drop(state);
            return Err(Errno::EBUSY);
        }
        state.registration = Some(registration);
        Ok(())
    }

    /// The process is told no longer. `true`: it was registered.
    pub fn unregister(&self, process: &KArc<Process>) -> bool {
        let gone = self.state.lock().registration.take_if(|r| KArc::ptr_eq(&r.process, process));
        gone.is_some()
    }
}

fn ended(e: Errno) -> Errno {
    if e == Errno::EINTR { Errno::ERESTARTSYS } else { e }
}

/// A sender in the queue's list.
struct Sending<'q> {
    queue: &'q Mqueue,
    sender: KArc<Waiter<()>>,
}

impl Sending<'_> {
    /// Leaves the list; `true`: the message is in the queue.
    fn leave(&self) -> bool {
        self.queue.state.lock().senders.remove(&self.sender);
        self.sender.hand.take().is_some()
    }
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}

/// A receiver in the queue's list.
struct Receiving<'q> {
    queue: &'q Mqueue,
    receiver: KArc<Waiter<KBox<Message>>>,
}

impl Receiving<'_> {
    /// Leaves the list; what it was given.
    fn leave(&self) -> Option<KBox<Message>> {
        self.queue.state.lock().receivers.remove(&self.receiver);
        self.receiver.hand.take()
    }
}

impl Drop for Receiving<'_> {
    fn drop(&mut self) {
        if let Some(message) = self.leave() {
            self.queue.give_back(message);
        }
    }
}
