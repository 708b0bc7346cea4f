//! Handlers with threads, on a controller made of code and the real executor loop with threads as CPUs.

#[path = "../../executor/tests/common/cpus.rs"]
mod cpus;

use cpus::{run, spawn};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, AtomicU64, Ordering::SeqCst};
use vigil_abi::Errno;
use vigil_drivers::irq::{
    Flow, IrqAction, IrqChip, IrqDomain, IrqFlags, IrqReturn, Trigger, Virq, disable_irq, enable_irq, force_threads, free_irq,
    free_threaded_irq, handle_domain_irq, request_irq, request_threaded_irq,
};
use vigil_executor::class::Policy;
use vigil_executor::cpu::{CpuId, CpuMask};
use vigil_executor::executor::{YieldKind, params, yield_now};
use vigil_executor::sync::Completion;
use vigil_executor::time::{MSEC, now};
use vigil_executor::wait_site;
use vigil_executor::{arch, task};

/// A controller with 16 level lines; `enabled` has a bit per line.
struct Chip {
    enabled: AtomicU64,
}

impl IrqChip for Chip {
    fn name(&self) -> &'static str {
        "fake"
    }
    fn translate(&self, _: &[u32]) -> Result<(u32, Trigger), Errno> {
        Err(Errno::EINVAL)
    }
    fn flow(&self, _: u32) -> Result<Flow, Errno> {
        Ok(Flow::Level)
    }
    fn mask(&self, hwirq: u32) {
        self.enabled.fetch_and(!(1 << hwirq), SeqCst);
    }
    fn unmask(&self, hwirq: u32) {
        self.enabled.fetch_or(1 << hwirq, SeqCst);
    }
    fn set_type(&self, _: u32, _: Trigger) -> Result<(), Errno> {
        Ok(())
    }
    fn set_affinity(&self, _: u32, mask: CpuMask) -> Result<CpuMask, Errno> {
        Ok(CpuMask::of(mask.first().ok_or(Errno::EINVAL)?))
    }
}

static CHIP: Chip = Chip { enabled: AtomicU64::new(0) };
static REVMAP: [AtomicU16; 16] = [const { AtomicU16::new(0) }; 16];
static DOMAIN: IrqDomain = IrqDomain::new(&CHIP, &REVMAP);

fn enabled(hwirq: u32) -> bool {
    CHIP.enabled.load(SeqCst) & 1 << hwirq != 0
}

/// The device raises its line: an interrupt comes if the line is on.
fn raise(hwirq: u32) -> bool {
    let on = enabled(hwirq);
    if on {
        arch::without_irqs(|| handle_domain_irq(&DOMAIN, hwirq));
    }
    on
}

fn line(hwirq: u32) -> Virq {
    DOMAIN.map(hwirq, Trigger::LevelHigh).unwrap()
}

/// Gives way until `done`, ten seconds at most; whether it is.
async fn until(done: impl Fn() -> bool) -> bool {
    let end = now() + 10_000 * MSEC;
    while !done() && now() < end {
        yield_now(YieldKind::Yield).await;
    }
    done()
}

#[test]
fn the_thread_is_a_real_time_task_with_the_line_s_name() {
    static SEEN: AtomicU32 = AtomicU32::new(0);
    fn function(virq: Virq, _: *const ()) -> IrqReturn {
        let me = task::current().unwrap();
        let name = format!("irq/{}-test_rt", virq.get());
        let p = params(me);
        SEEN.store(
            1 + 2 * u32::from(me.name().starts_with(name.as_bytes())) + 4 * u32::from(p.policy == Policy::Fifo && p.rt_priority == 50),
            SeqCst,
        );
        IrqReturn::Handled
    }
    run(async {
        // SAFETY: the handler uses nothing.
        let thread = unsafe { request_threaded_irq(line(1), "test_rt", None, function, std::ptr::null(), IrqFlags::ONESHOT) }.unwrap();
        assert!(raise(1));
        assert!(until(|| SEEN.load(SeqCst) != 0).await);
        assert_eq!(SEEN.load(SeqCst), 7);
        free_threaded_irq(thread).await;
        assert!(!enabled(1));
    });
}

