//! The lock checker finds what could deadlock, and says nothing about what could not.
#![cfg(all(debug_assertions, not(loom)))]

use std::cell::RefCell;
use vigil_executor::arch;
use vigil_executor::context::{Context, HARDIRQ_OFFSET};
use vigil_executor::lock_class;
use vigil_executor::sync::lockdep::{self, Kind, Report};
use vigil_executor::sync::rcu;
use vigil_executor::sync::srcu::Srcu;
use vigil_executor::sync::{LockClass, Mutex, RwSem, RwSpinLock, SpinLock};

thread_local! {
    static FOUND: RefCell<Vec<(Kind, String)>> = const { RefCell::new(Vec::new()) };
}

fn hook(report: &Report) {
    FOUND.with(|f| f.borrow_mut().push((report.kind(), report.to_string())));
}

/// What `f` makes the checker report on this thread.
fn reports(f: impl FnOnce()) -> Vec<(Kind, String)> {
    lockdep::set_report_hook(hook);
    FOUND.with(|found| found.borrow_mut().clear());
    f();
    lockdep::assert_none_held();
    FOUND.with(|found| found.take())
}

fn kinds(f: impl FnOnce()) -> Vec<Kind> {
    reports(f).into_iter().map(|r| r.0).collect()
}

fn in_interrupt(f: impl FnOnce()) {
    let irq = arch::irq_save();
    Context::here().add(HARDIRQ_OFFSET);
    f();
    Context::here().sub(HARDIRQ_OFFSET);
    arch::irq_restore(irq);
}

#[test]
fn two_orders_are_an_inversion_although_each_went_well() {
    let a = SpinLock::new(lock_class!("inv_a"), ());
    let b = SpinLock::new(lock_class!("inv_b"), ());
    let found = reports(|| {
        {
            let _a = a.lock();
            let _b = b.lock();
        }
        {
            let _b = b.lock();
            let _a = a.lock();
        }
        // Said once.
        let _b = b.lock();
        let _a = a.lock();
    });
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].0, Kind::Inversion);
    assert!(found[0].1.contains("inv_a") && found[0].1.contains("inv_b"), "{}", found[0].1);
    let lines: Vec<&str> = found[0].1.lines().collect();
    assert!(lines[1].contains("`inv_a` to be taken at executor/tests/sync_lockdep.rs:"), "{}", found[0].1);
    assert!(lines[2].contains("`inv_b` held, taken at executor/tests/sync_lockdep.rs:"), "{}", found[0].1);
    assert!(
        lines.iter().any(|l| l.contains("`inv_a` held (executor/tests/sync_lockdep.rs:") && l.contains("-> `inv_b` taken (executor/tests")),
        "the other way is shown: {}",
        found[0].1
    );
}

#[test]
fn a_circle_through_a_third_class_is_found() {
    let [a, b, c] = [lock_class!("tri_a"), lock_class!("tri_b"), lock_class!("tri_c")].map(|k| SpinLock::new(k, ()));
    let found = kinds(|| {
        for (x, y) in [(&a, &b), (&b, &c), (&c, &a)] {
            let _x = x.lock();
            let _y = y.lock();
        }
    });
    assert_eq!(found, [Kind::Inversion]);
}

#[test]
fn one_order_trying_and_nesting_by_class_are_fine() {
    static OUTER: LockClass = LockClass::new("nest");
    static INNER: LockClass = LockClass::new("nest/1");
    let a = SpinLock::new(&OUTER, ());
    let b = SpinLock::new(&OUTER, ());
    let c = SpinLock::new(lock_class!("fine_c"), ());
    let found = kinds(|| {
        for _ in 0..2 {
            let _a = a.lock();
            let _b = b.lock_nested(&INNER);
            let _c = c.lock();
        }
        let _c = c.lock();
        assert!(a.try_lock().is_some());
    });
    assert_eq!(found, []);
}

#[test]
fn two_locks_of_a_class_are_a_recursion() {
    let class = lock_class!("rec");
    let (a, b) = (SpinLock::new(class, ()), SpinLock::new(class, ()));
    let found = kinds(|| {
        let _a = a.lock();
        let _b = b.lock();
    });
    assert_eq!(found, [Kind::Recursion]);
}

#[test]
fn a_lock_of_interrupts_held_with_interrupts_on() {
    let a = SpinLock::new(lock_class!("irq_a"), ());
    let found = kinds(|| {
        in_interrupt(|| drop(a.lock_irq()));
        drop(a.lock_irq());
    });
    assert_eq!(found, []);
    assert_eq!(kinds(|| drop(a.lock())), [Kind::IrqInconsistent]);
}

#[test]
fn an_interrupt_lock_that_leads_to_an_unsafe_one() {
    let safe = SpinLock::new(lock_class!("chain_safe"), ());
    let middle = SpinLock::new(lock_class!("chain_middle"), ());
    let open = SpinLock::new(lock_class!("chain_open"), ());
    let found = kinds(|| {
        in_interrupt(|| drop(safe.lock_irq()));
        drop(open.lock());
        {
            let _s = safe.lock_irq();
            let _m = middle.lock();
        }
        // Each step is harmless by itself; the interrupt may find `open` held by whom it interrupted.
        let _m = middle.lock_irq();
        let _o = open.lock();
    });
    assert_eq!(found, [Kind::IrqInversion]);
}

