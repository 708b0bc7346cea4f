//! PL061 on a model of its registers: pins, triggers, and edges to listeners.

use super::pl061::{DIR, IBE, IC, IE, IEV, IS, MIS, Pl061, chained, data};
use super::wire::{Pin, Wire};
use super::*;
use crate::dt::testblob::Blob;
use crate::dt::{Tree, validate};
use crate::irq::{self, IrqChip, IrqReturn, Trigger, Virq};
use crate::model::{FakeDevice, Mmio};
use std::boxed::Box;
use std::sync::Mutex;
use std::vec::Vec;
use vigil_mem::{KArc, unsize};

/// The chip, and the level that the world gives to each pin which it does not drive.
#[derive(Default)]
struct Model {
    world: u8,
    latch: u8,
    dir: u8,
    is: u8,
    ibe: u8,
    iev: u8,
    ie: u8,
    edges: u8,
    /// Writes, in order.
    writes: Vec<(usize, u8)>,
    /// Levels that pins were driven to, in order.
    driven: Vec<(u8, u8)>,
}

struct Registers(Mutex<Model>);

impl Model {
    fn pins(&self) -> u8 {
        self.latch & self.dir | self.world & !self.dir
    }

    fn pending(&self) -> u8 {
        let levels = !(self.pins() ^ self.iev) & self.is;
        (self.edges & !self.is | levels) & self.ie
    }
}

impl Registers {
    fn new() -> &'static Registers {
        Box::leak(Box::new(Registers(Mutex::default())))
    }

    /// The world changes a pin.
    fn set(&self, pin: u32, high: bool) {
        let mut m = self.0.lock().unwrap();
        let (bit, old) = (1 << pin, m.pins());
        m.world = if high { m.world | bit } else { m.world & !bit };
        let (rose, fell) = (m.pins() & !old, old & !m.pins());
        let (up, down) = (m.ibe | m.iev, m.ibe | !m.iev);
        m.edges |= (rose & up | fell & down) & !m.is;
    }
}

impl FakeDevice for Registers {
    fn read(&self, offset: usize, size: usize) -> u64 {
        assert_eq!(size, 1);
        let m = self.0.lock().unwrap();
        u64::from(match offset {
            0..0x400 => m.pins() & (offset >> 2) as u8,
            DIR => m.dir,
            IS => m.is,
            IBE => m.ibe,
            IEV => m.iev,
            IE => m.ie,
            MIS => m.pending(),
            _ => panic!("read of {offset:#x}"),
        })
    }

    fn write(&self, offset: usize, size: usize, value: u64) {
        assert_eq!(size, 1);
        let mut m = self.0.lock().unwrap();
        let value = value as u8;
        m.writes.push((offset, value));
        match offset {
            0..0x400 => m.latch = m.latch & !((offset >> 2) as u8) | value & (offset >> 2) as u8,
            DIR => m.dir = value,
            IS => m.is = value,
            IBE => m.ibe = value,
            IEV => m.iev = value,
            IE => m.ie = value,
            IC => m.edges &= !value,
            _ => panic!("write of {offset:#x}"),
        }
        let now = (m.dir, m.latch & m.dir);
        if m.driven.last() != Some(&now) {
            m.driven.push(now);
        }
    }
}

fn chip() -> (&'static Registers, &'static Pl061) {
    let registers = Registers::new();
    let chip = Pl061::new(Mmio::fake(registers, 0x1000), "test.pl061").unwrap();
    registers.0.lock().unwrap().writes.clear();
    (registers, chip)
}

/// The line at the parent is up: its handler runs, as often as it stays up, but not for ever.
fn run(registers: &Registers, chip: &Pl061) -> usize {
    let mut times = 0;
    while registers.0.lock().unwrap().pending() != 0 && times < 5 {
        assert_eq!(chained(Virq::new(1).unwrap(), (&raw const *chip).cast()), IrqReturn::Handled);
        times += 1;
    }
    times
}

#[test]
fn a_pin_is_set_by_one_store_that_touches_no_other() {
    let (registers, chip) = chip();
    registers.0.lock().unwrap().latch = 0x81;
    chip.set(3, true);
    assert_eq!(registers.0.lock().unwrap().writes, [(data(3), 8)]);
    chip.set(0, false);
    let m = registers.0.lock().unwrap();
    assert_eq!((m.latch, m.writes.len(), data(0)), (0x88, 2, 4));
}

