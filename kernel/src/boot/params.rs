//! The kernel's parameters, typed: a table of names, and what becomes of a word that is in none of its rows.
//!
//! As in Linux (init/main.c): words the kernel knows are consumed; of the others `module.param` is ignored, `name=value` goes
//! to init's environment, a bare word to its arguments; everything behind `--` goes to its arguments.

use super::cmdline::{Words, cpu_list, integer, memparse, number, same_name};

/// Most arguments, and most environment entries, that init gets from the command line (Linux: CONFIG_INIT_ENV_ARG_LIMIT).
pub const INIT_LIMIT: usize = 32;
/// Most `console=` words.
pub const MAX_CONSOLES: usize = 4;

/// `mitigations=`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mitigate {
    /// What the CPU needs.
    Auto,
    /// Nothing.
    Off,
}

/// The parameters. Strings are slices of the command line.
#[derive(Clone, Debug)]
pub struct Params<'a> {
    /// `console=`, in order: the device name with its number, and the options behind the comma.
    pub consoles: [Option<(&'a [u8], &'a [u8])>; MAX_CONSOLES],
    /// `earlycon`: `Some("")` takes the device tree's stdout-path.
    pub earlycon: Option<&'a [u8]>,
    /// `keep_bootcon`.
    pub keep_bootcon: bool,
    /// `init=`.
    pub init: Option<&'a [u8]>,
    /// `rdinit=`.
    pub rdinit: Option<&'a [u8]>,
    /// `root=`.
    pub root: Option<&'a [u8]>,
    /// `rootfstype=`.
    pub rootfstype: Option<&'a [u8]>,
    /// `rootflags=`.
    pub rootflags: Option<&'a [u8]>,
    /// `rootwait`.
    pub rootwait: bool,
    /// `rootdelay=`, seconds.
    pub rootdelay: u32,
    /// `ro` (the default) or `rw`.
    pub root_read_only: bool,
    /// What `loglevel=`, `quiet` and `debug` ask for; the last one wins.
    pub loglevel: Option<u8>,
    /// `ignore_loglevel`.
    pub ignore_loglevel: bool,
    /// `maxcpus=`: how many CPUs are started at boot at most; the others can be brought up later.
    pub maxcpus: Option<u32>,
    /// `nr_cpus=`, `nosmp` and `maxcpus=0`: how many CPUs there are at most.
    pub nr_cpus: Option<u32>,
    /// `isolcpus=`, as a mask: the CPUs on which init, and so what it starts, does not run unless it asks to. Only the
    /// `domain` kind, which is also what is meant without a word before the list.
    pub isolcpus: u64,
    /// `nohz_full=`, and `isolcpus=` of the kind `nohz`: CPUs that are kept free of the kernel's own tasks.
    pub nohz_full: u64,
    /// `mem=`: bytes of memory that are used at most.
    pub mem: Option<u64>,
    /// `panic=`: seconds until a reboot; 0 never, negative at once.
    pub panic_timeout: i32,
    /// `oops=panic`, `panic_on_oops`.
    pub panic_on_oops: bool,
    /// `mitigations=`.
    pub mitigations: Mitigate,
    /// `kpti=`: forced on or off.
    pub kpti: Option<bool>,
    /// `nospectre_v2`.
    pub nospectre_v2: bool,
    /// `nospectre_bhb`.
    pub nospectre_bhb: bool,
    /// `ssbd=force-off`: `Some(false)`, `ssbd=force-on`: `Some(true)`.
    pub ssbd: Option<bool>,
    /// `nokaslr` (already obeyed when this is read).
    pub nokaslr: bool,
    /// `noirqdebug`: lines that nobody cares for are left on.
    pub noirqdebug: bool,
    /// `threadirqs`: handlers of interrupts run in threads, softirqs in ksoftirqd.
    pub threadirqs: bool,
    /// `irqaffinity=`, as a mask: where interrupts go at first, besides the boot CPU.
    pub irqaffinity: Option<u64>,
    /// `norandmaps`: user address spaces are not randomised.
    pub norandmaps: bool,
    /// `trace_event=`: events that are traced from the start, separated by commas.
    pub trace_event: Option<&'a [u8]>,
    /// `schedstats=enable`.
    pub schedstats: bool,
    /// `ftrace=`: the tracer that is current from the start.
    pub ftrace: Option<&'a [u8]>,
    /// Not `nowatchdog` nor `nosoftlockup`.
    pub watchdog: bool,
    /// `watchdog_thresh=`, seconds.
    pub watchdog_thresh: u32,
    /// `softlockup_panic=`.
    pub softlockup_panic: bool,
    /// `vigil.longest`: the machine's last lines say which sections the tracer of `ftrace=` found to be the longest.
    pub longest: bool,
    /// `vigil.semihosting`: the kernel may end the emulator.
    pub semihosting: bool,
    /// Arguments for init.
    pub init_args: List<'a>,
    /// Environment for init: name and value.
    pub init_env: EnvList<'a>,
}

