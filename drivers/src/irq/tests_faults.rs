//! Lines and handlers that misbehave, on the controller of [`super::tests`].

use super::tests::{DOMAIN, Device, enabled, handler, raised};
use super::*;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use vigil_abi::Errno;
use vigil_executor::cpu::{ACTIVE, CpuId, CpuMask};

fn unhandled(virq: Virq) -> u32 {
    info(virq).unwrap().unhandled
}

/// Windows of 100 000 interrupts in one of which a line is switched off, however busy the machine is.
const WINDOWS: u32 = 50;

#[test]
fn a_screaming_line_is_switched_off() {
    static D: Device = Device::new(false);
    static ACT: IrqAction = IrqAction::for_device("deaf", handler, &D, IrqFlags::empty());
    let virq = DOMAIN.map(15, Trigger::LevelHigh).unwrap();
    request_irq(virq, &ACT).unwrap();
    // Where nothing held the test up for a tenth of a second, which begins a new series: in one of the first windows.
    let last = (0..WINDOWS).find_map(|_| {
        (0..99_999).for_each(|_| handle_domain_irq(&DOMAIN, 15));
        assert!(enabled(15));
        let before = unhandled(virq);
        handle_domain_irq(&DOMAIN, 15);
        (!enabled(15)).then_some(before)
    });
    assert!(last.is_some_and(|before| (99_900..100_000).contains(&before)), "{last:?}");
    enable_irq(virq);
    assert!(enabled(15), "its driver may try again");
    assert_eq!(unhandled(virq), 0);
    free_irq(virq, &ACT);
}

#[test]
fn one_in_a_thousand_handled_keeps_a_line_on() {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    fn seldom(_: Virq, _: *const ()) -> IrqReturn {
        if CALLS.fetch_add(1, SeqCst) % 999 == 0 { IrqReturn::Handled } else { IrqReturn::None }
    }
    static ACT: IrqAction = IrqAction::of_static("seldom", seldom, IrqFlags::empty());
    let virq = DOMAIN.map(21, Trigger::LevelHigh).unwrap();
    request_irq(virq, &ACT).unwrap();
    for _ in 0..200_000 {
        handle_domain_irq(&DOMAIN, 21);
    }
    assert!(enabled(21));
    free_irq(virq, &ACT);
}

#[test]
fn who_claims_every_interrupt_of_a_shared_line_hides_the_one_who_denies_his() {
    static LIAR: Device = Device::new(true);
    static DENIES: Device = Device::new(false);
    static ACT_L: IrqAction = IrqAction::for_device("liar", handler, &LIAR, IrqFlags::SHARED);
    static ACT_D: IrqAction = IrqAction::for_device("denies", handler, &DENIES, IrqFlags::SHARED);
    let virq = DOMAIN.map(24, Trigger::LevelHigh).unwrap();
    request_irq(virq, &ACT_D).unwrap();
    request_irq(virq, &ACT_L).unwrap();
    for _ in 0..150_000 {
        handle_domain_irq(&DOMAIN, 24);
    }
    assert!(enabled(24));
    assert_eq!(DENIES.calls.load(SeqCst), 150_000, "he is asked each time");
    free_irq(virq, &ACT_L);
    for _ in 0..50_000 {
        handle_domain_irq(&DOMAIN, 24);
    }
    assert!(enabled(24), "half of the window was handled");
    // As above.
    for _ in 0..WINDOWS {
        if enabled(24) {
            (0..100_000).for_each(|_| handle_domain_irq(&DOMAIN, 24));
        }
    }
    assert!(!enabled(24));
    free_irq(virq, &ACT_D);
}

/// What was acknowledged by one CPU when another one disabled the line.
#[test]
fn a_disabled_line_runs_no_handler_and_keeps_an_edge() {
    static D: Device = Device::new(true);
    static ACT: IrqAction = IrqAction::for_device("off", handler, &D, IrqFlags::empty());
    for (hwirq, trigger) in [(27, Trigger::LevelHigh), (30, Trigger::EdgeRising), (28, Trigger::LevelHigh), (29, Trigger::EdgeRising)] {
        let virq = DOMAIN.map(hwirq, trigger).unwrap();
        request_irq(virq, &ACT).unwrap();
        let calls = D.calls.load(SeqCst);
        disable_hardirq(virq);
        handle_domain_irq(&DOMAIN, hwirq);
        assert_eq!(D.calls.load(SeqCst), calls, "line {hwirq}");
        assert!(!enabled(hwirq) && !raised(hwirq));
        enable_irq(virq);
        assert!(enabled(hwirq));
        assert_eq!(raised(hwirq), trigger.is_edge(), "line {hwirq}: a level is still there, an edge is not");
        handle_domain_irq(&DOMAIN, hwirq);
        assert_eq!(D.calls.load(SeqCst), calls + 1);
        free_irq(virq, &ACT);
    }
}

