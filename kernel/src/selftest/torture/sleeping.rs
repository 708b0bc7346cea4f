//! The locks that are held across awaits, and a section of each.

use super::watched::Watched;
use super::{Rng, breathe, linger};
use core::pin::Pin;
use core::sync::atomic::{AtomicU32, Ordering::*};
use vigil_executor::lock_class;
use vigil_executor::sync::rt_mutex::PiMutex;
use vigil_executor::sync::{Completion, Mutex, RwSem, Semaphore};
use vigil_executor::task::{self, INTERRUPT_SIGNAL};
use vigil_executor::time::{self, MSEC, USEC};
use vigil_executor::wait::{WaitMode, Waited};
use vigil_executor::wait_site;

/// Units of the semaphore that has more than one.
const UNITS: u32 = 3;

static MUTEX: Mutex<()> = Mutex::new(lock_class!("torture_mutex"), ());
static RWSEM: RwSem<()> = RwSem::new(lock_class!("torture_rwsem"), ());
static BINARY: Semaphore = Semaphore::new(1);
pub(super) static COUNTING: Semaphore = Semaphore::new(UNITS);
static ASKED: Completion = Completion::new();
static ANSWERED: Completion = Completion::new();
/// Outer and inner: who waits for the inner one lends to its owner's, who may wait for the outer one.
static PI: [PiMutex<()>; 2] = [PiMutex::new(lock_class!("torture_pi_outer"), ()), PiMutex::new(lock_class!("torture_pi"), ())];
static COUNT_INSIDE: AtomicU32 = AtomicU32::new(0);

/// A signal that came is over.
pub(super) fn forget_signal() {
    if let Some(task) = task::current() {
        task.clear_interrupt(INTERRUPT_SIGNAL);
    }
}

/// Inside of a lock that is held across awaits; mostly without one, so that others spin for it.
async fn stay(rng: &mut Rng) {
    linger(rng);
    breathe(rng).await;
}

/// A section that excludes all others.
async fn change(w: &Watched, rng: &mut Rng, since: u64) {
    w.begin(since);
    stay(rng).await;
    w.end();
}

/// A section that excludes writers.
async fn read(w: &Watched, rng: &mut Rng, since: u64) {
    w.begin_read(since);
    stay(rng).await;
    w.end_read();
}

pub(super) async fn mutex(w: &Watched, rng: &mut Rng, since: u64) -> bool {
    let guard = match rng.range(0, 8) {
        0 => MUTEX.try_lock(),
        1..4 => MUTEX.lock_interruptible(wait_site!("torture")).await.ok(),
        _ => Some(MUTEX.lock(wait_site!("torture")).await),
    };
    if guard.is_some() {
        change(w, rng, since).await;
    }
    guard.is_some()
}

pub(super) async fn rwsem(w: &Watched, rng: &mut Rng, since: u64) -> bool {
    match rng.range(0, 16) {
        0..3 => {
            let guard = match rng.range(0, 2) {
                0 => RWSEM.write_interruptible(wait_site!("torture")).await.ok(),
                _ => Some(RWSEM.write(wait_site!("torture")).await),
            };
            let Some(guard) = guard else { return false };
            change(w, rng, since).await;
            if rng.range(0, 2) == 0 {
                let _reader = guard.downgrade();
                read(w, rng, since).await;
            }
        }
        n => {
            let guard = match n {
                3 => RWSEM.try_read(),
                4..7 => RWSEM.read_interruptible(wait_site!("torture")).await.ok(),
                _ => Some(RWSEM.read(wait_site!("torture")).await),
            };
            let Some(_guard) = guard else { return false };
            read(w, rng, since).await;
        }
    }
    true
}

pub(super) async fn semaphore(w: &Watched, rng: &mut Rng, since: u64) -> bool {
    if rng.range(0, 2) == 0 {
        let got = match rng.range(0, 3) {
            0 => BINARY.down_mode(wait_site!("torture"), WaitMode::Interruptible).await.is_ok(),
            1 => {
                let deadline = time::now() + rng.range(0, 500 * USEC);
                BINARY.down_deadline(wait_site!("torture"), WaitMode::Interruptible, deadline).await == Waited::Ready(())
            }
            _ => BINARY.down_killable(wait_site!("torture")).await.is_ok(),
        };
        if !got {
            return false;
        }
        change(w, rng, since).await;
        BINARY.up();
    } else {
        COUNTING.down(wait_site!("torture")).await;
        w.check(COUNT_INSIDE.fetch_add(1, Relaxed) < UNITS);
        stay(rng).await;
        COUNT_INSIDE.fetch_sub(1, Relaxed);
        COUNTING.up();
    }
    true
}

/// A section under the inner one of [`PI`], now and then with the outer one around it.
pub(super) async fn pi_mutex(w: &Watched, rng: &mut Rng, since: u64) -> bool {
    let [outer, inner] = PI.each_ref().map(Pin::static_ref);
    let around = if rng.range(0, 4) == 0 { outer.lock(wait_site!("torture")).await.ok() } else { None };
    let guard = match rng.range(0, 8) {
        0 => inner.try_lock(),
        1..4 => inner.lock_interruptible(wait_site!("torture")).await.ok(),
        _ => match inner.lock(wait_site!("torture")).await {
            Ok(guard) => Some(guard),
            Err(_) => {
                w.check(false);
                None
            }
        },
    };
    let had = guard.is_some();
    if had {
        change(w, rng, since).await;
    }
    drop(guard);
    drop(around);
    had
}

/// A question, and the wait for its answer; each is one completion.
pub(super) async fn ask(w: &Watched, since: u64) -> bool {
    ASKED.complete();
    ANSWERED.wait(wait_site!("torture")).await;
    w.longest.fetch_max(time::now().saturating_sub(since), Relaxed);
    w.writes.fetch_add(1, Relaxed);
    true
}

async fn answer() {
    let deadline = time::now() + MSEC;
    if let Waited::Ready(()) = ASKED.wait_deadline(wait_site!("torture"), WaitMode::Interruptible, deadline).await {
        ANSWERED.complete();
    }
}

pub(super) async fn answerer() {
    while !super::stopped() || ASKED.is_done() {
        answer().await;
        forget_signal();
    }
}

/// Nobody waits for an answer that nobody is left to give.
pub(super) fn wake_all() {
    ANSWERED.complete_all();
}
