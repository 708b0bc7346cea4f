//! The names that the kernel knows: those with a function that takes the value, those that are named in the log, those that are passed over.

use super::{Mitigate, Params, pins};
use crate::boot::cmdline::{cpu_list, integer, memparse, number};

/// What sets a parameter: `false` when the value is malformed.
pub(super) type Set = for<'a> fn(&mut Params<'a>, Option<&'a [u8]>) -> bool;

/// Stores a value that must be there.
fn take<'a>(slot: &mut Option<&'a [u8]>, value: Option<&'a [u8]>) -> bool {
    *slot = value;
    value.is_some()
}

/// Stores a number of type `T`.
fn take_number<T: TryFrom<i64>>(slot: &mut T, value: Option<&[u8]>) -> bool {
    match value.and_then(integer).and_then(|v| T::try_from(v).ok()) {
        Some(v) => {
            *slot = v;
            true
        }
        None => false,
    }
}

/// A switch: no value, `1`, `y`, `on` or their opposites.
fn switch(value: Option<&[u8]>) -> Option<bool> {
    match value {
        None | Some(b"1" | b"y" | b"Y" | b"on" | b"yes") => Some(true),
        Some(b"0" | b"n" | b"N" | b"off" | b"no") => Some(false),
        Some(_) => None,
    }
}

fn set_switch(slot: &mut bool, value: Option<&[u8]>) -> bool {
    switch(value).map(|v| *slot = v).is_some()
}

/// Linux's hardlockup_panic_setup: `panic`, `nopanic`, a number; `r` and the CPUs of newer ones are not known to 6.1.
fn set_nmi_watchdog<'a>(p: &mut Params<'a>, v: Option<&'a [u8]>) -> bool {
    match v {
        Some(v) if v.starts_with(b"panic") => p.hardlockup_panic = true,
        Some(v) if v.starts_with(b"nopanic") => p.hardlockup_panic = false,
        Some(v) if v.starts_with(b"0") => p.nmi_watchdog = false,
        Some(v) if v.starts_with(b"1") => p.nmi_watchdog = true,
        _ => return false,
    }
    true
}

fn set_console<'a>(p: &mut Params<'a>, v: Option<&'a [u8]>) -> bool {
    let Some(v) = v.filter(|v| !v.is_empty()) else { return false };
    let (name, options) = match v.iter().position(|b| *b == b',') {
        Some(i) => (&v[..i], &v[i + 1..]),
        None => (v, &v[v.len()..]),
    };
    p.consoles.iter_mut().find(|c| c.is_none()).map(|slot| *slot = Some((name, options))).is_some()
}

/// `init=` also forgets the arguments so far: they were meant for another init (Linux: init_setup).
fn set_init<'a>(p: &mut Params<'a>, v: Option<&'a [u8]>) -> bool {
    p.init_args.clear();
    take(&mut p.init, v)
}

fn set_rdinit<'a>(p: &mut Params<'a>, v: Option<&'a [u8]>) -> bool {
    p.init_args.clear();
    take(&mut p.rdinit, v)
}

fn set_maxcpus<'a>(p: &mut Params<'a>, v: Option<&'a [u8]>) -> bool {
    let Some((n, _)) = v.and_then(number) else { return false };
    if n == 0 {
        p.nr_cpus = Some(1);
    }
    p.maxcpus = Some(u32::try_from(n).unwrap_or(u32::MAX).max(1));
    true
}

fn set_nr_cpus<'a>(p: &mut Params<'a>, v: Option<&'a [u8]>) -> bool {
    v.and_then(number).map(|(n, _)| p.nr_cpus = Some(u32::try_from(n).unwrap_or(u32::MAX).max(1))).is_some()
}

fn set_ssbd<'a>(p: &mut Params<'a>, v: Option<&'a [u8]>) -> bool {
    p.ssbd = match v {
        Some(b"force-on") => Some(true),
        Some(b"force-off") => Some(false),
        Some(b"kernel") => None,
        _ => return false,
    };
    true
}

