//! A device's interrupts: from `interrupts` or `interrupts-extended`, through nexus nodes with an `interrupt-map`, to a controller's
//! node and its specifier cells.
//!
//! Devicetree Specification 2.4; Linux `of_irq_parse_raw` for what counts where. A tree is not trusted: the steps from node to node
//! and the entries of a map that are looked at are bounded.

use super::tree::Node;
use super::validate::be32;
use super::{DtError, MAX_DEPTH};

/// The longest interrupt specifier; the GIC's have three or four cells.
pub const MAX_IRQ_CELLS: usize = 8;

/// The longest unit address; PCI's has three cells.
const MAX_ADDRESS_CELLS: usize = 4;

/// So many nexus nodes and controllers are passed on the way to one that ends it.
const MAX_STEPS: usize = 2 * MAX_DEPTH;

/// So many entries of a map are looked at; a PCI host bridge has four for each slot.
const MAX_ENTRIES: usize = 4096;

/// One interrupt of a device.
#[derive(Clone, Copy, Debug)]
pub struct IrqSpec<'a> {
    /// The controller it is connected to.
    pub controller: Node<'a>,
    cells: [u32; MAX_IRQ_CELLS],
    len: usize,
}

impl IrqSpec<'_> {
    /// The specifier, in the controller's own encoding.
    pub fn cells(&self) -> &[u32] {
        self.cells.get(..self.len).unwrap_or(&[])
    }
}

impl<'a> Node<'a> {
    /// Interrupt `index` of this device.
    ///
    /// Errors: [`DtError::NotFound`] when it has no such interrupt or its controller is missing, others when the
    /// properties are malformed.
    pub fn irq(&self, index: usize) -> Result<IrqSpec<'a>, DtError> {
        if let Some(list) = self.prop("interrupts-extended") {
            return self.extended_irq(list, index);
        }
        let list = self.prop("interrupts").ok_or(DtError::NotFound)?;
        let parent = self.interrupt_parent().ok_or(DtError::NotFound)?;
        let len = irq_cells(&parent)?;
        self.routed(specifier(parent, list, index.checked_mul(len).ok_or(DtError::NotFound)?, len)?)
    }

    /// Where `spec`, of this device, ends: at a controller, through the maps of nexus nodes.
    fn routed(&self, mut spec: IrqSpec<'a>) -> Result<IrqSpec<'a>, DtError> {
        // What a map's entries begin with: the device's unit address, as many cells of it as the nexus says.
        let mut address = [0; MAX_ADDRESS_CELLS];
        let mut known = cells_of(self.prop("reg").unwrap_or(&[]), 0, &mut address);
        let mut size = address_cells_above(&spec.controller);
        for _ in 0..MAX_STEPS {
            let node = spec.controller;
            let Some(map) = node.prop("interrupt-map") else {
                if node.prop("interrupt-controller").is_some() {
                    return Ok(spec);
                }
                // Neither: what it is connected to has the same specifiers.
                spec.controller = node.interrupt_parent().ok_or(DtError::NotFound)?;
                continue;
            };
            if size > known {
                return Err(DtError::NotFound);
            }
            (spec, known) = mapped(&spec, map, &mut address, size)?;
            size = known;
        }
        Err(DtError::BadProperty)
    }

    /// The interrupt that `interrupt-names` calls `name`.
    pub fn irq_by_name(&self, name: &str) -> Result<IrqSpec<'a>, DtError> {
        let index = self.prop_strings("interrupt-names").position(|n| n == name).ok_or(DtError::NotFound)?;
        self.irq(index)
    }

    fn extended_irq(&self, list: &[u8], index: usize) -> Result<IrqSpec<'a>, DtError> {
        let mut at = 0usize;
        for i in 0..=index {
            let phandle = be32(list, at * 4).ok_or(DtError::NotFound)?;
            let controller = self.tree().by_phandle(phandle).ok_or(DtError::NotFound)?;
            let len = irq_cells(&controller)?;
            if i == index {
                return self.routed(specifier(controller, list, at + 1, len)?);
            }
            at += 1 + len;
        }
        Err(DtError::NotFound)
    }

    /// The controller (or nexus) above this node: the nearest one that has `#interrupt-cells`, on a way on which an
    /// `interrupt-parent` counts before the parent in the tree (Linux `of_irq_find_parent`).
    pub fn interrupt_parent(&self) -> Option<Node<'a>> {
        let mut node = *self;
        // Phandles may form a loop: bounded by twice the depth of the tree.
        for _ in 0..2 * MAX_DEPTH {
            node = match node.prop_u32("interrupt-parent") {
                Some(phandle) => self.tree().by_phandle(phandle)?,
                None => node.parent()?,
            };
            if node.prop("#interrupt-cells").is_some() {
                return Some(node);
            }
        }
        None
    }
}

