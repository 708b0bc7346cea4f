//! The entropy device (specification 5.4): a seed at boot, read by polling.

use super::mmio::Transport;
use super::queue::{Direction, Queue};
use core::sync::atomic::{AtomicBool, Ordering};
use vigil_abi::Errno;
use vigil_executor::sync::{LockClass, SpinLock};
use vigil_executor::time::{self, MSEC};
use vigil_mem::page::Page;
use vigil_mem::page_alloc::{Gfp, alloc_pages};

/// The most bytes of one request.
pub const MAX_SEED: usize = 64;
/// How long a request may take; QEMU answers within a millisecond.
const PATIENCE: u64 = 50 * MSEC;

struct Rng {
    transport: Transport,
    queue: Queue,
    page: &'static Page,
}

static RNG_CLASS: LockClass = LockClass::new("virtio_rng");
static RNG: SpinLock<Option<Rng>> = SpinLock::new(&RNG_CLASS, None);
/// Whether there is a device.
static PRESENT: AtomicBool = AtomicBool::new(false);

/// Takes the device behind `transport`. Errors: those of the set-up, EBUSY for a second one.
pub(super) fn probe(transport: Transport) -> Result<(), Errno> {
    if PRESENT.swap(true, Ordering::Relaxed) {
        return Err(Errno::EBUSY);
    }
    let set_up = || {
        transport.begin(0)?;
        let mut queue = transport.queue(0, 2)?;
        queue.set_interrupts(false);
        let Some(page) = alloc_pages(0, Gfp::KERNEL | Gfp::ZERO) else {
            transport.reset();
            queue.free();
            return Err(Errno::ENOMEM);
        };
        transport.finish();
        Ok(Rng { transport, queue, page })
    };
    let rng = set_up().inspect_err(|_| {
        transport.fail();
        PRESENT.store(false, Ordering::Relaxed);
    })?;
    *RNG.lock() = Some(rng);
    Ok(())
}

/// Fills the start of `out` from the device and returns how many bytes, at most [`MAX_SEED`]; 0 when there is no device
/// or it does not answer. Polls for up to 50 ms with preemption off: for boot.
pub fn seed(out: &mut [u8]) -> usize {
    let mut guard = RNG.lock();
    let Some(rng) = guard.as_mut() else { return 0 };
    let want = out.len().min(MAX_SEED);
    let Some(slot) = rng.queue.free_slot() else { return 0 };
    let at = rng.page.phys().get() + usize::from(slot) * MAX_SEED;
    // SAFETY: the slot's part of a page that is never freed and is only read by a raw copy.
    if unsafe { rng.queue.submit(slot, at as u64, want as u32, Direction::FromDevice) }.is_err() {
        return 0;
    }
    rng.transport.notify(rng.queue.index());
    let end = time::now().saturating_add(PATIENCE);
    while time::now() < end {
        if let Some((slot, len)) = rng.queue.pop() {
            let n = (len as usize).min(want);
            let from = rng.page.as_ptr().wrapping_add(usize::from(slot) * MAX_SEED);
            // SAFETY: `n` is at most the length of the slot's part and of `out`.
            unsafe { core::ptr::copy_nonoverlapping(from.cast_const(), out.as_mut_ptr(), n) };
            return n;
        }
        core::hint::spin_loop();
    }
    // The slot stays the device's; the other one is there for another try.
    0
}
