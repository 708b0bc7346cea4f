//! `/sys/devices/system/cpu/cpuN/topology` (Linux: drivers/base/topology.c): what the scheduling domains are made of.

use super::format::{put_list, put_mask};
use super::sysfs::{Show, possible};
use core::fmt::Write;
use vigil_abi::Errno;
use vigil_drivers::dt::NO_CLUSTER;
use vigil_executor::balance::topology::{CAPACITY, Level, Place};
use vigil_executor::balance::{capacity_of, place_of};
use vigil_executor::cpu::{CpuId, CpuMask, MAX_CPUS, ONLINE};
use vigil_fs::vnode::SeqBuf;

/// The files of one CPU.
type Files = [(&'static str, Show); 13];

/// The files of each CPU: a file's function gets no argument, so there is one of each for every CPU.
pub(super) const FILES: &[Files; MAX_CPUS] =
    &[files::<0>(), files::<1>(), files::<2>(), files::<3>(), files::<4>(), files::<5>(), files::<6>(), files::<7>()];

/// `cpuN/cpu_capacity` (Linux: drivers/base/arch_topology.c).
pub(super) const CAPACITIES: &[Show; MAX_CPUS] =
    &[capacity::<0>, capacity::<1>, capacity::<2>, capacity::<3>, capacity::<4>, capacity::<5>, capacity::<6>, capacity::<7>];

fn capacity<const CPU: usize>(out: &mut SeqBuf) -> Result<(), Errno> {
    number(out, CpuId::new(CPU).map_or(CAPACITY as i32, |cpu| capacity_of(cpu) as i32))
}

const fn files<const CPU: usize>() -> Files {
    [
        ("physical_package_id", |out| number(out, i32::from(place::<CPU>().package))),
        ("cluster_id", |out| number(out, cluster_id(place::<CPU>()))),
        ("core_id", |out| number(out, i32::from(place::<CPU>().core))),
        ("thread_siblings", |out| mask(out, core::<CPU>())),
        ("thread_siblings_list", |out| list(out, core::<CPU>())),
        ("core_cpus", |out| mask(out, core::<CPU>())),
        ("core_cpus_list", |out| list(out, core::<CPU>())),
        ("cluster_cpus", |out| mask(out, cluster::<CPU>())),
        ("cluster_cpus_list", |out| list(out, cluster::<CPU>())),
        ("core_siblings", |out| mask(out, package::<CPU>())),
        ("core_siblings_list", |out| list(out, package::<CPU>())),
        ("package_cpus", |out| mask(out, package::<CPU>())),
        ("package_cpus_list", |out| list(out, package::<CPU>())),
    ]
}

fn place<const CPU: usize>() -> Place {
    CpuId::new(CPU).map_or(Place::default(), place_of)
}

fn cluster_id(place: Place) -> i32 {
    if place.cluster == NO_CLUSTER { -1 } else { i32::from(place.cluster) }
}

/// The CPUs, of those that are on, that meet `place` at `level` or below.
fn within(place: Place, level: Level) -> CpuMask {
    CpuMask(ONLINE.load().iter().filter(|c| place_of(*c).level(place) <= level).fold(0, |mask, c| mask | CpuMask::of(c).0))
}

fn core<const CPU: usize>() -> CpuMask {
    within(place::<CPU>(), Level::Smt)
}

fn cluster<const CPU: usize>() -> CpuMask {
    let place = place::<CPU>();
    if place.cluster == NO_CLUSTER { within(place, Level::Smt) } else { within(place, Level::Cluster) }
}

fn package<const CPU: usize>() -> CpuMask {
    within(place::<CPU>(), Level::Package)
}

fn number(out: &mut SeqBuf, n: i32) -> Result<(), Errno> {
    let _ = writeln!(out, "{n}");
    Ok(())
}

fn list(out: &mut SeqBuf, cpus: CpuMask) -> Result<(), Errno> {
    let _ = put_list(cpus.0, out);
    out.put(b"\n");
    Ok(())
}

fn mask(out: &mut SeqBuf, cpus: CpuMask) -> Result<(), Errno> {
    let _ = put_mask(cpus.0, possible().0.count_ones() as usize, out);
    out.put(b"\n");
    Ok(())
}
