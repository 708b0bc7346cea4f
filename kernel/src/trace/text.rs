//! Lines of `trace` and `trace_pipe`, as Linux 6.1 writes them.

use super::event::{self, FLAG_BH_OFF, FLAG_HARDIRQ, FLAG_IRQS_OFF, FLAG_RESCHED, FLAG_SOFTIRQ, Text};
use super::ring::Head;
use core::fmt::{self, Write};

/// The five characters between CPU and time: interrupts or bottom halves off, reschedule wanted, in which interrupt, depth of
/// preemption off, and migration off, which does not exist here. Of flags and the preempt count.
pub struct Flags(pub (u8, u8));

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (flags, preempt) = self.0;
        let off = match (flags & FLAG_IRQS_OFF != 0, flags & FLAG_BH_OFF != 0) {
            (true, true) => 'D',
            (true, false) => 'd',
            (false, true) => 'b',
            (false, false) => '.',
        };
        let resched = if flags & FLAG_RESCHED != 0 { 'N' } else { '.' };
        let context = match (flags & FLAG_HARDIRQ != 0, flags & FLAG_SOFTIRQ != 0) {
            (true, true) => 'H',
            (true, false) => 'h',
            (false, true) => 's',
            (false, false) => '.',
        };
        write!(f, "{off}{resched}{context}")?;
        if preempt != 0 { write!(f, "{:x}.", preempt & 0xf) } else { f.write_str("..") }
    }
}

/// Writes the entry of `cpu` as a line.
pub fn line(cpu: usize, head: &Head, body: &[u8], out: &mut dyn Write) -> fmt::Result {
    let comm = if head.pid == 0 && head.comm.starts_with(b"swapper/") { b"<idle>" } else { &head.comm[..] };
    // Not by the width of `Text`, which is written in pieces.
    let shown = comm.iter().position(|b| *b == 0).unwrap_or(comm.len());
    for _ in shown..16 {
        out.write_char(' ')?;
    }
    let micros = head.time.div_ceil(1000) - u64::from(head.time % 1000 < 500 && head.time % 1000 != 0);
    write!(out, "{}-{:<7} [{cpu:03}] {}", Text(comm), head.pid, Flags((head.flags, head.preempt)))?;
    write!(out, " {:5}.{:06}: ", micros / 1_000_000, micros % 1_000_000)?;
    match event::of_id(head.id) {
        Some(e) => {
            write!(out, "{}: ", if e.id == event::MARK { "tracing_mark_write" } else { e.name })?;
            (e.show)(body, out)?;
        }
        None => write!(out, "Unknown type {}", head.id)?,
    }
    out.write_char('\n')
}

/// The lines above the entries of `trace`.
pub fn header(tracer: &str, readable: u64, written: u64, cpus: u32, out: &mut dyn Write) -> fmt::Result {
    writeln!(out, "# tracer: {tracer}\n#\n# entries-in-buffer/entries-written: {readable}/{written}   #P:{cpus}\n#")?;
    out.write_str(
        "#                                _-----=> irqs-off/BH-disabled\n\
         #                               / _----=> need-resched\n\
         #                              | / _---=> hardirq/softirq\n\
         #                              || / _--=> preempt-depth\n\
         #                              ||| / _-=> migrate-disable\n\
         #                              |||| /     delay\n\
         #           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION\n\
         #              | |         |   |||||     |         |\n",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::event::{EVENTS, Record, SOFTIRQ_ENTRY};
    use std::string::String;

    fn head(time: u64, flags: u8, preempt: u8, pid: u32, comm: &str) -> Head {
        let comm = core::array::from_fn(|i| comm.as_bytes().get(i).copied().unwrap_or(0));
        Head { time, id: EVENTS[SOFTIRQ_ENTRY].id, flags, preempt, pid, comm }
    }

    #[test]
    fn lines_are_those_of_linux() {
        let mut s = String::new();
        let record = Record::new().int(9);
        line(0, &head(5_496_230_400, FLAG_SOFTIRQ, 0, 1, "init"), record.done(), &mut s).unwrap();
        line(1, &head(5_504_346_000, FLAG_SOFTIRQ | FLAG_RESCHED, 0, 0, "swapper/1"), record.done(), &mut s).unwrap();
        line(1, &head(1_504_346_999, FLAG_IRQS_OFF | FLAG_HARDIRQ, 2, 13, "ksoftirqd/0"), record.done(), &mut s).unwrap();
        assert_eq!(
            s,
            "            init-1       [000] ..s..     5.496230: softirq_entry: vec=9 [action=RCU]\n\
             \u{20}         <idle>-0       [001] .Ns..     5.504346: softirq_entry: vec=9 [action=RCU]\n\
             \u{20}    ksoftirqd/0-13      [001] d.h2.     1.504347: softirq_entry: vec=9 [action=RCU]\n"
        );
    }

    #[test]
    fn marks_lose_their_line_feed() {
        let mut s = String::new();
        let head = Head { id: event::MARK, ..head(0, 0, 0, 7, "sh") };
        line(3, &head, b"hello\n", &mut s).unwrap();
        assert_eq!(s, "              sh-7       [003] .....     0.000000: tracing_mark_write: hello\n");
    }
}
