//! Two CPUs and one task, as far as its way between them is concerned: the steps of the executor in their orders, over the real state
//! word. The executor's statics cannot be loom's.

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering::*, fence};
use loom::sync::{Arc, Mutex, MutexGuard};
use loom::thread;
use vigil_executor::task::state::{AfterPending, State, Wake};

/// One CPU's run queue, as far as the one task is concerned.
#[derive(Default)]
pub struct Rq {
    current: bool,
    queued: bool,
}

pub struct World {
    pub state: State,
    cpu: AtomicUsize,
    moving: AtomicBool,
    affinity: AtomicUsize,
    rq: [Mutex<Rq>; 2],
    inbox: [AtomicBool; 2],
    /// CPU 1 idles; CPU 0 has somebody who waits.
    idle: AtomicBool,
    overloaded: AtomicBool,
    /// What is woken for, and the last of it that a poll has seen.
    event: AtomicBool,
    seen: AtomicBool,
    /// CPU 0 was told to choose again.
    due: AtomicBool,
    /// The task's entity: loom reports accesses that nothing keeps apart.
    entity: UnsafeCell<u32>,
}

// SAFETY: `entity` is what is tested; loom watches it.
unsafe impl Sync for World {}

impl World {
    /// A task that was last on CPU 0, may run anywhere, and is being polled there or sleeps.
    pub fn new(polled: bool) -> Arc<World> {
        let state = State::new_notified();
        state.start_poll();
        if !polled {
            assert_eq!(state.after_pending(), AfterPending::Sleep);
        }
        let rq = [Mutex::new(Rq { current: polled, queued: false }), Mutex::new(Rq::default())];
        let inbox = [AtomicBool::new(false), AtomicBool::new(false)];
        let no = || AtomicBool::new(false);
        let (cpu, affinity, due) = (AtomicUsize::new(0), AtomicUsize::new(3), AtomicBool::new(false));
        Arc::new(World {
            state,
            cpu,
            moving: AtomicBool::new(false),
            affinity,
            rq,
            inbox,
            idle: no(),
            overloaded: no(),
            event: no(),
            seen: no(),
            due,
            entity: UnsafeCell::new(0),
        })
    }

    pub fn touch(&self) {
        // SAFETY: the rule under test: a queue's lock, and `moving` or the task's being on that queue.
        self.entity.with_mut(|e| unsafe { *e += 1 });
    }

    pub fn elsewhere(&self, here: usize) -> Option<usize> {
        (self.affinity.load(Relaxed) & 1 << here == 0).then_some(1 - here)
    }

    pub fn lock_move(&self) {
        while self.moving.compare_exchange(false, true, Acquire, Relaxed).is_err() {
            thread::yield_now();
        }
    }

    pub fn unlock_move(&self) {
        self.moving.store(false, Release);
    }

    pub fn push(&self, cpu: usize) {
        assert!(!self.inbox[cpu].swap(true, AcqRel), "in an inbox twice");
    }

    pub fn wake(&self, to: usize) {
        if self.state.wake() == Wake::Push {
            self.push(to);
        }
    }

    pub fn enqueue(&self, rq: &mut Rq) {
        assert!(!rq.queued && !rq.current, "on a queue twice");
        self.touch();
        rq.queued = true;
    }

    pub fn drain(&self, here: usize) {
        let mut rq = self.rq[here].lock().unwrap();
        if !self.inbox[here].swap(false, AcqRel) {
            return;
        }
        let arrives = self.cpu.load(Relaxed) != here;
        if arrives {
            self.lock_move();
        }
        let away = self.elsewhere(here);
        if away.is_none() {
            self.cpu.store(here, Relaxed);
        }
        if arrives {
            self.unlock_move();
        }
        match away {
            Some(cpu) => self.push(cpu),
            None => self.enqueue(&mut rq),
        }
    }

    /// The poll on CPU 0 has returned `Pending`. `asks`: whether a task that was woken meanwhile may stay is asked.
    pub fn settle(&self, asks: bool) {
        let mut rq = self.rq[0].lock().unwrap();
        rq.current = false;
        self.touch();
        let asks = asks || self.state.is_notified();
        if self.state.after_pending() == AfterPending::Requeue {
            match self.elsewhere(0).filter(|_| asks) {
                Some(cpu) => self.push(cpu),
                None => self.enqueue(&mut rq),
            }
        }
    }

