//! The events of timers, work items, and interrupts between CPUs: their fields and texts.

use super::event::{Body, Field, Text, field};
use core::fmt::{self, Write};
use vigil_drivers::irq::Ipi;

/// The address of something, so that it can be told from others (Linux: %p).
struct Hidden(u64);

impl fmt::Display for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", crate::random::hidden(self.0 as usize))
    }
}

/// The name of a function; 0 is what wakes a sleeper.
struct Function(u64);

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("hrtimer_wakeup");
        }
        #[cfg(target_os = "none")]
        return write!(f, "{:#}", crate::debug::backtrace::Symbol(self.0 as usize));
        #[cfg(not(target_os = "none"))]
        write!(f, "{:#x}", self.0)
    }
}

const TIMER: Field = field("void * timer", 8, false);
const HRTIMER: Field = field("void * hrtimer", 8, false);
const FUNCTION: Field = field("void * function", 8, false);
const WORK: Field = field("void * work", 8, false);
const REASON: Field = field("const char * reason", 8, false);

pub(super) const HRTIMER_FIELDS: &[Field] = &[HRTIMER];
pub(super) const HRTIMER_PRINT: &str = "\"hrtimer=%p\", REC->hrtimer";
pub(super) const EXPIRE_FIELDS: &[Field] = &[HRTIMER, field("s64 now", 8, true), FUNCTION];
pub(super) const EXPIRE_PRINT: &str = "\"hrtimer=%p function=%ps now=%llu\", REC->hrtimer, REC->function, (unsigned long long) REC->now";
pub(super) const START_FIELDS: &[Field] = &[
    HRTIMER,
    FUNCTION,
    field("s64 expires", 8, true),
    field("s64 softexpires", 8, true),
    field("enum hrtimer_mode mode", 4, false),
    field("bool was_armed", 1, false),
];
pub(super) const START_PRINT: &str = "\"hrtimer=%p function=%ps expires=%llu softexpires=%llu mode=%s was_armed=%d\", REC->hrtimer, \
    REC->function, (unsigned long long) REC->expires, (unsigned long long) REC->softexpires, __print_symbolic(REC->mode, \
    { HRTIMER_MODE_ABS, \"ABS\" }, { HRTIMER_MODE_REL, \"REL\" }, { HRTIMER_MODE_ABS_PINNED, \"ABS|PINNED\" }, \
    { HRTIMER_MODE_REL_PINNED, \"REL|PINNED\" }, { HRTIMER_MODE_ABS_SOFT, \"ABS|SOFT\" }, { HRTIMER_MODE_REL_SOFT, \"REL|SOFT\" }, \
    { HRTIMER_MODE_ABS_PINNED_SOFT, \"ABS|PINNED|SOFT\" }, { HRTIMER_MODE_REL_PINNED_SOFT, \"REL|PINNED|SOFT\" }, \
    { HRTIMER_MODE_ABS_HARD, \"ABS|HARD\" }, { HRTIMER_MODE_REL_HARD, \"REL|HARD\" }, { HRTIMER_MODE_ABS_PINNED_HARD, \"ABS|PINNED|HARD\" }, \
    { HRTIMER_MODE_REL_PINNED_HARD, \"REL|PINNED|HARD\" }), REC->was_armed";
pub(super) const TIMER_FIELDS: &[Field] = &[TIMER];
pub(super) const TIMER_PRINT: &str = "\"timer=%p\", REC->timer";
pub(super) const TIMER_EXPIRE_FIELDS: &[Field] =
    &[TIMER, field("unsigned long now", 8, false), FUNCTION, field("unsigned long baseclk", 8, false)];
pub(super) const TIMER_EXPIRE_PRINT: &str =
    "\"timer=%p function=%ps now=%lu baseclk=%lu\", REC->timer, REC->function, REC->now, REC->baseclk";
