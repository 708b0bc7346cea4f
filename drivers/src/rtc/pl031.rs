//! PL031 (Arm DDI 0224), which counts seconds since 1970 and raises its line when the count reaches a value.

use super::alarms::Clock;
use crate::model::Mmio;

/// RTCDR, the count.
const RTCDR: usize = 0x000;
/// RTCMR: the line is raised when the count becomes this.
const RTCMR: usize = 0x004;
/// RTCLR, which sets the count.
const RTCLR: usize = 0x008;
/// RTCCR: the count runs while bit 0 is set.
const RTCCR: usize = 0x00c;
/// RTCIMSC: bit 0 lets the line be raised.
const RTCIMSC: usize = 0x010;
/// RTCMIS: bit 0 says that it is.
const RTCMIS: usize = 0x018;
/// RTCICR: bit 0 lowers it.
const RTCICR: usize = 0x01c;

/// The registers.
#[derive(Clone, Copy)]
pub struct Pl031 {
    io: Mmio,
}

impl Pl031 {
    /// Those behind `io`. A stopped clock is started; the alarm is off.
    pub fn new(io: Mmio) -> Pl031 {
        let control = io.read32(RTCCR);
        if control & 1 == 0 {
            io.write32(RTCCR, control | 1);
        }
        io.write32(RTCIMSC, 0);
        io.write32(RTCICR, 1);
        Pl031 { io }
    }

    /// What stands in the match register.
    pub fn match_value(&self) -> u64 {
        u64::from(self.io.read32(RTCMR))
    }

    /// Lowers the line; whether it was raised. Any context.
    pub fn acknowledge(&self) -> bool {
        let raised = self.io.read32(RTCMIS) & 1 != 0;
        if raised {
            self.io.write32(RTCICR, 1);
        }
        raised
    }
}

impl Clock for Pl031 {
    const LAST: u64 = u32::MAX as u64;

    fn read(&self) -> u64 {
        u64::from(self.io.read32(RTCDR))
    }

    fn set(&self, seconds: u64) {
        self.io.write32(RTCLR, seconds as u32);
    }

    fn set_alarm(&self, at: Option<u64>) {
        match at {
            Some(at) => {
                self.io.write32(RTCICR, 1);
                self.io.write32(RTCMR, at as u32);
                self.io.write32(RTCIMSC, 1);
            }
            None => self.io.write32(RTCIMSC, 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers() {
        let memory = std::vec![0u64; 512].leak();
        // SAFETY: the memory is leaked and touched through the window alone.
        let io = unsafe { Mmio::new(memory.as_mut_ptr().cast(), 0x1000) };
        io.write32(RTCDR, 1_700_000_000);
        io.write32(RTCIMSC, 1);
        let clock = Pl031::new(io);
        assert_eq!((io.read32(RTCCR), io.read32(RTCIMSC)), (1, 0));
        assert_eq!(clock.read(), 1_700_000_000);
        clock.set(1_800_000_000);
        assert_eq!(io.read32(RTCLR), 1_800_000_000);
        clock.set_alarm(Some(1_800_000_007));
        assert_eq!((io.read32(RTCMR), io.read32(RTCIMSC), clock.match_value()), (1_800_000_007, 1, 1_800_000_007));
        clock.set_alarm(None);
        assert_eq!(io.read32(RTCIMSC), 0);
        io.write32(RTCICR, 0);
        assert!(!clock.acknowledge());
        assert_eq!(io.read32(RTCICR), 0);
        io.write32(RTCMIS, 1);
        assert!(clock.acknowledge());
        assert_eq!(io.read32(RTCICR), 1);
    }
}