/// Arguments for init, in order.
#[derive(Clone, Debug)]
pub struct List<'a> {
    items: [&'a [u8]; INIT_LIMIT],
    len: usize,
}

/// Environment entries for init; a name occurs once.
#[derive(Clone, Debug)]
pub struct EnvList<'a> {
    items: [(&'a [u8], &'a [u8]); INIT_LIMIT],
    len: usize,
}

impl<'a> List<'a> {
    /// The arguments.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> + '_ {
        self.items[..self.len].iter().copied()
    }

    /// Adds one; beyond the limit it is dropped (Linux panics; a boot loader's line should not stop us).
    fn push(&mut self, item: &'a [u8]) {
        if let Some(slot) = self.items.get_mut(self.len) {
            *slot = item;
            self.len += 1;
        }
    }
}

impl<'a> EnvList<'a> {
    /// The entries: name, value.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + '_ {
        self.items[..self.len].iter().copied()
    }

    fn set(&mut self, name: &'a [u8], value: &'a [u8]) {
        match self.items[..self.len].iter_mut().find(|e| e.0 == name) {
            Some(entry) => entry.1 = value,
            None => {
                if let Some(slot) = self.items.get_mut(self.len) {
                    *slot = (name, value);
                    self.len += 1;
                }
            }
        }
    }
}

/// What sets a parameter: `false` when the value is malformed.
type Set = for<'a> fn(&mut Params<'a>, Option<&'a [u8]>) -> bool;

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
    p.init_args.len = 0;
    take(&mut p.init, v)
}

fn set_rdinit<'a>(p: &mut Params<'a>, v: Option<&'a [u8]>) -> bool {
    p.init_args.len = 0;
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
const TABLE: &[(&str, Set)] = &[
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
    ("mem", |p, v| v.and_then(memparse).filter(|m| *m != 0).map(|m| p.mem = Some(m)).is_some()),
    ("panic", |p, v| take_number(&mut p.panic_timeout, v)),
    ("oops", |p, v| {
        p.panic_on_oops = v == Some(b"panic");
        p.panic_on_oops
    }),
    ("panic_on_oops", |p, v| set_switch(&mut p.panic_on_oops, v)),
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
        p.watchdog = false;
        true
    }),
    ("nosoftlockup", |p, _| {
        p.watchdog = false;
        true
    }),
    ("watchdog_thresh", |p, v| take_number(&mut p.watchdog_thresh, v)),
    ("softlockup_panic", |p, v| set_switch(&mut p.softlockup_panic, v)),
    ("vigil.longest", |p, v| set_switch(&mut p.longest, v)),
    ("vigil.semihosting", |p, v| set_switch(&mut p.semihosting, v)),
];

/// Why a word is not obeyed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Complaint {
    /// Its value is not understood.
    Malformed,
    /// What it asks for does not exist here.
    Unsupported,
}

/// Words that ask for what does not exist here: they are named in the log.
const UNSUPPORTED: &[&str] = &[
    "sysrq_always_enabled", "initcall_debug", "rcu_nocbs", "hugepages", "init_on_alloc", "init_on_free",
    "crashkernel", "page_poison", "slub_debug",
];

