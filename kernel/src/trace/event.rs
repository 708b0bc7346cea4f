//! The events: their names, what they carry, and their text. Names, numbers, fields and texts are those of Linux 6.1's events.
//!
//! The body of an entry is the record of Linux's binary format without the 8 bytes that all have in common, so `format` files
//! describe it.

use super::event_activity::*;
use core::fmt::{self, Write};
use vigil_abi::until_nul;
use vigil_executor::trace::{KEY_HARDIRQ, KEY_HRTIMERS, KEY_IPI, KEY_LINES, KEY_PROCESS, KEY_SOFTIRQ, KEY_SWITCH, KEY_WAKE, KEY_WORK};

/// Interrupts were masked.
pub const FLAG_IRQS_OFF: u8 = 1;
/// A reschedule was wanted.
pub const FLAG_RESCHED: u8 = 4;
/// In a hard interrupt.
pub const FLAG_HARDIRQ: u8 = 8;
/// In a softirq.
pub const FLAG_SOFTIRQ: u8 = 16;
/// Bottom halves were off.
pub const FLAG_BH_OFF: u8 = 128;

/// A field of an event: its declaration in C, its bytes, whether it is signed.
pub struct Field {
    /// `type name`.
    pub declaration: &'static str,
    /// Bytes.
    pub size: usize,
    /// Whether it is a signed number.
    pub signed: bool,
}

pub(super) const fn field(declaration: &'static str, size: usize, signed: bool) -> Field {
    Field { declaration, size, signed }
}

/// An event.
pub struct Event {
    /// Its number in entries.
    pub id: u16,
    /// The directory of `events` that it is in.
    pub system: &'static str,
    /// Its name.
    pub name: &'static str,
    /// What must be traced for it (`vigil_executor::trace`).
    pub keys: u32,
    /// What it carries.
    pub fields: &'static [Field],
    /// How programs that read binary records print it.
    pub print: &'static str,
    /// Writes its text.
    pub show: fn(&[u8], &mut dyn Write) -> fmt::Result,
}

/// Takes fields off a body. What is not there is 0.
pub(super) struct Body<'a>(pub(super) &'a [u8]);

impl<'a> Body<'a> {
    fn take(&mut self, n: usize) -> &'a [u8] {
        let (field, rest) = self.0.split_at(n.min(self.0.len()));
        self.0 = rest;
        field
    }

    pub(super) fn number(&mut self, n: usize) -> u64 {
        self.take(n).iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
    }

    pub(super) fn int(&mut self) -> i32 {
        self.number(4) as i32
    }

    fn comm(&mut self) -> Text<'a> {
        Text(self.take(16))
    }
}