#[test]
fn disable_irq_waits_for_the_thread() {
    static INSIDE: AtomicBool = AtomicBool::new(false);
    static GO_ON: AtomicBool = AtomicBool::new(false);
    static WAITED: AtomicBool = AtomicBool::new(false);
    fn function(_: Virq, _: *const ()) -> IrqReturn {
        INSIDE.store(true, SeqCst);
        // The other CPU waits for this one; and a thread of the host may be slow.
        let end = now() + 10_000 * MSEC;
        while !GO_ON.load(SeqCst) && now() < end {
            std::thread::yield_now();
        }
        INSIDE.store(false, SeqCst);
        IrqReturn::Handled
    }
    // The line, and so the thread, is CPU 0's; who waits is on the other.
    static ENDED: Completion = Completion::new();
    run(async {
        spawn("disables", Some(1), async {
            // SAFETY: the handler uses nothing.
            let thread =
                unsafe { request_threaded_irq(line(12), "test_disable", None, function, std::ptr::null(), IrqFlags::ONESHOT) }.unwrap();
            raise(12);
            if until(|| INSIDE.load(SeqCst)).await {
                std::thread::spawn(|| {
                    std::thread::sleep(std::time::Duration::from_millis(30));
                    GO_ON.store(true, SeqCst);
                });
                disable_irq(line(12)).await;
                WAITED.store(!INSIDE.load(SeqCst) && GO_ON.load(SeqCst), SeqCst);
            }
            GO_ON.store(true, SeqCst);
            enable_irq(line(12));
            free_threaded_irq(thread).await;
            ENDED.complete();
        });
        ENDED.wait(wait_site!("test")).await;
    });
    assert!(WAITED.load(SeqCst), "it ran when disable_irq had ended");
}

#[test]
fn a_oneshot_line_is_off_until_the_thread_is_done() {
    static SEEN: AtomicU32 = AtomicU32::new(0);
    fn function(_: Virq, _: *const ()) -> IrqReturn {
        SEEN.store(if enabled(2) { 2 } else { 1 }, SeqCst);
        IrqReturn::Handled
    }
    run(async {
        // SAFETY: the handler uses nothing.
        let thread = unsafe { request_threaded_irq(line(2), "test_oneshot", None, function, std::ptr::null(), IrqFlags::ONESHOT) }.unwrap();
        for _ in 0..20 {
            SEEN.store(0, SeqCst);
            assert!(raise(2));
            assert!(until(|| SEEN.load(SeqCst) != 0).await);
            assert_eq!(SEEN.load(SeqCst), 1, "off while the thread runs");
            assert!(until(|| enabled(2)).await, "on when it is done");
        }
        free_threaded_irq(thread).await;
    });
}

