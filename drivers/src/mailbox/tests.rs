//! The mailbox against a firmware made of code, which answers in the buffer that it is handed.

use super::*;
use crate::model::FakeDevice;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering::SeqCst};

struct Firmware {
    buffer: AtomicPtr<u32>,
    message: AtomicU32,
    /// Something of another channel comes first.
    noise: AtomicBool,
    dead: AtomicBool,
}

impl Firmware {
    fn answer(&self) {
        // SAFETY: the buffer is the test's, and the driver waits while this runs.
        let words = unsafe { core::slice::from_raw_parts_mut(self.buffer.load(SeqCst), WORDS) };
        words[1] = ANSWERED;
        match words[2] {
            0x1 => words[5] = 1_700_000_000,
            0x1_0004 => (words[5], words[6]) = (0x89ab_cdef, 0x1),
            0x3_0002 => words[6] = if words[5] == 3 { 1_200_000_000 } else { 250_000_000 },
            0x3_0046 => words[5] = 0x5_0005,
            // Not known: the tag's own word stays as it was.
            _ => return,
        }
        words[4] = ANSWERED | words[3];
    }
}

impl FakeDevice for Firmware {
    fn read(&self, offset: usize, _: usize) -> u64 {
        u64::from(match offset {
            READ if self.noise.swap(false, SeqCst) => 0x10 | 1,
            READ => self.message.swap(0, SeqCst),
            READ_STATUS if self.message.load(SeqCst) == 0 => EMPTY,
            WRITE_STATUS if self.dead.load(SeqCst) => FULL,
            _ => 0,
        })
    }

    fn write(&self, offset: usize, _: usize, value: u64) {
        assert_eq!(offset, WRITE);
        assert_eq!(value & 0xf, u64::from(PROPERTY));
        self.answer();
        self.message.store(value as u32, SeqCst);
    }
}

#[test]
fn tags_are_asked_one_by_one_and_a_dead_firmware_is_given_up() {
    assert_eq!(property(1, &mut [0]), Err(Errno::ENODEV));
    let words: &'static mut [u32] = std::vec![0; 1024].leak();
    let buffer = words.as_mut_ptr();
    let firmware: &'static Firmware = std::boxed::Box::leak(std::boxed::Box::new(Firmware {
        buffer: AtomicPtr::new(buffer),
        message: AtomicU32::new(0),
        noise: AtomicBool::new(true),
        dead: AtomicBool::new(false),
    }));
    start(Mmio::fake(firmware, 0x40), NonNull::new(buffer).unwrap(), 0xc010_0000);
    let facts = facts().unwrap();
    assert_eq!((facts.firmware, facts.serial), (1_700_000_000, 0x1_89ab_cdef));
    assert_eq!((facts.arm_hz, facts.core_hz), (1_200_000_000, 250_000_000));
    assert_eq!((facts.throttled, facts.temperature), (Some(0x5_0005), None), "a tag that it does not know");
    assert_eq!(property(0x999, &mut [0]), Err(Errno::EINVAL));
    assert_eq!(property(1, &mut [0; WORDS]), Err(Errno::EINVAL), "too long");
    firmware.dead.store(true, SeqCst);
    assert_eq!(property(1, &mut [0]), Err(Errno::ETIMEDOUT));
}
