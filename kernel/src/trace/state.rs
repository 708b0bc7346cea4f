//! What the tracers know of each CPU, and what user space has asked for.
//!
//! Whatever traces runs in [`enter`]: interrupts masked, and marked, so that sites which its own code comes by tell nothing. It may
//! have come from the middle of anything, locks held: it takes none that others take, wakes nobody and allocates nothing.

use super::blame;
use super::event::{self, EVENTS, Record};
use super::filter::{Entry, Filter};
use super::latency::{Section, Tracer};
use super::ring::{Head, Ring};
use core::cell::Cell;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, Ordering::*};
use vigil_drivers::irq::{Ipi, Virq};
use vigil_executor::arch;
use vigil_executor::context::{Context, HARDIRQ_OFFSET, SOFTIRQ_OFFSET};
use vigil_executor::cpu::{CpuId, MAX_CPUS, PerCpu};
use vigil_executor::task::Task;
use vigil_executor::time;
use vigil_mem::KBox;

/// A task as it was when it was seen: it may be gone.
#[derive(Clone, Copy)]
pub struct Who {
    /// Its address, to tell it from others; 0 for no task.
    pub task: usize,
    /// Its number; 0 for none.
    pub pid: u32,
    /// Its priority as Linux shows it.
    pub prio: i16,
    /// Its name.
    pub comm: [u8; 16],
}

impl Who {
    /// `task`.
    pub fn of(task: &Task) -> Who {
        Who { task: core::ptr::from_ref(task) as usize, pid: task.number(), prio: task.prio(), comm: task.name() }
    }

    /// What a CPU runs when it has nothing to do, with the name that Linux gives it.
    pub fn idle(cpu: CpuId) -> Who {
        let mut comm = *b"swapper/0\0\0\0\0\0\0\0";
        comm[8] += cpu.index() as u8;
        Who { task: 0, pid: 0, prio: 120, comm }
    }
}

/// How many places of an interrupted poll are kept.
pub const SAMPLE: usize = 8;

/// What is known of a CPU. Touched by it alone, in [`enter`]; the ring is for all.
pub struct CpuTrace {
    busy: Cell<bool>,
    /// Who runs.
    pub who: Cell<Option<Who>>,
    /// What the poll that has just ended left its task in: `prev_state`.
    pub left: Cell<Option<i64>>,
    /// What the current tracer measures.
    pub section: Cell<Section>,
    /// Of which [`GENERATION`] `section` is.
    generation: Cell<u32>,
    /// The line whose handlers run.
    pub line: Cell<Option<Virq>>,
    /// None of them knew the interrupt.
    pub unhandled: Cell<bool>,
    /// The address of the timer that has fired, until it is told that this is done; 0: none.
    pub fired: Cell<usize>,
    /// That of the one that was cancelled last; starting one anew begins so.
    pub cancelled: Cell<usize>,
    /// The interrupt from another CPU that is served.
    pub ipi: Cell<Option<Ipi>>,
    /// When the hard interrupt began.
    pub irq_since: Cell<u64>,
    /// The system call that the vector serves without the thread's future, if that is what the kernel was entered for.
    pub call: Cell<Option<usize>>,
    /// Where the last interrupt found the poll that is measured.
    pub sample: Cell<[usize; SAMPLE]>,
    /// What a late sample is blamed on.
    pub blame: blame::Ring,
    ring: AtomicPtr<Ring<'static>>,
}

// SAFETY: by the contract of the fields.
unsafe impl Sync for CpuTrace {}

impl CpuTrace {
    const fn new() -> CpuTrace {
        CpuTrace {
            busy: Cell::new(false),
            who: Cell::new(None),
            left: Cell::new(None),
            section: Cell::new(Section::CLOSED),
            generation: Cell::new(0),
            line: Cell::new(None),
            unhandled: Cell::new(false),
            fired: Cell::new(0),
            cancelled: Cell::new(0),
            ipi: Cell::new(None),
            irq_since: Cell::new(0),
            call: Cell::new(None),
            sample: Cell::new([0; SAMPLE]),
            blame: blame::Ring::new(),
            ring: AtomicPtr::new(core::ptr::null_mut()),
        }
    }

    /// Its ring, once there is one.
    pub fn ring(&self) -> Option<&'static Ring<'static>> {
        // SAFETY: a ring is never freed; what is replaced is kept until nobody can use it (`buffer`).
        unsafe { self.ring.load(Acquire).as_ref() }
    }

    /// Gives it another one; the old one.
    pub fn set_ring(&self, ring: *mut Ring<'static>) -> *mut Ring<'static> {
        self.ring.swap(ring, AcqRel)
    }

    /// Changes the section.
    pub fn with_section<R>(&self, f: impl FnOnce(&mut Section) -> R) -> R {
        let mut section = self.section.get();
        let r = f(&mut section);
        self.section.set(section);
        r
    }

    /// Who runs, as far as is known.
    pub fn runs(&self) -> Who {
        // On an interrupt's stack nobody is current, and in the loop neither.
        vigil_executor::task::current().map(Who::of).or_else(|| self.who.get()).unwrap_or(UNKNOWN)
    }
}

const UNKNOWN: Who = Who { task: 0, pid: 0, prio: 120, comm: *b"<...>\0\0\0\0\0\0\0\0\0\0\0" };

static CPUS: PerCpu<CpuTrace> = PerCpu::new([const { CpuTrace::new() }; MAX_CPUS]);

/// What is known of `cpu`: its ring.
pub fn of(cpu: CpuId) -> &'static CpuTrace {
    CPUS.of(cpu)
}