/// Bytes up to a NUL, as text.
pub struct Text<'a>(pub &'a [u8]);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = until_nul(self.0);
        for chunk in bytes.utf8_chunks() {
            f.write_str(chunk.valid())?;
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

/// Collects the fields of a body.
pub struct Record {
    bytes: [u8; 96],
    length: usize,
}

impl Record {
    /// An empty one.
    pub const fn new() -> Record {
        Record { bytes: [0; 96], length: 0 }
    }

    /// Appends bytes; what does not fit is cut.
    pub fn bytes(mut self, bytes: &[u8]) -> Record {
        let room = &mut self.bytes[self.length..];
        let n = room.len().min(bytes.len());
        room[..n].copy_from_slice(&bytes[..n]);
        self.length += n;
        self
    }

    /// Appends an `int`.
    pub fn int(self, value: i32) -> Record {
        self.bytes(&value.to_le_bytes())
    }

    /// Appends a `long`.
    pub fn long(self, value: i64) -> Record {
        self.bytes(&value.to_le_bytes())
    }

    /// All of it.
    pub fn done(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl Default for Record {
    fn default() -> Self {
        Self::new()
    }
}

/// The letters of `prev_state`, by bit.
const STATES: &[u8; 8] = b"SDTtXZPI";
/// Bit of `prev_state`: it is asleep and can be interrupted.
pub const STATE_SLEEPS: i64 = 1;
/// Likewise: not interruptible.
pub const STATE_BLOCKED: i64 = 2;
/// Likewise: it has ended.
pub const STATE_DEAD: i64 = 0x10;
/// Likewise: it is a process of which a zombie is left.
pub const STATE_ZOMBIE: i64 = 0x20;
/// Likewise: it was preempted.
pub const STATE_PREEMPTED: i64 = 0x100;

fn show_switch(body: &[u8], out: &mut dyn Write) -> fmt::Result {
    let mut b = Body(body);
    let (comm, pid, prio, state) = (b.comm(), b.int(), b.int(), b.number(8));
    write!(out, "prev_comm={comm} prev_pid={pid} prev_prio={prio} prev_state=")?;
    if state & 0xff == 0 {
        out.write_char('R')?;
    }
    let mut between = "";
    for (bit, letter) in STATES.iter().enumerate().filter(|(bit, _)| state & 1 << bit != 0) {
        let _ = bit;
        write!(out, "{between}{}", char::from(*letter))?;
        between = "|";
    }
    if state & STATE_PREEMPTED as u64 != 0 {
        out.write_char('+')?;
    }
    let (comm, pid, prio) = (b.comm(), b.int(), b.int());
    write!(out, " ==> next_comm={comm} next_pid={pid} next_prio={prio}")
}

fn show_wake(body: &[u8], out: &mut dyn Write) -> fmt::Result {
    let mut b = Body(body);
    write!(out, "comm={} pid={} prio={} target_cpu={:03}", b.comm(), b.int(), b.int(), b.int())
}

fn show_migrate(body: &[u8], out: &mut dyn Write) -> fmt::Result {
    let mut b = Body(body);
    write!(out, "comm={} pid={} prio={} orig_cpu={} dest_cpu={}", b.comm(), b.int(), b.int(), b.int(), b.int())
}

fn show_fork(body: &[u8], out: &mut dyn Write) -> fmt::Result {
    let mut b = Body(body);
    write!(out, "comm={} pid={} child_comm={} child_pid={}", b.comm(), b.int(), b.comm(), b.int())
}

fn show_exec(body: &[u8], out: &mut dyn Write) -> fmt::Result {
    let mut b = Body(body);
    let _ = b.int();
    let (pid, old) = (b.int(), b.int());
    write!(out, "filename={} pid={pid} old_pid={old}", Text(b.0))
}

fn show_exit(body: &[u8], out: &mut dyn Write) -> fmt::Result {
    let mut b = Body(body);
    write!(out, "comm={} pid={} prio={}", b.comm(), b.int(), b.int())
}

fn show_line_entry(body: &[u8], out: &mut dyn Write) -> fmt::Result {
    let mut b = Body(body);
    let irq = b.int();
    let _ = b.int();
    write!(out, "irq={irq} name={}", Text(b.0))
}

fn show_line_exit(body: &[u8], out: &mut dyn Write) -> fmt::Result {
    let mut b = Body(body);
    write!(out, "irq={} ret={}", b.int(), if b.int() == 0 { "unhandled" } else { "handled" })
}

fn show_softirq(body: &[u8], out: &mut dyn Write) -> fmt::Result {
    let n = Body(body).int();
    write!(out, "vec={n} [action={}]", SOFTIRQS.get(n as usize).unwrap_or(&""))
}

fn show_mark(body: &[u8], out: &mut dyn Write) -> fmt::Result {
    let text = body.strip_suffix(b"\n").unwrap_or(body);
    write!(out, "{}", Text(text))
}

/// Names of the softirqs, by number.
pub const SOFTIRQS: [&str; 10] = ["HI", "TIMER", "NET_TX", "NET_RX", "BLOCK", "IRQ_POLL", "TASKLET", "SCHED", "HRTIMER", "RCU"];

const WAKE_FIELDS: &[Field] =
    &[field("char comm[16]", 16, false), field("pid_t pid", 4, true), field("int prio", 4, true), field("int target_cpu", 4, true)];
const WAKE_PRINT: &str = "\"comm=%s pid=%d prio=%d target_cpu=%03d\", REC->comm, REC->pid, REC->prio, REC->target_cpu";
const SOFTIRQ_FIELDS: &[Field] = &[field("unsigned int vec", 4, false)];
const SOFTIRQ_PRINT: &str = "\"vec=%u [action=%s]\", REC->vec, __print_symbolic(REC->vec, { 0, \"HI\" }, { 1, \"TIMER\" }, \
    { 2, \"NET_TX\" }, { 3, \"NET_RX\" }, { 4, \"BLOCK\" }, { 5, \"IRQ_POLL\" }, { 6, \"TASKLET\" }, { 7, \"SCHED\" }, { 8, \"HRTIMER\" }, { 9, \"RCU\" })";

/// The number of `trace_marker`'s entries.
pub const MARK: u16 = 5;

/// What is written by user space: no event that could be enabled.
pub const MARK_EVENT: Event = Event {
    id: MARK,
    system: "ftrace",
    name: "print",
    keys: 0,
    fields: &[field("unsigned long ip", 8, false), field("char buf[]", 0, false)],
    print: "\"%ps: %s\", (void *)REC->ip, REC->buf",
    show: show_mark,
};

macro_rules! events {
    ($($number:ident = $index:literal: $system:literal $name:literal $id:literal, $keys:expr, $fields:expr, $print:expr, $show:expr;)*) => {
        $(
            #[doc = concat!("The index of `", $name, "` in [`EVENTS`].")]
            pub const $number: usize = $index;
        )*
        /// The events, in the order of `available_events`.
        pub static EVENTS: &[Event] = &[
            $(Event { id: $id, system: $system, name: $name, keys: $keys | KEY_SWITCH, fields: $fields, print: $print, show: $show },)*
        ];
        const _: () = { $(assert!(EVENTS[$index].id == $id);)* };
    };
}

events! {
    IPI_EXIT = 0: "ipi" "ipi_exit" 31, KEY_LINES | KEY_HARDIRQ, IPI_FIELDS, IPI_PRINT, show_ipi;
    IPI_ENTRY = 1: "ipi" "ipi_entry" 32, KEY_LINES | KEY_HARDIRQ, IPI_FIELDS, IPI_PRINT, show_ipi;
    IPI_RAISE = 2: "ipi" "ipi_raise" 33, KEY_IPI, RAISE_FIELDS, RAISE_PRINT, show_raise;
    SOFTIRQ_RAISE = 3: "irq" "softirq_raise" 97, KEY_SOFTIRQ, SOFTIRQ_FIELDS, SOFTIRQ_PRINT, show_softirq;
    SOFTIRQ_EXIT = 4: "irq" "softirq_exit" 98, KEY_SOFTIRQ, SOFTIRQ_FIELDS, SOFTIRQ_PRINT, show_softirq;
    SOFTIRQ_ENTRY = 5: "irq" "softirq_entry" 99, KEY_SOFTIRQ, SOFTIRQ_FIELDS, SOFTIRQ_PRINT, show_softirq;
    LINE_EXIT = 6: "irq" "irq_handler_exit" 100, KEY_LINES | KEY_HARDIRQ,
        &[field("int irq", 4, true), field("int ret", 4, true)],
        "\"irq=%d ret=%s\", REC->irq, REC->ret ? \"handled\" : \"unhandled\"", show_line_exit;
    LINE_ENTRY = 7: "irq" "irq_handler_entry" 101, KEY_LINES | KEY_HARDIRQ,
        &[field("int irq", 4, true), field("__data_loc char[] name", 4, false)],
        "\"irq=%d name=%s\", REC->irq, __get_str(name)", show_line_entry;
    WORK_ENDS = 8: "workqueue" "workqueue_execute_end" 206, KEY_WORK, EXECUTE_FIELDS, EXECUTE_PRINT, show_execute;
    WORK_BEGINS = 9: "workqueue" "workqueue_execute_start" 207, KEY_WORK, EXECUTE_FIELDS, EXECUTE_PRINT, show_execute;
    ACTIVATE_WORK = 10: "workqueue" "workqueue_activate_work" 208, KEY_WORK, ACTIVATE_FIELDS, ACTIVATE_PRINT, show_activate;
    QUEUE_WORK = 11: "workqueue" "workqueue_queue_work" 209, KEY_WORK, QUEUE_FIELDS, QUEUE_PRINT, show_queue;
    PROCESS_EXEC = 12: "sched" "sched_process_exec" 257, KEY_PROCESS,
        &[field("__data_loc char[] filename", 4, false), field("pid_t pid", 4, true), field("pid_t old_pid", 4, true)],
        "\"filename=%s pid=%d old_pid=%d\", __get_str(filename), REC->pid, REC->old_pid", show_exec;
    PROCESS_FORK = 13: "sched" "sched_process_fork" 258, KEY_PROCESS,
        &[field("char parent_comm[16]", 16, false), field("pid_t parent_pid", 4, true), field("char child_comm[16]", 16, false), field("pid_t child_pid", 4, true)],
        "\"comm=%s pid=%d child_comm=%s child_pid=%d\", REC->parent_comm, REC->parent_pid, REC->child_comm, REC->child_pid", show_fork;
    PROCESS_EXIT = 14: "sched" "sched_process_exit" 261, KEY_PROCESS,
        &[field("char comm[16]", 16, false), field("pid_t pid", 4, true), field("int prio", 4, true)],
        "\"comm=%s pid=%d prio=%d\", REC->comm, REC->pid, REC->prio", show_exit;
    MIGRATE = 15: "sched" "sched_migrate_task" 263, KEY_WAKE,
        &[field("char comm[16]", 16, false), field("pid_t pid", 4, true), field("int prio", 4, true), field("int orig_cpu", 4, true), field("int dest_cpu", 4, true)],
        "\"comm=%s pid=%d prio=%d orig_cpu=%d dest_cpu=%d\", REC->comm, REC->pid, REC->prio, REC->orig_cpu, REC->dest_cpu", show_migrate;
    SWITCH = 16: "sched" "sched_switch" 264, KEY_SWITCH,
        &[field("char prev_comm[16]", 16, false), field("pid_t prev_pid", 4, true), field("int prev_prio", 4, true), field("long prev_state", 8, true),
          field("char next_comm[16]", 16, false), field("pid_t next_pid", 4, true), field("int next_prio", 4, true)],
        "\"prev_comm=%s prev_pid=%d prev_prio=%d prev_state=%s%s ==> next_comm=%s next_pid=%d next_prio=%d\", REC->prev_comm, REC->prev_pid, REC->prev_prio, \
         (REC->prev_state & 0xff) ? __print_flags(REC->prev_state & 0xff, \"|\", { 0x01, \"S\" }, { 0x02, \"D\" }, { 0x04, \"T\" }, { 0x08, \"t\" }, { 0x10, \"X\" }, \
         { 0x20, \"Z\" }, { 0x40, \"P\" }, { 0x80, \"I\" }) : \"R\", REC->prev_state & 0x100 ? \"+\" : \"\", REC->next_comm, REC->next_pid, REC->next_prio", show_switch;
    WAKEUP_NEW = 17: "sched" "sched_wakeup_new" 265, KEY_WAKE, WAKE_FIELDS, WAKE_PRINT, show_wake;
    WAKEUP = 18: "sched" "sched_wakeup" 266, KEY_WAKE, WAKE_FIELDS, WAKE_PRINT, show_wake;
    WAKING = 19: "sched" "sched_waking" 267, KEY_WAKE, WAKE_FIELDS, WAKE_PRINT, show_wake;
    TIMER_CANCEL = 20: "timer" "hrtimer_cancel" 305, KEY_HRTIMERS, HRTIMER_FIELDS, HRTIMER_PRINT, show_hrtimer;
    TIMER_DONE = 21: "timer" "hrtimer_expire_exit" 306, KEY_HRTIMERS | KEY_HARDIRQ, HRTIMER_FIELDS, HRTIMER_PRINT, show_hrtimer;
    TIMER_EXPIRES = 22: "timer" "hrtimer_expire_entry" 307, KEY_HRTIMERS, EXPIRE_FIELDS, EXPIRE_PRINT, show_expire;
    TIMER_START = 23: "timer" "hrtimer_start" 308, KEY_HRTIMERS, START_FIELDS, START_PRINT, show_start;
    COARSE_CANCEL = 24: "timer" "timer_cancel" 310, KEY_HRTIMERS, TIMER_FIELDS, TIMER_PRINT, show_timer;
    COARSE_DONE = 25: "timer" "timer_expire_exit" 311, KEY_HRTIMERS, TIMER_FIELDS, TIMER_PRINT, show_timer;
    COARSE_EXPIRES = 26: "timer" "timer_expire_entry" 312, KEY_HRTIMERS, TIMER_EXPIRE_FIELDS, TIMER_EXPIRE_PRINT, show_timer_expire;
    COARSE_START = 27: "timer" "timer_start" 313, KEY_HRTIMERS, TIMER_START_FIELDS, TIMER_START_PRINT, show_timer_start;
}

/// The event whose entries have the number `id`.
pub fn of_id(id: u16) -> Option<&'static Event> {
    if id == MARK { Some(const { &MARK_EVENT }) } else { EVENTS.iter().find(|e| e.id == id) }
}

/// Writes the `format` file of `event`.
pub fn format_of(event: &Event, out: &mut dyn Write) -> fmt::Result {
    writeln!(out, "name: {}\nID: {}\nformat:", event.name, event.id)?;
    const COMMON: &[Field] = &[
        field("unsigned short common_type", 2, false),
        field("unsigned char common_flags", 1, false),
        field("unsigned char common_preempt_count", 1, false),
        field("int common_pid", 4, true),
    ];
    let mut at = 0;
    for (fields, end) in [(COMMON, "\n"), (event.fields, "")] {
        for f in fields {
            // As the compiler lays the record out: a `long` begins at a multiple of its size.
            at = usize::next_multiple_of(at, super::filter::align(f));
            writeln!(out, "\tfield:{};\toffset:{at};\tsize:{};\tsigned:{};", f.declaration, f.size, u8::from(f.signed))?;
            at += f.size;
        }
        out.write_str(end)?;
    }
    writeln!(out, "\nprint fmt: {}", event.print)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;

    fn comm(name: &str) -> [u8; 16] {
        core::array::from_fn(|i| name.as_bytes().get(i).copied().unwrap_or(0))
    }

    fn text(event: usize, record: &Record) -> String {
        let mut s = String::new();
        (EVENTS[event].show)(record.done(), &mut s).unwrap();
        s
    }

    #[test]
    fn texts_are_those_of_linux() {
        let switch = |state| Record::new().bytes(&comm("busybox")).int(127).int(120).long(state).bytes(&comm("rcu_sched")).int(14).int(-1);
        let line = |state: &str| {
            std::format!("prev_comm=busybox prev_pid=127 prev_prio=120 prev_state={state} ==> next_comm=rcu_sched next_pid=14 next_prio=-1")
        };
        assert_eq!(text(SWITCH, &switch(0)), line("R"));
        assert_eq!(text(SWITCH, &switch(STATE_PREEMPTED)), line("R+"));
        assert_eq!(text(SWITCH, &switch(STATE_SLEEPS)), line("S"));
        assert_eq!(text(SWITCH, &switch(STATE_BLOCKED | STATE_DEAD)), line("D|X"));
        let wake = Record::new().bytes(&comm("init")).int(1).int(98).int(2);
        assert_eq!(text(WAKEUP, &wake), "comm=init pid=1 prio=98 target_cpu=002");
        assert_eq!(text(SOFTIRQ_ENTRY, &Record::new().int(9)), "vec=9 [action=RCU]");
        assert_eq!(text(LINE_ENTRY, &Record::new().int(11).int(0).bytes(b"arch_timer\0")), "irq=11 name=arch_timer");
        assert_eq!(text(PROCESS_EXEC, &Record::new().int(0).int(7).int(7).bytes(b"/bin/sh\0")), "filename=/bin/sh pid=7 old_pid=7");
    }

    #[test]
    fn formats_lay_fields_out_as_linux_does() {
        let mut s = String::new();
        format_of(&EVENTS[SWITCH], &mut s).unwrap();
        assert!(
            s.starts_with("name: sched_switch\nID: 264\nformat:\n\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n")
        );
        assert!(s.contains(
            "\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;\n\n\tfield:char prev_comm[16];\toffset:8;\tsize:16;\tsigned:0;\n"
        ));
        assert!(s.contains("\tfield:long prev_state;\toffset:32;\tsize:8;\tsigned:1;\n"));
        assert!(s.contains("\tfield:int next_prio;\toffset:60;\tsize:4;\tsigned:1;\n\nprint fmt: \"prev_comm=%s"));
        assert!(EVENTS.windows(2).all(|w| w[0].id < w[1].id));
    }
}
