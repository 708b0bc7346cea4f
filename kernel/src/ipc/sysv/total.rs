//! What all objects of a kind hold together, and the part of it that is one object's.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use vigil_abi::Errno;

/// A sum over all objects of a kind: pages, semaphores.
pub struct Total(AtomicU64);

impl Total {
    /// Nothing so far.
    pub const fn new() -> Total {
        Total(AtomicU64::new(0))
    }

    /// The sum.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// Adds `amount`, for as long as the part lives, if the sum stays at or below `most`. ENOSPC.
    pub fn add(&'static self, amount: u64, most: u64) -> Result<Part, Errno> {
        let step = |sum: u64| sum.checked_add(amount).filter(|&sum| sum <= most);
        self.0.fetch_update(Relaxed, Relaxed, step).map(|_| Part { total: self, amount }).map_err(|_| Errno::ENOSPC)
    }
}

/// The part of a [`Total`] that is one object's.
pub struct Part {
    total: &'static Total,
    amount: u64,
}

impl Part {
    /// How much it is.
    pub fn amount(&self) -> u64 {
        self.amount
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.total.0.fetch_sub(self.amount, Relaxed);
    }
}
