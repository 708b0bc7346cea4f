//! A million random wakes, polls, parks and migrations over the real state words and inboxes, with threads as CPUs: no
//! task is polled twice at once, none is lost, none is linked twice.
#![cfg(not(loom))]

use std::collections::{HashMap, VecDeque};
use std::ptr::NonNull;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::*};
use std::thread;
use std::time::{Duration, Instant};
use vigil_executor::class::{Params, Policy};
use vigil_executor::inbox::Inbox;
use vigil_executor::task::state::{AfterPending, State, Wake};
use vigil_executor::task::{Spawned, Task};

const CPUS: usize = 4;
const TASKS: usize = 64;
const WAKES: u64 = 1_000_000;
const LIMIT: Duration = Duration::from_secs(120);

/// A task: the node that inboxes link, and a state word that this test drives itself.
struct Entry {
    node: Spawned,
    state: State,
    polling: AtomicBool,
    /// Events that were posted to it, and how many of them its last poll saw.
    events: AtomicU64,
    seen: AtomicU64,
}

struct World {
    tasks: Vec<Entry>,
    index: HashMap<usize, usize>,
    inboxes: [Inbox; CPUS],
    parked: Mutex<VecDeque<usize>>,
    wakes: AtomicU64,
    polls: AtomicU64,
    parks: AtomicU64,
    migrations: AtomicU64,
    dead: AtomicUsize,
    stop: AtomicBool,
}

/// xorshift64*: each CPU its own sequence, the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % below
    }
}

impl World {
    fn new() -> World {
        let params = Params { policy: Policy::Normal, nice: 0, rt_priority: 0 };
        let tasks: Vec<Entry> = (0..TASKS)
            .map(|_| Entry {
                node: Spawned::new(async {}, params, b"t", None, std::ptr::null()).unwrap(),
                state: State::new_notified(),
                polling: AtomicBool::new(false),
                events: AtomicU64::new(0),
                seen: AtomicU64::new(0),
            })
            .collect();
        let index = tasks.iter().enumerate().map(|(i, t)| (std::ptr::from_ref(t.node.task()) as usize, i)).collect();
        World {
            tasks,
            index,
            inboxes: std::array::from_fn(|_| Inbox::new()),
            parked: Mutex::new(VecDeque::new()),
            wakes: AtomicU64::new(0),
            polls: AtomicU64::new(0),
            parks: AtomicU64::new(0),
            migrations: AtomicU64::new(0),
            dead: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
        }
    }

    fn push(&self, cpu: usize, task: usize) {
        let node: &Task = self.tasks[task].node.task();
        self.inboxes[cpu].push(NonNull::from(node));
    }

    fn wake(&self, cpu: usize, task: usize) {
        self.tasks[task].events.fetch_add(1, Relaxed);
        if self.tasks[task].state.wake() == Wake::Push {
            self.push(cpu, task);
        }
    }

    fn run(&self, cpu: usize) {
        let mut random = Random(0x9e37_79b9 + cpu as u64);
        let mut queue = VecDeque::new();
        let start = Instant::now();
        while self.dead.load(Acquire) < TASKS {
            assert!(start.elapsed() < LIMIT, "lost: {:?}", self.lost());
            for node in self.inboxes[cpu].take() {
                queue.push_back(self.index[&(node.as_ptr() as usize)]);
            }
            // The guard must go before the poll, which may park again.
            let resumed = self.parked.lock().unwrap().pop_front();
            if let Some(task) = resumed {
                self.enter(task);
                self.tasks[task].state.resume();
                self.rest_of_poll(task, &mut queue, &mut random);
            }
            let Some(task) = queue.pop_front() else {
                thread::yield_now();
                continue;
            };
            if random.next(8) == 0 {
                // A ready task moves: through the other CPU's inbox, as it is queued and nobody else may push it.
                self.migrations.fetch_add(1, Relaxed);
                self.push(random.next(CPUS), task);
                continue;
            }
            self.tasks[task].state.start_poll();
            self.enter(task);
            self.rest_of_poll(task, &mut queue, &mut random);
        }
    }

    fn enter(&self, task: usize) {
        assert!(!self.tasks[task].polling.swap(true, Acquire), "task {task} is polled twice at once");
    }

    fn rest_of_poll(&self, task: usize, queue: &mut VecDeque<usize>, random: &mut Random) {
        let t = &self.tasks[task];
        self.polls.fetch_add(1, Relaxed);
        let stopping = self.stop.load(Acquire);
        t.seen.store(t.events.load(Relaxed), Relaxed);
        if !stopping {
            for _ in 0..random.next(4) {
                let other = random.next(TASKS);
                self.wake(random.next(CPUS), other);
                if self.wakes.fetch_add(1, Relaxed) == WAKES {
                    self.stop.store(true, Release);
                    // Whoever sleeps now is woken a last time: a wake that is lost here is a task that never dies.
                    (0..TASKS).for_each(|other| self.wake(random.next(CPUS), other));
                }
            }
            if random.next(16) == 0 {
                t.state.notify_self();
            }
        }
        let park = !stopping && random.next(8) == 0;
        t.polling.store(false, Release);
        if park {
            self.parks.fetch_add(1, Relaxed);
            t.state.park();
            self.parked.lock().unwrap().push_back(task);
        } else if stopping {
            t.state.finish();
            self.dead.fetch_add(1, Release);
        } else if t.state.after_pending() == AfterPending::Requeue {
            // As the executor does: on its own queue, or, for a change of affinity, through another's inbox.
            if random.next(8) == 0 { self.push(random.next(CPUS), task) } else { queue.push_back(task) }
        }
    }

    /// Tasks that do not die, for the message.
    fn lost(&self) -> Vec<(usize, &State)> {
        self.tasks.iter().enumerate().filter(|t| !t.1.state.is_dead()).map(|(i, t)| (i, &t.state)).collect()
    }
}

#[test]
fn a_million_random_wakes_lose_no_task_and_poll_none_twice() {
    let world = World::new();
    for task in 0..TASKS {
        world.push(task % CPUS, task);
    }
    thread::scope(|s| {
        for cpu in 0..CPUS {
            let world = &world;
            s.spawn(move || world.run(cpu));
        }
    });
    assert!(world.wakes.load(Relaxed) >= WAKES);
    assert!(world.inboxes.iter().all(Inbox::is_empty));
    for (i, t) in world.tasks.iter().enumerate() {
        assert!(t.state.is_dead(), "task {i} is alive");
    }
    let (polls, parks, migrations) = (world.polls.load(Relaxed), world.parks.load(Relaxed), world.migrations.load(Relaxed));
    assert!(parks > 10_000 && migrations > 10_000, "{polls} polls, {parks} parks, {migrations} migrations");
}
