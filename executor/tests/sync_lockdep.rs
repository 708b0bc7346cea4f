//! The lock checker finds what could deadlock, and says nothing about what could not.
#![cfg(all(debug_assertions, not(loom)))]

use std::cell::RefCell;
use vigil_executor::arch;
use vigil_executor::context::{Context, HARDIRQ_OFFSET};
use vigil_executor::lock_class;
use vigil_executor::sync::lockdep::{self, Kind, Report};
use vigil_executor::sync::{LockClass, Mutex, RwSpinLock, SpinLock};

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
    assert!(found[0].1.contains("-> inv_a -> inv_b"), "the other chain is shown: {}", found[0].1);
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
fn readers_may_nest_on_one_lock_and_order_is_checked_for_them_too() {
    let r = RwSpinLock::new(lock_class!("rw"), ());
    let a = SpinLock::new(lock_class!("rw_a"), ());
    let found = kinds(|| {
        {
            let _1 = r.read();
            let _2 = r.read();
            let _a = a.lock();
        }
        let _a = a.lock();
        let _w = r.write();
    });
    assert_eq!(found, [Kind::Inversion]);
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
