//! Descriptors in flight, and sockets that nothing but messages holds (Linux: net/unix/garbage.c).
//!
//! A socket that is in a message keeps what is in its own queue. If only such messages hold it, in a circle, nobody can
//! ever receive it: it would stay for ever. The collector runs when a socket is closed while others are in flight:
//!
//! 1. *candidates* are the sockets whose file has no reference but those of messages;
//! 2. references from messages in queues of candidates are taken off;
//! 3. a candidate with some left can be received from outside, and so can what is in its queue, and so on;
//! 4. the queues of the others are thrown away, which breaks the circle.
//!
//! Somebody who has just received a file holds it with the count that the queue held it by: step 2 does not find it in
//! any queue, so it has some left. MSG_PEEK copies references, and therefore holds the collector off.

use super::UnixSocket;
use super::queue::{Message, Queue};
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering::*};
use vigil_abi::Errno;
use vigil_executor::sync::{LockClass, SpinGuard, SpinLock};
use vigil_fs::File;
use vigil_mem::{KArc, KBox, KVec};

/// One socket in flight.
pub struct Flight {
    socket: KArc<UnixSocket>,
    /// Its file; alive while the socket is in flight, because messages hold it.
    file: *const File,
    /// References from messages that are not explained by candidates' queues. Of the collector.
    unexplained: usize,
    state: Mark,
    /// Index of the next one that was reached and whose queue has not been looked at. Of the collector.
    next: Option<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    /// Something else than messages holds it.
    Held,
    Candidate,
    /// Can be received.
    Reached,
}

// SAFETY: the pointer is only compared and, under the lock and while messages hold the file, read.
unsafe impl Send for Flight {}

static CLASS: LockClass = LockClass::new("unix_gc");
static FLIGHTS: SpinLock<KVec<Flight>> = SpinLock::new(&CLASS, KVec::new());
/// No entry.
pub const NONE: usize = usize::MAX;
/// Entries of `FLIGHTS`.
static IN_FLIGHT: AtomicUsize = AtomicUsize::new(0);

static DEAD_CLASS: LockClass = LockClass::new("unix_dead");
/// Messages that are to be dropped.
static DEAD: SpinLock<Queue> = SpinLock::new(&DEAD_CLASS, Queue::new());
static DRAINING: AtomicBool = AtomicBool::new(false);

/// `files` are about to travel in a message.
pub fn take_off(files: KVec<KArc<File>>) -> KVec<KArc<File>> {
    for file in files.iter() {
        let Ok(socket) = UnixSocket::of(file) else { continue };
        let Ok(me) = socket.me() else { continue };
        let mut flights = FLIGHTS.lock();
        if socket.in_flight.fetch_add(1, Relaxed) == 0 {
            // Without memory for the entry the collector does not know the socket: it is never thrown away by mistake.
            let entry = Flight { socket: me, file: KArc::as_ptr(file), unexplained: 0, state: Mark::Held, next: None };
            socket.flight.store(NONE, Relaxed);
            if flights.try_push(entry).is_ok() {
                socket.flight.store(flights.len() - 1, Relaxed);
                IN_FLIGHT.fetch_add(1, Relaxed);
            }
        }
    }
    files
}

/// `files` have arrived, or their message was thrown away.
pub fn land(files: KVec<KArc<File>>) -> KVec<KArc<File>> {
    for file in files.iter() {
        let Ok(socket) = UnixSocket::of(file) else { continue };
        let mut flights = FLIGHTS.lock();
        if socket.in_flight.fetch_sub(1, Relaxed) == 1 {
            let at = socket.flight.swap(NONE, Relaxed);
            let gone = flights.swap_remove(at);
            if let Some(moved) = flights.get(at) {
                moved.socket.flight.store(at, Relaxed);
            }
            IN_FLIGHT.fetch_sub(usize::from(gone.is_some()), Relaxed);
            drop(flights);
            drop(gone);
        }
    }
    files
}

/// Keeps the collector from running while it lives.
pub struct Hold<'a>(#[expect(dead_code, reason = "held for its drop")] SpinGuard<'a, KVec<Flight>>);

/// Holds the collector off.
pub fn hold() -> Hold<'static> {
    Hold(FLIGHTS.lock())
}

