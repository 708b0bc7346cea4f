//! The boot self-test of the kernel's page tables: nothing writable is executable, nothing else than the text is
//! executable, no alias of text or read-only data is writable, nothing belongs to EL0 (Linux: ptdump_check_wx).
//! Under KPTI the tables that EL0 runs with are walked, too: they map the trampoline and nothing else.

use super::mmu;
use super::mmu_kernel;
use super::mmu_layout::{LINEAR_BASE, LINEAR_END, MT_NORMAL};
use super::pgtable_kernel::Leaf;
use super::{alternative, kpti};

/// What is wrong with a mapping.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flaw {
    /// Writable and executable.
    WriteExecute,
    /// Executable, but not the text.
    Execute,
    /// A writable alias of text or read-only data.
    WritableAlias,
    /// EL0 may use it.
    User,
    /// With KPTI: the kernel's translation would be found under EL0's ASID, or EL0's tables map more than the trampoline.
    Exposed,
    /// Text or data with a memory type other than normal.
    MemoryType,
}

/// Checks one leaf at `va`.
fn check(va: usize, leaf: Leaf) -> Result<(), Flaw> {
    let text = mmu::text_start()..mmu::text_end();
    let constant = mmu::kimage_to_phys(mmu::text_start())..mmu::kimage_to_phys(mmu::rodata_end());
    let end = leaf.phys + leaf.size as u64;
    let trampoline = alternative::kpti() && kpti::in_text(va);
    let is_constant = leaf.phys < constant.end && constant.start < end;
    if leaf.writable() && leaf.executable() {
        return Err(Flaw::WriteExecute);
    }
    if leaf.executable() && !(va >= text.start && va + leaf.size <= text.end) && !trampoline {
        return Err(Flaw::Execute);
    }
    if alternative::kpti() && leaf.global() != trampoline {
        return Err(Flaw::Exposed);
    }
    if leaf.writable() && is_constant {
        return Err(Flaw::WritableAlias);
    }
    if leaf.user() {
        return Err(Flaw::User);
    }
    if leaf.memory_type() != MT_NORMAL && (is_constant || va < LINEAR_END) {
        return Err(Flaw::MemoryType);
    }
    Ok(())
}

/// What the walk found.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// Leaves of all sizes.
    pub leaves: usize,
    /// Bytes of the linear map.
    pub linear: usize,
    /// Leaves of the linear map.
    pub linear_leaves: usize,
    /// Leaves of the tables that EL0 runs with under KPTI: pages of the trampoline.
    pub user_leaves: usize,
}

/// Walks all tables. The error names the first flaw and its address.
pub fn check_tables() -> Result<Report, (usize, Flaw)> {
    let mut report = Report::default();
    mmu_kernel::walk(&mut |va, leaf| {
        report.leaves += 1;
        if (LINEAR_BASE..LINEAR_END).contains(&va) {
            report.linear += leaf.size;
            report.linear_leaves += 1;
        }
        check(va, leaf).map_err(|f| (va, f))
    })?;
    if alternative::kpti() {
        kpti::walk_user_tables(&mut |va, leaf| {
            report.user_leaves += 1;
            check(va, leaf).and(if kpti::in_text(va) { Ok(()) } else { Err(Flaw::Exposed) }).map_err(|f| (va, f))
        })?;
    }
    Ok(report)
}
