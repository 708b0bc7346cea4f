//! The locks on real threads: what loom proves for a few steps, here for many.
#![cfg(not(loom))]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};
use std::thread;
use vigil_executor::context::Context;
use vigil_executor::cpu::{CpuId, local_of};
use vigil_executor::sync::{Mutex, RwSem, RwSpinLock, SeqLock, SpinLock, rcu};
use vigil_executor::{arch, lock_class, wait_site};

const ROUNDS: u64 = 20_000;
const THREADS: u64 = 4;

/// Runs `f` on as many threads as CPUs and waits for them.
fn on_cpus(f: impl Fn(u64) + Sync) {
    thread::scope(|s| {
        for n in 0..THREADS {
            let f = &f;
            s.spawn(move || {
                // SAFETY: one thread of the scope per CPU.
                unsafe { arch::set_cpu_local(local_of(CpuId::new(n as usize).unwrap())) };
                f(n);
                assert_eq!(Context::here().count(), 0, "a guard was not counted down");
                assert!(!arch::irqs_disabled());
            });
        }
    });
}

/// Polls to the end, sleeping between wakes.
fn block_on<F: Future>(f: F) -> F::Output {
    struct Unpark(thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(thread::current())).into();
    let mut f = std::pin::pin!(f);
    loop {
        if let std::task::Poll::Ready(v) = f.as_mut().poll(&mut std::task::Context::from_waker(&waker)) {
            return v;
        }
        thread::park();
    }
}

#[test]
fn a_spin_lock_counts_right() {
    let n = SpinLock::new(lock_class!("count"), 0u64);
    on_cpus(|_| {
        for i in 0..ROUNDS {
            if i % 2 == 0 { *n.lock_irq() += 1 } else { *n.lock_irq() += 1 }
        }
    });
    assert_eq!(n.into_inner(), ROUNDS * THREADS);
}

#[test]
fn readers_of_a_rw_lock_see_whole_writes() {
    let n = RwSpinLock::new(lock_class!("rwcount"), (0u64, 0u64));
    on_cpus(|me| {
        for _ in 0..ROUNDS {
            if me == 0 {
                let mut w = n.write();
                w.0 += 1;
                w.1 += 1;
            } else {
                let r = n.read();
                assert_eq!(r.0, r.1);
            }
        }
    });
    assert_eq!(n.read().0, ROUNDS);
}

#[test]
fn a_sequence_lock_is_never_torn() {
    let n = SeqLock::new(lock_class!("seq"), [0u64; 6]);
    let stop = AtomicBool::new(false);
    on_cpus(|me| {
        if me == 0 {
            for i in 1..=ROUNDS {
                *n.write() = [i; 6];
            }
            stop.store(true, Relaxed);
        }
        let mut last = 0;
        while !stop.load(Relaxed) {
            let v = n.read();
            assert!(v.iter().all(|x| *x == v[0]) && v[0] >= last);
            last = v[0];
        }
    });
    assert_eq!(n.read(), [ROUNDS; 6]);
    let odd = SeqLock::new(lock_class!("seq_odd"), [1u8, 2, 3]);
    odd.write()[1] = 9;
    assert_eq!(odd.read(), [1, 9, 3]);
}

#[test]
fn async_locks_count_right_under_contention() {
    let m = Mutex::new(lock_class!("mcount"), 0u64);
    let r = RwSem::new(lock_class!("rcount"), 0u64);
    on_cpus(|me| {
        for i in 0..ROUNDS / 4 {
            *block_on(m.lock(wait_site!("test"))) += 1;
            if (i + me) % 4 == 0 {
                *block_on(r.write(wait_site!("test"))) += 1;
            } else {
                assert!(*block_on(r.read(wait_site!("test"))) <= ROUNDS * THREADS);
            }
        }
    });
    assert_eq!(*m.try_lock().unwrap(), ROUNDS / 4 * THREADS);
    assert_eq!(*r.try_read().unwrap(), ROUNDS / 16 * THREADS);
}

#[test]
fn rcu_frees_only_what_nobody_reads() {
    // Values are never 0 while they are reachable; freeing writes 0 first.
    struct Node {
        head: rcu::RcuHead,
        value: AtomicU64,
    }
    static FREED: AtomicU64 = AtomicU64::new(0);
    unsafe fn free(head: std::ptr::NonNull<rcu::RcuHead>) {
        // SAFETY: the head is the first field of a leaked, `repr(C)`-free box whose offset is computed.
        let node = unsafe { head.byte_sub(std::mem::offset_of!(Node, head)).cast::<Node>() };
        unsafe {
            node.as_ref().value.store(0, Relaxed);
            drop(Box::from_raw(node.as_ptr()));
        }
        FREED.fetch_add(1, Relaxed);
    }
    let new = |v| Box::into_raw(Box::new(Node { head: rcu::RcuHead::new(), value: AtomicU64::new(v) }));
    let p = rcu::Rcu::null();
    // SAFETY: boxes stay valid until their callback.
    assert!(unsafe { p.swap(new(1)) }.is_none());
    let updates = 2_000;
    let stop = AtomicBool::new(false);
    on_cpus(|me| {
        let cpu = CpuId::current();
        arch::without_irqs(|| rcu::idle_exit(cpu));
        if me == 0 {
            for v in 2..updates + 2 {
                // SAFETY: as above; each old node is given to its callback once.
                unsafe {
                    let old = p.swap(new(v)).unwrap();
                    let head = old.byte_add(std::mem::offset_of!(Node, head)).cast();
                    rcu::call_rcu(head, free);
                }
                rcu::quiescent(cpu);
                rcu::run_callbacks();
            }
            block_on(async {
                let mut done = std::pin::pin!(rcu::synchronize(wait_site!("test")));
                std::future::poll_fn(|cx| {
                    rcu::quiescent(cpu);
                    // Other CPUs report in their loops.
                    cx.waker().wake_by_ref();
                    done.as_mut().poll(cx)
                })
                .await;
            });
            stop.store(true, Relaxed);
        }
        while !stop.load(Relaxed) {
            let guard = rcu::read_lock();
            let node = p.load(&guard).unwrap();
            assert_ne!(node.value.load(Relaxed), 0, "freed under a reader");
            drop(guard);
            rcu::quiescent(cpu);
        }
        arch::without_irqs(|| rcu::idle_enter(cpu));
        while rcu::run_callbacks() {}
    });
    for n in 0..THREADS {
        while rcu::run_callbacks_of(CpuId::new(n as usize).unwrap()) {}
    }
    assert_eq!(FREED.load(Relaxed), updates);
}
