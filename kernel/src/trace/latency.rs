//! The longest section of one kind: how one CPU's sections begin and end, pure.
//!
//! A tracer follows one kind at a time, so a CPU has one [`Section`]. What it is told may have gaps: an exception masks
//! interrupts without a trap, and ERET unmasks them. So a beginning that finds the section open replaces it when its place says
//! that the state was "on" until now, and an end without a beginning is nothing.

/// What the latency tracers measure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Tracer {
    /// Nothing.
    Nop = 0,
    /// Interrupts masked.
    IrqsOff = 1,
    /// Preemption off by the count.
    PreemptOff = 2,
    /// Either.
    PreemptIrqsOff = 3,
    /// From wake to poll, any task.
    Wakeup = 4,
    /// The same, tasks above the fair class.
    WakeupRt = 5,
    /// The same, deadline tasks.
    WakeupDl = 6,
    /// A task's stay in the kernel without giving way.
    Poll = 7,
}

impl Tracer {
    /// All, in the order of `available_tracers`, `nop` last as on Linux.
    pub const ALL: [Tracer; 8] = [
        Tracer::Poll,
        Tracer::WakeupDl,
        Tracer::WakeupRt,
        Tracer::Wakeup,
        Tracer::PreemptIrqsOff,
        Tracer::PreemptOff,
        Tracer::IrqsOff,
        Tracer::Nop,
    ];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Tracer::Nop => "nop",
            Tracer::IrqsOff => "irqsoff",
            Tracer::PreemptOff => "preemptoff",
            Tracer::PreemptIrqsOff => "preemptirqsoff",
            Tracer::Wakeup => "wakeup",
            Tracer::WakeupRt => "wakeup_rt",
            Tracer::WakeupDl => "wakeup_dl",
            Tracer::Poll => "poll",
        }
    }

    /// The one called `name`.
    pub fn of_name(name: &[u8]) -> Option<Tracer> {
        Tracer::ALL.into_iter().find(|t| t.name().as_bytes() == name)
    }

    /// The one whose number is `n`.
    pub fn of_number(n: u8) -> Tracer {
        Tracer::ALL.into_iter().find(|t| *t as u8 == n).unwrap_or(Tracer::Nop)
    }

    /// Whether masked interrupts count.
    pub const fn follows_irqs(self) -> bool {
        matches!(self, Tracer::IrqsOff | Tracer::PreemptIrqsOff)
    }

    /// Whether the preempt count counts.
    pub const fn follows_count(self) -> bool {
        matches!(self, Tracer::PreemptOff | Tracer::PreemptIrqsOff)
    }
}

/// A section that has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ended {
    /// Nanoseconds.
    pub length: u64,
    /// Where it began.
    pub from: usize,
}

/// The section that is open on a CPU, if one is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Section {
    open: bool,
    since: u64,
    from: usize,
    /// The block whose count opened it; 0: the interrupt mask did.
    block: usize,
}

impl Section {
    /// None.
    pub const CLOSED: Section = Section { open: false, since: 0, from: 0, block: 0 };

    /// Whether one is open.
    pub const fn is_open(&self) -> bool {
        self.open
    }

    /// When it began.
    pub const fn since(&self) -> u64 {
        self.since
    }

    /// One begins; an open one is forgotten.
    pub fn begin(&mut self, now: u64, from: usize) {
        *self = Section { open: true, since: now, from, block: 0 };
    }

    /// The open one ends.
    pub fn end(&mut self, now: u64) -> Option<Ended> {
        let was = core::mem::take(self);
        was.open.then(|| Ended { length: now.saturating_sub(was.since), from: was.from })
    }

    /// What is open does not count the `nanos` that have just passed: the tracer's own, or an interrupt's.
    pub fn leave_out(&mut self, nanos: u64) {
        self.since = self.since.saturating_add(nanos);
    }

    /// The count of `block` changes. `also_off`: something else keeps the state off, whatever the count.
    pub fn count(&mut self, now: u64, place: usize, block: usize, (old, new): (u32, u32), also_off: bool) -> Option<Ended> {
        if old == 0 && new != 0 {
            if !self.open {
                self.begin(now, place);
                self.block = block;
            }
            return None;
        }
        // Another flow's section goes on: an interrupt has come and gone within it.
        let mine = self.block == 0 || self.block == block;
        if new == 0 && old != 0 && mine && !also_off { self.end(now) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_from_its_beginning_to_its_end() {
        let mut s = Section::CLOSED;
        assert_eq!(s.end(5), None);
        s.begin(10, 0x40);
        s.leave_out(3);
        assert_eq!(s.end(30), Some(Ended { length: 17, from: 0x40 }));
        assert_eq!(s.end(31), None);
    }

    #[test]
    fn counts_nest_and_an_interrupt_within_ends_nothing() {
        let (task, irq) = (0x1000, 0x2000);
        let mut s = Section::CLOSED;
        assert_eq!(s.count(0, 1, task, (0, 1), false), None);
        assert_eq!(s.count(1, 2, task, (1, 2), false), None);
        assert_eq!(s.count(2, 3, irq, (0, 1 << 16), false), None);
        assert_eq!(s.count(3, 4, irq, (1 << 16, 0), false), None);
        assert_eq!(s.count(4, 5, task, (2, 1), false), None);
        assert_eq!(s.count(9, 6, task, (1, 0), false), Some(Ended { length: 9, from: 1 }));
        assert_eq!(s.count(10, 7, task, (1, 0), false), None);
    }

    #[test]
    fn masked_interrupts_keep_a_counted_section_open() {
        let mut s = Section::CLOSED;
        assert_eq!(s.count(0, 1, 0x1000, (0, 1), false), None);
        assert_eq!(s.count(5, 2, 0x1000, (1, 0), true), None);
        assert_eq!(s.end(8), Some(Ended { length: 8, from: 1 }));
    }

    #[test]
    fn tracers_have_names() {
        for t in Tracer::ALL {
            assert_eq!(Tracer::of_name(t.name().as_bytes()), Some(t));
            assert_eq!(Tracer::of_number(t as u8), t);
        }
        assert_eq!(Tracer::of_name(b"function"), None);
    }
}
