//! What filters keep, and what is none.

use super::*;
use crate::trace::event::{EVENTS, LINE_ENTRY, Record, SWITCH};

fn keeps(text: &str) -> bool {
    let comm = |name: &str| -> [u8; 16] { core::array::from_fn(|i| name.as_bytes().get(i).copied().unwrap_or(0)) };
    let head = Head { time: 1, id: 264, flags: 1, preempt: 2, pid: 77, comm: comm("bash") };
    let body = Record::new().bytes(&comm("bash")).int(77).int(-1).long(2).bytes(&comm("sleep")).int(78).int(120);
    let filter = Filter::parse(&EVENTS[SWITCH], text.as_bytes()).unwrap_or_else(|e| panic!("{text}: {e:?}"));
    filter.keeps(&Entry { head: &head, cpu: 3, body: body.done() })
}

#[test]
fn entries_that_a_filter_describes_are_kept() {
    for text in [
        "prev_pid == 77",
        "(prev_pid == 77)",
        "prev_pid!=78&&next_pid==78",
        "prev_prio < 0 && prev_prio >= -1",
        "next_prio > 119",
        "prev_state & 3",
        "prev_state == 0x2",
        "next_comm == \"sleep\"",
        "next_comm ~ \"s*e?\" && !(prev_comm ~ 'z*')",
        "next_comm ~ '*lee*' || prev_pid == 1",
        "prev_pid == 1 || prev_pid == 2 || prev_pid == 77",
        "prev_pid == 1 && prev_pid == 2 || common_pid == 77",
        "!(prev_pid == 1 || next_pid == 1) && cpu == 3 && comm == 'bash'",
        "prev_comm ~ '[a-c]ash'",
        "prev_comm ~ '[!x-z]ash' && !!(common_type == 264)",
        "common_flags & 1 && common_preempt_count == 2",
    ] {
        assert!(keeps(text), "{text}");
    }
    for text in [
        "prev_pid == 7",
        "prev_prio > 0",
        "prev_state & 0xd",
        "next_comm == \"slee\"",
        "next_comm ~ \"lee\"",
        "prev_pid == 77 && !(next_pid == 78)",
        "prev_pid == 77 && (next_pid == 1 || next_pid == 2)",
        "prev_comm ~ '[!a-c]ash'",
    ] {
        assert!(!keeps(text), "{text}");
    }
}

#[test]
fn text_that_lies_elsewhere_in_the_record_is_found() {
    let body = Record::new().int(11).int(16 | 5 << 16).bytes(b"uart\0");
    let filter = Filter::parse(&EVENTS[LINE_ENTRY], b"name == 'uart'").unwrap();
    assert!(filter.keeps(&Entry { head: &Head::default(), cpu: 0, body: body.done() }));
    assert!(!filter.keeps(&Entry { head: &Head::default(), cpu: 0, body: &body.done()[..8] }));
}

#[test]
fn what_is_no_filter_is_told_from_what_is_one() {
    for (text, why, at) in [
        // As on Linux 6.1.
        ("foo == 1", NO_FIELD, 4),
        ("prev_pid == 1 && foo == 1", NO_FIELD, 21),
        ("prev_pid", NO_OPERATOR, 8),
        ("prev_pid = 1", NO_OPERATOR, 10),
        ("prev_pid == x", NO_VALUE, 13),
        ("prev_pid == 1x", NO_NUMBER, 13),
        ("prev_pid == \"a\"", WANTS_NUMBER, 13),
        ("prev_comm == 1", WANTS_TEXT, 14),
        ("prev_comm < \"a\"", WRONG_OPERATOR, 13),
        ("prev_comm == \"a", NO_QUOTE, 13),
        ("(prev_pid == 1", TOO_MANY_OPEN, 0),
        ("prev_pid == 1)", TOO_FEW_OPEN, 13),
        ("prev_pid == 1 &&", NO_TERM, 16),
        ("", NOTHING, 0),
        ("()", NOTHING, 1),
    ] {
        let found = Filter::parse(&EVENTS[SWITCH], text.as_bytes()).err();
        assert_eq!(found, Some(Bad::Text(why, at)), "{text}");
    }
}