/// More references to `files`, for MSG_PEEK. ENOMEM.
pub fn copy(files: &[KArc<File>]) -> Result<KVec<KArc<File>>, Errno> {
    let mut copies = KVec::new();
    copies.try_reserve(files.len())?;
    for file in files {
        let _ = copies.push_reserved(file.clone());
    }
    Ok(copies)
}

/// Throws a message away.
pub fn discard_one(message: KBox<Message>) {
    DEAD.lock().push(message);
    drain();
}

/// Throws messages away, and looks for circles that this may have left alone. Outside of all locks.
pub fn discard(mut queue: Queue) {
    let mut any = false;
    while let Some(message) = queue.pop() {
        any = true;
        DEAD.lock().push(message);
    }
    if any {
        drain();
    }
    if IN_FLIGHT.load(Relaxed) > 0 {
        collect();
    }
}

/// Drops what is in `DEAD`. A dropped file may be a socket whose queue lands there in turn: only the outermost call
/// drops, so the depth of the stack does not depend on how users nest.
fn drain() {
    while !DEAD.lock().is_empty() {
        if DRAINING.swap(true, AcqRel) {
            return;
        }
        loop {
            let next = DEAD.lock().pop();
            let Some(message) = next else { break };
            drop(message);
        }
        DRAINING.store(false, Release);
    }
}

/// Calls `f` with each socket in flight that is in the queue of `socket` or of a connection that waits there.
fn each_inside(socket: &UnixSocket, f: &mut dyn FnMut(&UnixSocket)) {
    static EMBRYO: LockClass = LockClass::new("unix_state/embryo");
    let visit = |queue: &Queue, f: &mut dyn FnMut(&UnixSocket)| {
        for inner in queue.iter().flat_map(|m| m.files.iter()).filter_map(|file| UnixSocket::of(file).ok()) {
            f(inner);
        }
    };
    let state = socket.state.lock();
    visit(&state.queue, f);
    for embryo in state.backlog.iter() {
        visit(&embryo.state.lock_nested(&EMBRYO).queue, f);
    }
}

/// The entry of a socket, if it is a candidate that has not been reached.
fn candidate(flights: &mut [Flight], socket: &UnixSocket) -> Option<usize> {
    let at = socket.flight.load(Relaxed);
    flights.get(at).is_some_and(|f| f.state == Mark::Candidate).then_some(at)
}

/// The collector: a few passes over the sockets in flight and their queues.
fn collect() {
    let mut garbage = Queue::new();
    let mut flights = FLIGHTS.lock();
    for flight in flights.iter_mut() {
        flight.unexplained = flight.socket.in_flight.load(Relaxed);
        flight.next = None;
        // SAFETY: messages hold the file while the socket is in flight, which the lock keeps it.
        let file = core::mem::ManuallyDrop::new(unsafe { KArc::from_raw(flight.file) });
        flight.state = if KArc::strong_count(&file) == flight.unexplained { Mark::Candidate } else { Mark::Held };
    }
    for at in 0..flights.len() {
        if flights[at].state == Mark::Candidate {
            let socket = flights[at].socket.clone();
            each_inside(&socket, &mut |inner| {
                if let Some(i) = candidate(&mut flights, inner) {
                    flights[i].unexplained = flights[i].unexplained.saturating_sub(1);
                }
            });
        }
    }
    // What can be received from outside, then what can be received from that.
    let mut reached = None;
    for at in 0..flights.len() {
        if flights[at].state == Mark::Candidate && flights[at].unexplained > 0 {
            flights[at].state = Mark::Reached;
            flights[at].next = reached.replace(at);
        }
    }
    while let Some(at) = reached {
        reached = flights[at].next;
        let socket = flights[at].socket.clone();
        each_inside(&socket, &mut |inner| {
            if let Some(i) = candidate(&mut flights, inner) {
                flights[i].state = Mark::Reached;
                flights[i].next = reached.replace(i);
            }
        });
    }
    for flight in flights.iter().filter(|f| f.state == Mark::Candidate) {
        let mut state = flight.socket.state.lock();
        while let Some(message) = state.queue.pop() {
            garbage.push(message);
        }
    }
    drop(flights);
    while let Some(message) = garbage.pop() {
        DEAD.lock().push(message);
    }
    drain();
}
