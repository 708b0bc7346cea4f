//! The kernel's parameters, typed: a table of names, and what becomes of a word that is in none of its rows.
//!
//! As in Linux (init/main.c): words the kernel knows are consumed; of the others `module.param` is ignored, `name=value` goes
//! to init's environment, a bare word to its arguments; everything behind `--` goes to its arguments.

mod for_init;
mod pins;
mod table;
#[cfg(test)]
mod tests;

use self::for_init::{EnvList, List};
pub use self::pins::LatencyPins;
use self::table::{CONSUMED, TABLE, UNSUPPORTED};
use super::cmdline::{Words, same_name};

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
    /// `rcu_nocbs=`, `rcutree.…=`.
    pub rcu: RcuWords,
    /// `mem=`: bytes of memory that are used at most.
    pub mem: Option<u64>,
    /// `panic=`: seconds until a reboot; 0 never, negative at once.
    pub panic_timeout: i32,
    /// `oops=panic`, `panic_on_oops`.
    pub panic_on_oops: bool,
    /// `ftrace_dump_on_oops`: 1, all CPUs' entries; 2, those of the one that has the oops.
    pub ftrace_dump_on_oops: u32,
    /// `panic_print=`: what a panic says besides, a bit each.
    pub panic_print: u64,
    /// `panic_on_warn`.
    pub panic_on_warn: bool,
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
    /// `module_blacklist=`: drivers that are left out, by Linux's names of their modules, with commas between.
    pub module_blacklist: &'a [u8],
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
    pub soft_watchdog: bool,
    /// Not `nowatchdog` nor `nmi_watchdog=0`.
    pub nmi_watchdog: bool,
    /// `nmi_watchdog=panic`.
    pub hardlockup_panic: bool,
    /// `watchdog_thresh=`, seconds.
    pub watchdog_thresh: u32,
    /// `softlockup_panic=`.
    pub softlockup_panic: bool,
    /// `hung_task_panic=`.
    pub hung_task_panic: bool,
    /// `irqlat.pins=`: what is toggled while interrupt latency is measured.
    pub irqlat_pins: Option<LatencyPins>,
    /// `vigil.longest`: the machine's last lines say which sections the tracer of `ftrace=` found to be the longest.
    pub longest: bool,
    /// `vigil.semihosting`: the kernel may end the emulator.
    pub semihosting: bool,
    /// Arguments for init.
    pub init_args: List<'a>,
    /// Environment for init: name and value.
    pub init_env: EnvList<'a>,
}

/// What is said of RCU.
#[derive(Clone, Copy, Debug)]
pub struct RcuWords {
    /// `rcu_nocbs=`: CPUs whose callbacks run in tasks.
    pub nocbs: Option<u64>,
    /// `rcutree.blimit=`, and so the others.
    pub blimit: i64,
    /// See `blimit`.
    pub qhimark: i64,
    /// See `blimit`.
    pub qlowmark: i64,
    /// `rcutree.rcu_divisor=`.
    pub divisor: i32,
    /// `rcutree.rcu_resched_ns=`.
    pub resched_ns: i64,
    /// `rcutree.jiffies_till_first_fqs=`.
    pub first_fqs: u64,
    /// `rcutree.jiffies_till_next_fqs=`.
    pub next_fqs: u64,
}

impl RcuWords {
    const fn new() -> RcuWords {
        RcuWords { nocbs: None, blimit: 10, qhimark: 10_000, qlowmark: 100, divisor: 7, resched_ns: 3_000_000, first_fqs: 1, next_fqs: 1 }
    }
}

/// Why a word is not obeyed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Complaint {
    /// Its value is not understood.
    Malformed,
    /// What it asks for does not exist here.
    Unsupported,
}

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
            rcu: RcuWords::new(),
            mem: None,
            panic_timeout: 0,
            panic_on_oops: false,
            ftrace_dump_on_oops: 0,
            panic_print: 0,
            panic_on_warn: false,
            mitigations: Mitigate::Auto,
            kpti: None,
            nospectre_v2: false,
            nospectre_bhb: false,
            ssbd: None,
            nokaslr: false,
            noirqdebug: false,
            module_blacklist: &[],
            threadirqs: false,
            irqaffinity: None,
            norandmaps: false,
            trace_event: None,
            ftrace: None,
            soft_watchdog: true,
            nmi_watchdog: true,
            hardlockup_panic: false,
            watchdog_thresh: 10,
            softlockup_panic: false,
            hung_task_panic: false,
            irqlat_pins: None,
            longest: false,
            schedstats: false,
            semihosting: false,
            init_args: List::new(),
            init_env: EnvList::new(),
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