#[test]
fn threads_of_a_shared_line_are_all_waited_for() {
    static GO: AtomicBool = AtomicBool::new(false);
    static RAN: AtomicU32 = AtomicU32::new(0);
    fn quick(_: Virq, _: *const ()) -> IrqReturn {
        RAN.fetch_add(1, SeqCst);
        IrqReturn::Handled
    }
    fn primary_off(_: Virq, _: *const ()) -> IrqReturn {
        if GO.load(SeqCst) { IrqReturn::WakeThread } else { IrqReturn::None }
    }
    fn slow(_: Virq, _: *const ()) -> IrqReturn {
        RAN.fetch_add(100, SeqCst);
        IrqReturn::Handled
    }
    run(async {
        let flags = IrqFlags::ONESHOT | IrqFlags::SHARED;
        // SAFETY: the handlers use nothing.
        let (a, b, other) = unsafe {
            let a = request_threaded_irq(line(3), "test_a", None, quick, std::ptr::null(), flags).unwrap();
            let b = request_threaded_irq(line(3), "test_b", Some(primary_off), slow, std::ptr::null(), flags).unwrap();
            (a, b, request_threaded_irq(line(3), "test_c", Some(primary_off), slow, std::ptr::null(), IrqFlags::SHARED))
        };
        assert_eq!(other.err(), Some(Errno::EBUSY), "all that share are ONESHOT or none");
        assert!(raise(3));
        assert!(until(|| enabled(3)).await);
        assert_eq!(RAN.load(SeqCst), 1, "a primary handler that finds nothing wakes nobody");
        GO.store(true, SeqCst);
        assert!(raise(3));
        assert!(until(|| enabled(3)).await);
        assert_eq!(RAN.load(SeqCst), 102, "on again when both are done");
        free_threaded_irq(a).await;
        assert!(enabled(3), "the other still uses it");
        assert!(raise(3));
        assert!(until(|| RAN.load(SeqCst) == 202).await);
        free_threaded_irq(b).await;
        assert!(!enabled(3));
    });
}

#[test]
fn the_thread_goes_where_the_line_goes() {
    static SEEN: AtomicU32 = AtomicU32::new(0);
    fn function(_: Virq, _: *const ()) -> IrqReturn {
        SEEN.store(1 + CpuId::current().index() as u32, SeqCst);
        IrqReturn::Handled
    }
    run(async {
        // SAFETY: the handler uses nothing.
        let thread = unsafe { request_threaded_irq(line(4), "test_cpu", None, function, std::ptr::null(), IrqFlags::ONESHOT) }.unwrap();
        for cpu in [1, 0, 1, 0] {
            vigil_drivers::irq::set_affinity(line(4), CpuMask::of(CpuId::new(cpu).unwrap())).unwrap();
            SEEN.store(0, SeqCst);
            assert!(until(|| enabled(4)).await);
            assert!(raise(4));
            assert!(until(|| SEEN.load(SeqCst) != 0).await);
            assert_eq!(SEEN.load(SeqCst), 1 + cpu as u32);
        }
        assert!(until(|| enabled(4)).await);
        free_threaded_irq(thread).await;
    });
}

#[test]
fn a_handler_without_a_thread_of_its_own_needs_oneshot() {
    fn function(_: Virq, _: *const ()) -> IrqReturn {
        IrqReturn::Handled
    }
    // SAFETY: the handler uses nothing.
    let refused = unsafe { request_threaded_irq(line(5), "test_none", None, function, std::ptr::null(), IrqFlags::empty()) };
    assert_eq!(refused.err(), Some(Errno::EINVAL));
}

#[test]
fn ordinary_handlers_run_in_threads_when_the_command_line_says_so() {
    static SEEN: AtomicU32 = AtomicU32::new(0);
    fn handler(_: Virq, _: *const ()) -> IrqReturn {
        let threaded = task::current().is_some_and(|t| t.name().starts_with(b"irq/"));
        SEEN.store(if threaded { 1 } else { 2 }, SeqCst);
        IrqReturn::Handled
    }
    static FORCED: IrqAction = IrqAction::of_static("test_forced", handler, IrqFlags::empty());
    static REFUSES: IrqAction = IrqAction::of_static("test_refuses", handler, IrqFlags::NO_THREAD);
    run(async {
        force_threads();
        request_irq(line(6), &FORCED).unwrap();
        request_irq(line(7), &REFUSES).unwrap();
        assert!(raise(6));
        assert!(until(|| SEEN.load(SeqCst) != 0).await);
        assert_eq!(SEEN.swap(0, SeqCst), 1);
        assert!(until(|| enabled(6)).await);
        assert!(raise(7));
        assert_eq!(SEEN.load(SeqCst), 2);
        free_irq(line(6), &FORCED);
        free_irq(line(7), &REFUSES);
        assert!(!enabled(6) && !enabled(7));
    });
}