pub(super) const TIMER_START_FIELDS: &[Field] = &[
    TIMER,
    FUNCTION,
    field("unsigned long expires", 8, false),
    field("unsigned long now", 8, false),
    field("unsigned int flags", 4, false),
];
pub(super) const TIMER_START_PRINT: &str = "\"timer=%p function=%ps expires=%lu [timeout=%ld] cpu=%u idx=%u flags=%s\", REC->timer, \
    REC->function, REC->expires, (long)REC->expires - REC->now, REC->flags & 0x0003FFFF, REC->flags >> 22, __print_flags(REC->flags & \
    (0x00040000 | 0x00080000 | 0x00100000 | 0x00200000), \"|\", { 0x00040000, \"M\" }, { 0x00080000, \"D\" }, { 0x00100000, \"P\" }, \
    { 0x00200000, \"I\" })";
pub(super) const ACTIVATE_FIELDS: &[Field] = &[WORK];
pub(super) const ACTIVATE_PRINT: &str = "\"work struct %p\", REC->work";
pub(super) const EXECUTE_FIELDS: &[Field] = &[WORK, FUNCTION];
pub(super) const EXECUTE_PRINT: &str = "\"work struct %p: function %ps\", REC->work, REC->function";
pub(super) const QUEUE_FIELDS: &[Field] =
    &[WORK, FUNCTION, field("__data_loc char[] workqueue", 4, false), field("int req_cpu", 4, true), field("int cpu", 4, true)];
pub(super) const QUEUE_PRINT: &str = "\"work struct=%p function=%ps workqueue=%s req_cpu=%d cpu=%d\", REC->work, REC->function, \
    __get_str(workqueue), REC->req_cpu, REC->cpu";
pub(super) const IPI_FIELDS: &[Field] = &[REASON];
pub(super) const IPI_PRINT: &str = "\"(%s)\", REC->reason";
pub(super) const RAISE_FIELDS: &[Field] = &[field("__data_loc unsigned long[] target_cpus", 4, false), REASON];
pub(super) const RAISE_PRINT: &str = "\"target_mask=%s (%s)\", __get_bitmask(target_cpus), REC->reason";

pub(super) fn show_hrtimer(body: &[u8], out: &mut dyn Write) -> fmt::Result {
    write!(out, "hrtimer={}", Hidden(Body(body).number(8)))
}

pub(super) fn show_expire(body: &[u8], out: &mut dyn Write) -> fmt::Result {
    let mut b = Body(body);
    let (timer, now, function) = (b.number(8), b.number(8), b.number(8));
    write!(out, "hrtimer={} function={} now={now}", Hidden(timer), Function(function))
}

pub(super) fn show_start(body: &[u8], out: &mut dyn Write) -> fmt::Result {
    let mut b = Body(body);
    let (timer, function, expires, soft, _) = (b.number(8), b.number(8), b.number(8), b.number(8), b.int());
    let (timer, function) = (Hidden(timer), Function(function));
    write!(out, "hrtimer={timer} function={function} expires={expires} softexpires={soft} mode=ABS was_armed={}", b.number(1))
}

pub(super) fn show_timer(body: &[u8], out: &mut dyn Write) -> fmt::Result {
    write!(out, "timer={}", Hidden(Body(body).number(8)))
}

pub(super) fn show_timer_expire(body: &[u8], out: &mut dyn Write) -> fmt::Result {
    let mut b = Body(body);
    let (timer, now, function, clock) = (b.number(8), b.number(8), b.number(8), b.number(8));
    write!(out, "timer={} function={} now={now} baseclk={clock}", Hidden(timer), Function(function))
}

pub(super) fn show_timer_start(body: &[u8], out: &mut dyn Write) -> fmt::Result {
    let mut b = Body(body);
    let (timer, function, expires, now, flags) = (b.number(8), b.number(8), b.number(8), b.number(8), b.int() as u32);
    let (timer, function, left) = (Hidden(timer), Function(function), expires.wrapping_sub(now) as i64);
    write!(
        out,
        "timer={timer} function={function} expires={expires} [timeout={left}] cpu={} idx={} flags=",
        flags & 0x3_ffff,
        flags >> 22
    )?;
    let mut between = "";
    for (_, letter) in ["M", "D", "P", "I"].iter().enumerate().filter(|(bit, _)| flags & 1 << (18 + bit) != 0) {
        write!(out, "{between}{letter}")?;
        between = "|";
    }
    Ok(())
}

