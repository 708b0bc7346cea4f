//! Stages: the awaits between a system call and the leaf where it waits, kept for those who ask why a task does not go on.
//!
//! A waiting task has no stack, so nothing but its future knows the way to the leaf. A stage is a future around another
//! one. When that one returns `Pending`, the stage writes its place into the task on the way out: the leaf has noted its
//! site before, then the innermost stage, then the next. A poll that does not wait pays nothing; a wait pays a few
//! instructions per stage. Stages of one wait that is polled again are not written twice.

use super::WaitSite;
use crate::task::{self, Task};
use core::future::Future;
use core::pin::Pin;
use core::sync::atomic::{AtomicU32, Ordering::*};
use core::task::{Context, Poll};
use pin_project_lite::pin_project;

/// Most stages that a task keeps: the innermost ones.
pub const MAX_STAGES: usize = 4;

/// What a task keeps: distances from [`ANCHOR`], innermost first, which are half as large as addresses.
pub(crate) struct Stages([AtomicU32; MAX_STAGES]);

impl Stages {
    pub(crate) fn new() -> Self {
        Stages(core::array::from_fn(|_| AtomicU32::new(0)))
    }
}

/// What places of waits are counted from.
static ANCHOR: WaitSite = WaitSite { wchan: "", file: "", line: 0 };

impl Task {
    /// Notes that the wait which has just begun is one of `site`. Only the task itself, in its poll.
    pub(crate) fn note_stage(&self, site: &'static WaitSite) {
        let word = self.wait_mode.load(Relaxed);
        let (mode, count) = (word & 0xff, (word >> 8) as usize);
        let distance = (core::ptr::from_ref(site) as usize).wrapping_sub(&raw const ANCHOR as usize) as u32;
        // Not a noted wait (a yield), no room, or polled again in the same wait.
        if mode == 0 || count >= MAX_STAGES || self.stages.0[..count].iter().any(|s| s.load(Relaxed) == distance) {
            return;
        }
        self.stages.0[count].store(distance, Relaxed);
        self.wait_mode.store(word + (1 << 8), Release);
    }

    /// The way to where it waits, innermost first. Anybody; what changes meanwhile may be mixed.
    pub fn stages(&self) -> impl Iterator<Item = &'static WaitSite> + '_ {
        let count = (self.wait_mode.load(Acquire) >> 8) as usize;
        self.stages.0[..count.min(MAX_STAGES)].iter().map(|s| {
            let distance = s.load(Relaxed) as i32 as isize;
            // SAFETY: `note_stage` stores distances of statics only, all in one image.
            unsafe { &*((&raw const ANCHOR as usize).wrapping_add_signed(distance) as *const WaitSite) }
        })
    }

    /// The frame pointer of its parked poll, if one is parked: where a back-trace begins.
    #[cfg(target_os = "none")]
    pub fn parked_frame(&self) -> Option<usize> {
        // SAFETY: the context block of a stack, which is never freed.
        let context = unsafe { self.parked_on.load(Acquire).as_ref() }?;
        let sp = context.saved_sp();
        (sp != 0).then_some(sp)
    }
}

pin_project! {
    /// The future of [`stage!`](crate::stage): no larger than the one in it.
    #[must_use = "futures do nothing unless awaited"]
    pub struct Stage<S, F> {
        site: S,
        #[pin]
        future: F,
    }
}

impl<S: Fn() -> &'static WaitSite, F: Future> Stage<S, F> {
    /// `future`, whose waits are waits of `site()`.
    #[inline(always)]
    pub fn new(site: S, future: F) -> Self {
        Stage { site, future }
    }
}

impl<S: Fn() -> &'static WaitSite, F: Future> Future for Stage<S, F> {
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let result = this.future.poll(cx);
        if result.is_pending()
            && let Some(task) = task::current()
        {
            task.note_stage((this.site)());
        }
        result
    }
}

/// `future` as a stage of the task's way to its waits: `stage!("load_elf_binary", program.load(facts)).await`.
#[macro_export]
macro_rules! stage {
    ($name:literal, $future:expr) => {
        $crate::wait::Stage::new(|| $crate::wait_site!($name), $future)
    };
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::class::Params;
    use crate::context::Context as Flow;
    use crate::task::Spawned;
    use crate::wait::{WaitMode, WaitQueue};
    use crate::wait_site;

    fn names(task: &crate::task::Task) -> std::vec::Vec<&'static str> {
        task.stages().map(|site| site.wchan).collect()
    }

    #[test]
    fn the_way_to_a_wait_is_kept_from_the_inside_out_and_once() {
        static QUEUE: WaitQueue = WaitQueue::new();
        let spawned = Spawned::new(async {}, Params::DEFAULT, b"t", None, core::ptr::null()).unwrap();
        let task = spawned.task();
        Flow::here().set_current(task);
        let leaf = QUEUE.wait_until(wait_site!("leaf"), WaitMode::Uninterruptible, || None::<()>);
        let mut way = core::pin::pin!(stage!("outer", async { stage!("inner", leaf).await }));
        let mut cx = Context::from_waker(core::task::Waker::noop());
        for _ in 0..3 {
            assert!(way.as_mut().poll(&mut cx).is_pending());
            assert_eq!(names(task), ["inner", "outer"]);
        }
        assert_eq!(task.waiting_at().map(|(site, _)| site.wchan), Some("leaf"));
        task.end_wait();
        assert!(names(task).is_empty(), "a new wait begins with nothing");
        Flow::here().set_current(core::ptr::null());
    }
}