/// Words that Linux consumes and that change nothing here: what they tune does not exist, or is always so.
const CONSUMED: &[&str] = &[
    "BOOT_IMAGE", "noautogroup", "initrd", "log_buf_len", "lpj", "nohz", "rcu_nocb_poll", "skew_tick", "clocksource", "cpuidle.off",
    "randomize_kstack_offset", "transparent_hugepage", "hugepagesz", "cma", "coherent_pool",
    "swiotlb", "hung_task_panic", "noresume", "resume", "reset_devices", "ramdisk_size", "vmalloc", "loops_per_jiffy",
    "net.ifnames", "splash", "nomodeset", "reboot", "idle", "cgroup_disable", "audit", "selinux", "apparmor",
    "security", "lsm", "raid", "load_ramdisk", "prompt_ramdisk", "noinitrd", "printk.time", "rodata", "arm64.nopauth", "arm64.nobti", "arm64.nomte",
    "arm64.nosve", "arm64.nosme", "efi", "acpi", "pci", "pcie_aspm", "iommu", "numa", "kasan", "kfence.sample_interval", "highres", "no_console_suspend",
];

impl<'a> Params<'a> {
    /// The defaults.
    pub const fn new() -> Self {
        Params {
            consoles: [None; MAX_CONSOLES],
            earlycon: None,
            keep_bootcon: false,
            init: None,
            rdinit: None,
            root: None,
            rootfstype: None,
            rootflags: None,
            rootwait: false,
            rootdelay: 0,
            root_read_only: true,
            loglevel: None,
            ignore_loglevel: false,
            maxcpus: None,
            nr_cpus: None,
            isolcpus: 0,
            nohz_full: 0,
            mem: None,
            panic_timeout: 0,
            panic_on_oops: false,
            mitigations: Mitigate::Auto,
            kpti: None,
            nospectre_v2: false,
            nospectre_bhb: false,
            ssbd: None,
            nokaslr: false,
            noirqdebug: false,
            threadirqs: false,
            irqaffinity: None,
            norandmaps: false,
            trace_event: None,
            ftrace: None,
            watchdog: true,
            watchdog_thresh: 10,
            softlockup_panic: false,
            longest: false,
            schedstats: false,
            semihosting: false,
            init_args: List { items: [&[]; INIT_LIMIT], len: 0 },
            init_env: EnvList { items: [(&[], &[]); INIT_LIMIT], len: 0 },
        }
    }

    /// Parses `line`; `complain` is told each known word that is not obeyed, and why.
    pub fn parse(line: &'a [u8], mut complain: impl FnMut(Complaint, &[u8])) -> Self {
        let mut p = Params::new();
        let mut words = Words::new(line);
        while let Some(word) = words.next() {
            if word.name == b"--" && word.value.is_none() {
                for w in words.by_ref() {
                    p.init_args.push(w.raw);
                }
                break;
            }
            if let Some((_, set)) = TABLE.iter().find(|(n, _)| same_name(n.as_bytes(), word.name)) {
                if !set(&mut p, word.value) {
                    complain(Complaint::Malformed, word.name);
                }
            } else if UNSUPPORTED.iter().any(|n| same_name(n.as_bytes(), word.name)) {
                complain(Complaint::Unsupported, word.name);
            } else if CONSUMED.iter().any(|n| same_name(n.as_bytes(), word.name)) || word.name.contains(&b'.') || word.name.is_empty() {
                // Consumed, or a parameter of a module that we do not have.
            } else if let Some(value) = word.value {
                p.init_env.set(word.name, value);
            } else {
                p.init_args.push(word.name);
            }
        }
        p
    }
}

impl Default for Params<'_> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
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
        assert_eq!(Params::parse(b"isolcpus=managed_irq,domain,1-2", |_, _| {}).isolcpus, 0b110);
        assert_eq!(Params::parse(b"isolcpus=3", |_, _| {}).isolcpus, 0b1000);
    }

    #[test]
    fn unknown_words_go_to_init() {
        let p = Params::parse(b"foo=bar single usbcore.autosuspend=1 foo=baz net-ifnames.x BOOT_IMAGE=/x q=\"a b\" -- --opt x=1 quiet", |_, _| {});
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
}
