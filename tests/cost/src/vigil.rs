//! Vigil's executor: the loop of a CPU with its idle path, its run queue with all classes and the fair class's rules. The
//! interrupt that ends an idle wait wakes the tasks. Time is the simulated counter's: every poll takes equally long.

use crate::{Empty, Rounds};
use std::cell::RefCell;
use std::ptr::{NonNull, null};
use vigil_executor::class::Params;
use vigil_executor::context::{Context, StackKind};
use vigil_executor::cpu::{CpuId, CpuMask};
use vigil_executor::executor::{self, pool};
use vigil_executor::platform::{self, Platform};
use vigil_executor::task::{Spawned};
use vigil_executor::{arch, balance};

thread_local! {
    static ROUNDS: RefCell<Option<Rounds>> = const { RefCell::new(None) };
}

struct Machine {
    rounds: u64,
}

impl Platform for Machine {
    fn send_reschedule(&self, _: CpuId) {}
    fn program_timer(&self, _: u64) {}
    fn raise_rcu(&self, _: CpuMask) {}

    fn alloc_stack(&self) -> Option<NonNull<Context>> {
        None
    }

    fn take_interrupt(&self) {
        let goes_on = ROUNDS.with_borrow_mut(|rounds| rounds.get_or_insert_with(|| Rounds::begin(self.rounds)).next());
        if !goes_on {
            std::process::exit(0);
        }
    }
}

/// Runs the loop, which ends the program.
pub fn run(tasks: u64, rounds: u64, params: Params) {
    arch::simulate_counter();
    platform::set(Box::leak(Box::new(Machine { rounds })));
    arch::irq_disable();
    executor::init_cpu(1);
    pool::fill(CpuId::BOOT, || Some(NonNull::from(Box::leak(Box::new(Context::new(StackKind::Cpu))))));
    balance::join(CpuId::BOOT);
    for _ in 0..tasks {
        drop(Spawned::new(Empty::default(), params, b"empty", None, null()).expect("memory").start());
    }
    executor::run();
}