#[test]
fn handlers_come_and_go_under_interrupts() {
    static ON: AtomicBool = AtomicBool::new(false);
    static LATE: AtomicU32 = AtomicU32::new(0);
    fn mark(_: Virq, _: *const ()) -> IrqReturn {
        LATE.fetch_add(u32::from(!ON.load(SeqCst)), SeqCst);
        IrqReturn::Handled
    }
    static DONE: AtomicBool = AtomicBool::new(false);
    static ACT: IrqAction = IrqAction::of_static("comes and goes", mark, IrqFlags::SHARED);
    static OTHER: Device = Device::new(true);
    static STAYS: IrqAction = IrqAction::for_device("stays", handler, &OTHER, IrqFlags::SHARED);
    let virq = DOMAIN.map(33, Trigger::LevelHigh).unwrap();
    request_irq(virq, &STAYS).unwrap();
    let source = std::thread::spawn(|| {
        let mut n = 0;
        while !DONE.load(SeqCst) {
            handle_domain_irq(&DOMAIN, 33);
            n += 1;
        }
        n
    });
    for _ in 0..2_000 {
        ON.store(true, SeqCst);
        request_irq(virq, &ACT).unwrap();
        free_irq(virq, &ACT);
        ON.store(false, SeqCst);
    }
    DONE.store(true, SeqCst);
    let n = source.join().unwrap();
    assert_eq!(LATE.load(SeqCst), 0, "a handler ran after free_irq");
    assert_eq!(OTHER.calls.load(SeqCst), n);
    free_irq(virq, &STAYS);
}

#[test]
fn a_line_has_one_trigger() {
    let virq = DOMAIN.map(36, Trigger::None).unwrap();
    assert_eq!(DOMAIN.map(36, Trigger::LevelHigh), Ok(virq));
    assert_eq!(DOMAIN.map(36, Trigger::LevelHigh), Ok(virq));
    assert_eq!(DOMAIN.map(36, Trigger::None), Ok(virq));
    assert_eq!(DOMAIN.map(36, Trigger::EdgeRising), Err(Errno::EINVAL));
    assert_eq!(info(virq).unwrap().trigger, Trigger::LevelHigh);
}

#[test]
fn lines_go_where_they_are_sent_and_follow_the_default() {
    static D: Device = Device::new(true);
    static ACT: IrqAction = IrqAction::for_device("moves", handler, &D, IrqFlags::empty());
    static PERCPU: IrqAction = IrqAction::for_device("percpu", handler, &D, IrqFlags::empty());
    let cpus = [0, 1, 2].map(|n| CpuId::new(n).unwrap());
    for cpu in cpus {
        ACTIVE.insert(cpu);
    }
    let virq = DOMAIN.map(39, Trigger::LevelHigh).unwrap();
    let effective = || info(virq).unwrap().effective.0;
    assert_eq!(effective(), 0, "it is sent nowhere yet");
    set_default_affinity(CpuMask(4)).unwrap();
    assert_eq!(set_default_affinity(CpuMask(0xf0)), Err(Errno::EINVAL));
    request_irq(virq, &ACT).unwrap();
    set_default_affinity(CpuMask::ALL).unwrap();
    assert_eq!((info(virq).unwrap().affinity.0, effective()), (4, 4));
    set_affinity(virq, CpuMask(0xe)).unwrap();
    assert_eq!((info(virq).unwrap().affinity.0, effective()), (0xe, 2));
    assert_eq!(set_affinity(virq, CpuMask(0xf0)), Err(Errno::EINVAL));
    ACTIVE.remove(cpus[1]);
    leave_cpu();
    assert_eq!((info(virq).unwrap().affinity.0, effective()), (0xe, 4));
    set_affinity(virq, CpuMask(4)).unwrap();
    ACTIVE.insert(cpus[1]);
    ACTIVE.remove(cpus[2]);
    leave_cpu();
    assert_eq!((info(virq).unwrap().affinity.0, effective()), (3, 1), "none is left that it may go to: any");
    free_irq(virq, &ACT);
    let ppi = DOMAIN.map(4, Trigger::LevelHigh).unwrap();
    request_percpu_irq(ppi, &PERCPU).unwrap();
    assert_eq!(set_affinity(ppi, CpuMask(1)), Err(Errno::EIO));
    for cpu in cpus {
        ACTIVE.remove(cpu);
    }
}
