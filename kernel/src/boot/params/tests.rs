//! The parameters: values, what is malformed, what goes to init.

use super::for_init::INIT_LIMIT;
use super::*;
use std::vec::Vec;

#[test]
fn known_words_are_typed() {
    let line = b"earlycon console=ttyAMA0,115200n8 console=tty1 rdinit=/init quiet loglevel=7 mem=256M maxcpus=2 panic=-1 \
        oops=panic mitigations=off isolcpus=domain,1-2 rw vigil.semihosting root=/dev/vda rootwait panic=x";
    let mut bad = Vec::new();
    let p = Params::parse(line, |why, n| bad.push((why, n.to_vec())));
    assert_eq!(p.consoles[0], Some((&b"ttyAMA0"[..], &b"115200n8"[..])));
    assert_eq!(p.consoles[1], Some((&b"tty1"[..], &b""[..])));
    assert_eq!((p.earlycon, p.rdinit), (Some(&b""[..]), Some(&b"/init"[..])));
    assert_eq!((p.loglevel, p.mem, p.maxcpus, p.panic_timeout), (Some(7), Some(256 << 20), Some(2), -1));
    assert!(p.panic_on_oops && p.mitigations == Mitigate::Off && p.semihosting && !p.root_read_only && p.rootwait);
    assert_eq!(p.isolcpus, 0b110);
    assert_eq!(bad, [(Complaint::Malformed, b"panic".to_vec())]);
    assert_eq!(p.init_args.iter().count() + p.init_env.iter().count(), 0);
}

#[test]
fn what_has_no_effect_is_named() {
    let mut bad = Vec::new();
    let p = Params::parse(b"crashkernel=1M init-on-alloc=1 nowatchdog isolcpus=nohz,1", |why, n| bad.push((why, n.to_vec())));
    assert_eq!(bad, [(Complaint::Unsupported, b"crashkernel".to_vec()), (Complaint::Unsupported, b"init-on-alloc".to_vec())]);
    assert_eq!((p.isolcpus, p.init_args.iter().count(), p.init_env.iter().count()), (0, 0, 0));
    assert_eq!(p.nohz_full, 0b10);
    assert_eq!(Params::parse(b"nohz_full=2-3", |_, _| {}).nohz_full, 0b1100);
    let nocbs = |line: &[u8]| Params::parse(line, |_, _| {}).rcu.nocbs;
    assert_eq!([&b""[..], b"rcu_nocbs", b"rcu_nocbs=1,2", b"rcu_nocbs=all"].map(nocbs), [None, Some(0), Some(6), Some(u64::MAX)]);
    assert_eq!(Params::parse(b"isolcpus=managed_irq,domain,1-2", |_, _| {}).isolcpus, 0b110);
    assert_eq!(Params::parse(b"isolcpus=3", |_, _| {}).isolcpus, 0b1000);
}

#[test]
fn watchdogs_are_switched_one_by_one() {
    let on = |line: &str| {
        let p = Params::parse(line.as_bytes(), |why, word| panic!("{why:?} {word:?}"));
        (p.soft_watchdog, p.nmi_watchdog, p.hardlockup_panic)
    };
    assert_eq!(on("quiet"), (true, true, false));
    assert_eq!(on("nowatchdog"), (false, false, false));
    assert_eq!(on("nosoftlockup"), (false, true, false));
    assert_eq!(on("nmi_watchdog=0"), (true, false, false));
    assert_eq!(on("nmi_watchdog=panic"), (true, true, true));
    assert_eq!(on("nmi_watchdog=panic nmi_watchdog=nopanic"), (true, true, false));
}

#[test]
fn unknown_words_go_to_init() {
    let p =
        Params::parse(b"foo=bar single usbcore.autosuspend=1 foo=baz net-ifnames.x BOOT_IMAGE=/x q=\"a b\" -- --opt x=1 quiet", |_, _| {});
    assert_eq!(p.init_args.iter().collect::<Vec<_>>(), [&b"single"[..], b"--opt", b"x=1", b"quiet"]);
    assert_eq!(p.init_env.iter().collect::<Vec<_>>(), [(&b"foo"[..], &b"baz"[..]), (b"q", b"a b")]);
    assert_eq!(p.loglevel, None);
    let p = Params::parse(b"single init=/bin/sh more", |_, _| {});
    assert_eq!(p.init_args.iter().collect::<Vec<_>>(), [&b"more"[..]]);
}

#[test]
fn more_words_than_fit_are_dropped() {
    let line = (0..50).map(|i| std::format!("w{i} v{i}=1")).collect::<Vec<_>>().join(" ");
    let p = Params::parse(line.as_bytes(), |_, _| {});
    assert_eq!((p.init_args.iter().count(), p.init_env.iter().count()), (INIT_LIMIT, INIT_LIMIT));
}
