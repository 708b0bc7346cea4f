//! Which files groups have, by version and controller.

use super::group::Controller::{self, Cpu, Cpuacct, Cpuset, Freezer, Pids};
use super::hierarchy::Hierarchy;
use super::migrate::What;
use super::nodes::FileType;
use super::nodes::Kind::{self, Admin, Change, Events, Pressure, Read, ReadWrite, Tasks, Write};
use super::nodes::Place::{self, Any, NotRoot, Root};
use super::{control, cpu, cpuset_files, freezer, pids, pressure, time, v1};
use crate::procfs::Resource;

const fn base(name: &'static str, place: Place, kind: Kind) -> FileType {
    FileType { name, controller: None, place, kind }
}

const fn of_controller(controller: Controller, name: &'static str, place: Place, kind: Kind) -> FileType {
    FileType { name, controller: Some(controller), place, kind }
}

/// The files of `root`'s groups.
pub fn of(root: &Hierarchy) -> impl Iterator<Item = &'static FileType> {
    let (first, second) = if root.is_v2() { (V2_BASE, V2_CONTROLLERS) } else { (V1_BASE, V1_CONTROLLERS) };
    first.iter().chain(second)
}

static V2_BASE: &[FileType] = &[
    base("cgroup.type", NotRoot, ReadWrite(control::show_type, control::store_type)),
    base("cgroup.procs", Any, Tasks(control::show_procs, What::Process)),
    base("cgroup.threads", Any, Tasks(control::show_threads, What::Thread)),
    base("cgroup.controllers", Any, Read(control::show_controllers)),
    base("cgroup.subtree_control", Any, ReadWrite(control::show_subtree_control, control::store_subtree_control)),
    base("cgroup.events", NotRoot, Events(control::show_events, |group| &group.events)),
    base("cgroup.max.descendants", Any, ReadWrite(control::show_max_descendants, control::store_max_descendants)),
    base("cgroup.max.depth", Any, ReadWrite(control::show_max_depth, control::store_max_depth)),
    base("cgroup.stat", Any, Read(control::show_stat)),
    base("cgroup.freeze", NotRoot, ReadWrite(freezer::show_freeze, freezer::store_freeze)),
    base("cgroup.kill", NotRoot, Write(control::store_kill)),
    base("cpu.stat", Any, Read(cpu::show_stat)),
    base("io.pressure", Any, Pressure(Resource::Other)),
    base("memory.pressure", Any, Pressure(Resource::Other)),
    base("cpu.pressure", Any, Pressure(Resource::Cpu)),
    base("cgroup.pressure", Any, ReadWrite(pressure::show_switch, pressure::store_switch)),
];

static V2_CONTROLLERS: &[FileType] = &[
    of_controller(Cpu, "cpu.weight", NotRoot, ReadWrite(cpu::show_weight, cpu::store_weight)),
    of_controller(Cpu, "cpu.weight.nice", NotRoot, ReadWrite(cpu::show_weight_nice, cpu::store_weight_nice)),
    of_controller(Cpu, "cpu.idle", NotRoot, ReadWrite(cpu::show_idle, cpu::store_idle)),
    of_controller(Cpu, "cpu.max", NotRoot, ReadWrite(cpu::show_max, cpu::store_max)),
    of_controller(Cpu, "cpu.max.burst", NotRoot, ReadWrite(cpu::show_burst, cpu::store_burst)),
    of_controller(Cpuset, "cpuset.cpus", NotRoot, ReadWrite(cpuset_files::show_cpus, cpuset_files::store_cpus)),
    of_controller(Cpuset, "cpuset.mems", NotRoot, ReadWrite(cpuset_files::show_mems, cpuset_files::store_mems)),
    of_controller(Cpuset, "cpuset.cpus.effective", Any, Read(cpuset_files::show_effective_cpus)),
    of_controller(Cpuset, "cpuset.mems.effective", Any, Read(cpuset_files::show_effective_mems)),
    of_controller(
        Cpuset,
        "cpuset.cpus.partition",
        NotRoot,
        Change(cpuset_files::show_partition, cpuset_files::store_partition, |group| &group.partition_changes),
    ),
    of_controller(Pids, "pids.max", NotRoot, ReadWrite(pids::show_max, pids::store_max)),
    of_controller(Pids, "pids.current", NotRoot, Read(pids::show_current)),
    of_controller(Pids, "pids.peak", NotRoot, Read(pids::show_peak)),
    of_controller(Pids, "pids.events", NotRoot, Events(pids::show_events, |group| &group.pids_changes)),
];

