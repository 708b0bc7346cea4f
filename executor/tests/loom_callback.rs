//! Loom: waiters whose wake is a callback that calls the task before the node is marked: a thread's stay in EL0
//! (`kernel/src/task/stay.rs`), in the steps of its `begin` and `go_on`, over the real nodes, queues and state words.
#![cfg(loom)]

mod common;

use common::model;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;
use std::mem::offset_of;
use std::pin::Pin;
use vigil_executor::task::state::{AfterPending, State, Wake};
use vigil_executor::wait::{Register, WaitNode, WaitQueue};

/// What is read from: units, or its end.
struct Pipe {
    units: AtomicUsize,
    closed: AtomicBool,
    queue: WaitQueue,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Read {
    Unit,
    End,
    Interrupted,
}

impl Pipe {
    fn new() -> Arc<Pipe> {
        Arc::new(Pipe { units: AtomicUsize::new(0), closed: AtomicBool::new(false), queue: WaitQueue::new() })
    }

    fn retry(&self) -> Option<Read> {
        if self.units.fetch_update(Relaxed, Relaxed, |n| n.checked_sub(1)).is_ok() {
            return Some(Read::Unit);
        }
        self.closed.load(Relaxed).then_some(Read::End)
    }

    fn still_waits(&self) -> bool {
        self.units.load(Relaxed) == 0 && !self.closed.load(Relaxed)
    }

    fn write(&self) {
        self.units.fetch_add(1, Relaxed);
        self.queue.wake(1, 1);
    }

    fn close(&self) {
        self.closed.store(true, Relaxed);
        self.queue.wake_all();
    }
}

/// A task: its state word, the CPU that it is pushed to, and its signal.
struct Task {
    state: State,
    pushed: Mutex<bool>,
    runnable: Condvar,
    signal: AtomicBool,
}

impl Task {
    fn new() -> Arc<Task> {
        Arc::new(Task { state: State::new_notified(), pushed: Mutex::new(true), runnable: Condvar::new(), signal: AtomicBool::new(false) })
    }

    fn wake(&self) {
        if self.state.wake() == Wake::Push {
            let mut pushed = self.pushed.lock().unwrap();
            assert!(!*pushed, "pushed twice");
            *pushed = true;
            self.runnable.notify_one();
        }
    }

    fn kill(&self) {
        self.signal.store(true, Relaxed);
        self.wake();
    }

    fn pick(&self) {
        let mut pushed = self.pushed.lock().unwrap();
        while !*pushed {
            pushed = self.runnable.wait(pushed).unwrap();
        }
        *pushed = false;
    }
}

/// How careful the waiter is with a wake in flight.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Care {
    /// As the kernel's.
    Full,
    /// It believes the node's word: the bug that hung pipelines.
    None,
}

struct Stay {
    task: Arc<Task>,
    pipe: Arc<Pipe>,
    node: WaitNode,
    care: Care,
}

fn wake(node: Pin<&WaitNode>, _key: u32) -> bool {
    let node = std::ptr::from_ref(node.get_ref());
    // SAFETY: only nodes inside a `Stay` have this callback, and a linked node's `Stay` is alive.
    let task = unsafe { &(*node.byte_sub(offset_of!(Stay, node)).cast::<Stay>()).task };
    task.wake();
    true
}

impl Stay {
    fn new(task: Arc<Task>, pipe: Arc<Pipe>, care: Care) -> Pin<Box<Stay>> {
        Box::pin(Stay { task, pipe, node: WaitNode::with_callback(wake), care })
    }

    fn node(&self) -> Pin<&WaitNode> {
        // SAFETY: only made in a pinned box.
        unsafe { Pin::new_unchecked(&self.node) }
    }

    fn leave(&self) -> bool {
        // SAFETY: pinned, and only the waiter registers it.
        unsafe { self.node().unregister() }
    }

    /// Whether the node is in the queue and no wake is at work on it.
    fn is_in(&self) -> bool {
        let node = self.node();
        if node.take_woken() {
            return false;
        }
        match self.care {
            Care::None => node.is_linked(),
            Care::Full => {
                self.pipe.queue.holds(&node) || {
                    node.take_woken();
                    false
                }
            }
        }
    }

    fn enter(&self) {
        // SAFETY: only this waiter registers it; `pipe` outlives it.
        unsafe { self.node().register_callback(&self.pipe.queue, u32::MAX, Register::Exclusive) };
    }

    /// The call begins to wait: the vector has just tried it. `None`: Pending.
    fn begin(&self) -> Option<Read> {
        self.enter();
        if self.pipe.still_waits() { self.wait() } else { self.go_on() }
    }

