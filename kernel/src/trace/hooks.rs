//! What the sites tell: traps, the executor's branches, and those of the kernel.

use super::event::{self, Record};
use super::latency::{Ended, Tracer};
use super::report::{self, Note};
use super::state::{self, CpuTrace, SAMPLE, Who, emit, enter};
use super::{activity, blame, longest, runqueue, schedstat, text_chain};
use crate::arch::aarch64::entry::vigil_el0_call;
use crate::arch::aarch64::jump_label::{DAIF, Doing};
use crate::arch::aarch64::trap::vigil_el1_irq_traced;
use crate::arch::aarch64::vectors::ExceptionFrame;
use crate::debug::backtrace::walk;
use crate::task::thread::Thread;
use core::sync::atomic::Ordering::Relaxed;
use vigil_drivers::irq::{ipi_of_counter, line_of_counter};
use vigil_executor::arch;
use vigil_executor::context::Context;
use vigil_executor::cpu::{CpuId, local};
use vigil_executor::task::{Coming, Task};
use vigil_executor::time;
use vigil_executor::trace::{Event, KEY_PINS, PIN_POLL, Role, toggle};
use vigil_executor::wait::WaitMode;

/// DAIF.I.
const MASKED: u64 = 1 << 7;

/// A trap site was come by: see [`jump_label::trap`](crate::arch::aarch64::jump_label::trap).
pub fn trap(role: Role, frame: &ExceptionFrame, doing: Doing) {
    if role == Role::Rest {
        return rest(frame);
    }
    enter(|cpu| {
        let begun = time::now();
        told(cpu, begun, role, frame, doing);
        // What this took is nobody's section.
        let took = time::now().saturating_sub(begun);
        cpu.with_section(|s| s.leave_out(took));
        cpu.blame.leave_out(took);
        // And neither the stamps' twins have been executed where this site is one's, too.
        match role {
            Role::Line => local().acked_at.store(arch::counter(), Relaxed),
            Role::Current => {
                local().polled_at.store(arch::counter(), Relaxed);
                if arch::is_traced::<KEY_PINS>() {
                    toggle(PIN_POLL);
                }
            }
            _ => {}
        }
    });
}

fn told(cpu: &CpuTrace, now: u64, role: Role, frame: &ExceptionFrame, doing: Doing) {
    let (pc, fp) = (frame.pc as usize, frame.fp as usize);
    match (role, doing) {
        (Role::Mask, Doing::Mask { before }) => mask(cpu, now, before & DAIF & MASKED != 0, frame.pstate & MASKED != 0, pc, fp),
        (Role::Count, Doing::Store { base, value }) => count(cpu, now, base, value as u32, frame),
        (Role::Current, Doing::Store { base, value }) => {
            // SAFETY: the base of these stores is the context block of the stack that the executor runs on.
            let context = unsafe { &*(base as *const Context) };
            // SAFETY: what is or becomes current is alive.
            match unsafe { ((value as *const Task).as_ref(), context.current().as_ref()) } {
                (Some(task), _) => polls(cpu, now, task, None, frame.pstate & MASKED != 0, pc),
                (None, Some(task)) => leaves(cpu, now, task, pc, fp),
                (None, None) => {}
            }
        }
        // SAFETY: the base of these stores is the header of the task that is woken: alive.
        (Role::Wake, Doing::Store { base, .. }) => woken(cpu, now, unsafe { &*(base as *const Task) }, CpuId::current()),
        (Role::Line, Doing::Store { base, .. }) => line(cpu, base),
        (Role::TimerSet | Role::TimerCalls | Role::TimerWakes, Doing::Store { base, value }) => {
            activity::timer(cpu, now, role, base, value)
        }
        (Role::WorkQueued | Role::WorkReady, Doing::Store { base, value }) => activity::work(cpu, role, base, value as usize),
        (Role::Idle, _) => {
            schedstat::idles();
            cpu.blame.idles(now, Who::idle(CpuId::current()));
            switch(cpu, Who::idle(CpuId::current()), true);
        }
        (Role::UserIn, _) if state::tracer() == Tracer::Poll => {
            cpu.call.set((pc == vigil_el0_call as *const () as usize).then_some(frame.x[8] as usize));
            cpu.sample.set([0; SAMPLE]);
            cpu.with_section(|s| s.begin(now, pc));
        }
        (Role::UserOut, _) if state::tracer() == Tracer::Poll => poll_ends(cpu, now, None, pc, fp),
        _ => {}
    }
}