fn set_mitigations<'a>(p: &mut Params<'a>, v: Option<&'a [u8]>) -> bool {
    p.mitigations = match v {
        Some(b"off") => Mitigate::Off,
        Some(b"auto" | b"auto,nosmt") => Mitigate::Auto,
        _ => return false,
    };
    true
}

/// The table. A name that ends in nothing but itself takes what its function accepts.
pub(super) const TABLE: &[(&str, Set)] = &[
    ("console", set_console),
    ("earlycon", |p, v| {
        p.earlycon = Some(v.unwrap_or(b""));
        true
    }),
    ("keep_bootcon", |p, v| set_switch(&mut p.keep_bootcon, v)),
    ("init", set_init),
    ("rdinit", set_rdinit),
    ("root", |p, v| take(&mut p.root, v)),
    ("rootfstype", |p, v| take(&mut p.rootfstype, v)),
    ("rootflags", |p, v| take(&mut p.rootflags, v)),
    ("rootwait", |p, _| {
        p.rootwait = true;
        true
    }),
    ("rootdelay", |p, v| take_number(&mut p.rootdelay, v)),
    ("ro", |p, v| {
        p.root_read_only = true;
        v.is_none()
    }),
    ("rw", |p, v| {
        p.root_read_only = false;
        v.is_none()
    }),
    ("quiet", |p, _| {
        p.loglevel = Some(4);
        true
    }),
    ("debug", |p, _| {
        p.loglevel = Some(10);
        true
    }),
    ("loglevel", |p, v| {
        let mut level = 0u8;
        let ok = take_number(&mut level, v);
        if ok {
            p.loglevel = Some(level);
        }
        ok
    }),
    ("ignore_loglevel", |p, v| set_switch(&mut p.ignore_loglevel, v)),
    ("maxcpus", set_maxcpus),
    ("nr_cpus", set_nr_cpus),
    ("nosmp", |p, _| {
        p.nr_cpus = Some(1);
        true
    }),
    ("isolcpus", |p, v| {
        let isolates = |v: &[u8]| v.first().is_some_and(u8::is_ascii_digit) || v.split(|b| *b == b',').any(|w| w == b"domain");
        let Some((v, mask)) = v.and_then(|v| Some((v, cpu_list(v)?))) else { return false };
        p.isolcpus = if isolates(v) { mask } else { 0 };
        if v.split(|b| *b == b',').any(|w| w == b"nohz") {
            p.nohz_full |= mask;
        }
        true
    }),
    ("nohz_full", |p, v| v.and_then(cpu_list).map(|mask| p.nohz_full |= mask).is_some()),
    // A list that is not understood is that of all CPUs; without one there are only the tasks (Linux: rcu_nocb_setup).
    ("rcu_nocbs", |p, v| {
        p.rcu.nocbs = Some(match v {
            None => 0,
            Some(b"all") => u64::MAX,
            Some(list) => cpu_list(list).unwrap_or(u64::MAX),
        });
        true
    }),
    ("rcutree.blimit", |p, v| take_number(&mut p.rcu.blimit, v)),
    ("rcutree.qhimark", |p, v| take_number(&mut p.rcu.qhimark, v)),
    ("rcutree.qlowmark", |p, v| take_number(&mut p.rcu.qlowmark, v)),
    ("rcutree.rcu_divisor", |p, v| take_number(&mut p.rcu.divisor, v)),
    ("rcutree.rcu_resched_ns", |p, v| take_number(&mut p.rcu.resched_ns, v)),
    ("rcutree.jiffies_till_first_fqs", |p, v| take_number(&mut p.rcu.first_fqs, v)),
    ("rcutree.jiffies_till_next_fqs", |p, v| take_number(&mut p.rcu.next_fqs, v)),
    ("mem", |p, v| v.and_then(memparse).filter(|m| *m != 0).map(|m| p.mem = Some(m)).is_some()),
    ("panic", |p, v| take_number(&mut p.panic_timeout, v)),
    ("oops", |p, v| {
        p.panic_on_oops = v == Some(b"panic");
        p.panic_on_oops
    }),
    ("panic_on_oops", |p, v| set_switch(&mut p.panic_on_oops, v)),
    ("ftrace_dump_on_oops", |p, v| {
        p.ftrace_dump_on_oops = match v {
            None | Some(b"1") => 1,
            Some(b"2" | b"orig_cpu") => 2,
            Some(_) => return false,
        };
        true
    }),
    ("panic_print", |p, v| v.and_then(integer).map(|what| p.panic_print = what as u64).is_some()),
    ("panic_on_warn", |p, v| set_switch(&mut p.panic_on_warn, v)),
    ("mitigations", set_mitigations),
    ("kpti", |p, v| switch(v).map(|b| p.kpti = Some(b)).is_some()),
    ("nospectre_v2", |p, _| {
        p.nospectre_v2 = true;
        true
    }),
    ("nospectre_bhb", |p, _| {
        p.nospectre_bhb = true;
        true
    }),
    ("ssbd", set_ssbd),
    ("nokaslr", |p, _| {
        p.nokaslr = true;
        true
    }),
    ("noirqdebug", |p, _| {
        p.noirqdebug = true;
        true
    }),
    ("module_blacklist", |p, v| {
        p.module_blacklist = v.unwrap_or(&[]);
        v.is_some()
    }),
    ("threadirqs", |p, _| {
        p.threadirqs = true;
        true
    }),
    ("irqaffinity", |p, v| {
        p.irqaffinity = v.and_then(cpu_list);
        p.irqaffinity.is_some()
    }),
    ("norandmaps", |p, _| {
        p.norandmaps = true;
        true
    }),
    ("trace_event", |p, v| take(&mut p.trace_event, v)),
    ("schedstats", |p, v| {
        p.schedstats = v == Some(b"enable");
        p.schedstats || v == Some(b"disable")
    }),
    ("ftrace", |p, v| take(&mut p.ftrace, v)),
    ("nowatchdog", |p, _| {
        p.soft_watchdog = false;
        p.nmi_watchdog = false;
        true
    }),
    ("nosoftlockup", |p, _| {
        p.soft_watchdog = false;
        true
    }),
    ("watchdog_thresh", |p, v| take_number(&mut p.watchdog_thresh, v)),
    ("nmi_watchdog", set_nmi_watchdog),
    ("hung_task_panic", |p, v| set_switch(&mut p.hung_task_panic, v)),
    ("softlockup_panic", |p, v| set_switch(&mut p.softlockup_panic, v)),
    ("irqlat.pins", |p, v| {
        p.irqlat_pins = v.and_then(pins::parse);
        p.irqlat_pins.is_some()
    }),
    ("vigil.longest", |p, v| set_switch(&mut p.longest, v)),
    ("vigil.semihosting", |p, v| set_switch(&mut p.semihosting, v)),
];