#[test]
fn an_output_begins_with_its_level() {
    let (registers, chip) = chip();
    registers.0.lock().unwrap().dir = 0x10;
    chip.output(2, true);
    assert!(chip.is_output(2) && chip.get(2) && !chip.is_output(3));
    // Pin 2 was never driven low.
    assert!(registers.0.lock().unwrap().driven.iter().all(|(dir, level)| dir & 4 == 0 || level & 4 != 0));
    chip.input(2);
    registers.set(5, true);
    assert!(!chip.is_output(2) && chip.is_output(4) && chip.get(5) && !chip.get(6));
}

#[test]
fn each_trigger_raises_what_it_says() {
    for (trigger, rising, falling) in [
        (Trigger::EdgeRising, 1, 0),
        (Trigger::EdgeFalling, 0, 1),
        (Trigger::EdgeBoth, 1, 1),
        (Trigger::LevelHigh, 5, 0),
        (Trigger::LevelLow, 0, 5),
    ] {
        let (registers, chip) = chip();
        let low_at_rest = trigger == Trigger::LevelLow;
        registers.set(6, low_at_rest);
        let domain = chip.domain().unwrap();
        let virq = domain.map(6, trigger).unwrap();
        let seen: &'static Mutex<usize> = Box::leak(Box::default());
        fn count(_: Virq, dev: *const ()) -> IrqReturn {
            // SAFETY: the action's device is the leaked count.
            *unsafe { &*dev.cast::<Mutex<usize>>() }.lock().unwrap() += 1;
            IrqReturn::Handled
        }
        let action = Box::leak(Box::new(irq::IrqAction::for_device("count", count, seen, irq::IrqFlags::empty())));
        irq::request_irq(virq, action).unwrap();
        let change = |high| {
            registers.set(6, high);
            run(registers, chip);
            core::mem::take(&mut *seen.lock().unwrap())
        };
        let got = if low_at_rest { (change(false), change(true)) } else { (change(true), change(false)) };
        assert_eq!(if low_at_rest { (got.1, got.0) } else { got }, (rising, falling), "{trigger:?}");
        irq::disable_hardirq(virq);
        registers.set(6, !low_at_rest);
        assert_eq!(run(registers, chip), 0, "{trigger:?}, disabled");
        irq::free_irq(virq, action);
        assert_eq!(registers.0.lock().unwrap().ie, 0);
    }
}

#[test]
fn specifiers_and_lines_beyond_the_chip_are_refused() {
    let (_, chip) = chip();
    assert_eq!(chip.translate(&[3, 8]), Ok((3, Trigger::LevelLow)));
    assert!(chip.translate(&[8, 1]).is_err() && chip.translate(&[3]).is_err() && chip.translate(&[3, 5]).is_err());
    assert!(chip.flow(8).is_err() && chip.domain().unwrap().map(8, Trigger::EdgeRising).is_err());
}

/// What a listener heard.
#[derive(Default)]
struct Heard(Mutex<Vec<(u32, bool)>>);

impl EdgeListener for &'static Heard {
    fn edge(&self, line: u32, edge: Edge) {
        assert!(edge.time() > 0);
        self.0.lock().unwrap().push((line, edge.rising));
    }
}

