//! Whose fault a late sample of `/dev/irqlat` is: the last events of each CPU, frozen when one comes.
//!
//! Armed by a threshold (`/sys/kernel/debug/irqlat_blame`, `docs/irqlat/README.md`). From then on each CPU notes what masks its
//! interrupts, what it polls, whom it wakes, and which interrupts it takes, in a ring of [`EVENTS`]. The first sample that is
//! later than the threshold ends that, and the file shows what its CPU did. While it is not armed nothing of this runs.

use super::control;
use super::event::Text;
use super::latency::Section;
use super::state::{self, Who};
use crate::debug::backtrace::{Symbol, walk};
use core::cell::Cell;
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use vigil_abi::Errno;
use vigil_drivers::irq::{self, Ipi, Virq};
use vigil_executor::cpu::CpuId;
use vigil_executor::lock_class;
use vigil_executor::sync::SpinLock;
use vigil_executor::time::{self, Nanos};
use vigil_mem::KVec;

/// How many events of a CPU are kept.
const EVENTS: usize = 64;
/// Callers that are kept of a section's end: whose lock it was.
const CALLERS: usize = 3;

/// Shorter sections than this explain nothing, and would drive out what does.
const SHORTEST: Nanos = time::USEC;

/// What happened.
#[derive(Clone, Copy)]
enum What {
    Nothing,
    /// Interrupts were masked, for `length`.
    Masked {
        length: Nanos,
        from: usize,
        to: usize,
        callers: [usize; CALLERS],
    },
    /// A hard interrupt and its bottom halves have ended.
    Interrupt {
        length: Nanos,
    },
    Line(Virq, &'static str),
    Ipi(Ipi),
    /// The poll of the task of this event begins or goes on.
    Polls,
    /// A task was woken.
    Wakes {
        pid: u32,
        comm: [u8; 16],
        target: CpuId,
    },
    /// The CPU has nothing to do.
    Idle,
}

#[derive(Clone, Copy)]
struct Event {
    at: Nanos,
    pid: u32,
    comm: [u8; 16],
    what: What,
}

const NOTHING: Event = Event { at: 0, pid: 0, comm: [0; 16], what: What::Nothing };

/// The last events of a CPU. Touched by it alone, in `state::enter`; read while it waits in an interrupt.
pub struct Ring {
    events: [Cell<Event>; EVENTS],
    /// How many there were.
    count: Cell<usize>,
    section: Cell<Section>,
}

impl Ring {
    /// An empty one.
    pub const fn new() -> Ring {
        Ring { events: [const { Cell::new(NOTHING) }; EVENTS], count: Cell::new(0), section: Cell::new(Section::CLOSED) }
    }

    fn add(&self, at: Nanos, who: Who, what: What) {
        if !is_on() {
            return;
        }
        let n = self.count.get();
        self.events[n % EVENTS].set(Event { at, pid: who.pid, comm: who.comm, what });
        self.count.set(n.wrapping_add(1));
    }

    fn clear(&self) {
        self.count.set(0);
        self.section.set(Section::CLOSED);
    }

    /// The events, the oldest first.
    fn all(&self) -> impl Iterator<Item = Event> + '_ {
        let n = self.count.get();
        (n.saturating_sub(EVENTS)..n).map(|i| self.events[i % EVENTS].get())
    }

    /// Interrupts of this CPU are masked from here on, or unmasked.
    pub fn masks(&self, now: Nanos, who: impl FnOnce() -> Who, on: bool, pc: usize, fp: usize) {
        let mut section = self.section.get();
        if on {
            section.begin(now, pc);
        } else if let Some(ended) = section.end(now)
            && ended.length >= SHORTEST
        {
            let mut callers = [0; CALLERS];
            let mut slots = callers.iter_mut();
            walk(fp, |ret| {
                if let Some(slot) = slots.next() {
                    *slot = ret.wrapping_sub(4);
                }
            });
            self.add(now, who(), What::Masked { length: ended.length, from: ended.from, to: pc, callers });
        }
        self.section.set(section);
    }

    /// What is masked now does not count: the CPU waits, or goes to EL0.
    pub fn forget_section(&self) {
        self.section.set(Section::CLOSED);
    }

    /// What is open does not count the `nanos` that the tracer has taken.
    pub fn leave_out(&self, nanos: Nanos) {
        let mut section = self.section.get();
        section.leave_out(nanos);
        self.section.set(section);
    }

    /// The hard interrupt that began at `since` has ended.
    pub fn interrupted(&self, now: Nanos, who: Who, since: Nanos) {
        self.forget_section();
        self.add(now, who, What::Interrupt { length: now.saturating_sub(since) });
    }

    /// An interrupt was acknowledged that is counted at `counter`.
    pub fn acknowledged(&self, now: Nanos, who: Who, counter: usize) {
        if let Some((virq, name)) = irq::line_of_counter(counter) {
            self.add(now, who, What::Line(virq, name));
        } else if let Some(ipi) = irq::ipi_of_counter(counter) {
            self.add(now, who, What::Ipi(ipi));
        }
    }

    /// `who` is polled.
    pub fn polls(&self, now: Nanos, who: Who) {
        self.add(now, who, What::Polls);
    }

