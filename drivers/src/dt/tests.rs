//! The device tree readers on a sound board, on QEMU's own blob, and on blobs that somebody broke.

use super::early::{self, EarlyUart, EnableMethod, PsciMethod, Reserved};
use super::testblob::{Aligned, Blob, board};
use super::*;
use proptest::prelude::*;
use std::vec::Vec;

fn region(base: u64, size: u64) -> Region {
    Region { base, size }
}

#[test]
fn early_facts_of_a_board() {
    let blob = board();
    assert_eq!(Dtb::peek_size(blob.bytes()).unwrap(), blob.bytes().len());
    let dtb = validate(blob.bytes()).unwrap();
    assert_eq!(dtb.reserve_map().collect::<Vec<_>>(), [region(0x4800_0000, 0x1000)]);
    let chosen = early::chosen(&dtb);
    assert_eq!(chosen.bootargs, Some("console=ttyAMA0 quiet"));
    assert_eq!(chosen.initrd, Some(0x4400_0000..0x4480_0000));
    assert_eq!(chosen.kaslr_seed, Some(0x0123_4567_89ab_cdef));
    assert_eq!(chosen.rng_seed, Some(&[7u8; 32][..]));
    assert_eq!(early::model(&dtb), Some("test board"));
    assert_eq!(early::psci(&dtb), Some(PsciMethod::Hvc));
    assert_eq!(early::stdout_uart(&dtb), Some(EarlyUart::Pl011(0x900_1000)));
    let mut memory = Vec::new();
    early::memory(&dtb, |r| memory.push(r));
    assert_eq!(memory, [region(0x4000_0000, 0x2000_0000), region(0x1_0000_0000, 0x1000_0000)]);
    let mut reserved = Vec::new();
    early::reserved_memory(&dtb, |r| reserved.push(r));
    let expect = [(0x4a00_0000, 0x10_0000, true), (0x4b00_0000, 0x8000, false)];
    assert_eq!(reserved, expect.map(|(b, s, no_map)| Reserved { region: region(b, s), no_map }));
    let cpus: Vec<_> = early::cpus(&dtb).map(|c| (c.mpidr, c.enable, c.available)).collect();
    let spin = EnableMethod::SpinTable { release_addr: 0xd8 };
    assert_eq!(cpus, [(0, EnableMethod::Psci, true), (0x101, spin, true)]);
}

#[test]
fn tree_translates_addresses_and_resolves_interrupts() {
    let blob = board();
    let dtb = validate(blob.bytes()).unwrap();
    let tree = Tree::unflatten(&dtb).unwrap();
    assert_eq!(tree.nodes().count(), early::count_nodes(&dtb).unwrap());
    let serial = tree.find("serial0").unwrap();
    assert_eq!(serial.reg(0), Some(region(0x900_1000, 0x1000)));
    assert_eq!(serial.reg(1), None);
    assert_eq!(std::format!("{serial}"), "serial@1000");
    let irq = serial.irq(0).unwrap();
    assert_eq!((irq.controller.name(), irq.cells()), ("intc", &[0, 1, 4][..]));
    assert_eq!(serial.irq(1).unwrap_err(), DtError::NotFound);

    let gpio = tree.find("/soc/apb/gpio").unwrap();
    assert_eq!(gpio.irq_by_name("high").unwrap().cells(), [0, 9, 1]);
    assert_eq!(gpio.irq(2).unwrap_err(), DtError::NotFound);
    assert_eq!(tree.find("/soc/lost@90000000").unwrap().reg(0), None);
    assert_eq!(tree.by_phandle(0x8001).unwrap().reg(1), Some(region(0x801_0000, 0x1_0000)));
    assert_eq!(tree.find("/timer").unwrap().irq(2).unwrap().cells(), [1, 11, 0x104]);
    let names: Vec<_> = tree.find("/soc").unwrap().children().map(|n| n.name()).collect();
    assert_eq!(names, ["apb", "lost"]);
    assert_eq!(tree.compatible(&["arm,pl061", "arm,pl011"]).count(), 2);
    assert!(tree.find("/soc/none").is_none());
    assert!(tree.find("serial9").is_none());
}

#[test]
fn broken_headers_have_their_own_errors() {
    let good = board();
    let with = |at: usize, word: u32| {
        let mut b = good.clone();
        b.bytes_mut()[at..at + 4].copy_from_slice(&word.to_be_bytes());
        validate(b.bytes()).map(|_| ()).unwrap_err()
    };
    assert_eq!(with(0, 1), DtError::BadMagic);
    assert_eq!(with(4, 39), DtError::Truncated);
    assert_eq!(with(4, 64 << 20), DtError::TooLarge);
    assert_eq!(with(4, 1 << 20), DtError::Truncated);
    assert_eq!(with(8, 57), DtError::Layout);
    assert_eq!(with(12, u32::MAX), DtError::Truncated);
    assert_eq!(with(16, u32::MAX), DtError::Truncated);
    assert_eq!(with(20, 16), DtError::BadVersion);
    assert_eq!(with(36, u32::MAX - 3), DtError::Truncated);
    assert_eq!(validate(&good.bytes()[1..]).unwrap_err(), DtError::Unaligned);
    assert_eq!(validate(&good.bytes()[..100]).unwrap_err(), DtError::Truncated);
    assert_eq!(validate(&good.bytes()[..0]).map(|_| ()).unwrap_err(), DtError::Truncated);
}

