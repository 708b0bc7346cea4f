//! The workers of a pool: how they are made, what holds for all of them, and how they go.

use super::pool::{Items, Pool};
use super::worker::{Node, Worker};
use crate::atomic::{AtomicU64, Ordering};
use crate::class::{Params, Policy};
use crate::cpu::{CpuId, CpuMask, ONLINE};
use crate::platform;
use crate::task::{SpawnError, Spawned, Task, TaskRef};
use core::ptr::{self, null};

/// The numbers in the names of a pool's workers: each gets the lowest that is free (Linux: worker_ida).
pub(super) struct Numbers([AtomicU64; 8]);

impl Numbers {
    pub(super) const fn new() -> Numbers {
        Numbers([const { AtomicU64::new(0) }; 8])
    }

    /// What everybody has for whom there is none left: more than [`MAX_ACTIVE`](super::MAX_ACTIVE) items wait at once.
    const ALL_TAKEN: u32 = 512;

    fn take(&self) -> u32 {
        for (n, word) in (0u32..).zip(&self.0) {
            let free = |taken: u64| (taken != u64::MAX).then_some(taken | taken.wrapping_add(1));
            if let Ok(taken) = word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, free) {
                return 64 * n + taken.trailing_ones();
            }
        }
        Self::ALL_TAKEN
    }

    fn give_back(&self, number: u32) {
        if let Some(word) = self.0.get(number as usize / 64) {
            word.fetch_and(!(1 << (number % 64)), Ordering::Relaxed);
        }
    }
}

impl Pool {
    /// A worker is there for the first time: changes of the attributes reach it from now on, and the last one was missed.
    pub(super) fn enlist(&self, node: &Node, task: &Task) {
        let mut items = self.items.lock_irq();
        node.all_next.set(items.workers);
        node.renewed.set(items.renewals);
        items.workers = node;
        drop(items);
        if self.is_parallel() {
            self.apply_attributes(task);
        }
    }

    /// The worker of `node`, which has been told to go, goes: nobody finds it any more, and its number is free.
    pub(super) fn dismiss(&self, node: &Node, number: u32) {
        self.items.lock_irq().forget(node);
        self.numbers.give_back(number);
    }

    fn apply_attributes(&self, task: &Task) {
        crate::executor::set_params(task, self.params());
        task.set_affinity(self.unbound_cpus());
    }

    /// Calls `f` with each worker, under the lock.
    pub(super) fn for_each_worker(&self, mut f: impl FnMut(&Node)) {
        let items = self.items.lock_irq();
        items.for_each_worker(&mut f);
    }

    /// Makes another worker: all wait. Without memory rescuers are called for what is here and what will come.
    pub(super) fn help(&'static self) {
        self.workers.fetch_add(1, Ordering::Relaxed);
        let made = self.spawn();
        let mut items = self.items.lock_irq();
        items.short = made.is_err();
        if made.is_err() {
            items.call_rescuers();
        }
    }

    /// Items wait that could run side by side: makes another worker, unless there are two for each CPU.
    #[cold]
    pub(super) fn help_a_burst(&'static self) {
        if self.workers.load(Ordering::Relaxed) < 2 * ONLINE.load().iter().count() as u32 {
            self.help();
        }
    }

    /// Makes the first worker if there is none, for `cpu` or for none.
    pub(super) fn ensure_worker(&'static self, cpu: Option<CpuId>) -> Result<(), SpawnError> {
        if self.workers.compare_exchange(0, 1, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            return Ok(());
        }
        match cpu {
            Some(cpu) => self.cpu.store(cpu.index() as u32, Ordering::Relaxed),
            None => self.parallel.store(true, Ordering::Relaxed),
        }
        self.spawn()
    }

    /// Makes a worker; its place in `workers` is taken already.
    fn spawn(&'static self) -> Result<(), SpawnError> {
        let (cpu, number) = (self.cpu(), self.numbers.take());
        let name = super::name::worker(cpu, self.nice() < 0, self.number.load(Ordering::Relaxed), number);
        let made = Spawned::new(Worker::new(self, None, number), self.params(), &name, None, null());
        match made {
            Ok(spawned) => {
                spawned.task().set_affinity(cpu.map_or_else(|| self.unbound_cpus(), CpuMask::of));
                introduce(spawned);
                Ok(())
            }
            Err(e) => {
                self.numbers.give_back(number);
                self.workers.fetch_sub(1, Ordering::Relaxed);
                Err(e)
            }
        }
    }

    fn params(&self) -> Params {
        Params { policy: Policy::Normal, nice: self.nice() as i8, rt_priority: 0 }
    }

    pub(super) fn nice(&self) -> i32 {
        self.nice.load(Ordering::Relaxed)
    }

    /// The number in the names of its workers, which have no CPU.
    pub(super) fn set_number(&self, number: u32) {
        self.number.store(number, Ordering::Relaxed);
    }

    pub(super) fn number(&self) -> u32 {
        self.number.load(Ordering::Relaxed)
    }

    /// Where its workers may run, of what is left to all that have no CPU.
    pub(super) fn cpus(&self) -> CpuMask {
        CpuMask(self.cpus.load(Ordering::Relaxed))
    }

    /// Changes nice value and CPUs of the workers that there are and will be. Not with the lock of a pool.
    pub(super) fn set_attributes(&self, nice: i32, cpus: CpuMask) {
        self.nice.store(nice, Ordering::Relaxed);
        self.cpus.store(cpus.0, Ordering::Relaxed);
        self.renew_attributes();
    }

    /// Applies nice value and CPUs to the workers that there are.
    pub(super) fn renew_attributes(&self) {
        {
            let mut items = self.items.lock_irq();
            items.renewals = items.renewals.wrapping_add(1);
        }
        // One at a time: the run queue's lock is not taken inside this one.
        while let Some(task) = self.items.lock_irq().next_to_renew() {
            self.apply_attributes(&task);
        }
    }

    fn unbound_cpus(&self) -> CpuMask {
        let all = super::attrs::unbound_cpus();
        match all.0 & self.cpus().0 {
            0 => all,
            some => CpuMask(some),
        }
    }
}

/// Starts a kernel task of ours, which gets a row in `/proc`.
pub(super) fn introduce(spawned: Spawned) {
    if let Some(platform) = platform::get() {
        platform.kernel_task(spawned.task());
    }
    drop(spawned.start());
}

impl Items {
    pub(super) fn for_each_worker(&self, f: &mut dyn FnMut(&Node)) {
        let mut at = self.workers;
        // SAFETY: a worker that goes leaves the list first, which is guarded by the lock that guards `self`.
        while let Some(node) = unsafe { at.as_ref() } {
            f(node);
            at = node.all_next.get();
        }
    }

    /// A worker to which the attributes have not been applied since they changed last; they will be now.
    fn next_to_renew(&mut self) -> Option<TaskRef> {
        let (mut next, renewals) = (None, self.renewals);
        self.for_each_worker(&mut |node| {
            if next.is_none() && node.renewed.replace(renewals) != renewals {
                // SAFETY: the task of a worker that has not gone.
                next = unsafe { node.task.get().as_ref() }.map(TaskRef::from_task);
            }
        });
        next
    }

    fn forget(&mut self, gone: &Node) {
        if ptr::eq(self.workers, gone) {
            self.workers = gone.all_next.get();
            return;
        }
        self.for_each_worker(&mut |node| {
            if ptr::eq(node.all_next.get(), gone) {
                node.all_next.set(gone.all_next.get());
            }
        });
    }
}
