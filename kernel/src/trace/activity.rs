//! What the sites of timers, work items and interrupts between CPUs tell.
//!
//! That a timer's function has returned, or its sleeper was woken, is told when the next one fires, a softirq begins, or the interrupt
//! ends; likewise that an interrupt from another CPU was served.

use super::event::{self, Record};
use super::state::{CpuTrace, emit};
use vigil_drivers::irq::Ipi;
use vigil_executor::coarse::{self, CoarseTimer};
use vigil_executor::cpu::CpuMask;
use vigil_executor::timer::list;
use vigil_executor::trace::Role;
use vigil_executor::{arch, work};

/// The state of a timer changes to `value`; `base` is what the site of `role` names. Interrupts masked.
pub(super) fn timer(cpu: &CpuTrace, now: u64, role: Role, base: usize, value: u64) {
    let address = if role == Role::TimerWakes { list::of_state(base) } else { base };
    // SAFETY: a site of one of these roles has been come by.
    let (timer, was_queued) = unsafe { list::told(address) };
    let record = || Record::new().long(address as i64);
    let function = timer.function.unwrap_or(0) as i64;
    if role == Role::TimerSet && value != 0 {
        let was_armed = cpu.cancelled.replace(0) == address;
        // One that moves from a list to another one is queued all the time.
        if !was_queued {
            let record = record().long(function).long(timer.hard as i64).long(timer.soft as i64).int(0).bytes(&[u8::from(was_armed)]);
            emit(cpu, event::TIMER_START, true, &record);
        }
        return;
    }
    emit(cpu, event::TIMER_CANCEL, true, &record());
    if role == Role::TimerSet {
        cpu.cancelled.set(address);
        return;
    }
    ends(cpu);
    cpu.fired.set(address);
    emit(cpu, event::TIMER_EXPIRES, true, &record().long(now as i64).long(function));
}

/// What ends at the latest when something else begins, or the interrupt ends.
pub(super) fn ends(cpu: &CpuTrace) {
    let fired = cpu.fired.replace(0);
    if fired != 0 {
        emit(cpu, event::TIMER_DONE, arch::irqs_disabled(), &Record::new().long(fired as i64));
    }
    if let Some(ipi) = cpu.ipi.take() {
        emit(cpu, event::IPI_EXIT, true, &reason(ipi));
    }
}

fn reason(ipi: Ipi) -> Record {
    Record::new().long(ipi.reason().as_ptr() as i64)
}

/// An interrupt from another CPU is about to be served.
pub(super) fn ipi_begins(cpu: &CpuTrace, ipi: Ipi) {
    cpu.ipi.set(Some(ipi));
    emit(cpu, event::IPI_ENTRY, true, &reason(ipi));
}

/// One is about to be sent: that of the SGI `number`.
pub(super) fn ipi_sent(cpu: &CpuTrace, mask: CpuMask, number: u32, irqs_off: bool) {
    if let Some(ipi) = Ipi::ALL.get(number as usize) {
        // The place of the mask, behind the number and the address; it has eight bytes.
        let record = Record::new().int(24 | 8 << 16).int(0).long(ipi.reason().as_ptr() as i64).long(mask.0 as i64);
        emit(cpu, event::IPI_RAISE, irqs_off, &record);
    }
}

/// The work item at `item` is counted by what is at `value`, or linked. Interrupts masked.
pub(super) fn work(cpu: &CpuTrace, role: Role, item: usize, value: usize) {
    let record = Record::new().long(item as i64);
    if role == Role::WorkReady {
        return emit(cpu, event::ACTIVATE_WORK, true, &record);
    }
    // SAFETY: a site of this role has been come by.
    let (function, queue, on) = unsafe { work::told(item, value) };
    let on = on.map_or(-1, |cpu| cpu.index() as i32);
    // The place of the name: behind two addresses and three numbers.
    let record = record.long(function as i64).int(36 | (queue.len() as i32 + 1) << 16).int(on).int(on);
    emit(cpu, event::QUEUE_WORK, true, &record.bytes(queue.as_bytes()).bytes(&[0]));
}

/// A worker begins or ends with an item: event number `event`.
pub(super) fn executes(cpu: &CpuTrace, event: usize, item: usize, function: usize, irqs_off: bool) {
    emit(cpu, event, irqs_off, &Record::new().long(item as i64).long(function as i64));
}

/// A coarse timer waits, is taken out, or is about to have its function called: event number `event`. `flags`: those of one that waits.
pub(super) fn coarse(cpu: &CpuTrace, event: usize, timer: &CoarseTimer, flags: u32, irqs_off: bool) {
    let ((expires, function), now) = (timer.told(), coarse::jiffies() as i64);
    let record = Record::new().long(core::ptr::from_ref(timer) as i64);
    let record = match event {
        event::COARSE_START => record.long(function as i64).long(expires as i64).long(now).int(flags as i32),
        event::COARSE_EXPIRES => record.long(now).long(function as i64).long(now),
        _ => record,
    };
    emit(cpu, event, irqs_off, &record);
}

/// The function of the one at `timer` has returned.
pub(super) fn coarse_done(cpu: &CpuTrace, timer: usize, irqs_off: bool) {
    emit(cpu, event::COARSE_DONE, irqs_off, &Record::new().long(timer as i64));
}
