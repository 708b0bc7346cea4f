//! The wall clock at boot: PL031 (Arm DDI 0224), which counts seconds since 1970.

use crate::dt::Node;
use crate::model::{Driver, Mmio, ioremap};
use vigil_abi::Errno;
use vigil_mem::PhysAddr;

/// RTCDR, the count.
const RTCDR: usize = 0x000;
/// RTCLR, which sets the count.
const RTCLR: usize = 0x008;
/// RTCCR: the count runs while bit 0 is set.
const RTCCR: usize = 0x00c;

static PL031: spin::Once<Mmio> = spin::Once::new();

/// The driver of a PL031; the first one is the wall clock.
pub static PL031_DRIVER: Driver = Driver { name: "rtc-pl031", compatible: &["arm,pl031"], priority: 40, probe };

fn probe(node: Node<'_>) -> Result<(), Errno> {
    let region = node.reg(0).ok_or(Errno::EINVAL)?;
    let io = ioremap(PhysAddr::new(region.base as usize), region.size as usize)?;
    start(io);
    PL031.call_once(|| io);
    Ok(())
}

fn start(io: Mmio) {
    let control = io.read32(RTCCR);
    if control & 1 == 0 {
        io.write32(RTCCR, control | 1);
    }
}

/// Seconds since 1970, UTC; `None` without a clock. Any context.
pub fn read() -> Option<u64> {
    Some(u64::from(PL031.get()?.read32(RTCDR)))
}

/// Sets the clock. Errors: ENODEV without one; ERANGE for a time after 2106, which it cannot hold.
pub fn set(seconds: u64) -> Result<(), Errno> {
    let io = PL031.get().ok_or(Errno::ENODEV)?;
    io.write32(RTCLR, u32::try_from(seconds).map_err(|_| Errno::ERANGE)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stopped_clock_is_started_and_read() {
        let memory = std::vec![0u64; 512].leak();
        // SAFETY: the memory is leaked and touched through the window alone.
        let io = unsafe { Mmio::new(memory.as_mut_ptr().cast(), 0x1000) };
        io.write32(RTCDR, 1_700_000_000);
        start(io);
        assert_eq!(io.read32(RTCCR), 1);
        assert_eq!(set(1), Err(Errno::ENODEV));
        PL031.call_once(|| io);
        assert_eq!(read(), Some(1_700_000_000));
        set(1_800_000_000).unwrap();
        assert_eq!(io.read32(RTCLR), 1_800_000_000);
        assert_eq!(set(1 << 40), Err(Errno::ERANGE));
    }
}
