//! The executor's loop between two polls of fair tasks: its short ways keep the clocks, the slice timer and the dead as the long ones do.
#![cfg(not(loom))]

#[path = "common/balanced.rs"]
mod balanced;
#[path = "common/host.rs"]
mod host;
#[path = "common/run_cpu.rs"]
mod run_cpu;

use host::Host;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, Once};
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};
use vigil_executor::class::Params;
use vigil_executor::cpu::{CpuId, CpuMask, local_of};
use vigil_executor::executor::{self, YieldKind, yield_now};
use vigil_executor::task::{Spawned, TaskRef, reaper};
use vigil_executor::time::{MSEC, now};
use vigil_executor::{arch, platform, timer};

fn cpu(n: usize) -> CpuId {
    CpuId::new(n).unwrap()
}

/// CPUs 0 and 1 run; one test at a time has them.
fn boot() -> MutexGuard<'static, ()> {
    static BOOTED: Once = Once::new();
    static ONE: Mutex<()> = Mutex::new(());
    let one = ONE.lock().unwrap_or_else(|e| e.into_inner());
    BOOTED.call_once(|| {
        platform::set(&Host);
        balanced::boot(2);
    });
    // SAFETY: no executor runs as CPU 7.
    unsafe { arch::set_cpu_local(local_of(cpu(7))) };
    one
}

fn start(on: usize, future: impl Future<Output = ()> + Send + 'static) -> TaskRef {
    let spawned = Spawned::new(future, Params::DEFAULT, b"test", None, std::ptr::null()).unwrap();
    assert!(spawned.task().set_affinity(CpuMask::of(cpu(on))));
    spawned.start()
}

fn soon(what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(30), "{what}");
        thread::yield_now();
    }
}

fn vruntime(task: &TaskRef) -> u64 {
    // SAFETY: the entity is read under its queue's lock.
    executor::with_entity(task, |_, e, _| unsafe { e.as_ref() }.vruntime())
}

/// Sleeps until somebody takes the waker out and calls it.
async fn sleep(waker: &Mutex<Option<Waker>>) {
    let mut slept = false;
    poll_fn(|cx| {
        if slept {
            return Poll::Ready(());
        }
        slept = true;
        *waker.lock().unwrap() = Some(cx.waker().clone());
        Poll::Pending
    })
    .await;
}

fn wake(waker: &Mutex<Option<Waker>>) {
    let waker = waker.lock().unwrap().take().expect("it does not sleep");
    waker.wake();
}

#[test]
fn who_yields_alone_goes_by_the_clock_of_who_comes() {
    let _one = boot();
    static SLEEPER: Mutex<Option<Waker>> = Mutex::new(None);
    static POLLS: AtomicU32 = AtomicU32::new(0);
    static WOKEN: AtomicBool = AtomicBool::new(false);
    static ENDS: AtomicBool = AtomicBool::new(false);
    let sleeper = start(0, async {
        sleep(&SLEEPER).await;
        while !ENDS.load(SeqCst) {
            yield_now(YieldKind::Yield).await;
        }
    });
    soon("nobody sleeps", || SLEEPER.lock().unwrap().is_some());
    let yields = start(0, async {
        while !ENDS.load(SeqCst) {
            // 40 stays of 5 ms alone, and in the middle of the next one the other is woken from elsewhere.
            match POLLS.fetch_add(1, SeqCst) {
                0..40 => thread::sleep(Duration::from_millis(5)),
                40 => {
                    while !WOKEN.load(SeqCst) {
                        thread::yield_now();
                    }
                }
                _ => {}
            }
            yield_now(YieldKind::Yield).await;
        }
    });
    soon("it does not yield", || POLLS.load(SeqCst) > 40);
    wake(&SLEEPER);
    // On its queue, or in its inbox still.
    WOKEN.store(true, SeqCst);
    soon("the sleeper was never polled", || POLLS.load(SeqCst) > 50 && sleeper.is_sleeping() == false);
    let behind = vruntime(&yields).wrapping_sub(vruntime(&sleeper)) as i64;
    ENDS.store(true, SeqCst);
    soon("they do not end", || sleeper.is_dead() && yields.is_dead());
    assert!(behind < 50 * MSEC as i64, "a sleeper was placed {behind} ns behind who has run 200 ms alone");
}

#[test]
fn balancing_puts_off_no_slice() {
    let _one = boot();
    static SLEEPERS: [Mutex<Option<Waker>>; 4] = [const { Mutex::new(None) }; 4];
    /// How long each of a round, in their order, saw that their CPU is left alone, ns.
    static LEFT: [AtomicU64; 4] = [const { AtomicU64::new(0) }; 4];
    static ROUNDS: AtomicU32 = AtomicU32::new(0);
    static ENDS: AtomicBool = AtomicBool::new(false);
    // Nobody idles.
    let busy = start(1, async {
        while !ENDS.load(SeqCst) {
            yield_now(YieldKind::Yield).await;
        }
    });
    let sleepers: Vec<_> = (0..4)
        .map(|i| {
            start(0, async move {
                while !ENDS.load(SeqCst) {
                    sleep(&SLEEPERS[i]).await;
                    let (event, turn) = (timer::next_event().unwrap_or(u64::MAX), ROUNDS.load(SeqCst) as usize % 4);
                    LEFT[turn].store(event.saturating_sub(now()), SeqCst);
                    // The first one stays nearly till then: that event is the next ones', too.
                    while turn == 0 && now() < event.saturating_sub(MSEC / 3).min(now() + 20 * MSEC) {
                        std::hint::spin_loop();
                    }
                    ROUNDS.fetch_add(1, SeqCst);
                }
            })
        })
        .collect();
    let sleep_all = || SLEEPERS.iter().all(|s| s.lock().unwrap().is_some());
    for round in 0..20 {
        soon("they do not sleep", || sleep_all() && ROUNDS.load(SeqCst) == 4 * round);
        let waker = start(0, async { SLEEPERS.iter().for_each(wake) });
        soon("nobody was woken", || waker.is_dead() && sleep_all() && ROUNDS.load(SeqCst) == 4 * (round + 1));
        // Behind the third one the fourth waits: half a period of 6 ms. The next look at other CPUs is farther off.
        let left = LEFT[2].load(SeqCst);
        assert!(left <= 5 * MSEC, "round {round}: the third one's slice ends in {left} ns");
    }
    ENDS.store(true, SeqCst);
    SLEEPERS.iter().for_each(wake);
    soon("they do not end", || busy.is_dead() && sleepers.iter().all(|s| s.is_dead()));
}

#[test]
fn a_poll_that_does_not_end_keeps_no_dead_tasks() {
    let _one = boot();
    static GIVEN: AtomicBool = AtomicBool::new(false);
    static ENDS: AtomicBool = AtomicBool::new(false);
    let dead = start(1, async {});
    soon("it does not end", || dead.is_dead());
    let keeps = start(0, async move {
        drop(dead);
        GIVEN.store(true, SeqCst);
        while !ENDS.load(SeqCst) {
            thread::yield_now();
        }
    });
    soon("nothing was given", || GIVEN.load(SeqCst));
    soon("no CPU that idles frees what another has given", || !reaper::is_pending());
    ENDS.store(true, SeqCst);
    soon("it does not end", || keeps.is_dead());
}