    pub fn with_entity<R>(&self, f: impl Fn(&mut MutexGuard<'_, Rq>, usize) -> R) -> R {
        loop {
            let cpu = self.cpu.load(Relaxed);
            let mut rq = self.rq[cpu].lock().unwrap();
            self.lock_move();
            let there = self.cpu.load(Relaxed) == cpu;
            let result = there.then(|| f(&mut rq, cpu));
            self.unlock_move();
            if let Some(result) = result {
                return result;
            }
        }
    }

    pub fn set_affinity(&self, mask: usize) {
        let to = self.with_entity(|rq, cpu| {
            self.affinity.store(mask, Relaxed);
            self.touch();
            let target = self.elsewhere(cpu);
            if target.is_some() && rq.current {
                self.due.store(true, Relaxed);
            }
            target.filter(|_| std::mem::take(&mut rq.queued))
        });
        if let Some(cpu) = to {
            self.push(cpu);
        }
    }

    /// The interrupt of CPU 0 that has woken the task ends: it gets the CPU at once if it may be there, which is asked in the lock.
    pub fn hand_over(&self, asks_in_lock: bool) {
        let before = self.elsewhere(0);
        let mut rq = self.rq[0].lock().unwrap();
        if (if asks_in_lock { self.elsewhere(0) } else { before }).is_some() {
            drop(rq);
            return self.drain(0);
        }
        assert!(self.inbox[0].swap(false, AcqRel), "it was in the inbox");
        self.touch();
        rq.current = true;
        self.state.start_poll();
    }

    /// CPU 0 looks whether what it polls may stay, if it was told to.
    pub fn choose_again(&self) {
        let mut rq = self.rq[0].lock().unwrap();
        if self.due.swap(false, Relaxed)
            && rq.current
            && let Some(cpu) = self.elsewhere(0)
        {
            rq.current = false;
            self.state.park();
            self.push(cpu);
        }
    }

    /// Everybody drains until nothing travels; the CPU on whose queue the task is then.
    pub fn rest(&self) -> Option<usize> {
        for _ in 0..3 {
            self.drain(0);
            self.drain(1);
        }
        (0..2).find(|&cpu| self.rq[cpu].lock().unwrap().queued)
    }

    /// CPU 0 has a waiter, and looks whether CPU 1 idles (`cpus::crowded`, `spread::fill_idle`); `fenced`: as it does.
    pub fn spread(&self, fenced: bool) {
        let mut rq = self.rq[0].lock().unwrap();
        if !rq.queued {
            return;
        }
        self.overloaded.store(true, Relaxed);
        if fenced {
            fence(SeqCst);
        }
        if self.idle.load(Relaxed) && !self.inbox[1].load(Acquire) && self.affinity.load(Relaxed) & 2 != 0 {
            rq.queued = false;
            self.touch();
            self.push(1);
        }
    }

    /// CPU 1 is about to idle, and takes who waits on CPU 0 (`idle::pull`). Whether it has got somebody.
    pub fn pull(&self, fenced: bool) -> bool {
        self.idle.store(true, Relaxed);
        if fenced {
            fence(SeqCst);
        }
        if !self.overloaded.load(Relaxed) {
            return false;
        }
        let found = {
            let mut rq = self.rq[0].lock().unwrap();
            let found = rq.queued && self.affinity.load(Relaxed) & 2 != 0;
            if found {
                rq.queued = false;
                self.touch();
            }
            found
        };
        if found {
            // Runnable and on no queue: nobody else's, until it is in the inbox.
            self.push(1);
        }
        found
    }

    /// `here` polls the task if it is on its queue, and it sleeps again or, if it `ends`, is dead.
    pub fn run(&self, here: usize, ends: bool) {
        {
            let mut rq = self.rq[here].lock().unwrap();
            if !std::mem::take(&mut rq.queued) {
                return;
            }
            rq.current = true;
            self.touch();
        }
        self.state.start_poll();
        if self.event.load(Relaxed) {
            self.seen.store(true, Relaxed);
        }
        let mut rq = self.rq[here].lock().unwrap();
        rq.current = false;
        self.touch();
        if ends {
            self.state.finish();
        } else if self.state.after_pending() == AfterPending::Requeue {
            match self.elsewhere(here) {
                Some(cpu) => self.push(cpu),
                None => self.enqueue(&mut rq),
            }
        }
    }

    /// Something happens that the task waits for; it was last on `to`.
    pub fn happen(&self, to: usize) {
        self.event.store(true, Relaxed);
        self.wake(to);
    }

    /// Whether a poll has seen what happened.
    pub fn has_seen(&self) -> bool {
        self.seen.load(Relaxed)
    }

    /// Whether CPU 1 idles and has been sent nothing while somebody waits on CPU 0.
    pub fn is_unjust(&self) -> bool {
        self.idle.load(Relaxed) && !self.inbox[1].load(Acquire) && self.rq[0].lock().unwrap().queued
    }

    /// Whether the task is on no queue and in no inbox.
    pub fn is_nowhere(&self) -> bool {
        (0..2).all(|cpu| !self.inbox[cpu].load(Acquire) && !self.rq[cpu].lock().unwrap().queued)
    }
}