static V1_BASE: &[FileType] = &[
    base("cgroup.procs", Any, Tasks(control::show_procs_v1, What::Process)),
    base("cgroup.clone_children", Any, ReadWrite(v1::show_clone_children, v1::store_clone_children)),
    base("cgroup.sane_behavior", Root, Read(v1::show_sane_behavior)),
    base("tasks", Any, Tasks(control::show_threads, What::Thread)),
    base("notify_on_release", Any, ReadWrite(v1::show_notify, v1::store_notify)),
    base("release_agent", Root, Admin(v1::show_agent, v1::store_agent)),
];

static V1_CONTROLLERS: &[FileType] = &[
    of_controller(Cpu, "cpu.shares", Any, ReadWrite(cpu::show_shares, cpu::store_shares)),
    of_controller(Cpu, "cpu.idle", Any, ReadWrite(cpu::show_idle, cpu::store_idle)),
    of_controller(Cpu, "cpu.cfs_quota_us", Any, ReadWrite(cpu::show_quota, cpu::store_quota)),
    of_controller(Cpu, "cpu.cfs_period_us", Any, ReadWrite(cpu::show_period, cpu::store_period)),
    of_controller(Cpu, "cpu.cfs_burst_us", Any, ReadWrite(cpu::show_burst, cpu::store_burst)),
    of_controller(Cpu, "cpu.stat", Any, Read(cpu::show_stat_v1)),
    of_controller(Cpuset, "cpuset.cpus", Any, ReadWrite(cpuset_files::show_cpus, cpuset_files::store_cpus)),
    of_controller(Cpuset, "cpuset.mems", Any, ReadWrite(cpuset_files::show_mems, cpuset_files::store_mems)),
    of_controller(Cpuset, "cpuset.effective_cpus", Any, Read(cpuset_files::show_effective_cpus)),
    of_controller(Cpuset, "cpuset.effective_mems", Any, Read(cpuset_files::show_effective_mems)),
    of_controller(Cpuset, "cpuset.sched_load_balance", Any, ReadWrite(cpuset_files::show_load_balance, cpuset_files::store_load_balance)),
    of_controller(
        Cpuset,
        "cpuset.sched_relax_domain_level",
        Any,
        ReadWrite(cpuset_files::show_relax_level, cpuset_files::store_relax_level),
    ),
    of_controller(Cpuset, "cpuset.cpu_exclusive", Any, ReadWrite(cpuset_files::show_cpu_exclusive, cpuset_files::store_cpu_exclusive)),
    of_controller(Cpuset, "cpuset.mem_exclusive", Any, ReadWrite(cpuset_files::show_mem_exclusive, cpuset_files::store_mem_exclusive)),
    of_controller(Cpuacct, "cpuacct.usage", Any, ReadWrite(time::show_usage, time::store_usage)),
    of_controller(Cpuacct, "cpuacct.usage_user", Any, Read(time::show_user)),
    of_controller(Cpuacct, "cpuacct.usage_sys", Any, Read(time::show_system)),
    of_controller(Cpuacct, "cpuacct.stat", Any, Read(time::show_stat)),
    of_controller(Freezer, "freezer.state", NotRoot, ReadWrite(freezer::show_state, freezer::store_state)),
    of_controller(Freezer, "freezer.self_freezing", NotRoot, Read(freezer::show_freeze)),
    of_controller(Freezer, "freezer.parent_freezing", NotRoot, Read(freezer::show_parent_freezing)),
    of_controller(Pids, "pids.max", NotRoot, ReadWrite(pids::show_max, pids::store_max)),
    of_controller(Pids, "pids.current", NotRoot, Read(pids::show_current)),
    of_controller(Pids, "pids.peak", NotRoot, Read(pids::show_peak)),
    of_controller(Pids, "pids.events", NotRoot, Events(pids::show_events, |group| &group.pids_changes)),
];