    /// One poll.
    fn go_on(&self) -> Option<Read> {
        let pipe = &*self.pipe;
        loop {
            let linked = self.is_in();
            if !(linked && pipe.still_waits())
                && let Some(read) = pipe.retry()
            {
                // A wake that was not needed is the next waiter's.
                if linked && self.leave() {
                    pipe.queue.wake_one();
                }
                return Some(read);
            }
            if !linked {
                self.enter();
                if !pipe.still_waits() {
                    continue;
                }
            } else if self.care == Care::Full {
                pipe.queue.settle();
                if !self.node().is_linked() {
                    continue;
                }
            }
            return self.wait();
        }
    }

    fn wait(&self) -> Option<Read> {
        if !self.task.signal.load(Relaxed) {
            return None;
        }
        let last = self.pipe.retry();
        if self.leave() {
            self.pipe.queue.wake_one();
        }
        Some(last.unwrap_or(Read::Interrupted))
    }

    /// The loop of the CPU that the task runs on, to the call's end.
    fn run(self: Pin<Box<Stay>>) -> Read {
        // Not dropped when loom finds an error: nothing of loom's works any more then.
        let mut this = std::mem::ManuallyDrop::new(self);
        let read = this.poll_to_the_end();
        // SAFETY: not used afterwards.
        unsafe { std::mem::ManuallyDrop::drop(&mut this) };
        read
    }

    fn poll_to_the_end(&self) -> Read {
        let mut begun = false;
        loop {
            self.task.pick();
            loop {
                self.task.state.start_poll();
                if let Some(read) = if std::mem::replace(&mut begun, true) { self.go_on() } else { self.begin() } {
                    return read;
                }
                if self.task.state.after_pending() == AfterPending::Sleep {
                    break;
                }
            }
        }
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        if self.leave() {
            self.pipe.queue.wake_one();
        }
    }
}

fn start(task: &Arc<Task>, pipe: &Arc<Pipe>, care: Care) -> thread::JoinHandle<Read> {
    let (task, pipe) = (task.clone(), pipe.clone());
    thread::spawn(move || Stay::new(task, pipe, care).run())
}

#[test]
fn a_byte_that_comes_while_the_call_begins_to_wait_is_read() {
    model(3, || {
        let (task, pipe) = (Task::new(), Pipe::new());
        let reader = start(&task, &pipe, Care::Full);
        pipe.write();
        assert_eq!(reader.join().unwrap(), Read::Unit);
        assert!(!pipe.queue.has_waiters());
    });
}

/// A wake beside a second one that has nothing to do with the queue: the task is polled while the first is at work.
fn polled_beside_a_wake(care: Care) {
    model(3, move || {
        let (task, pipe) = (Task::new(), Pipe::new());
        let reader = start(&task, &pipe, care);
        let p2 = pipe.clone();
        let writer = thread::spawn(move || {
            // A wake whose unit somebody else has taken, and one with a unit.
            p2.queue.wake(1, 1);
            p2.write();
        });
        task.wake();
        writer.join().unwrap();
        assert_eq!(reader.join().unwrap(), Read::Unit);
    });
}

#[test]
fn a_poll_beside_a_wake_in_flight_does_not_sleep_through_the_next_one() {
    polled_beside_a_wake(Care::Full);
}

#[test]
#[should_panic]
fn mutant_who_believes_the_nodes_word_sleeps_through_it() {
    polled_beside_a_wake(Care::None);
}

#[test]
fn the_end_of_the_writers_reaches_every_reader() {
    model(2, || {
        let (a, b, pipe) = (Task::new(), Task::new(), Pipe::new());
        let readers = [start(&a, &pipe, Care::Full), start(&b, &pipe, Care::Full)];
        pipe.close();
        for reader in readers {
            assert_eq!(reader.join().unwrap(), Read::End);
        }
    });
}

#[test]
fn a_killed_reader_passes_the_byte_on_or_takes_it() {
    model(2, || {
        let (a, b, pipe) = (Task::new(), Task::new(), Pipe::new());
        let killed = start(&a, &pipe, Care::Full);
        let other = start(&b, &pipe, Care::Full);
        a.kill();
        pipe.write();
        // One unit for two: who does not get it is killed, or closed out at the end.
        let first = killed.join().unwrap();
        if first == Read::Unit {
            pipe.close();
        }
        assert_eq!(other.join().unwrap(), if first == Read::Unit { Read::End } else { Read::Unit });
    });
}