/// Words that ask for what does not exist here: they are named in the log.
pub(super) const UNSUPPORTED: &[&str] =
    &["sysrq_always_enabled", "initcall_debug", "hugepages", "init_on_alloc", "init_on_free", "crashkernel", "page_poison", "slub_debug"];

/// Words that Linux consumes and that change nothing here: what they tune does not exist, or is always so.
pub(super) const CONSUMED: &[&str] = &[
    "BOOT_IMAGE", "noautogroup", "initrd", "log_buf_len", "lpj", "nohz", "rcu_nocb_poll", "skew_tick", "clocksource", "cpuidle.off",
    "randomize_kstack_offset", "transparent_hugepage", "hugepagesz", "cma", "coherent_pool", "swiotlb", "noresume", "resume",
    "reset_devices", "ramdisk_size", "vmalloc", "loops_per_jiffy", "net.ifnames", "splash", "nomodeset", "reboot", "idle",
    "cgroup_disable", "audit", "selinux", "apparmor", "security", "lsm", "raid", "load_ramdisk", "prompt_ramdisk", "noinitrd",
    "printk.time", "rodata", "arm64.nopauth", "arm64.nobti", "arm64.nomte", "arm64.nosve", "arm64.nosme", "efi", "acpi", "pci",
    "pcie_aspm", "iommu", "numa", "kasan", "kfence.sample_interval", "highres", "no_console_suspend",
];
