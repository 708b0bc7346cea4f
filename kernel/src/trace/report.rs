//! The report of the longest section: taken where it ends, shown in Linux's latency format.

use super::event::Text;
use super::latency::{Ended, Tracer};
use super::state::{self, SAMPLE, Who};
use crate::debug::backtrace::{Symbol, walk};
use core::fmt::{self, Write};
use core::sync::atomic::Ordering::Relaxed;
use vigil_abi::until_nul;
use vigil_executor::cpu::{CpuId, ONLINE};
use vigil_executor::lock_class;
use vigil_executor::sync::SpinLock;

/// Places of a call chain that are kept.
const STACK: usize = 16;
/// Bytes of text.
const TEXT: usize = 768;

/// A text of bounded length: what does not fit is cut.
pub struct Note {
    bytes: [u8; TEXT],
    length: usize,
}

impl Note {
    /// An empty one.
    pub const fn new() -> Note {
        Note { bytes: [0; TEXT], length: 0 }
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl Write for Note {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        let room = &mut self.bytes[self.length..];
        let n = room.len().min(s.len());
        room[..n].copy_from_slice(&s.as_bytes()[..n]);
        self.length += n;
        Ok(())
    }
}

/// What is known of the longest section.
struct Report {
    tracer: Tracer,
    length: u64,
    cpu: usize,
    who: Who,
    from: usize,
    to: usize,
    flags: (u8, u8),
    stack: [usize; STACK],
    sample: [usize; SAMPLE],
    note: Note,
}

/// A leaf: taken in the middle of anything, with interrupts masked and tracing off on this CPU (`state::enter`).
static REPORT: SpinLock<Option<Report>> = SpinLock::new(lock_class!("latency_report"), None);

/// Whether a section of `length` is to be reported.
pub fn is_record(length: u64) -> bool {
    if !state::TRACING.load(Relaxed) {
        return false;
    }
    match state::THRESHOLD.load(Relaxed) {
        0 => length > state::LONGEST.load(Relaxed),
        threshold => length >= threshold,
    }
}

/// A section has ended at `to`, in a call chain that begins with the frame record `fp`. In `state::enter`.
pub fn note(tracer: Tracer, ended: Ended, who: Who, to: usize, fp: usize, sample: [usize; SAMPLE], note: impl FnOnce(&mut Note)) {
    if !is_record(ended.length) {
        return;
    }
    let mut stack = [0; STACK];
    let mut n = 0;
    walk(fp, |ret| {
        if let Some(slot) = stack.get_mut(n) {
            *slot = ret.wrapping_sub(4);
            n += 1;
        }
    });
    let mut report = Report {
        tracer,
        length: ended.length,
        cpu: CpuId::current().index(),
        who,
        from: ended.from,
        to,
        flags: state::flags(true),
        stack,
        sample,
        note: Note::new(),
    };
    note(&mut report.note);
    let mut kept = REPORT.lock_masked();
    // Another CPU may have been faster.
    if is_record(ended.length) {
        state::LONGEST.fetch_max(ended.length, Relaxed);
        *kept = Some(report);
    }
}

/// Forgets it.
pub fn clear() {
    let _ = state::enter(|_| *REPORT.lock_masked() = None);
}

fn take() -> Option<Report> {
    state::enter(|_| REPORT.lock_masked().take()).flatten()
}

fn put_back(report: Report) {
    let _ = state::enter(|_| {
        let mut kept = REPORT.lock_masked();
        // Unless there is a longer one meanwhile.
        if kept.is_none() {
            *kept = Some(report);
        }
    });
}

fn header(tracer: Tracer, out: &mut dyn Write) -> fmt::Result {
    let uts = crate::uts::RELEASE;
    writeln!(out, "# {} latency trace v1.1.5 on {uts}", tracer.name())?;
    writeln!(out, "# --------------------------------------------------------------------")
}

fn columns(out: &mut dyn Write) -> fmt::Result {
    out.write_str(
        "#                    _------=> CPU#            \n\
         #                   / _-----=> irqs-off/BH-disabled\n\
         #                  | / _----=> need-resched    \n\
         #                  || / _---=> hardirq/softirq \n\
         #                  ||| / _--=> preempt-depth   \n\
         #                  |||| / _-=> migrate-disable \n\
         #                  ||||| /     delay           \n\
         #  cmd     pid     |||||| time  |   caller     \n\
         #     \\   /        ||||||  \\    |    /       \n",
    )
}

/// Shows the report of `tracer`, the current one.
pub fn show(tracer: Tracer, out: &mut dyn Write) -> fmt::Result {
    writeln!(out, "# tracer: {}\n#", tracer.name())?;
    // Out of its place while it is written: writing allocates.
    let Some(report) = take() else { return Ok(()) };
    let result = if report.tracer == tracer { show_report(&report, out) } else { Ok(()) };
    put_back(report);
    result
}

fn show_report(r: &Report, out: &mut dyn Write) -> fmt::Result {
    header(r.tracer, out)?;
    let (who, us) = (&r.who, r.length / 1000);
    let comm = Text(if who.pid == 0 && who.task == 0 { b"<idle>" } else { &who.comm });
    writeln!(out, "# latency: {us} us, #2/2, CPU#{} | (M:preempt VP:0, KP:0, SP:0 HP:0 #P:{})", r.cpu, ONLINE.load().0.count_ones())?;
    writeln!(out, "#    -----------------")?;
    let (nice, policy, rt) = match who.prio {
        ..0 => (0, 6, 0),
        prio @ 0..100 => (0, 1, 99 - prio),
        prio => (prio - 120, 0, 0),
    };
    writeln!(out, "#    | task: {comm}-{} (nice:{nice} policy:{policy} rt_prio:{rt})", who.pid)?;
    writeln!(out, "#    -----------------")?;
    writeln!(out, "#  => started at: {}", Symbol(r.from))?;
    writeln!(out, "#  => ended at:   {}", Symbol(r.to))?;
    writeln!(out, "#  => nanoseconds: {}", r.length)?;
    writeln!(out, "#\n#")?;
    columns(out)?;
    let begin = |at: u64, out: &mut dyn Write| {
        let name = until_nul(comm.0);
        let name = &name[..name.len().min(8)];
        for _ in name.len()..8 {
            out.write_char(' ')?;
        }
        write!(out, "{}-{:<7} {:3}{} {at:4}us : ", Text(name), who.pid, r.cpu, super::text::Flags(r.flags))
    };
    for (at, place) in [(0, r.from), (us, r.to)] {
        begin(at, out)?;
        writeln!(out, "{} <-{}", Symbol(place), Symbol(r.stack[0]))?;
    }
    for (title, places) in [("<stack trace>", &r.stack[..]), ("<interrupted at>", &r.sample[..])] {
        if places[0] != 0 {
            begin(us, out)?;
            writeln!(out, "{title}")?;
        }
        for place in places.iter().take_while(|p| **p != 0) {
            writeln!(out, " => {}", Symbol(*place))?;
        }
    }
    if r.note.length != 0 {
        begin(us, out)?;
        writeln!(out, "<await chain>")?;
        write!(out, "{}", Text(r.note.as_bytes()))?;
    }
    Ok(())
}