/// Which of [`EVENTS`] are on, a bit each.
pub static ENABLED: AtomicU32 = AtomicU32::new(0);
/// `tracing_on`.
pub static TRACING: AtomicBool = AtomicBool::new(true);
static TRACER: AtomicU8 = AtomicU8::new(0);
/// Counts changes of the tracer: sections of before are void.
static GENERATION: AtomicU32 = AtomicU32::new(0);
/// The longest section so far, nanoseconds.
pub static LONGEST: AtomicU64 = AtomicU64::new(0);
/// `tracing_thresh`, nanoseconds; not 0: what is at least as long is reported instead of what is the longest.
pub static THRESHOLD: AtomicU64 = AtomicU64::new(0);

/// The current tracer.
pub fn tracer() -> Tracer {
    Tracer::of_number(TRACER.load(Relaxed))
}

/// Makes `tracer` the current one.
pub fn set_tracer(tracer: Tracer) {
    TRACER.store(tracer as u8, Relaxed);
    forget_sections();
}

/// What is being measured is void.
pub fn forget_sections() {
    GENERATION.fetch_add(1, Release);
}

/// Runs `f` on what is known of this CPU, unless the tracer itself has come by a site.
pub fn enter<R>(f: impl FnOnce(&CpuTrace) -> R) -> Option<R> {
    let irq = arch::irq_save_untraced();
    let cpu = CPUS.this();
    let result = if cpu.busy.replace(true) {
        None
    } else {
        let generation = GENERATION.load(Acquire);
        if cpu.generation.replace(generation) != generation {
            cpu.section.set(Section::CLOSED);
            cpu.left.set(None);
        }
        let result = f(cpu);
        cpu.busy.set(false);
        Some(result)
    };
    arch::irq_restore_untraced(irq);
    result
}

/// Whether somebody wants entries of event number `index`.
pub fn wants(index: usize) -> bool {
    ENABLED.load(Relaxed) & 1 << index != 0 && TRACING.load(Relaxed)
}

const SOFTIRQ_MASK: u32 = 0xff << 8;
const HARDIRQ_MASK: u32 = 0xff << 16;

/// The flags and the preempt count of the flow on this stack, as entries show them.
pub fn flags(irqs_off: bool) -> (u8, u8) {
    let context = Context::here();
    let count = context.count();
    let serves = count & SOFTIRQ_OFFSET != 0;
    let mut flags = 0;
    for (on, flag) in [
        (irqs_off, event::FLAG_IRQS_OFF),
        (context.need_resched(), event::FLAG_RESCHED),
        (count & HARDIRQ_MASK >= HARDIRQ_OFFSET, event::FLAG_HARDIRQ),
        (serves, event::FLAG_SOFTIRQ),
        (count & SOFTIRQ_MASK & !SOFTIRQ_OFFSET != 0, event::FLAG_BH_OFF),
    ] {
        flags |= if on { flag } else { 0 };
    }
    (flags, count as u8)
}

/// The filters of the [`EVENTS`]; null for none. Changed while no CPU emits anything.
static FILTERS: [AtomicPtr<Filter>; EVENTS.len()] = [const { AtomicPtr::new(core::ptr::null_mut()) }; EVENTS.len()];

/// Gives event number `index` another filter; the one that it had.
///
/// # Safety
/// All other CPUs wait, and this one is not in [`enter`].
pub unsafe fn swap_filter(index: usize, filter: Option<KBox<Filter>>) -> Option<KBox<Filter>> {
    let old = FILTERS.get(index)?.swap(filter.map_or(core::ptr::null_mut(), KBox::into_raw), AcqRel);
    // SAFETY: made from a box by this function, and nobody has it any more.
    (!old.is_null()).then(|| unsafe { KBox::from_raw(old) })
}

/// Adds an entry of event number `index` to this CPU's ring, unless its filter leaves it out.
pub fn emit(cpu: &CpuTrace, index: usize, irqs_off: bool, record: &Record) {
    if let (true, Some(event)) = (wants(index), EVENTS.get(index)) {
        // SAFETY: what is there stays while this runs: see `swap_filter`.
        let filter = unsafe { FILTERS[index].load(Acquire).as_ref() };
        write_if(cpu, event.id, irqs_off, record.done(), filter);
    }
}

/// Adds an entry of type `id`.
pub fn write(cpu: &CpuTrace, id: u16, irqs_off: bool, body: &[u8]) {
    write_if(cpu, id, irqs_off, body, None);
}

fn write_if(cpu: &CpuTrace, id: u16, irqs_off: bool, body: &[u8], filter: Option<&Filter>) {
    let Some(ring) = cpu.ring() else { return };
    let (flags, preempt) = flags(irqs_off);
    let who = cpu.runs();
    let head = Head { time: time::now(), id, flags, preempt, pid: who.pid, comm: who.comm };
    if filter.is_none_or(|filter| filter.keeps(&Entry { head: &head, cpu: CpuId::current().index(), body })) {
        ring.write(&head, body);
    }
}