/// Takes cells of `list` from number `at` on into `cells`, until either ends; says how many.
fn cells_of(list: &[u8], at: usize, cells: &mut [u32]) -> usize {
    let values = cells.iter_mut().enumerate().map_while(|(i, cell)| {
        *cell = be32(list, at.checked_add(i)?.checked_mul(4)?)?;
        Some(())
    });
    values.count()
}

/// The cells of a unit address in the map of `nexus`: its own `#address-cells`, or those of the nearest node above that says.
fn address_cells_above(nexus: &Node<'_>) -> usize {
    let mut node = Some(*nexus);
    for _ in 0..=MAX_DEPTH {
        let Some(n) = node else { break };
        if let Some(size) = n.prop_u32("#address-cells") {
            return size as usize;
        }
        node = n.parent();
    }
    2
}

/// The entry of `map` that is `spec`'s: where it leads. `address` is the unit address, of `size` cells; afterwards the entry's, of as
/// many as are returned.
///
/// Errors: NotFound when there is none; BadProperty for a map that ends in the middle, or names what is no controller.
fn mapped<'a>(
    spec: &IrqSpec<'a>,
    map: &[u8],
    address: &mut [u32; MAX_ADDRESS_CELLS],
    size: usize,
) -> Result<(IrqSpec<'a>, usize), DtError> {
    let nexus = spec.controller;
    let mask = nexus.prop("interrupt-map-mask");
    let matches = |i: usize, cell: u32, wanted: u32| {
        let mask = mask.map_or(u32::MAX, |m| be32(m, i * 4).unwrap_or(u32::MAX));
        (cell ^ wanted) & mask == 0
    };
    let wanted = |i: usize| if i < size { address.get(i) } else { spec.cells().get(i - size) };
    let key = size + spec.len;
    let mut at = 0usize;
    let mut parent: Option<(u32, Node<'a>)> = None;
    for _ in 0..MAX_ENTRIES {
        if be32(map, at * 4).is_none() {
            return Err(DtError::NotFound);
        }
        let cell = |i: usize| be32(map, (at + i) * 4).ok_or(DtError::BadProperty);
        let mut found = true;
        for i in 0..key {
            found &= matches(i, cell(i)?, *wanted(i).ok_or(DtError::BadProperty)?);
        }
        let phandle = cell(key)?;
        let node = match parent {
            Some((last, node)) if last == phandle => node,
            _ => nexus.tree().by_phandle(phandle).ok_or(DtError::BadProperty)?,
        };
        parent = Some((phandle, node));
        let len = irq_cells(&node)?;
        let above = node.prop_u32("#address-cells").unwrap_or(0) as usize;
        if above > MAX_ADDRESS_CELLS {
            return Err(DtError::BadProperty);
        }
        let behind = at + key + 1;
        if found && node.is_available() {
            let routed = specifier(node, map, behind + above, len).map_err(|_| DtError::BadProperty)?;
            cells_of(map, behind, &mut address[..above]);
            return Ok((routed, above));
        }
        at = behind + above + len;
    }
    Err(DtError::NotFound)
}

fn irq_cells(controller: &Node<'_>) -> Result<usize, DtError> {
    let n = controller.prop_u32("#interrupt-cells").ok_or(DtError::BadProperty)? as usize;
    if (1..=MAX_IRQ_CELLS).contains(&n) { Ok(n) } else { Err(DtError::BadProperty) }
}

fn specifier<'a>(controller: Node<'a>, list: &[u8], at: usize, len: usize) -> Result<IrqSpec<'a>, DtError> {
    let mut cells = [0; MAX_IRQ_CELLS];
    for (i, cell) in cells.iter_mut().enumerate().take(len) {
        let off = at.checked_add(i).and_then(|n| n.checked_mul(4)).ok_or(DtError::NotFound)?;
        *cell = be32(list, off).ok_or(DtError::NotFound)?;
    }
    Ok(IrqSpec { controller, cells, len })
}