pub(super) fn show_activate(body: &[u8], out: &mut dyn Write) -> fmt::Result {
    write!(out, "work struct {}", Hidden(Body(body).number(8)))
}

pub(super) fn show_execute(body: &[u8], out: &mut dyn Write) -> fmt::Result {
    let mut b = Body(body);
    write!(out, "work struct {}: function {}", Hidden(b.number(8)), Function(b.number(8)))
}

pub(super) fn show_queue(body: &[u8], out: &mut dyn Write) -> fmt::Result {
    let mut b = Body(body);
    let (work, function, _, asked, cpu) = (b.number(8), b.number(8), b.int(), b.int(), b.int());
    write!(out, "work struct={} function={} workqueue={} req_cpu={asked} cpu={cpu}", Hidden(work), Function(function), Text(b.0))
}

/// The name whose address an entry has.
fn reason(address: u64) -> &'static str {
    Ipi::ALL.iter().find(|ipi| ipi.reason().as_ptr() as u64 == address).map_or("", |ipi| ipi.description())
}

pub(super) fn show_ipi(body: &[u8], out: &mut dyn Write) -> fmt::Result {
    write!(out, "({})", reason(Body(body).number(8)))
}

pub(super) fn show_raise(body: &[u8], out: &mut dyn Write) -> fmt::Result {
    let mut b = Body(body);
    let (_, why, mask) = (b.number(8), b.number(8), b.number(8));
    write!(out, "target_mask={:08x},{:08x} ({})", mask >> 32, mask as u32, reason(why))
}

#[cfg(test)]
mod tests {
    use super::super::event::{COARSE_START, EVENTS, IPI_ENTRY, IPI_RAISE, QUEUE_WORK, Record, TIMER_START, format_of};
    use super::*;
    use std::string::String;

    #[test]
    fn ipis_are_named_and_their_targets_are_a_mask() {
        let why = Ipi::CallFunction.reason().as_ptr() as i64;
        let text = |event: usize, record: Record| {
            let mut s = String::new();
            (EVENTS[event].show)(record.done(), &mut s).unwrap();
            s
        };
        assert_eq!(text(IPI_ENTRY, Record::new().long(why)), "(Function call interrupts)");
        let raise = Record::new().int(24 | 8 << 16).int(0).long(why).long(0b1010);
        let timer = Record::new().long(1).long(2).long(1250).long(1000).int(3 | 0x18_0000);
        let timer = text(COARSE_START, timer);
        assert!(timer.ends_with(" function=0x2 expires=1250 [timeout=250] cpu=3 idx=0 flags=D|P"), "{timer}");
        assert_eq!(text(IPI_RAISE, raise), "target_mask=00000000,0000000a (Function call interrupts)");
    }

    #[test]
    fn formats_are_those_of_linux() {
        let format = |event: usize| {
            let mut s = String::new();
            format_of(&EVENTS[event], &mut s).unwrap();
            s
        };
        let queue = format(QUEUE_WORK);
        assert!(queue.starts_with("name: workqueue_queue_work\nID: 209\n"));
        assert!(queue.contains("\tfield:__data_loc char[] workqueue;\toffset:24;\tsize:4;\tsigned:0;\n\tfield:int req_cpu;\toffset:28;"));
        let start = format(TIMER_START);
        assert!(start.contains("\tfield:s64 softexpires;\toffset:32;\tsize:8;\tsigned:1;\n"));
        assert!(start.contains("\tfield:bool was_armed;\toffset:44;\tsize:1;\tsigned:0;\n"));
        assert!(format(IPI_RAISE).contains("\tfield:const char * reason;\toffset:16;\tsize:8;\tsigned:0;\n"));
    }
}
