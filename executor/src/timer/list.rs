//! What timers there are, for `/proc/timer_list`.

use super::base::{Base, Tree, bases};
use super::entry::{Action, Entry};
use super::wheel::{BUCKETS, Wheel};
use crate::atomic::Ordering;
use crate::cpu::CpuId;
use crate::time::Nanos;
use core::ptr;

/// The most timers of the tree, or of one bucket, that are told of: each look walks past those before it with interrupts masked.
pub const MOST: usize = 256;

/// A timer that waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Listed {
    /// Which one it is; nothing is there any more, perhaps.
    pub address: usize,
    /// From when on it may fire.
    pub soft: Nanos,
    /// When it should have fired.
    pub hard: Nanos,
    /// The address of its function; `None`: it wakes a sleeper.
    pub function: Option<usize>,
}

/// How far a walk has come: the tree is place 0, bucket n is place n + 1.
#[derive(Clone, Copy, Default)]
pub struct Walk {
    place: usize,
    index: usize,
    /// Some were left out ([`MOST`]).
    pub cut: bool,
}

impl Walk {
    /// Goes on to the next timers of `cpu`: those of the tree, in the order of their expiry, then those of the buckets. Fills the start of `out`, and says how many; 0 at the end. Those that come or go
    /// meanwhile may be told of twice, or not at all.
    pub fn next(&mut self, cpu: CpuId, out: &mut [Listed]) -> usize {
        let base = bases().of(cpu);
        while self.place <= BUCKETS {
            let room = out.len().min(MOST.saturating_sub(self.index));
            let (from, mut n) = (self.index, 0);
            let mut more = false;
            look(base, self.place, |i, entry| {
                if i >= from && n < room {
                    out[n] = listed(entry);
                    n += 1;
                } else if i >= from {
                    more = true;
                }
                !more
            });
            self.index += n;
            if more && n != 0 {
                return n;
            }
            self.cut |= more;
            (self.place, self.index) = (self.place + 1, 0);
            if n != 0 {
                return n;
            }
        }
        0
    }
}

/// Calls `f` with the number of each timer of `place`, and with it, under the lock, until `f` says that it is enough.
fn look(base: &Base, place: usize, mut f: impl FnMut(usize, &Entry) -> bool) {
    let mut tree = base.tree.lock_irq();
    let own = ptr::from_ref(tree.pull().entry());
    let mut i = 0;
    let mut each = |entry: &Entry| {
        let go_on = ptr::eq(entry, own) || f(i, entry);
        i += usize::from(!ptr::eq(entry, own));
        go_on
    };
    let tree: &mut Tree = &mut tree;
    match place.checked_sub(1) {
        None => tree.each(&mut each),
        Some(bucket) => Wheel::each(tree.wheel(), bucket, &mut each),
    }
}

/// Under the lock of its base.
fn listed(entry: &Entry) -> Listed {
    // SAFETY: the caller holds the lock.
    entry.inner.with(|p| unsafe {
        let function = match &(*p).action {
            Action::Wake(_) => None,
            Action::Call(f) => Some(*f as *const () as usize),
        };
        Listed { address: ptr::from_ref(entry).addr(), soft: (*p).soft, hard: (*p).hard, function }
    })
}

/// What a tracer's site tells of the timer at `address`, and whether it is queued at this moment.
///
/// # Safety
/// A site of one of the timers' roles has been come by with it as the base, and is not yet left.
#[cfg(target_os = "none")]
pub unsafe fn told(address: usize) -> (Listed, bool) {
    // SAFETY: by the contract it is an entry, and the lock of its base is held by this CPU.
    let entry = unsafe { &*(address as *const Entry) };
    (listed(entry), entry.state.load(Ordering::Relaxed) == super::entry::QUEUED)
}

/// The timer whose state is at `address`.
#[cfg(target_os = "none")]
pub fn of_state(address: usize) -> usize {
    address.wrapping_sub(core::mem::offset_of!(Entry, state))
}

/// What stands in the comparator of `cpu`, and its first timer; `None`: nothing.
pub fn events(cpu: CpuId) -> (Option<Nanos>, Option<Nanos>) {
    let base = bases().of(cpu);
    let some = |t: Nanos| (t < super::base::NEVER - 1).then_some(t);
    (some(base.programmed.load(Ordering::Relaxed)), some(base.first.load(Ordering::Relaxed)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::{SEC, now};
    use crate::timer::Timer;
    use core::pin::pin;

    fn all() -> std::vec::Vec<Listed> {
        let (mut walk, mut some, mut found) = (Walk::default(), [Listed::default(); 3], std::vec::Vec::new());
        loop {
            let n = walk.next(CpuId::current(), &mut some);
            if n == 0 {
                return found;
            }
            found.extend_from_slice(&some[..n]);
        }
    }

    #[test]
    fn every_timer_is_told_of_once_while_it_waits() {
        let timers: [Timer; 20] = core::array::from_fn(|_| Timer::new(|_| {}));
        let timers = pin!(timers);
        let timers = timers.into_ref();
        let start = now() + 1000 * SEC;
        for (i, timer) in timers.get_ref().iter().enumerate() {
            // SAFETY: the array is pinned, and so are its elements.
            unsafe { core::pin::Pin::new_unchecked(timer) }.start(start + (i as u64 % 10) * SEC, 5);
        }
        let is_ours = |l: &&Listed| timers.iter().any(|t| ptr::from_ref(t).addr() == l.address);
        let found = all();
        let ours: std::vec::Vec<_> = found.iter().filter(is_ours).collect();
        assert_eq!(ours.len(), 20);
        assert!(ours.iter().all(|l| l.hard == l.soft + 5 && l.soft >= start && l.function.is_some()));
        timers.iter().for_each(|t| _ = t.cancel());
        assert_eq!(all().iter().filter(is_ours).count(), 0);
    }
}