#[test]
fn readers_may_nest_in_interrupts_only() {
    let r = RwSpinLock::new(lock_class!("rw_nest"), ());
    assert_eq!(
        kinds(|| in_interrupt(|| {
            let _1 = r.read();
            let _2 = r.read();
        })),
        []
    );
    let outside = kinds(|| {
        let _1 = r.read();
        let _2 = r.read();
    });
    assert_eq!(outside, [Kind::Recursion], "a writer that comes in between waits for the first and holds back the second");
}

#[test]
fn the_order_is_checked_for_readers_too() {
    let r = RwSpinLock::new(lock_class!("rw"), ());
    let a = SpinLock::new(lock_class!("rw_a"), ());
    let found = kinds(|| {
        {
            let _1 = r.read();
            let _a = a.lock();
        }
        let _a = a.lock();
        let _w = r.write();
    });
    assert_eq!(found, [Kind::Inversion]);
}

#[test]
fn readers_in_interrupts_pass_readers_but_not_writers() {
    let r = RwSpinLock::new(lock_class!("rw_irq"), ());
    assert_eq!(
        kinds(|| {
            in_interrupt(|| drop(r.read()));
            drop(r.read());
            drop(r.write_irq());
        }),
        []
    );
    assert_eq!(kinds(|| drop(r.write())), [Kind::IrqInconsistent]);
}

#[test]
fn what_an_interrupt_takes_is_not_under_what_it_interrupted() {
    let (a, b) = (SpinLock::new(lock_class!("level_a"), ()), SpinLock::new(lock_class!("level_b"), ()));
    let found = kinds(|| {
        {
            let _a = a.lock_irq();
            // A real one has a stack of its own; a softirq that it interrupts has not.
            in_interrupt(|| drop(b.lock_irq()));
        }
        let _b = b.lock_irq();
        let _a = a.lock_irq();
    });
    assert_eq!(found, []);
}

/// Polls a future that does not wait.
fn now<F: Future>(future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    match future.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop())) {
        std::task::Poll::Ready(output) => output,
        std::task::Poll::Pending => panic!("it waits"),
    }
}

#[test]
fn mutexes_and_semaphores_of_readers_have_an_order_too() {
    let (m, r) = (Mutex::new(lock_class!("await_m"), ()), RwSem::new(lock_class!("await_r"), ()));
    let found = reports(|| {
        now(async {
            let _m = m.lock(vigil_executor::wait_site!("first")).await;
            let _r = r.read(vigil_executor::wait_site!("second")).await;
        });
        now(async {
            let r = r.write(vigil_executor::wait_site!("third")).await;
            let _r = r.downgrade();
            assert!(m.try_lock().is_some(), "who does not wait closes no circle");
            let _m = m.lock(vigil_executor::wait_site!("fourth")).await;
        });
    });
    assert_eq!(found.iter().map(|f| f.0).collect::<Vec<_>>(), [Kind::Inversion], "{found:?}");
    assert!(found[0].1.contains("`await_m` held (executor/tests/sync_lockdep.rs"), "{}", found[0].1);
}

#[test]
fn a_guard_that_moves_to_another_task_takes_its_entry_along() {
    let (m, n) = (Mutex::new(lock_class!("moved_m"), ()), Mutex::new(lock_class!("moved_n"), ()));
    let found = kinds(|| {
        let guard = now(m.lock(vigil_executor::wait_site!("m")));
        std::thread::scope(|s| drop(s.spawn(|| drop(guard))));
        {
            let _n = now(n.lock(vigil_executor::wait_site!("n")));
        }
        let _n = now(n.lock(vigil_executor::wait_site!("n")));
        let _m = now(m.lock(vigil_executor::wait_site!("m")));
    });
    assert_eq!(found, []);
}

#[test]
fn a_domain_waits_for_nobody_who_waits_for_it() {
    let s = Srcu::new(lock_class!("srcu_self"));
    let found = kinds(|| {
        let _section = s.read_lock();
        let mut f = std::pin::pin!(s.synchronize(vigil_executor::wait_site!("test")));
        let _ = f.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
    });
    assert_eq!(found, [Kind::Recursion]);
}

#[test]
fn sleeping_in_an_rcu_section_names_the_section() {
    let found = reports(|| {
        let _section = rcu::read_lock();
        let mut f = std::pin::pin!(rcu::synchronize(vigil_executor::wait_site!("test")));
        let _ = f.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
    });
    assert_eq!(found[0].0, Kind::AtomicWait);
    assert!(found[0].1.contains("`rcu_read_lock` held, taken at executor/tests/sync_lockdep.rs"), "{}", found[0].1);
}

#[test]
fn awaiting_a_lock_under_a_spin_lock() {
    let m = Mutex::new(lock_class!("sleeping"), ());
    let s = SpinLock::new(lock_class!("spinning"), ());
    let found = reports(|| {
        let _s = s.lock();
        let waker = std::task::Waker::noop();
        let mut f = std::pin::pin!(m.lock(vigil_executor::wait_site!("test")));
        let _ = f.as_mut().poll(&mut std::task::Context::from_waker(waker));
    });
    assert_eq!(found.iter().map(|r| r.0).collect::<Vec<_>>(), [Kind::AtomicWait]);
    assert!(found[0].1.contains("spinning"));
}