/// The CPU is about to wait for an interrupt: what is measured ends nowhere, and begins anew.
fn rest(frame: &ExceptionFrame) {
    let follows = enter(|cpu| {
        let follows = state::tracer().follows_irqs();
        if follows {
            cpu.with_section(|s| s.end(0));
        }
        cpu.blame.forget_section();
        follows
    });
    // SAFETY: what the site would have done; interrupts are masked in the handler as they were there.
    unsafe { core::arch::asm!("wfi", options(nostack, preserves_flags)) };
    enter(|cpu| {
        let now = time::now();
        if follows == Some(true) {
            cpu.with_section(|s| s.begin(now, frame.pc as usize));
        }
        cpu.blame.masks(now, || cpu.runs(), true, frame.pc as usize, 0);
    });
}

/// The interrupt mask changes.
fn mask(cpu: &CpuTrace, now: u64, was: bool, is: bool, pc: usize, fp: usize) {
    if was == is {
        return;
    }
    if blame::is_on() {
        cpu.blame.masks(now, || cpu.runs(), is, pc, fp);
    }
    let tracer = state::tracer();
    if !tracer.follows_irqs() {
        return;
    }
    let counted = tracer.follows_count() && Context::here().count() != 0;
    if is {
        if !(counted && cpu.section.get().is_open()) {
            cpu.with_section(|s| s.begin(now, pc));
        }
    } else if !counted {
        section_ends(cpu, now, pc, fp);
    }
}

fn section_ends(cpu: &CpuTrace, now: u64, pc: usize, fp: usize) {
    if let Some(ended) = cpu.with_section(|s| s.end(now)) {
        noted(cpu, ended, pc, fp);
    }
}

/// A section of masked interrupts or of the preempt count has ended.
fn noted(cpu: &CpuTrace, ended: Ended, pc: usize, fp: usize) {
    let who = cpu.runs();
    longest::note(ended, &who, pc, fp);
    report::note(state::tracer(), ended, who, pc, fp, [0; SAMPLE], |_| {});
}

/// The preempt count of the block at `base` becomes `new`.
fn count(cpu: &CpuTrace, now: u64, base: usize, new: u32, frame: &ExceptionFrame) {
    let tracer = state::tracer();
    if !tracer.follows_count() {
        return;
    }
    // SAFETY: the base of these stores is a context block.
    let old = unsafe { &*(base as *const Context) }.count();
    let also_off = tracer.follows_irqs() && frame.pstate & MASKED != 0;
    let pc = frame.pc as usize;
    if let Some(ended) = cpu.with_section(|s| s.count(now, pc, base, (old, new), also_off)) {
        noted(cpu, ended, pc, frame.fp as usize);
    }
}

/// `next` is what this CPU runs from here on.
fn switch(cpu: &CpuTrace, next: Who, irqs_off: bool) {
    let left = cpu.left.take();
    let Some(prev) = cpu.who.replace(Some(next)) else { return };
    if (prev.task, prev.pid) == (next.task, next.pid) {
        return;
    }
    // Whose poll has not ended was parked.
    let state = if prev.task == 0 { 0 } else { left.unwrap_or(event::STATE_PREEMPTED) };
    let record = Record::new().bytes(&prev.comm).int(prev.pid as i32).int(prev.prio.into()).long(state);
    let record = record.bytes(&next.comm).int(next.pid as i32).int(next.prio.into());
    // The entry is of the one that leaves.
    cpu.who.set(Some(prev));
    emit(cpu, event::SWITCH, irqs_off, &record);
    cpu.who.set(Some(next));
}

/// This CPU polls `task`, for the first time or, after it was parked, again.
fn polls(cpu: &CpuTrace, now: u64, task: &Task, resumed: Option<()>, irqs_off: bool, pc: usize) {
    let before = cpu.who.get();
    let parked = cpu.left.get().is_none();
    if let (true, Some(before)) = (parked, before) {
        schedstat::parked(before.task, now);
    }
    schedstat::runs(task, now);
    cpu.blame.polls(now, Who::of(task));
    switch(cpu, Who::of(task), irqs_off);
    let key = core::ptr::from_ref(task) as usize;
    let tracer = state::tracer();
    if let Some(waited) = runqueue::ran(task, now)
        && tracer_wants(tracer, task)
    {
        let ended = Ended { length: waited.length, from: waited.from };
        report::note(tracer, ended, Who::of(task), pc, 0, [0; SAMPLE], |_| {});
    }
    if tracer == Tracer::Poll {
        // What was measured belongs to a poll that has been parked, and goes on when that is resumed.
        if let Some(open) = cpu.section.get().is_open().then(|| now.saturating_sub(cpu.section.get().since()))
            && let (true, Some(before)) = (parked, before)
        {
            runqueue::PARKED.put(before.task, open.max(1));
        }
        let spent = resumed.and_then(|()| runqueue::PARKED.take(key)).unwrap_or(0);
        cpu.with_section(|s| s.begin(now.saturating_sub(spent), pc));
        cpu.sample.set([0; SAMPLE]);
    }
}