    /// `who` wakes `woken`.
    pub fn wakes(&self, now: Nanos, who: Who, woken: Who, target: CpuId) {
        self.add(now, who, What::Wakes { pid: woken.pid, comm: woken.comm, target });
    }

    /// The CPU idles.
    pub fn idles(&self, now: Nanos, who: Who) {
        self.add(now, who, What::Idle);
    }
}

/// Nanoseconds; 0: not armed.
static THRESHOLD: AtomicU64 = AtomicU64::new(0);
/// A sample was late: the rings stay as they are.
static FROZEN: AtomicBool = AtomicBool::new(false);

/// Whether events are noted.
pub fn is_on() -> bool {
    is_armed() && !FROZEN.load(Relaxed)
}

/// Whether there is a threshold.
pub fn is_armed() -> bool {
    THRESHOLD.load(Relaxed) != 0
}

/// The late sample.
#[derive(Clone, Copy)]
struct Late {
    due: Nanos,
    seen: Nanos,
    cpu: CpuId,
    sequence: u64,
}

static LATE: SpinLock<Option<Late>> = SpinLock::new(lock_class!("irqlat_blame"), None);

/// Sample `sequence`, due at `due` on `cpu`, has been read. Costs a load while nothing is armed.
#[inline]
pub fn sample(due: Nanos, cpu: CpuId, sequence: u64) {
    let threshold = THRESHOLD.load(Relaxed);
    if threshold != 0 {
        check(threshold, due, cpu, sequence);
    }
}

#[cold]
fn check(threshold: Nanos, due: Nanos, cpu: CpuId, sequence: u64) {
    let seen = time::now();
    if seen.saturating_sub(due) > threshold && !FROZEN.swap(true, Relaxed) {
        *LATE.lock() = Some(Late { due, seen, cpu, sequence });
    }
}

/// Arms it with a threshold of so many nanoseconds; 0 ends it. What was frozen is forgotten. ENOMEM; EBUSY while a CPU comes or goes.
pub fn arm(threshold: Nanos) -> Result<(), Errno> {
    FROZEN.store(true, Relaxed);
    control::apply(|| THRESHOLD.store(threshold, Relaxed))?;
    *LATE.lock() = None;
    // Nobody writes while the CPUs wait.
    control::hold_all(|| {
        crate::procfs::possible_cpus().iter().for_each(|cpu| state::of(cpu).blame.clear());
        FROZEN.store(false, Relaxed);
    })
}

/// Shows the threshold, or what was frozen. ENOMEM, EBUSY.
pub fn show(out: &mut dyn Write) -> Result<(), Errno> {
    let late = *LATE.lock();
    let Some(late) = late else {
        let _ = writeln!(out, "threshold {}", THRESHOLD.load(Relaxed));
        return Ok(());
    };
    let mut events = KVec::new();
    events.try_reserve(EVENTS)?;
    control::hold_all(|| {
        for event in state::of(late.cpu).blame.all() {
            // There is room.
            let _ = events.try_push(event);
        }
    })?;
    let _ = report(&late, &events, out);
    Ok(())
}

fn report(late: &Late, events: &[Event], out: &mut dyn Write) -> fmt::Result {
    let Late { due, seen, cpu, sequence } = *late;
    writeln!(out, "sample {sequence}, CPU {}: read {} ns after it was due", cpu.index(), seen.saturating_sub(due))?;
    // What was masked when it was due, or came before it was read, for longest.
    let during = |e: &&Event| e.at > due && e.at <= seen;
    let masked =
        events.iter().filter(during).filter_map(|e| if let What::Masked { length, .. } = e.what { Some((length, e)) } else { None });
    if let Some((_, worst)) = masked.max_by_key(|(length, _)| *length) {
        write!(out, "blamed: ")?;
        line(worst, out)?;
    }
    for event in events.iter().filter(|e| e.at <= seen) {
        write!(out, "{:>+10} ns ", event.at.wrapping_sub(due).cast_signed())?;
        line(event, out)?;
    }
    Ok(())
}

fn line(event: &Event, out: &mut dyn Write) -> fmt::Result {
    let who = |pid: u32, comm: &[u8; 16], out: &mut dyn Write| {
        write!(out, "{}-{pid}", Text(if pid == 0 && comm[0] == 0 { b"<idle>" } else { comm }))
    };
    who(event.pid, &event.comm, out)?;
    match event.what {
        What::Nothing => {}
        What::Masked { length, from, to, callers } => {
            write!(out, ": interrupts off for {length} ns: {} -> {}", Symbol(from), Symbol(to))?;
            callers.iter().take_while(|c| **c != 0).try_for_each(|c| write!(out, " <- {}", Symbol(*c)))?;
        }
        What::Interrupt { length } => write!(out, ": interrupt of {length} ns ends")?,
        What::Line(virq, name) => write!(out, ": irq {} {name}", virq.get())?,
        What::Ipi(ipi) => write!(out, ": {}", ipi.description())?,
        What::Polls => out.write_str(" is polled")?,
        What::Wakes { pid, comm, target } => {
            out.write_str(" wakes ")?;
            who(pid, &comm, out)?;
            write!(out, " for CPU {}", target.index())?;
        }
        What::Idle => out.write_str(": idle")?,
    }
    out.write_char('\n')
}
