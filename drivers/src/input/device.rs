//! One input device: who it is, what it can report, what state its keys are in.

use super::{EV_KEY, EV_SW, EV_SYN, Event, SYN_REPORT};
use vigil_executor::sync::{LockClass, SpinLock};
use vigil_executor::time::{Nanos, now};

/// The highest key code (Linux: KEY_MAX).
pub const MAX_KEY: u16 = 0x2ff;
/// Words of a set of keys.
pub const BITS: usize = (MAX_KEY as usize + 1) / 64;
/// Switches that can be in a set.
const MAX_SWITCH: u16 = 63;

/// What a device says it is (`struct input_id`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InputId {
    /// `BUS_*`.
    pub bus: u16,
    /// Who made it.
    pub vendor: u16,
    /// What it is.
    pub product: u16,
    /// And which.
    pub version: u16,
}

static CLASS: LockClass = LockClass::new("input_dev");

/// What is pressed and switched, and whether something was reported since the last end of a report.
struct State {
    keys: [u64; BITS],
    switches: u64,
    /// When the report that is being made began; 0: none is.
    since: Nanos,
}

/// An input device. Lives for ever once it is registered.
pub struct InputDevice {
    /// What it is called.
    pub name: &'static str,
    /// How it is connected.
    pub phys: &'static str,
    /// The platform device that it belongs to.
    pub parent: &'static str,
    /// What it says it is.
    pub id: InputId,
    /// N of `inputN`.
    pub number: usize,
    /// Which keys it has.
    keys: [u64; BITS],
    /// Which switches it has.
    switches: u64,
    state: SpinLock<State>,
}

impl InputDevice {
    /// A device without keys and switches.
    pub fn new(name: &'static str, phys: &'static str, parent: &'static str, id: InputId) -> InputDevice {
        let state = SpinLock::new(&CLASS, State { keys: [0; BITS], switches: 0, since: 0 });
        InputDevice { name, phys, parent, id, number: 0, keys: [0; BITS], switches: 0, state }
    }

    /// Gives it a key (`EV_KEY`) or a switch (`EV_SW`). False: there is no such code.
    pub fn add(&mut self, kind: u16, code: u16) -> bool {
        match (kind, self.keys.get_mut(usize::from(code) / 64)) {
            // Code 0 is reserved.
            (EV_KEY, Some(word)) if code != 0 => *word |= 1 << (code % 64),
            (EV_SW, _) if code <= MAX_SWITCH => self.switches |= 1 << code,
            _ => return false,
        }
        true
    }

    /// Which kinds of events it reports, a bit each.
    pub fn kinds(&self) -> u64 {
        let (keys, switches) = (self.keys.iter().any(|&w| w != 0), self.switches != 0);
        1 << EV_SYN | u64::from(keys) << EV_KEY | u64::from(switches) << EV_SW
    }

    /// Which keys it has.
    pub fn keys(&self) -> [u64; BITS] {
        self.keys
    }

    /// Which switches it has.
    pub fn switches(&self) -> u64 {
        self.switches
    }

    /// Which keys are pressed.
    pub fn pressed(&self) -> [u64; BITS] {
        self.state.lock_irq().keys
    }

    /// Which switches are on.
    pub fn switched(&self) -> u64 {
        self.state.lock_irq().switches
    }

    /// Reports an event, if it is a change of something that the device has. Any context.
    pub fn report(&self, event: Event) {
        let mut state = self.state.lock_irq();
        let bit = 1u64 << (event.code % 64);
        let changed = match event.kind {
            EV_SYN if event.code == SYN_REPORT => state.since != 0,
            EV_KEY => {
                let word = usize::from(event.code) / 64;
                let (Some(has), Some(now)) = (self.keys.get(word), state.keys.get_mut(word)) else { return };
                let pressed = *now & bit != 0;
                // A repetition changes nothing, and is told.
                let news = has & bit != 0 && (event.value == 2 || pressed != (event.value != 0));
                if news && event.value != 2 {
                    *now ^= bit;
                }
                news
            }
            EV_SW if event.code <= MAX_SWITCH => {
                let news = self.switches & bit != 0 && (state.switches & bit != 0) != (event.value != 0);
                if news {
                    state.switches ^= bit;
                }
                news
            }
            _ => false,
        };
        if !changed {
            return;
        }
        if state.since == 0 {
            state.since = now().max(1);
        }
        // All of a report happened at one time.
        let at = if event.kind == EV_SYN { core::mem::take(&mut state.since) } else { state.since };
        if let Some(sink) = super::sink() {
            // Under the lock: readers get events in the order of the changes.
            let value = if event.kind == EV_SYN { 0 } else { event.value };
            sink.event(self.number, Event { value, ..event }, at);
        }
    }

    /// Ends a report: what was reported since the last end happened at one time.
    pub fn sync(&self) {
        self.report(Event { kind: EV_SYN, code: SYN_REPORT, value: 0 });
    }
}

#[cfg(test)]
mod tests {
    use super::super::{InputSink, device, register, set_sink};
    use super::*;
    use std::boxed::Box;
    use std::sync::Mutex;
    use std::vec::Vec;

    struct Seen(Mutex<Vec<(u16, u16, i32)>>);

    impl InputSink for Seen {
        fn event(&self, _: usize, event: Event, _: Nanos) {
            self.0.lock().unwrap().push((event.kind, event.code, event.value));
        }
    }

    static SEEN: Seen = Seen(Mutex::new(Vec::new()));

    #[test]
    fn changes_alone_are_told_and_an_empty_report_is_none() {
        set_sink(&SEEN);
        let id = InputId { bus: 0x19, vendor: 1, product: 1, version: 0x100 };
        let made = Box::leak(Box::new(InputDevice::new("keys", "keys/input0", "keys", id)));
        assert!(made.add(EV_KEY, 116) && made.add(EV_SW, 3) && !made.add(EV_KEY, 0x300) && !made.add(EV_KEY, 0) && !made.add(EV_SW, 64));
        let keys = register(made).unwrap();
        assert!(core::ptr::eq(device(keys.number).unwrap(), keys));
        assert_eq!(keys.kinds(), 1 << EV_SYN | 1 << EV_KEY | 1 << EV_SW);
        let key = |code, value| keys.report(Event { kind: EV_KEY, code, value });
        keys.sync();
        key(116, 1);
        key(116, 1);
        key(117, 1);
        key(0xffff, 1);
        keys.sync();
        keys.sync();
        assert_eq!(keys.pressed()[1], 1 << (116 - 64));
        key(116, 2);
        key(116, 0);
        keys.report(Event { kind: EV_SW, code: 3, value: 1 });
        keys.sync();
        assert_eq!((keys.pressed(), keys.switched()), ([0; BITS], 8));
        let want = [(1, 116, 1), (0, 0, 0), (1, 116, 2), (1, 116, 0), (5, 3, 1), (0, 0, 0)];
        assert_eq!(*SEEN.0.lock().unwrap(), want);
    }
}
