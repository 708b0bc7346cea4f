//! The CPU interface of a GICv3 on a host: a queue of pending interrupts, and what was ended and sent, per thread.

use std::cell::RefCell;
use std::collections::VecDeque;

/// INTID of "nothing pending".
const SPURIOUS: u32 = 1023;

std::thread_local! {
    static PENDING: RefCell<VecDeque<u32>> = const { RefCell::new(VecDeque::new()) };
    static LOG: RefCell<VecDeque<(&'static str, u64)>> = const { RefCell::new(VecDeque::new()) };
}

fn note(what: &'static str, value: u64) {
    LOG.with(|l| l.borrow_mut().push_back((what, value)));
}

pub(super) fn acknowledge() -> u32 {
    PENDING.with(|p| p.borrow_mut().pop_front()).unwrap_or(SPURIOUS)
}

pub(super) fn end(intid: u32) {
    note("end", u64::from(intid));
}

pub(super) fn send_sgi(value: u64) {
    note("sgi", value);
}

pub(super) fn enable(mask: u32) {
    note("enable", u64::from(mask));
}

/// Makes `intid` pending on this thread's CPU.
#[cfg(test)]
pub(super) fn raise(intid: u32) {
    PENDING.with(|p| p.borrow_mut().push_back(intid));
}

/// What was done since the last call.
#[cfg(test)]
pub(super) fn take_log() -> std::vec::Vec<(&'static str, u64)> {
    LOG.with(|l| core::mem::take(&mut *l.borrow_mut())).into()
}
