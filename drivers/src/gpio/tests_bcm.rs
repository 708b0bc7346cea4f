//! BCM2835's and BCM2711's pins on a model of their registers: functions, pulls, events, and the tree's settings.

use super::bcm2835::{Bcm2835, INPUT, OUTPUT};
use super::*;
use crate::dt::testblob::Blob;
use crate::dt::{Tree, validate};
use crate::irq::{self, Flow, IrqAction, IrqChip, IrqDomain, IrqFlags, IrqReturn, Trigger, Virq};
use crate::model::{FakeDevice, Mmio};
use core::sync::atomic::AtomicU16;
use std::boxed::Box;
use std::sync::Mutex;
use std::vec::Vec;

/// What the world gives to the pins, what of it is an event, and what was written.
#[derive(Default)]
struct Model {
    fsel: [u32; 6],
    latch: u64,
    world: u64,
    /// Rising, falling, high, low.
    detect: [u64; 4],
    events: u64,
    pull: u32,
    pulled: Vec<(u32, u64)>,
    pulls_2711: [u32; 4],
    writes: Vec<(usize, u32)>,
}

struct Registers(Mutex<Model>);

/// The first of a pair of words, and which of them is at `offset`.
fn pair(offset: usize, first: usize) -> Option<u32> {
    [first, first + 4].iter().position(|&at| at == offset).map(|word| 32 * word as u32)
}

fn put(to: &mut u64, shift: u32, value: u32) {
    *to = *to & !(0xffff_ffff << shift) | u64::from(value) << shift;
}

impl Model {
    fn output(&self, pin: u32) -> bool {
        self.fsel[pin as usize / 10] >> (pin % 10 * 3) & 7 == OUTPUT
    }

    fn pins(&self) -> u64 {
        (0..58).fold(0, |all, pin| all | (if self.output(pin) { self.latch } else { self.world }) & 1 << pin)
    }

    /// Levels are latched for as long as they are there.
    fn look(&mut self) {
        self.events |= self.pins() & self.detect[2] | !self.pins() & self.detect[3];
    }
}

impl Registers {
    fn set(&self, pin: u32, high: bool) {
        let mut m = self.0.lock().unwrap();
        let old = m.pins();
        m.world = if high { m.world | 1 << pin } else { m.world & !(1 << pin) };
        let new = m.pins();
        m.events |= new & !old & m.detect[0] | old & !new & m.detect[1];
        m.look();
    }
}

const DETECT: [usize; 4] = [0x4c, 0x58, 0x64, 0x70];

impl FakeDevice for Registers {
    fn read(&self, offset: usize, size: usize) -> u64 {
        assert_eq!(size, 4);
        let mut m = self.0.lock().unwrap();
        m.look();
        let word = |value: u64, shift: u32| value >> shift & 0xffff_ffff;
        if let Some(shift) = pair(offset, 0x34) {
            return word(m.pins(), shift);
        }
        if let Some(shift) = pair(offset, 0x40) {
            return word(m.events, shift);
        }
        if let Some((i, shift)) = DETECT.iter().enumerate().find_map(|(i, &at)| Some((i, pair(offset, at)?))) {
            return word(m.detect[i], shift);
        }
        u64::from(match offset {
            0..0x18 => m.fsel[offset / 4],
            0xe4..0xf4 => m.pulls_2711[(offset - 0xe4) / 4],
            _ => panic!("read of {offset:#x}"),
        })
    }

    fn write(&self, offset: usize, size: usize, value: u64) {
        assert_eq!(size, 4);
        let mut m = self.0.lock().unwrap();
        let value = value as u32;
        m.writes.push((offset, value));
        if let Some(shift) = pair(offset, 0x1c) {
            m.latch |= u64::from(value) << shift;
        } else if let Some(shift) = pair(offset, 0x28) {
            m.latch &= !(u64::from(value) << shift);
        } else if let Some(shift) = pair(offset, 0x40) {
            m.events &= !(u64::from(value) << shift);
        } else if let Some((i, shift)) = DETECT.iter().enumerate().find_map(|(i, &at)| Some((i, pair(offset, at)?))) {
            put(&mut m.detect[i], shift, value);
        } else if let Some(shift) = pair(offset, 0x98) {
            let (pull, pins) = (m.pull, u64::from(value) << shift);
            m.pulled.push((pull, pins));
        } else {
            match offset {
                0..0x18 => m.fsel[offset / 4] = value,
                0x94 => m.pull = value,
                0xe4..0xf4 => m.pulls_2711[(offset - 0xe4) / 4] = value,
                _ => panic!("write of {offset:#x}"),
            }
        }
    }
}

