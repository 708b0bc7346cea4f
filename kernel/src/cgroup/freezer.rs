//! Standing still: the freezer of version 1 and `cgroup.freeze` (Linux: kernel/cgroup/{legacy_freezer,freezer}.c).
//!
//! A task is told by a bit and a kick as if a signal had come; on its way to EL0 it waits here. So its system call is over, or
//! will be made again, and it holds nothing. One frozen by version 2 can be killed; one frozen by version 1 cannot.

use super::group::{Cgroup, Controller};
use super::membership::{CssSet, set_frozen};
use super::{each_thread, hierarchy, parse};
use crate::arch::aarch64::entry::{WORK_SIGNAL, WORK_STOP};
use crate::platform::kick_user;
use crate::task::thread::Thread;
use core::fmt::Write;
use core::sync::atomic::Ordering::*;
use vigil_abi::Errno;
use vigil_executor::task::{INTERRUPT_KILL, INTERRUPT_SIGNAL};
use vigil_executor::wait::{WaitMode, WaitQueue};
use vigil_executor::wait_site;
use vigil_fs::vnode::SeqBuf;
use vigil_fs::{OpResult, Stop};
use vigil_mem::KArc;

/// In [`super::membership::Membership`]: version 1 wants it to stand still.
pub const V1: u32 = 1;
/// Version 2 does.
pub const V2: u32 = 2;

/// All frozen tasks: each looks for itself whether it may go on.
static FROZEN: WaitQueue = WaitQueue::new();

/// Who wants a task of these groups to stand still.
fn wanted(css: &CssSet) -> u32 {
    let v1 = css.with(Controller::Freezer).is_some_and(|g| g.is_freezing());
    let v2 = css.in_tree(0).is_some_and(|g| g.is_freezing());
    (if v1 { V1 } else { 0 }) | (if v2 { V2 } else { 0 })
}

/// Tells `thread`, which is in the groups of `css`, whether it is to stand still.
pub(super) fn update(thread: &Thread, css: &CssSet) {
    tell(thread, wanted(css));
}

/// The same for a thread whose groups have changed.
pub(super) fn update_moved(thread: &Thread, css: Option<&CssSet>) {
    tell(thread, css.map_or(0, wanted));
}

fn tell(thread: &Thread, wanted: u32) {
    if thread.process.kernel {
        return;
    }
    let old = thread.cgroup.freezing.swap(wanted, SeqCst);
    if wanted & !old != 0 {
        thread.set_work(WORK_SIGNAL | WORK_STOP);
        if let Some(task) = thread.task() {
            task.interrupt(INTERRUPT_SIGNAL);
            kick_user(task);
        }
    }
    if old & !wanted != 0 {
        FROZEN.wake_all();
    }
}

/// Whether the calling thread is to stand still.
#[inline]
pub fn is_freezing(thread: &Thread) -> bool {
    thread.cgroup.freezing.load(SeqCst) != 0
}

/// Stands still as long as it is asked to; version 2 lets a thread go that is to end. On the way to EL0.
pub async fn refrigerator(thread: &Thread) {
    set_frozen(thread, true);
    loop {
        let freezing = || thread.cgroup.freezing.load(SeqCst);
        if freezing() & V1 != 0 {
            let thawed = || (freezing() & V1 == 0).then_some(());
            let _ = FROZEN.wait_until(wait_site!("__refrigerator"), WaitMode::Uninterruptible, thawed).await;
        }
        let ends = || thread.exiting.load(Relaxed) || thread.process.is_exiting();
        let go = || (freezing() != V2 || ends()).then_some(());
        if FROZEN.wait_until(wait_site!("get_signal"), WaitMode::Killable, go).await.is_err()
            && let Some(task) = thread.task()
            && !ends()
        {
            // Not for it after all. Clear, then look: an end sets its mark before the flag.
            task.clear_interrupt(INTERRUPT_SIGNAL | INTERRUPT_KILL);
        }
        if freezing() == 0 || freezing() == V2 && ends() {
            break;
        }
    }
    set_frozen(thread, false);
}

/// Tells all tasks in `top` and below that what is wanted of them may have changed.
fn update_all(top: &KArc<Cgroup>) {
    each_thread(|thread| {
        if let Some(css) = thread.cgroup.css()
            && css.in_tree(top.root.id).is_some_and(|g| g.is_within(top))
        {
            update(thread, &css);
        }
    });
}

/// Whether all in it stand still that can.
pub fn is_frozen(group: &Cgroup) -> bool {
    group.is_freezing() && group.frozen.load(Acquire) >= group.live.load(Acquire)
}

/// `cgroup.freeze`
pub fn show_freeze(group: &KArc<Cgroup>, out: &mut SeqBuf) -> OpResult<'static, ()> {
    let _ = writeln!(out, "{}", u8::from(group.freeze.load(Relaxed)));
    Ok(())
}

/// A write to `cgroup.freeze`. ERANGE: neither 0 nor 1.
pub fn store_freeze(group: &KArc<Cgroup>, data: &[u8]) -> OpResult<'static, ()> {
    let on = match parse::int(parse::stripped(data))? {
        0 => false,
        1 => true,
        _ => return Err(Stop::Err(Errno::ERANGE)),
    };
    let _trees = hierarchy::lock()?;
    set_freeze(group, on);
    Ok(())
}

fn set_freeze(group: &KArc<Cgroup>, on: bool) {
    if group.freeze.swap(on, SeqCst) != on {
        update_all(group);
        // One without tasks that can stand still is frozen at once.
        Cgroup::for_each(group, |g| g.tell_events());
    }
}

/// `freezer.state`
pub fn show_state(group: &KArc<Cgroup>, out: &mut SeqBuf) -> OpResult<'static, ()> {
    out.put(if is_frozen(group) {
        b"FROZEN\n"
    } else if group.is_freezing() {
        b"FREEZING\n"
    } else {
        b"THAWED\n"
    });
    Ok(())
}

/// A write to `freezer.state`. EINVAL: neither FROZEN nor THAWED.
pub fn store_state(group: &KArc<Cgroup>, data: &[u8]) -> OpResult<'static, ()> {
    let on = match parse::stripped(data) {
        b"FROZEN" => true,
        b"THAWED" => false,
        _ => return Err(Stop::Err(Errno::EINVAL)),
    };
    let _trees = hierarchy::lock()?;
    set_freeze(group, on);
    Ok(())
}

/// `freezer.parent_freezing`
pub fn show_parent_freezing(group: &KArc<Cgroup>, out: &mut SeqBuf) -> OpResult<'static, ()> {
    let parent = group.parent.as_ref().is_some_and(|p| p.is_freezing());
    let _ = writeln!(out, "{}", u8::from(parent));
    Ok(())
}
