//! Interrupts through nexus nodes, and malformed ones.

use super::testblob::{Aligned, Blob};
use super::*;
use proptest::prelude::*;
use std::time::{Duration, Instant};
use std::vec::Vec;

/// A PCI host bridge as QEMU's `virt` has it, a bridge that only changes the number, and an expander that passes specifiers on.
fn tree_with_maps() -> Aligned {
    // For device 0 pins 1 and 2, for device 1 the same, turned; to the GIC at phandle 1, whose unit addresses have two cells.
    let mut map = Vec::new();
    for device in 0..2u32 {
        for pin in 1..3u32 {
            map.extend([device << 11, 0, 0, pin, 1, 0, 0, 0, 3 + (device + pin - 1) % 2, 4]);
        }
    }
    Blob::new()
        .node("", |b| {
            b.cells("#address-cells", &[2])
                .cells("#size-cells", &[2])
                .cells("interrupt-parent", &[1])
                .node("intc@0", |b| {
                    b.cells("phandle", &[1])
                        .cells("#interrupt-cells", &[3])
                        .cells("#address-cells", &[2])
                        .bytes("interrupt-controller", &[])
                })
                .node("pcie@10", |b| {
                    b.cells("#address-cells", &[3])
                        .cells("#size-cells", &[2])
                        .cells("#interrupt-cells", &[1])
                        .cells("interrupt-map-mask", &[0x1800, 0, 0, 7])
                        .cells("interrupt-map", &map)
                        .node("nic@1", |b| b.cells("reg", &[1 << 11 | 0x55, 9, 9, 0, 0]).cells("interrupts", &[1]))
                        .node("disk@0", |b| b.cells("reg", &[0, 0, 0, 0, 0]).cells("interrupts", &[2]))
                        .node("none@2", |b| b.cells("reg", &[2 << 11, 0, 0, 0, 0]).cells("interrupts", &[1]))
                        .node("far", |b| b.cells("interrupts", &[1]))
                })
                .node("nexus", |b| {
                    b.cells("phandle", &[2])
                        .cells("#address-cells", &[0])
                        .cells("#interrupt-cells", &[1])
                        .cells("interrupt-map", &[5, 3, 6, 7, 1, 0, 0, 1, 11, 8])
                })
                .node("passes", |b| {
                    b.cells("phandle", &[3]).cells("#address-cells", &[0]).cells("#interrupt-cells", &[1]).cells("interrupt-parent", &[2])
                })
                .node("loop", |b| {
                    b.cells("phandle", &[4])
                        .cells("#address-cells", &[0])
                        .cells("#interrupt-cells", &[1])
                        .cells("interrupt-map", &[1, 4, 1])
                })
                .node("device", |b| b.cells("interrupts-extended", &[2, 7, 3, 7, 4, 1, 2, 8]))
        })
        .finish()
}

fn with_tree<R>(blob: &Aligned, f: impl FnOnce(&Tree<'_>) -> R) -> R {
    let dtb = validate(blob.bytes()).unwrap();
    let tree = Tree::unflatten(&dtb).unwrap();
    f(&tree)
}

#[test]
fn maps_lead_to_the_controller() {
    let blob = tree_with_maps();
    with_tree(&blob, |tree| {
        let irq = |path: &str, i: usize| tree.find(path).unwrap().irq(i).map(|s| (s.controller.name(), Vec::from(s.cells())));
        assert_eq!(irq("/pcie@10/nic@1", 0), Ok(("intc", std::vec![0, 4, 4])), "under the mask");
        assert_eq!(irq("/pcie@10/disk@0", 0), Ok(("intc", std::vec![0, 4, 4])));
        assert_eq!(irq("/pcie@10/none@2", 0), Err(DtError::NotFound), "no entry");
        assert_eq!(irq("/pcie@10/far", 0), Err(DtError::NotFound), "no unit address");
        assert_eq!(irq("/device", 0), Ok(("intc", std::vec![1, 11, 8])));
        assert_eq!(irq("/device", 1), Ok(("intc", std::vec![1, 11, 8])), "through a node that passes it on");
        assert_eq!(irq("/device", 2), Err(DtError::BadProperty), "in circles");
        assert_eq!(irq("/device", 3), Err(DtError::NotFound));
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any cells in the properties of interrupts: an answer, and soon.
    #[test]
    fn fuzz_interrupts(
        map in prop::collection::vec(prop_oneof![0u32..6, any::<u32>()], 0..64),
        mask in prop::collection::vec(prop_oneof![0u32..2, any::<u32>()], 0..9),
        list in prop::collection::vec(prop_oneof![0u32..9, any::<u32>()], 0..16),
        sizes in prop::collection::vec(prop_oneof![0u32..6, any::<u32>()], 6),
        parents in prop::collection::vec(0u32..6, 3),
        cut in 0usize..4,
    ) {
        let bytes = |cells: &[u32]| -> Vec<u8> {
            let all: Vec<u8> = cells.iter().flat_map(|c| c.to_be_bytes()).collect();
            all[..all.len().saturating_sub(cut)].to_vec()
        };
        let nexus = |b: Blob, n: usize| {
            let b = b.cells("phandle", &[n as u32 + 1]).cells("#interrupt-cells", &sizes[n..n + 1]).cells("#address-cells", &sizes[n + 3..n + 4]);
            let b = b.cells("interrupt-parent", &parents[n..n + 1]).bytes("interrupt-map-mask", &bytes(&mask));
            if n == 2 { b.bytes("interrupt-controller", &[]) } else { b.bytes("interrupt-map", &bytes(&map)) }
        };
        let blob = Blob::new()
            .node("", |b| {
                b.node("a", |b| nexus(b, 0)).node("b", |b| nexus(b, 1)).node("c", |b| nexus(b, 2))
                    .node("device", |b| b.cells("reg", &list).cells("interrupt-parent", &[1]).bytes("interrupts", &bytes(&list)))
                    .node("other", |b| b.cells("reg", &mask).bytes("interrupts-extended", &bytes(&list)))
            })
            .finish();
        let begun = Instant::now();
        with_tree(&blob, |tree| {
            for node in tree.nodes() {
                for index in [0, 1, 7, usize::MAX] {
                    if let Ok(spec) = node.irq(index) {
                        prop_assert!(spec.controller.prop("interrupt-controller").is_some() && !spec.cells().is_empty());
                    }
                }
            }
            Ok(())
        })?;
        prop_assert!(begun.elapsed() < Duration::from_secs(2));
    }
}