fn chip(is_2711: bool) -> (&'static Registers, &'static Bcm2835) {
    let registers: &'static Registers = Box::leak(Box::new(Registers(Mutex::default())));
    registers.0.lock().unwrap().detect = [u64::MAX; 4];
    registers.0.lock().unwrap().events = 5;
    let chip = Bcm2835::new(Mmio::fake(registers, 0x100), is_2711).unwrap();
    let mut m = registers.0.lock().unwrap();
    // What the firmware left is gone.
    assert_eq!((m.detect, m.events), ([0; 4], 0));
    m.writes.clear();
    drop(m);
    (registers, chip)
}

#[test]
fn levels_are_set_by_one_store_that_touches_no_other_pin() {
    let (registers, chip) = chip(false);
    chip.set(0, true);
    chip.set(33, true);
    chip.set(53, false);
    assert_eq!(registers.0.lock().unwrap().writes, [(0x1c, 1), (0x20, 2), (0x2c, 1 << 21)]);
    registers.set(40, true);
    assert!(chip.get(40) && !chip.get(8));
    assert_eq!((chip.lines(), chip.label()), (54, "pinctrl-bcm2835"));
}

#[test]
fn functions_are_three_bits_of_ten_pins_a_word_and_pass_the_input() {
    let (registers, chip) = chip(true);
    for pin in [0, 9, 10, 29, 57] {
        registers.0.lock().unwrap().writes.clear();
        chip.set_function(pin, 7);
        chip.set_function(pin, 4);
        chip.set_function(pin, 4);
        let (word, shift) = (pin as usize / 10, pin % 10 * 3);
        assert_eq!(registers.0.lock().unwrap().writes, [(4 * word, 7 << shift), (4 * word, 0), (4 * word, 4 << shift)]);
        assert_eq!(chip.function(pin), 4);
        chip.set_function(pin, INPUT);
    }
    registers.0.lock().unwrap().writes.clear();
    chip.output(12, true);
    // Its level before its function: the pin is never low.
    assert_eq!(registers.0.lock().unwrap().writes, [(0x1c, 1 << 12), (4, 1 << 6)]);
    assert!(chip.is_output(12) && chip.get(12));
    chip.input(12);
    assert!(!chip.is_output(12));
}

#[test]
fn pulls_are_clocked_on_one_chip_and_two_bits_on_the_other() {
    let (registers, old) = chip(false);
    old.set_bias(35, Bias::PullUp).unwrap();
    old.set_bias(4, Bias::PullDown).unwrap();
    old.set_bias(4, Bias::Disable).unwrap();
    // Each is clocked in and the clock taken away before the next.
    assert_eq!(registers.0.lock().unwrap().pulled, [(2, 1 << 35), (0, 0), (1, 1 << 4), (0, 0), (0, 1 << 4), (0, 0)]);
    let (registers, new) = chip(true);
    registers.0.lock().unwrap().pulls_2711 = [u32::MAX; 4];
    new.set_bias(17, Bias::PullUp).unwrap();
    new.set_bias(57, Bias::PullDown).unwrap();
    new.set_bias(0, Bias::Disable).unwrap();
    assert_eq!(registers.0.lock().unwrap().pulls_2711, [!3, !(2 << 2), u32::MAX, !(1 << 18)]);
    assert_eq!((new.lines(), new.label()), (58, "pinctrl-bcm2711"));
}

/// A parent whose lines nobody raises but the test.
struct Parent;

impl IrqChip for Parent {
    fn name(&self) -> &'static str {
        "parent"
    }
    fn translate(&self, _: &[u32]) -> Result<(u32, Trigger), Errno> {
        Err(Errno::EINVAL)
    }
    fn flow(&self, _: u32) -> Result<Flow, Errno> {
        Ok(Flow::FastEoi)
    }
    fn mask(&self, _: u32) {}
    fn unmask(&self, _: u32) {}
    fn set_type(&self, _: u32, _: Trigger) -> Result<(), Errno> {
        Ok(())
    }
}

static PARENT_MAP: [AtomicU16; 3] = [const { AtomicU16::new(0) }; 3];
static PARENT: IrqDomain = IrqDomain::new(&Parent, &PARENT_MAP);

static SEEN: Mutex<Vec<u32>> = Mutex::new(Vec::new());

fn seen(virq: Virq, _: *const ()) -> IrqReturn {
    SEEN.lock().unwrap().push(virq.get());
    IrqReturn::Handled
}

