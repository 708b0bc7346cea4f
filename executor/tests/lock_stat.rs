//! What the lock checker counts and knows of classes, for `/proc/lock_stat` and `/proc/lockdep`.
#![cfg(all(debug_assertions, not(loom)))]

#[path = "common/cpus.rs"]
mod cpus;

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;
use vigil_executor::sync::lockdep::stat::{self, ClassStat};
use vigil_executor::sync::lockdep::{for_each_class, totals};
use vigil_executor::sync::{Mutex, SpinLock};
use vigil_executor::time::MSEC;
use vigil_executor::{lock_class, wait_site};

fn of(name: &str) -> Option<ClassStat> {
    let mut found = None;
    stat::for_each(|class| {
        if class.name == name {
            found = Some(*class);
        }
    });
    found
}

/// Holds what `guard` makes for 20 ms on another thread; gives back when it is held.
fn hold<G>(guard: impl FnOnce() -> G + Send) -> impl FnOnce(&AtomicBool) + Send {
    move |held| {
        let guard = guard();
        held.store(true, SeqCst);
        std::thread::sleep(Duration::from_millis(20));
        drop(guard);
    }
}

#[test]
fn waits_and_stays_of_a_spin_lock_are_counted_by_its_class() {
    static LOCK: SpinLock<()> = SpinLock::new(lock_class!("stat_spin"), ());
    assert!(of("stat_spin").is_none());
    let held = AtomicBool::new(false);
    std::thread::scope(|s| {
        s.spawn(|| hold(|| LOCK.lock())(&held));
        while !held.load(SeqCst) {
            std::thread::yield_now();
        }
        drop(LOCK.lock());
    });
    let (waits, holds) = of("stat_spin").unwrap().writers;
    assert_eq!((waits.count, holds.count), (1, 2));
    assert!(holds.max >= 20 * MSEC && holds.min <= holds.max && holds.total >= holds.max);
}

#[test]
fn waits_of_tasks_are_counted_too() {
    static LOCK: Mutex<()> = Mutex::new(lock_class!("stat_mutex"), ());
    static HELD: AtomicBool = AtomicBool::new(false);
    cpus::run(async {
        cpus::spawn("holder", Some(0), async {
            let guard = LOCK.lock(wait_site!("test")).await;
            HELD.store(true, SeqCst);
            let _ = vigil_executor::timer::sleep_until(
                wait_site!("test"),
                vigil_executor::time::now() + 20 * MSEC,
                0,
                vigil_executor::wait::WaitMode::Uninterruptible,
            )
            .await;
            drop(guard);
        });
        while !HELD.load(SeqCst) {
            vigil_executor::executor::yield_now(vigil_executor::executor::YieldKind::Yield).await;
        }
        drop(LOCK.lock(wait_site!("test")).await);
    });
    let (waits, holds) = of("stat_mutex").unwrap().writers;
    assert_eq!((waits.count, holds.count), (1, 2));
    assert!(holds.max >= 20 * MSEC);
}

#[test]
fn the_order_of_classes_is_shown() {
    static OUTER: SpinLock<()> = SpinLock::new(lock_class!("order_outer"), ());
    static INNER: SpinLock<()> = SpinLock::new(lock_class!("order_inner"), ());
    {
        let _outer = OUTER.lock();
        let _inner = INNER.lock();
    }
    let (mut outer, mut inner, mut edge) = (0, 0, false);
    for_each_class(|class| match class.name {
        "order_outer" => {
            outer = class.after;
            class.for_each_after(|name, _| edge |= name == "order_inner");
            assert_eq!(&class.usage, b"+.+.", "held with interrupts and softirqs on");
        }
        "order_inner" => inner = class.before,
        _ => {}
    });
    assert_eq!((outer, inner), (1, 1));
    assert!(edge && totals().direct >= 1 && totals().classes >= 2);
}