fn tracer_wants(tracer: Tracer, task: &Task) -> bool {
    match tracer {
        Tracer::Wakeup => true,
        Tracer::WakeupRt => task.prio() < 100,
        Tracer::WakeupDl => task.prio() < 0,
        _ => false,
    }
}

/// The poll of `task` has ended.
fn leaves(cpu: &CpuTrace, now: u64, task: &Task, pc: usize, fp: usize) {
    let state = match task.waiting_at() {
        _ if task.is_runnable_again() => 0,
        Some((_, WaitMode::Interruptible)) => event::STATE_SLEEPS,
        Some(_) => event::STATE_BLOCKED,
        // A thread's future has ended with the thread; a process leaves a zombie.
        None if task.has_hooks() && task.owner().is_null() => {
            if task.leads() {
                event::STATE_ZOMBIE
            } else {
                event::STATE_DEAD
            }
        }
        None => event::STATE_SLEEPS,
    };
    cpu.left.set(Some(state));
    schedstat::leaves(task, state, now);
    // As it is called now.
    cpu.who.set(Some(Who::of(task)));
    if state::tracer() == Tracer::Poll {
        poll_ends(cpu, now, Some(task), pc, fp);
    }
}

/// A task's stay in the kernel ends: `ended` by the end of its poll, else on the way to EL0.
fn poll_ends(cpu: &CpuTrace, now: u64, ended: Option<&Task>, pc: usize, fp: usize) {
    let Some(length) = cpu.with_section(|s| s.end(now)) else { return };
    let chain = |note: &mut Note| {
        // SAFETY: the current task of this stack is alive.
        let task = ended.or_else(|| unsafe { Context::here().current().as_ref() });
        if let Some(task) = task {
            text_chain::write(task, ended.is_some(), cpu.call.get().filter(|_| ended.is_none()), note);
        }
    };
    report::note(Tracer::Poll, length, cpu.runs(), pc, fp, cpu.sample.get(), chain);
}

/// `task` was made runnable, and goes to `target`.
fn woken(cpu: &CpuTrace, now: u64, task: &Task, target: CpuId) {
    let (who, coming) = (Who::of(task), task.coming());
    schedstat::woken(task, coming, task.cpu(), target, now);
    if blame::is_on() {
        cpu.blame.wakes(now, cpu.runs(), who, target);
    }
    let target = target.index() as i32;
    let from = task.cpu().index() as i32;
    let head = || Record::new().bytes(&who.comm).int(who.pid as i32).int(who.prio.into());
    let irqs_off = true;
    if coming == Coming::Woken {
        // Where it was: the choice comes after this, on Linux.
        emit(cpu, event::WAKING, irqs_off, &head().int(from));
    }
    if coming != Coming::New && from != target {
        emit(cpu, event::MIGRATE, irqs_off, &head().int(from).int(target));
    }
    match coming {
        Coming::New => emit(cpu, event::WAKEUP_NEW, irqs_off, &head().int(target)),
        Coming::Woken => emit(cpu, event::WAKEUP, irqs_off, &head().int(target)),
        Coming::Migrated => return,
    }
    runqueue::woken(task, now);
}

/// The counter at `counter` is that of the line whose handlers run now.
fn line(cpu: &CpuTrace, counter: usize) {
    line_ends(cpu);
    if blame::is_on() {
        cpu.blame.acknowledged(time::now(), cpu.runs(), counter);
    }
    if let Some((virq, name)) = line_of_counter(counter) {
        cpu.line.set(Some(virq));
        cpu.unhandled.set(false);
        // The place of the name: behind three numbers, as in Linux's records.
        let record = Record::new().int(virq.get() as i32).int(16 | (name.len() as i32 + 1) << 16).bytes(name.as_bytes()).bytes(&[0]);
        emit(cpu, event::LINE_ENTRY, true, &record);
    } else if let Some(ipi) = ipi_of_counter(counter) {
        activity::ipi_begins(cpu, ipi);
    }
}

fn line_ends(cpu: &CpuTrace) {
    activity::ends(cpu);
    if let Some(virq) = cpu.line.take() {
        emit(cpu, event::LINE_EXIT, true, &Record::new().int(virq.get() as i32).int(i32::from(!cpu.unhandled.get())));
    }
}