#[test]
fn events_come_from_their_group_once_and_only_while_they_are_wanted() {
    let (registers, chip) = chip(false);
    for group in 0..3 {
        chip.chain_at(group, PARENT.map(group as u32, Trigger::LevelHigh).unwrap()).unwrap();
    }
    let domain = chip.domain().unwrap();
    let mut actions = Vec::new();
    // The first and the last pin of each group.
    for (group, pin) in [(0, 0), (0, 27), (1, 28), (1, 31), (1, 32), (1, 45), (2, 46), (2, 53)] {
        let virq = domain.map(pin, Trigger::EdgeRising).unwrap();
        let action: &'static IrqAction = Box::leak(Box::new(IrqAction::of_static("seen", seen, IrqFlags::empty())));
        irq::request_irq(virq, action).unwrap();
        registers.set(pin, true);
        for other in (0..3).filter(|&g| g != group) {
            irq::handle_domain_irq(&PARENT, other);
            assert_eq!(*SEEN.lock().unwrap(), [], "pin {pin} in group {other}");
        }
        irq::handle_domain_irq(&PARENT, group);
        irq::handle_domain_irq(&PARENT, group);
        assert_eq!(core::mem::take(&mut *SEEN.lock().unwrap()), [virq.get()], "pin {pin}");
        registers.set(pin, false);
        irq::handle_domain_irq(&PARENT, group);
        assert_eq!(*SEEN.lock().unwrap(), [], "falling pin {pin}");
        actions.push((virq, action));
    }
    assert_eq!(registers.0.lock().unwrap().events, 0);
    for (virq, action) in actions {
        irq::free_irq(virq, action);
    }
    assert_eq!(registers.0.lock().unwrap().detect, [0; 4]);
}

#[test]
fn each_trigger_has_its_registers_and_masking_forgets_what_was_latched() {
    let (registers, chip) = chip(true);
    let one = 1u64 << 50;
    for (trigger, want) in [
        (Trigger::EdgeRising, [one, 0, 0, 0]),
        (Trigger::EdgeFalling, [0, one, 0, 0]),
        (Trigger::EdgeBoth, [one, one, 0, 0]),
        (Trigger::LevelHigh, [0, 0, one, 0]),
        (Trigger::LevelLow, [0, 0, 0, one]),
    ] {
        chip.set_type(50, trigger).unwrap();
        assert_eq!(registers.0.lock().unwrap().detect, [0; 4], "{trigger:?} while masked");
        chip.unmask(50);
        assert_eq!(registers.0.lock().unwrap().detect, want, "{trigger:?}");
        assert_eq!(chip.flow(50), Ok(if trigger.is_edge() { Flow::Edge } else { Flow::Level }));
        registers.set(50, true);
        registers.set(50, false);
        assert_eq!(registers.0.lock().unwrap().events, one);
        chip.mask(50);
        let m = registers.0.lock().unwrap();
        assert_eq!((m.detect, m.events), ([0; 4], 0));
    }
    // A type that changes while the line is on takes the place of the other.
    chip.unmask(50);
    chip.set_type(50, Trigger::EdgeRising).unwrap();
    assert_eq!(registers.0.lock().unwrap().detect, [one, 0, 0, 0]);
    assert!(chip.set_type(58, Trigger::EdgeRising).is_err() && chip.translate(&[58, 1]).is_err() && chip.flow(58).is_err());
}

#[test]
fn a_trees_settings_are_applied() {
    let (registers, chip) = chip(false);
    let blob = Blob::new()
        .node("", |b| {
            b.node("a", |b| b.cells("brcm,pins", &[14, 15]).cells("brcm,function", &[2]).cells("brcm,pull", &[0, 2]))
                .node("b", |b| {
                    b.node("x", |b| b.strings("pins", &["gpio30", "gpio31"]).strings("function", &["alt3"]))
                        .node("y", |b| b.strings("pins", &["gpio30"]).bytes("bias-pull-up", &[]))
                })
                .node("c", |b| b.cells("brcm,pins", &[54]).cells("brcm,function", &[1]))
                .node("d", |b| b.strings("pins", &["gpio1"]).strings("function", &["alt9"]))
                .node("e", |b| b.cells("brcm,pins", &[1]).cells("brcm,function", &[8]))
        })
        .finish();
    let dtb = validate(blob.bytes()).unwrap();
    let tree = Tree::unflatten(&dtb).unwrap();
    let apply = |name| pinctrl::apply(chip, tree.find(name).unwrap());
    assert_eq!((apply("/a"), apply("/b")), (Ok(()), Ok(())));
    assert_eq!([14, 15, 30, 31, 32].map(|pin| chip.function(pin)), [2, 2, 7, 7, 0]);
    let pulled: Vec<_> = registers.0.lock().unwrap().pulled.iter().copied().filter(|(_, pins)| *pins != 0).collect();
    assert_eq!(pulled, [(0, 1 << 14), (2, 1 << 15), (2, 1 << 30)]);
    assert_eq!(["/c", "/d", "/e"].map(apply), [Err(Errno::EINVAL); 3]);
    assert_eq!(chip.function(1), INPUT);
}
