//! Values made of 32-bit big-endian cells: `reg`, `#address-cells`, translation through `ranges`.

use super::validate::{RawNode, be32};
use super::{DtError, Region};

/// Whatever has properties; lets one translation serve `fdt`'s nodes and those of the unflattened tree.
pub(super) trait Props<'a>: Copy {
    /// The value of property `name`.
    fn prop(&self, name: &str) -> Option<&'a [u8]>;

    /// The first cell of property `name`.
    fn prop_u32(&self, name: &str) -> Option<u32> {
        be32(self.prop(name)?, 0)
    }
}

impl<'a> Props<'a> for RawNode<'a> {
    fn prop(&self, name: &str) -> Option<&'a [u8]> {
        let mut props = self.properties().ok()?.iter();
        props.find_map(|p| p.ok().filter(|p| p.name == name)).map(|p| p.value)
    }
}

/// The string that a property holds, without its NUL; `None` if it is not UTF-8 or has a NUL in the middle.
pub(super) fn as_str(value: &[u8]) -> Option<&str> {
    let value = value.strip_suffix(b"\0").unwrap_or(value);
    core::str::from_utf8(value).ok().filter(|s| !s.contains('\0'))
}

/// The strings of a string list.
pub(super) fn strings(value: &[u8]) -> impl Iterator<Item = &str> {
    let value = value.strip_suffix(b"\0").unwrap_or(value);
    value.split(|&b| b == 0).filter_map(|s| core::str::from_utf8(s).ok()).filter(|s| !s.is_empty())
}

/// A node without `status`, or with "okay" or "ok", is there.
pub(super) fn is_available<'a>(node: &impl Props<'a>) -> bool {
    match node.prop("status") {
        None => true,
        Some(v) => matches!(as_str(v), Some("okay" | "ok")),
    }
}

/// `cells` cells at cell index `at`, as one number. More than two cells: the upper ones are a bus's own (PCI's space
/// code) and are left out, as Linux's default bus does.
pub(super) fn number(value: &[u8], at: usize, cells: usize) -> Option<u64> {
    let mut n = 0u64;
    for i in 0..cells {
        n = n << 32 | u64::from(be32(value, at.checked_add(i)?.checked_mul(4)?)?);
    }
    Some(n)
}

/// `#address-cells` or `#size-cells` for the children of `chain[0]`, whose ancestors follow it. A node that has none
/// inherits its parent's, and the root's default is 1 (Linux `of_n_addr_cells`; the specification says 2 and 1).
pub(super) fn cell_count<'a, P: Props<'a>>(chain: &[P], name: &str) -> Result<usize, DtError> {
    let n = chain.iter().find_map(|n| n.prop_u32(name)).unwrap_or(1) as usize;
    if n <= 4 { Ok(n) } else { Err(DtError::BadProperty) }
}

/// Entry `index` of `node`'s `reg`, as a CPU sees it. `chain` is the node's parent, the parent's parent, … the root.
pub(super) fn reg<'a, P: Props<'a>>(node: P, chain: &[P], index: usize) -> Option<Region> {
    let untranslated = reg_on_bus(node.prop("reg")?, chain, index)?;
    translate(untranslated, chain)
}

/// Entry `index` of a `reg` value, as the bus `chain[0]` sees it.
pub(super) fn reg_on_bus<'a, P: Props<'a>>(value: &[u8], chain: &[P], index: usize) -> Option<Region> {
    let address_cells = cell_count(chain, "#address-cells").ok()?;
    let size_cells = cell_count(chain, "#size-cells").ok()?;
    let at = index.checked_mul(address_cells + size_cells)?;
    if address_cells == 0 {
        return None;
    }
    Some(Region { base: number(value, at, address_cells)?, size: number(value, at + address_cells, size_cells)? })
}

/// Translates an address on the bus `chain[0]` up to the root. A bus without `ranges` ends the way: `None` (Linux
/// refuses it too, for every platform but old PowerPC).
fn translate<'a, P: Props<'a>>(mut region: Region, chain: &[P]) -> Option<Region> {
    for (i, bus) in chain.iter().enumerate() {
        let parents = chain.get(i + 1..)?;
        if parents.is_empty() {
            break;
        }
        let ranges = bus.prop("ranges")?;
        if ranges.is_empty() {
            continue;
        }
        let child_cells = cell_count(chain.get(i..)?, "#address-cells").ok()?;
        let parent_cells = cell_count(parents, "#address-cells").ok()?;
        let size_cells = cell_count(chain.get(i..)?, "#size-cells").ok()?;
        let entry = child_cells + parent_cells + size_cells;
        if entry == 0 {
            return None;
        }
        region.base = (0..ranges.len() / 4 / entry).find_map(|e| {
            let at = e * entry;
            let child = number(ranges, at, child_cells)?;
            let parent = number(ranges, at + child_cells, parent_cells)?;
            let size = number(ranges, at + child_cells + parent_cells, size_cells)?;
            let offset = region.base.checked_sub(child).filter(|&o| o < size)?;
            parent.checked_add(offset)
        })?;
    }
    region.base.checked_add(region.size).map(|_| region)
}