/// What an executor's branch tells.
pub fn executor(event: Event<'_>) {
    let irqs_off = arch::irqs_disabled();
    let softirq = |cpu: &_, index, number| emit(cpu, index, irqs_off, &Record::new().int(number as i32));
    enter(|cpu| {
        let now = time::now();
        match event {
            Event::Woken(task, target) => woken(cpu, now, task, target),
            Event::NotHandled => cpu.unhandled.set(true),
            Event::SoftirqRaised(number) => softirq(cpu, event::SOFTIRQ_RAISE, number),
            Event::SoftirqBegins(number) => {
                activity::ends(cpu);
                softirq(cpu, event::SOFTIRQ_ENTRY, number);
            }
            Event::SoftirqEnds(number) => softirq(cpu, event::SOFTIRQ_EXIT, number),
            Event::IpiSent(mask, number) => activity::ipi_sent(cpu, mask, number, irqs_off),
            Event::CoarseStarted(timer, flags) => activity::coarse(cpu, event::COARSE_START, timer, flags, irqs_off),
            Event::CoarseCancelled(timer) => activity::coarse(cpu, event::COARSE_CANCEL, timer, 0, irqs_off),
            Event::CoarseExpires(timer) => activity::coarse(cpu, event::COARSE_EXPIRES, timer, 0, irqs_off),
            Event::CoarseDone(timer) => activity::coarse_done(cpu, timer, irqs_off),
            Event::WorkBegins(item, function) => activity::executes(cpu, event::WORK_BEGINS, item, function, irqs_off),
            Event::WorkEnds(item, function) => activity::executes(cpu, event::WORK_ENDS, item, function, irqs_off),
            Event::Resumed(task) => polls(cpu, now, task, Some(()), true, vigil_executor::preempt::finish_switch as *const () as usize),
        }
    });
}

/// A hard interrupt of the flow at `sp` begins.
pub fn hardirq_enter(sp: usize, interrupted: &Context, from_el0: bool) {
    enter(|cpu| {
        let now = time::now();
        cpu.irq_since.set(now);
        if !interrupted.is_resting() {
            cpu.blame.forget_section();
        }
        let tracer = state::tracer();
        let goes_on = interrupted.is_resting() || tracer.follows_count() && interrupted.count() != 0;
        if tracer.follows_irqs() && !(goes_on && cpu.section.get().is_open()) {
            cpu.with_section(|s| s.begin(now, vigil_el1_irq_traced as *const () as usize));
        }
        let open = cpu.section.get();
        if tracer == Tracer::Poll && !from_el0 && open.is_open() && report::is_record(now.saturating_sub(open.since())) {
            let mut sample = [0; SAMPLE];
            let mut n = 0;
            // The frame of the exception is a frame record.
            walk(sp, |place| {
                if let Some(slot) = sample.get_mut(n) {
                    *slot = place;
                    n += 1;
                }
            });
            cpu.sample.set(sample);
        }
    });
}

/// It has ended, with its softirqs; `goes_on`: what it interrupted does, with interrupts on.
pub fn hardirq_exit(interrupted: &Context, goes_on: bool) {
    enter(|cpu| {
        line_ends(cpu);
        let (now, tracer) = (time::now(), state::tracer());
        if blame::is_on() {
            cpu.blame.interrupted(now, cpu.runs(), cpu.irq_since.get());
        }
        if tracer == Tracer::Poll {
            cpu.with_section(|s| s.leave_out(now.saturating_sub(cpu.irq_since.get())));
        } else if tracer.follows_irqs() && goes_on && !(tracer.follows_count() && interrupted.count() != 0) {
            section_ends(cpu, now, vigil_el1_irq_traced as *const () as usize, 0);
        }
    });
}

/// A poll that was parked goes on with interrupts on.
#[cold]
#[inline(never)]
pub fn irqs_on_at_exit() {
    enter(|cpu| {
        if state::tracer().follows_irqs() {
            section_ends(cpu, time::now(), vigil_el1_irq_traced as *const () as usize, 0);
        }
    });
}

/// `parent` has made `child`.
#[cold]
#[inline(never)]
pub fn process_fork(parent: &Thread, child: &Thread) {
    let (Some(parent), Some(child)) = (parent.task(), child.task()) else { return };
    let (p, c) = (Who::of(parent), Who::of(child));
    let record = Record::new().bytes(&p.comm).int(p.pid as i32).bytes(&c.comm).int(c.pid as i32);
    enter(|cpu| emit(cpu, event::PROCESS_FORK, false, &record));
}

/// The thread executes `path`; its number was `old`.
#[cold]
#[inline(never)]
pub fn process_exec(thread: &Thread, path: &[u8], old: u32) {
    let place = 20 | (path.len() as i32 + 1) << 16;
    let record = Record::new().int(place).int(thread.tid() as i32).int(old as i32).bytes(path).bytes(&[0]);
    enter(|cpu| emit(cpu, event::PROCESS_EXEC, false, &record));
}

/// The thread ends.
#[cold]
#[inline(never)]
pub fn process_exit(thread: &Thread) {
    let Some(who) = thread.task().map(Who::of) else { return };
    let record = Record::new().bytes(&who.comm).int(who.pid as i32).int(who.prio.into());
    enter(|cpu| emit(cpu, event::PROCESS_EXIT, false, &record));
}