#[test]
fn lines_are_requested_set_and_listened_to() {
    let (registers, chip) = chip();
    let blob = Blob::new()
        .node("", |b| {
            b.node("gpio@1", |b| b.cells("phandle", &[7]).cells("#gpio-cells", &[2]).strings("gpio-line-names", &["", "", "LED"]))
                .node("keys", |b| b.cells("gpios", &[0, 7, 3, 1, 7, 9, 0, 8, 1, 1]))
        })
        .finish();
    let dtb = validate(blob.bytes()).unwrap();
    let tree = Tree::unflatten(&dtb).unwrap();
    let keys = tree.find("/keys").unwrap();
    assert_eq!(from_dt(keys, "gpios", 1).err(), Some(crate::model::EPROBE_DEFER));
    let pins = register(chip, tree.find("/gpio@1").unwrap()).unwrap();
    let (found, line, low) = from_dt(keys, "gpios", 1).unwrap();
    assert!(core::ptr::eq(found, pins) && core::ptr::eq(controller(pins.number).unwrap(), pins));
    assert_eq!((line, low, pins.name(2), pins.name(3)), (3, true, "LED", ""));
    assert_eq!(
        [0, 2, 3, 9].map(|i| from_dt(keys, "gpios", i).err()),
        [Some(Errno::ENOENT), Some(Errno::EINVAL), Some(Errno::EINVAL), Some(Errno::EINVAL)]
    );

    assert_eq!(pins.request(8, b"x"), Err(Errno::EINVAL));
    pins.request(3, b"a name that is longer than thirty-two bytes").unwrap();
    assert_eq!(pins.request(3, b"another"), Err(Errno::EBUSY));
    assert!(pins.with(3, |l| l.user() == Some(b"a name that is longer than thirt".get(..31).unwrap())).unwrap());

    // Open drain: high is let go, low is driven; inverted.
    let drain = Settings { output: true, active_low: true, drive: Drive::OpenDrain, ..Settings::default() };
    pins.configure(3, drain, false).unwrap();
    registers.set(3, true);
    assert!(!chip.is_output(3) && pins.value(3) == Ok(false));
    pins.set_value(3, true).unwrap();
    assert!(chip.is_output(3) && pins.value(3) == Ok(true));
    pins.set_value(3, false).unwrap();
    assert!(!chip.is_output(3));

    let heard: &'static Heard = Box::leak(Box::default());
    let ear = || unsize!(KArc, KArc::try_new(heard).unwrap() => dyn EdgeListener);
    let low = Settings { active_low: true, ..Settings::default() };
    pins.configure(3, low, false).unwrap();
    assert_eq!(pins.set_value(3, true), Err(Errno::EPERM));
    pins.listen(3, Edges::RISING, ear(), None).unwrap();
    assert_eq!(pins.listen(3, Edges::FALLING, ear(), None), Err(Errno::EBUSY));
    let press = |levels: &[bool]| {
        for &high in levels {
            registers.set(3, high);
            run(registers, chip);
        }
        core::mem::take(&mut *heard.0.lock().unwrap())
    };
    // Active is low: a falling pin rises.
    assert_eq!(press(&[false, true]), [(3, true)]);
    pins.unlisten(3);
    assert_eq!(press(&[false, true]), []);
    pins.listen(3, Edges::RISING | Edges::FALLING, ear(), None).unwrap();
    assert_eq!(press(&[false, true]), [(3, true), (3, false)]);
    pins.free(3);
    assert_eq!(press(&[false, true]), []);
    pins.request(3, b"again").unwrap();
    pins.listen(3, Edges::FALLING, ear(), None).unwrap();
    assert_eq!(press(&[false, true]), [(3, false)]);
    pins.free(3);
}

/// A chip that programs can use, without names.
fn registered(chip: &'static Pl061) -> &'static Controller {
    // At a place of its own, because chips are known by where their node is, and the other test has another tree.
    let blob = Blob::new().node("", |b| b.node("bus@1", |b| b.strings("compatible", &["simple-bus"]).node("gpio@1", |b| b))).finish();
    let dtb = validate(blob.bytes()).unwrap();
    register(chip, Tree::unflatten(&dtb).unwrap().find("/bus@1/gpio@1").unwrap()).unwrap()
}

#[test]
fn a_wire_makes_an_edge_of_each_toggle() {
    let (registers, chip) = chip();
    let pins = registered(chip);
    let heard: &'static Heard = Box::leak(Box::default());
    let connect = |out, input| {
        let ear = unsize!(KArc, KArc::try_new(heard).unwrap() => dyn EdgeListener);
        Wire::connect(Pin { pins, line: out }, Pin { pins, line: input }, b"wire", ear)
    };
    let mut wire = connect(1, 6).unwrap();
    assert!(chip.is_output(1) && !chip.is_output(6) && !chip.get(1));
    assert!(pins.with(6, |l| l.user() == Some(b"wire".as_slice())).unwrap());
    assert_eq!([connect(1, 5).err(), connect(5, 6).err(), connect(5, 8).err()], [Errno::EBUSY, Errno::EBUSY, Errno::EINVAL].map(Some));
    assert!(pins.with(5, |l| l.user().is_none()).unwrap());
    for high in [true, false, true] {
        registers.0.lock().unwrap().writes.clear();
        wire.toggle();
        assert_eq!(registers.0.lock().unwrap().writes, [(data(1), u8::from(high) << 1)]);
        registers.set(6, chip.get(1));
        run(registers, chip);
        assert_eq!(core::mem::take(&mut *heard.0.lock().unwrap()), [(6, high)]);
    }
    drop(wire);
    registers.set(6, false);
    assert_eq!((run(registers, chip), heard.0.lock().unwrap().len(), registers.0.lock().unwrap().ie), (0, 0, 0));
    // One pin that is driven and let go of: it was at either level, and is an input again.
    let mut wire = connect(6, 6).unwrap();
    registers.0.lock().unwrap().driven.clear();
    wire.toggle();
    wire.toggle();
    assert_eq!(
        registers.0.lock().unwrap().driven.iter().filter(|(dir, _)| dir & 0x40 != 0).map(|d| d.1 & 0x40).collect::<Vec<_>>(),
        [0x40, 0]
    );
    assert!(!chip.is_output(6));
}
