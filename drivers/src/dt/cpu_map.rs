//! `/cpus/cpu-map`: which CPUs are threads of a core, cores of a cluster, clusters of a socket (Devicetree binding
//! `cpu/cpu-topology.txt`; Linux: drivers/base/arch_topology.c).
//!
//! `cpu-map` has `socketN` (or is the one socket itself), these `clusterN` and `coreN`, cores `threadN`, each counted from 0 without
//! a gap; a leaf names its CPU by the property `cpu`. Clusters of clusters count as those that contain them, as in Linux 6.1.

use super::{Node, Tree};
use vigil_executor::balance::topology::{CAPACITY, Place};

/// The cluster of cores that are in none.
pub const NO_CLUSTER: u16 = u16::MAX;
/// Deeper than any sane map: the blob is not trusted.
const DEPTH: u16 = 4;

/// Calls `found` with the affinity (`reg`) and the place of each CPU in the map. No call without a map.
pub fn cpu_map<'a>(tree: &'a Tree<'a>, mut found: impl FnMut(u64, Place)) {
    let Some(map) = tree.find("/cpus/cpu-map") else { return };
    let mut sockets = numbered(map, "socket").peekable();
    let one = Place { cluster: NO_CLUSTER, ..Place::default() };
    if sockets.peek().is_none() {
        return cluster(map, one, 0, &mut found);
    }
    for (package, socket) in sockets {
        cluster(socket, Place { package, ..one }, 0, &mut found);
    }
}

/// The children `NAME0`, `NAME1`, … of `node` up to the first that is missing, with their numbers.
fn numbered<'a>(node: Node<'a>, name: &'static str) -> impl Iterator<Item = (u16, Node<'a>)> {
    (0..u16::MAX).map_while(move |n| {
        let is_it = |c: &Node<'a>| c.name().strip_prefix(name).and_then(|d| d.parse().ok()) == Some(n);
        node.children().find(is_it).map(|c| (n, c))
    })
}

fn cluster(node: Node<'_>, at: Place, depth: u16, found: &mut dyn FnMut(u64, Place)) {
    if depth < DEPTH {
        for (n, inner) in numbered(node, "cluster") {
            let place = if at.cluster == NO_CLUSTER { Place { cluster: n, ..at } } else { at };
            cluster(inner, place, depth + 1, found);
        }
    }
    for (core, node) in numbered(node, "core") {
        let place = Place { core, ..at };
        leaf(node, place, found);
        for (thread, node) in numbered(node, "thread") {
            leaf(node, Place { thread, ..place }, found);
        }
    }
}

fn leaf(node: Node<'_>, place: Place, found: &mut dyn FnMut(u64, Place)) {
    let cpu = node.prop_u32("cpu").and_then(|phandle| node.tree().by_phandle(phandle));
    if let Some(reg) = cpu.and_then(affinity) {
        found(reg, place);
    }
}

fn affinity(cpu: Node<'_>) -> Option<u64> {
    let reg = cpu.prop("reg").filter(|reg| matches!(reg.len(), 4 | 8))?;
    Some(reg.iter().fold(0, |n, b| n << 8 | u64::from(*b)))
}

/// Calls `found` with the affinity of each CPU and its capacity, of [`CAPACITY`] for the strongest, by `capacity-dmips-mhz`. No call if one
/// has none (Linux: topology_parse_cpu_capacity).
pub fn cpu_capacities<'a>(tree: &'a Tree<'a>, mut found: impl FnMut(u64, u32)) {
    let Some(cpus) = tree.find("/cpus") else { return };
    let all = || cpus.children().filter(|cpu| cpu.name() == "cpu");
    let raw = |cpu: Node<'_>| cpu.prop_u32("capacity-dmips-mhz").unwrap_or(0);
    let (least, most) = all().map(raw).fold((u32::MAX, 0), |(least, most), c| (least.min(c), most.max(c)));
    if least == 0 || most == 0 {
        return;
    }
    for cpu in all() {
        if let Some(reg) = affinity(cpu) {
            found(reg, (u64::from(raw(cpu)) * u64::from(CAPACITY) / u64::from(most)) as u32);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testblob::Blob;
    use super::super::validate;
    use super::*;
    use std::vec::Vec;

    fn places(blob: &[u8]) -> Vec<(u64, (u16, u16, u16, u16))> {
        let tree = Tree::unflatten(&validate(blob).unwrap()).unwrap();
        let mut all = Vec::new();
        cpu_map(&tree, |reg, p| all.push((reg, (p.package, p.cluster, p.core, p.thread))));
        all
    }

    #[test]
    fn sockets_clusters_cores_and_threads() {
        let blob = Blob::new().node("", |b| {
            b.node("cpus", |b| {
                b.cells("#address-cells", &[1])
                    .node("cpu@0", |b| b.cells("reg", &[0]).cells("phandle", &[1]))
                    .node("cpu@1", |b| b.cells("reg", &[1]).cells("phandle", &[2]))
                    .node("cpu@100", |b| b.cells("reg", &[0x100]).cells("phandle", &[3]))
                    .node("cpu-map", |b| {
                        b.node("socket0", |b| {
                            b.node("cluster0", |b| {
                                b.node("core0", |b| b.node("thread0", |b| b.cells("cpu", &[1])).node("thread1", |b| b.cells("cpu", &[2])))
                            })
                        })
                        .node("socket1", |b| b.node("core0", |b| b.cells("cpu", &[3])))
                    })
            })
        });
        let blob = blob.finish();
        assert_eq!(places(blob.bytes()), [(0, (0, 0, 0, 0)), (1, (0, 0, 0, 1)), (0x100, (1, NO_CLUSTER, 0, 0))]);
    }

    #[test]
    fn capacities_are_shares_of_the_largest() {
        let capacities = |second: &[u32]| {
            let blob = Blob::new().node("", |b| {
                b.node("cpus", |b| {
                    b.cells("#address-cells", &[1])
                        .node("cpu@0", |b| b.cells("reg", &[0]).cells("capacity-dmips-mhz", &[446]))
                        .node("cpu@100", |b| b.cells("reg", &[0x100]).cells("capacity-dmips-mhz", second))
                })
            });
            let blob = blob.finish();
            let tree = Tree::unflatten(&validate(blob.bytes()).unwrap()).unwrap();
            let mut all = Vec::new();
            cpu_capacities(&tree, |reg, capacity| all.push((reg, capacity)));
            all
        };
        assert_eq!(capacities(&[892]), [(0, 512), (0x100, 1024)]);
        assert_eq!(capacities(&[0]), [], "all or none");
    }

    #[test]
    fn a_map_that_names_nobody_is_none() {
        let blob = Blob::new()
            .node("", |b| b.node("cpus", |b| b.node("cpu-map", |b| b.node("cluster0", |b| b.node("core0", |b| b.cells("cpu", &[77]))))));
        let blob = blob.finish();
        assert_eq!(places(blob.bytes()), []);
    }
}
