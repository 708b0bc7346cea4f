//! Waiting for all items of a queue (Linux: flush_workqueue, drain_workqueue).
//!
//! Items are counted by color. A flush takes the color that is current, makes the next one current, and waits until no item is left
//! of its own and of those of the flushes before it. So flushes go on side by side, each for what was queued before it; there are
//! [`COLORS`], and one more flush than that waits until the first has ended.

use super::WorkQueue;
use crate::atomic::Ordering;
use crate::wait::WaitMode;
use crate::wait_site;

/// How many colors there are (Linux: WORK_NR_COLORS, of which one is for no flush).
pub(super) const COLORS: usize = 16;

/// Flushes are numbered; the color of flush `n` is `n % COLORS`.
pub(super) struct Flushes {
    /// The number of the next one: its color is the one in which items are counted now.
    next: u64,
    /// The number of the first that has not ended.
    first: u64,
}

const fn color_of(flush: u64) -> usize {
    (flush % COLORS as u64) as usize
}

impl Flushes {
    pub(super) const NONE: Flushes = Flushes { next: 0, first: 0 };
}

impl WorkQueue {
    /// Waits until every item that was queued before the call has run; not for those that come later. Not in an item of this queue.
    pub async fn flush(&'static self) {
        let begun = || self.begin_flush();
        let flush = loop {
            if let Ok(flush) = self.done.wait_until(wait_site!("flush_workqueue"), WaitMode::Uninterruptible, begun).await {
                break flush;
            }
        };
        let ended = || self.end_flush(flush).then_some(());
        while self.done.wait_until(wait_site!("flush_workqueue"), WaitMode::Uninterruptible, ended).await.is_err() {}
    }

    /// The number of a new flush; `None`: all colors are in use. Who takes a pool's lock afterwards counts in another color.
    fn begin_flush(&self) -> Option<u64> {
        let mut flushes = self.flushes.lock_irq();
        let flush = flushes.next;
        if flush + 1 - flushes.first >= COLORS as u64 {
            return None;
        }
        flushes.next += 1;
        self.color.store(color_of(flushes.next) as u32, Ordering::Release);
        Some(flush)
    }

    /// Whether there is nothing left of what `flush` waits for.
    fn end_flush(&'static self, flush: u64) -> bool {
        let first = self.flushes.lock_irq().first;
        // Should the first of them be over by now, and its color be another's: that one wakes us.
        if (first..=flush).any(|f| self.in_flight(color_of(f)) != 0) {
            return false;
        }
        {
            let mut flushes = self.flushes.lock_irq();
            flushes.first = flushes.first.max(flush + 1);
        }
        // Others may want its color.
        self.done.wake_all();
        true
    }

    /// Waits until nothing is queued and nothing runs; meanwhile only its own items may queue to it, what others queue is refused
    /// (Linux: drain_workqueue).
    pub async fn drain(&'static self) {
        self.drainers.fetch_add(1, Ordering::AcqRel);
        self.renew_limit();
        while {
            self.flush().await;
            (0..COLORS).any(|color| self.in_flight(color) != 0)
        } {}
        self.drainers.fetch_sub(1, Ordering::AcqRel);
        self.renew_limit();
    }

    fn in_flight(&'static self, color: usize) -> u32 {
        let mut count = 0;
        self.for_each_pwq(|pwq, _| count += pwq.in_flight(color));
        count
    }
}