#[test]
fn grammar_is_enforced() {
    let deep = |n: usize| {
        fn nest(b: Blob, n: usize) -> Blob {
            if n == 0 { b } else { b.node("n", |b| nest(b, n - 1)) }
        }
        let blob = Blob::new().node("", |b| nest(b, n - 1)).finish();
        validate(blob.bytes()).and_then(|d| early::count_nodes(&d))
    };
    assert_eq!(deep(MAX_DEPTH), Ok(MAX_DEPTH));
    assert_eq!(deep(MAX_DEPTH + 1), Err(DtError::TooDeep));
    let check = |b: Blob| validate(b.finish().bytes()).map(|_| ());
    assert_eq!(check(Blob::new()), Err(DtError::Structure));
    assert_eq!(check(Blob::new().node("", |b| b).node("", |b| b)), Err(DtError::Structure));
    assert_eq!(check(Blob::new().node("", |b| b.node("", |b| b))), Err(DtError::BadName));
    assert_eq!(check(Blob::new().node("", |b| b.node("a/b", |b| b))), Err(DtError::BadName));
    assert_eq!(check(Blob::new().node("", |b| b.node("a", |b| b).cells("late", &[1]))), Err(DtError::Structure));
    assert_eq!(check(Blob::new().node("", |b| b.bytes("", &[]))), Err(DtError::BadName));
}

/// Everything that the kernel calls on a blob.
fn read_all(bytes: &[u8]) {
    let Ok(dtb) = validate(bytes) else { return };
    let _ = dtb.reserve_map().take(1000).count();
    let _ = early::chosen(&dtb);
    early::memory(&dtb, |_| ());
    early::reserved_memory(&dtb, |_| ());
    let _ = early::cpus(&dtb).count();
    let _ = (early::psci(&dtb), early::model(&dtb), early::stdout_uart(&dtb));
    let tree = Tree::unflatten(&dtb).unwrap();
    for node in tree.nodes() {
        let _ = (node.reg(0), node.reg(1), node.reg(usize::MAX), node.phandle(), node.is_available());
        let _ = (node.irq(0).map(|i| i.cells().len()), node.irq(3).is_ok(), node.irq_by_name("low").is_ok());
        let _ = (node.children().count(), node.compatible().count(), node.prop_u32("reg"));
    }
    let _ = (tree.find("serial0").is_some(), tree.find("/soc/apb@c0000000/serial").is_some());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Ten thousand mutants of a sound blob: bytes and words overwritten, blocks cut, bytes doubled. None may panic.
    #[test]
    fn fuzz_dtb(
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0u8..6, any::<u32>()), 1..8),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut blob = board();
        let len = blob.bytes().len();
        for (index, kind, value) in edits {
            let bytes = blob.bytes_mut();
            let at = index.index(len);
            let word = at & !3;
            match kind {
                0 => bytes[at] ^= 1 << (value % 8),
                1 => bytes[at] = value as u8,
                2 => bytes[word..word + 4].copy_from_slice(&value.to_be_bytes()),
                3 => bytes[word..word + 4].copy_from_slice(&(value % 12).to_be_bytes()),
                4 => bytes[(at % 40) & !3..][..4].copy_from_slice(&(value % (2 * len as u32)).to_be_bytes()),
                _ => { let from = value as usize % len; let n = (len - at.max(from)).min(16); bytes.copy_within(from..from + n, at) }
            }
        }
        let bytes = blob.bytes();
        read_all(&bytes[..cut.map_or(len, |c| c.index(len))]);
    }

    /// Pure noise behind a sound header.
    #[test]
    fn fuzz_dtb_noise(words in prop::collection::vec(prop_oneof![0u32..10, any::<u32>()], 0..64)) {
        let mut bytes: Vec<u8> = Vec::new();
        let total = 40 + 16 + words.len() * 4 + 64;
        for w in [0xd00d_feed, total, 56, 56 + words.len() * 4, 40, 17, 16, 0, 64, words.len() * 4] {
            bytes.extend_from_slice(&(w as u32).to_be_bytes());
        }
        bytes.resize(56, 0);
        bytes.extend(words.iter().flat_map(|w| w.to_be_bytes()));
        bytes.extend([b'a'; 60]);
        bytes.resize(total, 0);
        read_all(Aligned::new(&bytes).bytes());
    }
}
